/* The kind of sale documents: the functions that the store calls. */
#include "gateway/config/store/store.h"

#include "common/program/log.h"
#include "gateway/config/kinds/formats.h"
#include "gateway/config/kinds/sale_doc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POINTER_MAX 192

static int sale_state(void *parsed, const json_t *state, struct ps_faults *faults)
{
    return cfg_sale_state_read(state, &((struct cfg_stored_sale *)parsed)->state, faults);
}

static int sale_show(const struct cfg_doc *doc, json_t *json)
{
    return json_object_set_new(json, "sale", json_string(doc->name)) |
           json_object_set_new(json, "version", json_integer(doc->version)) |
           json_object_set_new(json, "created_at", ps_json_of_time(doc->created_at_ms)) |
           json_object_set_new(json, "updated_at", ps_json_of_time(doc->by.at_ms));
}

static bool is_twin_of_twin(const struct cfg_store *store, const struct cfg_doc *doc)
{
    const char *twin_of = cfg_sale_of(doc)->doc.twin_of;
    const struct cfg_doc *of =
        twin_of[0] != '\0' ? cfg_store_find(store, &cfg_kind_sale, twin_of) : NULL;
    return of != NULL && cfg_sale_of(of)->doc.twin_of[0] != '\0';
}

static enum cfg_refusal sale_may_change(const struct cfg_store *store, const struct cfg_doc *from,
                                        const struct cfg_doc *to, const char *pointer,
                                        struct ps_faults *faults)
{
    bool used = cfg_store_sale_is_used(store, from != NULL ? from->name : to->name);
    /* The seed may restore a sale whose control.db was lost. */
    if (from == NULL && used && strcmp(to->by.who, "settings") != 0) {
        (void)ps_faults_add(
            faults, PS_E_CONFLICT, pointer,
            "the order log already has records of a sale with this name; choose another name");
        return CFG_CONFLICT;
    }
    if (from == NULL && is_twin_of_twin(store, to)) {
        char member[POINTER_MAX];
        (void)snprintf(member, sizeof member, "%s/twin_of", pointer);
        (void)ps_faults_add(faults, PS_E_CONFLICT, member,
                            "is itself a twin: name the sale that it is a twin of");
        return CFG_CONFLICT;
    }
    const struct cfg_stored_sale *was = used && from != NULL ? cfg_sale_of(from) : NULL;
    if (to->json == NULL && was != NULL && was->doc.rehearsal && was->state.archived)
        return CFG_MAY; /* no buyer was promised a unit */
    if (to->json == NULL && used && !cfg_store_sale_is_forgettable(store, from->name)) {
        (void)ps_faults_add(faults, PS_E_CONFLICT, pointer,
                            "was opened: it can be deleted a few seconds after its end, "
                            "if it has no orders, or if it is a rehearsal");
        return CFG_HAS_ORDERS;
    }
    if (from == NULL || to->json == NULL)
        return CFG_MAY;
    struct cfg_sale_state state = cfg_sale_of(from)->state;
    state.opened = used;
    return cfg_sale_doc_change(&cfg_sale_of(from)->doc, &cfg_sale_of(to)->doc, &state,
                               ps_clock_wall_ms(cfg_store_clock(store)), pointer, faults);
}

/* The sale of a twin may be created later, or its name may be mistyped. */
static void sale_changed(const struct cfg_store *store, const struct cfg_doc *doc)
{
    const struct cfg_stored_sale *sale = doc->parsed;
    if (sale != NULL && sale->doc.twin_of[0] != '\0' &&
        cfg_store_find(store, &cfg_kind_sale, sale->doc.twin_of) == NULL)
        ps_log(PS_LOG_WARN, "twin_without_sale", PS_F_STR("sale", doc->name),
               PS_F_STR("twin_of", sale->doc.twin_of));
}

const struct cfg_kind cfg_kind_sale = {
    .path = "sales",
    .id = "sale",
    .word = "sale",
    .name_rule = "a sale's name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    .listed = "sales",
    .put = "sale.put",
    .drop = "sale.delete",
    .max = CFG_SALES_MAX,
    .initial_state = "{\"opening\":false,\"opened\":false,\"paused\":false,\"ended\":false}",
    .name = cfg_plain_name,
    .table = &cfg_sale_table,
    .read_state = sale_state,
    .show = sale_show,
    .may_change = sale_may_change,
    .changed = sale_changed,
};
