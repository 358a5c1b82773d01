/* Preloaded into a gateway that is measured: a disk whose every fsync and fdatasync takes
 * $SLOW_SYNC_US microseconds longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_first(void)
{
    const char *text = getenv("SLOW_SYNC_US");
    long us = text != NULL ? atol(text) : 0;
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
}

int fsync(int fd)
{
    wait_first();
    return ((__typeof__(fsync) *)dlsym(RTLD_NEXT, "fsync"))(fd);
}

int fdatasync(int fd)
{
    wait_first();
    return ((__typeof__(fdatasync) *)dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
