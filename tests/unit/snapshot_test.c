/* What workers go by: look-ups, phases, blocklist, and what one snapshot shares with the next. */
#include "tests/unit/check.h"
#include "tests/unit/sale_documents.h"

#include "gateway/snapshot/view.h"
#include "queue/fold.h"

#include <stdio.h>
#include <stdlib.h>

#define OPENS  INT64_C(1900000000000)
#define CLOSES (OPENS + 3600000)

static struct ps_str str(const char *text)
{
    return (struct ps_str){text, strlen(text)};
}

/* What is published, as it is built. */
static struct snap_view *view;
static struct snapshot *snapshot;

static void publish(void)
{
    struct snapshot *next = NULL;
    int64_t version = snapshot != NULL ? snapshot->version + 1 : 1;
    assert_ok(snap_view_snapshot(view, version, 7, &next));
    snapshot_free(snapshot);
    snapshot = next;
}

static int make(void **state)
{
    (void)state;
    assert_ok(snap_view_new(1, &view));
    return 0;
}

static int drop(void **state)
{
    (void)state;
    snapshot_free(snapshot);
    snapshot = NULL;
    snap_view_free(view);
    return 0;
}

static void put_sale(const char *name, struct cfg_sale_state sale_state, bool draft)
{
    static const char text[] =
        "{\"opens_at\":\"2030-03-17T17:46:40Z\",\"closes_at\":\"2030-03-17T18:46:40Z\","
        "\"per_user_cap\":3,\"attributes\":{\"a\":1},\"skus\":[{\"sku\":\"phone\",\"stock\":5,"
        "\"price\":{\"amount\":\"9.90\",\"currency\":\"CNY\"},\"per_user_cap\":2},"
        "{\"sku\":\"pho\",\"stock\":6}]}";
    struct ps_faults faults = {0};
    struct cfg_sale_doc doc;
    json_t *json = NULL;
    sale_state.version = 4;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    assert_ok(
        sale_doc_read(json, &(struct cfg_reading){.name = name, .pointer = ""}, &doc, &faults));
    if (draft)
        doc.opens_at_ms = INT64_MAX;
    assert_ok(snap_view_put_sale(view, name, &doc, &sale_state));
    sale_doc_done(&doc);
    json_decref(json);
}

/* `of` NULL: no twin. */
static void put_twin(const char *name, const char *of, int64_t created_at_ms)
{
    static const char text[] = "{\"rehearsal\":true,\"skus\":[{\"sku\":\"a\",\"stock\":1}]}";
    const struct cfg_sale_state sale_state = {.created_at_ms = created_at_ms};
    struct ps_faults faults = {0};
    struct cfg_sale_doc doc;
    json_t *json = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    assert_ok(
        sale_doc_read(json, &(struct cfg_reading){.name = name, .pointer = ""}, &doc, &faults));
    (void)snprintf(doc.twin_of, sizeof doc.twin_of, "%s", of != NULL ? of : "");
    assert_ok(snap_view_put_sale(view, name, &doc, &sale_state));
    sale_doc_done(&doc);
    json_decref(json);
}

/* "" = none */
static const char *twin_of(const char *name)
{
    const struct snap_sale *sale = snapshot_twin(snapshot, name, strlen(name));
    return sale != NULL ? sale->name : "";
}

static const struct snap_sale *find(const char *name)
{
    return snapshot_sale(snapshot, name, strlen(name));
}

static const struct snap_sale *sale_of(const char *name)
{
    put_sale(name, (struct cfg_sale_state){0}, false);
    publish();
    return find(name);
}

static void a_sale_shows_its_document(void **state)
{
    (void)state;
    const struct snap_sale *sale = sale_of("spring");
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
    assert_ok(snap_sale_sku(sale, "pho", 3, &sku));
    assert_int_equal(sku, 1);
    assert_int_equal(snap_sale_sku(sale, "phone", 4, &sku), PS_E_NOT_FOUND);
    assert_int_equal(snap_sale_sku(sale, "phones", 6, &sku), PS_E_NOT_FOUND);
    assert_int_equal(snap_sale_sku(sale, "", 0, &sku), PS_E_NOT_FOUND);
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
    struct oq_fold *fold = NULL;
    uint32_t sku = 9;
    assert_ok(oq_fold_new(&fold));
    adjust(fold, 1, "pho");
    adjust(fold, 2, "phone");
    (void)sale_of("spring");
    assert_ok(snap_view_set_run(
        view, "spring", &(struct snap_sale_run){.log_sale = oq_fold_sale(fold, "spring", 6)}));
    publish();
    const struct snap_sale *sale = find("spring");
    assert_ok(snap_sale_sku(sale, "pho", 3, &sku));
    assert_int_equal(sku, 0);
    assert_ok(snap_sale_sku(sale, "phone", 5, &sku));
    assert_int_equal(sku, 1);
    assert_int_equal(sale->skus[1].cap, 2);
    oq_fold_free(fold);
}

static void what_did_not_change_is_shared(void **state)
{
    (void)state;
    put_sale("autumn", (struct cfg_sale_state){0}, false);
    const struct snap_sale *spring = sale_of("spring"), *autumn = find("autumn");
    const struct adm_limit_set *limits = snapshot->limits;
    const struct adm_blocklist *blocklist = snapshot->blocklist;
    uint32_t index = spring->index;
    assert_ok(adm_blocklist_user(snap_view_blocklist(view), "bob", INT64_MAX));
    publish();
    assert_ptr_equal(find("spring"), spring);
    assert_ptr_equal(snapshot->limits, limits);
    assert_ptr_not_equal(snapshot->blocklist, blocklist);
    assert_ok(snap_view_set_run(view, "spring", &(struct snap_sale_run){.epoch = 3}));
    assert_ok(snap_view_set_run(view, "autumn", &(struct snap_sale_run){0})); /* nothing new */
    publish();
    assert_ptr_equal(find("autumn"), autumn);
    assert_int_equal(find("spring")->epoch, 3);
    assert_int_equal(find("spring")->index, index);
    assert_ok(snap_view_put_sale(view, "spring", NULL, NULL));
    put_sale("winter", (struct cfg_sale_state){0}, false);
    publish();
    assert_null(find("spring"));
    assert_int_equal(find("winter")->index, index);
    assert_int_equal(snapshot->index_end, 2);
}

static void a_sale_opens_and_closes_at_its_millisecond(void **state)
{
    (void)state;
    const struct snap_sale *sale = sale_of("spring");
    assert_int_equal(snap_sale_phase(sale, OPENS - 1), CFG_PHASE_SCHEDULED);
    assert_int_equal(snap_sale_phase(sale, OPENS), CFG_PHASE_OPEN);
    assert_int_equal(snap_sale_phase(sale, CLOSES - 1), CFG_PHASE_OPEN);
    assert_int_equal(snap_sale_phase(sale, CLOSES), CFG_PHASE_ENDED);
}

static void pause_and_end_are_stronger_than_the_clock(void **state)
{
    (void)state;
    const struct snap_sale *sale = sale_of("spring");
    put_sale("spring", (struct cfg_sale_state){.paused = true}, false);
    publish();
    sale = find("spring");
    assert_int_equal(snap_sale_phase(sale, OPENS - 1), CFG_PHASE_SCHEDULED);
    assert_int_equal(snap_sale_phase(sale, OPENS), CFG_PHASE_PAUSED);
    assert_int_equal(snap_sale_phase(sale, CLOSES), CFG_PHASE_ENDED);
    put_sale("spring", (struct cfg_sale_state){.paused = true, .ended = true}, false);
    publish();
    sale = find("spring");
    assert_int_equal(snap_sale_phase(sale, OPENS - 1), CFG_PHASE_ENDED);
}

static void a_draft_never_opens(void **state)
{
    (void)state;
    put_sale("spring", (struct cfg_sale_state){0}, true);
    publish();
    assert_true(find("spring")->draft);
    assert_int_equal(snap_sale_phase(find("spring"), CLOSES + 1), CFG_PHASE_SCHEDULED);
}

static void every_sale_is_found_by_its_name_and_no_other(void **state)
{
    (void)state;
    static const char *const names[] = {"spring", "a", "autumn", "spring-2", "Spring", "sprin"};
    bool used[PS_ARRAY_LEN(names)] = {false};
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        put_sale(names[i], (struct cfg_sale_state){0}, false);
    publish();
    assert_int_equal(snapshot->revision, 7);
    assert_int_equal(snapshot->sale_count, PS_ARRAY_LEN(names));
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        const struct snap_sale *found = find(names[i]);
        assert_non_null(found);
        assert_string_equal(found->name, names[i]);
        assert_true(found->index < snapshot->index_end && !used[found->index]);
        used[found->index] = true;
    }
    for (size_t i = 1; i < snapshot->sale_count; i++)
        assert_true(strcmp(snapshot->sales[i - 1]->name, snapshot->sales[i]->name) < 0);
    assert_null(snapshot_sale(snapshot, "spring", 3));
    assert_null(snapshot_sale(snapshot, "winter", 6));
    assert_null(snapshot_sale(snapshot, "", 0));
    assert_null(snapshot_sale(snapshot, "a\0b", 3));
}

static void a_rehearsal_gets_the_newest_twin_and_nothing_that_is_none(void **state)
{
    (void)state;
    publish();
    assert_string_equal(twin_of("spring"), "");
    put_twin("alone", NULL, 1);
    put_twin("spring", NULL, 1);
    put_twin("spring-r1", "spring", 10);
    put_twin("spring-r3", "spring", 30);
    put_twin("spring-r2", "spring", 20);
    put_twin("autumn-r", "autumn", 5);
    publish();
    assert_string_equal(twin_of("spring"), "spring-r3");
    assert_string_equal(twin_of("autumn"), "autumn-r"); /* its sale is not there */
    assert_string_equal(twin_of("alone"), "");
    assert_string_equal(twin_of("sprin"), "");
    assert_string_equal(twin_of("spring-r1"), "spring-r1"); /* by its own name */
    assert_true(snap_sale_is_twin(find("spring-r1")));
    assert_false(snap_sale_is_twin(find("spring")));
    assert_ok(snap_view_put_sale(view, "spring-r3", NULL, NULL)); /* deleted */
    put_twin("spring-r2", "spring", 20);                          /* changed */
    publish();
    assert_string_equal(twin_of("spring"), "spring-r2");
    put_twin("spring-r9", "spring", 20); /* two gateways made one in the same millisecond */
    publish();
    assert_string_equal(twin_of("spring"), "spring-r9");
    for (size_t i = 0; i < 3; i++)
        assert_ok(snap_view_put_sale(
            view, (const char *const[]){"spring-r1", "spring-r2", "spring-r9"}[i], NULL, NULL));
    publish();
    assert_string_equal(twin_of("spring"), "");
    assert_string_equal(twin_of("autumn"), "autumn-r");
}

static void keys_of_rehearsals_are_found_until_their_end(void **state)
{
    const struct cfg_rehearsal_keys keys = {
        .count = 2,
        .at = {{.name = "k-1", .until_ms = 1000, .secret = {1}},
               {.name = "k-12", .until_ms = 2000, .secret = {2}}}};

    (void)state;
    snap_view_set_rehearsal_keys(view, &keys);
    publish();
    const struct cfg_rehearsal_keys *there = &snapshot->rehearsal_keys;
    assert_int_equal(cfg_rehearsal_key_find(there, str("k-1"), 999)->secret[0], 1);
    assert_int_equal(cfg_rehearsal_key_find(there, str("k-12"), 999)->secret[0], 2);
    assert_null(cfg_rehearsal_key_find(there, str("k-1"), 1000));
    assert_null(cfg_rehearsal_key_find(there, str("k-2"), 0));
    assert_null(cfg_rehearsal_key_find(there, str(""), 0));
}

static void rules_stand_beside_what_admission_made_of_them(void **state)
{
    (void)state;
    const struct cfg_limit_rule rule = {.name = "user",
                                        .algorithm = CFG_LIMIT_TOKEN_BUCKET,
                                        .rate = 5,
                                        .period_s = 10,
                                        .burst = 5,
                                        .applies_to = CFG_LIMIT_ORDER};
    assert_ok(snap_view_set_rules(view, &rule, 1));
    publish();
    const struct adm_limit_rule *compiled = snapshot->limits->compiled;
    assert_int_equal(snapshot->limits->count, 1);
    assert_string_equal(snapshot->limits->rules[0].name, "user");
    assert_int_equal(compiled[0].own.rate, 5);
    assert_int_equal(compiled[0].wide.rate, 80);
}

/* An empty one, with a second reference by which the test sees when the first goes. */
static struct up_table *new_up_table(void)
{
    struct up_table *pages = calloc(1, sizeof *pages);
    assert_non_null(pages);
    atomic_init(&pages->refs, 1);
    return up_table_keep(pages);
}

static unsigned references(struct up_table *pages)
{
    return atomic_load(&pages->refs);
}

static void pages_are_shared_until_they_change_and_go_with_the_last_snapshot(void **state)
{
    struct up_table *first = new_up_table(), *unseen = new_up_table(), *second = new_up_table();
    (void)state;
    snap_view_set_up_table(view, first);
    publish();
    assert_ptr_equal(snapshot->up_table, first);
    assert_ok(snap_view_set_rules(view, NULL, 0));
    publish();
    assert_ptr_equal(snapshot->up_table, first);
    assert_int_equal(references(first), 2);
    snap_view_set_up_table(view, unseen);
    snap_view_set_up_table(view, second); /* before the other one was published */
    assert_int_equal(references(unseen), 1);
    assert_int_equal(references(first), 2);
    publish();
    assert_ptr_equal(snapshot->up_table, second);
    assert_int_equal(references(first), 1);
    snapshot_free(snapshot);
    snapshot = NULL;
    assert_int_equal(references(second), 1);
    up_table_drop(first);
    up_table_drop(unseen);
    up_table_drop(second);
}

static void a_snapshot_may_be_empty(void **state)
{
    (void)state;
    publish();
    assert_null(find("spring"));
    assert_int_equal(snapshot->limits->count, 0);
    snapshot_free(NULL);
}

static struct adm_blocklist *new_list(void)
{
    struct adm_blocklist *list = NULL;
    assert_ok(adm_blocklist_new(&list));
    return list;
}

static void put_user(struct adm_blocklist *list, const char *user, int64_t until_ms)
{
    assert_ok(adm_blocklist_user(list, user, until_ms));
}

static void put_range(struct adm_blocklist *list, const char *text, int64_t until_ms)
{
    struct ps_cidr range;
    assert_ok(ps_cidr_parse(text, strlen(text), &range));
    assert_ok(adm_blocklist_range(list, &range, until_ms));
}

static bool blocked(const struct adm_blocklist *list, const char *user, const char *address,
                    int64_t now)
{
    struct ps_address parsed;
    assert_ok(ps_address_parse(address, strlen(address), false, &parsed));
    return adm_blocklist_has(list, str(user), &parsed, now);
}

static void blocked_users_and_ranges_are_refused_until_their_end(void **state)
{
    (void)state;
    struct adm_blocklist *list = new_list();
    put_user(list, "bob", 500);
    put_user(list, "eve", INT64_MAX);
    put_user(list, "bob", 1000); /* in its place */
    put_range(list, "203.0.113.0/24", 1000);
    put_range(list, "198.51.100.7", INT64_MAX);
    put_range(list, "2001:db8::/33", INT64_MAX);
    put_range(list, "10.0.0.0/9", INT64_MAX);
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
    adm_blocklist_free(list);
}

static void a_range_of_one_family_blocks_nobody_of_the_other(void **state)
{
    (void)state;
    struct adm_blocklist *list = new_list();
    put_range(list, "::/0", 10);
    put_range(list, "::/8", 10);
    assert_false(blocked(list, "", "192.0.2.1", 0));
    assert_true(blocked(list, "", "2001:db8::1", 0));
    adm_blocklist_free(list);
    list = new_list();
    put_range(list, "0.0.0.0/0", 10);
    assert_true(blocked(list, "", "192.0.2.1", 0));
    assert_false(blocked(list, "", "2001:db8::1", 0));
    adm_blocklist_free(list);
}

static const char *user(int number)
{
    static char name[32];
    (void)snprintf(name, sizeof name, "user-%d", number);
    return name;
}

static void a_long_blocklist_finds_each_entry(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct adm_blocklist *list = new_list();
    char text[64];
    for (int i = 0; i < COUNT; i++) {
        put_user(list, user(i), INT64_MAX);
        (void)snprintf(text, sizeof text, "10.%d.%d.0/24", i / 256, i % 256);
        put_range(list, text, INT64_MAX);
    }
    for (int i = 0; i < COUNT + 100; i++) {
        assert_int_equal(blocked(list, user(i), "192.0.2.1", 0), i < COUNT);
        (void)snprintf(text, sizeof text, "10.%d.%d.9", i / 256, i % 256);
        assert_int_equal(blocked(list, "", text, 0), i < COUNT);
    }
    adm_blocklist_free(list);
}

static void entries_that_go_hide_no_others(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    struct adm_blocklist *list = new_list();
    for (int i = 0; i < COUNT; i++)
        put_user(list, user(i), INT64_MAX);
    for (int i = 0; i < COUNT; i += 3)
        put_user(list, user(i), 0);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(blocked(list, user(i), "192.0.2.1", 0), i % 3 != 0);
    adm_blocklist_free(list);
}

static void a_frozen_list_stays_as_it_was(void **state)
{
    (void)state;
    struct adm_blocklist *list = new_list();
    put_user(list, "bob", INT64_MAX);
    put_range(list, "10.0.0.0/9", INT64_MAX);
    struct adm_blocklist *frozen = adm_blocklist_freeze(list);
    assert_non_null(frozen);
    put_user(list, "bob", 0);
    put_user(list, "eve", INT64_MAX);
    put_range(list, "10.0.0.0/9", 0);
    put_range(list, "10.0.0.0/9", 0); /* which is not there any more */
    assert_true(blocked(frozen, "bob", "192.0.2.1", 0));
    assert_false(blocked(frozen, "eve", "192.0.2.1", 0));
    assert_true(blocked(frozen, "", "10.0.0.1", 0));
    assert_false(blocked(list, "bob", "192.0.2.1", 0));
    assert_true(blocked(list, "eve", "192.0.2.1", 0));
    assert_false(blocked(list, "", "10.0.0.1", 0));
    adm_blocklist_free(list);
    assert_true(blocked(frozen, "bob", "192.0.2.1", 0));
    adm_blocklist_free(frozen);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sale_shows_its_document),
        TEST(skus_take_the_places_that_the_log_gave_them),
        TEST(a_sale_opens_and_closes_at_its_millisecond),
        TEST(pause_and_end_are_stronger_than_the_clock),
        TEST(a_draft_never_opens),
        TEST(every_sale_is_found_by_its_name_and_no_other),
        TEST(a_rehearsal_gets_the_newest_twin_and_nothing_that_is_none),
        TEST(keys_of_rehearsals_are_found_until_their_end),
        TEST(rules_stand_beside_what_admission_made_of_them),
        TEST(what_did_not_change_is_shared),
        TEST(pages_are_shared_until_they_change_and_go_with_the_last_snapshot),
        TEST(a_snapshot_may_be_empty),
        TEST(blocked_users_and_ranges_are_refused_until_their_end),
        TEST(a_range_of_one_family_blocks_nobody_of_the_other),
        TEST(a_long_blocklist_finds_each_entry),
        TEST(entries_that_go_hide_no_others),
        TEST(a_frozen_list_stays_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
