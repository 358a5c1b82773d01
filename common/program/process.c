/* The processor's time and the limit come from system calls. Memory and open files come from
 * /proc/self, which may be missing or hidden. */
#include "common/program/process.h"

#include "common/clock.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

int64_t ps_process_cpu_ns(void)
{
    struct timespec time;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) != 0)
        return -1;
    return time.tv_sec * PS_NS_PER_S + time.tv_nsec;
}

static void read_memory(struct ps_process *process)
{
    int64_t page = sysconf(_SC_PAGESIZE), all, resident;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file == NULL)
        return;
    if (page > 0 && fscanf(file, "%" SCNd64 " %" SCNd64, &all, &resident) == 2) {
        process->virtual_bytes = all * page;
        process->resident_bytes = resident * page;
    }
    (void)fclose(file); /* it was only read */
}

static int64_t count_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    int64_t count = -1; /* the directory's own */

    if (dir == NULL)
        return -1;
    while ((entry = readdir(dir)) != NULL)
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count;
}

static int64_t read_max_fds(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return -1;
    return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

void ps_process_read(struct ps_process *ret_process)
{
    *ret_process = (struct ps_process){.cpu_ns = ps_process_cpu_ns(),
                                       .resident_bytes = -1,
                                       .virtual_bytes = -1,
                                       .open_fds = count_open_fds(),
                                       .max_fds = read_max_fds()};
    read_memory(ret_process);
}
