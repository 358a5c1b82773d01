/* What operators decide on this gateway, and in a cluster on all: one store of versioned documents
 * (document.h), whatever their kind. The control thread keeps the versions in force in memory and
 * answers reads from it; control.db has them with their history (writer.h); Redis has those of a
 * answers reads from it; control.db has them with their history (writer.h); Redis has those of a
 * cluster (sync.h); callbacks learn what came into force and publish it to workers.
 * A change proceeds like this, one at a time (later ones queue):
 *   its documents are validated against those in force -> in a cluster, Redis compares the versions
 * -> the writer commits it with its audit line -> it is in memory -> a new snapshot goes to every
 *   worker -> all have acknowledged -> `done`: now it is durable and in force, and may be answered.
 * Decisions of other gateways proceed the same way, ahead of local changes that have not begun.
 *
 * One thread: control. */
#ifndef CFG_STORE_H
#define CFG_STORE_H

#include "gateway/config/store/audit_log.h"
#include "gateway/config/store/document.h"
#include "gateway/config/store/writer.h"

struct cfg_change;
struct cfg_sync;

struct cfg_store_callbacks {
    void *ctx;
    /* Make every worker use the documents in force, all changes up to this revision;
     * cfg_store_acknowledged follows when all do. PS_E_NOMEM: called again with
     * cfg_store_changed. */
    int (*publish)(void *ctx, int64_t revision);
    /* A version of a document is in force; `to` is a deletion (parsed is NULL) or NULL when it is
     * gone; `from` is NULL where there was none. Comes before its publication. PS_E_NOMEM. */
    int (*in_force)(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to);
    /* A change of a sale's document waits or is being written; it came into force, or it failed.
     * (For a sale that comes into force, cfg_store_changes_behind counts changes that waited
     * before.) */
    void (*on_changing)(void *ctx, const char *sale, bool changing);
    /* The order log has, or may have, records of the sale: its stock is fixed. */
    bool (*sale_is_used)(void *ctx, const char *sale);
    /* The name was used, but the sale may be deleted (sale_is_forgettable). */
    bool (*sale_is_forgettable)(void *ctx, const char *sale);
    /* The run that keeps a document from being deleted (borrowed until the next call of the store);
     * NULL: none does. The function may be NULL. */
    const char *(*holder)(void *ctx, const struct cfg_kind *kind, const char *name);
};

/* How many of on_changing's changes of the sale wait behind the one coming into force. */
size_t cfg_store_changes_behind(const struct cfg_store *store, const char *sale);

/* --- Life. --- */

/* Opens control.db and loads all documents. Errors as cfg_db_open. */
int cfg_store_open(const struct cfg_writer_settings *settings, struct cfg_store **ret_store,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* What documents may refer to from now on; borrowed. Without it: anything. */
void cfg_store_set_bounds(struct cfg_store *store, const struct cfg_bounds *bounds);
const struct cfg_bounds *cfg_store_bounds(const struct cfg_store *store);
/* Calls in_force for each document, but not `publish`. PS_E_NOMEM. */
int cfg_store_start(struct cfg_store *store,
                    const struct cfg_store_callbacks *callbacks) PS_MUST_CHECK;
/* Ends the timers, and the writer after its queued jobs; the loop must turn once more
 * before cfg_store_free. */
void cfg_store_close(struct cfg_store *store);
void cfg_store_free(struct cfg_store *store); /* pending changes end with PS_E_CLOSED */
/* The mail of the writer. */
void cfg_store_mail(struct cfg_store *store, const struct ps_mail *mail);
/* Call it now and then: removes ended documents from memory. */
void cfg_store_tick(struct cfg_store *store);

/* --- Reading. --- */

/* The version in force, or NULL: there is none, it is deleted, or it has ended. Valid until the
 * handler of the loop's event returns or a change is submitted. */
const struct cfg_doc *cfg_store_find(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const char *name);
/* The same, but returns a deletion, too. */
const struct cfg_doc *cfg_store_last(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const char *name);
/* The documents in force by name: the first (`after` NULL), or the next; NULL: no more. */
const struct cfg_doc *cfg_store_next(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const struct cfg_doc *after);
/* The first document behind a name. */
const struct cfg_doc *cfg_store_behind(const struct cfg_store *store, const struct cfg_kind *kind,
                                       const char *name);
size_t cfg_store_count(const struct cfg_store *store, const struct cfg_kind *kind);
/* The revision of the newest change in force here. */
int64_t cfg_store_revision(const struct cfg_store *store);
/* All changes up to this revision are in force here. Lower than the newest while earlier changes of
 * other gateways have not arrived. */
int64_t cfg_store_complete(const struct cfg_store *store);
/* The last line of the audit log on the disk. */
void cfg_store_audit_head(const struct cfg_store *store, struct cfg_audit_head *ret_head);
const struct ps_clock *cfg_store_clock(const struct cfg_store *store);
bool cfg_store_sale_is_used(const struct cfg_store *store, const char *sale);
bool cfg_store_sale_is_forgettable(const struct cfg_store *store, const char *sale);
/* Not all workers have acknowledged what is in force. */
bool cfg_store_is_publishing(const struct cfg_store *store);
/* In in_force: this gateway has made the change; else another gateway has, or it was loaded. */
bool cfg_store_is_own_change(const struct cfg_store *store);

/* --- Changing. --- */

/* err 0: durable and in force. Else nothing has changed here: PS_E_CONFLICT (a version; in a
 * cluster the newer one is in force here by then), or the writer's error; `fault` has details. If
 * its path is CFG_SYNC_PATH, Redis refused the change, or (PS_E_UNKNOWN) gave no answer. */
typedef void cfg_done_fn(int err, const struct ps_fault *fault, void *ctx);

/* An empty change. `author` is copied; an action of "" becomes the document's. NULL: out of
 * memory. */
struct cfg_change *cfg_change_new(struct cfg_store *store, const struct cfg_author *author);
/* A change by the gateway itself, now, as author `who`. */
struct cfg_change *cfg_change_own(struct cfg_store *store, const char *who, const char *action);
void cfg_change_free(struct cfg_change *change); /* only if not submitted; NULL is allowed */

struct cfg_put {
    const struct cfg_kind *kind;
    const char *name;
    const json_t *json;
    const char *pointer; /* what the paths of faults begin with; NULL: nothing */
};
/* Adds the next version of a document, validated against the one in force. Nothing is added when
 * they are equal. PS_E_INVALID, PS_E_NOMEM; PS_E_CONFLICT: *ret_refusal says why. All faults are
 * added. */
int cfg_change_put(struct cfg_change *change, const struct cfg_put *put,
                   enum cfg_refusal *ret_refusal, struct ps_faults *faults) PS_MUST_CHECK;
/* Adds a deletion, likewise. PS_E_NOT_FOUND. */
int cfg_change_drop(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                    const char *pointer, enum cfg_refusal *ret_refusal,
                    struct ps_faults *faults) PS_MUST_CHECK;
/* Call it when all edits are added: checks that its documents fit together and with the others in
 * force. PS_E_INVALID: one names a document that does not exist, or clashes with another;
 * PS_E_CONFLICT with CFG_IN_USE: others name a deleted one; PS_E_NOMEM. `point` gives the path of a
 * document; NULL: "". */
typedef void cfg_point_fn(const struct cfg_doc *doc, char ret_pointer[192]);
int cfg_change_check(const struct cfg_change *change, cfg_point_fn *point,
                     enum cfg_refusal *ret_refusal, struct ps_faults *faults) PS_MUST_CHECK;
/* Adds the same document with another state. PS_E_NOT_FOUND. */
int cfg_change_state(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                     const json_t *state) PS_MUST_CHECK;
/* The i-th document added, and the one that it replaces (NULL: none). NULL: no more. */
const struct cfg_doc *cfg_change_doc(const struct cfg_change *change, size_t i,
                                     const struct cfg_doc **ret_from);
/* Takes all documents out of it again. */
void cfg_change_clear(struct cfg_change *change);
/* From now on documents are deleted whatever run holds them: the change is that run's own. */
void cfg_change_pass_holds(struct cfg_change *change);
/* Adds a private file that the change replaces. PS_E_NOMEM. */
int cfg_change_file(struct cfg_change *change, const char *path, const char *text) PS_MUST_CHECK;
/* Sets from and to of its audit line, instead of the documents before and after; takes `from` and
 * `to` over (NULL: null). `target` is copied. */
void cfg_change_line(struct cfg_change *change, const char *target, json_t *from, json_t *to);

/* Sets the target of its audit line, for a change of several documents; copied. */
void cfg_change_about(struct cfg_change *change, const char *target);

/* Takes ownership in every case. 0: calls `done` (may be NULL) once, later. Refused: it does
 * not. */
int cfg_change_submit(struct cfg_change *change, cfg_done_fn *done, void *ctx) PS_MUST_CHECK;

/* Reads a document's versions (cfg_db_history); `done` owns `history`. PS_E_FULL,
 * PS_E_NOMEM: it is not called. */
typedef void cfg_history_fn(int err, json_t *history, const struct ps_fault *fault, void *ctx);
int cfg_store_history(struct cfg_store *store, const struct cfg_kind *kind, const char *name,
                      int64_t version, cfg_history_fn *done, void *ctx) PS_MUST_CHECK;
/* The same for all documents of these kinds ("": all kinds; at most CFG_NAME_MAX bytes): as they
 * were at a revision (cfg_db_at_revision), or with 0 the list of changes (cfg_db_revisions). */
int cfg_store_past(struct cfg_store *store, const char *kinds, int64_t revision,
                   cfg_history_fn *done, void *ctx) PS_MUST_CHECK;

/* --- Publishing. --- */

/* Publishes again: what workers use has changed without a change of a document. */
void cfg_store_changed(struct cfg_store *store);
/* True: everything is published and acknowledged by all workers, and no change waits. */
bool cfg_store_is_settled(const struct cfg_store *store);
bool cfg_store_is_idle(const struct cfg_store *store);
/* All workers use what was published last. */
void cfg_store_acknowledged(struct cfg_store *store);

/* --- The cluster. --- */

/* False: the gateway is in a cluster and has not seen its decisions yet; it may not serve. */
bool cfg_store_is_synced(const struct cfg_store *store);
/* False: changes are refused at once, because the shared Redis cannot be reached. */
bool cfg_store_takes_changes(const struct cfg_store *store);
bool cfg_store_is_shared(const struct cfg_store *store); /* with other gateways */

/* --- For kinds, seed.c and sync.c. --- */
/* Called once the cluster's decisions are known; if they are, with the loop's next turn. */
void cfg_store_set_sync(struct cfg_store *store, struct cfg_sync *sync);
typedef int cfg_seed_fn(struct cfg_store *store, json_t *seed);
void cfg_store_set_seed(struct cfg_store *store, json_t *seed, cfg_seed_fn *take);
/* Queues the cluster's versions, ahead of all changes that have not begun; takes ownership of
 * `edits` and their documents. PS_E_NOMEM: `done` will not come. */
int cfg_store_take(struct cfg_store *store, struct cfg_edit *edits, size_t count, cfg_done_fn *done,
                   void *ctx) PS_MUST_CHECK;
/* Changes that wait for the cluster may continue. */
void cfg_store_go_on(struct cfg_store *store);
/* The revision that the cluster has given. */
void cfg_store_reach(struct cfg_store *store, int64_t revision);
/* This gateway's documents, deletions too: the first of the kind behind a name, or of the next
 * kinds; NULL: no more. */
const struct cfg_doc *cfg_store_next_kept(const struct cfg_store *store,
                                          const struct cfg_kind *kind, const char *name);

#endif
