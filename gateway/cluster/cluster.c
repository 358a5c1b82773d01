/* What a gateway knows of the others and of itself. */
#include "gateway/cluster/cluster_internal.h"

#include <stdlib.h>
#include <string.h>

#define SPILL_PATIENCE_MS 120000

int64_t clu_now_ns(const struct clu_cluster *cluster)
{
    return ps_clock_mono_ns(cluster->settings.clock);
}

/* --- the others --- */

static const struct clu_member *find_member(const struct clu_cluster *cluster,
                                            const struct ps_uuid *start)
{
    for (size_t i = 0; i < cluster->member_count; i++)
        if (ps_uuid_equal(&cluster->members[i].start, start))
            return &cluster->members[i];
    return NULL;
}

bool clu_is_own(const struct clu_cluster *cluster, const struct ps_uuid *start)
{
    return ps_uuid_equal(start, &cluster->settings.start);
}

/* Is it a start other than ours, and alive? */
static bool is_other(const struct clu_cluster *cluster, const struct clu_member *member)
{
    return !clu_is_own(cluster, &member->start) && member->age_ms < CLU_ALIVE_MS;
}

size_t clu_heartbeats(const struct clu_cluster *cluster)
{
    return cluster->answered;
}

size_t clu_members(const struct clu_cluster *cluster)
{
    size_t count = cluster->shared ? 0 : 1;

    for (size_t i = 0; i < cluster->member_count; i++)
        count += cluster->members[i].age_ms < CLU_ALIVE_MS;
    return count;
}

bool clu_lives(const struct clu_cluster *cluster, const struct ps_uuid *start)
{
    const struct clu_member *member = find_member(cluster, start);

    return member != NULL && is_other(cluster, member);
}

int64_t clu_heard_ns(const struct clu_cluster *cluster, const char *name)
{
    int64_t last_ns = INT64_MIN;

    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        int64_t heard_ns = cluster->answered_ns - member->age_ms * PS_NS_PER_MS;
        if (!clu_is_own(cluster, &member->start) && heard_ns > last_ns &&
            strcmp(member->heartbeat.name, name) == 0)
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
            (member->heartbeat.in_flight > 0 || member->heartbeat.spilled > 0))
            return false;
    }
    return true;
}

/* Only the last start of a name knows what is in its spill: one start at a time has the file. */
static bool is_last_of_its_name(const struct clu_cluster *cluster, const struct clu_member *member)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *other = &cluster->members[i];
        if (other->age_ms < member->age_ms &&
            strcmp(other->heartbeat.name, member->heartbeat.name) == 0)
            return false;
    }
    return true;
}

bool clu_other_at(const struct clu_cluster *cluster, size_t index, struct clu_other *ret_other)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        if (clu_is_own(cluster, &member->start) || !is_last_of_its_name(cluster, member))
            continue;
        if (index-- == 0) {
            *ret_other =
                (struct clu_other){.name = member->heartbeat.name,
                                   .age_ms = member->age_ms,
                                   .alive = member->age_ms < CLU_ALIVE_MS,
                                   .leads = ps_uuid_equal(&cluster->holder, &member->start),
                                   .leads_is_known = clu_now_ns(cluster) - cluster->held_ns <
                                                     CLU_ALIVE_MS * PS_NS_PER_MS};
            return true;
        }
    }
    return false;
}

/* May orders still come out of that gateway's spill? NULL: out of any. */
static bool may_come(const struct clu_cluster *cluster, const char *name)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        if (member->heartbeat.spilled > 0 && member->age_ms <= SPILL_PATIENCE_MS &&
            (name == NULL || strcmp(member->heartbeat.name, name) == 0) &&
            is_last_of_its_name(cluster, member))
            return true;
    }
    return false;
}

bool clu_may_bring_orders(const struct clu_cluster *cluster)
{
    return may_come(cluster, NULL);
}

bool clu_is_gone(const struct clu_cluster *cluster, const struct ps_uuid *start)
{
    const struct clu_member *member = find_member(cluster, start);

    if (member == NULL) /* silent for ten minutes: its name is forgotten */
        return !may_come(cluster, NULL);
    return member->age_ms > CLU_ALIVE_MS && !may_come(cluster, member->heartbeat.name);
}

/* --- this gateway --- */

bool clu_owns(const struct clu_cluster *cluster)
{
    return !cluster->shared || cluster->owner == CLU_OWNER_THIS_LOG;
}

/* Several journals are not one log: only the gateway that was started first may continue. (A
 * start's id begins with its time.) */
bool clu_may_act(const struct clu_cluster *cluster)
{
    const struct clu_settings *settings = &cluster->settings;

    if (!clu_owns(cluster))
        return false;
    for (size_t i = 0; cluster->alone && i < cluster->member_count; i++) {
        const struct clu_member *member = &cluster->members[i];
        if (is_other(cluster, member) &&
            strcmp(member->heartbeat.name, settings->gateway_id) != 0 &&
            memcmp(member->start.byte, settings->start.byte, sizeof member->start.byte) < 0)
            return false;
    }
    return true;
}

bool clu_has_view(const struct clu_cluster *cluster)
{
    return atomic_load_explicit(&cluster->has_view, memory_order_acquire);
}

bool clu_has_redis(const struct clu_cluster *cluster)
{
    return atomic_load_explicit(&cluster->has_redis, memory_order_acquire);
}

/* --- time --- */

int64_t clu_clock_set_ns(const struct clu_cluster *cluster)
{
    return cluster->clock_set_ns;
}

int64_t clu_earlier_ms(const struct clu_cluster *cluster, int64_t wall_ms)
{
    int64_t redis_ms;

    if (!cluster->shared)
        return wall_ms;
    if (cluster->answered == 0)
        return INT64_MIN;
    redis_ms = cluster->redis_ms + (clu_now_ns(cluster) - cluster->answered_ns) / PS_NS_PER_MS;
    return redis_ms < wall_ms ? redis_ms : wall_ms;
}

/* --- its life --- */

void clu_attend(struct clu_cluster *cluster, const struct clu_sales *sales, void *ctx)
{
    cluster->sales = sales;
    cluster->sales_ctx = ctx;
}

int clu_cluster_new(const struct clu_settings *settings, struct clu_cluster **ret_cluster)
{
    struct clu_cluster *cluster = calloc(1, sizeof *cluster);
    struct oq_log_view view;

    if (cluster == NULL)
        return PS_E_NOMEM;
    oq_log_view(settings->log, &view);
    cluster->settings = *settings;
    cluster->shared = inv_store_is_shared(settings->store);
    cluster->alone = !view.shared;
    cluster->disowned_ns = cluster->clock_set_ns = cluster->held_ns = INT64_MIN / 2;
    atomic_store(&cluster->has_redis, !cluster->shared);
    *ret_cluster = cluster;
    return 0;
}

void clu_stop(struct clu_cluster *cluster)
{
    if (cluster != NULL)
        cluster->stopped = true;
}

void clu_cluster_free(struct clu_cluster *cluster)
{
    if (cluster == NULL)
        return;
    free(cluster->members);
    free(cluster);
}
