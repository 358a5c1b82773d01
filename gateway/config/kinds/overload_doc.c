/* The table of signals. A threshold is the value from which on more of it hurts buyers; at 80 % of
 * the largest ratio (unless the document says otherwise) the gateway begins to give things up.
 *
 * Weights below 1 are for figures that may rest high on a machine that serves everybody in time:
 * alone they must neither raise the level nor keep it up. Others' work on the same processors is
 * seen where it hurts, in the loop's delay; memory that is short shows in memory_pressure. */
#include "gateway/config/kinds/overload_doc.h"

#include <stdio.h>
#include <stdlib.h>
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

/* --- The kind. --- */

static const char *const modes[] = {"enforce", "off", NULL};
enum { ENFORCE, OFF };

static int overload_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    if (len != strlen(CFG_OVERLOAD_NAME) || memcmp(text, CFG_OVERLOAD_NAME, len) != 0)
        return PS_E_INVALID;
    memcpy(ret_name, CFG_OVERLOAD_NAME, sizeof CFG_OVERLOAD_NAME);
    return 0;
}

static void read_signal(const json_t *json, const char *pointer, struct cfg_signal_rule *rule,
                        struct ps_faults *faults)
{
    struct ps_json_reader reader;

    ps_json_reader_init_all(&reader, json, pointer, faults);
    ps_json_number(&reader, "threshold", 0, 1e12, &rule->threshold);
    ps_json_number(&reader, "weight", 0, 1, &rule->weight);
    (void)!ps_json_done(&reader);
}

static void read_signals(const json_t *json, const char *pointer, struct cfg_overload *overload,
                         struct ps_faults *faults)
{
    struct ps_json_reader reader;
    char place[400];

    if (json == NULL)
        return;
    ps_json_reader_init_all(&reader, json, pointer, faults);
    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++) {
        const json_t *rule = ps_json_value(&reader, cfg_signals[i].name);
        (void)snprintf(place, sizeof place, "%s/%s", pointer, cfg_signals[i].name);
        if (rule != NULL)
            read_signal(rule, place, &overload->signals[i], faults);
    }
    (void)!ps_json_done(&reader); /* an unknown signal */
}

static int read_overload(const json_t *json, const char *pointer, struct cfg_overload *overload,
                         struct ps_faults *faults)
{
    struct cfg_ladder *ladder = &overload->ladder;
    size_t before = faults->count;
    struct ps_json_reader reader;
    char place[320];
    int mode = ENFORCE;

    *overload = (struct cfg_overload){
        .ladder = {.enter = 0.8, .enter_ticks = 3, .leave = 0.6, .leave_s = 30}};
    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++)
        overload->signals[i] = cfg_signals[i].rule;
    ps_json_reader_init_all(&reader, json, pointer, faults);
    ps_json_enum(&reader, "mode", modes, &mode);
    overload->is_off = mode == OFF;
    ps_json_number(&reader, "enter", 0, 100, &ladder->enter);
    ps_json_int(&reader, "enter_ticks", 1, 600, &ladder->enter_ticks);
    ps_json_number(&reader, "leave", 0, 100, &ladder->leave);
    ps_json_int(&reader, "leave_s", 1, 3600, &ladder->leave_s);
    if (ladder->leave >= ladder->enter)
        ps_json_fault(&reader, "leave",
                      "must be below enter (%g): else the level goes up and down at one pressure",
                      ladder->enter);
    (void)snprintf(place, sizeof place, "%s/signals", pointer);
    read_signals(ps_json_value(&reader, "signals"), place, overload, faults);
    int err = ps_json_done(&reader);
    return err < 0 ? err : faults->count > before ? PS_E_INVALID : 0;
}

static int overload_parse(const char *name, const json_t *json, const json_t *state,
                          const struct cfg_reading *reading, void **ret_parsed,
                          struct ps_faults *faults)
{
    struct cfg_overload *overload = malloc(sizeof *overload);

    (void)name;
    (void)state;
    if (overload == NULL)
        return PS_E_NOMEM;
    int err = read_overload(json, reading->pointer, overload, faults);
    if (err < 0)
        free(overload);
    else
        *ret_parsed = overload;
    return err;
}

static json_t *overload_write(const void *parsed)
{
    const struct cfg_overload *overload = parsed;
    const struct cfg_ladder *ladder = &overload->ladder;
    json_t *signals = json_object();
    int err = 0;

    for (size_t i = 0; i < CFG_SIGNAL_COUNT; i++) {
        const struct cfg_signal_rule *rule = &overload->signals[i];
        err |= json_object_set_new(signals, cfg_signals[i].name,
                                   json_pack("{s:o, s:o}", "threshold",
                                             ps_json_of_number(rule->threshold), "weight",
                                             ps_json_of_number(rule->weight)));
    }
    return json_pack("{s:s, s:o, s:o, s:I, s:o, s:I}", "mode",
                     modes[overload->is_off ? OFF : ENFORCE], "signals",
                     ps_json_built(signals, err), "enter", ps_json_of_number(ladder->enter),
                     "enter_ticks", (json_int_t)ladder->enter_ticks, "leave",
                     ps_json_of_number(ladder->leave), "leave_s", (json_int_t)ladder->leave_s);
}

const struct cfg_kind cfg_kind_overload = {
    .path = "overload",
    .word = "overload document",
    .name_rule = "\"" CFG_OVERLOAD_NAME "\", the one document of this kind",
    .listed = "overload",
    .put = "overload.put",
    .drop = "overload.delete",
    .max = 1,
    .live = (const char *const[]){"/level", NULL},
    .measured = (const char *const[]){"/at", "/since", "/why", "/level_by_pressure", "/shedding",
                                      "/features", "/changes", "/pressure", "/highest", "/history",
                                      "/signals/*/unit", "/signals/*/source", "/signals/*/value",
                                      "/signals/*/share", "/signals/*/absent", NULL},
    .shipped = (const struct cfg_shipped[]){{CFG_OVERLOAD_NAME, "{}"}, {NULL, NULL}},
    .only_shipped = true,
    .single = CFG_OVERLOAD_NAME,
    .name = overload_name,
    .parse = overload_parse,
    .free = free,
    .write = overload_write,
};
