/* Effects of the log, between the thread that reads it and the one that tells Redis. The log's
 * thread must not wait: it holds the lock only to append, the other side only to swap its empty
 * list for the full one. Fences are few and kept by sale. */
#include "gateway/sales/effects.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CAP 64

struct mark {
    const struct oq_sale *books;
    struct sale_fence fence;
};

struct sale_effects {
    pthread_mutex_t lock;
    struct sale_effect_list pushed; /* under the lock */
    struct mark *marks;             /* under the lock */
    size_t mark_count;
    _Atomic(size_t) waiting;
    struct sale_effect_list taken; /* the taker's: left from the time before */
};

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

static void shrink(struct sale_effect_list *list)
{
    if (list->count == 0)
        sale_effect_list_done(list);
}

void sale_effect_list_drop(struct sale_effect_list *list, size_t count)
{
    list->first += count;
    list->count -= count;
    shrink(list);
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
    shrink(list);
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
    free(effects->marks);
    pthread_mutex_destroy(&effects->lock);
    free(effects);
}

int sale_effects_push(struct sale_effects *effects, uint32_t partition, int64_t seq,
                      const struct oq_change *change)
{
    struct sale_effect effect = {.books = change->sale,
                                 .seq = seq,
                                 .partition = partition,
                                 .sku = change->sku,
                                 .kind = change->effect};
    int err;

    switch (change->effect) {
    case OQ_EFFECT_CONFIRMED:
    case OQ_EFFECT_RELEASED:
    case OQ_EFFECT_VOID:
        effect.id = change->order->id;
        break;
    case OQ_EFFECT_RAISED:
        effect.units = change->delta;
        effect.id = change->ref;
        break;
    case OQ_EFFECT_LOWERED:
    case OQ_EFFECT_LOWER_VOID:
        effect.id = change->ref;
        break;
    default:
        return 0;
    }
    pthread_mutex_lock(&effects->lock);
    err = sale_effect_list_add(&effects->pushed, &effect);
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

static struct mark *find_mark(struct sale_effects *effects, const struct oq_sale *books)
{
    for (size_t i = 0; i < effects->mark_count; i++)
        if (effects->marks[i].books == books)
            return &effects->marks[i];
    return NULL;
}

static struct mark *add_mark(struct sale_effects *effects, const struct oq_sale *books)
{
    struct mark *more = realloc(effects->marks, (effects->mark_count + 1) * sizeof *more);

    if (more == NULL)
        return NULL;
    effects->marks = more;
    more[effects->mark_count] = (struct mark){.books = books};
    return &more[effects->mark_count++];
}

int sale_effects_fence(struct sale_effects *effects, const struct oq_sale *books, int64_t epoch,
                       struct ps_str gateway, int64_t read_ns)
{
    struct mark *mark;

    pthread_mutex_lock(&effects->lock);
    mark = find_mark(effects, books);
    if (mark == NULL)
        mark = add_mark(effects, books);
    if (mark != NULL && epoch > mark->fence.epoch) {
        mark->fence = (struct sale_fence){.epoch = epoch, .read_ns = read_ns};
        memcpy(mark->fence.gateway, gateway.at, gateway.len);
    } else if (mark != NULL && epoch == mark->fence.epoch &&
               (strlen(mark->fence.gateway) != gateway.len ||
                memcmp(mark->fence.gateway, gateway.at, gateway.len) != 0)) {
        mark->fence.gateway[0] = '\0'; /* of two authors: neither may build on it */
    }
    pthread_mutex_unlock(&effects->lock);
    return mark != NULL ? 0 : PS_E_NOMEM;
}

void sale_effects_last_fence(struct sale_effects *effects, const struct oq_sale *books,
                             struct sale_fence *ret_fence)
{
    struct mark *mark;

    pthread_mutex_lock(&effects->lock);
    mark = find_mark(effects, books);
    *ret_fence = mark != NULL ? mark->fence : (struct sale_fence){0};
    pthread_mutex_unlock(&effects->lock);
}
