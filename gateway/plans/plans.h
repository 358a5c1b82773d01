/* The runs of plans on this gateway: an index of those that have not ended, and who keeps their
 * times. Runs are documents of the store (config/kinds/run_doc.h): they outlive a restart, and a
 * cluster shares them. Any gateway may begin or end one; the one that leads does what is due by
 * time. Two that do it at once: the store takes one of both. One thread: control. */
#ifndef PLANS_H
#define PLANS_H

#include "common/metrics/metrics.h"
#include "gateway/plans/run.h"

struct plans;

/* All of it outlives the plans. */
struct plans_deps {
    struct cfg_store *store;
    struct ps_metrics_shard *shard;
    /* Does this gateway keep the times? NULL: it does. */
    bool (*leads)(void *ctx);
    /* As of struct plan_world. */
    const char *(*sale_state)(void *ctx, const char *sale);
    double (*share)(void *ctx, enum cfg_signal signal);
    size_t (*gateways)(void *ctx);
    bool (*has_breaker)(void *ctx, const char *name);
    void *ctx;
};

/* PS_E_NOMEM. */
int plans_new(const struct plans_deps *deps, struct plans **ret_plans) PS_MUST_CHECK;
/* After the store is closed. NULL is allowed. */
void plans_free(struct plans *plans);

/* A version of a run is in force: of the store's callback in_force. PS_E_NOMEM. */
int plans_put(struct plans *plans, const struct cfg_doc *from,
              const struct cfg_doc *to) PS_MUST_CHECK;
/* Now and then: what is due. */
void plans_tick(struct plans *plans);

/* What runs may look at, now. */
struct plan_world plans_world(const struct plans *plans);
/* As plan_run_starts_ms, of the run with this name. */
int64_t plans_starts_ms(const struct plans *plans, const char *run);
/* Those that have not ended, by name. */
const struct plan_runs *plans_live(const struct plans *plans);
/* An id for a new run; ids are in order of time. */
void plans_new_id(struct plans *plans, char ret_name[PS_NAME_MAX + 1]);
/* The run that keeps a document from being deleted; NULL: none does. */
const char *plans_holder(const struct plans *plans, const struct cfg_kind *kind, const char *name);
/* The document as it would be without runs. False: there would be none. */
bool plans_undo(const struct plans *plans, const struct cfg_kind *kind, const char *name,
                json_t *json);
/* A member that a run holds, and that `to` changes (parsed NULL: deletes); NULL: none. */
const struct plan_run *plans_find_touched(const struct plans *plans, const struct cfg_doc *from,
                                          const struct cfg_doc *to);

#endif
