/* The circuit breakers of this gateway by name: the state of each, and the overrides of operators.
 * A breaker is one or more circuits (common/breaker.h): each worker has one before Redis, and one
 * before each pool and endpoint of the shop; the log's thread has one before Kafka. Fixed breakers
 * exist from the start until the end; dynamic ones (of pools and endpoints) follow the documents.
 * The control thread, unless said otherwise. */
#ifndef ADM_BREAKERS_H
#define ADM_BREAKERS_H

#include "common/breaker.h"
#include "gateway/config/kinds/override.h"

#define ADM_BREAKERS_MAX     2   /* fixed ones */
#define ADM_BREAKER_NAME_MAX 160 /* "endpoint:POOL:ADDRESS", with its NUL */

/* A breaker's circuits. */
struct adm_breaker_source {
    const char *name; /* the owner's; valid while the breaker exists */
    size_t circuits;  /* at least 1 */
    /* Reads the state of one circuit, at most about 100 ms old. Any thread. */
    void (*show)(size_t circuit, struct ps_breaker_view *ret_view, void *ctx);
    /* Sends an override to all circuits. A circuit has applied it when it shows its id. */
    void (*force)(const struct ps_breaker_force *force, void *ctx);
    void *ctx;
};

/* The state of all circuits of one breaker. */
struct adm_breaker_sum {
    enum ps_breaker_state state; /* OPEN if one is, else HALF_OPEN if one is */
    size_t circuits[PS_BREAKER_STATES];
    int64_t since_ns; /* monotonic: since when all are closed, or the first one is in this state */
    uint32_t calls, failures, slow;
    uint64_t openings;
    uint64_t obeyed; /* the smallest id that a circuit has applied */
    char why[PS_BREAKER_WHY];
};

struct adm_breaker {
    /* read by callers */
    struct adm_breaker_source source;
    struct ps_breaker_force force; /* the last override sent */
    /* private */
    bool logged_open; /* or half open */
    char name[];      /* source.name of a dynamic breaker */
};

/* Values of overrides by enum ps_breaker_order; NULL for FREE. */
extern const char *const adm_breaker_orders[];

/* All zero: no breakers. */
struct adm_breakers {
    /* the fixed ones; any thread reads them */
    struct adm_breaker *at[ADM_BREAKERS_MAX];
    size_t count;
    /* the dynamic ones, by name; the control thread */
    struct adm_breaker **more;
    size_t more_count;
    uint64_t last_id; /* private */
};

/* Adds a fixed breaker. Start-up only. PS_E_NOMEM. */
int adm_breakers_add(struct adm_breakers *breakers,
                     const struct adm_breaker_source *source) PS_MUST_CHECK;
/* Replaces all dynamic breakers by these; a breaker whose name is in both keeps its state. Names
 * are copied and must differ. adm_breakers_apply sends overrides to new circuits. PS_E_NOMEM: no
 * dynamic breaker is left. */
int adm_breakers_follow(struct adm_breakers *breakers, const struct adm_breaker_source *sources,
                        size_t count) PS_MUST_CHECK;
void adm_breakers_done(struct adm_breakers *breakers);
/* The breaker at `index`, 0 and up; NULL: no more. */
struct adm_breaker *adm_breakers_at(const struct adm_breakers *breakers, size_t index);
/* NULL: no breaker has this name. */
struct adm_breaker *adm_breakers_find(struct adm_breakers *breakers, struct ps_str name);

/* Any thread. */
void adm_breaker_add_up(const struct adm_breaker *breaker, struct adm_breaker_sum *ret_sum);
/* True when all circuits have applied the last override sent. */
bool adm_breaker_is_obeyed(const struct adm_breaker *breaker);

/* Each 100 ms, and after a change: sends overrides that are in force, or their end, to circuits
 * that do not have them yet. */
void adm_breakers_apply(struct adm_breakers *breakers, const struct cfg_store *store);

/* Each 100 ms: logs openings and closings. */
void adm_breakers_watch(struct adm_breakers *breakers);

#endif
