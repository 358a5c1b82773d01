/* Tokens in files of a directory, one a role, such as a Secret that Kubernetes mounts: the same on
 * each gateway of a cluster, and known before the first start. They are never written anywhere.
 *
 * A short secret could be found by trying, and the hash that is kept has neither salt nor
 * slowness: so a length is required that only a generator writes. */
#include "gateway/admin/given.h"

#include "common/program/secret.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SETTING    "admin.token_dir"
#define SECRET_MIN 32
#define SECRET_MAX 512

/* What RFC 6750 lets a Bearer token have. */
static const char characters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";

static int check_secret(const char *path, const char *secret, struct ps_fault *fault)
{
    if (secret[strspn(secret, characters)] != '\0')
        return ps_fault(fault, PS_E_INVALID, SETTING,
                        "the first line of %s has a character that no token has: letters, digits "
                        "and -._~+/= only",
                        path);
    if (strlen(secret) < SECRET_MIN)
        return ps_fault(fault, PS_E_INVALID, SETTING,
                        "the first line of %s has fewer than %d characters, so the token could be "
                        "guessed: openssl rand -hex 32 makes one",
                        path, SECRET_MIN);
    return 0;
}

/* PS_E_NOT_FOUND: there is no such file. */
static int read_one(const char *dir, enum op_role role, int64_t now_ms, struct op_token *ret_token,
                    struct ps_fault *fault)
{
    struct op_token token = {.role = role, .created_at_ms = now_ms, .expires_at_ms = INT64_MAX};
    char path[1200], secret[SECRET_MAX + 1];
    int err = PS_E_INVALID;

    (void)snprintf(token.id, sizeof token.id, "%s-token", op_role_names[role]);
    (void)snprintf(token.note, sizeof token.note, "of " SETTING);
    (void)snprintf(path, sizeof path, "%s/%s", dir, token.id); /* the setting has 1024 bytes */
    err = ps_secret_read(path, SETTING, SECRET_MAX, secret, fault);
    if (err == 0)
        err = check_secret(path, secret, fault);
    if (err == 0) {
        crypto_generichash(token.hash, sizeof token.hash, (const unsigned char *)secret,
                           strlen(secret), NULL, 0);
        *ret_token = token;
    }
    sodium_memzero(secret, sizeof secret);
    return err;
}

int op_given_read(const char *dir, int64_t now_ms, struct op_token ret_tokens[OP_GIVEN_MAX],
                  size_t *ret_count, struct ps_fault *fault)
{
    static const enum op_role roles[OP_GIVEN_MAX] = {OP_ROLE_VIEWER, OP_ROLE_OPERATOR,
                                                     OP_ROLE_ADMIN};
    size_t count = 0;

    for (size_t i = 0; i < OP_GIVEN_MAX; i++) {
        int err = read_one(dir, roles[i], now_ms, &ret_tokens[count], fault);
        if (err == PS_E_NOT_FOUND)
            continue;
        if (err < 0)
            return err;
        for (size_t j = 0; j < count; j++)
            if (memcmp(ret_tokens[j].hash, ret_tokens[count].hash, OP_TOKEN_HASH_LEN) == 0)
                return ps_fault(fault, PS_E_INVALID, SETTING,
                                "%s/%s and %s hold the same token: each role needs its own", dir,
                                ret_tokens[j].id, ret_tokens[count].id);
        count++;
    }
    *ret_count = count;
    return count > 0 ? 0
                     : ps_fault(fault, PS_E_NOT_FOUND, SETTING,
                                "%s has no file admin-token, operator-token or viewer-token", dir);
}
