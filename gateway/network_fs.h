/* Does a file lie on another machine's disk? SQLite needs locks, fsync and memory that is shared
 * between processes, and network file systems keep none of them in all cases. */
#ifndef GW_NETWORK_FS_H
#define GW_NETWORK_FS_H

/* What people call the network file system that `path` (a file, a directory, or a link to one) lies
 * on; NULL: a local one, or `path` is not there. May block as long as the file system does: at a
 * start only. */
const char *gw_network_fs(const char *path);

#endif
