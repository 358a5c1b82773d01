/* Ties sales/ to the store of documents. A note is a change like an operator's: compared by Redis,
 * written, then in force. */
#include "gateway/sale_host.h"

#include "common/log.h"

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
                                         .settled = !sale->changing && gw_control_synced(control)};
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

struct note {
    struct gw_control *control;
    char name[PS_NAME_MAX + 1];
};

static void end_note(int err, const struct ps_fault *fault, void *ctx)
{
    struct note *note = ctx;

    if (err < 0)
        ps_log(PS_LOG_ERROR, "opening_not_noted", PS_F_STR("sale", note->name),
               PS_F_STR("error", fault->text));
    sale_noted(note->control->deps.sales, note->name, err == 0);
    free(note);
}

static void write_note(const char *name, enum sale_note what, void *ctx)
{
    struct gw_control *control = ctx;
    struct note *note;

    if (what == SALE_NOTE_OPENING && !cfg_store_is_shared(control->deps.config)) {
        sale_noted(control->deps.sales, name, true); /* nobody else decides */
        return;
    }
    note = malloc(sizeof *note);
    if (note != NULL) {
        note->control = control;
        (void)snprintf(note->name, sizeof note->name, "%s", name);
        if (cfg_store_note_sale(control->deps.config, name, what == SALE_NOTE_OPENED, end_note,
                                note) == 0)
            return;
    }
    free(note);
    sale_noted(control->deps.sales, name, false);
}

struct sale_host gw_sale_host(struct gw_control *control)
{
    return (struct sale_host){
        .decided = get_decided, .note = write_note, .changed = mark_changed, .ctx = control};
}
