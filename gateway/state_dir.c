/* The state directory: created or checked at start, and held with flock on its own descriptor, so
 * that two gateways can never write one control.db or tokens.json.
 *
 * Nothing is corrected silently: a directory that others may enter may already have been read, so
 * the program stops and says which command to run. */
#include "gateway/state_dir.h"
#include "common/db/file_lock.h"
#include "common/text/id.h"
#include "common/program/log.h"
#include "common/program/private_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

char *gw_state_dir_file(const struct gw_state_dir *dir, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", dir->path, name) < 0 ? NULL : path;
}

static int read_only(const char *path, struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_READ_ONLY, path,
                    "is on a read-only file system: mount a writable disk there (in a container a "
                    "volume that belongs to user %u), or set state_dir",
                    (unsigned)geteuid());
}

static int forbidden(const char *path, struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_PERMISSION, path,
                    "cannot be used, permission denied: give user %u a directory there (in a "
                    "container a volume: chown %u its directory)",
                    (unsigned)geteuid(), (unsigned)geteuid());
}

static int open_directory(const char *path, int *ret_fd, bool *ret_made, struct ps_fault *fault)
{
    *ret_made = mkdir(path, 0700) == 0;
    if (!*ret_made && errno != EEXIST) {
        if (errno == EROFS)
            return read_only(path, fault);
        if (errno == EACCES)
            return forbidden(path, fault);
        if (errno == ENOENT)
            return ps_fault(
                fault, PS_E_NOT_FOUND, path,
                "cannot be created, its parent is not there: mkdir -p \"$(dirname %s)\"", path);
        return ps_fault(fault, ps_file_err(errno), path, "cannot be created: %s", strerror(errno));
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOTDIR)
        return ps_fault(fault, PS_E_INVALID, path, "is not a directory");
    if (fd < 0 && errno == EACCES)
        return forbidden(path, fault);
    if (fd < 0)
        return ps_fault(fault, ps_file_err(errno), path, "cannot be opened: %s", strerror(errno));
    *ret_fd = fd;
    return 0;
}

static void say_waiting(void *ctx)
{
    ps_log(PS_LOG_WARN, "state_dir_held", PS_F_STR("path", ctx),
           PS_F_INT("wait_ms", PS_FILE_LOCK_WAIT_MS));
}

static int check_directory(int fd, const char *path, struct ps_fault *fault)
{
    struct statvfs fs;
    struct stat st;
    if (fstat(fd, &st) != 0 || fstatvfs(fd, &fs) != 0)
        return ps_fault(fault, ps_file_err(errno), path, "cannot be examined: %s", strerror(errno));
    if ((fs.f_flag & ST_RDONLY) != 0)
        return read_only(path, fault);
    if (st.st_uid != geteuid())
        return ps_fault(fault, PS_E_PERMISSION, path,
                        "belongs to user %u, but this program runs as user %u: chown -R %u %s",
                        (unsigned)st.st_uid, (unsigned)geteuid(), (unsigned)geteuid(), path);
    /* A directory inherits setgid where it is made, as in a volume of a pod with an fsGroup. */
    if ((st.st_mode & (07777 & ~S_ISGID)) != 0700)
        return ps_fault(fault, PS_E_PERMISSION, path,
                        "has mode %04o, but must be 0700: chmod 700 %s",
                        (unsigned)(st.st_mode & 07777), path);
    int err = ps_file_lock(fd, say_waiting, (void *)(uintptr_t)path);
    if (err == PS_E_BUSY)
        return ps_fault(fault, err, path, "is in use by another gateway");
    return err < 0
               ? ps_fault(fault, ps_file_err(errno), path, "cannot be locked: %s", strerror(errno))
               : 0;
}

/* --- Network file systems. --- */

/* SQLite needs locks, fsync and memory shared between processes, and network file systems do not
 * provide them reliably. They are known by the magic number of statfs(2) (linux/magic.h has most of
 * them; file systems' own sources define the others). A file system in user space is what its
 * program makes of it: only those known to keep their files on this machine pass, by their name in
 * mountinfo. */
static const struct {
    unsigned magic;
    const char *name;
} network_kinds[] = {
    {NFS_SUPER_MAGIC, "NFS"},   {SMB_SUPER_MAGIC, "SMB"}, {0xff534d42, "CIFS"},
    {0xfe534d42, "SMB"},        {V9FS_MAGIC, "9p"},       {0x00c36400, "Ceph"},
    {0x0bd00bd0, "Lustre"},     {AFS_SUPER_MAGIC, "AFS"}, {0x6b414653, "AFS"},
    {CODA_SUPER_MAGIC, "Coda"}, {NCP_SUPER_MAGIC, "NCP"}, {0x47504653, "GPFS"},
    {0x19830326, "BeeGFS"},     {0x20030528, "OrangeFS"},
};

static const char *const local_fuse[] = {"fuseblk", "fuse.fuse-overlayfs", "virtiofs"};

/* The type of the mount that the device number belongs to, as /proc/self/mountinfo has it: "36 35
 * 98:0 / /mnt rw - ext4 /dev/root rw". */
static bool is_local_fuse(const char *path)
{
    char *line = NULL, device[32];
    size_t size = 0;
    bool local = false;
    struct stat st;
    FILE *mounts = fopen("/proc/self/mountinfo", "re");

    if (mounts == NULL)
        return false;
    if (stat(path, &st) == 0) {
        (void)snprintf(device, sizeof device, " %u:%u ", major(st.st_dev), minor(st.st_dev));
        while (!local && getline(&line, &size, mounts) >= 0) {
            const char *type = strstr(line, device) != NULL ? strstr(line, " - ") : NULL;
            for (size_t i = 0; type != NULL && i < PS_ARRAY_LEN(local_fuse); i++) {
                size_t len = strlen(local_fuse[i]);
                local |= strncmp(type + 3, local_fuse[i], len) == 0 && type[3 + len] == ' ';
            }
        }
    }
    free(line);
    (void)fclose(mounts);
    return local;
}

/* The name of the network file system of `path`; NULL: a local one, or `path` does not exist. May
 * block as long as the file system does. */
static const char *network_fs(const char *path)
{
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return NULL;
    for (size_t i = 0; i < PS_ARRAY_LEN(network_kinds); i++)
        if ((unsigned)fs.f_type == network_kinds[i].magic)
            return network_kinds[i].name;
    return (unsigned)fs.f_type == FUSE_SUPER_MAGIC && !is_local_fuse(path) ? "FUSE" : NULL;
}

/* --- The directory. --- */

int gw_state_dir_check_fs(const char *path, struct ps_fault *fault)
{
    static const char *const names[] = {"", "/journal.db", "/control.db", "/spill.db"};

    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        char *file; /* which may be a link to elsewhere */
        if (asprintf(&file, "%s%s", path, names[i]) < 0)
            return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
        const char *network = network_fs(file);
        int err = network == NULL ? 0
                                  : ps_fault(fault, PS_E_INVALID, file,
                                             "lies on a network file system (%s), where neither "
                                             "locks nor fsync can be relied on: set state_dir to a "
                                             "directory on a disk of this machine",
                                             network);
        free(file);
        if (err < 0)
            return err;
    }
    return 0;
}

/* What a container has for its own is removed with it. */
static void warn_of_container(const char *path)
{
    struct statfs fs;

    if (statfs(path, &fs) == 0 && (unsigned)fs.f_type == OVERLAYFS_SUPER_MAGIC)
        ps_log(PS_LOG_WARN, "state_dir_in_container", PS_F_STR("path", path));
}

/* The name in gateway.id, which the first start creates. */
static int find_id(struct gw_state_dir *dir, struct ps_fault *fault)
{
    char *text = NULL;
    size_t len = 0;
    char *path = gw_state_dir_file(dir, "gateway.id");
    if (path == NULL)
        return ps_fault(fault, PS_E_NOMEM, dir->path, "out of memory");
    int err = ps_private_read(path, 4096, &text, &len, fault);
    if (err == PS_E_NOT_FOUND) {
        uint32_t random = randombytes_random();
        (void)snprintf(dir->gateway_id, sizeof dir->gateway_id, "gw-%08x", (unsigned)random);
        char line[sizeof dir->gateway_id + 1];
        int line_len = snprintf(line, sizeof line, "%s\n", dir->gateway_id);
        err = ps_private_replace(path, line, (size_t)line_len, fault);
        goto out;
    }
    if (err != 0)
        goto out;
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    if (!ps_name_ok(text, len)) {
        err = ps_fault(fault, PS_E_INVALID, path,
                       "does not hold a name ([A-Za-z0-9][A-Za-z0-9._-]{0,63}): write one, or "
                       "delete the file and a new one is made");
        goto out;
    }
    memcpy(dir->gateway_id, text, len);
    dir->gateway_id[len] = '\0';
out:
    free(text);
    free(path);
    return err;
}

int gw_state_dir_open(const char *path, struct gw_state_dir *ret_dir, struct ps_fault *fault)
{
    struct gw_state_dir dir = {.fd = -1};
    int err = 0;
    if (sodium_init() < 0)
        return ps_fault(fault, PS_E_IO, path, "there is no source of random numbers");
    dir.path = strdup(path);
    if (dir.path == NULL)
        return ps_fault(fault, PS_E_NOMEM, path, "out of memory");
    err = open_directory(path, &dir.fd, &dir.made, fault);
    if (err == 0)
        err = gw_state_dir_check_fs(path, fault);
    if (err == 0)
        err = check_directory(dir.fd, path, fault);
    if (err == 0)
        err = find_id(&dir, fault);
    if (err != 0)
        return gw_state_dir_undo(&dir, err);
    warn_of_container(path);
    *ret_dir = dir;
    return 0;
}

int gw_state_dir_undo(struct gw_state_dir *dir, int err)
{
    if (dir->path == NULL)
        return err;
    if (dir->made) {
        (void)unlinkat(dir->fd, "gateway.id", 0);
        (void)rmdir(dir->path); /* unless another program has put something there */
    }
    gw_state_dir_close(dir);
    return err;
}

void gw_state_dir_close(struct gw_state_dir *dir)
{
    if (dir->fd >= 0)
        close(dir->fd);
    free(dir->path);
    *dir = (struct gw_state_dir){.fd = -1};
}
