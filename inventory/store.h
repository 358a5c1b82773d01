/* The stock counter: one interface, a written contract, two backends (memory and Redis).
 *
 * The counter only counts. What an order is, the order log decides; the counter is a cache of it
 * that can be built again at any time (inv_load_*), and that answers one question quickly and
 * atomically: may this buyer have these units now?
 *
 * Life of the units of one order:
 *
 *     available --reserve--> in doubt --resolve(accepted)--> held --resolve(confirmed)--> confirmed
 *         ^                     |                            |
 *         +---resolve(void)------+        resolve(released)----+
 *
 * The contract, for every backend (tests/contract/store_test.c runs it unchanged on each):
 *
 * Reserve decides in one atomic step, in this order. The same order id again gives the same answer
 * and no second unit; if that order was released, DUPLICATE of itself. A key that this user has
 * used in this sale is DUPLICATE (same SKU and quantity, the order's id) or MISMATCH. Units that
 * the user has (in doubt, held or confirmed) plus the quantity above the sale's cap or the SKU's
 * cap is CAP, with the id of the user's last order. Fewer available than the quantity is SOLD_OUT;
 * else RESERVED. Anything but RESERVED changes nothing.
 *
 * Available never falls below zero, and per SKU available + in doubt + held + confirmed changes
 * only by load, raise and lower.
 *
 * Resolve is idempotent by the entry: from any sender, however often, a verdict has one effect. A
 * verdict that does not fit the entry's state changes nothing (a confirmed order cannot be
 * released, an accepted one cannot be void). A later verdict implies the earlier ones, which may
 * come late or never: confirmed and released also reach an order in doubt. An unknown id changes
 * nothing.
 *
 * After resolve(void) the key is free again. After resolve(released) the key stays used for the
 * life of the sale, and an order without a key is forgotten.
 *
 * A call under another epoch than the installed one is FENCED and changes nothing.
 *
 * A reply that never comes is PS_E_UNKNOWN: the reservation may exist; it is not sent again. Any
 * other error means that surely nothing was reserved.
 *
 * Threads: a store object belongs to one thread unless its backend says otherwise (memory: any
 * thread). Sales are found once by name and then passed as a handle, which lives as long as the
 * backend. */
#ifndef INV_STORE_H
#define INV_STORE_H

#include "common/breaker.h"
#include "common/defs.h"
#include "common/err.h"
#include "common/text/id.h"

struct inv_store;
struct inv_sale;
struct inv_load;

enum inv_result {
    INV_RESERVED,  /* left, reserved_at_ms, pay_by_ms, order_id */
    INV_SOLD_OUT,  /* left */
    INV_CAP,       /* left, order_id = the buyer's last order (all zero if none is known) */
    INV_DUPLICATE, /* left, order_id */
    INV_MISMATCH,  /* left, order_id */
    INV_FENCED
};

enum inv_verdict { INV_ACCEPTED, INV_VOID, INV_CONFIRMED, INV_RELEASED };

/* All numbers are at most PS_INT_MAX. */
struct inv_reservation {
    struct ps_uuid order_id; /* of this order and no other, forever */
    int64_t epoch;
    struct ps_str user; /* 1..PS_USER_MAX bytes */
    struct ps_str key;  /* at most PS_KEY_MAX bytes; .len == 0: none */
    uint32_t sku;       /* index, as in inv_load_new */
    int64_t quantity;   /* >= 1 */
    int64_t cap;        /* units a user may have over all SKUs; >= 1 */
    int64_t sku_cap;    /* of this SKU; 0 = none of its own */
    int64_t ttl_ms;     /* >= 0; pay_by = the store's clock + ttl */
};

/* Fields that the result does not list are 0. */
struct inv_answer {
    enum inv_result result;
    int64_t left; /* available units of the SKU after this step */
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    struct ps_uuid order_id;
};

/* One SKU's numbers. A cut: all SKUs of one call belong to the same moment. A lowering is in doubt
 * until it is resolved. */
struct inv_count {
    int64_t available;
    int64_t in_doubt;
    int64_t held;
    int64_t confirmed;
};

/* The counter's entry of one order: so that a buyer can see an order that the log has not shown
 * yet. */
struct inv_entry {
    enum { INV_IN_DOUBT, INV_HELD, INV_CONFIRMED_UNITS, INV_GIVEN_BACK } state;
    uint32_t sku;
    int64_t quantity;
    int64_t reserved_at_ms; /* 0 for loaded orders */
    int64_t pay_by_ms;      /* 0 for loaded orders */
    size_t user_len, key_len;
    char user[PS_USER_MAX];
    char key[PS_KEY_MAX];
};

/* Result of an asynchronous call: negative = refused, nothing was submitted; INV_DONE = *ret_… is
 * filled, no callback; INV_PENDING = the callback comes exactly once, later, on this thread's loop.
 * Its arguments are valid until it returns; with an error they are NULL. Without a callback (NULL)
 * the reply is dropped. Errors of either way: PS_E_UNKNOWN (no reply came: see above); PS_E_CLOSED
 * (the backend is away), PS_E_BUSY, PS_E_FULL (too much at once, or its memory), PS_E_READ_ONLY,
 * PS_E_PERMISSION, PS_E_CORRUPT (its data were not written by this program), PS_E_NOMEM: not done;
 * and those that each call names. */
enum { INV_DONE = 0, INV_PENDING = 1 };

typedef void inv_answer_fn(uint64_t handle, int err, const struct inv_answer *answer, void *ctx);
typedef void inv_entry_fn(uint64_t handle, int err, const struct inv_entry *entry, void *ctx);
/* `counts` are inv_sale_sku_count many. */
typedef void inv_counts_fn(uint64_t handle, int err, const struct inv_count *counts, void *ctx);

/* Where the reply goes: the members that fit the call. `handle` is passed to the callback. */
struct inv_reply_to {
    union {
        inv_answer_fn *on_answer;
        inv_entry_fn *on_entry;
        inv_counts_fn *on_counts;
    };
    void *ctx;
    uint64_t handle;
    union { /* filled if the call is done at once; never NULL */
        struct inv_answer *ret_answer;
        struct inv_entry *ret_entry;
        struct inv_count *ret_counts; /* has room for inv_sale_sku_count */
    };
};

int64_t inv_sale_epoch(const struct inv_sale *sale);
size_t inv_sale_sku_count(const struct inv_sale *sale); /* never changes */

/* What was available when last read: a relaxed load, never waits. 0 for an index that the sale
 * does not have. Any thread. */
int64_t inv_sale_left(const struct inv_sale *sale, uint32_t sku);
/* True if a SKU has nothing available and no order of it is in doubt: then a buyer without an order
 * in the log has none, and can be answered "sold out" without asking the counter. (Only the counter
 * knows an order in doubt; its buyer must not get "sold out".) The answer stays right if it was
 * true before the look into the log's fold. True for an index that the sale does not have. Any
 * thread. */
bool inv_sale_sku_sold_out(const struct inv_sale *sale, uint32_t sku);
/* The same of all SKUs. Any thread. */
bool inv_sale_sold_out(const struct inv_sale *sale);

/* PS_E_INVALID: a field is out of its range. PS_E_CONFLICT: the order id is another buyer's.
 * PS_E_NOMEM. */
int inv_store_reserve(struct inv_store *store, struct inv_sale *sale,
                      const struct inv_reservation *reservation,
                      struct inv_reply_to to) PS_MUST_CHECK;

/* What inv_store_reserve would answer now, changing nothing; RESERVED then has only `left`, the
 * units that are available. The reservation's id is all zero, or of no order. Errors as
 * inv_store_reserve. */
int inv_store_judge(struct inv_store *store, struct inv_sale *sale,
                    const struct inv_reservation *reservation,
                    struct inv_reply_to to) PS_MUST_CHECK;

/* Units of a lowering stock adjustment. */
struct inv_lowering {
    struct ps_uuid id; /* a reference of 16 bytes derived from the adjust id */
    int64_t epoch;
    struct ps_str name; /* at most PS_KEY_MAX bytes; kept with the units while they are in doubt,
                           for the gateway that must release them */
    uint32_t sku;
    int64_t units; /* >= 1 */
};

/* Reserves the units like an order without a user: RESERVED (without times) or SOLD_OUT (or
 * FENCED). resolve(id, ACCEPTED) removes the units for good, resolve(id, VOID) returns them, other
 * verdicts change nothing. The same id again is RESERVED again and takes nothing more, also after
 * ACCEPTED, and with another SKU or other units PS_E_CONFLICT; only the log knows what was lowered
 * before a load. Errors as inv_store_reserve. */
int inv_store_lower(struct inv_store *store, struct inv_sale *sale,
                    const struct inv_lowering *lowering, struct inv_reply_to to) PS_MUST_CHECK;

/* PS_E_NOT_FOUND: the counter has no such order in this sale (adjustments are not found either).
 * PS_E_CLOSED: also when the sale is fenced. */
int inv_store_find(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                   struct inv_reply_to to) PS_MUST_CHECK;

/* The log's decision about an order or a lowering. No answer: a backend that is away keeps it until
 * it can be sent. A verdict that overtakes the reservation's own answer may find nothing. */
void inv_store_resolve(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                       enum inv_verdict verdict);

/* Adds `units` (1..PS_INT_MAX) that the log shows; once per id. A lowering of that id that is in
 * doubt is undone: the log has decided otherwise. An addition that would raise the SKU's sum above
 * PS_INT_MAX changes nothing: the writer of stock to the log prevents that. */
void inv_store_raise(struct inv_store *store, struct inv_sale *sale, const struct ps_uuid *id,
                     uint32_t sku, int64_t units);

/* All SKUs at one moment. PS_E_CLOSED: also when the sale is fenced. */
int inv_store_counts(struct inv_store *store, struct inv_sale *sale,
                     struct inv_reply_to to) PS_MUST_CHECK;

/* --- Building a sale's counters from the log, then putting them in force in one step. One thread
 * per load, any thread, and it may be kept waiting (for Redis, within deadlines). What is loaded
 * must be of one cut of the log. PS_E_INVALID: a field is out of its range, or a SKU's sum
 * would pass PS_INT_MAX; PS_E_NOMEM; of a backend elsewhere also the errors above, after which the
 * load can only be freed. --- */

struct inv_load_order {
    struct ps_uuid id;
    struct ps_str user;
    struct ps_str key;
    uint32_t sku;
    int64_t quantity;
    enum {
        INV_LOAD_HELD,
        INV_LOAD_CONFIRMED,
        INV_LOAD_RELEASED /* only its key still counts; needs one */
    } state;
};

/* SKUs of a sale: the Redis backend counts those of a buyer in a byte. */
#define INV_SKUS_MAX 255

/* `skus` are at most INV_SKUS_MAX names; their order gives the index. Names are copied. */
int inv_load_new(struct inv_store *store, const char *sale, int64_t epoch, const char *const *skus,
                 size_t sku_count, struct inv_load **ret_load) PS_MUST_CHECK;
/* Available units of a SKU, after all orders of the log are subtracted; 0 until set. */
int inv_load_available(struct inv_load *load, uint32_t sku, int64_t available) PS_MUST_CHECK;
/* About this many orders will be loaded: their memory can be allocated at once. */
void inv_load_expect(struct inv_load *load, size_t orders);
/* In the order of the log, so that the last order of a user is known. PS_E_EXISTS: the id is
 * loaded already. */
int inv_load_order(struct inv_load *load, const struct inv_load_order *order) PS_MUST_CHECK;
int inv_load_raised(struct inv_load *load, const struct ps_uuid *id) PS_MUST_CHECK;
/* Takes ownership of `load` in every case. PS_E_CONFLICT: this epoch or a higher one is installed,
 * or the sale is installed with another number of SKUs. What still comes under the old epoch is
 * fenced. *ret_sale is the handle: the same as before for a name that was installed before. */
int inv_load_install(struct inv_load *load, struct inv_sale **ret_sale) PS_MUST_CHECK;
void inv_load_free(struct inv_load *load); /* instead of install; NULL is allowed */

/* The log's records of `partition` up to `offset` are in the load; once per partition. Only a
 * shared store keeps it; any other does nothing and returns 0. */
int inv_load_applied(struct inv_load *load, uint32_t partition, int64_t offset) PS_MUST_CHECK;

/* --- What a caller may ask of its store, whatever the backend. --- */

/* True: several gateways count in it. Calls may answer later (INV_PENDING), and any gateway that
 * reads the log's verdicts must send them. False: only this process counts in it, calls answer at
 * once, and the counters end with the process. Any thread. */
bool inv_store_is_shared(const struct inv_store *store);
/* The circuit breaker of a shared store. False: the store is not shared, and has none. The store's
 * thread. */
bool inv_store_breaker(struct inv_store *store, struct ps_breaker_view *ret_view);
/* In force when this returns; does nothing for a store without a breaker. The store's thread. */
void inv_store_force(struct inv_store *store, const struct ps_breaker_force *force);
/* It can be asked now. Always true for a store that is not shared. The store's thread. */
bool inv_store_ready(const struct inv_store *store);
/* A call or an effect waits to be sent or answered. Never true for a store that is not shared. The
 * store's thread. */
bool inv_store_busy(const struct inv_store *store);
/* "host:port" of the present or last server; "": none has been reached, or the store is not shared.
 * Valid until the store's loop runs again. The store's thread. */
const char *inv_store_server(const struct inv_store *store);
/* The gateway's view of the log has reached an end that the log had at `mono_ns` (monotonic clock
 * of the system) or later. A shared store calls a SKU sold out only for what it learnt before that
 * moment, so that no buyer whose order is decided but not yet in this view is told "sold out". Any
 * thread. */
void inv_store_view_reached(struct inv_store *store, int64_t mono_ns);
/* Why the last load failed, in the words of the server; "": none failed, or the store is not
 * shared. Any thread. */
void inv_store_load_error(const struct inv_store *store, char *ret_text, size_t cap);

void inv_store_free(struct inv_store *store); /* NULL is allowed */

#endif
