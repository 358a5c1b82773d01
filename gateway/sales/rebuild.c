/* A sale's counters from the log, under a new epoch.
 *
 *   rebuild:  claim -> courtesy -> fences -> read back ---------------------------------> load
 *   opening:  claim -> note -----> fences -> read back -> stock -> read back -> note -> load
 *
 * Why it is exact: an epoch ends by a fence in every partition of the sale. Behind its fence a
 * partition takes in only orders of the new epoch, and those exist only since the install, counted
 * from a view that has reached every fence. So nobody need be waited for, and no stock is held back
 * for what may still land: it will be void.
 *
 *  - claim: a lock in Redis, and nobody else's fence that is higher than what is installed and less
 *    than 30 s old while its author lives; else two rebuilders would end each other's epochs for
 *    ever. The lock is a courtesy, the log's fences are what counts. An author who was not heard in
 *    this Redis when he wrote it counts in another one: who is alone here lets him.
 *  - courtesy: living gateways have up to 500 ms to bring what they have under way into the log,
 *    so that it still counts.
 *  - an opening is noted twice. First `opening`, by compare and set: a change of the document that
 *    was accepted anywhere before is here or makes the note fail, and from then on no gateway lets
 *    the stock change, whatever its view shows; so the stock that goes into the log is the
 *    document's. And who can write nothing fences nothing. Then `opened`: the log has all of it.
 *  - who fails again and again behind its fences, for a reason of its own, stands aside for longer
 *    than they claim: else no other gateway would ever come to it.
 *  - a fence is landed when this gateway's own view shows it. A higher one than ours, or the same
 *    by another author: given up.
 *  - load: on a thread of its own, one sale at a time (load.c says how it is one cut although the
 *    view goes on): other sales are sold meanwhile.
 *  - install: at most once. When no reply comes the epoch is looked for in Redis for a while, and
 *    if it does not show, all begins again under a new epoch. */
#include "gateway/cluster/cluster_internal.h"

#include "common/log.h"
#include "gateway/sales/opening.h"
#include "gateway/orders/order_events.h"
#include "gateway/sales/load.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOCK_MS      3000
#define RELOCK_NS    PS_NS_PER_S
#define CLAIM_NS     (30 * PS_NS_PER_S)
#define ELSEWHERE_NS (500 * PS_NS_PER_MS)
#define COURTESY_NS  (500 * PS_NS_PER_MS)
#define PULSES_HEARD 3 /* after so many pulses, what the others say of themselves is new */
#define PATIENCE_NS  (10 * PS_NS_PER_S) /* for records to be read back, then all begins again */
#define UNKNOWN_NS   PS_NS_PER_S        /* for an install without a reply to show */
#define RETRY_MS     200
#define RETRY_MAX_MS 5000
/* Two Redis servers that each serve some gateways make them end each other's epochs. That is safe,
 * and made rare: who has built a sale again within AGAIN_NS waits the longer the more often. */
#define AGAIN_NS   (60 * PS_NS_PER_S)
#define AGAIN_MS   250
#define AGAIN_MOST 8
#define ASIDE_MS   800 /* who would wait for this long after a failure stands aside for others */
#define ASIDE_NS   (CLAIM_NS + 5 * PS_NS_PER_S)

enum step {
    IDLE,
    CLAIMING,  /* what is installed, and the lock: asked for */
    BEGINNING, /* an opening: until the control state says so, to all gateways */
    COURTESY,
    FENCING,  /* until the view shows the fence in each partition */
    STOCKING, /* an opening: until it shows the initial stock */
    NOTING,   /* an opening: until the control state says that it is opened */
    LOADING,  /* on the loader's thread */
    LOOKING   /* for an install of which nothing was heard */
};

/* A record of ours under way: the next one waits for its outcome. */
struct slot {
    struct sale_rebuild *rebuild;
    bool out;
};

struct sale_rebuild {
    struct clu_sale *sale;
    enum step step;
    bool opening;
    int64_t began_ns, step_ns; /* since when it runs, and its step */
    int64_t retry_ns;          /* not before */
    int64_t wait_ms;           /* after the next failure */
    int64_t installed_ns;      /* the last time */
    int64_t again;             /* how often, each within AGAIN_NS of the one before */
    int64_t locked_ns;
    bool locking;
    size_t pulse_count; /* when the courtesy began */
    int64_t installed;  /* epoch, as Redis said; -1 = none */
    int64_t epoch;      /* ours; kept when it ends: no fence of it is anybody else's */
    struct slot fences[OQ_PARTITION_MAX];
    struct slot stock[CFG_SALE_SKUS_MAX];
    /* the load: of the loader's thread while `loading` */
    bool loading;
    struct sale_loader_job job;
    size_t sku_count; /* of its document */
    int err;
    struct inv_sale *counter;
};

int sale_rebuild_new(struct clu_sale *sale, struct sale_rebuild **ret_rebuild)
{
    struct sale_rebuild *rebuild = calloc(1, sizeof *rebuild);

    if (rebuild == NULL)
        return PS_E_NOMEM;
    rebuild->sale = sale;
    rebuild->wait_ms = RETRY_MS;
    rebuild->installed_ns = INT64_MIN / 2;
    for (size_t i = 0; i < PS_ARRAY_LEN(rebuild->fences); i++)
        rebuild->fences[i].rebuild = rebuild;
    for (size_t i = 0; i < PS_ARRAY_LEN(rebuild->stock); i++)
        rebuild->stock[i].rebuild = rebuild;
    *ret_rebuild = rebuild;
    return 0;
}

void sale_rebuild_free(struct sale_rebuild *rebuild)
{
    free(rebuild);
}

bool sale_rebuild_runs(const struct sale_rebuild *rebuild)
{
    return rebuild->step != IDLE;
}

bool sale_rebuild_loads(const struct sale_rebuild *rebuild)
{
    return rebuild->loading;
}

static int64_t now_ns(const struct sale_rebuild *rebuild)
{
    return clu_now_ns(rebuild->sale->cluster);
}

static void go(struct sale_rebuild *rebuild, enum step step)
{
    rebuild->step = step;
    rebuild->step_ns = now_ns(rebuild);
}

/* --- the lock --- */

static void on_unlocked(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    (void)err, (void)holder, (void)ttl_ms, (void)ctx; /* else it ends by itself */
}

static void unlock(struct sale_rebuild *rebuild)
{
    const struct clu_sale *sale = rebuild->sale;

    if (rebuild->locked_ns == 0)
        return;
    rebuild->locked_ns = 0;
    (void)!inv_shared_lease(sale->cluster->store, sale->name, 0, on_unlocked, NULL);
}

/* Behind its fences, and no other gateway would fail for it: its disk, its memory. (Redis or Kafka
 * may be away for all, and nobody is to stand aside when they are back.) */
static bool is_own_fault(const struct sale_rebuild *rebuild)
{
    return rebuild->step == NOTING || (rebuild->step == LOADING && rebuild->err == PS_E_NOMEM);
}

void sale_rebuild_open_later(struct sale_rebuild *rebuild)
{
    struct clu_sale *sale = rebuild->sale;
    struct gw_control_sale *control_sale = clu_control_sale(sale);

    if (sale->opening && control_sale != NULL && !control_sale->stored.state.opened)
        control_sale->arming = SALE_OPENING_NOT;
    sale->opening = false;
}

/* Back to the beginning, after a while that grows, is not the same for everybody, and that a
 * success makes short again. */
static void give_up(struct sale_rebuild *rebuild, const char *why)
{
    struct clu_sale *sale = rebuild->sale;
    int64_t wait_ms = rebuild->wait_ms + randombytes_uniform((uint32_t)rebuild->wait_ms);

    rebuild->wait_ms = rebuild->wait_ms * 2 < RETRY_MAX_MS ? rebuild->wait_ms * 2 : RETRY_MAX_MS;
    rebuild->retry_ns = now_ns(rebuild) + wait_ms * PS_NS_PER_MS;
    if (is_own_fault(rebuild) && wait_ms >= ASIDE_MS && !clu_is_alone(sale->cluster))
        rebuild->retry_ns = now_ns(rebuild) + ASIDE_NS;
    go(rebuild, IDLE);
    unlock(rebuild);
    sale_rebuild_open_later(rebuild);
    ps_log(PS_LOG_WARN, "sale_not_rebuilt", PS_F_STR("sale", sale->name),
           PS_F_INT("epoch", rebuild->epoch), PS_F_STR("why", why));
}

void sale_rebuild_end(struct sale_rebuild *rebuild)
{
    if (rebuild->step == IDLE)
        return;
    go(rebuild, IDLE);
    unlock(rebuild);
    rebuild->wait_ms = RETRY_MS;
    rebuild->retry_ns = 0;
}

/* --- claim --- */

static void wait_for_another(struct sale_rebuild *rebuild)
{
    rebuild->retry_ns = now_ns(rebuild) + RETRY_MS * PS_NS_PER_MS;
    go(rebuild, IDLE);
    rebuild->sale->opening = false;
}

/* A living gateway is at it: its fence is higher than what is installed, and young. */
static bool is_claimed(const struct sale_rebuild *rebuild, int64_t installed)
{
    const struct clu_sale *sale = rebuild->sale;
    struct sale_fence fence = {0};

    if (sale->books != NULL)
        sale_effects_last_fence(sale->cluster->effects, sale->books, &fence);
    if (fence.epoch <= installed || fence.epoch <= sale->epoch || fence.epoch == rebuild->epoch ||
        fence.read_ns < now_ns(rebuild) - CLAIM_NS)
        return false;
    int64_t heard_ns = clu_heard_ns(sale->cluster, fence.gateway);
    bool elsewhere = heard_ns < fence.read_ns - ELSEWHERE_NS &&
                     strcmp(fence.gateway, sale->cluster->core->gateway_id) != 0;
    return heard_ns > now_ns(rebuild) - CLU_ALIVE_MS * PS_NS_PER_MS ||
           (elsewhere && clu_is_alone(sale->cluster));
}

/* Who decides alone has nobody to tell. */
static void begin_opening(struct sale_rebuild *rebuild, struct gw_control_sale *control_sale)
{
    go(rebuild, BEGINNING);
    sale_opening_note_opening(rebuild->sale->cluster->control, control_sale);
}

static void on_locked(int err, const struct ps_uuid *holder, int64_t ttl_ms, void *ctx)
{
    struct sale_rebuild *rebuild = ctx;
    struct clu_cluster *cluster = rebuild->sale->cluster;
    struct gw_control_sale *control_sale = clu_control_sale(rebuild->sale);

    (void)ttl_ms;
    rebuild->locking = false;
    if (cluster->stopped || rebuild->step != CLAIMING)
        return;
    if (err < 0 || control_sale == NULL || control_sale->changing || clu_lives(cluster, holder)) {
        wait_for_another(rebuild);
        return;
    }
    if (rebuild->opening)
        control_sale->arming = SALE_OPENING_RECORDS;  /* from here on its document is fixed */
    if (ps_uuid_equal(holder, &cluster->core->start)) /* else its holder is dead */
        rebuild->locked_ns = now_ns(rebuild);
    rebuild->pulse_count = cluster->pulse_count;
    go(rebuild, COURTESY);
    if (rebuild->opening)
        ps_log(PS_LOG_INFO, "sale_opening", PS_F_STR("sale", rebuild->sale->name));
    else
        ps_log(PS_LOG_INFO, "sale_rebuild_begins", PS_F_STR("sale", rebuild->sale->name));
    if (rebuild->opening && cluster->control->accord != NULL && !control_sale->stored.state.opening)
        begin_opening(rebuild, control_sale);
}

static void lock(struct sale_rebuild *rebuild)
{
    struct clu_sale *sale = rebuild->sale;

    rebuild->locking = inv_shared_lease(sale->cluster->store, sale->name, LOCK_MS, on_locked,
                                        rebuild) == INV_PENDING;
    if (!rebuild->locking)
        wait_for_another(rebuild);
}

/* Is what is installed of an epoch that this log does not have? (If it is about to show it, the
 * next try will see.) */
static bool is_foreign(const struct sale_rebuild *rebuild, int64_t installed)
{
    const struct oq_sale *books = rebuild->sale->books;

    return installed > (books != NULL ? oq_sale_highest_epoch(books) : -1);
}

static void on_cur(int err, const struct inv_installed *cur, void *ctx)
{
    struct sale_rebuild *rebuild = ctx;

    rebuild->locking = false;
    if (rebuild->sale->cluster->stopped || rebuild->step != CLAIMING)
        return;
    if (err == 0 && rebuild->opening && is_foreign(rebuild, cur->epoch)) {
        give_up(rebuild, "Redis has counters of a sale of this name that were not built from this "
                         "log: sell under another name, use another database, or delete them");
        return;
    }
    /* What is installed was opened, and the control state will soon say so here, too. */
    if (err < 0 || (rebuild->opening && cur->epoch >= 0) || is_claimed(rebuild, cur->epoch)) {
        wait_for_another(rebuild);
        return;
    }
    rebuild->installed = cur->epoch;
    lock(rebuild);
}

void sale_rebuild_start(struct sale_rebuild *rebuild, bool opening)
{
    struct clu_sale *sale = rebuild->sale;
    struct clu_cluster *cluster = sale->cluster;

    if (rebuild->step != IDLE || rebuild->loading || rebuild->locking ||
        now_ns(rebuild) < rebuild->retry_ns ||
        !oq_log_available(cluster->alone ? cluster->core->log : cluster->core->kafka))
        return;
    rebuild->opening = sale->opening = opening;
    go(rebuild, CLAIMING);
    rebuild->began_ns = rebuild->step_ns;
    rebuild->locking =
        inv_shared_installed(cluster->store, sale->name, on_cur, rebuild) == INV_PENDING;
    if (!rebuild->locking)
        wait_for_another(rebuild);
}

/* --- records --- */

static void on_landed(struct gw_control *control, enum oq_outcome outcome, struct oq_order *order,
                      void *ctx)
{
    struct slot *slot = ctx;
    struct sale_rebuild *rebuild = slot->rebuild;

    (void)control;
    (void)order;
    slot->out = false;
    if (outcome == OQ_LANDED && (rebuild->step == FENCING || rebuild->step == STOCKING))
        sale_rebuild_tick(rebuild); /* the view tells whether all is there */
}

static void append(struct slot *slot, uint32_t partition, const struct oq_event *event)
{
    struct clu_cluster *cluster = slot->rebuild->sale->cluster;
    struct oq_ticket ticket;
    int err;

    if (slot->out || gw_control_await(cluster->control, on_landed, slot, &ticket) < 0)
        return;
    err = event->type == OQ_FENCED ? oq_log_append_to(cluster->core->log, partition, event, &ticket)
                                   : oq_log_append(cluster->core->log, event, &ticket);
    slot->out = err == 0;
    if (err < 0)
        gw_control_unawait(cluster->control, &ticket);
}

static void begin_fencing(struct sale_rebuild *rebuild)
{
    const struct oq_fold *fold = rebuild->sale->cluster->core->fold;
    const struct oq_sale *books;
    int64_t highest = rebuild->installed > rebuild->epoch ? rebuild->installed : rebuild->epoch;

    for (size_t i = 0; (books = oq_fold_sale_at(fold, i)) != NULL; i++)
        if (oq_sale_highest_epoch(books) > highest)
            highest = oq_sale_highest_epoch(books);
    rebuild->epoch = ord_epoch_next(highest);
    go(rebuild, FENCING);
}

/* Another one's fence ends what we do. */
static bool is_overtaken(const struct sale_rebuild *rebuild)
{
    const struct clu_sale *sale = rebuild->sale;
    struct sale_fence fence = {0};

    if (sale->books == NULL)
        return false;
    sale_effects_last_fence(sale->cluster->effects, sale->books, &fence);
    return fence.epoch > rebuild->epoch ||
           (fence.epoch == rebuild->epoch &&
            strcmp(fence.gateway, sale->cluster->core->gateway_id) != 0);
}

/* Appends the fences that the view does not show. True: it shows them all. */
static bool fence_all(struct sale_rebuild *rebuild, const struct cfg_sale_doc *doc)
{
    struct clu_sale *sale = rebuild->sale;
    struct gw_core *core = sale->cluster->core;
    uint32_t partitions = ord_events_partitions(core, sale->books);
    bool all = true;

    for (uint32_t i = 0; i < partitions; i++) {
        if (sale->books != NULL && oq_sale_epoch(sale->books, i) >= rebuild->epoch)
            continue;
        all = false;
        append(&rebuild->fences[i], i,
               &(struct oq_event){.type = OQ_FENCED,
                                  .rehearsal = doc->rehearsal,
                                  .sale = {sale->name, strlen(sale->name)},
                                  .epoch = rebuild->epoch,
                                  .at_ms = ps_clock_wall_ms(core->clock),
                                  .gateway = {core->gateway_id, strlen(core->gateway_id)},
                                  .partitions = partitions,
                                  .first = rebuild->opening});
    }
    return all;
}

static bool stock_all(struct sale_rebuild *rebuild, const struct cfg_sale_doc *doc)
{
    struct clu_sale *sale = rebuild->sale;
    bool all = true;

    for (size_t i = 0; i < doc->sku_count; i++) {
        const char *sku = doc->skus[i].name;
        char key[OQ_ADJUST_KEY_MAX + 1];
        struct ps_str text = {key, oq_initial_key(sale->name, sku, key)};
        struct ps_uuid ref;
        oq_adjust_ref(text, &ref);
        if (oq_sale_adjusted(sale->books, &ref) >= 0)
            continue;
        all = false;
        append(&rebuild->stock[i], 0,
               &(struct oq_event){.type = OQ_ADJUSTED,
                                  .rehearsal = doc->rehearsal,
                                  .adjust_key = text,
                                  .sale = {sale->name, strlen(sale->name)},
                                  .epoch = rebuild->epoch,
                                  .at_ms = ps_clock_wall_ms(sale->cluster->core->clock),
                                  .sku = {sku, strlen(sku)},
                                  .delta = doc->skus[i].stock});
    }
    return all;
}

/* --- load and install --- */

static void run_load(const _Atomic(bool) *stop, void *arg)
{
    struct sale_rebuild *rebuild = arg;
    struct gw_core *core = rebuild->sale->cluster->core;
    struct oq_sale *books = rebuild->sale->books;
    struct ps_mail mail = {.kind = GW_MAIL_CLUSTER, .ptr = rebuild};

    rebuild->err = PS_E_CONFLICT;
    if (oq_sale_highest_epoch(books) == rebuild->epoch)
        rebuild->err =
            sale_load(core, books, rebuild->sku_count, rebuild->epoch, stop, &rebuild->counter);
    if (ps_mailbox_post(core->control_mail, &mail) < 0)
        ps_log(PS_LOG_ERROR, "load_not_delivered", PS_F_STR("sale", rebuild->sale->name));
}

static void load(struct sale_rebuild *rebuild)
{
    go(rebuild, LOADING);
    rebuild->sku_count = clu_control_sale(rebuild->sale)->stored.doc.sku_count;
    rebuild->loading = true;
    rebuild->job = (struct sale_loader_job){.run = run_load, .arg = rebuild};
    sale_loader_add(rebuild->sale->cluster->loader, &rebuild->job);
}

static void installed(struct sale_rebuild *rebuild)
{
    struct clu_cluster *cluster = rebuild->sale->cluster;
    int64_t took_ms = (now_ns(rebuild) - rebuild->began_ns) / PS_NS_PER_MS;

    if (!rebuild->opening) {
        ps_metric_observe_ns(cluster->control->shard, GW_M_REBUILD_SECONDS, took_ms * PS_NS_PER_MS);
        ps_log(PS_LOG_INFO, "sale_rebuilt", PS_F_STR("sale", rebuild->sale->name),
               PS_F_INT("epoch", rebuild->epoch), PS_F_INT("took_ms", took_ms));
    }
    clu_serve(rebuild->sale, rebuild->counter);
    if (now_ns(rebuild) - rebuild->installed_ns > AGAIN_NS)
        rebuild->again = 0;
    else if (rebuild->again < AGAIN_MOST)
        rebuild->again++;
    rebuild->installed_ns = now_ns(rebuild);
    rebuild->retry_ns =
        rebuild->installed_ns + rebuild->again * rebuild->again * AGAIN_MS * PS_NS_PER_MS;
}

void sale_rebuild_loaded(struct sale_rebuild *rebuild)
{
    char why[256], text[400];

    rebuild->loading = false;
    if (rebuild->step != LOADING)
        return;
    if (rebuild->err == 0) {
        installed(rebuild);
    } else if (rebuild->err == PS_E_UNKNOWN) {
        rebuild->sale->opening = false; /* it is noted; attaching finds what is installed */
        go(rebuild, LOOKING);
    } else {
        inv_store_load_error(rebuild->sale->cluster->store, why, sizeof why);
        snprintf(text, sizeof text, "%s: %s", ps_err_text(rebuild->err), why);
        give_up(rebuild, rebuild->err == PS_E_CONFLICT ? "another gateway was quicker" : text);
    }
}

/* --- step by step --- */

static void note(struct sale_rebuild *rebuild, struct gw_control_sale *control_sale)
{
    if (control_sale->stored.state.opened) {
        load(rebuild);
        return;
    }
    go(rebuild, NOTING);
    sale_opening_note(rebuild->sale->cluster->control, control_sale);
}

void sale_rebuild_noted(struct sale_rebuild *rebuild, bool noted)
{
    if (rebuild->step != BEGINNING && rebuild->step != NOTING)
        return;
    if (!noted)
        give_up(rebuild, "its opening could not be noted");
    else if (rebuild->step == BEGINNING)
        begin_fencing(rebuild);
    else
        load(rebuild);
}

static void keep_lock(struct sale_rebuild *rebuild)
{
    const struct clu_sale *sale = rebuild->sale;

    if (rebuild->locked_ns == 0 || now_ns(rebuild) - rebuild->locked_ns < RELOCK_NS)
        return;
    rebuild->locked_ns = now_ns(rebuild);
    (void)!inv_shared_lease(sale->cluster->store, sale->name, LOCK_MS, on_unlocked, NULL);
}

static void courtesy(struct sale_rebuild *rebuild)
{
    const struct clu_cluster *cluster = rebuild->sale->cluster;
    bool heard = cluster->pulse_count >= rebuild->pulse_count + PULSES_HEARD;

    if (rebuild->opening || (heard && clu_is_quiet(cluster)) ||
        now_ns(rebuild) - rebuild->step_ns >= COURTESY_NS)
        begin_fencing(rebuild);
}

/* All of its beginning is in the view. Refused for good: a stranger's record has named a SKU of it
 * before its own. */
static void end_opening(struct sale_rebuild *rebuild, struct gw_control_sale *control_sale)
{
    struct clu_sale *sale = rebuild->sale;

    control_sale->books = sale->books;
    if (sale_opening_check(sale->cluster->control, control_sale)) {
        note(rebuild, control_sale);
        return;
    }
    sale_rebuild_end(rebuild);
    sale->opening = false;
}

static void check_back(struct sale_rebuild *rebuild, struct gw_control_sale *control_sale)
{
    const struct cfg_sale_doc *doc = &control_sale->stored.doc;

    if (is_overtaken(rebuild)) {
        give_up(rebuild, "another gateway has fenced it, too");
        return;
    }
    if (rebuild->step == FENCING && fence_all(rebuild, doc)) {
        if (!rebuild->opening) {
            load(rebuild);
            return;
        }
        go(rebuild, STOCKING);
    }
    if (rebuild->step == STOCKING && stock_all(rebuild, doc))
        end_opening(rebuild, control_sale);
    else if (now_ns(rebuild) - rebuild->step_ns > PATIENCE_NS)
        give_up(rebuild, "its fences are not read back");
}

void sale_rebuild_tick(struct sale_rebuild *rebuild)
{
    struct gw_control_sale *control_sale = clu_control_sale(rebuild->sale);

    if (control_sale == NULL) { /* deleted before it was opened */
        sale_rebuild_end(rebuild);
        rebuild->sale->opening = false;
        return;
    }
    clu_find_books(rebuild->sale);
    keep_lock(rebuild);
    if (rebuild->step == COURTESY)
        courtesy(rebuild);
    if (rebuild->step == FENCING || rebuild->step == STOCKING)
        check_back(rebuild, control_sale);
    if (rebuild->step == LOOKING && now_ns(rebuild) - rebuild->step_ns > UNKNOWN_NS)
        give_up(rebuild, "Redis did not say whether it has taken it");
}
