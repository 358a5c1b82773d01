/* The degrade ladder at work. Each tick: the pressure moves the level (ladder.h); the level and
 * overrides decide which features are off; the workers read the result (features.h). A change of
 * the level is logged and gets an audit entry by "system" with its cause. One thread: control. */
#ifndef ADM_OVERLOAD_H
#define ADM_OVERLOAD_H

#include "gateway/admission/features.h"
#include "gateway/admission/ladder.h"
#include "gateway/admission/signals.h"
#include "gateway/config/kinds/override.h"
#include "gateway/config/store/store.h"
#include "gateway/snapshot/view.h"

#define ADM_CHANGES_MAX 32 /* how many changes of the level are kept */

/* Everything here outlives the ladder. */
struct adm_overload_deps {
    struct cfg_store *config; /* its documents of the kinds overload and features */
    const struct snap_view *view;
    struct ps_metrics_shard *shard;
    struct adm_signals_settings signals;
};

enum adm_cause {
    ADM_CAUSE_PRESSURE, /* at `enter` or above for `enter_ticks` */
    ADM_CAUSE_CALM,     /* at `leave` or below for `leave_s` */
    ADM_CAUSE_OVERRIDE,
    ADM_CAUSE_OVERRIDE_ENDED, /* the controller sets the level again */
    ADM_CAUSE_MODE            /* an operator turned the ladder off or on */
};
extern const char *const adm_cause_names[]; /* in order */

struct adm_level_change {
    int64_t at_ms; /* wall clock */
    int from, to;
    enum adm_cause cause;
    struct adm_sample sample; /* at that moment */
};

enum adm_feature_why {
    ADM_WHY_LEVEL,    /* on below the feature's level, off at it and above */
    ADM_WHY_OVERRIDE, /* on or off */
    ADM_WHY_ALONE     /* rehearsals and exports: on, because no real sale is open */
};

struct adm_overload {
    struct adm_overload_deps deps;
    struct adm_signals *signals;
    struct adm_overload_shared shared; /* workers read it */
    struct adm_ladder ladder;
    int64_t judges_from_ns; /* monotonic; INT64_MAX: still starting */
    /* As of the last tick. */
    bool begun;
    int level;
    int64_t since_ms; /* wall clock: the level's last change, or the start */
    bool is_off;
    bool is_overridden; /* the level is overridden */
    enum adm_feature_why why[CFG_FEATURE_COUNT];
    /* The latest is at (change_count - 1) % ADM_CHANGES_MAX. */
    struct adm_level_change changes[ADM_CHANGES_MAX];
    size_t change_count;
    /* Uses of each feature since the start, as they were at each of the last 60 seconds. */
    int64_t uses[60][CFG_FEATURE_COUNT];
    int64_t second; /* the last one noted, of the monotonic clock */
};

/* PS_E_NOMEM. The first tick reads documents and overrides. */
int adm_overload_new(const struct adm_overload_deps *deps,
                     struct adm_overload **ret_overload) PS_MUST_CHECK;
void adm_overload_free(struct adm_overload *overload); /* NULL is allowed */

/* Each ADM_TICK_MS: takes a sample of the signals and acts on it. While the gateway starts, no
 * signal raises the level: reading a large log again is not overload. */
void adm_overload_tick(struct adm_overload *overload, bool started);
/* After a change of a document: when this returns, every worker has it. */
void adm_overload_apply(struct adm_overload *overload);

/* The document's thresholds, or the level of a feature (0: never), as they are in force. */
const struct cfg_overload *adm_overload_settings(const struct adm_overload *overload);
/* The override of the level in force on this gateway; NULL: none. */
const struct cfg_doc *adm_overload_override(const struct adm_overload *overload);
/* The level, and a feature's state, as they would be without overrides. */
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
