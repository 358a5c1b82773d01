/* The log's thread must not wait: it holds the lock only to append, and the other side only to swap
 * its empty list for the full one. Fences are few and kept by sale. */
#include "gateway/sales/effects.h"

#include "common/sorted.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CAP 64

/* What is known about a sale. */
struct noted {
    const struct oq_sale *log_sale; /* sale_compare_log_sale */
    struct sale_fence fence;
    int64_t *upto; /* seq of the last effect in each of the first `partitions`; 0 = none */
    uint32_t partitions;
};

struct sale_effects {
    pthread_mutex_t lock;
    struct sale_effect_list pushed; /* under the lock */
    struct noted *sales;            /* under the lock; by address of the sale */
    size_t sale_count;
    _Atomic(size_t) waiting;
    struct sale_effect_list taken; /* the control thread's: left from the last time */
};

/* --- what a counter is to be told --- */

bool sale_effect_of(const struct oq_change *change, struct sale_effect *ret_effect)
{
    static const struct {
        bool counts, order;
        enum inv_verdict verdict;
    } rows[] = {[OQ_EFFECT_NONE] = {0},
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

    if (!rows[change->effect].counts ||
        (raised && change->delta == 0)) /* an initial stock of none */
        return false;
    *ret_effect = (struct sale_effect){
        .log_sale = change->sale,
        .id = rows[change->effect].order ? *oq_order_id(change->order) : change->ref,
        .units = raised ? change->delta : 0,
        .sku = change->sku,
        .verdict = rows[change->effect].verdict};
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
        if (list->first > list->count) { /* there is more free room in front than needed */
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
    for (size_t i = 0; i < effects->sale_count; i++)
        free(effects->sales[i].upto);
    free(effects->sales);
    pthread_mutex_destroy(&effects->lock);
    free(effects);
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

/* --- sales: under the lock --- */

int sale_compare_log_sale(const void *log_sale, const void *element)
{
    const struct oq_sale *of = *(const struct oq_sale *const *)element;

    return ((uintptr_t)log_sale > (uintptr_t)of) - ((uintptr_t)log_sale < (uintptr_t)of);
}

static struct noted *find_sale(const struct sale_effects *effects, const struct oq_sale *log_sale)
{
    return ps_sorted_find(log_sale, effects->sales, effects->sale_count, sizeof *effects->sales,
                          sale_compare_log_sale);
}

/* Adds the sale if it is new. NULL: out of memory. */
static struct noted *sale_of(struct sale_effects *effects, const struct oq_sale *log_sale)
{
    bool there;
    size_t place = ps_sorted_place(log_sale, effects->sales, effects->sale_count,
                                   sizeof *effects->sales, sale_compare_log_sale, &there);

    if (!there) {
        struct noted *more = realloc(effects->sales, (effects->sale_count + 1) * sizeof *more);
        if (more == NULL)
            return NULL;
        effects->sales = more;
        memmove(&more[place + 1], &more[place], (effects->sale_count - place) * sizeof *more);
        more[place] = (struct noted){.log_sale = log_sale};
        effects->sale_count++;
    }
    return &effects->sales[place];
}

static int note_place(struct noted *sale, uint32_t partition, int64_t seq)
{
    if (partition >= sale->partitions) {
        int64_t *more = realloc(sale->upto, (partition + 1) * sizeof *more);
        if (more == NULL)
            return PS_E_NOMEM;
        memset(more + sale->partitions, 0, (partition + 1 - sale->partitions) * sizeof *more);
        sale->upto = more;
        sale->partitions = partition + 1;
    }
    sale->upto[partition] = seq;
    return 0;
}

static int push(struct sale_effects *effects, const struct sale_effect *effect)
{
    struct noted *sale = sale_of(effects, effect->log_sale);
    int err = sale == NULL ? PS_E_NOMEM : note_place(sale, effect->partition, effect->seq);

    if (err == 0)
        err = sale_effect_list_add(&effects->pushed, effect);
    if (err == 0)
        atomic_fetch_add_explicit(&effects->waiting, 1, memory_order_relaxed);
    return err;
}

int sale_effects_push(struct sale_effects *effects, const struct sale_effect *effect)
{
    pthread_mutex_lock(&effects->lock);
    int err = push(effects, effect);
    pthread_mutex_unlock(&effects->lock);
    return err;
}

static void note_fence(struct sale_fence *last, int64_t epoch, struct ps_str gateway,
                       int64_t read_ns)
{
    if (epoch > last->epoch) {
        *last = (struct sale_fence){.epoch = epoch, .read_ns = read_ns};
        memcpy(last->gateway, gateway.at, gateway.len);
    } else if (epoch == last->epoch && !ps_str_is(gateway, last->gateway)) {
        last->gateway[0] = '\0'; /* two authors: neither may build on it */
    }
}

int sale_effects_fence(struct sale_effects *effects, const struct oq_sale *log_sale, int64_t epoch,
                       struct ps_str gateway, int64_t read_ns)
{
    pthread_mutex_lock(&effects->lock);
    struct noted *sale = sale_of(effects, log_sale);
    if (sale != NULL)
        note_fence(&sale->fence, epoch, gateway, read_ns);
    pthread_mutex_unlock(&effects->lock);
    return sale != NULL ? 0 : PS_E_NOMEM;
}

void sale_effects_last_fence(struct sale_effects *effects, const struct oq_sale *log_sale,
                             struct sale_fence *ret_fence)
{
    pthread_mutex_lock(&effects->lock);
    const struct noted *sale = find_sale(effects, log_sale);
    *ret_fence = sale != NULL ? sale->fence : (struct sale_fence){0};
    pthread_mutex_unlock(&effects->lock);
}

/* --- notes of a checkpoint: whether they have all effects, then a row of each sale --- */

/* Followed by its name, the fence's author and the places. */
struct note_row {
    int64_t epoch;
    uint32_t name_len, gateway_len, partitions, zero;
};

/* Nothing is kept of an archived sale. */
static struct note_row row_of(const struct noted *sale)
{
    return (struct note_row){.epoch = sale->fence.epoch,
                             .name_len = (uint32_t)strlen(oq_sale_name(sale->log_sale)),
                             .gateway_len = (uint32_t)strlen(sale->fence.gateway),
                             .partitions =
                                 oq_sale_forgotten(sale->log_sale) ? 0 : sale->partitions};
}

static void put(char **at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(*at, bytes, len);
    *at += len;
}

int sale_effects_note(struct sale_effects *effects, bool all, char **ret_notes, size_t *ret_len)
{
    size_t len = sizeof all;

    pthread_mutex_lock(&effects->lock);
    for (size_t i = 0; i < effects->sale_count; i++) {
        const struct note_row row = row_of(&effects->sales[i]);
        len += sizeof row + row.name_len + row.gateway_len + row.partitions * sizeof(int64_t);
    }
    char *notes = malloc(len), *at = notes;
    if (notes != NULL)
        put(&at, &all, sizeof all);
    for (size_t i = 0; notes != NULL && i < effects->sale_count; i++) {
        const struct noted *sale = &effects->sales[i];
        const struct note_row row = row_of(sale);
        put(&at, &row, sizeof row);
        put(&at, oq_sale_name(sale->log_sale), row.name_len);
        put(&at, sale->fence.gateway, row.gateway_len);
        put(&at, sale->upto, row.partitions * sizeof(int64_t));
    }
    pthread_mutex_unlock(&effects->lock);
    *ret_notes = notes;
    *ret_len = len;
    return notes != NULL ? 0 : PS_E_NOMEM;
}

static int restore_sale(struct sale_effects *effects, const struct oq_fold *fold,
                        const struct note_row *row, const char *text, bool pushes)
{
    const char *gateway = text + row->name_len;
    struct sale_effect last = {.log_sale = oq_fold_sale(fold, text, row->name_len),
                               .forgotten = true};
    int err = last.log_sale != NULL ? 0 : PS_E_CORRUPT;

    if (err == 0 && row->epoch > 0)
        err = sale_effects_fence(effects, last.log_sale, row->epoch,
                                 (struct ps_str){gateway, row->gateway_len}, INT64_MIN);
    for (uint32_t i = 0; i < row->partitions && err == 0; i++) {
        memcpy(&last.seq, gateway + row->gateway_len + i * sizeof last.seq, sizeof last.seq);
        last.partition = i;
        if (last.seq > 0 && pushes)
            err = sale_effects_push(effects, &last);
    }
    return err;
}

int sale_effects_restore(struct sale_effects *effects, const struct oq_fold *fold,
                         struct ps_str notes, bool pushes)
{
    int err = 0;

    if (notes.len < sizeof(bool))
        return PS_E_CORRUPT;
    if (pushes && notes.at[0] == 0)
        return PS_E_INVALID;
    for (size_t at = sizeof(bool); at < notes.len && err == 0;) {
        struct note_row row;
        if (notes.len - at < sizeof row)
            return PS_E_CORRUPT;
        memcpy(&row, notes.at + at, sizeof row);
        at += sizeof row;
        if (row.name_len > PS_NAME_MAX || row.gateway_len > OQ_GATEWAY_MAX ||
            row.partitions > OQ_PARTITION_MAX ||
            notes.len - at < row.name_len + row.gateway_len + row.partitions * sizeof(int64_t))
            return PS_E_CORRUPT;
        if (effects != NULL)
            err = restore_sale(effects, fold, &row, notes.at + at, pushes);
        at += row.name_len + row.gateway_len + row.partitions * sizeof(int64_t);
    }
    return err;
}
