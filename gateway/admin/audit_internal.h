/* What the files of an audit share: audit.c (the cut, the comparison), audit_counter.c (a counter
 * in Redis, read in pieces), audit_schedule.c (automatic audits). */
#ifndef OP_AUDIT_INTERNAL_H
#define OP_AUDIT_INTERNAL_H

#include "gateway/admin/admin_internal.h"
#include "inventory/shared.h"
#include "queue/audit.h"

#include <stdatomic.h>

#define OP_AUDIT_LISTED OQ_AUDIT_LISTED
#define OP_SUSPECTS_MAX 1024

/* The log at one moment, between two batches. */
struct op_cut {
    int64_t seq[OQ_PARTITION_MAX]; /* the last record of each partition */
    uint32_t partitions;
    size_t orders; /* of the sale */
    struct oq_totals totals[CFG_SALE_SKUS_MAX];
};

/* An order, and its buyer if it is the buyer's newest, as the log had them at one moment. */
struct op_probe {
    struct oq_order *order;
    enum oq_state state;
    bool with_buyer;
    const struct oq_order *newest; /* of the buyer */
    int64_t units;                 /* the buyer's units */
};

struct op_counter_fault {
    char sku[PS_NAME_MAX + 1]; /* "" = none */
    struct ps_uuid order;
    bool has_order;
    char text[160];
};

/* The comparison with a counter in Redis. */
struct op_counter_look {
    unsigned tries;
    unsigned alike;                            /* consecutive equal attempts */
    struct inv_count tried[CFG_SALE_SKUS_MAX]; /* what the last attempt found */
    int64_t since_ns;                          /* since when it waits for effects */
    struct op_cut cut;
    int64_t in_doubt[CFG_SALE_SKUS_MAX]; /* the sum over the entries; -1: too many to add up */
    size_t next;                         /* the next order or suspect */
    bool again;                          /* second comparison: suspects that differ are reported */
    size_t count;
    struct op_probe page[INV_LOOK_MAX];
    struct oq_order_view views[INV_LOOK_MAX]; /* of the page's orders, while Redis is asked */
    struct op_probe suspects[OP_SUSPECTS_MAX];
    size_t suspect_count;
};

struct op_audit {
    struct op_read job; /* first */
    struct op_admin *admin;
    void (*ended)(struct op_audit *audit); /* stores the result */
    bool running;
    _Atomic(bool) cancelled; /* the gateway is stopping */
    uint64_t handle;         /* of the request whose audit this is; 0: an automatic one */
    char sale[PS_NAME_MAX + 1];
    struct sale_run *run;
    struct inv_sale *counter;
    struct oq_sale *log_sale;
    size_t sku_count; /* of the counter */
    int64_t at_ms, began_ns;
    /* A cut: the log's thread writes it, the control thread reads it once it is taken. */
    struct op_cut *cut_into;
    _Atomic(bool) cut_taken;
    void (*then)(
        struct op_audit *audit); /* called on the control thread, with the cut or after a pause */
    struct op_cut before, after; /* the counter was read between the two */
    struct inv_count counts[CFG_SALE_SKUS_MAX];
    int err;
    char why[320];       /* why err, if the log has lost records */
    bool counter_failed; /* err came from the counter, not the log */
    struct op_counter_look *look;
    struct op_counter_fault faults[OP_AUDIT_LISTED];
    size_t fault_count; /* the number of all faults */
    uv_timer_t wait;    /* until `then` */
    uv_timer_t schedule;
    uint32_t partition; /* the partition that the work thread reads */
    struct oq_audit *auditor;
    /* Found by the work thread. */
    char *text;
    bool ok;
    int64_t violations;
    char first[256]; /* the first violation as text */
};

/* PS_E_NOMEM. */
int op_audit_new(struct op_admin *admin, struct op_audit **ret_audit) PS_MUST_CHECK;
/* Ends its timers; call it before freeing. */
void op_audit_stop(struct op_audit *audit);
void op_audit_free(struct op_audit *audit);
/* On every wake-up: checks whether a cut was taken. */
void op_audit_wake(struct op_audit *audit);

/* Takes a cut of the log, then calls `then`. */
void op_audit_cut(struct op_audit *audit, struct op_cut *into,
                  void (*then)(struct op_audit *audit));
/* Calls `then` after a pause, unless the gateway is stopping. */
void op_audit_wait(struct op_audit *audit, uint64_t ms, void (*then)(struct op_audit *audit));
/* The comparison with the counter has ended; audit->err if it failed. */
void op_audit_judge(struct op_audit *audit);
/* The numbers of counter and log side by side. */
void op_audit_counters(const struct op_audit *audit, struct oq_audit_counter *ret_counters);
/* Begins for a sale that has a counter; `handle` 0: an automatic audit. */
void op_audit_begin(struct op_audit *audit, const struct sale_entry *sale, uint64_t handle);

/* --- audit_counter.c --- */
/* Begins after the cut `before`; ends with op_audit_judge. */
void op_audit_look(struct op_audit *audit);

/* --- audit_schedule.c --- */
/* Begins automatic audits. */
void op_audit_schedule(struct op_audit *audit);

/* --- heads.c --- */
/* Call it each second. */
void op_heads_tick(struct op_admin *admin);

#endif
