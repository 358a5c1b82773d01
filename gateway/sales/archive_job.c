/* Writes an archive while the log runs, by the log's reader, then reads it back like a third party.
 * It is put in place only if an audit finds no fault and its numbers are those of the fold. */
#include "gateway/sales/archive_job.h"

#include "common/program/private_file.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_AT_ONCE 1000
#define COMMAND_MS   600000
#define LOOK_MS      20

int sale_archive_path(const char *dir, const char *sale, char *ret_path, size_t size)
{
    int len = snprintf(ret_path, size, "%s/%s" OQ_ARCHIVE_SUFFIX, dir, sale);

    return len > 0 && (size_t)len < size ? 0 : PS_E_INVALID;
}

struct writing {
    struct oq_archive *archive;
    const _Atomic(bool) *stop;
    struct ps_fault *fault;
    int64_t at_ms; /* time of the newest record */
};

/* Skips what is no event, as everywhere. An archived record of an earlier try is no part of the
 * sale's history. */
static int add_record(int64_t place, struct ps_str json, void *ctx)
{
    struct writing *writing = ctx;
    struct oq_event event;
    void *owner;
    int err;

    if (atomic_load(writing->stop))
        return PS_E_CLOSED;
    err = oq_event_decode(json.at, json.len, &event, &owner, NULL);
    if (err < 0)
        return err == PS_E_INVALID ? 0 : err;
    if (event.type != OQ_ARCHIVED) {
        writing->at_ms = event.at_ms > writing->at_ms ? event.at_ms : writing->at_ms;
        err = oq_archive_add(writing->archive, place, &event, writing->fault);
    }
    oq_event_release(owner);
    return err;
}

static int add_all(struct sale_archive_job *job, struct writing *writing)
{
    struct oq_reader *reader;
    int64_t after = 0, last;
    int err = oq_log_reader_new(job->log, &reader);

    if (err < 0)
        return ps_fault(&job->fault, err, "log", "reading: %s", ps_err_text(err));
    for (;;) {
        job->fault.text[0] = '\0';
        err = oq_reader_read(
            reader, &(struct oq_read){after, READ_AT_ONCE, job->sale, add_record, writing}, &last);
        if (err < 0 || last == after)
            break;
        after = last;
    }
    if (err < 0 && job->fault.text[0] == '\0')
        ps_fault(&job->fault, err, "log", "reading: %s %s", ps_err_text(err),
                 oq_reader_why(reader));
    oq_reader_free(reader);
    return err;
}

static int write_file(const _Atomic(bool) *stop, struct sale_archive_job *job, const char *path)
{
    struct writing writing = {.stop = stop, .fault = &job->fault};
    uint8_t key[OQ_ARCHIVE_KEY];
    int err = oq_archive_key(job->settings->archive.key, key, &job->fault);

    if (err == 0)
        err = oq_archive_new(path, job->sale, key, &writing.archive, &job->fault);
    if (err < 0)
        return err;
    err = add_all(job, &writing);
    /* A second try, by any gateway, writes the same bytes: what the log may already say about the
     * first file stays true. */
    job->end.at_ms = writing.at_ms;
    if (err == 0)
        err = oq_archive_finish(writing.archive, &job->end, &job->fault);
    oq_archive_free(writing.archive);
    return err;
}

/* The file, read back from the disk, is what was to be written, and the audit finds no fault. */
static int check_file(const _Atomic(bool) *stop, struct sale_archive_job *job, const char *path)
{
    char name[PATH_MAX + 8];
    struct oq_archive_end *back = calloc(1, sizeof *back);
    int err;

    if (back == NULL)
        return ps_fault(&job->fault, PS_E_NOMEM, path, "out of memory");
    (void)snprintf(name, sizeof name, "%s.new", path);
    err = oq_archive_verify(name, stop, back, &job->fault);
    if (err == 0 && (strcmp(back->last_hash, job->end.last_hash) != 0 ||
                     strcmp(back->sha256, job->end.sha256) != 0))
        err = ps_fault(&job->fault, PS_E_CORRUPT, name,
                       "what was read back is not what was "
                       "written");
    free(back);
    return err;
}

static int wait_for(pid_t child, const _Atomic(bool) *stop, int *ret_status)
{
    for (int waited_ms = 0; waited_ms < COMMAND_MS && !atomic_load(stop); waited_ms += LOOK_MS) {
        pid_t ended = waitpid(child, ret_status, WNOHANG);
        if (ended == child)
            return 0;
        if (ended < 0 && errno != EINTR)
            return PS_E_IO;
        (void)poll(NULL, 0, LOOK_MS);
    }
    (void)kill(child, SIGKILL);
    (void)waitpid(child, ret_status, 0);
    return atomic_load(stop) ? PS_E_CLOSED : PS_E_TIMEOUT;
}

static int run_command(const _Atomic(bool) *stop, struct sale_archive_job *job, const char *path)
{
    const char *command = job->settings->archive.command;
    char *const args[] = {(char *)(uintptr_t)command, (char *)(uintptr_t)path, job->sale, NULL};
    extern char **environ;
    posix_spawnattr_t attributes;
    sigset_t none;
    int status = 0;
    pid_t child;

    (void)posix_spawnattr_init(&attributes);
    (void)sigemptyset(&none); /* this thread blocks the signals that the loop handles */
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawn(&child, command, NULL, &attributes, args, environ);
    (void)posix_spawnattr_destroy(&attributes);
    if (error != 0)
        return ps_fault(&job->fault, PS_E_IO, "archive.command", "%s: %s", command,
                        strerror(error));
    int err = wait_for(child, stop, &status);
    if (err < 0)
        return ps_fault(&job->fault, err, "archive.command", "%s: %s", command, ps_err_text(err));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return ps_fault(&job->fault, PS_E_IO, "archive.command", "%s has ended with %s %d", command,
                    WIFEXITED(status) ? "status" : "signal",
                    WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

void sale_archive_write(const _Atomic(bool) *stop, struct sale_archive_job *job)
{
    const char *dir = job->settings->archive.dir;
    char path[PATH_MAX];
    int err = sale_archive_path(dir, job->sale, path, sizeof path);

    if (err < 0)
        ps_fault(&job->fault, err, dir, "the path is too long");
    if (err == 0 && job->settings->archive.make_dir && mkdir(dir, 0700) != 0 && errno != EEXIST)
        err = ps_fault(&job->fault, ps_file_err(errno), dir, "making it: %s", strerror(errno));
    if (err == 0)
        err = write_file(stop, job, path);
    if (err == 0) {
        err = check_file(stop, job, path);
        if (err < 0)
            ps_private_discard(path);
    }
    if (err == 0)
        err = oq_archive_publish(path, &job->fault);
    if (err == 0 && job->settings->archive.command != NULL)
        err = run_command(stop, job, path);
    job->err = err;
}
