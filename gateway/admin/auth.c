/* Tokens and the peers that try them.
 *
 * A token is 256 random bits, so its hash needs neither salt nor slowness: nobody can find a token
 * by trying. The comparison of a presented token's hash takes the same time whichever token it is.
 *
 * Peers live in a fixed table (sets of WAYS slots under a random key), so an attacker with many
 * addresses cannot make it grow. A new peer replaces the one not seen for longest; a locked peer is
 * replaced only if its whole set is locked. */
#include "gateway/admin/auth.h"
#include "gateway/admin/given.h"
#include "common/text/id.h"
#include "common/program/log.h"
#include "common/program/private_file.h"
#include "gateway/admission/limits/limiter.h"
#include "gateway/answers/problem.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PREFIX          "pst_"
#define SECRET_BYTES    32
#define HEX_LEN         (2 * OP_TOKEN_HASH_LEN)
#define FILE_MAX        (1024 * 1024)
#define FIRST_ID        "first"
#define SETS            256
#define WAYS            4
#define FAILURE_SPAN_NS (60 * PS_NS_PER_S)

_Static_assert(OP_TOKEN_LEN ==
                   sizeof PREFIX - 1 +
                       sodium_base64_ENCODED_LEN(SECRET_BYTES,
                                                 sodium_base64_VARIANT_URLSAFE_NO_PADDING) -
                       1,
               "the length of a token's text");

const char *const op_role_names[] = {"registrar", "viewer", "operator", "admin", NULL};

struct token_list {
    struct op_token *at; /* room for OP_TOKENS_MAX */
    size_t count;
};

struct peer {
    struct ps_address address; /* as limits group it */
    bool used;
    int64_t seen_ns;
    int64_t failures;
    int64_t failures_since_ns;
    int64_t locked_until_ns;
    uint64_t rate_cell;
};

struct op_auth {
    char *tokens_path;
    const struct ps_clock *clock;
    int64_t failures_max;
    int64_t lock_ns;
    struct adm_limit_compiled rate; /* for each peer's requests with a valid token */
    struct token_list tokens;
    struct op_token given[OP_GIVEN_MAX]; /* of admin.token_dir: as they were at the start */
    size_t given_count;
    struct token_list prepared; /* .at NULL = no change is being made */
    char *prepared_text;
    struct ps_hash_key key;
    struct peer peers[SETS][WAYS];
};

/* --- tokens.json. --- */

static void hash_secret(const char *secret, size_t len, uint8_t ret_hash[OP_TOKEN_HASH_LEN])
{
    crypto_generichash(ret_hash, OP_TOKEN_HASH_LEN, (const unsigned char *)secret, len, NULL, 0);
}

bool op_token_has_pool(const struct op_token *token, const char *pool)
{
    for (size_t i = 0; i < token->pools.count; i++)
        if (strcmp(token->pools.at[i], pool) == 0)
            return true;
    return false;
}

json_t *op_token_write(const struct op_token *token)
{
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:o, s:o}", "id", token->id, "role", op_role_names[token->role],
                  "note", token->note, "created_at", ps_json_of_time(token->created_at_ms),
                  "expires_at", ps_json_of_time(token->expires_at_ms));
    int err = 0;

    if (token->role != OP_ROLE_REGISTRAR)
        return json;
    json_t *pools = json_array();
    for (size_t i = 0; i < token->pools.count; i++)
        err |= json_array_append_new(pools, json_string(token->pools.at[i]));
    err |= json_object_set_new(json, "pools", pools);
    return ps_json_built(json, err);
}

void op_token_read_pools(struct ps_json_reader *reader, enum op_role role, bool may_lack,
                         struct op_pools *ret_pools)
{
    const json_t *list = ps_json_value(reader, "pools");
    size_t count = json_array_size(list);
    struct op_token token = {0};
    bool good = json_is_array(list) && count <= OP_TOKEN_POOLS_MAX && (count > 0 || may_lack);

    if (role != OP_ROLE_REGISTRAR) {
        if (list != NULL && !json_is_null(list))
            ps_json_fault(reader, "pools", "belongs to the role registrar");
        return;
    }
    if (list == NULL && may_lack)
        return;
    for (size_t i = 0; i < count && good; i++) {
        const json_t *name = json_array_get(list, i);
        size_t len = json_string_length(name);
        good = json_is_string(name) && ps_name_ok(json_string_value(name), len) &&
               !op_token_has_pool(&token, json_string_value(name));
        if (good)
            memcpy(token.pools.at[token.pools.count++], json_string_value(name), len + 1);
    }
    if (good)
        *ret_pools = token.pools;
    else
        ps_json_fault(reader, "pools",
                      "must be an array of the 1 to %d pools in which the registrar may register, "
                      "each once: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
                      OP_TOKEN_POOLS_MAX);
}

static char *list_text(const struct token_list *list)
{
    json_t *tokens = json_array();
    int err = 0;
    for (size_t i = 0; i < list->count && err == 0; i++) {
        char hex[HEX_LEN + 1];
        sodium_bin2hex(hex, sizeof hex, list->at[i].hash, OP_TOKEN_HASH_LEN);
        json_t *token = op_token_write(&list->at[i]);
        err = json_object_set_new(token, "hash", json_string(hex));
        err |= json_array_append_new(tokens, token);
    }
    json_t *document = json_pack("{s:o}", "tokens", ps_json_built(tokens, err));
    char *text = document != NULL ? json_dumps(document, JSON_INDENT(2)) : NULL;
    json_decref(document);
    return text;
}

static int read_token(const json_t *json, const char *pointer, struct op_token *ret_token,
                      struct ps_fault *fault)
{
    struct ps_json_reader reader;
    struct op_token token = {.expires_at_ms = INT64_MAX};
    struct ps_str id = {"", 0}, hash = {"", 0}, note = {"", 0};
    int role = OP_ROLE_VIEWER;
    ps_json_reader_init(&reader, json, pointer, fault);
    ps_json_require(&reader, (const char *const[]){"id", "role", "hash", "created_at", NULL});
    ps_json_string(&reader, "id", PS_NAME_MAX, &id);
    ps_json_enum(&reader, "role", op_role_names, &role);
    ps_json_string(&reader, "hash", HEX_LEN, &hash);
    ps_json_string(&reader, "note", OP_TOKEN_NOTE_BYTES, &note);
    ps_json_time(&reader, "created_at", &token.created_at_ms);
    const json_t *expires = ps_json_value(&reader, "expires_at");
    if (expires != NULL && !json_is_null(expires))
        ps_json_time(&reader, "expires_at", &token.expires_at_ms);
    if (reader.err == 0 && !ps_name_ok(id.at, id.len))
        ps_json_fault(&reader, "id", "must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}");
    op_token_read_pools(&reader, (enum op_role)role, true, &token.pools);
    size_t hash_len = 0;
    if (reader.err == 0 && (sodium_hex2bin(token.hash, sizeof token.hash, hash.at, hash.len, NULL,
                                           &hash_len, NULL) != 0 ||
                            hash_len != sizeof token.hash))
        ps_json_fault(&reader, "hash", "must be %d hexadecimal digits", HEX_LEN);
    int err = ps_json_done(&reader);
    if (err != 0)
        return err;
    token.role = (enum op_role)role;
    memcpy(token.id, id.at, id.len);
    memcpy(token.note, note.at, note.len);
    *ret_token = token;
    return 0;
}

static const struct op_token *find(const struct token_list *list, const char *id, size_t len)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strlen(list->at[i].id) == len && memcmp(list->at[i].id, id, len) == 0)
            return &list->at[i];
    }
    return NULL;
}

static int read_list(const json_t *document, struct token_list *list, struct ps_fault *fault)
{
    struct ps_json_reader reader;
    ps_json_reader_init(&reader, document, "", fault);
    ps_json_require(&reader, (const char *const[]){"tokens", NULL});
    const json_t *tokens = ps_json_value(&reader, "tokens");
    if (reader.err == 0 && (!json_is_array(tokens) || json_array_size(tokens) > OP_TOKENS_MAX))
        ps_json_fault(&reader, "tokens", "must be an array of at most %d", OP_TOKENS_MAX);
    int err = ps_json_done(&reader);
    for (size_t i = 0; err == 0 && i < json_array_size(tokens); i++) {
        char pointer[32];
        (void)snprintf(pointer, sizeof pointer, "/tokens/%zu", i);
        err = read_token(json_array_get(tokens, i), pointer, &list->at[i], fault);
        if (err == 0 && find(list, list->at[i].id, strlen(list->at[i].id)) != NULL)
            err = ps_fault(fault, PS_E_INVALID, pointer, "its id \"%s\" appears twice",
                           list->at[i].id);
        if (err == 0 && list->at[i].role == OP_ROLE_REGISTRAR && list->at[i].pools.count == 0)
            ps_log(PS_LOG_WARN, "registrar_without_pools", PS_F_STR("token", list->at[i].id));
        list->count += err == 0;
    }
    return err;
}

/* PS_E_NOT_FOUND: tokens.json does not exist. */
static int load_tokens(struct op_auth *auth, struct ps_fault *fault)
{
    struct ps_fault why;
    char *text;
    size_t len;
    json_t *document = NULL;
    int err = ps_private_read(auth->tokens_path, FILE_MAX, &text, &len, fault);
    if (err != 0)
        return err;
    err = ps_json_parse(text, len, &document, &why);
    if (err == 0)
        err = read_list(document, &auth->tokens, &why);
    if (err != 0)
        err = ps_fault(
            fault, err, auth->tokens_path,
            "%s %s (correct it, or move the file away: the gateway creates a new first token)",
            why.path, why.text);
    json_decref(document);
    free(text);
    return err;
}

/* The token keeps the secret's hash. */
static void make_secret(struct op_token *token, char ret_secret[OP_TOKEN_LEN + 1])
{
    unsigned char random[SECRET_BYTES];
    randombytes_buf(random, sizeof random);
    memcpy(ret_secret, PREFIX, sizeof PREFIX - 1);
    sodium_bin2base64(ret_secret + sizeof PREFIX - 1, OP_TOKEN_LEN + 1 - (sizeof PREFIX - 1),
                      random, sizeof random, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(random, sizeof random);
    hash_secret(ret_secret, OP_TOKEN_LEN, token->hash);
}

/* Writes admin.token first: without tokens.json the next start creates both anew. */
static int make_first(struct op_auth *auth, const char *first_path, struct ps_fault *fault)
{
    char secret[OP_TOKEN_LEN + 2];
    auth->tokens.at[0] = (struct op_token){.id = FIRST_ID,
                                           .role = OP_ROLE_ADMIN,
                                           .note = "made at the first start",
                                           .created_at_ms = ps_clock_wall_ms(auth->clock),
                                           .expires_at_ms = INT64_MAX};
    auth->tokens.count = 1;
    make_secret(&auth->tokens.at[0], secret);
    memcpy(secret + OP_TOKEN_LEN, "\n", 2);
    int err = ps_private_replace(first_path, secret, OP_TOKEN_LEN + 1, fault);
    sodium_memzero(secret, sizeof secret);
    if (err != 0)
        return err;
    char *text = list_text(&auth->tokens);
    if (text == NULL)
        return ps_fault(fault, PS_E_NOMEM, auth->tokens_path, "out of memory");
    err = ps_private_replace(auth->tokens_path, text, strlen(text), fault);
    free(text);
    return err;
}

/* --- Opening. --- */

static int64_t or_default(int64_t value, int64_t fallback)
{
    return value != 0 ? value : fallback;
}

static bool has_given_admin(const struct op_auth *auth)
{
    for (size_t i = 0; i < auth->given_count; i++)
        if (auth->given[i].role == OP_ROLE_ADMIN)
            return true;
    return false;
}

int op_auth_open(const struct op_auth_settings *settings, struct op_auth **ret_auth,
                 bool *ret_first, struct ps_fault *fault)
{
    if (sodium_init() < 0)
        return ps_fault(fault, PS_E_IO, "", "no source of random numbers is available");
    struct op_auth *auth = calloc(1, sizeof *auth);
    if (auth == NULL)
        return ps_fault(fault, PS_E_NOMEM, settings->tokens_path, "out of memory");
    int err = 0;
    bool first = false;
    auth->clock = settings->clock;
    auth->failures_max = or_default(settings->failures, 10);
    auth->lock_ns = or_default(settings->lock_s, 60) * PS_NS_PER_S;
    int64_t per_s = or_default(settings->requests_per_s, 1000);
    adm_limit_compile(
        &(struct cfg_limit_rule){
            .algorithm = CFG_LIMIT_TOKEN_BUCKET, .rate = per_s, .period_s = 1, .burst = 2 * per_s},
        1, &auth->rate);
    ps_hash_key_random(&auth->key);
    auth->tokens_path = strdup(settings->tokens_path);
    auth->tokens.at = calloc(OP_TOKENS_MAX, sizeof *auth->tokens.at);
    if (auth->tokens_path == NULL || auth->tokens.at == NULL) {
        err = ps_fault(fault, PS_E_NOMEM, settings->tokens_path, "out of memory");
        goto fail;
    }
    if (settings->given_dir != NULL)
        err = op_given_read(settings->given_dir, ps_clock_wall_ms(auth->clock), auth->given,
                            &auth->given_count, fault);
    if (err != 0)
        goto fail;
    err = load_tokens(auth, fault);
    if (err == PS_E_NOT_FOUND && has_given_admin(auth)) {
        err = 0;
    } else if (err == PS_E_NOT_FOUND) {
        first = true;
        err = make_first(auth, settings->first_path, fault);
    }
    if (err != 0)
        goto fail;
    *ret_auth = auth;
    if (ret_first != NULL)
        *ret_first = first;
    return 0;
fail:
    op_auth_free(auth);
    return err;
}

void op_auth_free(struct op_auth *auth)
{
    if (auth == NULL)
        return;
    free(auth->tokens.at);
    free(auth->prepared.at);
    free(auth->prepared_text);
    free(auth->tokens_path);
    free(auth);
}

/* --- Checking a request. --- */

static bool is_better_victim(const struct peer *a, const struct peer *b, int64_t now_ns)
{
    bool a_locked = a->locked_until_ns > now_ns, b_locked = b->locked_until_ns > now_ns;
    if (a->used != b->used)
        return !a->used;
    if (a_locked != b_locked)
        return !a_locked;
    return a->seen_ns < b->seen_ns;
}

static struct peer *find_peer(struct op_auth *auth, const struct ps_address *address,
                              int64_t now_ns)
{
    struct ps_address key;
    ps_address_limit_key(address, &key);
    struct peer *set = auth->peers[ps_hash64(&auth->key, key.byte, sizeof key.byte) % SETS];
    struct peer *victim = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].used && memcmp(set[i].address.byte, key.byte, sizeof key.byte) == 0) {
            set[i].seen_ns = now_ns;
            return &set[i];
        }
        if (is_better_victim(&set[i], victim, now_ns))
            victim = &set[i];
    }
    *victim = (struct peer){.address = key, .used = true, .seen_ns = now_ns};
    return victim;
}

/* Counts a wrong token. True: the peer is locked from now on. */
static bool count_failure(struct op_auth *auth, struct peer *peer, int64_t now_ns)
{
    if (peer->failures == 0 || now_ns - peer->failures_since_ns >= FAILURE_SPAN_NS) {
        peer->failures = 0;
        peer->failures_since_ns = now_ns;
    }
    if (++peer->failures < auth->failures_max)
        return false;
    peer->locked_until_ns = now_ns + auth->lock_ns;
    peer->failures = 0;
    return true;
}

/* The token of "Bearer TOKEN"; false if the field has another form. */
static bool bearer(struct ps_str field, struct ps_str *ret_secret)
{
    static const char scheme[] = "Bearer ";
    size_t len = sizeof scheme - 1;
    if (field.at == NULL || field.len <= len || strncasecmp(field.at, scheme, len) != 0)
        return false;
    while (len < field.len && field.at[len] == ' ')
        len++;
    *ret_secret = (struct ps_str){field.at + len, field.len - len};
    return ret_secret->len > 0;
}

static const struct op_token *match(const struct op_auth *auth, struct ps_str secret)
{
    const struct op_token *found = NULL;
    uint8_t hash[OP_TOKEN_HASH_LEN];
    hash_secret(secret.at, secret.len, hash);
    for (size_t i = 0; i < auth->tokens.count; i++) {
        if (sodium_memcmp(auth->tokens.at[i].hash, hash, sizeof hash) == 0)
            found = &auth->tokens.at[i];
    }
    for (size_t i = 0; i < auth->given_count; i++) {
        if (sodium_memcmp(auth->given[i].hash, hash, sizeof hash) == 0)
            found = &auth->given[i];
    }
    return found;
}

static enum op_auth_result judge_wrong(struct op_auth *auth, struct peer *peer, int64_t now_ns,
                                       int64_t *ret_wait_s)
{
    if (peer->locked_until_ns > now_ns) {
        *ret_wait_s = ans_seconds_up(peer->locked_until_ns - now_ns, PS_NS_PER_S);
        return OP_AUTH_LOCKED;
    }
    return count_failure(auth, peer, now_ns) ? OP_AUTH_LAST : OP_AUTH_WRONG;
}

bool op_auth_knows(const struct op_auth *auth, struct ps_str authorization)
{
    struct ps_str secret;
    const struct op_token *token = bearer(authorization, &secret) ? match(auth, secret) : NULL;

    return token != NULL && token->expires_at_ms > ps_clock_wall_ms(auth->clock);
}

enum op_auth_result op_auth_check(struct op_auth *auth, struct ps_str authorization,
                                  const struct ps_address *peer_address,
                                  const struct op_token **ret_token, int64_t *ret_wait_s)
{
    int64_t now_ns = ps_clock_mono_ns(auth->clock);
    struct ps_str secret;

    if (!bearer(authorization, &secret))
        return OP_AUTH_NONE;
    struct peer *peer = find_peer(auth, peer_address, now_ns);
    const struct op_token *token = match(auth, secret);
    *ret_token = token;
    if (token == NULL || token->expires_at_ms <= ps_clock_wall_ms(auth->clock))
        return judge_wrong(auth, peer, now_ns, ret_wait_s);
    struct adm_limit_result rate =
        adm_limit_step(&auth->rate, peer->rate_cell, now_ns, 0, &peer->rate_cell);
    if (rate.allowed)
        return OP_AUTH_OK;
    *ret_wait_s = ans_seconds_up(rate.wait_ns, PS_NS_PER_S);
    return OP_AUTH_LIMITED;
}

/* --- Changes. --- */

size_t op_auth_count(const struct op_auth *auth)
{
    return auth->given_count + auth->tokens.count;
}

const struct op_token *op_auth_at(const struct op_auth *auth, size_t index)
{
    return index < auth->given_count ? &auth->given[index]
                                     : &auth->tokens.at[index - auth->given_count];
}

const struct op_token *op_auth_find(const struct op_auth *auth, const char *id, size_t len)
{
    const struct token_list given = {(struct op_token *)(uintptr_t)auth->given, auth->given_count};
    const struct op_token *token = find(&given, id, len);

    return token != NULL ? token : find(&auth->tokens, id, len);
}

/* Copies the list, so that it can be changed. */
static int begin_change(struct op_auth *auth)
{
    if (auth->prepared.at != NULL)
        return PS_E_BUSY;
    auth->prepared.at = calloc(OP_TOKENS_MAX, sizeof *auth->prepared.at);
    if (auth->prepared.at == NULL)
        return PS_E_NOMEM;
    memcpy(auth->prepared.at, auth->tokens.at, auth->tokens.count * sizeof *auth->tokens.at);
    auth->prepared.count = auth->tokens.count;
    return 0;
}

static int print_change(struct op_auth *auth)
{
    auth->prepared_text = list_text(&auth->prepared);
    if (auth->prepared_text != NULL)
        return 0;
    op_auth_end_change(auth, false);
    return PS_E_NOMEM;
}

int op_auth_prepare_new(struct op_auth *auth, const struct op_token *wanted,
                        const struct op_token **ret_token, char ret_secret[OP_TOKEN_LEN + 1])
{
    int64_t now_ms = ps_clock_wall_ms(auth->clock);
    char id[32];
    if (wanted->expires_at_ms <= now_ms)
        return PS_E_INVALID;
    if (auth->tokens.count == OP_TOKENS_MAX)
        return PS_E_FULL;
    int err = begin_change(auth);
    if (err != 0)
        return err;
    do {
        uint32_t high = randombytes_uniform(1 << 16), low = randombytes_random();
        (void)snprintf(id, sizeof id, "t%04x%08x", (unsigned)high, (unsigned)low);
    } while (find(&auth->tokens, id, strlen(id)) != NULL);
    struct op_token *token = &auth->prepared.at[auth->prepared.count++];
    *token = *wanted;
    (void)snprintf(token->id, sizeof token->id, "%s", id);
    token->created_at_ms = now_ms;
    make_secret(token, ret_secret);
    *ret_token = token;
    err = print_change(auth);
    if (err != 0)
        sodium_memzero(ret_secret, OP_TOKEN_LEN + 1);
    return err;
}

static bool has_lasting_admin(const struct token_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].role == OP_ROLE_ADMIN && list->at[i].expires_at_ms == INT64_MAX)
            return true;
    }
    return false;
}

int op_auth_prepare_delete(struct op_auth *auth, const char *id, size_t len)
{
    const struct op_token *token = op_auth_find(auth, id, len);
    if (token == NULL)
        return PS_E_NOT_FOUND;
    if (token >= auth->given && token < auth->given + auth->given_count)
        return PS_E_READ_ONLY;
    size_t index = (size_t)(token - auth->tokens.at);
    int err = begin_change(auth);
    if (err != 0)
        return err;
    struct token_list *list = &auth->prepared;
    list->count--;
    memmove(&list->at[index], &list->at[index + 1], (list->count - index) * sizeof *list->at);
    if (!has_lasting_admin(list) && !has_given_admin(auth)) {
        op_auth_end_change(auth, false);
        return PS_E_CONFLICT;
    }
    return print_change(auth);
}

const char *op_auth_prepared_text(const struct op_auth *auth)
{
    return auth->prepared_text;
}

void op_auth_end_change(struct op_auth *auth, bool written)
{
    if (written) {
        free(auth->tokens.at);
        auth->tokens = auth->prepared;
    } else {
        free(auth->prepared.at);
    }
    auth->prepared = (struct token_list){0};
    free(auth->prepared_text);
    auth->prepared_text = NULL;
}
