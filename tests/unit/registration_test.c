/* Registered endpoints as documents: heartbeats change nothing but the expiry. */
#include "tests/contract/faulty_vfs.h"
#include "tests/unit/doc_store.h"

#include "gateway/config/store/audit_log.h"
#include "gateway/config/kinds/registration.h"
#include "gateway/config/store/store.h"
#include "gateway/upstream/registrations.h"

#include <sqlite3.h>

static size_t notified, left, published; /* since the last look */

static int publish(void *ctx, int64_t revision)
{
    (void)ctx;
    (void)revision;
    published++;
    return 0;
}

/* Registrations that are no heartbeats. */
static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    const struct cfg_doc *doc = to != NULL ? to : from;
    (void)ctx;
    if (doc->kind != &cfg_kind_registration ||
        (from != NULL && to != NULL && cfg_doc_renews(to, from)))
        return 0;
    notified++;
    left += to != NULL && (to->parsed == NULL || cfg_registration_of(to)->gone);
    return 0;
}

static void open_store(void)
{
    static const struct cfg_store_callbacks callbacks = {.publish = publish, .in_force = in_force};

    assert_ok(cfg_store_open(&settings, &store, NULL));
    assert_ok(cfg_store_start(store, &callbacks));
}

static int make(void **state)
{
    (void)state;
    make_files();
    notified = left = published = 0;
    open_store();
    return 0;
}

static void add(struct cfg_change *change, const char *name, int64_t until_ms, unsigned weight,
                bool gone)
{
    struct cfg_registration is = {.ttl_s = 10, .until_ms = until_ms, .gone = gone};
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;

    is.endpoint.weight = (uint16_t)weight;
    json_t *json = cfg_registration_write(&is);
    assert_ok(cfg_change_put(
        change, &(struct cfg_put){.kind = &cfg_kind_registration, .name = name, .json = json},
        &refusal, &faults));
    json_decref(json);
}

static struct cfg_change *new_change(void)
{
    struct cfg_change *change =
        cfg_change_new(store, &(struct cfg_author){clock_.wall_ms, "t1", "127.0.0.1", "", ""});

    assert_non_null(change);
    return change;
}

static void put(const char *name, int64_t until_ms, unsigned weight, bool gone)
{
    struct cfg_change *change = new_change();

    add(change, name, until_ms, weight, gone);
    assert_ok(cfg_change_submit(change, NULL, NULL));
    settle();
}

/* The lines of the audit log; those that contain `word`. */
static size_t lines_with(const char *word)
{
    char *text;
    size_t len, count = 0;

    assert_ok(cfg_audit_read(settings.audit_path, 0, 1000, &text, &len));
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        count++;
    free(text);
    return count;
}

#define A "web/10.0.0.1:80"
#define B "web/10.0.0.2:80"

static void on_history(int err, json_t *history, const struct ps_fault *fault, void *ctx)
{
    (void)fault;
    assert_ok(err);
    *(size_t *)ctx = json_array_size(json_object_get(history, "versions"));
    json_decref(history);
}

static void a_heart_beat_leaves_no_line_no_history_and_no_snapshot(void **state)
{
    size_t versions = 0;

    (void)state;
    put(A, T0 + 10000, 1, false);
    assert_int_equal(notified, 1);
    assert_int_equal(lines_with("\"action\":\"endpoint.register\""), 1);
    size_t before = published;
    for (int i = 1; i <= 5; i++)
        put(A, T0 + 10000 + i, 1, false);
    assert_int_equal(notified, 1);
    assert_int_equal(published, before);
    assert_int_equal(lines_with("\"seq\":"), 1);
    const struct cfg_doc *doc = cfg_registration_find(store, A);
    assert_non_null(doc);
    assert_int_equal(cfg_registration_of(doc)->until_ms, T0 + 10005);
    assert_ok(cfg_store_history(store, &cfg_kind_registration, A, 0, on_history, &versions));
    while (versions == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(versions, 1);
}

static void another_weight_is_no_heart_beat(void **state)
{
    (void)state;
    put(A, T0 + 10000, 1, false);
    put(A, T0 + 10000, 2, false);
    assert_int_equal(notified, 2);
    assert_int_equal(lines_with("\"action\":\"endpoint.register\""), 2);
}

static void a_heart_beat_beside_a_change_is_in_its_line(void **state)
{
    (void)state;
    put(A, T0 + 10000, 1, false);
    struct cfg_change *change = new_change();
    add(change, A, T0 + 20000, 1, false);
    add(change, B, T0 + 20000, 1, false);
    assert_ok(cfg_change_submit(change, NULL, NULL));
    settle();
    assert_int_equal(notified, 2);
    assert_int_equal(lines_with("\"seq\":"), 2);
    assert_int_equal(lines_with("{\""
                                "registrations/" A),
                     2); /* from and to */
}

static void a_heart_beat_is_there_after_a_restart(void **state)
{
    (void)state;
    put(A, T0 + 10000, 1, false);
    put(A, T0 + 20000, 1, false);
    int64_t revision = cfg_store_revision(store);
    close_store();
    clock_.wall_ms = T0 + 15000;
    open_store();
    assert_int_equal(cfg_store_revision(store), revision);
    const struct cfg_doc *doc = cfg_registration_find(store, A);
    assert_non_null(doc);
    assert_int_equal(cfg_registration_of(doc)->until_ms, T0 + 20000);
}

static void an_end_by_itself_is_told_and_has_a_line(void **state)
{
    (void)state;
    put(A, T0 + 10000, 1, false);
    put(B, T0 + 20000, 1, false);
    clock_.wall_ms = T0 + 10000;
    assert_null(cfg_registration_find(store, A));
    cfg_store_tick(store);
    settle();
    assert_int_equal(notified, 3);
    assert_int_equal(left, 0);
    assert_int_equal(lines_with("\"action\":\"endpoint.expire\",\"target\":\"registrations/" A), 1);
    const struct cfg_doc *doc = cfg_registration_next(store, "web", NULL);
    assert_non_null(doc);
    assert_string_equal(doc->name, B);
    assert_null(cfg_registration_next(store, "web", doc));
}

static void who_leaves_is_told_at_once_and_forgotten_later(void **state)
{
    (void)state;
    put(A, T0 + 10000, 1, false);
    put(A, T0 + CFG_REGISTRATION_GONE_MS, 1, true);
    assert_int_equal(notified, 2);
    assert_int_equal(left, 1);
    assert_null(cfg_registration_find(store, A));
    assert_null(cfg_registration_next(store, "web", NULL));
    clock_.wall_ms = T0 + CFG_REGISTRATION_GONE_MS;
    cfg_store_tick(store);
    settle();
    assert_null(cfg_store_last(store, &cfg_kind_registration, A));
    assert_int_equal(lines_with("endpoint.expire"), 0);
}

static void names_have_one_spelling(void **state)
{
    static const struct {
        const char *text, *name; /* NULL: it is none */
    } cases[] = {{"web/10.0.0.1:80", "web/10.0.0.1:80"},
                 {"web/[2001:DB8:0::1]:80", "web/[2001:db8::1]:80"},
                 {"web/10.0.0.1", NULL},
                 {"/10.0.0.1:80", NULL},
                 {"10.0.0.1:80", NULL},
                 {"a b/10.0.0.1:80", NULL},
                 {"web/shop:80", NULL}};
    char name[CFG_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        int err = cfg_kind_registration.name(cases[i].text, strlen(cases[i].text), name);
        assert_int_equal(err, cases[i].name != NULL ? 0 : PS_E_INVALID);
        if (err == 0)
            assert_string_equal(name, cases[i].name);
    }
}

/* A COMMIT that fails may have happened; without an audit line the revision says so. */
static void a_heart_beat_whose_commit_fails_is_settled_by_the_file(void **state)
{
    (void)state;
    close_store();
    settings.vfs = FAULTY_VFS;
    open_store();
    put(A, T0 + 10000, 1, false);
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_WAL, SQLITE_IOERR_FSYNC, 0, 1);
    put(A, T0 + 20000, 1, false);
    assert_true(faulty_vfs_hits() > 0);
    int64_t until_ms = cfg_registration_of(cfg_registration_find(store, A))->until_ms;
    assert_true(until_ms == T0 + 10000 || until_ms == T0 + 20000);
    faulty_vfs_heal();
    close_store();
    open_store();
    assert_int_equal(cfg_registration_of(cfg_registration_find(store, A))->until_ms, until_ms);
    put(A, T0 + 30000, 1, false);
    assert_int_equal(cfg_registration_of(cfg_registration_find(store, A))->until_ms, T0 + 30000);
    assert_int_equal(lines_with("\"seq\":"), 1);
}

/* --- Heartbeats written together. --- */

static struct up_registrations *registrations;

static int make_registrations(void **state)
{
    make(state);
    assert_ok(up_registrations_new(&loop, store, &registrations));
    return 0;
}

static int drop_registrations(void **state)
{
    up_registrations_stop(registrations);
    drop(state);
    up_registrations_free(registrations);
    return 0;
}

static int renew(const char *name, int64_t *ret_until_ms)
{
    const struct cfg_doc *doc = cfg_registration_find(store, name);
    struct ps_fault fault = {0};

    assert_non_null(doc);
    int err = up_registrations_renew(registrations, doc, ret_until_ms, &fault);
    if (err < 0)
        assert_true(fault.text[0] != '\0');
    return err;
}

static int64_t until_of(const char *name)
{
    return cfg_registration_of(cfg_registration_find(store, name))->until_ms;
}

static void on_wake(uv_timer_t *timer)
{
    (void)timer;
}

static void run_for(uint64_t ms)
{
    uv_timer_t timer;

    uv_update_time(&loop);
    uint64_t end = uv_now(&loop) + ms;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_wake, ms, 1);
    while (uv_now(&loop) < end)
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void run_until_written(const char *name, int64_t until_ms)
{
    while (until_of(name) != until_ms)
        run_for(20);
}

static void heart_beats_that_are_due_make_one_change(void **state)
{
    int64_t until_ms;

    (void)state;
    put(A, up_registration_end_ms(T0, 10), 1, false);
    put(B, up_registration_end_ms(T0, 10), 1, false);
    int64_t revision = cfg_store_revision(store);
    clock_.wall_ms = T0 + 5000; /* a whole TTL is left: nothing is due */
    assert_ok(renew(A, &until_ms));
    assert_int_equal(until_ms, T0 + 15000);
    clock_.wall_ms = T0 + 6000;
    for (int i = 0; i < 3; i++) {
        assert_ok(renew(A, &until_ms));
        assert_ok(renew(B, &until_ms));
        assert_int_equal(until_ms, T0 + 21000);
    }
    assert_int_equal(until_of(A), T0 + 15000);
    run_until_written(A, T0 + 21000);
    run_until_written(B, T0 + 21000);
    assert_int_equal(cfg_store_revision(store), revision + 1);
    run_for(1100);
    assert_int_equal(cfg_store_revision(store), revision + 1);
}

static void heart_beats_that_cannot_be_written_are_told_and_tried_again(void **state)
{
    int64_t until_ms;

    (void)state;
    up_registrations_stop(registrations);
    close_store();
    uv_run(&loop, UV_RUN_NOWAIT); /* its handle is closed */
    up_registrations_free(registrations);
    settings.vfs = FAULTY_VFS;
    open_store();
    assert_ok(up_registrations_new(&loop, store, &registrations));
    put(A, up_registration_end_ms(T0, 10), 1, false);
    clock_.wall_ms = T0 + 6000;
    faulty_vfs_fail(FAULTY_WRITE, FAULTY_ANY, SQLITE_FULL, 0, FAULTY_FOR_EVER);
    assert_ok(renew(A, &until_ms));
    for (int i = 0; i < 1000 && up_registrations_fault(registrations) == NULL; i++)
        run_for(10);
    assert_non_null(up_registrations_fault(registrations));
    assert_true(renew(A, &until_ms) < 0);
    assert_int_equal(until_of(A), T0 + 15000);
    faulty_vfs_heal();
    for (int i = 0; i < 1000 && up_registrations_fault(registrations) != NULL; i++)
        run_for(10);
    assert_null(up_registrations_fault(registrations));
    assert_int_equal(until_of(A), T0 + 21000);
    assert_ok(renew(A, &until_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_heart_beat_leaves_no_line_no_history_and_no_snapshot,
                                        make, drop),
        cmocka_unit_test_setup_teardown(another_weight_is_no_heart_beat, make, drop),
        cmocka_unit_test_setup_teardown(a_heart_beat_beside_a_change_is_in_its_line, make, drop),
        cmocka_unit_test_setup_teardown(a_heart_beat_is_there_after_a_restart, make, drop),
        cmocka_unit_test_setup_teardown(an_end_by_itself_is_told_and_has_a_line, make, drop),
        cmocka_unit_test_setup_teardown(who_leaves_is_told_at_once_and_forgotten_later, make, drop),
        cmocka_unit_test(names_have_one_spelling),
        cmocka_unit_test_setup_teardown(a_heart_beat_whose_commit_fails_is_settled_by_the_file,
                                        make, drop),
        cmocka_unit_test_setup_teardown(heart_beats_that_are_due_make_one_change,
                                        make_registrations, drop_registrations),
        cmocka_unit_test_setup_teardown(heart_beats_that_cannot_be_written_are_told_and_tried_again,
                                        make_registrations, drop_registrations),
    };

    faulty_vfs_register();

    return cmocka_run_group_tests(tests, NULL, NULL);
}
