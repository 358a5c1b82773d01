/* Preloaded into a gateway under test: a disk that fails on demand, for files by their name. The
 * directory $PENSTOCK_FAULTS holds the orders: the file "write.journal.db-wal" with the text "28"
 * lets every write to a file of that name fail with ENOSPC, "sync.…" every fsync; the text "hang"
 * lets the call wait until the order is gone, and says so by the file "hangs.sync.…", "delay 2000"
 * for so many microseconds. "once …" removes the order when it has been carried out. Without an
 * order the call is made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name, ...) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

static int read_order(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t len = read(fd, text, size - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    return 0;
}

static void wait_for_end(const char *directory, const char *path)
{
    char mark[2 * PATH_MAX + 16], text[64];

    snprintf(mark, sizeof mark, "%s/hangs.%s", directory, strrchr(path, '/') + 1);
    int fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    while (read_order(path, text, sizeof text) == 0 && strncmp(text, "hang", 4) == 0)
        usleep(5000);
}

/* The errno to fail with, or 0. */
static int fault(const char *call, int fd)
{
    char link[64], target[PATH_MAX], path[2 * PATH_MAX], text[64];
    const char *directory = getenv("PENSTOCK_FAULTS");
    int saved = errno;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, target, sizeof target - 1);
    if (directory == NULL || len <= 0 || target[0] != '/')
        return 0;
    target[len] = '\0';
    snprintf(path, sizeof path, "%s/%s.%s", directory, call, strrchr(target, '/') + 1);
    if (read_order(path, text, sizeof text) == 0 && strncmp(text, "hang", 4) == 0)
        wait_for_end(directory, path);
    errno = saved;
    if (read_order(path, text, sizeof text) != 0) {
        errno = saved;
        return 0;
    }
    errno = saved;
    if (strncmp(text, "delay ", 6) == 0) {
        usleep((useconds_t)atoi(text + 6));
        errno = saved;
        return 0;
    }
    if (strncmp(text, "once ", 5) != 0)
        return atoi(text);
    /* Two threads may meet here: the one that removes the order carries it out. */
    return unlink(path) == 0 ? atoi(text + 5) : 0;
}

static int fails(const char *call, int fd)
{
    int error = fault(call, fd);
    if (error != 0)
        errno = error;
    return error != 0;
}

int fsync(int fd)
{
    return fails("sync", fd) ? -1 : REAL(fsync, fd);
}

int fdatasync(int fd)
{
    return fails("sync", fd) ? -1 : REAL(fdatasync, fd);
}

ssize_t write(int fd, const void *data, size_t len)
{
    return fails("write", fd) ? -1 : REAL(write, fd, data, len);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return fails("write", fd) ? -1 : REAL(pwrite, fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return fails("write", fd) ? -1 : REAL(pwrite64, fd, data, len, at);
}
