/* The order log: one interface, a written contract, three backends: the SQLite journal, Kafka, and
 * Kafka with a spill file beside it.
 *
 * Contract (tests/contract/log_test.c and log_faults_test.c run it on every backend):
 *  - append takes a copy and returns at once; from any thread, no lock, no wait. 0: its outcome is
 *    reported exactly once, on the log's thread. Negative: nothing was submitted and no outcome
 *    comes (PS_E_FULL: the queue is full, shed; PS_E_CLOSED: the log is away or closed;
 *    PS_E_INVALID: not a valid event).
 *  - LANDED: the record is durable, and on_record has been called for it before. REFUSED: it is
 *    surely not in the log and never will be. UNKNOWN: it may be there or appear later. SPILLED: it
 *    waits durably on this machine alone and goes to the log later.
 *  - what is UNKNOWN or SPILLED is closed by a record that the log writes by itself; on_record
 * shows its outcome. The journal writes released{rejected} for each accepted (or lowering)
 *    record of unknown outcome; Kafka sends the same record again, or released{rejected} when its
 *    epoch is over. The log is away until these records have landed; the fold then decides.
 *  - a record that Kafka did not acknowledge in time, or of a producer that ended, may stand in the
 *    log twice, word for word: the broker may take in the first after the second was sent. The
 *    fold counts one.
 *  - on_record sees every record of the log exactly once a run, within a partition in order, those
 *    read back at start first, and only when they are durable; `seq` rises strictly within a
 *    partition and is at least 1.
 *  - records of one partition appended by one thread land in the order of the calls, unless one was
 *    refused, unknown or spilled.
 *  - a log that is away says so (oq_log_available, oq_log_view, on_state), tries by itself, and
 *    continues without a restart.
 * Nobody has to know which backend it is: what differs between them is in oq_log_view and
 * oq_log_stats. */
#ifndef OQ_LOG_H
#define OQ_LOG_H

#include "common/breaker.h"
#include "common/err.h"
#include "common/metrics/metrics.h"
#include "queue/event.h"
#include "queue/log_mark.h"

struct oq_log;
struct oq_reader;
struct oq_sale_marks;

enum oq_outcome { OQ_LANDED, OQ_REFUSED, OQ_UNKNOWN, OQ_SPILLED };

/* The owner of an outcome: opaque to the log. */
#define OQ_OWNER_MAX (UINT32_MAX - 1) /* larger ones are the log's own records */
struct oq_ticket {
    uint32_t owner; /* up to OQ_OWNER_MAX */
    uint32_t kind;
    uint64_t handle;
    /* Set by the log, on a clock of oq_now_ns: since when the record is durable; 0: not known. */
    int64_t durable_ns;
};

/* All on the log's thread (during the journal's read-back at start: on the opening thread). They
 * must not block; they may append. Events are borrowed for the call. `seq` of an outcome that is
 * not LANDED is 0. */
struct oq_log_callbacks {
    void (*on_record)(uint32_t partition, int64_t seq, const struct oq_event *event, void *ctx);
    void (*on_outcome)(const struct oq_ticket *ticket, const struct oq_event *event,
                       enum oq_outcome outcome, int64_t seq, void *ctx);
    /* Only for a log that is opened with marks: called once, before the first on_record. `fits`:
     * the log begins with the marked records, and only what follows them comes; the others count as
     * read, and `sales` (NULL: the log needs none) must get what they say about the sales
     * (oq_sale_marks_take). Else everything comes, and `why` is a sentence. A negative value ends
     * it: PS_E_NOMEM. */
    int (*on_marks)(bool fits, const char *why, struct oq_sale_marks *sales, void *ctx);
    /* Called when it changes, or when another kind of error keeps the log away; a log opens
     * available. `why` is a sentence, "" when available. May be NULL. */
    void (*on_state)(bool available, const char *why, void *ctx);
    /* A notice for operators although the log works: a record that is no event, a risky setting of
     * the topic. A sentence; may come often. May be NULL. */
    void (*on_notice)(const char *text, void *ctx);
    void *ctx;
};

enum oq_log_state {
    OQ_LOG_WELL,   /* accepts every record */
    OQ_LOG_AWAY,   /* accepts none, or, with a spill, accepted ones: Kafka or the disk fails, or
                      records of unknown outcome are being closed. It recovers by itself */
    OQ_LOG_BEHIND, /* accepts none: records are written, but not read back in time */
    OQ_LOG_CLOSED  /* accepts none, and on_record has not shown all of it: it was not read up to its
                      end since it was opened, or is closed, or its topic does not hold what was read
                      from it */
};

struct oq_log_view {
    enum oq_log_state state;
    bool available; /* accepts accepted records now: WELL, or AWAY with room in its spill */
    /* A record that on_record has not shown is not in the log, except for the last moments. False:
     * others may have appended records that are unknown here. The journal, which nobody else
     * writes, is current also while it is away. */
    bool current;
    /* Other processes append to it too, a record is read back some time after it was sent, and the
     * service that keeps it may delete old records. */
    bool shared;
    uint32_t partitions; /* now: at least 1. Never decreases */
    uint64_t spilled;    /* orders that wait on this machine alone; 0 without a spill */
    /* A moment of the system's monotonic clock: all that the log had then, whoever wrote it, has
     * gone through on_record. 0 = none yet. A log that is WELL follows the present by less than a
     * second; the journal's stands still from a commit of unknown outcome until it is closed. */
    int64_t reached_ns;
    /* Its identity, the same for all who share it: "topic T of Kafka cluster C". Lives as long as
     * the log. NULL: unknown, since Kafka has not been reached yet. */
    const char *name;
};
#define OQ_LOG_NAME_MAX 360

/* Figures that a backend does not have are 0. */
struct oq_log_stats {
    uint64_t appended, landed, refused, unknown, spilled; /* records; appended ones may wait */
    /* The journal's transactions. Kafka: groups of own records that were read back, from handing
     * over the oldest; failures: records that were not acknowledged. */
    uint64_t commits, commit_failures;
    const struct ps_durations *commit_durations; /* of the commits; lives as long as the log */
    uint64_t backlog;                            /* records waiting now */
    uint64_t backlog_max;
    /* Of a shared log. */
    uint64_t foreign;   /* records that are no events */
    uint64_t resent;    /* records sent again */
    uint64_t producers; /* recreated after a fatal error */
    uint64_t in_flight; /* records sent and not read back, now */
    uint64_t lag;       /* records of all partitions not read yet, at the last look */
    uint64_t sent_bytes, received_bytes; /* by the producer */
    int64_t round_trip_ns; /* the slowest broker's 99th percentile of the last seconds */
};

/* Appends to the partition of the record's key. In a log of several partitions, a sale's fence must
 * have been read back from partition 0 before records of the sale are appended: it says how many
 * partitions the sale's keys are spread over, forever. */
int oq_log_append(struct oq_log *log, const struct oq_event *event,
                  const struct oq_ticket *ticket) PS_MUST_CHECK;
/* Appends to this partition: for fences, which belong into each. PS_E_INVALID: there is no such
 * partition. */
int oq_log_append_to(struct oq_log *log, uint32_t partition, const struct oq_event *event,
                     const struct oq_ticket *ticket) PS_MUST_CHECK;
/* The partition of a record's key among this many (at least 1). */
uint32_t oq_log_partition_of(struct ps_str key, uint32_t partitions);
/* The log's present state: some 50 ns. Relaxed, any thread. */
void oq_log_view(const struct oq_log *log, struct oq_log_view *ret_view);
/* Only the partitions of the view: some 2 ns, for each request. */
uint32_t oq_log_partitions(const struct oq_log *log);
bool oq_log_available(const struct oq_log *log);
/* How full the input queue is, 0..100 percent. Relaxed, any thread. */
unsigned oq_log_backlog_percent(const struct oq_log *log);
/* The circuit breaker of a log that another process keeps, some 100 ms old at most. False: no other
 * process keeps it, and it has no breaker. Any thread. */
bool oq_log_breaker(const struct oq_log *log, struct ps_breaker_view *ret_view);
/* In force when oq_log_breaker shows an order with this id. Forced open, the log is AWAY. Does
 * nothing for a log without a breaker. One thread. */
void oq_log_force(struct oq_log *log, const struct ps_breaker_force *force);
/* Relaxed, any thread. */
void oq_log_stats(const struct oq_log *log, struct oq_log_stats *ret_stats);
/* Runs `fn` once on the log's thread between two batches: everything landed has been folded,
 * nothing is half done; what this thread appended before has its outcome. Also while the log is
 * away. Any thread. PS_E_FULL, PS_E_CLOSED: it will not run. */
int oq_log_call(struct oq_log *log, void (*fn)(void *arg), void *arg) PS_MUST_CHECK;
/* The last record of the partition that on_record has shown, or that is no event (at `seq` of the
 * mark): a log that begins with it holds everything that on_record has shown. On the log's thread,
 * in a call. PS_E_NOT_FOUND: none was read, or the log keeps no marks. PS_E_BUSY: not now, since
 * the log must read the marked records again: orders are in its spill. */
int oq_log_mark(const struct oq_log *log, uint32_t partition,
                struct oq_mark *ret_mark) PS_MUST_CHECK;
/* Accepts nothing more, finishes what was accepted, ends the thread. What is not finished after
 * `timeout_ms` is REFUSED, or UNKNOWN if it may have been sent. PS_E_TIMEOUT: a write to the disk
 * hangs; the log must be left alone (oq_log_free then does nothing) and the process should end. Not
 * from a callback. */
int oq_log_close(struct oq_log *log, int64_t timeout_ms) PS_MUST_CHECK;
void oq_log_free(struct oq_log *log); /* closed before; NULL is allowed */

/* --- Reading by place, from any thread, beside the running log (one reader, one thread at a time;
 * it blocks on the disk or on Kafka). ---
 *
 * By places (event.h): one pass over the places gives the whole log, each partition in its order.
 * To follow a log of several partitions, keep a place for each and read one partition at a time
 * (oq_place(partition, last seq), stopping before the first record of the next partition). */
int oq_log_reader_new(struct oq_log *log, struct oq_reader **ret_reader) PS_MUST_CHECK;
typedef int oq_read_fn(int64_t place, struct ps_str json, void *ctx);
struct oq_read {
    int64_t after;    /* a place */
    size_t limit;     /* 1..1,000 records */
    const char *sale; /* NULL = all */
    /* Return 0 to continue, a positive value to stop before this record; the read returns a
     * negative value. */
    oq_read_fn *fn;
    void *ctx;
};

/* Passes up to `limit` records with place > after, of one sale, to `fn` as encoded JSON; examines
 * no more than 1,000 records in a call. *ret_last = the last place examined: the `after` of the
 * next call; the end of the log is reached when it equals `after` although fn did not stop.
 * PS_E_IO, PS_E_CORRUPT, PS_E_BUSY; for Kafka also PS_E_TIMEOUT, and PS_E_NOT_FOUND if records
 * right after `after` are gone (retention): oq_reader_why says which. */
int oq_reader_read(struct oq_reader *reader, const struct oq_read *read,
                   int64_t *ret_last) PS_MUST_CHECK;
/* Details of a read's last error; "" = none. Valid until the next read. */
const char *oq_reader_why(const struct oq_reader *reader);
void oq_reader_free(struct oq_reader *reader); /* NULL is allowed */

#endif
