/* Who may look at a page of the shop: the blocklist, overload by the route's class, and the rules
 * for pages. */
#include "tests/unit/check.h"
#include "tests/unit/limit_rules.h"

#include "gateway/admission/admit.h"
#include "gateway/snapshot/view.h"
#include "gateway/metrics.h"

#define NOW_NS  (1000 * PS_NS_PER_S)
#define WALL_MS INT64_C(1900000000000)

static struct cfg_route product = {.name = "product", .class = CFG_ROUTE_NORMAL};
static struct cfg_route cart = {.name = "cart", .class = CFG_ROUTE_CORE};

static struct adm_gates gates;
static struct adm_limit_samples samples;
static struct adm_shed shed;
static struct ps_metrics *metrics;
static struct snap_view *view;
static struct snapshot *snapshot;

static int begin(void **state)
{
    (void)state;
    adm_shed_init(&shed);
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics));
    gates = (struct adm_gates){.shed = &shed, .shard = ps_metrics_shard(metrics)};
    assert_ok(adm_limit_table_new(1, &gates.limits));
    assert_ok(adm_limit_samples_new(1, 0, &samples));
    gates.sample = samples.at;
    assert_ok(snap_view_new(1, &view));
    return 0;
}

static int end(void **state)
{
    (void)state;
    snapshot_free(snapshot);
    snapshot = NULL;
    snap_view_free(view);
    adm_limit_table_free(gates.limits);
    adm_limit_samples_free(&samples);
    ps_metrics_free(metrics);
    return 0;
}

/* These are the rules, `count` texts `{"key":…}`. */
static void set_rules(const char *const *texts, size_t count)
{
    struct snapshot *before = snapshot;

    put_rules(view, texts, count);
    assert_ok(snap_view_snapshot(view, 1, 1, &snapshot));
    snapshot_free(before);
    gates.snapshot = snapshot;
}

static bool is_rehearsal;

static enum ans_verdict ask(const struct cfg_route *route, const char *user, const char *ip)
{
    struct adm_request request = {.user = {user, strlen(user)}, .rehearsal = is_rehearsal};
    struct adm_admission admission = {
        .gates = &gates, .request = &request, .now_ns = NOW_NS, .wall_ms = WALL_MS};

    assert_ok(ps_address_parse(ip, strlen(ip), false, &request.address));
    adm_admit_expect(&gates, &request);
    return adm_admit_page(&admission, route) == ADM_GATE_PASS ? ANS_V_ok : admission.verdict;
}

#define RULE(key, more)                                                                            \
    "{\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":100,\"key\":\"" key "\"" more "}"

static void a_rule_for_a_route_counts_only_that_route(void **state)
{
    static const char *const rules[] = {RULE("ip", ",\"route\":\"product\"")};
    (void)state;
    set_rules(rules, 1);
    assert_int_equal(ask(&product, "", "192.0.2.1"), ANS_V_ok);
    assert_int_equal(ask(&cart, "", "192.0.2.1"), ANS_V_ok);
    assert_int_equal(ask(&cart, "", "192.0.2.1"), ANS_V_ok);
    assert_int_equal(ask(&product, "", "192.0.2.1"), ANS_V_ip_rate);
    assert_int_equal(ask(&product, "", "192.0.2.2"), ANS_V_ok);
}

static void a_rule_for_pages_counts_all_routes_together(void **state)
{
    static const char *const rules[] = {RULE("ip", ",\"applies_to\":[\"page\"]")};
    (void)state;
    set_rules(rules, 1);
    assert_int_equal(ask(&product, "", "192.0.2.1"), ANS_V_ok);
    assert_int_equal(ask(&cart, "", "192.0.2.1"), ANS_V_ip_rate);
}

static void rules_for_orders_do_not_count_pages(void **state)
{
    static const char *const rules[] = {RULE("ip", ""), RULE("global", "")};
    (void)state;
    set_rules(rules, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(&product, "ann", "192.0.2.1"), ANS_V_ok);
}

static void a_rule_by_user_leaves_those_without_a_name_alone(void **state)
{
    static const char *const rules[] = {RULE("user", ",\"route\":\"product\"")};
    (void)state;
    set_rules(rules, 1);
    assert_int_equal(ask(&product, "ann", "192.0.2.1"), ANS_V_ok);
    assert_int_equal(ask(&product, "ann", "192.0.2.2"), ANS_V_user_rate);
    assert_int_equal(ask(&product, "", "192.0.2.2"), ANS_V_ok);
    assert_int_equal(ask(&product, "", "192.0.2.2"), ANS_V_ok);
}

static void a_global_rule_counts_everybody(void **state)
{
    static const char *const rules[] = {RULE("global", ",\"route\":\"product\"")};
    (void)state;
    set_rules(rules, 1);
    assert_int_equal(ask(&product, "ann", "192.0.2.1"), ANS_V_ok);
    assert_int_equal(ask(&product, "bob", "192.0.2.2"), ANS_V_global_rate);
}

/* --- what a rule counts for its metrics --- */

static int64_t counted(size_t rule, enum adm_limit_count what)
{
    return adm_limit_figures_sum(snapshot->limits->compiled[rule].figures, what);
}

#define TRIAL ",\"trial\":{\"rate\":2,\"period_s\":100}"

static void a_trial_counts_the_same_whatever_the_rule_decides(void **state)
{
    static const char *const modes[] = {"enforce", "shadow"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char text[256];
        const char *const rules[] = {text};
        (void)snprintf(
            text, sizeof text,
            "{\"algorithm\":\"fixed_window\",\"rate\":1,\"period_s\":100,\"key\":\"user\","
            "\"route\":\"product\",\"mode\":\"%s\"" TRIAL "}",
            modes[i]);
        set_rules(rules, 1);
        char user[] = {'u', (char)('0' + i), '\0'};
        for (int k = 0; k < 5; k++)
            (void)ask(&product, user, "192.0.2.1");
        assert_int_equal(counted(0, ADM_LIMIT_TRIAL_ASKED), 5 * (i + 1));
        assert_int_equal(counted(0, ADM_LIMIT_TRIAL_REFUSED), 3 * (i + 1));
        assert_int_equal(counted(0, ADM_LIMIT_REFUSED), 4);
        assert_int_equal(counted(0, ADM_LIMIT_SHADOW_REFUSED), 4 * i);
    }
}

static void a_looser_trial_counts_fewer_than_the_rule_refuses(void **state)
{
    static const char *const rules[] = {
        RULE("ip", ",\"route\":\"product\",\"trial\":{\"rate\":4,\"period_s\":100}")};
    (void)state;
    set_rules(rules, 1);
    for (int i = 0; i < 6; i++)
        (void)ask(&product, "", "192.0.2.1");
    assert_int_equal(counted(0, ADM_LIMIT_REFUSED), 5);
    assert_int_equal(counted(0, ADM_LIMIT_TRIAL_REFUSED), 2);
}

/* 16 times the trial's rate for the /48, asked only where the /64 fits. */
static void a_trial_counts_both_networks_of_an_address(void **state)
{
    static const char *const rules[] = {RULE("ip", ",\"route\":\"product\"" TRIAL)};
    char address[40];
    (void)state;
    set_rules(rules, 1);
    for (int i = 0; i < 3; i++)
        (void)ask(&product, "", "2001:db8:5:1::1");
    assert_int_equal(counted(0, ADM_LIMIT_TRIAL_REFUSED), 1);
    for (int i = 2; i < 34; i++) { /* two of 32 were used by the first */
        (void)snprintf(address, sizeof address, "2001:db8:5:%x::1", (unsigned)i);
        (void)ask(&product, "", address);
    }
    assert_int_equal(counted(0, ADM_LIMIT_TRIAL_REFUSED), 3);
}

static void a_rehearsal_is_in_no_count_of_a_rule(void **state)
{
    static const char *const rules[] = {RULE("ip", ",\"route\":\"product\"" TRIAL)};
    (void)state;
    set_rules(rules, 1);
    is_rehearsal = true;
    for (int i = 0; i < 5; i++)
        (void)ask(&product, "", "192.0.2.1");
    is_rehearsal = false;
    for (enum adm_limit_count i = 0; i < ADM_LIMIT_COUNTS; i++)
        assert_int_equal(counted(0, i), 0);
}

/* As the rule itself: each gateway counts by its share. */
static void in_a_cluster_the_trial_of_a_shared_rule_has_the_gateways_share(void **state)
{
    static const char *const rules[] = {
        RULE("global", ",\"route\":\"product\",\"trial\":{\"rate\":8,\"period_s\":100}")};
    (void)state;
    set_rules(rules, 1);
    adm_share_set(adm_limit_table_share(gates.limits), ADM_SHARE_ONE / 2, NOW_NS);
    for (int i = 0; i < 8; i++)
        (void)ask(&product, "ann", "192.0.2.1");
    assert_int_equal(counted(0, ADM_LIMIT_TRIAL_ASKED), 8);
    assert_int_equal(counted(0, ADM_LIMIT_TRIAL_REFUSED), 4);
}

static void the_figures_of_a_rule_outlive_its_versions_but_not_the_rule(void **state)
{
    static const char *const first[] = {RULE("ip", ",\"route\":\"product\"")};
    static const char *const second[] = {RULE("user", ",\"route\":\"product\"" TRIAL)};
    (void)state;
    set_rules(first, 1);
    for (int i = 0; i < 3; i++)
        (void)ask(&product, "ann", "192.0.2.1");
    set_rules(second, 1);
    assert_int_equal(counted(0, ADM_LIMIT_REFUSED), 2);
    set_rules(NULL, 0);
    set_rules(first, 1);
    assert_int_equal(counted(0, ADM_LIMIT_REFUSED), 0);
}

static void the_blocklist_comes_first(void **state)
{
    static const char *const rules[] = {RULE("ip", ",\"route\":\"product\"")};
    (void)state;
    assert_ok(adm_blocklist_user(snap_view_blocklist(view), "bot", INT64_MAX));
    set_rules(rules, 1);
    assert_int_equal(ask(&product, "bot", "192.0.2.1"), ANS_V_blocked);
    assert_int_equal(ask(&product, "ann", "192.0.2.1"), ANS_V_ok); /* bot was not counted */
}

static void overload_refuses_what_is_not_core_first(void **state)
{
    (void)state;
    set_rules(NULL, 0);
    shed.active = true;
    shed.cut_off = ADM_SHED_OTHER * ADM_SHED_BUCKETS; /* all but the last class */
    assert_int_equal(ask(&product, "ann", "192.0.2.1"), ANS_V_shed);
    assert_int_equal(ask(&cart, "ann", "192.0.2.1"), ANS_V_ok);
    shed.cut_off = ADM_SHED_STATUS * ADM_SHED_BUCKETS;
    assert_int_equal(ask(&cart, "ann", "192.0.2.1"), ANS_V_shed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_rule_for_a_route_counts_only_that_route, begin, end),
        cmocka_unit_test_setup_teardown(a_rule_for_pages_counts_all_routes_together, begin, end),
        cmocka_unit_test_setup_teardown(rules_for_orders_do_not_count_pages, begin, end),
        cmocka_unit_test_setup_teardown(a_rule_by_user_leaves_those_without_a_name_alone, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_global_rule_counts_everybody, begin, end),
        cmocka_unit_test_setup_teardown(a_trial_counts_the_same_whatever_the_rule_decides, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_looser_trial_counts_fewer_than_the_rule_refuses, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_trial_counts_both_networks_of_an_address, begin, end),
        cmocka_unit_test_setup_teardown(a_rehearsal_is_in_no_count_of_a_rule, begin, end),
        cmocka_unit_test_setup_teardown(
            in_a_cluster_the_trial_of_a_shared_rule_has_the_gateways_share, begin, end),
        cmocka_unit_test_setup_teardown(the_figures_of_a_rule_outlive_its_versions_but_not_the_rule,
                                        begin, end),
        cmocka_unit_test_setup_teardown(the_blocklist_comes_first, begin, end),
        cmocka_unit_test_setup_teardown(overload_refuses_what_is_not_core_first, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
