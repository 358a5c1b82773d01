/* The settlement worker: follows the log, stores its orders, gets decisions answered. */
#ifndef ST_WORKER_H
#define ST_WORKER_H

#include "queue/settle/settings.h"

#include <signal.h>

/* Makes the tables. The log is started. 0, or a negative error that has been logged. */
int st_worker_create_tables(const struct st_settings *settings) PS_MUST_CHECK;

/* Runs until *stop, or with `once` until the end of the log is reached and no decision is without a
 * result. What was begun is finished first. 0, or a negative error that has been logged. */
int st_worker_run(const struct st_settings *settings, bool once,
                  const volatile sig_atomic_t *stop) PS_MUST_CHECK;

#endif
