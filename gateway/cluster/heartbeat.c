/* The pulse: each 100 ms this gateway says in Redis that it is there, and hears who else is, what
 * time it is there, and how the sales stand. So it knows its share of the limits, who is alive, and
 * when a sale's epoch is not in force any more.
 *
 * A sale that is over and settled costs next to nothing, however many there are: each pulse asks
 * about one of them in turn, nobody sweeps them, and all that can still happen to one wakes it: a
 * record (an effect, a fence, units held again), units in doubt when its turn comes, a change of
 * its document. What is found out about one sale - Redis is empty, or another one - is asked of
 * all. A foreign key of one sale is that sale's alone: it is named once, and its buyers hear so.
 *
 * One Redis counts for one log: else a raise of stock in one topic, or how far it was applied,
 * would change the counters of the other's sales. Which one is said by the key ps:log, which the
 * first pulse sets, and the next one after Redis was emptied. A gateway of another log is no member
 * and does nothing; it does not take the place of one that was there lately, for whoever counted
 * here before comes back first. */
#include "gateway/cluster/cluster_internal.h"

#include "common/log.h"
#include "queue/log_spill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For who was told that Redis is another log's: so long after he last was, it is nobody's. */
#define CLAIM_NS (3 * PS_NS_PER_S)

/* --- who is there --- */

const struct clu_member *clu_member_find(const struct clu_cluster *cluster,
                                         const struct ps_uuid *start)
{
    for (size_t i = 0; i < cluster->member_count; i++)
        if (ps_uuid_equal(&cluster->members[i].start, start))
            return &cluster->members[i];
    return NULL;
}

static bool is_other(const struct clu_cluster *cluster, const struct clu_member *member)
{
    return !ps_uuid_equal(&member->start, &cluster->core->start) && member->age_ms < CLU_ALIVE_MS;
}

bool clu_lives(const struct clu_cluster *cluster, const struct ps_uuid *start)
{
    const struct clu_member *member = clu_member_find(cluster, start);

    return member != NULL && is_other(cluster, member);
}

int64_t clu_heard_ns(const struct clu_cluster *cluster, const char *name)
{
    int64_t last_ns = INT64_MIN;

    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        int64_t heard_ns = cluster->pulsed_ns - member->age_ms * PS_NS_PER_MS;
        if (!ps_uuid_equal(&member->start, &cluster->core->start) && heard_ns > last_ns &&
            strcmp(member->beat.name, name) == 0)
            last_ns = heard_ns;
    }
    return last_ns;
}

bool clu_is_alone(const struct clu_cluster *cluster)
{
    for (size_t i = 0; i < cluster->member_count; i++)
        if (is_other(cluster, &cluster->members[i]))
            return false;
    return true;
}

bool clu_is_quiet(const struct clu_cluster *cluster)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        if (member->age_ms < CLU_ALIVE_MS &&
            (member->beat.in_flight > 0 || member->beat.spilled > 0))
            return false;
    }
    return true;
}

/* Several journals are not one log: only who was started first may go on. (A start's id begins with
 * its time.) */
bool clu_may_act(const struct clu_cluster *cluster)
{
    const char *name = cluster->core->gateway_id;

    if (!cluster->owns)
        return false;
    for (size_t i = 0; cluster->alone && i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        if (is_other(cluster, member) && strcmp(member->beat.name, name) != 0 &&
            memcmp(member->start.byte, cluster->core->start.byte, sizeof member->start.byte) < 0)
            return false;
    }
    return true;
}

static void take_members(struct clu_cluster *cluster, const struct inv_heartbeat_reply *pulse)
{
    struct clu_member *members = calloc(pulse->member_count + 1, sizeof *members);

    if (members == NULL)
        return; /* those of the last pulse stay */
    for (size_t i = 0; i < pulse->member_count; i++)
        members[i] = (struct clu_member){.start = pulse->members[i].start,
                                         .age_ms = pulse->members[i].age_ms,
                                         .beat = pulse->members[i].heartbeat};
    free(cluster->members);
    cluster->members = members;
    cluster->member_count = pulse->member_count;
}

/* This gateway's part of the limits that all keep together. */
static void take_share(struct clu_cluster *cluster)
{
    int64_t *all = calloc(cluster->member_count + 1, sizeof *all);
    size_t count = 0;

    if (all == NULL)
        return; /* the last one stays in force */
    for (size_t i = 0; i < cluster->member_count; i++)
        if (cluster->members[i].age_ms < ADM_SHARE_SILENT_MS)
            all[count++] = cluster->members[i].beat.demand;
    adm_share_set(adm_limit_table_share(cluster->core->limits),
                  adm_share_of(cluster->demand, all, count), clu_now_ns(cluster));
    free(all);
}

/* A key of it that is somebody else's: buyers hear store_unavailable of each call, and it goes on
 * when the key is out of the way. Said once. */
static void take_foreign(struct clu_sale *sale, const char *foreign)
{
    if (foreign != NULL && !sale->foreign)
        ps_log(PS_LOG_ERROR, "sale_key_foreign", PS_F_STR("sale", sale->name),
               PS_F_STR("server", inv_store_server(sale->cluster->store)),
               PS_F_STR("why", foreign));
    sale->foreign = foreign != NULL;
}

static void take_sale(struct clu_cluster *cluster, const struct inv_sale_state *told)
{
    struct clu_sale *sale = cluster->sales;

    while (sale != NULL && sale->counter != told->sale)
        sale = sale->next;
    if (sale == NULL || !sale->serving ||
        sale->served_ns >= cluster->asked_at_ns) /* asked before it was installed, perhaps */
        return;
    take_foreign(sale, told->foreign);
    sale->in_doubt = told->in_doubt;
    if (sale->foreign)
        return;
    if (told->installed.epoch < 0)
        clu_fence(sale, "Redis has no counters of it");
    else if (!told->installed.fits)
        clu_fence(sale, "Redis is not the server, or not the life of it, that it was counted in");
    else if (told->installed.epoch > sale->epoch)
        clu_fence(sale, "another gateway has counted it anew");
    else if (told->installed.epoch < sale->epoch)
        clu_fence(sale, "Redis has counters of it that are over");
}

static void tell_company(struct clu_cluster *cluster)
{
    if (cluster->told_company || !cluster->alone || clu_may_act(cluster))
        return;
    cluster->told_company = true;
    ps_log(PS_LOG_ERROR, "gateway_not_alone",
           PS_F_STR("why", "another gateway counts in this Redis, and this one's orders go to a "
                           "journal of its own: nothing is sold here; several gateways need "
                           "log.kind kafka"));
}

/* Whatever it has begun here ends. */
static void leave(struct clu_cluster *cluster)
{
    for (struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next) {
        sale_rebuild_end(sale->rebuild);
        sale_rebuild_open_later(sale->rebuild);
        clu_fence(sale, "Redis counts for another log");
    }
    cluster->keeper_until_ns = 0;
    cluster->member_count = 0;
}

static void take_other_log(struct clu_cluster *cluster, const char *other)
{
    if (other[0] != '\0')
        cluster->other_ns = clu_now_ns(cluster);
    if (!cluster->refused) {
        ps_log(PS_LOG_ERROR, "redis_of_another_log",
               PS_F_STR("redis", inv_store_server(cluster->store)), PS_F_STR("key", "ps:log"),
               PS_F_STR("counts_for", other), PS_F_STR("log", cluster->log),
               PS_F_STR("why", "this Redis counts for the orders of another log than this "
                               "gateway's: nothing is sold here; give the gateways of each topic a "
                               "database of their own (store.redis.url), or, if no gateway of the "
                               "other log is left, delete the key"));
        leave(cluster);
    }
    cluster->refused = true;
    cluster->owns = false;
}

/* Redis's clock against this gateway's monotonic one. (Another server's counts as set, too.) */
static void note_clock(struct clu_cluster *cluster, int64_t redis_ms)
{
    int64_t moved_ms;

    if (cluster->pulse_count == 0)
        return;
    moved_ms = redis_ms - clu_earlier_ms(cluster, INT64_MAX);
    if (moved_ms > CLU_CLOCKS_APART_MS || moved_ms < -CLU_CLOCKS_APART_MS)
        cluster->set_ns = clu_now_ns(cluster);
}

static void on_pulse(int err, const struct inv_heartbeat_reply *pulse, void *ctx)
{
    struct clu_cluster *cluster = ctx;

    cluster->pulsing = false;
    atomic_store(&cluster->has_redis, err == 0 && pulse->other_log == NULL);
    if (cluster->stopped || err < 0)
        return; /* what was known stays: share of the limits, members */
    if (pulse->other_log != NULL) {
        take_other_log(cluster, pulse->other_log);
        return;
    }
    cluster->refused = false;
    cluster->owns = cluster->log_said;
    note_clock(cluster, pulse->now_ms);
    cluster->pulsed_ns = cluster->redis_ns = clu_now_ns(cluster);
    cluster->redis_ms = pulse->now_ms;
    cluster->pulse_count++;
    take_members(cluster, pulse);
    take_share(cluster);
    for (size_t i = 0; i < pulse->sale_count; i++)
        take_sale(cluster, &pulse->sales[i]);
    tell_company(cluster);
}

/* All that are in use, and of those that rest one at a time, or all. */
static size_t choose(struct clu_cluster *cluster, struct inv_sale **ret_sales)
{
    size_t count = 0, resting = 0, turn = cluster->turn++;

    for (const struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next)
        resting += sale->counter != NULL && sale->resting;
    for (const struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next) {
        if (sale->counter == NULL)
            continue;
        if (!sale->resting || cluster->ask_all || turn++ % resting == 0)
            ret_sales[count++] = sale->counter;
    }
    return count;
}

/* Is it known whose orders are counted? */
static bool knows_log(struct clu_cluster *cluster)
{
    if (cluster->log[0] == '\0' && cluster->alone)
        (void)snprintf(cluster->log, sizeof cluster->log, "a journal");
    return cluster->log[0] != '\0' || oq_kafka_name(cluster->core->kafka, cluster->log);
}

static int ask(struct clu_cluster *cluster, const struct inv_heartbeat *beat)
{
    size_t count = 0;
    struct inv_sale **sales;
    struct inv_log_claim log;
    int result;

    for (const struct clu_sale *sale = cluster->sales; sale != NULL; sale = sale->next)
        count++;
    sales = calloc(count + 1, sizeof *sales);
    if (sales == NULL)
        return PS_E_NOMEM;
    count = choose(cluster, sales);
    cluster->asked_at_ns = clu_now_ns(cluster);
    cluster->log_said = knows_log(cluster);
    log = (struct inv_log_claim){cluster->log, cluster->asked_at_ns - cluster->other_ns > CLAIM_NS};
    result = inv_shared_heartbeat(
        cluster->store,
        &(struct inv_heartbeat_call){beat, cluster->log_said ? &log : NULL, sales, count}, on_pulse,
        cluster);
    if (result == INV_PENDING)
        cluster->ask_all = false;
    free(sales);
    return result;
}

void clu_heartbeat_tick(struct clu_cluster *cluster)
{
    struct inv_heartbeat beat = {.policy_version = cluster->control->policy_version};
    const struct gw_core *core = cluster->core;
    struct oq_log_stats stats;

    if (cluster->pulsing)
        return;
    oq_log_stats(core->log, &stats);
    beat.in_flight = (int64_t)stats.backlog;
    beat.spilled = core->spills ? (int64_t)oq_spill_count(core->log) : 0;
    beat.demand =
        adm_share_demand(&cluster->meter, ps_metric_read(core->metrics, GW_M_LIMIT_SHARED_ASKED, 0),
                         clu_now_ns(cluster));
    cluster->demand = beat.demand;
    memcpy(beat.name, cluster->core->gateway_id, sizeof beat.name);
    cluster->pulsing = ask(cluster, &beat) == INV_PENDING;
}

int64_t clu_earlier_ms(const struct clu_cluster *cluster, int64_t wall_ms)
{
    int64_t redis_ms;

    if (cluster->pulse_count == 0)
        return INT64_MIN;
    redis_ms = cluster->redis_ms + (clu_now_ns(cluster) - cluster->redis_ns) / PS_NS_PER_MS;
    return redis_ms < wall_ms ? redis_ms : wall_ms;
}
