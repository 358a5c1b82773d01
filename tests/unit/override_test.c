/* Overrides as documents: what they may say, which one is in force, and how they end. */
#include "tests/unit/documents_fixture.h"

#include "gateway/config/kinds/override.h"
#include "gateway/config/store/audit_log.h"

static int level(void)
{
    return cfg_overridden(store, CFG_OVERRIDE_LEVEL, NULL, -1);
}

/* Does the audit log have a line with this action by this one? */
static bool has_line(const char *who, const char *action)
{
    char *text, words[128];
    size_t len;
    (void)snprintf(words, sizeof words, "\"who\":\"%s\",", who);
    assert_ok(cfg_audit_read(doc_audit_path(), 0, 1000, &text, &len));
    bool found = false;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        found |= strstr(line, words) != NULL && strstr(line, action) != NULL;
    free(text);
    return found;
}

/* --- What they may say. --- */

static void a_target_says_what_it_is_about(void **state)
{
    static const struct {
        const char *text;
        enum cfg_override_kind kind;
        const char *of;
    } good[] = {
        {"level", CFG_OVERRIDE_LEVEL, ""},
        {"feature:exports", CFG_OVERRIDE_FEATURE, "exports"},
        {"breaker:endpoint:web:[::1]:9001", CFG_OVERRIDE_BREAKER, "endpoint:web:[::1]:9001"},
        {"flow:log", CFG_OVERRIDE_FLOW, "log"},
        {"fallback:product", CFG_OVERRIDE_FALLBACK, "product"},
        {"split:product:web2", CFG_OVERRIDE_SPLIT, "product:web2"},
        {"limit:ip", CFG_OVERRIDE_LIMIT, "ip"}};
    static const char *const bad[] = {"",          "levels",
                                      "level:2",   "feature",
                                      "feature:",  ":x",
                                      "limit:a b", "limit:a@b",
                                      "limit:a/b", "limit:\xc3\xa9"};
    struct cfg_override override;
    char name[CFG_NAME_MAX + 1];
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++) {
        assert_ok(cfg_target_read(good[i].text, &override));
        assert_int_equal(override.kind, good[i].kind);
        assert_string_equal(cfg_override_rest(&override), good[i].of);
        cfg_override_name(&override, name);
        assert_string_equal(name, good[i].text);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(cfg_target_read(bad[i], &override), PS_E_INVALID);
}

static void each_fault_has_its_pointer(void **state)
{
    static const struct {
        const char *target, *text, *pointer;
    } bad[] = {{"level", "{\"ttl_s\":5}", "/value"},
               {"level", "{\"value\":5,\"ttl_s\":5}", "/value"},
               {"level", "{\"value\":\"on\",\"ttl_s\":5}", "/value"},
               {"level", "{\"value\":2}", "/ttl_s"},
               {"level", "{\"value\":2,\"ttl_s\":0}", "/ttl_s"},
               {"level", "{\"value\":2,\"ttl_s\":604801}", "/ttl_s"},
               {"level", "{\"value\":2,\"ttl_s\":5,\"until\":\"2030-03-17T17:47:00Z\"}", "/until"},
               {"level", "{\"value\":2,\"until\":\"2030-03-17T17:46:40Z\"}", "/until"},
               {"level", "{\"value\":2,\"until\":\"2030-03-24T17:46:41Z\"}", "/until"},
               {"level", "{\"value\":2,\"until\":\"2030-03-18\"}", "/until"},
               {"level", "{\"value\":2,\"ttl_s\":5,\"gateway\":\"a b\"}", "/gateway"},
               {"level", "{\"value\":2,\"ttl_s\":5,\"for_ever\":true}", "/for_ever"},
               {"feature:exports", "{\"value\":\"of\",\"ttl_s\":5}", "/value"},
               {"breaker:redis", "{\"value\":\"half_open\",\"ttl_s\":5}", "/value"},
               {"flow:log", "{\"value\":0,\"ttl_s\":5}", "/value"},
               {"fallback:product", "{\"value\":\"off\",\"ttl_s\":5}", "/value"},
               {"split:product:web2", "{\"value\":1.1,\"ttl_s\":5}", "/value"},
               {"split:product:web2", "{\"value\":0.0005,\"ttl_s\":5}", "/value"},
               {"limit:ip", "{\"value\":\"on\",\"ttl_s\":5}", "/value"}};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        json_t *json = json_loads(bad[i].text, 0, NULL);
        struct ps_faults faults = {0};
        struct cfg_override override;
        assert_ok(cfg_target_read(bad[i].target, &override));
        assert_int_equal(cfg_override_ask(json, T0, &override, &faults), PS_E_INVALID);
        if (faults.count != 1 || strcmp(faults.at[0].path, bad[i].pointer) != 0)
            fail_msg("%s: %zu faults, the first at \"%s\": %s", bad[i].text, faults.count,
                     faults.at[0].path, faults.at[0].text);
        json_decref(json);
    }
}

static void a_value_is_written_as_it_was_asked_for(void **state)
{
    static const char *const good[][2] = {{"level", "4"},
                                          {"feature:exports", "\"on\""},
                                          {"breaker:redis", "\"closed\""},
                                          {"flow:store", "1000000"},
                                          {"fallback:product", "\"on\""},
                                          {"split:product:web2", "0.125"},
                                          {"limit:ip", "\"shadow\""}};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++) {
        struct cfg_override override;
        struct ps_faults faults = {0};
        char text[128], want[128];
        (void)snprintf(text, sizeof text, "{\"value\":%s,\"ttl_s\":20,\"gateway\":null}",
                       good[i][1]);
        (void)snprintf(want, sizeof want, "{\"value\":%s,\"until\":\"2030-03-17T17:47:00.000Z\"}",
                       good[i][1]);
        json_t *json = json_loads(text, 0, NULL);
        assert_ok(cfg_target_read(good[i][0], &override));
        assert_ok(cfg_override_ask(json, T0, &override, &faults));
        json_t *written = cfg_override_write(&override);
        char *printed = json_dumps(written, CFG_JSON_FLAGS);
        assert_string_equal(printed, want);
        free(printed);
        json_decref(written);
        json_decref(json);
    }
}

/* --- Which one is in force. --- */

static void the_one_for_this_gateway_wins(void **state)
{
    (void)state;
    assert_int_equal(level(), -1);
    doc_override("level@gw-2", "4", 60);
    assert_int_equal(level(), -1);
    doc_override("level", "1", 60);
    assert_int_equal(level(), 1);
    doc_override("level@gw-1", "3", 60);
    assert_int_equal(level(), 3);
    doc_delete(&cfg_kind_override, "level@gw-1");
    assert_int_equal(level(), 1);
    assert_int_equal(cfg_overridden(store, CFG_OVERRIDE_FEATURE, "exports", -1), -1);
    doc_override("feature:exports", "\"off\"", 60);
    assert_int_equal(cfg_overridden(store, CFG_OVERRIDE_FEATURE, "exports", -1), CFG_FEATURE_OFF);
}

static void workers_go_by_the_mode_that_a_limit_is_overridden_with(void **state)
{
    const struct adm_limit_set *limits;
    (void)state;
    doc_override("limit:ip", "\"shadow\"", 5);
    limits = doc_snapshot()->limits;
    for (size_t i = 0; i < limits->count; i++)
        assert_int_equal(limits->rules[i].mode, strcmp(limits->rules[i].name, "ip") == 0
                                                    ? CFG_LIMIT_SHADOW
                                                    : CFG_LIMIT_ENFORCE);
    clock_.wall_ms += 5000;
    cfg_store_tick(store);
    settle();
    limits = doc_snapshot()->limits;
    for (size_t i = 0; i < limits->count; i++)
        assert_int_equal(limits->rules[i].mode, CFG_LIMIT_ENFORCE);
}

static void there_are_no_more_than_there_may_be(void **state)
{
    char name[32];
    (void)state;
    for (int i = 0; i < CFG_OVERRIDES_MAX; i++) {
        (void)snprintf(name, sizeof name, "level@gw-%d", i);
        doc_override(name, "1", 60);
    }
    assert_int_equal(doc_try_put(&cfg_kind_override, "level",
                                 "{\"value\":1,\"until\":\"2030-03-17T17:47:00Z\"}"),
                     PS_E_CONFLICT);
    doc_override("level@gw-7", "2", 60); /* in the place of one */
}

/* --- How they end. --- */

static void its_time_ends_it_with_a_line_and_a_snapshot(void **state)
{
    (void)state;
    doc_override("level", "2", 5);
    doc_published = 0;
    clock_.wall_ms += 4999;
    cfg_store_tick(store);
    settle();
    assert_int_equal(level(), 2);
    assert_int_equal(doc_published, 0);
    clock_.wall_ms++;
    assert_int_equal(level(), -1);
    cfg_store_tick(store);
    settle();
    assert_int_equal(doc_published, 1);
    assert_int_equal(cfg_store_count(store, &cfg_kind_override), 0);
    assert_true(has_line("ann", "\"override.put\""));
    assert_true(has_line("system", "\"override.expire\""));
}

static void it_outlives_a_restart_but_not_its_time(void **state)
{
    (void)state;
    doc_override("level", "2", 60);
    doc_override("feature:exports", "\"off\"", 5);
    clock_.wall_ms += 30000;
    doc_reopen();
    assert_int_equal(level(), 2);
    assert_int_equal(cfg_overridden(store, CFG_OVERRIDE_FEATURE, "exports", -1), -1);
}

static void what_is_deleted_takes_its_overrides_with_it(void **state)
{
    (void)state;
    doc_put(&cfg_kind_limit, "slow",
            "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":1,\"period_s\":1}");
    doc_put(&cfg_kind_pool, "web", "{\"endpoints\":[{\"address\":\"127.0.0.1:9001\"}]}");
    doc_put(&cfg_kind_pool, "new", "{\"endpoints\":[{\"address\":\"127.0.0.1:9002\"}]}");
    doc_put(&cfg_kind_route, "product",
            "{\"path\":\"/p/\",\"pool\":\"web\",\"split\":[{\"pool\":\"new\",\"share\":0.1}],"
            "\"fallback\":[{\"kind\":\"problem\"}]}");
    doc_override("limit:slow", "\"off\"", 60);
    doc_override("limit:ip", "\"off\"", 60);
    doc_override("split:product:new", "0.5", 60);
    doc_override("fallback:product@gw-1", "\"on\"", 60);
    doc_override("breaker:pool:new", "\"open\"", 60);
    doc_override("breaker:endpoint:new:127.0.0.1:9002", "\"open\"", 60);
    doc_delete(&cfg_kind_limit, "slow");
    assert_int_equal(cfg_store_count(store, &cfg_kind_override), 5);
    doc_put(&cfg_kind_route, "product",
            "{\"path\":\"/p/\",\"pool\":\"web\",\"fallback\":[{\"kind\":\"problem\"}]}");
    assert_int_equal(cfg_store_count(store, &cfg_kind_override), 4); /* the split is gone */
    doc_put(&cfg_kind_route, "product", "{\"path\":\"/p/\",\"pool\":\"web\"}");
    assert_int_equal(cfg_store_count(store, &cfg_kind_override), 3);
    doc_put(&cfg_kind_pool, "new", "{\"endpoints\":[{\"address\":\"127.0.0.1:9003\"}]}");
    assert_int_equal(cfg_store_count(store, &cfg_kind_override), 2); /* the endpoint's is */
    doc_delete(&cfg_kind_pool, "new");
    assert_int_equal(cfg_store_count(store, &cfg_kind_override), 1);
    assert_non_null(cfg_override_find(store, CFG_OVERRIDE_LIMIT, "ip"));
    assert_true(has_line("ann", "\"override.delete\""));
    assert_true(has_line("ann", "\"target\":\"limits/slow\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_says_what_it_is_about),
        cmocka_unit_test(each_fault_has_its_pointer),
        cmocka_unit_test(a_value_is_written_as_it_was_asked_for),
        cmocka_unit_test_setup_teardown(the_one_for_this_gateway_wins, doc_make, doc_drop),
        cmocka_unit_test_setup_teardown(workers_go_by_the_mode_that_a_limit_is_overridden_with,
                                        doc_make, doc_drop),
        cmocka_unit_test_setup_teardown(there_are_no_more_than_there_may_be, doc_make, doc_drop),
        cmocka_unit_test_setup_teardown(its_time_ends_it_with_a_line_and_a_snapshot, doc_make,
                                        doc_drop),
        cmocka_unit_test_setup_teardown(it_outlives_a_restart_but_not_its_time, doc_make, doc_drop),
        cmocka_unit_test_setup_teardown(what_is_deleted_takes_its_overrides_with_it, doc_make,
                                        doc_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
