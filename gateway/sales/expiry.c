/* Every sale's orders are read once, in the order of the log, into a heap ordered by when each must
 * be paid. An order expires when two clocks agree that `pay_by` is 2 s past: the wall clock, in
 * which pay_by is written, and the monotonic clock, by which this run has measured the time. When
 * the wall clock jumps against the monotonic one, nothing expires for `clock.expiry_rest_s`, so
 * that a wrong clock that is corrected at once does no harm. A clock that jumps again within each
 * such rest is logged as an error, since nothing expires meanwhile.
 *
 * No clock of this machine says how long it was off. So an order that the log has at the start
 * keeps at least the time that it had when the newest order was reserved, and at least such a rest.
 * It expires too early only if the clock was ahead then and stays ahead for so long; it expires
 * too late by as long as nobody has bought.
 *
 * Expiry is a record like any other: the first record wins, so an earlier confirm in the log
 * stands, and this file need not know. An order whose record was not appended is checked again.
 *
 * In a cluster, pay_by is by Redis's clock, so it must be past by that clock and by this machine's:
 * the earlier of the two replaces the wall clock here. Only the leader writes; the others read
 * along, to be ready for it. */
#include "gateway/sales/sales_internal.h"

#include "common/heap.h"
#include "common/program/log.h"

#include <stdlib.h>

#define READ_NS    (250 * PS_NS_PER_MS)
#define GRACE_MS   2000
#define AGAIN_NS   (5 * PS_NS_PER_S)
#define LOOK_MS    60000 /* a wall clock that runs slower is read again after so long */
#define STALLED_NS (300 * PS_NS_PER_S)
#define ORDERS_MAX ((size_t)1 << 32)
#define READ_MAX   20000
/* Buyers come first in the log's queue. Each turn expires one step more than the last one, half as
 * many while more than WAITING_MAX records wait there, and few again when none are due. (Additive
 * increase, multiplicative decrease, as in TCP: RFC 5681.) */
#define BATCH_MIN   4
#define BATCH_STEP  32
#define BATCH_MAX   400
#define WAITING_MAX 64

/* The position in one sale of the fold. */
struct sale_reading {
    size_t next; /* the first order not read yet */
    size_t old;  /* orders that the log had at the start */
};

struct sale_expiry {
    struct sale_runs *runs;
    struct ps_heap *due;        /* by monotonic time; the value is value_of an order */
    struct sale_reading *sales; /* by index in the fold */
    size_t sale_count;
    int64_t read_ns;
    int batch; /* expiries of this turn */
    int64_t rest_until_ns;
    int64_t rests_since_ns; /* the first of the jumps that each came before the pause was over */
    /* the start */
    bool started;
    int64_t old_until_ns; /* until then no order of the start expires */
    int64_t newest_ms;    /* when the newest order of the log was reserved; 0: there is none */
};

int sale_expiry_new(struct sale_runs *runs, struct sale_expiry **ret_expiry)
{
    struct sale_expiry *expiry = calloc(1, sizeof *expiry);

    if (expiry == NULL)
        return PS_E_NOMEM;
    expiry->runs = runs;
    if (ps_heap_new(1024, ORDERS_MAX, &expiry->due) < 0) {
        free(expiry);
        return PS_E_NOMEM;
    }
    *ret_expiry = expiry;
    return 0;
}

void sale_expiry_free(struct sale_expiry *expiry)
{
    if (expiry == NULL)
        return;
    ps_heap_free(expiry->due);
    free(expiry->sales);
    free(expiry);
}

/* Where to read on in a sale. NULL: out of memory. */
static struct sale_reading *find_reading(struct sale_expiry *expiry, size_t sale)
{
    if (sale == expiry->sale_count) {
        struct sale_reading *more = realloc(expiry->sales, (sale + 1) * sizeof *more);
        if (more == NULL)
            return NULL;
        more[expiry->sale_count++] = (struct sale_reading){0};
        expiry->sales = more;
    }
    return &expiry->sales[sale];
}

/* When an order that was just read is due, by the monotonic clock. No order gets longer than from
 * its reservation to pay_by, whatever the clocks say, nor longer than any sale allows, whatever a
 * foreign record says. */
static int64_t due_ns(const struct sale_expiry *expiry, const struct oq_order *order, bool old,
                      int64_t wall_ms, int64_t now_ns)
{
    struct oq_order_view view;
    oq_order_get(order, &view);
    int64_t whole_ms = view.pay_by_ms - view.reserved_at_ms;
    int64_t left_ms = view.pay_by_ms - wall_ms;

    if (old && left_ms < view.pay_by_ms - expiry->newest_ms)
        left_ms = view.pay_by_ms - expiry->newest_ms;
    if (left_ms > whole_ms)
        left_ms = whole_ms;
    if (left_ms > CFG_SALE_TTL_MAX_S * 1000)
        left_ms = CFG_SALE_TTL_MAX_S * 1000;
    left_ms += GRACE_MS;
    int64_t due = now_ns + (left_ms > 0 ? left_ms * PS_NS_PER_MS : 0);
    return old && due < expiry->old_until_ns ? expiry->old_until_ns : due;
}

/* An order by its index in the fold, since its sale may be forgotten while it waits. */
static uint64_t value_of(size_t sale, size_t order)
{
    return (uint64_t)sale << 32 | order;
}

/* NULL: it was forgotten. */
static struct oq_order *order_of(const struct sale_expiry *expiry, uint64_t value)
{
    const struct oq_sale *sale =
        oq_fold_sale_at(expiry->runs->settings.fold, (size_t)(value >> 32));

    return sale != NULL ? oq_sale_order_at(sale, (uint32_t)value) : NULL;
}

static void read_new_orders(struct sale_expiry *expiry, size_t sale, struct sale_reading *reading,
                            int64_t wall_ms, int64_t now_ns)
{
    const struct oq_sale *log_sale = oq_fold_sale_at(expiry->runs->settings.fold, sale);
    size_t count = oq_sale_order_count(log_sale);

    for (size_t n = 0; reading->next < count && n < READ_MAX; reading->next++, n++) {
        const struct oq_order *order = oq_sale_order_at(log_sale, reading->next);
        bool old = reading->next < reading->old;
        if (order == NULL || oq_order_state(order) != OQ_STATE_ACCEPTED)
            continue;
        if (ps_heap_put(expiry->due, due_ns(expiry, order, old, wall_ms, now_ns),
                        value_of(sale, reading->next)) < 0)
            return; /* no memory: read it again with the next turn */
    }
}

/* False: the log accepts nothing now. */
static bool expire_order(struct sale_expiry *expiry, uint64_t value, int64_t wall_ms,
                         int64_t now_ns)
{
    const struct sale_runs *runs = expiry->runs;
    const struct oq_order *order = order_of(expiry, value);
    struct oq_ticket nobody = {.owner = runs->settings.owner};
    int64_t again_ns = now_ns + AGAIN_NS, early_ms;
    struct oq_order_view view;
    bool taken = true;

    if (order == NULL || oq_order_state(order) != OQ_STATE_ACCEPTED)
        return true;
    oq_order_get(order, &view);
    early_ms = view.pay_by_ms + GRACE_MS - wall_ms;
    if (early_ms > 0) {
        /* The wall clock runs slower, or is in the past and may be corrected. */
        again_ns = now_ns + PS_NS_PER_MS * (early_ms < LOOK_MS ? early_ms : LOOK_MS);
    } else if (sale_append_released(runs->log, order, OQ_EXPIRED,
                                    ps_clock_wall_ms(runs->settings.clock), &nobody) == 0) {
        ps_metric_add(runs->shard, GW_M_EXPIRED, 0, !view.rehearsal);
    } else {
        taken = false;
    }
    if (ps_heap_put(expiry->due, again_ns, value) < 0)
        ps_log(PS_LOG_ERROR, "expiry_out_of_memory");
    return taken;
}

static void note_jump(struct sale_expiry *expiry, int64_t moved, int64_t now_ns)
{
    const struct sale_settings *settings = &expiry->runs->settings;

    if (now_ns >= expiry->rest_until_ns)
        expiry->rests_since_ns = now_ns;
    expiry->rest_until_ns = now_ns + settings->expiry_rest_ms * PS_NS_PER_MS;
    if (now_ns - expiry->rests_since_ns < STALLED_NS)
        ps_log(PS_LOG_WARN, "wall_clock_jumped", PS_F_INT("by_ms", moved),
               PS_F_INT("expires_nothing_for_ms", settings->expiry_rest_ms),
               PS_F_INT("archives_nothing_for_ms", settings->archive.rest_ms));
    else
        ps_log(PS_LOG_ERROR, "expiry_stalled", PS_F_INT("by_ms", moved),
               PS_F_INT("since_ms", (now_ns - expiry->rests_since_ns) / PS_NS_PER_MS),
               PS_F_STR("why", "the wall clock jumps again and again, and nothing expires"));
}

/* Call it before any record of this start is in the log. False: out of memory, try again with the
 * next turn. */
static bool note_start(struct sale_expiry *expiry, int64_t now_ns)
{
    const struct oq_sale *log_sale;
    struct sale_reading *reading;

    for (size_t i = 0; (log_sale = oq_fold_sale_at(expiry->runs->settings.fold, i)) != NULL; i++) {
        if ((reading = find_reading(expiry, i)) == NULL)
            return false;
        reading->old = oq_sale_order_count(log_sale);
        const struct oq_order *newest =
            reading->old > 0 ? oq_sale_order_at(log_sale, reading->old - 1) : NULL;
        if (newest == NULL) /* there is none, or the sale was archived just now */
            continue;
        struct oq_order_view last;
        oq_order_get(newest, &last);
        if (last.reserved_at_ms > expiry->newest_ms)
            expiry->newest_ms = last.reserved_at_ms;
    }
    expiry->old_until_ns = now_ns + expiry->runs->settings.expiry_rest_ms * PS_NS_PER_MS;
    return true;
}

static void read_all(struct sale_expiry *expiry, int64_t wall_ms, int64_t now_ns)
{
    struct sale_reading *reading;

    if (now_ns - expiry->read_ns < READ_NS)
        return;
    expiry->read_ns = now_ns;
    for (size_t i = 0; oq_fold_sale_at(expiry->runs->settings.fold, i) != NULL &&
                       (reading = find_reading(expiry, i)) != NULL;
         i++)
        read_new_orders(expiry, i, reading, wall_ms, now_ns);
}

static void expire_due(struct sale_expiry *expiry, int64_t wall_ms, int64_t now_ns)
{
    struct oq_log_stats stats;
    uint64_t value;
    int n = 0;

    oq_log_stats(expiry->runs->log, &stats);
    int batch = stats.backlog > WAITING_MAX ? expiry->batch / 2 : expiry->batch + BATCH_STEP;
    batch = batch < BATCH_MIN ? BATCH_MIN : batch > BATCH_MAX ? BATCH_MAX : batch;
    while (n < batch && ps_heap_take(expiry->due, now_ns, &value) &&
           expire_order(expiry, value, wall_ms, now_ns))
        n++;
    expiry->batch = n < batch ? 0 : batch;
}

void sale_expiry_tick(struct sale_expiry *expiry)
{
    struct sale_runs *runs = expiry->runs;
    int64_t now_ns = sale_now_ns(runs), moved_ms;
    int64_t wall_ms = clu_earlier_ms(runs->cluster, ps_clock_wall_ms(runs->settings.clock));

    if (!clu_has_view(runs->cluster) || wall_ms == INT64_MIN) /* what time it is */
        return;
    if ((moved_ms = ps_steady_look(&runs->steady, wall_ms, now_ns)) != 0)
        note_jump(expiry, moved_ms, now_ns);
    if (!expiry->started && !(expiry->started = note_start(expiry, now_ns)))
        return;
    ps_metric_set(runs->shard, GW_M_EXPIRY_PAUSED, 0, now_ns < expiry->rest_until_ns);
    read_all(expiry, wall_ms, now_ns);
    if (now_ns >= expiry->rest_until_ns && oq_log_available(runs->log) && clu_leads(runs->cluster))
        expire_due(expiry, wall_ms, now_ns);
}
