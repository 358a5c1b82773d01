/* The table of signals. A threshold is the value above which the signal hurts buyers; at 80 % of
 * the largest ratio (unless the document says otherwise) the gateway begins to turn features off.
 *
 * Weights below 1 are for figures that can be high for long on a machine that answers everybody in
 * time: alone they must neither raise the level nor keep it up. Clients who send nothing cost
 * memory, not time, and anybody can open many connections. A few clients who ask for nothing useful
 * can keep all processors busy: as long as the loops take turns in time, others wait for less than
 * a millisecond, and without pages they would not get them sooner. What hurts shows in the loop's
 * delay, also work of other programs on the same processors; a lack of memory shows in
 * memory_pressure. */
#include "gateway/config/kinds/overload_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
/*    signal, name, unit, threshold, weight, source */
#define SIGNALS(X) \
    X(LOOP_DELAY, loop_delay_ms, "ms", 20, 1, "How long an event waits for its worker: 99th percentile over the time of all workers", "事件等到其 worker 处理的时间：所有 worker 的 99 分位") \
    X(IN_FLIGHT, requests_in_flight, "requests", 5000, 1, "Requests not answered yet, but for those that wait in a leaky bucket, for another's page or for their client", "尚未应答的请求，不含漏桶中等待的、等待另一请求取回页面的和客户端仍在发送的") \
    X(STORE_LATENCY, store_latency_ms, "ms", 50, 1, "From a request to a shared counter (Redis) to its reply: 99th percentile; 0 without requests", "向共享计数器（Redis）请求到应答的时间：99 分位；无请求时为 0") \
    X(LOG_LATENCY, log_latency_ms, "ms", 250, 1, "From an order's append until the log shows it: 99th percentile, or the age of the oldest order that waits; 0 without orders", "订单从写入到日志可见的时间：99 分位，或最久等待者的时长；无订单时为 0") \
    X(LOG_BACKLOG, log_backlog, "share", 0.5, 1, "Records that wait for the log, as a share of log.queue", "等待写入日志的记录占 log.queue 的比例") \
    X(PROCESS_CPU, process_cpu, "share", 1, 0.5, "Processor time of this process in the last second, as a share of its cgroup's quota, or of the machine", "最近一秒本进程的 CPU 时间，占其 cgroup 配额或整机的比例") \
    X(MACHINE_CPU, machine_cpu, "share", 1, 0.5, "Processor time of the whole machine in the last second, as a share", "最近一秒整机的 CPU 使用率") \
    X(CPU_PRESSURE, cpu_pressure, "share", 0, 1, "Share of the last 10 s in which a task waited for a processor (PSI, some)", "最近 10 秒内有任务等待 CPU 的时间比例（PSI some）") \
    X(MEMORY, memory, "share", 1, 0.7, "Memory in use, without page cache that the kernel can drop, as a share of the cgroup's limit, or of the machine", "已用内存（不含可回收的页缓存），占 cgroup 上限或整机的比例") \
    X(MEMORY_PRESSURE, memory_pressure, "share", 0.2, 1, "Share of the last 10 s in which a task waited for memory (PSI, some)", "最近 10 秒内有任务等待内存的时间比例（PSI some）") \
    X(CONNECTIONS, connections, "share", 1, 0.5, "Open connections of buyers, as a share of http.connections", "买家侧打开的连接数，占 http.connections 的比例") \
    X(ADMITTED_RATE, admitted_rate, "1/s", 0, 1, "Orders that passed all gates in the last second", "最近一秒通过全部闸门的订单数")

#define SIGNAL(signal, name, unit, threshold, weight, source, zh) [CFG_SIGNAL_##signal] = {#name, unit, source, {threshold, weight}},
const struct cfg_signal_row cfg_signals[CFG_SIGNAL_COUNT] = {SIGNALS(SIGNAL)};
#define WORD(signal, name, unit, threshold, weight, source, zh) [CFG_SIGNAL_##signal] = #name,
const char *const cfg_signal_words[CFG_SIGNAL_COUNT + 2] = {SIGNALS(WORD) [CFG_SIGNAL_COUNT] = "pressure"};
/* clang-format on */

/* --- The kind. --- */

static const char *const modes[] = {"enforce", "off", NULL};

static int overload_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1])
{
    if (len != strlen(CFG_OVERLOAD_NAME) || memcmp(text, CFG_OVERLOAD_NAME, len) != 0)
        return PS_E_INVALID;
    memcpy(ret_name, CFG_OVERLOAD_NAME, sizeof CFG_OVERLOAD_NAME);
    return 0;
}

static void check_ladder(struct ps_table_at *at, void *object)
{
    const struct cfg_ladder *ladder = &((struct cfg_overload *)object)->ladder;

    if (ladder->leave >= ladder->enter)
        ps_table_fault(at, "leave",
                       "must be below enter (%g): else the level goes up and down at one pressure",
                       ladder->enter);
}

/* clang-format off */
#define AT(field) PS_AT(struct cfg_overload, field)
#define SIGNAL_ROWS(signal, name, unit_of, threshold_is, weight_is, source, zh) \
    {"signals." #name ".threshold", PS_M_NUMBER, AT(signals[CFG_SIGNAL_##signal].threshold), .max = 1e12, .unit = {unit_of}, .fallback = #threshold_is, .text = {source ". Above this value it hurts buyers; 0: not judged", zh "。超过该值会影响买家；0：不参与判断"}}, \
    {"signals." #name ".weight", PS_M_NUMBER, AT(signals[CFG_SIGNAL_##signal].weight), .max = 1, .fallback = #weight_is, .text = {"share = weight × value / threshold", "占比 = 权重 × 值 / 阈值"}}, \
    {"signals." #name ".unit", PS_M_STRING, .flags = PS_M_MEASURED, .text = {"Its unit", "单位"}}, \
    {"signals." #name ".source", PS_M_STRING, .flags = PS_M_MEASURED, .text = {"What is measured", "测量对象"}}, \
    {"signals." #name ".value", PS_M_NUMBER, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"The value now; null: it cannot be measured here", "当前值；null：此处无法测量"}}, \
    {"signals." #name ".share", PS_M_NUMBER, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"Its share of the pressure now", "当前占比"}}, \
    {"signals." #name ".absent", PS_M_STRING, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"Why it cannot be measured here", "无法测量的原因"}},

static const struct ps_member members[] = {
    {"mode", PS_M_ENUM, AT(mode), .words = modes, .fallback = "\"enforce\"", .text = {"off: the level stays at 0, nobody is shed and no limit follows latency", "off：级别保持 0，不削减请求，限制不随延迟变化"}},
    SIGNALS(SIGNAL_ROWS)
    {"enter", PS_M_NUMBER, AT(ladder.enter), .max = 100, .fallback = "0.8", .text = {"The level rises while the pressure (the highest share of all signals) is at least this", "压力（各信号占比的最大值）不低于该值时升级"}},
    {"enter_ticks", PS_M_INT, AT(ladder.enter_ticks), .min = 1, .max = 600, .unit = {"ticks", "个周期"}, .fallback = "3", .text = {"How many ticks in a row the pressure must be high before the level rises", "连续多少个周期后升级"}},
    {"leave", PS_M_NUMBER, AT(ladder.leave), .max = 100, .fallback = "0.6", .text = {"The level falls while the pressure is at most this; must be below enter", "压力低于该值时降级恢复；须小于 enter"}},
    {"leave_s", PS_M_INT, AT(ladder.leave_s), .min = 1, .max = 3600, .unit = {"s"}, .fallback = "30", .text = {"How long the pressure must be low before the level falls", "持续多久后恢复"}},
    {"level", PS_M_INT, .flags = PS_M_LIVE, .text = {"The level of the ladder now", "当前级别"}},
    {"at", PS_M_TIME, .flags = PS_M_MEASURED, .text = {"When this was measured", "测量时间"}},
    {"since", PS_M_TIME, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"When the level last changed", "当前级别的起始时间"}},
    {"why", PS_M_STRING, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"The cause of the present level", "处于当前级别的原因"}},
    {"level_by_pressure", PS_M_INT, .flags = PS_M_MEASURED, .text = {"What the level would be without an override", "没有 override 时的级别"}},
    {"shedding", PS_M_FREE, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"The share of orders that is shed before the gates", "闸门之前削减的订单比例"}},
    {"features", PS_M_FREE, .flags = PS_M_MEASURED, .text = {"Which features are off, and why", "已关闭的功能及原因"}},
    {"changes", PS_M_LIST, .flags = PS_M_MEASURED, .text = {"The last changes of the level", "最近的级别变化"}},
    {"pressure", PS_M_NUMBER, .flags = PS_M_MEASURED, .text = {"The highest share of all signals", "各信号占比的最大值"}},
    {"highest", PS_M_STRING, .flags = PS_M_MEASURED | PS_M_NULLABLE, .text = {"The signal with the highest share", "对应的信号"}},
    {"history", PS_M_FREE, .flags = PS_M_MEASURED, .text = {"The last minutes, with ?history", "最近几分钟的数据，需带 ?history"}},
};
#define SIGNAL_GROUP(signal, name, unit, threshold, weight, source, zh) {"signals." #name, {source, zh}},
static const struct ps_group groups[] = {
    {"signals", {"What is measured each tick, and from what value on it hurts buyers", "每个周期测量的信号，以及从多大的值开始影响买家"}},
    SIGNALS(SIGNAL_GROUP)
    {0}};
/* clang-format on */
static const struct ps_table table = {.title = "overload",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_overload),
                                      .groups = groups,
                                      .check = check_ladder};

const struct cfg_kind cfg_kind_overload = {
    .path = "overload",
    .id = "overload",
    .word = "overload document",
    .name_rule = "\"" CFG_OVERLOAD_NAME "\", the one document of this kind",
    .listed = "overload",
    .put = "overload.put",
    .drop = "overload.delete",
    .max = 1,
    .shipped = (const struct cfg_shipped[]){{CFG_OVERLOAD_NAME, "{}"}, {NULL, NULL}},
    .only_shipped = true,
    .single = CFG_OVERLOAD_NAME,
    .name = overload_name,
    .table = &table,
};
