/* See sample.h. */
#include "gateway/upstream/sample.h"

#include <string.h>

#define PART_NS (5 * PS_NS_PER_S)

static uint32_t second_of(int64_t now_ns)
{
    return (uint32_t)(now_ns / PS_NS_PER_S) + 1;
}

/* --- Who, and what is known --- */

void up_known_init(struct up_known *known)
{
    memset(known, 0, sizeof *known);
    ps_hash_key_random(&known->key);
}

struct up_who up_who_of(const struct up_known *known, const struct ps_address *client,
                        struct ps_str path)
{
    struct ps_address of;

    ps_address_limit_key(client, &of);
    return (struct up_who){.client = ps_hash64(&known->key, of.byte, sizeof of.byte),
                           .path =
                               ps_hash64(&known->key, path.at != NULL ? path.at : "", path.len)};
}

static bool knows(const struct up_known *known, const struct up_who *who, int64_t now_ns)
{
    size_t at = who->path % UP_KNOWN_SLOTS;

    return known->slots[at].second != 0 && known->slots[at].tag == (uint32_t)(who->path >> 32) &&
           second_of(now_ns) - known->slots[at].second <= UP_KNOWN_S;
}

void up_known_add(struct up_known *known, const struct up_who *who, int64_t now_ns)
{
    size_t at = who->path % UP_KNOWN_SLOTS;

    known->slots[at].tag = (uint32_t)(who->path >> 32);
    known->slots[at].second = second_of(now_ns);
}

/* --- The last few --- */

static uint32_t age_s(uint64_t mark, int64_t now_ns)
{
    return mark == 0 ? UINT32_MAX : second_of(now_ns) - (uint32_t)mark;
}

/* The place of this hash, or else that of the oldest mark. */
static size_t place_of(const _Atomic(uint64_t) *marks, uint64_t hash, int64_t now_ns)
{
    size_t oldest = 0;
    uint32_t most = 0;

    for (size_t i = 0; i < UP_MARKS; i++) {
        uint64_t mark = atomic_load_explicit(&marks[i], memory_order_relaxed);
        if (mark != 0 && mark >> 32 == hash >> 32)
            return i;
        if (age_s(mark, now_ns) > most) {
            most = age_s(mark, now_ns);
            oldest = i;
        }
    }
    return oldest;
}

static void mark(_Atomic(uint64_t) *marks, uint64_t hash, int64_t now_ns)
{
    atomic_store_explicit(&marks[place_of(marks, hash, now_ns)],
                          (hash & ~(uint64_t)UINT32_MAX) | second_of(now_ns), memory_order_relaxed);
}

static size_t count_marks(const _Atomic(uint64_t) *marks, int64_t now_ns)
{
    size_t count = 0;

    for (size_t i = 0; i < UP_MARKS; i++)
        count +=
            age_s(atomic_load_explicit(&marks[i], memory_order_relaxed), now_ns) <= UP_WITNESS_S;
    return count;
}

void up_marks_add(struct up_marks *marks, const struct up_who *who, bool is_known, int64_t now_ns)
{
    mark(marks->clients, who->client, now_ns);
    mark(marks->paths, who->path, now_ns);
    if (is_known)
        mark(marks->known, who->client, now_ns);
}

static bool has(const _Atomic(uint64_t) *marks, uint64_t hash, int64_t now_ns)
{
    size_t at = place_of(marks, hash, now_ns);
    uint64_t found = atomic_load_explicit(&marks[at], memory_order_relaxed);

    return found >> 32 == hash >> 32 && age_s(found, now_ns) <= UP_SUSPECT_S;
}

bool up_marks_have(const struct up_marks *marks, const struct up_who *who, int64_t now_ns)
{
    return has(marks->clients, who->client, now_ns) || has(marks->paths, who->path, now_ns);
}

static bool are_enough(const struct up_marks *marks, int64_t now_ns)
{
    return count_marks(marks->known, now_ns) >= UP_WITNESSES ||
           (count_marks(marks->clients, now_ns) >= UP_WITNESSES &&
            count_marks(marks->paths, now_ns) >= UP_WITNESSES);
}

/* --- The sample --- */

static void move_on(struct up_sample *sample, int64_t now_ns)
{
    int64_t second = now_ns / PS_NS_PER_S, part = now_ns / PART_NS;

    if (second != sample->second) {
        memset(sample->clients, 0, sizeof sample->clients);
        memset(sample->paths, 0, sizeof sample->paths);
        sample->second = second;
    }
    if (part - sample->part > 1)
        memset(sample->parts, 0, sizeof sample->parts);
    else if (part != sample->part)
        memset(&sample->parts[part % 2], 0, sizeof sample->parts[0]);
    sample->part = part;
}

/* Takes the client and, unless it is known, the path of this second. False: one of them has counted
 * already. */
static bool is_sampled(struct up_sample *sample, const struct up_who *who, bool is_known)
{
    size_t client = who->client % UP_SAMPLE_CLIENTS, path = who->path % UP_SAMPLE_PATHS;
    uint64_t client_bit = UINT64_C(1) << client % 64, path_bit = UINT64_C(1) << path % 64;

    if ((sample->clients[client / 64] & client_bit) != 0 ||
        (!is_known && (sample->paths[path / 64] & path_bit) != 0))
        return false;
    sample->clients[client / 64] |= client_bit;
    if (!is_known)
        sample->paths[path / 64] |= path_bit;
    return true;
}

/* For how many a sampled bad answer stands. */
static unsigned weigh(struct up_sample *sample)
{
    double good = sample->parts[0].good + sample->parts[1].good;
    double sampled = sample->parts[0].sampled_good + sample->parts[1].sampled_good;

    if (sampled < 1)
        return 1;
    sample->rest += good / sampled;
    unsigned weight = (unsigned)sample->rest;
    sample->rest -= weight;
    return weight;
}

static struct up_told tell_bad(struct up_sample *sample, struct up_marks *marks,
                               const struct up_who *who, bool is_known, int64_t now_ns)
{
    struct up_told told = {0};
    size_t at = (size_t)(sample->part % 2);

    sample->parts[at].bad += weigh(sample);
    sample->parts[at].row++;
    up_marks_add(marks, who, is_known, now_ns);
    if (!are_enough(marks, now_ns))
        return told;
    for (size_t i = 0; i < 2; i++) {
        told.bad += sample->parts[i].bad;
        told.row += sample->parts[i].row;
        sample->parts[i].bad = sample->parts[i].row = 0;
    }
    return told;
}

struct up_told up_sample_tell(struct up_sample *sample, struct up_marks *marks,
                              const struct up_known *known, const struct up_who *who,
                              enum up_says says, int64_t now_ns)
{
    bool is_known = says == UP_SAYS_GOOD || knows(known, who, now_ns);

    if (says == UP_SAYS_NOTHING)
        return (struct up_told){0};
    if (says == UP_SAYS_BAD)
        return (struct up_told){.bad = 1, .row = 1};
    move_on(sample, now_ns);
    bool sampled = is_sampled(sample, who, is_known);
    if (says == UP_SAYS_ERROR)
        return sampled ? tell_bad(sample, marks, who, is_known, now_ns) : (struct up_told){0};
    size_t at = (size_t)(sample->part % 2);
    sample->parts[at].good++;
    sample->parts[at].sampled_good += sampled;
    sample->parts[0].row = sample->parts[1].row = 0;
    return (struct up_told){.good = 1};
}
