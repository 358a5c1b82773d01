/* An exclusive lock on an open file (flock), which ends with the process. */
#ifndef PS_FILE_LOCK_H
#define PS_FILE_LOCK_H

#include "common/defs.h"
#include "common/err.h"

/* A killed process keeps its locks until the disk has answered its last requests. */
#define PS_FILE_LOCK_WAIT_MS 3000

/* Waits up to PS_FILE_LOCK_WAIT_MS for the holder of the lock; blocks the thread. Calls `on_wait`
 * once if it must wait; may be NULL. PS_E_BUSY: it is still held, PS_E_IO; errno says more. */
int ps_file_lock(int fd, void (*on_wait)(void *ctx), void *ctx) PS_MUST_CHECK;

#endif
