/* What operators decide on this gateway, and in a cluster on all: one store of versioned documents
 * (document.h), whatever their kind. The control thread keeps the versions in force in memory and
 * answers reads from it; control.db has them with their history (writer.h); Redis has those of a
 * cluster (sync.h); whoever is told of what came into force makes workers go by it.
 *
 * A change goes this way, one at a time (later ones queue):
 *   it is made of documents that are validated against what there is -> in a cluster, Redis
 *   compares the versions -> the writer commits it with its audit line -> it is in memory -> a new
 *   snapshot goes to every worker -> all have acknowledged -> `done`: now it is durable and in
 *   force, and may be answered.
 * What other gateways have decided goes the same way, before the changes that have not begun.
 *
 * One thread: control. */
#ifndef CFG_STORE_H
#define CFG_STORE_H

#include "gateway/config/store/document.h"
#include "gateway/config/store/writer.h"

struct cfg_change;
struct cfg_sync;

struct cfg_store_callbacks {
    void *ctx;
    /* Make every worker go by what is in force, all changes up to this revision;
     * cfg_store_acknowledged follows when all do. PS_E_NOMEM: it comes again with
     * cfg_store_changed. */
    int (*publish)(void *ctx, int64_t revision);
    /* A version of a document is in force; `to` is a deletion (parsed is NULL) or NULL when it is
     * gone; `from` is NULL where there was none. Comes before its publication. PS_E_NOMEM. */
    int (*in_force)(void *ctx, const struct cfg_doc *from, const struct cfg_doc *to);
    /* A change of a sale's document waits or is being written; it came into force, or did not. (Of
     * a sale that comes into force, ask cfg_store_changes_behind: they have waited before it.) */
    void (*on_changing)(void *ctx, const char *sale, bool changing);
    /* The order log has, or may have, records of the sale: its stock is fixed. */
    bool (*sale_is_used)(void *ctx, const char *sale);
    /* Used, but nobody misses it: it may be deleted (sale_is_forgettable). */
    bool (*sale_is_forgettable)(void *ctx, const char *sale);
};

/* How many of on_changing's changes of the sale wait behind the one that is coming into force. */
size_t cfg_store_changes_behind(const struct cfg_store *store, const char *sale);

/* --- Life. --- */

/* Opens control.db and loads all. Errors as cfg_db_open. */
int cfg_store_open(const struct cfg_writer_settings *settings, struct cfg_store **ret_store,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* What documents may name from now on; borrowed. Without it: anything. */
void cfg_store_set_bounds(struct cfg_store *store, const struct cfg_bounds *bounds);
const struct cfg_bounds *cfg_store_bounds(const struct cfg_store *store);
/* in_force comes for each document; `publish` does not. PS_E_NOMEM. */
int cfg_store_start(struct cfg_store *store,
                    const struct cfg_store_callbacks *callbacks) PS_MUST_CHECK;
/* Ends the writer, which does what it has taken, and the timers; the loop must turn once more
 * before cfg_store_free. */
void cfg_store_close(struct cfg_store *store);
void cfg_store_free(struct cfg_store *store); /* what is under way ends with PS_E_CLOSED */
/* The mail of the writer. */
void cfg_store_mail(struct cfg_store *store, const struct ps_mail *mail);
/* Now and then: takes what has ended out of memory. */
void cfg_store_tick(struct cfg_store *store);

/* --- Reading. --- */

/* The version in force, or NULL: there is none, it is deleted, or it has ended. Valid until the
 * handler of the loop's event returns or a change is submitted. */
const struct cfg_doc *cfg_store_find(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const char *name);
/* The same, also of a deletion. */
const struct cfg_doc *cfg_store_last(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const char *name);
/* The documents in force by name: the first one (`after` NULL), the one behind; NULL: no more. */
const struct cfg_doc *cfg_store_next(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const struct cfg_doc *after);
/* The first one behind a name. */
const struct cfg_doc *cfg_store_behind(const struct cfg_store *store, const struct cfg_kind *kind,
                                       const char *name);
size_t cfg_store_count(const struct cfg_store *store, const struct cfg_kind *kind);
/* Of the newest change that is in force here. */
int64_t cfg_store_revision(const struct cfg_store *store);
/* All changes up to this revision are in force here. It is lower while changes of other gateways
 * from between are still on their way. */
int64_t cfg_store_complete(const struct cfg_store *store);
const struct ps_clock *cfg_store_clock(const struct cfg_store *store);
bool cfg_store_sale_is_used(const struct cfg_store *store, const char *sale);
bool cfg_store_sale_is_forgettable(const struct cfg_store *store, const char *sale);
/* What is in force is not yet acknowledged by all. */
bool cfg_store_is_publishing(const struct cfg_store *store);

/* --- Changing. --- */

/* err 0: durable and in force. Else nothing has changed here: PS_E_CONFLICT (a version; in a
 * cluster the newer one is taken over), or the writer's error; `fault` says more. With a path of
 * CFG_SYNC_PATH it is Redis that did not take it, or (PS_E_UNKNOWN) did not say so. */
typedef void cfg_done_fn(int err, const struct ps_fault *fault, void *ctx);

/* An empty one. `author` is copied; an action of "" becomes that of its document. NULL: out of
 * memory. */
struct cfg_change *cfg_change_new(struct cfg_store *store, const struct cfg_author *author);
/* The same by the gateway itself, at this moment: `who` stands for it. */
struct cfg_change *cfg_change_own(struct cfg_store *store, const char *who, const char *action);
void cfg_change_free(struct cfg_change *change); /* not submitted; NULL is allowed */

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
/* The same of a deletion. PS_E_NOT_FOUND. */
int cfg_change_drop(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                    const char *pointer, enum cfg_refusal *ret_refusal,
                    struct ps_faults *faults) PS_MUST_CHECK;
/* When all is added: do its documents fit together, and to what will be in force beside them?
 * PS_E_INVALID: one names what there is not, or takes what another one takes; PS_E_CONFLICT with
 * CFG_IN_USE: others name what is deleted; PS_E_NOMEM. `point` says where a document stands; NULL:
 * nowhere (""). */
typedef void cfg_point_fn(const struct cfg_doc *doc, char ret_pointer[192]);
int cfg_change_check(const struct cfg_change *change, cfg_point_fn *point,
                     enum cfg_refusal *ret_refusal, struct ps_faults *faults) PS_MUST_CHECK;
/* The same document in another state. PS_E_NOT_FOUND. */
int cfg_change_state(struct cfg_change *change, const struct cfg_kind *kind, const char *name,
                     const json_t *state) PS_MUST_CHECK;
/* The documents added: the i-th, and the one that it replaces (NULL: none). NULL: no more. */
const struct cfg_doc *cfg_change_doc(const struct cfg_change *change, size_t i,
                                     const struct cfg_doc **ret_from);
/* A private file to replace with it. PS_E_NOMEM. */
int cfg_change_file(struct cfg_change *change, const char *path, const char *text) PS_MUST_CHECK;
/* What its audit line says, in the place of the documents before and after; takes `from` and `to`
 * over (NULL: null). `target` is copied. */
void cfg_change_line(struct cfg_change *change, const char *target, json_t *from, json_t *to);

/* What its audit line is about, where it has several documents; copied. */
void cfg_change_about(struct cfg_change *change, const char *target);

/* Takes the change over in every case. 0: `done` (may be NULL) comes once, later. Refused: it does
 * not. */
int cfg_change_submit(struct cfg_change *change, cfg_done_fn *done, void *ctx) PS_MUST_CHECK;

/* What is known of a document's versions (cfg_db_history); `done` owns `history`. PS_E_FULL,
 * PS_E_NOMEM: it does not come. */
typedef void cfg_history_fn(int err, json_t *history, const struct ps_fault *fault, void *ctx);
int cfg_store_history(struct cfg_store *store, const struct cfg_kind *kind, const char *name,
                      int64_t version, cfg_history_fn *done, void *ctx) PS_MUST_CHECK;
/* The same of all documents of these kinds ("": all kinds; at most CFG_NAME_MAX bytes): as they
 * were at a revision (cfg_db_at_revision), or the changes there were (0: cfg_db_revisions). */
int cfg_store_past(struct cfg_store *store, const char *kinds, int64_t revision,
                   cfg_history_fn *done, void *ctx) PS_MUST_CHECK;

/* --- Publishing. --- */

/* What workers go by has changed without a document: publish again. */
void cfg_store_changed(struct cfg_store *store);
/* Is what has changed published, and acknowledged by all? Is no change waiting either? */
bool cfg_store_is_settled(const struct cfg_store *store);
bool cfg_store_is_idle(const struct cfg_store *store);
/* All workers go by what was published last. */
void cfg_store_acknowledged(struct cfg_store *store);

/* --- The cluster. --- */

/* False: the gateway is in a cluster and has not seen its decisions yet; it may not serve. */
bool cfg_store_is_synced(const struct cfg_store *store);
/* False: changes are refused at once, for the Redis that they are shared through is away. */
bool cfg_store_takes_changes(const struct cfg_store *store);
bool cfg_store_is_shared(const struct cfg_store *store); /* with other gateways */

/* --- For kinds, seed.c and sync.c. --- */
/* Called when the cluster's decisions are known first, or with the next turn if they are. */
void cfg_store_set_sync(struct cfg_store *store, struct cfg_sync *sync);
typedef int cfg_seed_fn(struct cfg_store *store, json_t *seed);
void cfg_store_set_seed(struct cfg_store *store, json_t *seed, cfg_seed_fn *take);
/* Queues what the cluster has, before all changes that have not begun; `edits` and their documents
 * are taken over. PS_E_NOMEM: `done` will not come. */
int cfg_store_take(struct cfg_store *store, struct cfg_edit *edits, size_t count, cfg_done_fn *done,
                   void *ctx) PS_MUST_CHECK;
/* Changes that wait for the cluster may go on. */
void cfg_store_go_on(struct cfg_store *store);
/* The revision that the cluster has given. */
void cfg_store_reach(struct cfg_store *store, int64_t revision);
/* What this gateway keeps, deletions too: the first one of the kind behind a name, or of the kinds
 * after it; NULL: no more. */
const struct cfg_doc *cfg_store_next_kept(const struct cfg_store *store,
                                          const struct cfg_kind *kind, const char *name);

#endif
