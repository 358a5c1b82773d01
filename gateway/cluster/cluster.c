/* How each opened sale stands, and the keeper's lease.
 *
 *   not attached --attach--> serving --(the identity does not fit, nothing is installed, another
 *        ^                      |       epoch is, or the view shows a higher fence)
 *        +------ fenced <-------+
 *
 * A sale that is not serving is asked for each tick: what another gateway has installed is taken up
 * if its epoch is not below any fence of this gateway's own view and was installed under the
 * identity of the server that this gateway speaks to; if there is none, its counters are built
 * again (rebuild.c). Meanwhile buyers hear `fenced`; looking up, confirming, cancelling and expiry
 * go by the log and go on.
 *
 * Nothing here is needed for safety: whoever acts on old knowledge writes to an epoch that the log
 * has ended. */
#include "gateway/cluster/cluster_internal.h"

#include "common/log.h"
#include "gateway/sales/opening.h"
#include "gateway/orders/order_events.h"
#include "queue/log_kafka.h"

#include <stdlib.h>
#include <string.h>

#define LEASE_MS       1000
#define LEASE_EVERY_NS (250 * PS_NS_PER_MS)
/* A gateway whose clock is another one than Redis's leaves the lease to others. */
#define LEASE_RELUCTANTLY_NS (2 * PS_NS_PER_S)
/* After so long a sale that is over and decided is left in peace. */
#define REST_NS (3 * PS_NS_PER_S)

int64_t clu_now_ns(const struct clu_cluster *cluster)
{
    return ps_clock_mono_ns(cluster->core->clock);
}

struct gw_control_sale *clu_control_sale(const struct clu_sale *sale)
{
    return gw_control_sale(sale->cluster->control, sale->name, strlen(sale->name));
}

static struct clu_sale *find(const struct clu_cluster *cluster, const char *name)
{
    for (struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next)
        if (strcmp(sale->name, name) == 0)
            return sale;
    return NULL;
}

static void free_sale(struct clu_sale *sale)
{
    sale_rebuild_free(sale->rebuild);
    sale_effect_list_done(&sale->effects);
    free(sale->forgotten);
    free(sale);
}

struct clu_sale *clu_sale(struct clu_cluster *cluster, const char *name)
{
    struct clu_sale *sale = find(cluster, name);

    if (sale != NULL || (sale = calloc(1, sizeof *sale)) == NULL)
        return sale;
    sale->cluster = cluster;
    memcpy(sale->name, name, strlen(name));
    if (sale_rebuild_new(sale, &sale->rebuild) < 0) {
        free(sale);
        return NULL;
    }
    sale->books = oq_fold_sale(cluster->core->fold, name, strlen(name));
    sale->next = cluster->sales;
    cluster->sales = sale;
    return sale;
}

void clu_find_books(struct clu_sale *sale)
{
    if (sale->books == NULL)
        sale->books = oq_fold_sale(sale->cluster->core->fold, sale->name, strlen(sale->name));
}

/* --- serving and fenced --- */

void clu_serve(struct clu_sale *sale, struct inv_sale *counter)
{
    struct gw_control_sale *control_sale = clu_control_sale(sale);

    sale_rebuild_end(sale->rebuild);
    sale->counter = counter;
    sale->epoch = inv_sale_epoch(counter);
    sale->serving = true;
    sale->sku_count = oq_sale_sku_count(sale->books);
    sale->checked = true; /* or it was brought into the log just now */
    sale->gone = sale->opening = sale->foreign = sale->resting = false;
    sale->in_doubt = -1;
    sale->served_ns = sale->busy_ns = clu_now_ns(sale->cluster);
    sale->trim_due = true;
    if (control_sale == NULL)
        return;
    control_sale->books = sale->books;
    control_sale->counter = counter;
    control_sale->epoch = sale->epoch;
    control_sale->arming = SALE_OPENING_DONE;
    control_sale->fenced = false;
    sale->cluster->control->dirty = true;
    ps_log(PS_LOG_INFO, "sale_armed", PS_F_STR("sale", sale->name), PS_F_INT("epoch", sale->epoch),
           PS_F_INT("orders", oq_sale_order_count(sale->books)));
}

void clu_fence(struct clu_sale *sale, const char *why)
{
    struct gw_control_sale *control_sale = clu_control_sale(sale);

    if (!sale->serving)
        return;
    sale->serving = false;
    sale->cluster->ask_all = true; /* the others may be as badly off */
    ps_metric_add(sale->cluster->control->shard, GW_M_FENCES, 0, 1);
    ps_log(PS_LOG_WARN, "sale_fenced", PS_F_STR("sale", sale->name), PS_F_INT("epoch", sale->epoch),
           PS_F_STR("why", why));
    if (control_sale != NULL) {
        control_sale->fenced = true;
        sale->cluster->control->dirty = true;
    }
}

static void on_attached(int err, struct inv_sale *counter, void *ctx)
{
    struct clu_sale *sale = ctx;
    bool foreign = err == PS_E_CORRUPT || err == PS_E_PERMISSION;

    sale->attaching = false;
    if (sale->cluster->stopped || sale->serving || !sale->cluster->owns)
        return;
    sale->gone = err == PS_E_NOT_FOUND || err == PS_E_CONFLICT;
    if (err == 0 && oq_sale_highest_epoch(sale->books) <= inv_sale_epoch(counter))
        clu_serve(sale, counter);
    else if (sale->gone)
        sale_rebuild_start(sale->rebuild, false);
    else if (foreign && !sale->foreign)
        ps_log(PS_LOG_ERROR, "sale_not_attached", PS_F_STR("sale", sale->name),
               PS_F_STR("error", ps_err_text(err)));
    sale->foreign = foreign;
}

static void attach(struct clu_sale *sale)
{
    struct clu_cluster *cluster = sale->cluster;
    size_t count = clu_control_sale(sale)->stored.doc.sku_count; /* the first of the log */
    const char **skus = calloc(count + 1, sizeof *skus);

    if (skus == NULL)
        return;
    for (uint32_t i = 0; i < count; i++)
        skus[i] = oq_sale_sku(sale->books, i);
    sale->attaching =
        inv_shared_attach(
            cluster->store,
            &(struct inv_attach){sale->name, oq_sale_highest_epoch(sale->books), skus, count},
            on_attached, sale) == INV_PENDING;
    free(skus);
}

/* What was opened can be sold from once its beginning is in the view. */
static bool is_checked(struct clu_sale *sale, struct gw_control_sale *control_sale)
{
    struct clu_cluster *cluster = sale->cluster;

    if (sale->checked)
        return true;
    if (sale->seen_ns == 0) {
        sale->seen_ns = clu_now_ns(cluster);
        control_sale->arming = SALE_OPENING_LOADING;
        control_sale->fenced = true;
        cluster->control->dirty = true;
    }
    if (atomic_load(&cluster->reached_ns) < sale->seen_ns)
        return false;
    clu_find_books(sale); /* none now: the log has nothing of it */
    control_sale->books = sale->books;
    sale->checked = sale_opening_check(cluster->control, control_sale);
    return sale->checked;
}

/* Is it over by every clock, and is nothing of it held, in doubt or on its way to Redis? */
static bool is_settled(const struct clu_sale *sale, const struct gw_control_sale *control_sale)
{
    int64_t now_ms = clu_earlier_ms(sale->cluster, ps_clock_wall_ms(sale->cluster->core->clock));

    if (!control_sale->stored.state.ended && now_ms < control_sale->stored.doc.closes_at_ms)
        return false;
    if (!sale->serving || sale->foreign || sale->in_doubt != 0 || sale->effects.count > 0 ||
        sale->forgotten != NULL)
        return false;
    for (uint32_t sku = 0; sku < oq_sale_sku_count(sale->books); sku++) {
        struct oq_totals totals;
        oq_sale_totals(sale->books, sku, &totals);
        if (totals.held > 0)
            return false;
    }
    return true;
}

/* SKUs that the log has named since the sale was served: no gateway does that. */
static void note_strangers(struct clu_sale *sale)
{
    for (; sale->serving && sale->sku_count < oq_sale_sku_count(sale->books); sale->sku_count++)
        sale_opening_note_stranger(sale->cluster->control, sale->name,
                                   oq_sale_sku(sale->books, (uint32_t)sale->sku_count));
}

static void look_whether_it_rests(struct clu_sale *sale, const struct gw_control_sale *control_sale)
{
    int64_t now_ns = clu_now_ns(sale->cluster);

    if (!is_settled(sale, control_sale))
        sale->busy_ns = now_ns;
    sale->resting = now_ns - sale->busy_ns >= REST_NS;
}

static void step(struct clu_sale *sale)
{
    struct clu_cluster *cluster = sale->cluster;
    struct gw_control_sale *control_sale = clu_control_sale(sale);

    if (control_sale == NULL || control_sale->arming == SALE_OPENING_REFUSED) {
        sale->resting = true; /* deleted, or never to be served */
        return;
    }
    clu_find_books(sale);
    if (sale->opening || sale_rebuild_runs(sale->rebuild))
        sale_rebuild_tick(sale->rebuild);
    if (sale->opening || !control_sale->stored.state.opened || !is_checked(sale, control_sale))
        return;
    if (sale->serving && oq_sale_highest_epoch(sale->books) > sale->epoch)
        clu_fence(sale, "the log has ended its epoch");
    if (!sale->serving && !sale->attaching && !sale_rebuild_loads(sale->rebuild) &&
        clu_may_act(cluster))
        attach(sale);
    note_strangers(sale);
    look_whether_it_rests(sale, control_sale);
    if (sale->foreign || !cluster->owns) /* Redis takes nothing of it */
        return;
    sale_apply_tick(sale);
    sale_sweep_tick(sale);
}

/* --- the keeper's lease --- */

bool clu_keeps(const struct clu_cluster *cluster)
{
    return clu_now_ns(cluster) < cluster->keeper_until_ns;
}

static void on_lease(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    struct clu_cluster *cluster = ctx;
    bool kept = clu_keeps(cluster);

    (void)ttl_ms;
    cluster->leasing = false;
    if (cluster->stopped || err < 0)
        return;
    cluster->keeper_until_ns = ps_uuid_equal(holder, &cluster->core->start)
                                   ? cluster->leased_ns + LEASE_MS * PS_NS_PER_MS
                                   : 0;
    if (kept || !clu_keeps(cluster))
        return;
    ps_log(PS_LOG_INFO, "keeper_here");
    for (struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next)
        sale->trim_due = true; /* what the keeper before has applied */
}

/* Is this machine's clock another one than Redis's? */
static bool are_clocks_apart(const struct clu_cluster *cluster)
{
    int64_t apart_ms = ps_clock_wall_ms(cluster->core->clock) - clu_earlier_ms(cluster, INT64_MAX);

    return apart_ms > CLU_CLOCKS_APART_MS || apart_ms < -CLU_CLOCKS_APART_MS;
}

/* Whoever is cut off from the log neither sees what is to be applied nor can give up or expire
 * anything: he lets the lease lapse, for others may not be. (No log is available before its view is
 * complete.) */
static void lease(struct clu_cluster *cluster)
{
    int64_t now = clu_now_ns(cluster);

    if (cluster->leasing || !clu_may_act(cluster) || !ord_events_log_available(cluster->core) ||
        now - cluster->leased_ns <
            (are_clocks_apart(cluster) ? LEASE_RELUCTANTLY_NS : LEASE_EVERY_NS))
        return;
    cluster->leased_ns = now;
    cluster->leasing =
        inv_shared_lease(cluster->store, NULL, LEASE_MS, on_lease, cluster) == INV_PENDING;
}

/* --- how far this gateway has read --- */

bool clu_has_view(const struct clu_cluster *cluster)
{
    return atomic_load_explicit(&cluster->has_view, memory_order_acquire);
}

bool clu_owns(const struct clu_cluster *cluster)
{
    return cluster->owns;
}

bool clu_has_redis(const struct clu_cluster *cluster)
{
    return atomic_load_explicit(&cluster->has_redis, memory_order_acquire);
}

/* A journal has no other writer: when this runs on its thread, all that landed before has been
 * folded. */
static void on_reached(void *arg)
{
    struct clu_cluster *cluster = arg;
    int64_t asked = atomic_load(&cluster->asked_ns);

    atomic_store(&cluster->reached_ns, asked);
    atomic_store(&cluster->asked_ns, 0);
}

static void follow_view(struct clu_cluster *cluster)
{
    struct gw_core *core = cluster->core;

    if (!cluster->alone) {
        atomic_store(&cluster->reached_ns, oq_kafka_reached_ns(core->kafka));
    } else if (atomic_load(&cluster->asked_ns) == 0) {
        atomic_store(&cluster->asked_ns, clu_now_ns(cluster));
        if (oq_log_call(core->log, on_reached, cluster) < 0)
            atomic_store(&cluster->asked_ns, 0);
    }
    if (oq_log_available(core->log)) /* which no log is before it has been read once */
        atomic_store(&cluster->has_view, true);
    inv_store_view_reached(cluster->store, atomic_load(&cluster->reached_ns));
}

bool clu_is_fenced(const struct clu_cluster *cluster, const char *name)
{
    const struct clu_sale *sale = find(cluster, name);

    return sale != NULL && (sale->gone || sale->foreign);
}

/* --- its life --- */

/* What has a counter is known. */
static void look_for_sales(struct clu_cluster *cluster)
{
    const struct gw_control *control = cluster->control;

    for (size_t i = 0; i < control->sale_count; i++) {
        const struct gw_control_sale *sale = control->sales[i];
        if (sale->stored.state.opened && sale->arming != SALE_OPENING_REFUSED &&
            sale->counter == NULL)
            (void)clu_sale(cluster, sale->stored.name); /* without memory: later */
    }
}

void clu_tick(struct clu_cluster *cluster)
{
    if (cluster->stopped)
        return;
    follow_view(cluster);
    if (inv_store_ready(cluster->store))
        clu_heartbeat_tick(cluster);
    else
        atomic_store(&cluster->has_redis, false);
    lease(cluster);
    look_for_sales(cluster);
    sale_apply_take(cluster);
    if (!atomic_load(&cluster->has_view))
        return;
    for (struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next)
        step(sale);
}

void clu_mail(struct clu_cluster *cluster, const struct ps_mail *mail)
{
    struct sale_rebuild *loaded = mail->ptr;

    if (cluster->stopped)
        return;
    if (loaded != NULL) {
        sale_rebuild_loaded(loaded);
        return;
    }
    atomic_store(&cluster->mailed, false);
    cluster->ask_all = true;
    if (inv_store_ready(cluster->store))
        clu_heartbeat_tick(cluster);
}

void clu_fenced(struct clu_cluster *cluster)
{
    struct ps_mail mail = {.kind = GW_MAIL_CLUSTER};

    if (!atomic_exchange(&cluster->mailed, true) &&
        ps_mailbox_post(cluster->core->control_mail, &mail) < 0)
        atomic_store(&cluster->mailed, false); /* the next pulse comes by itself */
}

void clu_open(struct clu_cluster *cluster, struct gw_control_sale *control_sale)
{
    struct clu_sale *sale = clu_sale(cluster, control_sale->stored.name);

    if (sale == NULL || !atomic_load(&cluster->has_view) || !clu_may_act(cluster))
        return;
    clu_find_books(sale);
    sale_rebuild_start(sale->rebuild, true);
}

void clu_noted(struct clu_cluster *cluster, const char *name, bool noted)
{
    struct clu_sale *sale = find(cluster, name);

    if (sale != NULL && !cluster->stopped)
        sale_rebuild_noted(sale->rebuild, noted);
}

void clu_numbers(const struct clu_cluster *cluster, struct clu_numbers *ret_numbers)
{
    struct clu_numbers numbers = {.effects = sale_effects_waiting(cluster->effects),
                                  .keeper = clu_keeps(cluster)};

    for (size_t i = 0; i < cluster->member_count; i++)
        numbers.members += cluster->members[i].age_ms < CLU_ALIVE_MS;
    for (const struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next) {
        numbers.fenced += sale->checked && !sale->serving;
        numbers.effects += sale->effects.count;
    }
    *ret_numbers = numbers;
}

int clu_cluster_new(struct gw_control *control, struct clu_cluster **ret_cluster)
{
    struct clu_cluster *cluster = calloc(1, sizeof *cluster);

    if (cluster == NULL || sale_loader_new(&cluster->loader) < 0) {
        free(cluster);
        return PS_E_NOMEM;
    }
    cluster->control = control;
    cluster->core = control->core;
    cluster->store = control->core->control_store;
    cluster->effects = ord_events_effects(control->core->life);
    cluster->alone = control->core->kafka == NULL;
    cluster->other_ns = cluster->set_ns = INT64_MIN / 2;
    *ret_cluster = cluster;
    return 0;
}

void clu_stop(struct clu_cluster *cluster)
{
    if (cluster == NULL)
        return;
    cluster->stopped = true;
    sale_loader_free(cluster->loader);
    cluster->loader = NULL;
}

void clu_cluster_free(struct clu_cluster *cluster)
{
    struct clu_sale *next;

    if (cluster == NULL)
        return;
    for (struct clu_sale *sale = cluster->sales; sale != NULL; sale = next) {
        next = sale->next;
        free_sale(sale);
    }
    free(cluster->members);
    free(cluster);
}
