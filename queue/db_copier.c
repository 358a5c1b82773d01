/* A checkpoint costs two syncs and the writing of every new page. It needs no lock that a writer
 * needs, so it may take its time on another thread; what it cannot do is let the WAL start anew as
 * long as commits go on, because there is always one more frame. That last step is the writer's.
 * Nor does SQLite sync the database while there is one more frame: the copier does so itself, else
 * the writer's step would wait for the writing of all pages. */
#include "queue/db_copier.h"

#include "common/thread.h"

#include <sched.h>
#include <stdlib.h>

enum stage { IDLE, RUNNING, DONE, ENDING };

struct oq_db_copier {
    sqlite3 *handle;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    enum stage stage;
    int rc, copied; /* of the last copy */
};

static int copy(struct oq_db_copier *copier, int *ret_copied)
{
    sqlite3_file *database;
    int rc = sqlite3_wal_checkpoint_v2(copier->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                       ret_copied);
    if (rc == SQLITE_OK)
        rc = sqlite3_file_control(copier->handle, "main", SQLITE_FCNTL_FILE_POINTER, &database);
    if (rc == SQLITE_OK)
        rc = database->pMethods->xSync(database, SQLITE_SYNC_NORMAL);
    return rc;
}

static void *run(void *arg)
{
    struct oq_db_copier *copier = arg;
    const struct sched_param none = {0};
    (void)sched_setscheduler(0, SCHED_BATCH, &none); /* nobody waits for it */
    pthread_mutex_lock(&copier->lock);
    while (copier->stage != ENDING) {
        if (copier->stage != RUNNING) {
            pthread_cond_wait(&copier->turned, &copier->lock);
            continue;
        }
        pthread_mutex_unlock(&copier->lock);
        int copied = 0;
        int rc = copy(copier, &copied);
        pthread_mutex_lock(&copier->lock);
        copier->rc = rc;
        copier->copied = copied;
        if (copier->stage == RUNNING)
            copier->stage = DONE;
    }
    pthread_mutex_unlock(&copier->lock);
    return NULL;
}

int oq_db_copier_new(sqlite3 *handle, struct oq_db_copier **ret_copier)
{
    struct oq_db_copier *copier = calloc(1, sizeof *copier);
    if (copier == NULL) {
        sqlite3_close(handle);
        return PS_E_NOMEM;
    }
    copier->handle = handle;
    pthread_mutex_init(&copier->lock, NULL);
    pthread_cond_init(&copier->turned, NULL);
    int err = ps_thread_start("wal-copier", run, copier, &copier->thread);
    if (err < 0) {
        sqlite3_close(handle);
        free(copier);
        return err;
    }
    *ret_copier = copier;
    return 0;
}

static void turn(struct oq_db_copier *copier, enum stage stage)
{
    pthread_mutex_lock(&copier->lock);
    copier->stage = stage;
    pthread_cond_signal(&copier->turned);
    pthread_mutex_unlock(&copier->lock);
}

int oq_db_copier_free(struct oq_db_copier *copier)
{
    if (copier == NULL)
        return SQLITE_OK;
    turn(copier, ENDING);
    pthread_join(copier->thread, NULL);
    pthread_cond_destroy(&copier->turned);
    pthread_mutex_destroy(&copier->lock);
    sqlite3_close(copier->handle);
    int rc = copier->rc;
    free(copier);
    return rc;
}

void oq_db_copier_start(struct oq_db_copier *copier)
{
    turn(copier, RUNNING);
}

bool oq_db_copier_runs(struct oq_db_copier *copier)
{
    pthread_mutex_lock(&copier->lock);
    bool runs = copier->stage == RUNNING;
    pthread_mutex_unlock(&copier->lock);
    return runs;
}

bool oq_db_copier_take(struct oq_db_copier *copier, int *ret_rc, int *ret_copied)
{
    pthread_mutex_lock(&copier->lock);
    bool done = copier->stage == DONE;
    if (done) {
        copier->stage = IDLE;
        *ret_rc = copier->rc;
        *ret_copied = copier->copied;
    }
    pthread_mutex_unlock(&copier->lock);
    return done;
}

sqlite3 *oq_db_copier_handle(const struct oq_db_copier *copier)
{
    return copier->handle;
}
