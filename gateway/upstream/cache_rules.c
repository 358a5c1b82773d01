/* Directives are read in one pass over the lines of their field into a struct; what an answer's
 * keeping comes to is computed once, when its head is there, so that a hit only compares numbers.
 *
 * What must hold: in doubt nothing is kept, and what is kept is stale. */
#include "gateway/upstream/cache_directives.h"

#define STORE_NAME(name) #name,
const char *const up_store_names[UP_STORE_COUNT + 1] = {UP_STORES(STORE_NAME) NULL};

/* --- A request. --- */

static bool lists_no_cache(struct up_message message)
{
    struct ps_str line, element;
    for (uint32_t at = 0; up_next_line(message, "Pragma", &at, &line);) {
        while (up_take_element(&line, &element)) {
            if (up_is_name(element, "no-cache"))
                return true;
        }
    }
    return false;
}

/* Most requests have none of these fields: one pass by the length of the names finds out. */
void up_asked_read(struct up_message request, struct up_asked *ret_asked)
{
    *ret_asked = (struct up_asked){.message = request,
                                   .is_get = request.head->method == PS_HTTP_GET,
                                   .is_head = request.head->method == PS_HTTP_HEAD,
                                   .max_age_s = -1,
                                   .min_fresh_s = -1,
                                   .max_stale_s = -1};
    bool has_control = false, has_pragma = false;
    for (uint32_t i = 0; i < request.head->field_count; i++) {
        const struct ps_http_field *field = &request.head->fields[i];
        struct ps_str name = ps_http_text(request.data, field->name);
        if (name.len == 5 && up_is_name(name, "Range"))
            ret_asked->range = ps_http_text(request.data, field->value);
        else if (name.len == 6 && up_is_name(name, "Pragma"))
            has_pragma = true;
        else if (name.len == 8 && up_is_name(name, "If-Range"))
            ret_asked->if_range = ps_http_text(request.data, field->value);
        else if (name.len == 8 && up_is_name(name, "If-Match"))
            ret_asked->for_origin = true;
        else if (name.len == 13 && up_is_name(name, "Cache-Control"))
            has_control = true;
        else if (name.len == 13 && up_is_name(name, "Authorization"))
            ret_asked->authorized = true;
        else if ((name.len == 13 && up_is_name(name, "If-None-Match")) ||
                 (name.len == 17 && up_is_name(name, "If-Modified-Since")))
            ret_asked->has_conditions = true;
        else if (name.len == 19 && up_is_name(name, "If-Unmodified-Since"))
            ret_asked->for_origin = true;
    }
    if (has_control) {
        struct up_directives said = up_directives_read(request);
        ret_asked->only_if_cached = said.only_if_cached;
        ret_asked->no_cache = said.no_cache;
        ret_asked->no_store = said.no_store;
        ret_asked->max_age_s = said.max_age;
        ret_asked->min_fresh_s = said.min_fresh;
        ret_asked->max_stale_s = said.max_stale;
    } else if (has_pragma) { /* section 5.4 */
        ret_asked->no_cache = lists_no_cache(request);
    }
}

bool up_asked_may_lead(const struct up_asked *asked, const struct cfg_route_cache *route)
{
    return asked->is_get && !asked->for_origin && !asked->authorized && asked->range.at == NULL &&
           !(route->obeys_no_cache && (asked->no_store || asked->no_cache));
}

/* --- An answer. --- */

/* Section 15.1 of RFC 9110: may be kept without a word of how long. 206 is not kept at all. */
static bool is_heuristic(int status)
{
    static const uint16_t list[] = {200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501};
    for (size_t i = 0; i < PS_ARRAY_LEN(list); i++) {
        if (list[i] == status)
            return true;
    }
    return false;
}

/* What it means for a cache is known here (must-understand). */
static bool is_understood(int status)
{
    static const uint16_t list[] = {302, 303, 307, 400, 403, 451, 500, 502, 503, 504};
    for (size_t i = 0; i < PS_ARRAY_LEN(list); i++) {
        if (list[i] == status)
            return true;
    }
    return is_heuristic(status);
}

/* Section 5.1: the first member of the first line; what is no number counts as nothing. */
static int64_t read_age_ms(struct up_message answer)
{
    struct ps_str line = up_field(answer, "Age"), first;
    if (line.at == NULL || !up_take_element(&line, &first))
        return 0;
    int64_t age_s = up_delta_read(first);
    return age_s > 0 ? age_s * 1000 : 0;
}

/* Section 5.3: Expires - Date; a date that is none, or a second line, lies in the past. */
static int64_t read_expires_ms(struct up_message answer, int64_t date_ms, int64_t wall_ms,
                               bool *ret_present)
{
    struct ps_str line, second;
    uint32_t at = 0;
    *ret_present = up_next_line(answer, "Expires", &at, &line);
    if (!*ret_present || up_next_line(answer, "Expires", &at, &second))
        return 0;
    int64_t expires_ms = up_date_read(line, wall_ms);
    return expires_ms > date_ms ? expires_ms - date_ms : 0;
}

/* Whether the names are too many up_vary_put finds out. */
static bool varies_by_anything(struct up_message answer)
{
    struct ps_str line, element;
    for (uint32_t at = 0; up_next_line(answer, "Vary", &at, &line);) {
        while (up_take_element(&line, &element)) {
            if (up_is_name(element, "*"))
                return true;
        }
    }
    return false;
}

static size_t count_tags(struct up_message answer)
{
    struct ps_str line, word;
    size_t count = 0;
    for (uint32_t at = 0; up_next_line(answer, "Surrogate-Key", &at, &line);) {
        while (up_take_word(&line, &word))
            count++;
    }
    return count;
}

static int64_t delta_ms(int64_t said_s, int64_t otherwise_s)
{
    return (said_s >= 0 ? said_s : said_s == UP_DELTA_NONE ? otherwise_s : 0) * 1000;
}

/* Lifetime and stale uses; says whether anything said how long. */
static bool read_freshness(struct up_message answer, const struct cfg_route_cache *route,
                           const struct up_directives *said, bool targeted, int64_t wall_ms,
                           struct up_kept *kept)
{
    bool explicit = said->s_maxage != UP_DELTA_NONE || said->max_age != UP_DELTA_NONE;
    if (said->s_maxage != UP_DELTA_NONE)
        kept->lifetime_ms = delta_ms(said->s_maxage, 0);
    else if (said->max_age != UP_DELTA_NONE)
        kept->lifetime_ms = delta_ms(said->max_age, 0);
    else if (!targeted)
        kept->lifetime_ms = read_expires_ms(answer, kept->date_ms, wall_ms, &explicit);
    if (!explicit && (is_heuristic(kept->status) || said->is_public) &&
        (said->present || !lists_no_cache(answer)))
        kept->lifetime_ms = route->default_ttl_s * 1000;
    kept->always_ask = said->no_cache;
    kept->never_stale = said->must_revalidate || said->proxy_revalidate;
    if (said->s_maxage != UP_DELTA_NONE) { /* 5.2.2.10; the answer's own words are more special */
        kept->while_revalidate_ms = delta_ms(said->while_revalidate, 0);
        kept->if_error_ms = delta_ms(said->if_error, 0);
        kept->never_stale |= kept->while_revalidate_ms == 0 && kept->if_error_ms == 0;
    } else {
        kept->while_revalidate_ms =
            delta_ms(said->while_revalidate, route->stale_while_revalidate_s);
        kept->if_error_ms = delta_ms(said->if_error, route->stale_if_error_s);
    }
    if (!up_kept_may_be_stale(kept))
        kept->while_revalidate_ms = kept->if_error_ms = 0;
    return explicit || said->no_cache;
}

static enum up_store judge(const struct up_asked *asked, struct up_message answer,
                           const struct up_directives *said)
{
    int status = answer.head->status;
    if (!asked->is_get)
        return UP_STORE_method;
    if (status < 200 || status == 206 || status == 304 ||
        (said->must_understand && !is_understood(status)))
        return UP_STORE_status;
    if (said->no_store && !said->must_understand)
        return UP_STORE_no_store;
    if (said->is_private)
        return UP_STORE_private;
    if (asked->authorized && !said->is_public && !said->must_revalidate && said->s_maxage < 0)
        return UP_STORE_authorization;
    if (up_field(answer, "Set-Cookie").at != NULL || up_field(answer, "Set-Cookie2").at != NULL)
        return UP_STORE_set_cookie;
    if (varies_by_anything(answer))
        return UP_STORE_vary;
    return count_tags(answer) > UP_TAGS_MAX ? UP_STORE_tags : UP_STORE_stored;
}

enum up_store up_kept_read(const struct up_asked *asked, struct up_message answer,
                           const struct cfg_route_cache *route, const struct up_moments *moments,
                           struct up_kept *ret_kept)
{
    struct up_directives said;
    bool targeted = up_directives_targeted(answer, &said);
    if (!targeted)
        said = up_directives_read(answer);
    int64_t date_ms = up_date_read(up_field(answer, "Date"), moments->wall_ms);
    *ret_kept = (struct up_kept){
        .status = answer.head->status,
        .received_ms = moments->received_ms,
        .date_ms = date_ms == INT64_MIN ? moments->wall_ms : date_ms,
        .modified_ms = up_date_read(up_field(answer, "Last-Modified"), moments->wall_ms)};
    /* Section 4.2.3. */
    int64_t apparent_ms = moments->wall_ms - ret_kept->date_ms;
    int64_t corrected_ms = read_age_ms(answer) + moments->received_ms - moments->sent_ms;
    ret_kept->initial_age_ms = apparent_ms > corrected_ms ? apparent_ms : corrected_ms;

    bool explicit = read_freshness(answer, route, &said, targeted, moments->wall_ms, ret_kept);
    enum up_store store = judge(asked, answer, &said);
    if (store != UP_STORE_stored)
        return store;
    if (route->obeys_no_cache && asked->no_store) /* 5.2.1.5 */
        return UP_STORE_no_store;
    if (!explicit && ret_kept->lifetime_ms == 0)
        return UP_STORE_freshness;
    bool has_validator = up_is_etag(up_field(answer, "ETag")) || ret_kept->modified_ms != INT64_MIN;
    bool is_fresh = !ret_kept->always_ask && ret_kept->lifetime_ms > ret_kept->initial_age_ms;
    return is_fresh || has_validator || ret_kept->while_revalidate_ms > 0 ||
                   ret_kept->if_error_ms > 0
               ? UP_STORE_stored
               : UP_STORE_stale;
}

int64_t up_kept_age_ms(const struct up_kept *kept, int64_t now_ms)
{
    int64_t resident_ms = now_ms - kept->received_ms;
    int64_t age_ms = kept->initial_age_ms + (resident_ms > 0 ? resident_ms : 0);
    return age_ms > 0 ? age_ms : 0;
}

int64_t up_kept_ttl_ms(const struct up_kept *kept, int64_t now_ms)
{
    return kept->lifetime_ms - up_kept_age_ms(kept, now_ms);
}

enum up_use up_kept_use(const struct up_kept *kept, const struct up_asked *asked,
                        const struct cfg_route_cache *route, int64_t now_ms)
{
    int64_t age_ms = up_kept_age_ms(kept, now_ms), ttl_ms = kept->lifetime_ms - age_ms;
    if (kept->always_ask)
        return UP_USE_ASK;
    if (route->obeys_no_cache && (asked->no_cache || asked->no_store || asked->max_age_s == 0 ||
                                  (asked->max_age_s > 0 && age_ms > asked->max_age_s * 1000) ||
                                  (asked->min_fresh_s >= 0 && ttl_ms < asked->min_fresh_s * 1000)))
        return UP_USE_ASK;
    if (ttl_ms > 0)
        return UP_USE_FRESH;
    int64_t allowed_ms = kept->while_revalidate_ms;
    if (!kept->never_stale && asked->max_stale_s >= 0) {
        int64_t max_stale_ms =
            asked->max_stale_s > UP_DELTA_MAX ? INT64_MAX : asked->max_stale_s * 1000;
        allowed_ms = max_stale_ms > allowed_ms ? max_stale_ms : allowed_ms;
    }
    return -ttl_ms < allowed_ms ? UP_USE_STALE : UP_USE_ASK;
}

bool up_kept_if_error(const struct up_kept *kept, int64_t now_ms)
{
    return up_kept_may_be_stale(kept) && -up_kept_ttl_ms(kept, now_ms) < kept->if_error_ms;
}

/* --- The rest. --- */

bool up_invalidates(enum ps_http_method method, int status)
{
    return method != PS_HTTP_GET && method != PS_HTTP_HEAD && method != PS_HTTP_OPTIONS &&
           status >= 200 && status < 400;
}

void up_cache_status_put(const struct up_cache_status *status, struct ps_buf *buf)
{
    static const char *const words[] = {"hit", "fwd=miss", "fwd=stale", "fwd=request",
                                        "fwd=bypass"};
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
