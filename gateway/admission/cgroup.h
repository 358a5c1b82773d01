/* What this process may use of its machine, and how much of it is in use: the CPU quota and the
 * memory limit of its control group (cgroup v1, v2, or v1 beside v2), else the whole machine; and
 * the kernel's pressure stall information.
 *
 * Every function reads files of /proc and of the mounted control groups, in 10 to 100 us; any
 * thread. `root` is put before each path: "" but for tests. A group without a limit is no fault:
 * then the limits of its parents, and the machine's, hold. A file that is missing or malformed is a
 * fault that names it: the figure is unknown, and ret_ stays unchanged. PS_E_NOT_FOUND: the kernel
 * has no such figure; PS_E_IO; PS_E_CORRUPT. */
#ifndef ADM_CGROUP_H
#define ADM_CGROUP_H

#include "common/err.h"

/* Processors: the smallest quota of the group and its parents, at most those on which this thread
 * may run. 0.1: a tenth of one. */
int adm_cgroup_cpus(const char *root, double *ret_cpus, struct ps_fault *fault) PS_MUST_CHECK;

/* Memory in use, 0..1, of the tightest limit of the group and its parents; without a limit, of the
 * machine's memory. Page cache that was not used lately does not count: the kernel drops it when
 * memory is needed. */
int adm_cgroup_memory(const char *root, double *ret_share, struct ps_fault *fault) PS_MUST_CHECK;

/* The share (0..1) of the last 10 s in which at least one task of the group (without cgroup v2: of
 * the machine) waited for `resource`, "cpu" or "memory". */
int adm_cgroup_pressure(const char *root, const char *resource, double *ret_share,
                        struct ps_fault *fault) PS_MUST_CHECK;

/* Processor time of the whole machine since its start, in the kernel's ticks. */
struct adm_machine_cpu {
    uint64_t busy, total;
};
int adm_machine_cpu_read(const char *root, struct adm_machine_cpu *ret_cpu,
                         struct ps_fault *fault) PS_MUST_CHECK;

#endif
