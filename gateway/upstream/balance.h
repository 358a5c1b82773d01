/* Which of several endpoints gets the next request: ten algorithms, each a pure function of a table
 * of candidates, a small state and random numbers. One thread.
 *
 * round_robin                  in turn
 * weighted_round_robin         smooth: nginx's (commit 52327e0627f4, 2012): the highest counter is
 *                              picked after each has grown by its weight, and falls by the sum
 * least_connections            the fewest requests under way; ties in turn
 * weighted_least_connections   the least requests under way for its weight (LVS "wlc")
 * least_response_time          peak EWMA (Finagle): latency times (requests under way + 1)
 * source_ip_hash               rendezvous hashing (Thaler and Ravishankar, 1998), weighted
 * consistent_hash              the same with bounded load (Mirrokni, Thorup, Zadimoghaddam, 2017):
 *                              nobody gets more than 1.25 times the mean
 * random, weighted_random      independently
 * two_choices                  the less loaded of two at random (Mitzenmacher, 2001) */
#ifndef UP_BALANCE_H
#define UP_BALANCE_H

#include "gateway/config/kinds/pool_doc.h"

struct up_candidate {
    uint64_t hash;      /* of its address: constant while the endpoint is in the pool */
    uint32_t weight;    /* its present weight; 0: it is not picked */
    uint32_t full;      /* its weight outside slow start, >= weight; algorithms without weights use
                           weight / full */
    int64_t in_flight;  /* requests, over all workers */
    int64_t latency_ns; /* for least_response_time, as of now; 0: not known */
    int64_t *current;   /* for weighted_round_robin: kept by the caller, 0 at first */
};

struct up_picker {
    uint64_t cursor; /* of the algorithms that go in turn */
    uint64_t random; /* state of a generator; any seed */
};

#define UP_NONE SIZE_MAX

/* The index in the table; UP_NONE: no candidate has a weight. `key` is the hash that the two hash
 * algorithms use. */
size_t up_pick(struct up_picker *picker, enum cfg_algorithm algorithm,
               const struct up_candidate *table, size_t count, uint64_t key);

/* Peak EWMA: the average after a sample, and its value `passed_ns` later. It rises to a higher
 * sample at once and decays with a time constant of 10 s. */
int64_t up_ewma_add(int64_t ewma_ns, int64_t passed_ns, int64_t sample_ns);
int64_t up_ewma_at(int64_t ewma_ns, int64_t passed_ns);

#endif
