/* The slow part of archiving one sale, which waits for disks: on a thread of its own. */
#ifndef SALE_ARCHIVE_JOB_H
#define SALE_ARCHIVE_JOB_H

#include "gateway/sales/loader.h"
#include "gateway/sales/sales.h"
#include "queue/archive.h"

#include <limits.h>

struct sale_run;

struct sale_archive_job {
    struct sale_loader_job job;
    struct sale_run *run;
    /* The job, set by the control thread. */
    const struct sale_settings *settings;
    struct oq_log *log;
    char sale[PS_NAME_MAX + 1];
    struct oq_archive_end end; /* partitions, orders, counts, at_ms: as the fold has them */
    /* The result. */
    char path[PATH_MAX]; /* of the archive */
    bool differs;        /* another archive of the sale was there, and is kept */
    int err;
    struct ps_fault fault;
};

/* Different archives of one sale that are kept. More than one means that its log was restored from
 * a backup, or that two shops have one directory. */
#define SALE_ARCHIVES_MAX 99
/* "<dir>/<sale>.ndjson.zst", or the last of those that differ, "<dir>/<sale>+2.ndjson.zst" and on.
 * PS_E_INVALID: too long. Any thread; it asks the disk. */
int sale_archive_path(const char *dir, const char *sale, char *ret_path, size_t size) PS_MUST_CHECK;
/* Writes the sale's records into its archive, reads it back, audits it, puts it in place and passes
 * it to the command. Does not change the log. A failure leaves an existing archive as it is. */
void sale_archive_write(const _Atomic(bool) *stop, struct sale_archive_job *job);

#endif
