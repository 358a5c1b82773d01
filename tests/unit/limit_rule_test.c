/* Limit rules as JSON: what is read, what is refused and where the fault points. */
#include "tests/unit/check.h"

#include "gateway/config/kinds/limit_rule.h"

#include <stdlib.h>

/* All or nothing. */
static int read_rule(const char *text, struct cfg_limit_rule *ret_rule, struct ps_fault *fault)
{
    const struct cfg_reading reading = {.name = "user", .pointer = "/limits/user"};
    struct ps_faults faults = {0};
    void *rule;
    json_t *json;
    assert_ok(ps_json_parse(text, strlen(text), &json, fault));
    int err = cfg_kind_read(&cfg_kind_limit, &reading, json, NULL, &rule, &faults);
    *fault = faults.at[0];
    json_decref(json);
    if (err == 0) {
        *ret_rule = *(struct cfg_limit_rule *)rule;
        cfg_kind_free(&cfg_kind_limit, rule);
    }
    return err;
}

static void a_short_rule_gets_the_documented_defaults(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule;
    struct ps_fault fault;
    assert_ok(
        read_rule("{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10}",
                  &rule, &fault));
    assert_string_equal(rule.name, "user");
    assert_int_equal(rule.algorithm, CFG_LIMIT_TOKEN_BUCKET);
    assert_int_equal(rule.key, CFG_LIMIT_KEY_USER);
    assert_int_equal(rule.rate, 5);
    assert_int_equal(rule.period_s, 10);
    assert_int_equal(rule.burst, 5);
    assert_int_equal(rule.max_wait_ms, 0);
    assert_int_equal(rule.mode, CFG_LIMIT_ENFORCE);
    assert_int_equal(rule.applies_to, CFG_LIMIT_ORDER);
    assert_string_equal(rule.sale, "");
    assert_ok(
        read_rule("{\"algorithm\":\"leaky_bucket\",\"key\":\"ip\",\"rate\":5,\"period_s\":10}",
                  &rule, &fault));
    assert_int_equal(rule.burst, 1);
    assert_int_equal(rule.trial.rate, 0);
    assert_ok(read_rule("{\"algorithm\":\"leaky_bucket\",\"key\":\"ip\",\"rate\":5,\"period_s\":10,"
                        "\"burst\":3,\"trial\":{\"rate\":9,\"period_s\":2}}",
                        &rule, &fault));
    assert_int_equal(rule.trial.burst, 1);
    assert_ok(read_rule("{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":5,\"period_s\":10,"
                        "\"burst\":3,\"trial\":{\"rate\":9,\"period_s\":2}}",
                        &rule, &fault));
    assert_int_equal(rule.trial.burst, 9);
}

static void a_rule_for_a_route_is_one_for_pages(void **unused)
{
    (void)unused;
    struct cfg_limit_rule rule;
    struct ps_fault fault;
    assert_ok(read_rule("{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,"
                        "\"period_s\":10,\"route\":\"product\"}",
                        &rule, &fault));
    assert_int_equal(rule.applies_to, CFG_LIMIT_PAGE);
    assert_string_equal(rule.route, "product");
}

static void what_is_written_reads_back_the_same(void **unused)
{
    (void)unused;
    static const char *const texts[] = {
        "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"burst\":7,"
        "\"max_wait_ms\":0,"
        "\"mode\":\"shadow\",\"applies_to\":[\"order\",\"order_state\",\"status\"],"
        "\"sale\":\"spring\",\"route\":null}",
        "{\"algorithm\":\"leaky_bucket\",\"key\":\"global\",\"rate\":1000000,\"period_s\":86400,"
        "\"burst\":1000000,"
        "\"max_wait_ms\":10000,\"mode\":\"off\",\"applies_to\":[\"status\"],\"sale\":null,"
        "\"route\":null}",
        "{\"algorithm\":\"fixed_window\",\"key\":\"ip\",\"rate\":1,\"period_s\":1,\"burst\":1,"
        "\"max_wait_ms\":0,"
        "\"mode\":\"enforce\",\"applies_to\":[\"order_state\"],\"sale\":null,\"route\":null,"
        "\"trial\":{\"rate\":2,\"burst\":2,\"period_s\":3}}",
        "{\"algorithm\":\"sliding_window\",\"key\":\"sale\",\"rate\":9,\"period_s\":60,\"burst\":9,"
        "\"max_wait_ms\":0,"
        "\"mode\":\"enforce\",\"applies_to\":[\"order\",\"order_state\"],\"sale\":null,\"route\":"
        "null}",
        "{\"algorithm\":\"fixed_window\",\"key\":\"ip\",\"rate\":9,\"period_s\":1,\"burst\":9,"
        "\"max_wait_ms\":0,"
        "\"mode\":\"enforce\",\"applies_to\":[\"page\"],\"sale\":null,\"route\":\"product\"}",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        struct cfg_limit_rule rule;
        struct ps_fault fault;
        assert_ok(read_rule(texts[i], &rule, &fault));
        json_t *json = cfg_kind_print(&cfg_kind_limit, &rule);
        assert_non_null(json);
        char *text = json_dumps(json, JSON_COMPACT);
        assert_string_equal(text, texts[i]);
        free(text);
        json_decref(json);
    }
}

static void a_bad_rule_is_refused_with_a_pointer_and_changes_nothing(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"[]", "/limits/user"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"trial\":"
         "{\"burst\":2,\"period_s\":1}}",
         "/limits/user/trial/rate"},
        {"{\"algorithm\":\"fixed_window\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"trial\":"
         "{\"rate\":2,\"burst\":3,\"period_s\":1}}",
         "/limits/user/trial/burst"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"trial\":"
         "{\"rate\":1,\"burst\":1000,\"period_s\":86400}}",
         "/limits/user/trial/burst"},
        {"{\"key\":\"user\",\"rate\":5,\"period_s\":10}", "/limits/user/algorithm"},
        {"{\"algorithm\":\"token_bucket\",\"rate\":5,\"period_s\":10}", "/limits/user/key"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"period_s\":10}", "/limits/user/rate"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5}", "/limits/user/period_s"},
        {"{\"algorithm\":\"bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10}",
         "/limits/user/algorithm"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"me\",\"rate\":5,\"period_s\":10}",
         "/limits/user/key"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":0,\"period_s\":10}",
         "/limits/user/rate"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1000001,\"period_s\":10}",
         "/limits/user/rate"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1.5,\"period_s\":10}",
         "/limits/user/rate"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":86401}",
         "/limits/user/period_s"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"burst\":0}",
         "/limits/user/burst"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1,\"period_s\":86400,\"burst\":"
         "366}",
         "/limits/user/burst"},
        {"{\"algorithm\":\"fixed_window\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"burst\":6}",
         "/limits/user/burst"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"max_wait_"
         "ms\":5}",
         "/limits/user/max_wait_ms"},
        {"{\"algorithm\":\"leaky_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"max_wait_"
         "ms\":10001}",
         "/limits/user/max_wait_ms"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"mode\":"
         "\"on\"}",
         "/limits/user/mode"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"applies_"
         "to\":[\"tickets\"]}",
         "/limits/user/applies_to/0"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"applies_"
         "to\":\"order\"}",
         "/limits/user/applies_to"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"applies_"
         "to\":[\"order\",\"order\"]}",
         "/limits/user/applies_to/1"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"applies_"
         "to\":[\"order\",7]}",
         "/limits/user/applies_to/1"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"sale\":\"a "
         "b\"}",
         "/limits/user/sale"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"sale\":7}",
         "/limits/user/sale"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
         "\"route\":\"a b\"}",
         "/limits/user/route"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
         "\"route\":\"p\",\"applies_to\":[\"order\"]}",
         "/limits/user/applies_to"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
         "\"route\":\"p\",\"applies_to\":[\"page\",\"order\"]}",
         "/limits/user/applies_to"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
         "\"route\":\"p\",\"sale\":\"s\"}",
         "/limits/user/sale"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,"
         "\"applies_to\":[\"page\"],\"sale\":\"s\"}",
         "/limits/user/sale"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"sale\",\"rate\":5,\"period_s\":10,"
         "\"route\":\"p\"}",
         "/limits/user/key"},
        {"{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":5,\"period_s\":10,\"bursts\":"
         "7}",
         "/limits/user/bursts"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct cfg_limit_rule rule, before;
        struct ps_fault fault = {0};
        memset(&rule, 0x5a, sizeof rule);
        before = rule;
        assert_int_equal(read_rule(cases[i].text, &rule, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, cases[i].path);
        assert_true(strlen(fault.text) > 5);
        assert_memory_equal(&rule, &before, sizeof rule);
    }
}

static void a_rule_needs_a_proper_name(void **unused)
{
    (void)unused;
    char long_name[PS_NAME_MAX + 2], name[CFG_NAME_MAX + 1];
    memset(long_name, 'a', sizeof long_name);
    long_name[PS_NAME_MAX + 1] = '\0';
    assert_int_equal(cfg_kind_limit.name(long_name, PS_NAME_MAX + 1, name), PS_E_INVALID);
    assert_int_equal(cfg_kind_limit.name("", 0, name), PS_E_INVALID);
    assert_int_equal(cfg_kind_limit.name("a/b", 3, name), PS_E_INVALID);
    assert_ok(cfg_kind_limit.name(long_name + 1, PS_NAME_MAX, name));
    assert_string_equal(name, long_name + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_rule_gets_the_documented_defaults),
        cmocka_unit_test(a_rule_for_a_route_is_one_for_pages),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(a_bad_rule_is_refused_with_a_pointer_and_changes_nothing),
        cmocka_unit_test(a_rule_needs_a_proper_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
