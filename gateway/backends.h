/* Counter and order log of the kinds that the settings name: memory or Redis, journal or Kafka.
 * Start-up only, on the main thread, which becomes the control thread. */
#ifndef GW_BACKENDS_H
#define GW_BACKENDS_H

#include "common/clock.h"
#include "gateway/settings.h"
#include "gateway/state_dir.h"
#include "inventory/store.h"
#include "queue/log_kafka.h"

#include <uv.h>

/* --- the counter --- */

/* The process's part of it: the one store in memory, or what all links to Redis share. */
struct gw_counter;
struct ord_events;

/* All of it outlives the counter; `start` is copied. */
struct gw_counter_deps {
    const struct gw_settings *settings;
    const struct ps_clock *clock;
    const struct ps_uuid
        *start; /* id of this start of the process: the owner of its reservations */
    void (*on_fenced)(void *ctx); /* a sale's epoch has ended; on the thread of the asking store */
    void *ctx;
};

/* PS_E_NOMEM. */
int gw_counter_open(const struct gw_counter_deps *deps,
                    struct gw_counter **ret_counter) PS_MUST_CHECK;
/* This thread's store, on its loop: the shared one, or a link of its own to Redis, which starts to
 * connect. `buyers`: buyers wait for it, so replies of Redis that take more than half of the
 * time-out open its breaker. PS_E_NOMEM, PS_E_IO. */
int gw_counter_store(struct gw_counter *counter, uv_loop_t *loop, bool buyers,
                     struct inv_store **ret_store) PS_MUST_CHECK;
/* Frees a store of gw_counter_store, on its thread; pending calls are answered. NULL is allowed. */
void gw_counter_store_free(const struct gw_counter *counter, struct inv_store *store);
/* Call it after all stores are freed. */
void gw_counter_close(struct gw_counter *counter);

/* --- the log --- */

/* All of it outlives the log. */
struct gw_log_deps {
    const struct gw_settings *settings;
    const struct ps_clock *clock;
    const struct gw_state_dir *dir;
    struct ord_events *events;
    const struct oq_mark *marks; /* where to begin to read; NULL: at the start */
    uint32_t mark_count;
};

/* Opens it and reads it back through the callbacks of `events`. `fault` says what an operator can
 * do. */
int gw_log_open(const struct gw_log_deps *deps, struct oq_log **ret_log,
                struct ps_fault *fault) PS_MUST_CHECK;

/* The check of Kafka before gw_log_open: oq_kafka_check. */
int gw_log_check(const struct gw_settings *settings, int64_t timeout_ms,
                 char ret_notice[OQ_KAFKA_NOTICE], struct ps_fault *fault) PS_MUST_CHECK;

/* --- how much is under way to them --- */

struct ord_flow;

/* PS_E_NOMEM. */
int gw_flow_new(const struct gw_settings *settings, size_t workers,
                struct ord_flow **ret_flow) PS_MUST_CHECK;

#endif
