/* Private files: checked, read and replaced as a whole.
 *
 * A file is opened without following a link and checked through its descriptor, so that what was
 * checked is what is read. A new text goes to "<path>.new", is synced, and takes the old one's
 * place by rename; the directory is synced after it. At every moment `path` is a whole file, old or
 * new. */
#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int ps_file_err(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return PS_E_FULL;
    case EROFS:
        return PS_E_READ_ONLY;
    case EACCES:
    case EPERM:
        return PS_E_PERMISSION;
    case ENOENT:
        return PS_E_NOT_FOUND;
    case ENOMEM:
        return PS_E_NOMEM;
    default:
        return PS_E_IO;
    }
}

static int check_opened(int fd, const char *path, struct stat *ret_stat, struct ps_fault *fault)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return ps_fault(fault, ps_file_err(errno), path, "cannot be examined: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return ps_fault(fault, PS_E_PERMISSION, path, "is not a regular file: move it away");
    if (st.st_uid != geteuid())
        return ps_fault(fault, PS_E_PERMISSION, path,
                        "belongs to user %u, but this program runs as user %u: chown %u %s",
                        (unsigned)st.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), path);
    if ((st.st_mode & 077) != 0)
        return ps_fault(fault, PS_E_PERMISSION, path,
                        "may be read by others (mode %04o): chmod 600 %s",
                        (unsigned)(st.st_mode & 07777), path);
    *ret_stat = st;
    return 0;
}

static int open_checked(const char *path, int *ret_fd, struct stat *ret_stat,
                        struct ps_fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ELOOP)
        return ps_fault(fault, PS_E_PERMISSION, path, "is a link: replace it by the file itself");
    if (fd < 0)
        return ps_fault(fault, ps_file_err(errno), path, "cannot be opened: %s", strerror(errno));
    int err = check_opened(fd, path, ret_stat, fault);
    if (err != 0) {
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

int ps_private_check(const char *path, struct ps_fault *fault)
{
    int fd;
    struct stat st;
    int err = open_checked(path, &fd, &st, fault);
    if (err == 0)
        close(fd);
    return err;
}

int ps_private_read(const char *path, size_t max, char **ret_text, size_t *ret_len,
                    struct ps_fault *fault)
{
    int fd;
    struct stat st;
    int err = open_checked(path, &fd, &st, fault);
    if (err != 0)
        return err;
    char *text = malloc(max + 2); /* one byte more than allowed shows that there is more */
    if (text == NULL) {
        err = ps_fault(fault, PS_E_NOMEM, path, "out of memory");
        goto fail;
    }
    size_t len = 0;
    while (len <= max) {
        ssize_t n = read(fd, text + len, max + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            err = ps_fault(fault, ps_file_err(errno), path, "cannot be read: %s", strerror(errno));
            goto fail;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    if (len > max) {
        err = ps_fault(fault, PS_E_INVALID, path, "is longer than %zu bytes", max);
        goto fail;
    }
    text[len] = '\0';
    close(fd);
    *ret_text = text;
    *ret_len = len;
    return 0;
fail:
    free(text);
    close(fd);
    return err;
}

static char *new_name(const char *path)
{
    char *name;
    return asprintf(&name, "%s.new", path) < 0 ? NULL : name;
}

int ps_file_write(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        text += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

int ps_private_prepare(const char *path, const char *text, size_t len, struct ps_fault *fault)
{
    char *name = new_name(path);
    if (name == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    /* The file of an interrupted try may have any mode: remove it, do not write into it. */
    (void)unlink(name);
    int err = 0;
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        err = ps_fault(fault, ps_file_err(errno), name, "cannot be created: %s", strerror(errno));
        goto out;
    }
    if (ps_file_write(fd, text, len) != 0) {
        err = ps_fault(fault, ps_file_err(errno), name, "cannot be written: %s", strerror(errno));
        (void)unlink(name);
    }
    close(fd);
out:
    free(name);
    return err;
}

static int sync_directory_of(const char *path)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        (void)snprintf(directory, sizeof directory, ".");
    else
        (void)snprintf(directory, sizeof directory, "%.*s", (int)(slash - path + 1), path);
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = fsync(fd);
    int errnum = errno;
    close(fd);
    errno = errnum;
    return result;
}

int ps_private_publish(const char *path, struct ps_fault *fault)
{
    char *name = new_name(path);
    if (name == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    int err = 0;
    if (rename(name, path) != 0) {
        err = ps_fault(fault, ps_file_err(errno), path, "cannot be replaced: %s", strerror(errno));
        (void)unlink(name);
    } else if (sync_directory_of(path) != 0) {
        err = ps_fault(fault, PS_E_UNKNOWN, path,
                       "is replaced, but its directory cannot be synced: %s", strerror(errno));
    }
    free(name);
    return err;
}

void ps_private_discard(const char *path)
{
    char *name = new_name(path);
    if (name != NULL)
        (void)unlink(name);
    free(name);
}

int ps_private_replace(const char *path, const char *text, size_t len, struct ps_fault *fault)
{
    int err = ps_private_prepare(path, text, len, fault);
    return err != 0 ? err : ps_private_publish(path, fault);
}
