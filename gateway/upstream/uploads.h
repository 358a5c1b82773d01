/* The uploads of a pool, on one worker: requests whose clients still send their bodies. Those need
 * places of their own: a client can send as slowly as it likes, and the pool's places are for
 * requests that the shop can answer. There is a share of the pool's places for them, of which one
 * client gets at most an eighth. Pure: no clock, no memory, one thread. */
#ifndef UP_UPLOADS_H
#define UP_UPLOADS_H

#include "common/defs.h"
#include "common/text/address.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define UP_UPLOADS_CLIENTS 8 /* 1 / most of one client's part */

struct up_upload {
    LIST_ENTRY(up_upload) entry;
    struct ps_address client; /* a /64 is one client */
    bool is_counted;
};

struct up_uploads {
    LIST_HEAD(, up_upload) all;
    _Atomic(int64_t) count, refused; /* to be read by any thread, relaxed */
};

/* How many there may be, `share` of the pool's `places`, and how many of one client. At least 1,
 * but none with a share of 0. */
size_t up_uploads_most(uint32_t places, double share, size_t *ret_of_client);
/* False: its client, or all clients together, have as many as they may, which is counted. The
 * caller owns the upload, and ends it before it frees it. */
bool up_uploads_begin(struct up_uploads *uploads, struct up_upload *upload,
                      const struct ps_address *client, uint32_t places, double share) PS_MUST_CHECK;
/* Does nothing if it was not counted. */
void up_uploads_end(struct up_uploads *uploads, struct up_upload *upload);

#endif
