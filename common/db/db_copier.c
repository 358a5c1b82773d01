/* A checkpoint costs two syncs and the writing of every new page. It needs no lock that a writer
 * needs, so it may take its time on another thread; what it cannot do is let the WAL start anew as
 * long as commits continue, because there is always one more frame. That last step is the writer's.
 * Nor does SQLite sync the database while there is one more frame: the copier does so itself, else
 * the writer's step would wait for the writing of all pages. */
#include "common/db/db_copier.h"

#include "common/program/thread.h"

#include <sched.h>
#include <stdlib.h>

enum stage { IDLE, RUNNING, DONE, ENDING };

struct ps_db_copier {
    struct ps_db *db;
    void (*on_failure)(void *ctx);
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t turned;
    enum stage stage;
    int rc, copied; /* of the last copy */
};

static int copy(struct ps_db_copier *copier, int *ret_copied)
{
    int rc = sqlite3_wal_checkpoint_v2(copier->db->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL,
                                       ret_copied);
    if (rc == SQLITE_OK)
        rc = ps_db_sync(copier->db);
    if (ps_db_copy_failed(rc))
        copier->on_failure(copier->ctx);
    return rc;
}

static void *run(void *arg)
{
    struct ps_db_copier *copier = arg;
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

int ps_db_copier_new(struct ps_db *db, void (*on_failure)(void *ctx), void *ctx,
                     struct ps_db_copier **ret_copier)
{
    struct ps_db_copier *copier = calloc(1, sizeof *copier);
    if (copier == NULL) {
        ps_db_close(db);
        return PS_E_NOMEM;
    }
    copier->db = db;
    copier->on_failure = on_failure;
    copier->ctx = ctx;
    pthread_mutex_init(&copier->lock, NULL);
    pthread_cond_init(&copier->turned, NULL);
    int err = ps_thread_start("wal-copier", run, copier, &copier->thread);
    if (err < 0) {
        ps_db_close(db);
        free(copier);
        return err;
    }
    *ret_copier = copier;
    return 0;
}

static void turn(struct ps_db_copier *copier, enum stage stage)
{
    pthread_mutex_lock(&copier->lock);
    copier->stage = stage;
    pthread_cond_signal(&copier->turned);
    pthread_mutex_unlock(&copier->lock);
}

void ps_db_copier_free(struct ps_db_copier *copier)
{
    if (copier == NULL)
        return;
    turn(copier, ENDING);
    pthread_join(copier->thread, NULL);
    pthread_cond_destroy(&copier->turned);
    pthread_mutex_destroy(&copier->lock);
    ps_db_close(copier->db);
    free(copier);
}

void ps_db_copier_start(struct ps_db_copier *copier)
{
    turn(copier, RUNNING);
}

bool ps_db_copier_runs(struct ps_db_copier *copier)
{
    pthread_mutex_lock(&copier->lock);
    bool runs = copier->stage == RUNNING;
    pthread_mutex_unlock(&copier->lock);
    return runs;
}

bool ps_db_copier_take(struct ps_db_copier *copier, int *ret_rc, int *ret_copied)
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

const struct ps_db *ps_db_copier_db(const struct ps_db_copier *copier)
{
    return copier->db;
}
