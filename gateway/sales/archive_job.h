/* The work of archiving one sale that waits for disks: on a thread of its own, in no hurry. */
#ifndef SALE_ARCHIVE_JOB_H
#define SALE_ARCHIVE_JOB_H

#include "gateway/sales/loader.h"
#include "gateway/sales/sales.h"
#include "queue/archive.h"

struct sale_run;

struct sale_archive_job {
    struct sale_loader_job job;
    struct sale_run *run;
    /* What is to be done, set by the control thread. */
    const struct sale_settings *settings;
    struct oq_log *log;
    char sale[PS_NAME_MAX + 1];
    struct oq_archive_end end; /* partitions, orders, counts, at_ms: as the fold has them */
    /* What came of it. */
    int err;
    struct ps_fault fault;
};

/* "<dir>/<sale>.ndjson.zst"; PS_E_INVALID: too long. Any thread. */
int sale_archive_path(const char *dir, const char *sale, char *ret_path, size_t size) PS_MUST_CHECK;
/* Writes the sale's records into its archive, reads that back, has it judged, puts it in its place
 * and hands it to the command. What the log holds is not touched. A failure leaves an archive that
 * was there before as it is. */
void sale_archive_write(const _Atomic(bool) *stop, struct sale_archive_job *job);

#endif
