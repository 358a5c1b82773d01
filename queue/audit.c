/* The auditor's books. See audit.h for the rules.
 *
 * Everything is an entry of one index, found by a text that says what it is about (a letter and its
 * parts, as "u" sale, user), so that a book is one line to open. The state of an order follows
 * `next`, the protocol's table written down once more; the fold is asked only to be compared. What
 * is found is kept with its sale: the first hundred in words, all of them as a number. */
#include "queue/audit_internal.h"
#include "common/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct epoch_book { /* "e" sale, partition */
    struct oq_entry entry;
    int64_t epoch;
    bool archived; /* what comes behind counts for nothing */
};

struct key_book { /* "k" sale, user, key */
    struct oq_entry entry;
    struct oq_order_book *order; /* the first that was accepted under it */
};

struct adjust_book { /* "a" adjust key */
    struct oq_entry entry;
    bool decided; /* by its first adjustment, or by a release before that */
};

/* After so long, two orders of a buyer do not land the other way round than they were reserved. */
#define OTHER_WAY_ROUND_MS 10000

static const char *const state_names[] = {"unknown", "accepted", "confirmed", "released", "void"};

/* What a record says of an order, once its epoch is judged. */
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

/* The longest: a letter, a sale, a SKU or key, and a user, with a line feed between them. */
#define ENTRY_NAME_MAX (1 + PS_NAME_MAX + 1 + PS_NAME_MAX + 1 + PS_USER_MAX)
_Static_assert(PS_KEY_MAX <= PS_NAME_MAX, "a key has room, too");

/* The entry whose name is the letter and `count` parts; none of them has a line feed, but the last
 * may be a number's bytes. One that is new is zeroed, `size` bytes large; *ret_new says so. */
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

static int open_sku(struct oq_audit *audit, const struct oq_event *event,
                    struct oq_sku_book **ret_sku)
{
    const struct ps_str parts[] = {event->sale, event->sku};
    struct oq_sale_book *sale;
    bool is_new;
    int err = open_sale(audit, event->sale, &sale);
    if (err != 0)
        return err;
    struct oq_sku_book *sku = open_entry(audit, "s", parts, 2, sizeof *sku, &is_new);
    if (sku == NULL)
        return PS_E_NOMEM;
    if (is_new) {
        sku->sale = sale;
        sku->name = copy_text(audit, event->sku);
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

static int open_units(struct oq_audit *audit, const struct oq_event *event,
                      struct oq_order_book *order)
{
    const struct ps_str parts[] = {event->sale, event->user, event->sku};
    bool is_new;
    order->user = open_entry(audit, "u", parts, 2, sizeof *order->user, &is_new);
    order->user_sku = open_entry(audit, "v", parts, 3, sizeof *order->user_sku, &is_new);
    return order->user != NULL && order->user_sku != NULL ? 0 : PS_E_NOMEM;
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

int oq_check_cap(struct oq_findings *findings, const struct oq_order_book *order,
                 const struct oq_units *units, int64_t cap, const struct oq_place *at)
{
    if (cap == 0 || units->held <= cap)
        return 0;
    return oq_find_fault(findings, "I3", order->sku->name, &order->id, at,
                         "the buyer has %lld units%s, the cap is %lld", (long long)units->held,
                         units == order->user_sku ? " of the SKU" : "", (long long)cap);
}

static int check_key(struct oq_audit *audit, const struct oq_place *at,
                     const struct oq_event *event, struct oq_order_book *order)
{
    const struct ps_str parts[] = {event->sale, event->user, event->key};
    bool is_new;
    if (event->key.len == 0)
        return 0;
    struct key_book *key = open_entry(audit, "k", parts, 3, sizeof *key, &is_new);
    if (key == NULL)
        return PS_E_NOMEM;
    if (is_new) {
        key->order = order;
        return 0;
    }
    char first[PS_UUID_LEN + 1];
    ps_uuid_format(&key->order->id, first);
    return oq_find_fault(&order->sku->sale->findings, "I4", order->sku->name, &order->id, at,
                         "accepted under an idempotency key that order %s has", first);
}

/* Does the fold remember what this accepted record says? */
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

/* An order that was held, or is from now on. */
static void move_units(struct oq_order_book *order, enum oq_book_state to)
{
    struct oq_sku_book *sku = order->sku;
    int64_t owned = to == OQ_BOOK_HELD       ? order->quantity
                    : to == OQ_BOOK_RELEASED ? -order->quantity
                                             : 0;
    order->user->held += owned;
    order->user_sku->held += owned;
    sku->held += to == OQ_BOOK_HELD ? order->quantity : -order->quantity;
    sku->confirmed += to == OQ_BOOK_CONFIRMED ? order->quantity : 0;
    if (to == OQ_BOOK_RELEASED) /* stops at the end of what can be counted, as in the fold */
        sku->released = sku->released > PS_INT_MAX - order->quantity
                            ? PS_INT_MAX
                            : sku->released + order->quantity;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Two orders of a buyer may land in another order than they were reserved, and a cap may have been
 * raised in between. So the cap of the latest reservation judges the buyer's units. Two things say
 * which reservation is the latest, and either may be wrong: the time, if a clock was set back, and
 * the version of the sale, if a gateway did not have the new one yet. The wider cap of the two
 * counts. But orders change places only within seconds: if a later version lands later and its time
 * is much earlier, the clock was set back, and times from before do not count any more. */
static int check_units(const struct oq_place *at, const struct oq_event *event,
                       const struct oq_order_book *order, struct oq_units *units, int64_t cap)
{
    const struct oq_latest own = {event->sale_version, event->reserved_at_ms,
                                  cap > 0 ? cap : PS_INT_MAX};
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
    return oq_check_cap(&order->sku->sale->findings, order, units, widest, at);
}

/* What must hold right after an order was accepted. */
static int check_accepted(struct oq_audit *audit, const struct oq_place *at,
                          const struct oq_event *event, struct oq_order_book *order)
{
    struct oq_sale_book *sale = order->sku->sale;
    int err = check_key(audit, at, event, order);
    if (sale->partitions > 1)
        return err;
    if (err == 0)
        err = oq_check_stock(&sale->findings, order->sku, at);
    if (err == 0)
        err = check_units(at, event, order, order->user, order->cap);
    if (err == 0)
        err = check_units(at, event, order, order->user_sku, order->sku_cap);
    return err;
}

static int judge_record(struct oq_audit *audit, uint32_t partition, const struct oq_event *event,
                        enum verb *ret_verb)
{
    struct epoch_book *epoch;
    switch (event->type) {
    case OQ_ACCEPTED: {
        int err = open_epoch(audit, event->sale, partition, &epoch);
        if (err != 0)
            return err;
        *ret_verb = event->epoch == epoch->epoch ? ACCEPT : ACCEPT_ENDED;
        return 0;
    }
    case OQ_CONFIRMED:
        *ret_verb = CONFIRM;
        return 0;
    default:
        *ret_verb = event->reason == OQ_REJECTED ? REJECT : GO;
        return 0;
    }
}

/* First sight of an accepted record: its facts. Later ones must say the same. */
static int learn_order(struct oq_audit *audit, const struct oq_event *event,
                       struct oq_order_book *order, const struct oq_order *folded)
{
    int err = open_sku(audit, event, &order->sku);
    if (err == 0)
        err = open_units(audit, event, order);
    if (err != 0)
        return err;
    order->known = true;
    order->quantity = event->quantity;
    order->cap = event->cap;
    order->sku_cap = event->sku_cap;
    if (oq_list_reserve(&order->sku->sale->orders) != 0)
        return PS_E_NOMEM;
    oq_list_append(&order->sku->sale->orders, order);
    if (folded == NULL || !same_order(folded, event))
        return oq_find_fault(&order->sku->sale->findings, "fold", order->sku->name, &order->id,
                             NULL, "the fold has the order otherwise than the log");
    return 0;
}

static int add_order_record(struct oq_audit *audit, const struct oq_place *at,
                            const struct oq_event *event, const struct oq_change *change)
{
    const struct ps_str id = {(const char *)event->order_id.byte, sizeof event->order_id.byte};
    struct oq_sale_book *sale;
    enum verb verb;
    bool is_new;
    const struct oq_order *folded = oq_fold_order(audit->fold, &event->order_id);
    int err = open_sale(audit, event->sale, &sale);
    if (err == 0)
        err = judge_record(audit, at->partition, event, &verb);
    if (err != 0)
        return err;
    struct oq_order_book *order = open_entry(audit, "o", &id, 1, sizeof *order, &is_new);
    if (order == NULL)
        return PS_E_NOMEM;
    order->id = event->order_id;
    if (event->type == OQ_ACCEPTED && !order->known)
        err = learn_order(audit, event, order, folded);
    else if (event->type == OQ_ACCEPTED && (folded == NULL || !same_order(folded, event)))
        err = oq_find_fault(&sale->findings, "duplicate_id", NULL, &order->id, at,
                            "accepted twice, with different contents");
    if (err != 0)
        return err;

    enum oq_book_state from = order->state;
    order->state = next[verb][from];
    bool anomaly = from == OQ_BOOK_NONE && (verb == CONFIRM || verb == GO);
    if (from != order->state && order->state != OQ_BOOK_VOID)
        move_units(order, order->state);
    if (from == OQ_BOOK_NONE && order->state == OQ_BOOK_HELD)
        err = check_accepted(audit, at, event, order);
    if (err == 0 && anomaly)
        err = oq_find_fault(&sale->findings, "I7", NULL, &order->id, at,
                            "%s without an accepted before it", oq_type_name(event->type));
    if (err == 0 && (state_in_fold(folded) != order->state || change->anomaly != anomaly))
        err = oq_find_fault(&sale->findings, "fold", NULL, &order->id, at,
                            "the fold has the order as %s, these books as %s",
                            state_names[state_in_fold(folded)], state_names[order->state]);
    return err;
}

static int add_adjust_record(struct oq_audit *audit, const struct oq_place *at,
                             const struct oq_event *event)
{
    struct epoch_book *epoch;
    struct oq_sku_book *sku;
    bool is_new;
    int err = open_sku(audit, event, &sku);
    if (err == 0)
        err = open_epoch(audit, event->sale, at->partition, &epoch);
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

static int add_fence(struct oq_audit *audit, const struct oq_place *at,
                     const struct oq_event *event)
{
    struct oq_sale_book *sale;
    struct epoch_book *epoch;
    int err = open_sale(audit, event->sale, &sale);
    if (err == 0)
        err = open_epoch(audit, event->sale, at->partition, &epoch);
    if (err != 0)
        return err;
    if (sale->partitions == 0)
        sale->partitions = event->partitions;
    if (event->epoch > epoch->epoch)
        epoch->epoch = event->epoch;
    int64_t folded =
        oq_sale_epoch(oq_fold_sale(audit->fold, event->sale.at, event->sale.len), at->partition);
    if (folded == epoch->epoch)
        return 0;
    return oq_find_fault(&sale->findings, "fold", NULL, NULL, at,
                         "the fold has epoch %lld, these books %lld", (long long)folded,
                         (long long)epoch->epoch);
}

/* The record takes the place of the sale's orders, which the log may have dropped, wholly or in
 * part: from now on its numbers are the sale's. They were judged before it was written. */
static int add_archived(struct oq_audit *audit, const struct oq_event *event, bool whole)
{
    struct oq_event about = {.sale = event->sale};
    struct ps_str rest = event->counts;
    struct oq_sale_book *sale;
    struct oq_sku_book *sku;
    struct oq_count count;
    int err = open_sale(audit, event->sale, &sale);
    while (whole && err == 0 && oq_counts_next(&rest, &count)) {
        about.sku = count.sku;
        err = open_sku(audit, &about, &sku);
        if (err != 0)
            break;
        sku->adjustments = count.adjustments;
        sku->held = count.held;
        sku->confirmed = count.confirmed;
        sku->released = count.released;
    }
    return err;
}

int oq_audit_add(struct oq_audit *audit, uint32_t partition, int64_t seq,
                 const struct oq_event *event)
{
    struct oq_change change;
    struct epoch_book *epoch;
    const struct oq_place at = {partition, seq};
    int err = oq_fold_apply(audit->fold, partition, seq, event, &change);
    if (err == 0)
        err = open_epoch(audit, event->sale, partition, &epoch);
    if (err != 0)
        return err;
    audit->seq = oq_place(partition, seq);
    if (epoch->archived)
        return 0;
    if (event->type == OQ_ARCHIVED) {
        epoch->archived = true;
        return add_archived(audit, event, change.effect == OQ_EFFECT_ARCHIVED);
    }
    if (event->type == OQ_FENCED)
        return add_fence(audit, &at, event);
    if (event->type == OQ_ADJUSTED || (event->type == OQ_RELEASED && !event->has_order_id))
        return add_adjust_record(audit, &at, event);
    return add_order_record(audit, &at, event, &change);
}

int oq_audit_add_line(struct oq_audit *audit, const char *line, size_t len)
{
    struct oq_event event;
    void *owner;
    int64_t seq;
    int err = oq_event_decode_line(line, len, &seq, &event, &owner, NULL);
    if (err != 0)
        return err;
    err = oq_audit_add(audit, oq_place_partition(seq), oq_place_seq(seq), &event);
    oq_event_release(owner);
    return err;
}

/* --- Making, freeing, looking --- */

int oq_audit_new(struct oq_audit **ret_audit)
{
    struct oq_audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL)
        return PS_E_NOMEM;
    audit->seq = -1;
    if (oq_index_init(&audit->entries, oq_hash_by_name, oq_same_name) != 0 ||
        oq_fold_new(&audit->fold) != 0) {
        oq_audit_free(audit);
        return PS_E_NOMEM;
    }
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
        oq_list_done(&sale->orders);
        json_decref(sale->findings.list);
    }
    oq_list_done(&audit->sales);
    oq_index_done(&audit->entries);
    oq_arena_done(&audit->arena);
    oq_fold_free(audit->fold);
    free(audit);
}

int64_t oq_audit_seq(const struct oq_audit *audit)
{
    return audit->seq;
}

const struct oq_fold *oq_audit_fold(const struct oq_audit *audit)
{
    return audit->fold;
}
