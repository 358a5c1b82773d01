/* Tokens that whoever installs the gateway gives it in files: admin.token_dir. */
#ifndef OP_GIVEN_H
#define OP_GIVEN_H

#include "gateway/admin/auth.h"

#define OP_GIVEN_MAX 3 /* one a role: viewer, operator, admin */

/* Reads viewer-token, operator-token and admin-token of the directory, as far as they exist; the
 * id of a token is the name of its file. Blocks: start-up only. PS_E_NOT_FOUND: the directory is
 * missing or has none of the three; PS_E_PERMISSION: everybody may read one; PS_E_INVALID: one is
 * too short, has other characters than a token may have, or equals another one. */
int op_given_read(const char *dir, int64_t now_ms, struct op_token ret_tokens[OP_GIVEN_MAX],
                  size_t *ret_count, struct ps_fault *fault) PS_MUST_CHECK;

#endif
