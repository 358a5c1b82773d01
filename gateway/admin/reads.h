/* Long reads (a disk, a million orders) on libuv's work threads. There are few work threads
 * (main.c), and resolving the name of a Redis server or reading a file of endpoints needs one: so
 * only two reads run at once, and the others wait for their turn. The control thread, unless said
 * otherwise.
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

/* Part of the reading object; its memory must live until `done`. */
struct op_read {
    void (*run)(struct op_read *read); /* on a work thread */
    /* Called before `run`: false if nobody waits for the result, then it is not run. NULL: always
     * run. */
    bool (*is_wanted)(const struct op_read *read);
    void (*done)(struct op_read *read); /* once, also when it was not run */
    /* Inside. */
    struct op_reads *reads;
    uv_work_t work;
    STAILQ_ENTRY(op_read) next;
};

void op_reads_init(struct op_reads *reads, uv_loop_t *loop);
/* `done` is called later. */
void op_reads_start(struct op_reads *reads, struct op_read *read);

#endif
