/* The table of signals. A threshold is the value from which on more of it hurts buyers; at 80 % of
 * the largest ratio (unless the document says otherwise) the gateway begins to give things up.
 *
 * Weights below 1 are for figures that may rest high on a machine that serves everybody in time:
 * alone they must neither raise the level nor keep it up. Others' work on the same processors is
 * seen where it hurts, in the loop's delay; memory that is short shows in memory_pressure. */
#include "gateway/config/overload_doc.h"

#include <string.h>

/* clang-format off */
const struct cfg_signal_row cfg_signals[CFG_SIGNAL_COUNT] = {
    [CFG_SIGNAL_LOOP_DELAY]      = {"loop_delay_ms",      "ms",       "How long an event waits until its worker turns to it: 99th percentile over the time of all workers", {20, 1}},
    [CFG_SIGNAL_IN_FLIGHT]       = {"requests_in_flight", "requests", "Requests that are not answered yet, without those that a leaky bucket holds", {5000, 1}},
    [CFG_SIGNAL_STORE_LATENCY]   = {"store_latency_ms",   "ms",       "From asking a shared counter (Redis) to its reply: 99th percentile; 0 while nobody asks", {50, 1}},
    [CFG_SIGNAL_LOG_LATENCY]     = {"log_latency_ms",     "ms",       "From an order's append until the log shows it: 99th percentile, or the age of the oldest that waits; 0 while nobody orders", {250, 1}},
    [CFG_SIGNAL_LOG_BACKLOG]     = {"log_backlog",        "share",    "Records that wait for the log, of log.queue", {0.5, 1}},
    [CFG_SIGNAL_PROCESS_CPU]     = {"process_cpu",        "share",    "Processor time of this process in the last second, of its cgroup's quota, or of the machine", {1, 1}},
    [CFG_SIGNAL_MACHINE_CPU]     = {"machine_cpu",        "share",    "Processor time of everything on this machine in the last second", {1, 0.5}},
    [CFG_SIGNAL_CPU_PRESSURE]    = {"cpu_pressure",       "share",    "Time of the last 10 s in which something waited for a processor (PSI, some)", {0, 1}},
    [CFG_SIGNAL_MEMORY]          = {"memory",             "share",    "Memory in use, without the page cache that the kernel can drop, of the cgroup's limit, or of the machine", {1, 0.7}},
    [CFG_SIGNAL_MEMORY_PRESSURE] = {"memory_pressure",    "share",    "Time of the last 10 s in which something waited for memory (PSI, some)", {0.2, 1}},
    [CFG_SIGNAL_CONNECTIONS]     = {"connections",        "share",    "Open connections of buyers, of http.connections", {1, 1}},
    [CFG_SIGNAL_ADMITTED_RATE]   = {"admitted_rate",      "1/s",      "Orders that passed all gates in the last second", {0, 1}},
};
/* clang-format on */

enum cfg_signal cfg_signal_find(const char *name)
{
    enum cfg_signal signal = 0;

    while (signal < CFG_SIGNAL_COUNT && strcmp(cfg_signals[signal].name, name) != 0)
        signal++;
    return signal;
}
