/* The operating system's figures of this process. */
#ifndef PS_PROCESS_H
#define PS_PROCESS_H

#include "common/defs.h"

/* -1: not known, since /proc is missing or has another form. */
struct ps_process {
    int64_t cpu_ns; /* of all threads, in user mode and in the kernel */
    int64_t resident_bytes, virtual_bytes;
    int64_t open_fds, max_fds; /* max: INT64_MAX without a limit */
};

/* Processor time of this process so far, all threads, in user mode and in the kernel; -1: not
 * known. Any thread, 1 us. */
int64_t ps_process_cpu_ns(void);

/* Reads a few files and a directory of /proc, which takes longer the more files are open: some 5 ms
 * for 20,000. Any thread. */
void ps_process_read(struct ps_process *ret_process);

#endif
