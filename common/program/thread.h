/* Threads of a library, and waiting for their events. */
#ifndef PS_THREAD_H
#define PS_THREAD_H

#include "common/err.h"

#include <pthread.h>

/* Starts `fn(arg)` on a thread of this name (at most 15 characters) that gets no signals: they are
 * the program's. PS_E_NOMEM: there cannot be one more. */
int ps_thread_start(const char *name, void *(*fn)(void *arg), void *arg,
                    pthread_t *ret_thread) PS_MUST_CHECK;

/* Waits until the eventfd is readable; does not read it. PS_E_TIMEOUT. */
int ps_event_wait(int event, int64_t timeout_ms) PS_MUST_CHECK;

#endif
