/* See faulty_vfs.h. The wrapper's file holds the real one behind it in the same memory. */
#include "tests/contract/faulty_vfs.h"
#include "tests/unit/check.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_MS 30000

/* A copier that keeps up leaves no more than so much, and for each step beyond it is given twice
 * the time. */
#define COPY_BYTES (100 * 8192)
#define COPY_STEP  (8 * 8192)

/* As SQLite's documents have it (WAL-mode File Format, 2.3.1). */
#define CHECKPOINT_LOCK 1

struct faulty {
    sqlite3_file base;
    enum faulty_file kind;
    sqlite3_file *real;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    enum faulty_call call;
    enum faulty_file file;
    int result, skip, times;
    size_t hits;
} plan;
static pthread_cond_t healed = PTHREAD_COND_INITIALIZER;
static struct {
    enum faulty_call call;
    enum faulty_file file;
    size_t hung;    /* since it was asked for */
    size_t waiting; /* now */
    pthread_t asked_by;
} hang;

/* Bytes of a WAL: written, written when the copying that goes on began, and copied. */
static size_t written, copying, copied;

/* What stood where databases were written since their last good sync, newest first. */
static struct undo {
    struct undo *older;
    sqlite3_int64 at;
    int size;
    char before[];
} * undo;

void faulty_vfs_fail(enum faulty_call call, enum faulty_file file, int result, int skip, int times)
{
    pthread_mutex_lock(&lock);
    plan.call = call;
    plan.file = file;
    plan.result = result;
    plan.skip = skip;
    plan.times = times;
    plan.hits = 0;
    pthread_mutex_unlock(&lock);
}

/* Until nobody waits any more, so that what hangs next is another call. Under the lock. */
static void let_go(void)
{
    hang.call = FAULTY_NONE;
    pthread_cond_broadcast(&healed);
    while (hang.waiting > 0)
        pthread_cond_wait(&healed, &lock);
}

void faulty_vfs_hang(enum faulty_call call, enum faulty_file file)
{
    pthread_mutex_lock(&lock);
    let_go();
    hang.call = call;
    hang.file = file;
    hang.hung = 0;
    hang.asked_by = pthread_self();
    pthread_mutex_unlock(&lock);
}

bool faulty_vfs_hung(void)
{
    pthread_mutex_lock(&lock);
    bool hung = hang.hung > 0;
    pthread_mutex_unlock(&lock);
    return hung;
}

void faulty_vfs_wait_hung(void)
{
    for (int i = 0; i < PATIENCE_MS && !faulty_vfs_hung(); i++)
        usleep(1000);
    assert_true(faulty_vfs_hung());
}

void faulty_vfs_heal(void)
{
    pthread_mutex_lock(&lock);
    plan.call = FAULTY_NONE;
    let_go();
    pthread_mutex_unlock(&lock);
}

size_t faulty_vfs_hits(void)
{
    pthread_mutex_lock(&lock);
    size_t hits = plan.hits;
    pthread_mutex_unlock(&lock);
    return hits;
}

static size_t not_copied(void)
{
    pthread_mutex_lock(&lock);
    size_t bytes = written - copied;
    pthread_mutex_unlock(&lock);
    return bytes;
}

void faulty_vfs_let_copy(void)
{
    size_t bytes = not_copied(), steps = bytes > COPY_BYTES ? (bytes - COPY_BYTES) / COPY_STEP : 0;
    long patience_ms = steps < 15 ? (1L << steps) - 1 : PATIENCE_MS;
    for (long ms = 0; ms < patience_ms && not_copied() > COPY_BYTES; ms++)
        usleep(1000);
}

/* SQLITE_OK: do the real thing. */
static int judge(enum faulty_call call, enum faulty_file kind)
{
    int result = SQLITE_OK;
    pthread_mutex_lock(&lock);
    if (hang.call == call && (hang.file == FAULTY_ANY || hang.file == kind) &&
        !pthread_equal(hang.asked_by, pthread_self())) {
        hang.hung++;
        hang.waiting++;
        while (hang.call == call)
            pthread_cond_wait(&healed, &lock);
        hang.waiting--;
        pthread_cond_broadcast(&healed);
    }
    if (plan.call == call && (plan.file == FAULTY_ANY || plan.file == kind) && plan.times != 0) {
        if (plan.skip > 0) {
            plan.skip--;
        } else {
            result = plan.result;
            plan.hits++;
            if (plan.times > 0)
                plan.times--;
        }
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static struct faulty *of(sqlite3_file *file)
{
    return (struct faulty *)(void *)file;
}

static sqlite3_file *real(sqlite3_file *file)
{
    return of(file)->real;
}

static int f_close(sqlite3_file *f)
{
    return real(f)->pMethods->xClose(real(f));
}
static int f_read(sqlite3_file *f, void *to, int size, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), to, size, at);
}
static void remember(sqlite3_file *f, int size, sqlite3_int64 at)
{
    struct undo *more = malloc(sizeof *more + (size_t)size);
    if (more == NULL)
        abort();
    int rc = real(f)->pMethods->xRead(real(f), more->before, size, at); /* zeros behind the end */
    if (rc != SQLITE_OK && rc != SQLITE_IOERR_SHORT_READ)
        abort();
    more->at = at;
    more->size = size;
    pthread_mutex_lock(&lock);
    more->older = undo;
    undo = more;
    pthread_mutex_unlock(&lock);
}
static void end_writes(sqlite3_file *f, bool take_back)
{
    pthread_mutex_lock(&lock);
    while (undo != NULL) {
        struct undo *last = undo;
        undo = last->older;
        if (take_back &&
            real(f)->pMethods->xWrite(real(f), last->before, last->size, last->at) != 0)
            abort();
        free(last);
    }
    pthread_mutex_unlock(&lock);
}
static void count_written(size_t size)
{
    pthread_mutex_lock(&lock);
    written += size;
    pthread_mutex_unlock(&lock);
}
static int f_write(sqlite3_file *f, const void *from, int size, sqlite3_int64 at)
{
    int rc = judge(FAULTY_WRITE, of(f)->kind);
    if (rc != SQLITE_OK)
        return rc;
    if (of(f)->kind == FAULTY_DATABASE)
        remember(f, size, at);
    else
        count_written((size_t)size);
    return real(f)->pMethods->xWrite(real(f), from, size, at);
}
/* A WAL is cut when all of it is copied. */
static int f_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    if (of(f)->kind == FAULTY_WAL) {
        pthread_mutex_lock(&lock);
        copied = copying = written;
        pthread_mutex_unlock(&lock);
    }
    return real(f)->pMethods->xTruncate(real(f), size);
}
static void count_copied(void)
{
    pthread_mutex_lock(&lock);
    copied = copying;
    pthread_mutex_unlock(&lock);
}
static int f_sync(sqlite3_file *f, int flags)
{
    int rc = judge(FAULTY_SYNC, of(f)->kind);
    if (of(f)->kind == FAULTY_DATABASE)
        end_writes(f, rc != SQLITE_OK);
    if (rc == SQLITE_OK)
        rc = real(f)->pMethods->xSync(real(f), flags);
    if (of(f)->kind == FAULTY_DATABASE && rc == SQLITE_OK)
        count_copied();
    return rc;
}
static int f_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real(f)->pMethods->xFileSize(real(f), size);
}
static int f_lock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xLock(real(f), level);
}
static int f_unlock(sqlite3_file *f, int level)
{
    return real(f)->pMethods->xUnlock(real(f), level);
}
static int f_check_lock(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int f_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int f_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}
static int f_traits(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}
/* A checkpoint has the lock CHECKPOINT_LOCK before it looks how much there is to copy. */
static int f_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    if (offset == CHECKPOINT_LOCK && (flags & SQLITE_SHM_LOCK) != 0) {
        pthread_mutex_lock(&lock);
        copying = written;
        pthread_mutex_unlock(&lock);
    }
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
static void f_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}
static int f_shm_unmap(sqlite3_file *f, int remove)
{
    return real(f)->pMethods->xShmUnmap(real(f), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = f_close,
    .xRead = f_read,
    .xWrite = f_write,
    .xTruncate = f_truncate,
    .xSync = f_sync,
    .xFileSize = f_size,
    .xLock = f_lock,
    .xUnlock = f_unlock,
    .xCheckReservedLock = f_check_lock,
    .xFileControl = f_control,
    .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_traits,
    .xShmMap = f_shm_map,
    .xShmLock = f_shm_lock,
    .xShmBarrier = f_shm_barrier,
    .xShmUnmap = f_shm_unmap,
};

static int f_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
    sqlite3_vfs *parent = vfs->pAppData;
    struct faulty *faulty = of(file);
    faulty->base.pMethods = NULL;
    faulty->kind = (flags & SQLITE_OPEN_WAL) != 0 ? FAULTY_WAL : FAULTY_DATABASE;
    faulty->real = (sqlite3_file *)(faulty + 1);
    if ((flags & SQLITE_OPEN_READWRITE) != 0 &&
        judge(FAULTY_OPEN_FOR_WRITING, faulty->kind) != SQLITE_OK) {
        flags &= ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
        flags |= SQLITE_OPEN_READONLY;
    }
    int rc = parent->xOpen(parent, name, faulty->real, flags, ret_flags);
    if (rc == SQLITE_OK)
        faulty->base.pMethods = &methods;
    return rc;
}

void faulty_vfs_register(void)
{
    static sqlite3_vfs vfs;
    sqlite3_vfs *parent = sqlite3_vfs_find(NULL);
    vfs = *parent;
    vfs.pNext = NULL;
    vfs.zName = FAULTY_VFS;
    vfs.pAppData = parent;
    vfs.szOsFile = (int)sizeof(struct faulty) + parent->szOsFile;
    vfs.xOpen = f_open;
    if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK)
        abort();
}
