/* The auditor. See audit.h for the rules.
 *
 * Sales, SKUs, epochs and adjustments are entries of one index, found by a text: a letter and the
 * parts of the name, such as "s" sale, SKU. An order is a slot of eight bytes, by its number in the
 * fold. Its state follows `next`, a second copy of the protocol's table; the fold's state is only
 * compared. Findings are kept with their sale: the first hundred as text, all of them as a number.
 */
#include "queue/audit_internal.h"
#include "common/text/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct epoch_book { /* "e" sale, partition */
    struct oq_entry entry;
    int64_t epoch;
    int64_t at_ms; /* of the last record that cannot have waited in a spill; 0 = none yet */
    bool archived; /* records after it do not count */
};

struct adjust_book { /* "a" adjust key */
    struct oq_entry entry;
    bool decided; /* by its first adjustment, or by a release before that */
};

/* Clocks of gateways may differ by this much. */
#define STEP_MS 2000

#define SLOTS_LEAST 1024

static const char *const state_names[] = {"unknown", "accepted", "confirmed", "released", "void"};

/* What a record does to an order, after its epoch was checked. */
enum verb { ACCEPT, ACCEPT_ENDED, REJECT, CONFIRM, GO };

/* The table of the protocol: next[verb][state]. */
/* clang-format off */
static const enum oq_book_state next[][5] = {
    /*                 none          held               confirmed          released          void */
    [ACCEPT]       = {OQ_BOOK_HELD, OQ_BOOK_HELD,      OQ_BOOK_CONFIRMED, OQ_BOOK_RELEASED, OQ_BOOK_VOID},
    [ACCEPT_ENDED] = {OQ_BOOK_VOID, OQ_BOOK_HELD,      OQ_BOOK_CONFIRMED, OQ_BOOK_RELEASED, OQ_BOOK_VOID},
    [REJECT]       = {OQ_BOOK_VOID, OQ_BOOK_HELD,      OQ_BOOK_CONFIRMED, OQ_BOOK_RELEASED, OQ_BOOK_VOID},
    [CONFIRM]      = {OQ_BOOK_NONE, OQ_BOOK_CONFIRMED, OQ_BOOK_CONFIRMED, OQ_BOOK_RELEASED, OQ_BOOK_VOID},
    [GO]           = {OQ_BOOK_VOID, OQ_BOOK_RELEASED,  OQ_BOOK_CONFIRMED, OQ_BOOK_RELEASED, OQ_BOOK_VOID},
};
/* clang-format on */

/* --- Entries --- */

/* The longest: a letter and an adjust key; a sale and a SKU are shorter. */
#define ENTRY_NAME_MAX (1 + OQ_ADJUST_KEY_MAX)
_Static_assert(PS_NAME_MAX + 1 + PS_NAME_MAX <= OQ_ADJUST_KEY_MAX, "an adjust key is longest");

/* The entry named by the letter and `count` parts; none of them has a line feed, except that the
 * last may be a number's bytes. A new entry is zeroed, `size` bytes large; *ret_new says so. */
static void *open_entry(struct oq_audit *audit, const char *letter, const struct ps_str *parts,
                        size_t count, size_t size, bool *ret_new)
{
    char name[ENTRY_NAME_MAX];
    struct ps_buf buf;
    ps_buf_init(&buf, name, sizeof name);
    ps_buf_puts(&buf, letter);
    for (size_t i = 0; i < count; i++) {
        ps_buf_puts(&buf, i > 0 ? "\n" : "");
        ps_buf_put(&buf, parts[i].at, parts[i].len);
    }
    struct oq_entry probe = {.name = {name, buf.len}};
    struct oq_entry *entry = oq_index_find(&audit->entries, &probe);
    *ret_new = entry == NULL;
    if (entry != NULL)
        return entry;
    if (oq_index_reserve(&audit->entries) != 0)
        return NULL;
    entry = oq_arena_take(&audit->arena, size + probe.name.len);
    if (entry == NULL)
        return NULL;
    char *text = (char *)entry + size;
    memcpy(text, probe.name.at, probe.name.len);
    entry->name = (struct ps_str){text, probe.name.len};
    oq_index_put(&audit->entries, entry);
    return entry;
}

static const char *copy_text(struct oq_audit *audit, struct ps_str text)
{
    char *memory = oq_arena_take(&audit->arena, text.len + 1);
    if (memory != NULL)
        memcpy(memory, text.at, text.len);
    return memory;
}

static int open_sale(struct oq_audit *audit, struct ps_str name, struct oq_sale_book **ret_sale)
{
    bool is_new;
    struct oq_sale_book *sale = open_entry(audit, "n", &name, 1, sizeof *sale, &is_new);
    if (sale == NULL)
        return PS_E_NOMEM;
    if (is_new) {
        sale->name = copy_text(audit, name);
        sale->findings.list = json_array();
        sale->first_seq = -1;
        if (sale->name == NULL || sale->findings.list == NULL ||
            oq_list_reserve(&audit->sales) != 0) {
            json_decref(sale->findings.list);
            sale->findings.list = NULL;
            return PS_E_NOMEM;
        }
        oq_list_append(&audit->sales, sale);
    }
    *ret_sale = sale;
    return 0;
}

static int open_sku(struct oq_audit *audit, struct ps_str sale_name, struct ps_str name,
                    struct oq_sku_book **ret_sku)
{
    const struct ps_str parts[] = {sale_name, name};
    struct oq_sale_book *sale;
    bool is_new;
    int err = open_sale(audit, sale_name, &sale);
    if (err != 0)
        return err;
    struct oq_sku_book *sku = open_entry(audit, "s", parts, 2, sizeof *sku, &is_new);
    if (sku == NULL)
        return PS_E_NOMEM;
    if (is_new) {
        sku->sale = sale;
        sku->name = copy_text(audit, name);
        if (sku->name == NULL || oq_list_reserve(&sale->skus) != 0)
            return PS_E_NOMEM;
        oq_list_append(&sale->skus, sku);
    }
    *ret_sku = sku;
    return 0;
}

static int open_epoch(struct oq_audit *audit, struct ps_str sale, uint32_t partition,
                      struct epoch_book **ret_epoch)
{
    const struct ps_str parts[] = {sale, {(const char *)&partition, sizeof partition}};
    bool is_new;
    *ret_epoch = open_entry(audit, "e", parts, 2, sizeof **ret_epoch, &is_new);
    return *ret_epoch != NULL ? 0 : PS_E_NOMEM;
}

/* Room for at least `count` slots; new ones are zeroed. They are pages of their own, so that a
 * million of them go back to the system when the audit ends. PS_E_NOMEM. */
static int grow_slots(struct oq_sale_book *sale, size_t count)
{
    size_t old = sale->slot_count * sizeof *sale->slots, size = count * sizeof *sale->slots;
    void *slots = sale->slots == NULL
                      ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                      : mremap(sale->slots, old, size, MREMAP_MAYMOVE);
    if (slots == MAP_FAILED)
        return PS_E_NOMEM;
    sale->slots = slots;
    sale->slot_count = count;
    return 0;
}

/* The slot of an order of that sale. NULL: out of memory. */
static struct oq_slot *open_slot(struct oq_audit *audit, struct oq_sale_book *sale,
                                 const struct oq_order *order)
{
    if (oq_order_number(order) >= sale->slot_count) {
        size_t count = sale->slot_count + sale->slot_count / 4 + SLOTS_LEAST;
        if (audit->own == NULL && count < audit->cut.orders)
            count = audit->cut.orders;
        if (count <= oq_order_number(order))
            count = (size_t)oq_order_number(order) + 1;
        if (grow_slots(sale, count) < 0)
            return NULL;
    }
    return &sale->slots[oq_order_number(order)];
}

struct oq_slot oq_slot_of(const struct oq_sale_book *sale, const struct oq_order *order)
{
    return oq_order_number(order) < sale->slot_count ? sale->slots[oq_order_number(order)]
                                                     : (struct oq_slot){0};
}

/* --- Findings --- */

int oq_find_fault(struct oq_findings *findings, const char *rule, const char *sku,
                  const struct ps_uuid *order, const struct oq_place *at, const char *fmt, ...)
{
    findings->count++;
    if (json_array_size(findings->list) >= OQ_AUDIT_LISTED)
        return 0;
    char memory[512], id[PS_UUID_LEN + 1];
    struct ps_buf text;
    ps_buf_init(&text, memory, sizeof memory - 1);
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(memory, sizeof memory, fmt, args);
    va_end(args);
    text.len = len < 0 ? 0 : (size_t)len < text.cap ? (size_t)len : text.cap;
    if (at != NULL)
        ps_buf_printf(&text, " (partition %u, record %lld)", at->partition, (long long)at->seq);
    memory[text.len] = '\0';
    if (order != NULL)
        ps_uuid_format(order, id);
    /* "s*" leaves a NULL out. */
    json_t *finding = json_pack("{s:s, s:s*, s:s*, s:s}", "rule", rule, "sku", sku, "order_id",
                                order != NULL ? id : NULL, "text", memory);
    return finding != NULL && json_array_append_new(findings->list, finding) == 0 ? 0 : PS_E_NOMEM;
}

int oq_check_stock(struct oq_findings *findings, const struct oq_sku_book *sku,
                   const struct oq_place *at)
{
    if (sku->held + sku->confirmed <= sku->adjustments)
        return 0;
    return oq_find_fault(findings, "I1", sku->name, NULL, at,
                         "held %lld and confirmed %lld are more than the stock of %lld",
                         (long long)sku->held, (long long)sku->confirmed,
                         (long long)sku->adjustments);
}

/* The fold has the first of all orders accepted under a key. */
static int check_key(const struct oq_audit *audit, const struct oq_place *at,
                     struct oq_sale_book *sale, const struct oq_order *order)
{
    char text[PS_UUID_LEN + 1];
    struct oq_order_view view;
    oq_order_get(order, &view);
    if (view.key.len == 0)
        return 0;
    const struct oq_order *first = oq_fold_by_key(audit->fold, view.sale, view.user, view.key);
    if (first == order)
        return 0;
    const char *sku = oq_sale_sku(view.sale, view.sku);
    if (first == NULL)
        return oq_find_fault(&sale->findings, "fold", sku, &view.id, at,
                             "the fold does not have the order's idempotency key");
    ps_uuid_format(oq_order_id(first), text);
    return oq_find_fault(&sale->findings, "I4", sku, &view.id, at,
                         "accepted under an idempotency key that order %s has", text);
}

/* Does the fold agree with this accepted record? */
static bool same_order(const struct oq_order *folded, const struct oq_event *event)
{
    struct oq_order_view order;
    oq_order_get(folded, &order);
    return ps_str_is(event->sale, oq_sale_name(order.sale)) &&
           ps_str_is(event->sku, oq_sale_sku(order.sale, order.sku)) &&
           ps_str_same(order.user, event->user) && ps_str_same(order.key, event->key) &&
           order.quantity == event->quantity && order.epoch == event->epoch &&
           order.reserved_at_ms == event->reserved_at_ms && order.pay_by_ms == event->pay_by_ms &&
           order.cap == event->cap && order.sku_cap == event->sku_cap;
}

/* --- Records --- */

static enum oq_book_state state_in_fold(const struct oq_order *order)
{
    static const enum oq_book_state states[] = {[OQ_STATE_ACCEPTED] = OQ_BOOK_HELD,
                                                [OQ_STATE_CONFIRMED] = OQ_BOOK_CONFIRMED,
                                                [OQ_STATE_RELEASED] = OQ_BOOK_RELEASED,
                                                [OQ_STATE_VOID] = OQ_BOOK_VOID};
    return order == NULL ? OQ_BOOK_NONE : states[oq_order_state(order)];
}

/* Counts an order that was held, or is held from now on. */
static void move_units(struct oq_sku_book *sku, int64_t quantity, enum oq_book_state to)
{
    sku->held += to == OQ_BOOK_HELD ? quantity : -quantity;
    sku->confirmed += to == OQ_BOOK_CONFIRMED ? quantity : 0;
    if (to == OQ_BOOK_RELEASED) /* stops at the largest number, as in the fold */
        sku->released =
            sku->released > PS_INT_MAX - quantity ? PS_INT_MAX : sku->released + quantity;
}

static enum verb verb_of(const struct oq_event *event, const struct epoch_book *epoch)
{
    if (event->type == OQ_ACCEPTED)
        return event->epoch == epoch->epoch ? ACCEPT : ACCEPT_ENDED;
    if (event->type == OQ_CONFIRMED)
        return CONFIRM;
    return event->reason == OQ_REJECTED ? REJECT : GO;
}

/* The first accepted record of an order: the fold must have all of it. */
static int learn_order(struct oq_sale_book *sale, const struct oq_place *at,
                       const struct oq_event *event, const struct oq_order *folded,
                       struct oq_slot *slot)
{
    const int64_t most = (INT64_C(1) << OQ_SLOT_VERSION_BITS) - 1;
    int64_t version = event->sale_version < most ? event->sale_version : most;
    slot->known = true;
    slot->version = (uint32_t)version & (uint32_t)most;
    sale->known++;
    if (same_order(folded, event) && oq_order_place(folded) == oq_place(at->partition, at->seq))
        return 0;
    return oq_find_fault(&sale->findings, "fold",
                         oq_sale_sku(oq_order_sale(folded), oq_order_sku(folded)),
                         oq_order_id(folded), NULL, "the fold's order differs from the log's");
}

/* An order that the fold does not have: a confirm of it does not enter the fold. */
static int add_unknown(struct oq_sale_book *sale, const struct oq_place *at,
                       const struct oq_event *event)
{
    if (event->type == OQ_CONFIRMED)
        return oq_find_fault(&sale->findings, "I7", NULL, &event->order_id, at,
                             "%s without an accepted before it", oq_type_name(event->type));
    return oq_find_fault(&sale->findings, "fold", NULL, &event->order_id, at,
                         "the fold does not have the order of %s", oq_type_name(event->type));
}

/* What a record changes beside the order's state. */
static int follow_change(struct oq_audit *audit, const struct oq_place *at,
                         const struct oq_event *event, struct oq_sale_book *sale,
                         const struct oq_order *order, struct oq_slot *slot)
{
    struct oq_sku_book *sku;
    enum oq_book_state state = slot->state;
    int64_t since = at->seq - sale->first_seq;
    struct oq_order_view view;
    oq_order_get(order, &view);
    int err = open_sku(audit, ps_str(sale->name), ps_str(oq_sale_sku(view.sale, view.sku)), &sku);
    if (err != 0)
        return err;
    move_units(sku, view.quantity, state);
    if (state == OQ_BOOK_RELEASED)
        slot->ended = since < UINT32_MAX ? (uint32_t)since : UINT32_MAX;
    if (state == OQ_BOOK_RELEASED && event->reason == OQ_EXPIRED && event->at_ms < view.pay_by_ms)
        return oq_find_fault(&sale->findings, "early", sku->name, &view.id, at,
                             "expired %lld ms before its pay_by",
                             (long long)(view.pay_by_ms - event->at_ms));
    if (state != OQ_BOOK_HELD)
        return 0;
    err = check_key(audit, at, sale, order);
    return err == 0 && sale->partitions <= 1 ? oq_check_stock(&sale->findings, sku, at) : err;
}

static int add_order_record(struct oq_audit *audit, struct oq_sale_book *sale,
                            const struct epoch_book *epoch, const struct oq_place *at,
                            const struct oq_event *event, const struct oq_change *change)
{
    const struct oq_order *folded = oq_fold_order(audit->fold, &event->order_id);
    enum verb verb = verb_of(event, epoch);
    struct oq_sale_book *home;
    if (folded == NULL)
        return add_unknown(sale, at, event);
    int err = open_sale(audit, ps_str(oq_sale_name(oq_order_sale(folded))), &home);
    if (err != 0)
        return err;
    struct oq_slot *slot = open_slot(audit, home, folded);
    if (slot == NULL)
        return PS_E_NOMEM;
    if (event->type == OQ_ACCEPTED && !slot->known)
        err = learn_order(home, at, event, folded, slot);
    else if (event->type == OQ_ACCEPTED && !same_order(folded, event))
        err = oq_find_fault(&sale->findings, "duplicate_id", NULL, oq_order_id(folded), at,
                            "accepted twice, with different contents");
    if (err != 0)
        return err;

    enum oq_book_state from = slot->state, to = next[verb][from];
    bool anomaly = from == OQ_BOOK_NONE && (verb == CONFIRM || verb == GO);
    slot->state = to;
    if (from != to && to != OQ_BOOK_VOID)
        err = follow_change(audit, at, event, home, folded, slot);
    if (err == 0 && anomaly)
        err = oq_find_fault(&sale->findings, "I7", NULL, oq_order_id(folded), at,
                            "%s without an accepted before it", oq_type_name(event->type));
    if (err == 0 && audit->own != NULL &&
        (state_in_fold(folded) != to || change->anomaly != anomaly))
        err = oq_find_fault(&sale->findings, "fold", NULL, oq_order_id(folded), at,
                            "the fold has the order as %s, the auditor as %s",
                            state_names[state_in_fold(folded)], state_names[to]);
    return err;
}

static int add_adjust_record(struct oq_audit *audit, const struct epoch_book *epoch,
                             const struct oq_place *at, const struct oq_event *event)
{
    struct oq_sku_book *sku;
    bool is_new;
    int err = open_sku(audit, event->sale, event->sku, &sku);
    if (err != 0)
        return err;
    struct adjust_book *adjust =
        open_entry(audit, "a", &event->adjust_key, 1, sizeof *adjust, &is_new);
    if (adjust == NULL)
        return PS_E_NOMEM;
    bool rejected = event->type == OQ_RELEASED;
    bool in_force =
        !adjust->decided && !rejected && (event->delta >= 0 || event->epoch == epoch->epoch);
    adjust->decided = true;
    if (!in_force)
        return 0;
    sku->adjustments += event->delta;
    return event->delta < 0 && sku->sale->partitions <= 1
               ? oq_check_stock(&sku->sale->findings, sku, at)
               : 0;
}

static int add_fence(struct oq_audit *audit, struct oq_sale_book *sale, struct epoch_book *epoch,
                     const struct oq_place *at, const struct oq_event *event)
{
    if (sale->partitions == 0)
        sale->partitions = event->partitions;
    if (event->epoch > epoch->epoch)
        epoch->epoch = event->epoch;
    const struct oq_sale *log_sale = oq_fold_sale(audit->fold, event->sale.at, event->sale.len);
    int64_t folded = log_sale != NULL ? oq_sale_epoch(log_sale, at->partition) : 0;
    if (folded == epoch->epoch ||
        (audit->own == NULL && folded > epoch->epoch)) /* it has advanced */
        return 0;
    return oq_find_fault(&sale->findings, "fold", NULL, NULL, at,
                         "the fold has epoch %lld, the auditor %lld", (long long)folded,
                         (long long)epoch->epoch);
}

/* The times of a partition's records rise, except for those that may have waited in a spill. */
static void note_time(struct oq_sale_book *sale, struct epoch_book *epoch,
                      const struct oq_place *at, const struct oq_event *event)
{
    if (sale->first_seq < 0)
        sale->first_seq = at->seq;
    if (event->type == OQ_ACCEPTED)
        return;
    int64_t step_ms = epoch->at_ms - event->at_ms;
    epoch->at_ms = event->at_ms;
    if (step_ms <= STEP_MS)
        return;
    sale->steps.count++;
    if (step_ms > sale->steps.largest_ms) {
        sale->steps.largest_ms = step_ms;
        sale->steps.place = oq_place(at->partition, at->seq);
    }
}

/* The record replaces the sale's orders, whose records the log may have deleted, wholly or in part:
 * from now on the sale's numbers are those of the record. They were audited before it was written.
 */
static int add_archived(struct oq_audit *audit, const struct oq_event *event)
{
    struct ps_str rest = event->counts;
    struct oq_sku_book *sku;
    struct oq_count count;
    while (oq_counts_next(&rest, &count)) {
        int err = open_sku(audit, event->sale, count.sku, &sku);
        if (err != 0)
            return err;
        sku->adjustments = count.adjustments;
        sku->held = count.held;
        sku->confirmed = count.confirmed;
        sku->released = count.released;
    }
    return 0;
}

int oq_audit_add(struct oq_audit *audit, uint32_t partition, int64_t seq,
                 const struct oq_event *event)
{
    struct oq_change change = {0};
    struct oq_sale_book *sale;
    struct epoch_book *epoch;
    const struct oq_place at = {partition, seq};
    int err = audit->own != NULL ? oq_fold_apply(audit->own, partition, seq, event, &change)
                                 : oq_event_check(event, NULL);
    if (err == 0 && event->type == OQ_HEAD) { /* it says nothing about orders */
        audit->seq = oq_place(partition, seq);
        return 0;
    }
    if (err == 0)
        err = open_sale(audit, event->sale, &sale);
    if (err == 0)
        err = open_epoch(audit, event->sale, partition, &epoch);
    if (err != 0)
        return err;
    audit->seq = oq_place(partition, seq);
    sale->unknown += event->type == OQ_LATER;
    if (epoch->archived || event->type == OQ_LATER)
        return 0;
    note_time(sale, epoch, &at, event);
    if (event->type == OQ_ARCHIVED) {
        epoch->archived = true;
        return change.effect == OQ_EFFECT_ARCHIVED ? add_archived(audit, event) : 0;
    }
    if (event->type == OQ_FENCED)
        return add_fence(audit, sale, epoch, &at, event);
    if (event->type == OQ_ADJUSTED || (event->type == OQ_RELEASED && !event->has_order_id))
        return add_adjust_record(audit, epoch, &at, event);
    return add_order_record(audit, sale, epoch, &at, event, &change);
}

int oq_audit_add_fault(struct oq_audit *audit, const char *name, const char *sku,
                       const struct ps_uuid *order, const char *text)
{
    struct oq_sale_book *sale;
    int err = open_sale(audit, ps_str(name), &sale);
    return err == 0 ? oq_find_fault(&sale->findings, "cut", sku, order, NULL, "%s", text) : err;
}

static int add_placed(int64_t place, const struct oq_event *event, void *audit)
{
    return oq_audit_add(audit, oq_place_partition(place), oq_place_seq(place), event);
}

int oq_audit_add_line(struct oq_audit *audit, const char *line, size_t len)
{
    return oq_event_visit_line(line, len, add_placed, audit);
}

/* --- Making, freeing, looking --- */

static int new_audit(struct oq_audit **ret_audit)
{
    struct oq_audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL)
        return PS_E_NOMEM;
    audit->seq = -1;
    if (oq_index_init(&audit->entries, oq_hash_by_name, oq_same_name) != 0) {
        oq_audit_free(audit);
        return PS_E_NOMEM;
    }
    *ret_audit = audit;
    return 0;
}

int oq_audit_new(struct oq_audit **ret_audit)
{
    struct oq_audit *audit;
    int err = new_audit(&audit);
    if (err != 0)
        return err;
    err = oq_fold_new(&audit->own);
    if (err != 0) {
        oq_audit_free(audit);
        return err;
    }
    audit->fold = audit->own;
    *ret_audit = audit;
    return 0;
}

int oq_audit_new_beside(const struct oq_audit_cut *cut, struct oq_audit **ret_audit)
{
    struct oq_audit *audit;
    int err = new_audit(&audit);
    if (err != 0)
        return err;
    audit->fold = cut->fold;
    audit->cut = *cut;
    *ret_audit = audit;
    return 0;
}

void oq_audit_free(struct oq_audit *audit)
{
    if (audit == NULL)
        return;
    struct oq_sale_book *sale;
    for (size_t i = 0; (sale = oq_list_at(&audit->sales, i)) != NULL; i++) {
        oq_list_done(&sale->skus);
        if (sale->slots != NULL)
            (void)munmap(sale->slots, sale->slot_count * sizeof *sale->slots);
        json_decref(sale->findings.list);
    }
    oq_list_done(&audit->sales);
    oq_index_done(&audit->entries);
    oq_arena_done(&audit->arena);
    oq_fold_free(audit->own);
    free(audit);
}

int64_t oq_audit_seq(const struct oq_audit *audit)
{
    return audit->seq;
}

const struct oq_sale *oq_folded_sale(const struct oq_audit *audit, const struct oq_sale_book *sale,
                                     size_t *ret_orders)
{
    const struct oq_sale *folded = oq_fold_sale(audit->fold, sale->name, strlen(sale->name));
    *ret_orders = 0;
    if (folded != NULL)
        *ret_orders = audit->own != NULL          ? oq_sale_order_count(folded)
                      : folded == audit->cut.sale ? audit->cut.orders
                                                  : 0;
    return folded;
}

const struct oq_fold *oq_audit_fold(const struct oq_audit *audit)
{
    return audit->fold;
}
