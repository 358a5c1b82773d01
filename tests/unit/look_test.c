/* What is explained is what happens: for requests at random, the verdict of a look (orders/look.h)
 * is the verdict of the request that follows it, and a look changes nothing. */
#include "check.h"
#include "limit_rules.h"
#include "gateway/admission/limits/limit_set.h"
#include "gateway/metrics.h"
#include "gateway/orders/buy.h"
#include "gateway/orders/look.h"
#include "gateway/snapshot/view.h"
#include "inventory/store_memory.h"
#include "queue/log_backend.h"

#include <time.h>

#define WALL_MS INT64_C(1900000000000)
#define HANDLE  7
#define EPOCH   3
#define STOCK   40

/* --- a log that takes everything, unless the test says otherwise --- */

static bool log_is_available;
static unsigned backlog;
static struct ps_uuid appended;

static int on_append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                     const struct oq_ticket *ticket)
{
    (void)log;
    (void)partition;
    (void)ticket;
    appended = event->order_id;
    return 0;
}

static bool is_available(const struct oq_log *log)
{
    (void)log;
    return log_is_available;
}

static unsigned backlog_percent(const struct oq_log *log)
{
    (void)log;
    return backlog;
}

static void show_log(const struct oq_log *log, struct oq_log_view *ret_view)
{
    (void)log;
    *ret_view = (struct oq_log_view){.state = OQ_LOG_AWAY};
}

static const struct oq_log_ops log_ops = {.append = on_append,
                                          .available = is_available,
                                          .backlog_percent = backlog_percent,
                                          .view = show_log};
static struct oq_log log_ = {&log_ops};

/* --- one worker --- */

static uv_loop_t loop;
static struct ps_clock_manual clock_;
static struct ps_uuid_source ids;
static struct ps_metrics *metrics;
static struct adm_limit_samples samples;
static struct adm_look_sink sink;
static struct adm_gates gates;
static struct adm_gates_copy copy;
static struct adm_shed shed;
static struct adm_overload_shared overload;
static struct ps_adaptive_limit log_limit;
static struct snap_sale sale;
static struct snap_sku skus[2];
static struct snap_sale *sales[] = {&sale};
static struct snapshot snapshot;
static struct snap_view *view;
static struct snapshot *documents; /* with the limits and the blocklist */
static struct oq_fold *fold;
static struct inv_store *store;
static struct ord_in_flight *in_flight;
static struct adm_worker_load load;
static struct ord_deps copied;

static struct ord_request request;
static bool answered;
static enum ans_verdict verdict;

static uint64_t on_keep(struct ord_request *of)
{
    (void)of;
    return HANDLE;
}

static struct ord_request *on_find(uint64_t handle, void *ctx)
{
    (void)ctx;
    return handle == HANDLE && !answered ? &request : NULL;
}

static void on_reply(struct ord_request *of, const struct ord_reply *reply)
{
    (void)of;
    answered = true;
    verdict = reply->verdict;
}

static void open_sale(void)
{
    static const char *const names[] = {"phone", "case"};
    struct inv_load *counted;

    assert_ok(inv_load_new(store, "spring", EPOCH, names, 2, &counted));
    assert_ok(inv_load_available(counted, 0, STOCK));
    assert_ok(inv_load_available(counted, 1, 1));
    memcpy(skus[0].name, "phone", sizeof "phone");
    memcpy(skus[1].name, "case", sizeof "case");
    skus[1].cap = 1;
    sale = (struct snap_sale){.name = "spring",
                              .opens_at_ms = WALL_MS,
                              .closes_at_ms = WALL_MS + 1000000,
                              .cap = 3,
                              .epoch = EPOCH,
                              .sku_count = 2,
                              .skus = skus};
    assert_ok(inv_load_install(counted, &sale.counter));
}

static int set_up(void **state)
{
    const struct ps_adaptive_limit_settings places = {
        .floor = 4, .initial = 4, .ceiling = 4, .target_ns = 1, .timeout_ns = 2};

    (void)state;
    ps_clock_manual_init(&clock_, 1000 * PS_NS_PER_S, WALL_MS);
    ps_uuid_source_init(&ids);
    uv_loop_init(&loop);
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics));
    assert_ok(adm_look_sink_init(&sink, clock_.mono_ns));
    assert_ok(adm_limit_samples_new(1, clock_.mono_ns, &samples));
    assert_ok(oq_fold_new(&fold));
    assert_ok(inv_store_memory_new(&clock_.clock, &store));
    assert_ok(snap_view_new(1, &view));
    open_sale();
    adm_shed_init(&shed);
    ps_adaptive_limit_init(&log_limit, &places);
    gates = (struct adm_gates){.fold = fold,
                               .sample = samples.at,
                               .shed = &shed,
                               .overload = &overload,
                               .log = &log_,
                               .backlog_percent = 90,
                               .log_limit = &log_limit,
                               .shard = ps_metrics_shard(metrics),
                               .snapshot = &snapshot};
    assert_ok(adm_limit_table_new(1, &gates.limits));
    const struct ord_deps deps = {.loop = &loop,
                                  .clock = &clock_.clock,
                                  .gates = &gates,
                                  .store = store,
                                  .log = &log_,
                                  .load = &load,
                                  .ids = &ids,
                                  .ack_timeout_ms = 1000,
                                  .held_max = 4,
                                  .caller = {.keep = on_keep, .find = on_find, .reply = on_reply},
                                  .on_due = ord_buy_on_due,
                                  .on_overdue = ord_buy_on_overdue};
    assert_ok(ord_in_flight_new(&deps, &in_flight));
    log_is_available = true;
    backlog = 0;
    return 0;
}

/* The rules and entries of `view` are in force. */
static void publish(void)
{
    assert_ok(snap_view_snapshot(view, 1, 1, &documents));
    snapshot = *documents;
    snapshot.sale_count = 1;
    snapshot.sales = sales;
}

static int tear_down(void **state)
{
    (void)state;
    ord_in_flight_stop(in_flight);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    ord_in_flight_free(in_flight);
    snapshot_free(documents);
    snap_view_free(view);
    adm_limit_table_free(gates.limits);
    inv_store_free(store);
    oq_fold_free(fold);
    ps_metrics_free(metrics);
    adm_look_sink_done(&sink);
    adm_limit_samples_free(&samples);
    return 0;
}

/* --- asking --- */

struct wish {
    const char *user, *ip, *body;
    bool overdue;
};

static void fill(struct ord_request *of, const struct wish *wish)
{
    *of = (struct ord_request){.sale_name = PS_STR("spring"),
                               .request_id = PS_STR("r"),
                               .arrived_ns = clock_.mono_ns,
                               .now_ns = clock_.mono_ns};
    of->asked.user = ps_str(wish->user);
    of->asked.body = ps_str(wish->body);
    of->asked.overdue = wish->overdue;
    assert_ok(ps_address_parse(wish->ip, strlen(wish->ip), false, &of->asked.address));
    ord_in_flight_enter(in_flight, of);
    adm_admit_expect(&gates, &of->asked);
}

static enum ans_verdict looked;
static char way[512]; /* "phase:pass ip/rule0:pass …" */

static void on_note(const struct adm_note *note, void *ctx)
{
    static const char *const steps[] = {[ADM_GATE_PASS] = "pass",
                                        [ADM_GATE_WAIT] = "wait",
                                        [ADM_GATE_REPLAY] = "replay",
                                        [ADM_GATE_DENY] = "deny"};
    size_t len = strlen(way);

    (void)ctx;
    (void)snprintf(way + len, sizeof way - len, "%s%s%s:%s ", note->gate,
                   note->rule != NULL ? "/" : "", note->rule != NULL ? note->rule->name : "",
                   steps[note->step]);
}

static void on_verdict(struct ord_look *look, enum ans_verdict of)
{
    (void)look;
    looked = of;
}

static enum ans_verdict look_at(const struct wish *wish)
{
    struct adm_look look = {.note = on_note};
    struct ord_look order = {.wall_ms = clock_.wall_ms, .look = &look, .on_verdict = on_verdict};

    looked = ANS_VERDICT_COUNT;
    way[0] = '\0';
    fill(&order.request, wish);
    adm_gates_copy(&gates, &sink, &copy);
    copied = in_flight->deps;
    copied.gates = &copy.gates;
    order.request.deps = &copied;
    ord_buy_look(&order, &sale);
    assert_int_not_equal(looked, ANS_VERDICT_COUNT);
    return looked;
}

/* The verdict of the real request; of one that the log has taken, `accepted`, and the log decides
 * at once. */
static enum ans_verdict buy(const struct wish *wish)
{
    answered = false;
    fill(&request, wish);
    ord_buy_start(&request, &sale);
    if (answered)
        return verdict;
    assert_int_equal(request.state, ORD_LOGGING);
    inv_store_resolve(store, sale.counter, &appended, INV_ACCEPTED);
    ord_buy_outcome(&in_flight->deps, HANDLE, OQ_UNKNOWN, NULL, 0);
    ps_adaptive_limit_drop(&log_limit);
    return ANS_V_accepted;
}

/* --- claims --- */

static uint64_t random_;

static unsigned below(unsigned bound)
{
    random_ = random_ * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned)(random_ >> 33) % bound;
}

static struct wish wish_at_random(void)
{
    static const char *const users[] = {"ann", "bob", "cem", "dan", "eve", "fay", "gus", "bot"};
    static const char *const ips[] = {"192.0.2.1",     "192.0.2.2",       "198.51.100.9",
                                      "2001:db8:1::1", "2001:db8:1:2::1", "2001:db8:2::1",
                                      "203.0.113.7"};
    static const char *const bodies[] = {"{\"sku\":\"phone\"}",
                                         "{\"sku\":\"phone\",\"quantity\":2}",
                                         "{\"sku\":\"case\"}",
                                         "{\"sku\":\"case\",\"quantity\":4}",
                                         "{\"sku\":\"phone\",\"quantity\":0}",
                                         "{\"sku\":\"none\"}",
                                         "{\"sku\":7}",
                                         "no"};

    return (struct wish){.user = users[below(8)],
                         .ip = ips[below(7)],
                         .body = bodies[below(3) > 0 ? below(3) : below(8)],
                         .overdue = below(40) == 0};
}

/* What may change between two requests does, now and then. */
static void let_things_change(void)
{
    clock_.mono_ns += below(400) * PS_NS_PER_MS;
    sale.paused = below(30) == 0;
    sale.fenced = below(40) == 0;
    log_is_available = below(40) != 0;
    backlog = below(40) == 0 ? 95 : 10;
    shed.active = below(10) == 0;
    shed.cut_off = 1 + below(ADM_SHED_BUCKETS);
    log_limit.in_flight = below(30) == 0 ? 4 : 0;
    clock_.wall_ms = below(40) == 0 ? WALL_MS - 60000 : WALL_MS + 5;
}

static void a_look_says_what_the_request_that_follows_gets(void **state)
{
    static const char *const rules[] = {
        "{\"key\":\"user\",\"algorithm\":\"token_bucket\",\"rate\":1,\"period_s\":2,\"burst\":2}",
        "{\"key\":\"ip\",\"algorithm\":\"sliding_window\",\"rate\":6,\"period_s\":5}",
        "{\"key\":\"ip\",\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":1,\"mode\":"
        "\"shadow\"}",
        "{\"key\":\"sale\",\"algorithm\":\"fixed_window\",\"rate\":3,\"period_s\":1}",
        "{\"key\":\"global\",\"algorithm\":\"token_bucket\",\"rate\":1,\"period_s\":1,\"burst\":"
        "5}"};
    static const enum ans_verdict must[] = {
        ANS_V_accepted,  ANS_V_blocked,        ANS_V_shed,        ANS_V_ip_rate,  ANS_V_user_rate,
        ANS_V_sale_rate, ANS_V_global_rate,    ANS_V_user_limit,  ANS_V_sold_out, ANS_V_not_started,
        ANS_V_paused,    ANS_V_fenced,         ANS_V_log_backlog, ANS_V_quantity, ANS_V_malformed,
        ANS_V_not_found, ANS_V_log_unavailable};
    struct ps_cidr range;
    unsigned seen[ANS_VERDICT_COUNT] = {0};

    (void)state;
    random_ = (uint64_t)time(NULL);
    print_message("seed %llu\n", (unsigned long long)random_);
    assert_ok(ps_cidr_parse("203.0.113.0/24", 14, &range));
    assert_ok(adm_blocklist_user(snap_view_blocklist(view), "bot", INT64_MAX));
    assert_ok(adm_blocklist_range(snap_view_blocklist(view), &range, INT64_MAX));
    put_rules(view, rules, PS_ARRAY_LEN(rules));
    publish();
    for (int i = 0; i < 24000; i++) {
        let_things_change();
        struct wish wish = wish_at_random();
        enum ans_verdict first = look_at(&wish), second = look_at(&wish);
        assert_int_equal(first, second);
        enum ans_verdict got = buy(&wish);
        if (first != got)
            fail_msg("%d: explained as %s (%s), but got %s", i, ans_verdicts[first].name, way,
                     ans_verdicts[got].name);
        seen[got]++;
        if (got == ANS_V_accepted && below(10) > 0)
            inv_store_resolve(store, sale.counter, &appended, INV_RELEASED);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(must); i++)
        if (seen[must[i]] == 0)
            fail_msg("no request got %s", ans_verdicts[must[i]].name);
}

/* What gates count. */
static int64_t counted(const struct ps_metrics *of)
{
    return ps_metric_read(of, GW_M_LIMIT_SHARED_ASKED, 0) +
           ps_metric_read(of, GW_M_FLOW_REFUSED, GW_FLOW_LOG);
}

static int64_t counted_of_rules(void)
{
    int64_t sum = 0;

    for (size_t i = 0; i < snapshot.limits->count; i++)
        for (enum adm_limit_count what = 0; what < ADM_LIMIT_COUNTS; what++)
            sum += adm_limit_figures_sum(snapshot.limits->compiled[i].figures, what);
    return sum;
}

static uint64_t sampled(void)
{
    uint64_t sum = 0;

    for (size_t kind = 0; kind < PS_ARRAY_LEN(samples.at->rings); kind++)
        sum += samples.at->rings[kind].written + samples.at->rings[kind].draws;
    return sum;
}

static void a_look_counts_nothing(void **state)
{
    static const char *const rules[] = {
        "{\"key\":\"ip\",\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":86400,"
        "\"mode\":\"shadow\",\"trial\":{\"rate\":1,\"period_s\":9}}",
        "{\"key\":\"user\",\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":86400}",
        "{\"key\":\"global\",\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":86400}"};
    const struct wish ann = {"ann", "192.0.2.1", "{\"sku\":\"phone\"}", false};
    const struct wish overdue = {"bob", "192.0.2.1", "{\"sku\":\"phone\"}", true};

    (void)state;
    put_rules(view, rules, PS_ARRAY_LEN(rules));
    publish();
    shed.active = true;
    struct adm_shed shed_before = shed;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(look_at(&ann), ANS_V_accepted);
        assert_int_equal(look_at(&overdue), ANS_V_shed);
    }
    log_limit.in_flight = 4;
    assert_int_equal(look_at(&ann), ANS_V_log_backlog);
    assert_int_equal(log_limit.reached_ns, 0);
    assert_int_equal(log_limit.in_flight, 4);
    log_limit.in_flight = 0;
    assert_int_equal(counted(metrics), 0);
    assert_int_equal(counted_of_rules(), 0);
    assert_int_equal(sampled(), 0);
    assert_true(counted(sink.metrics) > 0);
    assert_memory_equal(&shed_before, &shed, sizeof shed);
    assert_int_equal(inv_sale_left(sale.counter, 0), STOCK);
    assert_int_equal(adm_limit_table_evictions(gates.limits), 0);
}

static void a_look_names_each_gate_up_to_the_one_that_decides(void **state)
{
    static const char *const rules[] = {
        "{\"key\":\"ip\",\"algorithm\":\"fixed_window\",\"rate\":9,\"period_s\":86400}",
        "{\"key\":\"user\",\"algorithm\":\"leaky_bucket\",\"rate\":1,\"period_s\":1,\"burst\":1,"
        "\"max_wait_ms\":1000}",
        "{\"key\":\"global\",\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":86400}"};
    const struct wish ann = {"ann", "2001:db8::1", "{\"sku\":\"phone\"}", false};
    const struct wish bob = {"bob", "2001:db8::1", "{\"sku\":\"phone\"}", false};

    (void)state;
    put_rules(view, rules, PS_ARRAY_LEN(rules));
    publish();
    assert_int_equal(look_at(&ann), ANS_V_accepted);
    assert_string_equal(way, "phase:pass blocklist:pass rehearsal:pass shed:pass ip/rule0:pass "
                             "ip/rule0:pass user/rule1:pass replay:pass sold_out:pass log:pass "
                             "store:pass body:pass sku_sold_out:pass sale:pass global/rule2:pass "
                             "counter:pass ");
    assert_int_equal(buy(&ann), ANS_V_accepted);
    assert_int_equal(look_at(&ann), ANS_V_global_rate); /* behind a wait */
    assert_non_null(strstr(way, "user/rule1:wait replay:pass"));
    assert_int_equal(look_at(&bob), ANS_V_global_rate);
    assert_non_null(strstr(way, "global/rule2:deny "));
    assert_null(strstr(way, "counter"));
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_look_says_what_the_request_that_follows_gets),
        CLAIM(a_look_counts_nothing),
        CLAIM(a_look_names_each_gate_up_to_the_one_that_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
