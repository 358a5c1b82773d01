/* Who goes to which split: shares, and who stays when they change, over a million of users. */
#include "tests/unit/check.h"

#include "gateway/upstream/switch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define USERS 1000000

/* A request with these lines of fields, each with its CRLF. */
struct request {
    struct ps_http_head head;
    char text[256];
};

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 2048, .fields_max = 20};

static void read_request(struct request *request, const char *lines)
{
    int len =
        snprintf(request->text, sizeof request->text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", lines);

    ps_http_request_init(&request->head, &limits);
    assert_int_equal(ps_http_head_parse(&request->head, request->text, (size_t)len), PS_HTTP_DONE);
}

static struct up_asker asker_of(const struct request *request)
{
    return (struct up_asker){.head = &request->head, .base = request->text};
}

static struct up_switch *switch_of(const char *route, struct cfg_split *splits, size_t count)
{
    struct cfg_route doc = {.split_count = count, .splits = splits};
    struct up_switch *swtch;

    memcpy(doc.name, route, strlen(route) + 1);
    assert_ok(up_switch_new(&doc, NULL, &swtch));
    return swtch;
}

/* Where each user goes: an index, or 255 for the route's own pool. Owner: the caller. */
static uint8_t *places(const char *route, struct cfg_split *splits, size_t count)
{
    struct up_switch *swtch = switch_of(route, splits, count);
    uint8_t *all = malloc(USERS);
    uint64_t draws = 0;
    char name[32];

    assert_non_null(all);
    for (size_t i = 0; i < USERS; i++) {
        int len = snprintf(name, sizeof name, "user-%zu", i);
        const struct up_asker asker = {.user = {name, (size_t)len}};
        all[i] = (uint8_t)up_switch_pick(swtch, &asker, 0, &draws);
    }
    up_switch_free(swtch);
    return all;
}

static double share_of(const uint8_t *all, uint8_t split)
{
    size_t count = 0;

    for (size_t i = 0; i < USERS; i++)
        count += all[i] == split;
    return (double)count / USERS;
}

#define OWN ((uint8_t)UP_NONE)

static void assert_share(const uint8_t *all, uint8_t split, double share)
{
    assert_true(share_of(all, split) > share - 0.001);
    assert_true(share_of(all, split) < share + 0.001);
}

/* --- By user. --- */

static void a_share_of_users_is_within_a_thousandth(void **state)
{
    static const uint32_t shares[] = {0, 1, 10, 50, 333, 500, 999, 1000};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(shares); i++) {
        struct cfg_split split = {.per_mille = shares[i]};
        uint8_t *all = places("product", &split, 1);
        assert_share(all, 0, shares[i] / 1000.0);
        assert_share(all, OWN, 1 - shares[i] / 1000.0);
        free(all);
    }
}

static void a_share_that_grows_keeps_all_and_one_that_shrinks_takes_nobody_in(void **state)
{
    static const uint32_t steps[] = {1, 2, 50, 51, 400, 1000, 700, 50, 0};
    uint8_t *before = NULL;
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(steps); i++) {
        struct cfg_split split = {.per_mille = steps[i]};
        uint8_t *all = places("product", &split, 1);
        bool grew = i == 0 || steps[i] > steps[i - 1];
        for (size_t u = 0; before != NULL && u < USERS; u++)
            assert_true(grew ? before[u] == OWN || all[u] == 0 : all[u] == OWN || before[u] == 0);
        free(before);
        before = all;
    }
    free(before);
}

static void whoever_came_last_leaves_first(void **state)
{
    struct cfg_split small = {.per_mille = 50}, large = {.per_mille = 300},
                     between = {.per_mille = 100};
    uint8_t *first = places("product", &small, 1), *then = places("product", &large, 1),
            *last = places("product", &between, 1);
    (void)state;
    for (size_t u = 0; u < USERS; u++) {
        assert_true(first[u] == OWN || last[u] == 0); /* the first ones are still in */
        assert_true(last[u] == OWN || then[u] == 0);
    }
    free(first);
    free(then);
    free(last);
}

static void two_splits_never_move_each_others_users(void **state)
{
    static const uint32_t steps[][2] = {{50, 100}, {300, 100}, {300, 700}, {0, 700}, {0, 1000}};
    uint8_t *before = NULL;
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(steps); i++) {
        struct cfg_split splits[] = {{.per_mille = steps[i][0]}, {.per_mille = steps[i][1]}};
        uint8_t *all = places("product", splits, 2);
        for (size_t split = 0; split < 2; split++) {
            assert_share(all, (uint8_t)split, steps[i][split] / 1000.0);
            bool grew = i > 0 && steps[i][split] >= steps[i - 1][split];
            for (size_t u = 0; grew && u < USERS; u++)
                assert_true(before[u] != split || all[u] == split);
        }
        free(before);
        before = all;
    }
    free(before);
}

static void of_eight_splits_each_has_its_share_and_keeps_its_users_when_it_grows(void **state)
{
    struct cfg_split splits[CFG_SPLITS_MAX];
    (void)state;
    memset(splits, 0, sizeof splits);
    for (size_t i = 0; i < CFG_SPLITS_MAX; i++)
        splits[i].per_mille = 30 + 20 * (uint32_t)i; /* 800 together */
    uint8_t *before = places("product", splits, CFG_SPLITS_MAX);
    for (size_t i = 0; i < CFG_SPLITS_MAX; i++)
        assert_share(before, (uint8_t)i, splits[i].per_mille / 1000.0);
    for (size_t grown = 0; grown < CFG_SPLITS_MAX; grown++) {
        splits[grown].per_mille += 200;
        uint8_t *all = places("product", splits, CFG_SPLITS_MAX);
        for (size_t u = 0; u < USERS; u++)
            assert_true(before[u] != grown || all[u] == grown);
        for (size_t i = 0; i < CFG_SPLITS_MAX; i++)
            assert_share(all, (uint8_t)i, splits[i].per_mille / 1000.0);
        splits[grown].per_mille -= 200;
        free(all);
    }
    free(before);
}

static void routes_choose_independently(void **state)
{
    struct cfg_split split = {.per_mille = 500};
    uint8_t *a = places("product", &split, 1), *b = places("cart", &split, 1);
    size_t both = 0;
    (void)state;
    for (size_t u = 0; u < USERS; u++)
        both += a[u] == 0 && b[u] == 0;
    assert_in_range(both, USERS / 4 - 2000, USERS / 4 + 2000);
    free(a);
    free(b);
}

static void without_a_user_the_address_counts_and_ipv6_by_64_bits(void **state)
{
    struct cfg_split split = {.per_mille = 500};
    struct up_switch *swtch = switch_of("product", &split, 1);
    size_t in = 0;
    uint64_t draws = 0;
    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct up_asker asker = {
            .client = {{0x20, 1, 0xd, 0xb8, (uint8_t)(i >> 8), (uint8_t)i}},
        };
        size_t at = up_switch_pick(swtch, &asker, 0, &draws);
        in += at == 0;
        asker.client.byte[15] = 77; /* another host of the same network */
        assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), at);
    }
    assert_in_range(in, 9600, 10400);
    up_switch_free(swtch);
}

/* --- By cookie, header, request. --- */

static void a_cookie_chooses_and_who_has_none_stays(void **state)
{
    struct cfg_split split = {.per_mille = 200, .by = CFG_SPLIT_COOKIE, .name = (char[]){"sid"}};
    struct up_switch *swtch = switch_of("product", &split, 1);
    uint64_t draws = 0;
    size_t in = 0;
    struct request request;
    char text[64];
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        (void)snprintf(text, sizeof text, "Cookie: theme=dark; sid=%u; a=b\r\n", i);
        read_request(&request, text);
        struct up_asker asker = asker_of(&request);
        in += up_switch_pick(swtch, &asker, 0, &draws) == 0;
        (void)snprintf(text, sizeof text, "Cookie: xsid=%u; sidx=1; a=sid\r\n", i);
        read_request(&request, text);
        assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), UP_NONE);
    }
    assert_in_range(in, 19500, 20500);
    up_switch_free(swtch);
}

static void a_header_chooses_only_requests_that_have_it(void **state)
{
    struct cfg_split split = {.per_mille = 1000,
                              .by = CFG_SPLIT_HEADER,
                              .name = (char[]){"X-Beta"},
                              .value = (char[]){"1"}};
    struct up_switch *swtch = switch_of("product", &split, 1);
    struct request request;
    struct up_asker asker = asker_of(&request);
    uint64_t draws = 0;
    (void)state;
    read_request(&request, "x-beta: 1\r\n");
    assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), 0);
    read_request(&request, "X-Beta: 10\r\n");
    assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), UP_NONE);
    read_request(&request, "");
    assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), UP_NONE);
    up_switch_free(swtch);
}

static void by_request_each_thousand_has_exactly_the_share_and_no_pattern_escapes_it(void **state)
{
    struct cfg_split split = {.per_mille = 7, .by = CFG_SPLIT_REQUEST};
    struct up_switch *swtch = switch_of("product", &split, 1);
    const struct up_asker asker = {.head = NULL};
    uint64_t draws = 0;
    size_t of_five[5] = {0};
    (void)state;
    for (size_t round = 0; round < 1000; round++) {
        size_t in = 0;
        for (size_t i = 0; i < 1000; i++) {
            bool taken = up_switch_pick(swtch, &asker, 0, &draws) == 0;
            in += taken;
            of_five[i % 5] += taken;
        }
        assert_int_equal(in, 7);
    }
    for (size_t i = 0; i < 5; i++) /* each fifth request, as of a page of five parts: 7 in 1,000 */
        assert_in_range(of_five[i], 1300, 1500);
    up_switch_free(swtch);
}

static void the_first_that_fits_has_the_request_and_what_is_off_has_none(void **state)
{
    struct cfg_split splits[] = {{.per_mille = 1000,
                                  .by = CFG_SPLIT_HEADER,
                                  .name = (char[]){"X-Beta"},
                                  .value = (char[]){"1"}},
                                 {.per_mille = 1000}};
    struct up_switch *swtch = switch_of("product", splits, 2);
    struct request request;
    struct up_asker asker = asker_of(&request);
    uint64_t draws = 0;
    (void)state;
    asker.user = PS_STR("ann");
    read_request(&request, "X-Beta: 1\r\n");
    assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), 0);
    assert_int_equal(up_switch_pick(swtch, &asker, 1, &draws), 1);
    assert_int_equal(up_switch_pick(swtch, &asker, 3, &draws), UP_NONE);
    read_request(&request, "");
    assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), 1);
    up_switch_free(swtch);
}

static void a_route_without_splits_sends_all_to_its_own_pool(void **state)
{
    struct up_switch *swtch = switch_of("product", NULL, 0);
    const struct up_asker asker = {.user = PS_STR("ann")};
    uint64_t draws = 0;
    (void)state;
    assert_null(swtch);
    assert_int_equal(up_switch_pick(swtch, &asker, 0, &draws), UP_NONE);
}

static void the_same_user_goes_the_same_way_on_every_gateway(void **state)
{
    struct cfg_split split = {.per_mille = 500};
    struct up_switch *swtch = switch_of("product", &split, 1);
    static const char *const users[] = {"ann", "bob", "eve", "joe", "kim", "leo", "mia", "ned"};
    uint64_t draws = 0;
    unsigned in = 0;
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(users); i++) {
        const struct up_asker asker = {.user = {users[i], 3}};
        in |= (unsigned)(up_switch_pick(swtch, &asker, 0, &draws) == 0) << i;
    }
    assert_int_equal(in, 0x14); /* a literal: it must not change from one version to the next */
    up_switch_free(swtch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_of_users_is_within_a_thousandth),
        cmocka_unit_test(a_share_that_grows_keeps_all_and_one_that_shrinks_takes_nobody_in),
        cmocka_unit_test(whoever_came_last_leaves_first),
        cmocka_unit_test(two_splits_never_move_each_others_users),
        cmocka_unit_test(of_eight_splits_each_has_its_share_and_keeps_its_users_when_it_grows),
        cmocka_unit_test(routes_choose_independently),
        cmocka_unit_test(without_a_user_the_address_counts_and_ipv6_by_64_bits),
        cmocka_unit_test(a_cookie_chooses_and_who_has_none_stays),
        cmocka_unit_test(a_header_chooses_only_requests_that_have_it),
        cmocka_unit_test(by_request_each_thousand_has_exactly_the_share_and_no_pattern_escapes_it),
        cmocka_unit_test(the_first_that_fits_has_the_request_and_what_is_off_has_none),
        cmocka_unit_test(a_route_without_splits_sends_all_to_its_own_pool),
        cmocka_unit_test(the_same_user_goes_the_same_way_on_every_gateway),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
