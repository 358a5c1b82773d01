/* Who may use the admin listener: bearer tokens ("pst_" and 43 characters of base64url: 256 random
 * bits), of which only hashes are kept.
 *
 * tokens.json holds id, role, BLAKE2b hash, note, created and expires of each. At the first start
 * (no tokens.json) an admin token is made and written to admin.token; that file may be deleted, its
 * hash stays. Deleting tokens.json makes a new first token at the next start.
 *
 * A peer address that presents `failures` wrong tokens within a minute is refused for `lock_s`,
 * whatever it presents then; a token is never locked, nor everybody. IPv6 peers count by /64. One
 * thread. */
#ifndef GW_AUTH_H
#define GW_AUTH_H

#include "common/clock.h"
#include "common/json.h"
#include "gateway/front/client.h"

#define GW_TOKEN_LEN      47 /* of the secret, without a closing NUL */
#define GW_TOKEN_HASH_LEN 32
#define GW_TOKEN_NOTE_MAX 200 /* bytes */
#define GW_TOKENS_MAX     100

enum gw_role {
    GW_ROLE_VIEWER,
    GW_ROLE_OPERATOR,
    GW_ROLE_ADMIN
};                                        /* each may all that those before it may */
extern const char *const gw_role_names[]; /* "viewer", "operator", "admin", NULL */

struct gw_token {
    char id[PS_NAME_MAX + 1]; /* "t" and 12 hexadecimal digits; "first" for the first one */
    enum gw_role role;
    uint8_t hash[GW_TOKEN_HASH_LEN];
    char note[GW_TOKEN_NOTE_MAX + 1];
    int64_t created_at_ms;
    int64_t expires_at_ms; /* INT64_MAX = never */
};

struct gw_auth_settings {
    const char *tokens_path; /* "…/tokens.json" */
    const char *first_path;  /* "…/admin.token" */
    int64_t failures;        /* 0 = 10; wrong tokens a minute */
    int64_t lock_s;          /* 0 = 60 */
    int64_t requests_per_s;  /* of one peer address, 0 = 1000; twice that at once */
    const struct ps_clock *clock;
};

struct gw_auth;

/* Start-up: blocks. *ret_first (may be NULL): a first token was made now. PS_E_INVALID: tokens.json
 * is not as it should be; PS_E_PERMISSION: its mode or owner; PS_E_FULL, PS_E_READ_ONLY, PS_E_IO.
 * The fault names the file. */
int gw_auth_open(const struct gw_auth_settings *settings, struct gw_auth **ret_auth,
                 bool *ret_first, struct ps_fault *fault) PS_MUST_CHECK;
void gw_auth_free(struct gw_auth *auth); /* NULL is allowed */

enum gw_auth_result {
    GW_AUTH_OK,
    GW_AUTH_NONE,   /* no Authorization field, or no Bearer token in it: 401 */
    GW_AUTH_WRONG,  /* unknown or expired: 401 */
    GW_AUTH_LOCKED, /* too many wrong ones from this address: 429 */
    GW_AUTH_LIMITED /* too many requests from this address: 429 */
};

/* Judges one request by its Authorization field (`.at` NULL = absent) and its TCP peer. OK fills
 * *ret_token (borrowed until the tokens change); LOCKED and LIMITED fill *ret_wait_s (>= 1, for
 * Retry-After). Takes the same time for every token. */
enum gw_auth_result gw_auth_check(struct gw_auth *auth, struct ps_str authorization,
                                  const struct gw_address *peer, const struct gw_token **ret_token,
                                  int64_t *ret_wait_s);

/* --- Tokens: seen, made and removed. --- */
size_t gw_auth_count(const struct gw_auth *auth);
const struct gw_token *gw_auth_at(const struct gw_auth *auth, size_t index);
const struct gw_token *gw_auth_find(const struct gw_auth *auth, const char *id,
                                    size_t len); /* NULL = none */
/* {"id","role","note","created_at","expires_at"}, without the hash. A new reference, NULL = out of
 * memory. */
json_t *gw_token_write(const struct gw_token *token);

/* A change is prepared here, its text is written by the control store (gw_store_job_file with the
 * tokens_path, in the job that has the audit line), and then it is ended: kept or dropped. One at a
 * time: PS_E_BUSY. */
/* *ret_secret is shown to whoever asked, once, and then forgotten. `note` is UTF-8 of at most
 * GW_TOKEN_NOTE_MAX bytes. PS_E_FULL: GW_TOKENS_MAX are there; PS_E_INVALID: the expiry has passed.
 * *ret_token is borrowed until the change is ended. */
int gw_auth_prepare_new(struct gw_auth *auth, enum gw_role role, const char *note,
                        int64_t expires_at_ms, const struct gw_token **ret_token,
                        char ret_secret[GW_TOKEN_LEN + 1]) PS_MUST_CHECK;
/* PS_E_NOT_FOUND; PS_E_CONFLICT: no admin token would be left that never expires. */
int gw_auth_prepare_delete(struct gw_auth *auth, const char *id, size_t len) PS_MUST_CHECK;
/* The new tokens.json; borrowed until the change is ended. */
const char *gw_auth_prepared_text(const struct gw_auth *auth);
void gw_auth_end_change(struct gw_auth *auth, bool written);

#endif
