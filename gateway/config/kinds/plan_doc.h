/* The kind `plans`: what is to be done, prepared and rehearsed by daylight:
 *
 *   {"title":"…","text":"…","steps":[{"patch":{"kind":"limit","name":"ip","with":{"rate":20}}},
 *    {"put":{"kind":"block_ip","name":"203.0.113.0/24","doc":{}}},
 *    {"override":{"target":"level","value":2}}],
 *    "when":[{"sale":"spring","state":"open"}],"start":null,"ttl_s":900,"approvals":0}
 *
 * A plan changes nothing: a run of it does (run_doc.h, gateway/plans). PUT judges what the plan
 * itself says. What other documents make of it is judged when it is run, so that a bundle can
 * always be put back. */
#ifndef CFG_PLAN_DOC_H
#define CFG_PLAN_DOC_H

#include "gateway/config/kinds/overload_doc.h"
#include "gateway/config/kinds/override.h"

#define CFG_PLANS_MAX        1000
#define CFG_PLAN_STEPS_MAX   64
#define CFG_PLAN_MEMBERS_MAX 256        /* that all steps together change */
#define CFG_PLAN_BYTES_MAX   (64 << 10) /* of the steps, as compact JSON */
#define CFG_PLAN_TTL_MAX_S   INT64_C(604800)
#define CFG_PLAN_TEXT_MAX    2048

enum cfg_step_type { CFG_STEP_PATCH, CFG_STEP_PUT, CFG_STEP_OVERRIDE };

struct cfg_plan_step {
    enum cfg_step_type type;
    /* Of patch and put. */
    unsigned kind_word;          /* the place in the words of its type */
    char name[CFG_NAME_MAX + 1]; /* canonical */
    json_t *json;                /* a merge patch (RFC 7396), or the document */
    struct cfg_override override;
};
/* The kind of a patch or a put. */
const struct cfg_kind *cfg_plan_step_kind(const struct cfg_plan_step *step);

enum cfg_when_type { CFG_WHEN_SALE, CFG_WHEN_SIGNAL, CFG_WHEN_GATEWAYS };

/* What must be so when a run starts. */
struct cfg_plan_when {
    enum cfg_when_type type;
    char sale[PS_NAME_MAX + 1];
    unsigned state;         /* place in cfg_plan_states */
    enum cfg_signal signal; /* CFG_SIGNAL_COUNT: the pressure */
    double above;
    int64_t gateways_min;
};
/* States of sales, NULL-terminated. */
extern const char *const cfg_plan_states[];

enum cfg_start_type { CFG_START_BY_HAND, CFG_START_AT, CFG_START_SALE, CFG_START_SIGNAL };

struct cfg_plan_start {
    enum cfg_start_type type;
    int64_t at_ms;
    char sale[PS_NAME_MAX + 1];
    int64_t before_opening_s;
    enum cfg_signal signal;
    double above;
    int64_t for_s;
};

struct cfg_plan {
    char *title, *text;
    struct cfg_plan_step *steps;
    size_t step_count;
    struct cfg_plan_when *whens;
    size_t when_count;
    struct cfg_plan_start start;
    int64_t ttl_s; /* 0: until it is reverted by hand */
    int64_t approvals;
};

extern const struct ps_table cfg_plan_table;

/* Of a version that is no deletion. */
static inline const struct cfg_plan *cfg_plan_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

/* --- Which members the steps change. --- */

/* A member of a document by its pointer ("": the document itself), or an override by its name. */
struct cfg_member {
    const struct cfg_kind *kind; /* cfg_kind_override: an override */
    const char *name;            /* borrowed */
    char *path;
    size_t step;
};
struct cfg_members {
    struct cfg_member *at;
    size_t count, room;
};

/* Do both change the same thing? That of an override of a limit, and the mode of that rule, is the
 * same, too. */
bool cfg_member_overlaps(const struct cfg_member *a, const struct cfg_member *b);
/* Adds the members that the merge patch changes in `target`, which may be NULL (not known): one
 * that is no object there is taken whole, and so is each array. PS_E_NOMEM; PS_E_FULL: there are
 * more than CFG_PLAN_MEMBERS_MAX. */
int cfg_members_add_patch(struct cfg_members *members, const struct cfg_member *of,
                          const json_t *patch, const json_t *target) PS_MUST_CHECK;
/* Adds one; its path is copied. The same errors. */
int cfg_members_add(struct cfg_members *members, const struct cfg_member *member) PS_MUST_CHECK;
void cfg_members_free(struct cfg_members *members);

#endif
