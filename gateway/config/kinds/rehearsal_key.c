/* The kind of the keys that sign rehearsals. Its documents hold a secret, so the kind is private:
 * bundles leave it out and no route shows a document of it as it is. The admin listener has routes
 * of its own, and its audit lines hold what cfg_rehearsal_key_show shows. As a document a key
 * reaches every gateway of a cluster, outlives a restart (in control.db, which nobody else may
 * read) and ends by itself. */
#include "gateway/config/kinds/rehearsal_key.h"

#include "common/clock.h"
#include "gateway/config/kinds/part.h"
#include "gateway/config/store/store.h"

#include <sodium.h>
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

static int key_parse(const char *name, const json_t *json, const json_t *state,
                     const struct cfg_reading *reading, void **ret_parsed, struct ps_faults *faults)
{
    struct ps_str secret = {"", 0}, note = {"", 0};
    struct cfg_rehearsal_key key = {0};
    struct ps_json_reader reader;

    (void)state;
    ps_json_reader_init_all(&reader, json, reading->pointer, faults);
    ps_json_require(&reader, (const char *const[]){"secret", "expires_at", NULL});
    ps_json_string(&reader, "secret", PS_MARK_HEX_LEN, &secret);
    if (secret.len > 0 && ps_mark_secret_parse(secret, key.secret) < 0)
        ps_json_fault(&reader, "secret", "must be %d hexadecimal digits", PS_MARK_HEX_LEN);
    ps_json_time(&reader, "expires_at", &key.until_ms);
    ps_json_text(&reader, "note", CFG_REHEARSAL_NOTE_MAX, &note);
    int err = ps_json_done(&reader);
    if (err < 0)
        return err;
    struct cfg_stored_key *stored = calloc(1, sizeof *stored + note.len + 1);
    if (stored == NULL)
        return PS_E_NOMEM;
    memcpy(key.name, name, strlen(name) + 1);
    stored->key = key;
    memcpy(stored->note, note.at, note.len);
    *ret_parsed = stored;
    return 0;
}

static void key_free(void *parsed)
{
    struct cfg_stored_key *stored = parsed;

    sodium_memzero(&stored->key, sizeof stored->key);
    free(stored);
}

static json_t *key_write(const void *parsed)
{
    const struct cfg_stored_key *stored = parsed;

    return document(stored->key.secret, stored->key.until_ms, stored->note);
}

static int64_t key_ends_at_ms(const void *parsed)
{
    return ((const struct cfg_stored_key *)parsed)->key.until_ms;
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
    .parse = key_parse,
    .free = key_free,
    .write = key_write,
    .ends_at_ms = key_ends_at_ms,
};
