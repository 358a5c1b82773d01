/* See bundle.h. For each kind of the bundle, absent documents are deleted first, which makes room;
 * documents that always exist come last, because others may name them. */
#include "gateway/config/store/bundle.h"

#include "common/text/buf.h"
#include "gateway/config/store/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    const struct cfg_bundle *bundle;
    struct cfg_change *change; /* NULL: only reads documents */
    const struct cfg_bounds *bounds;
    struct ps_faults *faults;
    enum cfg_refusal refusal; /* of `err` */
    int err;                  /* the first one */
};

const struct cfg_kind *cfg_bundle_kind(const char *path, size_t len)
{
    const struct cfg_kind *kind = cfg_kind_find(path, len);

    return kind != NULL && !kind->is_private ? kind : NULL;
}

static void note(struct reading *reading, int err, enum cfg_refusal refusal)
{
    if (err == 0 || (reading->err < 0 && err != PS_E_INVALID && err != PS_E_NOMEM))
        return;
    reading->err = err;
    reading->refusal = refusal;
}

/* A pointer to one document of the bundle, its names escaped (RFC 6901). */
static void point_to(const struct cfg_kind *kind, const char *name, char ret_pointer[192])
{
    struct ps_buf buf;
    char both[CFG_NAME_MAX + 64];

    (void)snprintf(both, sizeof both, "%s\n%s", kind->path, name);
    ps_buf_init(&buf, ret_pointer, 191);
    ps_buf_puts(&buf, "/documents/");
    for (const char *at = both; *at != '\0'; at++) {
        if (*at == '\n')
            ps_buf_puts(&buf, "/");
        else if (*at == '~' || *at == '/')
            ps_buf_puts(&buf, *at == '~' ? "~0" : "~1");
        else
            ps_buf_put(&buf, at, 1);
    }
    ret_pointer[buf.len] = '\0';
}

static void point_to_document(const struct cfg_doc *doc, char ret_pointer[192])
{
    point_to(doc->kind, doc->name, ret_pointer);
}

/* Reads it as a new document. */
static int read_alone(const struct reading *reading, const struct cfg_kind *kind, const char *name,
                      const json_t *json, const char *pointer)
{
    const struct cfg_reading how = {.name = name, .pointer = pointer, .bounds = reading->bounds};
    json_t *state = kind->initial_state != NULL ? json_loads(kind->initial_state, 0, NULL) : NULL;
    void *parsed;
    int err = cfg_kind_read(kind, &how, json, state, &parsed, reading->faults);

    json_decref(state);
    if (err == 0)
        cfg_kind_free(kind, parsed);
    return err;
}

static void put_document(struct reading *reading, const struct cfg_kind *kind, const char *given,
                         const json_t *json)
{
    enum cfg_refusal refusal = CFG_MAY;
    char name[CFG_NAME_MAX + 1], pointer[192];
    int err;

    point_to(kind, given, pointer);
    if (kind->name(given, strlen(given), name) < 0)
        err = ps_faults_add(reading->faults, PS_E_INVALID, pointer, "the name must be %s",
                            kind->name_rule);
    else if (strcmp(name, given) != 0) /* one canonical name, so that no document appears twice */
        err = ps_faults_add(reading->faults, PS_E_INVALID, pointer, "must be named \"%s\"", name);
    else {
        json_t *copy = json_deep_copy(json);
        if (reading->bundle->lenient)
            cfg_drop_read_only(copy, kind);
        if (copy == NULL)
            err = PS_E_NOMEM;
        else if (reading->change == NULL)
            err = read_alone(reading, kind, name, copy, pointer);
        else
            err = cfg_change_put(
                reading->change,
                &(struct cfg_put){.kind = kind, .name = name, .json = copy, .pointer = pointer},
                &refusal, reading->faults);
        json_decref(copy);
    }
    note(reading, err, refusal);
}

/* Of the documents that always exist, or of the others. */
static void drop_those_left_out(struct reading *reading, const struct cfg_kind *kind,
                                const json_t *documents, bool ships)
{
    const struct cfg_doc *doc = NULL;
    char pointer[192];

    enum cfg_left_out left_out = reading->bundle->left_out;
    if (left_out == CFG_LEFT_OUT_KEEP || (ships && left_out == CFG_LEFT_OUT_DROP))
        return;
    while ((doc = cfg_store_next(reading->change->store, kind, doc)) != NULL) {
        enum cfg_refusal refusal;
        if (json_object_get(documents, doc->name) != NULL ||
            cfg_kind_ships(kind, doc->name) != ships)
            continue;
        point_to(kind, doc->name, pointer);
        int err =
            cfg_change_drop(reading->change, kind, doc->name, pointer, &refusal, reading->faults);
        note(reading, err, refusal);
    }
}

static void put_kind(struct reading *reading, const struct cfg_kind *kind, const json_t *documents)
{
    char pointer[192];
    const char *name;
    json_t *json;

    (void)snprintf(pointer, sizeof pointer, "/documents/%s", kind->path);
    if (!json_is_object(documents)) {
        note(reading,
             ps_faults_add(reading->faults, PS_E_INVALID, pointer,
                           "must be an object of documents by name"),
             CFG_MAY);
        return;
    }
    drop_those_left_out(reading, kind, documents, false);
    json_object_foreach((json_t *)(uintptr_t)documents, name, json)
        put_document(reading, kind, name, json);
    drop_those_left_out(reading, kind, documents, true);
}

static void put_kinds(struct reading *reading)
{
    const struct cfg_bundle *bundle = reading->bundle;
    const char *path;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)bundle->documents, path, value)
    {
        const struct cfg_kind *kind = cfg_bundle_kind(path, strlen(path));
        char pointer[192];
        (void)snprintf(pointer, sizeof pointer, "/documents/%.64s", path);
        if (kind == NULL || !cfg_kind_is_listed(kind, bundle->kinds))
            note(reading,
                 ps_faults_add(reading->faults, PS_E_INVALID, pointer,
                               kind == NULL ? "is not a kind of documents"
                                            : "is not one of the kinds that the query names"),
                 CFG_MAY);
        else
            put_kind(reading, kind, value);
    }
}

int cfg_bundle_check(const json_t *documents, const struct cfg_bounds *bounds,
                     struct ps_faults *faults)
{
    const struct cfg_bundle bundle = {
        .documents = documents, .kinds = "", .lenient = true, .left_out = CFG_LEFT_OUT_KEEP};
    struct reading reading = {.bundle = &bundle, .bounds = bounds, .faults = faults};

    put_kinds(&reading);
    return reading.err;
}

int cfg_bundle_put(struct cfg_change *change, const struct cfg_bundle *bundle,
                   enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    struct reading reading = {.bundle = bundle, .change = change, .faults = faults};

    put_kinds(&reading);
    /* Only if every document was read: documents that name an unread one would get a fault each. */
    if (reading.err == 0)
        reading.err = cfg_change_check(change, point_to_document, &reading.refusal, faults);
    *ret_refusal = reading.refusal;
    return reading.err;
}
