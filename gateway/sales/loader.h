/* A thread for loads: one at a time, in order of arrival. A load blocks its thread on Redis, which
 * neither the log's nor the control thread may do. */
#ifndef SALE_LOADER_H
#define SALE_LOADER_H

#include "common/defs.h"
#include "common/err.h"

#include <sys/queue.h>

struct sale_loader;

/* The caller keeps it until `run` is called. */
struct sale_loader_job {
    STAILQ_ENTRY(sale_loader_job) next;
    /* On the loader's thread; `stop` is set when it should return soon. */
    void (*run)(const _Atomic(bool) *stop, void *arg);
    void *arg;
};

/* PS_E_NOMEM: also if no thread can be created. */
int sale_loader_new(struct sale_loader **ret_loader) PS_MUST_CHECK;
void sale_loader_add(struct sale_loader *loader, struct sale_loader_job *job);
/* Waits for the running job; later ones are not run. NULL is allowed. */
void sale_loader_free(struct sale_loader *loader);

#endif
