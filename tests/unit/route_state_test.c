/* What becomes of a route beside its document: a split that was taken back stays so until its
 * element is another one, and an operator's order goes with the document. */
#include "tests/unit/check.h"

#include "gateway/config/kinds/route_doc.h"

#define ROUTE(share)                                                                               \
    "{\"path\":\"/p/\",\"pool\":\"web\",\"split\":[{\"pool\":\"web2\",\"share\":" share            \
    ",\"return\":{\"errors_above\":0.02}},{\"pool\":\"web3\",\"share\":0.1}]}"
#define ENTRY                                                                                      \
    "{\"split\":{\"pool\":\"web2\",\"share\":0.05,\"by\":\"user\",\"return\":{\"errors_above\":"   \
    "0.02,\"p99_above\":0,\"window_s\":30}},\"since\":\"2026-11-22T20:00:00.000Z\",\"why\":"       \
    "\"errors\",\"new\":{\"requests\":60},\"old\":{\"requests\":900}}"
#define PIN                                                                                        \
    "{\"until\":\"2026-11-22T21:00:00.000Z\",\"by\":\"ops\",\"reason\":\"web is being moved\"}"

/* Fails the test when it cannot be read. Owner: the caller. */
static struct cfg_doc *document(const char *json, const char *state)
{
    json_t *parsed = json_loads(json, 0, NULL);
    json_t *of = state != NULL ? json_loads(state, 0, NULL) : NULL;
    struct ps_faults faults = {0};
    struct cfg_doc *doc;
    const struct cfg_doc_parts parts = {.kind = &cfg_kind_route,
                                        .name = "product",
                                        .version = 1,
                                        .by = {.who = "", .peer = "", .action = "", .why = ""},
                                        .json = parsed,
                                        .state = of,
                                        .reading = {.pointer = ""}};

    assert_non_null(parsed);
    assert_ok(cfg_doc_new(&parts, &doc, &faults));
    json_decref(parsed);
    json_decref(of);
    return doc;
}

/* PG12 */
static void a_split_that_was_taken_back_is_still_so_after_a_restart(void **state)
{
    struct cfg_doc *doc = document(ROUTE("0.05"), "{\"returned\":[" ENTRY "]}");
    const struct cfg_route *route = cfg_route_of(doc);
    (void)state;
    assert_non_null(route->splits[0].returned);
    assert_string_equal(json_string_value(json_object_get(route->splits[0].returned, "why")),
                        "errors");
    assert_null(route->splits[1].returned);
    struct cfg_doc *again = document(doc->json, doc->state);
    assert_string_equal(doc->state, again->state);
    assert_true(cfg_doc_is_same(doc, again));
    cfg_doc_free(doc);
    cfg_doc_free(again);
}

static void another_share_takes_it_up_again_and_the_old_one_does_not_bring_it_back(void **state)
{
    struct cfg_doc *changed = document(ROUTE("0.06"), "{\"returned\":[" ENTRY "]}");
    (void)state;
    assert_null(cfg_route_of(changed)->splits[0].returned);
    assert_string_equal(changed->state, "{\"returned\":[]}");
    struct cfg_doc *back = document(ROUTE("0.05"), changed->state);
    assert_null(cfg_route_of(back)->splits[0].returned);
    cfg_doc_free(changed);
    cfg_doc_free(back);
}

/* Versions before kept forced fallbacks there, too. */
static void a_pin_that_an_older_version_kept_is_dropped(void **state)
{
    struct cfg_doc *doc = document(ROUTE("0.05"), "{\"pin\":" PIN ",\"returned\":[]}");
    (void)state;
    assert_string_equal(doc->state, "{\"returned\":[]}");
    cfg_doc_free(doc);
}

static void a_state_that_nobody_has_written_is_a_fault(void **state)
{
    static const char *const bad[] = {"{\"returned\":[1]}", "{\"returned\":[{\"split\":{}}]}"};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        json_t *json = json_loads(ROUTE("0.05"), 0, NULL), *of = json_loads(bad[i], 0, NULL);
        struct ps_faults faults = {0};
        struct cfg_doc *doc;
        assert_int_equal(cfg_doc_new(&(struct cfg_doc_parts){.kind = &cfg_kind_route,
                                                             .name = "product",
                                                             .version = 1,
                                                             .by = {0, "", "", "", ""},
                                                             .json = json,
                                                             .state = of,
                                                             .reading = {.pointer = ""}},
                                     &doc, &faults),
                         PS_E_INVALID);
        json_decref(json);
        json_decref(of);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_that_was_taken_back_is_still_so_after_a_restart),
        cmocka_unit_test(another_share_takes_it_up_again_and_the_old_one_does_not_bring_it_back),
        cmocka_unit_test(a_pin_that_an_older_version_kept_is_dropped),
        cmocka_unit_test(a_state_that_nobody_has_written_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
