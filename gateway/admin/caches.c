/* Caches for operators: their content, their figures for a scrape, and purges. A purge is a change
 * of the state beside a cache's document: it has an audit entry, is in force when it is answered,
 * and every gateway of a cluster applies it (cache/caches.h). */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "gateway/config/kinds/cache_doc.h"
#include "gateway/cache/caches.h"

#include <inttypes.h>

static json_t *stores_json(const struct cache_figures *figures)
{
    json_t *stores = json_object();
    int err = 0;

    for (size_t i = 0; err == 0 && i < CACHE_STORE_COUNT; i++)
        err = json_object_set_new(stores, cache_store_names[i], json_integer(figures->stores[i]));
    return ps_json_built(stores, err);
}

static int show_cache(const struct op_admin *admin, const struct cfg_doc *doc, json_t *json)
{
    struct cache *cache = caches_find(admin->deps.caches, doc->name);
    struct cache_figures figures = {0};

    if (cache != NULL)
        cache_read(cache, &figures);
    return json_object_set_new(
        json, "live",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}",
                  "entries", (json_int_t)figures.entries, "bytes", (json_int_t)figures.bytes,
                  "bytes_held", (json_int_t)figures.bytes_held, "bytes_filling",
                  (json_int_t)figures.bytes_filling, "waiting", (json_int_t)figures.waiting, "hits",
                  (json_int_t)figures.hits, "stale_hits", (json_int_t)figures.stale_hits, "fetches",
                  (json_int_t)figures.fetches, "alone", (json_int_t)figures.alone, "waits",
                  (json_int_t)figures.waits, "absent", (json_int_t)figures.absent, "revalidated",
                  (json_int_t)figures.revalidated, "evicted", (json_int_t)figures.evicted, "purged",
                  (json_int_t)figures.purged, "answers", stores_json(&figures)));
}

/* --- Metrics --- */

static void print_requests(FILE *out, const char *name, const char *cache,
                           const struct cache_figures *figures)
{
    const struct {
        const char *result;
        int64_t count;
    } rows[] = {{"hit", figures->hits},      {"stale", figures->stale_hits},
                {"fetch", figures->fetches}, {"alone", figures->alone},
                {"wait", figures->waits},    {"absent", figures->absent}};

    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++)
        fprintf(out, "%s{cache=\"%s\",result=\"%s\"} %" PRId64 "\n", name, cache, rows[i].result,
                rows[i].count);
}

static void print_row(FILE *out, enum gw_metric row, const char *cache,
                      const struct cache_figures *figures)
{
    const char *name = gw_metric_table[row].name;

    if (row == GW_M_CACHE_REQUESTS) {
        print_requests(out, name, cache, figures);
    } else if (row == GW_M_CACHE_ANSWERS) {
        for (size_t i = 0; i < CACHE_STORE_COUNT; i++)
            fprintf(out, "%s{cache=\"%s\",result=\"%s\"} %" PRId64 "\n", name, cache,
                    cache_store_names[i], figures->stores[i]);
    } else {
        int64_t value = row == GW_M_CACHE_BYTES       ? figures->bytes
                        : row == GW_M_CACHE_ENTRIES   ? figures->entries
                        : row == GW_M_CACHE_WAITING   ? figures->waiting
                        : row == GW_M_CACHE_EVICTIONS ? figures->evicted
                                                      : figures->purged;
        fprintf(out, "%s{cache=\"%s\"} %" PRId64 "\n", name, cache, value);
    }
}

static void print_caches(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    struct cache_figures figures;
    struct cache *cache;
    const char *name;

    for (size_t i = 0; (cache = caches_at(admin->deps.caches, i, &name)) != NULL; i++) {
        cache_read(cache, &figures);
        print_row(out, row, name, &figures);
    }
}

/* --- Purging --- */

static void purge_cache(struct op_request *request)
{
    struct op_target target;
    struct ps_faults faults = {0};
    enum cfg_purge_by by = CFG_PURGE_KEY;
    char normal[CFG_PURGE_TEXT_SIZE];
    struct ps_str text = {"", 0};

    if (!op_read_target(request, &cfg_kind_cache, &target))
        return;
    if (target.have == NULL) {
        op_no(request, ANS_V_not_found, "no such cache");
        return;
    }
    if (cfg_purge_ask(request->body, normal, &by, &text, &faults) < 0) {
        op_faults(request, ANS_V_invalid, &faults);
        return;
    }
    op_document_state(request, &target, "cache.purge",
                      cfg_purge_state(cfg_cache_of(target.have), by, text), NULL,
                      json_pack("{s:s%}", cfg_purge_names[by], text.at, text.len));
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_caches_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/caches/{}/purge", SRV_POST, OP_ROLE_OPERATOR, OP_CHANGES | OP_NEEDS_BODY, purge_cache},
        {0}},
    .rows = (const struct op_rows[]){{GW_M_CACHE_REQUESTS, GW_M_CACHE_PURGES, print_caches}, {0}},
    .kinds = (const struct op_kind[]){{.kind = &cfg_kind_cache, .show = show_cache}, {0}},
};
/* clang-format on */
