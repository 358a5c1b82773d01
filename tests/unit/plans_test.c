/* Runs of plans in virtual time: every state, and what leads out of it. The store is a real one,
 * which is closed and opened where a gateway would be killed. */
#include "tests/unit/doc_store.h"

#include "gateway/config/kinds/limit_rule.h"
#include "gateway/config/kinds/sale_doc.h"
#include "gateway/metrics.h"
#include "gateway/plans/plans.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RATE_STEP  "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rate\":20}}}"
#define BURST_STEP "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"burst\":7}}}"
#define BLOCK_STEP                                                                                 \
    "{\"put\":{\"kind\":\"block_user\",\"name\":\"mallory\",\"doc\":{\"reason\":\"bots\"}}}"
#define LEVEL_STEP "{\"override\":{\"target\":\"level\",\"value\":2}}"

static struct plans *plans;
static double share;
static const char *sale_is;
static char last[PS_NAME_MAX + 1]; /* the run asked for last */
static struct plan_outlook outlook;

/* --- A gateway of one's own. --- */

static int publish(void *ctx, int64_t revision)
{
    (void)ctx;
    (void)revision;
    return 0;
}

static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    (void)ctx;
    const struct cfg_doc *doc = to != NULL ? to : from;
    return doc->kind == &cfg_kind_run ? plans_put(plans, from, to) : 0;
}

static const char *holder(void *ctx, const struct cfg_kind *kind, const char *name)
{
    (void)ctx;
    return plans_holder(plans, kind, name);
}

static double share_now(void *ctx, enum cfg_signal signal)
{
    (void)ctx;
    assert_int_equal(signal, CFG_SIGNAL_COUNT);
    return share;
}

static const char *state_of_sale(void *ctx, const char *sale)
{
    (void)ctx;
    assert_string_equal(sale, "spring");
    return sale_is;
}

static void open_all(void)
{
    static const struct cfg_store_callbacks callbacks = {
        .publish = publish, .in_force = in_force, .holder = holder};
    assert_ok(cfg_store_open(&settings, &store, NULL));
    assert_ok(plans_new(
        &(struct plans_deps){.store = store, .share = share_now, .sale_state = state_of_sale},
        &plans));
    assert_ok(cfg_store_start(store, &callbacks));
}

static void close_all(void)
{
    close_store();
    plans_free(plans);
    plans = NULL;
}

static int make(void **state)
{
    (void)state;
    share = NAN;
    sale_is = NULL;
    make_files();
    open_all();
    return 0;
}

static int drop_all(void **state)
{
    plan_outlook_free(&outlook);
    close_all();
    return drop(state);
}

static void restart(void)
{
    close_all();
    open_all();
}

static struct cfg_change *new_change(const char *who)
{
    struct cfg_change *change = cfg_change_new(
        store, &(struct cfg_author){
                   .at_ms = clock_.wall_ms, .who = who, .peer = "", .action = "", .why = ""});
    assert_non_null(change);
    return change;
}

static void submit(struct cfg_change *change)
{
    assert_ok(cfg_change_submit(change, NULL, NULL));
    settle();
}

static void put(const struct cfg_kind *kind, const char *name, const char *text)
{
    struct cfg_change *change = new_change("ann");
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    int err = cfg_change_put(change, &(struct cfg_put){.kind = kind, .name = name, .json = json},
                             &refusal, &faults);
    if (err < 0)
        fail_msg("%s: %s %s", name, faults.at[0].path, faults.at[0].text);
    json_decref(json);
    submit(change);
}

static int try_delete(const struct cfg_kind *kind, const char *name)
{
    struct cfg_change *change = new_change("ann");
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    int err = cfg_change_drop(change, kind, name, "", &refusal, &faults);
    if (err < 0)
        cfg_change_free(change);
    else
        submit(change);
    return err;
}

/* A plan of these steps, with more members. */
static void prepare(const char *name, const char *steps, const char *more)
{
    char text[2048];
    (void)snprintf(text, sizeof text, "{\"title\":\"t\",\"steps\":[%s]%s}", steps, more);
    put(&cfg_kind_plan, name, text);
}

static int ask(const char *plan, struct plan_asked asked)
{
    const struct plan_world world = plans_world(plans);
    struct cfg_change *change = new_change("ann");
    struct plan_run *run;
    plans_new_id(plans, last);
    asked.name = last;
    asked.by = "ann";
    outlook.no = PLAN_MAY;
    outlook.faults = (struct ps_faults){0};
    int err = plan_run_ask(&world, cfg_store_find(store, &cfg_kind_plan, plan), &asked, change,
                           &outlook, &run);
    plan_run_free(run);
    if (err == 0)
        submit(change);
    else
        cfg_change_free(change);
    return err;
}

static void start(const char *plan)
{
    if (ask(plan, (struct plan_asked){.reason = "a drill"}) < 0)
        fail_msg("%s %s", outlook.faults.at[0].path, outlook.faults.at[0].text);
}

enum hand { APPROVE, CANCEL, KEEP, REVERT, FORCE };

static int by_hand(const char *name, enum hand hand, const char *who)
{
    const struct plan_world world = plans_world(plans);
    struct cfg_change *change = new_change(who);
    struct ps_fault fault = {0};
    struct plan_run *run;
    int err;
    assert_ok(plan_run_read(cfg_store_find(store, &cfg_kind_run, name), &run));
    if (hand == APPROVE)
        err = plan_run_approve(&world, run, who, change, &fault);
    else if (hand == CANCEL)
        err = plan_run_cancel(&world, run, change, &fault);
    else if (hand == KEEP)
        err = plan_run_keep(&world, run, change, &fault);
    else
        err = plan_run_revert(&world, run, CFG_END_REVERTED, hand == FORCE, change, &fault);
    plan_run_free(run);
    if (err < 0)
        cfg_change_free(change);
    else
        submit(change);
    return err;
}

static void pass(int64_t seconds)
{
    clock_.wall_ms += seconds * 1000;
    cfg_store_tick(store);
    settle();
    plans_tick(plans);
    settle();
}

static const struct cfg_run *run_of(const char *name)
{
    const struct cfg_doc *doc = cfg_store_find(store, &cfg_kind_run, name);
    assert_non_null(doc);
    return cfg_run_of(doc);
}

static void assert_run(const char *name, enum cfg_run_state state, enum cfg_run_end end)
{
    const struct cfg_run *run = run_of(name);
    if (run->state != state || run->end != end)
        fail_msg("it is %s %s: %s", cfg_run_states[run->state], cfg_run_ends[run->end],
                 run->why != NULL ? run->why : "");
}

static int64_t rate(void)
{
    return cfg_rule_of(cfg_store_find(store, &cfg_kind_limit, "ip"))->rate;
}

static int64_t burst(void)
{
    return cfg_rule_of(cfg_store_find(store, &cfg_kind_limit, "ip"))->burst;
}

static int level(void)
{
    return cfg_overridden(store, CFG_OVERRIDE_LEVEL, NULL, -1);
}

static bool is_blocked(void)
{
    return cfg_store_find(store, &cfg_kind_user, "mallory") != NULL;
}

static void put_rate(int to)
{
    char text[256];
    (void)snprintf(text, sizeof text,
                   "{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":%d,\"period_s\":10,"
                   "\"burst\":%d}",
                   to, (int)burst());
    put(&cfg_kind_limit, "ip", text);
}

/* --- Begin and end. --- */

static void all_steps_come_into_force_and_are_taken_back_in_time(void **state)
{
    (void)state;
    prepare("p", RATE_STEP "," BLOCK_STEP "," LEVEL_STEP, ",\"ttl_s\":60");
    start("p");
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_int_equal(rate(), 20);
    assert_int_equal(level(), 2);
    assert_true(is_blocked());
    pass(59);
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    pass(1);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    assert_int_equal(rate(), 50);
    assert_int_equal(level(), -1);
    assert_false(is_blocked());
}

static void one_step_that_does_not_fit_means_that_nothing_happens(void **state)
{
    (void)state;
    prepare("p",
            RATE_STEP "," LEVEL_STEP ",{\"patch\":{\"kind\":\"limit\",\"name\":\"none\","
                      "\"with\":{\"rate\":1}}}",
            ",\"ttl_s\":60");
    assert_int_equal(ask("p", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_INVALID);
    assert_string_equal(outlook.faults.at[0].path, "/steps/2/patch/name");
    assert_int_equal(rate(), 50);
    assert_int_equal(level(), -1);
    assert_int_equal(cfg_store_count(store, &cfg_kind_run), 0);
}

/* What another document makes of a step is judged when it is run, and points to the step. */
static void a_fault_of_a_document_points_into_the_plan(void **state)
{
    static const struct {
        const char *step, *pointer;
    } bad[] = {
        {"{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"algorithm\":\"fixed_window\"}}"
         "}",
         "/steps/0/patch/with/burst"},
        {"{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"sale\":\"none\"}}}",
         "/steps/0/patch/with/sale"},
        {"{\"put\":{\"kind\":\"route\",\"name\":\"r\",\"doc\":{\"path\":\"/p/\",\"pool\":\"no\"}}}",
         "/steps/0/put/doc/pool"},
        {"{\"override\":{\"target\":\"limit:none\",\"value\":\"off\"}}",
         "/steps/0/override/target"},
        {"{\"override\":{\"target\":\"fallback:none\",\"value\":\"on\"}}",
         "/steps/0/override/target"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "p%zu", i);
        prepare(name, bad[i].step, ",\"ttl_s\":60");
        assert_int_equal(ask(name, (struct plan_asked){.reason = ""}), PS_E_INVALID);
        assert_int_equal(outlook.no, PLAN_INVALID);
        if (strcmp(outlook.faults.at[0].path, bad[i].pointer) != 0)
            fail_msg("%s: at %s: %s", bad[i].step, outlook.faults.at[0].path,
                     outlook.faults.at[0].text);
    }
}

static void what_is_there_already_is_not_put(void **state)
{
    (void)state;
    put(&cfg_kind_user, "mallory", "{}");
    prepare("p", BLOCK_STEP, ",\"ttl_s\":60");
    assert_int_equal(ask("p", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_string_equal(outlook.faults.at[0].path, "/steps/0/put/name");
}

static void a_run_has_the_time_that_it_was_started_with(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":null");
    assert_ok(ask("p", (struct plan_asked){.ttl_s = 5}));
    pass(5);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    start("p");
    pass(604800);
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_ok(by_hand(last, REVERT, "ann"));
    assert_run(last, CFG_RUN_ENDED, CFG_END_REVERTED);
    assert_int_equal(rate(), 50);
}

static void a_member_that_is_no_object_is_taken_back_whole(void **state)
{
    (void)state;
    put(&cfg_kind_pool, "web", "{\"endpoints\":[{\"address\":\"127.0.0.1:9001\"}]}");
    put(&cfg_kind_route, "r", "{\"path\":\"/p/\",\"pool\":\"web\"}");
    char *before = strdup(cfg_store_find(store, &cfg_kind_route, "r")->json);
    prepare(
        "p",
        "{\"patch\":{\"kind\":\"route\",\"name\":\"r\",\"with\":{\"cache\":{\"default_ttl_s\":5},"
        "\"fallback\":[{\"kind\":\"stale\"},{\"kind\":\"problem\"}]}}}",
        ",\"ttl_s\":60");
    start("p");
    assert_string_not_equal(cfg_store_find(store, &cfg_kind_route, "r")->json, before);
    pass(60);
    assert_string_equal(cfg_store_find(store, &cfg_kind_route, "r")->json, before);
    free(before);
}

/* --- The table of states. --- */

/* A run in this state; its name is in `last`. */
static void bring_to(enum cfg_run_state state)
{
    static int number;
    char name[16];
    (void)snprintf(name, sizeof name, "t%d", ++number);
    prepare(name, RATE_STEP "," BURST_STEP,
            state == CFG_RUN_WAITING ? ",\"ttl_s\":60,\"approvals\":1"
            : state == CFG_RUN_ARMED
                ? ",\"ttl_s\":60,\"start\":{\"signal\":\"pressure\",\"above\":0.9,\"for_s\":0}"
                : ",\"ttl_s\":60");
    start(name);
    if (state == CFG_RUN_SUSPENDED) {
        put_rate(33);
        assert_ok(by_hand(last, REVERT, "ann"));
    } else if (state == CFG_RUN_ENDED) {
        assert_ok(by_hand(last, REVERT, "ann"));
    }
    assert_int_equal(run_of(last)->state, state);
}

static void each_state_takes_what_is_its_own(void **unused)
{
    static const struct {
        enum cfg_run_state from;
        enum hand hand;
        int err;
        enum cfg_run_state to;
        enum cfg_run_end end;
    } table[] = {
        {CFG_RUN_WAITING, APPROVE, 0, CFG_RUN_ACTIVE, CFG_END_NONE},
        {CFG_RUN_WAITING, CANCEL, 0, CFG_RUN_ENDED, CFG_END_CANCELLED},
        {CFG_RUN_WAITING, KEEP, PS_E_CONFLICT, CFG_RUN_WAITING, CFG_END_NONE},
        {CFG_RUN_WAITING, REVERT, PS_E_CONFLICT, CFG_RUN_WAITING, CFG_END_NONE},
        {CFG_RUN_WAITING, FORCE, PS_E_CONFLICT, CFG_RUN_WAITING, CFG_END_NONE},
        {CFG_RUN_ARMED, APPROVE, PS_E_CONFLICT, CFG_RUN_ARMED, CFG_END_NONE},
        {CFG_RUN_ARMED, CANCEL, 0, CFG_RUN_ENDED, CFG_END_CANCELLED},
        {CFG_RUN_ARMED, KEEP, PS_E_CONFLICT, CFG_RUN_ARMED, CFG_END_NONE},
        {CFG_RUN_ARMED, REVERT, PS_E_CONFLICT, CFG_RUN_ARMED, CFG_END_NONE},
        {CFG_RUN_ARMED, FORCE, PS_E_CONFLICT, CFG_RUN_ARMED, CFG_END_NONE},
        {CFG_RUN_ACTIVE, APPROVE, PS_E_CONFLICT, CFG_RUN_ACTIVE, CFG_END_NONE},
        {CFG_RUN_ACTIVE, CANCEL, PS_E_CONFLICT, CFG_RUN_ACTIVE, CFG_END_NONE},
        {CFG_RUN_ACTIVE, KEEP, 0, CFG_RUN_ENDED, CFG_END_KEPT},
        {CFG_RUN_ACTIVE, REVERT, 0, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_ACTIVE, FORCE, 0, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_SUSPENDED, APPROVE, PS_E_CONFLICT, CFG_RUN_SUSPENDED, CFG_END_NONE},
        {CFG_RUN_SUSPENDED, CANCEL, PS_E_CONFLICT, CFG_RUN_SUSPENDED, CFG_END_NONE},
        {CFG_RUN_SUSPENDED, KEEP, 0, CFG_RUN_ENDED, CFG_END_KEPT},
        {CFG_RUN_SUSPENDED, REVERT, PS_E_CONFLICT, CFG_RUN_SUSPENDED, CFG_END_NONE},
        {CFG_RUN_SUSPENDED, FORCE, 0, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_ENDED, APPROVE, PS_E_CONFLICT, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_ENDED, CANCEL, PS_E_CONFLICT, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_ENDED, KEEP, PS_E_CONFLICT, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_ENDED, REVERT, PS_E_CONFLICT, CFG_RUN_ENDED, CFG_END_REVERTED},
        {CFG_RUN_ENDED, FORCE, PS_E_CONFLICT, CFG_RUN_ENDED, CFG_END_REVERTED},
    };
    (void)unused;
    for (size_t i = 0; i < PS_ARRAY_LEN(table); i++) {
        bring_to(table[i].from);
        bool restarts = i % 2 == 0; /* it makes no difference */
        if (restarts)
            restart();
        int err = by_hand(last, table[i].hand, "bob");
        if (err != table[i].err)
            fail_msg("row %zu: %d", i, err);
        assert_run(last, table[i].to, table[i].end);
        if (table[i].to == CFG_RUN_ACTIVE || table[i].to == CFG_RUN_SUSPENDED)
            assert_ok(by_hand(last, FORCE, "bob"));
        else if (table[i].to != CFG_RUN_ENDED)
            assert_ok(by_hand(last, CANCEL, "bob"));
        put(&cfg_kind_limit, "ip",
            "{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":50,\"period_s\":10,"
            "\"burst\":100}");
    }
}

/* --- Moments. --- */

static void an_armed_run_starts_at_its_time_once(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60,\"start\":{\"at\":\"2030-03-17T17:47:00Z\"}");
    start("p");
    assert_run(last, CFG_RUN_ARMED, CFG_END_NONE);
    pass(19);
    assert_run(last, CFG_RUN_ARMED, CFG_END_NONE);
    pass(11); /* a little late: nobody looked */
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_int_equal(run_of(last)->until_ms, clock_.wall_ms + 60000);
    pass(60);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    pass(60);
    assert_int_equal(rate(), 50);
}

static void a_moment_that_nobody_saw_is_made_up_for_a_minute(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60,\"start\":{\"at\":\"2030-03-17T17:47:00Z\"}");
    start("p");
    char first[PS_NAME_MAX + 1];
    memcpy(first, last, sizeof first);
    close_all();
    clock_.wall_ms += (20 + 60) * 1000;
    open_all();
    pass(0);
    assert_run(first, CFG_RUN_ENDED, CFG_END_FAILED);
    assert_non_null(strstr(run_of(first)->why, "while no gateway was up"));
    assert_int_equal(rate(), 50);
    assert_int_equal(ask("p", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_NOT_SO);
}

static void a_run_starts_before_the_opening_wherever_that_moves(void **state)
{
    (void)state;
    put(&cfg_kind_sale, "spring",
        "{\"opens_at\":\"2030-03-17T18:00:00Z\",\"skus\":[{\"sku\":\"a\",\"stock\":1}]}");
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"sale\":\"spring\",\"before_opening_s\":60}");
    start("p");
    put(&cfg_kind_sale, "spring",
        "{\"opens_at\":\"2030-03-17T19:00:00Z\",\"skus\":[{\"sku\":\"a\",\"stock\":1}]}");
    clock_.wall_ms = T0 + 800 * 1000; /* 18:00:00 */
    pass(0);
    assert_run(last, CFG_RUN_ARMED, CFG_END_NONE);
    clock_.wall_ms += 3540 * 1000;
    pass(-1);
    assert_run(last, CFG_RUN_ARMED, CFG_END_NONE);
    pass(1);
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
}

static void a_run_whose_sale_is_gone_fails(void **state)
{
    (void)state;
    put(&cfg_kind_sale, "spring",
        "{\"opens_at\":\"2030-03-17T18:00:00Z\",\"skus\":[{\"sku\":\"a\",\"stock\":1}]}");
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"sale\":\"spring\",\"before_opening_s\":60}");
    start("p");
    assert_ok(try_delete(&cfg_kind_sale, "spring"));
    pass(1);
    assert_run(last, CFG_RUN_ENDED, CFG_END_FAILED);
    assert_int_equal(ask("p", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_string_equal(outlook.faults.at[0].path, "/start/sale");
}

static void a_signal_starts_a_run_that_is_high_for_long_enough(void **state)
{
    (void)state;
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"signal\":\"pressure\",\"above\":0.9,\"for_s\":10}");
    start("p");
    share = 0.95;
    pass(1);
    pass(9);
    share = 0.9; /* not above */
    pass(1);
    share = 0.95;
    pass(1);
    pass(9);
    assert_run(last, CFG_RUN_ARMED, CFG_END_NONE);
    pass(1);
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
}

static void an_armed_run_lapses(void **state)
{
    (void)state;
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"signal\":\"pressure\",\"above\":0.9,\"for_s\":10}");
    start("p");
    pass(86399);
    assert_run(last, CFG_RUN_ARMED, CFG_END_NONE);
    pass(1);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    assert_ok(ask("p", (struct plan_asked){.arm_ttl_s = 5}));
    pass(5);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    prepare("q", RATE_STEP, ",\"ttl_s\":60,\"start\":{\"at\":\"2030-04-17T17:47:00Z\"}");
    assert_int_equal(ask("q", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_string_equal(outlook.faults.at[0].path, "/arm_ttl_s");
    assert_non_null(strstr(outlook.faults.at[0].text, "starts at 2030-04-17T17:47:00"));
    assert_non_null(strstr(outlook.faults.at[0].text, ", after this would lapse at 20"));
}

static void a_run_that_should_have_ended_while_all_was_down_ends_at_the_start(void **state)
{
    (void)state;
    prepare("p", RATE_STEP "," BLOCK_STEP "," LEVEL_STEP, ",\"ttl_s\":60");
    start("p");
    close_all();
    clock_.wall_ms += 3600 * 1000;
    open_all();
    assert_int_equal(rate(), 20);
    assert_int_equal(level(), -1); /* it ends by itself */
    pass(0);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    assert_int_equal(rate(), 50);
    assert_false(is_blocked());
}

/* --- Approvals and preconditions. --- */

static void a_run_needs_other_tokens_than_its_own(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60,\"approvals\":2");
    start("p");
    assert_run(last, CFG_RUN_WAITING, CFG_END_NONE);
    assert_int_equal(by_hand(last, APPROVE, "ann"), PS_E_CONFLICT);
    assert_ok(by_hand(last, APPROVE, "bob"));
    assert_int_equal(by_hand(last, APPROVE, "bob"), PS_E_CONFLICT);
    assert_run(last, CFG_RUN_WAITING, CFG_END_NONE);
    restart();
    assert_ok(by_hand(last, APPROVE, "eve"));
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_int_equal(rate(), 20);
}

static void broken_glass_needs_no_approval(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60,\"approvals\":2");
    assert_ok(ask("p", (struct plan_asked){.reason = "it burns", .break_glass = true}));
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_true(run_of(last)->break_glass);
}

static void an_approval_that_comes_too_late_is_of_no_use(void **state)
{
    (void)state;
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"approvals\":1,\"start\":{\"at\":\"2030-03-17T17:47:00Z\"}");
    start("p");
    pass(20);
    assert_run(last, CFG_RUN_ENDED, CFG_END_FAILED);
    assert_non_null(strstr(run_of(last)->why, "while it waited for approval"));
}

static void a_false_precondition_means_that_nothing_happens(void **state)
{
    (void)state;
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"when\":[{\"gateways_min\":1},{\"sale\":\"spring\",\"state\":\"open\"},"
            "{\"signal\":\"pressure\",\"above\":0.6}]");
    assert_int_equal(ask("p", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_NOT_SO);
    assert_int_equal(outlook.faults.count, 2);
    assert_string_equal(outlook.faults.at[0].path, "/when/1");
    assert_int_equal(json_array_size(outlook.preconditions), 3);
    sale_is = "open";
    share = 0.7;
    start("p");
    assert_run(last, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_ok(by_hand(last, REVERT, "ann"));

    prepare("q", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"at\":\"2030-03-17T17:47:00Z\"},"
            "\"when\":[{\"sale\":\"spring\",\"state\":\"open\"}]");
    start("q");
    sale_is = "paused";
    pass(20);
    assert_run(last, CFG_RUN_ENDED, CFG_END_FAILED);
    assert_string_equal(run_of(last)->why, "/when/0 is not so: it is \"paused\"");
    assert_int_equal(rate(), 50);
}

/* --- What others change meanwhile. --- */

static void what_somebody_changed_since_is_left_and_the_rest_taken_back(void **state)
{
    (void)state;
    prepare("p", RATE_STEP "," BURST_STEP "," BLOCK_STEP, ",\"ttl_s\":60");
    start("p");
    put_rate(33);
    pass(60);
    assert_run(last, CFG_RUN_SUSPENDED, CFG_END_NONE);
    assert_string_equal(run_of(last)->why,
                        "limits/ip /rate was changed since; the version in force is by ann");
    assert_int_equal(rate(), 33);
    assert_int_equal(burst(), 100);
    assert_false(is_blocked());
    /* It goes on holding the rule. */
    prepare("q", RATE_STEP, ",\"ttl_s\":60");
    assert_int_equal(ask("q", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_CLASHES);
}

static void a_suspended_run_is_done_once_it_is_as_it_left_it(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60");
    start("p");
    put_rate(33);
    pass(60);
    assert_int_equal(by_hand(last, REVERT, "ann"), PS_E_CONFLICT);
    put_rate(20);
    assert_ok(by_hand(last, REVERT, "ann"));
    assert_run(last, CFG_RUN_ENDED, CFG_END_REVERTED);
    assert_int_equal(rate(), 50);
}

static void what_is_as_before_already_needs_nobody(void **state)
{
    (void)state;
    prepare("p", RATE_STEP "," BLOCK_STEP, ",\"ttl_s\":60");
    start("p");
    put_rate(50);
    pass(60);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
}

static void an_override_that_somebody_replaced_or_ended_is_left(void **state)
{
    (void)state;
    prepare("p", RATE_STEP "," LEVEL_STEP, ",\"ttl_s\":60");
    start("p");
    put(&cfg_kind_override, "level", "{\"value\":4,\"until\":\"2030-03-17T18:00:00Z\"}");
    pass(60);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    assert_int_equal(level(), 4);
    assert_non_null(strstr(run_of(last)->changes, "\"done\":\"gone\""));
    assert_ok(try_delete(&cfg_kind_override, "level"));
    start("p");
    assert_ok(try_delete(&cfg_kind_override, "level"));
    assert_ok(by_hand(last, REVERT, "ann"));
    assert_run(last, CFG_RUN_ENDED, CFG_END_REVERTED);
}

static void an_override_that_was_there_before_comes_back(void **state)
{
    (void)state;
    put(&cfg_kind_override, "level", "{\"value\":1,\"until\":\"2030-03-17T17:49:00Z\"}");
    prepare("p", LEVEL_STEP, ",\"ttl_s\":60");
    start("p");
    assert_int_equal(level(), 2);
    assert_ok(by_hand(last, REVERT, "ann"));
    assert_int_equal(level(), 1);
    assert_ok(ask("p", (struct plan_asked){.ttl_s = 600}));
    pass(600);
    assert_int_equal(level(), -1);
}

static void what_the_gateway_refuses_to_take_back_is_left(void **state)
{
    (void)state;
    put(&cfg_kind_pool, "web", "{\"endpoints\":[{\"address\":\"127.0.0.1:9001\"}]}");
    prepare("p",
            RATE_STEP ",{\"put\":{\"kind\":\"pool\",\"name\":\"spare\",\"doc\":{\"endpoints\":["
                      "{\"address\":\"127.0.0.1:9002\"}]}}}",
            ",\"ttl_s\":60");
    start("p");
    put(&cfg_kind_route, "r", "{\"path\":\"/p/\",\"pool\":\"spare\"}");
    pass(60);
    assert_run(last, CFG_RUN_SUSPENDED, CFG_END_NONE);
    assert_non_null(strstr(run_of(last)->why, "is named by route"));
    assert_int_equal(rate(), 50);
    put(&cfg_kind_route, "r", "{\"path\":\"/p/\",\"pool\":\"web\"}");
    assert_ok(by_hand(last, REVERT, "ann"));
    assert_null(cfg_store_find(store, &cfg_kind_pool, "spare"));
}

static void what_a_run_holds_is_not_deleted(void **state)
{
    (void)state;
    prepare("p", BLOCK_STEP, ",\"ttl_s\":60");
    start("p");
    assert_int_equal(try_delete(&cfg_kind_user, "mallory"), PS_E_CONFLICT);
    assert_int_equal(try_delete(&cfg_kind_plan, "p"), PS_E_CONFLICT);
    pass(60);
    assert_false(is_blocked());
    assert_ok(try_delete(&cfg_kind_plan, "p"));
}

static void a_run_goes_by_the_plan_as_it_was(void **state)
{
    (void)state;
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"signal\":\"pressure\",\"above\":0.9,\"for_s\":0}");
    start("p");
    prepare("p", BURST_STEP, ",\"ttl_s\":5");
    share = 1;
    pass(0);
    assert_int_equal(rate(), 20);
    assert_int_equal(burst(), 100);
    assert_int_equal(run_of(last)->until_ms, clock_.wall_ms + 60000);
}

/* --- Two runs. --- */

static void two_runs_do_not_change_the_same(void **state)
{
    char first[PS_NAME_MAX + 1];
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60");
    prepare("q", "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"rate\":5}}}",
            ",\"ttl_s\":120");
    prepare("other", BURST_STEP, ",\"ttl_s\":60");
    start("p");
    memcpy(first, last, sizeof first);
    assert_int_equal(ask("q", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_CLASHES);
    assert_non_null(strstr(outlook.faults.at[0].text, first));
    start("other"); /* another member of the same document */
    assert_ok(ask("q", (struct plan_asked){.force = true}));
    assert_int_equal(rate(), 5);
    assert_run(first, CFG_RUN_ENDED, CFG_END_TAKEN_OVER);
    pass(60);
    assert_int_equal(rate(), 5);
    assert_int_equal(burst(), 100);
    pass(60);
    assert_int_equal(rate(), 50); /* the first state */
}

static void who_takes_over_a_part_leaves_the_rest(void **state)
{
    char first[PS_NAME_MAX + 1];
    (void)state;
    prepare("p", RATE_STEP "," LEVEL_STEP, ",\"ttl_s\":60");
    prepare("q", "{\"override\":{\"target\":\"level\",\"value\":3}}", ",\"ttl_s\":120");
    put(&cfg_kind_override, "level", "{\"value\":1,\"until\":\"2030-03-17T18:00:00Z\"}");
    start("p");
    memcpy(first, last, sizeof first);
    assert_ok(ask("q", (struct plan_asked){.force = true}));
    assert_run(first, CFG_RUN_ACTIVE, CFG_END_NONE);
    assert_int_equal(level(), 3);
    pass(60);
    assert_run(first, CFG_RUN_ENDED, CFG_END_EXPIRED);
    assert_int_equal(rate(), 50);
    assert_int_equal(level(), 3);
    pass(60);
    assert_int_equal(level(), 1);
}

static void an_override_of_a_limit_and_its_mode_are_the_same(void **state)
{
    (void)state;
    prepare("p", "{\"patch\":{\"kind\":\"limit\",\"name\":\"ip\",\"with\":{\"mode\":\"off\"}}}",
            ",\"ttl_s\":60");
    prepare("q", "{\"override\":{\"target\":\"limit:ip\",\"value\":\"shadow\"}}", ",\"ttl_s\":90");
    start("p");
    assert_int_equal(ask("q", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_CLASHES);
    assert_ok(ask("q", (struct plan_asked){.force = true}));
    pass(90);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    assert_int_equal(cfg_rule_of(cfg_store_find(store, &cfg_kind_limit, "ip"))->mode,
                     CFG_LIMIT_ENFORCE);
}

static void what_would_be_without_runs_is_known(void **state)
{
    (void)state;
    prepare("p", RATE_STEP "," BLOCK_STEP, ",\"ttl_s\":60");
    start("p");
    json_t *rule = cfg_doc_json(cfg_store_find(store, &cfg_kind_limit, "ip"));
    assert_true(plans_undo(plans, &cfg_kind_limit, "ip", rule));
    assert_int_equal(json_integer_value(json_object_get(rule, "rate")), 50);
    json_decref(rule);
    json_t *entry = cfg_doc_json(cfg_store_find(store, &cfg_kind_user, "mallory"));
    assert_false(plans_undo(plans, &cfg_kind_user, "mallory", entry));
    json_decref(entry);
}

/* --- Bounds. --- */

static void there_are_only_so_many_runs_at_once(void **state)
{
    char first[PS_NAME_MAX + 1];
    (void)state;
    prepare("p", RATE_STEP,
            ",\"ttl_s\":60,\"start\":{\"signal\":\"pressure\",\"above\":0.9,\"for_s\":0}");
    for (int i = 0; i < CFG_RUNS_LIVE_MAX; i++)
        start("p");
    memcpy(first, last, sizeof first);
    assert_int_equal(ask("p", (struct plan_asked){.reason = ""}), PS_E_INVALID);
    assert_int_equal(outlook.no, PLAN_NOT_SO);
    assert_ok(by_hand(first, CANCEL, "ann"));
    start("p");
}

static void a_run_that_has_ended_is_kept_for_thirty_days(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60");
    start("p");
    pass(60);
    pass(30 * 86400 - 1);
    assert_run(last, CFG_RUN_ENDED, CFG_END_EXPIRED);
    pass(1);
    assert_null(cfg_store_find(store, &cfg_kind_run, last));
}

static void ended_runs_are_counted_once_over_a_restart_until_they_are_forgotten(void **state)
{
    (void)state;
    prepare("p", RATE_STEP, ",\"ttl_s\":60");
    for (int i = 0; i < 3; i++) {
        start("p");
        assert_int_equal(plans_live(plans)->ended, i);
        assert_ok(by_hand(last, i == 1 ? KEEP : REVERT, "ann"));
        put_rate(50);
    }
    size_t bytes = plans_live(plans)->ended_bytes;
    assert_int_equal(plans_live(plans)->ended, 3);
    assert_true(bytes > 3 * strlen(cfg_store_find(store, &cfg_kind_plan, "p")->json));
    restart();
    assert_int_equal(plans_live(plans)->ended, 3);
    assert_int_equal(plans_live(plans)->ended_bytes, bytes);
    pass(CFG_RUN_KEPT_MS / 1000);
    assert_int_equal(plans_live(plans)->ended, 0);
    assert_int_equal(plans_live(plans)->ended_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_steps_come_into_force_and_are_taken_back_in_time),
        TEST(one_step_that_does_not_fit_means_that_nothing_happens),
        TEST(a_fault_of_a_document_points_into_the_plan),
        TEST(what_is_there_already_is_not_put),
        TEST(a_run_has_the_time_that_it_was_started_with),
        TEST(a_member_that_is_no_object_is_taken_back_whole),
        TEST(each_state_takes_what_is_its_own),
        TEST(an_armed_run_starts_at_its_time_once),
        TEST(a_moment_that_nobody_saw_is_made_up_for_a_minute),
        TEST(a_run_starts_before_the_opening_wherever_that_moves),
        TEST(a_run_whose_sale_is_gone_fails),
        TEST(a_signal_starts_a_run_that_is_high_for_long_enough),
        TEST(an_armed_run_lapses),
        TEST(a_run_that_should_have_ended_while_all_was_down_ends_at_the_start),
        TEST(a_run_needs_other_tokens_than_its_own),
        TEST(broken_glass_needs_no_approval),
        TEST(an_approval_that_comes_too_late_is_of_no_use),
        TEST(a_false_precondition_means_that_nothing_happens),
        TEST(what_somebody_changed_since_is_left_and_the_rest_taken_back),
        TEST(a_suspended_run_is_done_once_it_is_as_it_left_it),
        TEST(what_is_as_before_already_needs_nobody),
        TEST(an_override_that_somebody_replaced_or_ended_is_left),
        TEST(an_override_that_was_there_before_comes_back),
        TEST(what_the_gateway_refuses_to_take_back_is_left),
        TEST(what_a_run_holds_is_not_deleted),
        TEST(a_run_goes_by_the_plan_as_it_was),
        TEST(two_runs_do_not_change_the_same),
        TEST(who_takes_over_a_part_leaves_the_rest),
        TEST(an_override_of_a_limit_and_its_mode_are_the_same),
        TEST(what_would_be_without_runs_is_known),
        TEST(there_are_only_so_many_runs_at_once),
        TEST(a_run_that_has_ended_is_kept_for_thirty_days),
        TEST(ended_runs_are_counted_once_over_a_restart_until_they_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
