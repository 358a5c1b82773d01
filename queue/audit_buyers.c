/* What buyers had, and have (I3). The fold lists each buyer's orders; the auditor's own slots say
 * how and when they ended. Every order must be in the list of exactly one buyer, or the list is
 * wrong. */
#include "queue/audit_internal.h"

#include <stdlib.h>

/* Two orders of a buyer whose reservations are further apart land in the order of the
 * reservations. */
#define OTHER_WAY_ROUND_MS 10000

struct latest { /* of a buyer's reservations, among what was accepted */
    int64_t version, at_ms, cap;
};

struct units {
    int64_t held; /* and confirmed */
    struct latest by_time, by_version;
    int64_t cap; /* judged at rest: the largest of the orders' caps */
};

struct one { /* an order of the current buyer */
    const struct oq_order *order;
    struct oq_slot slot;
    uint32_t sku;
    int64_t quantity, reserved_at_ms, cap, sku_cap;
};

struct walk {
    const struct oq_audit *audit;
    const struct oq_sale_book *sale;
    struct oq_findings *findings;
    struct units all;    /* of the current buyer, over all SKUs */
    struct units *of;    /* of each SKU */
    struct one *orders;  /* the newest first */
    struct one *endings; /* those that were released, in the order of release */
    size_t count, cap, ended;
};

static bool is_live(const struct one *one)
{
    return one->slot.state == OQ_BOOK_HELD || one->slot.state == OQ_BOOK_CONFIRMED;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int check_cap(const struct walk *walk, const struct one *one, const struct units *units,
                     int64_t cap, bool with_place)
{
    int64_t place = oq_order_place(one->order);
    const struct oq_place at = {oq_place_partition(place), oq_place_seq(place)};
    if (cap == 0 || units->held <= cap)
        return 0;
    return oq_find_fault(walk->findings, "I3", oq_sale_sku(oq_order_sale(one->order), one->sku),
                         oq_order_id(one->order), with_place ? &at : NULL,
                         "the buyer has %lld units%s, the cap is %lld", (long long)units->held,
                         units == &walk->all ? "" : " of the SKU", (long long)cap);
}

/* --- In one partition: after each order --- */

/* Two orders of a buyer may land in another order than they were reserved, and a cap may have been
 * raised in between. So the buyer's units are compared with the cap of the latest reservation. Two
 * things say which reservation is the latest, and either may be wrong: the time, if a clock was set
 * back, and the version of the sale, if a gateway did not have the new one yet. The wider cap of
 * the two counts. But orders change places only within seconds: if a later version lands later and
 * its time is much earlier, the clock was set back, and earlier times do not count any more. */
static int check_units(const struct walk *walk, const struct one *one, struct units *units,
                       int64_t cap)
{
    const struct latest own = {one->slot.version, one->reserved_at_ms, cap > 0 ? cap : PS_INT_MAX};
    if (own.version > units->by_version.version &&
        own.at_ms < units->by_time.at_ms - OTHER_WAY_ROUND_MS)
        units->by_time = own;
    int time = compare_numbers(own.at_ms, units->by_time.at_ms);
    if (time > 0 || (time == 0 && own.cap > units->by_time.cap))
        units->by_time = own;
    int version = compare_numbers(own.version, units->by_version.version);
    if (version == 0)
        version = compare_numbers(own.at_ms, units->by_version.at_ms);
    if (version > 0 || (version == 0 && own.cap > units->by_version.cap))
        units->by_version = own;
    int64_t widest =
        units->by_time.cap > units->by_version.cap ? units->by_time.cap : units->by_version.cap;
    return check_cap(walk, one, units, widest, true);
}

static void give_back(struct walk *walk, const struct one *one)
{
    walk->all.held -= one->quantity;
    walk->of[one->sku].held -= one->quantity;
}

static int compare_endings(const void *a, const void *b)
{
    return compare_numbers(((const struct one *)a)->slot.ended,
                           ((const struct one *)b)->slot.ended);
}

static int check_one_by_one(struct walk *walk)
{
    size_t returned = 0;
    int err = 0;
    walk->ended = 0;
    for (size_t i = 0; i < walk->count; i++)
        if (walk->orders[i].slot.state == OQ_BOOK_RELEASED)
            walk->endings[walk->ended++] = walk->orders[i];
    if (walk->ended > 1)
        qsort(walk->endings, walk->ended, sizeof *walk->endings, compare_endings);
    for (size_t i = walk->count; err == 0 && i-- > 0;) {
        const struct one *one = &walk->orders[i];
        int64_t since = oq_place_seq(oq_order_place(one->order)) - walk->sale->first_seq;
        if (one->slot.state == OQ_BOOK_VOID || one->slot.state == OQ_BOOK_NONE)
            continue;
        while (returned < walk->ended && walk->endings[returned].slot.ended < since)
            give_back(walk, &walk->endings[returned++]);
        walk->all.held += one->quantity;
        walk->of[one->sku].held += one->quantity;
        err = check_units(walk, one, &walk->all, one->cap);
        if (err == 0)
            err = check_units(walk, one, &walk->of[one->sku], one->sku_cap);
    }
    return err;
}

/* --- In several: as it is now --- */

static void raise_cap(struct units *units, int64_t cap)
{
    if (cap > units->cap)
        units->cap = cap;
}

/* The latest order that a buyer still has carries a cap that covers all the buyer's units: so the
 * largest cap of the buyer's orders must cover them. Each fault is reported once per buyer. */
static int check_at_rest(struct walk *walk)
{
    int err = 0;
    for (size_t i = 0; i < walk->count; i++) {
        const struct one *one = &walk->orders[i];
        struct units *of = &walk->of[one->sku];
        if (!is_live(one))
            continue;
        walk->all.held += one->quantity;
        of->held += one->quantity;
        raise_cap(&walk->all, one->cap);
        raise_cap(of, one->sku_cap > 0 ? one->sku_cap : PS_INT_MAX);
    }
    for (size_t i = walk->count; err == 0 && i-- > 0;) {
        const struct one *one = &walk->orders[i];
        struct units *of = &walk->of[one->sku];
        if (!is_live(one))
            continue;
        err = check_cap(walk, one, &walk->all, walk->all.cap, false);
        if (err == 0)
            err = check_cap(walk, one, of, of->cap, false);
        walk->all.cap = of->cap = 0;
    }
    return err;
}

/* --- Buyer by buyer --- */

static int take_order(struct walk *walk, const struct oq_order *order, struct oq_slot slot)
{
    if (walk->count == walk->cap) {
        size_t cap = walk->cap * 2 + 16;
        struct one *more = realloc(walk->orders, cap * sizeof *more);
        if (more != NULL)
            walk->orders = more;
        struct one *endings = realloc(walk->endings, cap * sizeof *endings);
        if (endings != NULL)
            walk->endings = endings;
        if (more == NULL || endings == NULL)
            return PS_E_NOMEM;
        walk->cap = cap;
    }
    struct oq_order_view view;
    oq_order_get(order, &view);
    walk->orders[walk->count++] = (struct one){.order = order,
                                               .slot = slot,
                                               .sku = view.sku,
                                               .quantity = view.quantity,
                                               .reserved_at_ms = view.reserved_at_ms,
                                               .cap = view.cap,
                                               .sku_cap = view.sku_cap};
    walk->of[view.sku] = (struct units){0};
    return 0;
}

static int check_buyer(struct walk *walk, const struct oq_order *oldest)
{
    int err = 0;
    walk->count = 0;
    walk->all = (struct units){0};
    struct oq_order_view view;
    oq_order_get(oldest, &view);
    for (const struct oq_order *order = oq_fold_newest(walk->audit->fold, view.sale, view.user);
         err == 0 && order != NULL; order = oq_order_older(order)) {
        struct oq_slot slot = oq_slot_of(walk->sale, order);
        if (slot.known) /* else it is after the cut */
            err = take_order(walk, order, slot);
    }
    if (err != 0)
        return err;
    return walk->sale->partitions > 1 ? check_at_rest(walk) : check_one_by_one(walk);
}

int oq_check_buyers(const struct oq_audit *audit, const struct oq_sale_book *sale,
                    struct oq_findings *findings)
{
    size_t count, listed = 0;
    const struct oq_sale *folded = oq_folded_sale(audit, sale, &count);
    struct walk walk = {.audit = audit, .sale = sale, .findings = findings};
    int err = 0;
    if (folded == NULL)
        return 0;
    walk.of = calloc(oq_sale_sku_count(folded) + 1, sizeof *walk.of);
    if (walk.of == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; err == 0 && i < count; i++) {
        const struct oq_order *order = oq_sale_order_at(folded, i);
        if (order == NULL ||
            oq_order_older(order) != NULL) /* the buyer is checked with their oldest order */
            continue;
        err = check_buyer(&walk, order);
        listed += walk.count;
    }
    free(walk.of);
    free(walk.orders);
    free(walk.endings);
    if (err == 0 && listed != sale->known)
        err = oq_find_fault(findings, "fold", NULL, NULL, NULL,
                            "the log has %zu orders, the fold lists %zu by buyer", sale->known,
                            listed);
    return err;
}
