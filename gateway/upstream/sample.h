/* A sample of what a pool, an endpoint or a split answers, so that one client or one page that
 * always fails does not speak for all. Of its answers, good and bad alike, each client (an address,
 * in IPv6 a /64) counts at most once a second, and so does each path; but of a path that some pool
 * has answered well lately only the clients are told apart, since a shop or a split of one page
 * could not be judged otherwise. Bad answers count for nothing until UP_WITNESSES clients have met
 * one on as many paths (or on such known ones).
 *
 * Good answers are reported all, bad ones only as far as sampled. So each of these stands for as
 * many as there were good answers for a sampled good one: the share of what is reported is that of
 * the sample, whoever asks however often.
 *
 * Memory is bounded: sets of bits, in which a client or a path that meets the bit of another one
 * counts as that. The hashes have a key of this process. One thread, but for struct up_marks. */
#ifndef UP_SAMPLE_H
#define UP_SAMPLE_H

#include "common/clock.h"
#include "common/defs.h"
#include "common/text/address.h"
#include "common/text/id.h"
#include "gateway/upstream/blame.h"

#include <stdatomic.h>

#define UP_WITNESSES      5
#define UP_WITNESS_S      15 /* witnesses count so long */
#define UP_SUSPECT_S      10
#define UP_KNOWN_S        15 /* a path stays known so long */
#define UP_KNOWN_SLOTS    8192
#define UP_SAMPLE_CLIENTS 1024
#define UP_SAMPLE_PATHS   4096

/* Who asked for what. */
struct up_who {
    uint64_t client, path; /* hashes */
};

/* Paths that were answered well, of one worker: a path that meets another one's slot replaces it.
 */
struct up_known {
    struct ps_hash_key key;
    struct {
        uint32_t tag;
        uint32_t second; /* of the monotonic clock, + 1; 0: none */
    } slots[UP_KNOWN_SLOTS];
};

/* The last few clients and paths that met something bad: a hash and the second of each, 0 for none.
 * Any thread: of two that add at once one may be lost. */
#define UP_MARKS 8
struct up_marks {
    _Atomic(uint64_t) clients[UP_MARKS], paths[UP_MARKS];
    _Atomic(uint64_t) known[UP_MARKS]; /* clients, by paths that are known to be good */
};

struct up_sample {
    int64_t second;
    uint64_t clients[UP_SAMPLE_CLIENTS / 64], paths[UP_SAMPLE_PATHS / 64];
    int64_t part; /* of 5 s; the last two are kept */
    struct {
        uint32_t good, sampled_good;
        uint32_t bad, row; /* that wait for witnesses: their weight, and how many in a row */
    } parts[2];
    double rest; /* of weights */
};

/* What an end says to one who counts. */
struct up_told {
    unsigned good, bad;
    unsigned row; /* errors in a row, with these */
};

/* An end as one who counts meets it. */
struct up_met {
    enum up_end end;
    enum up_says says;
    struct up_told told;
};

void up_known_init(struct up_known *known);
struct up_who up_who_of(const struct up_known *known, const struct ps_address *client,
                        struct ps_str path);
void up_known_add(struct up_known *known, const struct up_who *who, int64_t now_ns);

void up_marks_add(struct up_marks *marks, const struct up_who *who, bool is_known, int64_t now_ns);
/* Did the client or the path come within UP_SUSPECT_S? */
bool up_marks_have(const struct up_marks *marks, const struct up_who *who, int64_t now_ns);

/* An answer or another end. `sample` and `marks` are of the one who counts. */
struct up_told up_sample_tell(struct up_sample *sample, struct up_marks *marks,
                              const struct up_known *known, const struct up_who *who,
                              enum up_says says, int64_t now_ns);

#endif
