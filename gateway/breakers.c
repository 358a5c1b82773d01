/* See breakers.h. */
#include "gateway/breakers.h"

#include "common/program/log.h"

#include <stdio.h>
#include <stdlib.h>

/* --- Redis: a circuit a worker --- */

static void show_redis(size_t circuit, struct ps_breaker_view *ret_view, void *ctx)
{
    const struct gw_breakers *breakers = ctx;

    ps_board_read(&breakers->redis[circuit], ret_view, sizeof *ret_view);
}

static void force_redis(const struct ps_breaker_force *force, void *ctx)
{
    const struct gw_breakers *breakers = ctx;
    const struct ps_mail mail = {
        .kind = GW_MAIL_BREAKER, .result = (int32_t)force->order, .handle = force->id};

    for (size_t i = 0; i < breakers->workers->count; i++)
        if (gw_worker_post(breakers->workers->at[i], &mail) < 0)
            ps_log(PS_LOG_ERROR, "worker_takes_no_mail", PS_F_INT("worker", i));
}

/* --- Kafka: the log's circuit --- */

static void show_kafka(size_t circuit, struct ps_breaker_view *ret_view, void *ctx)
{
    const struct gw_breakers *breakers = ctx;

    (void)circuit;
    (void)oq_log_breaker(breakers->log, ret_view);
}

static void force_kafka(const struct ps_breaker_force *force, void *ctx)
{
    const struct gw_breakers *breakers = ctx;

    oq_log_force(breakers->log, force);
}

/* --- pools and endpoints of the shop: a circuit a worker --- */

static void show_pool(size_t circuit, struct ps_breaker_view *ret_view, void *ctx)
{
    const struct up_pool *pool = ctx;

    up_circuit_read(&pool->cells[circuit].circuit, ret_view);
}

static void force_pool(const struct ps_breaker_force *force, void *ctx)
{
    struct up_pool *pool = ctx;

    up_circuit_order(&pool->order, force);
}

static void show_endpoint(size_t circuit, struct ps_breaker_view *ret_view, void *ctx)
{
    const struct up_endpoint *endpoint = ctx;

    up_circuit_read(&endpoint->cells[circuit].circuit, ret_view);
}

static void force_endpoint(const struct ps_breaker_force *force, void *ctx)
{
    struct up_endpoint *endpoint = ctx;

    up_circuit_order(&endpoint->order, force);
}

typedef char breaker_name[ADM_BREAKER_NAME_MAX];

static size_t count_sources(const struct up_table *table)
{
    size_t count = table->pool_count;

    for (size_t i = 0; i < table->pool_count; i++)
        count += table->pools[i].member_count;
    return count;
}

static void list_sources(const struct up_table *table, struct adm_breaker_source *sources,
                         breaker_name *names)
{
    size_t at = 0;

    for (size_t i = 0; i < table->pool_count; i++) {
        const struct up_pool_view *view = &table->pools[i];
        (void)snprintf(names[at], sizeof names[at], "pool:%s", view->pool->name);
        sources[at] = (struct adm_breaker_source){names[at], view->pool->cell_count, show_pool,
                                                  force_pool, view->pool};
        at++;
        for (size_t j = 0; j < view->member_count; j++, at++) {
            struct up_endpoint *endpoint = view->members[j].endpoint;
            (void)snprintf(names[at], sizeof names[at], "endpoint:%s:%s", view->pool->name,
                           endpoint->is.address);
            sources[at] = (struct adm_breaker_source){names[at], endpoint->cell_count,
                                                      show_endpoint, force_endpoint, endpoint};
        }
    }
}

void gw_breakers_follow(struct gw_breakers *breakers, const struct up_table *table)
{
    if (breakers->workers == NULL || table == NULL)
        return;
    size_t count = count_sources(table);
    struct adm_breaker_source *sources = calloc(count + 1, sizeof *sources);
    breaker_name *names = calloc(count + 1, sizeof *names);
    bool room = sources != NULL && names != NULL;

    if (room)
        list_sources(table, sources, names);
    if (adm_breakers_follow(&breakers->known, sources, room ? count : 0) < 0 || !room)
        ps_log(PS_LOG_ERROR, "breakers_not_known", PS_F_STR("error", ps_err_text(PS_E_NOMEM)));
    free(sources);
    free(names);
}

/* --- life --- */

int gw_breakers_init(struct gw_breakers *breakers, const struct gw_workers *workers,
                     struct oq_log *log, bool has_redis)
{
    struct ps_breaker_view view;

    *breakers = (struct gw_breakers){.workers = workers, .log = log};
    breakers->redis = calloc(workers->count, sizeof *breakers->redis);
    if (breakers->redis == NULL)
        return PS_E_NOMEM;
    int err = 0;
    if (has_redis)
        err = adm_breakers_add(&breakers->known,
                               &(struct adm_breaker_source){"redis", workers->count, show_redis,
                                                            force_redis, breakers});
    if (err == 0 && oq_log_breaker(log, &view))
        err =
            adm_breakers_add(&breakers->known, &(struct adm_breaker_source){"kafka", 1, show_kafka,
                                                                            force_kafka, breakers});
    return err;
}

void gw_breakers_done(struct gw_breakers *breakers)
{
    adm_breakers_done(&breakers->known);
    free(breakers->redis);
}
