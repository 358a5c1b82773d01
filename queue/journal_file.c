/* The journal's file. Tables: records(seq, sale, body), where seq is 1, 2, 3… without a gap and
 * body the record's JSON; meta, one row, whose counters are what a transaction without records
 * writes.
 *
 * What must hold:
 *  - What is read back is durable. A WAL may hold a transaction whose fsync failed or never came
 *    (its process was killed): SQLite shows it after the next open, and a power cut could take it
 *    away again, with everything that was appended behind it. So opening first copies the whole WAL
 *    into the database by a checkpoint, which writes and syncs the pages anew, and empties the WAL;
 *    only then is anything read or appended.
 *  - A full disk is found before COMMIT. SQLite keeps a small transaction in memory until then, and
 *    an error of COMMIT says nothing about its outcome; oq_file_flush writes the pages out first,
 *    without the mark that makes them a commit (measured: no difference above 16 records a
 *    transaction).
 *  - Checkpoints are the writer's, between two transactions and small (SQLite's own come inside a
 *    COMMIT, and their errors are not told). The WAL is reused from its start after each, so its
 *    blocks are allocated already: the disk fills up in a checkpoint rather than in a commit.
 *  - A journal comes into being by rename. So a file that is empty or has no tables was damaged,
 *    and is never taken for a new one.
 *
 * The numbers without a gap and the decoding of every record at start stand for a check of the
 * whole file (measured: 1.3 s for 1 M records). PRAGMA quick_check would read it all once more
 * (0.35 s) and sees hardly more in a table that is only appended to. */
#include "queue/journal_file.h"
#include "queue/log_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x50534a31 /* "PSJ1" */
#define FORMAT         1
/* A lock of another program is waited for so long; buyers wait too. */
#define BUSY_MS 500
/* Measured against 4096: a tenth less work at 128 records a commit, the same at 4. */
#define PAGE_SIZE 8192
/* Pages in the WAL at which a checkpoint is due: 2 MiB, 2 to 4 ms. */
#define CHECKPOINT_FRAMES 256
#define READ_LIMIT        1000

#define TEXT(number)    TEXT_OF(number)
#define TEXT_OF(number) #number

struct oq_file {
    char path[PATH_MAX];
    sqlite3 *db;
    sqlite3_stmt *begin, *insert, *commit, *rollback;
    int wal_frames;
    int checkpoint_at; /* frames */
};

struct file_reader {
    struct oq_reader reader;
    char path[PATH_MAX];
    sqlite3 *db;
    sqlite3_stmt *select;
};

/* --- Errors --- */

/* What SQLite has just answered on `db`, as an error and a sentence with advice. */
static int failed(sqlite3 *db, int rc, const char *path, const char *doing, struct ps_fault *fault)
{
    /* sqlite3_db_cacheflush leaves no message behind. */
    bool noted = db != NULL && sqlite3_errcode(db) != SQLITE_OK;
    const char *text = noted ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    int system = db != NULL ? sqlite3_system_errno(db) : 0;
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

static int torn(const char *path, struct ps_fault *fault, const char *what)
{
    return ps_fault(fault, PS_E_CORRUPT, path,
                    "%s: restore it from a backup, or move it and its -wal aside to start without "
                    "the orders in them",
                    what);
}

/* --- Opening --- */

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

/* Is this a journal of ours, and of a format that we know? */
static int check_identity(sqlite3 *db, const char *path, struct ps_fault *fault)
{
    int application = 0;
    int format = 0;
    int rc = pragma_int(db, "PRAGMA application_id", &application);
    if (rc == SQLITE_OK)
        rc = pragma_int(db, "PRAGMA user_version", &format);
    if (rc != SQLITE_OK)
        return failed(db, rc, path, "reading", fault);
    if (application != APPLICATION_ID || format < 1)
        return torn(path, fault, "this is not a journal, or it was cut or emptied");
    if (format > FORMAT)
        return ps_fault(fault, PS_E_NEWER, path,
                        "has format %d, this program knows only %d: use the newer program that "
                        "wrote it",
                        format, FORMAT);
    return 0;
}

static int connect_to(const char *path, const char *vfs, int flags, sqlite3 **ret_db,
                      struct ps_fault *fault)
{
    sqlite3 *db = NULL;
    int rc = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, vfs);
    if (rc != SQLITE_OK) {
        int err = failed(db, rc, path, "opening", fault);
        sqlite3_close(db);
        return err;
    }
    sqlite3_busy_timeout(db, BUSY_MS);
    *ret_db = db;
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

static int write_empty(const char *path, const char *vfs, struct ps_fault *fault)
{
    sqlite3 *db;
    int err = connect_to(path, vfs, SQLITE_OPEN_READWRITE, &db, fault);
    if (err != 0)
        return err;
    int rc = sqlite3_exec(
        db,
        "PRAGMA page_size=" TEXT(
            PAGE_SIZE) ";"
                       "PRAGMA journal_mode=WAL;"
                       "PRAGMA synchronous=FULL;"
                       "BEGIN;"
                       "PRAGMA application_id=" TEXT(
                           APPLICATION_ID) ";"
                                           "PRAGMA user_version=" TEXT(
                                               FORMAT) ";"
                                                       "CREATE TABLE records (seq INTEGER "
                                                       "PRIMARY KEY, sale TEXT NOT NULL,"
                                                       " body TEXT NOT NULL);"
                                                       "CREATE TABLE meta (starts INTEGER NOT "
                                                       "NULL, recoveries INTEGER NOT NULL);"
                                                       "INSERT INTO meta VALUES (0, 0);"
                                                       "COMMIT",
        NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc != SQLITE_OK)
        err = failed(db, rc, path, "creating the journal", fault);
    sqlite3_close(db);
    return err;
}

static bool exists(const char *path, const char *suffix)
{
    char name[PATH_MAX];
    struct stat status;
    snprintf(name, sizeof name, "%s%s", path, suffix);
    return lstat(name, &status) == 0;
}

int oq_file_create(const char *path, const char *vfs, struct ps_fault *fault)
{
    static const char *const leftovers[] = {".new", ".new-wal", ".new-shm"};
    char name[PATH_MAX];
    if (exists(path, ""))
        return 0;
    if (exists(path, "-wal"))
        return torn(path, fault, "the file is missing, but its -wal is there");
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
    int err = write_empty(name, vfs, fault);
    if (err != 0)
        return err;
    if (rename(name, path) != 0 || sync_directory_of(path) != 0)
        return failed_call(errno, path, "creating", fault);
    return 0;
}

/* SQLite's own hook would checkpoint inside the COMMIT. */
static int count_frames(void *ctx, sqlite3 *db, const char *name, int frames)
{
    struct oq_file *file = ctx;
    (void)db;
    (void)name;
    file->wal_frames = frames;
    return SQLITE_OK;
}

static int prepare(struct oq_file *file)
{
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } statements[] = {
        {&file->begin, "BEGIN IMMEDIATE"},
        {&file->insert, "INSERT INTO records (seq, sale, body) VALUES (?1, ?2, ?3)"},
        {&file->commit, "COMMIT"},
        {&file->rollback, "ROLLBACK"},
    };
    int rc = SQLITE_OK;
    for (size_t i = 0; i < PS_ARRAY_LEN(statements) && rc == SQLITE_OK; i++)
        rc = sqlite3_prepare_v3(file->db, statements[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                statements[i].statement, NULL);
    return rc;
}

int oq_file_open(const char *path, const char *vfs, struct oq_file **ret_file,
                 struct ps_fault *fault)
{
    struct oq_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    snprintf(file->path, sizeof file->path, "%s", path);
    file->checkpoint_at = CHECKPOINT_FRAMES;
    int err = connect_to(path, vfs, SQLITE_OPEN_READWRITE, &file->db, fault);
    if (err != 0)
        goto fail;
    err = check_identity(file->db, path, fault);
    if (err != 0)
        goto fail;
    sqlite3_wal_hook(file->db, count_frames, file);
    int rc = sqlite3_exec(file->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", NULL, NULL,
                          NULL);
    if (rc == SQLITE_OK) /* what the WAL holds becomes durable: see above */
        rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = prepare(file);
    if (rc != SQLITE_OK) {
        err = failed(file->db, rc, path, "opening", fault);
        goto fail;
    }
    *ret_file = file;
    return 0;
fail:
    oq_file_close(file);
    return err;
}

void oq_file_close(struct oq_file *file)
{
    if (file == NULL)
        return;
    sqlite3_finalize(file->begin);
    sqlite3_finalize(file->insert);
    sqlite3_finalize(file->commit);
    sqlite3_finalize(file->rollback);
    sqlite3_close(file->db);
    free(file);
}

int oq_file_read(struct oq_file *file, int64_t after,
                 int (*fn)(int64_t seq, struct ps_str json, struct ps_fault *fault, void *ctx),
                 void *ctx, int64_t *ret_last, struct ps_fault *fault)
{
    sqlite3_stmt *select;
    int rc = sqlite3_prepare_v2(
        file->db, "SELECT seq, body FROM records WHERE seq >= ?1 ORDER BY seq", -1, &select, NULL);
    if (rc != SQLITE_OK)
        return failed(file->db, rc, file->path, "reading", fault);
    sqlite3_bind_int64(select, 1, after);
    int64_t expected = after > 0 ? after : 1;
    int err = 0;
    while (err == 0 && (rc = sqlite3_step(select)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(select, 0);
        if (seq != expected)
            break;
        expected++;
        struct ps_str json = {.at = (const char *)sqlite3_column_text(select, 1)};
        json.len = (size_t)sqlite3_column_bytes(select, 1);
        if (seq > after)
            err = fn(seq, json, fault, ctx);
    }
    if (err == 0 && rc != SQLITE_DONE && rc != SQLITE_ROW)
        err = failed(file->db, rc, file->path, "reading", fault);
    else if (err == 0 && (rc == SQLITE_ROW || expected <= after)) {
        char what[64];
        snprintf(what, sizeof what, "record %lld is missing", (long long)expected);
        err = torn(file->path, fault, what);
    }
    sqlite3_finalize(select);
    if (err == 0)
        *ret_last = expected - 1;
    return err;
}

/* --- Writing --- */

static int run(struct oq_file *file, sqlite3_stmt *statement, const char *doing,
               struct ps_fault *fault)
{
    int rc = sqlite3_step(statement);
    int err = rc == SQLITE_DONE ? 0 : failed(file->db, rc, file->path, doing, fault);
    sqlite3_reset(statement);
    return err;
}

int oq_file_begin(struct oq_file *file, enum oq_file_note note, struct ps_fault *fault)
{
    static const char *const notes[] = {
        [OQ_FILE_STARTED] = "UPDATE meta SET starts = starts + 1",
        [OQ_FILE_RECOVERED] = "UPDATE meta SET recoveries = recoveries + 1",
    };
    int err = run(file, file->begin, "writing", fault);
    if (err != 0 || note == OQ_FILE_NO_NOTE)
        return err;
    int rc = sqlite3_exec(file->db, notes[note], NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : failed(file->db, rc, file->path, "writing", fault);
}

int oq_file_insert(struct oq_file *file, int64_t seq, struct ps_str sale, struct ps_str json,
                   struct ps_fault *fault)
{
    sqlite3_bind_int64(file->insert, 1, seq);
    sqlite3_bind_text(file->insert, 2, sale.at, (int)sale.len, SQLITE_STATIC);
    sqlite3_bind_text(file->insert, 3, json.at, (int)json.len, SQLITE_STATIC);
    return run(file, file->insert, "writing", fault);
}

int oq_file_flush(struct oq_file *file, struct ps_fault *fault)
{
    int rc = sqlite3_db_cacheflush(file->db);
    return rc == SQLITE_OK ? 0 : failed(file->db, rc, file->path, "writing", fault);
}

int oq_file_commit(struct oq_file *file, struct ps_fault *fault)
{
    return run(file, file->commit, "committing", fault);
}

void oq_file_rollback(struct oq_file *file)
{
    /* Its error does not matter: without a COMMIT nothing in the WAL counts, and the file is closed
     * next. */
    sqlite3_step(file->rollback);
    sqlite3_reset(file->rollback);
}

int oq_file_tidy(struct oq_file *file, struct ps_fault *fault)
{
    if (file->wal_frames < file->checkpoint_at)
        return 0;
    int frames = 0;
    int copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(file->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &copied);
    if (rc != SQLITE_OK && rc != SQLITE_BUSY)
        return failed(file->db, rc, file->path, "checkpoint", fault);
    /* What a reader's transaction held back is done with the next lot. */
    file->checkpoint_at = copied == frames ? CHECKPOINT_FRAMES : frames + CHECKPOINT_FRAMES;
    return 0;
}

/* --- Reading beside the writer: a connection of its own, short transactions --- */

static int reader_read(struct oq_reader *of, int64_t after, size_t limit, const char *sale,
                       oq_read_fn *fn, void *ctx, int64_t *ret_last)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    size_t sale_len = sale != NULL ? strlen(sale) : 0;
    int64_t last = after;
    int stop = 0;
    int rc = SQLITE_DONE;
    sqlite3_bind_int64(reader->select, 1, after);
    while (limit > 0 && (rc = sqlite3_step(reader->select)) == SQLITE_ROW) {
        int64_t seq = sqlite3_column_int64(reader->select, 0);
        const void *of_sale = sqlite3_column_text(reader->select, 1);
        size_t of_len = (size_t)sqlite3_column_bytes(reader->select, 1);
        if (sale == NULL || (of_len == sale_len && memcmp(of_sale, sale, sale_len) == 0)) {
            struct ps_str json = {.at = (const char *)sqlite3_column_text(reader->select, 2)};
            json.len = (size_t)sqlite3_column_bytes(reader->select, 2);
            stop = fn(seq, json, ctx);
            if (stop != 0)
                break;
            limit--;
        }
        last = seq;
    }
    int err = 0;
    if (stop < 0)
        err = stop;
    else if (rc != SQLITE_DONE && rc != SQLITE_ROW)
        err = failed(reader->db, rc, reader->path, "reading", NULL);
    sqlite3_reset(reader->select);
    if (err == 0)
        *ret_last = last;
    return err;
}

static void reader_free(struct oq_reader *of)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    sqlite3_finalize(reader->select);
    sqlite3_close(reader->db);
    free(reader);
}

static const struct oq_reader_ops reader_ops = {.read = reader_read, .free = reader_free};

int oq_journal_reader_open(const char *path, struct oq_reader **ret_reader, struct ps_fault *fault)
{
    if (strlen(path) >= PATH_MAX - OQ_FILE_SUFFIX_MAX)
        return ps_fault(fault, PS_E_INVALID, path, "the path is too long");
    if (!exists(path, ""))
        return ps_fault(fault, PS_E_NOT_FOUND, path, "there is no journal");
    struct file_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    reader->reader.ops = &reader_ops;
    snprintf(reader->path, sizeof reader->path, "%s", path);
    int err = connect_to(path, NULL, SQLITE_OPEN_READONLY, &reader->db, fault);
    if (err != 0)
        goto fail;
    err = check_identity(reader->db, path, fault);
    if (err != 0)
        goto fail;
    int rc = sqlite3_prepare_v3(reader->db,
                                "SELECT seq, sale, body FROM records WHERE seq > ?1 ORDER BY seq"
                                " LIMIT " TEXT(READ_LIMIT),
                                -1, SQLITE_PREPARE_PERSISTENT, &reader->select, NULL);
    if (rc != SQLITE_OK) {
        err = failed(reader->db, rc, path, "opening", fault);
        goto fail;
    }
    *ret_reader = &reader->reader;
    return 0;
fail:
    reader_free(&reader->reader);
    return err;
}

int oq_journal_reader_end(struct oq_reader *of, int64_t *ret_seq)
{
    struct file_reader *reader = (struct file_reader *)(void *)of;
    sqlite3_stmt *select;
    int64_t end = 0;
    int rc = sqlite3_prepare_v2(reader->db, "SELECT max(seq) FROM records", -1, &select, NULL);
    if (rc == SQLITE_OK) {
        if (sqlite3_step(select) == SQLITE_ROW)
            end = sqlite3_column_int64(select, 0);
        rc = sqlite3_finalize(select);
    }
    if (rc != SQLITE_OK)
        return failed(reader->db, rc, reader->path, "reading", NULL);
    *ret_seq = end;
    return 0;
}
