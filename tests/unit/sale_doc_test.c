/* Sale documents: what is read, what is refused, and what may change. */
#include "tests/unit/check.h"
#include "tests/unit/sale_documents.h"

#include <stdio.h>
#include <stdlib.h>

#define OPENS  INT64_C(1920643200000) /* 2030-11-11T16:00:00Z */
#define CLOSES (OPENS + 3600000)

static const char full[] =
    "{\"sale\":\"spring\",\"opens_at\":\"2030-11-12T00:00:00+08:00\","
    "\"closes_at\":\"2030-11-11T17:00:00Z\",\"per_user_cap\":2,\"reservation_ttl_s\":600,"
    "\"rehearsal\":true,\"attributes\":{\"title\":\"Spring \xe6\x98\xa5\"},"
    "\"skus\":[{\"sku\":\"phone\",\"stock\":100,\"price\":{\"amount\":\"9.90\",\"currency\":"
    "\"CNY\"},\"per_user_cap\":1,\"attributes\":{\"weight\":9.9}},{\"sku\":\"case\",\"stock\":0}]}";

static int read_text(const char *text, struct cfg_sale_doc *doc, struct ps_faults *faults)
{
    json_t *json = NULL;
    *faults = (struct ps_faults){0};
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    int err =
        sale_doc_read(json, &(struct cfg_reading){.name = "spring", .pointer = ""}, doc, faults);
    json_decref(json);
    return err;
}

static char *text_of(const struct cfg_sale_doc *doc)
{
    json_t *json = ps_table_print(&cfg_sale_table, doc);
    char *text = json_dumps(json, CFG_JSON_FLAGS);
    json_decref(json);
    return text;
}

static struct cfg_sale_doc doc_of(const char *text)
{
    struct cfg_sale_doc doc;
    struct ps_faults faults;
    assert_ok(read_text(text, &doc, &faults));
    return doc;
}

/* The text is refused, at this place, in these words. */
static void refused(const char *text, const char *path, const char *words)
{
    struct cfg_sale_doc doc;
    struct ps_faults faults;
    assert_int_equal(read_text(text, &doc, &faults), PS_E_INVALID);
    assert_int_equal(faults.count, 1);
    assert_string_equal(faults.at[0].path, path);
    if (strstr(faults.at[0].text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", faults.at[0].text, words);
}

static void a_whole_document_is_read(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of(full);
    assert_int_equal(doc.opens_at_ms, OPENS);
    assert_int_equal(doc.closes_at_ms, CLOSES);
    assert_int_equal(doc.cap, 2);
    assert_int_equal(doc.ttl_s, 600);
    assert_true(doc.rehearsal);
    assert_int_equal(doc.sku_count, 2);
    assert_string_equal(doc.skus[0].name, "phone");
    assert_int_equal(doc.skus[0].stock, 100);
    assert_int_equal(doc.skus[0].cap, 1);
    assert_string_equal(doc.skus[0].amount, "9.90");
    assert_string_equal(doc.skus[0].currency, "CNY");
    assert_int_equal(doc.skus[1].cap, 0);
    assert_string_equal(doc.skus[1].amount, "");
    sale_doc_done(&doc);
}

static void a_short_document_has_the_defaults(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of("{\"opens_at\":null,\"skus\":[{\"sku\":\"a\",\"stock\":"
                                     "9007199254740991,\"price\":null,\"per_user_cap\":null}]}");
    assert_int_equal(doc.opens_at_ms, INT64_MAX);
    assert_int_equal(doc.closes_at_ms, INT64_MAX);
    assert_int_equal(doc.cap, 1);
    assert_int_equal(doc.ttl_s, 900);
    assert_false(doc.rehearsal);
    assert_int_equal(doc.skus[0].stock, PS_INT_MAX);
    sale_doc_done(&doc);
}

static void what_is_written_reads_back_the_same(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of(full);
    char *text = text_of(&doc);
    assert_non_null(strstr(text, "\"weight\":9.9}"));
    struct cfg_sale_doc again = doc_of(text);
    assert_true(ps_table_same(&cfg_sale_table, &doc, &again));
    free(text);
    sale_doc_done(&doc);
    sale_doc_done(&again);
}

static void a_twin_names_the_sale_that_it_rehearses(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of("{\"rehearsal\":true,\"twin_of\":\"winter\",\"skus\":["
                                     "{\"sku\":\"a\",\"stock\":1}]}");
    char *text = text_of(&doc);
    struct cfg_sale_doc again = doc_of(text), other = doc_of(full);
    assert_string_equal(doc.twin_of, "winter");
    assert_true(ps_table_same(&cfg_sale_table, &doc, &again));
    assert_non_null(strstr(text, "\"twin_of\":\"winter\""));
    free(text);
    text = text_of(&other); /* no twin does not speak of it */
    assert_null(strstr(text, "twin_of"));
    free(text);
    sale_doc_done(&doc);
    sale_doc_done(&again);
    sale_doc_done(&other);
}

#define SKUS ",\"skus\":[{\"sku\":\"a\",\"stock\":1}]}"

static void every_bad_member_is_named(void **state)
{
    (void)state;
    refused("[]", "", "object");
    refused("{}", "/skus", "missing");
    refused("{\"skus\":[]}", "/skus", "1 to 100 entries");
    refused("{\"skus\":{}}", "/skus", "array");
    refused("{\"skus\":[1]}", "/skus/0", "object");
    refused("{\"skus\":[{\"stock\":1}]}", "/skus/0/sku", "missing");
    refused("{\"skus\":[{\"sku\":\"a\"}]}", "/skus/0/stock", "missing");
    refused("{\"skus\":[{\"sku\":\"-a\",\"stock\":1}]}", "/skus/0/sku", "name");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":-1}]}", "/skus/0/stock", "between 0");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":9007199254740992}]}", "/skus/0/stock", "between");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1},{\"sku\":\"a\",\"stock\":1}]}", "/skus/1",
            "entry 0");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"per_user_cap\":0}]}", "/skus/0/per_user_cap",
            "between 1");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"stok\":2}]}", "/skus/0/stok", "\"stock\"");
    refused("{\"sale\":\"summer\"" SKUS, "/sale", "\"summer\"");
    refused("{\"open_at\":null" SKUS, "/open_at", "\"opens_at\"");
    refused("{\"opens_at\":\"2030-11-11T10:00:00\"" SKUS, "/opens_at", "offset");
    refused("{\"opens_at\":\"2030-11-11T10:00:00Z\",\"closes_at\":\"2030-11-11T10:00:00Z\"" SKUS,
            "/closes_at", "later");
    refused("{\"per_user_cap\":0" SKUS, "/per_user_cap", "between 1");
    refused("{\"reservation_ttl_s\":4" SKUS, "/reservation_ttl_s", "between 5 and 604800");
    refused("{\"reservation_ttl_s\":604801" SKUS, "/reservation_ttl_s", "between");
    refused("{\"ticket\":false" SKUS, "/ticket", "unknown");
    refused("{\"twin_of\":\"winter\"" SKUS, "/twin_of", "rehearsal");
    refused("{\"twin_of\":7,\"rehearsal\":true" SKUS, "/twin_of", "name");
    refused("{\"twin_of\":\"a b\",\"rehearsal\":true" SKUS, "/twin_of", "name");
    refused("{\"twin_of\":\"spring\",\"rehearsal\":true" SKUS, "/twin_of", "itself");
    refused("{\"attributes\":[]" SKUS, "/attributes", "object");
    refused("{\"state\":\"open\"" SKUS, "/state", "read-only");
    refused("{\"refused\":\"why\"" SKUS, "/refused", "read-only");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"held\":0}]}", "/skus/0/held", "read-only");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"in_doubt\":0}]}", "/skus/0/in_doubt",
            "read-only");
}

static void all_faults_are_told_at_once(void **state)
{
    (void)state;
    static const char *const paths[] = {"/opens_at",     "/per_user_cap",
                                        "/skus/0/stock", "/skus/0/price/currency",
                                        "/skus/1/sku",   "/colour"};
    struct cfg_sale_doc doc;
    struct ps_faults faults;
    assert_int_equal(
        read_text("{\"opens_at\":1,\"per_user_cap\":0,\"colour\":1,\"skus\":[{\"sku\":\"a\","
                  "\"stock\":-1,\"price\":{\"amount\":\"1\",\"currency\":\"eur\"}},{\"sku\":1,"
                  "\"stock\":1}]}",
                  &doc, &faults),
        PS_E_INVALID);
    assert_int_equal(faults.count, PS_ARRAY_LEN(paths));
    for (size_t i = 0; i < PS_ARRAY_LEN(paths); i++)
        assert_string_equal(faults.at[i].path, paths[i]);
}

static void prices_are_decimal_strings(void **state)
{
    (void)state;
    static const char *const good[] = {"0", "9", "9.90", "0.01", "123456789012345678.123456"};
    static const char *const bad[] = {
        "", "9.", ".9", "09", "-1", "1e3", "9,90", "1234567890123456789", "1.1234567"};
    char text[256];
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++) {
        (void)snprintf(text, sizeof text,
                       "{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"price\":{\"amount\":\"%s\","
                       "\"currency\":\"EUR\"}}]}",
                       good[i]);
        struct cfg_sale_doc doc = doc_of(text);
        assert_string_equal(doc.skus[0].amount, good[i]);
        sale_doc_done(&doc);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        (void)snprintf(text, sizeof text,
                       "{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"price\":{\"amount\":\"%s\","
                       "\"currency\":\"EUR\"}}]}",
                       bad[i]);
        refused(text, "/skus/0/price/amount", "");
    }
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"price\":{\"amount\":\"1\",\"currency\":"
            "\"eur\"}}]}",
            "/skus/0/price/currency", "capital");
    refused("{\"skus\":[{\"sku\":\"a\",\"stock\":1,\"price\":{\"amount\":\"1\"}}]}",
            "/skus/0/price/currency", "missing");
}

static void attributes_have_at_most_2048_bytes(void **state)
{
    (void)state;
    char text[4096], filler[2049] = {0};
    for (size_t size = 2048; size <= 2049; size++) {
        memset(filler, 'x', size - strlen("{\"a\":\"\"}"));
        (void)snprintf(text, sizeof text, "{\"attributes\":{ \"a\" : \"%s\"}" SKUS, filler);
        if (size == 2048) {
            struct cfg_sale_doc doc = doc_of(text);
            sale_doc_done(&doc);
        } else {
            refused(text, "/attributes", "2049 bytes");
        }
    }
}

/* Else a restart, or another gateway, would find another document than was taken here. */
static void numbers_in_attributes_are_those_that_are_written_down(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of("{\"attributes\":{\"a\":9.9,\"b\":0.12345678901234567,\"c\":"
                                     "-2.5e-310,\"d\":9223372036854775807}" SKUS);
    char *text = text_of(&doc);
    struct cfg_sale_doc again = doc_of(text);

    assert_non_null(strstr(text, "\"a\":9.9,\"b\":0.123456789012346,"));
    assert_true(ps_table_same(&cfg_sale_table, &doc, &again));
    free(text);
    sale_doc_done(&doc);
    sale_doc_done(&again);
    /* With the 15 digits that are written it is beyond what can be read. */
    refused("{\"attributes\":{\"a\":1.7976931348623157e308}" SKUS, "/attributes", "too large");
}

/* Read as an operator's at this moment, in the place of `have` (NULL: a new sale). */
static int read_now(const char *text, int64_t now_ms, const struct cfg_stored_sale *have,
                    struct cfg_sale_doc *doc, struct ps_faults *faults)
{
    const struct cfg_doc had = {.parsed = (void *)(uintptr_t)have};
    const struct cfg_reading reading = {
        .name = "spring", .pointer = "", .now_ms = now_ms, .have = have != NULL ? &had : NULL};
    json_t *json = NULL;

    *faults = (struct ps_faults){0};
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    int err = sale_doc_read(json, &reading, doc, faults);
    json_decref(json);
    return err;
}

static void an_opening_long_ago_must_be_meant(void **state)
{
    static const char past[] = "{\"opens_at\":\"2030-11-11T16:00:00Z\"" SKUS;
    static const char meant[] = "{\"open\":true,\"opens_at\":\"2030-11-11T16:00:00Z\"" SKUS;
    static const char closed[] = "{\"opens_at\":\"2030-11-11T16:00:00Z\","
                                 "\"closes_at\":\"2030-11-11T16:00:01Z\"" SKUS;
    struct cfg_stored_sale have = {.doc = {.opens_at_ms = OPENS}};
    struct cfg_sale_doc doc;
    struct ps_faults faults;
    (void)state;

    assert_ok(read_now(past, OPENS + CFG_SALE_PAST_MS, NULL, &doc, &faults));
    sale_doc_done(&doc);
    assert_int_equal(read_now(past, OPENS + CFG_SALE_PAST_MS + 1, NULL, &doc, &faults),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "/opens_at");
    assert_non_null(strstr(faults.at[0].text, "\"open\":true"));
    assert_ok(read_now(past, OPENS + CFG_SALE_PAST_MS + 1, &have, &doc, &faults)); /* no change */
    sale_doc_done(&doc);
    have.doc.opens_at_ms = OPENS + 1;
    assert_int_equal(read_now(past, OPENS + CFG_SALE_PAST_MS + 1, &have, &doc, &faults),
                     PS_E_INVALID);
    assert_ok(read_now(meant, OPENS + CFG_SALE_PAST_MS + 1, NULL, &doc, &faults));
    assert_int_equal(doc.opens_at_ms, OPENS);
    sale_doc_done(&doc);
    assert_int_equal(read_now(meant, OPENS - 1, NULL, &doc, &faults), PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "/open");
    /* It opens nothing. */
    assert_ok(read_now(closed, OPENS + CFG_SALE_PAST_MS + 1, NULL, &doc, &faults));
    sale_doc_done(&doc);
}

static void open_alone_opens_now_and_once(void **state)
{
    static const char text[] = "{\"open\":true" SKUS;
    const struct cfg_stored_sale open = {.doc = {.opens_at_ms = OPENS - 5}},
                                 scheduled = {.doc = {.opens_at_ms = OPENS + 5}};
    struct cfg_sale_doc doc;
    struct ps_faults faults;
    (void)state;

    assert_ok(read_now(text, OPENS, NULL, &doc, &faults));
    assert_int_equal(doc.opens_at_ms, OPENS);
    sale_doc_done(&doc);
    assert_ok(read_now(text, OPENS, &scheduled, &doc, &faults));
    assert_int_equal(doc.opens_at_ms, OPENS);
    sale_doc_done(&doc);
    assert_ok(read_now(text, OPENS, &open, &doc, &faults));
    assert_int_equal(doc.opens_at_ms, OPENS - 5);
    sale_doc_done(&doc);
    refused(text, "/open", "part of a change only"); /* a stored document */
}

static void a_sale_has_at_most_100_skus(void **state)
{
    (void)state;
    json_t *skus = json_array();
    for (int i = 0; i < 100; i++)
        json_array_append_new(skus,
                              json_pack("{s:o, s:i}", "sku", json_sprintf("s%d", i), "stock", i));
    json_t *json = json_pack("{s:o}", "skus", skus);
    struct cfg_sale_doc doc;
    struct ps_faults faults = {0};
    assert_ok(
        sale_doc_read(json, &(struct cfg_reading){.name = "spring", .pointer = ""}, &doc, &faults));
    sale_doc_done(&doc);
    json_array_append_new(skus, json_pack("{s:s, s:i}", "sku", "s100", "stock", 1));
    assert_int_equal(sale_doc_read(json,
                                   &(struct cfg_reading){.name = "spring", .pointer = "/sales/3"},
                                   &doc, &faults),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "/sales/3/skus");
    json_decref(json);
}

/* Changes the member of a copy of `full` and asks whether that may be. `member` begins with
 * "skus/0/" for the first SKU's. CFG_MAY = it may. */
static enum cfg_refusal may_change(const char *member, json_t *value,
                                   struct cfg_sale_state sale_state, int64_t wall_ms)
{
    json_t *json = NULL;
    struct cfg_sale_doc from = doc_of(full), to;
    assert_ok(ps_json_parse(full, strlen(full), &json, NULL));
    json_t *object = json;
    if (strncmp(member, "skus/0/", 7) == 0) {
        object = json_array_get(json_object_get(json, "skus"), 0);
        member += 7;
    }
    json_object_set_new(object, member, value);
    struct ps_faults faults = {0};
    assert_ok(
        sale_doc_read(json, &(struct cfg_reading){.name = "spring", .pointer = ""}, &to, &faults));
    enum cfg_refusal code = cfg_sale_doc_change(&from, &to, &sale_state, wall_ms, "", &faults);
    assert_int_equal(faults.count, code != CFG_MAY);
    json_decref(json);
    sale_doc_done(&from);
    sale_doc_done(&to);
    return code;
}

static void what_may_change_depends_on_how_far_the_sale_is(void **state)
{
    (void)state;
    const struct cfg_sale_state before = {.version = 1}, opened = {.version = 2, .opened = true},
                                ended = {.version = 3, .opened = true, .ended = true},
                                cancelled = {.version = 2, .ended = true};
    const struct {
        const char *member;
        const char *value;
        enum cfg_refusal code[4]; /* before, opened, ended, ended without an opening */
    } rows[] = {
        {"opens_at", "\"2030-11-11T16:30:00Z\"", {CFG_MAY, CFG_CONFLICT, CFG_CONFLICT, CFG_ENDED}},
        {"closes_at", "\"2030-11-11T18:00:00Z\"", {CFG_MAY, CFG_MAY, CFG_ENDED, CFG_ENDED}},
        {"per_user_cap", "3", {CFG_MAY, CFG_MAY, CFG_ENDED, CFG_ENDED}},
        {"reservation_ttl_s", "60", {CFG_MAY, CFG_MAY, CFG_ENDED, CFG_ENDED}},
        {"rehearsal", "false", {CFG_CONFLICT, CFG_CONFLICT, CFG_CONFLICT, CFG_CONFLICT}},
        {"twin_of", "\"winter\"", {CFG_CONFLICT, CFG_CONFLICT, CFG_CONFLICT, CFG_CONFLICT}},
        {"attributes", "{}", {CFG_MAY, CFG_MAY, CFG_MAY, CFG_MAY}},
        {"skus/0/sku", "\"tablet\"", {CFG_MAY, CFG_CONFLICT, CFG_CONFLICT, CFG_ENDED}},
        {"skus/0/stock", "99", {CFG_MAY, CFG_USE_ADJUST, CFG_USE_ADJUST, CFG_ENDED}},
        {"skus/0/per_user_cap", "null", {CFG_MAY, CFG_MAY, CFG_ENDED, CFG_ENDED}},
        {"skus/0/price", "null", {CFG_MAY, CFG_MAY, CFG_MAY, CFG_MAY}},
        {"skus/0/attributes", "{}", {CFG_MAY, CFG_MAY, CFG_MAY, CFG_MAY}},
        {"skus",
         "[{\"sku\":\"phone\",\"stock\":100}]",
         {CFG_MAY, CFG_CONFLICT, CFG_CONFLICT, CFG_ENDED}},
    };
    const struct cfg_sale_state states[] = {before, opened, ended, cancelled};
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        for (size_t j = 0; j < 4; j++) {
            json_t *value = json_loads(rows[i].value, JSON_DECODE_ANY, NULL);
            enum cfg_refusal code = may_change(rows[i].member, value, states[j], OPENS + 1);
            if (code != rows[i].code[j])
                fail_msg("%s, state %zu: %d", rows[i].member, j, (int)code);
        }
    }
}

static void a_window_that_was_used_does_not_come_back(void **state)
{
    (void)state;
    const struct cfg_sale_state opened = {.version = 2, .opened = true}, unopened = {.version = 1};
    json_t *later = json_string("2030-11-12T18:00:00Z");
    assert_int_equal(may_change("closes_at", json_incref(later), opened, CLOSES - 1), CFG_MAY);
    assert_int_equal(may_change("closes_at", json_incref(later), opened, CLOSES), CFG_ENDED);
    assert_int_equal(may_change("closes_at", json_incref(later), unopened, CLOSES), CFG_MAY);
    json_decref(later);
}

static void the_state_follows_from_clock_and_flags(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of(full);
    struct cfg_sale_state s = {.version = 1};
    assert_string_equal(cfg_sale_state_name(&doc, &s, OPENS - 1), "scheduled");
    assert_string_equal(cfg_sale_state_name(&doc, &s, OPENS), "open");
    assert_string_equal(cfg_sale_state_name(&doc, &s, CLOSES - 1), "open");
    assert_string_equal(cfg_sale_state_name(&doc, &s, CLOSES), "ended");
    s.paused = true;
    assert_string_equal(cfg_sale_state_name(&doc, &s, OPENS), "paused");
    assert_string_equal(cfg_sale_state_name(&doc, &s, CLOSES), "ended");
    s.ended = true;
    assert_string_equal(cfg_sale_state_name(&doc, &s, OPENS), "ended");
    s = (struct cfg_sale_state){.version = 1};
    doc.opens_at_ms = INT64_MAX;
    assert_string_equal(cfg_sale_state_name(&doc, &s, OPENS), "draft");
    sale_doc_done(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_document_is_read),
        cmocka_unit_test(a_short_document_has_the_defaults),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(a_twin_names_the_sale_that_it_rehearses),
        cmocka_unit_test(every_bad_member_is_named),
        cmocka_unit_test(all_faults_are_told_at_once),
        cmocka_unit_test(prices_are_decimal_strings),
        cmocka_unit_test(attributes_have_at_most_2048_bytes),
        cmocka_unit_test(numbers_in_attributes_are_those_that_are_written_down),
        cmocka_unit_test(an_opening_long_ago_must_be_meant),
        cmocka_unit_test(open_alone_opens_now_and_once),
        cmocka_unit_test(a_sale_has_at_most_100_skus),
        cmocka_unit_test(what_may_change_depends_on_how_far_the_sale_is),
        cmocka_unit_test(a_window_that_was_used_does_not_come_back),
        cmocka_unit_test(the_state_follows_from_clock_and_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
