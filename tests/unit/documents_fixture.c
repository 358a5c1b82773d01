/* See documents_fixture.h. */
#include "tests/unit/documents_fixture.h"

#define MAIL 7

struct cfg_store *doc_store;
struct ps_clock_manual doc_clock;
size_t doc_published;

static struct temp_dir temp;
static uv_loop_t loop;
static struct cfg_writer_settings settings;
static struct snap_view *view;
static struct snapshot *snapshot; /* NULL: there was none yet */

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    (void)ctx;
    cfg_store_mail(doc_store, mail);
}

static int publish(void *ctx, int64_t revision)
{
    struct snapshot *next;
    (void)ctx;
    assert_ok(
        snap_view_snapshot(view, snapshot != NULL ? snapshot->version + 1 : 1, revision, &next));
    snapshot_free(snapshot);
    snapshot = next;
    doc_published++;
    return 0;
}

static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    (void)ctx;
    return snap_view_put(view, doc_store, from, to);
}

static void open_store(void)
{
    static const struct cfg_store_callbacks callbacks = {.publish = publish, .in_force = in_force};
    static struct ps_cidr loopback;
    static const struct cfg_bounds bounds = {.networks = {&loopback, 1}, .gateway = "gw-1"};

    assert_ok(ps_cidr_parse("127.0.0.0/8", 11, &loopback));
    assert_ok(snap_view_new(&view));
    assert_ok(cfg_store_open(&settings, &doc_store, NULL));
    cfg_store_set_bounds(doc_store, &bounds);
    assert_ok(cfg_store_start(doc_store, &callbacks));
    assert_ok(publish(NULL, 1));
    doc_published = 0;
}

static void close_store(void)
{
    cfg_store_close(doc_store);
    cfg_store_free(doc_store);
    doc_store = NULL;
    snapshot_free(snapshot);
    snapshot = NULL;
    snap_view_free(view);
}

int doc_make(void **state)
{
    (void)state;
    temp = temp_dir_make();
    ps_clock_manual_init(&doc_clock, 1, DOC_T0);
    assert_ok(uv_loop_init(&loop));
    settings = (struct cfg_writer_settings){.path = temp_file(&temp, "control.db"),
                                            .audit_path = temp_file(&temp, "audit.log"),
                                            .mail_kind = MAIL,
                                            .clock = &doc_clock.clock};
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, NULL, &settings.mailbox));
    open_store();
    return 0;
}

int doc_drop(void **state)
{
    (void)state;
    close_store();
    ps_mailbox_close(settings.mailbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
    temp_dir_remove(&temp);
    return 0;
}

void doc_reopen(void)
{
    close_store();
    open_store();
}

const char *doc_audit_path(void)
{
    return settings.audit_path;
}

const struct snapshot *doc_snapshot(void)
{
    return snapshot;
}

void doc_settle(void)
{
    while (!cfg_store_is_idle(doc_store)) {
        if (cfg_store_is_publishing(doc_store))
            cfg_store_acknowledged(doc_store);
        else
            uv_run(&loop, UV_RUN_ONCE);
    }
}

static struct cfg_change *new_change(void)
{
    struct cfg_change *change = cfg_change_new(
        doc_store,
        &(struct cfg_author){
            .at_ms = doc_clock.wall_ms, .who = "ann", .peer = "", .action = "", .why = "a drill"});
    assert_non_null(change);
    return change;
}

int doc_try_put(const struct cfg_kind *kind, const char *name, const char *text)
{
    struct cfg_change *change = new_change();
    json_t *json = json_loads(text, 0, NULL);
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    assert_non_null(json);
    int err = cfg_change_put(change, &(struct cfg_put){.kind = kind, .name = name, .json = json},
                             &refusal, &faults);
    json_decref(json);
    if (err < 0) {
        cfg_change_free(change);
        return err;
    }
    assert_ok(cfg_change_submit(change, NULL, NULL));
    doc_settle();
    return 0;
}

void doc_put(const struct cfg_kind *kind, const char *name, const char *text)
{
    assert_ok(doc_try_put(kind, name, text));
}

void doc_delete(const struct cfg_kind *kind, const char *name)
{
    struct cfg_change *change = new_change();
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    assert_ok(cfg_change_drop(change, kind, name, "", &refusal, &faults));
    assert_ok(cfg_change_submit(change, NULL, NULL));
    doc_settle();
}

void doc_override(const char *name, const char *value, int64_t ttl_s)
{
    json_t *until = ps_json_of_time(doc_clock.wall_ms + ttl_s * 1000);
    char text[128];
    (void)snprintf(text, sizeof text, "{\"value\":%s,\"until\":\"%s\"}", value,
                   json_string_value(until));
    json_decref(until);
    doc_put(&cfg_kind_override, name, text);
}
