/* Answers a page and ends it: counts it, releases it, then sends, because a page's memory is the
 * server's once its answer is sent. */
#include "gateway/pages/page_internal.h"

#include "gateway/metrics.h"
#include "gateway/server/problem.h"
#include "gateway/upstream/via.h"

#include <string.h>

void page_end(struct page_request *page, enum page_end end)
{
    ps_metric_add(page->worker->shard, GW_M_PAGES, end, 1);
    up_hold_release(page->hold);
    page->hold = NULL;
    page->route = page->other = NULL;
    page->exchange = NULL;
    page->state = PAGE_ENDED;
}

void page_keep(struct page_request *page)
{
    if (!page->kept)
        (void)srv_suspend(page->http);
    page->kept = true;
}

enum page_state page_refuse_as(struct page_request *page, enum page_end end,
                               enum ans_verdict verdict, const struct ans_problem_detail *detail)
{
    const struct ps_address *address = &page->asked->address;
    struct ans_problem_detail seeded = *detail;

    seeded.seed = adm_limit_hash(page->worker->gates->limits, address->byte, sizeof address->byte);
    page->worker->count_refused(page, verdict, &seeded);
    page_end(page, end);
    srv_problem_answer(page->http, verdict, &seeded);
    return PAGE_ENDED;
}

enum page_state page_refuse(struct page_request *page, enum ans_verdict verdict, const char *text)
{
    return page_refuse_as(page, PAGE_END_REFUSED, verdict,
                          &(struct ans_problem_detail){.text = text});
}

static void put_line(struct ps_buf *buf, const char *name, const char *value)
{
    if (value == NULL)
        return;
    ps_buf_puts(buf, name);
    ps_buf_puts(buf, ": ");
    ps_buf_puts(buf, value);
    ps_buf_puts(buf, "\r\n");
}

enum page_state page_answer_own(struct page_request *page, enum page_end end,
                                const struct cfg_static *fixed, const char *location,
                                const char *why)
{
    struct ps_buf scratch = up_worker_scratch(page->worker->shop), fields;
    char lines[4096 + PAGE_WHY_MAX];

    ps_buf_init(&fields, lines, sizeof lines);
    put_line(&fields, "Content-Type", fixed->content_type);
    put_line(&fields, "Location", location);
    put_line(&fields, "Penstock-Fallback", why);
    struct ps_str ruled = up_fields_ruled(scratch, (struct ps_str){fields.at, fields.len},
                                          &page->route->doc->response_headers);
    struct up_hold *hold = up_hold_keep(page->hold); /* the route owns the body */
    page->status = fixed->status;
    page->worker->count(page, ANS_V_page);
    page_keep(page);
    page_end(page, end);
    (void)srv_answer_forward(page->http,
                             &(struct srv_forward){.status = fixed->status,
                                                   .fields = ruled,
                                                   .len = (int64_t)fixed->body_len},
                             (struct ps_str){fixed->body, fixed->body_len}, true);
    up_hold_release(hold);
    return PAGE_ENDED;
}

/* --- From an entry of the cache --- */

static void release(void *entry)
{
    cache_entry_drop(entry);
}

/* Age, Cache-Status, Via, and Content-Range of a part. */
static void add_fields(struct page_request *page, const struct cache_entry *entry,
                       enum cache_part part, uint64_t first, uint64_t len)
{
    unsigned long long whole = entry->body.len;
    char memory[CACHE_STATUS_MAX];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    if (part == CACHE_PART_RANGE)
        ps_buf_printf(&buf, "bytes %llu-%llu/%llu", (unsigned long long)first,
                      (unsigned long long)(first + len - 1), whole);
    else if (part == CACHE_PART_NO_RANGE)
        ps_buf_printf(&buf, "bytes */%llu", whole);
    if (buf.len > 0)
        srv_answer_header(page->http, "Content-Range", buf.at, buf.len);
    ps_buf_init(&buf, memory, sizeof memory);
    ps_buf_put_int(&buf, cache_kept_age_ms(&entry->kept, page_now_ms(page->worker)) / 1000);
    srv_answer_header(page->http, "Age", buf.at, buf.len);
    ps_buf_init(&buf, memory, sizeof memory);
    cache_status_put(&page->cached, &buf);
    srv_answer_header(page->http, "Cache-Status", buf.at, buf.len);
    srv_answer_header(page->http, "Via", UP_VIA, sizeof UP_VIA - 1);
}

static enum cache_part part_of(const struct page_request *page, const struct cache_entry *entry,
                               uint64_t *ret_first, uint64_t *ret_len)
{
    struct cache_asked asked = page_asked(page);

    return cache_part_of(&asked, &entry->kept, entry->etag, entry->body.len, ret_first, ret_len);
}

static const enum ans_verdict verdict_of_part[] = {[CACHE_PART_WHOLE] = ANS_V_page,
                                                   [CACHE_PART_NOT_MODIFIED] = ANS_V_not_modified,
                                                   [CACHE_PART_RANGE] = ANS_V_partial,
                                                   [CACHE_PART_NO_RANGE] = ANS_V_no_range};

enum ans_verdict page_entry_verdict(const struct page_request *page,
                                    const struct cache_entry *entry, int *ret_status)
{
    uint64_t first, len;
    enum ans_verdict verdict = verdict_of_part[part_of(page, entry, &first, &len)];

    *ret_status = verdict == ANS_V_page ? entry->kept.status : ans_verdicts[verdict].status;
    return verdict;
}

enum page_state page_answer_entry(struct page_request *page, enum page_end end,
                                  struct cache_entry *entry)
{
    const struct cfg_header_rules *rules = &page->route->doc->response_headers;
    uint64_t first, len;

    enum cache_part part = part_of(page, entry, &first, &len);
    page->cached.has_ttl = true;
    page->cached.ttl_s = cache_kept_ttl_ms(&entry->kept, page_now_ms(page->worker)) / 1000;
    add_fields(page, entry, part, first, len);
    if (part == CACHE_PART_NO_RANGE) {
        cache_entry_drop(entry);
        return page_refuse_as(page, end, ANS_V_no_range, &(struct ans_problem_detail){0});
    }
    enum ans_verdict verdict = verdict_of_part[part];
    page->status = part == CACHE_PART_WHOLE ? entry->kept.status : ans_verdicts[verdict].status;
    struct srv_forward head = {
        .status = page->status, .fields = entry->fields, .is_dated = true, .len = (int64_t)len};
    if (rules->set_count + rules->remove_count > 0)
        head.fields = up_fields_ruled(up_worker_scratch(page->worker->shop), entry->fields, rules);
    page->worker->count(page, verdict);
    page_end(page, end);
    srv_answer_held(page->http, &head, (struct ps_str){entry->body.at + first, (size_t)len},
                    release, entry);
    return PAGE_ENDED;
}
