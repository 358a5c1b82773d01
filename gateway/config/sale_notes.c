/* A note is a change like an operator's, by the gateway itself. */
#include "gateway/config/sale_notes.h"

/* Adds the sale with the note in its state. */
static int add_note(struct cfg_change *change, const struct cfg_store *store, const char *sale,
                    enum cfg_sale_note note)
{
    const struct cfg_doc *have = cfg_store_find(store, &cfg_kind_sale, sale);

    if (have == NULL)
        return PS_E_NOT_FOUND;
    struct cfg_sale_state state = cfg_sale_of(have)->state;
    if (note == CFG_NOTE_ARCHIVED) {
        state.archived = true;
    } else {
        state.opening = note == CFG_NOTE_OPENING;
        state.opened = note == CFG_NOTE_OPENED;
    }
    if (state.opening && state.opening_id[0] == '\0') {
        struct ps_uuid_source source;
        struct ps_uuid id;
        ps_uuid_source_init(&source);
        ps_uuid_next(&source, ps_clock_wall_ms(cfg_store_clock(store)), &id);
        ps_uuid_format(&id, state.opening_id);
    }
    json_t *json = cfg_sale_state_write(&state);
    int err = json != NULL ? cfg_change_state(change, &cfg_kind_sale, sale, json) : PS_E_NOMEM;
    json_decref(json);
    return err;
}

int cfg_store_note_sales(struct cfg_store *store, const char *const *sales, size_t count,
                         enum cfg_sale_note note, cfg_done_fn *done, void *ctx)
{
    static const char *const actions[] = {[CFG_NOTE_OPENING] = "sale.opening",
                                          [CFG_NOTE_OPENED] = "sale.open",
                                          [CFG_NOTE_ARCHIVED] = "sale.archive"};
    struct cfg_change *change = cfg_change_own(store, CFG_BY_GATEWAY, actions[note]);
    int err = change == NULL ? PS_E_NOMEM : 0;

    for (size_t i = 0; i < count && err == 0; i++)
        err = add_note(change, store, sales[i], note);
    if (err < 0) {
        cfg_change_free(change);
        return err;
    }
    if (count == 1)
        cfg_change_line(change, "", NULL, NULL);
    else
        cfg_change_about(change, cfg_kind_sale.path);
    return cfg_change_submit(change, done, ctx);
}
