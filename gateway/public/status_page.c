/* A sale's whole audience asks for its status page, so an answer is one prepared buffer: head and
 * body are built once for all requests within 100 ms in the same phase (a sale opens at its
 * millisecond on the page, too). The body has no server time, since that would change the strong
 * ETag with every build; clients use Date and Age.
 *
 * Caching: shared caches may keep the page for a second or two, and serve it stale for a little
 * longer while they fetch it again. Before a sale opens, neither max-age nor max-age plus
 * stale-while-revalidate reaches past the opening, or buyers would see "scheduled" after it. The
 * last second is the exception: the crowd reloads just then, and without caching all of it would
 * come here. The page may be kept for that second, so it may be a second late. No cache keeps the
 * page of an opened sale that is not served, as for a moment after a start, nor that of a twin.
 *
 * Two features of the ladder may be off: exact figures become words, which change rarely, so that
 * an ETag lives longer; and caches may keep the page five times as long. */
#include "gateway/public/status_page.h"

#include "common/http/head.h"
#include "gateway/public/request.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_LIFE_NS (100 * PS_NS_PER_MS)
#define LONG_TTL     5
#define SKU_TEXT_MAX                                                                               \
    5120 /* name, numbers, price and attributes (2 KiB each at most, escaped as they came) */

/* What may change between two builds of a page. */
struct look {
    enum cfg_phase phase;
    bool exact;     /* shows how many are left; else a word */
    bool short_ttl; /* caches keep it for a second or two; else five times as long */
};

struct page {
    int64_t built_ns; /* 0 = never */
    struct look look;
    char etag[24];
    struct srv_shared_answer *full, *not_modified;
};

struct pub_status_pages {
    size_t count;
    struct page *page; /* by cfg_sale.index */
};

int pub_status_pages_new(struct pub_status_pages **ret_pages)
{
    struct pub_status_pages *pages = calloc(1, sizeof *pages);

    if (pages == NULL)
        return PS_E_NOMEM;
    *ret_pages = pages;
    return 0;
}

void pub_status_pages_forget(struct pub_status_pages *pages)
{
    for (size_t i = 0; i < pages->count; i++) {
        srv_shared_answer_unref(pages->page[i].full);
        srv_shared_answer_unref(pages->page[i].not_modified);
    }
    free(pages->page);
    *pages = (struct pub_status_pages){0};
}

void pub_status_pages_free(struct pub_status_pages *pages)
{
    if (pages == NULL)
        return;
    pub_status_pages_forget(pages);
    free(pages);
}

static const char *phase_name(enum cfg_phase phase)
{
    static const char *const names[] = {"scheduled", "open", "paused", "ended"};
    return names[phase];
}

static void put_time(struct ps_buf *buf, const char *member, int64_t wall_ms)
{
    char text[PS_TIME_LEN + 1];

    ps_buf_puts(buf, member);
    if (wall_ms == INT64_MAX) {
        ps_buf_puts(buf, "null");
        return;
    }
    ps_time_format(wall_ms, text);
    ps_buf_put_json(buf, text, PS_TIME_LEN);
}

/* An opened sale that is not served (yet): only the log knows its remaining stock. */
static bool is_unserved(const struct snap_sale *sale)
{
    return sale->counter == NULL && sale->log_sale != NULL;
}

/* From the counter, else from the log; before both, the plan. */
static int64_t count_left(const struct snap_sale *sale, uint32_t place)
{
    const struct snap_sku *sku = &sale->skus[place];
    struct oq_totals totals;
    uint32_t index;

    if (sale->counter != NULL)
        return inv_sale_left(sale->counter, place);
    if (!is_unserved(sale))
        return sku->stock;
    if (oq_sale_sku_find(sale->log_sale, sku->name, strlen(sku->name), &index) < 0)
        return 0;
    oq_sale_totals(sale->log_sale, index, &totals);
    int64_t left = totals.adjustments - totals.held - totals.confirmed;
    return left > 0 ? left : 0; /* the three figures are not read at the same moment */
}

/* Few: a tenth of the planned stock or less. */
static const char *word_of(int64_t left, const struct snap_sku *sku)
{
    if (left <= 0)
        return "\"none\"";
    return left <= sku->stock / 10 ? "\"few\"" : "\"plenty\"";
}

static void put_body(struct ps_buf *buf, const struct snap_sale *sale, const struct look *look)
{
    ps_buf_puts(buf, "{\"sale\":");
    ps_buf_put_json(buf, sale->name, strlen(sale->name));
    ps_buf_puts(buf, ",\"phase\":\"");
    ps_buf_puts(buf, phase_name(look->phase));
    put_time(buf, "\",\"opens_at\":", sale->draft ? INT64_MAX : sale->opens_at_ms);
    put_time(buf, ",\"closes_at\":", sale->closes_at_ms);
    ps_buf_puts(buf, ",\"skus\":[");
    for (uint32_t i = 0; i < sale->sku_count; i++) {
        const struct snap_sku *sku = &sale->skus[i];
        int64_t left = count_left(sale, i);
        ps_buf_puts(buf, i > 0 ? ",{\"sku\":" : "{\"sku\":");
        ps_buf_put_json(buf, sku->name, strlen(sku->name));
        ps_buf_puts(buf, left > 0 ? ",\"availability\":\"in_stock\",\"available\":"
                                  : ",\"availability\":\"sold_out\",\"available\":");
        if (look->exact)
            ps_buf_put_int(buf, left);
        else
            ps_buf_puts(buf, word_of(left, sku));
        ps_buf_puts(buf, ",");
        ps_buf_puts(buf, sku->public_members);
        ps_buf_puts(buf, "}");
    }
    ps_buf_puts(buf, "],\"attributes\":");
    ps_buf_puts(buf, sale->attributes);
    ps_buf_puts(buf, "}\n");
}

/* max-age, stale-while-revalidate and stale-if-error in seconds; together at most the time until
 * the opening. */
struct freshness {
    int64_t max_age, revalidate, on_error;
};

static struct freshness freshness_within(struct freshness wish, int64_t limit_s)
{
    if (wish.max_age > limit_s)
        wish.max_age = limit_s;
    if (wish.max_age + wish.revalidate > limit_s)
        wish.revalidate = limit_s - wish.max_age;
    if (wish.max_age + wish.on_error > limit_s)
        wish.on_error = limit_s - wish.max_age;
    return wish;
}

static struct freshness freshness_of(const struct look *look, int64_t max_age, int64_t revalidate,
                                     int64_t on_error, int64_t limit_s)
{
    int64_t times = look->short_ttl ? 1 : LONG_TTL;

    return freshness_within((struct freshness){times * max_age, times * revalidate, on_error},
                            limit_s);
}

/* At least 1. */
static int64_t seconds_until_opening(const struct snap_sale *sale, enum cfg_phase phase,
                                     int64_t wall_ms)
{
    int64_t left_ms = sale->opens_at_ms - wall_ms - PAGE_LIFE_NS / PS_NS_PER_MS;

    if (phase != CFG_PHASE_SCHEDULED || sale->draft)
        return INT64_MAX / 2;
    return left_ms > 1000 ? left_ms / 1000 : 1;
}

static int build_page(struct page *page, const struct snap_sale *sale, int64_t wall_ms)
{
    size_t cap = 4096 + sale->sku_count * SKU_TEXT_MAX;
    char *memory = malloc(cap);
    struct ps_buf body;
    unsigned char digest[8];
    char cache[96], cdn[96];
    int64_t limit_s = seconds_until_opening(sale, page->look.phase, wall_ms);
    struct freshness near = freshness_of(&page->look, 1, 2, 30, limit_s);
    struct freshness far = freshness_of(&page->look, 2, 5, 60, limit_s);
    int err;

    if (memory == NULL)
        return PS_E_NOMEM;
    ps_buf_init(&body, memory, cap);
    put_body(&body, sale, &page->look);
    if (body.overflow) {
        free(memory);
        return PS_E_FULL;
    }
    crypto_generichash(digest, sizeof digest, (const unsigned char *)body.at, body.len, NULL, 0);
    snprintf(page->etag, sizeof page->etag, "\"%02x%02x%02x%02x%02x%02x%02x%02x\"", digest[0],
             digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]);
    snprintf(cache, sizeof cache,
             "public, max-age=%lld, stale-while-revalidate=%lld, stale-if-error=%lld",
             (long long)near.max_age, (long long)near.revalidate, (long long)near.on_error);
    snprintf(cdn, sizeof cdn, "max-age=%lld, stale-while-revalidate=%lld, stale-if-error=%lld",
             (long long)far.max_age, (long long)far.revalidate, (long long)far.on_error);
    /* Kafka's log may not be read to its end; and a twin's page has its sale's address. */
    if (is_unserved(sale) || snap_sale_is_twin(sale)) {
        memcpy(cache, "no-store", sizeof "no-store");
        memcpy(cdn, "no-store", sizeof "no-store");
    }
    const char *const headers[] = {"Content-Type",
                                   "application/json",
                                   "Cache-Control",
                                   cache,
                                   "CDN-Cache-Control",
                                   cdn,
                                   "Surrogate-Control",
                                   cdn,
                                   "ETag",
                                   page->etag,
                                   "Access-Control-Allow-Origin",
                                   "*",
                                   snap_sale_is_twin(sale) ? "Penstock-Rehearsal" : NULL,
                                   "?1",
                                   NULL};
    struct ps_str text = {body.at, body.len};
    err = srv_shared_answer_new(ans_verdicts[ANS_V_ok].status, headers, text, &page->full);
    if (err == 0) /* Content-Length is that of the body that HEAD does not send */
        err = srv_shared_answer_new(ans_verdicts[ANS_V_not_modified].status, headers + 2, text,
                                    &page->not_modified);
    free(memory);
    return err;
}

static struct page *find_page(const struct pub_listener *listener, const struct snap_sale *sale)
{
    struct pub_status_pages *pages = listener->status_pages;
    size_t count = listener->gates->snapshot->index_end;

    if (pages->count != count) {
        pub_status_pages_forget(pages);
        pages->page = calloc(count, sizeof *pages->page);
        if (pages->page == NULL)
            return NULL;
        pages->count = count;
    }
    return &pages->page[sale->index];
}

static bool is_same_look(const struct look *a, const struct look *b)
{
    return a->phase == b->phase && a->exact == b->exact && a->short_ttl == b->short_ttl;
}

void pub_status_page_answer(struct pub_request *request, const struct snap_sale *sale)
{
    const struct pub_listener *listener = request->listener;
    struct ps_str if_none_match = request->http->header[SRV_H_IF_NONE_MATCH];
    struct page *page = find_page(listener, sale);
    int64_t now_ns = ps_clock_mono_ns(listener->clock);
    int64_t wall_ms = ps_clock_wall_ms(listener->clock);
    const struct look look = {.phase = snap_sale_phase(sale, wall_ms),
                              .exact = pub_feature_on(listener, CFG_FEATURE_exact_stock),
                              .short_ttl =
                                  pub_feature_on(listener, CFG_FEATURE_status_page_short_ttl)};

    if (page != NULL && (page->built_ns == 0 || !is_same_look(&page->look, &look) ||
                         now_ns - page->built_ns > PAGE_LIFE_NS)) {
        srv_shared_answer_unref(page->full);
        srv_shared_answer_unref(page->not_modified);
        *page = (struct page){.look = look};
        if (build_page(page, sale, wall_ms) == 0)
            page->built_ns = now_ns;
    }
    if (page == NULL || page->built_ns == 0) {
        pub_request_refuse(request, ANS_V_internal, NULL);
        return;
    }
    bool same = if_none_match.at != NULL && ps_http_names_etag(if_none_match, page->etag);
    pub_request_count(request, same ? ANS_V_not_modified : ANS_V_ok);
    srv_answer_shared(request->http, same ? page->not_modified : page->full);
}
