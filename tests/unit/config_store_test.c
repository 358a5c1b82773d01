/* The control store: what was changed is there after a restart, with its audit line, or not at all.
 */
#include "tests/unit/temp_dir.h"

#include "gateway/config/store.h"
#include "gateway/core.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>

#define T0 INT64_C(1900000000000)

static struct temp_dir temp;
static struct ps_clock_manual clock_;
static uv_loop_t loop;
static struct cfg_store_settings settings;
static struct cfg_store *store;
static struct cfg_stored stored;
static int mails;
static struct cfg_store_job *mailed;

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    (void)ctx;
    assert_int_equal(mail->kind, GW_MAIL_DONE);
    mails++;
    mailed = mail->ptr;
    assert_int_equal(mail->result, mailed->err);
}

static int make(void **state)
{
    (void)state;
    temp = temp_dir_make();
    ps_clock_manual_init(&clock_, 1, T0);
    assert_ok(uv_loop_init(&loop));
    settings = (struct cfg_store_settings){.path = temp_file(&temp, "control.db"),
                                           .audit_path = temp_file(&temp, "audit.log"),
                                           .clock = &clock_.clock};
    assert_ok(ps_mailbox_new(&loop, 1024, on_mail, NULL, NULL, &settings.mailbox));
    assert_ok(cfg_store_open(&settings, &store, &stored, NULL));
    mails = 0;
    return 0;
}

static int drop(void **state)
{
    (void)state;
    cfg_store_close(store);
    store = NULL;
    cfg_stored_done(&stored);
    ps_mailbox_close(settings.mailbox);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_ok(uv_loop_close(&loop));
    temp_dir_remove(&temp);
    return 0;
}

static void close_store(void)
{
    cfg_store_close(store);
    store = NULL;
    cfg_stored_done(&stored);
}

static void open_again(void)
{
    close_store();
    assert_ok(cfg_store_open(&settings, &store, &stored, NULL));
}

static void wait_for(int count)
{
    while (mails < count)
        uv_run(&loop, UV_RUN_ONCE);
}

/* Does the job and frees it; its err. */
static int do_job(struct cfg_store_job *job)
{
    int before = mails;
    assert_ok(cfg_store_submit(store, job));
    wait_for(before + 1);
    assert_ptr_equal(mailed, job);
    int err = job->err;
    cfg_store_job_free(job);
    return err;
}

static struct cfg_store_job *job_with_line(const char *action)
{
    const struct cfg_audit_entry entry = {
        .at_ms = T0, .who = "t1", .peer = "127.0.0.1", .action = action, .target = "sales/spring"};
    struct cfg_store_job *job = cfg_store_job_new();
    assert_non_null(job);
    cfg_store_job_audit(job, &entry);
    return job;
}

static struct cfg_sale_doc doc_of(int stock)
{
    struct cfg_sale_doc doc;
    json_t *json = json_pack("{s:[{s:s, s:i}]}", "skus", "sku", "phone", "stock", stock);
    assert_ok(cfg_sale_doc_read(json, "", "spring", &doc, NULL));
    json_decref(json);
    return doc;
}

static int put_sale(const char *name, int stock, struct cfg_sale_state sale_state)
{
    struct cfg_store_job *job = job_with_line("sale.put");
    struct cfg_sale_doc doc = doc_of(stock);
    cfg_store_job_sale(job, name, &doc, &sale_state);
    cfg_sale_doc_done(&doc);
    return do_job(job);
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

static void execute(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(settings.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void refused(int err, const char *words)
{
    struct cfg_store *other = NULL;
    struct cfg_stored loaded;
    struct ps_fault fault;
    assert_int_equal(cfg_store_open(&settings, &other, &loaded, &fault), err);
    assert_string_equal(fault.path, settings.path);
    if (strstr(fault.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", fault.text, words);
}

static void a_new_store_has_the_shipped_rules(void **state)
{
    (void)state;
    static const char *const names[] = {"global", "ip", "polling", "user"};
    assert_int_equal(mode_of(settings.path), 0600);
    assert_int_equal(stored.policy_version, 1);
    assert_int_equal(stored.sale_count, 0);
    assert_int_equal(stored.block_count, 0);
    assert_int_equal(stored.rule_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(stored.rules[i].name, names[i]);
    assert_int_equal(stored.rules[3].rate, 5);
    assert_int_equal(stored.rules[3].period_s, 10);
    assert_int_equal(stored.rules[2].applies_to, CFG_LIMIT_ORDER_STATE);
    assert_int_equal(stored.rules[0].mode, CFG_LIMIT_ENFORCE);
}

static void a_sale_is_there_after_a_restart(void **state)
{
    (void)state;
    assert_ok(
        put_sale("spring", 100,
                 (struct cfg_sale_state){.version = 1, .created_at_ms = T0, .updated_at_ms = T0}));
    assert_ok(put_sale("spring", 200,
                       (struct cfg_sale_state){.version = 2,
                                               .created_at_ms = T0,
                                               .updated_at_ms = T0 + 1,
                                               .opened = true,
                                               .paused = true}));
    assert_ok(put_sale("autumn", 1, (struct cfg_sale_state){.version = 1, .ended = true}));
    open_again();
    assert_int_equal(stored.sale_count, 2);
    assert_string_equal(stored.sales[0].name, "autumn");
    assert_true(stored.sales[0].state.ended);
    assert_string_equal(stored.sales[1].name, "spring");
    assert_int_equal(stored.sales[1].doc.skus[0].stock, 200);
    assert_int_equal(stored.sales[1].state.version, 2);
    assert_int_equal(stored.sales[1].state.created_at_ms, T0);
    assert_int_equal(stored.sales[1].state.updated_at_ms, T0 + 1);
    assert_true(stored.sales[1].state.opened);
    assert_true(stored.sales[1].state.paused);
    assert_false(stored.sales[1].state.ended);
}

static void a_change_of_an_old_version_is_refused_whole(void **state)
{
    (void)state;
    struct cfg_sale_doc doc = doc_of(7);
    const struct cfg_sale_state third = {.version = 3};
    const struct cfg_block block = {
        .kind = CFG_BLOCK_USER, .subject = "bob", .until_ms = INT64_MAX};
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    assert_int_equal(put_sale("spring", 2, (struct cfg_sale_state){.version = 1}), PS_E_CONFLICT);
    struct cfg_store_job *job = job_with_line("sale.put");
    cfg_store_job_block(job, &block);
    cfg_store_job_sale(job, "spring", &doc, &third);
    assert_int_equal(do_job(job), PS_E_CONFLICT);
    cfg_sale_doc_done(&doc);
    job = job_with_line("sale.delete");
    cfg_store_job_sale_delete(job, "spring", 2);
    assert_int_equal(do_job(job), PS_E_CONFLICT);
    job = job_with_line("limit.put");
    cfg_store_job_policy_version(job, 3);
    assert_int_equal(do_job(job), PS_E_CONFLICT);
    has_lines(1);
    open_again();
    assert_int_equal(stored.sales[0].doc.skus[0].stock, 1);
    assert_int_equal(stored.block_count, 0);
    assert_int_equal(stored.policy_version, 1);
}

static void a_deleted_sale_is_gone_and_its_versions_go_on(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    struct cfg_store_job *job = job_with_line("sale.delete");
    cfg_store_job_sale_delete(job, "spring", 1);
    assert_ok(do_job(job));
    open_again();
    assert_int_equal(stored.sale_count, 0);
    assert_int_equal(stored.gone_count, 1);
    assert_string_equal(stored.gone[0].name, "spring");
    assert_int_equal(stored.gone[0].version, 2);
    assert_int_equal(put_sale("spring", 2, (struct cfg_sale_state){.version = 1}), PS_E_CONFLICT);
    assert_int_equal(put_sale("spring", 2, (struct cfg_sale_state){.version = 2}), PS_E_CONFLICT);
    assert_ok(put_sale("spring", 2, (struct cfg_sale_state){.version = 3}));
    open_again();
    assert_int_equal(stored.gone_count, 0);
    assert_int_equal(stored.sale_count, 1);
    assert_int_equal(stored.sales[0].doc.skus[0].stock, 2);
}

static void rules_and_blocks_move_the_policy_version(void **state)
{
    (void)state;
    struct cfg_limit_rule rule = stored.rules[3];
    struct cfg_block block = {.kind = CFG_BLOCK_USER,
                              .subject = "b\xc3\xb6"
                                         "b",
                              .until_ms = T0 + 1000,
                              .created_at_ms = T0,
                              .reason = "bot",
                              .by = "t1"};
    struct cfg_store_job *job = job_with_line("limit.put");
    rule.rate = 7;
    cfg_store_job_rule(job, &rule);
    cfg_store_job_block(job, &block);
    cfg_store_job_policy_version(job, 2);
    assert_ok(do_job(job));
    block = (struct cfg_block){
        .kind = CFG_BLOCK_RANGE, .subject = "203.0.113.0/24", .until_ms = INT64_MAX, .by = "t1"};
    job = job_with_line("block.range");
    cfg_store_job_block(job, &block);
    cfg_store_job_rule_delete(job, "polling");
    cfg_store_job_policy_version(job, 3);
    assert_ok(do_job(job));
    open_again();
    assert_int_equal(stored.policy_version, 3);
    assert_int_equal(stored.rule_count, 3);
    assert_int_equal(stored.rules[2].rate, 7);
    assert_int_equal(stored.block_count, 2);
    assert_int_equal(stored.blocks[0].kind, CFG_BLOCK_RANGE);
    assert_string_equal(stored.blocks[0].subject, "203.0.113.0/24");
    assert_string_equal(stored.blocks[1].subject, "b\xc3\xb6"
                                                  "b");
    assert_string_equal(stored.blocks[1].reason, "bot");
    job = job_with_line("unblock.range");
    cfg_store_job_unblock(job, CFG_BLOCK_RANGE, "203.0.113.0/24");
    assert_ok(do_job(job));
    clock_.wall_ms = T0 + 1000; /* the user's entry has ended */
    open_again();
    assert_int_equal(stored.block_count, 0);
}

static void every_change_has_its_line(void **state)
{
    (void)state;
    for (int i = 1; i <= 3; i++)
        assert_ok(put_sale("spring", i, (struct cfg_sale_state){.version = i}));
    has_lines(3);
    open_again();
    assert_ok(put_sale("spring", 4, (struct cfg_sale_state){.version = 4}));
    has_lines(4);
}

static void a_line_that_could_not_be_written_follows_later(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    const char *aside = temp_file(&temp, "aside");
    assert_ok(rename(settings.audit_path, aside));
    assert_ok(mkdir(settings.audit_path, 0700)); /* stands in its way */
    struct cfg_store_job *job = job_with_line("sale.put");
    assert_ok(cfg_store_submit(store, job));
    wait_for(2);
    assert_ok(job->err);
    assert_true(job->audit_err < 0);
    assert_int_equal(job->audit_seq, 2);
    assert_string_equal(job->fault.path, settings.audit_path);
    cfg_store_job_free(job);
    assert_ok(rmdir(settings.audit_path));
    assert_ok(rename(aside, settings.audit_path));
    has_lines(1);
    assert_ok(put_sale("spring", 2, (struct cfg_sale_state){.version = 2}));
    has_lines(3);
}

static void a_crash_between_commit_and_line_loses_no_line(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    char *text = read_file(settings.audit_path);
    assert_ok(put_sale("spring", 2, (struct cfg_sale_state){.version = 2}));
    close_store();
    write_file(settings.audit_path, text); /* as if line 2 had not been written */
    free(text);
    assert_ok(cfg_store_open(&settings, &store, &stored, NULL));
    has_lines(2);
    open_again();
    has_lines(2);
}

static void a_lost_database_goes_on_behind_the_log(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    close_store();
    assert_ok(unlink(settings.path));
    assert_ok(cfg_store_open(&settings, &store, &stored, NULL));
    assert_int_equal(stored.sale_count, 0);
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    has_lines(2);
}

static void a_failed_write_changes_nothing_and_passes(void **state)
{
    (void)state;
    struct rlimit before, limit;
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    assert_ok(getrlimit(RLIMIT_FSIZE, &before));
    signal(SIGXFSZ, SIG_IGN);
    limit = (struct rlimit){1024, before.rlim_max};
    assert_ok(setrlimit(RLIMIT_FSIZE, &limit));
    int err = put_sale("spring", 2, (struct cfg_sale_state){.version = 2});
    assert_ok(setrlimit(RLIMIT_FSIZE, &before));
    assert_int_equal(err, PS_E_IO); /* of a limit on the file's size; a full disk is PS_E_FULL */
    has_lines(1);
    assert_ok(put_sale("spring", 3, (struct cfg_sale_state){.version = 2}));
    has_lines(2);
    open_again();
    assert_int_equal(stored.sales[0].doc.skus[0].stock, 3);
}

static void a_file_is_replaced_with_its_change_or_not_at_all(void **state)
{
    (void)state;
    const char *path = temp_file(&temp, "tokens.json");
    write_file(path, "old");
    struct cfg_store_job *job = job_with_line("token.new");
    cfg_store_job_file(job, path, "new");
    cfg_store_job_policy_version(job, 9); /* does not fit */
    assert_int_equal(do_job(job), PS_E_CONFLICT);
    char *text = read_file(path);
    assert_string_equal(text, "old");
    free(text);
    assert_int_equal(access(temp_file(&temp, "tokens.json.new"), F_OK), -1);
    job = job_with_line("token.new");
    cfg_store_job_file(job, path, "new");
    assert_ok(do_job(job));
    text = read_file(path);
    assert_string_equal(text, "new");
    free(text);
    assert_int_equal(mode_of(path), 0600);
    has_lines(1);
    job = job_with_line("token.new");
    cfg_store_job_file(job, temp_file(&temp, "no/where"), "new");
    assert_int_equal(do_job(job), PS_E_NOT_FOUND);
    has_lines(1);
}

static void closing_does_what_was_taken(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    struct cfg_store_job *jobs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        jobs[i] = job_with_line("sale.put");
        assert_ok(cfg_store_submit(store, jobs[i]));
    }
    close_store();
    for (int i = 0; i < COUNT; i++) {
        assert_ok(jobs[i]->err);
        assert_int_equal(jobs[i]->audit_seq, i + 1);
        cfg_store_job_free(jobs[i]);
    }
    has_lines(COUNT);
}

static void a_store_that_stands_still_refuses_what_it_cannot_queue(void **state)
{
    (void)state;
    enum { COUNT = CFG_STORE_QUEUE + 2 };
    struct cfg_store_job *jobs[COUNT];
    sqlite3 *db;
    int taken = 0;
    assert_int_equal(sqlite3_open(settings.path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < COUNT; i++) {
        jobs[i] = cfg_store_job_new();
        assert_non_null(jobs[i]);
        int err = cfg_store_submit(store, jobs[i]);
        assert_true(err == 0 || err == PS_E_FULL);
        taken += err == 0;
    }
    assert_true(taken == CFG_STORE_QUEUE || taken == CFG_STORE_QUEUE + 1); /* one is being done */
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    wait_for(taken);
    for (int i = 0; i < COUNT; i++)
        cfg_store_job_free(jobs[i]);
}

static void what_another_gateway_decided_is_written_whatever_stands_here(void **state)
{
    (void)state;
    const struct cfg_sale_state ninth = {.version = 9, .paused = true};
    const struct cfg_block block = {
        .kind = CFG_BLOCK_USER, .subject = "bob", .until_ms = INT64_MAX};
    struct cfg_sale_doc doc = doc_of(7);
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    assert_ok(put_sale("summer", 1, (struct cfg_sale_state){.version = 1}));
    struct cfg_store_job *job = job_with_line("cluster.take");
    cfg_store_job_sale_taken(job, "spring", &doc, &ninth);
    cfg_store_job_sale_gone_taken(job, "summer", 4);
    cfg_store_job_block_taken(job, &block);
    cfg_store_job_policy_taken(job, 12);
    cfg_sale_doc_done(&doc);
    assert_ok(do_job(job));
    open_again();
    assert_int_equal(stored.sale_count, 1);
    assert_int_equal(stored.sales[0].state.version, 9);
    assert_true(stored.sales[0].state.paused);
    assert_int_equal(stored.sales[0].doc.skus[0].stock, 7);
    assert_int_equal(stored.gone[0].version, 4);
    assert_int_equal(stored.block_count, 1);
    assert_int_equal(stored.policy_version, 12);
}

static void a_file_of_schema_1_is_read_and_goes_on(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 5, (struct cfg_sale_state){.version = 1}));
    close_store();
    execute("DROP TABLE deleted; PRAGMA user_version = 1");
    assert_ok(cfg_store_open(&settings, &store, &stored, NULL));
    assert_int_equal(stored.sale_count, 1);
    assert_int_equal(stored.gone_count, 0);
    struct cfg_store_job *job = job_with_line("sale.delete");
    cfg_store_job_sale_delete(job, "spring", 1);
    assert_ok(do_job(job));
    open_again();
    assert_int_equal(stored.gone_count, 1);
}

static void a_file_of_a_newer_version_is_refused(void **state)
{
    (void)state;
    close_store();
    execute("PRAGMA user_version = 3");
    refused(PS_E_NEWER, "schema 3");
}

static void a_torn_file_is_refused_with_what_to_do(void **state)
{
    (void)state;
    close_store();
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
    close_store();
    execute("PRAGMA application_id = 1");
    refused(PS_E_CORRUPT, "another program");
}

static void a_document_that_does_not_read_is_named(void **state)
{
    (void)state;
    assert_ok(put_sale("spring", 1, (struct cfg_sale_state){.version = 1}));
    close_store();
    execute("UPDATE sales SET document = '{}'");
    refused(PS_E_CORRUPT, "spring: /skus is missing");
    execute("UPDATE sales SET document = '{'");
    refused(PS_E_CORRUPT, "JSON");
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    (void)state;
    close_store();
    assert_ok(chmod(settings.path, 0644));
    refused(PS_E_PERMISSION, "chmod 600");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_store_has_the_shipped_rules),
        TEST(a_sale_is_there_after_a_restart),
        TEST(a_change_of_an_old_version_is_refused_whole),
        TEST(a_deleted_sale_is_gone_and_its_versions_go_on),
        TEST(rules_and_blocks_move_the_policy_version),
        TEST(every_change_has_its_line),
        TEST(a_line_that_could_not_be_written_follows_later),
        TEST(a_crash_between_commit_and_line_loses_no_line),
        TEST(a_lost_database_goes_on_behind_the_log),
        TEST(a_failed_write_changes_nothing_and_passes),
        TEST(a_file_is_replaced_with_its_change_or_not_at_all),
        TEST(closing_does_what_was_taken),
        TEST(a_store_that_stands_still_refuses_what_it_cannot_queue),
        TEST(what_another_gateway_decided_is_written_whatever_stands_here),
        TEST(a_file_of_schema_1_is_read_and_goes_on),
        TEST(a_file_of_a_newer_version_is_refused),
        TEST(a_torn_file_is_refused_with_what_to_do),
        TEST(a_foreign_database_is_refused),
        TEST(a_document_that_does_not_read_is_named),
        TEST(a_file_that_others_may_read_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
