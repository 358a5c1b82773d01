/* The arrival plan, and the options that make one. */
#include "tests/unit/check.h"

#include "common/clock.h"
#include "loadtest/plan.h"
#include "loadtest/rehearse.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct lt_plan_spec spec_of(enum lt_shape shape, int64_t clicks)
{
    return (struct lt_plan_spec){
        .stock = 10, .seed = 7, .phases = {{shape, 1000, clicks}}, .phase_count = 1};
}

static struct lt_plan *plan_of(const struct lt_plan_spec *spec)
{
    struct lt_plan *plan = NULL;
    struct ps_fault fault;
    assert_ok(lt_plan_new(spec, &plan, &fault));
    return plan;
}

static size_t count_between(const struct lt_plan *plan, int64_t from_ms, int64_t to_ms)
{
    size_t count = 0;
    for (size_t i = 0; i < plan->count; i++)
        count += plan->clicks[i].at_ns >= from_ms * PS_NS_PER_MS &&
                 plan->clicks[i].at_ns < to_ms * PS_NS_PER_MS;
    return count;
}

static void the_same_seed_gives_the_same_plan(void **state)
{
    (void)state;
    struct lt_plan_spec spec = spec_of(LT_SPIKE, 2000);
    spec.repeat_share = 0.3;
    struct lt_plan *a = plan_of(&spec), *b = plan_of(&spec);
    spec.seed++;
    struct lt_plan *c = plan_of(&spec);
    assert_int_equal(a->count, b->count);
    bool differs = a->count != c->count;
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->clicks[i].at_ns, b->clicks[i].at_ns);
        assert_int_equal(a->clicks[i].buyer, b->clicks[i].buyer);
        differs = differs || a->clicks[i].at_ns != c->clicks[i].at_ns;
    }
    assert_true(differs);
    lt_plan_free(a);
    lt_plan_free(b);
    lt_plan_free(c);
}

static void every_phase_has_its_clicks_in_its_time(void **state)
{
    (void)state;
    struct lt_plan_spec spec = {.stock = 1,
                                .phases = {{LT_RAMP, 500, 700},
                                           {LT_SPIKE, 200, 5000},
                                           {LT_STEP, 1000, 300},
                                           {LT_CONSTANT, 100, 10}},
                                .phase_count = 4};
    struct lt_plan *plan = plan_of(&spec);
    assert_int_equal(plan->count, 6010);
    assert_int_equal(plan->spec.buyers, 6010);
    assert_int_equal(plan->length_ns, 1800 * PS_NS_PER_MS);
    assert_int_equal(count_between(plan, 0, 500), 700);
    assert_int_equal(count_between(plan, 500, 700), 5000);
    assert_int_equal(count_between(plan, 700, 1700), 300);
    assert_int_equal(count_between(plan, 1700, 1800), 10);
    for (size_t i = 1; i < plan->count; i++)
        assert_true(plan->clicks[i].at_ns >= plan->clicks[i - 1].at_ns);
    lt_plan_free(plan);
}

/* Of 20,000 clicks, the standard deviation of any share is at most 71: 5 of them are allowed. */
static void shapes_are_what_they_are_called(void **state)
{
    (void)state;
    static const struct {
        enum lt_shape shape;
        size_t first_half;
    } cases[] = {{LT_SPIKE, 18483}, {LT_RAMP, 5000}, {LT_STEP, 10000}};
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct lt_plan_spec spec = spec_of(cases[i].shape, 20000);
        struct lt_plan *plan = plan_of(&spec);
        size_t first_half = count_between(plan, 0, 500);
        assert_in_range(first_half, cases[i].first_half - 355, cases[i].first_half + 355);
        lt_plan_free(plan);
    }
    struct lt_plan_spec even = spec_of(LT_CONSTANT, 1000);
    struct lt_plan *plan = plan_of(&even);
    for (size_t i = 0; i < plan->count; i++)
        assert_int_equal((plan->clicks[i].at_ns + 500) / 1000, i * 1000); /* to the microsecond */
    lt_plan_free(plan);
}

static void a_repeated_click_follows_its_first(void **state)
{
    (void)state;
    struct lt_plan_spec spec = spec_of(LT_STEP, 10000);
    spec.repeat_share = 0.2;
    spec.repeat_key_share = 0.5;
    struct lt_plan *plan = plan_of(&spec);
    int64_t *first_ns = calloc(10000, sizeof *first_ns);
    assert_non_null(first_ns);
    size_t repeats = 0, with_key = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct lt_click *click = &plan->clicks[i];
        if (!click->repeat) {
            assert_true(click->with_key);
            first_ns[click->buyer] = click->at_ns + 1;
            continue;
        }
        assert_true(first_ns[click->buyer] > 0);
        assert_true(click->at_ns >= first_ns[click->buyer] - 1 + 50 * PS_NS_PER_MS);
        repeats++;
        with_key += click->with_key;
    }
    assert_in_range(repeats, 1800, 2000);
    assert_in_range(with_key, repeats / 2 - 120, repeats / 2 + 120);
    free(first_ns);
    lt_plan_free(plan);
}

/* One of five comes back, and with few who ask for more than the cap none would be met. */
static void buyers_come_back_until_they_ask_for_more_than_the_cap(void **state)
{
    (void)state;
    struct lt_plan_spec spec = spec_of(LT_STEP, 10000);
    spec.repeat_share = 0.4;
    spec.repeat_key_share = 0.5;
    spec.quantity_min = 1;
    spec.quantity_max = 3;
    spec.skus = 3;
    spec.cap = 5;
    struct lt_plan *plan = plan_of(&spec);
    struct {
        int64_t at_ns[16];
        uint8_t wishes;
    } *buyers = calloc(10000, sizeof *buyers);
    assert_non_null(buyers);
    size_t again = 0, over = 0, came_back = 0, by_sku[3] = {0};
    for (size_t i = 0; i < plan->count; i++) {
        const struct lt_click *click = &plan->clicks[i];
        assert_true(click->with_key && click->wish < 16);
        assert_int_equal(click->wish > 0, click->repeat);
        int64_t *at_ns = buyers[click->buyer].at_ns;
        assert_true(click->wish == 0 || at_ns[click->wish - 1] > 0);
        again += at_ns[click->wish] > 0;
        at_ns[click->wish] = click->at_ns + 1;
        buyers[click->buyer].wishes = click->wish + 1;
        by_sku[lt_plan_wish(&plan->spec, click->buyer, click->wish).sku]++;
    }
    for (uint32_t buyer = 0; buyer < 10000; buyer++) {
        int64_t asked = 0, before = 0;
        for (uint8_t wish = 0; wish < buyers[buyer].wishes; wish++) {
            before = asked;
            asked += lt_plan_wish(&plan->spec, buyer, wish).quantity;
        }
        came_back += buyers[buyer].wishes > 1;
        over += buyers[buyer].wishes > 1 && asked > spec.cap && before <= spec.cap;
    }
    assert_in_range(plan->count, 13000, 14000);
    assert_in_range(over, came_back - 1, came_back); /* the last may have found no room */
    assert_in_range(came_back, 800, 1400);
    assert_in_range(again, 700, 1700);
    for (size_t i = 0; i < 3; i++)
        assert_in_range(by_sku[i], plan->count / 3 - 300, plan->count / 3 + 300);
    free(buyers);
    lt_plan_free(plan);
}

static void a_wish_is_the_same_at_every_click_and_within_its_bounds(void **state)
{
    (void)state;
    struct lt_plan_spec spec = {.seed = 3, .quantity_min = 2, .quantity_max = 4, .skus = 2};
    size_t drawn[5] = {0};
    for (uint32_t buyer = 0; buyer < 3000; buyer++) {
        struct lt_wish wish = lt_plan_wish(&spec, buyer, 0);
        assert_int_equal(wish.sku, buyer % 2);
        assert_in_range(wish.quantity, 2, 4);
        assert_int_equal(lt_plan_wish(&spec, buyer, 0).quantity, wish.quantity);
        assert_int_equal(lt_plan_wish(&spec, buyer, 1).sku, (buyer + 1) % 2);
        drawn[wish.quantity]++;
    }
    for (size_t i = 2; i <= 4; i++)
        assert_in_range(drawn[i], 900, 1100);
}

static void more_clicks_than_buyers_come_from_them_in_turn(void **state)
{
    (void)state;
    struct lt_plan_spec spec = spec_of(LT_CONSTANT, 30);
    spec.buyers = 10;
    struct lt_plan *plan = plan_of(&spec);
    for (size_t i = 0; i < plan->count; i++) {
        assert_int_equal(plan->clicks[i].buyer, i % 10);
        assert_int_equal(plan->clicks[i].repeat, i >= 10);
    }
    lt_plan_free(plan);
}

static void no_more_buyers_come_than_click(void **state)
{
    (void)state;
    struct lt_plan_spec spec = spec_of(LT_CONSTANT, 30);
    spec.buyers = 20000;
    struct lt_plan *plan = plan_of(&spec);
    assert_int_equal(plan->spec.buyers, 30);
    lt_plan_free(plan);
}

static int read_spec(const char *text, struct lt_plan_spec *spec, struct ps_fault *fault)
{
    json_t *json = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &json, fault));
    int err = lt_plan_spec_read(json, spec, fault);
    json_decref(json);
    return err;
}

static void a_plan_file_is_read(void **state)
{
    (void)state;
    static const char text[] =
        "{\"stock\":50,\"seed\":9,\"repeat_share\":0.25,\"repeat_key_share\":1,\"phases\":["
        "{\"shape\":\"ramp\",\"over_ms\":100,\"clicks\":10},"
        "{\"shape\":\"spike\",\"over_ms\":200,\"clicks\":90}]}";
    struct lt_plan_spec spec = {.buyers = 0, .stock = 1};
    struct ps_fault fault;
    assert_ok(read_spec(text, &spec, &fault));
    assert_int_equal(spec.stock, 50);
    assert_int_equal(spec.seed, 9);
    assert_true(spec.repeat_share == 0.25 && spec.repeat_key_share == 1);
    assert_int_equal(spec.phase_count, 2);
    assert_int_equal(spec.phases[1].shape, LT_SPIKE);
    assert_int_equal(spec.phases[1].over_ms, 200);
    assert_int_equal(spec.phases[1].clicks, 90);
}

static void a_bad_plan_names_the_member(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"{\"stock\":0}", "/stock"},
        {"{\"repeat_share\":1.5}", "/repeat_share"},
        {"{\"repeat_share\":\"x\"}", "/repeat_share"},
        {"{\"phases\":[]}", "/phases"},
        {"{\"phases\":[{\"shape\":\"ramp\",\"over_ms\":1}]}", "/phases/0/clicks"},
        {"{\"phases\":[{\"shape\":\"dip\",\"over_ms\":1,\"clicks\":1}]}", "/phases/0/shape"},
        {"{\"phases\":[{\"shape\":\"ramp\",\"over_ms\":0,\"clicks\":1}]}", "/phases/0/over_ms"},
        {"{\"stocks\":1}", "/stocks"},
        {"{\"stock\":1}", "/phases"},
        {"[]", ""},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct lt_plan_spec spec = {.stock = 1};
        struct ps_fault fault;
        assert_int_equal(read_spec(cases[i].text, &spec, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, cases[i].path);
    }
    struct lt_plan_spec huge = spec_of(LT_STEP, LT_CLICKS_MAX);
    huge.repeat_share = 0.1;
    struct lt_plan *plan = NULL;
    struct ps_fault fault;
    assert_int_equal(lt_plan_new(&huge, &plan, &fault), PS_E_INVALID);
    assert_null(plan);
}

static void durations_need_a_unit_that_is_known(void **state)
{
    (void)state;
    int64_t ms = 0;
    assert_ok(lt_duration_parse("3s", &ms));
    assert_int_equal(ms, 3000);
    assert_ok(lt_duration_parse("250ms", &ms));
    assert_int_equal(ms, 250);
    assert_ok(lt_duration_parse("1.5m", &ms));
    assert_int_equal(ms, 90000);
    assert_ok(lt_duration_parse("0.5", &ms));
    assert_int_equal(ms, 500);
    static const char *const bad[] = {"", "s", "-1s", "3 s", "3d", "0", "1e9s", "nan", "2s2"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(lt_duration_parse(bad[i], &ms), PS_E_INVALID);
    assert_int_equal(ms, 500);
}

static int read_options(const char *line, struct lt_options *ret_options, struct ps_fault *fault)
{
    static char text[512];
    char *argv[32] = {(char[]){"penstock-rehearse"}};
    int argc = 1;
    (void)snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    return lt_options_read(argc, argv, ret_options, fault);
}

static void options_become_a_plan(void **state)
{
    (void)state;
    struct lt_options options;
    struct ps_fault fault;
    assert_ok(read_options("", &options, &fault));
    assert_int_equal(options.plan.phases[0].shape, LT_SPIKE);
    assert_int_equal(options.plan.phases[0].clicks, 20000);
    assert_int_equal(options.plan.stock, 1000);

    assert_ok(read_options("--buyers 50 --stock=5 --over 2s --shape ramp --retry 9 --end", &options,
                           &fault));
    assert_int_equal(options.plan.buyers, 50);
    assert_int_equal(options.plan.stock, 5);
    assert_int_equal(options.plan.phases[0].shape, LT_RAMP);
    assert_int_equal(options.plan.phases[0].over_ms, 2000);
    assert_int_equal(options.plan.phases[0].clicks, 50);
    assert_int_equal(options.retries, 9);
    assert_true(options.end_sale);

    assert_ok(read_options("--rate 100 --duration 5s --unique-users", &options, &fault));
    assert_int_equal(options.plan.phases[0].shape, LT_CONSTANT);
    assert_int_equal(options.plan.phases[0].clicks, 500);
    assert_int_equal(options.plan.buyers, 0); /* all different */
    assert_int_equal(options.plan.stock, 500);
    assert_true(options.plan.repeat_share == 0);

    assert_ok(read_options("--rate 1 --duration 5s --unique-users --skus 2 --quantity 1..3",
                           &options, &fault));
    assert_int_equal(options.plan.stock, 18); /* three of five want the first SKU, at most 3 each */
    assert_int_equal(options.plan.cap, 3);
    assert_int_equal(options.plan.quantity_min, 1);
    assert_ok(read_options("--quantity 2 --cap 5 --sku-cap 4", &options, &fault));
    assert_int_equal(options.plan.quantity_min, 2);
    assert_int_equal(options.plan.quantity_max, 2);
    assert_int_equal(options.plan.cap, 5);
    assert_int_equal(options.plan.sku_cap, 4);
}

static void a_bad_option_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *path;
    } cases[] = {
        {"--nonsense", "--nonsense"},
        {"--buyers", "--buyers"},
        {"--buyers 0", "--buyers"},
        {"--buyers 12x", "--buyers"},
        {"--over never", "--over"},
        {"--shape flat", "--shape"},
        {"--repeat-share 1.1", "--repeat-share"},
        {"--repeat-share nan", "--repeat-share"},
        {"--rate 0 --duration 1s", "--rate"},
        {"--rate 10", "--rate"},
        {"--rate 10 --duration 1s --shape step", "--rate"},
        {"--rate 10 --duration 1s --plan x", "--rate"},
        {"--rate 10 --duration 1s --unique-users --buyers 5", "--unique-users"},
        {"--duration 1s", "--duration"},
        {"--unique-users", "--unique-users"},
        {"--plan /nonexistent/plan", "--plan"},
        {"--plan x --buyers 4", "--plan"},
        {"--confirm-share 0.6 --cancel-share 0.5", "--cancel-share"},
        {"--summary=yes", "--summary"},
        {"--connections 0", "--connections"},
        {"buyers", "buyers"},
        {"--skus 17", "--skus"},
        {"--skus 3 --stock 2", "--stock"},
        {"--quantity 0", "--quantity"},
        {"--quantity 3..2", "--quantity"},
        {"--quantity 1..", "--quantity"},
        {"--quantity 1..3x", "--quantity"},
        {"--quantity 2 --cap 1", "--cap"},
        {"--quantity 2..3 --sku-cap 1", "--sku-cap"},
        {"--find-capacity --skus 2", "--skus"},
        {"--find-capacity --quantity 1", "--quantity"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct lt_options options;
        struct ps_fault fault;
        assert_true(read_options(cases[i].line, &options, &fault) < 0);
        assert_string_equal(fault.path, cases[i].path);
    }
}

static void a_plan_file_may_be_named(void **state)
{
    (void)state;
    char path[] = "/tmp/rehearse-plan-XXXXXX", line[64];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    assert_non_null(file);
    fputs("{\"phases\":[{\"shape\":\"step\",\"over_ms\":10,\"clicks\":3}]}", file);
    assert_int_equal(fclose(file), 0);
    struct lt_options options;
    struct ps_fault fault;
    (void)snprintf(line, sizeof line, "--plan %s --stock 2", path);
    assert_ok(read_options(line, &options, &fault));
    assert_int_equal(options.plan.phase_count, 1);
    assert_int_equal(options.plan.phases[0].clicks, 3);
    assert_int_equal(options.plan.stock, 2);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_plan),
        cmocka_unit_test(every_phase_has_its_clicks_in_its_time),
        cmocka_unit_test(shapes_are_what_they_are_called),
        cmocka_unit_test(a_repeated_click_follows_its_first),
        cmocka_unit_test(buyers_come_back_until_they_ask_for_more_than_the_cap),
        cmocka_unit_test(a_wish_is_the_same_at_every_click_and_within_its_bounds),
        cmocka_unit_test(more_clicks_than_buyers_come_from_them_in_turn),
        cmocka_unit_test(no_more_buyers_come_than_click),
        cmocka_unit_test(a_plan_file_is_read),
        cmocka_unit_test(a_bad_plan_names_the_member),
        cmocka_unit_test(durations_need_a_unit_that_is_known),
        cmocka_unit_test(options_become_a_plan),
        cmocka_unit_test(a_bad_option_is_named),
        cmocka_unit_test(a_plan_file_may_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
