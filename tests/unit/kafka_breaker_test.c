/* The breaker before Kafka, without Kafka: what its circuit leads to and who is told. */
#include "tests/unit/check.h"

#include "queue/kafka_breaker.h"

#include <stdio.h>

#define SHORT_MS 1

struct reported {
    int times;
    bool available;
    char why[640];
};

static struct reported reported;
static struct ps_fault fault;

static const struct oq_kafka_settings settings = {
    .topic = "orders", .brokers = "kafka:9092", .behind_ms = 2000};

static void on_state(bool available, const char *why, void *ctx)
{
    struct reported *to = ctx;
    to->times++;
    to->available = available;
    snprintf(to->why, sizeof to->why, "%s", why);
}

static const struct oq_log_callbacks callbacks = {.on_state = on_state, .ctx = &reported};

static void begin(struct oq_kafka_breaker *breaker)
{
    reported = (struct reported){0};
    assert_ok(oq_kafka_breaker_init(breaker, &settings, &callbacks));
}

/* Open, and WELL. */
static void begin_well(struct oq_kafka_breaker *breaker)
{
    begin(breaker);
    oq_kafka_breaker_return(breaker);
    oq_kafka_breaker_mend(breaker);
    assert_ok(oq_kafka_breaker_wait(breaker, SHORT_MS, &fault));
    assert_int_equal(oq_kafka_breaker_state(breaker), OQ_LOG_WELL);
}

static bool trip(struct oq_kafka_breaker *breaker, const char *text)
{
    struct ps_fault why;
    int err = ps_fault(&why, PS_E_IO, "orders", "%s", text);
    return oq_kafka_breaker_trip(breaker, &why, err);
}

static void a_log_that_is_well_at_once_opens_without_a_word(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    begin_well(&breaker);
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(reported.times, 0);
    oq_kafka_breaker_done(&breaker);
}

static void a_log_that_is_not_ready_in_time_is_open_and_says_why_not(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    begin(&breaker);
    assert_false(trip(&breaker, "out of reach"));
    assert_int_equal(reported.times, 0); /* oq_kafka_open still waits */
    assert_ok(oq_kafka_breaker_wait(&breaker, SHORT_MS, &fault));
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(reported.times, 1);
    assert_false(reported.available);
    assert_string_equal(reported.why, "orders: out of reach");
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_CLOSED); /* never WELL so far */
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_mend(&breaker);
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(reported.times, 2);
    assert_true(reported.available);
    oq_kafka_breaker_done(&breaker);
}

static void a_refusal_ends_the_wait_and_comes_too_late_for_an_open_log(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    struct ps_fault why;
    ps_fault(&why, PS_E_INVALID, "orders", "has one partition");
    begin(&breaker);
    oq_kafka_breaker_refuse(&breaker, &why);
    assert_int_equal(oq_kafka_breaker_wait(&breaker, 60000, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, "orders");
    assert_string_equal(fault.text, "has one partition");
    oq_kafka_breaker_done(&breaker);

    begin(&breaker);
    assert_ok(oq_kafka_breaker_wait(&breaker, SHORT_MS, &fault));
    oq_kafka_breaker_refuse(&breaker, &why);
    assert_ok(oq_kafka_breaker_wait(&breaker, SHORT_MS, &fault));
    oq_kafka_breaker_done(&breaker);
}

static void each_change_is_told_once(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    begin_well(&breaker);
    assert_true(trip(&breaker, "all connections are lost"));
    assert_false(trip(&breaker, "still out of reach"));
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(reported.times, 1);
    assert_false(reported.available);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY);
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_report(&breaker, false); /* connected is not well yet */
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY);
    oq_kafka_breaker_mend(&breaker);
    oq_kafka_breaker_report(&breaker, false);
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(reported.times, 2);
    assert_true(reported.available);
    oq_kafka_breaker_done(&breaker);
}

static void a_view_that_is_behind_counts_only_while_all_else_is_well(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    begin_well(&breaker);
    oq_kafka_breaker_report(&breaker, true);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_BEHIND);
    assert_int_equal(reported.times, 1);
    assert_non_null(strstr(reported.why, "within 2000 ms"));
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_WELL);
    assert_int_equal(reported.times, 2);
    (void)trip(&breaker, "out of reach");
    oq_kafka_breaker_report(&breaker, true);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY);
    assert_string_equal(reported.why, "orders: out of reach");
    oq_kafka_breaker_done(&breaker);
}

/* Nothing is spilled then: an order would wait for a log that may never come back. */
static void a_log_that_is_not_the_one_that_was_read_is_closed_until_it_is(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    struct ps_fault why;
    int err = ps_fault(&why, PS_E_CORRUPT, "orders", "is another one");
    begin_well(&breaker);
    oq_kafka_breaker_mismatch(&breaker, &why, err);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_CLOSED);
    assert_string_equal(reported.why, "orders: is another one");
    (void)trip(&breaker, "out of reach");
    assert_true(oq_kafka_breaker_may_return(&breaker));
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_CLOSED);
    (void)trip(&breaker, "out of reach");
    assert_string_equal(reported.why, "orders: is another one");
    assert_int_equal(reported.times, 1);
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_mend(&breaker);
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_WELL);
    assert_int_equal(reported.times, 2);
    (void)trip(&breaker, "out of reach");
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY);
    oq_kafka_breaker_done(&breaker);
}

static void a_log_that_cannot_keep_a_record_stays_lost(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    struct ps_fault why;
    int err = ps_fault(&why, PS_E_NOMEM, "orders", "out of memory");
    begin_well(&breaker);
    oq_kafka_breaker_lose(&breaker, &why, err);
    assert_int_equal(reported.times, 1);
    assert_false(trip(&breaker, "out of reach"));
    oq_kafka_breaker_report(&breaker, false);
    assert_true(breaker.lost);
    assert_int_equal(breaker.circuit.state, PS_BREAKER_OPEN);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_CLOSED);
    assert_int_equal(reported.times, 1);
    assert_string_equal(reported.why, "orders: out of memory");
    oq_kafka_breaker_done(&breaker);
}

/* --- orders --- */

static void order(struct oq_kafka_breaker *breaker, enum ps_breaker_order what)
{
    static uint64_t id;
    oq_kafka_breaker_force(breaker, &(struct ps_breaker_force){what, ++id});
    (void)oq_kafka_breaker_obey(breaker);
    oq_kafka_breaker_report(breaker, false);
}

static struct ps_breaker_view shown(const struct oq_kafka_breaker *breaker)
{
    struct ps_breaker_view view;
    oq_kafka_breaker_view(breaker, &view);
    return view;
}

static bool fail_call(struct oq_kafka_breaker *breaker)
{
    struct ps_fault why;
    int err = ps_fault(&why, PS_E_IO, "orders", "all connections are lost");
    return oq_kafka_breaker_fail(breaker, &why, err);
}

static void forced_open_the_log_is_away_until_the_order_ends(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    begin_well(&breaker);
    order(&breaker, PS_BREAKER_FORCED_OPEN);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY);
    assert_string_equal(reported.why, "orders: an operator forced the breaker open");
    assert_int_equal(shown(&breaker).state, PS_BREAKER_OPEN);
    assert_int_equal(shown(&breaker).force.order, PS_BREAKER_FORCED_OPEN);
    assert_string_equal(shown(&breaker).why, reported.why);
    assert_int_equal(shown(&breaker).openings, 0); /* neither the start nor the order is one */
    assert_false(oq_kafka_breaker_may_return(&breaker));
    assert_false(oq_kafka_breaker_obey(&breaker)); /* the same order is not obeyed again */
    order(&breaker, PS_BREAKER_FREE);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY); /* until it has been read */
    assert_true(oq_kafka_breaker_may_return(&breaker));
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_mend(&breaker);
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_WELL);
    assert_string_equal(shown(&breaker).why, "");
    oq_kafka_breaker_done(&breaker);
}

static void forced_closed_only_what_must_be_read_back_opens_it(void **state)
{
    (void)state;
    struct oq_kafka_breaker breaker;
    begin_well(&breaker);
    order(&breaker, PS_BREAKER_FORCED_CLOSED);
    assert_false(fail_call(&breaker));
    oq_kafka_breaker_report(&breaker, false);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_WELL);
    assert_int_equal(reported.times, 0);
    assert_true(trip(&breaker, "a record was not acknowledged"));
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_AWAY);
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_mend(&breaker);
    order(&breaker, PS_BREAKER_FREE);
    assert_int_equal(oq_kafka_breaker_state(&breaker), OQ_LOG_WELL);
    assert_true(fail_call(&breaker));
    assert_false(fail_call(&breaker));
    assert_string_equal(reported.why, "orders: all connections are lost");
    oq_kafka_breaker_done(&breaker);
}

static void the_window_shows_groups_and_failures(void **state)
{
    (void)state;
    struct oq_kafka_settings patient = settings;
    struct oq_kafka_breaker breaker;
    patient.delivery_timeout_ms = 2000;
    assert_ok(oq_kafka_breaker_init(&breaker, &patient, &callbacks));
    oq_kafka_breaker_succeed(&breaker, 1); /* the reading at the start says nothing */
    assert_int_equal(breaker.circuit.state, PS_BREAKER_OPEN);
    oq_kafka_breaker_return(&breaker);
    oq_kafka_breaker_succeed(&breaker, 1);
    assert_int_equal(breaker.circuit.state, PS_BREAKER_HALF_OPEN);
    oq_kafka_breaker_mend(&breaker);
    for (int64_t ms = 250; ms <= 1500; ms += 250)
        oq_kafka_breaker_succeed(&breaker, ms * PS_NS_PER_MS);
    (void)fail_call(&breaker);
    assert_int_equal(shown(&breaker).calls, 7);
    assert_int_equal(shown(&breaker).slow, 3); /* half of the delivery's time-out, and more */
    assert_int_equal(shown(&breaker).failures, 1);
    assert_int_equal(shown(&breaker).openings, 1);
    oq_kafka_breaker_done(&breaker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_that_is_well_at_once_opens_without_a_word),
        cmocka_unit_test(a_log_that_is_not_ready_in_time_is_open_and_says_why_not),
        cmocka_unit_test(a_refusal_ends_the_wait_and_comes_too_late_for_an_open_log),
        cmocka_unit_test(each_change_is_told_once),
        cmocka_unit_test(a_view_that_is_behind_counts_only_while_all_else_is_well),
        cmocka_unit_test(a_log_that_is_not_the_one_that_was_read_is_closed_until_it_is),
        cmocka_unit_test(a_log_that_cannot_keep_a_record_stays_lost),
        cmocka_unit_test(forced_open_the_log_is_away_until_the_order_ends),
        cmocka_unit_test(forced_closed_only_what_must_be_read_back_opens_it),
        cmocka_unit_test(the_window_shows_groups_and_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
