/* A durable SQLite file: WAL, synchronous=FULL.
 *
 * What must hold:
 *  - What is read back is durable. A WAL may hold a transaction whose fsync failed or never came
 *    (its process was killed): SQLite shows it after the next open, and a power cut could take it
 *    away again, with everything that was appended behind it. So opening first copies the whole WAL
 *    into the database by a checkpoint, which writes and syncs the pages anew, and empties the WAL;
 *    only then is anything read or written.
 *  - A full disk is found before COMMIT. SQLite keeps a small transaction in memory until then, and
 *    an error of COMMIT says nothing about its outcome; sqlite3_db_cacheflush writes the pages out
 *    first, without the mark that makes them a commit (measured: no difference above 16 records a
 *    transaction).
 *  - Checkpoints come from here, not from SQLite (its own come inside a COMMIT, and their errors
 *    are not reported). Pages are copied beside the commits (db_copier.c), a few at a time; the
 *    last ones are copied between two transactions, so that commits hardly wait. The WAL is reused
 *    from its start after that, so its blocks are allocated already: the disk fills up in a
 *    checkpoint rather than in a commit.
 *  - A checkpoint that failed is done again from the WAL's first frame. The disk may have dropped
 *    pages that SQLite's index of the WAL counts as copied, so the index is not to be believed any
 *    more. It lives as long as any program has the file open. So: a close leaves the WAL as it is;
 *    the next open asks for the file alone (locking_mode=EXCLUSIVE, with which SQLite keeps an
 *    index of its own, built from the WAL: nothing counts as copied); while another program still
 *    has the file, the open is refused. That a checkpoint failed is written into the lock file, for
 *    the other program may outlive this one; it outlives no power cut, and so the mark need not.
 *    Not prevented: another program that has it open for writing and closes it last, while this one
 *    waits for it, has SQLite throw the WAL away. So look into it with `sqlite3 -readonly`.
 *  - Without such a failure another program, such as a backup, does not hold up an open: the index
 *    then counts only pages that were written, and the database is synced before it is believed.
 *  - A file comes into being by rename. So one that is empty or has no tables was damaged, and is
 *    never taken for a new one. */
#include "common/db/db_file.h"
#include "common/db/file_lock.h"
#include "common/db/db_copier.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How long to wait for another program's lock; buyers wait too. */
#define BUSY_MS 500
/* A file whose checkpoints are good need not be opened alone: wait for another program no longer
 * than a reader of ours takes. */
#define ALONE_MS 100
/* Measured against 4096: a tenth less work at 128 records a commit, the same at 4. */
#define PAGE_SIZE "8192"
/* Pages given back at once: 1 MiB. */
#define SHRINK_PAGES "128"
/* Pages in the WAL at which it is to start anew: 8 MiB. */
#define WAL_FRAMES 1024
/* New pages at which the copier is sent: 512 KiB. Its work is one stretch of a core's time and of
 * the disk's, which commits wait for when there is no other core: measured on one core, 4.7 ms for
 * 1024 pages and 3 ms until the disk had written them. */
#define COPY_FRAMES 64
/* At most an eighth of the WAL may be left for the writer to copy. When more is committed during a
 * copy, the WAL grows until that is an eighth of it. */
#define REST_PART 8

/* The lock file's one byte: the state of the file's checkpoints. */
#define COPIES_GOOD   '0'
#define COPIES_FAILED '1'

struct ps_db_file {
    struct ps_db *db;
    struct ps_db_statement begin, commit, rollback;
    struct ps_db_copier *copier;
    int lock;
    int wal_frames;
    int copy_at; /* frames */
};

static int failed_call(int error, const char *path, const char *doing, struct ps_fault *fault)
{
    int err = error == EROFS                      ? PS_E_READ_ONLY
              : error == EACCES || error == EPERM ? PS_E_PERMISSION
                                                  : PS_E_IO;
    return ps_fault(fault, err, path, "%s: %s", doing, strerror(error));
}

static int torn(const struct ps_db_kind *kind, const char *path, const char *what,
                struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_CORRUPT, path,
                    "%s: restore it from a backup, or move it and its -wal aside to start without "
                    "%s",
                    what, kind->holds);
}

/* --- The lock --- */

static bool copies_failed(int lock)
{
    char said = COPIES_GOOD;
    return pread(lock, &said, 1, 0) == 1 && said == COPIES_FAILED;
}

/* Overwrites an existing byte, so that a full disk does not matter. */
static void note_copies(int lock, char what)
{
    ssize_t written = pwrite(lock, &what, 1, 0);
    (void)written;
}

int ps_db_file_lock(const struct ps_db_kind *kind, const char *path, int *ret_lock,
                    struct ps_fault *fault)
{
    char name[PATH_MAX];
    struct stat status;
    snprintf(name, sizeof name, "%s.lock", path);
    int lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return failed_call(errno, name, "cannot be opened", fault);
    if (ps_file_lock(lock, NULL, NULL) == 0) {
        if (fstat(lock, &status) == 0 && status.st_size == 0)
            note_copies(lock, COPIES_GOOD);
        *ret_lock = lock;
        return 0;
    }
    int error = errno;
    close(lock);
    if (error == EWOULDBLOCK)
        return ps_fault(fault, PS_E_BUSY, name,
                        "another process holds it: stop the gateway that runs on this %s, or "
                        "give this one a state directory of its own",
                        kind->name);
    return failed_call(error, name, "cannot be locked", fault);
}

/* --- Opening --- */

static int connect_to(const struct ps_db_file_settings *settings, enum ps_db_access access,
                      int busy_ms, struct ps_db **ret_db, struct ps_fault *fault)
{
    const struct ps_db_settings connection = {.path = settings->path,
                                              .vfs = settings->vfs,
                                              .access = access,
                                              .busy_ms = busy_ms,
                                              .statements = settings->kind->statements,
                                              .statement_count = settings->kind->statement_count,
                                              .holds = settings->kind->holds};
    return ps_db_open(&connection, ret_db, fault);
}

/* Is this one of our files, in a format that we know? */
static int check_identity(const struct ps_db_kind *kind, struct ps_db *db, struct ps_fault *fault)
{
    int64_t application, format;
    int err = ps_db_number(db, "PRAGMA application_id", &application, fault);
    if (err == 0)
        err = ps_db_number(db, "PRAGMA user_version", &format, fault);
    if (err != 0)
        return err;
    if (application != kind->application_id || format < 1) {
        char what[80];
        snprintf(what, sizeof what, "this is not a %s, or it was cut or emptied", kind->name);
        return torn(kind, ps_db_path(db), what, fault);
    }
    if (format > kind->format)
        return ps_fault(fault, PS_E_NEWER, ps_db_path(db),
                        "has format %lld, this program knows only %d: use the newer program that "
                        "wrote it",
                        (long long)format, kind->format);
    return 0;
}

static void keep_wal(struct ps_db *db)
{
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

/* What the WAL holds, and what was copied from it, becomes durable in the database. The sync is
 * for what was copied: a checkpoint that finds nothing left to copy does none. */
static int empty_wal(struct ps_db *db, struct ps_fault *fault)
{
    int rc = ps_db_sync(db);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK ? 0 : ps_db_failed(db, rc, "opening", fault);
}

static int sync_directory_of(const char *path)
{
    char copy[PATH_MAX];
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static int write_empty(const struct ps_db_file_settings *settings, struct ps_fault *fault)
{
    struct ps_db *db;
    char marks[96];
    int err = connect_to(settings, PS_DB_WRITE, BUSY_MS, &db, fault);
    if (err != 0)
        return err;
    snprintf(marks, sizeof marks, "PRAGMA application_id=%d; PRAGMA user_version=%d",
             settings->kind->application_id, settings->kind->format);
    /* How a file gives pages back is fixed before its first page is written. */
    const char *const steps[] = {settings->kind->shrinks ? "PRAGMA auto_vacuum=INCREMENTAL" : "",
                                 "PRAGMA page_size=" PAGE_SIZE
                                 "; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN",
                                 marks, settings->kind->tables, "COMMIT"};
    for (size_t i = 0; i < PS_ARRAY_LEN(steps) && err == 0; i++)
        err = ps_db_exec(db, steps[i], fault);
    if (err == 0)
        err = empty_wal(db, fault);
    ps_db_close(db);
    return err;
}

/* What cannot be examined counts as existing: opening it will say why. */
static bool exists(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    struct stat status;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return lstat(name, &status) == 0 || errno != ENOENT;
}

int ps_db_file_create(const struct ps_db_kind *kind, const char *path, const char *vfs,
                      struct ps_fault *fault)
{
    static const char *const leftovers[] = {".new", ".new-wal", ".new-shm"};
    char name[PATH_MAX];
    const struct ps_db_file_settings settings = {.kind = kind, .path = name, .vfs = vfs};
    if (exists(path, ""))
        return 0;
    if (exists(path, "-wal"))
        return torn(kind, path, "the file is missing, but its -wal is there", fault);
    for (size_t i = 0; i < PS_ARRAY_LEN(leftovers); i++) {
        snprintf(name, sizeof name, "%s%s", path, leftovers[i]);
        if (unlink(name) != 0 && errno != ENOENT)
            return failed_call(errno, name, "removing", fault);
    }
    snprintf(name, sizeof name, "%s.new", path);
    int fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed_call(errno, name, "creating", fault);
    close(fd);
    int err = write_empty(&settings, fault);
    if (err != 0)
        return err;
    if (rename(name, path) != 0 || sync_directory_of(path) != 0)
        return failed_call(errno, path, "creating", fault);
    return 0;
}

/* Empties the WAL while no other program has the file open, by an index that counts nothing as
 * copied. PS_E_BUSY: another program has it open. */
static int empty_wal_alone(const struct ps_db_file_settings *settings, int busy_ms,
                           struct ps_fault *fault)
{
    struct ps_db *db;
    int err = connect_to(settings, PS_DB_WRITE, busy_ms, &db, fault);
    if (err != 0)
        return err;
    err = ps_db_exec(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=FULL", fault);
    if (err == 0)
        err = check_identity(settings->kind, db, fault);
    if (err == 0)
        err = empty_wal(db, fault);
    if (err != 0)
        keep_wal(db);
    ps_db_close(db);
    return err;
}

/* SQLite's own hook would checkpoint inside the COMMIT. */
static int count_frames(void *ctx, sqlite3 *handle, const char *name, int frames)
{
    struct ps_db_file *file = ctx;
    (void)handle;
    (void)name;
    if (frames < file->wal_frames) /* the WAL has started anew */
        file->copy_at = COPY_FRAMES;
    file->wal_frames = frames;
    return SQLITE_OK;
}

static int open_durable(const struct ps_db_file_settings *settings, struct ps_db **ret_db,
                        struct ps_fault *fault)
{
    int err = connect_to(settings, PS_DB_WRITE, BUSY_MS, ret_db, fault);
    if (err == 0)
        err = check_identity(settings->kind, *ret_db, fault);
    if (err == 0)
        err = ps_db_exec(*ret_db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", fault);
    return err;
}

static void on_copy_failed(void *ctx)
{
    const struct ps_db_file *file = ctx;
    note_copies(file->lock, COPIES_FAILED);
}

static int open_copier(struct ps_db_file *file, const struct ps_db_file_settings *settings,
                       struct ps_fault *fault)
{
    struct ps_db *db = NULL;
    int err = open_durable(settings, &db, fault);
    if (err != 0) {
        ps_db_close(db);
        return err;
    }
    err = ps_db_copier_new(db, on_copy_failed, file, &file->copier);
    return err == 0 ? 0
                    : ps_fault(fault, err, settings->path, "opening: no room for one more thread");
}

static int prepare(struct ps_db_file *file, struct ps_fault *fault)
{
    const struct {
        struct ps_db_statement *statement;
        const char *sql;
    } statements[] = {
        {&file->begin, "BEGIN IMMEDIATE"},
        {&file->commit, "COMMIT"},
        {&file->rollback, "ROLLBACK"},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; i < PS_ARRAY_LEN(statements) && rc == SQLITE_OK; i++) {
        statements[i].statement->db = file->db;
        rc = sqlite3_prepare_v3(file->db->handle, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                &statements[i].statement->handle, NULL);
    }
    return rc == SQLITE_OK ? 0 : ps_db_failed(file->db, rc, "opening", fault);
}

int ps_db_file_open(const struct ps_db_file_settings *settings, struct ps_db_file **ret_file,
                    struct ps_fault *fault)
{
    bool failed = copies_failed(settings->lock);
    int err = empty_wal_alone(settings, failed ? BUSY_MS : ALONE_MS, fault);
    bool shared = err == PS_E_BUSY && !failed;
    if (err != 0 && !shared)
        return err;
    struct ps_db_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->path, "out of memory");
    file->lock = settings->lock;
    file->copy_at = COPY_FRAMES;
    if (!shared)
        note_copies(file->lock, COPIES_GOOD);
    err = open_durable(settings, &file->db, fault);
    if (err != 0)
        goto fail;
    sqlite3_wal_hook(file->db->handle, count_frames, file);
    err = shared ? empty_wal(file->db, fault) : 0;
    if (err != 0 && err != PS_E_BUSY)
        note_copies(file->lock, COPIES_FAILED);
    if (err == 0)
        err = prepare(file, fault);
    if (err == 0)
        err = open_copier(file, settings, fault);
    if (err != 0)
        goto fail;
    *ret_file = file;
    return 0;
fail:
    ps_db_file_close(file);
    return err;
}

void ps_db_file_close(struct ps_db_file *file)
{
    if (file == NULL)
        return;
    ps_db_copier_free(file->copier);
    if (file->db != NULL && copies_failed(file->lock))
        keep_wal(file->db);
    sqlite3_finalize(file->begin.handle);
    sqlite3_finalize(file->commit.handle);
    sqlite3_finalize(file->rollback.handle);
    ps_db_close(file->db);
    free(file);
}

struct ps_db *ps_db_file_db(struct ps_db_file *file)
{
    return file->db;
}

int ps_db_file_read(const struct ps_db_file_settings *settings, struct ps_db **ret_db,
                    struct ps_fault *fault)
{
    struct ps_db *db;
    if (!exists(settings->path, ""))
        return ps_fault(fault, PS_E_NOT_FOUND, settings->path, "there is no %s",
                        settings->kind->name);
    int err = connect_to(settings, PS_DB_READ, BUSY_MS, &db, fault);
    if (err != 0)
        return err;
    err = check_identity(settings->kind, db, fault);
    if (err != 0) {
        ps_db_close(db);
        return err;
    }
    *ret_db = db;
    return 0;
}

/* --- Writing --- */

int ps_db_file_begin(struct ps_db_file *file, struct ps_fault *fault)
{
    return ps_db_run(&file->begin, fault);
}

void ps_db_file_rollback(struct ps_db_file *file)
{
    /* Its error does not matter: without a COMMIT nothing in the WAL counts. */
    int err = ps_db_in_transaction(file->db) ? ps_db_run(&file->rollback, NULL) : 0;
    (void)err;
}

int ps_db_file_commit(struct ps_db_file *file, bool *ret_unknown, struct ps_fault *fault)
{
    *ret_unknown = false;
    int rc = sqlite3_db_cacheflush(file->db->handle);
    if (rc != SQLITE_OK) {
        int err = ps_db_failed(file->db, rc, "writing", fault);
        ps_db_file_rollback(file);
        return err;
    }
    int err = ps_db_run(&file->commit, fault);
    *ret_unknown = err != 0;
    return err;
}

int ps_db_file_shrink(struct ps_db_file *file, bool *ret_unknown, struct ps_fault *fault)
{
    static const int64_t incremental = 2;
    int64_t mode, left = 0;
    *ret_unknown = false;
    int err = ps_db_number(file->db, "PRAGMA auto_vacuum", &mode, fault);
    if (err == 0 && mode == incremental)
        err = ps_db_number(file->db, "PRAGMA freelist_count", &left, fault);
    if (err != 0 || left == 0)
        return err;
    err = ps_db_file_begin(file, fault);
    if (err == 0)
        err = ps_db_exec(file->db, "PRAGMA incremental_vacuum(" SHRINK_PAGES ")", fault);
    if (err == 0)
        err = ps_db_file_commit(file, ret_unknown, fault);
    else
        ps_db_file_rollback(file);
    return err == 0 ? 1 : err;
}

/* The last pages. If no reader's transaction holds some of them back, the next transaction finds
 * nothing left to copy and starts the WAL anew. */
static int finish_checkpoint(struct ps_db_file *file, struct ps_fault *fault)
{
    int rc =
        sqlite3_wal_checkpoint_v2(file->db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (!ps_db_copy_failed(rc))
        return 0;
    note_copies(file->lock, COPIES_FAILED);
    return ps_db_failed(file->db, rc, "checkpoint", fault);
}

int ps_db_file_tidy(struct ps_db_file *file, struct ps_fault *fault)
{
    int rc = SQLITE_OK;
    int copied = 0;
    if (file->wal_frames < file->copy_at || ps_db_copier_runs(file->copier))
        return 0;
    if (!ps_db_copier_take(file->copier, &rc, &copied)) {
        ps_db_copier_start(file->copier);
        return 0;
    }
    if (ps_db_copy_failed(rc))
        return ps_db_failed(ps_db_copier_db(file->copier), rc, "checkpoint", fault);
    file->copy_at = file->wal_frames + COPY_FRAMES;
    if (file->wal_frames >= WAL_FRAMES && file->wal_frames - copied <= file->wal_frames / REST_PART)
        return finish_checkpoint(file, fault);
    return 0;
}
