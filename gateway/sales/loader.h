/* A thread for loads: one at a time, in the order of their coming. A load keeps its thread waiting
 * for Redis, which neither the log's nor the control thread may. */
#ifndef SALE_LOADER_H
#define SALE_LOADER_H

#include "common/defs.h"
#include "common/err.h"

#include <sys/queue.h>

struct sale_loader;

/* The caller's, until `run` is called. */
struct sale_loader_job {
    STAILQ_ENTRY(sale_loader_job) next;
    /* On the loader's thread; `stop` is set when it should end soon. */
    void (*run)(const _Atomic(bool) *stop, void *arg);
    void *arg;
};

/* PS_E_NOMEM: also when there cannot be one more thread. */
int sale_loader_new(struct sale_loader **ret_loader) PS_MUST_CHECK;
void sale_loader_add(struct sale_loader *loader, struct sale_loader_job *job);
/* Waits for the job that runs; those behind it are not run. NULL is allowed. */
void sale_loader_free(struct sale_loader *loader);

#endif
