/* The private kind `overrides`: values that operators have set for a time. An override replaces the
 * value that would be in force otherwise. It changes no document, ends by itself, and applies to
 * every gateway of a cluster, or to the one that it names. Its name is "TARGET" or
 * "TARGET@GATEWAY":
 *
 *   level                   a level of the ladder, 0 .. CFG_LEVEL_MAX
 *   feature:NAME            on, off
 *   breaker:NAME            open, closed
 *   flow:log, flow:store    how many calls may be in progress at each gateway
 *   fallback:ROUTE          on: the route's fallbacks answer
 *   split:ROUTE:POOL        the share of the route's split to that pool
 *   limit:RULE              enforce, shadow, off
 *
 * Its document is {"value":…,"until":…}, with "run" where a plan has set it; the version's author
 * has who set it, when and why. If a target has two overrides, the one for this gateway wins. */
#ifndef CFG_OVERRIDE_H
#define CFG_OVERRIDE_H

#include "gateway/config/store/document.h"

#define CFG_OVERRIDES_MAX      256
#define CFG_OVERRIDE_TTL_MAX_S INT64_C(604800) /* a week */
#define CFG_TARGET_MAX         (CFG_NAME_MAX - PS_NAME_MAX - 1)
#define CFG_FLOW_MAX           1000000

enum cfg_override_kind {
    CFG_OVERRIDE_LEVEL,
    CFG_OVERRIDE_FEATURE,
    CFG_OVERRIDE_BREAKER,
    CFG_OVERRIDE_FLOW,
    CFG_OVERRIDE_FALLBACK,
    CFG_OVERRIDE_SPLIT,
    CFG_OVERRIDE_LIMIT,
    CFG_OVERRIDE_KINDS
};
/* The words before the colon, in order, NULL-terminated. */
extern const char *const cfg_override_kinds[];

/* Indexes of the words of values. */
enum { CFG_FEATURE_OFF, CFG_FEATURE_ON };
enum { CFG_BREAKER_OPEN, CFG_BREAKER_CLOSED };

struct cfg_override {
    enum cfg_override_kind kind;
    char target[CFG_TARGET_MAX + 1];
    size_t at;                     /* where the part behind the colon begins in `target` */
    char gateway[PS_NAME_MAX + 1]; /* "": all gateways */
    int value;                     /* a number, thousandths of a share, or the index of a word */
    int64_t until_ms;
    char run[PS_NAME_MAX + 1]; /* of the plan that has set it; "": an operator has */
    int64_t ttl_s;             /* only while the body of a PUT is read */
    char *reason;              /* the same */
};

/* Splits a target, no longer than CFG_TARGET_MAX, into kind and the rest; does not set `gateway`
 * and `value`. PS_E_INVALID: not a target by its form; whether the target exists is not checked. */
int cfg_target_read(const char *text, struct cfg_override *ret_override) PS_MUST_CHECK;
/* The name of the override's document. */
void cfg_override_name(const struct cfg_override *override, char ret_name[CFG_NAME_MAX + 1]);
/* Reads the body of a PUT, {"value","ttl_s" or "until","gateway"}, into an override whose target is
 * set. PS_E_INVALID: all faults are added. */
int cfg_override_ask(const json_t *json, int64_t now_ms, struct cfg_override *override,
                     struct ps_faults *faults) PS_MUST_CHECK;
/* The step of a plan that sets one: {"target","value","gateway"}, of a struct cfg_override. What
 * can be known without other documents is checked: what features and flows there are. */
extern const struct ps_table cfg_override_step_table;
/* Its document. NULL: out of memory. */
json_t *cfg_override_write(const struct cfg_override *override) PS_MUST_CHECK;
/* A value of this kind as answers show it. NULL: out of memory. */
json_t *cfg_override_value_json(enum cfg_override_kind kind, int value);

/* The part of its target behind the colon; "" for the level. */
static inline const char *cfg_override_rest(const struct cfg_override *override)
{
    return override->target + override->at;
}
/* Of a version that is not a deletion. */
static inline const struct cfg_override *cfg_override_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

/* The override in force on this gateway for KIND:OF (`of` NULL: the level), or NULL. Valid as long
 * as a document of cfg_store_find. The control thread. */
const struct cfg_doc *cfg_override_find(const struct cfg_store *store, enum cfg_override_kind kind,
                                        const char *of);
/* Its value, or `otherwise`. */
int cfg_overridden(const struct cfg_store *store, enum cfg_override_kind kind, const char *of,
                   int otherwise);

#endif
