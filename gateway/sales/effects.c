/* The log's thread must not wait: it holds the lock only to append, the other side only to swap its
 * empty list for the full one. Fences are few and kept by sale. */
#include "gateway/sales/effects.h"

#include "common/sorted.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CAP 64

struct last_fence {
    const struct oq_sale *log_sale; /* sale_compare_log_sale */
    struct sale_fence fence;
};

struct sale_effects {
    pthread_mutex_t lock;
    struct sale_effect_list pushed; /* under the lock */
    struct last_fence *fences;      /* under the lock; by address of the sale */
    size_t fence_count;
    _Atomic(size_t) waiting;
    struct sale_effect_list taken; /* the taker's: left from the time before */
};

/* --- what a counter is to be told --- */

bool sale_effect_of(const struct oq_change *change, struct sale_effect *ret_effect)
{
    static const struct {
        bool told, order;
        enum inv_verdict verdict;
    } told[] = {[OQ_EFFECT_NONE] = {0},
                [OQ_EFFECT_FENCED] = {0},
                [OQ_EFFECT_ARCHIVED] = {0},
                [OQ_EFFECT_ACCEPTED] = {true, true, INV_ACCEPTED},
                [OQ_EFFECT_CONFIRMED] = {true, true, INV_CONFIRMED},
                [OQ_EFFECT_RELEASED] = {true, true, INV_RELEASED},
                [OQ_EFFECT_VOID] = {true, true, INV_VOID},
                [OQ_EFFECT_LOWERED] = {true, false, INV_ACCEPTED},
                [OQ_EFFECT_LOWER_VOID] = {true, false, INV_VOID},
                [OQ_EFFECT_RAISED] = {true, false, INV_ACCEPTED}};
    bool raised = change->effect == OQ_EFFECT_RAISED;

    if (!told[change->effect].told || (raised && change->delta == 0)) /* an initial stock of none */
        return false;
    *ret_effect = (struct sale_effect){
        .log_sale = change->sale,
        .id = told[change->effect].order ? *oq_order_id(change->order) : change->ref,
        .units = raised ? change->delta : 0,
        .sku = change->sku,
        .verdict = told[change->effect].verdict};
    return true;
}

void sale_effect_apply(const struct sale_effect *effect, struct inv_store *store,
                       struct inv_sale *counter)
{
    if (effect->units > 0)
        inv_store_raise(store, counter, &effect->id, effect->sku, effect->units);
    else
        inv_store_resolve(store, counter, &effect->id, effect->verdict);
}

/* --- lists --- */

int sale_effect_list_add(struct sale_effect_list *list, const struct sale_effect *effect)
{
    if (list->first + list->count == list->cap) {
        if (list->first > list->count) { /* more room before it than it needs */
            memmove(list->at, list->at + list->first, list->count * sizeof *list->at);
        } else {
            size_t cap = list->cap ? list->cap * 2 : LEAST_CAP;
            struct sale_effect *more = malloc(cap * sizeof *more);
            if (more == NULL)
                return PS_E_NOMEM;
            if (list->count > 0)
                memcpy(more, list->at + list->first, list->count * sizeof *more);
            free(list->at);
            list->at = more;
            list->cap = cap;
        }
        list->first = 0;
    }
    list->at[list->first + list->count++] = *effect;
    return 0;
}

static void shrink_list(struct sale_effect_list *list)
{
    if (list->count == 0)
        sale_effect_list_done(list);
}

void sale_effect_list_drop(struct sale_effect_list *list, size_t count)
{
    list->first += count;
    list->count -= count;
    shrink_list(list);
}

void sale_effect_list_filter(struct sale_effect_list *list,
                             bool (*gone)(const struct sale_effect *effect, const void *ctx),
                             const void *ctx)
{
    size_t kept = 0;

    for (size_t i = 0; i < list->count; i++) {
        const struct sale_effect *effect = &list->at[list->first + i];
        if (!gone(effect, ctx))
            list->at[list->first + kept++] = *effect;
    }
    list->count = kept;
    shrink_list(list);
}

void sale_effect_list_done(struct sale_effect_list *list)
{
    free(list->at);
    *list = (struct sale_effect_list){0};
}

/* --- the queue --- */

int sale_effects_new(struct sale_effects **ret_effects)
{
    struct sale_effects *effects = calloc(1, sizeof *effects);

    if (effects == NULL)
        return PS_E_NOMEM;
    pthread_mutex_init(&effects->lock, NULL);
    *ret_effects = effects;
    return 0;
}

void sale_effects_free(struct sale_effects *effects)
{
    if (effects == NULL)
        return;
    sale_effect_list_done(&effects->pushed);
    sale_effect_list_done(&effects->taken);
    free(effects->fences);
    pthread_mutex_destroy(&effects->lock);
    free(effects);
}

int sale_effects_push(struct sale_effects *effects, const struct sale_effect *effect)
{
    int err;

    pthread_mutex_lock(&effects->lock);
    err = sale_effect_list_add(&effects->pushed, effect);
    if (err == 0)
        atomic_fetch_add_explicit(&effects->waiting, 1, memory_order_relaxed);
    pthread_mutex_unlock(&effects->lock);
    return err;
}

size_t sale_effects_waiting(const struct sale_effects *effects)
{
    return atomic_load_explicit(&effects->waiting, memory_order_relaxed);
}

int sale_effects_take(struct sale_effects *effects,
                      int (*fn)(const struct sale_effect *effect, void *ctx), void *ctx)
{
    size_t done = 0;
    int err = 0;

    if (effects->taken.count == 0) {
        struct sale_effect_list empty = effects->taken;
        pthread_mutex_lock(&effects->lock);
        effects->taken = effects->pushed;
        effects->pushed = empty;
        pthread_mutex_unlock(&effects->lock);
    }
    while (err == 0 && done < effects->taken.count) {
        err = fn(&effects->taken.at[effects->taken.first + done], ctx);
        done += err == 0;
    }
    atomic_fetch_sub_explicit(&effects->waiting, done, memory_order_relaxed);
    sale_effect_list_drop(&effects->taken, done);
    return err;
}

/* --- fences --- */

int sale_compare_log_sale(const void *log_sale, const void *element)
{
    const struct oq_sale *of = *(const struct oq_sale *const *)element;

    return ((uintptr_t)log_sale > (uintptr_t)of) - ((uintptr_t)log_sale < (uintptr_t)of);
}

/* Its place, or where it belongs. */
static size_t find_fence(const struct sale_effects *effects, const struct oq_sale *log_sale,
                         bool *ret_there)
{
    return ps_sorted_place(log_sale, effects->fences, effects->fence_count, sizeof *effects->fences,
                           sale_compare_log_sale, ret_there);
}

static int add_fence(struct sale_effects *effects, size_t place, const struct oq_sale *log_sale)
{
    struct last_fence *more = realloc(effects->fences, (effects->fence_count + 1) * sizeof *more);

    if (more == NULL)
        return PS_E_NOMEM;
    effects->fences = more;
    memmove(&more[place + 1], &more[place], (effects->fence_count - place) * sizeof *more);
    more[place] = (struct last_fence){.log_sale = log_sale};
    effects->fence_count++;
    return 0;
}

static void note_fence(struct sale_fence *last, int64_t epoch, struct ps_str gateway,
                       int64_t read_ns)
{
    if (epoch > last->epoch) {
        *last = (struct sale_fence){.epoch = epoch, .read_ns = read_ns};
        memcpy(last->gateway, gateway.at, gateway.len);
    } else if (epoch == last->epoch && !ps_str_is(gateway, last->gateway)) {
        last->gateway[0] = '\0'; /* of two authors: neither may build on it */
    }
}

int sale_effects_fence(struct sale_effects *effects, const struct oq_sale *log_sale, int64_t epoch,
                       struct ps_str gateway, int64_t read_ns)
{
    int err = 0;
    bool there;

    pthread_mutex_lock(&effects->lock);
    size_t place = find_fence(effects, log_sale, &there);
    if (!there)
        err = add_fence(effects, place, log_sale);
    if (err == 0)
        note_fence(&effects->fences[place].fence, epoch, gateway, read_ns);
    pthread_mutex_unlock(&effects->lock);
    return err;
}

void sale_effects_last_fence(struct sale_effects *effects, const struct oq_sale *log_sale,
                             struct sale_fence *ret_fence)
{
    bool there;

    pthread_mutex_lock(&effects->lock);
    size_t place = find_fence(effects, log_sale, &there);
    *ret_fence = there ? effects->fences[place].fence : (struct sale_fence){0};
    pthread_mutex_unlock(&effects->lock);
}
