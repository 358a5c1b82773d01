/* The shop's database, as settlement sees it. Two backends, SQLite and PostgreSQL, and one contract
 * (tests/contract/settle_sink_test.c):
 *  - what a batch of records changes is stored in one transaction together with the positions that
 *    the log was read up to. A transaction begins by moving these positions on, from where they
 *    were when the batch was read; where somebody else has moved them it changes nothing. So each
 *    record counts once, however many workers there are and whenever one of them dies.
 *  - begin locks the positions of its partitions until commit or close: what is looked up
 *    meanwhile about orders of these partitions stays true.
 *  - orders of rehearsals, and what was decided of them, are in tables of their own: whoever reads
 *    `orders` and `penstock_decisions` finds what real buyers have bought, and nothing else.
 *  - decisions are given out to one worker at a time; what was given out and not answered is given
 *    out again after its lease, or when the clock has gone back behind the time at which it was.
 *
 * Errors of all functions: PS_E_IO (also: not reachable), PS_E_BUSY, PS_E_NOMEM, PS_E_READ_ONLY,
 * PS_E_CORRUPT, PS_E_PERMISSION, PS_E_INVALID (the database refuses a statement). `fault` is never
 * NULL. After an error, but for a conflict, the sink is only good for close; the outcome of a
 * failed commit is unknown, and the positions tell. One thread at a time. */
#ifndef ST_SETTLE_SINK_H
#define ST_SETTLE_SINK_H

#include "common/text/traceparent.h"
#include "queue/settle/settle_source.h"

/* Of the tables that --init makes. */
#define ST_SCHEMA_VERSION 3

/* The known state of an order. Void orders never held stock: they are in a table of their own,
 * which does not concern the shop. */
enum st_state { ST_UNKNOWN, ST_ACCEPTED, ST_CONFIRMED, ST_RELEASED, ST_VOID };

/* "accepted" and so on; "" for ST_UNKNOWN and ST_VOID. */
const char *st_state_name(enum st_state state);

/* Partition `partition` was read from `from` to `to`. */
struct st_claim {
    uint32_t partition;
    int64_t from;
    int64_t to;
    uint64_t digest; /* of the record at `to` */
    bool unchecked;  /* that record is gone: there is no digest */
};

struct st_epoch {
    uint32_t partition;
    struct ps_str sale;
    int64_t was; /* 0 = none; look_up fills it in */
    int64_t is;
};

/* One order of the batch. */
struct st_order {
    struct ps_uuid id;
    enum st_state was;         /* look_up fills these in */
    enum oq_reason was_reason; /* of ST_RELEASED */
    enum st_state is;          /* == was: nothing has changed */
    enum oq_reason is_reason;
    bool rehearsal; /* its row is, or will be, in the tables of rehearsals; look_up fills it in */
    int64_t decided_at_ms;                    /* of the record that confirmed or released it */
    char traceparent[PS_TRACEPARENT_LEN + 1]; /* of a known order, "": none; look_up fills it in */
    const struct st_record *first;            /* was ST_UNKNOWN: the record that made it known */
};

/* What look_up fills in: `was` of each. */
struct st_known {
    struct st_epoch *epochs;
    size_t epoch_count;
    struct st_order *orders;
    size_t order_count;
};

struct st_changes {
    const struct st_epoch *epochs;
    size_t epoch_count;
    const struct st_order *orders;
    size_t order_count;
    const struct st_letter *letters;
    size_t letter_count;
    int64_t at_ms;
    bool auto_confirm; /* decide to confirm what is accepted now */
};

struct st_decision {
    char order_id[PS_UUID_LEN + 1]; /* as the shop wrote it */
    bool confirm;                   /* else cancel */
    bool rehearsal;                 /* from the table of rehearsals' decisions */
    bool known;                     /* the order is in the table of orders beside it */
    int64_t tries;                  /* this one included */
    /* the answer */
    const char *result;     /* final; NULL = try again */
    int64_t retry_after_ms; /* then */
    bool unheard;           /* then: no gateway has answered, so this was no try */
};

struct st_sink;

/* "sqlite:FILE", or a connection string of libpq ("postgresql://..."). `make`: a SQLite file that
 * is not there is made. PS_E_INVALID: neither. PS_E_NOT_FOUND: no such file. */
int st_sink_open(const char *database, bool make, struct st_sink **ret_sink,
                 struct ps_fault *fault) PS_MUST_CHECK;
void st_sink_close(struct st_sink *sink); /* NULL is allowed */

/* Makes the tables, unless they are there; those of an older version are brought up to this one.
 * PS_E_NEWER; PS_E_EXISTS: the database has a table of one of these names already, which is none of
 * ours. */
int st_sink_create(struct st_sink *sink, struct ps_fault *fault) PS_MUST_CHECK;
/* PS_E_NOT_FOUND: there are no tables yet, or those of an older version. PS_E_NEWER: a newer
 * version created them. */
int st_sink_check(struct st_sink *sink, struct ps_fault *fault) PS_MUST_CHECK;

/* How far the log `name` was read. A partition is known once it was asked for. */
int st_sink_position(struct st_sink *sink, const char *name, uint32_t partition,
                     struct st_position *ret_position, struct ps_fault *fault) PS_MUST_CHECK;

/* A transaction: begin, look_up, store, commit. Claims are sorted by partition. PS_E_CONFLICT:
 * another worker has read on from there; rolled back. */
int st_sink_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                  size_t count, struct ps_fault *fault) PS_MUST_CHECK;
int st_sink_look_up(struct st_sink *sink, const char *name, const struct st_known *known,
                    struct ps_fault *fault) PS_MUST_CHECK;
int st_sink_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                  struct ps_fault *fault) PS_MUST_CHECK;
int st_sink_commit(struct st_sink *sink, struct ps_fault *fault) PS_MUST_CHECK;

/* Each of these is a transaction of its own. */
/* Decides to confirm all accepted orders that nobody has decided yet, of rehearsals too. */
int st_sink_confirm_all(struct st_sink *sink, struct ps_fault *fault) PS_MUST_CHECK;
/* Takes up to `max` decisions that are due; nobody else gets them for `lease_ms`. */
int st_sink_due(struct st_sink *sink, int64_t lease_ms, struct st_decision *ret_decisions,
                size_t max, size_t *ret_count, struct ps_fault *fault) PS_MUST_CHECK;
/* Stores the answers, except where the shop has decided anew meanwhile. */
int st_sink_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* Decisions without a result, of rehearsals too. */
int st_sink_open_decisions(struct st_sink *sink, int64_t *ret_count,
                           struct ps_fault *fault) PS_MUST_CHECK;

/* --- For the backends --- */

struct st_sink_ops {
    int (*create)(struct st_sink *sink, struct ps_fault *fault);
    /* Of the tables; 0: there are none. */
    int (*version)(struct st_sink *sink, int64_t *ret_version, struct ps_fault *fault);
    int (*position)(struct st_sink *sink, const char *name, uint32_t partition,
                    struct st_position *ret_position, struct ps_fault *fault);
    int (*begin)(struct st_sink *sink, const char *name, const struct st_claim *claims,
                 size_t count, struct ps_fault *fault);
    int (*look_up)(struct st_sink *sink, const char *name, const struct st_known *known,
                   struct ps_fault *fault);
    int (*store)(struct st_sink *sink, const char *name, const struct st_changes *changes,
                 struct ps_fault *fault);
    int (*commit)(struct st_sink *sink, struct ps_fault *fault);
    int (*confirm_all)(struct st_sink *sink, bool rehearsal, struct ps_fault *fault);
    /* How many decisions there are, at most `max`; or an error. */
    int (*due)(struct st_sink *sink, bool rehearsal, int64_t lease_ms,
               struct st_decision *ret_decisions, size_t max, struct ps_fault *fault);
    int (*answer)(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                  struct ps_fault *fault);
    int (*open_decisions)(struct st_sink *sink, int64_t *ret_count, struct ps_fault *fault);
    void (*close)(struct st_sink *sink);
};

struct st_sink {
    const struct st_sink_ops *ops;
    const char *database; /* its name, for messages */
};

int st_sqlite_open(const char *path, bool make, struct st_sink **ret_sink,
                   struct ps_fault *fault) PS_MUST_CHECK;
int st_postgres_open(const char *conninfo, struct st_sink **ret_sink,
                     struct ps_fault *fault) PS_MUST_CHECK;

/* Version 3 has the trace of each order. */
#define ST_ADD_TRACE(orders) "ALTER TABLE " orders " ADD COLUMN traceparent text;"
/* From version 1, once `orders` has its trace and the tables of rehearsals are made. */
#define ST_UPGRADE_1                                                                               \
    "INSERT INTO penstock_rehearsal_orders SELECT * FROM orders WHERE rehearsal;"                  \
    "INSERT INTO penstock_rehearsal_decisions SELECT * FROM penstock_decisions WHERE order_id IN"  \
    " (SELECT order_id FROM penstock_rehearsal_orders);"                                           \
    "DELETE FROM penstock_decisions WHERE order_id IN"                                             \
    " (SELECT order_id FROM penstock_rehearsal_orders);"                                           \
    "DELETE FROM orders WHERE rehearsal;"                                                          \
    "UPDATE penstock_schema SET version = 3;"
#define ST_UPGRADE_2                                                                               \
    ST_ADD_TRACE("orders")                                                                         \
    ST_ADD_TRACE("penstock_rehearsal_orders") "UPDATE penstock_schema SET version = 3;"

/* An order's change since look_up: none, a new row of `orders`, the next state of such a row, or
 * void. */
enum st_change { ST_NOTHING, ST_NEW, ST_STEP, ST_VOIDED };
enum st_change st_order_change(const struct st_order *order);
/* Takes the trace that a row of orders holds; what is too long is none. */
void st_order_set_trace(struct st_order *order, struct ps_str traceparent);
/* `version` is what the database has, 0 = nothing; `database` is its name. */
int st_schema_check(int64_t version, const char *database, struct ps_fault *fault) PS_MUST_CHECK;
/* The state and reason that a row of orders holds. PS_E_CORRUPT. */
int st_state_parse(const char *state, const char *reason, enum st_state *ret_state,
                   enum oq_reason *ret_reason) PS_MUST_CHECK;
#endif
