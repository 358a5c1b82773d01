/* The judge: what a batch of records does to its orders. It reads them by the fold that gateways
 * and auditor use (queue/fold.h), started with what the database knows about just these orders and
 * sales; so a worker needs no memory beyond a batch, and a restart reads nothing again.
 *
 * In this order: ask (which orders and epochs does the batch touch), the sink's look_up, judge, the
 * sink's store with `changes`. One thread at a time. Everything borrows from the batch and is valid
 * until the next ask. */
#ifndef ST_JUDGE_H
#define ST_JUDGE_H

#include "queue/settle/settle_sink.h"

/* Partitions that a log can have; the fold's last one is used for what the database knows. */
#define ST_PARTITION_MAX (OQ_PARTITION_MAX - 1)

struct st_count {
    int64_t accepted, confirmed, released, voided; /* orders that reached this state */
    int64_t by_type[OQ_LATER + 1];                 /* records */
    int64_t rehearsal;                             /* records that were skipped */
    int64_t poison;
    int64_t anomalies; /* records that no gateway writes */
};

struct st_judge {
    size_t capacity;
    bool rehearsals; /* those of rehearsals are kept; else they are dropped */
    struct st_claim *claims;
    size_t claim_count;
    struct st_epoch *epochs;
    size_t epoch_count;
    struct st_order *orders;
    size_t order_count;
    struct st_letter *letters;
    size_t letter_count;
    struct st_count count; /* of the last judgement */
};

/* For batches of up to `capacity` records. PS_E_NOMEM. */
int st_judge_init(struct st_judge *judge, size_t capacity, bool rehearsals) PS_MUST_CHECK;
void st_judge_done(struct st_judge *judge);

/* Fills claims (without `from`), epochs and orders, each once and sorted. */
void st_judge_ask(struct st_judge *judge, const struct st_batch *batch);
/* Fills in their new states, letters and count. PS_E_NOMEM, PS_E_CORRUPT (the database has a state
 * that the fold excludes). */
int st_judge(struct st_judge *judge, struct st_batch *batch) PS_MUST_CHECK;

#endif
