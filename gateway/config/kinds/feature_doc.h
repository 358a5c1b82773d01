/* The kind `features`: what is not core, and the level of the ladder from which on it is turned
 * off:
 *
 *   {"level":2}
 *
 * A level of null: never by itself. There is one document for each row of the table, no other, and
 * none is deleted. Buying, confirming and cancelling are core, and so are routes of the class core:
 * they are no features. */
#ifndef CFG_FEATURE_DOC_H
#define CFG_FEATURE_DOC_H

#include "gateway/config/store/document.h"

/* clang-format off */
/*    name, level as shipped, what happens while it is off */
#define CFG_FEATURES(X) \
    X(exact_stock, 2, "The status page says plenty, few or none in the place of how many are left.") \
    X(order_state_fresh, 3, "A buyer's orders are answered as the log last showed them, to be kept for 2 s; Redis is not asked for those that it does not show.") \
    X(status_page_short_ttl, 2, "Caches may keep the status page five times as long.") \
    X(long_keep_alive, 3, "Idle connections of buyers are closed after a second; those of trusted proxies stay.") \
    X(access_log, 1, "Of a hundred lines of the access log one is written.") \
    X(exports, 2, "Exports and audits are refused with 503, by pressure only while a sale is open that is no rehearsal.") \
    X(rehearsals, 1, "Orders of rehearsal sales are refused with 503, by pressure only while another sale is open.") \
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

/* CFG_FEATURE_COUNT: there is no feature of this name. */
enum cfg_feature cfg_feature_find(const char *name);

struct cfg_feature_doc {
    int level; /* from which on it is off, 1 .. CFG_LEVEL_MAX; 0: never */
};

/* Of a version that is no deletion. */
static inline const struct cfg_feature_doc *cfg_feature_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
