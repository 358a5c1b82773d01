/* The sample: what share of failures it finds among many clients and pages, and what one client or
 * one page can do to it. In virtual time. */
#include "tests/unit/check.h"

#include "gateway/upstream/sample.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct up_known known;

struct figures {
    double good, bad;
    unsigned row; /* in a row, at most */
};

struct world {
    struct up_sample sample;
    struct up_marks marks;
    struct figures so_far;
    unsigned row;
    int64_t now_ns;
    uint64_t random;
};

static struct world begin(void)
{
    up_known_init(&known);
    /* The same key in each run: two of twenty clients share a bit in one run of six. */
    memset(&known.key, 0x5a, sizeof known.key);
    return (struct world){.now_ns = 1000 * PS_NS_PER_S, .random = 7};
}

static double draw(struct world *world)
{
    world->random = world->random * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (double)(world->random >> 11) / 9007199254740992.0;
}

static void answer(struct world *world, unsigned client, unsigned page, bool good)
{
    struct ps_address address = {{[10] = 0xff, [11] = 0xff, [12] = 10}};
    char path[32];

    address.byte[13] = (uint8_t)(client >> 16);
    address.byte[14] = (uint8_t)(client >> 8);
    address.byte[15] = (uint8_t)client;
    int len = snprintf(path, sizeof path, "/page/%u", page);
    struct up_who who = up_who_of(&known, &address, (struct ps_str){path, (size_t)len});
    struct up_told told = up_sample_tell(&world->sample, &world->marks, &known, &who,
                                         good ? UP_SAYS_GOOD : UP_SAYS_ERROR, world->now_ns);
    if (good)
        up_known_add(&known, &who, world->now_ns);
    world->so_far.good += told.good;
    world->so_far.bad += told.bad;
    world->row = good ? 0 : world->row + told.row;
    if (world->row > world->so_far.row)
        world->so_far.row = world->row;
}

/* Requests of some seconds, `rate` a second; clients and pages are drawn, the first ones more
 * often. */
static void serve(struct world *world, double seconds, unsigned rate, unsigned clients,
                  unsigned pages, double failing)
{
    unsigned count = (unsigned)(seconds * rate);

    for (unsigned i = 0; i < count; i++) {
        world->now_ns += PS_NS_PER_S / rate;
        double at = draw(world), where = draw(world);
        answer(world, (unsigned)(at * clients), (unsigned)(where * where * pages),
               draw(world) >= failing);
    }
}

static double share(const struct world *world)
{
    return world->so_far.bad / (world->so_far.good + world->so_far.bad);
}

static void it_finds_what_share_fails(void **unused)
{
    static const struct {
        unsigned rate, clients, pages;
    } shops[] = {{50, 30, 1},      {50, 40, 20},       {500, 20, 50},
                 {2000, 3000, 10}, {5000, 5000, 5000}, {200, 100000, 100000}};
    static const double failing[] = {0.05, 0.1, 0.25, 0.5, 0.75, 0.9};

    (void)unused;
    for (size_t i = 0; i < PS_ARRAY_LEN(shops); i++) {
        for (size_t j = 0; j < PS_ARRAY_LEN(failing); j++) {
            struct world world = begin();
            serve(&world, 60, shops[i].rate, shops[i].clients, shops[i].pages, failing[j]);
            if (fabs(share(&world) - failing[j]) >= 0.05)
                fail_msg("%u requests/s of %u clients for %u pages: %.2f failed, found %.3f",
                         shops[i].rate, shops[i].clients, shops[i].pages, failing[j],
                         share(&world));
        }
    }
}

static void a_shop_that_fails_for_everybody_counts_from_the_fifth_client_on(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned i = 0; i < 4; i++)
        answer(&world, i, i, false);
    assert_true(world.so_far.bad == 0 && world.row == 0);
    answer(&world, 4, 4, false);
    assert_true(world.so_far.bad == 5 && world.row == 5); /* those before, too */
    for (unsigned i = 5; i < 20; i++)
        answer(&world, i, i, false);
    assert_true(world.so_far.bad == 20);
}

static void one_client_counts_for_nothing_whatever_it_asks_for(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned i = 0; i < 60000; i++) {
        world.now_ns += PS_NS_PER_MS;
        answer(&world, 1, i % 5000, false);
        if (i % 10 == 0)
            answer(&world, 100 + i % 7, i % 3, true);
    }
    assert_true(world.so_far.bad == 0 && world.so_far.row == 0);
}

static void one_page_that_always_fails_counts_for_nothing_whoever_asks_for_it(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned i = 0; i < 60000; i++) {
        world.now_ns += PS_NS_PER_MS;
        answer(&world, i % 5000, 1, false);
        answer(&world, i % 5000, 2 + i % 3, true);
    }
    assert_true(world.so_far.bad == 0);
}

static void
the_only_page_of_a_shop_is_judged_as_soon_as_five_clients_meet_its_failure(void **unused)
{
    struct world world = begin();

    (void)unused;
    serve(&world, 5, 50, 30, 1, 0);
    for (unsigned i = 0; i < 5; i++)
        answer(&world, 1000 + i, 0, false);
    assert_true(world.so_far.bad >= 5 && world.row == 5);
}

static void a_stranger_adds_little_to_what_many_meet(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned i = 0; i < 60; i++) {
        serve(&world, 1, 100, 1000, 20, 0.1);
        for (unsigned k = 0; k < 1000; k++)
            answer(&world, 5000, 100 + k, false);
    }
    assert_true(fabs(share(&world) - 0.1) < 0.05);
}

static void a_flood_of_good_answers_hides_nothing(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned i = 0; i < 60; i++) {
        serve(&world, 1, 100, 1000, 20, 0.6);
        for (unsigned k = 0; k < 1000; k++)
            answer(&world, 5000, 0, true);
    }
    assert_true(share(&world) > 0.5);
}

static void a_good_answer_ends_the_row(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 4; i++)
            answer(&world, 10 * round + i, 10 * round + i, false);
        answer(&world, 10000, 0, true);
        world.now_ns += PS_NS_PER_S;
    }
    assert_true(world.so_far.row <= 4);
}

static void what_was_long_ago_is_no_witness(void **unused)
{
    struct world world = begin();

    (void)unused;
    for (unsigned i = 0; i < 30; i++) {
        answer(&world, i, i, false);
        world.now_ns += 4 * PS_NS_PER_S;
    }
    assert_true(world.so_far.bad == 0);
}

static void a_client_or_a_path_is_a_suspect_for_ten_seconds(void **unused)
{
    const struct up_who bad = {.client = UINT64_C(1) << 40, .path = UINT64_C(2) << 40};
    const struct up_who other = {.client = UINT64_C(3) << 40, .path = UINT64_C(4) << 40};
    const struct up_who same_path = {.client = other.client, .path = bad.path};
    const struct up_who same_client = {.client = bad.client, .path = other.path};
    struct up_marks marks = {0};
    int64_t now_ns = 50 * PS_NS_PER_S;

    (void)unused;
    assert_false(up_marks_have(&marks, &bad, now_ns));
    up_marks_add(&marks, &bad, false, now_ns);
    assert_true(up_marks_have(&marks, &same_path, now_ns));
    assert_true(up_marks_have(&marks, &same_client, now_ns + 10 * PS_NS_PER_S));
    assert_false(up_marks_have(&marks, &other, now_ns));
    assert_false(up_marks_have(&marks, &bad, now_ns + 11 * PS_NS_PER_S));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_what_share_fails),
        cmocka_unit_test(a_shop_that_fails_for_everybody_counts_from_the_fifth_client_on),
        cmocka_unit_test(one_client_counts_for_nothing_whatever_it_asks_for),
        cmocka_unit_test(one_page_that_always_fails_counts_for_nothing_whoever_asks_for_it),
        cmocka_unit_test(
            the_only_page_of_a_shop_is_judged_as_soon_as_five_clients_meet_its_failure),
        cmocka_unit_test(a_stranger_adds_little_to_what_many_meet),
        cmocka_unit_test(a_flood_of_good_answers_hides_nothing),
        cmocka_unit_test(a_good_answer_ends_the_row),
        cmocka_unit_test(what_was_long_ago_is_no_witness),
        cmocka_unit_test(a_client_or_a_path_is_a_suspect_for_ten_seconds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
