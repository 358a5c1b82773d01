/* A durable SQLite file: WAL, synchronous=FULL.
 *
 * What must hold:
 *  - What is read back is durable. A WAL may hold a transaction whose fsync failed or never came
 *    (its process was killed): SQLite shows it after the next open, and a power cut could take it
 *    away again, with everything that was appended behind it. So opening first copies the whole WAL
 *    into the database by a checkpoint, which writes and syncs the pages anew, and empties the WAL;
 *    only then is anything read or written.
 *  - A full disk is found before COMMIT. SQLite keeps a small transaction in memory until then, and
 *    an error of COMMIT says nothing about its outcome; oq_db_flush writes the pages out first,
 *    without the mark that makes them a commit (measured: no difference above 16 records a
 *    transaction).
 *  - Checkpoints come from here, not from SQLite (its own come inside a COMMIT, and their errors
 *    are not told). Pages are copied beside the commits (db_copier.c), a few at a time; the last
 *    ones are copied between two transactions, so that commits hardly wait. The WAL is reused from
 *    its start after that, so its blocks are allocated already: the disk fills up in a checkpoint
 *    rather than in a commit.
 *  - After a checkpoint that failed the WAL stays, and the next opening counts none of it as
 * copied. The disk may have dropped pages that SQLite takes for copied, and a close, which empties
 * the WAL, would be the end of them.
 *  - A file comes into being by rename. So one that is empty or has no tables was damaged, and is
 *    never taken for a new one. */
#include "queue/db_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* A lock of another program is waited for so long; buyers wait too. */
#define BUSY_MS 500
/* Measured against 4096: a tenth less work at 128 records a commit, the same at 4. */
#define PAGE_SIZE "8192"
/* Pages in the WAL at which it is to start anew: 8 MiB. */
#define WAL_FRAMES 1024
/* New pages at which the copier is sent: 512 KiB. Its work is one stretch of a core's time and of
 * the disk's, which commits wait for when there is no other core: measured on one core, 4.7 ms for
 * 1024 pages and 3 ms until the disk had written them. */
#define COPY_FRAMES 64
/* So many may be left for the writer to copy. */
#define REST_FRAMES 128
/* Of the WAL's index, whose format SQLite documents: the size of its first part, in it the number
 * of frames that count as copied, and the lock of whoever copies. */
#define INDEX_PART    32768
#define INDEX_COPIED  96
#define INDEX_COPYING 1

/* --- Errors --- */

int oq_db_failed(sqlite3 *handle, int rc, const char *path, const char *doing,
                 struct ps_fault *fault)
{
    /* sqlite3_db_cacheflush leaves no message behind. */
    bool noted = handle != NULL && sqlite3_errcode(handle) != SQLITE_OK;
    const char *text = noted ? sqlite3_errmsg(handle) : sqlite3_errstr(rc);
    int system = handle != NULL ? sqlite3_system_errno(handle) : 0;
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return ps_fault(fault, PS_E_NOMEM, path, "%s: out of memory", doing);
    case SQLITE_FULL:
        return ps_fault(fault, PS_E_IO, path, "%s: the disk is full: make room on it", doing);
    case SQLITE_READONLY:
        return ps_fault(fault, PS_E_READ_ONLY, path,
                        "%s: %s: make the file, its directory and its file system writable", doing,
                        text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ps_fault(fault, PS_E_BUSY, path,
                        "%s: another program holds a lock in it: close what has it open", doing);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_ERROR: /* a table is missing */
    case SQLITE_CONSTRAINT:
    case SQLITE_SCHEMA:
        return ps_fault(
            fault, PS_E_CORRUPT, path,
            "%s: %s: restore the file, with its -wal if there is one, from a backup, or "
            "move both aside to start without the orders in them",
            doing, text);
    default:
        return ps_fault(fault, PS_E_IO, path, "%s: %s%s%s: look after the disk", doing, text,
                        system != 0 ? ": " : "", system != 0 ? strerror(system) : "");
    }
}

static int failed_call(int error, const char *path, const char *doing, struct ps_fault *fault)
{
    int err = error == EROFS                      ? PS_E_READ_ONLY
              : error == EACCES || error == EPERM ? PS_E_PERMISSION
                                                  : PS_E_IO;
    return ps_fault(fault, err, path, "%s: %s", doing, strerror(error));
}

int oq_db_torn(const char *path, struct ps_fault *fault, const char *what)
{
    return ps_fault(fault, PS_E_CORRUPT, path,
                    "%s: restore it from a backup, or move it and its -wal aside to start without "
                    "the orders in them",
                    what);
}

/* --- Opening --- */

int oq_db_lock(const struct oq_db_kind *kind, const char *path, int *ret_lock,
               struct ps_fault *fault)
{
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s.lock", path);
    int lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return failed_call(errno, name, "cannot be opened", fault);
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) {
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

static int pragma_int(sqlite3 *db, const char *sql, int *ret_value)
{
    sqlite3_stmt *statement;
    int rc = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
    if (rc != SQLITE_OK)
        return rc;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *ret_value = sqlite3_column_int(statement, 0);
    return sqlite3_finalize(statement);
}

/* Is this one of ours, and of a format that we know? */
static int check_identity(const struct oq_db_kind *kind, sqlite3 *handle, const char *path,
                          struct ps_fault *fault)
{
    int application = 0;
    int format = 0;
    int rc = pragma_int(handle, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = pragma_int(handle, "PRAGMA user_version", &format);
    if (rc != SQLITE_OK)
        return oq_db_failed(handle, rc, path, "reading", fault);
    if (application != kind->application_id || format < 1) {
        char what[80];
        snprintf(what, sizeof what, "this is not a %s, or it was cut or emptied", kind->name);
        return oq_db_torn(path, fault, what);
    }
    if (format > kind->format)
        return ps_fault(fault, PS_E_NEWER, path,
                        "has format %d, this program knows only %d: use the newer program that "
                        "wrote it",
                        format, kind->format);
    return 0;
}

static int connect_to(const char *path, const char *vfs, int flags, sqlite3 **ret_handle,
                      struct ps_fault *fault)
{
    sqlite3 *handle = NULL;
    int rc =
        sqlite3_open_v2(path, &handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs);
    if (rc != SQLITE_OK) {
        int err = oq_db_failed(handle, rc, path, "opening", fault);
        sqlite3_close(handle);
        return err;
    }
    sqlite3_busy_timeout(handle, BUSY_MS);
    *ret_handle = handle;
    return 0;
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

static int write_empty(const struct oq_db_kind *kind, const char *path, const char *vfs,
                       struct ps_fault *fault)
{
    sqlite3 *handle;
    char marks[96];
    int err = connect_to(path, vfs, SQLITE_OPEN_READWRITE, &handle, fault);
    if (err != 0)
        return err;
    snprintf(marks, sizeof marks, "PRAGMA application_id=%d; PRAGMA user_version=%d",
             kind->application_id, kind->format);
    const char *const steps[] = {"PRAGMA page_size=" PAGE_SIZE
                                 "; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; BEGIN",
                                 marks, kind->tables, "COMMIT"};
    int rc = SQLITE_OK;
    for (size_t i = 0; i < PS_ARRAY_LEN(steps) && rc == SQLITE_OK; i++)
        rc = sqlite3_exec(handle, steps[i], NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc != SQLITE_OK)
        err = oq_db_failed(handle, rc, path, "creating", fault);
    sqlite3_close(handle);
    return err;
}

/* What cannot be looked at counts as there: opening it will say why. */
static bool exists(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    struct stat status;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return lstat(name, &status) == 0 || errno != ENOENT;
}

int oq_db_create(const struct oq_db_kind *kind, const char *path, const char *vfs,
                 struct ps_fault *fault)
{
    static const char *const leftovers[] = {".new", ".new-wal", ".new-shm"};
    char name[PATH_MAX];
    if (exists(path, ""))
        return 0;
    if (exists(path, "-wal"))
        return oq_db_torn(path, fault, "the file is missing, but its -wal is there");
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
    int err = write_empty(kind, name, vfs, fault);
    if (err != 0)
        return err;
    if (rename(name, path) != 0 || sync_directory_of(path) != 0)
        return failed_call(errno, path, "creating", fault);
    return 0;
}

static const char durable[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL";

/* SQLite's own hook would checkpoint inside the COMMIT. */
static int count_frames(void *ctx, sqlite3 *handle, const char *name, int frames)
{
    struct oq_db *db = ctx;
    (void)handle;
    (void)name;
    if (frames < db->wal_frames) /* the WAL has started anew */
        db->copy_at = COPY_FRAMES;
    db->wal_frames = frames;
    return SQLITE_OK;
}

static int prepare(struct oq_db *db)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } statements[] = {
        {&db->begin, "BEGIN IMMEDIATE"},
        {&db->commit, "COMMIT"},
        {&db->rollback, "ROLLBACK"},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; i < PS_ARRAY_LEN(statements) && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(db->handle, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                statements[i].statement, NULL);
    return rc;
}

static int open_copier(struct oq_db *db, const char *vfs, struct ps_fault *fault)
{
    sqlite3 *handle;
    int err = connect_to(db->path, vfs, SQLITE_OPEN_READWRITE, &handle, fault);
    if (err != 0)
        return err;
    int rc = sqlite3_exec(handle, durable, NULL, NULL, NULL);
    if (rc != SQLITE_OK) {
        err = oq_db_failed(handle, rc, db->path, "opening", fault);
        sqlite3_close(handle);
        return err;
    }
    err = oq_db_copier_new(handle, &db->copier);
    return err == 0 ? 0 : ps_fault(fault, err, db->path, "opening: no room for one more thread");
}

/* The index lives as long as any connection does, a reader's for one. So it may outlive a
 * checkpoint that failed, and still count as copied what the disk has dropped. */
static int forget_copied(sqlite3 *handle)
{
    sqlite3_file *file;
    void volatile *index = NULL;
    int rc = sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc == SQLITE_OK)
        rc = file->pMethods->xShmMap(file, 0, INDEX_PART, 0, &index);
    if (rc != SQLITE_OK || index == NULL)
        return rc;
    rc = file->pMethods->xShmLock(file, INDEX_COPYING, 1, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
    if (rc != SQLITE_OK)
        return rc;
    atomic_store((_Atomic uint32_t *)((uintptr_t)index + INDEX_COPIED), 0);
    return file->pMethods->xShmLock(file, INDEX_COPYING, 1,
                                    SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

int oq_db_open(const struct oq_db_kind *kind, const char *path, const char *vfs,
               struct oq_db *ret_db, struct ps_fault *fault)
{
    *ret_db = (struct oq_db){.copy_at = COPY_FRAMES};
    snprintf(ret_db->path, sizeof ret_db->path, "%s", path);
    int err = connect_to(path, vfs, SQLITE_OPEN_READWRITE, &ret_db->handle, fault);
    if (err == 0)
        err = check_identity(kind, ret_db->handle, path, fault);
    if (err != 0)
        return err;
    sqlite3_wal_hook(ret_db->handle, count_frames, ret_db);
    int rc = sqlite3_exec(ret_db->handle, durable, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = forget_copied(ret_db->handle);
    if (rc == SQLITE_OK) /* what the WAL holds becomes durable: see above */
        rc =
            sqlite3_wal_checkpoint_v2(ret_db->handle, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = prepare(ret_db);
    if (rc != SQLITE_OK)
        return oq_db_failed(ret_db->handle, rc, path, "opening", fault);
    return open_copier(ret_db, vfs, fault);
}

static void keep_wal(struct oq_db *db)
{
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

/* Did a checkpoint fail? One that met a lock has lost nothing. */
static bool is_failure(int rc)
{
    return rc != SQLITE_OK && rc != SQLITE_BUSY;
}

void oq_db_close(struct oq_db *db)
{
    if (is_failure(oq_db_copier_free(db->copier)))
        keep_wal(db);
    sqlite3_finalize(db->begin);
    sqlite3_finalize(db->commit);
    sqlite3_finalize(db->rollback);
    sqlite3_close(db->handle);
    *db = (struct oq_db){0};
}

int oq_db_open_reader(const struct oq_db_kind *kind, const char *path, sqlite3 **ret_handle,
                      struct ps_fault *fault)
{
    if (!exists(path, ""))
        return ps_fault(fault, PS_E_NOT_FOUND, path, "there is no %s", kind->name);
    int err = connect_to(path, NULL, SQLITE_OPEN_READONLY, ret_handle, fault);
    if (err != 0)
        return err;
    err = check_identity(kind, *ret_handle, path, fault);
    if (err != 0)
        sqlite3_close(*ret_handle);
    return err;
}

/* --- Writing --- */

static int step(struct oq_db *db, sqlite3_stmt *statement, const char *doing,
                struct ps_fault *fault)
{
    int rc = sqlite3_step(statement);
    int err = rc == SQLITE_DONE ? 0 : oq_db_failed(db->handle, rc, db->path, doing, fault);
    sqlite3_reset(statement);
    return err;
}

int oq_db_run(struct oq_db *db, sqlite3_stmt *statement, struct ps_fault *fault)
{
    return step(db, statement, "writing", fault);
}

int oq_db_exec(struct oq_db *db, const char *sql, struct ps_fault *fault)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : oq_db_failed(db->handle, rc, db->path, "writing", fault);
}

int oq_db_begin(struct oq_db *db, struct ps_fault *fault)
{
    return step(db, db->begin, "writing", fault);
}

int oq_db_flush(struct oq_db *db, struct ps_fault *fault)
{
    int rc = sqlite3_db_cacheflush(db->handle);
    return rc == SQLITE_OK ? 0 : oq_db_failed(db->handle, rc, db->path, "writing", fault);
}

int oq_db_commit(struct oq_db *db, struct ps_fault *fault)
{
    return step(db, db->commit, "committing", fault);
}

void oq_db_rollback(struct oq_db *db)
{
    /* Its error does not matter: without a COMMIT nothing in the WAL counts, and the file is closed
     * next. */
    sqlite3_step(db->rollback);
    sqlite3_reset(db->rollback);
}

/* The last pages. If no reader's transaction holds some of them back, the next transaction finds
 * nothing left to copy and starts the WAL anew. */
static int finish_checkpoint(struct oq_db *db, struct ps_fault *fault)
{
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    if (!is_failure(rc))
        return 0;
    keep_wal(db);
    return oq_db_failed(db->handle, rc, db->path, "checkpoint", fault);
}

int oq_db_tidy(struct oq_db *db, struct ps_fault *fault)
{
    int rc = SQLITE_OK;
    int copied = 0;
    if (db->wal_frames < db->copy_at || oq_db_copier_runs(db->copier))
        return 0;
    if (!oq_db_copier_take(db->copier, &rc, &copied)) {
        oq_db_copier_start(db->copier);
        return 0;
    }
    if (is_failure(rc)) /* oq_db_close hears of it too, and keeps the WAL */
        return oq_db_failed(oq_db_copier_handle(db->copier), rc, db->path, "checkpoint", fault);
    db->copy_at = db->wal_frames + COPY_FRAMES;
    if (db->wal_frames >= WAL_FRAMES && db->wal_frames - copied <= REST_FRAMES)
        return finish_checkpoint(db, fault);
    return 0;
}
