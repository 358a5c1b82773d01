/* The mark of a rehearsal: the header field by which a request says that it only rehearses, signed
 * with a key that an operator has made.
 *
 *   Penstock-Rehearsal: v1;key=k-1a2b3c4d;exp=1795300000;user=load-;sig=HEX
 *
 * `sig` is HMAC-SHA-256 under the key's secret over all that stands before ";sig=". A mark is good
 * until `exp` (seconds since 1970, at most an hour ahead) and for users whose ids begin with
 * `user`, so that a stolen one is soon worth nothing, and never turns a real buyer's click into a
 * rehearsal. Gateway and load tool share this file. Any thread. */
#ifndef PS_MARK_H
#define PS_MARK_H

#include "common/defs.h"
#include "common/err.h"

#define PS_MARK_SECRET_LEN 32
#define PS_MARK_HEX_LEN    64 /* of a secret and of a signature as text, lower case */
#define PS_MARK_USER_MIN   4  /* characters of [A-Za-z0-9._-] */
#define PS_MARK_USER_MAX   64
#define PS_MARK_TEXT_MAX   240
#define PS_MARK_LIFE_MAX_S 3600 /* from the present moment to `exp` */

struct ps_mark {
    struct ps_str key;  /* the key's name */
    struct ps_str user; /* prefix of the users' ids */
    int64_t expires_s;
    struct ps_str text; /* that is signed */
    uint8_t signature[PS_MARK_SECRET_LEN];
};

/* Reads a mark of exactly the form above; its strings point into `text`. PS_E_INVALID. */
int ps_mark_parse(struct ps_str text, struct ps_mark *ret_mark) PS_MUST_CHECK;
/* In constant time. */
bool ps_mark_is_signed(const struct ps_mark *mark, const uint8_t secret[PS_MARK_SECRET_LEN]);
/* Writes a mark with its signature. `key` is a name (ps_name_ok), `user` fits ps_mark_user_ok. */
void ps_mark_write(const char *key, int64_t expires_s, const char *user,
                   const uint8_t secret[PS_MARK_SECRET_LEN], char ret_text[PS_MARK_TEXT_MAX + 1]);

bool ps_mark_user_ok(struct ps_str user);
void ps_mark_secret_new(uint8_t ret_secret[PS_MARK_SECRET_LEN]);
/* PS_E_INVALID: not PS_MARK_HEX_LEN digits of lower case. */
int ps_mark_secret_parse(struct ps_str text, uint8_t ret_secret[PS_MARK_SECRET_LEN]) PS_MUST_CHECK;
void ps_mark_secret_format(const uint8_t secret[PS_MARK_SECRET_LEN],
                           char ret_text[PS_MARK_HEX_LEN + 1]);

#endif
