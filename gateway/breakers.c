/* See breakers.h. */
#include "gateway/breakers.h"

#include "common/log.h"

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
    const struct ps_mail mail = {.kind = GW_MAIL_BREAKER,
                                 .result = (int32_t)force->order,
                                 .handle = force->id,
                                 .value = (uint64_t)force->until_ns};

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
