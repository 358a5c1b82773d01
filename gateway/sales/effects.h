/* The log's decisions on their way from the log's thread to the control thread, which reports them
 * to Redis: a queue, and then one list for each sale. Beside it, the newest fence of each sale: who
 * ended an epoch, and when this gateway read it.
 *
 * A checkpoint has the effects in its fold, but not whether Redis has them. So it notes, for each
 * sale, the place of the last one in each partition; a start from it treats all up to there as
 * forgotten (apply.c): if Redis has not passed these places, the sale is rebuilt. */
#ifndef SALE_EFFECTS_H
#define SALE_EFFECTS_H

#include "inventory/store.h"
#include "queue/fold.h"

/* What a counter must be told. */
struct sale_effect {
    const struct oq_sale *log_sale;
    struct ps_uuid id; /* of the order, or the adjustment's reference */
    int64_t seq;
    int64_t units; /* units added to the stock; 0: the verdict counts */
    uint32_t partition;
    uint32_t sku;
    enum inv_verdict verdict;
    bool forgotten; /* this effect and earlier ones of its partition: only the place is known */
};

/* False: the change does not concern a counter. */
bool sale_effect_of(const struct oq_change *change, struct sale_effect *ret_effect);
void sale_effect_apply(const struct sale_effect *effect, struct inv_store *store,
                       struct inv_sale *counter);

struct sale_effects;

int sale_effects_new(struct sale_effects **ret_effects) PS_MUST_CHECK;
void sale_effects_free(struct sale_effects *effects); /* NULL is allowed */

/* The log's thread. PS_E_NOMEM. */
int sale_effects_push(struct sale_effects *effects, const struct sale_effect *effect) PS_MUST_CHECK;
/* How many were pushed and not taken yet. Any thread. */
size_t sale_effects_waiting(const struct sale_effects *effects);

/* A list in order of arrival, of one thread. All zero = empty. */
struct sale_effect_list {
    struct sale_effect *at;
    size_t first, count, cap; /* at[first] .. at[first + count - 1] */
};
int sale_effect_list_add(struct sale_effect_list *list,
                         const struct sale_effect *effect) PS_MUST_CHECK;
void sale_effect_list_drop(struct sale_effect_list *list, size_t count); /* from the front */
/* Drops what `gone` says is gone. */
void sale_effect_list_filter(struct sale_effect_list *list,
                             bool (*gone)(const struct sale_effect *effect, const void *ctx),
                             const void *ctx);
void sale_effect_list_done(struct sale_effect_list *list);

/* The control thread: takes all that was pushed, in order. `fn` returns a negative error to leave
 * this one and all later ones for the next call; the error is returned. */
int sale_effects_take(struct sale_effects *effects,
                      int (*fn)(const struct sale_effect *effect, void *ctx),
                      void *ctx) PS_MUST_CHECK;

/* For arrays that are sorted by the address of the log's sale, which their elements begin with. */
int sale_compare_log_sale(const void *log_sale, const void *element);

/* A fence that has raised an epoch of the sale. `read_ns` is monotonic; INT64_MIN: it was read back
 * at the start, and its age is unknown. The log's thread. PS_E_NOMEM. */
int sale_effects_fence(struct sale_effects *effects, const struct oq_sale *log_sale, int64_t epoch,
                       struct ps_str gateway, int64_t read_ns) PS_MUST_CHECK;
struct sale_fence {
    int64_t epoch; /* 0 = none yet */
    int64_t read_ns;
    char gateway[OQ_GATEWAY_MAX + 1]; /* its author; "": there are two */
};
/* For a checkpoint: the present fences and places of the last effects; `all`: every effect was
 * pushed. The log's thread; the caller frees *ret_notes. PS_E_NOMEM. */
int sale_effects_note(struct sale_effects *effects, bool all, char **ret_notes,
                      size_t *ret_len) PS_MUST_CHECK;
/* Takes such notes; `fold` has what belongs to them. Pushes the last effects, as forgotten, if
 * `push`. On the log's thread, before its first record. PS_E_INVALID: effects must be pushed, and
 * not all were noted. PS_E_CORRUPT: the notes are damaged. With `effects` NULL, on any thread, only
 * checks them. PS_E_NOMEM. */
int sale_effects_restore(struct sale_effects *effects, const struct oq_fold *fold,
                         struct ps_str notes, bool push) PS_MUST_CHECK;
/* The highest of the sale. Any thread. */
void sale_effects_last_fence(struct sale_effects *effects, const struct oq_sale *log_sale,
                             struct sale_fence *ret_fence);

#endif
