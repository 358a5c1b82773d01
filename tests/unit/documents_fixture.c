/* See documents_fixture.h. */
#include "tests/unit/documents_fixture.h"

size_t doc_published;

static struct snap_view *view;
static struct snapshot *snapshot; /* NULL: there was none yet */

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
    return snap_view_put(view, store, from, to);
}

static void open_store(void)
{
    static const struct cfg_store_callbacks callbacks = {.publish = publish, .in_force = in_force};
    static struct ps_cidr loopback;
    static const struct cfg_bounds bounds = {.networks = {&loopback, 1}, .gateway = "gw-1"};

    assert_ok(ps_cidr_parse("127.0.0.0/8", 11, &loopback));
    assert_ok(snap_view_new(1, &view));
    assert_ok(cfg_store_open(&settings, &store, NULL));
    cfg_store_set_bounds(store, &bounds);
    assert_ok(cfg_store_start(store, &callbacks));
    assert_ok(publish(NULL, 1));
    doc_published = 0;
}

static void close_all(void)
{
    close_store();
    snapshot_free(snapshot);
    snapshot = NULL;
    snap_view_free(view);
}

int doc_make(void **state)
{
    (void)state;
    make_files();
    open_store();
    return 0;
}

int doc_drop(void **state)
{
    close_all();
    return drop(state);
}

void doc_reopen(void)
{
    close_all();
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

static struct cfg_change *new_change(void)
{
    struct cfg_change *change = cfg_change_new(
        store,
        &(struct cfg_author){
            .at_ms = clock_.wall_ms, .who = "ann", .peer = "", .action = "", .why = "a drill"});
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
    settle();
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
    settle();
}

void doc_override(const char *name, const char *value, int64_t ttl_s)
{
    json_t *until = ps_json_of_time(clock_.wall_ms + ttl_s * 1000);
    char text[128];
    (void)snprintf(text, sizeof text, "{\"value\":%s,\"until\":\"%s\"}", value,
                   json_string_value(until));
    json_decref(until);
    doc_put(&cfg_kind_override, name, text);
}
