/* The past: the changes that control.db remembers, and all documents as they were at a revision.
 * Both read the whole history, which has the last CFG_DB_VERSIONS versions of each document.
 *
 * A gateway of a cluster does not get every version: after an absence it gets only the newest. So a
 * document's version at a revision is known only if its successor is the next number; otherwise the
 * revision is refused rather than guessed.
 */
#include "gateway/config/store/db_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The document of a row, if its kind was requested; else NULL. */
static const struct cfg_kind *kind_of(const struct ps_db_statement *row, const char *kinds)
{
    struct ps_str path = ps_db_text(row, 0);
    const struct cfg_kind *kind = cfg_kind_find(path.at, path.len);

    return kind != NULL && !kind->is_private && cfg_kind_is_listed(kind, kinds) ? kind : NULL;
}

/* --- Documents at a revision. --- */

struct past {
    int64_t revision, now_ms;
    json_t *documents; /* of each kind an object by name */
    /* The document whose rows are being read, by version. */
    const struct cfg_kind *kind; /* NULL: none */
    char name[CFG_NAME_MAX + 1];
    json_t *json;    /* its version at the revision; NULL: none, or a deletion */
    int64_t version; /* the number of that version; 0: none is known */
    int64_t next;    /* the number of the next version; 0: there is none */
};

/* The document has no more rows. PS_E_NOT_FOUND: its version at the revision is not known. */
static int end_document(struct past *past, struct ps_fault *fault)
{
    const struct cfg_kind *kind = past->kind;
    json_t *json = past->json;

    if (kind == NULL)
        return 0;
    /* Documents that ended leave no rows, and their first version is not 1. */
    bool began_later = past->version == 0 && (past->next == 1 || kind->ends);
    past->kind = NULL;
    past->json = NULL;
    if (past->next != 0 && past->next != past->version + 1 && !began_later) {
        json_decref(json);
        return ps_fault(fault, PS_E_NOT_FOUND, "/revision",
                        "the version that %s/%s had at revision %lld is not kept here", kind->path,
                        past->name, (long long)past->revision);
    }
    if (json == NULL)
        return 0;
    return json_object_set_new(json_object_get(past->documents, kind->path), past->name, json) == 0
               ? 0
               : ps_fault(fault, PS_E_NOMEM, "", "out of memory");
}

static int take_row(struct past *past, const struct ps_db_statement *row,
                    const struct cfg_kind *kind, struct ps_fault *fault)
{
    const char *name = ps_db_text(row, 1).at;
    bool then = ps_db_int(row, 3) <= past->revision, ended = ps_db_int(row, 7) <= past->now_ms;

    if (past->kind != kind || strcmp(past->name, name) != 0) {
        int err = end_document(past, fault);
        if (err < 0)
            return err;
        past->kind = kind;
        past->version = past->next = 0;
        (void)snprintf(past->name, sizeof past->name, "%s", name);
    }
    if (!then) {
        if (past->next == 0)
            past->next = ps_db_int(row, 2);
        return 0;
    }
    json_decref(past->json);
    past->json = NULL;
    past->version = ps_db_int(row, 2);
    if (ps_db_is_null(row, 4) || ended)
        return 0;
    past->json = json_loads(ps_db_text(row, 4).at, 0, NULL);
    return past->json != NULL ? 0 : ps_fault(fault, PS_E_NOMEM, "", "out of memory");
}

/* {"limits":{},…} of the requested kinds. */
static json_t *empty_kinds(const char *kinds)
{
    json_t *json = json_object();
    int err = 0;

    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++)
        if (!(*kind)->is_private && cfg_kind_is_listed(*kind, kinds))
            err |= json_object_set_new(json, (*kind)->path, json_object());
    return ps_json_built(json, err);
}

int cfg_db_at_revision(struct cfg_db *db, const char *kinds, int64_t revision, int64_t now_ms,
                       json_t **ret_json, struct ps_fault *fault)
{
    struct past past = {.revision = revision, .now_ms = now_ms, .documents = empty_kinds(kinds)};
    struct ps_db_statement *row = ps_db_statement(db->db, PAST);
    int found = 0, err = past.documents != NULL ? 0 : PS_E_NOMEM;

    while (err == 0 && (found = ps_db_row(row, fault)) > 0) {
        const struct cfg_kind *kind = kind_of(row, kinds);
        if (kind != NULL)
            err = take_row(&past, row, kind, fault);
    }
    if (err < 0)
        ps_db_end_rows(row);
    err = err < 0 ? err : found;
    if (err == 0)
        err = end_document(&past, fault);
    json_decref(past.json);
    if (err == 0)
        *ret_json = json_pack("{s:O}", "documents", past.documents);
    json_decref(past.documents);
    return err == 0 && *ret_json == NULL ? PS_E_NOMEM : err;
}

/* --- Changes. --- */

#define CHANGES_MAX   100
#define DOCUMENTS_MAX 100

static json_t *change_json(const struct ps_db_statement *row)
{
    const char *why = ps_db_text(row, 12).at;

    return json_pack("{s:I, s:o, s:s, s:s, s:s, s:s?, s:[], s:i}", "revision",
                     (json_int_t)ps_db_int(row, 3), "at", ps_json_of_time(ps_db_int(row, 8)), "who",
                     ps_db_text(row, 9).at, "peer", ps_db_text(row, 10).at, "action",
                     ps_db_text(row, 11).at, "why", why[0] != '\0' ? why : NULL, "documents",
                     "count", 0);
}

/* The first documents by name, and the number of all. */
static int add_document(json_t *change, const struct ps_db_statement *row)
{
    json_t *count = json_object_get(change, "count");
    char name[CFG_NAME_MAX + 64];

    (void)json_integer_set(count, json_integer_value(count) + 1);
    if (json_integer_value(count) > DOCUMENTS_MAX)
        return 0;
    (void)snprintf(name, sizeof name, "%s/%s", ps_db_text(row, 0).at, ps_db_text(row, 1).at);
    return json_array_append_new(json_object_get(change, "documents"), json_string(name));
}

int cfg_db_revisions(struct cfg_db *db, const char *kinds, json_t **ret_json,
                     struct ps_fault *fault)
{
    struct ps_db_statement *row = ps_db_statement(db->db, REVISIONS);
    json_t *changes = json_array(), *change = NULL;
    int64_t revision = -1;
    int found = 0, err = 0;

    while (err == 0 && (found = ps_db_row(row, fault)) > 0) {
        if (kind_of(row, kinds) == NULL)
            continue;
        if (ps_db_int(row, 3) != revision && json_array_size(changes) == CHANGES_MAX)
            break;
        if (ps_db_int(row, 3) != revision) {
            revision = ps_db_int(row, 3);
            change = change_json(row);
            err = json_array_append_new(changes, change);
        }
        if (err == 0)
            err = add_document(change, row);
    }
    if (err != 0 || found > 0)
        ps_db_end_rows(row);
    if (err == 0 && found >= 0 && (*ret_json = json_pack("{s:O}", "versions", changes)) == NULL)
        err = -1;
    json_decref(changes);
    return err != 0 ? ps_fault(fault, PS_E_NOMEM, "", "out of memory") : found < 0 ? found : 0;
}
