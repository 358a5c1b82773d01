/* Lists and directives in the fields of a message, for the rules of the cache. Pure functions. */
#ifndef UP_CACHE_DIRECTIVES_H
#define UP_CACHE_DIRECTIVES_H

#include "gateway/upstream/cache_rules.h"

#define UP_DELTA_MAX     INT64_C(2147483648) /* RFC 9111, 1.2.2 */
#define UP_DELTA_NONE    INT64_C(-1)
#define UP_DELTA_INVALID INT64_C(-2)

struct up_directives {
    bool present;
    bool no_store, no_cache, is_private, is_public, must_revalidate, proxy_revalidate,
        must_understand, only_if_cached;
    /* UP_DELTA_NONE, UP_DELTA_INVALID, or seconds. */
    int64_t max_age, s_maxage, while_revalidate, if_error, min_fresh, max_stale;
};

/* Cache-Control. */
struct up_directives up_directives_read(struct up_message message);
/* CDN-Cache-Control (RFC 9213), which counts in the place of Cache-Control and Expires. False: it
 * is not there, empty or invalid. */
bool up_directives_targeted(struct up_message message, struct up_directives *ret_directives);

/* 1*DIGIT; more than fits is the most there is. UP_DELTA_INVALID. */
int64_t up_delta_read(struct ps_str text);
/* Does the text have this name, in any case? */
bool up_is_name(struct ps_str text, const char *name);
/* Goes through the lines of one field; `at` begins with 0. */
bool up_next_line(struct up_message message, const char *name, uint32_t *at,
                  struct ps_str *ret_value);
/* The next element of a list, up to a comma outside quotes, without white space around it, and
 * maybe empty. False: there is no more. */
bool up_take_element(struct ps_str *rest, struct ps_str *ret_element);
/* The next word of a list that spaces divide. False: there is no more. */
bool up_take_word(struct ps_str *rest, struct ps_str *ret_word);
/* 1*DIGIT, at most 18. */
bool up_take_number(struct ps_str *rest, uint64_t *ret_value);
/* INT64_MIN: it is not there (.at == NULL), or no date. */
int64_t up_date_read(struct ps_str text, int64_t now_ms);
static inline void up_skip(struct ps_str *rest, size_t count)
{
    rest->at += count;
    rest->len -= count;
}
static inline bool up_take_char(struct ps_str *rest, char c)
{
    if (rest->len == 0 || rest->at[0] != c)
        return false;
    up_skip(rest, 1);
    return true;
}

#endif
