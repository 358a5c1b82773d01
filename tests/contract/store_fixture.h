/* What the contract of the counter is run on: a table of backends, and calls that wait where a
 * backend answers later. A call gives the error that came at once or with the answer. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "common/clock.h"
#include "inventory/store.h"

struct store_backend {
    const char *name;
    void (*start)(void); /* once, before all tests; NULL: nothing to do */
    void (*stop)(void);
    int (*open)(const struct ps_clock *clock, struct inv_store **ret_store); /* it is empty */
    void (*close)(struct inv_store *store);
    void (*turn)(struct inv_store *store); /* of its loop, waiting if need be; NULL: no loop */
    bool (*busy)(struct inv_store *store); /* something is not yet sent or not yet answered */
    bool shared;                           /* by several gateways */
    bool own_clock; /* reserved_at is a clock of its own, near the system's; not the given one */
    unsigned schedules, steps;
};
extern const struct store_backend store_backend_redis; /* store_fixture_redis.c */
extern const struct store_backend *const store_backends[];
extern const size_t store_backend_count;

/* The store under test, of that backend. */
struct store_fixture {
    const struct store_backend *backend;
    struct ps_clock_manual now;
    struct inv_store *store;
};

void fx_open(struct store_fixture *fx, const struct store_backend *backend);
void fx_close(struct store_fixture *fx);
/* Until all that was sent is answered. */
void fx_rest(struct store_fixture *fx);
/* The clock that the store's times are of. */
int64_t fx_now_ms(const struct store_fixture *fx);

int fx_reserve(struct store_fixture *fx, struct inv_sale *sale,
               const struct inv_reservation *reservation, struct inv_answer *ret) PS_MUST_CHECK;
/* inv_store_judge */
int fx_judge(struct store_fixture *fx, struct inv_sale *sale,
             const struct inv_reservation *reservation, struct inv_answer *ret) PS_MUST_CHECK;
int fx_lower(struct store_fixture *fx, struct inv_sale *sale, int64_t epoch,
             const struct ps_uuid *id, uint32_t sku, int64_t units,
             struct inv_answer *ret) PS_MUST_CHECK;
int fx_find(struct store_fixture *fx, struct inv_sale *sale, const struct ps_uuid *id,
            struct inv_entry *ret) PS_MUST_CHECK;
int fx_counts(struct store_fixture *fx, struct inv_sale *sale, struct inv_count *ret) PS_MUST_CHECK;
void fx_resolve(struct store_fixture *fx, struct inv_sale *sale, const struct ps_uuid *id,
                enum inv_verdict verdict);
void fx_raise(struct store_fixture *fx, struct inv_sale *sale, const struct ps_uuid *id,
              uint32_t sku, int64_t units);

#endif
