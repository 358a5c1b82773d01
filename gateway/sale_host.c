/* Ties sales/ to the control thread's memory and its store. A note is a change like an operator's:
 * compared by Redis, written, then applied. */
#include "gateway/sale_host.h"

#include "common/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool get_decided(const char *name, struct sale_decided *ret_decided, void *ctx)
{
    const struct gw_control *control = ctx;
    const struct gw_control_sale *sale = gw_control_sale(control, name, strlen(name));

    if (sale == NULL)
        return false;
    *ret_decided = (struct sale_decided){.doc = &sale->stored.doc,
                                         .state = &sale->stored.state,
                                         .settled = !sale->changing && gw_control_synced(control)};
    return true;
}

static void mark_changed(void *ctx)
{
    struct gw_control *control = ctx;

    control->dirty = true;
}

static void apply_note(struct gw_control *control, void *ctx)
{
    const struct cfg_stored_sale *stored = ctx;

    if (gw_control_put_sale(control, stored) < 0)
        ps_log(PS_LOG_ERROR, "sale_not_taken_over", PS_F_STR("sale", stored->name));
}

static void end_note(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct cfg_stored_sale *stored = ctx;

    if (err < 0)
        ps_log(PS_LOG_ERROR, "opening_not_noted", PS_F_STR("sale", stored->name),
               PS_F_STR("error", fault->text));
    sale_noted(control->core->sales, stored->name, err == 0);
    cfg_sale_doc_done(&stored->doc);
    free(stored);
}

/* The sale's document with the note as its next version; NULL: out of memory. */
static struct cfg_stored_sale *new_note(const struct gw_control_sale *sale, enum sale_note note,
                                        int64_t now_ms)
{
    struct cfg_stored_sale *stored = malloc(sizeof *stored);

    if (stored == NULL)
        return NULL;
    *stored = sale->stored;
    if (cfg_sale_doc_copy(&sale->stored.doc, &stored->doc) < 0) {
        free(stored);
        return NULL;
    }
    stored->state.version++;
    stored->state.updated_at_ms = now_ms;
    stored->state.opening = note == SALE_NOTE_OPENING;
    stored->state.opened = note == SALE_NOTE_OPENED;
    return stored;
}

static void write_note(const char *name, enum sale_note note, void *ctx)
{
    struct gw_control *control = ctx;
    const struct gw_control_sale *sale = gw_control_sale(control, name, strlen(name));
    int64_t now_ms = ps_clock_wall_ms(control->core->clock);
    struct cfg_stored_sale *stored;
    struct cfg_store_job *job;
    char target[PS_NAME_MAX + 8];

    if (note == SALE_NOTE_OPENING && control->accord == NULL) { /* nobody else decides */
        sale_noted(control->core->sales, name, true);
        return;
    }
    stored = new_note(sale, note, now_ms);
    job = stored != NULL ? cfg_store_job_new() : NULL;
    if (job != NULL) {
        (void)snprintf(target, sizeof target, "sales/%s", name);
        cfg_store_job_sale(job, stored->name, &stored->doc, &stored->state);
        cfg_store_job_audit(job, &(struct cfg_audit_entry){.at_ms = now_ms,
                                                           .who = "system",
                                                           .peer = "",
                                                           .action = note == SALE_NOTE_OPENED
                                                                         ? "sale.open"
                                                                         : "sale.opening",
                                                           .target = target});
        if (gw_control_change(control, job, apply_note, end_note, stored) == 0)
            return;
    }
    if (stored != NULL)
        cfg_sale_doc_done(&stored->doc);
    free(stored);
    sale_noted(control->core->sales, name, false);
}

struct sale_host gw_sale_host(struct gw_control *control)
{
    return (struct sale_host){
        .decided = get_decided, .note = write_note, .changed = mark_changed, .ctx = control};
}
