/* A thread and its queue of jobs. */
#include "gateway/sales/loader.h"

#include "common/program/thread.h"

#include <stdatomic.h>
#include <stdlib.h>

struct sale_loader {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    STAILQ_HEAD(sale_loader_jobs, sale_loader_job) jobs; /* under the lock */
    _Atomic(bool) stop;                                  /* set under the lock */
};

/* NULL: it is over. */
static struct sale_loader_job *take_job(struct sale_loader *loader)
{
    struct sale_loader_job *job = NULL;

    pthread_mutex_lock(&loader->lock);
    while (STAILQ_EMPTY(&loader->jobs) && !atomic_load(&loader->stop))
        pthread_cond_wait(&loader->changed, &loader->lock);
    if (!atomic_load(&loader->stop)) {
        job = STAILQ_FIRST(&loader->jobs);
        STAILQ_REMOVE_HEAD(&loader->jobs, next);
    }
    pthread_mutex_unlock(&loader->lock);
    return job;
}

static void *run_jobs(void *arg)
{
    struct sale_loader *loader = arg;
    struct sale_loader_job *job;

    while ((job = take_job(loader)) != NULL)
        job->run(&loader->stop, job->arg);
    return NULL;
}

int sale_loader_new(struct sale_loader **ret_loader)
{
    struct sale_loader *loader = calloc(1, sizeof *loader);

    if (loader == NULL)
        return PS_E_NOMEM;
    pthread_mutex_init(&loader->lock, NULL);
    pthread_cond_init(&loader->changed, NULL);
    STAILQ_INIT(&loader->jobs);
    if (ps_thread_start("loader", run_jobs, loader, &loader->thread) < 0) {
        pthread_cond_destroy(&loader->changed);
        pthread_mutex_destroy(&loader->lock);
        free(loader);
        return PS_E_NOMEM;
    }
    *ret_loader = loader;
    return 0;
}

void sale_loader_add(struct sale_loader *loader, struct sale_loader_job *job)
{
    pthread_mutex_lock(&loader->lock);
    STAILQ_INSERT_TAIL(&loader->jobs, job, next);
    pthread_cond_signal(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
}

void sale_loader_free(struct sale_loader *loader)
{
    if (loader == NULL)
        return;
    pthread_mutex_lock(&loader->lock);
    atomic_store(&loader->stop, true);
    pthread_cond_signal(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
    pthread_join(loader->thread, NULL);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
    free(loader);
}
