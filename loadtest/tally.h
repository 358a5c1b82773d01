/* Buyers' answers: counts, latencies and a timeline by verdict, and every promise of an order, to
 * be compared with the log later. One thread. */
#ifndef LT_TALLY_H
#define LT_TALLY_H

#include "common/metrics/histogram.h"
#include "common/text/id.h"
#include "loadtest/client.h"
#include "loadtest/curves.h"
#include "loadtest/history.h"

#define LT_VERDICTS_MAX 48
#define LT_SLOTS        512

/* The verdicts that every run has, in this order; the codes of refusals follow as they come up. */
enum lt_verdict {
    LT_V_ACCEPTED,
    LT_V_PENDING,
    LT_V_REPLAYED, /* 202 with an order that exists already */
    LT_V_NO_ANSWER,
    LT_V_RESET,
    LT_V_REFUSED, /* no connection */
    LT_V_GARBLED, /* not HTTP, or a 2xx without an order */
    LT_V_FIXED
};

struct lt_verdict_tally {
    char name[PS_NAME_MAX + 1];  /* "accepted", "sold_out", "http_502"... */
    bool refusal;                /* an answer of 400 or above */
    struct ps_histogram latency; /* from the click's moment */
    uint64_t in_time;            /* of these, not later than the tally's `in_time_ns` */
    uint32_t slot[LT_SLOTS];     /* answers by their time of arrival */
};

enum lt_reported { LT_REPORTED_ACCEPTED, LT_REPORTED_PENDING, LT_REPORTED_RELEASED };

struct lt_promise {
    struct ps_uuid order_id;
    uint32_t buyer;
    uint8_t reported; /* enum lt_reported */
    uint8_t wish;     /* of the buyer */
    bool replayed;
};

struct lt_tally {
    int64_t in_time_ns; /* from the click's moment; the caller sets it, 0 counts nothing */
    struct lt_verdict_tally *verdicts[LT_VERDICTS_MAX];
    size_t verdict_count;
    bool of_pages;              /* for pages a 2xx needs no order; the caller sets it */
    int64_t slot_ns;            /* width; doubles when the run outlasts the slots */
    size_t slot_count;          /* used */
    uint32_t offered[LT_SLOTS]; /* clicks by their moment */
    uint64_t clicks;
    uint64_t repeats;
    uint64_t tries_again;
    uint64_t never_sent; /* of those without an answer: no connection became free in time */
    struct lt_waits waits, admitted; /* of all answers; of those that are accepted or pending */
    struct ps_histogram sent_late;   /* from the click's moment until it was sent */
    struct lt_promise *promises;
    size_t promise_count, promise_room;
    bool out_of_memory; /* a promise could not be noted: no proof can be made */
};

int lt_tally_new(struct lt_tally **ret_tally) PS_MUST_CHECK;
void lt_tally_free(struct lt_tally *tally); /* NULL is allowed */
/* Returns the name of the verdict, which lives as long as the tally. */
const char *lt_tally_add(struct lt_tally *tally, const struct lt_answer *answer);
/* The order in a successful answer; false: it has none, or is not a success. */
struct lt_reported_order {
    struct ps_uuid order_id;
    enum lt_seen seen;
};
bool lt_tally_order(const struct lt_answer *answer, struct lt_reported_order *ret_reported);
uint64_t lt_tally_count(const struct lt_tally *tally, const char *name);
/* The slot that a moment falls into; widens the slots when need be. */
size_t lt_tally_slot(struct lt_tally *tally, int64_t at_ns);

#endif
