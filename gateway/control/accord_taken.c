/* Documents of other gateways: read strictly, compared with memory, written, taken into memory.
 *
 * What must hold: memory and control.db change together, through one job. Of a policy only what
 * differs is written, because a blocklist may be long. */
#include "gateway/control/accord_doc.h"

#include "common/log.h"
#include "gateway/control/control_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTER_MAX (sizeof "/blocklist/range/" + PS_USER_MAX)

enum kind { SALE, GONE, POLICY };

struct item {
    enum kind kind;
    char field[sizeof "sale/" + PS_NAME_MAX];
    int64_t version;
    struct gw_stored_sale sale;  /* of SALE; of GONE its name */
    struct gw_limit_rule *rules; /* of POLICY: by name; heap */
    size_t rule_count;
    struct gw_block *blocks; /* by kind and subject; heap */
    size_t block_count;
};

struct gw_accord_taken {
    struct item *at;
    size_t count;
};

struct gw_accord_taken *gw_accord_taken_new(void)
{
    return calloc(1, sizeof(struct gw_accord_taken));
}

static void item_done(struct item *item)
{
    gw_sale_doc_done(&item->sale.doc);
    free(item->rules);
    free(item->blocks);
}

void gw_accord_taken_free(struct gw_accord_taken *taken)
{
    if (taken == NULL)
        return;
    for (size_t i = 0; i < taken->count; i++)
        item_done(&taken->at[i]);
    free(taken->at);
    free(taken);
}

size_t gw_accord_taken_count(const struct gw_accord_taken *taken)
{
    return taken->count;
}

/* --- Reading. --- */

static int read_sale(const json_t *json, const char *name, struct item *item,
                     struct ps_fault *fault)
{
    struct gw_sale_state *state = &item->sale.state;
    struct ps_json_reader reader;
    const json_t *document;
    bool deleted = false;

    memcpy(item->sale.name, name, strlen(name) + 1);
    ps_json_reader_init(&reader, json, "", fault);
    ps_json_bool(&reader, "deleted", &deleted);
    if (deleted) {
        item->kind = GONE;
        return ps_json_done(&reader);
    }
    ps_json_require(&reader, (const char *const[]){"created_at_ms", "updated_at_ms", "opened",
                                                   "paused", "ended", "document", NULL});
    ps_json_int(&reader, "created_at_ms", 0, PS_INT_MAX, &state->created_at_ms);
    ps_json_int(&reader, "updated_at_ms", 0, PS_INT_MAX, &state->updated_at_ms);
    ps_json_bool(&reader, "opened", &state->opened);
    ps_json_bool(&reader, "paused", &state->paused);
    ps_json_bool(&reader, "ended", &state->ended);
    document = ps_json_value(&reader, "document");
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    item->kind = SALE;
    state->version = item->version;
    return gw_sale_doc_read(document, "/document", name, &item->sale.doc, fault);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct gw_limit_rule *)a)->name, ((const struct gw_limit_rule *)b)->name);
}

static int read_rules(const json_t *limits, struct item *item, struct ps_fault *fault)
{
    const json_t *document;
    const char *name;

    item->rules = calloc(json_object_size(limits) + 1, sizeof *item->rules);
    if (item->rules == NULL)
        return ps_fault(fault, PS_E_NOMEM, "/limits", "out of memory");
    json_object_foreach((json_t *)(uintptr_t)limits, name, document)
    {
        char pointer[POINTER_MAX];
        (void)snprintf(pointer, sizeof pointer, "/limits/%.64s", name);
        if (!ps_name_ok(name, strlen(name)))
            return ps_fault(fault, PS_E_INVALID, pointer, "is no rule name");
        int err =
            gw_limit_rule_read(document, name, pointer, &item->rules[item->rule_count], fault);
        if (err < 0)
            return err;
        item->rule_count++;
    }
    qsort(item->rules, item->rule_count, sizeof *item->rules, by_name);
    return 0;
}

static int block_order(const void *a, const void *b)
{
    const struct gw_block *x = a, *y = b;

    return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : strcmp(x->subject, y->subject);
}

/* "user/alice" or "range/10.0.0.0/8" */
static int read_key(const char *key, const char *pointer, struct gw_block *block,
                    struct ps_fault *fault)
{
    const char *slash = strchr(key, '/'), *subject = slash != NULL ? slash + 1 : "";
    size_t kind_len = slash != NULL ? (size_t)(slash - key) : 0, len = strlen(subject);
    struct gw_cidr range;

    block->kind = kind_len == strlen("user") ? GW_BLOCK_USER : GW_BLOCK_RANGE;
    if (kind_len != strlen(gw_block_kinds[block->kind]) ||
        memcmp(key, gw_block_kinds[block->kind], kind_len) != 0 ||
        (block->kind == GW_BLOCK_USER
             ? !ps_user_ok(subject, len)
             : len > PS_USER_MAX || gw_cidr_parse(subject, len, &range) < 0))
        return ps_fault(fault, PS_E_INVALID, pointer, "is neither user/{user} nor range/{range}");
    memcpy(block->subject, subject, len + 1);
    return 0;
}

static int read_block(const char *key, const json_t *json, struct gw_block *block,
                      struct ps_fault *fault)
{
    struct ps_str reason = {"", 0}, by = {"", 0};
    struct ps_json_reader reader;
    char pointer[POINTER_MAX];
    int err;

    (void)snprintf(pointer, sizeof pointer, "/blocklist/%s", key);
    err = read_key(key, pointer, block, fault);
    if (err < 0)
        return err;
    ps_json_reader_init(&reader, json, pointer, fault);
    ps_json_require(&reader,
                    (const char *const[]){"until_ms", "created_at_ms", "reason", "by", NULL});
    ps_json_int(&reader, "until_ms", 0, INT64_MAX, &block->until_ms);
    ps_json_int(&reader, "created_at_ms", 0, PS_INT_MAX, &block->created_at_ms);
    ps_json_string(&reader, "reason", GW_BLOCK_REASON_MAX, &reason);
    ps_json_string(&reader, "by", PS_NAME_MAX, &by);
    err = ps_json_done(&reader);
    if (err < 0)
        return err;
    memcpy(block->reason, reason.at, reason.len);
    memcpy(block->by, by.at, by.len);
    return 0;
}

static int read_policy(const json_t *json, struct item *item, struct ps_fault *fault)
{
    struct ps_json_reader reader;
    const json_t *limits, *blocklist, *block;
    const char *key;

    item->kind = POLICY;
    ps_json_reader_init(&reader, json, "", fault);
    ps_json_require(&reader, (const char *const[]){"limits", "blocklist", NULL});
    limits = ps_json_value(&reader, "limits");
    blocklist = ps_json_value(&reader, "blocklist");
    if (reader.err == 0 && (!json_is_object(limits) || !json_is_object(blocklist)))
        ps_json_fault(&reader, "", "limits and blocklist must be objects");
    int err = ps_json_done(&reader);
    if (err == 0)
        err = read_rules(limits, item, fault);
    if (err < 0)
        return err;
    item->blocks = calloc(json_object_size(blocklist) + 1, sizeof *item->blocks);
    if (item->blocks == NULL)
        return ps_fault(fault, PS_E_NOMEM, "/blocklist", "out of memory");
    json_object_foreach((json_t *)(uintptr_t)blocklist, key, block)
    {
        err = read_block(key, block, &item->blocks[item->block_count], fault);
        if (err < 0)
            return err;
        item->block_count++;
    }
    qsort(item->blocks, item->block_count, sizeof *item->blocks, block_order);
    return 0;
}

/* "version text" */
static int read_version(struct ps_str *value, int64_t *ret_version, struct ps_fault *fault)
{
    int64_t version = 0;
    size_t at = 0;

    for (; at < value->len && value->at[at] >= '0' && value->at[at] <= '9'; at++) {
        version = version * 10 + (value->at[at] - '0');
        if (version > PS_INT_MAX)
            break;
    }
    if (at == 0 || at == value->len || value->at[at] != ' ' || version == 0)
        return ps_fault(fault, PS_E_INVALID, "", "does not begin with a version");
    *ret_version = version;
    value->at += at + 1;
    value->len -= at + 1;
    return 0;
}

static int read_item(struct ps_str value, struct item *item, struct ps_fault *fault)
{
    const char *sale = strncmp(item->field, "sale/", 5) == 0 ? item->field + 5 : NULL;
    json_t *json;
    int err;

    if (sale != NULL ? !ps_name_ok(sale, strlen(sale)) : strcmp(item->field, "policy") != 0)
        return ps_fault(fault, PS_E_INVALID, "", "is neither sale/{name} nor policy");
    if ((err = read_version(&value, &item->version, fault)) < 0 ||
        (err = ps_json_parse(value.at, value.len, &json, fault)) < 0)
        return err;
    err = sale != NULL ? read_sale(json, sale, item, fault) : read_policy(json, item, fault);
    json_decref(json);
    return err;
}

int gw_accord_taken_add(struct gw_accord_taken *taken, struct ps_str field, struct ps_str value,
                        struct ps_fault *fault)
{
    struct item *more;
    struct ps_fault why = {0};
    struct item *item;
    int err;

    if (field.len >= sizeof item->field)
        return ps_fault(fault, PS_E_INVALID, "", "is too long for the name of a document");
    more = realloc(taken->at, (taken->count + 1) * sizeof *more);
    if (more == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    taken->at = more;
    item = &more[taken->count];
    *item = (struct item){0};
    (void)snprintf(item->field, sizeof item->field, "%.*s", (int)field.len, field.at);
    err = read_item(value, item, &why);
    if (err < 0) {
        char path[sizeof item->field + sizeof why.path];
        (void)snprintf(path, sizeof path, "%s%s", item->field, why.path);
        item_done(item);
        return ps_fault(fault, err, path, "%s", why.text);
    }
    taken->count++;
    return 0;
}

/* --- Comparing with memory, and writing what differs. --- */

static bool sale_differs(const struct gw_stored_sale *have, const struct gw_stored_sale *other)
{
    const struct gw_sale_state *a = &have->state, *b = &other->state;
    char names[16];

    return a->version != b->version || a->created_at_ms != b->created_at_ms ||
           a->updated_at_ms != b->updated_at_ms || a->opened != b->opened ||
           a->paused != b->paused || a->ended != b->ended ||
           gw_sale_doc_differences(&have->doc, &other->doc, names, sizeof names) > 0;
}

static bool rule_differs(const struct gw_limit_rule *a, const struct gw_limit_rule *b)
{
    return a->algorithm != b->algorithm || a->key != b->key || a->rate != b->rate ||
           a->period_s != b->period_s || a->burst != b->burst || a->max_wait_ms != b->max_wait_ms ||
           a->mode != b->mode || a->applies_to != b->applies_to || strcmp(a->sale, b->sale) != 0;
}

static bool block_differs(const struct gw_block *a, const struct gw_block *b)
{
    return a->until_ms != b->until_ms || a->created_at_ms != b->created_at_ms ||
           strcmp(a->reason, b->reason) != 0 || strcmp(a->by, b->by) != 0;
}

/* Both lists are sorted. The number of differences; written where there is a job. */
static size_t diff_rules(const struct gw_control *control, const struct item *item,
                         struct gw_store_job *job)
{
    size_t i = 0, j = 0, count = 0;

    while (i < control->rule_count || j < item->rule_count) {
        const struct gw_limit_rule *have = &control->rules[i], *other = &item->rules[j];
        int order = i == control->rule_count ? 1
                    : j == item->rule_count  ? -1
                                             : strcmp(have->name, other->name);
        if (order < 0 && job != NULL)
            gw_store_job_rule_delete(job, have->name);
        else if ((order > 0 || (order == 0 && rule_differs(have, other))) && job != NULL)
            gw_store_job_rule(job, other);
        count += order != 0 || rule_differs(have, other);
        i += order <= 0;
        j += order >= 0;
    }
    return count;
}

static size_t diff_blocks(const struct gw_control *control, const struct item *item,
                          struct gw_store_job *job)
{
    int64_t now = ps_clock_wall_ms(control->core->clock);
    size_t i = 0, j = 0, count = 0;

    while (i < control->block_count || j < item->block_count) {
        const struct gw_block *have = &control->blocks[i], *other = &item->blocks[j];
        int order = i == control->block_count ? 1
                    : j == item->block_count  ? -1
                                              : block_order(have, other);
        if (order < 0 && job != NULL)
            gw_store_job_unblock(job, have->kind, have->subject);
        else if ((order > 0 || (order == 0 && block_differs(have, other))) && job != NULL)
            gw_store_job_block_taken(job, other);
        /* Entries that have ended fall away here and there at different times. */
        if (order < 0)
            count += have->until_ms > now;
        else
            count += order > 0 || block_differs(have, other);
        i += order <= 0;
        j += order >= 0;
    }
    return count;
}

/* The version in memory; 0: none. */
static int64_t version_here(const struct gw_control *control, const struct item *item)
{
    const struct gw_control_sale *sale;

    if (item->kind == POLICY)
        return control->policy_version;
    sale = gw_control_sale(control, item->sale.name, strlen(item->sale.name));
    return sale != NULL ? sale->stored.state.version : gw_control_gone(control, item->sale.name);
}

/* Of the same version: is it another copy all the same? */
static bool differs(const struct gw_control *control, const struct item *item)
{
    const struct gw_control_sale *sale;

    if (item->kind == POLICY)
        return diff_rules(control, item, NULL) + diff_blocks(control, item, NULL) > 0;
    sale = gw_control_sale(control, item->sale.name, strlen(item->sale.name));
    if (sale == NULL || item->kind == GONE)
        return (sale == NULL) != (item->kind == GONE);
    return sale_differs(&sale->stored, &item->sale);
}

static void drop_ended(struct item *item, int64_t wall_ms)
{
    size_t kept = 0;

    for (size_t i = 0; i < item->block_count; i++)
        if (item->blocks[i].until_ms > wall_ms)
            item->blocks[kept++] = item->blocks[i];
    item->block_count = kept;
}

static void write_item(const struct gw_control *control, const struct item *item,
                       struct gw_store_job *job)
{
    switch (item->kind) {
    case SALE:
        gw_store_job_sale_taken(job, item->sale.name, &item->sale.doc, &item->sale.state);
        break;
    case GONE:
        gw_store_job_sale_gone_taken(job, item->sale.name, item->version);
        break;
    case POLICY:
        (void)diff_rules(control, item, job);
        (void)diff_blocks(control, item, job);
        gw_store_job_policy_taken(job, item->version);
        break;
    }
}

/* Keeps what is news. */
static void choose(const struct gw_control *control, struct gw_accord_taken *taken)
{
    int64_t now = ps_clock_wall_ms(control->core->clock);
    size_t kept = 0;

    for (size_t i = 0; i < taken->count; i++) {
        struct item *item = &taken->at[i];
        int64_t here = version_here(control, item);
        drop_ended(item, now);
        bool news = item->version > here || (item->version == here && differs(control, item));
        if (!news) {
            item_done(item);
            continue;
        }
        if (item->version == here)
            ps_log(PS_LOG_WARN, "shared_copy_differs", PS_F_STR("document", item->field),
                   PS_F_INT("version", here));
        taken->at[kept++] = *item;
    }
    taken->count = kept;
}

int gw_accord_taken_job(const struct gw_control *control, struct gw_accord_taken *taken,
                        struct gw_store_job **ret_job)
{
    struct gw_store_job *job;
    json_t *from, *to;
    int err = 0;

    choose(control, taken);
    if (taken->count == 0)
        return PS_E_NOT_FOUND;
    job = gw_store_job_new();
    if (job == NULL)
        return PS_E_NOMEM;
    from = json_object();
    to = json_object();
    for (size_t i = 0; i < taken->count; i++) {
        const struct item *item = &taken->at[i];
        write_item(control, item, job);
        err |= json_object_set_new(from, item->field, json_integer(version_here(control, item)));
        err |= json_object_set_new(to, item->field, json_integer(item->version));
    }
    gw_store_job_audit(job,
                       &(struct gw_audit_entry){.at_ms = ps_clock_wall_ms(control->core->clock),
                                                .who = "cluster",
                                                .peer = "",
                                                .action = "cluster.take",
                                                .target = "control",
                                                .from = from,
                                                .to = to});
    json_decref(from);
    json_decref(to);
    if (err != 0) {
        gw_store_job_free(job);
        return PS_E_NOMEM;
    }
    *ret_job = job;
    return 0;
}

/* --- Into memory. --- */

static void take_policy(struct gw_control *control, struct item *item)
{
    free(control->rules);
    free(control->blocks);
    control->rules = item->rules;
    control->rule_count = item->rule_count;
    control->blocks = item->blocks;
    control->block_count = item->block_count;
    control->policy_version = item->version;
    control->dirty = true;
    item->rules = NULL;
    item->blocks = NULL;
}

void gw_accord_taken_apply(struct gw_control *control, struct gw_accord_taken *taken)
{
    for (size_t i = 0; i < taken->count; i++) {
        struct item *item = &taken->at[i];
        int err = 0;
        if (item->kind == SALE)
            err = gw_control_put_sale(control, &item->sale);
        else if (item->kind == GONE)
            err = gw_control_drop_sale(control, item->sale.name, item->version);
        else
            take_policy(control, item);
        if (err < 0)
            ps_log(PS_LOG_ERROR, "shared_copy_not_taken_over", PS_F_STR("document", item->field),
                   PS_F_STR("error", ps_err_text(err)));
        else
            ps_log(PS_LOG_INFO, "shared_copy_taken_over", PS_F_STR("document", item->field),
                   PS_F_INT("version", item->version));
    }
}
