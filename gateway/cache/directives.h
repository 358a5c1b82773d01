/* Lists, directives and entity tags in the fields of a message, for the rules of the cache. Pure
 * functions. */
#ifndef CACHE_DIRECTIVES_H
#define CACHE_DIRECTIVES_H

#include "gateway/cache/freshness.h"

#define CACHE_DELTA_MAX     INT64_C(2147483648) /* RFC 9111, 1.2.2 */
#define CACHE_DELTA_NONE    INT64_C(-1)
#define CACHE_DELTA_INVALID INT64_C(-2)

struct cache_directives {
    bool present;
    bool no_store, no_cache, is_private, is_public, must_revalidate, proxy_revalidate,
        must_understand, only_if_cached;
    /* CACHE_DELTA_NONE, CACHE_DELTA_INVALID, or seconds. */
    int64_t max_age, s_maxage, while_revalidate, if_error, min_fresh, max_stale;
};

/* Cache-Control. */
struct cache_directives cache_directives_read(struct cache_message message);
/* CDN-Cache-Control (RFC 9213), which replaces Cache-Control and Expires. False: it is missing,
 * empty or invalid. */
bool cache_directives_targeted(struct cache_message message,
                               struct cache_directives *ret_directives);

/* 1*DIGIT; a number that does not fit becomes the largest. CACHE_DELTA_INVALID. */
int64_t cache_delta_read(struct ps_str text);
/* Goes through the lines of one field; `at` begins with 0. */
bool cache_next_line(struct cache_message message, const char *name, uint32_t *at,
                     struct ps_str *ret_value);
/* The next element of a list, up to a comma outside quotes, without white space around it, and
 * maybe empty. False: there is no more. */
bool cache_take_element(struct ps_str *rest, struct ps_str *ret_element);
/* Does the field, a list, contain this element? Case does not count. */
bool cache_lists(struct cache_message message, const char *name, struct ps_str wanted);
/* The next word of a list separated by spaces. False: there are no more. */
bool cache_take_word(struct ps_str *rest, struct ps_str *ret_word);
/* 1*DIGIT, at most 18. */
bool cache_take_number(struct ps_str *rest, uint64_t *ret_value);
/* INT64_MIN: it is missing (.at == NULL), or no date. */
int64_t cache_date_read(struct ps_str text, int64_t now_ms);
/* Of an entity tag (RFC 9110, 8.8.3). */
static inline bool cache_is_weak(struct ps_str etag)
{
    return etag.len >= 2 && etag.at[0] == 'W' && etag.at[1] == '/';
}
/* An entity tag, weak or strong: what is not one cannot validate. */
bool cache_is_etag(struct ps_str text);
static inline void cache_skip(struct ps_str *rest, size_t count)
{
    rest->at += count;
    rest->len -= count;
}
static inline bool cache_take_char(struct ps_str *rest, char c)
{
    if (rest->len == 0 || rest->at[0] != c)
        return false;
    cache_skip(rest, 1);
    return true;
}

#endif
