/* References between documents: a route names pools and a cache, a rule names a route. Each kind
 * says which documents one names and when two of them clash; this file checks that, for all kinds,
 * against the state after the change. So a bundle may bring a pool and its route together, and a
 * document that others name cannot be deleted.
 *
 * It is checked when a change is made, and again before the change is written, because another
 * change may have come first. Two gateways of a cluster that decide at the same moment may still
 * leave a route without its pool: the gateway that serves it logs that. */
#include "gateway/config/store/store_internal.h"

#include "common/text/buf.h"
#include "common/grow.h"
#include "common/sorted.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A document that will be in force, or one that the change deletes. */
struct entry {
    const struct cfg_doc *doc;
    bool changed;
};

/* `by` names `doc`, which the change deletes. */
struct use {
    const struct cfg_doc *doc, *by;
};

struct outlook {
    const struct cfg_change *change;
    struct entry *entries[CFG_KINDS_MAX]; /* by cfg_kinds, sorted by name */
    size_t counts[CFG_KINDS_MAX];
    bool listed[CFG_KINDS_MAX];
    struct use *uses;
    size_t use_count, use_room;
    bool no_memory;
    cfg_point_fn *point;
    struct ps_faults *faults;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->doc->name, ((const struct entry *)b)->doc->name);
}

static int compare_with(const void *name, const void *entry)
{
    return strcmp(name, ((const struct entry *)entry)->doc->name);
}

static struct entry *find(struct entry *entries, size_t count, const char *name)
{
    return ps_sorted_find(name, entries, count, sizeof *entries, compare_with);
}

static size_t list(const struct cfg_change *change, const struct cfg_kind *kind,
                   struct entry *ret_entries)
{
    const struct cfg_job *job = &change->job;
    const struct cfg_doc *doc = NULL;
    size_t changed = 0, count;

    for (size_t i = 0; i < job->edit_count; i++)
        if (job->edits[i].doc->kind == kind)
            ret_entries[changed++] = (struct entry){job->edits[i].doc, true};
    if (changed > 1)
        qsort(ret_entries, changed, sizeof *ret_entries, compare);
    count = changed;
    while ((doc = cfg_store_next(change->store, kind, doc)) != NULL)
        if (find(ret_entries, changed, doc->name) == NULL)
            ret_entries[count++] = (struct entry){doc, false};
    if (count > 1)
        qsort(ret_entries, count, sizeof *ret_entries, compare);
    return count;
}

/* All of a kind; their number. */
static size_t entries_of(struct outlook *outlook, const struct cfg_kind *kind,
                         struct entry **ret_entries)
{
    const struct cfg_change *change = outlook->change;
    size_t index = 0;

    while (cfg_kinds[index] != kind)
        index++;
    if (!outlook->listed[index]) {
        size_t room = change->job.edit_count + cfg_store_count(change->store, kind) + 1;
        outlook->entries[index] = calloc(room, sizeof *outlook->entries[index]);
        if (outlook->entries[index] != NULL)
            outlook->counts[index] = list(change, kind, outlook->entries[index]);
        else
            outlook->no_memory = true;
        outlook->listed[index] = true;
    }
    *ret_entries = outlook->entries[index];
    return outlook->counts[index];
}

static void add_fault(struct outlook *outlook, const struct cfg_doc *doc, const char *member,
                      const char *text)
{
    char pointer[192] = "", path[sizeof pointer + 64];

    if (outlook->point != NULL)
        outlook->point(doc, pointer);
    (void)snprintf(path, sizeof path, "%s%.63s", pointer, member);
    (void)ps_faults_add(outlook->faults, PS_E_INVALID, path, "%s", text);
}

/* --- References. --- */

static void add_use(struct outlook *outlook, const struct cfg_doc *doc, const struct cfg_doc *by)
{
    const struct use *last = outlook->use_count > 0 ? &outlook->uses[outlook->use_count - 1] : NULL;

    if (last != NULL && last->doc == doc && last->by == by)
        return;
    if (ps_grow(&outlook->uses, &outlook->use_room, outlook->use_count + 1, sizeof *outlook->uses) <
        0) {
        outlook->no_memory = true;
        return;
    }
    outlook->uses[outlook->use_count++] = (struct use){doc, by};
}

struct naming {
    struct outlook *outlook;
    const struct entry *by;
};

/* NULL: no name is similar. */
static const char *find_near(const struct entry *entries, size_t count, const char *name)
{
    const char **names = calloc(count + 1, sizeof *names);
    size_t known = 0;

    for (size_t i = 0; names != NULL && i < count; i++)
        if (entries[i].doc->json != NULL)
            names[known++] = entries[i].doc->name;
    const char *near = names != NULL ? ps_nearest_word(name, names) : NULL;
    free(names);
    return near;
}

static void look_up(const struct cfg_kind *kind, const char *name, const char *member, void *ctx)
{
    const struct naming *naming = ctx;
    struct outlook *outlook = naming->outlook;
    struct entry *entries;
    size_t count = entries_of(outlook, kind, &entries);
    const struct entry *named = find(entries, count, name);
    char text[320];

    if (named != NULL && named->doc->json != NULL)
        return;
    if (naming->by->changed) {
        const char *near = find_near(entries, count, name);
        (void)snprintf(text, sizeof text, "there is no %s \"%.64s\"%s%.64s%s%s", kind->word, name,
                       near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                       near != NULL ? "\"?" : "",
                       kind == &cfg_kind_sale
                           ? "; create the sale first, or send \"allow_unknown\":true"
                           : "");
        add_fault(outlook, naming->by->doc, member, text);
    } else if (named != NULL) {
        add_use(outlook, named->doc, naming->by->doc);
    }
}

/* --- Clashes. --- */

static void compare_all(struct outlook *outlook, const struct entry *entries, size_t count,
                        const struct entry *entry)
{
    const struct cfg_doc *doc = entry->doc;
    char text[256];

    for (size_t i = 0; i < count; i++) {
        const struct cfg_doc *other = entries[i].doc;
        if (other == doc || other->json == NULL || !doc->kind->clashes(doc->parsed, other->parsed))
            continue;
        (void)snprintf(text, sizeof text, "%.180s \"%.64s\"", doc->kind->clash_words, other->name);
        add_fault(outlook, doc, doc->kind->clash_member, text);
        return;
    }
}

/* --- All kinds. --- */

static void check_kind(struct outlook *outlook, const struct cfg_kind *kind)
{
    struct entry *entries;
    size_t count = entries_of(outlook, kind, &entries);

    for (size_t i = 0; i < count; i++) {
        struct naming naming = {outlook, &entries[i]};
        if (entries[i].doc->json == NULL)
            continue;
        if (kind->names != NULL)
            kind->names(entries[i].doc->parsed, look_up, &naming);
        if (kind->clashes != NULL && entries[i].changed)
            compare_all(outlook, entries, count, &entries[i]);
    }
}

/* Reports the documents that name deleted ones. */
static bool say_uses(struct outlook *outlook, const struct cfg_doc *doc)
{
    char text[300], pointer[192] = "";
    size_t count = 0, shown = 0;
    struct ps_buf buf;

    ps_buf_init(&buf, text, sizeof text - 40);
    for (size_t i = 0; i < outlook->use_count; i++) {
        const struct use *use = &outlook->uses[i];
        if (use->doc != doc)
            continue;
        count++;
        if (shown + 1 < count ||
            buf.len + strlen(use->by->kind->word) + strlen(use->by->name) + 8 > sizeof text - 40)
            continue;
        ps_buf_puts(&buf, shown++ > 0 ? ", " : "is named by ");
        ps_buf_puts(&buf, use->by->kind->word);
        ps_buf_puts(&buf, " \"");
        ps_buf_puts(&buf, use->by->name);
        ps_buf_puts(&buf, "\"");
    }
    if (count == 0)
        return false;
    text[buf.len] = '\0';
    if (outlook->point != NULL)
        outlook->point(doc, pointer);
    if (shown < count)
        (void)ps_faults_add(outlook->faults, PS_E_CONFLICT, pointer, "%s and %zu more", text,
                            count - shown);
    else
        (void)ps_faults_add(outlook->faults, PS_E_CONFLICT, pointer, "%s", text);
    return true;
}

/* Most changes concern only documents without references. */
static bool matters(const struct cfg_change *change)
{
    for (size_t i = 0; i < change->job.edit_count; i++) {
        const struct cfg_doc *doc = change->job.edits[i].doc;
        if (doc->json == NULL || doc->kind->names != NULL || doc->kind->clashes != NULL)
            return true;
    }
    return false;
}

int cfg_change_check(const struct cfg_change *change, cfg_point_fn *point,
                     enum cfg_refusal *ret_refusal, struct ps_faults *faults)
{
    struct outlook outlook = {.change = change, .point = point, .faults = faults};
    size_t before = faults->count;
    bool in_use = false;

    *ret_refusal = CFG_MAY;
    if (!matters(change))
        return 0;
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++)
        if ((*kind)->names != NULL || (*kind)->clashes != NULL)
            check_kind(&outlook, *kind);
    bool invalid = faults->count > before;
    for (size_t i = 0; outlook.use_count > 0 && i < change->job.edit_count; i++)
        in_use |=
            change->job.edits[i].doc->json == NULL && say_uses(&outlook, change->job.edits[i].doc);
    for (size_t i = 0; i < CFG_KINDS_MAX; i++)
        free(outlook.entries[i]);
    free(outlook.uses);
    if (outlook.no_memory)
        return PS_E_NOMEM;
    if (in_use && !invalid)
        *ret_refusal = CFG_IN_USE;
    return invalid ? PS_E_INVALID : in_use ? PS_E_CONFLICT : 0;
}
