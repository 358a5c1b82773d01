/* The keys that sign rehearsals: created, listed, revoked. The secret is shown once, to the creator
 * of the key; the list, the audit log and bundles never have it. */
#include "gateway/admin/documents.h"
#include "gateway/admin/parts.h"

#include "gateway/config/kinds/rehearsal_key.h"

#include <stdio.h>
#include <string.h>

static void list_rehearsal_keys(struct op_request *request)
{
    const struct cfg_store *store = request->admin->deps.config;
    const struct cfg_doc *doc = NULL;
    json_t *keys = json_array();
    int err = 0;

    while (err == 0 && (doc = cfg_store_next(store, &cfg_kind_rehearsal_key, doc)) != NULL)
        err = json_array_append_new(keys, cfg_rehearsal_key_show(doc));
    keys = ps_json_built(keys, err);
    op_json(request, ANS_V_ok, keys != NULL ? json_pack("{s:o}", "rehearsal_keys", keys) : NULL);
}

/* --- Creating a key. --- */

/* False: answered. */
static bool read_wanted(struct op_request *request, int64_t *ret_until_ms, struct ps_str *ret_note)
{
    int64_t ttl_s = CFG_REHEARSAL_KEY_TTL_S;
    struct ps_json_reader reader;
    struct ps_fault fault = {0};

    *ret_note = (struct ps_str){"", 0};
    if (request->body == NULL && (request->body = json_object()) == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return false;
    }
    ps_json_reader_init(&reader, request->body, "", &fault);
    ps_json_duration(&reader, "ttl_s", CFG_REHEARSAL_KEY_TTL_MIN_S, CFG_REHEARSAL_KEY_TTL_MAX_S,
                     &ttl_s);
    ps_json_text(&reader, "note", CFG_REHEARSAL_NOTE_MAX, ret_note);
    if (ps_json_done(&reader) < 0) {
        op_fault(request, ANS_V_invalid, &fault);
        return false;
    }
    *ret_until_ms = ps_clock_wall_ms(request->admin->deps.clock) + ttl_s * 1000;
    return true;
}

/* A name that no key has, or has had. */
static void choose_name(const struct cfg_store *store, char ret_name[CFG_NAME_MAX + 1])
{
    do
        (void)snprintf(ret_name, CFG_NAME_MAX + 1, "k-%08x", randombytes_random());
    while (cfg_store_last(store, &cfg_kind_rehearsal_key, ret_name) != NULL);
}

static void answer_new_key(struct op_request *request, struct op_change *change)
{
    const struct cfg_doc *doc =
        cfg_store_find(request->admin->deps.config, change->kind, change->name);
    json_t *json = doc != NULL ? cfg_rehearsal_key_show(doc) : NULL;
    char secret[PS_MARK_HEX_LEN + 1];

    if (json != NULL) {
        ps_mark_secret_format(cfg_rehearsal_key_of(doc)->key.secret, secret);
        json = ps_json_built(json, json_object_set_new(json, "secret", json_string(secret)));
        sodium_memzero(secret, sizeof secret);
    }
    op_json(request, ANS_V_created, json);
}

static void new_rehearsal_key(struct op_request *request)
{
    struct op_target target = {.kind = &cfg_kind_rehearsal_key};
    const struct cfg_doc *from;
    struct op_change *change;
    struct ps_str note;
    int64_t until_ms;

    if (!read_wanted(request, &until_ms, &note))
        return;
    choose_name(request->admin->deps.config, target.name);
    change = op_document_change(request, &target, target.kind->put);
    if (change == NULL ||
        !op_document_put(request, change, cfg_rehearsal_key_new(until_ms, note.at)))
        return;
    cfg_change_line(change->change, change->target, NULL,
                    cfg_rehearsal_key_show(cfg_change_doc(change->change, 0, &from)));
    change->answer = answer_new_key;
    op_change_submit(request, change);
}

/* --- Revoking a key. --- */

static void delete_rehearsal_key(struct op_request *request)
{
    struct op_target target;
    struct op_change *change;

    if (!op_only_reason(request) || !op_read_target(request, &cfg_kind_rehearsal_key, &target))
        return;
    if (target.have == NULL) {
        op_no(request, ANS_V_not_found, "no such rehearsal key");
        return;
    }
    change = op_document_change(request, &target, target.kind->drop);
    if (change == NULL || !op_document_drop(request, change))
        return;
    cfg_change_line(change->change, change->target, cfg_rehearsal_key_show(target.have), NULL);
    change->answer = op_answer_empty;
    op_change_submit(request, change);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_rehearsal_keys_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/rehearsal-keys",    SRV_GET,    OP_ROLE_ADMIN, 0,          list_rehearsal_keys},
        {"/admin/v1/rehearsal-keys",    SRV_POST,   OP_ROLE_ADMIN, OP_CHANGES, new_rehearsal_key},
        {"/admin/v1/rehearsal-keys/{}", SRV_DELETE, OP_ROLE_ADMIN, OP_CHANGES, delete_rehearsal_key},
        {0}},
};
/* clang-format on */
