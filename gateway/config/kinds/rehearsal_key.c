/* The kind of the keys that sign rehearsals. Its documents hold a secret, so the kind is private:
 * bundles leave it out and no route shows a document as it is stored. The admin listener has routes
 * of its own for it, and its audit lines hold what cfg_rehearsal_key_show shows. As a document a
 * key reaches every gateway of a cluster, outlives a restart (in control.db, which nobody else may
 * read) and ends by itself. */
#include "gateway/config/kinds/rehearsal_key.h"

#include "common/clock.h"
#include "gateway/config/kinds/formats.h"
#include "gateway/config/store/store.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct cfg_rehearsal_key *cfg_rehearsal_key_find(const struct cfg_rehearsal_keys *keys,
                                                       struct ps_str name, int64_t wall_ms)
{
    for (size_t i = 0; i < keys->count; i++) {
        const struct cfg_rehearsal_key *key = &keys->at[i];
        if (ps_str_is(name, key->name))
            return key->until_ms > wall_ms ? key : NULL;
    }
    return NULL;
}

/* --- The document. --- */

static json_t *document(const uint8_t secret[PS_MARK_SECRET_LEN], int64_t until_ms,
                        const char *note)
{
    char hex[PS_MARK_HEX_LEN + 1];

    ps_mark_secret_format(secret, hex);
    json_t *json = json_pack("{s:s, s:o, s:s}", "secret", hex, "expires_at",
                             ps_json_of_time(until_ms), "note", note);
    sodium_memzero(hex, sizeof hex);
    return json;
}

json_t *cfg_rehearsal_key_new(int64_t until_ms, const char *note)
{
    uint8_t secret[PS_MARK_SECRET_LEN];

    ps_mark_secret_new(secret);
    json_t *json = document(secret, until_ms, note);
    sodium_memzero(secret, sizeof secret);
    return json;
}

json_t *cfg_rehearsal_key_show(const struct cfg_doc *doc)
{
    const struct cfg_stored_key *stored = cfg_rehearsal_key_of(doc);

    return json_pack("{s:s, s:s, s:o, s:o, s:s}", "key", doc->name, "note", stored->note,
                     "created_at", ps_json_of_time(doc->created_at_ms), "expires_at",
                     ps_json_of_time(stored->key.until_ms), "by", doc->by.who);
}

static bool read_secret(struct ps_table_at *at, const char *place, const json_t *value,
                        void *object)
{
    struct ps_str hex = {json_string_value(value), json_string_length(value)};

    (void)at;
    (void)place;
    return hex.at != NULL &&
           ps_mark_secret_parse(hex, ((struct cfg_stored_key *)object)->key.secret) == 0;
}

static json_t *print_secret(const void *object)
{
    char hex[PS_MARK_HEX_LEN + 1];

    ps_mark_secret_format(((const struct cfg_stored_key *)object)->key.secret, hex);
    json_t *json = json_string(hex);
    sodium_memzero(hex, sizeof hex);
    return json;
}

static void check_key(struct ps_table_at *at, void *object)
{
    const struct cfg_reading *reading = at->ctx;
    struct cfg_stored_key *stored = object;

    (void)snprintf(stored->key.name, sizeof stored->key.name, "%s", reading->name);
}

static const struct ps_own secret = {.rule = {"64 hexadecimal digits", "64 位十六进制数字"},
                                     .schema = "{\"type\":\"string\"}",
                                     .read = read_secret,
                                     .print = print_secret};
_Static_assert(PS_MARK_HEX_LEN == 64, "as the rule says");

/* clang-format off */
#define AT(field) PS_AT(struct cfg_stored_key, field)
static const struct ps_member members[] = {
    {"secret", PS_M_OWN, .flags = PS_M_REQUIRED, .own = &secret},
    {"expires_at", PS_M_TIME, AT(key.until_ms), .flags = PS_M_REQUIRED},
    {"note", PS_M_STRING, AT(note), .max = CFG_REHEARSAL_NOTE_MAX, .format = &ps_format_text, .fallback = "\"\""},
};
/* clang-format on */
static const struct ps_table table = {.title = "rehearsal key",
                                      .members = members,
                                      .count = PS_ARRAY_LEN(members),
                                      .size = sizeof(struct cfg_stored_key),
                                      .check = check_key};

static void key_free(void *parsed)
{
    struct cfg_stored_key *stored = parsed;

    sodium_memzero(&stored->key, sizeof stored->key);
    ps_table_free(&table, stored);
    free(stored);
}

const struct cfg_kind cfg_kind_rehearsal_key = {
    .path = "rehearsal-keys",
    .word = "rehearsal key",
    .name_rule = "a key's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "rehearsal_keys",
    .put = "rehearsal_key.new",
    .drop = "rehearsal_key.delete",
    .max = CFG_REHEARSAL_KEYS_MAX,
    .is_private = true,
    .name = cfg_plain_name,
    .table = &table,
    .free = key_free,
    .ends = true,
    .end_is_final = true,
    .until_at = offsetof(struct cfg_stored_key, key.until_ms),
};
