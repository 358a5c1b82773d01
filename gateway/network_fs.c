/* By the magic number of statfs(2) (linux/magic.h has most of them; file systems' own sources
 * define the others). A file system in user space is what its program makes of it: only those known
 * to keep their files on this machine pass, by their name in mountinfo. */
#include "gateway/network_fs.h"
#include "common/defs.h"

#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static const struct {
    unsigned magic;
    const char *name;
} network[] = {
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

const char *gw_network_fs(const char *path)
{
    struct statfs fs;

    if (statfs(path, &fs) != 0)
        return NULL;
    for (size_t i = 0; i < PS_ARRAY_LEN(network); i++)
        if ((unsigned)fs.f_type == network[i].magic)
            return network[i].name;
    return (unsigned)fs.f_type == FUSE_SUPER_MAGIC && !is_local_fuse(path) ? "FUSE" : NULL;
}
