/* What the log has decided and the counter in Redis must hear of: a queue from the log's thread to
 * the control thread, and there one list a sale. Beside it, the newest fence of each sale: who
 * ended an epoch, and when this gateway read it. */
#ifndef GW_EFFECTS_H
#define GW_EFFECTS_H

#include "queue/fold.h"

struct gw_effect {
    const struct oq_sale *books;
    struct ps_uuid id; /* of the order, or the adjustment's reference */
    int64_t seq;
    int64_t units; /* OQ_EFFECT_RAISED */
    uint32_t partition;
    uint32_t sku;
    enum oq_effect kind;
};

struct gw_effects;

int gw_effects_new(struct gw_effects **ret_effects) PS_MUST_CHECK;
void gw_effects_free(struct gw_effects *effects); /* NULL is allowed */

/* The log's thread. Changes of other kinds than confirmed, released, raised, void, lowered and
 * lower-void are none of the counter's business here and are left out. PS_E_NOMEM. */
int gw_effects_push(struct gw_effects *effects, uint32_t partition, int64_t seq,
                    const struct oq_change *change) PS_MUST_CHECK;
/* How many were pushed and not taken. Any thread. */
size_t gw_effects_waiting(const struct gw_effects *effects);

/* A list in order of coming, of one thread. All zero = empty. */
struct gw_effect_list {
    struct gw_effect *at;
    size_t first, count, cap; /* at[first] .. at[first + count - 1] */
};
int gw_effect_list_add(struct gw_effect_list *list, const struct gw_effect *effect) PS_MUST_CHECK;
void gw_effect_list_drop(struct gw_effect_list *list, size_t count); /* from the front */
/* Drops what `gone` says is gone. */
void gw_effect_list_filter(struct gw_effect_list *list,
                           bool (*gone)(const struct gw_effect *effect, const void *ctx),
                           const void *ctx);
void gw_effect_list_done(struct gw_effect_list *list);

/* The control thread: takes all that was pushed, in its order. `fn` returns a negative error to
 * leave this one and what follows for the next time; it is returned. */
int gw_effects_take(struct gw_effects *effects,
                    int (*fn)(const struct gw_effect *effect, void *ctx), void *ctx) PS_MUST_CHECK;

/* A fence that has raised an epoch of the sale. `read_ns` is of the monotonic clock; INT64_MIN = it
 * was read back at start, nobody knows how old it is. The log's thread. PS_E_NOMEM. */
int gw_effects_fence(struct gw_effects *effects, const struct oq_sale *books, int64_t epoch,
                     struct ps_str gateway, int64_t read_ns) PS_MUST_CHECK;
struct gw_fence {
    int64_t epoch; /* 0 = none yet */
    int64_t read_ns;
    char gateway[OQ_GATEWAY_MAX + 1]; /* its author; "": there are two */
};
/* The highest of the sale. Any thread. */
void gw_effects_last_fence(struct gw_effects *effects, const struct oq_sale *books,
                           struct gw_fence *ret_fence);

#endif
