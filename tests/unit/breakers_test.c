/* Several circuits under one name: what they show together, and when all obey. */
#include "tests/unit/documents_fixture.h"

#include "gateway/admission/breakers.h"

#define CIRCUITS 3

static struct ps_breaker_view views[CIRCUITS];
static struct ps_breaker_force sent; /* what was sent last */
static struct adm_breakers breakers;

static void show(size_t circuit, struct ps_breaker_view *ret_view, void *ctx)
{
    (void)ctx;
    *ret_view = views[circuit];
}

static void force(const struct ps_breaker_force *order, void *ctx)
{
    (void)ctx;
    sent = *order;
}

static int set_up(void **state)
{
    (void)doc_make(state);
    memset(views, 0, sizeof views);
    breakers = (struct adm_breakers){0};
    sent = (struct ps_breaker_force){0};
    return adm_breakers_add(&breakers,
                            &(struct adm_breaker_source){"redis", CIRCUITS, show, force, NULL});
}

static int tear_down(void **state)
{
    adm_breakers_done(&breakers);
    return doc_drop(state);
}

static void put(size_t circuit, enum ps_breaker_state state, int64_t since_ns, const char *why)
{
    views[circuit].state = state;
    views[circuit].since_ns = since_ns;
    strcpy(views[circuit].why, why);
}

static struct adm_breaker_sum sum(void)
{
    struct adm_breaker_sum sum;
    adm_breaker_add_up(breakers.at[0], &sum);
    return sum;
}

static void the_worst_circuit_speaks_for_all(void **state)
{
    (void)state;
    put(0, PS_BREAKER_CLOSED, 10, "");
    put(1, PS_BREAKER_CLOSED, 30, "");
    put(2, PS_BREAKER_CLOSED, 20, "");
    assert_int_equal(sum().state, PS_BREAKER_CLOSED);
    assert_int_equal(sum().since_ns, 30); /* all of them */
    put(1, PS_BREAKER_HALF_OPEN, 50, "refused");
    assert_int_equal(sum().state, PS_BREAKER_HALF_OPEN);
    assert_string_equal(sum().why, "refused");
    put(0, PS_BREAKER_OPEN, 70, "lost");
    put(2, PS_BREAKER_OPEN, 60, "late");
    assert_int_equal(sum().state, PS_BREAKER_OPEN);
    assert_int_equal(sum().since_ns, 60); /* the first of them */
    assert_int_equal(sum().circuits[PS_BREAKER_OPEN], 2);
    assert_int_equal(sum().circuits[PS_BREAKER_HALF_OPEN], 1);
    assert_int_equal(sum().circuits[PS_BREAKER_CLOSED], 0);
}

static void windows_and_openings_are_added_up(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < CIRCUITS; i++) {
        views[i].calls = 100 + i;
        views[i].failures = 10 + i;
        views[i].slow = i;
        views[i].openings = 5;
    }
    assert_int_equal(sum().calls, 303);
    assert_int_equal(sum().failures, 33);
    assert_int_equal(sum().slow, 3);
    assert_int_equal(sum().openings, 15);
}

static void an_override_is_sent_once_and_obeyed_when_all_show_it(void **state)
{
    const struct adm_breaker *breaker = adm_breakers_find(&breakers, PS_STR("redis"));
    (void)state;
    adm_breakers_apply(&breakers, store);
    assert_int_equal(sent.id, 0);
    doc_override("breaker:redis", "\"closed\"", 60);
    adm_breakers_apply(&breakers, store);
    adm_breakers_apply(&breakers, store);
    assert_int_equal(sent.order, PS_BREAKER_FORCED_CLOSED);
    assert_int_equal(sent.id, 1);
    for (size_t i = 0; i < CIRCUITS; i++) {
        assert_false(adm_breaker_is_obeyed(breaker));
        views[i].force = sent;
    }
    assert_true(adm_breaker_is_obeyed(breaker));
    clock_.wall_ms += 60000; /* it ends */
    adm_breakers_apply(&breakers, store);
    assert_int_equal(sent.order, PS_BREAKER_FREE);
    assert_false(adm_breaker_is_obeyed(breaker));
}

static void what_has_another_name_is_not_found(void **state)
{
    (void)state;
    assert_null(adm_breakers_find(&breakers, PS_STR("kafka")));
    assert_null(adm_breakers_find(&breakers, PS_STR("redi")));
    assert_null(adm_breakers_find(&breakers, PS_STR("redis1")));
}

/* --- Those that come and go. --- */

static const struct adm_breaker_source pools[] = {
    {"pool:web", CIRCUITS, show, force, &views[0]},
    {"endpoint:web:127.0.0.1:9001", CIRCUITS, show, force, &views[1]},
    {"endpoint:web:127.0.0.1:9002", CIRCUITS, show, force, &views[2]}};

static void those_of_pools_come_and_go_by_name(void **state)
{
    (void)state;
    assert_ok(adm_breakers_follow(&breakers, pools, 3));
    assert_non_null(adm_breakers_find(&breakers, PS_STR("redis")));
    assert_non_null(adm_breakers_find(&breakers, PS_STR("pool:web")));
    assert_non_null(adm_breakers_find(&breakers, PS_STR("endpoint:web:127.0.0.1:9002")));
    assert_null(adm_breakers_find(&breakers, PS_STR("endpoint:web:127.0.0.1:900")));
    assert_non_null(adm_breakers_at(&breakers, 3));
    assert_null(adm_breakers_at(&breakers, 4));
    assert_ok(adm_breakers_follow(&breakers, pools, 2));
    assert_null(adm_breakers_find(&breakers, PS_STR("endpoint:web:127.0.0.1:9002")));
    assert_ok(adm_breakers_follow(&breakers, NULL, 0));
    assert_null(adm_breakers_find(&breakers, PS_STR("pool:web")));
    assert_non_null(adm_breakers_find(&breakers, PS_STR("redis")));
}

static void new_circuits_of_a_name_are_told_what_is_in_force(void **state)
{
    struct adm_breaker_source again = pools[0];
    (void)state;
    doc_override("breaker:pool:web", "\"open\"", 60);
    assert_ok(adm_breakers_follow(&breakers, pools, 3));
    adm_breakers_apply(&breakers, store);
    sent = (struct ps_breaker_force){0};
    assert_ok(adm_breakers_follow(&breakers, pools, 1));
    adm_breakers_apply(&breakers, store);
    assert_int_equal(sent.id, 0); /* the same circuits: they know */
    again.ctx = &views[2];
    assert_ok(adm_breakers_follow(&breakers, &again, 1));
    adm_breakers_apply(&breakers, store);
    assert_int_equal(sent.order, PS_BREAKER_FORCED_OPEN);
    assert_ok(adm_breakers_follow(&breakers, NULL, 0));
    sent = (struct ps_breaker_force){0};
    adm_breakers_apply(&breakers, store); /* there is nobody to tell */
    assert_int_equal(sent.id, 0);
    assert_ok(adm_breakers_follow(&breakers, pools, 1));
    adm_breakers_apply(&breakers, store);
    assert_int_equal(sent.order, PS_BREAKER_FORCED_OPEN);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(the_worst_circuit_speaks_for_all),
        CLAIM(windows_and_openings_are_added_up),
        CLAIM(an_override_is_sent_once_and_obeyed_when_all_show_it),
        CLAIM(what_has_another_name_is_not_found),
        CLAIM(those_of_pools_come_and_go_by_name),
        CLAIM(new_circuits_of_a_name_are_told_what_is_in_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
