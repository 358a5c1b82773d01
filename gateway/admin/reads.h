/* Reads that take long (a disk, a million orders), on libuv's work threads. These are few (main.c),
 * and looking up the name of a Redis server or reading a file of endpoints needs one: so only two
 * reads run at once, and the others wait for their turn. The control thread, unless said otherwise.
 */
#ifndef OP_READS_H
#define OP_READS_H

#include "common/defs.h"

#include <sys/queue.h>
#include <uv.h>

#define OP_READS_MAX 2 /* at once */

struct op_reads {
    uv_loop_t *loop;
    size_t running;
    STAILQ_HEAD(op_reads_waiting, op_read) waiting;
};

/* Part of what is read; its memory stays until `done`. */
struct op_read {
    void (*run)(struct op_read *read); /* on a work thread */
    /* Asked before `run`: false, nobody waits for it any more, and it is not run. NULL: always. */
    bool (*is_wanted)(const struct op_read *read);
    void (*done)(struct op_read *read); /* once, also when it was not run */
    /* Inside. */
    struct op_reads *reads;
    uv_work_t work;
    STAILQ_ENTRY(op_read) next;
};

void op_reads_init(struct op_reads *reads, uv_loop_t *loop);
/* `done` comes later. */
void op_reads_start(struct op_reads *reads, struct op_read *read);

#endif
