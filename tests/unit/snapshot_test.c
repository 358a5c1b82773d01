/* The policy snapshot: look-ups, phases, blocklist. */
#include "tests/unit/check.h"

#include "gateway/config/snapshot.h"

#include <stdio.h>
#include <stdlib.h>

#define OPENS  INT64_C(1900000000000)
#define CLOSES (OPENS + 3600000)

static struct ps_str str(const char *text)
{
    return (struct ps_str){text, strlen(text)};
}

static struct cfg_sale *sale_of(const char *name)
{
    static const char text[] =
        "{\"opens_at\":\"2030-03-17T17:46:40Z\",\"closes_at\":\"2030-03-17T18:46:40Z\","
        "\"per_user_cap\":3,\"attributes\":{\"a\":1},\"skus\":[{\"sku\":\"phone\",\"stock\":5,"
        "\"price\":{\"amount\":\"9.90\",\"currency\":\"CNY\"},\"per_user_cap\":2},"
        "{\"sku\":\"pho\",\"stock\":6}]}";
    const struct cfg_sale_state state = {.version = 4};
    struct cfg_sale_doc doc;
    struct cfg_sale *sale = NULL;
    json_t *json = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    assert_ok(cfg_sale_doc_read(json, "", name, &doc, NULL));
    assert_ok(cfg_sale_new(name, &doc, &state, &sale));
    cfg_sale_doc_done(&doc);
    json_decref(json);
    return sale;
}

static void a_sale_shows_its_document(void **state)
{
    (void)state;
    struct cfg_sale *sale = sale_of("spring");
    uint32_t sku = 9;
    assert_string_equal(sale->name, "spring");
    assert_int_equal(sale->version, 4);
    assert_int_equal(sale->opens_at_ms, OPENS);
    assert_int_equal(sale->closes_at_ms, CLOSES);
    assert_int_equal(sale->cap, 3);
    assert_int_equal(sale->ttl_ms, 900000);
    assert_string_equal(sale->attributes, "{\"a\":1}");
    assert_string_equal(sale->skus[0].public_members,
                        "\"price\":{\"amount\":\"9.90\",\"currency\":\"CNY\"},\"attributes\":{}");
    assert_string_equal(sale->skus[1].public_members, "\"price\":null,\"attributes\":{}");
    assert_int_equal(sale->skus[0].cap, 2);
    assert_int_equal(sale->skus[1].stock, 6);
    assert_null(sale->counter);
    assert_ok(cfg_sale_sku(sale, "pho", 3, &sku));
    assert_int_equal(sku, 1);
    assert_int_equal(cfg_sale_sku(sale, "phone", 4, &sku), PS_E_NOT_FOUND);
    assert_int_equal(cfg_sale_sku(sale, "phones", 6, &sku), PS_E_NOT_FOUND);
    assert_int_equal(cfg_sale_sku(sale, "", 0, &sku), PS_E_NOT_FOUND);
    cfg_sale_free(sale);
}

static void adjust(struct oq_fold *fold, int64_t seq, const char *sku)
{
    char key[64];
    struct oq_change change;
    snprintf(key, sizeof key, "initial:spring/%s", sku);
    const struct oq_event event = {.type = OQ_ADJUSTED,
                                   .adjust_key = str(key),
                                   .sale = PS_STR("spring"),
                                   .sku = str(sku),
                                   .epoch = 7,
                                   .at_ms = OPENS,
                                   .delta = 5};
    assert_ok(oq_fold_apply(fold, 0, seq, &event, &change));
}

static void skus_take_the_places_that_the_log_gave_them(void **state)
{
    (void)state;
    struct cfg_sale *sale = sale_of("spring");
    struct oq_fold *fold = NULL;
    uint32_t sku = 9;
    assert_ok(oq_fold_new(&fold));
    adjust(fold, 1, "pho");
    adjust(fold, 2, "phone");
    cfg_sale_order_skus(sale, oq_fold_sale(fold, "spring", 6));
    assert_ok(cfg_sale_sku(sale, "pho", 3, &sku));
    assert_int_equal(sku, 0);
    assert_ok(cfg_sale_sku(sale, "phone", 5, &sku));
    assert_int_equal(sku, 1);
    assert_int_equal(sale->skus[1].cap, 2);
    cfg_sale_free(sale);
    oq_fold_free(fold);
}

static void a_sale_opens_and_closes_at_its_millisecond(void **state)
{
    (void)state;
    struct cfg_sale *sale = sale_of("spring");
    assert_int_equal(cfg_sale_phase(sale, OPENS - 1), CFG_PHASE_SCHEDULED);
    assert_int_equal(cfg_sale_phase(sale, OPENS), CFG_PHASE_OPEN);
    assert_int_equal(cfg_sale_phase(sale, CLOSES - 1), CFG_PHASE_OPEN);
    assert_int_equal(cfg_sale_phase(sale, CLOSES), CFG_PHASE_ENDED);
    cfg_sale_free(sale);
}

static void pause_and_end_are_stronger_than_the_clock(void **state)
{
    (void)state;
    struct cfg_sale *sale = sale_of("spring");
    sale->paused = true;
    assert_int_equal(cfg_sale_phase(sale, OPENS - 1), CFG_PHASE_SCHEDULED);
    assert_int_equal(cfg_sale_phase(sale, OPENS), CFG_PHASE_PAUSED);
    assert_int_equal(cfg_sale_phase(sale, CLOSES), CFG_PHASE_ENDED);
    sale->ended = true;
    assert_int_equal(cfg_sale_phase(sale, OPENS - 1), CFG_PHASE_ENDED);
    cfg_sale_free(sale);
}

static void a_draft_never_opens(void **state)
{
    (void)state;
    struct cfg_sale *sale = sale_of("spring");
    sale->draft = true;
    sale->opens_at_ms = INT64_MAX;
    assert_int_equal(cfg_sale_phase(sale, CLOSES + 1), CFG_PHASE_SCHEDULED);
    cfg_sale_free(sale);
}

static void every_sale_is_found_by_its_name_and_no_other(void **state)
{
    (void)state;
    static const char *const names[] = {"spring", "a", "autumn", "spring-2", "Spring", "sprin"};
    const struct cfg_limit_rule rule = {.name = "user",
                                        .algorithm = CFG_LIMIT_TOKEN_BUCKET,
                                        .rate = 5,
                                        .period_s = 10,
                                        .burst = 5,
                                        .applies_to = CFG_LIMIT_ORDER};
    struct cfg_sale *sales[PS_ARRAY_LEN(names)];
    struct cfg_blocklist *blocklist = NULL;
    struct cfg_snapshot *policy = NULL;
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        sales[i] = sale_of(names[i]);
    assert_ok(cfg_blocklist_new(NULL, 0, NULL, 0, &blocklist));
    assert_ok(cfg_snapshot_new(7, sales, PS_ARRAY_LEN(names), &rule, 1, blocklist, &policy));
    assert_int_equal(policy->version, 7);
    assert_string_equal(policy->rules[0].name, "user");
    assert_int_equal(policy->compiled[0].rate, 5);
    assert_int_equal(policy->wide[0].rate, 80);
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        const struct cfg_sale *found = cfg_snapshot_sale(policy, names[i], strlen(names[i]));
        assert_ptr_equal(found, sales[i]);
        assert_ptr_equal(policy->sales[found->index], found);
    }
    assert_null(cfg_snapshot_sale(policy, "spring", 3));
    assert_null(cfg_snapshot_sale(policy, "winter", 6));
    assert_null(cfg_snapshot_sale(policy, "", 0));
    assert_null(cfg_snapshot_sale(policy, "a\0b", 3));
    cfg_snapshot_free(policy);
}

static void a_policy_may_be_empty(void **state)
{
    (void)state;
    struct cfg_blocklist *blocklist = NULL;
    struct cfg_snapshot *policy = NULL;
    assert_ok(cfg_blocklist_new(NULL, 0, NULL, 0, &blocklist));
    assert_ok(cfg_snapshot_new(1, NULL, 0, NULL, 0, blocklist, &policy));
    assert_null(cfg_snapshot_sale(policy, "spring", 6));
    cfg_snapshot_free(policy);
    cfg_snapshot_free(NULL);
}

static struct cfg_blocked_range range_of(const char *text, int64_t until_ms)
{
    struct cfg_blocked_range range = {.until_ms = until_ms};
    assert_ok(ps_cidr_parse(text, strlen(text), &range.range));
    return range;
}

static bool blocked(const struct cfg_blocklist *list, const char *user, const char *address,
                    int64_t now)
{
    struct ps_address parsed;
    assert_ok(ps_address_parse(address, strlen(address), false, &parsed));
    return cfg_blocklist_has(list, str(user), &parsed, now);
}

static void blocked_users_and_ranges_are_refused_until_their_end(void **state)
{
    (void)state;
    const struct cfg_blocked_user users[] = {{"bob", 1000}, {"eve", INT64_MAX}, {"bob", 500}};
    const struct cfg_blocked_range ranges[] = {
        range_of("203.0.113.0/24", 1000), range_of("198.51.100.7", INT64_MAX),
        range_of("2001:db8::/33", INT64_MAX), range_of("10.0.0.0/9", INT64_MAX)};
    struct cfg_blocklist *list = NULL;
    assert_ok(cfg_blocklist_new(users, 3, ranges, 4, &list));
    assert_true(blocked(list, "bob", "192.0.2.1", 999));
    assert_false(blocked(list, "bob", "192.0.2.1", 1000));
    assert_true(blocked(list, "eve", "192.0.2.1", INT64_MAX - 1));
    assert_false(blocked(list, "ev", "192.0.2.1", 0));
    assert_false(blocked(list, "", "192.0.2.1", 0));
    assert_true(blocked(list, "", "203.0.113.0", 999));
    assert_true(blocked(list, "alice", "203.0.113.255", 999));
    assert_false(blocked(list, "alice", "203.0.113.255", 1000));
    assert_false(blocked(list, "alice", "203.0.114.0", 0));
    assert_true(blocked(list, "alice", "198.51.100.7", 0));
    assert_false(blocked(list, "alice", "198.51.100.6", 0));
    assert_true(blocked(list, "alice", "2001:db8:7fff::1", 0));
    assert_false(blocked(list, "alice", "2001:db8:8000::1", 0));
    assert_true(blocked(list, "alice", "10.127.255.255", 0));
    assert_false(blocked(list, "alice", "10.128.0.0", 0));
    cfg_blocklist_free(list);
}

static void a_range_of_one_family_blocks_nobody_of_the_other(void **state)
{
    (void)state;
    const struct cfg_blocked_range six[] = {range_of("::/0", 10), range_of("::/8", 10)};
    const struct cfg_blocked_range four = range_of("0.0.0.0/0", 10);
    struct cfg_blocklist *list = NULL;
    assert_ok(cfg_blocklist_new(NULL, 0, six, 2, &list));
    assert_false(blocked(list, "", "192.0.2.1", 0));
    assert_true(blocked(list, "", "2001:db8::1", 0));
    cfg_blocklist_free(list);
    assert_ok(cfg_blocklist_new(NULL, 0, &four, 1, &list));
    assert_true(blocked(list, "", "192.0.2.1", 0));
    assert_false(blocked(list, "", "2001:db8::1", 0));
    cfg_blocklist_free(list);
}

static void a_long_blocklist_finds_each_entry(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct cfg_blocked_user *users = calloc(COUNT, sizeof *users);
    struct cfg_blocked_range *ranges = calloc(COUNT, sizeof *ranges);
    char text[64];
    struct cfg_blocklist *list = NULL;
    assert_non_null(users);
    assert_non_null(ranges);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(users[i].user, sizeof users[i].user, "user-%d", i);
        users[i].until_ms = INT64_MAX;
        (void)snprintf(text, sizeof text, "10.%d.%d.0/24", i / 256, i % 256);
        ranges[i] = range_of(text, INT64_MAX);
    }
    assert_ok(cfg_blocklist_new(users, COUNT, ranges, COUNT, &list));
    for (int i = 0; i < COUNT + 100; i++) {
        (void)snprintf(text, sizeof text, "user-%d", i);
        assert_int_equal(blocked(list, text, "192.0.2.1", 0), i < COUNT);
        (void)snprintf(text, sizeof text, "10.%d.%d.9", i / 256, i % 256);
        assert_int_equal(blocked(list, "", text, 0), i < COUNT);
    }
    cfg_blocklist_free(list);
    free(users);
    free(ranges);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sale_shows_its_document),
        cmocka_unit_test(skus_take_the_places_that_the_log_gave_them),
        cmocka_unit_test(a_sale_opens_and_closes_at_its_millisecond),
        cmocka_unit_test(pause_and_end_are_stronger_than_the_clock),
        cmocka_unit_test(a_draft_never_opens),
        cmocka_unit_test(every_sale_is_found_by_its_name_and_no_other),
        cmocka_unit_test(a_policy_may_be_empty),
        cmocka_unit_test(blocked_users_and_ranges_are_refused_until_their_end),
        cmocka_unit_test(a_range_of_one_family_blocks_nobody_of_the_other),
        cmocka_unit_test(a_long_blocklist_finds_each_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
