/* The records of one stripe of the ledger: its buyers and their orders. The caller locks. */
#ifndef INV_RECORDS_H
#define INV_RECORDS_H

#include "inventory/arena.h"
#include "inventory/ledger.h"
#include "inventory/table.h"

#include <sys/queue.h>

struct inv_buyer {
    struct inv_link by_user;
    uint32_t orders;              /* that are remembered */
    SLIST_HEAD(, inv_order) live; /* their live orders, newest first; caps keep them few */
    int64_t units;                /* of the live orders */
    uint8_t user_size;
    bool user_is_uuid;
    char user[]; /* in the form of ps_id_pack */
};

struct inv_order {
    struct inv_link by_id;       /* the ledger's */
    struct inv_link by_key;      /* unless key_size is 0 */
    SLIST_ENTRY(inv_order) live; /* while its buyer has its units */
    struct inv_buyer *buyer;     /* NULL: an adjustment */
    struct ps_uuid id;
    int64_t quantity;
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    uint16_t sku;
    uint8_t state;
    uint8_t stripe, part;
    uint8_t key_size;
    bool key_is_uuid;
    char key[]; /* in the form of ps_id_pack */
};

struct inv_records {
    struct inv_table buyers, keys;
    struct inv_arena arena;
};

/* What is known about a new order; user.len == 0: an adjustment. */
struct inv_record {
    const struct ps_uuid *id;
    struct ps_str user, key;
    uint32_t sku;
    int64_t quantity;
    uint8_t state; /* the ledger's */
    bool live;     /* its buyer has its units */
};

int inv_records_init(struct inv_records *records) PS_MUST_CHECK; /* PS_E_NOMEM */
void inv_records_done(struct inv_records *records);              /* one of {0} is allowed */
/* Allocates memory for this many more orders in advance, if there is some. */
void inv_records_expect(struct inv_records *records, size_t orders);

/* NULL: there is none. */
struct inv_buyer *inv_records_buyer(const struct inv_records *records, struct ps_str user,
                                    uint64_t user_hash);
struct inv_order *inv_records_key(const struct inv_records *records, const struct inv_buyer *buyer,
                                  struct ps_str key, uint64_t key_hash);

/* Adds the order, and its buyer with their first one; the caller sets times, stripe, part and
 * by_id. NULL: out of memory, nothing done. */
struct inv_order *inv_records_add(struct inv_records *records, const struct inv_record *record,
                                  const struct inv_place *place);
/* Its buyer no longer has its units. */
void inv_records_delist(struct inv_order *order);
/* Frees it, and its buyer with their last. It must be delisted, or have no buyer. */
void inv_records_forget(struct inv_records *records, struct inv_order *order);

#endif
