/* Who may use the admin listener: bearer tokens ("pst_" and 43 characters of base64url: 256 random
 * bits), of which only hashes are kept.
 *
 * tokens.json holds id, role, pools, BLAKE2b hash, note, created and expires of each. The first
 * start (no tokens.json) creates an admin token and writes it to admin.token; that file may be
 * deleted, the hash remains. If tokens.json is deleted, the next start creates a new first token.
 *
 * A token is looked up first, and a valid one is never locked out: behind a proxy, or on loopback,
 * its user shares an address with others. After `failures` wrong tokens from an address within a
 * minute, further wrong tokens from it get only "wait" for `lock_s`, so that they cost little and
 * do not fill the log. Only valid tokens count against the address's rate. IPv6 peers count by /64.
 * One thread.
 */
#ifndef OP_AUTH_H
#define OP_AUTH_H

#include "common/text/address.h"
#include "common/clock.h"
#include "common/text/json.h"

#define OP_TOKEN_LEN        47 /* of the secret, without a closing NUL */
#define OP_TOKEN_HASH_LEN   32
#define OP_TOKEN_NOTE_MAX   200                     /* characters */
#define OP_TOKEN_NOTE_BYTES (4 * OP_TOKEN_NOTE_MAX) /* in UTF-8 */
#define OP_TOKENS_MAX       100
#define OP_TOKEN_TTL_MAX_S  INT64_C(315360000) /* ten years */
#define OP_TOKEN_POOLS_MAX  32

enum op_role {
    OP_ROLE_REGISTRAR, /* may register endpoints of the token's pools, and nothing else */
    OP_ROLE_VIEWER,
    OP_ROLE_OPERATOR,
    OP_ROLE_ADMIN
};                                        /* from viewer on, each role includes the ones before */
extern const char *const op_role_names[]; /* "registrar", "viewer", "operator", "admin", NULL */

/* Names of pools; the pools may not exist. */
struct op_pools {
    size_t count;
    char at[OP_TOKEN_POOLS_MAX][PS_NAME_MAX + 1];
};

struct op_token {
    char id[PS_NAME_MAX + 1]; /* "t" and 12 hexadecimal digits; "first" for the first one */
    enum op_role role;
    struct op_pools pools; /* of a registrar; none: made by an earlier version, may do nothing */
    uint8_t hash[OP_TOKEN_HASH_LEN];
    char note[OP_TOKEN_NOTE_BYTES + 1];
    int64_t created_at_ms;
    int64_t expires_at_ms; /* INT64_MAX = never */
};

struct op_auth_settings {
    const char *tokens_path; /* "…/tokens.json" */
    const char *first_path;  /* "…/admin.token" */
    const char *given_dir;   /* admin.token_dir; NULL: none. Its tokens are valid besides the
                              * others; with its admin-token no first token is made */
    int64_t failures;        /* 0 = 10; wrong tokens a minute */
    int64_t lock_s;          /* 0 = 60 */
    int64_t requests_per_s;  /* of one peer address, 0 = 1000; burst: twice that */
    const struct ps_clock *clock;
};

struct op_auth;

/* Start-up: blocks. *ret_first (may be NULL): a first token was created. PS_E_INVALID: tokens.json
 * is malformed, or a file of given_dir; PS_E_PERMISSION: its mode or owner; PS_E_FULL,
 * PS_E_READ_ONLY, PS_E_IO. The fault names the file. */
int op_auth_open(const struct op_auth_settings *settings, struct op_auth **ret_auth,
                 bool *ret_first, struct ps_fault *fault) PS_MUST_CHECK;
void op_auth_free(struct op_auth *auth); /* NULL is allowed */

enum op_auth_result {
    OP_AUTH_OK,
    OP_AUTH_NONE,   /* no Authorization field, or no Bearer token in it: 401 */
    OP_AUTH_WRONG,  /* unknown or expired: 401 */
    OP_AUTH_LAST,   /* the same; further wrong ones from this address are LOCKED: 401 */
    OP_AUTH_LOCKED, /* another wrong one: 429 */
    OP_AUTH_LIMITED /* a right one, but too many requests from this address: 429 */
};

/* Judges one request by its Authorization field (`.at` NULL = absent) and its TCP peer. OK fills
 * *ret_token (borrowed until the tokens change), WRONG and LAST too: with the one that has expired,
 * or NULL; LOCKED and LIMITED fill *ret_wait_s (>= 1, for
 * Retry-After). Takes the same time for every token. */
enum op_auth_result op_auth_check(struct op_auth *auth, struct ps_str authorization,
                                  const struct ps_address *peer, const struct op_token **ret_token,
                                  int64_t *ret_wait_s);

/* Is there a valid token in it? Counts nothing: op_auth_check decides, and says why. */
bool op_auth_knows(const struct op_auth *auth, struct ps_str authorization);

/* --- Listing, creating and removing tokens. --- */
size_t op_auth_count(const struct op_auth *auth);
const struct op_token *op_auth_at(const struct op_auth *auth, size_t index);
const struct op_token *op_auth_find(const struct op_auth *auth, const char *id,
                                    size_t len); /* NULL = none */
bool op_token_has_pool(const struct op_token *token, const char *pool);
/* {"id","role","pools","note","created_at","expires_at"}, without the hash; only a registrar has
 * `pools`. A new reference, NULL = out of memory. */
json_t *op_token_write(const struct op_token *token);
/* The member `pools` of a token: 1 to OP_TOKEN_POOLS_MAX names, each once, for a registrar; absent
 * or null for other roles. The reader has the fault. `may_lack`: a registrar may have none. */
void op_token_read_pools(struct ps_json_reader *reader, enum op_role role, bool may_lack,
                         struct op_pools *ret_pools);

/* Prepares a change. The control store writes its text (cfg_change_file with the tokens_path, in
 * the change with the audit line); then the change is ended: kept or dropped. One at a time:
 * PS_E_BUSY. */
/* `wanted` has role, pools, note and expires_at_ms. *ret_secret is shown to the caller once and
 * then forgotten. PS_E_FULL: OP_TOKENS_MAX exist; PS_E_INVALID: the expiry has passed. *ret_token
 * is borrowed until the change is ended. */
int op_auth_prepare_new(struct op_auth *auth, const struct op_token *wanted,
                        const struct op_token **ret_token,
                        char ret_secret[OP_TOKEN_LEN + 1]) PS_MUST_CHECK;
/* PS_E_NOT_FOUND; PS_E_CONFLICT: no admin token without expiry would be left; PS_E_READ_ONLY: it
 * is one of given_dir. */
int op_auth_prepare_delete(struct op_auth *auth, const char *id, size_t len) PS_MUST_CHECK;
/* The new tokens.json; borrowed until the change is ended. */
const char *op_auth_prepared_text(const struct op_auth *auth);
void op_auth_end_change(struct op_auth *auth, bool written);

#endif
