/* The contract of inventory/store.h said once more, as slowly and plainly as possible: every order
 * and adjustment in one array, every question answered by reading all of it. One sale; users and
 * keys are strings that outlive the model. */
#ifndef STORE_MODEL_H
#define STORE_MODEL_H

#include "inventory/store.h"

#define MODEL_SKUS 3
#define MODEL_ROWS 1024

struct model_row {
    enum {
        MODEL_IN_DOUBT,
        MODEL_HELD,
        MODEL_CONFIRMED,
        MODEL_GIVEN_BACK,
        MODEL_LOWERING,
        MODEL_LOWERED,
        MODEL_RAISED,
        MODEL_FORGOTTEN
    } state;
    struct ps_uuid id;
    struct ps_str user, key;
    uint32_t sku;
    int64_t quantity;
    int64_t reserved_at_ms, pay_by_ms;
};

struct model {
    int64_t epoch;
    int64_t available[MODEL_SKUS];
    size_t count;
    struct model_row rows[MODEL_ROWS]; /* in the order of time */
};

struct inv_answer model_reserve(struct model *model, const struct inv_reservation *reservation,
                                int64_t now_ms);
struct inv_answer model_lower(struct model *model, int64_t epoch, const struct ps_uuid *id,
                              uint32_t sku, int64_t units);
void model_resolve(struct model *model, const struct ps_uuid *id, enum inv_verdict verdict);
void model_raise(struct model *model, const struct ps_uuid *id, uint32_t sku, int64_t units);
struct inv_count model_counts(const struct model *model, uint32_t sku);
/* NULL when the order is not known. */
const struct model_row *model_find(const struct model *model, const struct ps_uuid *id);
/* What is left when the counters are built again from the log: nothing that is in doubt. */
void model_rebuild(struct model *model, int64_t epoch);

#endif
