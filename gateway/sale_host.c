/* Connects sales/ to the store of documents. A note is a change like an operator's: compared by
 * Redis, written, then in force. Sales that are due at the same moment ask for their notes
 * together, and a change costs a commit: so while one is in progress the notes wait, and the next
 * change has them all. Notes that fail together are retried one by one: a sale that somebody has
 * changed meanwhile holds up no other. */
#include "gateway/sale_host.h"

#include "common/program/log.h"
#include "gateway/config/sale_notes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool get_decided(const char *name, struct sale_decided *ret_decided, void *ctx)
{
    const struct gw_control *control = ctx;
    const struct sale_entry *sale = sale_list_find(&control->sales, name, strlen(name));

    if (sale == NULL)
        return false;
    *ret_decided = (struct sale_decided){.doc = &sale->stored.doc,
                                         .state = &sale->stored.state,
                                         .settled = !sale->changing && gw_control_synced(control),
                                         .shared = cfg_store_is_shared(control->deps.config)};
    return true;
}

static void mark_changed(const char *name, void *ctx)
{
    struct gw_control *control = ctx;

    control->dirty = true;
    for (size_t i = 0; i < control->changed_count && i < GW_CHANGED_MAX; i++)
        if (strcmp(control->changed[i], name) == 0)
            return;
    if (control->changed_count < GW_CHANGED_MAX)
        (void)snprintf(control->changed[control->changed_count], PS_NAME_MAX + 1, "%s", name);
    if (control->changed_count <= GW_CHANGED_MAX)
        control->changed_count++;
}

/* So that other changes get their turn. */
#define TOGETHER_MAX 256

static void try_one_by_one(struct gw_control *control, struct gw_notes *failed)
{
    struct gw_note *note;

    STAILQ_FOREACH(note, failed, next)
    note->alone = true;
    STAILQ_CONCAT(failed, &control->notes);
    STAILQ_CONCAT(&control->notes, failed);
}

/* The change in progress has ended. */
static void finish(struct gw_control *control, int err, const char *why)
{
    struct gw_notes notes = STAILQ_HEAD_INITIALIZER(notes);
    struct gw_note *note;

    STAILQ_CONCAT(&notes, &control->noting);
    note = STAILQ_FIRST(&notes);
    if (err < 0 && err != PS_E_CLOSED && STAILQ_NEXT(note, next) != NULL)
        try_one_by_one(control, &notes);
    while ((note = STAILQ_FIRST(&notes)) != NULL) {
        STAILQ_REMOVE_HEAD(&notes, next);
        if (err < 0)
            ps_log(PS_LOG_ERROR, "opening_not_noted", PS_F_STR("sale", note->sale),
                   PS_F_STR("error", why));
        sale_noted(control->deps.sales, note->sale, note->note, err == 0);
        free(note);
    }
}

/* Starts the first notes that may go together; returns how many. */
static size_t take_together(struct gw_control *control, const char **ret_sales)
{
    const struct gw_note *first = STAILQ_FIRST(&control->notes);
    size_t most = first->alone ? 1 : TOGETHER_MAX, count = 0;
    struct gw_note *note;

    while (count < most && (note = STAILQ_FIRST(&control->notes)) != NULL &&
           note->note == first->note && note->alone == first->alone) {
        STAILQ_REMOVE_HEAD(&control->notes, next);
        STAILQ_INSERT_TAIL(&control->noting, note, next);
        ret_sales[count++] = note->sale;
    }
    return count;
}

static void end_notes(int err, const struct ps_fault *fault, void *ctx);

static void begin_noting(struct gw_control *control)
{
    const char *sales[TOGETHER_MAX];

    while (STAILQ_EMPTY(&control->noting) && !STAILQ_EMPTY(&control->notes)) {
        enum cfg_sale_note note = STAILQ_FIRST(&control->notes)->note;
        size_t count = take_together(control, sales);
        int err =
            cfg_store_note_sales(control->deps.config, sales, count, note, end_notes, control);
        if (err < 0)
            finish(control, err, ps_err_text(err));
    }
}

static void end_notes(int err, const struct ps_fault *fault, void *ctx)
{
    struct gw_control *control = ctx;

    finish(control, err, fault->text);
    if (err != PS_E_CLOSED)
        begin_noting(control);
}

static void write_note(const char *name, enum cfg_sale_note what, void *ctx)
{
    struct gw_control *control = ctx;
    struct gw_note *note;

    if (what == CFG_NOTE_OPENING && !cfg_store_is_shared(control->deps.config)) {
        sale_noted(control->deps.sales, name, what, true); /* no other gateway decides */
        return;
    }
    note = calloc(1, sizeof *note);
    if (note == NULL) {
        sale_noted(control->deps.sales, name, what, false);
        return;
    }
    (void)snprintf(note->sale, sizeof note->sale, "%s", name);
    note->note = what;
    STAILQ_INSERT_TAIL(&control->notes, note, next);
    begin_noting(control);
}

struct sale_host gw_sale_host(struct gw_control *control)
{
    return (struct sale_host){
        .decided = get_decided, .note = write_note, .changed = mark_changed, .ctx = control};
}
