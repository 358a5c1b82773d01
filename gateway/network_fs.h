/* Is a file on another machine's disk? SQLite needs locks, fsync and memory shared between
 * processes, and network file systems do not provide them reliably. */
#ifndef GW_NETWORK_FS_H
#define GW_NETWORK_FS_H

/* The name of the network file system of `path` (a file, a directory, or a link to one); NULL: a
 * local one, or `path` does not exist. May block as long as the file system does: call it at a
 * start only. */
const char *gw_network_fs(const char *path);

#endif
