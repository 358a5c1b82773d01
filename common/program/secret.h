/* Passwords and tokens that settings name by a file instead of holding them. */
#ifndef PS_SECRET_H
#define PS_SECRET_H

#include "common/defs.h"
#include "common/err.h"

/* Reads the first line of a file into `ret_secret`: at most `max` bytes and a NUL. A `path` without
 * a slash is a name in $CREDENTIALS_DIRECTORY, if systemd has set that: what LoadCredential of the
 * unit names. The fault's path is `setting`; what `ret_secret` then holds is no secret.
 * PS_E_NOT_FOUND, PS_E_IO; PS_E_PERMISSION: others may read the file (systemd guards its own
 * directory); PS_E_INVALID: no secret in it, or too long. Blocks. */
int ps_secret_read(const char *path, const char *setting, size_t max, char *ret_secret,
                   struct ps_fault *fault) PS_MUST_CHECK;

/* The same of each line that is neither empty nor begins with #: at most `lines` of at most `max`
 * bytes each. Owner of the list: the caller (ps_secret_lines_free). */
int ps_secret_read_lines(const char *path, const char *setting, size_t max, size_t lines,
                         struct ps_strings *ret_lines, struct ps_fault *fault) PS_MUST_CHECK;
void ps_secret_lines_free(struct ps_strings *lines);

#endif
