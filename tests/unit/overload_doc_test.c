/* The documents of the ladder as operators write them, with every fault at its pointer. */
#include "tests/unit/check.h"

#include "gateway/config/store/codec.h"
#include "gateway/config/kinds/feature_doc.h"
#include "gateway/config/kinds/overload_doc.h"

#define NOW INT64_C(1900000000000)

static struct ps_faults faults;

/* The document that reading this text gives; NULL: `faults` says why not. */
static struct cfg_doc *read_doc(const struct cfg_kind *kind, const char *text, const char *state)
{
    json_t *json = json_loads(text, 0, NULL);
    json_t *kept = state != NULL ? json_loads(state, 0, NULL) : NULL;
    const struct cfg_doc_parts parts = {.kind = kind,
                                        .name = "default",
                                        .version = 1,
                                        .by = {0, "t", "", "put", ""},
                                        .json = json,
                                        .state = kept,
                                        .reading = {"", NOW}};
    struct cfg_doc *doc = NULL;

    faults = (struct ps_faults){0};
    assert_non_null(json);
    (void)!cfg_doc_new(&parts, &doc, &faults);
    json_decref(json);
    json_decref(kept);
    return doc;
}

static void assert_fault(const struct cfg_kind *kind, const char *text, const char *pointer)
{
    struct cfg_doc *doc = read_doc(kind, text, NULL);

    if (doc != NULL || faults.count != 1 || strcmp(faults.at[0].path, pointer) != 0)
        fail_msg("%s: %zu faults, the first at \"%s\": %s", text, faults.count, faults.at[0].path,
                 faults.at[0].text);
}

static void what_is_left_out_has_its_default(void **state)
{
    struct cfg_doc *doc =
        read_doc(&cfg_kind_overload, "{\"signals\":{\"loop_delay_ms\":{\"threshold\":7.5}}}", NULL);
    const struct cfg_overload *overload = cfg_overload_of(doc);
    (void)state;
    assert_true(overload->ladder.enter == 0.8 && overload->ladder.leave == 0.6);
    assert_int_equal(overload->ladder.enter_ticks, 3);
    assert_int_equal(overload->ladder.leave_s, 30);
    assert_true(overload->signals[CFG_SIGNAL_LOOP_DELAY].threshold == 7.5);
    assert_true(overload->signals[CFG_SIGNAL_LOOP_DELAY].weight == 1);
    for (size_t i = 1; i < CFG_SIGNAL_COUNT; i++)
        assert_memory_equal(&overload->signals[i], &cfg_signals[i].rule,
                            sizeof overload->signals[i]);
    cfg_doc_free(doc);
}

static void a_document_reads_back_as_itself(void **state)
{
    struct cfg_doc *doc = read_doc(
        &cfg_kind_overload, "{\"enter\":0.9,\"leave\":0.25,\"leave_s\":5,\"enter_ticks\":1}", NULL);
    struct cfg_doc *again = read_doc(&cfg_kind_overload, doc->json, NULL);
    (void)state;
    assert_string_equal(doc->json, again->json);
    assert_non_null(strstr(doc->json, "\"loop_delay_ms\":{\"threshold\":20,\"weight\":1}"));
    assert_non_null(strstr(doc->json, "\"enter\":0.9,\"enter_ticks\":1,\"leave\":0.25"));
    cfg_doc_free(doc);
    cfg_doc_free(again);
}

static void each_fault_has_its_pointer(void **state)
{
    (void)state;
    assert_fault(&cfg_kind_overload, "{\"enter\":0.5}", "/leave");
    assert_fault(&cfg_kind_overload, "{\"leave\":0.8}", "/leave");
    assert_fault(&cfg_kind_overload, "{\"leave\":0.9,\"enter\":0.7}", "/leave");
    assert_fault(&cfg_kind_overload, "{\"leave\":-0.1}", "/leave");
    assert_fault(&cfg_kind_overload, "{\"enter\":\"high\"}", "/enter");
    assert_fault(&cfg_kind_overload, "{\"enter_ticks\":0}", "/enter_ticks");
    assert_fault(&cfg_kind_overload, "{\"leave_s\":0.5}", "/leave_s");
    assert_fault(&cfg_kind_overload, "{\"signals\":[]}", "/signals");
    assert_fault(&cfg_kind_overload, "{\"signals\":{\"loop_dealy_ms\":{}}}",
                 "/signals/loop_dealy_ms");
    assert_non_null(strstr(faults.at[0].text, "did you mean \"loop_delay_ms\"?"));
    assert_fault(&cfg_kind_overload, "{\"signals\":{\"memory\":{\"threshold\":-1}}}",
                 "/signals/memory/threshold");
    assert_fault(&cfg_kind_overload, "{\"signals\":{\"memory\":{\"weight\":2}}}",
                 "/signals/memory/weight");
    assert_fault(&cfg_kind_overload, "{\"signals\":{\"memory\":7}}", "/signals/memory");
    assert_fault(&cfg_kind_overload, "{\"levels\":3}", "/levels");
    assert_fault(&cfg_kind_feature, "{}", "/level");
    assert_fault(&cfg_kind_feature, "{\"level\":0}", "/level");
    assert_fault(&cfg_kind_feature, "{\"level\":5}", "/level");
    assert_fault(&cfg_kind_feature, "{\"level\":1,\"state\":\"off\"}", "/state");
}

static void a_feature_may_never_give_way(void **state)
{
    struct cfg_doc *doc = read_doc(&cfg_kind_feature, "{\"level\":null}", NULL);
    (void)state;
    assert_int_equal(cfg_feature_of(doc)->level, 0);
    assert_string_equal(doc->json, "{\"level\":null}");
    cfg_doc_free(doc);
}

/* Without it the level could not be judged. */
static void nobody_deletes_it_from_outside(void **state)
{
    static const char text[] =
        "2 {\"at_ms\":1,\"created_at_ms\":1,\"who\":\"x\",\"peer\":\"\",\"action\":\"x\","
        "\"why\":\"\",\"deleted\":true}";
    struct ps_str value = {text, sizeof text - 1};
    struct ps_fault fault;
    struct cfg_doc *doc;
    (void)state;
    assert_int_equal(cfg_codec_read(PS_STR("overload/default"), value, 9, &doc, &fault),
                     PS_E_INVALID);
    assert_non_null(strstr(fault.text, "always exists"));
    assert_ok(cfg_codec_read(PS_STR("limits/slow"), value, 9, &doc, &fault));
    cfg_doc_free(doc);
}

/* Versions before kept pins in the state of these documents. */
static void a_state_that_an_older_version_kept_is_dropped(void **state)
{
    static const char pin[] =
        "{\"pin\":{\"level\":2,\"until\":\"2031-01-01T00:00:00Z\",\"by\":\"t1\"}}";
    struct cfg_doc *doc = read_doc(&cfg_kind_overload, "{\"leave_s\":5}", pin);
    (void)state;
    assert_non_null(doc);
    assert_null(doc->state);
    cfg_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(a_document_reads_back_as_itself),
        cmocka_unit_test(each_fault_has_its_pointer),
        cmocka_unit_test(a_feature_may_never_give_way),
        cmocka_unit_test(nobody_deletes_it_from_outside),
        cmocka_unit_test(a_state_that_an_older_version_kept_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
