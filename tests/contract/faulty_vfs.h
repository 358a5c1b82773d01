/* A SQLite VFS that passes everything on to the default one and fails what a test asks for. */
#ifndef PS_TEST_FAULTY_VFS_H
#define PS_TEST_FAULTY_VFS_H

#include <stdbool.h>
#include <stddef.h>

#define FAULTY_VFS      "faulty"
#define FAULTY_FOR_EVER (-1)

enum faulty_call { FAULTY_NONE, FAULTY_WRITE, FAULTY_SYNC, FAULTY_OPEN_FOR_WRITING };
enum faulty_file { FAULTY_ANY, FAULTY_DATABASE, FAULTY_WAL };

/* Once a process. */
void faulty_vfs_register(void);
/* From now on such calls on such files answer `result` (an SQLite code), `times` times; first
 * `skip` of them pass. The call before is forgotten. Any thread. A file that cannot be opened for
 * writing is opened read-only. A sync of a database that fails takes away all that was written to
 * it since the last good one, as a disk does that loses its cache. */
void faulty_vfs_fail(enum faulty_call call, enum faulty_file file, int result, int skip, int times);
/* Beside that: from now on such calls of other threads wait until faulty_vfs_heal, or until others
 * are to wait (FAULTY_NONE: none), and are made then. Both come back when nobody waits any more. */
void faulty_vfs_hang(enum faulty_call call, enum faulty_file file);
/* Whether one waits, or has waited, since then; until one does: 30 s at most. The test's thread. */
bool faulty_vfs_hung(void);
void faulty_vfs_wait_hung(void);
void faulty_vfs_heal(void);
/* Calls that failed since faulty_vfs_fail. */
size_t faulty_vfs_hits(void);
/* A pause for whoever copies the WAL into its database: until that is done, and the longer at most,
 * the more is not copied yet. A wait for it alone might never end: the copier begins with a commit.
 */
void faulty_vfs_let_copy(void);

#endif
