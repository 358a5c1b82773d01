/* The way of one buy, from the gates to the answer, over a counter that answers when it is told to
 * and a log of which the test says what it shows. */
#include "check.h"
#include "gateway/metrics.h"
#include "gateway/orders/buy.h"
#include "inventory/store_backend.h"
#include "queue/log_backend.h"

#define SALE    "spring"
#define HANDLE  7
#define WALL_MS INT64_C(1900000000000)

/* --- a counter elsewhere, with one sale --- */

static struct {
    struct inv_reply_to reply_to;
    size_t asked, answered, voided;
} counter;

static bool never_sold_out(const struct inv_sale *sale, uint32_t sku)
{
    (void)sale;
    (void)sku;
    return false;
}

static size_t one_sku(const struct inv_sale *sale)
{
    (void)sale;
    return 1;
}

static int on_reserve(struct inv_store *store, struct inv_sale *sale,
                      const struct inv_reservation *reservation, struct inv_reply_to to)
{
    (void)store;
    (void)sale;
    (void)reservation;
    counter.asked++;
    counter.reply_to = to;
    return INV_PENDING;
}

static void on_resolve(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                       enum inv_verdict verdict)
{
    (void)store;
    (void)sale;
    (void)id;
    counter.voided += verdict == INV_VOID;
}

static const struct inv_shared_ops shared_ops;
static const struct inv_backend backend = {.shared = &shared_ops,
                                           .sale_sku_count = one_sku,
                                           .sale_sku_sold_out = never_sold_out,
                                           .reserve = on_reserve,
                                           .resolve = on_resolve};
static struct inv_store store = {&backend};
static struct inv_sale counted = {&backend};

static void counter_says(enum inv_result result)
{
    const struct inv_answer answer = {.result = result, .reserved_at_ms = WALL_MS, .left = 1};

    counter.answered++;
    counter.reply_to.on_answer(counter.reply_to.handle, 0, &answer, counter.reply_to.ctx);
}

/* --- a log --- */

static size_t appended;
static int append_fails;

static int on_append(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                     const struct oq_ticket *ticket)
{
    (void)log;
    (void)partition;
    assert_int_equal(ticket->handle, HANDLE);
    assert_int_equal(event->type, OQ_ACCEPTED);
    if (append_fails != 0)
        return append_fails;
    appended++;
    return 0;
}

static bool is_available(const struct oq_log *log)
{
    (void)log;
    return true;
}

static unsigned no_backlog(const struct oq_log *log)
{
    (void)log;
    return 0;
}

static const struct oq_log_ops log_ops = {
    .append = on_append, .available = is_available, .backlog_percent = no_backlog};
static struct oq_log log_ = {&log_ops};

/* --- the caller: one request at a time --- */

static struct ord_request request;
static bool kept, answered;
static enum ans_verdict verdict;
static struct ans_problem_detail problem; /* of the answer, if it is one */

static uint64_t on_keep(struct ord_request *of)
{
    assert_ptr_equal(of, &request);
    kept = true;
    return HANDLE;
}

static struct ord_request *on_find(uint64_t handle, void *ctx)
{
    (void)ctx;
    return handle == HANDLE && kept && !answered ? &request : NULL;
}

static void on_reply(struct ord_request *of, const struct ord_reply *reply)
{
    assert_ptr_equal(of, &request);
    assert_false(answered);
    answered = true;
    verdict = reply->verdict;
    problem = reply->problem != NULL ? *reply->problem : (struct ans_problem_detail){0};
}

/* --- a worker --- */

static uv_loop_t loop;
static struct ps_clock_manual clock_;
static struct ps_uuid_source ids;
static struct ps_metrics *metrics;
static struct adm_gates gates;
static struct adm_limit_samples samples;
static struct adm_shed shed;
static struct ps_adaptive_limit log_limit, store_limit;
static struct snap_sale sale;
static struct snap_sku sku;
static struct snap_sale *sales[] = {&sale};
static struct adm_limit_set limits;
static struct snapshot snapshot;
static struct oq_fold *fold;
static struct ord_in_flight *in_flight;
static struct adm_worker_load load;

static int set_up(void **state)
{
    (void)state;
    ps_clock_manual_init(&clock_, 1, WALL_MS);
    ps_uuid_source_init(&ids);
    uv_loop_init(&loop);
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics));
    assert_ok(oq_fold_new(&fold));
    sku = (struct snap_sku){.name = "phone", .cap = 0};
    sale = (struct snap_sale){.name = SALE,
                              .opens_at_ms = WALL_MS - 1000,
                              .closes_at_ms = INT64_MAX,
                              .cap = 5,
                              .counter = &counted,
                              .epoch = 1,
                              .sku_count = 1,
                              .skus = &sku};
    snapshot = (struct snapshot){.version = 1, .sale_count = 1, .sales = sales, .limits = &limits};
    assert_ok(adm_blocklist_new(&snapshot.blocklist));
    adm_shed_init(&shed);
    const struct ps_adaptive_limit_settings places = {
        .floor = 4, .initial = 4, .ceiling = 4, .target_ns = 1, .timeout_ns = 2};
    ps_adaptive_limit_init(&log_limit, &places);
    ps_adaptive_limit_init(&store_limit, &places);
    gates = (struct adm_gates){.fold = fold,
                               .shed = &shed,
                               .log = &log_,
                               .backlog_percent = 90,
                               .log_limit = &log_limit,
                               .store_limit = &store_limit,
                               .shard = ps_metrics_shard(metrics),
                               .snapshot = &snapshot};
    assert_ok(adm_limit_table_new(1, &gates.limits));
    assert_ok(adm_limit_samples_new(1, 0, &samples));
    gates.sample = samples.at;
    const struct ord_deps deps = {.loop = &loop,
                                  .clock = &clock_.clock,
                                  .gates = &gates,
                                  .store = &store,
                                  .log = &log_,
                                  .load = &load,
                                  .ids = &ids,
                                  .ack_timeout_ms = 1000,
                                  .held_max = 4,
                                  .caller = {.keep = on_keep, .find = on_find, .reply = on_reply},
                                  .on_due = ord_buy_on_due,
                                  .on_overdue = ord_buy_on_overdue};
    assert_ok(ord_in_flight_new(&deps, &in_flight));
    kept = answered = false;
    appended = 0;
    append_fails = 0;
    memset(&counter, 0, sizeof counter);
    memset(&load, 0, sizeof load);
    return 0;
}

/* Whatever became of a buyer, their places are free again: towards the counter when it has
 * answered, towards the log when nothing is appended. (What was appended frees its place on the
 * log's thread.) */
static int tear_down(void **state)
{
    (void)state;
    size_t asking = counter.asked - counter.answered;
    assert_int_equal(store_limit.in_flight, asking);
    assert_int_equal(log_limit.in_flight, asking + appended);
    ord_in_flight_stop(in_flight);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    ord_in_flight_free(in_flight);
    adm_limit_table_free(gates.limits);
    adm_limit_samples_free(&samples);
    adm_blocklist_free(snapshot.blocklist);
    oq_fold_free(fold);
    ps_metrics_free(metrics);
    return 0;
}

static void buy(void)
{
    request = (struct ord_request){
        .sale_name = PS_STR(SALE), .request_id = PS_STR("r"), .now_ns = clock_.mono_ns};
    request.asked.user = PS_STR("ann");
    request.asked.body = PS_STR("{\"sku\":\"phone\",\"quantity\":1}");
    ord_in_flight_enter(in_flight, &request);
    adm_admit_expect(&gates, &request.asked);
    ord_buy_start(&request, &sale);
}

/* --- claims --- */

static void a_buy_waits_for_the_counter_and_then_for_the_log(void **state)
{
    (void)state;
    buy();
    assert_int_equal(request.state, ORD_RESERVING);
    assert_int_equal(appended, 0);
    counter_says(INV_RESERVED);
    assert_int_equal(request.state, ORD_LOGGING);
    assert_int_equal(appended, 1);
    assert_false(answered);
    ord_buy_outcome(&in_flight->deps, HANDLE, OQ_UNKNOWN, NULL, 0);
    assert_int_equal(request.state, ORD_ANSWERED);
    assert_int_equal(verdict, ANS_V_pending);
    assert_int_equal(counter.voided, 0); /* only a record may give the units back */
}

static void a_sale_that_was_paused_while_the_counter_was_asked_sells_nothing(void **state)
{
    (void)state;
    buy();
    sale.paused = true;
    counter_says(INV_RESERVED);
    assert_int_equal(verdict, ANS_V_paused);
    assert_int_equal(appended, 0);
    assert_int_equal(counter.voided, 1);
}

static void a_sale_that_ended_while_the_counter_was_asked_sells_nothing(void **state)
{
    (void)state;
    buy();
    sale.ended = true;
    counter_says(INV_RESERVED);
    assert_int_equal(verdict, ANS_V_ended);
    assert_int_equal(appended, 0);
    assert_int_equal(counter.voided, 1);
}

static void a_record_that_was_refused_gives_the_units_back(void **state)
{
    (void)state;
    buy();
    counter_says(INV_RESERVED);
    ord_buy_outcome(&in_flight->deps, HANDLE, OQ_REFUSED, NULL, 0);
    assert_int_equal(verdict, ANS_V_log_unavailable);
    assert_int_equal(counter.voided, 1);
}

static void a_buyer_waits_for_the_log_no_longer_than_the_deadline(void **state)
{
    (void)state;
    buy();
    counter_says(INV_RESERVED);
    clock_.mono_ns += 1000 * PS_NS_PER_MS;
    uv_run(&loop, UV_RUN_DEFAULT); /* until the timer has fired */
    assert_int_equal(verdict, ANS_V_pending);
    ord_buy_outcome(&in_flight->deps, HANDLE, OQ_REFUSED, NULL, 0); /* finds nobody */
    assert_int_equal(counter.voided, 0);
}

static void a_reservation_that_nobody_waits_for_stays_in_doubt(void **state)
{
    (void)state;
    buy();
    kept = false;
    ord_in_flight_leave(&request);
    counter_says(INV_RESERVED);
    assert_false(answered);
    assert_int_equal(appended, 0);
    assert_int_equal(counter.voided, 0);
}

static void a_buyer_for_whom_there_is_no_place_is_refused_before_stock_is_touched(void **state)
{
    static const enum ans_verdict refusals[] = {ANS_V_log_backlog, ANS_V_store_unavailable};
    struct ps_adaptive_limit *places[] = {&log_limit, &store_limit};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(places); i++) {
        for (int others = 0; others < 4; others++)
            assert_true(ps_adaptive_limit_begin(places[i], clock_.mono_ns));
        answered = false;
        buy();
        assert_true(answered);
        assert_int_equal(verdict, refusals[i]);
        assert_int_equal(counter.asked, 0);
        assert_int_equal(ps_metric_read(metrics, GW_M_FLOW_REFUSED, i), 1);
        for (int others = 0; others < 4; others++)
            ps_adaptive_limit_drop(places[i]);
    }
    answered = false;
    buy();
    assert_int_equal(counter.asked, 1);
}

static void an_order_that_the_log_does_not_take_frees_its_places(void **state)
{
    (void)state;
    buy();
    append_fails = PS_E_FULL;
    counter_says(INV_RESERVED);
    assert_int_equal(verdict, ANS_V_log_backlog);
    assert_int_equal(counter.voided, 1);
}

static void what_the_counter_refuses_frees_its_places(void **state)
{
    static const enum inv_result results[] = {INV_SOLD_OUT, INV_FENCED, INV_CAP, INV_MISMATCH};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(results); i++) {
        kept = answered = false;
        buy();
        counter_says(results[i]);
        assert_true(answered);
        assert_int_equal(log_limit.in_flight, 0);
    }
}

/* How many of `times` are `ms` long. */
static unsigned counted_ms(const struct ps_times *times, int64_t ms)
{
    return times->count[ps_time_bucket(ms * PS_NS_PER_MS)];
}

static void what_the_counter_and_the_log_take_is_measured(void **state)
{
    (void)state;
    buy();
    assert_int_equal(load.admitted, 1);
    assert_int_equal(ord_in_flight_oldest_ns(in_flight), 0);
    clock_.mono_ns += 7 * PS_NS_PER_MS;
    counter_says(INV_RESERVED);
    assert_int_equal(counted_ms(&load.store, 7), 1);
    assert_int_equal(ord_in_flight_oldest_ns(in_flight), clock_.mono_ns);
    clock_.mono_ns += 30 * PS_NS_PER_MS;
    ord_buy_outcome(&in_flight->deps, HANDLE, OQ_UNKNOWN, NULL, 0);
    assert_int_equal(counted_ms(&load.log, 30), 1);
    assert_int_equal(ord_in_flight_oldest_ns(in_flight), 0);
}

static void an_order_that_the_log_does_not_show_counts_with_its_whole_wait(void **state)
{
    (void)state;
    buy();
    counter_says(INV_RESERVED);
    clock_.mono_ns += 1000 * PS_NS_PER_MS;
    uv_run(&loop, UV_RUN_DEFAULT); /* until the timer has fired */
    assert_int_equal(counted_ms(&load.log, 1000), 1);
    ord_buy_outcome(&in_flight->deps, HANDLE, OQ_UNKNOWN, NULL, 0);
    assert_int_equal(counted_ms(&load.log, 1000), 1); /* and once only */
}

/* A cut-off that ann is behind, as all but one user in 128 are. */
static void shed_nearly_all(void)
{
    shed.active = true;
    shed.cut_off = 1;
}

static void a_user_behind_the_cut_off_is_refused_and_spends_no_limit(void **state)
{
    (void)state;
    shed_nearly_all();
    buy();
    assert_int_equal(verdict, ANS_V_shed);
    assert_int_equal(counter.asked, 0);
    assert_null(problem.limit.policy);
    assert_in_range(problem.retry_after_s, 10, 19);
}

static void an_ended_sale_says_so_also_under_overload(void **state)
{
    (void)state;
    shed_nearly_all();
    sale.ended = true;
    buy();
    assert_int_equal(verdict, ANS_V_ended);
}

static enum ans_verdict admit_other(enum adm_gate (*admit)(struct adm_admission *admission))
{
    struct adm_request asked = {.user = PS_STR("ann")};
    struct adm_admission admission = {.gates = &gates, .request = &asked, .sale = &sale};

    return admit(&admission) == ADM_GATE_DENY ? admission.verdict : ANS_V_ok;
}

static void a_status_page_gives_way_before_a_look_up_and_that_before_an_order(void **state)
{
    (void)state;
    shed.active = true;
    shed.cut_off = 2 * ADM_SHED_BUCKETS;
    assert_int_equal(admit_other(adm_admit_status), ANS_V_shed);
    assert_int_equal(admit_other(adm_admit_lookup), ANS_V_ok);
    shed.cut_off = ADM_SHED_BUCKETS;
    assert_int_equal(admit_other(adm_admit_lookup), ANS_V_shed);
    buy();
    assert_false(answered); /* it waits for the counter */
    assert_int_equal(counter.asked, 1);
}

static void who_has_no_name_is_shed_by_address(void **state)
{
    (void)state;
    struct adm_request asked = {0};
    struct adm_admission admission = {.gates = &gates, .request = &asked, .sale = &sale};
    unsigned admitted = 0;

    shed.active = true;
    shed.cut_off = 2 * ADM_SHED_BUCKETS + ADM_SHED_BUCKETS / 2;
    for (unsigned i = 0; i < 1000; i++) {
        asked.address = (struct ps_address){{[10] = 0xff, 0xff, 10, 0, i >> 8 & 0xff, i & 0xff}};
        admitted += adm_admit_status(&admission) == ADM_GATE_PASS;
    }
    assert_in_range(admitted, 400, 600);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_buy_waits_for_the_counter_and_then_for_the_log),
        CLAIM(a_sale_that_was_paused_while_the_counter_was_asked_sells_nothing),
        CLAIM(a_sale_that_ended_while_the_counter_was_asked_sells_nothing),
        CLAIM(a_record_that_was_refused_gives_the_units_back),
        CLAIM(a_buyer_waits_for_the_log_no_longer_than_the_deadline),
        CLAIM(a_reservation_that_nobody_waits_for_stays_in_doubt),
        CLAIM(a_buyer_for_whom_there_is_no_place_is_refused_before_stock_is_touched),
        CLAIM(an_order_that_the_log_does_not_take_frees_its_places),
        CLAIM(what_the_counter_refuses_frees_its_places),
        CLAIM(what_the_counter_and_the_log_take_is_measured),
        CLAIM(an_order_that_the_log_does_not_show_counts_with_its_whole_wait),
        CLAIM(a_user_behind_the_cut_off_is_refused_and_spends_no_limit),
        CLAIM(an_ended_sale_says_so_also_under_overload),
        CLAIM(a_status_page_gives_way_before_a_look_up_and_that_before_an_order),
        CLAIM(who_has_no_name_is_shed_by_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
