/* Files that only the gateway's user may touch: checked before they are read (regular, owned by
 * this user, mode 0600 or less), and replaced as a whole. Replacing has two steps, so that a
 * database transaction can stand between them: what usually fails (no room) fails in the first. All
 * calls block: not for a loop's thread once the gateway serves. */
#ifndef PS_PRIVATE_FILE_H
#define PS_PRIVATE_FILE_H

#include "common/defs.h"
#include "common/err.h"

/* PS_E_NOT_FOUND; PS_E_PERMISSION: wrong owner or mode, the fault says the command that puts it
 * right; PS_E_IO. */
int ps_private_check(const char *path, struct ps_fault *fault) PS_MUST_CHECK;
/* The whole file, NUL-terminated, heap. Checks as above; PS_E_INVALID: longer than `max` bytes. */
int ps_private_read(const char *path, size_t max, char **ret_text, size_t *ret_len,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* Writes `<path>.new` and syncs it. PS_E_FULL, PS_E_READ_ONLY, PS_E_IO: nothing is left behind. */
int ps_private_prepare(const char *path, const char *text, size_t len,
                       struct ps_fault *fault) PS_MUST_CHECK;
/* Moves the prepared file to `path`, and syncs the directory. PS_E_UNKNOWN: the new file is there,
 * but that sync failed, so after a loss of power the old one may be back. Any other failure: the
 * old file is there. */
int ps_private_publish(const char *path, struct ps_fault *fault) PS_MUST_CHECK;
void ps_private_discard(const char *path); /* instead of publish */
/* Both steps. */
int ps_private_replace(const char *path, const char *text, size_t len,
                       struct ps_fault *fault) PS_MUST_CHECK;
/* Writes all of it to an open file and syncs that. -1: errno says why. */
int ps_file_write(int fd, const char *text, size_t len) PS_MUST_CHECK;
/* The code that fits an errno of a file operation: PS_E_FULL, PS_E_READ_ONLY, PS_E_PERMISSION,
 * PS_E_NOT_FOUND, PS_E_NOMEM, else PS_E_IO. */
int ps_file_err(int errnum) PS_MUST_CHECK;

#endif
