/* What a document of the kind `overload` names: the signals that say how loaded this gateway is. */
#ifndef CFG_OVERLOAD_DOC_H
#define CFG_OVERLOAD_DOC_H

#include "common/defs.h"

/* One figure each; admission/signals.h measures them. The order is that of the answers. */
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
    struct cfg_signal_rule rule; /* unless a document says otherwise */
};

extern const struct cfg_signal_row cfg_signals[CFG_SIGNAL_COUNT];

/* CFG_SIGNAL_COUNT: there is no signal of this name. */
enum cfg_signal cfg_signal_find(const char *name);

#endif
