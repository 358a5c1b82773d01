/* A sample of the requests that the limits have counted in the last minute, from which a forecast
 * says what other figures would have refused (forecast.h). Its memory is fixed: 0.8 MiB a worker.
 *
 * Each kind of key has a sample of its own, of the requests that reach its gate. Requests are
 * chosen by their key: of one key in 2^level all are noted and of the others none, so that the rate
 * of a key that is noted is its true one. Where requests of all keys are counted together (global,
 * sale) each is chosen by itself. The level follows the traffic: about 128 requests a second are
 * noted.
 *
 * Each worker notes in rings of its own, relaxed; the control thread reads them. Nothing locks. */
#ifndef ADM_LIMIT_SAMPLE_H
#define ADM_LIMIT_SAMPLE_H

#include "common/err.h"
#include "common/text/address.h"
#include "gateway/config/kinds/limit_rule.h"

#include <stdatomic.h>
#include <string.h>

#define ADM_LIMIT_SAMPLE_NS     (60 * PS_NS_PER_S) /* how far back it goes */
#define ADM_LIMIT_SAMPLE_PLACES 8192               /* of a ring: more than are noted in a minute */

/* A request at the gate of one kind of key. */
struct adm_limit_sampled {
    int64_t at_us;      /* monotonic */
    uint64_t key;       /* hash of its key; of an address of the /64 */
    uint32_t chosen_by; /* the draw; of an address of IPv6 it stands for the /48 */
    uint32_t target;    /* adm_limit_sample_target of its sale, or of its route */
    unsigned applies_to;
    bool has_wide; /* an address of IPv6: the /48 is counted, too */
};

struct adm_limit_sample; /* one worker's */

/* The place of a sale or a route by its name. */
uint32_t adm_limit_sample_target(const char *name);

/* --- One worker. --- */

struct adm_limit_sample_ring {
    uint64_t mask; /* 2^level - 1: the worker's own copy */
    uint64_t draws;
    uint32_t noted; /* in this second */
    _Atomic(uint32_t) level;
    _Atomic(uint64_t) written;
    _Atomic(uint64_t) levels[64]; /* of past seconds: second << 8 | the highest level in it */
    struct adm_limit_sample_place {
        _Atomic(uint64_t) when, key, which;
    } places[ADM_LIMIT_SAMPLE_PLACES];
} PS_ALIGNED;

struct adm_limit_sample {
    struct adm_limit_sample_ring rings[4]; /* by enum cfg_limit_key */
    uint64_t secret;                       /* the same for all workers */
    int64_t second, since_ns;
};

/* Is a request with this draw to be noted? Of a user the draw is the hash. */
static inline bool adm_limit_sample_wants(const struct adm_limit_sample *sample,
                                          enum cfg_limit_key kind, uint64_t draw)
{
    return (draw & sample->rings[kind].mask) == 0;
}
/* The draw of an address: of IPv6 that of its /48. Cheaper than its hash, which most need not have.
 */
static inline uint64_t adm_limit_sample_draw_address(const struct adm_limit_sample *sample,
                                                     const struct ps_address *address)
{
    bool v4 = ps_address_is_v4(address);
    uint64_t word = 0;

    memcpy(&word, &address->byte[v4 ? 10 : 0], 6);
    return ((word ^ sample->secret) * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
}
/* The draw where all keys are counted together: each request has its own. */
static inline uint64_t adm_limit_sample_draw(struct adm_limit_sample *sample,
                                             enum cfg_limit_key kind)
{
    return (++sample->rings[kind].draws * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
}
void adm_limit_sample_note(struct adm_limit_sample *sample, enum cfg_limit_key kind,
                           const struct adm_limit_sampled *request);
/* Call it each 100 ms or so. */
void adm_limit_sample_tick(struct adm_limit_sample *sample, int64_t now_ns);

/* --- All of them: the control thread. --- */

struct adm_limit_samples {
    size_t count;
    struct adm_limit_sample *at; /* by worker */
};

/* PS_E_NOMEM. */
int adm_limit_samples_new(size_t workers, int64_t now_ns,
                          struct adm_limit_samples *ret_samples) PS_MUST_CHECK;
void adm_limit_samples_free(struct adm_limit_samples *samples); /* all zero is allowed */

struct adm_limit_sample_view {
    struct adm_limit_sampled *at; /* in no order; free() */
    size_t count;
    unsigned level;  /* one key, or request, in 2^level is there */
    int64_t from_ns; /* all since then */
};
/* Those of the last minute at the gate of `kind` that `is_wanted` lets through; no more than
 * `most`, for which the level rises. PS_E_NOMEM. */
typedef bool adm_sample_filter_fn(const struct adm_limit_sampled *request, const void *ctx);
struct adm_limit_sample_want {
    enum cfg_limit_key kind;
    int64_t now_ns;
    size_t most;
    adm_sample_filter_fn *is_wanted;
    const void *ctx;
};
int adm_limit_samples_read(const struct adm_limit_samples *samples,
                           const struct adm_limit_sample_want *want,
                           struct adm_limit_sample_view *ret_view) PS_MUST_CHECK;

#endif
