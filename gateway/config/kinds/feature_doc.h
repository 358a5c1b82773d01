/* The kind `features`: what the ladder can turn off, and from which level on:
 *
 *   {"level":2}
 *
 * With a level of null the ladder never turns the feature off. Each row of the table has exactly
 * one document; none can be added or deleted. Core work is not in the table: buying, confirming,
 * cancelling, and routes of the class core. */
#ifndef CFG_FEATURE_DOC_H
#define CFG_FEATURE_DOC_H

#include "gateway/config/store/document.h"

/* clang-format off */
/*    name, level as shipped, what happens while it is off */
#define CFG_FEATURES(X) \
    X(exact_stock, 2, "The status page says plenty, few or none instead of the number of units left.") \
    X(order_state_fresh, 3, "Look-ups show orders as the log last showed them, and clients may keep the answer for 2 s; Redis is not asked for orders that the log does not show.") \
    X(status_page_short_ttl, 2, "Caches may keep the status page five times as long.") \
    X(long_keep_alive, 3, "Idle connections of buyers are closed after a second; connections of trusted proxies stay open.") \
    X(access_log, 1, "The access log gets one line in a hundred.") \
    X(exports, 2, "Exports and audits are refused with 503. Pressure turns this feature off only while a real sale is open.") \
    X(rehearsals, 1, "Orders of rehearsal sales are refused with 503. Pressure turns this feature off only while a real sale is open.") \
    X(routes_extra, 1, "Routes of the class extra are answered by their fallbacks, or with 503.") \
    X(routes_normal, 3, "Routes of the class normal are answered by their fallbacks, or with 503.") \
    X(routes_important, 4, "Routes of the class important are answered by their fallbacks, or with 503.") \
    X(mirror, 1, "No copies of requests are sent to the pools of mirrors.")
/* clang-format on */

#define CFG_FEATURE_ENUM(name, level, words) CFG_FEATURE_##name,
enum cfg_feature { CFG_FEATURES(CFG_FEATURE_ENUM) CFG_FEATURE_COUNT };
#undef CFG_FEATURE_ENUM

/* By enum cfg_feature, NULL-terminated: values of a metric's label, too. */
extern const char *const cfg_feature_names[CFG_FEATURE_COUNT + 1];
extern const char *const cfg_feature_words[CFG_FEATURE_COUNT];

/* CFG_FEATURE_COUNT: no feature has this name. */
enum cfg_feature cfg_feature_find(const char *name);

struct cfg_feature_doc {
    int level; /* it is off at this level and above, 1 .. CFG_LEVEL_MAX; 0: never */
};

/* Of a version that is not a deletion. */
static inline const struct cfg_feature_doc *cfg_feature_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
