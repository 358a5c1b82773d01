/* The directory that holds everything a gateway must remember: journal.db, control.db, admin.token,
 * tokens.json, audit.log, gateway.id. Only its owner may read it, and one gateway at a time uses
 * it. */
#ifndef GW_STATE_DIR_H
#define GW_STATE_DIR_H

#include "common/defs.h"
#include "common/err.h"

struct gw_state_dir {
    char *path;                       /* as given, heap */
    int fd;                           /* holds flock while open */
    bool made;                        /* by this start */
    char gateway_id[PS_NAME_MAX + 1]; /* "gw-" and 8 hexadecimal digits when generated */
};

/* Opens `path`; creates it (mode 0700, its parent must exist) when it is not there. Start-up only:
 * blocks. PS_E_PERMISSION: wrong mode or owner, the fault says the chmod or chown to run;
 * PS_E_BUSY: another gateway has it; PS_E_INVALID: no directory, on a network file
 * system, or gateway.id holds no name;
 * PS_E_READ_ONLY, PS_E_FULL, PS_E_IO. */
int gw_state_dir_open(const char *path, struct gw_state_dir *ret_dir,
                      struct ps_fault *fault) PS_MUST_CHECK;
/* For that directory: are it and its databases, as far as they exist, on this machine?
 * PS_E_INVALID. */
int gw_state_dir_check_fs(const char *path, struct ps_fault *fault) PS_MUST_CHECK;
/* If this start has created the directory and nothing else was written there, removes it, so
 * that a mistake in the settings leaves nothing behind. Then closes it. Does nothing if it was
 * not opened. */
int gw_state_dir_undo(struct gw_state_dir *dir, int err);
void gw_state_dir_close(struct gw_state_dir *dir);
/* "<dir>/<name>", heap; NULL = out of memory. */
char *gw_state_dir_file(const struct gw_state_dir *dir, const char *name);

#endif
