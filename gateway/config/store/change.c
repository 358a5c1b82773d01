/* The parts of a change: the next versions of documents, each validated against the one in force,
 * and the audit line. */
#include "gateway/config/store/store_internal.h"

#include "common/grow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cfg_change *cfg_change_new(struct cfg_store *store, const struct cfg_author *author)
{
    struct cfg_change *change = calloc(1, sizeof *change);

    if (change == NULL)
        return NULL;
    change->store = store;
    STAILQ_INIT(&change->job.ended);
    (void)snprintf(change->who, sizeof change->who, "%s", author->who);
    (void)snprintf(change->peer, sizeof change->peer, "%s", author->peer);
    (void)snprintf(change->action, sizeof change->action, "%s", author->action);
    (void)snprintf(change->why, sizeof change->why, "%s", author->why);
    change->by =
        (struct cfg_author){author->at_ms, change->who, change->peer, change->action, change->why};
    return change;
}

void cfg_change_free(struct cfg_change *change)
{
    if (change == NULL)
        return;
    cfg_job_done(&change->job);
    json_decref(change->from);
    json_decref(change->to);
    free(change);
}

int cfg_change_add(struct cfg_change *change, struct cfg_edit edit)
{
    struct cfg_job *job = &change->job;

    if (ps_grow(&job->edits, &change->room, job->edit_count + 1, sizeof edit) < 0) {
        cfg_doc_free(edit.doc);
        return PS_E_NOMEM;
    }
    job->edits[job->edit_count++] = edit;
    return 0;
}

void cfg_change_clear(struct cfg_change *change)
{
    struct cfg_job *job = &change->job;

    while (job->edit_count > 0)
        cfg_doc_free(job->edits[--job->edit_count].doc);
}

void cfg_change_pass_holds(struct cfg_change *change)
{
    change->passes_holds = true;
}

const struct cfg_doc *cfg_change_doc(const struct cfg_change *change, size_t i,
                                     const struct cfg_doc **ret_from)
{
    const struct cfg_doc *doc;

    if (i >= change->job.edit_count)
        return NULL;
    doc = change->job.edits[i].doc;
    *ret_from = cfg_store_find(change->store, doc->kind, doc->name);
    return doc;
}

int cfg_change_file(struct cfg_change *change, const char *path, const char *text)
{
    change->job.file_path = strdup(path);
    change->job.file_text = strdup(text);
    return change->job.file_path != NULL && change->job.file_text != NULL ? 0 : PS_E_NOMEM;
}

/* --- Documents. --- */

/* The first version of a new document of a kind that expires is the store's revision: nothing is
 * left of an expired document, and no old copy may seem newer than the new one. */
static int64_t first_version(const struct cfg_store *store, const struct cfg_kind *kind)
{
    return kind->ends ? store->revision + 1 : 1;
}

/* Makes the version that follows, of these parts: all but the version, its time and its author. */
static int make_next(struct cfg_change *change, struct cfg_doc_parts parts,
                     struct cfg_edit *ret_edit, struct ps_faults *faults)
{
    const struct cfg_doc *last = cfg_store_last(change->store, parts.kind, parts.name);
    const struct cfg_doc *have = cfg_store_find(change->store, parts.kind, parts.name);

    parts.version = last != NULL ? last->version + 1 : first_version(change->store, parts.kind);
    parts.created_at_ms = have != NULL ? have->created_at_ms : change->by.at_ms;
    parts.by = change->by;
    if (change->by.action[0] == '\0')
        parts.by.action = parts.json != NULL ? parts.kind->put : parts.kind->drop;
    ret_edit->after = last != NULL ? last->version : 0;
    return cfg_doc_new(&parts, &ret_edit->doc, faults);
}

static json_t *state_of(const struct cfg_kind *kind, const struct cfg_doc *have)
{
    const char *text = have != NULL ? have->state : kind->initial_state;

    return text != NULL ? json_loads(text, 0, NULL) : NULL;
}

static size_t added(const struct cfg_change *change, const struct cfg_kind *kind)
{
    size_t count = 0;

    for (size_t i = 0; i < change->job.edit_count; i++) {
        const struct cfg_doc *doc = change->job.edits[i].doc;
        if (doc->kind != kind)
            continue;
        bool had = cfg_store_find(change->store, kind, doc->name) != NULL;
        count += (doc->json != NULL && !had) - (size_t)(doc->json == NULL && had);
    }
    return count;
}

/* Does the kind's maximum allow one more? */
static bool has_room(const struct cfg_change *change, const struct cfg_kind *kind)
{
    const struct cfg_store *store = change->store;
    size_t count = cfg_store_count(store, kind) + added(change, kind);

    if (kind->max_with != NULL) {
        const struct cfg_kind *other = cfg_kind_find(kind->max_with, strlen(kind->max_with));
        count += cfg_store_count(store, other) + added(change, other);
    }
    return count < kind->max;
}

/* The run that keeps the document from being deleted; NULL: none does. */
static const char *holder_of(const struct cfg_store *store, const struct cfg_doc *doc)
{
    const struct cfg_store_callbacks *callbacks = &store->callbacks;

    return callbacks->holder != NULL ? callbacks->holder(callbacks->ctx, doc->kind, doc->name)
                                     : NULL;
}

static int refuse(struct cfg_change *change, struct cfg_edit *edit, const struct cfg_doc *have,
                  const char *pointer, enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    const struct cfg_kind *kind = edit->doc->kind;

    *ret_refusal = CFG_MAY;
    if (edit->doc->json == NULL && cfg_kind_ships(kind, edit->doc->name)) {
        *ret_refusal = CFG_CONFLICT;
        (void)ps_faults_add(faults, PS_E_CONFLICT, pointer,
                            "this %s always exists: it can neither be deleted nor left out%s%s",
                            kind->word, kind->instead != NULL ? "; instead " : "",
                            kind->instead != NULL ? kind->instead : "");
        return PS_E_CONFLICT;
    }
    const char *holder = edit->doc->json == NULL && !change->passes_holds
                             ? holder_of(change->store, edit->doc)
                             : NULL;
    if (holder != NULL) {
        *ret_refusal = CFG_IN_USE;
        return ps_faults_add(faults, PS_E_CONFLICT, pointer, "is in use by run %s", holder);
    }
    if (kind->may_change != NULL)
        *ret_refusal = kind->may_change(change->store, have, edit->doc, pointer, faults);
    if (*ret_refusal == CFG_MAY && have == NULL && !has_room(change, kind)) {
        *ret_refusal = CFG_CONFLICT;
        (void)ps_faults_add(faults, PS_E_CONFLICT, pointer,
                            "there are already %zu %ss, the maximum", kind->max,
                            kind->max_with != NULL ? "entrie" : kind->word);
    }
    return *ret_refusal == CFG_MAY ? 0 : PS_E_CONFLICT;
}

static bool is_edited(const struct cfg_change *change, const struct cfg_doc *doc)
{
    for (size_t i = 0; i < change->job.edit_count; i++)
        if (change->job.edits[i].doc->kind == doc->kind &&
            strcmp(change->job.edits[i].doc->name, doc->name) == 0)
            return true;
    return false;
}

/* Deletes documents whose subject `to` removes. */
static int drop_what_falls(struct cfg_change *change, const struct cfg_doc *to)
{
    struct ps_faults faults = {0};
    int err = 0;

    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL && err == 0; kind++) {
        const struct cfg_doc *doc = NULL;
        while ((*kind)->falls != NULL && err == 0 &&
               (doc = cfg_store_next(change->store, *kind, doc)) != NULL) {
            struct cfg_edit edit = {.falls = true};
            struct cfg_doc_parts parts = {.kind = *kind, .name = doc->name, .reading.pointer = ""};
            if (!(*kind)->falls(doc->parsed, to) || is_edited(change, doc))
                continue;
            err = make_next(change, parts, &edit, &faults);
            if (err == 0)
                err = cfg_change_add(change, edit);
        }
    }
    return err;
}

/* Takes ownership of the edit. */
static int add_edit(struct cfg_change *change, struct cfg_edit edit, const char *pointer,
                    enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    const struct cfg_doc *have = cfg_store_find(change->store, edit.doc->kind, edit.doc->name);
    int err = refuse(change, &edit, have, pointer, ret_refusal, faults);

    if (err < 0 || (have != NULL && cfg_doc_is_same(have, edit.doc))) {
        cfg_doc_free(edit.doc);
        return err;
    }
    err = cfg_change_add(change, edit);
    return err < 0 ? err : drop_what_falls(change, edit.doc);
}

int cfg_change_put(struct cfg_change *change, const struct cfg_put *put,
                   enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    const struct cfg_doc *have = cfg_store_find(change->store, put->kind, put->name);
    const char *pointer = put->pointer != NULL ? put->pointer : "";
    struct cfg_doc_parts parts = {
        .kind = put->kind,
        .name = put->name,
        .json = put->json,
        .reading = {.pointer = pointer,
                    .now_ms = change->by.at_ms,
                    .bounds = change->store->bounds,
                    .have = have},
    };
    json_t *state = state_of(put->kind, have);
    struct cfg_edit edit = {0};

    parts.state = state;
    int err = make_next(change, parts, &edit, faults);
    *ret_refusal = CFG_MAY;
    json_decref(state);
    return err < 0 ? err : add_edit(change, edit, pointer, ret_refusal, faults);
}

int cfg_change_drop(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                    const char *pointer, enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    struct cfg_doc_parts parts = {.kind = kind, .name = name, .reading.pointer = pointer};
    struct cfg_edit edit = {0};

    *ret_refusal = CFG_MAY;
    if (cfg_store_find(change->store, kind, name) == NULL)
        return PS_E_NOT_FOUND;
    int err = make_next(change, parts, &edit, faults);
    return err < 0 ? err : add_edit(change, edit, pointer, ret_refusal, faults);
}

int cfg_change_state(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                     const json_t *state)
{
    const struct cfg_doc *have = cfg_store_find(change->store, kind, name);
    struct ps_faults faults = {0};
    struct cfg_edit edit = {0};

    if (have == NULL)
        return PS_E_NOT_FOUND;
    json_t *json = cfg_doc_json(have);
    struct cfg_doc_parts parts = {
        .kind = kind, .name = name, .json = json, .state = state, .reading.pointer = ""};
    int err = json != NULL ? make_next(change, parts, &edit, &faults) : PS_E_NOMEM;
    json_decref(json);
    return err < 0 ? err : cfg_change_add(change, edit);
}

/* --- The audit line. --- */

void cfg_change_about(struct cfg_change *change, const char *target)
{
    (void)snprintf(change->target, sizeof change->target, "%s", target);
}

void cfg_change_line(struct cfg_change *change, const char *target, json_t *from, json_t *to)
{
    json_decref(change->from);
    json_decref(change->to);
    (void)snprintf(change->target, sizeof change->target, "%s", target);
    change->from = from;
    change->to = to;
    change->has_line = true;
}

static json_t *json_of(const struct cfg_doc *doc)
{
    return doc != NULL ? cfg_doc_json(doc) : NULL;
}

/* With several documents the line has their versions; 0: no document. */
static int list_versions(const struct cfg_change *change, json_t *from, json_t *to)
{
    int err = 0;

    for (size_t i = 0; i < change->job.edit_count; i++) {
        const struct cfg_doc *doc = change->job.edits[i].doc;
        const struct cfg_doc *last = cfg_store_last(change->store, doc->kind, doc->name);
        char name[sizeof change->target];
        (void)snprintf(name, sizeof name, "%s/%s", doc->kind->path, doc->name);
        err |= json_object_set_new(from, name, json_integer(last != NULL ? last->version : 0));
        err |= json_object_set_new(to, name, json_integer(doc->version));
    }
    return err;
}

/* The edits, without those that follow from others. */
static size_t count_decided(const struct cfg_job *job)
{
    size_t count = 0;

    for (size_t i = 0; i < job->edit_count; i++)
        count += !job->edits[i].falls;
    return count;
}

/* True for a change of heartbeats alone: their lines would bury those of operators in the audit
 * log. */
static bool only_renews(const struct cfg_change *change)
{
    const struct cfg_job *job = &change->job;

    for (size_t i = 0; i < job->edit_count; i++) {
        const struct cfg_doc *doc = job->edits[i].doc;
        if (!cfg_doc_renews(doc, cfg_store_last(change->store, doc->kind, doc->name)))
            return false;
    }
    return job->edit_count > 0;
}

int cfg_change_write_line(struct cfg_change *change)
{
    const struct cfg_job *job = &change->job;
    struct cfg_audit_entry entry = {.at_ms = change->by.at_ms,
                                    .who = change->who,
                                    .peer = change->peer,
                                    .action = change->action,
                                    .target = change->target,
                                    .why = change->why[0] != '\0' ? change->why : NULL};
    char target[sizeof change->target];
    int err = 0;

    if (only_renews(change))
        return 0;
    json_t *from = json_incref(change->from), *to = json_incref(change->to);

    if (count_decided(job) == 1 && !change->is_taken) {
        const struct cfg_doc *doc = job->edits[0].doc;
        (void)snprintf(target, sizeof target, "%s/%s", doc->kind->path, doc->name);
        entry.target = change->target[0] != '\0' ? change->target : target;
        entry.action = doc->by.action;
        if (!change->has_line) {
            from = json_of(cfg_store_find(change->store, doc->kind, doc->name));
            to = json_of(doc);
        }
    } else if (!change->has_line) {
        entry.target = change->target[0] != '\0' ? change->target : "config";
        from = json_object();
        to = json_object();
        err = list_versions(change, from, to);
    }
    entry.from = from;
    entry.to = to;
    change->job.line = err == 0 ? cfg_audit_text(&entry) : NULL;
    json_decref(from);
    json_decref(to);
    return change->job.line != NULL ? 0 : PS_E_NOMEM;
}
