/* What operators decided, shared by gateways over one real Redis: the control threads' memories and
 * control.dbs of several gateways on one loop, without workers. */
#include "tests/contract/config_fixture.h"
#include "tests/unit/temp_dir.h"

#include "gateway/config/store/sync.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* --- claims --- */

static void a_change_is_taken_over_by_the_others(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 10, 1));
    assert_ok(put_sale(a, "spring", 20, 2));
    until_version(b, "spring", 2);
    assert_int_equal(stock_of(b, "spring"), 20);
    assert_ok(put_sale(b, "spring", 30, 3));
    until_version(a, "spring", 3);
    assert_int_equal(stock_of(a, "spring"), 30);
    stop(b); /* and it is in its control.db */
    start(b);
    assert_int_equal(version_of(b, "spring"), 3);
}

static void limits_and_blocklist_are_taken_over_as_one(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_rule(a, "extra", 77));
    assert_ok(put_block(a, "mallory"));
    while (revision_of(b) != 3)
        turn();
    assert_true(blocked(b, "mallory"));
    assert_int_equal(rate_of(b, "extra"), 77);
    assert_ok(put_block(b, "eve"));
    assert_ok(drop_entries(b, "extra", "mallory"));
    while (revision_of(a) != 5)
        turn();
    assert_false(blocked(a, "mallory"));
    assert_true(blocked(a, "eve"));
    assert_int_equal(rate_of(a, "extra"), 0);
    stop(a);
    start(a); /* and so says its control.db */
    assert_false(blocked(a, "mallory"));
    assert_true(blocked(a, "eve"));
    assert_int_equal(rule_count(a), 5);
    assert_int_equal(revision_of(a), 5);
}

static void of_a_long_blocklist_only_what_changes_is_moved(void **state)
{
    char name[16];
    (void)state;
    start_shared(a);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof name, "user%d", i * 7 % 300);
        assert_ok(put_block(a, name));
    }
    start_shared(b);
    assert_int_equal(block_count(b), 300);
    assert_ok(drop_entries(b, "", "user150"));
    while (revision_of(a) != revision_of(b))
        turn();
    assert_int_equal(block_count(a), 299);
    assert_false(blocked(a, "user150"));
    assert_true(is_blocklist_sorted(a));
    /* the last change: the version and one entry */
    assert_int_equal(shared_with_last_change(), 1);
}

static void of_two_changes_of_one_version_one_wins(void **state)
{
    struct change mine, his;
    (void)state;
    share_spring();
    for (int64_t version = 2; version < 12; version++) {
        begin_sale(a, "spring", 100, version, &mine);
        begin_sale(b, "spring", 200, version, &his);
        (void)answer(&mine);
        (void)answer(&his);
        assert_int_equal(mine.err + his.err, PS_E_CONFLICT);
        assert_int_equal(mine.version_heard, version); /* the loser has the winner's copy */
        assert_int_equal(his.version_heard, version);
        until_version(a, "spring", version);
        until_version(b, "spring", version);
        assert_int_equal(stock_of(a, "spring"), mine.err == 0 ? 100 : 200);
        assert_int_equal(stock_of(b, "spring"), mine.err == 0 ? 100 : 200);
    }
}

static void two_changes_of_the_policy_are_one_after_the_other(void **state)
{
    struct change mine, his;
    (void)state;
    start_shared(a);
    start_shared(b);
    begin_block(a, "mallory", INT64_MAX, &mine);
    begin_block(b, "trudy", INT64_MAX, &his);
    assert_ok(answer(&mine)); /* of two documents */
    assert_ok(answer(&his));
    while (revision_of(a) != revision_of(b))
        turn();
    assert_true(blocked(a, "trudy") && blocked(a, "mallory"));
    assert_true(blocked(b, "trudy") && blocked(b, "mallory"));
}

static const char pool_text[] = "{\"endpoints\":[{\"address\":\"127.0.0.1:9001\"}]}";
static const char route_text[] = "{\"path\":\"/p/\",\"pool\":\"web\"}";

static void pools_and_routes_are_taken_over_by_the_others(void **state)
{
    struct change pool, route;
    (void)state;
    start_shared(a);
    start_shared(b);
    begin_document(a, &cfg_kind_pool, "web", pool_text, &pool);
    assert_ok(answer(&pool));
    begin_document(a, &cfg_kind_route, "product", route_text, &route);
    assert_ok(answer(&route));
    while (!has_document(b, &cfg_kind_route, "product"))
        turn();
    assert_true(has_document(b, &cfg_kind_pool, "web"));
}

/* Both were checked when they were made, when there was a pool and nobody named it. */
static void a_route_whose_pool_goes_before_its_turn_is_refused(void **state)
{
    struct change pool, route;
    (void)state;
    start_shared(a);
    begin_document(a, &cfg_kind_pool, "web", pool_text, &pool);
    assert_ok(answer(&pool));
    begin_document(a, &cfg_kind_pool, "web", NULL, &pool);
    begin_document(a, &cfg_kind_route, "product", route_text, &route);
    assert_ok(answer(&pool));
    assert_int_equal(answer(&route), PS_E_CONFLICT);
    assert_false(has_document(a, &cfg_kind_route, "product"));
    begin_document(a, &cfg_kind_pool, "web", pool_text, &pool);
    assert_ok(answer(&pool));
    begin_document(a, &cfg_kind_route, "product", route_text, &route);
    begin_document(a, &cfg_kind_pool, "web", NULL, &pool);
    assert_ok(answer(&route));
    assert_int_equal(answer(&pool), PS_E_CONFLICT);
    assert_true(has_document(a, &cfg_kind_pool, "web"));
}

static void an_emptied_redis_gets_everything_back(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 1, 1));
    assert_ok(put_sale(a, "spring", 2, 2));
    assert_ok(put_block(a, "mallory"));
    until_version(b, "spring", 2);
    redis_do(&server, "FLUSHALL");
    while (!is_shared("sales/spring"))
        turn();
    assert_ok(put_sale(b, "spring", 3, 3));
    until_version(a, "spring", 3);
    redis_end(&server, SIGKILL);
    redis_start_again(&server, NULL);
    assert_false(is_anything_shared());
    while (!is_shared("sales/spring"))
        turn();
    while (put_sale(a, "spring", 4, 4) < 0) /* it was brought back by the other one, maybe */
        turn();
    until_version(b, "spring", 4);
    assert_true(blocked(a, "mallory") && blocked(b, "mallory"));
    assert_int_equal(version_of(a, "spring"), 4);
}

static void the_highest_version_wins_whoever_comes_first(void **state)
{
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_ok(put_sale(a, "spring", 1, 1));
    assert_ok(put_sale(a, "summer", 1, 1));
    assert_ok(put_block(a, "mallory"));
    while (revision_of(b) != 4)
        turn();
    stop(b); /* stays behind with spring and the snapshot */
    assert_ok(put_sale(a, "spring", 2, 2));
    assert_ok(drop_entries(a, "", "mallory"));
    stop(a);
    redis_do(&server, "FLUSHALL");
    start_shared(b);
    assert_ok(put_sale(b, "summer", 7, 2));
    assert_int_equal(version_of(b, "spring"), 1);
    assert_true(blocked(b, "mallory"));
    start_shared(a);
    until_version(a, "summer", 2);
    until_version(b, "spring", 2);
    assert_int_equal(stock_of(a, "summer"), 7);
    assert_int_equal(stock_of(b, "spring"), 2);
    while (blocked(b, "mallory"))
        turn();
    assert_false(blocked(a, "mallory"));
}

static void while_redis_is_away_changes_are_refused_and_nothing_changes(void **state)
{
    struct change change;
    (void)state;
    share_spring();
    redis_end(&server, SIGKILL);
    begin_sale(a, "spring", 2, 2, &change);
    assert_true(answer(&change) < 0);
    assert_string_equal(change.fault.path, CFG_SYNC_PATH);
    assert_non_null(strstr(change.fault.text, "Redis 127.0.0.1:"));
    begin_sale(a, "spring", 2, 2, &change);
    assert_int_equal(answer(&change), PS_E_CLOSED);
    assert_non_null(strstr(change.fault.text, "127.0.0.1:"));
    assert_int_equal(put_block(a, "mallory"), PS_E_CLOSED);
    assert_int_equal(version_of(a, "spring"), 1);
    assert_false(blocked(a, "mallory"));
    assert_true(is_synced(a)); /* it serves on */
    redis_start_again(&server, NULL);
    while (put_sale(a, "spring", 3, 2) < 0)
        turn();
    until_version(b, "spring", 2);
    assert_int_equal(stock_of(b, "spring"), 3);
}

static void a_frozen_redis_leaves_a_change_open_and_all_agree_afterwards(void **state)
{
    struct change change;
    (void)state;
    share_spring();
    turn_ms(200);
    assert_ok(kill(server.pid, SIGSTOP));
    begin_sale(a, "spring", 2, 2, &change);
    assert_true(answer(&change) < 0);
    assert_string_equal(change.fault.path, CFG_SYNC_PATH);
    assert_ok(kill(server.pid, SIGCONT));
    int64_t next = 2;
    while (put_sale(b, "spring", 3, next) < 0) {
        turn_ms(20);
        next = version_of(b, "spring") + 1;
    }
    until_version(a, "spring", next);
    assert_int_equal(stock_of(a, "spring"), 3);
}

static void a_deleted_sale_stays_deleted(void **state)
{
    (void)state;
    share_spring();
    stop(b); /* who still has it */
    assert_ok(delete_sale(a, "spring"));
    stop(a);
    redis_do(&server, "FLUSHALL"); /* which forgets the deletion, too */
    start_shared(b);
    start_shared(a);
    until_version(b, "spring", 0);
    assert_int_equal(version_of(a, "spring"), 0);
    stop(b);
    start_shared(b);
    assert_int_equal(version_of(b, "spring"), 0);
    assert_int_equal(put_sale(b, "spring", 9, 1), PS_E_CONFLICT);
    assert_ok(put_sale(b, "spring", 9, deletion_of(b, "spring") + 1));
    until_version(a, "spring", 3);
}

static void a_gateway_that_joins_has_all_before_it_is_ready(void **state)
{
    char name[16];
    (void)state;
    start_shared(a);
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "sale%d", i);
        assert_ok(put_sale(a, name, i, 1));
    }
    assert_ok(put_block(a, "mallory"));
    start(c);
    assert_ok(put_sale(c, "own", 5, 1)); /* made before it joined */
    share(c);
    assert_false(is_ready(c));
    assert_false(is_synced(c));
    while (!is_synced(c))
        turn();
    assert_int_equal(sale_count(c), 151);
    assert_int_equal(stock_of(c, "sale149"), 149);
    assert_true(blocked(c, "mallory"));
    until_version(a, "own", 1);
}

static json_t *seed_of(int stock)
{
    return json_pack("{s:{s:{s:{s:[{s:s, s:i}]}}, s:{s:{s:s, s:s, s:i, s:i}}}}", "documents",
                     "sales", "spring", "skus", "sku", "phone", "stock", stock, "limits", "extra",
                     "algorithm", "token_bucket", "key", "user", "rate", 3, "period_s", 1);
}

static void of_gateways_that_seed_at_once_one_wins(void **state)
{
    json_t *mine = seed_of(10), *his = seed_of(20);
    (void)state;
    start(a);
    start(b);
    share(a);
    share(b);
    seed(a, mine);
    seed(b, his);
    assert_int_equal(sale_count(a), 0); /* not before it is known what there is */
    until_version(a, "spring", 1);
    until_version(b, "spring", 1);
    while (revision_of(a) != revision_of(b))
        turn();
    turn_ms(500);
    assert_int_equal(stock_of(a, "spring"), stock_of(b, "spring"));
    assert_true(rate_of(a, "extra") != 0);
    assert_true(rate_of(b, "extra") != 0);
    assert_ok(delete_sale(a, "spring"));
    until_version(b, "spring", 0);
    seed(b, his); /* does not bring it back */
    turn_ms(300);
    assert_int_equal(version_of(b, "spring"), 0);
    json_decref(mine);
    json_decref(his);
}

static void a_key_of_another_program_is_named_and_left_alone(void **state)
{
    struct change change;
    (void)state;
    take_shared_key();
    start(a);
    share(a);
    do { /* until it has looked at it */
        begin_sale(a, "spring", 1, 1, &change);
        assert_int_equal(answer(&change), PS_E_CLOSED);
        turn();
    } while (strstr(change.fault.text, "ps:control ") == NULL);
    assert_false(is_synced(a));
    assert_true(is_shared_key_taken());
    give_shared_key_back();
    while (!is_synced(a))
        turn();
    assert_ok(put_sale(a, "spring", 1, 1));
}

static void a_document_that_does_not_read_is_left_alone(void **state)
{
    (void)state;
    start_shared(a);
    assert_ok(put_sale(a, "spring", 1, 1));
    put_shared("sales/spring", "2 {\"deleted\":true,\"more\":1}", 7);
    put_shared("sales/bad\"", "1 {\"deleted\":true}", 8);
    put_shared("other", "x", 9);
    start_shared(b);
    turn_ms(300);
    assert_int_equal(version_of(a, "spring"), 1);
    assert_int_equal(version_of(b, "spring"), 0);
    assert_ok(put_sale(a, "summer", 4, 1));
    until_version(b, "summer", 1);
}

static void what_a_disk_refused_is_taken_over_later(void **state)
{
    sqlite3 *other;
    (void)state;
    start_shared(a);
    start_shared(b);
    assert_int_equal(sqlite3_open(control_db(b), &other), SQLITE_OK);
    assert_int_equal(sqlite3_busy_timeout(other, 20000), SQLITE_OK); /* b may just be writing */
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    assert_ok(put_sale(a, "spring", 1, 1));
    turn_ms(2600); /* control.db is waited for for 2 s */
    assert_int_equal(version_of(b, "spring"), 0);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    until_version(b, "spring", 1);
}

static void entries_that_have_ended_make_no_difference(void **state)
{
    struct change change;
    (void)state;
    start_shared(a);
    assert_ok(put_block(a, "trudy"));
    int64_t until_ms = ps_clock_wall_ms(&ps_clock_system) + 2000;
    begin_block(a, "mallory", until_ms, &change);
    assert_ok(answer(&change));
    while (ps_clock_wall_ms(&ps_clock_system) < until_ms + 100)
        turn();
    start_shared(b);
    assert_int_equal(block_count(b), 1);
    assert_true(is_shared("blocklist/users/mallory"));
    redis_do(&server, "FLUSHALL");
    turn_ms(500);
    char *lines = audit_lines(a);
    assert_null(strstr(lines, "cluster.take"));
    free(lines);
    lines = audit_lines(b);
    char *line = strstr(lines, "\"who\":\"cluster\"");
    assert_non_null(line);
    assert_non_null(strstr(line, "\"to\":{\"blocklist/users/trudy\":2}"));
    assert_null(strstr(
        line + 1, "cluster.take\",\"target\":\"control\",\"from\":{\"blocklist/users/trudy\":2}"));
    free(lines);
    assert_ok(put_block(a, "eve"));
    assert_false(is_shared("blocklist/users/mallory"));
    while (!blocked(b, "eve"))
        turn();
    assert_int_equal(block_count(a), 2);
    assert_int_equal(block_count(b), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_change_is_taken_over_by_the_others),
        TEST(limits_and_blocklist_are_taken_over_as_one),
        TEST(of_a_long_blocklist_only_what_changes_is_moved),
        TEST(of_two_changes_of_one_version_one_wins),
        TEST(two_changes_of_the_policy_are_one_after_the_other),
        TEST(pools_and_routes_are_taken_over_by_the_others),
        TEST(a_route_whose_pool_goes_before_its_turn_is_refused),
        TEST(an_emptied_redis_gets_everything_back),
        TEST(the_highest_version_wins_whoever_comes_first),
        TEST(while_redis_is_away_changes_are_refused_and_nothing_changes),
        TEST(a_frozen_redis_leaves_a_change_open_and_all_agree_afterwards),
        TEST(a_deleted_sale_stays_deleted),
        TEST(a_gateway_that_joins_has_all_before_it_is_ready),
        TEST(of_gateways_that_seed_at_once_one_wins),
        TEST(a_key_of_another_program_is_named_and_left_alone),
        TEST(a_document_that_does_not_read_is_left_alone),
        TEST(what_a_disk_refused_is_taken_over_later),
        TEST(entries_that_have_ended_make_no_difference),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
