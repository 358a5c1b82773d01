/* One pass over a field's lines reads its directives into a struct. Whether and how long an answer
 * is kept is computed once, when its head arrives, so that a hit only compares numbers.
 *
 * Invariant: in doubt an answer is not kept, and a kept one is stale. */
#include "gateway/cache/directives.h"

#define STORE_NAME(name) #name,
const char *const cache_store_names[CACHE_STORE_COUNT + 1] = {CACHE_STORES(STORE_NAME) NULL};

/* --- A request. --- */

/* Most requests have none of these fields: one pass by the length of names shows that. */
void cache_asked_read(struct cache_message request, struct cache_asked *ret_asked)
{
    *ret_asked = (struct cache_asked){.message = request,
                                      .is_get = request.head->method == PS_HTTP_GET,
                                      .is_head = request.head->method == PS_HTTP_HEAD,
                                      .max_age_s = -1,
                                      .min_fresh_s = -1,
                                      .max_stale_s = -1};
    bool has_control = false, has_pragma = false;
    for (uint32_t i = 0; i < request.head->field_count; i++) {
        const struct ps_http_field *field = &request.head->fields[i];
        struct ps_str name = ps_http_text(request.data, field->name);
        if (name.len == 5 && ps_http_is_text(name, "Range"))
            ret_asked->range = ps_http_text(request.data, field->value);
        else if (name.len == 6 && ps_http_is_text(name, "Pragma"))
            has_pragma = true;
        else if (name.len == 8 && ps_http_is_text(name, "If-Range"))
            ret_asked->if_range = ps_http_text(request.data, field->value);
        else if (name.len == 8 && ps_http_is_text(name, "If-Match"))
            ret_asked->for_origin = true;
        else if (name.len == 13 && ps_http_is_text(name, "Cache-Control"))
            has_control = true;
        else if (name.len == 13 && ps_http_is_text(name, "Authorization"))
            ret_asked->authorized = true;
        else if ((name.len == 13 && ps_http_is_text(name, "If-None-Match")) ||
                 (name.len == 17 && ps_http_is_text(name, "If-Modified-Since")))
            ret_asked->has_conditions = true;
        else if (name.len == 19 && ps_http_is_text(name, "If-Unmodified-Since"))
            ret_asked->for_origin = true;
    }
    if (has_control) {
        struct cache_directives said = cache_directives_read(request);
        ret_asked->only_if_cached = said.only_if_cached;
        ret_asked->no_cache = said.no_cache;
        ret_asked->no_store = said.no_store;
        ret_asked->max_age_s = said.max_age;
        ret_asked->min_fresh_s = said.min_fresh;
        ret_asked->max_stale_s = said.max_stale;
    } else if (has_pragma) { /* section 5.4 */
        ret_asked->no_cache = cache_lists(request, "Pragma", PS_STR("no-cache"));
    }
}

bool cache_asked_may_lead(const struct cache_asked *asked, const struct cfg_route_cache *route)
{
    return asked->is_get && !asked->for_origin && !asked->authorized && asked->range.at == NULL &&
           !(route->obeys_no_cache && (asked->no_store || asked->no_cache));
}

/* --- An answer. --- */

/* Statuses that RFC 9110, section 15.1, allows to keep without explicit freshness, except 206,
 * which is never kept, and 405, 414 and 501, which answer what one visitor did. */
static bool is_heuristic(int status)
{
    static const uint16_t list[] = {200, 203, 204, 300, 301, 308, 404, 410};
    for (size_t i = 0; i < PS_ARRAY_LEN(list); i++) {
        if (list[i] == status)
            return true;
    }
    return false;
}

/* Does this cache know the status (must-understand)? */
static bool is_understood(int status)
{
    static const uint16_t list[] = {302, 303, 307, 400, 403, 405, 414,
                                    451, 500, 501, 502, 503, 504};
    for (size_t i = 0; i < PS_ARRAY_LEN(list); i++) {
        if (list[i] == status)
            return true;
    }
    return is_heuristic(status);
}

/* Section 5.1: the first member of the first line; a malformed one counts as 0. */
static int64_t read_age_ms(struct cache_message answer)
{
    struct ps_str line = cache_field(answer, "Age"), first;
    if (line.at == NULL || !cache_take_element(&line, &first))
        return 0;
    int64_t age_s = cache_delta_read(first);
    return age_s > 0 ? age_s * 1000 : 0;
}

/* Section 5.3: Expires - Date; a malformed date, or a second line, counts as past. */
static int64_t read_expires_ms(struct cache_message answer, int64_t date_ms, int64_t wall_ms,
                               bool *ret_present)
{
    struct ps_str line, second;
    uint32_t at = 0;
    *ret_present = cache_next_line(answer, "Expires", &at, &line);
    if (!*ret_present || cache_next_line(answer, "Expires", &at, &second))
        return 0;
    int64_t expires_ms = cache_date_read(line, wall_ms);
    return expires_ms > date_ms ? expires_ms - date_ms : 0;
}

static size_t count_tags(struct cache_message answer)
{
    struct ps_str line, word;
    size_t count = 0;
    for (uint32_t at = 0; cache_next_line(answer, "Surrogate-Key", &at, &line);) {
        while (cache_take_word(&line, &word))
            count++;
    }
    return count;
}

static int64_t delta_ms(int64_t said_s, int64_t otherwise_s)
{
    return (said_s >= 0 ? said_s : said_s == CACHE_DELTA_NONE ? otherwise_s : 0) * 1000;
}

/* Lifetime and stale uses; true if the answer says how long it is fresh. */
static bool read_freshness(struct cache_message answer, const struct cfg_route_cache *route,
                           const struct cache_directives *said, bool targeted, int64_t wall_ms,
                           struct cache_kept *kept)
{
    bool explicit = said->s_maxage != CACHE_DELTA_NONE || said->max_age != CACHE_DELTA_NONE;
    if (said->s_maxage != CACHE_DELTA_NONE)
        kept->lifetime_ms = delta_ms(said->s_maxage, 0);
    else if (said->max_age != CACHE_DELTA_NONE)
        kept->lifetime_ms = delta_ms(said->max_age, 0);
    else if (!targeted)
        kept->lifetime_ms = read_expires_ms(answer, kept->date_ms, wall_ms, &explicit);
    if (!explicit && (is_heuristic(kept->status) || said->is_public) &&
        (said->present || !cache_lists(answer, "Pragma", PS_STR("no-cache"))))
        kept->lifetime_ms = route->default_ttl_s * 1000;
    kept->always_ask = said->no_cache;
    kept->never_stale = said->must_revalidate || said->proxy_revalidate;
    if (said->s_maxage !=
        CACHE_DELTA_NONE) { /* 5.2.2.10; the answer's own directives are more specific */
        kept->while_revalidate_ms = delta_ms(said->while_revalidate, 0);
        kept->if_error_ms = delta_ms(said->if_error, 0);
        kept->never_stale |= kept->while_revalidate_ms == 0 && kept->if_error_ms == 0;
    } else {
        kept->while_revalidate_ms =
            delta_ms(said->while_revalidate, route->stale_while_revalidate_s);
        kept->if_error_ms = delta_ms(said->if_error, route->stale_if_error_s);
    }
    if (!cache_kept_may_be_stale(kept))
        kept->while_revalidate_ms = kept->if_error_ms = 0;
    return explicit || said->no_cache;
}

static enum cache_store judge(const struct cache_asked *asked, struct cache_message answer,
                              const struct cache_directives *said)
{
    int status = answer.head->status;
    if (!asked->is_get)
        return CACHE_STORE_method;
    if (status < 200 || status == 206 || status == 304 ||
        (said->must_understand && !is_understood(status)))
        return CACHE_STORE_status;
    if (said->no_store && !said->must_understand)
        return CACHE_STORE_no_store;
    if (said->is_private)
        return CACHE_STORE_private;
    if (asked->authorized && !said->is_public && !said->must_revalidate && said->s_maxage < 0)
        return CACHE_STORE_authorization;
    if (cache_field(answer, "Set-Cookie").at != NULL ||
        cache_field(answer, "Set-Cookie2").at != NULL)
        return CACHE_STORE_set_cookie;
    if (cache_lists(answer, "Vary", PS_STR("*")))
        return CACHE_STORE_vary;
    return count_tags(answer) > CACHE_TAGS_MAX ? CACHE_STORE_tags : CACHE_STORE_stored;
}

enum cache_store cache_kept_read(const struct cache_asked *asked, struct cache_message answer,
                                 const struct cfg_route_cache *route,
                                 const struct cache_moments *moments, struct cache_kept *ret_kept)
{
    struct cache_directives said;
    bool targeted = cache_directives_targeted(answer, &said);
    if (!targeted)
        said = cache_directives_read(answer);
    int64_t date_ms = cache_date_read(cache_field(answer, "Date"), moments->wall_ms);
    *ret_kept = (struct cache_kept){
        .status = answer.head->status,
        .received_ms = moments->received_ms,
        .date_ms = date_ms == INT64_MIN ? moments->wall_ms : date_ms,
        .modified_ms = cache_date_read(cache_field(answer, "Last-Modified"), moments->wall_ms)};
    /* Section 4.2.3. */
    int64_t apparent_ms = moments->wall_ms - ret_kept->date_ms;
    int64_t corrected_ms = read_age_ms(answer) + moments->received_ms - moments->sent_ms;
    ret_kept->initial_age_ms = apparent_ms > corrected_ms ? apparent_ms : corrected_ms;

    bool explicit = read_freshness(answer, route, &said, targeted, moments->wall_ms, ret_kept);
    enum cache_store store = judge(asked, answer, &said);
    if (store != CACHE_STORE_stored)
        return store;
    if (route->obeys_no_cache && asked->no_store) /* 5.2.1.5 */
        return CACHE_STORE_no_store;
    if (!explicit && ret_kept->lifetime_ms == 0)
        return CACHE_STORE_freshness;
    bool has_validator =
        cache_is_etag(cache_field(answer, "ETag")) || ret_kept->modified_ms != INT64_MIN;
    bool is_fresh = !ret_kept->always_ask && ret_kept->lifetime_ms > ret_kept->initial_age_ms;
    return is_fresh || has_validator || ret_kept->while_revalidate_ms > 0 ||
                   ret_kept->if_error_ms > 0
               ? CACHE_STORE_stored
               : CACHE_STORE_stale;
}

int64_t cache_kept_age_ms(const struct cache_kept *kept, int64_t now_ms)
{
    int64_t resident_ms = now_ms - kept->received_ms;
    int64_t age_ms = kept->initial_age_ms + (resident_ms > 0 ? resident_ms : 0);
    return age_ms > 0 ? age_ms : 0;
}

int64_t cache_kept_ttl_ms(const struct cache_kept *kept, int64_t now_ms)
{
    return kept->lifetime_ms - cache_kept_age_ms(kept, now_ms);
}

enum cache_use cache_kept_use(const struct cache_kept *kept, const struct cache_asked *asked,
                              const struct cfg_route_cache *route, int64_t now_ms)
{
    int64_t age_ms = cache_kept_age_ms(kept, now_ms), ttl_ms = kept->lifetime_ms - age_ms;
    if (kept->always_ask)
        return CACHE_USE_ASK;
    if (route->obeys_no_cache && (asked->no_cache || asked->no_store || asked->max_age_s == 0 ||
                                  (asked->max_age_s > 0 && age_ms > asked->max_age_s * 1000) ||
                                  (asked->min_fresh_s >= 0 && ttl_ms < asked->min_fresh_s * 1000)))
        return CACHE_USE_ASK;
    if (ttl_ms > 0)
        return CACHE_USE_FRESH;
    int64_t allowed_ms = kept->while_revalidate_ms;
    if (!kept->never_stale && asked->max_stale_s >= 0) {
        int64_t max_stale_ms =
            asked->max_stale_s > CACHE_DELTA_MAX ? INT64_MAX : asked->max_stale_s * 1000;
        allowed_ms = max_stale_ms > allowed_ms ? max_stale_ms : allowed_ms;
    }
    return -ttl_ms < allowed_ms ? CACHE_USE_STALE : CACHE_USE_ASK;
}

bool cache_kept_if_error(const struct cache_kept *kept, int64_t now_ms)
{
    return cache_kept_may_be_stale(kept) && -cache_kept_ttl_ms(kept, now_ms) < kept->if_error_ms;
}

/* --- The rest. --- */

bool cache_invalidates(enum ps_http_method method, int status)
{
    return method != PS_HTTP_GET && method != PS_HTTP_HEAD && method != PS_HTTP_OPTIONS &&
           status >= 200 && status < 400;
}

void cache_status_put(const struct cache_status *status, struct ps_buf *buf)
{
    static const char *const words[] = {[CACHE_FWD_BYPASS] = "fwd=bypass",
                                        [CACHE_FWD_NONE] = "hit",
                                        [CACHE_FWD_MISS] = "fwd=miss",
                                        [CACHE_FWD_STALE] = "fwd=stale",
                                        [CACHE_FWD_REQUEST] = "fwd=request"};
    ps_buf_puts(buf, "penstock; ");
    ps_buf_puts(buf, words[status->fwd]);
    if (status->fwd_status != 0) {
        ps_buf_puts(buf, "; fwd-status=");
        ps_buf_put_int(buf, status->fwd_status);
    }
    if (status->stored)
        ps_buf_puts(buf, "; stored");
    if (status->collapsed)
        ps_buf_puts(buf, "; collapsed");
    if (status->has_ttl) {
        ps_buf_puts(buf, "; ttl=");
        ps_buf_put_int(buf, status->ttl_s);
    }
}
