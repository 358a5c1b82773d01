/* Rings of what was noted. The level of a ring rises as soon as a second has its number of
 * requests, and falls by one after a second with less than a quarter of it. A reader takes the
 * highest level that any worker had in the minute, and leaves out what it would not have chosen: so
 * all that is left was chosen by one rule, whatever the levels were when it was noted.
 *
 * A ring holds more than a minute notes, so what a writer overwrites while a reader reads is older
 * than the minute; should it not be, the margin keeps the reader off the places at hand. */
#include "gateway/admission/limits/sample.h"

#include "common/clock.h"
#include "common/text/id.h"

#include <stdlib.h>
#include <string.h>

#define A_SECOND  128
#define LEVEL_MAX 30
#define SECONDS   64
#define MARGIN    64
#define HAS_WIDE  UINT64_C(0x80) /* beside the bits of applies_to */

uint32_t adm_limit_sample_target(const char *name)
{
    static const struct ps_hash_key fixed_key;

    return (uint32_t)ps_hash64(&fixed_key, name, strlen(name));
}

/* --- One worker. --- */

static void set_level(struct adm_limit_sample_ring *ring, uint32_t level)
{
    ring->mask = (UINT64_C(1) << level) - 1;
    atomic_store_explicit(&ring->level, level, memory_order_relaxed);
}

void adm_limit_sample_note(struct adm_limit_sample *sample, enum cfg_limit_key kind,
                           const struct adm_limit_sampled *request)
{
    struct adm_limit_sample_ring *ring = &sample->rings[kind];
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    uint32_t level = atomic_load_explicit(&ring->level, memory_order_relaxed);
    struct adm_limit_sample_place *place = &ring->places[written % ADM_LIMIT_SAMPLE_PLACES];

    atomic_store_explicit(&place->when,
                          (uint64_t)request->at_us << 8 | (request->has_wide ? HAS_WIDE : 0) |
                              request->applies_to,
                          memory_order_relaxed);
    atomic_store_explicit(&place->key, request->key, memory_order_relaxed);
    atomic_store_explicit(&place->which, (uint64_t)request->chosen_by << 32 | request->target,
                          memory_order_relaxed);
    atomic_store_explicit(&ring->written, written + 1, memory_order_release);
    if (++ring->noted > A_SECOND && level < LEVEL_MAX) {
        set_level(ring, level + 1);
        ring->noted /= 2;
    }
}

void adm_limit_sample_tick(struct adm_limit_sample *sample, int64_t now_ns)
{
    int64_t second = now_ns / PS_NS_PER_S;

    if (second == sample->second)
        return;
    for (size_t i = 0; i < PS_ARRAY_LEN(sample->rings); i++) {
        struct adm_limit_sample_ring *ring = &sample->rings[i];
        uint32_t level = atomic_load_explicit(&ring->level, memory_order_relaxed);
        atomic_store_explicit(&ring->levels[second % SECONDS], (uint64_t)second << 8 | level,
                              memory_order_relaxed);
        if (ring->noted < A_SECOND / 4 && level > 0)
            set_level(ring, level - 1);
        ring->noted = 0;
    }
    sample->second = second;
}

/* --- All of them. --- */

int adm_limit_samples_new(size_t workers, int64_t now_ns, struct adm_limit_samples *ret_samples)
{
    size_t bytes = workers * sizeof(struct adm_limit_sample);
    struct adm_limit_sample *at = aligned_alloc(PS_CACHE_LINE, bytes);
    struct ps_hash_key key;

    if (at == NULL)
        return PS_E_NOMEM;
    memset(at, 0, bytes); /* touched here: no request faults a page in */
    ps_hash_key_random(&key);
    for (size_t i = 0; i < workers; i++) {
        memcpy(&at[i].secret, key.byte, sizeof at[i].secret);
        at[i].since_ns = now_ns;
        at[i].second = now_ns / PS_NS_PER_S;
    }
    *ret_samples = (struct adm_limit_samples){.count = workers, .at = at};
    return 0;
}

void adm_limit_samples_free(struct adm_limit_samples *samples)
{
    free(samples->at);
    *samples = (struct adm_limit_samples){0};
}

/* The highest level of the ring since then. */
static unsigned highest_level(const struct adm_limit_sample_ring *ring, int64_t from_ns)
{
    unsigned level = atomic_load_explicit(&ring->level, memory_order_relaxed);

    for (size_t i = 0; i < SECONDS; i++) {
        uint64_t past = atomic_load_explicit(&ring->levels[i], memory_order_relaxed);
        bool counts = (int64_t)(past >> 8) * PS_NS_PER_S >= from_ns;
        if (counts && (past & 0xff) > level)
            level = (unsigned)(past & 0xff);
    }
    return level;
}

static struct adm_limit_sampled read_place(const struct adm_limit_sample_place *place)
{
    uint64_t when = atomic_load_explicit(&place->when, memory_order_relaxed);
    uint64_t which = atomic_load_explicit(&place->which, memory_order_relaxed);

    return (struct adm_limit_sampled){.at_us = (int64_t)(when >> 8),
                                      .key =
                                          atomic_load_explicit(&place->key, memory_order_relaxed),
                                      .chosen_by = (uint32_t)(which >> 32),
                                      .target = (uint32_t)which,
                                      .applies_to = (unsigned)(when & (HAS_WIDE - 1)),
                                      .has_wide = (when & HAS_WIDE) != 0};
}

/* Above LEVEL_MAX none is: whoever is left then would have been chosen at any level. */
static bool is_chosen(const struct adm_limit_sampled *request, unsigned level)
{
    return level <= LEVEL_MAX && (request->chosen_by & ((UINT64_C(1) << level) - 1)) == 0;
}

/* Adds what a ring has. The view has room for a whole ring more. */
static void read_ring(const struct adm_limit_sample_ring *ring,
                      const struct adm_limit_sample_want *want, struct adm_limit_sample_view *view)
{
    uint64_t end = atomic_load_explicit(&ring->written, memory_order_acquire);
    uint64_t at =
        end > ADM_LIMIT_SAMPLE_PLACES - MARGIN ? end - (ADM_LIMIT_SAMPLE_PLACES - MARGIN) : 0;
    size_t before = view->count;

    if (at > 0) { /* it may not go back so far */
        int64_t first_ns = read_place(&ring->places[at % ADM_LIMIT_SAMPLE_PLACES]).at_us * 1000;
        if (first_ns > view->from_ns)
            view->from_ns = first_ns;
    }
    for (; at < end; at++) {
        struct adm_limit_sampled request = read_place(&ring->places[at % ADM_LIMIT_SAMPLE_PLACES]);
        if (is_chosen(&request, view->level) && want->is_wanted(&request, want->ctx))
            view->at[view->count++] = request;
    }
    uint64_t now = atomic_load_explicit(&ring->written, memory_order_acquire);
    if (now - end >= MARGIN) /* overtaken: what was read may be mixed up */
        view->count = before;
}

/* Leaves out what is too old, or would not have been chosen at the view's level. */
static void thin_out(struct adm_limit_sample_view *view)
{
    size_t kept = 0;

    for (size_t i = 0; i < view->count; i++)
        if (view->at[i].at_us * 1000 >= view->from_ns && is_chosen(&view->at[i], view->level))
            view->at[kept++] = view->at[i];
    view->count = kept;
}

int adm_limit_samples_read(const struct adm_limit_samples *samples,
                           const struct adm_limit_sample_want *want,
                           struct adm_limit_sample_view *ret_view)
{
    struct adm_limit_sample_view view = {.from_ns = want->now_ns - ADM_LIMIT_SAMPLE_NS};

    for (size_t i = 0; i < samples->count; i++) {
        const struct adm_limit_sample *sample = &samples->at[i];
        unsigned level = highest_level(&sample->rings[want->kind], view.from_ns);
        view.level = level > view.level ? level : view.level;
        if (sample->since_ns > view.from_ns)
            view.from_ns = sample->since_ns;
    }
    view.at = calloc(want->most + ADM_LIMIT_SAMPLE_PLACES, sizeof *view.at);
    if (view.at == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < samples->count; i++) {
        read_ring(&samples->at[i].rings[want->kind], want, &view);
        for (thin_out(&view); view.count > want->most; thin_out(&view))
            view.level++;
    }
    thin_out(&view); /* the last ring may have moved the beginning */
    *ret_view = view;
    return 0;
}
