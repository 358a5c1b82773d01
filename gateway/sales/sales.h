/* One sale's life on this gateway: from the operators' documents to counters that workers sell
 * from, and through every loss of those counters. One state machine for both deployments: a counter
 * of this process alone is a cluster of one, which always leads, attaches to no other's counters
 * and loads on the log's thread.
 *
 * sales/ knows nothing of how documents are kept, shared or published: it asks its host and reports
 * to it. It stands above cluster/, config/, inventory/ and queue/, and below orders/ and admin/.
 *
 * All on the control thread unless said otherwise. */
#ifndef SALE_SALES_H
#define SALE_SALES_H

#include "common/clock.h"
#include "common/program/mailbox.h"
#include "common/metrics/metrics.h"
#include "gateway/config/kinds/sale_doc.h"
#include "inventory/store.h"
#include "queue/fold.h"
#include "queue/log.h"

struct clu_cluster;
struct sale_runs; /* all sales of this gateway */
struct sale_run;  /* one sale; lives as long as sale_runs */

/* --- What the host ties (gateway/control.c): how documents are kept and published. --- */

/* A sale as operators have decided it. Borrowed until the callback's caller returns to the loop. */
struct sale_decided {
    const struct cfg_sale_doc *doc;
    const struct cfg_sale_state *state;
    /* No change of it is being written, and it is the newest version that the cluster is known to
     * have: its stock may go into the log. */
    bool settled;
    bool shared; /* several gateways decide: an opening is noted before its first record */
};

struct sale_host {
    /* False: there is no such sale. */
    bool (*decided)(const char *name, struct sale_decided *ret_decided, void *ctx);
    /* Writes a note; sale_noted is the answer, once, maybe before this returns. Fails if the sale's
     * version is not the newest of the cluster. If no other gateway shares the decisions, it is
     * noted at once. */
    void (*note)(const char *name, enum cfg_sale_note note, void *ctx);
    /* What sale_view returns for a sale has changed: workers need it. */
    void (*changed)(const char *name, void *ctx);
    void *ctx;
};

/* --- How far a sale is. --- */

enum sale_state {
    /* Not in the log yet: its opening is not near, or an attempt has failed and will be repeated.
     * Also an opened sale that was not checked yet. */
    SALE_WAITING,
    /* Opened, by this gateway or another: waits until this gateway's view of the log must include
     * the sale's beginning. */
    SALE_CHECKING,
    /* Opened, and this gateway has no counters in force. It takes up what another gateway has
     * installed; else it rebuilds the counters. */
    SALE_FENCED,
    /* A build begins: asks for what Redis has installed, then for the lock that keeps two gateways
     * from building at once. */
    SALE_CLAIMING,
    /* An opening: waits until every gateway knows that the document's stock is fixed. */
    SALE_NOTING_OPENING,
    /* A rebuild: other gateways have a moment to bring what they have in progress into the log. */
    SALE_DRAINING_PEERS,
    /* Waits until this gateway's view shows its fence in every partition. */
    SALE_FENCING,
    /* An opening: waits until the view shows the initial stock. */
    SALE_STOCKING,
    /* An opening: waits until the document's state says `opened`. */
    SALE_NOTING_OPENED,
    /* Another thread counts from the fold and installs. */
    SALE_LOADING,
    /* Redis did not say whether it has installed the load: waits until Redis shows it, or a second
     * has passed. */
    SALE_VERIFYING_INSTALL,
    /* Workers sell from counters of the epoch in force. */
    SALE_SERVING,
    /* For good: the log has lost the sale's beginning or has other SKUs than its document, or
     * another gateway counts it. Never opened, never rebuilt. */
    SALE_REFUSED,
    /* For good: the log has its sale.archived. It has no orders and no counters any more; its
     * archive has its orders. */
    SALE_ARCHIVED
};

struct sale_view {
    enum sale_state state;
    struct oq_sale *log_sale; /* NULL until the log has a record of it */
    struct inv_sale *counter; /* NULL until it was first served; then the last one installed */
    int64_t epoch;            /* of `counter` */
    char refused_why[256];    /* with SALE_REFUSED: a sentence */
};

/* --- All sales. --- */

struct sale_settings {
    const struct ps_clock *clock;
    const char *gateway_id;
    struct inv_store *store; /* the control thread's */
    struct oq_fold *fold;
    struct ps_metrics *metrics;
    struct ps_mailbox *mailbox; /* the control thread's: mail of this kind must go to sale_mail */
    uint32_t mail_kind;
    uint32_t owner; /* of this thread's tickets */
    /* Sales that are over; see archive.c. Strings are borrowed. */
    struct {
        const char *dir;     /* NULL: nothing is archived */
        bool make_dir;       /* it may be created */
        const char *key;     /* the file of the archives' key */
        const char *command; /* run with each archive; NULL = none */
        int64_t after_ms;    /* how long a sale must be over */
        int64_t rest_ms;     /* and seem to be so by a clock that goes on evenly */
    } archive;
    int64_t expiry_rest_ms;     /* nothing expires so long after a jump of the wall clock */
    bool (*is_calm)(void *ctx); /* may work that can wait be done now? NULL: always */
    void *ctx;
};

/* Call it before the log is opened, because its records go through sale_on_record. PS_E_NOMEM. */
int sale_runs_new(const struct sale_settings *settings, struct sale_runs **ret_runs) PS_MUST_CHECK;
/* Call it once the log is open: from now on sale_known and all calls about a run are allowed. */
void sale_runs_open(struct sale_runs *runs, struct oq_log *log, struct clu_cluster *cluster);
/* Call it once the host can answer, before the first tick. */
void sale_runs_start(struct sale_runs *runs, const struct sale_host *host);
/* Nothing is sent or built after this; call it before the control thread's store is freed. Waits
 * for a load in progress (at most as long as Redis's deadlines). NULL is allowed. */
void sale_runs_stop(struct sale_runs *runs);
/* Call it after the log is freed. NULL is allowed. */
void sale_runs_free(struct sale_runs *runs);

/* Each 100 ms: advances every sale, the cluster's heartbeat and lease, and expiries. */
void sale_tick(struct sale_runs *runs);
/* Without waiting for the next tick: advances one sale after its document has changed, or all when
 * the log accepts records again. */
void sale_go_on(struct sale_run *run);
void sale_go_on_all(struct sale_runs *runs);
/* Mail of `mail_kind`. */
void sale_mail(struct sale_runs *runs, const struct ps_mail *mail);
/* The outcome of a record with a ticket of the kind SALE_TICKET. */
#define SALE_TICKET 1
void sale_outcome(struct sale_runs *runs, uint64_t handle, enum oq_outcome outcome);
/* The answer to the host's `note`. */
void sale_noted(struct sale_runs *runs, const char *name, enum cfg_sale_note note, bool noted);
/* A store has found that a sale's epoch is not in force in Redis: checks it now. Any thread. */
void sale_on_fenced(struct sale_runs *runs);

/* Adds a sale that the host has a document of. NULL: out of memory. */
struct sale_run *sale_known(struct sale_runs *runs, const char *name);
/* Its document has changed, or is deleted: the next tick checks it. */
void sale_document_changed(struct sale_run *run);
/* Changes only between two events; valid as long as the run. */
const struct sale_view *sale_view(const struct sale_run *run);
/* Must its document keep stock and SKUs? The sale's records are in the log or may be, or another
 * gateway has begun to write them. */
bool sale_is_fixed(const struct sale_run *run, const struct cfg_sale_state *state);
/* Opened, over, settled for a while, and the log never had an order of it: it may be deleted. */
bool sale_is_forgettable(const struct sale_run *run, const struct cfg_sale_doc *doc,
                         const struct cfg_sale_state *state);
/* It was opened, and its counters are unknown here, as after a start without Redis: an order that
 * the log does not show may be in doubt there, or be in this gateway's spill. */
bool sale_is_unserved(const struct sale_run *run, const struct cfg_sale_state *state);

/* Drops a rehearsal without an archive: from now on until it is archived. PS_E_BUSY: the log
 * accepts no records now, or the sale is just being opened. */
int sale_discard(struct sale_run *run) PS_MUST_CHECK;
/* Why an archive that is due, or in progress, is not made; "" = no reason. */
const char *sale_archive_trouble(const struct sale_run *run);
/* Is it over for so long that it may be archived at any moment? Then nothing more may be written to
 * it. */
bool sale_is_archiving(const struct sale_run *run);

/* Does Redis have units of it in doubt, by its last answer within the last moments, or is that
 * unknown? For a shared counter only. */
bool sale_has_doubts(const struct sale_run *run, const struct cfg_sale_state *state);

/* The start is over: the log is read, and each sale that should be served is served, refused, or
 * known to wait for its counters. */
bool sale_all_settled(struct sale_runs *runs);
/* Logs the sales that the log has and the host does not. */
void sale_report_unknown(const struct sale_runs *runs);

/* Does the counter in Redis have everything that the log has decided up to `seq` of each partition,
 * except accepted orders, as far as this gateway has read it and Redis has acknowledged it? */
bool sale_has_applied(struct sale_run *run, const int64_t *seq);
/* Rebuilds a sale's counters from the log, under a new epoch: buyers get `fenced` meanwhile. False:
 * it is not served now. `why` is for the program's log. */
bool sale_count_anew(struct sale_run *run, const char *why);

struct sale_numbers {
    size_t fenced;  /* opened sales that cannot sell now */
    size_t effects; /* decided by the log, and not yet known to be in Redis */
};
struct sale_numbers sale_numbers(const struct sale_runs *runs);
struct sale_units {
    int64_t left, held, confirmed; /* of all its SKUs; `held` includes what is in doubt */
};
/* Open and paused sales whose counters this gateway has, by name, at most this many. */
void sale_each_open(const struct sale_runs *runs, size_t most,
                    void (*fn)(const char *name, const struct sale_units *units, void *ctx),
                    void *ctx);
/* Sales that were refused. Any thread. */
unsigned sale_refused(const struct sale_runs *runs);

/* --- The log's thread. --- */

/* For a checkpoint of the fold: what else this start has learnt from the log so far. The caller
 * frees *ret_notes. PS_E_NOMEM. */
int sale_get_notes(struct sale_runs *runs, char **ret_notes, size_t *ret_len) PS_MUST_CHECK;
/* Can this start use the notes? PS_E_INVALID: its counter is in Redis, and a start with a counter
 * in memory wrote them, which does not know what Redis lacks. PS_E_CORRUPT. Any thread. */
int sale_check_notes(const struct sale_runs *runs, struct ps_str notes) PS_MUST_CHECK;
/* The fold was filled from a checkpoint with these notes, before any record. PS_E_NOMEM;
 * PS_E_CORRUPT: they belong to another fold. */
int sale_on_restored(struct sale_runs *runs, struct ps_str notes) PS_MUST_CHECK;
/* The fold has taken a record and returned what changed: reports it to the counter, at once or (in
 * Redis) by way of the control thread. PS_E_NOMEM: the report was lost. */
int sale_on_record(struct sale_runs *runs, uint32_t partition, int64_t seq,
                   const struct oq_event *event, const struct oq_change *change) PS_MUST_CHECK;
/* The log has definitely refused a record: returns its reservation to a counter in memory. */
void sale_on_refused(struct sale_runs *runs, const struct oq_event *event);

/* --- Any thread. --- */

/* What to report to the counter about an order in that state. */
enum inv_verdict sale_verdict_of(enum oq_state state);
/* Does the log itself accept records now? A spill beside it accepts orders only: no fence,
 * adjustment or release. */
bool sale_log_takes_all(const struct oq_log *log);
/* Appends order.confirmed, or order.released for that reason, of an order that the fold shows. The
 * outcome goes to the ticket's owner. Errors as of oq_log_append. */
int sale_append_confirmed(struct oq_log *log, const struct oq_order *order, struct ps_str by,
                          int64_t at_ms, const struct oq_ticket *ticket) PS_MUST_CHECK;
int sale_append_released(struct oq_log *log, const struct oq_order *order, enum oq_reason reason,
                         int64_t at_ms, const struct oq_ticket *ticket) PS_MUST_CHECK;

#endif
