/* May this gateway build a sale, as the log and Redis show it: is another gateway building it, has
 * another cluster opened it, and which epoch may this gateway use? */
#include "gateway/sales/sales_internal.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define ELSEWHERE_NS (500 * PS_NS_PER_MS)

/* --- another gateway --- */

bool sale_is_claimed(const struct sale_run *run, int64_t installed)
{
    const struct sale_runs *runs = run->runs;
    int64_t now_ns = sale_now_ns(runs);
    struct sale_fence fence = {0};

    if (run->view.log_sale != NULL)
        sale_effects_last_fence(runs->effects, run->view.log_sale, &fence);
    if (fence.epoch <= installed || fence.epoch <= run->view.epoch ||
        fence.epoch == run->rebuild.epoch || fence.read_ns < now_ns - SALE_CLAIM_NS)
        return false;
    int64_t heard_ns = clu_heard_ns(runs->cluster, fence.gateway);
    bool elsewhere = heard_ns < fence.read_ns - ELSEWHERE_NS &&
                     strcmp(fence.gateway, runs->settings.gateway_id) != 0;
    return heard_ns > now_ns - CLU_ALIVE_MS * PS_NS_PER_MS ||
           (elsewhere && clu_is_alone(runs->cluster));
}

bool sale_is_of_another_log(const struct sale_run *run, int64_t installed)
{
    const struct oq_sale *log_sale = run->view.log_sale;

    return installed > (log_sale != NULL ? oq_sale_highest_epoch(log_sale) : -1);
}

/* --- another cluster --- */

void sale_refuse_opened_elsewhere(struct sale_run *run)
{
    sale_refuse(run, "opened by another cluster, with a Redis of its own, in the same topic: give "
                     "each cluster a topic of its own, or sell under another name; if this cluster "
                     "has lost its documents, restore a gateway's control.db");
}

bool sale_is_opened_elsewhere(const struct sale_run *run, const struct sale_decided *decided)
{
    struct oq_log_view log;

    oq_log_view(run->runs->log, &log);
    return run->rebuild.opening && decided->shared && !decided->state->opening && log.shared &&
           run->view.log_sale != NULL && oq_sale_highest_epoch(run->view.log_sale) > 0;
}

bool sale_check_opening(struct sale_run *run, const struct cfg_sale_state *state)
{
    const char *first = run->view.log_sale != NULL ? oq_sale_opening_id(run->view.log_sale) : "";

    if (first[0] == '\0' || state->opening_id[0] == '\0' || strcmp(first, state->opening_id) == 0)
        return true;
    sale_refuse_opened_elsewhere(run);
    return false;
}

/* --- the epoch --- */

/* Higher than every epoch of the sale, low 20 bits random, below 2^53. */
static int64_t next_epoch(const struct sale_run *run)
{
    const struct sale_rebuild *rebuild = &run->rebuild;
    const int random_bits = 20;
    const struct oq_sale *log_sale = run->view.log_sale;
    int64_t highest = log_sale != NULL ? oq_sale_highest_epoch(log_sale) : 0;

    if (rebuild->installed > highest)
        highest = rebuild->installed;
    if (rebuild->epoch > highest) /* of an earlier try, which the log may still show */
        highest = rebuild->epoch;
    return (((highest >> random_bits) + 1) << random_bits) |
           (int64_t)randombytes_uniform(1u << random_bits);
}

/* A foreign record: there would soon be no epoch above it. */
static void refuse_epoch(struct sale_run *run)
{
    char why[sizeof run->view.refused_why];
    struct sale_fence fence = {0};

    sale_effects_last_fence(run->runs->effects, run->view.log_sale, &fence);
    (void)snprintf(why, sizeof why,
                   "the log has a sale.fenced of it by \"%s\" with the epoch %lld, which no "
                   "gateway chooses; find out who writes there, and sell under another name",
                   fence.gateway, (long long)oq_sale_highest_epoch(run->view.log_sale));
    sale_refuse(run, why);
}

bool sale_choose_epoch(struct sale_run *run)
{
    if (run->view.log_sale != NULL &&
        oq_sale_highest_epoch(run->view.log_sale) >= SALE_EPOCH_MOST) {
        refuse_epoch(run);
        return false;
    }
    run->rebuild.epoch = next_epoch(run);
    return true;
}
