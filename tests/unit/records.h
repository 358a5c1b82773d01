/* Records of the order log for tests, and small random numbers that are the same in every run. */
#ifndef PS_TEST_RECORDS_H
#define PS_TEST_RECORDS_H

#include "queue/event.h"

#define T0 INT64_C(1900000000000) /* 2030 */

static inline struct ps_str str(const char *text)
{
    return (struct ps_str){text, strlen(text)};
}

/* The id that stands for a small number. */
static inline struct ps_uuid id_of(uint32_t number)
{
    struct ps_uuid id = {{0x01, 0x90, 0, 0, 0, 0, 0x70, 0, 0x80}};
    memcpy(id.byte + 12, &number, sizeof number);
    return id;
}

static inline struct oq_event accepted(uint32_t id, int64_t epoch, const char *user,
                                       const char *key, int64_t quantity)
{
    return (struct oq_event){.type = OQ_ACCEPTED,
                             .has_order_id = true,
                             .order_id = id_of(id),
                             .sale = PS_STR("sale"),
                             .sku = PS_STR("sku"),
                             .user = str(user),
                             .key = str(key),
                             .quantity = quantity,
                             .epoch = epoch,
                             .at_ms = T0 + 2,
                             .reserved_at_ms = T0,
                             .pay_by_ms = T0 + 900000,
                             .cap = 10,
                             .sale_version = 1};
}

static inline struct oq_event confirmed(uint32_t id)
{
    return (struct oq_event){.type = OQ_CONFIRMED,
                             .has_order_id = true,
                             .order_id = id_of(id),
                             .sale = PS_STR("sale"),
                             .at_ms = T0 + 3,
                             .by = PS_STR("settlement")};
}

static inline struct oq_event released(uint32_t id, enum oq_reason reason)
{
    return (struct oq_event){.type = OQ_RELEASED,
                             .has_order_id = true,
                             .order_id = id_of(id),
                             .sale = PS_STR("sale"),
                             .sku = PS_STR("sku"),
                             .quantity = 1,
                             .reason = reason,
                             .at_ms = reason == OQ_EXPIRED ? T0 + 900000 : T0 + 4};
}

static inline struct oq_event adjusted(const char *key, int64_t delta, int64_t epoch)
{
    return (struct oq_event){.type = OQ_ADJUSTED,
                             .adjust_key = str(key),
                             .sale = PS_STR("sale"),
                             .sku = PS_STR("sku"),
                             .delta = delta,
                             .epoch = epoch,
                             .at_ms = T0 + 1};
}

/* A lowering that is given up. */
static inline struct oq_event adjust_rejected(const char *key, int64_t units)
{
    return (struct oq_event){.type = OQ_RELEASED,
                             .adjust_key = str(key),
                             .sale = PS_STR("sale"),
                             .sku = PS_STR("sku"),
                             .quantity = units,
                             .reason = OQ_REJECTED,
                             .at_ms = T0 + 4};
}

static inline struct oq_event fenced(int64_t epoch, int64_t partitions, bool first)
{
    return (struct oq_event){.type = OQ_FENCED,
                             .sale = PS_STR("sale"),
                             .epoch = epoch,
                             .gateway = PS_STR("gw-1"),
                             .partitions = partitions,
                             .first = first,
                             .at_ms = T0};
}

#define A_HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static inline struct oq_event archived(void)
{
    return (struct oq_event){
        .type = OQ_ARCHIVED,
        .sale = PS_STR("sale"),
        .epoch = 5,
        .partitions = 1,
        .counts = PS_STR("[{\"sku\":\"sku\",\"adjustments\":100,\"held\":0,\"confirmed\":60,"
                         "\"released\":7}]"),
        .orders = 67,
        .lines = 140,
        .last_hash = PS_STR(A_HASH),
        .sha256 = PS_STR(A_HASH),
        .at_ms = T0 + 9};
}

static inline struct oq_event desk_head(void)
{
    return (struct oq_event){.type = OQ_HEAD,
                             .sale = PS_STR("sale"),
                             .epoch = 5,
                             .gateway = PS_STR("gw-1"),
                             .audit_seq = 412,
                             .head = PS_STR(A_HASH),
                             .at_ms = T0 + 9};
}

/* xorshift64*: 0 .. below-1. `seed` is never 0. */
static inline uint32_t random_below(uint64_t *seed, uint32_t below)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * UINT64_C(2685821657736338717) >> 33) % below);
}

#endif
