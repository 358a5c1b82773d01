/* The control store's thread: it does the jobs, one transaction each, and mails them back.
 *
 * One connection. The opening thread uses it until the store's thread runs, from then on only that
 * thread does. The queue of jobs is a list under a mutex: changes by operators are rare, and
 * nothing that serves buyers comes near it.
 *
 * The table `audit` holds the lines that may not be in audit.log yet, and always the latest one:
 * its seq is the last that was given out. `written` is the last seq that audit.log is known to
 * hold. */
#include "gateway/config/db.h"
#include "common/private_file.h"
#include "gateway/core.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAIL_RETRY_NS 1000000

struct cfg_store {
    struct cfg_db db;
    char *audit_path;
    struct ps_mailbox *mailbox;
    int64_t seq;     /* last given out */
    int64_t written; /* last in audit.log */
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct cfg_store_job *first;
    struct cfg_store_job **tail;
    size_t waiting;
    bool closing;
};

/* --- Audit lines. --- */

/* Appends to audit.log what is committed and not yet there. What fails stays for the next time. */
static int write_audit_lines(struct cfg_store *store, struct ps_fault *fault)
{
    if (store->written == store->seq)
        return 0;
    sqlite3_stmt *statement;
    int err = cfg_db_prepare(&store->db, "SELECT seq, line FROM audit WHERE seq > ?1 ORDER BY seq",
                             &statement, fault);
    if (err != 0)
        return err;
    int step = SQLITE_DONE;
    sqlite3_bind_int64(statement, 1, store->written);
    while (err == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(statement, 0);
        err = cfg_audit_append(store->audit_path, seq, cfg_db_text(statement, 1), fault);
        if (err == 0)
            store->written = seq;
    }
    if (err == 0 && step != SQLITE_DONE)
        err = cfg_db_fault(&store->db, fault);
    sqlite3_finalize(statement);
    return err;
}

static int open_audit(struct cfg_store *store, struct ps_fault *fault)
{
    int err = cfg_audit_open(store->audit_path, &store->written, fault);
    if (err == 0)
        err = cfg_db_number(&store->db, "SELECT coalesce(max(seq), 0) FROM audit", &store->seq,
                            fault);
    if (err != 0)
        return err;
    /* A log that knows more than the database: control.db was lost or restored. */
    if (store->seq < store->written)
        store->seq = store->written;
    return write_audit_lines(store, fault);
}

/* --- Doing a job, on the store's thread. --- */

static int run_write(const struct cfg_store *store, const struct cfg_store_write *write,
                     struct ps_fault *fault)
{
    sqlite3_stmt *statement;
    int err = cfg_db_prepare(&store->db, write->sql, &statement, fault);
    if (err != 0)
        return err;
    for (int i = 0; i < write->count; i++) {
        if (write->values[i].text != NULL)
            sqlite3_bind_text(statement, i + 1, write->values[i].text, -1, SQLITE_STATIC);
        else
            sqlite3_bind_int64(statement, i + 1, write->values[i].number);
    }
    if (sqlite3_step(statement) != SQLITE_DONE)
        err = cfg_db_fault(&store->db, fault);
    else if (write->must_change && sqlite3_changes(store->db.sqlite) == 0)
        err = ps_fault(fault, PS_E_CONFLICT, "", "somebody else has changed this meanwhile");
    sqlite3_finalize(statement);
    return err;
}

/* Puts the job's line into the database, and drops those that audit.log holds. */
static int run_audit(const struct cfg_store *store, const char *line, struct ps_fault *fault)
{
    struct cfg_store_write insert = {
        .sql = "INSERT INTO audit(seq, line) VALUES(?1, ?2)", .must_change = true, .count = 2};
    insert.values[0].number = store->seq + 1;
    insert.values[1].text = (char *)(uintptr_t)line;
    struct cfg_store_write drop = {.sql = "DELETE FROM audit WHERE seq <= ?1", .count = 1};
    drop.values[0].number = store->written;
    int err = run_write(store, &insert, fault);
    return err != 0 ? err : run_write(store, &drop, fault);
}

/* The rows and the line, all or nothing. */
static int commit_job(struct cfg_store *store, const struct cfg_store_job *job,
                      struct ps_fault *fault)
{
    int err = cfg_db_execute(&store->db, "BEGIN IMMEDIATE", fault);
    if (err != 0)
        return err;
    for (const struct cfg_store_write *write = job->writes; write != NULL && err == 0;
         write = write->next)
        err = run_write(store, write, fault);
    if (err == 0 && job->audit != NULL)
        err = run_audit(store, job->audit, fault);
    if (err == 0) {
        err = cfg_db_execute(&store->db, "COMMIT", fault);
        if (err != 0 && sqlite3_extended_errcode(store->db.sqlite) == SQLITE_IOERR_FSYNC)
            err = PS_E_UNKNOWN;
    }
    if (err != 0 && !sqlite3_get_autocommit(store->db.sqlite))
        sqlite3_exec(store->db.sqlite, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static int do_job(struct cfg_store *store, struct cfg_store_job *job)
{
    int err = 0;
    if (job->file_path != NULL)
        err =
            ps_private_prepare(job->file_path, job->file_text, strlen(job->file_text), &job->fault);
    if (err != 0)
        return err;
    err = commit_job(store, job, &job->fault);
    if (err != 0) {
        if (job->file_path != NULL)
            ps_private_discard(job->file_path);
        return err;
    }
    if (job->audit != NULL)
        job->audit_seq = ++store->seq;
    if (job->file_path != NULL)
        err = ps_private_publish(job->file_path, &job->fault);
    job->audit_err = write_audit_lines(store, err == 0 ? &job->fault : NULL);
    return err;
}

/* Mails the job back. A full mailbox empties soon, unless its thread waits for this one to end. */
static void hand_back(struct cfg_store *store, struct cfg_store_job *job)
{
    struct ps_mail mail = {.kind = GW_MAIL_DONE, .result = job->err, .ptr = job};
    const struct timespec pause = {.tv_nsec = MAIL_RETRY_NS};
    bool closing = false;
    while (ps_mailbox_post(store->mailbox, &mail) != 0 && !closing) {
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&store->lock);
        closing = store->closing;
        pthread_mutex_unlock(&store->lock);
    }
}

static void *work(void *arg)
{
    struct cfg_store *store = arg;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        while (store->first == NULL && !store->closing)
            pthread_cond_wait(&store->wake, &store->lock);
        struct cfg_store_job *job = store->first;
        if (job == NULL)
            break;
        store->first = job->next;
        if (store->first == NULL)
            store->tail = &store->first;
        store->waiting--;
        pthread_mutex_unlock(&store->lock);
        job->err = do_job(store, job);
        hand_back(store, job);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

int cfg_store_submit(struct cfg_store *store, struct cfg_store_job *job)
{
    int err = 0;
    if (job->build_err != 0)
        return job->build_err;
    job->next = NULL;
    pthread_mutex_lock(&store->lock);
    if (store->waiting == CFG_STORE_QUEUE) {
        err = PS_E_FULL;
    } else {
        *store->tail = job;
        store->tail = &job->next;
        store->waiting++;
        pthread_cond_signal(&store->wake);
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

/* --- Opening and closing. --- */

static void store_free(struct cfg_store *store)
{
    cfg_db_close(&store->db);
    pthread_cond_destroy(&store->wake);
    pthread_mutex_destroy(&store->lock);
    free(store->audit_path);
    free(store);
}

int cfg_store_open(const struct cfg_store_settings *settings, struct cfg_store **ret_store,
                   struct cfg_stored *ret_stored, struct ps_fault *fault)
{
    struct cfg_stored stored = {0};
    struct cfg_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    store->mailbox = settings->mailbox;
    store->tail = &store->first;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->wake, NULL);
    store->audit_path = strdup(settings->audit_path);
    int err = store->audit_path != NULL
                  ? 0
                  : ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    if (err == 0)
        err = cfg_db_open(settings->path, settings->vfs, &store->db, fault);
    if (err == 0)
        err = cfg_db_load(&store->db, ps_clock_wall_ms(settings->clock), &stored, fault);
    if (err == 0)
        err = open_audit(store, fault);
    if (err == 0 && pthread_create(&store->thread, NULL, work, store) != 0)
        err = ps_fault(fault, PS_E_NOMEM, settings->path, "its thread cannot be started");
    if (err != 0) {
        cfg_stored_done(&stored);
        store_free(store);
        return err;
    }
    *ret_store = store;
    *ret_stored = stored;
    return 0;
}

void cfg_store_close(struct cfg_store *store)
{
    if (store == NULL)
        return;
    pthread_mutex_lock(&store->lock);
    store->closing = true;
    pthread_cond_signal(&store->wake);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->thread, NULL);
    store_free(store);
}
