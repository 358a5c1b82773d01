/* Compares with a sale's counter in Redis, while the sale runs.
 *
 * Its numbers: take a cut of the log, let all its effects reach Redis, read the numbers at one
 * moment, take a second cut. The numbers must lie between the two. If they do not, or more units
 * are in doubt than Redis has entries for, repeat, for some seconds while the sale is busy; a
 * difference that remains is reported.
 *
 * Its orders and buyers: compare each of the log's orders with its entry, and each buyer with the
 * sum of the log's orders. A difference is a suspect: the log may have advanced. Note all suspects
 * as the log has them, let its effects reach Redis, and compare them again. An order's state only
 * moves forward, so a state before the noted one, or after the log's present one, is a fault. An
 * order that is in doubt in Redis although the log has it is not a fault: the sweep updates Redis
 * within seconds. */
#include "gateway/admin/audit_internal.h"

#include "gateway/sales/sales.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES      50
#define ALIKE      10 /* this many attempts without a change are enough */
#define TRY_MS     100
#define EFFECTS_MS 20
#define EFFECTS_NS (10 * PS_NS_PER_S)
#define PAUSE_MS   1     /* between pages: buyers use this Redis, too */
#define PAUSE_FROM 10000 /* orders */

static void fail(struct op_audit *audit, int err)
{
    audit->err = err;
    audit->counter_failed = true;
    op_audit_judge(audit);
}

static struct op_counter_fault *add_fault(struct op_audit *audit)
{
    size_t at = audit->fault_count++;
    struct op_counter_fault *fault =
        &audit->faults[at < OP_AUDIT_LISTED ? at : OP_AUDIT_LISTED - 1];

    *fault = (struct op_counter_fault){0};
    return fault;
}

/* --- One order and its buyer --- */

static bool is_live(const struct oq_order *order)
{
    enum oq_state state = oq_order_state(order);
    return state == OQ_STATE_ACCEPTED || state == OQ_STATE_CONFIRMED;
}

static struct oq_order *newest_of(const struct op_audit *audit, const struct oq_order *order)
{
    struct oq_order_view view;

    oq_order_get(order, &view);
    return oq_fold_newest(audit->admin->deps.fold, view.sale, view.user);
}

static void note_probe(const struct op_audit *audit, struct oq_order *order,
                       struct op_probe *ret_probe)
{
    const struct oq_order *newest = newest_of(audit, order);

    *ret_probe =
        (struct op_probe){.order = order, .state = oq_order_state(order), .newest = newest};
    ret_probe->with_buyer = ret_probe->newest == order || audit->look->again;
    for (const struct oq_order *one = ret_probe->newest; ret_probe->with_buyer && one != NULL;
         one = oq_order_older(one))
        ret_probe->units += is_live(one) ? oq_order_quantity(one) : 0;
}

/* Does the counter's entry fit an order that the log had in `before` and has in `now`? */
static bool entry_fits(const struct inv_seen *seen, enum oq_state before, enum oq_state now)
{
    bool forgotten = !seen->known || seen->state == INV_GIVEN_BACK;

    switch (before) {
    case OQ_STATE_ACCEPTED:
        return (seen->known && (seen->state == INV_IN_DOUBT || seen->state == INV_HELD)) ||
               (now == OQ_STATE_CONFIRMED && seen->known && seen->state == INV_CONFIRMED_UNITS) ||
               (now == OQ_STATE_RELEASED && forgotten);
    case OQ_STATE_CONFIRMED:
        return seen->known && seen->state == INV_CONFIRMED_UNITS;
    default:
        return forgotten;
    }
}

/* The bounds of what the counter must have for a buyer: at least the units that the log had before
 * and still has; at most, if nothing is in doubt, those plus the ones added since. */
static bool buyer_fits(const struct op_audit *audit, const struct op_probe *probe,
                       const struct inv_seen *seen, bool no_doubts, int64_t *ret_units)
{
    int64_t least = 0, most = probe->units;

    for (const struct oq_order *one = probe->newest; one != NULL; one = oq_order_older(one))
        least += is_live(one) ? oq_order_quantity(one) : 0;
    for (const struct oq_order *one = newest_of(audit, probe->order);
         one != NULL && one != probe->newest; one = oq_order_older(one))
        most += oq_order_quantity(one);
    *ret_units = seen->buyer_units < least ? least : most;
    return seen->buyer_units >= least && (seen->buyer_units <= most || !no_doubts);
}

static const char *const entry_names[] = {[INV_IN_DOUBT] = "in doubt",
                                          [INV_HELD] = "held",
                                          [INV_CONFIRMED_UNITS] = "confirmed",
                                          [INV_GIVEN_BACK] = "given back"};

static const char *const log_names[] = {[OQ_STATE_ACCEPTED] = "accepted",
                                        [OQ_STATE_CONFIRMED] = "confirmed",
                                        [OQ_STATE_RELEASED] = "released",
                                        [OQ_STATE_VOID] = "void"};

/* False: a difference; reported if it is the second comparison. */
static bool check_probe(struct op_audit *audit, const struct op_probe *probe,
                        const struct inv_seen *seen, bool no_doubts)
{
    const struct oq_order *order = probe->order;
    struct op_counter_fault *fault;
    int64_t units = 0;
    bool entry = entry_fits(seen, probe->state, oq_order_state(order));
    bool buyer = !probe->with_buyer || buyer_fits(audit, probe, seen, no_doubts, &units);

    if ((entry && buyer) || !audit->look->again)
        return entry && buyer;
    fault = add_fault(audit);
    fault->order = *oq_order_id(order);
    fault->has_order = true;
    (void)snprintf(fault->sku, sizeof fault->sku, "%s",
                   oq_sale_sku(oq_order_sale(order), oq_order_sku(order)));
    if (!entry)
        (void)snprintf(fault->text, sizeof fault->text, "the counter has the order %s, the log %s",
                       seen->known ? entry_names[seen->state] : "not at all",
                       log_names[oq_order_state(order)]);
    else
        (void)snprintf(fault->text, sizeof fault->text,
                       "the counter has %lld units for the order's buyer, by "
                       "the log it must be %lld",
                       (long long)seen->buyer_units, (long long)units);
    return false;
}

/* --- All of them --- */

static void look_on(struct op_audit *audit);

static void take_page(struct op_audit *audit, const struct inv_looked *looked)
{
    struct op_counter_look *look = audit->look;
    bool no_doubts = looked->in_doubt != NULL;

    for (size_t i = 0; no_doubts && i < audit->sku_count; i++)
        no_doubts = looked->in_doubt[i] == 0;
    for (size_t i = 0; i < look->count; i++)
        if (!check_probe(audit, &look->page[i], &looked->seen[i], no_doubts) && !look->again &&
            look->suspect_count < OP_SUSPECTS_MAX)
            look->suspects[look->suspect_count++] = look->page[i];
}

static void on_page(int err, const struct inv_looked *looked, void *ctx)
{
    struct op_audit *audit = ctx;

    if (err < 0) {
        fail(audit, err);
        return;
    }
    take_page(audit, looked);
    if (audit->before.orders > PAUSE_FROM)
        op_audit_wait(audit, PAUSE_MS, look_on);
    else
        look_on(audit);
}

static void ask_page(struct op_audit *audit)
{
    struct op_counter_look *look = audit->look;
    struct ps_uuid ids[INV_LOOK_MAX];
    struct ps_str users[INV_LOOK_MAX];

    for (size_t i = 0; i < look->count; i++) {
        struct oq_order_view *view = &look->views[i];
        oq_order_get(look->page[i].order, view);
        ids[i] = view->id;
        users[i] = view->user;
    }
    int result = inv_shared_look(audit->admin->deps.store, audit->counter,
                                 &(struct inv_look){look->count, ids, users}, on_page, audit);
    if (result != INV_PENDING)
        fail(audit, result);
}

/* From here on they are compared with the log. */
static void have_suspects_cut(struct op_audit *audit);

static void note_suspects(struct op_audit *audit)
{
    struct op_counter_look *look = audit->look;

    look->again = true;
    look->next = 0;
    for (size_t i = 0; i < look->suspect_count; i++)
        note_probe(audit, look->suspects[i].order, &look->suspects[i]);
    op_audit_cut(audit, &look->cut, have_suspects_cut);
}

static void look_on(struct op_audit *audit)
{
    struct op_counter_look *look = audit->look;
    size_t end = look->again ? look->suspect_count : audit->before.orders;

    for (look->count = 0; look->count < INV_LOOK_MAX && look->next < end; look->next++) {
        struct oq_order *order = oq_sale_order_at(audit->log_sale, look->next);
        if (look->again) {
            look->page[look->count++] = look->suspects[look->next];
        } else if (order != NULL) {
            note_probe(audit, order, &look->page[look->count++]);
        } else { /* the sale was archived meanwhile */
            fail(audit, PS_E_CLOSED);
            return;
        }
    }
    if (look->count > 0)
        ask_page(audit);
    else if (!look->again && look->suspect_count > 0)
        note_suspects(audit);
    else
        op_audit_judge(audit);
}

/* --- Waiting until the log's effects reach Redis --- */

/* True: Redis has them, up to the cut. Else `then` is called again later, or the audit has failed.
 */
static bool is_applied(struct op_audit *audit, const struct op_cut *cut,
                       void (*then)(struct op_audit *audit))
{
    const struct op_deps *deps = &audit->admin->deps;
    int64_t now_ns = ps_clock_mono_ns(deps->clock);

    if (sale_view(audit->run)->state != SALE_SERVING || !inv_store_ready(deps->store))
        fail(audit, PS_E_CLOSED);
    else if (sale_has_applied(audit->run, cut->seq) && !inv_store_busy(deps->store))
        return true;
    else if (now_ns - audit->look->since_ns > EFFECTS_NS)
        fail(audit, PS_E_TIMEOUT);
    else
        op_audit_wait(audit, EFFECTS_MS, then);
    return false;
}

static void judge_suspects(struct op_audit *audit)
{
    if (is_applied(audit, &audit->look->cut, judge_suspects))
        look_on(audit);
}

static void have_suspects_cut(struct op_audit *audit)
{
    audit->look->since_ns = ps_clock_mono_ns(audit->admin->deps.clock);
    judge_suspects(audit);
}

/* --- The numbers --- */

static void try_numbers(struct op_audit *audit);

/* Do the entries in doubt add up to the units in doubt? */
static bool doubts_fit(const struct op_audit *audit, uint32_t sku)
{
    int64_t entries = audit->look->in_doubt[sku];
    return entries < 0 || entries == audit->counts[sku].in_doubt;
}

/* Have log and counter been unchanged for a while? */
static bool is_at_rest(struct op_audit *audit)
{
    struct op_counter_look *look = audit->look;
    bool alike = true;

    for (uint32_t i = 0; i < audit->sku_count; i++) {
        const struct oq_totals *before = &audit->before.totals[i], *after = &audit->after.totals[i];
        alike = alike && memcmp(before, after, sizeof *before) == 0 &&
                memcmp(&look->tried[i], &audit->counts[i], sizeof look->tried[i]) == 0;
        look->tried[i] = audit->counts[i];
    }
    look->alike = alike ? look->alike + 1 : 0;
    return look->alike >= ALIKE;
}

static void have_numbers(struct op_audit *audit)
{
    struct oq_audit_counter counters[CFG_SALE_SKUS_MAX];
    struct op_counter_look *look = audit->look;
    bool fits = true;

    op_audit_counters(audit, counters);
    for (uint32_t i = 0; i < audit->sku_count; i++) {
        const struct oq_audit_counter *counter = &counters[i];
        int64_t taken = counter->in_doubt + counter->held + counter->confirmed;
        fits = fits && oq_audit_fits(counter) && doubts_fit(audit, i) &&
               taken >= counter->before.held + counter->before.confirmed;
    }
    if (!fits && ++look->tries < TRIES && !is_at_rest(audit)) {
        op_audit_wait(audit, TRY_MS, try_numbers);
        return;
    }
    for (uint32_t i = 0; i < audit->sku_count; i++) {
        if (doubts_fit(audit, i))
            continue;
        struct op_counter_fault *fault = add_fault(audit);
        (void)snprintf(fault->sku, sizeof fault->sku, "%s", counters[i].sku);
        (void)snprintf(
            fault->text, sizeof fault->text,
            "the counter has %lld units in doubt, but its entries in doubt add up to %lld",
            (long long)counters[i].in_doubt, (long long)look->in_doubt[i]);
    }
    look_on(audit);
}

static void on_numbers(int err, const struct inv_looked *looked, void *ctx)
{
    struct op_audit *audit = ctx;

    if (err < 0) {
        fail(audit, err);
        return;
    }
    for (size_t i = 0; i < audit->sku_count; i++) {
        audit->counts[i] = looked->counts[i];
        audit->look->in_doubt[i] = looked->in_doubt != NULL ? looked->in_doubt[i] : -1;
    }
    op_audit_cut(audit, &audit->after, have_numbers);
}

static void ask_numbers(struct op_audit *audit)
{
    if (!is_applied(audit, &audit->before, ask_numbers))
        return;
    int result = inv_shared_look(audit->admin->deps.store, audit->counter,
                                 &(struct inv_look){.count = 0}, on_numbers, audit);
    if (result != INV_PENDING)
        fail(audit, result);
}

static void have_first_cut(struct op_audit *audit)
{
    audit->look->since_ns = ps_clock_mono_ns(audit->admin->deps.clock);
    ask_numbers(audit);
}

static void try_numbers(struct op_audit *audit)
{
    op_audit_cut(audit, &audit->before, have_first_cut);
}

void op_audit_look(struct op_audit *audit)
{
    audit->look = calloc(1, sizeof *audit->look);
    if (audit->look == NULL) {
        audit->err = PS_E_NOMEM;
        op_audit_judge(audit);
        return;
    }
    try_numbers(audit);
}
