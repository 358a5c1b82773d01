/* Writes an archive while the log runs, by the log's reader, then reads it back like a third party.
 * It is put in place only if an audit finds no fault and its numbers are those of the fold.
 *
 * The same sale gives the same bytes, whichever gateway writes it and however often: what the log
 * may already say about an earlier file stays true. Each start of a gateway alone adds a
 * sale.fenced at the end of a partition, so a fence behind which nothing of the sale comes is left
 * out, except the first. A file that is there and differs is kept; the new one gets a name of its
 * own. */
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

/* The path of the sale's archive number `number`, from 1 on. */
static int path_of(const char *dir, const char *sale, int number, char *ret_path, size_t size)
{
    int len = number == 1
                  ? snprintf(ret_path, size, "%s/%s" OQ_ARCHIVE_SUFFIX, dir, sale)
                  : snprintf(ret_path, size, "%s/%s+%d" OQ_ARCHIVE_SUFFIX, dir, sale, number);

    return len > 0 && (size_t)len < size ? 0 : PS_E_INVALID;
}

int sale_archive_path(const char *dir, const char *sale, char *ret_path, size_t size)
{
    char next[PATH_MAX];
    int err = path_of(dir, sale, 1, ret_path, size);

    for (int number = 2;
         err == 0 && number <= SALE_ARCHIVES_MAX &&
         path_of(dir, sale, number, next, sizeof next) == 0 && access(next, F_OK) == 0;
         number++)
        err = path_of(dir, sale, number, ret_path, size);
    return err;
}

struct writing {
    struct oq_archive *archive; /* NULL: looks for `last` */
    const _Atomic(bool) *stop;
    struct ps_fault *fault;
    int64_t at_ms;                  /* time of the newest record */
    bool fenced[OQ_PARTITION_MAX];  /* it has the partition's first fence */
    int64_t last[OQ_PARTITION_MAX]; /* place of the partition's last record that is no fence */
};

/* Is the record a part of the sale's history? A sale.archived of an earlier try is not. */
static bool is_kept(struct writing *writing, int64_t place, const struct oq_event *event)
{
    uint32_t partition = oq_place_partition(place);
    bool first = !writing->fenced[partition];

    if (event->type == OQ_FENCED)
        writing->fenced[partition] = true;
    return event->type != OQ_ARCHIVED &&
           (event->type != OQ_FENCED || first || place < writing->last[partition]);
}

/* Skips what is no event, as everywhere. */
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
    if (writing->archive == NULL) {
        if (event.type != OQ_FENCED && event.type != OQ_ARCHIVED)
            writing->last[oq_place_partition(place)] = place;
    } else if (is_kept(writing, place, &event)) {
        writing->at_ms = event.at_ms > writing->at_ms ? event.at_ms : writing->at_ms;
        err = oq_archive_add(writing->archive, place, &event, writing->fault);
    }
    oq_event_release(owner);
    return err;
}

/* All records of the sale, partition by partition. */
static int read_all(struct sale_archive_job *job, struct writing *writing)
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
    struct writing *writing = calloc(1, sizeof *writing);
    uint8_t key[OQ_ARCHIVE_KEY];

    if (writing == NULL)
        return ps_fault(&job->fault, PS_E_NOMEM, path, "out of memory");
    writing->stop = stop;
    writing->fault = &job->fault;
    int err = oq_archive_key(job->settings->archive.key, key, &job->fault);
    if (err == 0)
        err = read_all(job, writing);
    if (err == 0)
        err = oq_archive_new(path, job->sale, key, &writing->archive, &job->fault);
    if (err == 0)
        err = read_all(job, writing);
    job->end.at_ms = writing->at_ms;
    if (err == 0)
        err = oq_archive_finish(writing->archive, &job->end, &job->fault);
    oq_archive_free(writing->archive);
    free(writing);
    return err;
}

/* Have both files the same bytes? 0: yes; PS_E_CONFLICT: no; or an error of reading. */
static int compare_files(const char *one, const char *other, struct ps_fault *fault)
{
    FILE *files[] = {fopen(one, "rbe"), fopen(other, "rbe")};
    char parts[2][8192];
    size_t read[2] = {1, 1};
    int err = 0;

    for (int i = 0; i < 2 && err == 0; i++)
        if (files[i] == NULL)
            err = ps_fault(fault, ps_file_err(errno), i == 0 ? one : other, "opening: %s",
                           strerror(errno));
    while (err == 0 && read[0] > 0) {
        for (int i = 0; i < 2; i++)
            read[i] = fread(parts[i], 1, sizeof parts[i], files[i]);
        if (ferror(files[0]) || ferror(files[1]))
            err = ps_fault(fault, PS_E_IO, other, "reading failed");
        else if (read[0] != read[1] || memcmp(parts[0], parts[1], read[0]) != 0)
            err = PS_E_CONFLICT;
    }
    for (int i = 0; i < 2; i++)
        if (files[i] != NULL)
            (void)fclose(files[i]);
    return err;
}

/* Moves `<path>.new` to the first of the sale's names that is free, or that has the same bytes
 * already. An archive that is there is the only proof of what it says: it is never replaced. */
static int put_in_place(struct sale_archive_job *job, char *path, size_t size)
{
    const char *dir = job->settings->archive.dir;
    char made[PATH_MAX + 8], name[PATH_MAX + 8];
    int err = 0;

    (void)snprintf(made, sizeof made, "%s.new", path);
    for (int number = 1; number <= SALE_ARCHIVES_MAX; number++) {
        err = path_of(dir, job->sale, number, path, size);
        if (err < 0)
            return ps_fault(&job->fault, err, dir, "the path is too long");
        err = access(path, F_OK) == 0 ? compare_files(made, path, &job->fault) : 0;
        if (err < 0 && err != PS_E_CONFLICT)
            return err;
        if (err == PS_E_CONFLICT) {
            job->differs = true;
            continue;
        }
        (void)snprintf(name, sizeof name, "%s.new", path);
        if (strcmp(made, name) != 0 && rename(made, name) != 0)
            return ps_fault(&job->fault, ps_file_err(errno), name, "renaming: %s", strerror(errno));
        return oq_archive_publish(path, &job->fault);
    }
    return ps_fault(&job->fault, err, path, "%d archives of this sale are there, all different",
                    SALE_ARCHIVES_MAX);
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
    int err = path_of(dir, job->sale, 1, path, sizeof path);

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
        err = put_in_place(job, path, sizeof path);
    if (err == 0)
        (void)snprintf(job->path, sizeof job->path, "%s", path);
    if (err == 0 && job->settings->archive.command != NULL)
        err = run_command(stop, job, path);
    job->err = err;
}
