/* Plans as JSON: what is read, and where each fault points. */
#include "tests/unit/check.h"

#include "gateway/config/kinds/plan_doc.h"

#include <stdlib.h>

#define NOW INT64_C(1900000000000) /* 2030-03-17T17:46:40Z */

static int read_plan(const char *text, int64_t now_ms, struct cfg_plan **ret_plan,
                     struct ps_faults *faults)
{
    const struct cfg_reading reading = {.name = "p", .pointer = "", .now_ms = now_ms};
    void *parsed;
    json_t *json;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    *faults = (struct ps_faults){0};
    int err = cfg_kind_read(&cfg_kind_plan, &reading, json, NULL, &parsed, faults);
    json_decref(json);
    if (err == 0)
        *ret_plan = parsed;
    return err;
}

/* Steps in a plan of 900 s. */
static char *with_steps(const char *steps)
{
    char *text;
    assert_true(asprintf(&text, "{\"title\":\"t\",\"ttl_s\":900,\"steps\":%s}", steps) > 0);
    return text;
}

static void a_plan_is_printed_as_it_reads(void **state)
{
    static const char text[] =
        "{\"title\":\"t\",\"text\":null,\"steps\":["
        "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rate\":20}}},"
        "{\"put\":{\"kind\":\"block_ip\",\"name\":\"203.0.113.0/24\",\"doc\":{\"reason\":\"b\"}}},"
        "{\"override\":{\"target\":\"level\",\"value\":2}},"
        "{\"override\":{\"target\":\"split:product:web2\",\"value\":0.25,\"gateway\":\"gw-1\"}}],"
        "\"when\":[{\"sale\":\"spring\",\"state\":\"open\"},{\"signal\":\"pressure\",\"above\":0.6}"
        ","
        "{\"gateways_min\":3}],\"start\":{\"signal\":\"loop_delay_ms\",\"above\":0.9,\"for_s\":10},"
        "\"ttl_s\":900,\"approvals\":2}";
    struct ps_faults faults;
    struct cfg_plan *plan;
    (void)state;
    assert_ok(read_plan(text, NOW, &plan, &faults));
    json_t *json = cfg_kind_print(&cfg_kind_plan, plan);
    char *printed = json_dumps(json, CFG_JSON_FLAGS);
    assert_string_equal(printed, text);
    assert_ptr_equal(cfg_plan_step_kind(&plan->steps[0]), &cfg_kind_limit);
    assert_ptr_equal(cfg_plan_step_kind(&plan->steps[1]), &cfg_kind_range);
    assert_int_equal(plan->steps[3].override.value, 250);
    assert_int_equal(plan->whens[1].signal, CFG_SIGNAL_COUNT);
    free(printed);
    json_decref(json);
    cfg_kind_free(&cfg_kind_plan, plan);
}

static void each_fault_of_a_step_has_its_pointer(void **state)
{
    static const struct {
        const char *steps, *pointer;
    } bad[] = {
        {"[]", "/steps"},
        {"[{}]", "/steps/0"},
        {"[{\"patch\":{\"kind\":\"limits\",\"name\":\"ip\",\"with\":{\"rate\":1}}}]",
         "/steps/0/patch/kind"},
        {"[{\"patch\":{\"kind\":\"limit\",\"name\":\"i p\",\"with\":{\"rate\":1}}}]",
         "/steps/0/patch/name"},
        {"[{\"patch\":{\"kind\":\"limit\",\"with\":{\"rate\":1}}}]", "/steps/0/patch/name"},
        {"[{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{}}}]", "/steps/0/patch/with"},
        {"[{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rat\":1}}}]",
         "/steps/0/patch/with/rat"},
        {"[{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rate\":0}}}]",
         "/steps/0/patch/with/rate"},
        {"[{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rate\":null}}}]",
         "/steps/0/patch/with/rate"},
        {"[{\"patch\":{\"kind\":\"feature\",\"name\":\"orders\",\"with\":{\"level\":1}}}]",
         "/steps/0/patch/name"},
        {"[{\"patch\":{\"kind\":\"feature\",\"name\":\"exports\",\"with\":{\"state\":\"on\"}}}]",
         "/steps/0/patch/with/state"},
        {"[{\"patch\":{\"kind\":\"overload\",\"with\":{\"signals\":{\"memory\":{\"weight\":2}}}}}]",
         "/steps/0/patch/with/signals/memory/weight"},
        {"[{\"patch\":{\"kind\":\"route\",\"name\":\"r\",\"with\":{\"fallback\":[{}]}}}]",
         "/steps/0/patch/with/fallback/0/kind"},
        {"[{\"patch\":{\"kind\":\"route\",\"name\":\"r\",\"with\":{\"cache\":{\"query\":7}}}}]",
         "/steps/0/patch/with/cache/query"},
        {"[{\"put\":{\"kind\":\"sale\",\"name\":\"s\",\"doc\":{}}}]", "/steps/0/put/kind"},
        {"[{\"put\":{\"kind\":\"limit\",\"name\":\"ip\",\"doc\":{\"algorithm\":\"token_bucket\","
         "\"key\":\"ip\",\"rate\":1,\"period_s\":1}}}]",
         "/steps/0/put/name"},
        {"[{\"put\":{\"kind\":\"block_ip\",\"name\":\"203.0.113.0/24\",\"doc\":{\"ttl\":1}}}]",
         "/steps/0/put/doc/ttl"},
        {"[{\"put\":{\"kind\":\"block_ip\",\"name\":\"203.0.113.1/24\",\"doc\":{}}}]",
         "/steps/0/put/name"},
        {"[{\"override\":{\"target\":\"levels\",\"value\":1}}]", "/steps/0/override/target"},
        {"[{\"override\":{\"target\":\"feature:orders\",\"value\":\"off\"}}]",
         "/steps/0/override/target"},
        {"[{\"override\":{\"target\":\"flow:kafka\",\"value\":1}}]", "/steps/0/override/target"},
        {"[{\"override\":{\"target\":\"level\",\"value\":9}}]", "/steps/0/override/value"},
        {"[{\"override\":{\"target\":\"level\",\"value\":1,\"until\":null}}]",
         "/steps/0/override/until"},
        {"[{\"override\":{\"target\":\"level\",\"value\":1}},"
         "{\"override\":{\"target\":\"level\",\"value\":2}}]",
         "/steps/1/override"},
        {"[{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rate\":1}}},"
         "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"burst\":1,\"rate\":2}}}]",
         "/steps/1/patch"},
        {"[{\"override\":{\"target\":\"limit:ip\",\"value\":\"off\"}},"
         "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"mode\":\"off\"}}}]",
         "/steps/1/patch"},
        {"[{\"put\":{\"kind\":\"block_user\",\"name\":\"u\",\"doc\":{}}},"
         "{\"put\":{\"kind\":\"block_user\",\"name\":\"u\",\"doc\":{}}}]",
         "/steps/1/put"},
    };
    struct ps_faults faults;
    struct cfg_plan *plan;
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        char *text = with_steps(bad[i].steps);
        if (read_plan(text, NOW, &plan, &faults) != PS_E_INVALID)
            fail_msg("%s is taken", text);
        if (faults.count != 1 || strcmp(faults.at[0].path, bad[i].pointer) != 0)
            fail_msg("%s: %zu faults, the first at \"%s\": %s", text, faults.count,
                     faults.at[0].path, faults.at[0].text);
        free(text);
    }
}

static void each_fault_of_the_plan_has_its_pointer(void **state)
{
#define STEPS "\"steps\":[{\"override\":{\"target\":\"level\",\"value\":2}}]"
    static const struct {
        const char *text, *pointer;
    } bad[] = {
        {"{\"ttl_s\":1," STEPS "}", "/title"},
        {"{\"title\":\"t\",\"ttl_s\":1}", "/steps"},
        {"{\"title\":\"t\"," STEPS "}", "/ttl_s"},
        {"{\"title\":\"t\",\"ttl_s\":604801," STEPS "}", "/ttl_s"},
        {"{\"title\":\"t\",\"ttl_s\":null," STEPS "}", "/steps/0/override"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"approvals\":4," STEPS "}", "/approvals"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"when\":[{\"sale\":\"s\",\"state\":\"on\"}]," STEPS "}",
         "/when/0/state"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"when\":[{\"gateways_min\":0}]," STEPS "}",
         "/when/0/gateways_min"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"start\":{\"at\":\"2030-03-17T17:46:40Z\"}," STEPS "}",
         "/start/at"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"start\":{\"at\":\"2030-03-17\"}," STEPS "}", "/start/at"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"start\":{}," STEPS "}", "/start"},
        {"{\"title\":\"t\",\"ttl_s\":1,\"start\":{\"signal\":\"load\",\"above\":1,\"for_s\":1}"
         "," STEPS "}",
         "/start/signal"},
    };
#undef STEPS
    struct ps_faults faults;
    struct cfg_plan *plan;
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        if (read_plan(bad[i].text, NOW, &plan, &faults) != PS_E_INVALID)
            fail_msg("%s is taken", bad[i].text);
        if (faults.count == 0 || strcmp(faults.at[0].path, bad[i].pointer) != 0)
            fail_msg("%s: %zu faults, the first at \"%s\": %s", bad[i].text, faults.count,
                     faults.at[0].path, faults.at[0].text);
    }
}

/* A moment that has passed, a rule that is there no more: what was stored is read for ever. */
static void a_stored_plan_is_read_whatever_has_changed_since(void **state)
{
    struct ps_faults faults;
    struct cfg_plan *plan;
    (void)state;
    assert_ok(read_plan("{\"title\":\"t\",\"ttl_s\":1,\"start\":{\"at\":\"2020-03-17T17:46:40Z\"},"
                        "\"steps\":[{\"patch\":{\"kind\":\"limit\",\"name\":\"gone\","
                        "\"with\":{\"no_such_member\":1}}}]}",
                        0, &plan, &faults));
    cfg_kind_free(&cfg_kind_plan, plan);
}

static void steps_change_no_more_members_than_a_run_can_keep(void **state)
{
    json_t *attributes = json_object(), *plan;
    struct ps_faults faults;
    struct cfg_plan *read;
    char name[16];
    (void)state;
    for (int i = 0; i <= CFG_PLAN_MEMBERS_MAX; i++) {
        (void)snprintf(name, sizeof name, "%x", (unsigned)i);
        (void)json_object_set_new(attributes, name, json_integer(1));
    }
    plan = json_pack("{s:s, s:i, s:[{s:{s:s, s:s, s:{s:o}}}]}", "title", "t", "ttl_s", 1, "steps",
                     "patch", "kind", "sale", "name", "spring", "with", "attributes", attributes);
    char *text = json_dumps(plan, JSON_COMPACT);
    assert_int_equal(read_plan(text, NOW, &read, &faults), PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "/steps");
    free(text);
    json_decref(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_printed_as_it_reads),
        cmocka_unit_test(each_fault_of_a_step_has_its_pointer),
        cmocka_unit_test(each_fault_of_the_plan_has_its_pointer),
        cmocka_unit_test(a_stored_plan_is_read_whatever_has_changed_since),
        cmocka_unit_test(steps_change_no_more_members_than_a_run_can_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
