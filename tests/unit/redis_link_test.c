/* The link to Redis, against a server that misbehaves as it is told. */
#include "tests/unit/check.h"

#include "common/redis/redis_link.h"
#include "tests/unit/redis_fake.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define RUN_ID "0123456789012345678901234567890123456789"

/* INFO's reply, of which tests change a line. */
#define INFO_OF(version, role, replid, policy)                                                     \
    "# Server\r\nredis_version:" version "\r\nrun_id:" RUN_ID "\r\n# Replication\r\nrole:" role    \
    "\r\nmaster_replid:" replid "\r\n# Memory\r\nmaxmemory_policy:" policy "\r\n"
#define INFO INFO_OF("7.0.15", "master", "aaaa", "noeviction")

static uv_loop_t loop;
static struct fake fake;
static struct ps_redis_link *link_now;

/* What the link has reported. */
static struct {
    unsigned ready, away;
    int err;
    char identity[PS_REDIS_IDENTITY_MAX + 1];
    char why[400];
} reported;

static void on_ready(const char *identity, void *ctx)
{
    (void)ctx;
    reported.ready++;
    (void)snprintf(reported.identity, sizeof reported.identity, "%s", identity);
}

static void on_away(int err, const char *why, void *ctx)
{
    (void)ctx;
    reported.away++;
    reported.err = err;
    (void)snprintf(reported.why, sizeof reported.why, "%s", why);
}

/* --- words for the tests --- */

/* A bulk string in a buffer of its own. */
static const char *bulk(const char *text)
{
    static char buffers[8][1024];
    static size_t next;
    char *buffer = buffers[next++ % 8];
    (void)snprintf(buffer, sizeof buffers[0], "$%zu\r\n%s\r\n", strlen(text), text);
    return buffer;
}

/* Patient for a slow machine; short pauses. */
static const struct ps_redis_settings quick = {.connect_timeout_ms = 10000,
                                               .command_timeout_ms = 10000,
                                               .backoff_min_ms = 4,
                                               .backoff_max_ms = 20,
                                               .check_ms = 0,
                                               .pending_max = 64};

/* The same for tests of deadlines; what is answered is answered in time by a machine that stands
 * still for a moment, too. */
static struct ps_redis_settings hasty(void)
{
    struct ps_redis_settings settings = quick;
    settings.command_timeout_ms = 1000;
    return settings;
}

/* PORT in the pattern is that of the fake server. */
static void open_with(const char *pattern, const struct ps_redis_settings *settings)
{
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, NULL};
    struct ps_redis_url url;
    char text[256] = "", port[8];
    (void)snprintf(port, sizeof port, "%d", fake.port);
    for (const char *at = pattern; *at != '\0';) {
        bool is_port = strncmp(at, "PORT", 4) == 0;
        (void)strncat(text, is_port ? port : at, is_port ? sizeof port : 1);
        at += is_port ? 4 : 1;
    }
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(ps_redis_link_new(&loop, &url, settings, &callbacks, &link_now));
}

static void open_link(void)
{
    open_with("redis://127.0.0.1:PORT", &quick);
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
}

static void run_until_ready(unsigned times)
{
    while (reported.ready < times)
        turn();
}

static void run_until_away(unsigned times)
{
    while (reported.away < times)
        turn();
}

/* What became of a command. */
struct outcome {
    unsigned times;
    int err, type;
    char text[128];
};

static void on_outcome(int err, const redisReply *reply, void *ctx)
{
    struct outcome *outcome = ctx;
    outcome->times++;
    outcome->err = err;
    if (err == 0) {
        outcome->type = reply->type;
        if (reply->str != NULL)
            (void)snprintf(outcome->text, sizeof outcome->text, "%s", reply->str);
    } else {
        assert_null(reply);
    }
}

static int send_with(ps_redis_reply_fn *fn, void *ctx)
{
    static const struct ps_redis_script script = {"test", "return 1", 8, "abc"};
    const char *at[] = {"key", "arg"};
    const size_t len[] = {3, 3};
    return ps_redis_link_eval(link_now, &script, 1, (struct ps_redis_args){2, at, len}, fn, ctx);
}
#define COMMAND "EVALSHA abc 1 key arg\n"

static int send_command(struct outcome *outcome)
{
    *outcome = (struct outcome){0};
    return send_with(on_outcome, outcome);
}

static void run_until_told(const struct outcome *outcome)
{
    while (outcome->times == 0)
        turn();
}

static int set_up(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    memset(&reported, 0, sizeof reported);
    assert_int_equal(uv_loop_init(&loop), 0);
    fake_start(&fake, &loop);
    fake_script(&fake, NULL, bulk(INFO));
    link_now = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ps_redis_link_close(link_now);
    fake_stop(&fake);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* --- greeting --- */

static void R10_the_identity_is_asked_for_before_anything_else(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    run_until_ready(1);
    assert_string_equal(reported.identity, RUN_ID ":aaaa");
    assert_string_equal(ps_redis_link_identity(link_now), reported.identity);
    assert_string_equal(fake.seen, "INFO server replication memory\n");
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
    assert_string_equal(fake.seen, "INFO server replication memory\n" COMMAND);
}

static void password_user_and_database_go_before_it(void **state)
{
    (void)state;
    const char *const script[] = {"+OK\r\n", "+OK\r\n", bulk(INFO), NULL};
    fake_script(&fake, script, "+OK\r\n");
    open_with("redis://shop:p%40ss@127.0.0.1:PORT/3", &quick);
    run_until_ready(1);
    assert_string_equal(fake.seen, "AUTH shop p@ss\nSELECT 3\nINFO server replication memory\n");
}

static void a_wrong_password_is_named_and_nothing_else_is_sent(void **state)
{
    (void)state;
    fake_script(&fake, NULL, "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    open_with("redis://:secret@127.0.0.1:PORT", &quick);
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_PERMISSION);
    assert_non_null(strstr(reported.why, "WRONGPASS"));
    assert_non_null(strstr(reported.why, ps_redis_link_server(link_now)));
    assert_null(strstr(reported.why, "secret"));
    assert_int_equal(reported.ready, 0);
}

static void a_server_that_repeats_the_password_is_not_quoted(void **state)
{
    (void)state;
    const char *const script[] = {
        "-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n", NULL};
    fake_script(&fake, script, FAKE_SILENT);
    open_with("redis://:secret@127.0.0.1:PORT", &quick);
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_PERMISSION);
    assert_null(strstr(reported.why, "secret"));
    assert_non_null(strstr(reported.why, "AUTH"));
}

static void a_missing_password_is_named(void **state)
{
    (void)state;
    fake_script(&fake, NULL, "-NOAUTH Authentication required.\r\n");
    open_link();
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_PERMISSION);
    assert_non_null(strstr(reported.why, "NOAUTH"));
}

static void a_server_that_will_not_do_is_refused(void **state)
{
    static const struct {
        const char *info;
        int err;
        const char *word;
    } cases[] = {
        {INFO_OF("7.0.15", "slave", "aaaa", "noeviction"), PS_E_READ_ONLY, "not a master"},
        {INFO_OF("7.0.15", "master", "aaaa", "allkeys-lru"), PS_E_INVALID, "set noeviction"},
        {INFO_OF("6.2.7", "master", "aaaa", "noeviction"), PS_E_INVALID, "7.0 or newer"},
        {"redis_mode:cluster\r\n" INFO, PS_E_INVALID, "Redis Cluster"},
        {"# Server\r\nuptime:1\r\n", PS_E_INVALID, "its INFO is not that of Redis 7"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        memset(&reported, 0, sizeof reported);
        fake_script(&fake, NULL, bulk(cases[i].info));
        open_link();
        run_until_away(1);
        assert_int_equal(reported.err, cases[i].err);
        assert_non_null(strstr(reported.why, cases[i].word));
        ps_redis_link_close(link_now);
        link_now = NULL;
    }
    assert_int_equal(reported.ready, 0);
}

static void the_same_trouble_is_told_once(void **state)
{
    (void)state;
    fake_script(&fake, NULL, "-NOAUTH Authentication required.\r\n");
    open_link();
    while (fake.connections < 6)
        turn();
    assert_int_equal(reported.away, 1);
    fake_script(&fake, NULL, bulk(INFO_OF("7.0.15", "slave", "aaaa", "noeviction")));
    run_until_away(2);
    fake_script(&fake, NULL, bulk(INFO));
    run_until_ready(1);
}

/* --- losing and finding again --- */

/* It is bound, so nobody else gets it. */
static void a_port_where_nobody_listens_is_tried_again_and_again(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    char url[64];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_ok(bind(fd, (const struct sockaddr *)&address, len));
    assert_ok(getsockname(fd, (struct sockaddr *)&address, &len));
    (void)snprintf(url, sizeof url, "redis://127.0.0.1:%d", ntohs(address.sin_port));
    open_with(url, &quick);
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_CLOSED);
    assert_non_null(strstr(reported.why, "connection refused"));
    for (int times = 0; times < 3; times++) {
        while (ps_redis_link_state(link_now) == PS_REDIS_AWAY)
            turn();
        while (ps_redis_link_state(link_now) == PS_REDIS_TRYING)
            turn();
    }
    assert_int_equal(reported.ready, 0);
    close(fd);
}

static void a_name_that_nobody_knows_is_told(void **state)
{
    (void)state;
    open_with("redis://no-such-host.invalid:PORT", &quick);
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_NOT_FOUND);
    assert_non_null(strstr(reported.why, "no-such-host.invalid"));
}

static void a_name_is_looked_up(void **state)
{
    (void)state;
    open_with("redis://localhost:PORT", &quick);
    run_until_ready(1);
}

static void a_link_closed_while_a_name_is_looked_up_ends_well(void **state)
{
    (void)state;
    open_with("redis://no-such-host.invalid:PORT", &quick);
    turn();
    ps_redis_link_close(link_now);
    link_now = NULL;
}

static void a_connection_cut_in_the_middle_of_a_reply_is_unknown(void **state)
{
    static const char *const cuts[] = {"$100\r\nhalf", "*2\r\n$1\r\na\r\n", "+O", "$"};
    (void)state;
    open_link();
    for (unsigned i = 0; i < PS_ARRAY_LEN(cuts); i++) {
        struct outcome outcome, behind;
        run_until_ready(i + 1);
        const char *const script[] = {cuts[i], FAKE_CLOSE, NULL};
        fake_script(&fake, script, bulk(INFO));
        assert_ok(send_command(&outcome));
        assert_ok(send_command(&behind));
        run_until_told(&behind);
        assert_int_equal(outcome.err, PS_E_UNKNOWN);
        assert_int_equal(outcome.times, 1);
        assert_int_equal(behind.err, PS_E_UNKNOWN);
        assert_int_equal(reported.err, PS_E_CLOSED);
    }
    run_until_ready(PS_ARRAY_LEN(cuts) + 1);
    assert_string_equal(fake.seen, COMMAND COMMAND "INFO server replication memory\n"); /* not sent
                                                                                         again */
}

static void what_is_no_redis_is_told(void **state)
{
    static const char *const garbage[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "\r\n", "$-7\r\n",
                                          "*x\r\n"};
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(garbage); i++) {
        memset(&reported, 0, sizeof reported);
        fake_script(&fake, NULL, garbage[i]);
        open_link();
        run_until_away(1);
        assert_int_equal(reported.err, PS_E_CORRUPT);
        ps_redis_link_close(link_now);
        link_now = NULL;
    }
}

static void a_reply_that_nobody_asked_for_ends_the_connection(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    fake_script(&fake, NULL, "+one\r\n+two\r\n");
    assert_ok(send_command(&outcome));
    run_until_away(1);
    assert_string_equal(outcome.text, "one");
    assert_int_equal(reported.err, PS_E_CORRUPT);
}

static void a_reply_that_does_not_come_in_time_is_unknown_and_ends_the_connection(void **state)
{
    (void)state;
    const struct ps_redis_settings settings = hasty();
    struct outcome first, second;
    open_with("redis://127.0.0.1:PORT", &settings);
    run_until_ready(1);
    const char *const script[] = {FAKE_SILENT, FAKE_SILENT, NULL};
    fake_script(&fake, script, bulk(INFO));
    assert_ok(send_command(&first));
    assert_ok(send_command(&second));
    run_until_told(&second);
    assert_int_equal(first.err, PS_E_UNKNOWN);
    assert_int_equal(second.err, PS_E_UNKNOWN);
    assert_int_equal(reported.err, PS_E_TIMEOUT);
    run_until_ready(2);
    assert_int_equal(fake.connections, 2);
}

static void a_server_that_takes_connections_and_is_silent_is_left(void **state)
{
    (void)state;
    struct ps_redis_settings settings = quick;
    settings.connect_timeout_ms = 100;
    fake_script(&fake, NULL, NULL);
    open_with("redis://127.0.0.1:PORT", &settings);
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_TIMEOUT);
    while (fake.connections < 3)
        turn();
    assert_int_equal(reported.ready, 0);
}

static void after_a_time_out_one_command_at_a_time_is_let_through(void **state)
{
    (void)state;
    const struct ps_redis_settings settings = hasty();
    struct outcome outcome, probe, third;
    open_with("redis://127.0.0.1:PORT", &settings);
    run_until_ready(1);
    const char *const script[] = {FAKE_SILENT, bulk(INFO), NULL};
    fake_script(&fake, script, "+fine\r\n");
    assert_ok(send_command(&outcome));
    run_until_ready(2);
    assert_true(ps_redis_link_open(link_now));
    assert_ok(send_command(&probe));
    assert_false(ps_redis_link_open(link_now));
    assert_int_equal(send_command(&third), PS_E_CLOSED);
    run_until_told(&probe);
    assert_string_equal(probe.text, "fine");
    assert_ok(send_command(&outcome));
    assert_ok(send_command(&third));
    run_until_told(&third);
}

static void no_more_than_the_bound_may_be_pending(void **state)
{
    (void)state;
    struct outcome outcomes[65];
    open_link();
    run_until_ready(1);
    for (size_t i = 0; i < 64; i++)
        assert_ok(send_command(&outcomes[i]));
    assert_int_equal(send_command(&outcomes[64]), PS_E_FULL);
    run_until_told(&outcomes[63]);
    assert_ok(send_command(&outcomes[64]));
    run_until_told(&outcomes[64]);
}

static void a_demoted_server_is_greeted_anew(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    const char *const script[] = {"-READONLY You can't write against a read only replica.\r\n",
                                  NULL};
    fake_script(&fake, script, bulk(INFO));
    assert_ok(send_command(&outcome));
    run_until_ready(2);
    assert_int_equal(outcome.err, 0);
    assert_int_equal(outcome.type, REDIS_REPLY_ERROR);
    assert_int_equal(reported.err, PS_E_READ_ONLY);
}

static void a_row_of_refusals_opens_the_breaker(void **state)
{
    (void)state;
    struct outcome outcome;
    unsigned sent = 0;
    open_link();
    run_until_ready(1);
    fake_script(&fake, NULL, "-LOADING Redis is loading the dataset in memory\r\n");
    while (reported.away == 0) {
        assert_ok(send_command(&outcome));
        run_until_told(&outcome);
        sent++;
    }
    assert_int_equal(reported.err, PS_E_BUSY);
    assert_true(sent > 1 && sent < 20);
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    fake_script(&fake, NULL, bulk(INFO));
    run_until_ready(2);
}

static void one_refusal_among_good_replies_does_not(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    for (int i = 0; i < 30; i++) {
        fake_script(&fake, NULL, i % 4 == 0 ? "+fine\r\n" : "-OOM command not allowed\r\n");
        assert_ok(send_command(&outcome));
        run_until_told(&outcome);
    }
    assert_int_equal(reported.away, 0);
}

/* --- slow replies, and orders --- */

/* Sends a command whose reply comes after `ms` at least. */
static void run_slowly(struct outcome *outcome, int64_t ms)
{
    assert_ok(send_command(outcome));
    (void)usleep((useconds_t)ms * 1000);
    run_until_told(outcome);
}

static struct ps_breaker_view shown(void)
{
    struct ps_breaker_view view;
    ps_redis_link_show(link_now, &view);
    return view;
}

#define SLOW_MS 20

static struct ps_redis_settings impatient(int64_t check_ms)
{
    struct ps_redis_settings settings = quick;
    settings.slow_ms = SLOW_MS;
    settings.check_ms = check_ms;
    return settings;
}

static void mostly_slow_replies_open_the_breaker_and_leave_the_connection(void **state)
{
    (void)state;
    struct ps_redis_settings settings = impatient(0);
    struct outcome outcome, pending;
    unsigned sent = 0;
    settings.backoff_min_ms = settings.backoff_max_ms = 2000;
    open_with("redis://127.0.0.1:PORT", &settings);
    run_until_ready(1);
    while (shown().state == PS_BREAKER_CLOSED && sent < 100) {
        run_slowly(&outcome, SLOW_MS);
        if (sent++ == 18) /* will be answered after it has opened */
            assert_ok(send_command(&pending));
    }
    assert_in_range(sent, 19, 20);
    assert_non_null(strstr(shown().why, "most replies take 20 ms or more"));
    assert_non_null(strstr(shown().why, ps_redis_link_server(link_now)));
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    run_until_told(&pending);
    assert_ok(pending.err);
    while (!ps_redis_link_open(link_now)) /* the pause */
        (void)usleep(1000);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
    assert_int_equal(shown().state, PS_BREAKER_CLOSED);
    assert_string_equal(shown().why, "");
    assert_int_equal(reported.away, 0);
    assert_int_equal(fake.connections, 1);
}

static void a_loop_that_is_late_by_itself_does_not_make_redis_slow(void **state)
{
    (void)state;
    const struct ps_redis_settings settings = impatient(1);
    struct outcome outcome;
    open_with("redis://127.0.0.1:PORT", &settings);
    run_until_ready(1);
    for (int i = 0; i < 40; i++)
        run_slowly(&outcome, SLOW_MS + 5);
    assert_int_equal(shown().openings, 0);
    assert_true(shown().calls > 40);
}

static void an_idle_link_that_was_slow_closes_by_its_own_checks(void **state)
{
    (void)state;
    const struct ps_redis_settings settings = impatient(500);
    struct outcome outcome;
    open_with("redis://127.0.0.1:PORT", &settings);
    run_until_ready(1);
    fake.delay_ms = 2 * SLOW_MS; /* not the loop's */
    while (shown().openings == 0) {
        assert_ok(send_command(&outcome));
        run_until_told(&outcome);
    }
    fake.delay_ms = 0;
    while (shown().state != PS_BREAKER_CLOSED)
        turn();
    assert_int_equal(reported.away, 0);
}

static void order(enum ps_breaker_order what)
{
    static uint64_t id;
    ps_redis_link_force(link_now, &(struct ps_breaker_force){what, ++id});
}

static void forced_open_nothing_goes_through_and_the_link_stays_as_it_is(void **state)
{
    (void)state;
    struct ps_redis_settings watching = quick;
    struct outcome before, outcome;
    watching.check_ms = 5;
    open_with("redis://127.0.0.1:PORT", &watching);
    run_until_ready(1);
    assert_ok(send_command(&before));
    order(PS_BREAKER_FORCED_OPEN);
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    assert_int_equal(shown().state, PS_BREAKER_OPEN);
    run_until_told(&before);
    assert_ok(before.err);
    for (unsigned commands = fake.commands; fake.commands < commands + 3;)
        turn();
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    order(PS_BREAKER_FREE);
    assert_true(ps_redis_link_open(link_now));
    assert_int_equal(shown().state, PS_BREAKER_CLOSED);
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
    assert_int_equal(reported.away, 0);
    assert_int_equal(fake.connections, 1);
}

static void forced_open_a_link_that_is_lost_is_found_again(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    order(PS_BREAKER_FORCED_OPEN);
    fake_cut(&fake);
    run_until_ready(2);
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    order(PS_BREAKER_FREE);
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
}

static void forced_closed_refusals_do_not_stop_commands_but_a_lost_connection_does(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    order(PS_BREAKER_FORCED_CLOSED);
    fake_script(&fake, NULL, "-OOM command not allowed\r\n");
    for (int i = 0; i < 40; i++) {
        assert_ok(send_command(&outcome));
        run_until_told(&outcome);
    }
    assert_int_equal(reported.away, 0);
    fake_script(&fake, NULL, bulk(INFO));
    fake_cut(&fake);
    run_until_away(1);
    assert_int_equal(send_command(&outcome), PS_E_CLOSED);
    run_until_ready(2);
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
}

/* --- the identity over time --- */

static void a_changed_identity_is_another_server(void **state)
{
    (void)state;
    struct ps_redis_settings watching = quick;
    watching.check_ms = 5;
    open_with("redis://127.0.0.1:PORT", &watching);
    run_until_ready(1);
    const char *const script[] = {bulk(INFO), bulk(INFO), NULL};
    fake_script(&fake, script, bulk(INFO_OF("7.0.15", "master", "bbbb", "noeviction")));
    run_until_ready(2);
    assert_int_equal(reported.err, PS_E_CONFLICT);
    assert_string_equal(reported.identity, RUN_ID ":bbbb");
    assert_int_equal(fake.connections, 2);
}

static void a_master_that_becomes_a_replica_is_noticed(void **state)
{
    (void)state;
    struct ps_redis_settings watching = quick;
    watching.check_ms = 5;
    open_with("redis://127.0.0.1:PORT", &watching);
    run_until_ready(1);
    fake_script(&fake, NULL, bulk(INFO_OF("7.0.15", "slave", "aaaa", "noeviction")));
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_READ_ONLY);
}

/* --- scripts --- */

static void an_unknown_script_is_loaded_and_asked_for_again_once(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    const char *const script[] = {"-NOSCRIPT No matching script.\r\n", "$3\r\nabc\r\n", "+done\r\n",
                                  NULL};
    fake_script(&fake, script, NULL);
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
    assert_string_equal(outcome.text, "done");
    assert_string_equal(fake.seen, COMMAND "SCRIPT LOAD return 1\n" COMMAND);
    fake_script(&fake, NULL, "-NOSCRIPT No matching script.\r\n");
    assert_ok(send_command(&outcome));
    run_until_told(&outcome);
    assert_int_equal(outcome.type, REDIS_REPLY_ERROR);
    assert_int_equal(fake.commands, 3);
}

static void a_script_lost_on_its_second_way_is_unknown_once(void **state)
{
    (void)state;
    struct outcome outcome;
    open_link();
    run_until_ready(1);
    const char *const script[] = {"-NOSCRIPT No matching script.\r\n", "$3\r\nabc\r\n", FAKE_CLOSE,
                                  NULL};
    fake_script(&fake, script, bulk(INFO));
    assert_ok(send_command(&outcome));
    run_until_ready(2);
    assert_int_equal(outcome.times, 1);
    assert_int_equal(outcome.err, PS_E_UNKNOWN);
}

static void closing_answers_what_is_pending(void **state)
{
    (void)state;
    struct outcome first, second;
    open_link();
    run_until_ready(1);
    fake_script(&fake, NULL, NULL);
    assert_ok(send_command(&first));
    assert_ok(send_command(&second));
    ps_redis_link_close(link_now);
    link_now = NULL;
    assert_int_equal(first.err, PS_E_UNKNOWN);
    assert_int_equal(second.err, PS_E_UNKNOWN);
    assert_int_equal(reported.away, 0);
}

/* Answers with another command until the link lets none through. */
static void send_more(int err, const redisReply *reply, void *ctx)
{
    unsigned *left = ctx;
    (void)reply;
    if (err == 0 && *left > 0) {
        --*left;
        (void)!send_with(send_more, left);
    } else if (err < 0) {
        assert_int_equal(send_with(send_more, left), PS_E_CLOSED);
        *left = 0;
    }
}

static void callbacks_may_send(void **state)
{
    (void)state;
    unsigned left = 20;
    open_link();
    run_until_ready(1);
    fake_script(&fake, NULL, "+fine\r\n");
    send_more(0, NULL, &left);
    while (left > 0)
        turn();
    left = 1000000;
    send_more(0, NULL, &left);
    for (int i = 0; i < 10; i++)
        turn();
    fake_cut(&fake);
    fake_script(&fake, NULL, bulk(INFO));
    while (left > 0)
        turn();
    run_until_ready(2);
}

/* --- Sentinel --- */

static void a_sentinel_is_asked_where_the_master_is(void **state)
{
    (void)state;
    char where[64];
    (void)snprintf(where, sizeof where, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%d\r\n",
                   (size_t)snprintf(NULL, 0, "%d", fake.port), fake.port);
    const char *const script[] = {where, "+OK\r\n", bulk(INFO), NULL};
    fake_script(&fake, script, NULL);
    open_with("redis+sentinel://:secret@127.0.0.1:PORT/shop", &quick);
    run_until_ready(1);
    assert_string_equal(fake.seen, "SENTINEL get-master-addr-by-name shop\nAUTH secret\n"
                                   "INFO server replication memory\n");
}

static void a_sentinel_that_wants_a_password_gets_it(void **state)
{
    (void)state;
    char where[64];
    (void)snprintf(where, sizeof where, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%d\r\n",
                   (size_t)snprintf(NULL, 0, "%d", fake.port), fake.port);
    const char *const script[] = {
        "-NOAUTH Authentication required.\r\n", "+OK\r\n", where, "+OK\r\n", bulk(INFO), NULL};
    fake_script(&fake, script, NULL);
    open_with("redis+sentinel://:secret@127.0.0.1:PORT/shop", &quick);
    run_until_ready(1);
    assert_int_equal(fake.commands, 5);
}

static void sentinels_are_asked_in_turn(void **state)
{
    (void)state;
    char where[64];
    (void)snprintf(where, sizeof where, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%d\r\n",
                   (size_t)snprintf(NULL, 0, "%d", fake.port), fake.port);
    const char *const script[] = {"*-1\r\n", where, bulk(INFO), NULL}; /* the first knows nobody */
    fake_script(&fake, script, NULL);
    open_with("redis+sentinel://127.0.0.1:PORT,127.0.0.1:PORT/shop", &quick);
    run_until_ready(1);
    assert_int_equal(reported.away, 0);
}

static void a_master_that_no_sentinel_knows_is_told(void **state)
{
    (void)state;
    fake_script(&fake, NULL, "*-1\r\n");
    open_with("redis+sentinel://127.0.0.1:PORT,127.0.0.1:PORT/shop", &quick);
    run_until_away(1);
    assert_int_equal(reported.err, PS_E_NOT_FOUND);
    assert_non_null(strstr(reported.why, "shop"));
    assert_int_equal(fake.connections, 2);
}

/* The first Sentinel does not hear the others: it goes on naming a master that is gone. */
static void a_sentinel_that_names_a_dead_master_is_not_the_only_one_asked(void **state)
{
    (void)state;
    static struct fake second;
    char dead[64], where[64];
    fake_start(&second, &loop);
    (void)snprintf(dead, sizeof dead, "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n1\r\n");
    (void)snprintf(where, sizeof where, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%d\r\n",
                   (size_t)snprintf(NULL, 0, "%d", second.port), second.port);
    const char *const script[] = {where, bulk(INFO), NULL};
    fake_script(&fake, NULL, dead);
    fake_script(&second, script, NULL);
    char pattern[96];
    (void)snprintf(pattern, sizeof pattern, "redis+sentinel://127.0.0.1:PORT,127.0.0.1:%d/shop",
                   second.port);
    open_with(pattern, &quick);
    while (reported.ready == 0 && fake.connections < 5)
        turn();
    ps_redis_link_close(link_now);
    link_now = NULL;
    fake_stop(&second);
    assert_int_equal(reported.ready, 1);
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        CLAIM(R10_the_identity_is_asked_for_before_anything_else),
        CLAIM(password_user_and_database_go_before_it),
        CLAIM(a_wrong_password_is_named_and_nothing_else_is_sent),
        CLAIM(a_server_that_repeats_the_password_is_not_quoted),
        CLAIM(a_missing_password_is_named),
        CLAIM(a_server_that_will_not_do_is_refused),
        CLAIM(the_same_trouble_is_told_once),
        CLAIM(a_port_where_nobody_listens_is_tried_again_and_again),
        CLAIM(a_name_that_nobody_knows_is_told),
        CLAIM(a_name_is_looked_up),
        CLAIM(a_link_closed_while_a_name_is_looked_up_ends_well),
        CLAIM(a_connection_cut_in_the_middle_of_a_reply_is_unknown),
        CLAIM(what_is_no_redis_is_told),
        CLAIM(a_reply_that_nobody_asked_for_ends_the_connection),
        CLAIM(a_reply_that_does_not_come_in_time_is_unknown_and_ends_the_connection),
        CLAIM(a_server_that_takes_connections_and_is_silent_is_left),
        CLAIM(after_a_time_out_one_command_at_a_time_is_let_through),
        CLAIM(no_more_than_the_bound_may_be_pending),
        CLAIM(a_demoted_server_is_greeted_anew),
        CLAIM(a_row_of_refusals_opens_the_breaker),
        CLAIM(one_refusal_among_good_replies_does_not),
        CLAIM(mostly_slow_replies_open_the_breaker_and_leave_the_connection),
        CLAIM(a_loop_that_is_late_by_itself_does_not_make_redis_slow),
        CLAIM(an_idle_link_that_was_slow_closes_by_its_own_checks),
        CLAIM(forced_open_nothing_goes_through_and_the_link_stays_as_it_is),
        CLAIM(forced_open_a_link_that_is_lost_is_found_again),
        CLAIM(forced_closed_refusals_do_not_stop_commands_but_a_lost_connection_does),
        CLAIM(a_changed_identity_is_another_server),
        CLAIM(a_master_that_becomes_a_replica_is_noticed),
        CLAIM(an_unknown_script_is_loaded_and_asked_for_again_once),
        CLAIM(a_script_lost_on_its_second_way_is_unknown_once),
        CLAIM(closing_answers_what_is_pending),
        CLAIM(callbacks_may_send),
        CLAIM(a_sentinel_is_asked_where_the_master_is),
        CLAIM(a_sentinel_that_wants_a_password_gets_it),
        CLAIM(sentinels_are_asked_in_turn),
        CLAIM(a_master_that_no_sentinel_knows_is_told),
        CLAIM(a_sentinel_that_names_a_dead_master_is_not_the_only_one_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
