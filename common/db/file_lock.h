/* An exclusive lock on an open file (flock), which ends with the process. */
#ifndef PS_FILE_LOCK_H
#define PS_FILE_LOCK_H

#include "common/defs.h"
#include "common/err.h"

/* A process that was killed keeps its locks until the disk has answered what it asked. */
#define PS_FILE_LOCK_WAIT_MS 3000

/* Waits up to PS_FILE_LOCK_WAIT_MS for whoever holds the lock; blocks the thread. `on_wait` is
 * called once when there is something to wait for; may be NULL. PS_E_BUSY: it is still held,
 * PS_E_IO; errno tells more. */
int ps_file_lock(int fd, void (*on_wait)(void *ctx), void *ctx) PS_MUST_CHECK;

#endif
