/* The ten algorithms. Each makes one or two passes over the table, which has at most
 * CFG_ENDPOINTS_MAX rows; the caller that fills the table makes a pass, too.
 *
 * A candidate's *share* is its part of the requests: its weight. For an algorithm without weights
 * it is the fraction of the weight that slow start allows, from 0 to 1. Its *load* is its work
 * divided by its share, so a candidate in slow start counts as busier than it is.
 *
 * Algorithms that go in turn start at the cursor and pick a candidate with the largest share; a
 * random draw decides about one with a smaller share. So requests follow the shares whichever
 * candidates are left out, and the candidate behind one that gets nothing gets no extra requests.
 * The cursor is an index: it stays valid, or starts again, when the table grows or shrinks.
 *
 * The hash algorithms give each pair of candidate and key the score -share / ln(u), where u between
 * 0 and 1 is the hash of both, and pick the highest score. Requests follow the weights, and when a
 * weight changes or a candidate leaves, only the keys move that must (the logarithmic method of
 * Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005). With bounded load they
 * pick the highest score among candidates with a free place. A candidate has 1.25 times its part of
 * the requests under way (this one included) as places, rounded up. All places together exceed the
 * requests, so a place is always free.
 *
 * Random numbers and the mixing of hashes are SplitMix64 (Steele, Lea and Flood, "Fast splittable
 * pseudorandom number generators", 2014). */
#include "gateway/upstream/balance.h"

#include "common/random.h"

#include <assert.h>
#include <math.h>

#define EWMA_FORGETS_NS 10e9 /* Finagle's decayTime */
#define BOUND           1.25 /* times the mean */

struct lookup {
    struct up_picker *picker;
    const struct up_candidate *table;
    size_t count;
    uint64_t key;
    double fastest_ns; /* the lowest latency known */
};

typedef double share_fn(const struct up_candidate *candidate);
typedef double load_fn(const struct lookup *lookup, const struct up_candidate *candidate);

static double share_by_weight(const struct up_candidate *candidate)
{
    return candidate->weight;
}

static double share_alike(const struct up_candidate *candidate)
{
    return candidate->weight == 0 ? 0 : (double)candidate->weight / candidate->full;
}

static double load_none(const struct lookup *lookup, const struct up_candidate *candidate)
{
    (void)lookup, (void)candidate;
    return 0;
}

/* Products are exact and divisions round to nearest, so equal loads compare equal. */
static double load_requests(const struct lookup *lookup, const struct up_candidate *candidate)
{
    (void)lookup;
    return (double)candidate->in_flight * candidate->full / candidate->weight;
}

static double load_for_weight(const struct lookup *lookup, const struct up_candidate *candidate)
{
    (void)lookup;
    return (double)candidate->in_flight / candidate->weight;
}

/* A candidate with unknown latency counts as the fastest. */
static double load_latency(const struct lookup *lookup, const struct up_candidate *candidate)
{
    double ns = candidate->latency_ns > 0 ? (double)candidate->latency_ns : lookup->fastest_ns;

    return ns * (load_requests(lookup, candidate) + 1);
}

/* In turn among those with the least load. */
static size_t pick_in_turn(const struct lookup *lookup, share_fn *share, load_fn *load)
{
    double least = INFINITY, largest = 0;
    for (size_t i = 0; i < lookup->count; i++) {
        const struct up_candidate *candidate = &lookup->table[i];
        if (candidate->weight == 0)
            continue;
        double its = load(lookup, candidate);
        if (its < least) {
            least = its;
            largest = 0;
        }
        if (its == least)
            largest = fmax(largest, share(candidate));
    }

    size_t at = lookup->picker->cursor % lookup->count;
    for (size_t i = 0; i < lookup->count; i++, at = (at + 1) % lookup->count) {
        const struct up_candidate *candidate = &lookup->table[at];
        if (candidate->weight == 0 || load(lookup, candidate) > least)
            continue;
        double its = share(candidate);
        if (its == largest || ps_random_draw(&lookup->picker->random) * largest < its) {
            lookup->picker->cursor = at + 1;
            return at;
        }
    }
    return UP_NONE;
}

/* Cuts a counter that larger weights have left behind to the largest value that the present weights
 * can produce (the test finds less than twice the sum). Else one endpoint would get all requests
 * until the counter is used up. */
static size_t pick_smooth(const struct lookup *lookup, share_fn *share, load_fn *load)
{
    (void)share, (void)load;
    int64_t sum = 0;
    for (size_t i = 0; i < lookup->count; i++)
        sum += lookup->table[i].weight;

    size_t picked = UP_NONE;
    for (size_t i = 0; i < lookup->count; i++) {
        const struct up_candidate *candidate = &lookup->table[i];
        int64_t *current = candidate->current;
        if (candidate->weight == 0) {
            *current = 0;
            continue;
        }
        *current += candidate->weight;
        if (*current > 2 * sum)
            *current = 2 * sum;
        if (*current < -2 * sum)
            *current = -2 * sum;
        if (picked == UP_NONE || *current > *lookup->table[picked].current)
            picked = i;
    }
    if (picked != UP_NONE)
        *lookup->table[picked].current -= sum;
    return picked;
}

static double score(const struct lookup *lookup, const struct up_candidate *candidate)
{
    return -(double)candidate->weight /
           log(ps_random_part(ps_random_mix(candidate->hash ^ lookup->key)));
}

static size_t pick_by_hash(const struct lookup *lookup, share_fn *share, load_fn *load)
{
    (void)share, (void)load;
    size_t picked = UP_NONE;
    double highest = 0;
    for (size_t i = 0; i < lookup->count; i++) {
        double its = lookup->table[i].weight == 0 ? 0 : score(lookup, &lookup->table[i]);
        if (its > highest) {
            highest = its;
            picked = i;
        }
    }
    return picked;
}

static size_t pick_by_hash_bounded(const struct lookup *lookup, share_fn *share, load_fn *load)
{
    (void)share, (void)load;
    double weights = 0, requests = 1;
    for (size_t i = 0; i < lookup->count; i++) {
        weights += lookup->table[i].weight;
        if (lookup->table[i].weight > 0)
            requests += (double)lookup->table[i].in_flight;
    }

    size_t picked = UP_NONE;
    double highest = 0;
    for (size_t i = 0; i < lookup->count; i++) {
        const struct up_candidate *candidate = &lookup->table[i];
        double places = ceil(BOUND * requests * candidate->weight / weights);
        if (candidate->weight == 0 || (double)candidate->in_flight >= places)
            continue;
        double its = score(lookup, candidate);
        if (its > highest) {
            highest = its;
            picked = i;
        }
    }
    return picked;
}

/* Draws one candidate by its share, except `other`. UP_NONE: no candidate has a share. */
static size_t draw_one(const struct lookup *lookup, share_fn *share, size_t other)
{
    double sum = 0;
    for (size_t i = 0; i < lookup->count; i++)
        sum += i == other ? 0 : share(&lookup->table[i]);

    double rest = ps_random_draw(&lookup->picker->random) * sum;
    size_t picked = UP_NONE;
    for (size_t i = 0; i < lookup->count; i++) {
        double its = i == other ? 0 : share(&lookup->table[i]);
        if (its == 0)
            continue;
        picked = i; /* rounding may leave a rest: then the last one */
        if (rest < its)
            break;
        rest -= its;
    }
    return picked;
}

static size_t pick_at_random(const struct lookup *lookup, share_fn *share, load_fn *load)
{
    (void)load;
    return draw_one(lookup, share, UP_NONE);
}

static size_t pick_of_two(const struct lookup *lookup, share_fn *share, load_fn *load)
{
    size_t one = draw_one(lookup, share, UP_NONE), two = draw_one(lookup, share, one);

    if (two == UP_NONE || one == UP_NONE)
        return one;
    return load(lookup, &lookup->table[two]) < load(lookup, &lookup->table[one]) ? two : one;
}

static const struct {
    size_t (*pick)(const struct lookup *lookup, share_fn *share, load_fn *load);
    share_fn *share;
    load_fn *load;
} algorithms[CFG_ALGORITHM_COUNT] = {
    [CFG_ALGORITHM_round_robin] = {pick_in_turn, share_alike, load_none},
    [CFG_ALGORITHM_weighted_round_robin] = {pick_smooth, NULL, NULL},
    [CFG_ALGORITHM_least_connections] = {pick_in_turn, share_alike, load_requests},
    [CFG_ALGORITHM_weighted_least_connections] = {pick_in_turn, share_by_weight, load_for_weight},
    [CFG_ALGORITHM_least_response_time] = {pick_in_turn, share_alike, load_latency},
    [CFG_ALGORITHM_source_ip_hash] = {pick_by_hash, NULL, NULL},
    [CFG_ALGORITHM_consistent_hash] = {pick_by_hash_bounded, NULL, NULL},
    [CFG_ALGORITHM_random] = {pick_at_random, share_alike, NULL},
    [CFG_ALGORITHM_weighted_random] = {pick_at_random, share_by_weight, NULL},
    [CFG_ALGORITHM_two_choices] = {pick_of_two, share_alike, load_requests},
};

size_t up_pick(struct up_picker *picker, enum cfg_algorithm algorithm,
               const struct up_candidate *table, size_t count, uint64_t key)
{
    assert((unsigned)algorithm < CFG_ALGORITHM_COUNT);
    struct lookup lookup = {picker, table, count, key, 0};
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        double ns = (double)table[i].latency_ns;
        any = any || table[i].weight > 0;
        if (table[i].weight > 0 && ns > 0 && (lookup.fastest_ns == 0 || ns < lookup.fastest_ns))
            lookup.fastest_ns = ns;
    }
    if (lookup.fastest_ns == 0)
        lookup.fastest_ns = 1;
    return any ? algorithms[algorithm].pick(&lookup, algorithms[algorithm].share,
                                            algorithms[algorithm].load)
               : UP_NONE;
}

/* --- peak EWMA: Finagle's PeakEwma.scala, Metric.observe --- */

int64_t up_ewma_at(int64_t ewma_ns, int64_t passed_ns)
{
    return passed_ns <= 0 ? ewma_ns
                          : (int64_t)((double)ewma_ns * exp(-(double)passed_ns / EWMA_FORGETS_NS));
}

int64_t up_ewma_add(int64_t ewma_ns, int64_t passed_ns, int64_t sample_ns)
{
    if (sample_ns >= ewma_ns)
        return sample_ns;
    double kept = passed_ns <= 0 ? 1 : exp(-(double)passed_ns / EWMA_FORGETS_NS);
    return (int64_t)((double)ewma_ns * kept + (double)sample_ns * (1 - kept));
}
