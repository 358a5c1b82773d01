/* Judging a batch.
 *
 * Each batch gets its own fold. The fold is first filled with what the database knows, as records:
 * each epoch as a fence, and the orders in a partition that no log has (an order's state does not
 * depend on the partition of its records). Then it gets the batch, and its effects are the changes.
 * So the rules are in one place only, queue/fold_write.c; this file only translates. An `accepted`
 * of a sale that was never fenced is void by the fold. No gateway writes one, so the log has lost
 * its beginning or another program writes into it: the record also becomes a dead letter, where
 * operators look. */
#include "queue/settle/judge.h"
#include "queue/fold.h"

#include <stdlib.h>
#include <string.h>

#define KNOWN_PARTITION (OQ_PARTITION_MAX - 1)
#define KNOWN_EPOCH     1

int st_judge_init(struct st_judge *judge, size_t capacity, bool rehearsals)
{
    *judge = (struct st_judge){.capacity = capacity, .rehearsals = rehearsals};
    judge->claims = calloc(capacity, sizeof *judge->claims);
    judge->epochs = calloc(capacity, sizeof *judge->epochs);
    judge->orders = calloc(capacity, sizeof *judge->orders);
    judge->letters = calloc(capacity, sizeof *judge->letters);
    if (judge->claims != NULL && judge->epochs != NULL && judge->orders != NULL &&
        judge->letters != NULL)
        return 0;
    st_judge_done(judge);
    return PS_E_NOMEM;
}

void st_judge_done(struct st_judge *judge)
{
    free(judge->claims);
    free(judge->epochs);
    free(judge->orders);
    free(judge->letters);
    *judge = (struct st_judge){0};
}

/* --- Sorted, each once --- */

static int compare_claims(const void *a, const void *b)
{
    const struct st_claim *x = a, *y = b;
    return (x->partition > y->partition) - (x->partition < y->partition);
}

static int compare_epochs(const void *a, const void *b)
{
    const struct st_epoch *x = a, *y = b;
    if (x->partition != y->partition)
        return x->partition < y->partition ? -1 : 1;
    return ps_str_compare(x->sale, y->sale);
}

static int compare_orders(const void *a, const void *b)
{
    const struct st_order *x = a, *y = b;
    return memcmp(x->id.byte, y->id.byte, sizeof x->id.byte);
}

static size_t sort_once(void *items, size_t count, size_t size,
                        int (*compare)(const void *, const void *))
{
    size_t kept = 0;
    qsort(items, count, size, compare);
    for (size_t i = 0; i < count; i++) {
        char *item = (char *)items + i * size;
        if (kept > 0 && compare((char *)items + (kept - 1) * size, item) == 0)
            continue;
        if (kept != i)
            memcpy((char *)items + kept * size, item, size);
        kept++;
    }
    return kept;
}

/* --- Orders and epochs of the batch --- */

static bool is_settled(const struct st_judge *judge, const struct st_record *record)
{
    return record->poison == NULL && (judge->rehearsals || !record->event.rehearsal);
}

void st_judge_ask(struct st_judge *judge, const struct st_batch *batch)
{
    judge->claim_count = judge->epoch_count = judge->order_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct st_record *record = &batch->records[i];
        const struct oq_event *event = &record->event;
        size_t c = 0;
        while (c < judge->claim_count && judge->claims[c].partition != record->partition)
            c++;
        judge->claim_count += c == judge->claim_count;
        judge->claims[c] = (struct st_claim){
            .partition = record->partition, .to = record->seq, .digest = record->digest};
        if (record->poison != NULL)
            continue;
        bool settled = is_settled(judge, record);
        if (settled && event->has_order_id)
            judge->orders[judge->order_count++] = (struct st_order){.id = event->order_id};
        if ((settled && event->type == OQ_ACCEPTED) || event->type == OQ_FENCED)
            judge->epochs[judge->epoch_count++] =
                (struct st_epoch){.partition = record->partition, .sale = event->sale};
    }
    judge->claim_count =
        sort_once(judge->claims, judge->claim_count, sizeof *judge->claims, compare_claims);
    judge->epoch_count =
        sort_once(judge->epochs, judge->epoch_count, sizeof *judge->epochs, compare_epochs);
    judge->order_count =
        sort_once(judge->orders, judge->order_count, sizeof *judge->orders, compare_orders);
}

/* --- Filling the fold from the database --- */

struct judging {
    struct st_judge *judge;
    struct oq_fold *fold;
    int64_t seq;
};

static int apply_event(struct judging *judging, uint32_t partition, const struct oq_event *event,
                       struct oq_change *ret_change)
{
    return oq_fold_apply(judging->fold, partition, ++judging->seq, event, ret_change);
}

static int apply_order(struct judging *judging, const struct st_order *order)
{
    struct oq_change change;
    struct oq_event event = {.type = order->was == ST_VOID ? OQ_RELEASED : OQ_ACCEPTED,
                             .has_order_id = true,
                             .order_id = order->id,
                             .sale = PS_STR("known"),
                             .sku = PS_STR("known"),
                             .user = PS_STR("known"),
                             .quantity = 1,
                             .epoch = KNOWN_EPOCH,
                             .cap = 1,
                             .reason = OQ_REJECTED};
    int err = apply_event(judging, KNOWN_PARTITION, &event, &change);
    if (err != 0 || order->was == ST_VOID || order->was == ST_ACCEPTED)
        return err;
    event.type = order->was == ST_CONFIRMED ? OQ_CONFIRMED : OQ_RELEASED;
    event.reason = order->was_reason;
    return apply_event(judging, KNOWN_PARTITION, &event, &change);
}

static int tell_fence(struct judging *judging, uint32_t partition, struct ps_str sale,
                      int64_t epoch)
{
    struct oq_change change;
    struct oq_event event = {.type = OQ_FENCED,
                             .sale = sale,
                             .epoch = epoch,
                             .gateway = PS_STR("known"),
                             .partitions = 1};
    return apply_event(judging, partition, &event, &change);
}

static int tell_known(struct judging *judging)
{
    struct st_judge *judge = judging->judge;
    int err = tell_fence(judging, KNOWN_PARTITION, PS_STR("known"), KNOWN_EPOCH);
    for (size_t i = 0; i < judge->order_count && err == 0; i++) {
        struct st_order *order = &judge->orders[i];
        if (order->was != ST_UNKNOWN)
            err = apply_order(judging, order);
        order->is = order->was;
        order->is_reason = order->was_reason;
        order->first = NULL;
    }
    for (size_t i = 0; i < judge->epoch_count && err == 0; i++) {
        struct st_epoch *epoch = &judge->epochs[i];
        if (epoch->was > 0)
            err = tell_fence(judging, epoch->partition, epoch->sale, epoch->was);
        epoch->is = epoch->was;
    }
    return err;
}

/* --- Applying the batch --- */

static int put_aside(struct st_judge *judge, struct st_record *record, const char *reason)
{
    judge->letters[judge->letter_count++] = (struct st_letter){record, reason};
    return st_record_text(record);
}

static void note_order(struct st_judge *judge, const struct st_record *record,
                       enum oq_effect effect)
{
    struct st_count *count = &judge->count;
    struct st_order probe = {.id = record->event.order_id};
    struct st_order *order =
        bsearch(&probe, judge->orders, judge->order_count, sizeof probe, compare_orders);
    switch (effect) {
    case OQ_EFFECT_ACCEPTED:
        order->is = ST_ACCEPTED;
        order->rehearsal = record->event.rehearsal;
        order->first = record;
        count->accepted++;
        return;
    case OQ_EFFECT_VOID:
        order->is = ST_VOID;
        order->first = record;
        count->voided++;
        return;
    case OQ_EFFECT_CONFIRMED:
        order->is = ST_CONFIRMED;
        order->decided_at_ms = record->event.at_ms;
        count->confirmed++;
        return;
    case OQ_EFFECT_RELEASED:
        order->is = ST_RELEASED;
        order->is_reason = record->event.reason;
        order->decided_at_ms = record->event.at_ms;
        count->released++;
        return;
    default: /* stock concerns the gateways only */
        return;
    }
}

static void note_epoch(struct st_judge *judge, const struct st_record *record, int64_t now)
{
    struct st_epoch probe = {.partition = record->partition, .sale = record->event.sale};
    struct st_epoch *epoch =
        bsearch(&probe, judge->epochs, judge->epoch_count, sizeof probe, compare_epochs);
    epoch->is = now;
}

static int judge_record(struct judging *judging, struct st_record *record)
{
    struct st_judge *judge = judging->judge;
    const struct oq_event *event = &record->event;
    struct oq_change change;
    if (record->poison != NULL) {
        judge->count.poison++;
        return put_aside(judge, record, record->poison);
    }
    judge->count.by_type[event->type]++;
    if (!is_settled(judge, record)) {
        judge->count.rehearsal++;
        if (event->type != OQ_FENCED) /* which counts on the day on which rehearsals are wanted */
            return 0;
    }
    if (event->type == OQ_ADJUSTED || event->type >= OQ_ARCHIVED ||
        (event->type == OQ_RELEASED && !event->has_order_id))
        return 0; /* stock, the past and what is unknown concern the gateways only */
    int err = apply_event(judging, record->partition, event, &change);
    if (err == PS_E_INVALID) { /* it would raise the units of a SKU above the largest number */
        judge->count.anomalies++;
        return put_aside(judge, record, "the fold refuses it: it contradicts earlier records");
    }
    if (err != 0)
        return err;
    if (change.effect == OQ_EFFECT_FENCED)
        note_epoch(judge, record, change.epoch);
    else
        note_order(judge, record, change.effect);
    bool fenceless = event->type == OQ_ACCEPTED && change.effect == OQ_EFFECT_VOID &&
                     oq_sale_epoch(change.sale, record->partition) == 0;
    if (!fenceless && !change.anomaly)
        return 0;
    judge->count.anomalies++;
    return put_aside(judge, record,
                     fenceless ? "its partition has no sale.fenced of its sale before it: "
                                 "the log has lost its beginning, or no gateway wrote this"
                               : "its order has no accepted before it: no gateway writes "
                                 "this");
}

int st_judge(struct st_judge *judge, struct st_batch *batch)
{
    struct judging judging = {.judge = judge};
    judge->letter_count = 0;
    judge->count = (struct st_count){0};
    int err = oq_fold_new(&judging.fold);
    if (err != 0)
        return err;
    err = tell_known(&judging);
    for (size_t i = 0; i < batch->count && err == 0; i++)
        err = judge_record(&judging, &batch->records[i]);
    oq_fold_free(judging.fold);
    return err == PS_E_INVALID ? PS_E_CORRUPT : err;
}
