/* The rotation of the keys that seal references of refusals, on a clock by hand: a day's key is
 * there before the day, refs open for thirty days, and what cannot be written changes nothing. */
#include "tests/unit/doc_store.h"

#include "gateway/config/ref_keys.h"

#define HOUR_MS      (CFG_REF_KEY_DAY_MS / 24)
#define DAY_STARTS   (T0 / CFG_REF_KEY_DAY_MS * CFG_REF_KEY_DAY_MS)
#define DAYS_OF_TEST 70

static struct cfg_ref_rotation rotation;

static int publish(void *ctx, int64_t revision)
{
    (void)ctx;
    (void)revision;
    return 0;
}

static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    (void)ctx;
    (void)from;
    (void)to;
    return 0;
}

static void open_store(void)
{
    static const struct cfg_store_callbacks callbacks = {.publish = publish, .in_force = in_force};
    struct ps_fault fault;

    assert_ok(cfg_store_open(&settings, &store, &fault));
    assert_ok(cfg_store_start(store, &callbacks));
    rotation = (struct cfg_ref_rotation){.store = store};
}

static int make(void **state)
{
    (void)state;
    make_files();
    open_store();
    return 0;
}

static int64_t now_ms(void)
{
    return ps_clock_wall_ms(&clock_.clock);
}

/* Everything that the gateway does in a while, in one tick. */
static void tick(void)
{
    cfg_store_tick(store);
    cfg_ref_rotation_tick(&rotation);
    settle();
}

/* Nothing runs meanwhile. */
static void sleep_ms(int64_t ms)
{
    clock_.mono_ns += ms * PS_NS_PER_MS;
    clock_.wall_ms += ms;
}

static void pass_ms(int64_t ms)
{
    sleep_ms(ms);
    tick();
}

static size_t count(void)
{
    return cfg_store_count(store, &cfg_kind_ref_key);
}

static struct ps_ref_key key_now(void)
{
    struct cfg_ref_keys keys;

    cfg_ref_keys_new(store, &keys);
    const struct ps_ref_key *key = cfg_ref_key_now(&keys, now_ms());
    assert_non_null(key);
    return *key;
}

static void seal(char ret_text[PS_REF_LEN])
{
    static struct ps_ref_pads pads;
    const struct ps_ref_key key = key_now();

    ps_ref_pads_init(&pads, 0, 9);
    ps_ref_seal(&pads, &key, &(struct ps_ref){.at_ms = now_ms()}, ret_text);
}

static int open_ref(const char text[PS_REF_LEN])
{
    struct ps_ref ref;
    int err = cfg_ref_open(store, (struct ps_str){text, PS_REF_LEN}, &ref);

    assert_true(err == PS_E_NOT_FOUND || (err == 0 && ref.worker == 9));
    return err;
}

static void the_first_key_seals_at_once(void **state)
{
    struct cfg_ref_keys keys;

    (void)state;
    cfg_ref_keys_new(store, &keys);
    assert_null(cfg_ref_key_now(&keys, now_ms()));
    tick();
    assert_int_equal(count(), 1);
    assert_int_equal(key_now().from_ms, T0);
    assert_int_equal(key_now().until_ms, T0 + 31 * CFG_REF_KEY_DAY_MS);
    pass_ms(2000);
    assert_int_equal(count(), 1);
}

static void a_days_key_is_there_an_hour_before_and_seals_from_midnight_on(void **state)
{
    int64_t midnight = DAY_STARTS + CFG_REF_KEY_DAY_MS;

    (void)state;
    tick();
    const struct ps_ref_key first = key_now();
    pass_ms(midnight - HOUR_MS - 1 - now_ms());
    assert_int_equal(count(), 1);
    pass_ms(2000);
    assert_int_equal(count(), 2);
    assert_int_equal(key_now().id, first.id);
    pass_ms(midnight - 1 - now_ms());
    assert_int_equal(key_now().id, first.id);
    pass_ms(1);
    assert_int_equal(key_now().from_ms, midnight);
    assert_int_not_equal(key_now().id, first.id);
    assert_memory_not_equal(key_now().secret, first.secret, sizeof first.secret);
}

static void a_reference_opens_for_thirty_days_and_keys_end(void **state)
{
    static char refs[DAYS_OF_TEST][PS_REF_LEN];

    (void)state;
    tick();
    for (int day = 0; day < DAYS_OF_TEST; day++) {
        seal(refs[day]);
        for (int old = 0; old <= day; old++)
            assert_int_equal(open_ref(refs[old]), day - old <= 30 ? 0 : PS_E_NOT_FOUND);
        for (int hour = 0; hour < 24; hour++)
            pass_ms(HOUR_MS);
        assert_true(count() <= 33);
    }
}

static void a_gateway_that_was_away_for_days_makes_todays_key_and_opens_the_old(void **state)
{
    char before[PS_REF_LEN], meanwhile[PS_REF_LEN], after[PS_REF_LEN];

    (void)state;
    tick();
    seal(before);
    const struct ps_ref_key old = key_now();
    close_store();
    sleep_ms(3 * CFG_REF_KEY_DAY_MS);
    open_store();
    tick();
    seal(meanwhile); /* with the old one, until the others can have the new one */
    assert_int_equal(key_now().id, old.id);
    pass_ms(CFG_REF_KEY_LEAD_MS);
    assert_int_not_equal(key_now().id, old.id);
    seal(after);
    assert_ok(open_ref(before));
    assert_ok(open_ref(meanwhile));
    assert_ok(open_ref(after));
}

static void a_clock_that_jumps_back_makes_no_key_twice_and_goes_on_sealing(void **state)
{
    char before[PS_REF_LEN], jumped[PS_REF_LEN], back[PS_REF_LEN];

    (void)state;
    tick();
    for (int hour = 0; hour < 2 * 24; hour++)
        pass_ms(HOUR_MS);
    size_t keys = count();
    const struct ps_ref_key newest = key_now();
    seal(before);

    clock_.wall_ms -= CFG_REF_KEY_DAY_MS; /* the monotonic clock goes on */
    pass_ms(2000);
    assert_int_equal(count(), keys);
    assert_int_equal(key_now().from_ms, newest.from_ms - CFG_REF_KEY_DAY_MS);
    seal(jumped);
    assert_ok(open_ref(jumped));
    assert_ok(open_ref(before)); /* from the future, now */

    clock_.wall_ms += CFG_REF_KEY_DAY_MS;
    pass_ms(2000);
    assert_int_equal(count(), keys);
    assert_int_equal(key_now().id, newest.id);
    seal(back);
    assert_ok(open_ref(jumped));
    assert_ok(open_ref(before));
    assert_ok(open_ref(back));
}

static void a_clock_that_jumps_before_the_first_key_gets_one_of_that_day(void **state)
{
    char text[PS_REF_LEN];

    (void)state;
    tick();
    clock_.wall_ms -= 3 * CFG_REF_KEY_DAY_MS;
    pass_ms(2000);
    assert_int_equal(count(), 2);
    pass_ms(CFG_REF_KEY_LEAD_MS);
    seal(text);
    assert_ok(open_ref(text));
}

static void a_restart_keeps_the_keys(void **state)
{
    char text[PS_REF_LEN];

    (void)state;
    tick();
    seal(text);
    const struct ps_ref_key key = key_now();
    close_store();
    open_store();
    assert_ok(open_ref(text));
    tick();
    assert_int_equal(count(), 1);
    assert_memory_equal(key_now().secret, key.secret, sizeof key.secret);
}

static void without_a_new_key_the_last_one_seals_until_it_ends(void **state)
{
    struct cfg_ref_keys keys;
    char text[PS_REF_LEN];

    (void)state;
    tick();
    const struct ps_ref_key first = key_now();
    rotation.next_ns = INT64_MAX; /* nothing can be written */
    pass_ms(30 * CFG_REF_KEY_DAY_MS);
    assert_int_equal(key_now().id, first.id);
    seal(text);
    assert_ok(open_ref(text));
    pass_ms(CFG_REF_KEY_DAY_MS);
    cfg_ref_keys_new(store, &keys);
    assert_null(cfg_ref_key_now(&keys, now_ms()));
    assert_int_equal(count(), 0);
    rotation.next_ns = 0;
    tick();
    assert_int_not_equal(key_now().id, first.id);
}

static void workers_get_the_newest_keys_newest_first(void **state)
{
    struct cfg_ref_keys keys;

    (void)state;
    tick();
    for (int hour = 0; hour < 6 * 24; hour++)
        pass_ms(HOUR_MS);
    assert_int_equal(count(), 7);
    cfg_ref_keys_new(store, &keys);
    assert_int_equal(keys.count, CFG_REF_KEY_NEW_MAX);
    for (size_t i = 1; i < keys.count; i++)
        assert_int_equal(keys.at[i - 1].from_ms, keys.at[i].from_ms + CFG_REF_KEY_DAY_MS);
    assert_int_equal(keys.at[0].from_ms, DAY_STARTS + 6 * CFG_REF_KEY_DAY_MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_key_seals_at_once),
        TEST(a_days_key_is_there_an_hour_before_and_seals_from_midnight_on),
        TEST(a_reference_opens_for_thirty_days_and_keys_end),
        TEST(a_gateway_that_was_away_for_days_makes_todays_key_and_opens_the_old),
        TEST(a_clock_that_jumps_back_makes_no_key_twice_and_goes_on_sealing),
        TEST(a_clock_that_jumps_before_the_first_key_gets_one_of_that_day),
        TEST(a_restart_keeps_the_keys),
        TEST(without_a_new_key_the_last_one_seals_until_it_ends),
        TEST(workers_get_the_newest_keys_newest_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
