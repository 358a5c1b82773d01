/* flock(2) has no time limit, so it is tried again and again. */
#include "common/db/file_lock.h"
#include "common/clock.h"

#include <errno.h>
#include <sys/file.h>
#include <unistd.h>

#define TRY_MS 20

int ps_file_lock(int fd, void (*on_wait)(void *ctx), void *ctx)
{
    int64_t started_ns = ps_clock_mono_ns(&ps_clock_system);

    for (bool reported = false; flock(fd, LOCK_EX | LOCK_NB) != 0; reported = true) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return PS_E_IO;
        if (ps_clock_mono_ns(&ps_clock_system) - started_ns > PS_FILE_LOCK_WAIT_MS * PS_NS_PER_MS) {
            errno = EWOULDBLOCK;
            return PS_E_BUSY;
        }
        if (!reported && on_wait != NULL)
            on_wait(ctx);
        usleep(TRY_MS * 1000);
    }
    return 0;
}
