/* How a load reaches the server: its fields are sent in chunks, some of them at a time; in the end
 * the epoch is put in force, or what was sent is dropped. Runs a loop and a link of its own on the
 * caller's thread. Used by redis_load.c alone. */
#ifndef INV_REDIS_FEED_H
#define INV_REDIS_FEED_H

#include "inventory/redis_ops.h"

struct inv_chunk;

struct inv_feed {
    struct inv_redis *redis; /* for its settings; its `trouble` is set */
    int64_t epoch;
    struct inv_keys keys;
    struct inv_chunk *chunks[INV_KEYS]; /* by key; NULL: nothing yet */
    int64_t expected[INV_KEYS];         /* fields that the server says were new */
    bool has_loop, has_link, sent, maybe_installed;
    uv_loop_t loop;
    struct ps_redis_link *link;
    size_t out; /* commands in progress */
    int err;    /* the first one; 0: none. After it nothing more is sent */
};

/* Begins one more field (or member, of INV_KEY_ADJUST) of that key, of at most `room` bytes with
 * its value; sends the previous chunk when it is full. Returns where its text goes, NULL:
 * feed->err. */
char *inv_feed_begin(struct inv_feed *feed, int key, size_t room);
/* The field's name ends at `end`, and its value begins there. */
char *inv_feed_value(struct inv_feed *feed, int key, char *end);
/* The field ends with its value (the member with itself) at `end`. */
void inv_feed_end(struct inv_feed *feed, int key, char *end);

/* Sends the rest, waits until all has arrived, and puts the epoch in force. feed->err. */
int inv_feed_install(struct inv_feed *feed) PS_MUST_CHECK;
/* Drops what was sent and is not in force, if the server is still there, and closes the link. */
void inv_feed_close(struct inv_feed *feed);

/* Valid after inv_feed_install(). */
const char *inv_feed_identity(const struct inv_feed *feed);

#endif
