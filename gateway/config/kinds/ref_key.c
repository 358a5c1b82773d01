/* The kind of the keys that seal the references of refusals. Its documents hold a secret, so the
 * kind is private and without a history: no bundle and no route shows one, and nothing is left of a
 * key that has ended. As a document a key reaches every gateway of a cluster and outlives a restart
 * (in control.db, which nobody else may read). */
#include "gateway/config/kinds/ref_key.h"

#include "gateway/config/kinds/formats.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define HEX_LEN (2 * (size_t)PS_REF_SECRET)

static bool read_secret(struct ps_table_at *at, const char *place, const json_t *value,
                        void *object)
{
    struct ps_ref_key *key = object;
    size_t len;

    (void)at;
    (void)place;
    return json_string_length(value) == HEX_LEN &&
           sodium_hex2bin(key->secret, sizeof key->secret, json_string_value(value), HEX_LEN, NULL,
                          &len, NULL) == 0 &&
           len == sizeof key->secret;
}

static json_t *print_secret(const void *object)
{
    const struct ps_ref_key *key = object;
    char hex[HEX_LEN + 1];

    sodium_bin2hex(hex, sizeof hex, key->secret, sizeof key->secret);
    json_t *json = json_string(hex);
    sodium_memzero(hex, sizeof hex);
    return json;
}

static const struct ps_own secret = {.rule = {"96 hexadecimal digits", "96 位十六进制数字"},
                                     .schema = "{\"type\":\"string\"}",
                                     .read = read_secret,
                                     .print = print_secret};
_Static_assert(HEX_LEN == 96, "as the rule says");

/* clang-format off */
#define AT(field) PS_AT(struct ps_ref_key, field)
static const struct ps_member members[] = {
    {"id", PS_M_INT, AT(id), .flags = PS_M_REQUIRED, .max = 255},
    {"secret", PS_M_OWN, .flags = PS_M_REQUIRED, .own = &secret},
    {"from", PS_M_TIME, AT(from_ms), .flags = PS_M_REQUIRED},
    {"expires_at", PS_M_TIME, AT(until_ms), .flags = PS_M_REQUIRED},
};
/* clang-format on */
static const struct ps_table table = {.title = "key of references",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct ps_ref_key)};

json_t *cfg_ref_key_write(const struct ps_ref_key *key)
{
    return cfg_kind_print(&cfg_kind_ref_key, key);
}

static void key_free(void *parsed)
{
    sodium_memzero(parsed, sizeof(struct ps_ref_key));
    free(parsed);
}

const struct cfg_kind cfg_kind_ref_key = {
    .path = "ref-keys",
    .word = "key of references",
    .name_rule = "a key's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "ref_keys",
    .put = "ref_key.new",
    .drop = "ref_key.delete",
    .max = CFG_REF_KEYS_MAX,
    .has_no_history = true,
    .is_private = true,
    .name = cfg_plain_name,
    .table = &table,
    .free = key_free,
    .ends = true,
    .end_is_final = true,
    .until_at = offsetof(struct ps_ref_key, until_ms),
};
