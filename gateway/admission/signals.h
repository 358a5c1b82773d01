/* How loaded this gateway is: the figures of cfg_signals (config/overload_doc.h), measured each 100
 * ms, compared with their thresholds, and kept for ten minutes. The controller, the metrics and the
 * admin API read the same samples. The control thread. */
#ifndef ADM_SIGNALS_H
#define ADM_SIGNALS_H

#include "common/clock.h"
#include "common/metrics/metrics.h"
#include "gateway/admission/history.h"
#include "gateway/admission/load.h"
#include "gateway/answers/verdict.h"
#include "gateway/config/kinds/overload_doc.h"
#include "queue/log.h"

/* The largest share that is shown: a threshold close to 0 would make it unbounded. */
#define ADM_SHARE_MAX 1e6

struct adm_sample {
    int64_t at_ns;                      /* monotonic; 0: no sample yet */
    int64_t at_ms;                      /* wall clock */
    double value[CFG_SIGNAL_COUNT];     /* in the signal's unit; NaN: absent */
    double threshold[CFG_SIGNAL_COUNT]; /* the threshold in force */
    /* weight * value / threshold, at most ADM_SHARE_MAX; NaN: absent, or not judged. */
    double share[CFG_SIGNAL_COUNT];
    double pressure;         /* the largest share; 0 if nothing is judged */
    enum cfg_signal highest; /* the signal with that share; CFG_SIGNAL_COUNT: none */
    /* Counts behind the signals, over all workers. */
    int64_t connections, in_flight, held, log_backlog;
};

/* Sets threshold, share, pressure and highest from the values. */
void adm_sample_judge(struct adm_sample *sample,
                      const struct cfg_signal_rule rules[CFG_SIGNAL_COUNT]);

/* Series of the history. */
enum adm_series {
    ADM_SERIES_SIGNAL = 0, /* one for each signal */
    ADM_SERIES_PRESSURE = CFG_SIGNAL_COUNT,
    ADM_SERIES_LEVEL, /* of the ladder: adm_signals_note */
    ADM_SERIES_SHED,  /* the share (0..1) of users whose orders shedding refuses */
    /* Of the orders answered 202 in that second, from their complete head, in ms; no point if there
     * were none. */
    ADM_SERIES_ORDER_P50,
    ADM_SERIES_ORDER_P99,
    ADM_SERIES_ANSWERS, /* one for each verdict: answers per second of the public listener */
    ADM_SERIES_COUNT = ADM_SERIES_ANSWERS + ANS_VERDICT_COUNT
};

/* All of it outlives the signals. */
struct adm_signals_settings {
    const struct ps_clock *clock;
    const char *root; /* put before the paths of /proc and of control groups: "" but in tests */
    size_t workers;
    const struct oq_log *log;
    const struct ps_metrics *metrics; /* gw_metric_table */
    int64_t connections_max;
    bool store_is_shared;
};

struct adm_signals;

/* With the rules of cfg_signals. PS_E_NOMEM. */
int adm_signals_new(const struct adm_signals_settings *settings,
                    struct adm_signals **ret_signals) PS_MUST_CHECK;
void adm_signals_free(struct adm_signals *signals); /* NULL is allowed */

/* One for each worker, which writes it; they live as long as the signals. */
struct adm_worker_load *adm_signals_loads(const struct adm_signals *signals);

/* Call it each ADM_TICK_MS. Figures of the machine and of its control groups are read each second.
 * Logs once when a signal becomes absent because it cannot be read, and once when it returns. */
void adm_signals_sample(struct adm_signals *signals);
/* The last sample. */
const struct adm_sample *adm_signals_now(const struct adm_signals *signals);
/* Why a signal is absent; NULL: it is there. */
const char *adm_signals_absent(const struct adm_signals *signals, enum cfg_signal signal);

/* The thresholds are copied and apply from the next sample on. */
void adm_signals_set_rules(struct adm_signals *signals,
                           const struct cfg_signal_rule rules[CFG_SIGNAL_COUNT]);

/* Adds a figure from another room to the history, as of the last sample. */
void adm_signals_note(struct adm_signals *signals, enum adm_series series, double value);
/* Of ADM_SERIES_COUNT series, by the seconds of the monotonic clock. */
const struct adm_history *adm_signals_history(const struct adm_signals *signals);

#endif
