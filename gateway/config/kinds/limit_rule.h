/* A rate-limit rule as operators write it: one JSON document a rule, in the store and in
 * `/admin/v1/limits/{rule}`.
 *
 *   {"algorithm":"token_bucket","key":"user","rate":5,"period_s":10,"burst":5,"max_wait_ms":0,
 *    "mode":"enforce","applies_to":["order"],"sale":null,"route":null}
 *
 * algorithm, key, rate and period_s are required. An absent member has the value shown, except
 * burst, how many may come at once:
 * - token_bucket: default rate.
 * - leaky_bucket: default 1. A request that comes sooner is held until the bucket has leaked, for
 *   max_wait_ms at most, and for CFG_LIMIT_WAIT_MAX_MS at most under all rules together.
 * - The windows have no burst: it is absent, or equal to rate.
 * A rule with a route is for pages (`"applies_to":["page"]`, its default then) and counts only
 * requests that this route serves. `"trial":{"rate":2,"burst":2,"period_s":1}` (default null) has
 * figures on trial: requests that they would refuse are counted, too. */
#ifndef CFG_LIMIT_RULE_H
#define CFG_LIMIT_RULE_H

#include "gateway/config/store/document.h"

/* The largest number of rules: every request checks all of them. */
#define CFG_RULES_MAX 64

enum cfg_limit_algorithm {
    CFG_LIMIT_TOKEN_BUCKET,
    CFG_LIMIT_LEAKY_BUCKET,
    CFG_LIMIT_FIXED_WINDOW,
    CFG_LIMIT_SLIDING_WINDOW
};

/* What is counted separately: each user, each address, everybody together, each sale. */
enum cfg_limit_key {
    CFG_LIMIT_KEY_USER,
    CFG_LIMIT_KEY_IP,
    CFG_LIMIT_KEY_GLOBAL,
    CFG_LIMIT_KEY_SALE
};
/* The names of keys, NULL-terminated. */
extern const char *const cfg_limit_keys[];

/* Shadow: counted and reported, never refused. The caller implements the mode; the algorithms do
 * not. */
enum cfg_limit_mode { CFG_LIMIT_ENFORCE, CFG_LIMIT_SHADOW, CFG_LIMIT_OFF };

/* Figures on trial: counted beside the rule's own, never refused. rate 0: there are none. */
struct cfg_limit_trial {
    int64_t rate, burst, period_s; /* as in the rule */
};

/* Bits of applies_to. */
enum { CFG_LIMIT_ORDER = 1, CFG_LIMIT_ORDER_STATE = 2, CFG_LIMIT_STATUS = 4, CFG_LIMIT_PAGE = 8 };

#define CFG_LIMIT_RATE_MAX     1000000
#define CFG_LIMIT_PERIOD_MAX_S 86400
#define CFG_LIMIT_BURST_MAX    1000000
/* The longest wait under one rule, and of one request under all rules: proxies wait for 15 s. */
#define CFG_LIMIT_WAIT_MAX_MS 10000
/* An empty bucket is full again within a year: burst * period_s / rate. It keeps all times inside a
 * cell. */
#define CFG_LIMIT_REFILL_MAX_S INT64_C(31536000)

struct cfg_limit_rule {
    char name[PS_NAME_MAX + 1];
    enum cfg_limit_algorithm algorithm;
    enum cfg_limit_key key;
    int64_t rate;        /* requests per period: 1 .. CFG_LIMIT_RATE_MAX */
    int64_t period_s;    /* 1 .. CFG_LIMIT_PERIOD_MAX_S */
    int64_t burst;       /* 1 .. CFG_LIMIT_BURST_MAX; windows: = rate */
    int64_t max_wait_ms; /* 0 .. CFG_LIMIT_WAIT_MAX_MS; leaky bucket only, else 0 */
    enum cfg_limit_mode mode;
    unsigned applies_to;         /* at least one bit */
    char sale[PS_NAME_MAX + 1];  /* "" = every sale */
    bool allow_unknown;          /* the sale may not exist yet */
    char route[PS_NAME_MAX + 1]; /* "" = every route */
    struct cfg_limit_trial trial;
};

/* The rule with the figures of its trial instead of its own. */
void cfg_limit_with_trial(const struct cfg_limit_rule *rule, struct cfg_limit_rule *ret_rule);

/* Of a rule's version that is not a deletion. */
static inline const struct cfg_limit_rule *cfg_rule_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
