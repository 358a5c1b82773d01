/* The writer. One connection: the opening thread uses it until the writer's thread runs, from then
 * on only that thread does. Jobs queue in a list under a mutex: changes by operators are rare, and
 * the threads that serve buyers never take it.
 *
 * The table `audit` holds the lines that may not be in audit.log yet, and always the latest one:
 * its seq is the last one assigned. `written` is the last seq that audit.log is known to
 * hold. */
#include "gateway/config/store/writer.h"

#include "common/program/private_file.h"
#include "gateway/config/store/audit_log.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAIL_RETRY_NS 1000000
#define OPEN_RETRY_NS 100000000

struct cfg_writer {
    struct cfg_db *db; /* NULL: it could not be opened again before the end */
    int file_lock;     /* -1: none */
    char *path, *vfs, *audit_path;
    struct ps_mailbox *mailbox;
    uint32_t mail_kind;
    const struct ps_clock *clock;
    int64_t seq;     /* last given out */
    int64_t written; /* last in audit.log */
    char head[CFG_AUDIT_HEAD];
    pthread_t thread;
    pthread_mutex_t lock; /* guards the members below */
    pthread_cond_t wake;
    STAILQ_HEAD(, cfg_job) jobs;
    size_t waiting;
    bool closing;
    struct cfg_audit_head shown; /* of the last line in audit.log */
};

void cfg_ended_list_free(struct cfg_ended_list *list)
{
    struct cfg_ended *ended;

    while ((ended = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, next);
        free(ended);
    }
}

void cfg_job_done(struct cfg_job *job)
{
    for (size_t i = 0; i < job->edit_count; i++)
        cfg_doc_free(job->edits[i].doc);
    cfg_ended_list_free(&job->ended);
    free(job->edits);
    free(job->line);
    free(job->file_path);
    free(job->file_text);
    json_decref(job->history);
}

/* --- Audit lines. --- */

static void show_head(struct cfg_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    writer->shown.seq = writer->written;
    memcpy(writer->shown.hash, writer->head, sizeof writer->shown.hash);
    pthread_mutex_unlock(&writer->lock);
}

void cfg_writer_head(struct cfg_writer *writer, struct cfg_audit_head *ret_head)
{
    pthread_mutex_lock(&writer->lock);
    *ret_head = writer->shown;
    pthread_mutex_unlock(&writer->lock);
}

static int append_line(int64_t seq, const char *line, void *ctx, struct ps_fault *fault)
{
    struct cfg_writer *writer = ctx;
    int err = cfg_audit_append(writer->audit_path, writer->head, seq, line, fault);

    if (err == 0)
        writer->written = seq;
    show_head(writer);
    return err;
}

/* Appends to audit.log what is committed and not yet there. Lines that could not be written remain
 * for the next time. */
static int write_audit_lines(struct cfg_writer *writer, struct ps_fault *fault)
{
    return writer->written == writer->seq
               ? 0
               : cfg_db_lines(writer->db, writer->written, append_line, writer, fault);
}

static int open_audit(struct cfg_writer *writer, struct ps_fault *fault)
{
    int err = cfg_audit_open(writer->audit_path, &writer->written, writer->head, fault);

    if (err == 0)
        err = cfg_db_last_line(writer->db, &writer->seq, fault);
    if (err != 0)
        return err;
    /* The log is ahead of the database: control.db was lost or restored. */
    if (writer->seq < writer->written)
        writer->seq = writer->written;
    show_head(writer);
    return write_audit_lines(writer, fault);
}

/* --- Jobs, on the writer's thread. --- */

static int put_all(struct cfg_writer *writer, const struct cfg_job *job, struct ps_fault *fault)
{
    const struct cfg_ended *ended;
    int err = 0;

    STAILQ_FOREACH(ended, &job->ended, next)
    if (err == 0)
        err = cfg_db_forget(writer->db, ended->kind->path, ended->name, fault);
    if (err == 0 && job->forget_ms != 0)
        err = cfg_db_forget_old(writer->db, job->forget_ms, fault);
    for (size_t i = 0; i < job->edit_count && err == 0; i++)
        err = cfg_db_put(writer->db, job->edits[i].doc, job->edits[i].after, fault);
    if (err == 0 && job->edit_count > 0)
        err = cfg_db_set_revision(writer->db, job->revision, fault);
    if (err == 0 && job->line != NULL)
        err = cfg_db_add_line(writer->db, writer->seq + 1, job->line, writer->written, fault);
    return err;
}

static bool is_closing(struct cfg_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    bool closing = writer->closing;
    pthread_mutex_unlock(&writer->lock);
    return closing;
}

/* Opens the file anew, until that succeeds or the writer is closed. */
static void open_again(struct cfg_writer *writer)
{
    const struct timespec pause = {.tv_nsec = OPEN_RETRY_NS};
    struct ps_fault why;

    cfg_db_close(writer->db);
    writer->db = NULL;
    while (cfg_db_open(writer->path, writer->vfs, writer->file_lock, &writer->db, &why) < 0 &&
           !is_closing(writer))
        nanosleep(&pause, NULL);
}

/* Was the job committed? The reopened file has its line or revision if so. */
static int settle_commit(struct cfg_writer *writer, const struct cfg_job *job, int err)
{
    struct ps_fault why;
    int64_t last = 0;

    open_again(writer);
    if (writer->db == NULL || (job->line != NULL ? cfg_db_last_line(writer->db, &last, &why)
                                                 : cfg_db_revision(writer->db, &last, &why)) < 0)
        return PS_E_UNKNOWN;
    return last > (job->line != NULL ? writer->seq : job->revision - 1) ? 0 : err;
}

/* The documents and the line, all or nothing. */
static int commit_job(struct cfg_writer *writer, const struct cfg_job *job, struct ps_fault *fault)
{
    bool unknown = false;
    int err = ps_db_file_begin(cfg_db_file(writer->db), fault);

    if (err != 0)
        return err;
    err = put_all(writer, job, fault);
    if (err == 0)
        err = ps_db_file_commit(cfg_db_file(writer->db), &unknown, fault);
    if (err != 0 && unknown)
        return settle_commit(writer, job, err);
    if (err != 0)
        ps_db_file_rollback(cfg_db_file(writer->db));
    return err;
}

static int do_change(struct cfg_writer *writer, struct cfg_job *job)
{
    int err = 0;

    if (job->file_path != NULL)
        err =
            ps_private_prepare(job->file_path, job->file_text, strlen(job->file_text), &job->fault);
    if (err != 0)
        return err;
    err = commit_job(writer, job, &job->fault);
    if (err != 0) {
        if (job->file_path != NULL)
            ps_private_discard(job->file_path);
        return err;
    }
    if (job->line != NULL)
        writer->seq++;
    if (job->file_path != NULL)
        err = ps_private_publish(job->file_path, &job->fault);
    job->not_synced = err == PS_E_UNKNOWN; /* the file has the change, so memory must follow */
    if (job->not_synced)
        err = 0;
    job->audit_err = write_audit_lines(writer, err == 0 && !job->not_synced ? &job->fault : NULL);
    if (ps_db_file_tidy(cfg_db_file(writer->db), NULL) < 0)
        open_again(writer);
    return err;
}

static int do_job(struct cfg_writer *writer, struct cfg_job *job)
{
    if (writer->db == NULL) /* closing, and it cannot be opened */
        return ps_fault(&job->fault, PS_E_CLOSED, writer->path, "could not be opened again");
    switch (job->look) {
    case CFG_LOOK_NOT:
        break;
    case CFG_LOOK_DOCUMENT:
        return cfg_db_history(writer->db, job->kind->path, job->name, job->version, &job->history,
                              &job->fault);
    case CFG_LOOK_REVISIONS:
        return cfg_db_revisions(writer->db, job->name, &job->history, &job->fault);
    case CFG_LOOK_AT_REVISION:
        return cfg_db_at_revision(writer->db, job->name, job->version,
                                  ps_clock_wall_ms(writer->clock), &job->history, &job->fault);
    }
    return do_change(writer, job);
}

/* Mails the job back. A full mailbox empties soon, unless its thread waits for this one to end. */
static void hand_back(struct cfg_writer *writer, struct cfg_job *job)
{
    struct ps_mail mail = {.kind = writer->mail_kind, .result = job->err, .ptr = job};
    const struct timespec pause = {.tv_nsec = MAIL_RETRY_NS};

    while (ps_mailbox_post(writer->mailbox, &mail) != 0 && !is_closing(writer))
        nanosleep(&pause, NULL);
}

static void *work(void *arg)
{
    struct cfg_writer *writer = arg;

    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (STAILQ_EMPTY(&writer->jobs) && !writer->closing)
            pthread_cond_wait(&writer->wake, &writer->lock);
        struct cfg_job *job = STAILQ_FIRST(&writer->jobs);
        if (job == NULL)
            break;
        STAILQ_REMOVE_HEAD(&writer->jobs, link);
        writer->waiting--;
        pthread_mutex_unlock(&writer->lock);
        job->err = do_job(writer, job);
        hand_back(writer, job);
        pthread_mutex_lock(&writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

int cfg_writer_submit(struct cfg_writer *writer, struct cfg_job *job)
{
    int err = 0;

    pthread_mutex_lock(&writer->lock);
    if (writer->waiting == CFG_WRITER_QUEUE) {
        err = PS_E_FULL;
    } else {
        STAILQ_INSERT_TAIL(&writer->jobs, job, link);
        writer->waiting++;
        pthread_cond_signal(&writer->wake);
    }
    pthread_mutex_unlock(&writer->lock);
    return err;
}

/* --- Opening and closing. --- */

static void writer_free(struct cfg_writer *writer)
{
    cfg_db_close(writer->db);
    if (writer->file_lock >= 0)
        close(writer->file_lock);
    pthread_cond_destroy(&writer->wake);
    pthread_mutex_destroy(&writer->lock);
    free(writer->path);
    free(writer->vfs);
    free(writer->audit_path);
    free(writer);
}

int cfg_writer_open(const struct cfg_writer_settings *settings, cfg_db_take_fn *take, void *ctx,
                    int64_t *ret_revision, struct cfg_writer **ret_writer, struct ps_fault *fault)
{
    struct cfg_writer *writer = calloc(1, sizeof *writer);
    int err = 0;

    if (writer == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    writer->file_lock = -1;
    writer->mailbox = settings->mailbox;
    writer->mail_kind = settings->mail_kind;
    writer->clock = settings->clock;
    STAILQ_INIT(&writer->jobs);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->wake, NULL);
    writer->path = strdup(settings->path);
    writer->audit_path = strdup(settings->audit_path);
    writer->vfs = settings->vfs != NULL ? strdup(settings->vfs) : NULL;
    if (writer->path == NULL || writer->audit_path == NULL ||
        (settings->vfs != NULL && writer->vfs == NULL))
        err = ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    if (err == 0)
        err = cfg_db_lock(settings->path, settings->vfs, &writer->file_lock, fault);
    if (err == 0)
        err = cfg_db_open(settings->path, settings->vfs, writer->file_lock, &writer->db, fault);
    if (err == 0)
        err = cfg_db_load(writer->db, ps_clock_wall_ms(settings->clock), take, ctx, ret_revision,
                          fault);
    if (err == 0)
        err = open_audit(writer, fault);
    if (err == 0 && pthread_create(&writer->thread, NULL, work, writer) != 0)
        err = ps_fault(fault, PS_E_NOMEM, settings->path, "its thread cannot be started");
    if (err != 0)
        writer_free(writer);
    else
        *ret_writer = writer;
    return err;
}

void cfg_writer_close(struct cfg_writer *writer)
{
    if (writer == NULL)
        return;
    pthread_mutex_lock(&writer->lock);
    writer->closing = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    writer_free(writer);
}
