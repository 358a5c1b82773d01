/* The store of documents: what was changed is there after a restart, with its history and its audit
 * line, or not at all. */
#include "tests/contract/faulty_vfs.h"
#include "tests/unit/doc_store.h"

#include "gateway/config/store/audit_log.h"
#include "gateway/config/kinds/feature_doc.h"
#include "gateway/config/kinds/overload_doc.h"
#include "gateway/config/kinds/route_doc.h"
#include "gateway/config/sale_notes.h"
#include "gateway/config/store/store_internal.h"
#include "gateway/snapshot/view.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>

static struct snap_view *view; /* what workers would see */
static struct snapshot *snapshot;
static bool sale_is_used;

/* --- A store without workers. --- */

static int in_force(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to)
{
    (void)ctx;
    return snap_view_put(view, store, from, to);
}

static int publish(void *ctx, int64_t revision)
{
    struct snapshot *next;
    int64_t version = snapshot != NULL ? snapshot->version + 1 : 1;
    (void)ctx;
    assert_ok(snap_view_snapshot(view, version, revision, &next));
    snapshot_free(snapshot);
    snapshot = next;
    return 0;
}

static bool is_used(void *ctx, const char *sale)
{
    (void)ctx;
    (void)sale;
    return sale_is_used;
}

static int open_store(struct ps_fault *fault)
{
    static const struct cfg_store_callbacks callbacks = {
        .publish = publish, .in_force = in_force, .sale_is_used = is_used};
    int err = cfg_store_open(&settings, &store, fault);
    if (err == 0) {
        assert_ok(snap_view_new(1, &view));
        assert_ok(cfg_store_start(store, &callbacks));
        assert_ok(publish(NULL, cfg_store_revision(store)));
    }
    return err;
}

static void close_all(void)
{
    close_store();
    snapshot_free(snapshot);
    snapshot = NULL;
    snap_view_free(view);
    view = NULL;
}

static int make(void **state)
{
    (void)state;
    make_files();
    sale_is_used = false;
    assert_ok(open_store(NULL));
    return 0;
}

static int drop_all(void **state)
{
    close_all();
    return drop(state);
}

static void open_again(void)
{
    close_all();
    assert_ok(open_store(NULL));
}

static void turn(void)
{
    uv_run(&loop, UV_RUN_ONCE);
    while (cfg_store_is_publishing(store))
        cfg_store_acknowledged(store);
}

/* --- Changes. --- */

struct answer {
    int err; /* 1 until it comes */
    struct ps_fault fault;
};

static void on_done(int err, const struct ps_fault *fault, void *ctx)
{
    struct answer *answer = ctx;
    answer->err = err;
    answer->fault = *fault;
}

static struct cfg_change *change_by(const char *who, const char *why)
{
    struct cfg_change *change =
        cfg_change_new(store, &(struct cfg_author){.at_ms = ps_clock_wall_ms(&clock_.clock),
                                                   .who = who,
                                                   .peer = "127.0.0.1",
                                                   .action = "",
                                                   .why = why});
    assert_non_null(change);
    return change;
}

static int submit(struct cfg_change *change)
{
    struct answer answer = {.err = 1};
    int err = cfg_change_submit(change, on_done, &answer);
    if (err < 0)
        return err;
    while (answer.err == 1)
        turn();
    return answer.err;
}

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    return json;
}

static int add(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
               const char *text)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    json_t *json = parse(text);
    int err = cfg_change_put(change, &(struct cfg_put){.kind = kind, .name = name, .json = json},
                             &refusal, &faults);
    json_decref(json);
    return err;
}

static int put(const struct cfg_kind *kind, const char *name, const char *text)
{
    struct cfg_change *change = change_by("t1", "");
    assert_ok(add(change, kind, name, text));
    return submit(change);
}

static struct cfg_change *sale_change(const char *name, int stock)
{
    struct cfg_change *change = change_by("t1", "");
    char text[80];
    (void)snprintf(text, sizeof text, "{\"skus\":[{\"sku\":\"phone\",\"stock\":%d}]}", stock);
    assert_ok(add(change, &cfg_kind_sale, name, text));
    return change;
}

static int put_sale(const char *name, int stock)
{
    return submit(sale_change(name, stock));
}

static int remove_document(const struct cfg_kind *kind, const char *name)
{
    struct cfg_change *change = change_by("t1", "");
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    assert_ok(cfg_change_drop(change, kind, name, "", &refusal, &faults));
    return submit(change);
}

/* --- What there is. --- */

static const struct cfg_doc *find(const struct cfg_kind *kind, const char *name)
{
    return cfg_store_find(store, kind, name);
}

static const struct cfg_stored_sale *sale_of(const char *name)
{
    return cfg_sale_of(find(&cfg_kind_sale, name));
}

static bool blocked(const char *user)
{
    const struct ps_address nobody = {{0}};
    return adm_blocklist_has(snapshot->blocklist, (struct ps_str){user, strlen(user)}, &nobody,
                             ps_clock_wall_ms(&clock_.clock));
}

/* audit.log holds exactly lines 1 to `last`. */
static void has_lines(int64_t last)
{
    char *text, *at;
    size_t len;
    assert_ok(cfg_audit_read(settings.audit_path, 0, 1000, &text, &len));
    at = text;
    for (int64_t seq = 1; seq <= last; seq++) {
        char start[32];
        (void)snprintf(start, sizeof start, "{\"seq\":%d,", (int)seq);
        assert_int_equal(strncmp(at, start, strlen(start)), 0);
        at = strchr(at, '\n') + 1;
    }
    assert_int_equal(*at, '\0');
    free(text);
}

static void execute_in(const char *path, const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void execute(const char *sql)
{
    execute_in(settings.path, sql);
}

static void refused(int err, const char *words)
{
    struct ps_fault fault;
    assert_int_equal(open_store(&fault), err);
    assert_string_equal(fault.path, settings.path);
    if (strstr(fault.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", fault.text, words);
}

/* --- Claims. --- */

static void a_new_store_has_the_shipped_rules(void **state)
{
    static const char *const names[] = {"global", "ip", "polling", "status", "user"};
    const struct cfg_doc *doc = NULL;
    (void)state;
    assert_int_equal(mode_of(settings.path), 0600);
    assert_int_equal(cfg_store_revision(store), 1);
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 0);
    assert_int_equal(cfg_store_count(store, &cfg_kind_user), 0);
    assert_int_equal(cfg_store_count(store, &cfg_kind_limit), PS_ARRAY_LEN(names));
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        doc = cfg_store_next(store, &cfg_kind_limit, doc);
        assert_string_equal(doc->name, names[i]);
        assert_string_equal(doc->by.who, "penstock");
        assert_int_equal(doc->version, 1);
    }
    assert_int_equal(cfg_rule_of(doc)->rate, 5);
    assert_int_equal(cfg_rule_of(doc)->period_s, 10);
    assert_int_equal(cfg_rule_of(find(&cfg_kind_limit, "polling"))->applies_to,
                     CFG_LIMIT_ORDER_STATE);
    assert_int_equal(cfg_rule_of(find(&cfg_kind_limit, "global"))->mode, CFG_LIMIT_ENFORCE);
}

static void workers_see_which_version_of_a_sale_they_go_by(void **state)
{
    const struct snap_sale *sale;

    (void)state;
    assert_ok(put_sale("spring", 100));
    clock_.wall_ms = T0 + 1;
    assert_ok(put_sale("spring", 200));
    sale = snapshot_sale(snapshot, "spring", strlen("spring"));
    assert_int_equal(sale->version, 2);
    assert_int_equal(sale->created_at_ms, T0);
}

static void a_sale_is_there_after_a_restart(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 100));
    clock_.wall_ms = T0 + 1;
    assert_ok(put_sale("spring", 200));
    assert_ok(cfg_store_note_sales(store, (const char *const[]){"spring"}, 1, true, NULL, NULL));
    assert_ok(put_sale("autumn", 1));
    struct cfg_change *change = change_by("t1", "");
    json_t *ended = cfg_sale_state_write(&(struct cfg_sale_state){.ended = true});
    assert_ok(cfg_change_state(change, &cfg_kind_sale, "autumn", ended));
    json_decref(ended);
    assert_ok(submit(change));
    open_again();
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 2);
    assert_true(sale_of("autumn")->state.ended);
    const struct cfg_doc *spring = find(&cfg_kind_sale, "spring");
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 200);
    assert_int_equal(spring->version, 3);
    assert_int_equal(spring->created_at_ms, T0);
    assert_int_equal(spring->by.at_ms, T0 + 1);
    assert_true(sale_of("spring")->state.opened);
    assert_false(sale_of("spring")->state.paused);
    assert_false(sale_of("spring")->state.ended);
}

/* DC2 */
static void a_change_of_an_old_version_is_refused_whole(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    struct cfg_change *late = change_by("t1", ""), *late_first = sale_change("autumn", 7);
    assert_ok(add(late, &cfg_kind_user, "bob", "{}"));
    assert_ok(add(late, &cfg_kind_sale, "spring", "{\"skus\":[{\"sku\":\"phone\",\"stock\":7}]}"));
    assert_ok(put_sale("spring", 2));
    assert_ok(put_sale("autumn", 2));
    assert_int_equal(submit(late), PS_E_CONFLICT);
    assert_int_equal(submit(late_first), PS_E_CONFLICT);
    /* and so says the file, whatever memory has */
    execute("UPDATE documents SET version = 5 WHERE name = 'spring'");
    assert_int_equal(put_sale("spring", 3), PS_E_CONFLICT);
    has_lines(3);
    open_again();
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 2);
    assert_int_equal(sale_of("autumn")->doc.skus[0].stock, 2);
    assert_null(find(&cfg_kind_user, "bob"));
    assert_int_equal(cfg_store_revision(store), 4);
}

static void of_two_changes_that_wait_the_second_is_refused(void **state)
{
    struct answer first = {.err = 1}, second = {.err = 1};
    (void)state;
    struct cfg_change *mine = sale_change("spring", 1), *his = sale_change("spring", 2);
    assert_ok(cfg_change_submit(mine, on_done, &first));
    assert_ok(cfg_change_submit(his, on_done, &second));
    while (first.err == 1 || second.err == 1)
        turn();
    assert_ok(first.err);
    assert_int_equal(second.err, PS_E_CONFLICT);
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 1);
}

static void a_deleted_sale_is_gone_and_its_versions_go_on(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    assert_ok(remove_document(&cfg_kind_sale, "spring"));
    open_again();
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 0);
    assert_null(find(&cfg_kind_sale, "spring"));
    assert_int_equal(cfg_store_last(store, &cfg_kind_sale, "spring")->version, 2);
    assert_ok(put_sale("spring", 2));
    open_again();
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 1);
    assert_int_equal(find(&cfg_kind_sale, "spring")->version, 3);
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 2);
}

static void a_document_never_moves_anothers_version(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    assert_ok(put(&cfg_kind_limit, "user",
                  "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":7,\"period_s\":1}"));
    assert_ok(put(&cfg_kind_user,
                  "b\xc3\xb6"
                  "b",
                  "{\"ttl_s\":1,\"reason\":\"bot\"}"));
    struct cfg_change *change = change_by("t1", "");
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    assert_ok(add(change, &cfg_kind_range, "203.0.113.0/24", "{}"));
    assert_ok(cfg_change_drop(change, &cfg_kind_user,
                              "b\xc3\xb6"
                              "b",
                              "", &refusal, &faults));
    assert_ok(submit(change));
    open_again();
    assert_int_equal(cfg_store_revision(store), 5);
    assert_int_equal(find(&cfg_kind_sale, "spring")->version, 1);
    assert_int_equal(find(&cfg_kind_sale, "spring")->revision, 2);
    assert_int_equal(find(&cfg_kind_limit, "user")->version, 2);
    assert_int_equal(find(&cfg_kind_limit, "ip")->version, 1);
    assert_int_equal(cfg_rule_of(find(&cfg_kind_limit, "user"))->rate, 7);
    assert_int_equal(find(&cfg_kind_range, "203.0.113.0/24")->revision, 5);
    assert_null(find(&cfg_kind_user, "b\xc3\xb6"
                                     "b"));
}

static void what_ends_by_itself_leaves_nothing(void **state)
{
    (void)state;
    assert_ok(put(&cfg_kind_user, "bob", "{\"ttl_s\":1}"));
    assert_ok(put(&cfg_kind_user, "eve", "{\"ttl_s\":9}"));
    int64_t version = find(&cfg_kind_user, "bob")->version;
    assert_true(blocked("bob"));
    clock_.wall_ms = T0 + 1000;
    assert_null(find(&cfg_kind_user, "bob"));
    assert_false(blocked("bob"));
    cfg_store_tick(store);
    assert_int_equal(cfg_store_count(store, &cfg_kind_user), 1);
    assert_null(cfg_store_last(store, &cfg_kind_user, "bob"));
    /* Made anew it is no version of before. */
    assert_ok(put(&cfg_kind_user, "bob", "{}"));
    assert_true(find(&cfg_kind_user, "bob")->version > version);
    clock_.wall_ms = T0 + 9000;
    open_again();
    assert_false(blocked("eve"));
    cfg_store_tick(store);
    assert_null(cfg_store_last(store, &cfg_kind_user, "eve"));
    assert_true(blocked("bob"));
}

/* F15, F21 */
static void what_ends_is_removed_only_by_a_clock_that_goes_on_evenly(void **state)
{
    (void)state;
    settings.rest_ms = 5000;
    assert_ok(put(&cfg_kind_user, "eve", "{\"ttl_s\":9}"));
    open_again();
    for (int jump = 1; jump <= 3; jump++) { /* the clock goes days ahead and comes back */
        clock_.wall_ms = T0 + jump % 2 * INT64_C(700000000);
        cfg_store_tick(store);
        clock_.mono_ns += 4 * PS_NS_PER_S;
        clock_.wall_ms += 4000;
        cfg_store_tick(store);
        assert_non_null(cfg_store_last(store, &cfg_kind_user, "eve"));
        assert_int_equal(find(&cfg_kind_user, "eve") != NULL, jump == 2);
    }
    clock_.mono_ns += PS_NS_PER_S;
    clock_.wall_ms += 1000;
    cfg_store_tick(store);
    assert_null(cfg_store_last(store, &cfg_kind_user, "eve"));
    settings.rest_ms = 0;
}

static json_t *history;

static void on_history(int err, json_t *json, const struct ps_fault *fault, void *ctx)
{
    (void)fault;
    *(int *)ctx = err;
    json_decref(history);
    history = json;
}

static int look(const struct cfg_kind *kind, const char *name, int64_t version)
{
    int err = 1;
    json_decref(history);
    history = NULL;
    assert_ok(cfg_store_history(store, kind, name, version, on_history, &err));
    while (err == 1)
        turn();
    return err;
}

static const char *text_in(const json_t *json, const char *member)
{
    return json_string_value(json_object_get(json, member));
}

/* DC6 */
static void every_version_is_kept_with_who_and_why(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    struct cfg_change *change = change_by("t2", "more");
    assert_ok(
        add(change, &cfg_kind_sale, "spring", "{\"skus\":[{\"sku\":\"phone\",\"stock\":2}]}"));
    assert_ok(submit(change));
    assert_ok(remove_document(&cfg_kind_sale, "spring"));
    open_again();
    assert_ok(look(&cfg_kind_sale, "spring", 0));
    const json_t *versions = json_object_get(history, "versions");
    assert_int_equal(json_array_size(versions), 3);
    assert_true(json_is_true(json_object_get(json_array_get(versions, 0), "deleted")));
    const json_t *second = json_array_get(versions, 1);
    assert_string_equal(text_in(second, "who"), "t2");
    assert_string_equal(text_in(second, "peer"), "127.0.0.1");
    assert_string_equal(text_in(second, "why"), "more");
    assert_string_equal(text_in(second, "action"), "sale.put");
    assert_ok(look(&cfg_kind_sale, "spring", 1));
    const json_t *skus = json_object_get(json_object_get(history, "document"), "skus");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(skus, 0), "stock")), 1);
    assert_int_equal(look(&cfg_kind_sale, "spring", 4), PS_E_NOT_FOUND);
    assert_int_equal(look(&cfg_kind_sale, "summer", 0), PS_E_NOT_FOUND);
    json_decref(history);
    history = NULL;
}

static void of_a_document_the_last_100_versions_are_kept(void **state)
{
    (void)state;
    for (int i = 1; i <= 103; i++)
        assert_ok(put_sale("spring", i));
    assert_ok(look(&cfg_kind_sale, "spring", 0));
    assert_int_equal(json_array_size(json_object_get(history, "versions")), 100);
    assert_int_equal(look(&cfg_kind_sale, "spring", 3), PS_E_NOT_FOUND);
    assert_ok(look(&cfg_kind_sale, "spring", 4));
    json_decref(history);
    history = NULL;
}

static void every_change_has_its_line(void **state)
{
    (void)state;
    for (int i = 1; i <= 3; i++)
        assert_ok(put_sale("spring", i));
    has_lines(3);
    open_again();
    assert_ok(put_sale("spring", 4));
    has_lines(4);
    char *text = read_file(settings.audit_path);
    assert_non_null(strstr(text, "\"action\":\"sale.put\",\"target\":\"sales/spring\",\"from\":{"));
    assert_non_null(strstr(text, "\"stock\":3"));
    free(text);
}

static void a_line_that_could_not_be_written_follows_later(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    const char *aside = temp_file(&temp, "aside");
    assert_ok(rename(settings.audit_path, aside));
    assert_ok(mkdir(settings.audit_path, 0700)); /* stands in its way */
    assert_ok(put_sale("spring", 2));            /* done all the same */
    assert_int_equal(find(&cfg_kind_sale, "spring")->version, 2);
    assert_ok(rmdir(settings.audit_path));
    assert_ok(rename(aside, settings.audit_path));
    has_lines(1);
    assert_ok(put_sale("spring", 3));
    has_lines(3);
}

static void a_crash_between_commit_and_line_loses_no_line(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    char *text = read_file(settings.audit_path);
    assert_ok(put_sale("spring", 2));
    close_all();
    write_file(settings.audit_path, text); /* as if line 2 had not been written */
    free(text);
    assert_ok(open_store(NULL));
    has_lines(2);
    open_again();
    has_lines(2);
}

static void a_lost_database_goes_on_behind_the_log(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    close_all();
    assert_ok(unlink(settings.path));
    assert_ok(open_store(NULL));
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 0);
    assert_ok(put_sale("spring", 1));
    has_lines(2);
}

static void a_failed_write_changes_nothing_and_passes(void **state)
{
    struct rlimit before, limit;
    (void)state;
    assert_ok(put_sale("spring", 1));
    assert_ok(getrlimit(RLIMIT_FSIZE, &before));
    signal(SIGXFSZ, SIG_IGN);
    limit = (struct rlimit){1024, before.rlim_max};
    assert_ok(setrlimit(RLIMIT_FSIZE, &limit));
    int err = put_sale("spring", 2);
    assert_ok(setrlimit(RLIMIT_FSIZE, &before));
    assert_int_equal(err, PS_E_IO);
    has_lines(1);
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 1);
    assert_ok(put_sale("spring", 3));
    has_lines(2);
    open_again();
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 3);
}

/* A COMMIT that fails may have happened: the file says so, and memory follows it. */
static void a_commit_that_fails_is_settled_by_the_file(void **state)
{
    (void)state;
    close_all();
    settings.vfs = FAULTY_VFS;
    assert_ok(open_store(NULL));
    assert_ok(put_sale("spring", 1));
    /* Its frames are written, but not known to be on the disk: the next open finds them. */
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_WAL, SQLITE_IOERR_FSYNC, 0, 1);
    int err = put_sale("spring", 2);
    assert_true(faulty_vfs_hits() > 0);
    int64_t stock = sale_of("spring")->doc.skus[0].stock;
    assert_int_equal(stock, err == 0 ? 2 : 1);
    has_lines(err == 0 ? 2 : 1);
    /* As long as the file cannot be opened nothing is said, and nothing else is written. (The first
     * sync is that of a WAL that begins anew, before COMMIT.) */
    struct answer answer = {.err = 1}, next = {.err = 1};
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_ANY, SQLITE_IOERR_FSYNC, 1, FAULTY_FOR_EVER);
    assert_ok(cfg_change_submit(sale_change("summer", 1), on_done, &answer));
    assert_ok(cfg_change_submit(sale_change("winter", 1), on_done, &next));
    for (int i = 0; i < 50; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        uv_sleep(10);
    }
    assert_int_equal(answer.err, 1);
    assert_int_equal(next.err, 1);
    faulty_vfs_heal();
    while (answer.err == 1 || next.err == 1)
        turn();
    assert_ok(next.err);
    bool landed = answer.err == 0;
    assert_int_equal(find(&cfg_kind_sale, "summer") != NULL, landed);
    open_again();
    assert_int_equal(find(&cfg_kind_sale, "summer") != NULL, landed);
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, stock);
    assert_non_null(find(&cfg_kind_sale, "winter"));
}

static void an_end_does_not_wait_for_a_file_that_cannot_be_opened(void **state)
{
    struct answer answer = {.err = 1};
    (void)state;
    close_all();
    settings.vfs = FAULTY_VFS;
    assert_ok(open_store(NULL));
    faulty_vfs_fail(FAULTY_SYNC, FAULTY_ANY, SQLITE_IOERR_FSYNC, 1, FAULTY_FOR_EVER);
    assert_ok(cfg_change_submit(sale_change("spring", 1), on_done, &answer));
    uv_sleep(50);
    close_all();
    assert_int_equal(answer.err, PS_E_CLOSED);
    faulty_vfs_heal();
    struct ps_fault why = {0};
    if (open_store(&why) < 0)
        fail_msg("%s: %s", why.path, why.text);
}

static int put_file(const char *path, const char *text, const char *sale)
{
    struct cfg_change *change = sale_change(sale, 5);
    assert_ok(cfg_change_file(change, path, text));
    return submit(change);
}

static void a_file_is_replaced_with_its_change_or_not_at_all(void **state)
{
    (void)state;
    const char *path = temp_file(&temp, "tokens.json");
    write_file(path, "old");
    assert_ok(put_sale("changed", 1));
    execute("UPDATE documents SET version = 5 WHERE name = 'changed'");
    assert_int_equal(put_file(path, "new", "changed"), PS_E_CONFLICT);
    char *text = read_file(path);
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(access(temp_file(&temp, "tokens.json.new"), F_OK), -1);
    assert_ok(put_file(path, "new", "spring"));
    text = read_file(path);
    assert_string_equal(text, "new");
    free(text);
    assert_int_equal(mode_of(path), 0600);
    has_lines(2);
    assert_int_equal(put_file(temp_file(&temp, "no/where"), "new", "autumn"), PS_E_NOT_FOUND);
    has_lines(2);
}

static int submit_line(struct answer *answer)
{
    struct cfg_change *change = change_by("t1", "");
    cfg_change_line(change, "sales/spring", NULL, NULL);
    *answer = (struct answer){.err = 1};
    return cfg_change_submit(change, on_done, answer);
}

static void closing_does_what_was_taken(void **state)
{
    enum { COUNT = 20 };
    struct cfg_job jobs[COUNT];
    struct cfg_writer *writer;
    int64_t revision;
    (void)state;
    close_all();
    assert_ok(open_store(NULL));
    writer = store->writer;
    (void)revision;
    for (int i = 0; i < COUNT; i++) {
        jobs[i] = (struct cfg_job){.line = strdup("{\"who\":\"t1\"}")};
        STAILQ_INIT(&jobs[i].ended);
        assert_ok(cfg_writer_submit(writer, &jobs[i]));
    }
    cfg_writer_close(writer);
    store->writer = NULL;
    for (int i = 0; i < COUNT; i++) {
        assert_ok(jobs[i].err);
        cfg_job_done(&jobs[i]);
    }
    has_lines(COUNT);
    close_all();
    assert_ok(open_store(NULL));
}

static void a_store_that_stands_still_refuses_what_it_cannot_queue(void **state)
{
    enum { COUNT = CFG_WRITER_QUEUE + 2 };
    static int errs[COUNT];
    sqlite3 *db;
    int taken = 0;
    (void)state;
    assert_int_equal(sqlite3_open(settings.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < COUNT; i++) {
        errs[i] = 1;
        int err = cfg_store_history(store, &cfg_kind_limit, "user", 0, on_history, &errs[i]);
        if (i == 0) { /* what it does first waits for the file */
            static struct answer answer;
            (void)submit_line(&answer);
        }
        assert_true(err == 0 || err == PS_E_FULL);
        taken += err == 0;
    }
    assert_true(taken > 0);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    while (errs[taken - 1] == 1) {
        turn();
        json_decref(history);
        history = NULL;
    }
}

static void what_another_gateway_decided_is_written_whatever_stands_here(void **state)
{
    static const char *const states[] = {
        "{\"opening\":false,\"opened\":false,\"paused\":true,\"ended\":false}"};
    struct answer answer = {.err = 1};
    struct ps_faults faults = {0};
    (void)state;
    assert_ok(put_sale("spring", 1));
    assert_ok(put_sale("summer", 1));
    struct cfg_edit *edits = calloc(3, sizeof *edits);
    json_t *json = parse("{\"skus\":[{\"sku\":\"phone\",\"stock\":7}]}"),
           *paused = parse(states[0]), *empty = parse("{}");
    struct cfg_doc_parts parts = {.kind = &cfg_kind_sale,
                                  .name = "spring",
                                  .version = 9,
                                  .revision = 12,
                                  .by = {T0, "t9", "", "sale.pause", ""},
                                  .json = json,
                                  .state = paused,
                                  .reading.pointer = ""};
    assert_ok(cfg_doc_new(&parts, &edits[0].doc, &faults));
    parts.name = "summer";
    parts.version = 4;
    parts.json = parts.state = NULL;
    assert_ok(cfg_doc_new(&parts, &edits[1].doc, &faults));
    parts.kind = &cfg_kind_user;
    parts.name = "bob";
    parts.json = empty;
    assert_ok(cfg_doc_new(&parts, &edits[2].doc, &faults));
    for (int i = 0; i < 3; i++)
        edits[i].after = CFG_DB_WHATEVER;
    json_decref(json);
    json_decref(paused);
    json_decref(empty);
    assert_ok(cfg_store_take(store, edits, 3, on_done, &answer));
    while (answer.err == 1)
        turn();
    assert_ok(answer.err);
    open_again();
    assert_int_equal(find(&cfg_kind_sale, "spring")->version, 9);
    assert_true(sale_of("spring")->state.paused);
    assert_int_equal(sale_of("spring")->doc.skus[0].stock, 7);
    assert_null(find(&cfg_kind_sale, "summer"));
    assert_int_equal(cfg_store_last(store, &cfg_kind_sale, "summer")->version, 4);
    assert_true(blocked("bob"));
    assert_int_equal(cfg_store_revision(store), 12);
    assert_string_equal(find(&cfg_kind_sale, "spring")->by.who, "t9");
}

/* --- Files of before. --- */

/* control.db as schema 2 made it, with all that it could hold. */
static const char schema_2[] =
    "CREATE TABLE sales(name TEXT PRIMARY KEY, document TEXT NOT NULL, version INTEGER NOT NULL,"
    " created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL, opened INTEGER NOT NULL,"
    " paused INTEGER NOT NULL, ended INTEGER NOT NULL) STRICT;"
    "CREATE TABLE limits(name TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;"
    "CREATE TABLE blocklist(kind TEXT NOT NULL, subject TEXT NOT NULL, until_ms INTEGER NOT NULL,"
    " created_at_ms INTEGER NOT NULL, reason TEXT NOT NULL, by TEXT NOT NULL,"
    " PRIMARY KEY(kind, subject)) STRICT;"
    "CREATE TABLE policy(version INTEGER NOT NULL) STRICT;"
    "CREATE TABLE audit(seq INTEGER PRIMARY KEY, line TEXT NOT NULL) STRICT;"
    "CREATE TABLE deleted(name TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT;"
    "INSERT INTO policy VALUES(6);"
    "INSERT INTO limits VALUES('user', '{\"algorithm\":\"token_bucket\",\"key\":\"user\","
    "\"rate\":6,\"period_s\":10,\"burst\":5,\"applies_to\":[\"order\"]}'),"
    "('tickets', '{\"algorithm\":\"token_bucket\",\"key\":\"ip\",\"rate\":1,\"period_s\":1,"
    "\"burst\":1,\"applies_to\":[\"ticket\"]}');"
    "INSERT INTO sales VALUES"
    "('draft', '{\"ticket\":false,\"skus\":[{\"sku\":\"a\",\"stock\":1}]}', 1, 5, 6, 0, 0, 0),"
    "('opened', '{\"skus\":[{\"sku\":\"a\",\"stock\":2}]}', 2, 5, 6, 1, 0, 0),"
    "('opening', '{\"skus\":[{\"sku\":\"a\",\"stock\":3}]}', 3, 5, 6, 2, 0, 0),"
    "('paused', '{\"skus\":[{\"sku\":\"a\",\"stock\":4}]}', 4, 5, 6, 1, 1, 0),"
    "('ended', '{\"skus\":[{\"sku\":\"a\",\"stock\":5}]}', 5, 5, 6, 1, 1, 1);"
    "INSERT INTO deleted VALUES('gone', 8);"
    "INSERT INTO blocklist VALUES"
    "('user', 'b\xc3\xb6"
    "b', 9223372036854775807, 1899999999000, 'a \"bot\"', 't1'),"
    "('user', 'eve', 1900000005678, 1899999999000, '', 't1'),"
    "('user', 'over', 1800000000000, 1799999999000, '', 't1'),"
    "('range', '203.0.113.0/24', 9223372036854775807, 1899999999000, '', 't2');"
    "INSERT INTO audit VALUES(3, '\"who\":\"t1\"}');"
    "PRAGMA application_id = 1347646563; PRAGMA user_version = 2; PRAGMA journal_mode = WAL;";

static void make_old_file(const char *sql)
{
    close_all();
    assert_ok(unlink(settings.path));
    assert_ok(unlink(settings.audit_path));
    write_file(settings.path, "");
    assert_ok(chmod(settings.path, 0600));
    execute(sql);
}

static void a_file_of_schema_2_is_read_and_goes_on(void **state)
{
    static const struct {
        const char *name;
        int64_t version;
        bool opening, opened, paused, ended;
    } sales[] = {{"draft", 1, false, false, false, false},
                 {"opened", 2, false, true, false, false},
                 {"opening", 3, true, false, false, false},
                 {"paused", 4, false, true, true, false},
                 {"ended", 5, false, true, true, true}};
    (void)state;
    make_old_file(schema_2);
    assert_ok(open_store(NULL));
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), PS_ARRAY_LEN(sales));
    for (int64_t i = 0; i < (int64_t)PS_ARRAY_LEN(sales); i++) {
        const struct cfg_sale_state *is = &sale_of(sales[i].name)->state;
        const struct cfg_doc *doc = find(&cfg_kind_sale, sales[i].name);
        assert_int_equal(doc->version, sales[i].version);
        assert_int_equal(doc->created_at_ms, 5);
        assert_int_equal(doc->by.at_ms, 6);
        assert_int_equal(sale_of(sales[i].name)->doc.skus[0].stock, i + 1);
        assert_int_equal(is->opening, sales[i].opening);
        assert_int_equal(is->opened, sales[i].opened);
        assert_int_equal(is->paused, sales[i].paused);
        assert_int_equal(is->ended, sales[i].ended);
    }
    assert_null(find(&cfg_kind_sale, "gone"));
    assert_int_equal(cfg_store_last(store, &cfg_kind_sale, "gone")->version, 8);
    assert_int_equal(cfg_store_count(store, &cfg_kind_limit), 2);
    assert_int_equal(cfg_rule_of(find(&cfg_kind_limit, "user"))->rate, 6);
    assert_string_equal(find(&cfg_kind_limit, "user")->by.who, "upgrade");
    assert_int_equal(cfg_rule_of(find(&cfg_kind_limit, "tickets"))->applies_to, 0);
    cfg_store_tick(store); /* another of them has ended */
    assert_int_equal(cfg_store_count(store, &cfg_kind_user), 2);
    const struct cfg_doc *bob = find(&cfg_kind_user, "b\xc3\xb6"
                                                     "b");
    assert_string_equal(bob->json, "{\"until\":null,\"reason\":\"a \\\"bot\\\"\"}");
    assert_string_equal(bob->by.who, "t1");
    assert_int_equal(bob->created_at_ms, INT64_C(1899999999000));
    assert_string_equal(find(&cfg_kind_user, "eve")->json,
                        "{\"until\":\"2030-03-17T17:46:45.678Z\",\"reason\":null}");
    assert_non_null(find(&cfg_kind_range, "203.0.113.0/24"));
    char *text = read_file(settings.audit_path);
    assert_non_null(strstr(text, "{\"seq\":3,"));
    free(text);
    assert_ok(put_sale("gone", 1));
    open_again();
    assert_int_equal(find(&cfg_kind_sale, "gone")->version, 9);
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 6);
}

static void a_file_of_schema_1_is_read_and_goes_on(void **state)
{
    (void)state;
    make_old_file(schema_2);
    execute("DROP TABLE deleted; PRAGMA user_version = 1");
    assert_ok(open_store(NULL));
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 5);
    assert_null(cfg_store_last(store, &cfg_kind_sale, "gone"));
    assert_ok(remove_document(&cfg_kind_sale, "draft"));
    open_again();
    assert_int_equal(cfg_store_last(store, &cfg_kind_sale, "draft")->version, 2);
}

static void untouched_rules_of_schema_2_are_still_the_shipped_ones(void **state)
{
    (void)state;
    make_old_file(schema_2);
    execute("UPDATE policy SET version = 1");
    assert_ok(open_store(NULL));
    assert_string_equal(find(&cfg_kind_limit, "user")->by.who, "penstock");
}

static void an_upgrade_that_fails_leaves_the_old_file(void **state)
{
    (void)state;
    make_old_file(schema_2);
    execute("DROP TABLE policy");
    refused(PS_E_CORRUPT, "policy");
    execute("CREATE TABLE policy(version INTEGER NOT NULL) STRICT; INSERT INTO policy VALUES(2)");
    assert_ok(open_store(NULL));
    assert_int_equal(cfg_store_count(store, &cfg_kind_sale), 5);
}

static void a_file_of_schema_3_gets_the_shipped_documents_that_it_lacks(void **state)
{
    (void)state;
    close_all();
    execute("DELETE FROM documents WHERE kind IN ('overload', 'features');"
            "UPDATE documents SET who = 't1' WHERE kind = 'limits' AND name = 'user';"
            "DELETE FROM documents WHERE kind = 'limits' AND name = 'polling';"
            "PRAGMA user_version = 3");
    assert_ok(open_store(NULL));
    assert_string_equal(find(&cfg_kind_overload, CFG_OVERLOAD_NAME)->by.who, "penstock");
    assert_int_equal(cfg_store_count(store, &cfg_kind_feature), CFG_FEATURE_COUNT);
    assert_int_equal(cfg_feature_of(find(&cfg_kind_feature, "exact_stock"))->level, 2);
    assert_int_equal(cfg_store_count(store, &cfg_kind_limit), 4); /* as somebody has chosen */
}

static void a_file_of_schema_4_is_read_with_the_names_that_mirrors_had(void **state)
{
    const struct cfg_doc *doc;
    json_t *json;
    (void)state;
    close_all();
    execute("INSERT INTO documents SELECT 'pools', 'b', 1, 1, '{\"endpoints\":[{\"address\":"
            "\"127.0.0.1:1\"}]}', NULL, 0, ends_at_ms, 0, 't1', '', 'pool.put', ''"
            " FROM documents WHERE name = 'exports';"
            "INSERT INTO documents SELECT 'routes', 'p', 1, 1, '{\"path\":\"/\",\"pool\":\"b\","
            "\"split\":[],\"shadow\":{\"pool\":\"c\",\"share\":0.1}}', NULL, 0, ends_at_ms, 0,"
            " 't1', '', 'route.put', '' FROM documents WHERE name = 'exports';"
            "UPDATE documents SET name = 'shadow_copies', json = '{\"level\":3}'"
            " WHERE kind = 'features' AND name = 'mirror';"
            "PRAGMA user_version = 4");
    assert_ok(open_store(NULL));
    assert_int_equal(cfg_feature_of(find(&cfg_kind_feature, "mirror"))->level, 3);
    assert_int_equal(cfg_store_count(store, &cfg_kind_feature), CFG_FEATURE_COUNT);
    assert_non_null(doc = find(&cfg_kind_route, "p"));
    assert_string_equal(cfg_route_of(doc)->mirror.pool, "c");
    assert_int_equal(cfg_route_of(doc)->mirror.per_mille, 100);
    assert_non_null(json = cfg_doc_json(doc));
    assert_string_equal(text_in(json_object_get(json, "mirror"), "pool"), "c");
    assert_null(json_object_get(json, "shadow"));
    json_decref(json);
}

static void what_is_shipped_is_not_deleted_and_has_no_other_beside_it(void **state)
{
    static const struct {
        const struct cfg_kind *kind;
        const char *name;
    } shipped[] = {{&cfg_kind_feature, "exports"},
                   {&cfg_kind_overload, CFG_OVERLOAD_NAME},
                   {&cfg_kind_limit, "ip"}};
    char name[CFG_NAME_MAX + 1];
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(shipped); i++) {
        struct cfg_change *change = change_by("t1", "");
        struct ps_faults faults = {0};
        enum cfg_refusal refusal;
        assert_int_equal(
            cfg_change_drop(change, shipped[i].kind, shipped[i].name, "", &refusal, &faults),
            PS_E_CONFLICT);
        assert_int_equal(refusal, CFG_CONFLICT);
        assert_non_null(strstr(faults.at[0].text, "always exists"));
        cfg_change_free(change);
    }
    assert_int_equal(cfg_kind_feature.name("orders", 6, name), PS_E_INVALID);
    assert_int_equal(cfg_kind_overload.name("spare", 5, name), PS_E_INVALID);
}

static void a_file_of_a_newer_version_is_refused(void **state)
{
    (void)state;
    close_all();
    execute("PRAGMA user_version = 6");
    refused(PS_E_NEWER, "format 6");
    execute("PRAGMA user_version = 5");
    assert_ok(open_store(NULL));
}

static void a_torn_file_is_refused_with_what_to_do(void **state)
{
    (void)state;
    close_all();
    assert_ok(truncate(settings.path, 6000));
    refused(PS_E_CORRUPT, "backup");
    write_file(settings.path,
               "this is not a database, but long enough to be looked at as one....."
               "....................................................................");
    refused(PS_E_CORRUPT, "backup");
}

static void a_foreign_database_is_refused(void **state)
{
    (void)state;
    close_all();
    execute("PRAGMA application_id = 1");
    refused(PS_E_CORRUPT, "this is not a control.db");
}

static void a_document_that_does_not_read_is_named(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1));
    close_all();
    execute("UPDATE documents SET json = '{}' WHERE kind = 'sales'");
    refused(PS_E_CORRUPT, "spring: /skus is missing");
    execute("UPDATE documents SET json = '{' WHERE kind = 'sales'");
    refused(PS_E_CORRUPT, "JSON");
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    (void)state;
    close_all();
    assert_ok(chmod(settings.path, 0644));
    refused(PS_E_PERMISSION, "chmod 600");
}

/* --- What may change. --- */

static void a_sale_that_is_in_the_log_keeps_its_name_and_stock(void **state)
{
    struct ps_faults faults = {0};
    enum cfg_refusal refusal;
    (void)state;
    assert_ok(put_sale("spring", 1));
    sale_is_used = true;
    struct cfg_change *change = change_by("t1", "");
    json_t *json = parse("{\"per_user_cap\":2,\"skus\":[{\"sku\":\"phone\",\"stock\":9}]}");
    assert_int_equal(
        cfg_change_put(change,
                       &(struct cfg_put){
                           .kind = &cfg_kind_sale, .name = "spring", .json = json, .pointer = "/x"},
                       &refusal, &faults),
        PS_E_CONFLICT);
    assert_int_equal(refusal, CFG_USE_ADJUST);
    assert_string_equal(faults.at[0].path, "/x/skus/0/stock");
    assert_int_equal(
        cfg_change_put(change,
                       &(struct cfg_put){.kind = &cfg_kind_sale, .name = "other", .json = json},
                       &refusal, &faults),
        PS_E_CONFLICT);
    assert_int_equal(refusal, CFG_CONFLICT);
    assert_int_equal(cfg_change_drop(change, &cfg_kind_sale, "spring", "", &refusal, &faults),
                     PS_E_CONFLICT);
    assert_int_equal(refusal, CFG_HAS_ORDERS);
    assert_int_equal(cfg_change_drop(change, &cfg_kind_limit, "user", "", &refusal, &faults),
                     PS_E_CONFLICT);
    json_decref(json);
    cfg_change_free(change);
}

static void what_is_as_it_was_is_no_change(void **state)
{
    const struct cfg_doc *from;
    (void)state;
    assert_ok(put_sale("spring", 1));
    struct cfg_change *change = sale_change("spring", 1);
    assert_null(cfg_change_doc(change, 0, &from));
    cfg_change_free(change);
}

static void the_order_of_members_is_no_change(void **state)
{
    const struct cfg_doc *from;
    (void)state;
    assert_ok(put(&cfg_kind_sale, "spring",
                  "{\"skus\":[{\"sku\":\"phone\",\"stock\":1}],"
                  "\"attributes\":{\"color\":\"red\",\"size\":{\"w\":1,\"h\":2}}}"));
    struct cfg_change *change = change_by("t1", "");
    assert_ok(add(change, &cfg_kind_sale, "spring",
                  "{\"attributes\":{\"size\":{\"h\":2,\"w\":1},\"color\":\"red\"},"
                  "\"skus\":[{\"stock\":1,\"sku\":\"phone\"}]}"));
    assert_null(cfg_change_doc(change, 0, &from));
    assert_ok(add(change, &cfg_kind_sale, "spring",
                  "{\"attributes\":{\"size\":{\"h\":2,\"w\":3},\"color\":\"red\"},"
                  "\"skus\":[{\"stock\":1,\"sku\":\"phone\"}]}"));
    assert_non_null(cfg_change_doc(change, 0, &from));
    cfg_change_free(change);
}

static void there_are_no_more_rules_than_there_may_be(void **state)
{
    static const char rule[] =
        "{\"algorithm\":\"token_bucket\",\"key\":\"user\",\"rate\":7,\"period_s\":1}";
    struct cfg_change *change = change_by("t1", "");
    char name[16];
    (void)state;
    for (int i = (int)cfg_store_count(store, &cfg_kind_limit); i < CFG_RULES_MAX; i++) {
        (void)snprintf(name, sizeof name, "r%d", i);
        assert_ok(add(change, &cfg_kind_limit, name, rule));
    }
    assert_int_equal(add(change, &cfg_kind_limit, "more", rule), PS_E_CONFLICT);
    assert_ok(add(change, &cfg_kind_limit, "user", rule)); /* which is there */
    assert_ok(submit(change));
    assert_int_equal(cfg_store_count(store, &cfg_kind_limit), CFG_RULES_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_store_has_the_shipped_rules),
        TEST(workers_see_which_version_of_a_sale_they_go_by),
        TEST(a_sale_is_there_after_a_restart),
        TEST(a_change_of_an_old_version_is_refused_whole),
        TEST(of_two_changes_that_wait_the_second_is_refused),
        TEST(a_deleted_sale_is_gone_and_its_versions_go_on),
        TEST(a_document_never_moves_anothers_version),
        TEST(what_ends_by_itself_leaves_nothing),
        TEST(what_ends_is_removed_only_by_a_clock_that_goes_on_evenly),
        TEST(every_version_is_kept_with_who_and_why),
        TEST(of_a_document_the_last_100_versions_are_kept),
        TEST(every_change_has_its_line),
        TEST(a_line_that_could_not_be_written_follows_later),
        TEST(a_crash_between_commit_and_line_loses_no_line),
        TEST(a_lost_database_goes_on_behind_the_log),
        TEST(a_failed_write_changes_nothing_and_passes),
        TEST(a_commit_that_fails_is_settled_by_the_file),
        TEST(an_end_does_not_wait_for_a_file_that_cannot_be_opened),
        TEST(a_file_is_replaced_with_its_change_or_not_at_all),
        TEST(closing_does_what_was_taken),
        TEST(a_store_that_stands_still_refuses_what_it_cannot_queue),
        TEST(what_another_gateway_decided_is_written_whatever_stands_here),
        TEST(a_file_of_schema_2_is_read_and_goes_on),
        TEST(a_file_of_schema_1_is_read_and_goes_on),
        TEST(untouched_rules_of_schema_2_are_still_the_shipped_ones),
        TEST(an_upgrade_that_fails_leaves_the_old_file),
        TEST(a_file_of_schema_3_gets_the_shipped_documents_that_it_lacks),
        TEST(a_file_of_schema_4_is_read_with_the_names_that_mirrors_had),
        TEST(what_is_shipped_is_not_deleted_and_has_no_other_beside_it),
        TEST(a_file_of_a_newer_version_is_refused),
        TEST(a_torn_file_is_refused_with_what_to_do),
        TEST(a_foreign_database_is_refused),
        TEST(a_document_that_does_not_read_is_named),
        TEST(a_file_that_others_may_read_is_refused),
        TEST(a_sale_that_is_in_the_log_keeps_its_name_and_stock),
        TEST(what_is_as_it_was_is_no_change),
        TEST(the_order_of_members_is_no_change),
        TEST(there_are_no_more_rules_than_there_may_be),
    };
    faulty_vfs_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
