/* The kind `overload`: which signals measure the load of this gateway, and when the ladder goes up
 * and down. It has one document, named CFG_OVERLOAD_NAME:
 *
 *   {"mode":"enforce","signals":{"loop_delay_ms":{"threshold":20,"weight":1}},
 *    "enter":0.8,"enter_ticks":3,"leave":0.6,"leave_s":30}
 *
 * An absent member has the default of cfg_signals, or the value shown. With
 * the mode "off" the level stays at 0 unless overridden, nobody is shed (admission/shed.h) and no
 * limit follows latency (orders/flow.h).
 */
#ifndef CFG_OVERLOAD_DOC_H
#define CFG_OVERLOAD_DOC_H

#include "gateway/config/store/document.h"

#define CFG_OVERLOAD_NAME "default"

/* Levels of the ladder: 0, nothing is turned off, to this one. */
#define CFG_LEVEL_MAX 4

/* admission/signals.h measures them. Answers list them in this order. */
enum cfg_signal {
    CFG_SIGNAL_LOOP_DELAY,
    CFG_SIGNAL_IN_FLIGHT,
    CFG_SIGNAL_STORE_LATENCY,
    CFG_SIGNAL_LOG_LATENCY,
    CFG_SIGNAL_LOG_BACKLOG,
    CFG_SIGNAL_PROCESS_CPU,
    CFG_SIGNAL_MACHINE_CPU,
    CFG_SIGNAL_CPU_PRESSURE,
    CFG_SIGNAL_MEMORY,
    CFG_SIGNAL_MEMORY_PRESSURE,
    CFG_SIGNAL_CONNECTIONS,
    CFG_SIGNAL_ADMITTED_RATE,
    CFG_SIGNAL_COUNT
};

/* How a signal is judged: its part of the pressure is weight * value / threshold. */
struct cfg_signal_rule {
    double threshold; /* in the signal's unit; 0: the signal is shown, but not judged */
    double weight;    /* 0 .. 1 */
};

struct cfg_signal_row {
    const char *name;            /* in documents, answers and metrics */
    const char *unit;            /* "ms", "share" (0..1), "requests", "1/s" */
    const char *source;          /* what is measured, for people */
    struct cfg_signal_rule rule; /* the default, unless a document sets another */
};

extern const struct cfg_signal_row cfg_signals[CFG_SIGNAL_COUNT];
/* Their names in order, then "pressure" at CFG_SIGNAL_COUNT; NULL-terminated. */
extern const char *const cfg_signal_words[CFG_SIGNAL_COUNT + 2];

/* When the ladder goes up and down; admission/ladder.h has the rules. */
struct cfg_ladder {
    double enter;        /* pressure; above `leave` */
    int64_t enter_ticks; /* 1 .. 600 */
    double leave;        /* 0 .. 1 */
    int64_t leave_s;     /* 1 .. 3600 */
};

enum cfg_overload_mode { CFG_OVERLOAD_ENFORCE, CFG_OVERLOAD_OFF };

struct cfg_overload {
    enum cfg_overload_mode mode;
    struct cfg_signal_rule signals[CFG_SIGNAL_COUNT];
    struct cfg_ladder ladder;
};

/* Of a version that is not a deletion. */
static inline const struct cfg_overload *cfg_overload_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
