/* One function for each signal (readers[]), called in turn; it sets the signal's value, or the
 * reason why there is no value. Workers publish their own figures (load.h); the sampler sums them
 * up. Rates and processor times cover the last second, so that a quota given out in periods of 100
 * ms does not make them jump. A latency is that of the calls that ended in the last 100 ms. */
#include "gateway/admission/signals.h"

#include "gateway/admission/cgroup.h"
#include "common/program/log.h"
#include "common/program/process.h"
#include "gateway/admission/shed.h"
#include "gateway/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICKS_A_SECOND (1000 / ADM_TICK_MS)
#define WHY_SIZE       256

/* What was already read of one worker's load. */
struct seen {
    struct ps_times_sum turns, store, log, orders;
    uint32_t admitted;
};

/* Growing totals at one sample. */
struct moment {
    int64_t at_ns, cpu_ns;
    uint64_t admitted;
};

struct adm_signals {
    struct adm_signals_settings settings;
    struct cfg_signal_rule rules[CFG_SIGNAL_COUNT];
    struct adm_sample sample;
    char absent[CFG_SIGNAL_COUNT][WHY_SIZE]; /* "": the signal has a value */
    struct adm_worker_load *loads;           /* one for each worker */
    struct seen *seen;                       /* the same */
    struct ps_times_sum turns, store, log;   /* of this tick */
    int64_t log_oldest_ns;                   /* of all workers; 0: none */
    uint64_t ticks;
    struct moment moments[TICKS_A_SECOND + 1]; /* by the tick */
    double cpus;                               /* 0: not known */
    struct adm_machine_cpu machine;
    /* The current second. */
    int64_t second, second_began_ns;
    struct ps_times_sum orders;
    int64_t answers[ANS_VERDICT_COUNT]; /* counts at its beginning */
    struct adm_history *history;
};

static double quantile_ms(const struct ps_times_sum *window, double share)
{
    return (double)ps_times_quantile_ns(window, share) / (double)PS_NS_PER_MS;
}

typedef void read_fn(struct adm_signals *signals, enum cfg_signal signal);

static void set(struct adm_signals *signals, enum cfg_signal signal, double value)
{
    if (signals->absent[signal][0] != '\0')
        ps_log(PS_LOG_INFO, "signal_back", PS_F_STR("signal", cfg_signals[signal].name));
    signals->absent[signal][0] = '\0';
    signals->sample.value[signal] = value;
}

static void set_unread(struct adm_signals *signals, enum cfg_signal signal,
                       const struct ps_fault *fault)
{
    char *why = signals->absent[signal];
    bool was_there = why[0] == '\0';

    (void)snprintf(why, WHY_SIZE, "%.120s %.120s", fault->path, fault->text);
    if (was_there)
        ps_log(PS_LOG_INFO, "signal_absent", PS_F_STR("signal", cfg_signals[signal].name),
               PS_F_STR("why", why));
    signals->sample.value[signal] = NAN;
}

/* --- what workers see --- */

static const struct moment *newest(const struct adm_signals *signals)
{
    return &signals->moments[signals->ticks % PS_ARRAY_LEN(signals->moments)];
}

/* The moment a second ago, or the oldest one. */
static const struct moment *oldest(const struct adm_signals *signals)
{
    size_t places = PS_ARRAY_LEN(signals->moments);

    return signals->ticks < places ? &signals->moments[0]
                                   : &signals->moments[(signals->ticks + 1) % places];
}

static int64_t load_of(const _Atomic(int64_t) *figure)
{
    return atomic_load_explicit(figure, memory_order_relaxed);
}

/* A turn that does not end shows as a missing tick. A turn is counted once, by the first read after
 * its end. */
static void add_turn_under_way(struct adm_signals *signals, const struct adm_worker_load *load)
{
    int64_t late_ns = signals->sample.at_ns - load_of(&load->alive_ns) - ADM_TICK_MS * PS_NS_PER_MS;

    if (late_ns > ADM_TICK_MS * PS_NS_PER_MS)
        signals->turns.count[ps_time_bucket(late_ns)]++;
}

static void take_loads(struct adm_signals *signals, struct moment *moment)
{
    struct adm_sample *sample = &signals->sample;

    memset(&signals->turns, 0, sizeof signals->turns);
    memset(&signals->store, 0, sizeof signals->store);
    memset(&signals->log, 0, sizeof signals->log);
    signals->log_oldest_ns = sample->connections = sample->in_flight = sample->held = 0;
    for (size_t i = 0; i < signals->settings.workers; i++) {
        const struct adm_worker_load *load = &signals->loads[i];
        struct seen *seen = &signals->seen[i];
        uint32_t admitted = atomic_load_explicit(&load->admitted, memory_order_relaxed);
        int64_t oldest_ns = load_of(&load->log_oldest_ns);

        adm_window_take(&signals->turns, &load->turns, &seen->turns);
        adm_window_take(&signals->store, &load->store, &seen->store);
        adm_window_take(&signals->log, &load->log, &seen->log);
        adm_window_take(&signals->orders, &load->orders, &seen->orders);
        add_turn_under_way(signals, load);
        moment->admitted += admitted - seen->admitted;
        seen->admitted = admitted;
        if (oldest_ns != 0 && (signals->log_oldest_ns == 0 || oldest_ns < signals->log_oldest_ns))
            signals->log_oldest_ns = oldest_ns;
        sample->connections += load_of(&load->connections);
        sample->in_flight += load_of(&load->in_flight);
        sample->held += load_of(&load->held);
    }
}

static void read_loop_delay(struct adm_signals *signals, enum cfg_signal signal)
{
    size_t places = PS_ARRAY_LEN(signals->moments);
    const struct moment *before = &signals->moments[(signals->ticks + places - 1) % places];
    double all_ns =
        (double)(newest(signals)->at_ns - before->at_ns) * (double)signals->settings.workers;

    set(signals, signal,
        signals->ticks > 0 ? adm_window_wait_ms(&signals->turns, 0.99, all_ns) : 0);
}

static void read_in_flight(struct adm_signals *signals, enum cfg_signal signal)
{
    int64_t count = signals->sample.in_flight - signals->sample.held;

    set(signals, signal, count > 0 ? (double)count : 0); /* two gauges, read at different moments */
}

static void read_store_latency(struct adm_signals *signals, enum cfg_signal signal)
{
    if (signals->settings.store_is_shared) {
        set(signals, signal, quantile_ms(&signals->store, 0.99));
        return;
    }
    (void)snprintf(signals->absent[signal], WHY_SIZE, "the counter is in memory");
    signals->sample.value[signal] = NAN;
}

static void read_log_latency(struct adm_signals *signals, enum cfg_signal signal)
{
    double ended_ms = quantile_ms(&signals->log, 0.99), age_ms = 0;

    if (signals->log_oldest_ns != 0)
        age_ms = (double)(signals->sample.at_ns - signals->log_oldest_ns) / (double)PS_NS_PER_MS;
    set(signals, signal, age_ms > ended_ms ? age_ms : ended_ms);
}

static void read_log_backlog(struct adm_signals *signals, enum cfg_signal signal)
{
    struct oq_log_stats stats;

    oq_log_stats(signals->settings.log, &stats);
    signals->sample.log_backlog = (int64_t)stats.backlog;
    set(signals, signal, oq_log_backlog_percent(signals->settings.log) / 100.0);
}

/* Those above the limit are only told so. */
static void read_connections(struct adm_signals *signals, enum cfg_signal signal)
{
    set(signals, signal,
        fmin((double)signals->sample.connections / (double)signals->settings.connections_max, 1));
}

static void read_admitted_rate(struct adm_signals *signals, enum cfg_signal signal)
{
    const struct moment *from = oldest(signals), *to = newest(signals);
    double passed_s = (double)(to->at_ns - from->at_ns) / (double)PS_NS_PER_S;

    set(signals, signal, passed_s > 0 ? (double)(to->admitted - from->admitted) / passed_s : 0);
}

/* --- processors and memory --- */

/* The quota is read each second, the time at each sample. */
static void read_process_cpu(struct adm_signals *signals, enum cfg_signal signal)
{
    const struct moment *from = oldest(signals), *to = newest(signals);
    double passed_ns = (double)(to->at_ns - from->at_ns);
    struct ps_fault fault = {0};

    if (signals->ticks % TICKS_A_SECOND == 0 &&
        adm_cgroup_cpus(signals->settings.root, &signals->cpus, &fault) < 0) {
        signals->cpus = 0;
        set_unread(signals, signal, &fault);
    }
    if (signals->cpus > 0)
        set(signals, signal,
            passed_ns > 0 ? (double)(to->cpu_ns - from->cpu_ns) / passed_ns / signals->cpus : 0);
}

static void read_machine_cpu(struct adm_signals *signals, enum cfg_signal signal)
{
    struct adm_machine_cpu now, *before = &signals->machine;
    struct ps_fault fault = {0};

    if (adm_machine_cpu_read(signals->settings.root, &now, &fault) < 0) {
        set_unread(signals, signal, &fault);
        return;
    }
    /* The kernel counts in ticks of about 10 ms, and idle time may even fall. */
    if (before->total != 0 && now.total > before->total && now.busy >= before->busy)
        set(signals, signal,
            (double)(now.busy - before->busy) / (double)(now.total - before->total));
    *before = now;
}

static void read_memory(struct adm_signals *signals, enum cfg_signal signal)
{
    struct ps_fault fault = {0};
    double share;

    if (adm_cgroup_memory(signals->settings.root, &share, &fault) < 0)
        set_unread(signals, signal, &fault);
    else
        set(signals, signal, share);
}

static void read_pressure(struct adm_signals *signals, enum cfg_signal signal)
{
    const char *resource = signal == CFG_SIGNAL_CPU_PRESSURE ? "cpu" : "memory";
    struct ps_fault fault = {0};
    double share;

    if (adm_cgroup_pressure(signals->settings.root, resource, &share, &fault) < 0)
        set_unread(signals, signal, &fault);
    else
        set(signals, signal, share);
}

/* clang-format off */
static const struct {
    read_fn *read;
    bool is_slow; /* read each second: files of the kernel */
} readers[CFG_SIGNAL_COUNT] = {
    [CFG_SIGNAL_LOOP_DELAY]      = {read_loop_delay,    false},
    [CFG_SIGNAL_IN_FLIGHT]       = {read_in_flight,     false},
    [CFG_SIGNAL_STORE_LATENCY]   = {read_store_latency, false},
    [CFG_SIGNAL_LOG_LATENCY]     = {read_log_latency,   false},
    [CFG_SIGNAL_LOG_BACKLOG]     = {read_log_backlog,   false},
    [CFG_SIGNAL_PROCESS_CPU]     = {read_process_cpu,   false},
    [CFG_SIGNAL_MACHINE_CPU]     = {read_machine_cpu,   true},
    [CFG_SIGNAL_CPU_PRESSURE]    = {read_pressure,      true},
    [CFG_SIGNAL_MEMORY]          = {read_memory,        true},
    [CFG_SIGNAL_MEMORY_PRESSURE] = {read_pressure,      true},
    [CFG_SIGNAL_CONNECTIONS]     = {read_connections,   false},
    [CFG_SIGNAL_ADMITTED_RATE]   = {read_admitted_rate, false},
};
/* clang-format on */

/* --- judging --- */

void adm_sample_judge(struct adm_sample *sample,
                      const struct cfg_signal_rule rules[CFG_SIGNAL_COUNT])
{
    sample->pressure = 0;
    sample->highest = CFG_SIGNAL_COUNT;
    for (enum cfg_signal i = 0; i < CFG_SIGNAL_COUNT; i++) {
        double value = sample->value[i];
        bool judged = rules[i].threshold > 0 && !isnan(value);
        sample->threshold[i] = rules[i].threshold;
        sample->share[i] =
            judged ? fmin(rules[i].weight * value / rules[i].threshold, ADM_SHARE_MAX) : NAN;
        if (judged &&
            (sample->highest == CFG_SIGNAL_COUNT || sample->share[i] > sample->pressure)) {
            sample->pressure = sample->share[i];
            sample->highest = i;
        }
    }
}

/* --- history --- */

static int64_t count_answers(const struct adm_signals *signals, size_t verdict)
{
    const struct ps_metrics *metrics = signals->settings.metrics;
    int64_t count = 0;

    if (ans_is_public(verdict))
        count += ps_metric_read(metrics, GW_M_ANSWERS, verdict) +
                 ps_metric_read(metrics, GW_M_REHEARSAL_ANSWERS, verdict);
    if (ans_is_early(verdict))
        count += ps_metric_read(metrics, GW_M_REFUSED_EARLY, verdict);
    return count;
}

/* The second is over: computes the figures that are per second. */
static void end_second(struct adm_signals *signals)
{
    int64_t now_ns = signals->sample.at_ns, second = signals->second;
    double passed_s = (double)(now_ns - signals->second_began_ns) / (double)PS_NS_PER_S;
    double p50_ms = quantile_ms(&signals->orders, 0.50);

    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++) {
        int64_t count = count_answers(signals, i);
        if (signals->ticks > 0)
            adm_history_add(signals->history, ADM_SERIES_ANSWERS + i, second,
                            (double)(count - signals->answers[i]) / passed_s);
        signals->answers[i] = count;
    }
    if (p50_ms > 0) {
        adm_history_add(signals->history, ADM_SERIES_ORDER_P50, second, p50_ms);
        adm_history_add(signals->history, ADM_SERIES_ORDER_P99, second,
                        quantile_ms(&signals->orders, 0.99));
    }
    memset(&signals->orders, 0, sizeof signals->orders);
    signals->second_began_ns = now_ns;
}

static void remember(struct adm_signals *signals)
{
    const struct adm_sample *sample = &signals->sample;
    int64_t second = sample->at_ns / PS_NS_PER_S;
    double admission =
        (double)ps_metric_read(signals->settings.metrics, GW_M_ADMISSION, ADM_SHED_ORDER) /
        (double)PS_NS_PER_S;

    if (second != signals->second)
        end_second(signals);
    signals->second = second;
    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++)
        adm_history_add(signals->history, ADM_SERIES_SIGNAL + i, second, sample->value[i]);
    adm_signals_note(signals, ADM_SERIES_PRESSURE, sample->pressure);
    adm_signals_note(signals, ADM_SERIES_SHED, 1 - admission);
}

/* --- the sampler --- */

void adm_signals_sample(struct adm_signals *signals)
{
    size_t places = PS_ARRAY_LEN(signals->moments);
    struct moment *moment = &signals->moments[signals->ticks % places];

    moment->at_ns = signals->sample.at_ns = ps_clock_mono_ns(signals->settings.clock);
    signals->sample.at_ms = ps_clock_wall_ms(signals->settings.clock);
    moment->cpu_ns = ps_process_cpu_ns();
    moment->admitted =
        signals->ticks > 0 ? signals->moments[(signals->ticks - 1) % places].admitted : 0;
    take_loads(signals, moment);
    for (enum cfg_signal i = 0; i < CFG_SIGNAL_COUNT; i++)
        if (!readers[i].is_slow || signals->ticks % TICKS_A_SECOND == 0)
            readers[i].read(signals, i);
    adm_sample_judge(&signals->sample, signals->rules);
    remember(signals);
    signals->ticks++;
}

struct adm_worker_load *adm_signals_loads(const struct adm_signals *signals)
{
    return signals->loads;
}

const struct adm_sample *adm_signals_now(const struct adm_signals *signals)
{
    return &signals->sample;
}

const char *adm_signals_absent(const struct adm_signals *signals, enum cfg_signal signal)
{
    if (!isnan(signals->sample.value[signal]))
        return NULL;
    return signals->absent[signal][0] != '\0' ? signals->absent[signal]
                                              : "it has not been measured yet";
}

void adm_signals_set_rules(struct adm_signals *signals,
                           const struct cfg_signal_rule rules[CFG_SIGNAL_COUNT])
{
    memcpy(signals->rules, rules, sizeof signals->rules);
}

void adm_signals_note(struct adm_signals *signals, enum adm_series series, double value)
{
    adm_history_add(signals->history, series, signals->second, value);
}

const struct adm_history *adm_signals_history(const struct adm_signals *signals)
{
    return signals->history;
}

int adm_signals_new(const struct adm_signals_settings *settings, struct adm_signals **ret_signals)
{
    struct adm_signals *signals = calloc(1, sizeof *signals);

    if (signals == NULL)
        return PS_E_NOMEM;
    signals->settings = *settings;
    signals->seen = calloc(settings->workers, sizeof *signals->seen);
    signals->loads = aligned_alloc(PS_CACHE_LINE, settings->workers * sizeof *signals->loads);
    if (signals->seen == NULL || signals->loads == NULL ||
        adm_history_new(ADM_SERIES_COUNT, &signals->history) < 0) {
        adm_signals_free(signals);
        return PS_E_NOMEM;
    }
    memset(signals->loads, 0, settings->workers * sizeof *signals->loads);
    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++) {
        signals->rules[i] = cfg_signals[i].rule;
        signals->sample.value[i] = signals->sample.share[i] = NAN;
    }
    signals->sample.highest = CFG_SIGNAL_COUNT;
    *ret_signals = signals;
    return 0;
}

void adm_signals_free(struct adm_signals *signals)
{
    if (signals == NULL)
        return;
    adm_history_free(signals->history);
    free(signals->seen);
    free(signals->loads);
    free(signals);
}
