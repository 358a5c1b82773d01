/* The next snapshot in the making: the one place that changes. Documents that come into force go
 * into it (documents.c), and the states of sales and pools; snapshots are built from it.
 *
 * One thread: control. */
#ifndef SNAP_VIEW_H
#define SNAP_VIEW_H

#include "gateway/config/store/store.h"
#include "gateway/snapshot/snapshot.h"

struct snap_view;

/* For that many workers. PS_E_NOMEM. */
int snap_view_new(size_t workers, struct snap_view **ret_view) PS_MUST_CHECK;
/* After the last request of every worker. NULL is allowed. */
void snap_view_free(struct snap_view *view);

/* A version of a document came into force (cfg_store_callbacks.in_force). Does nothing for kinds
 * that workers get in another form, or not at all. PS_E_NOMEM: the previous one stays. */
int snap_view_put(struct snap_view *view, const struct cfg_store *store, const struct cfg_doc *from,
                  const struct cfg_doc *to) PS_MUST_CHECK;
/* A sale (`doc` NULL: it is deleted); keeps the state of its run. PS_E_NOMEM. */
int snap_view_put_sale(struct snap_view *view, const char *name, const struct cfg_sale_doc *doc,
                       const struct cfg_sale_state *state) PS_MUST_CHECK;
/* The state of a sale from the sales room; does nothing without such a sale. PS_E_NOMEM. */
int snap_view_set_run(struct snap_view *view, const char *name,
                      const struct snap_sale_run *run) PS_MUST_CHECK;
/* These are all rules, by name; copied. PS_E_NOMEM. */
int snap_view_set_rules(struct snap_view *view, const struct cfg_limit_rule *rules,
                        size_t count) PS_MUST_CHECK;
/* These are all keys, copied. */
void snap_view_set_rehearsal_keys(struct snap_view *view, const struct cfg_rehearsal_keys *keys);
/* The newest ones, copied. */
void snap_view_set_ref_keys(struct snap_view *view, const struct cfg_ref_keys *keys);
/* Takes a reference over. */
void snap_view_set_up_table(struct snap_view *view, struct up_table *up_table);
/* These are all watched users, by name; copied. PS_E_NOMEM. */
int snap_view_set_watches(struct snap_view *view, const char *const *users,
                          size_t count) PS_MUST_CHECK;
/* To be changed in place. */
struct adm_blocklist *snap_view_blocklist(struct snap_view *view);

/* Builds a snapshot. The previous one may be freed when no worker uses it any more, and must be
 * before another one is built. PS_E_NOMEM: nothing was published. */
int snap_view_snapshot(struct snap_view *view, int64_t version, int64_t revision,
                       struct snapshot **ret_snapshot) PS_MUST_CHECK;
/* The last one built. NULL: there is none yet. */
const struct snapshot *snap_view_last(const struct snap_view *view);

#endif
