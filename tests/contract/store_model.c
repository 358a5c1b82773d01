/* The plain model of a store's contract. */
#include "tests/contract/store_model.h"

#include <assert.h>
#include <string.h>

static bool same_text(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool is_live(const struct model_row *row)
{
    return row->state == MODEL_IN_DOUBT || row->state == MODEL_HELD ||
           row->state == MODEL_CONFIRMED;
}

static struct model_row *row_of(struct model *model, const struct ps_uuid *id)
{
    for (size_t i = 0; i < model->count; i++) {
        struct model_row *row = &model->rows[i];
        if (row->state != MODEL_FORGOTTEN && ps_uuid_equal(&row->id, id))
            return row;
    }
    return NULL;
}

static struct model_row *add_row(struct model *model)
{
    assert(model->count < MODEL_ROWS);
    return &model->rows[model->count++];
}

struct inv_answer model_reserve(struct model *model, const struct inv_reservation *r,
                                int64_t now_ms)
{
    struct inv_answer answer = {.result = INV_FENCED};
    if (r->epoch != model->epoch)
        return answer;
    answer.left = model->available[r->sku];

    struct model_row *row = row_of(model, &r->order_id);
    if (row != NULL) {
        answer.order_id = row->id;
        answer.result = is_live(row) ? INV_RESERVED : INV_DUPLICATE;
        if (is_live(row)) {
            answer.reserved_at_ms = row->reserved_at_ms;
            answer.pay_by_ms = row->pay_by_ms;
        }
        return answer;
    }
    int64_t units = 0, sku_units = 0;
    struct ps_uuid last = {{0}};
    for (size_t i = 0; i < model->count; i++) {
        row = &model->rows[i];
        if (row->state == MODEL_FORGOTTEN || !same_text(row->user, r->user))
            continue;
        if (r->key.len > 0 && same_text(row->key, r->key)) {
            bool same = row->sku == r->sku && row->quantity == r->quantity;
            answer.result = same ? INV_DUPLICATE : INV_MISMATCH;
            answer.order_id = row->id;
            return answer;
        }
        if (is_live(row)) {
            units += row->quantity;
            sku_units += row->sku == r->sku ? row->quantity : 0;
            last = row->id;
        }
    }
    if (units + r->quantity > r->cap || (r->sku_cap > 0 && sku_units + r->quantity > r->sku_cap)) {
        answer.result = INV_CAP;
        answer.order_id = last;
        return answer;
    }
    answer.result = INV_SOLD_OUT;
    if (model->available[r->sku] < r->quantity)
        return answer;
    row = add_row(model);
    *row = (struct model_row){MODEL_IN_DOUBT, r->order_id, r->user, r->key,
                              r->sku,         r->quantity, now_ms,  now_ms + r->ttl_ms};
    model->available[r->sku] -= r->quantity;
    return (struct inv_answer){INV_RESERVED, model->available[r->sku], row->reserved_at_ms,
                               row->pay_by_ms, row->id};
}

struct inv_answer model_lower(struct model *model, int64_t epoch, const struct ps_uuid *id,
                              uint32_t sku, int64_t units)
{
    struct inv_answer answer = {.result = INV_FENCED};
    if (epoch != model->epoch)
        return answer;
    answer.result = INV_SOLD_OUT;
    if (row_of(model, id) == NULL && model->available[sku] >= units) {
        *add_row(model) =
            (struct model_row){.state = MODEL_LOWERING, .id = *id, .sku = sku, .quantity = units};
        model->available[sku] -= units;
    }
    if (row_of(model, id) != NULL) {
        answer.result = INV_RESERVED;
        answer.order_id = *id;
    }
    answer.left = model->available[sku];
    return answer;
}

void model_resolve(struct model *model, const struct ps_uuid *id, enum inv_verdict verdict)
{
    struct model_row *row = row_of(model, id);
    if (row == NULL)
        return;
    if (row->state == MODEL_LOWERING && verdict == INV_ACCEPTED) {
        row->state = MODEL_LOWERED;
    } else if ((row->state == MODEL_LOWERING || row->state == MODEL_IN_DOUBT) &&
               verdict == INV_VOID) {
        row->state = MODEL_FORGOTTEN;
        model->available[row->sku] += row->quantity;
    } else if (row->state == MODEL_IN_DOUBT && verdict == INV_ACCEPTED) {
        row->state = MODEL_HELD;
    } else if (row->state == MODEL_IN_DOUBT || row->state == MODEL_HELD) {
        if (verdict == INV_CONFIRMED)
            row->state = MODEL_CONFIRMED;
        if (verdict == INV_RELEASED) {
            row->state = row->key.len > 0 ? MODEL_GIVEN_BACK : MODEL_FORGOTTEN;
            model->available[row->sku] += row->quantity;
        }
    }
}

void model_raise(struct model *model, const struct ps_uuid *id, uint32_t sku, int64_t units)
{
    const struct model_row *row = row_of(model, id);
    if (row != NULL && row->state == MODEL_LOWERING)
        model_resolve(model, id, INV_VOID);
    struct inv_count now = model_counts(model, sku);
    if (row_of(model, id) != NULL ||
        units > PS_INT_MAX - now.available - now.in_doubt - now.held - now.confirmed)
        return;
    *add_row(model) =
        (struct model_row){.state = MODEL_RAISED, .id = *id, .sku = sku, .quantity = units};
    model->available[sku] += units;
}

struct inv_count model_counts(const struct model *model, uint32_t sku)
{
    struct inv_count count = {.available = model->available[sku]};
    for (size_t i = 0; i < model->count; i++) {
        const struct model_row *row = &model->rows[i];
        if (row->sku != sku)
            continue;
        if (row->state == MODEL_IN_DOUBT || row->state == MODEL_LOWERING)
            count.in_doubt += row->quantity;
        else if (row->state == MODEL_HELD)
            count.held += row->quantity;
        else if (row->state == MODEL_CONFIRMED)
            count.confirmed += row->quantity;
    }
    return count;
}

const struct model_row *model_find(const struct model *model, const struct ps_uuid *id)
{
    const struct model_row *row = row_of((struct model *)model, id);
    return row != NULL && row->user.len > 0 ? row : NULL;
}

void model_rebuild(struct model *model, int64_t epoch)
{
    model->epoch = epoch;
    for (size_t i = 0; i < model->count; i++) {
        struct model_row *row = &model->rows[i];
        if (row->state == MODEL_IN_DOUBT || row->state == MODEL_LOWERING) {
            model->available[row->sku] += row->quantity;
            row->state = MODEL_FORGOTTEN;
        }
        if (row->state == MODEL_LOWERED)
            row->state = MODEL_FORGOTTEN;
        row->reserved_at_ms = row->pay_by_ms = 0;
    }
}
