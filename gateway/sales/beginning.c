/* Does the log have the beginning of an opened sale: its first fence in each partition and its
 * initial stock? Without it (a journal or a topic that was replaced) the sale's counters cannot be
 * built; the sale is refused with an error, and the others continue. A sale is also refused if the
 * log has a SKU of it that its document lacks (a control.db that was replaced). */
#include "gateway/sales/sales_internal.h"

#include "common/program/log.h"

#include <stdio.h>
#include <string.h>

#define PLACE_SIZE 96 /* with the words around it, it fits into refused_why */

void sale_note_stranger(struct sale_run *run, const char *sku)
{
    ps_metric_add(run->runs->shard, GW_M_FOLD_ANOMALIES, 0, 1);
    ps_log(PS_LOG_ERROR, "log_anomaly", SALE_LOG_NAME(run), PS_F_STR("sku", sku),
           PS_F_STR("why", "a record names a SKU that the sale has not"));
}

static void refuse_lost(struct sale_run *run, const char *missing)
{
    char why[sizeof run->view.refused_why];
    struct oq_log_view log;

    oq_log_view(run->runs->log, &log);
    (void)snprintf(why, sizeof why,
                   "the sale has been opened, but the log has no %s of it: its beginning is lost; "
                   "%s",
                   missing,
                   log.shared ? "restore the topic, or sell under another name"
                              : "put the journal back that belongs to this control.db");
    sale_refuse(run, why);
}

/* "... in partition 3 (read up to offset 17)": where an operator must look. */
static const char *describe_place(const struct sale_run *run, uint32_t partition,
                                  const char *missing, char ret_text[PLACE_SIZE])
{
    const struct sale_runs *runs = run->runs;
    struct oq_log_view log;

    oq_log_view(runs->log, &log);
    if (!log.shared)
        return missing;
    (void)snprintf(ret_text, PLACE_SIZE, "%s in partition %u (read up to offset %lld)", missing,
                   partition, (long long)oq_fold_seq(runs->settings.fold, partition) - 1);
    return ret_text;
}

static bool has_sku(const struct cfg_sale_doc *doc, const char *name)
{
    for (size_t i = 0; i < doc->sku_count; i++)
        if (strcmp(doc->skus[i].name, name) == 0)
            return true;
    return false;
}

bool sale_is_stocked(const struct sale_run *run, const char *sku)
{
    char key[OQ_ADJUST_KEY_MAX + 1];
    struct ps_str text = {key, oq_initial_key(run->name, sku, key)};
    struct ps_uuid ref;

    oq_adjust_ref(text, &ref);
    return oq_sale_adjusted(run->view.log_sale, &ref) >= 0;
}

/* Counters and orders name a SKU by its index in the log, so the log's first SKUs must be the
 * document's. SKUs that foreign records name after those are counted and ignored: such a record
 * brings no initial stock. */
bool sale_check_skus(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    const struct oq_sale *log_sale = run->view.log_sale;
    char why[sizeof run->view.refused_why];
    const char *name;

    for (uint32_t i = 0; log_sale != NULL && (name = oq_sale_sku(log_sale, i)) != NULL; i++) {
        if (has_sku(doc, name))
            continue;
        if (i >= doc->sku_count && !sale_is_stocked(run, name)) {
            sale_note_stranger(run, name);
            continue;
        }
        (void)snprintf(why, sizeof why,
                       "the log has a SKU \"%s\" of this sale, its document has none; put the "
                       "control.db back that belongs to this journal, or sell under another name",
                       name);
        sale_refuse(run, why);
        return false;
    }
    return true;
}

static bool check_fences(struct sale_run *run)
{
    const struct oq_sale *log_sale = run->view.log_sale;
    uint32_t partitions = log_sale != NULL ? oq_sale_partitions(log_sale) : 0;
    char text[PLACE_SIZE];

    for (uint32_t i = 0; i < partitions || i == 0; i++) {
        if (log_sale != NULL && oq_sale_epoch(log_sale, i) != 0)
            continue;
        refuse_lost(run, describe_place(run, i, "first fence", text));
        return false;
    }
    return true;
}

static bool check_stock(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    uint32_t partitions = oq_sale_partitions(run->view.log_sale);
    char text[PLACE_SIZE];

    for (size_t i = 0; i < doc->sku_count; i++) {
        char key[OQ_ADJUST_KEY_MAX + 1];
        struct ps_str adjust = {key, oq_initial_key(run->name, doc->skus[i].name, key)};
        if (sale_is_stocked(run, doc->skus[i].name))
            continue;
        refuse_lost(run, describe_place(run, oq_log_partition_of(adjust, partitions),
                                        "initial stock", text));
        return false;
    }
    return true;
}

bool sale_check_beginning(struct sale_run *run, const struct cfg_sale_doc *doc)
{
    return check_fences(run) && check_stock(run, doc) && sale_check_skus(run, doc);
}
