/* The degrade ladder at work: each tick the pressure moves the level (ladder.h), the level and
 * overrides say which features are off, and the workers learn of it (features.h). A
 * change of the level is logged and has its audit entry, by "penstock", with what has caused it.
 * One thread: control. */
#ifndef ADM_OVERLOAD_H
#define ADM_OVERLOAD_H

#include "gateway/admission/features.h"
#include "gateway/admission/ladder.h"
#include "gateway/admission/signals.h"
#include "gateway/config/kinds/override.h"
#include "gateway/config/store/store.h"
#include "gateway/snapshot/view.h"

#define ADM_CHANGES_MAX 32 /* of the level, that are remembered */

/* All of it outlives it. */
struct adm_overload_deps {
    struct cfg_store *config; /* its documents of the kinds overload and features */
    const struct snap_view *view;
    struct ps_metrics_shard *shard;
    struct adm_signals_settings signals;
};

enum adm_cause {
    ADM_CAUSE_PRESSURE, /* at `enter` for long enough */
    ADM_CAUSE_CALM,     /* at `leave` for long enough */
    ADM_CAUSE_OVERRIDE,
    ADM_CAUSE_OVERRIDE_ENDED, /* the level is the controller's again */
    ADM_CAUSE_MODE            /* an operator has turned the ladder off or on */
};
extern const char *const adm_cause_names[]; /* in order */

struct adm_level_change {
    int64_t at_ms; /* wall clock */
    int from, to;
    enum adm_cause cause;
    struct adm_sample sample; /* as it was then */
};

enum adm_feature_why {
    ADM_WHY_LEVEL,    /* on below its level, off from it on */
    ADM_WHY_OVERRIDE, /* on or off */
    ADM_WHY_ALONE     /* rehearsals and exports: on, because no sale is open that is no rehearsal */
};

struct adm_overload {
    struct adm_overload_deps deps;
    struct adm_signals *signals;
    struct adm_overload_shared shared; /* the workers' */
    struct adm_ladder ladder;
    int64_t judges_from_ns; /* monotonic; INT64_MAX: the start is not over */
    /* As of the last tick. */
    bool begun;
    int level;
    int64_t since_ms; /* wall clock: the level's last change, or the start */
    bool is_off;
    bool is_overridden; /* the level */
    enum adm_feature_why why[CFG_FEATURE_COUNT];
    /* The last one is at (change_count - 1) % ADM_CHANGES_MAX. */
    struct adm_level_change changes[ADM_CHANGES_MAX];
    size_t change_count;
    /* Uses of each feature since the start, as they were at each of the last 60 seconds. */
    int64_t uses[60][CFG_FEATURE_COUNT];
    int64_t second; /* of the monotonic clock, that was noted last */
};

/* PS_E_NOMEM. Nothing is read before the first tick. */
int adm_overload_new(const struct adm_overload_deps *deps,
                     struct adm_overload **ret_overload) PS_MUST_CHECK;
void adm_overload_free(struct adm_overload *overload); /* NULL is allowed */

/* Each ADM_TICK_MS: takes a sample of the signals and goes by it. Until the start is over no signal
 * raises the level: reading a large log again is no overload. */
void adm_overload_tick(struct adm_overload *overload, bool started);
/* After a change of a document: it is in force for every worker when this returns. */
void adm_overload_apply(struct adm_overload *overload);

/* The document's thresholds, or the level of a feature (0: never), as they are in force. */
const struct cfg_overload *adm_overload_settings(const struct adm_overload *overload);
/* The override of the level that is in force here; NULL: none. */
const struct cfg_doc *adm_overload_override(const struct adm_overload *overload);
/* What level and feature are, or would be without an override. */
int adm_overload_level_otherwise(const struct adm_overload *overload);
bool adm_overload_is_off_otherwise(const struct adm_overload *overload, enum cfg_feature feature,
                                   enum adm_feature_why *ret_why);
bool adm_overload_is_off(const struct adm_overload *overload, enum cfg_feature feature);
/* How often the feature was used in the last minute. */
int64_t adm_overload_uses(const struct adm_overload *overload, enum cfg_feature feature);

/* A figure of a sample, to a ten-thousandth; NaN: null. Owner: the caller. NULL: out of memory. */
json_t *adm_figure(double value);
/* The signals of a sample that were at `least` or above, and the highest: {name: {"value",
 * "threshold", "share"}}. Owner: the caller. NULL: out of memory. */
json_t *adm_overload_signals(const struct adm_sample *sample, double least);

#endif
