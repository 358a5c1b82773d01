/* First come, first served. */
#include "gateway/admin/reads.h"

static void on_work(uv_work_t *work)
{
    struct op_read *read = work->data;

    read->run(read);
}

static void start_waiting(struct op_reads *reads);

static void on_done(uv_work_t *work, int status)
{
    struct op_read *read = work->data;
    struct op_reads *reads = read->reads;

    (void)status; /* never cancelled */
    reads->running--;
    read->done(read); /* may free it */
    start_waiting(reads);
}

static void start_waiting(struct op_reads *reads)
{
    struct op_read *read;

    while (reads->running < OP_READS_MAX && (read = STAILQ_FIRST(&reads->waiting)) != NULL) {
        STAILQ_REMOVE_HEAD(&reads->waiting, next);
        if (read->is_wanted != NULL && !read->is_wanted(read)) {
            read->done(read);
            continue;
        }
        reads->running++;
        read->work.data = read;
        uv_queue_work(reads->loop, &read->work, on_work, on_done); /* fails without on_work only */
    }
}

void op_reads_init(struct op_reads *reads, uv_loop_t *loop)
{
    *reads = (struct op_reads){.loop = loop};
    STAILQ_INIT(&reads->waiting);
}

void op_reads_start(struct op_reads *reads, struct op_read *read)
{
    read->reads = reads;
    STAILQ_INSERT_TAIL(&reads->waiting, read, next);
    start_waiting(reads);
}
