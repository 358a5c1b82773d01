/* What the files of the store share: memory.c (documents in memory), change.c (building a change)
 * and store.c (the steps of a change). */
#ifndef CFG_STORE_INTERNAL_H
#define CFG_STORE_INTERNAL_H

#include "common/heap.h"
#include "gateway/config/store/audit_log.h"
#include "gateway/config/store/store.h"

#define CFG_KINDS_MAX 20
/* Documents that have ended and are removed with one change. */
#define CFG_ENDED_MAX 1000

/* The documents of a kind by name, deletions too: a sorted list, with binary search. */
struct cfg_map {
    struct cfg_doc **at;
    size_t count, room;
    size_t live; /* documents that are not deleted */
};

/* The step that a change has reached. */
enum cfg_step {
    CFG_STEP_WAITING, /* for its turn, or for the cluster's copy */
    CFG_STEP_SHARING, /* Redis compares its versions */
    CFG_STEP_WRITING, /* the writer has it */
    CFG_STEP_WRITTEN  /* in memory; its publication is under way */
};

struct cfg_change {
    struct cfg_job job; /* first member: the writer mails it back */
    struct cfg_store *store;
    struct cfg_author by;
    char who[PS_NAME_MAX + 1], peer[46], action[32], why[CFG_WHY_SIZE];
    size_t room;                    /* for edits */
    char target[CFG_NAME_MAX + 64]; /* of the audit line; "": that of its documents */
    json_t *from, *to;
    bool passes_holds; /* it deletes what its run holds */
    bool has_line;     /* from and to were set */
    cfg_done_fn *done;
    void *ctx;
    enum cfg_step step;
    bool is_taken; /* made by another gateway */
    bool shared;   /* the cluster has it */
    int refused; /* the cluster had a newer version: reported when that version is in force here */
    STAILQ_ENTRY(cfg_change) next;
};

struct cfg_history {
    struct cfg_job job; /* first */
    cfg_history_fn *done;
    void *ctx;
    LIST_ENTRY(cfg_history) next;
};

struct cfg_store {
    struct cfg_store_callbacks callbacks;
    const struct cfg_bounds *bounds;
    const struct ps_clock *clock;
    struct cfg_writer *writer;
    const struct cfg_kind *const *kinds;
    struct cfg_map maps[CFG_KINDS_MAX]; /* by kinds */
    struct ps_heap *ends;               /* when documents end; value: a struct cfg_ended */
    struct cfg_ended_list ended;        /* removed from memory, not yet from control.db */
    struct ps_steady steady;            /* the wall clock */
    int64_t rest_ms;                    /* nothing is removed for so long after a jump of it */
    bool has_forgotten;                 /* cfg_db_forget_old was done in this run */
    int64_t revision;
    bool is_own_change; /* the one that comes into force */
    bool dirty;         /* documents have changed since the last publication */
    bool publishing;    /* not yet acknowledged */
    STAILQ_HEAD(cfg_changes, cfg_change) changes;
    LIST_HEAD(, cfg_history) looks;
    struct cfg_sync *sync; /* NULL: this gateway is in no cluster */
    json_t *seed;          /* waits for the cluster's documents; NULL: none */
    cfg_seed_fn *take_seed;
};

struct cfg_map *cfg_store_map(const struct cfg_store *store, const struct cfg_kind *kind);
int cfg_map_make_room(struct cfg_map *map, size_t more) PS_MUST_CHECK;
/* Inserts the document and returns the one that it replaces, or NULL. There must be room. */
struct cfg_doc *cfg_map_put(struct cfg_map *map, struct cfg_doc *doc);
struct cfg_doc *cfg_map_remove(struct cfg_map *map, const char *name); /* NULL: not found */
/* True if it is neither deleted nor ended. */
bool cfg_store_is_in_force(const struct cfg_store *store, const struct cfg_doc *doc);

/* change.c: makes the audit line when the change's turn comes; none if the change only renews.
 * PS_E_NOMEM. */
int cfg_change_write_line(struct cfg_change *change) PS_MUST_CHECK;
/* Adds an edit; takes ownership also on failure. PS_E_NOMEM. */
int cfg_change_add(struct cfg_change *change, struct cfg_edit edit) PS_MUST_CHECK;

/* ends.c. Notes when the document ends. Without memory the next start notes it. */
void cfg_store_watch_end(struct cfg_store *store, const struct cfg_doc *doc);
/* The audit line of a document that ended, or was deleted with another. Without memory there is no
 * line. */
void cfg_store_say_end(struct cfg_store *store, const struct cfg_doc *doc, const char *who,
                       const char *action);
/* This change also removes ended documents from control.db and from Redis. */
void cfg_change_add_ended(struct cfg_change *change);
/* A version of a document is in force, or (`to` NULL) it has ended: calls the callbacks.
 * PS_E_NOMEM. */
int cfg_store_tell(struct cfg_store *store, const struct cfg_doc *from, const struct cfg_doc *to);

#endif
