/* The latest moment of the process's end. */
#ifndef GW_LEAVE_H
#define GW_LEAVE_H

#include <stdint.h>

/* A thread that hangs in the disk must not keep the process alive: after this time the process ends
 * with a failure. What such a thread has not written is what a kill would have lost: nothing that
 * was promised. */
void gw_leave_at_the_latest(int64_t in_ms);

#endif
