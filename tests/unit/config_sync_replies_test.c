/* The documents' synchronisation against a server that answers in the protocol, but with what no
 * script of ours says: nothing of it is believed, every change is answered once, and the exchange
 * goes on when the server is well again. */
#include "tests/unit/redis_fake.h"
#include "tests/unit/temp_dir.h"

#include "gateway/config/store/store_internal.h"
#include "gateway/config/store/sync.h"

#include <signal.h>

#define RUN_ID "0123456789012345678901234567890123456789"
#define INFO                                                                                       \
    "$168\r\n# Server\r\nredis_version:7.0.15\r\nrun_id:" RUN_ID                                   \
    "\r\n# Replication\r\nrole:master\r\nmaster_replid:aaaa\r\n# Memory\r\n"                       \
    "maxmemory_policy:noeviction\r\n\r\n"
#define GENERATION "$32\r\n01234567890123456789012345678901\r\n"
#define NO_NEWS    "*2\r\n$2\r\nOK\r\n:7\r\n"
#define LARGEST    ":9223372036854775807\r\n"
#define FIELD      "$21\r\nblocklist/users/mallo\r\n"
#define TEXT                                                                                       \
    "$99\r\n1 "                                                                                    \
    "{\"at_ms\":1,\"created_at_ms\":1,\"who\":\"x\",\"peer\":\"\",\"action\":\"y\",\"why\":\"\","  \
    "\"document\":{\"until\":null}}\r\n"

static const char *const odd_news[] = {
    ":7\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*1\r\n*-1\r\n",
    "*1\r\n$3\r\nODD\r\n",
    "*1\r\n$2\r\nOK\r\n",
    "*2\r\n$2\r\nOK\r\n$1\r\n7\r\n",
    "*2\r\n$2\r\nOK\r\n:-7\r\n",
    "*2\r\n$2\r\nOK\r\n" LARGEST,
    "*3\r\n$2\r\nOK\r\n:7\r\n" FIELD,
    "*4\r\n$2\r\nOK\r\n:7\r\n" FIELD ":7\r\n",
    "*5\r\n$2\r\nOK\r\n:7\r\n:1\r\n:7\r\n" TEXT,
    "*5\r\n$2\r\nOK\r\n:7\r\n*-1\r\n:7\r\n" TEXT,
    "*5\r\n$2\r\nOK\r\n:7\r\n*0\r\n:7\r\n*0\r\n",
    "*5\r\n$2\r\nOK\r\n:7\r\n" FIELD "$1\r\n7\r\n" TEXT,
    "*5\r\n$2\r\nOK\r\n:7\r\n" FIELD ":0\r\n" TEXT, /* would be asked for again for ever */
    "*5\r\n$2\r\nOK\r\n:7\r\n" FIELD ":-7\r\n" TEXT,
    "*5\r\n$2\r\nOK\r\n" LARGEST FIELD LARGEST TEXT, /* would be the last revision there can be */
    "*5\r\n$2\r\nOK\r\n$1\r\n7\r\n" FIELD ":7\r\n" TEXT,
    "*6\r\n$2\r\nOK\r\n:7\r\n" FIELD ":7\r\n" TEXT ":7\r\n",
    "*8\r\n$2\r\nOK\r\n:7\r\n" FIELD ":7\r\n" TEXT "$-1\r\n$-1\r\n$-1\r\n",
};

static const char *const odd_puts[] = {
    ":7\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*1\r\n:1\r\n",
    "*1\r\n$2\r\nOK\r\n",
    "*1\r\n$3\r\nODD\r\n",
    "*2\r\n$2\r\nOK\r\n$1\r\n8\r\n",
    "*2\r\n$2\r\nOK\r\n:-8\r\n",
    "*2\r\n$2\r\nOK\r\n" LARGEST,
    "*3\r\n$8\r\nCONFLICT\r\n:1\r\n:1\r\n",
    "*3\r\n$8\r\nCONFLICT\r\n*0\r\n*0\r\n",
    "*3\r\n$8\r\nCONFLICT\r\n$-1\r\n$-1\r\n",
    "*3\r\n$8\r\nCONFLICT\r\n" FIELD "$1\r\n1\r\n",
    "*2\r\n$8\r\nCONFLICT\r\n" FIELD,
};

static struct temp_dir temp;
static uv_loop_t loop;
static struct cfg_writer_settings settings;
static struct cfg_store *store;
static struct fake fake;

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    (void)ctx;
    cfg_store_mail(store, mail);
}

static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    (void)ctx, (void)from, (void)to;
    return 0;
}

static int publish(void *ctx, int64_t revision)
{
    (void)ctx, (void)revision;
    return 0;
}

static void turn(void)
{
    (void)uv_run(&loop, UV_RUN_ONCE);
    while (cfg_store_is_publishing(store))
        cfg_store_acknowledged(store);
}

/* A gateway that begins with a server of this script. */
static void begin(const char *const *script)
{
    const struct cfg_store_callbacks callbacks = {.publish = publish, .in_force = in_force};
    struct ps_redis_settings redis = ps_redis_defaults;
    struct ps_redis_url url;
    char text[64];

    temp = temp_dir_make();
    assert_ok(uv_loop_init(&loop));
    settings = (struct cfg_writer_settings){.path = temp_file(&temp, "control.db"),
                                            .audit_path = temp_file(&temp, "audit.log"),
                                            .clock = &ps_clock_system};
    assert_ok(ps_mailbox_new(&loop, 64, on_mail, NULL, NULL, &settings.mailbox));
    assert_ok(cfg_store_open(&settings, &store, NULL));
    assert_ok(cfg_store_start(store, &callbacks));
    fake_start(&fake, &loop);
    fake_script(&fake, script, NO_NEWS);
    redis.check_ms = 0;
    (void)snprintf(text, sizeof text, "redis://127.0.0.1:%d", fake.port);
    assert_ok(ps_redis_url_parse(text, &url, NULL));
    assert_ok(cfg_sync_new(
        store, &(struct cfg_sync_settings){.loop = &loop, .url = &url, .redis = &redis}));
}

static void end(void)
{
    cfg_store_close(store);
    fake_stop(&fake);
    ps_mailbox_close(settings.mailbox);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    cfg_store_free(store);
    assert_ok(uv_loop_close(&loop));
    temp_dir_remove(&temp);
}

static void until_synced(void)
{
    while (!cfg_store_is_synced(store))
        turn();
}

static void news_that_no_script_tells_are_not_believed(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(odd_news); i++) {
        begin((const char *const[]){INFO, GENERATION, odd_news[i], NULL});
        int64_t revision = cfg_store_revision(store);
        while (fake.commands < 3)
            turn();
        until_synced();
        assert_int_equal(cfg_store_revision(store), revision);
        assert_null(cfg_store_find(store, &cfg_kind_user, "mallo"));
        assert_in_range(fake.commands, 3, 12); /* it is not asked without a pause */
        end();
    }
}

static void well_formed_news_are_taken_over(void **state)
{
    (void)state;
    begin((const char *const[]){INFO, GENERATION, "*5\r\n$2\r\nOK\r\n:7\r\n" FIELD ":7\r\n" TEXT,
                                NULL});
    until_synced();
    assert_non_null(cfg_store_find(store, &cfg_kind_user, "mallo"));
    assert_int_equal(cfg_store_revision(store), 7);
    end();
}

static void on_done(int err, const struct ps_fault *fault, void *ctx)
{
    int *result = ctx;

    (void)fault;
    assert_int_equal(*result, 1); /* once */
    *result = err;
}

static int put_user(const char *name)
{
    struct cfg_change *change = cfg_change_new(
        store, &(struct cfg_author){
                   .at_ms = 1, .who = "t1", .peer = "", .action = "block.user", .why = ""});
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    json_t *json = json_object();
    int result = 1;

    assert_non_null(change);
    assert_ok(cfg_change_put(change,
                             &(struct cfg_put){.kind = &cfg_kind_user, .name = name, .json = json},
                             &refusal, &faults));
    json_decref(json);
    assert_ok(cfg_change_submit(change, on_done, &result));
    while (result == 1)
        turn();
    return result;
}

static void a_change_whose_answer_no_script_gives_is_no_success(void **state)
{
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(odd_puts); i++) {
        begin((const char *const[]){INFO, GENERATION, NULL});
        until_synced();
        int64_t revision = cfg_store_revision(store);
        fake_script(&fake, NULL, odd_puts[i]); /* whatever is asked */
        assert_true(put_user("ann") < 0);
        assert_null(cfg_store_find(store, &cfg_kind_user, "ann"));
        assert_int_equal(cfg_store_revision(store), revision);
        end();
    }
}

int main(void)
{
    static const struct CMUnitTest claims[] = {
        cmocka_unit_test(well_formed_news_are_taken_over),
        cmocka_unit_test(news_that_no_script_tells_are_not_believed),
        cmocka_unit_test(a_change_whose_answer_no_script_gives_is_no_success),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(claims, NULL, NULL);
}
