/* The circuit breakers of this gateway by name: what they show, taken together, and what overrides
 * make of them. A breaker is one or more circuits (common/breaker.h): each worker has one before
 * Redis, and before each pool and endpoint of the shop; the log's thread has one before Kafka. The
 * control thread unless said otherwise. */
#ifndef ADM_BREAKERS_H
#define ADM_BREAKERS_H

#include "common/breaker.h"
#include "gateway/config/kinds/override.h"

#define ADM_BREAKERS_MAX     2   /* that are there from the start */
#define ADM_BREAKER_NAME_MAX 160 /* "endpoint:POOL:ADDRESS", with its NUL */

/* Where the circuits of a name are. */
struct adm_breaker_source {
    const char *name; /* the owner's, for as long as the breaker is there */
    size_t circuits;  /* at least 1 */
    /* What one of them shows, some 100 ms old at most. Any thread. */
    void (*show)(size_t circuit, struct ps_breaker_view *ret_view, void *ctx);
    /* Sends it to all of them: obeyed when they show its id. */
    void (*force)(const struct ps_breaker_force *force, void *ctx);
    void *ctx;
};

/* All circuits of a name. */
struct adm_breaker_sum {
    enum ps_breaker_state state; /* OPEN if one is, else HALF_OPEN if one is */
    size_t circuits[PS_BREAKER_STATES];
    int64_t since_ns; /* mono: since when all are closed, or the first is not */
    uint32_t calls, failures, slow;
    uint64_t openings;
    uint64_t obeyed; /* the oldest id that one of them obeys */
    char why[PS_BREAKER_WHY];
};

struct adm_breaker {
    /* to be read */
    struct adm_breaker_source source;
    struct ps_breaker_force force; /* what was sent last */
    /* private */
    bool logged_open; /* or half open */
    char name[];      /* source.name, of those that come and go */
};

/* The values of overrides by enum ps_breaker_order; of FREE: NULL. */
extern const char *const adm_breaker_orders[];

/* All zero: none. */
struct adm_breakers {
    /* to be read: those of the start, by any thread */
    struct adm_breaker *at[ADM_BREAKERS_MAX];
    size_t count;
    /* the control thread's: those that come and go, by name */
    struct adm_breaker **more;
    size_t more_count;
    uint64_t last_id; /* private */
};

/* Start-up only. PS_E_NOMEM. */
int adm_breakers_add(struct adm_breakers *breakers,
                     const struct adm_breaker_source *source) PS_MUST_CHECK;
/* These, whose names are copied and all different, take the place of those that came and went
 * before. adm_breakers_apply tells new circuits what is in force. PS_E_NOMEM: those before are
 * gone, and there are none. */
int adm_breakers_follow(struct adm_breakers *breakers, const struct adm_breaker_source *sources,
                        size_t count) PS_MUST_CHECK;
void adm_breakers_done(struct adm_breakers *breakers);
/* All of them: 0 .. ; NULL: no more. */
struct adm_breaker *adm_breakers_at(const struct adm_breakers *breakers, size_t index);
/* NULL: no such one. */
struct adm_breaker *adm_breakers_find(struct adm_breakers *breakers, struct ps_str name);

/* Any thread. */
void adm_breaker_add_up(const struct adm_breaker *breaker, struct adm_breaker_sum *ret_sum);
/* All circuits obey what was sent last. */
bool adm_breaker_is_obeyed(const struct adm_breaker *breaker);

/* Each 100 ms, and after a change: sends circuits what the overrides in force make of them, unless
 * they have it. */
void adm_breakers_apply(struct adm_breakers *breakers, const struct cfg_store *store);

/* Each 100 ms: logs what has changed. */
void adm_breakers_watch(struct adm_breakers *breakers);

#endif
