/* Where the gateway's circuits are, and how an operator's orders reach them: workers by mail, the
 * log's thread by the log. */
#ifndef GW_BREAKERS_H
#define GW_BREAKERS_H

#include "common/board.h"
#include "gateway/admission/breakers.h"
#include "gateway/upstream/pool.h"
#include "gateway/worker.h"

struct gw_breakers {
    /* to be read */
    struct adm_breakers known;
    struct ps_board *redis; /* one for each worker, which writes it: struct ps_breaker_view */
    /* private */
    const struct gw_workers *workers;
    struct oq_log *log;
};

/* The breakers of this deployment. Before the workers are created, whose number is known. All
 * arguments outlive it. PS_E_NOMEM. */
int gw_breakers_init(struct gw_breakers *breakers, const struct gw_workers *workers,
                     struct oq_log *log, bool has_redis) PS_MUST_CHECK;
/* There is a new table: from now on the breakers of its pools and endpoints are known by name.
 * Before gw_breakers_init it does nothing; NULL: no table. Control. */
void gw_breakers_follow(struct gw_breakers *breakers, const struct up_table *table);
void gw_breakers_done(struct gw_breakers *breakers);

#endif
