/* Sales of a snapshot. SKUs are found one by one: there are at most 100, and mostly a handful. */
#include "gateway/snapshot/sale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `"price":{…},"attributes":{…}`: the members of an object without its braces. */
static char *public_members(const struct cfg_sku_doc *doc)
{
    json_t *price = doc->amount[0] == '\0'
                        ? json_null()
                        : json_pack("{s:s, s:s}", "amount", doc->amount, "currency", doc->currency);
    json_t *object = json_pack("{s:o, s:O}", "price", price, "attributes", doc->attributes);
    char *text = object != NULL ? json_dumps(object, CFG_JSON_FLAGS) : NULL;
    json_decref(object);
    if (text == NULL)
        return NULL;
    size_t len = strlen(text);
    memmove(text, text + 1, len - 2);
    text[len - 2] = '\0';
    return text;
}

void snap_sale_free(struct snap_sale *sale)
{
    if (sale == NULL)
        return;
    for (size_t i = 0; i < sale->sku_count; i++)
        free(sale->skus[i].public_members);
    free(sale->skus);
    free(sale->attributes);
    free(sale);
}

struct snap_sale *snap_sale_new(const char *name, const struct cfg_sale_doc *doc,
                                const struct cfg_sale_state *state)
{
    struct snap_sale *sale = calloc(1, sizeof *sale);
    if (sale == NULL)
        return NULL;
    (void)snprintf(sale->name, sizeof sale->name, "%s", name);
    sale->version = state->version;
    sale->opens_at_ms = doc->opens_at_ms;
    sale->closes_at_ms = doc->closes_at_ms;
    sale->draft = doc->opens_at_ms == INT64_MAX;
    sale->paused = state->paused;
    sale->ended = state->ended;
    sale->archived = state->archived;
    sale->rehearsal = doc->rehearsal;
    memcpy(sale->twin_of, doc->twin_of, sizeof sale->twin_of);
    sale->created_at_ms = state->created_at_ms;
    sale->cap = doc->cap;
    sale->ttl_ms = doc->ttl_s * 1000;
    sale->attributes = json_dumps(doc->attributes, CFG_JSON_FLAGS);
    sale->skus = calloc(doc->sku_count, sizeof *sale->skus);
    bool whole = sale->attributes != NULL && sale->skus != NULL;
    for (; whole && sale->sku_count < doc->sku_count; sale->sku_count++) {
        const struct cfg_sku_doc *from = &doc->skus[sale->sku_count];
        struct snap_sku *sku = &sale->skus[sale->sku_count];
        memcpy(sku->name, from->name, sizeof sku->name);
        sku->cap = from->cap;
        sku->stock = from->stock;
        sku->public_members = public_members(from);
        whole = sku->public_members != NULL;
    }
    if (whole)
        return sale;
    snap_sale_free(sale);
    return NULL;
}

struct snap_sale *snap_sale_copy(const struct snap_sale *from)
{
    struct snap_sale *sale = malloc(sizeof *sale);
    if (sale == NULL)
        return NULL;
    *sale = *from;
    sale->sku_count = 0;
    sale->attributes = strdup(from->attributes);
    sale->skus = calloc(from->sku_count, sizeof *sale->skus);
    bool whole = sale->attributes != NULL && sale->skus != NULL;
    for (; whole && sale->sku_count < from->sku_count; sale->sku_count++) {
        struct snap_sku *sku = &sale->skus[sale->sku_count];
        *sku = from->skus[sale->sku_count];
        sku->public_members = strdup(sku->public_members);
        whole = sku->public_members != NULL;
    }
    if (whole)
        return sale;
    snap_sale_free(sale);
    return NULL;
}

enum cfg_phase snap_sale_phase(const struct snap_sale *sale, int64_t wall_ms)
{
    return cfg_phase_at(sale->opens_at_ms, sale->closes_at_ms, sale->paused,
                        sale->ended || snap_sale_is_archived(sale), wall_ms);
}

int snap_sale_sku(const struct snap_sale *sale, const char *name, size_t len, uint32_t *ret_sku)
{
    for (uint32_t i = 0; i < sale->sku_count; i++) {
        if (ps_str_is((struct ps_str){name, len}, sale->skus[i].name)) {
            *ret_sku = i;
            return 0;
        }
    }
    return PS_E_NOT_FOUND;
}

/* Sorts the SKUs in the order of the log: the index that each got when its stock landed. It is the
 * document's order, unless a disk failed in the middle of the opening. */
static void order_skus(struct snap_sale *sale)
{
    for (uint32_t place = 0; place < sale->sku_count; place++) {
        const char *name = oq_sale_sku(sale->log_sale, place);
        for (size_t i = place + 1; name != NULL && i < sale->sku_count; i++) {
            struct snap_sku sku = sale->skus[i];
            if (strcmp(sku.name, name) != 0)
                continue;
            sale->skus[i] = sale->skus[place];
            sale->skus[place] = sku;
            break;
        }
    }
}

bool snap_sale_is_run(const struct snap_sale *sale, const struct snap_sale_run *run)
{
    return sale->counter == run->counter && sale->log_sale == run->log_sale &&
           sale->epoch == run->epoch && sale->fenced == run->fenced &&
           sale->unserved == run->unserved && (sale->archived || !run->archived);
}

void snap_sale_set_run(struct snap_sale *sale, const struct snap_sale_run *run)
{
    sale->counter = run->counter;
    sale->log_sale = run->log_sale;
    sale->epoch = run->epoch;
    sale->fenced = run->fenced;
    sale->unserved = run->unserved;
    sale->archived |= run->archived;
    if (sale->log_sale != NULL)
        order_skus(sale);
}
