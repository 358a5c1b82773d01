/* See membership.h. Work is noted and done by on_soon: it makes a pass over the pools of the table
 * in force, and asks for a new table if a list of endpoints has changed. */
#include "gateway/upstream/membership.h"

#include "common/grow.h"
#include "common/program/log.h"
#include "gateway/upstream/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pool whose registrations have changed. */
struct touched {
    char pool[PS_NAME_MAX + 1];
    bool left; /* somebody has removed one */
};

struct up_membership {
    struct up_membership_deps deps;
    struct up_discovery *discovery;
    struct up_health *health;
    struct up_registrations *registrations;
    struct up_table *table, *followed; /* the table in force; the table of the last on_soon */
    struct touched *touched;
    size_t touched_count, touched_room;
    bool changed; /* a list of endpoints has changed */
    uv_timer_t soon;
};

static void on_soon(uv_timer_t *timer);

static void do_soon(struct up_membership *membership)
{
    if (membership->discovery != NULL)
        uv_timer_start(&membership->soon, on_soon, 0, 0);
}

static void on_changed(void *ctx, const char *pool)
{
    struct up_membership *membership = ctx;

    (void)pool;
    membership->changed = true;
    do_soon(membership);
}

/* --- Registrations. --- */

static struct touched *find_touched(const struct up_membership *membership, const char *pool)
{
    for (size_t i = 0; i < membership->touched_count; i++)
        if (strcmp(membership->touched[i].pool, pool) == 0)
            return &membership->touched[i];
    return NULL;
}

static void touch(struct up_membership *membership, const char *pool, bool left)
{
    struct touched *touched = find_touched(membership, pool);

    if (touched == NULL) {
        if (ps_grow(&membership->touched, &membership->touched_room, membership->touched_count + 1,
                    /* out of memory: the pool's next change makes up for it */
                    sizeof *touched) < 0) {
            ps_log(PS_LOG_WARN, "discovery_failed", PS_F_STR("pool", pool),
                   PS_F_STR("source", "registration"), PS_F_STR("why", "out of memory"));
            return;
        }
        touched = &membership->touched[membership->touched_count++];
        *touched = (struct touched){0};
        (void)snprintf(touched->pool, sizeof touched->pool, "%s", pool);
    }
    touched->left |= left;
    do_soon(membership);
}

void up_membership_put(struct up_membership *membership, const struct cfg_doc *from,
                       const struct cfg_doc *to)
{
    if ((to != NULL ? to : from)->kind != &cfg_kind_registration ||
        (to != NULL && from != NULL && cfg_doc_renews(to, from)))
        return;
    const struct cfg_registration *now = to != NULL ? to->parsed : NULL;
    const struct cfg_registration *was = from != NULL ? from->parsed : NULL;
    if (now != NULL || was != NULL)
        touch(membership, now != NULL ? now->pool : was->pool,
              to != NULL && (now == NULL || now->gone));
}

/* While heartbeats cannot be stored, missing ones say nothing about the endpoints. */
static const char *why_deaf(const struct up_membership *membership)
{
    const struct ps_fault *fault = up_registrations_fault(membership->registrations);

    if (!cfg_store_takes_changes(membership->deps.store))
        return "Redis stores no heartbeats: no registration expires meanwhile";
    return fault != NULL ? fault->text : NULL;
}

static int offer_registrations(const struct up_membership *membership, const char *pool, bool left)
{
    const struct cfg_store *store = membership->deps.store;
    struct cfg_endpoint *list = NULL;
    const struct cfg_doc *doc = NULL;
    size_t count = 0, room = 0, had;
    int err = 0;

    while ((doc = cfg_registration_next(store, pool, doc)) != NULL) {
        if (ps_grow(&list, &room, count + 1, sizeof *list) < 0) {
            free(list);
            return PS_E_NOMEM;
        }
        list[count++] = cfg_registration_of(doc)->endpoint;
    }
    (void)up_discovery_endpoints(membership->discovery, pool, &had);
    const char *why = !left && count < had ? why_deaf(membership) : NULL;
    if (why != NULL)
        up_discovery_fail(membership->discovery, pool, why);
    else
        err = up_discovery_offer(membership->discovery, pool, list, count, left);
    free(list);
    return err;
}

/* --- Following. --- */

static const struct up_pool_view *find_pool(const struct up_table *table, const char *name)
{
    for (size_t i = 0; table != NULL && i < table->pool_count; i++)
        if (strcmp(table->pools[i].doc->name, name) == 0)
            return &table->pools[i];
    return NULL;
}

static int check_members(const struct up_membership *membership, const struct up_pool_view *pool)
{
    struct cfg_endpoint *list = calloc(pool->member_count + 1, sizeof *list);

    if (list == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < pool->member_count; i++)
        list[i] = pool->members[i].as;
    int err = up_health_set(membership->health, pool->doc, list, pool->member_count);
    free(list);
    return err;
}

static int follow_pool(const struct up_membership *membership, const struct up_pool_view *pool)
{
    const struct cfg_pool *doc = pool->doc;
    const struct up_pool_view *before = find_pool(membership->followed, doc->name);
    const struct touched *touched = find_touched(membership, doc->name);
    bool is_new = before == NULL || before->doc->discovery.by != doc->discovery.by;
    int err = up_discovery_set(membership->discovery, doc);

    if (err == 0 && doc->discovery.by == CFG_DISCOVERY_REGISTRATION && (is_new || touched != NULL))
        err = offer_registrations(membership, doc->name, touched != NULL && touched->left);
    return err < 0 ? err : check_members(membership, pool);
}

static void drop_gone(const struct up_membership *membership)
{
    const struct up_table *last = membership->followed;

    for (size_t i = 0; last != NULL && last != membership->table && i < last->pool_count; i++) {
        const char *name = last->pools[i].doc->name;
        if (find_pool(membership->table, name) != NULL)
            continue;
        up_discovery_drop(membership->discovery, name);
        up_health_drop(membership->health, name);
    }
}

static void on_soon(uv_timer_t *timer)
{
    struct up_membership *membership = timer->data;
    struct up_table *table = membership->table;

    if (table == NULL)
        return;
    drop_gone(membership);
    for (size_t i = 0; i < table->pool_count; i++) {
        int err = follow_pool(membership, &table->pools[i]);
        if (err < 0)
            ps_log(PS_LOG_WARN, "discovery_failed", PS_F_STR("pool", table->pools[i].doc->name),
                   PS_F_STR("why", ps_err_text(err)));
    }
    membership->touched_count = 0;
    up_table_drop(membership->followed);
    membership->followed = up_table_keep(table);
    if (!membership->changed)
        return;
    membership->changed = false;
    /* up_membership_follow is called, now or later */
    membership->deps.on_change(membership->deps.ctx);
}

void up_membership_follow(struct up_membership *membership, struct up_table *table)
{
    up_table_drop(membership->table);
    membership->table = up_table_keep(table);
    do_soon(membership);
}

const struct up_discovery *up_membership_discovery(const struct up_membership *membership)
{
    return membership->discovery;
}

const struct up_health *up_membership_health(const struct up_membership *membership)
{
    return membership->health;
}

struct up_registrations *up_membership_registrations(const struct up_membership *membership)
{
    return membership->registrations;
}

const char *up_membership_refusal(const struct up_membership *membership,
                                  const struct cfg_endpoint *endpoint)
{
    return cfg_endpoint_refusal(endpoint, cfg_store_bounds(membership->deps.store));
}

/* --- Life. --- */

int up_membership_new(const struct up_membership_deps *deps, struct up_membership **ret_membership)
{
    struct up_membership *membership = calloc(1, sizeof *membership);
    int err = PS_E_NOMEM;

    if (membership == NULL)
        return err;
    const struct up_discovery_settings settings = {.loop = deps->loop,
                                                   .clock = deps->clock,
                                                   .bounds = cfg_store_bounds(deps->store),
                                                   .dns_servers = deps->dns_servers,
                                                   .dns_server_count = deps->dns_server_count,
                                                   .changed = on_changed,
                                                   .ctx = membership};
    membership->deps = *deps;
    err = up_discovery_new(&settings, &membership->discovery);
    if (err == 0)
        err = up_health_new(deps->loop, deps->clock, NULL, NULL, &membership->health);
    if (err == 0)
        err = up_registrations_new(deps->loop, deps->store, &membership->registrations);
    if (err < 0) {
        up_health_free(membership->health);
        up_discovery_free(membership->discovery);
        free(membership);
        return err;
    }
    uv_timer_init(deps->loop, &membership->soon);
    membership->soon.data = membership;
    *ret_membership = membership;
    return 0;
}

void up_membership_stop(struct up_membership *membership)
{
    up_health_free(membership->health);
    up_discovery_free(membership->discovery);
    membership->health = NULL;
    membership->discovery = NULL;
    up_registrations_stop(membership->registrations);
    uv_close((uv_handle_t *)&membership->soon, NULL);
}

void up_membership_free(struct up_membership *membership)
{
    if (membership == NULL)
        return;
    up_registrations_free(membership->registrations);
    up_table_drop(membership->table);
    up_table_drop(membership->followed);
    free(membership->touched);
    free(membership);
}
