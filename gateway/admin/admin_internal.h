/* What the files of the admin listener share. A request is a visit. The router (admin_routes.c)
 * finds out who asks and reads the body, then calls the route's handler. A handler either answers,
 * or makes the visit wait (op_wait) for something that calls it back.
 *
 * Changes go one at a time: while one is under way, the visits of routes that change something wait
 * for their turn, and only then look at what they change. So a handler checks versions against what
 * really is, and two operators never write over each other. Where control.db was changed by the
 * gateway itself meanwhile (a sale was opened), the handler is simply run again.
 *
 * A visit lies in its request's memory, which is gone once it is answered, and every visit that
 * waits has a deadline. So what is under way keeps a copy of what it needs and the request's
 * handle, and finds the visit again by it, or does not. */
#ifndef OP_ADMIN_INTERNAL_H
#define OP_ADMIN_INTERNAL_H

#include "gateway/admin/admin.h"
#include "gateway/admin/outcomes.h"
#include "gateway/admin/reads.h"
#include "gateway/server/http.h"
#include "gateway/server/problem.h"
#include "gateway/answers/verdict.h"
#include "gateway/orders/order_events.h"

#include <sodium.h>

#define OP_BODY_MAX   (1u << 20)
#define OP_WAIT_MS    10000
#define OP_REASON_MAX 256
#define OP_PEER_LEN   46

struct op_request;
struct op_change;
struct op_audit;
struct op_task;
typedef void op_request_fn(struct op_request *visit);
TAILQ_HEAD(op_tasks, op_task);

struct op_admin {
    struct gw_control *control;
    struct gw_core *core;
    struct srv_http *http; /* NULL: closed */
    void (*drain)(void *ctx);
    void *drain_ctx;
    TAILQ_HEAD(op_waiting, op_request) waiting; /* visits that wait, in the order of their coming */
    bool changing;                              /* a change is under way */
    uv_timer_t tick;                            /* runs while a visit waits */
    uv_async_t wake;                            /* the next turn; an audit's cut has been taken */
    struct op_reads reads;                      /* long ones, on work threads */
    struct op_audit *audit;
    struct ps_pool *outcomes;
    struct op_tasks tasks;  /* whose outcomes are awaited (task.h) */
    struct op_tasks doubts; /* lowerings whose outcome is unknown */
    size_t open; /* what will call back: changes, work, handles; the memory goes with the last */
};

struct op_request {
    struct op_admin *admin;
    struct srv_request *request;
    uint64_t handle;           /* 0 = does not wait */
    struct ps_str arg[2];      /* what stands for the {} of the route's path */
    json_t *body;              /* NULL = none */
    char who[PS_NAME_MAX + 1]; /* id of the token */
    char peer[OP_PEER_LEN];
    char why[OP_REASON_MAX + 1]; /* member `reason` of the body; "" = none */
    op_request_fn *run;          /* the route's handler */
    bool turn;                   /* waits for its turn */
    op_request_fn *on_tick;      /* while it waits; NULL = nothing to look at */
    op_request_fn *on_deadline;  /* must answer; NULL = 503 */
    int64_t deadline_ns;
    struct op_task *task; /* while it waits for the outcome of one */
    unsigned conflicts;
    bool created; /* the answer will be 201 */
    TAILQ_ENTRY(op_request) waiting;
};

/* --- admin.c: waiting --- */

/* Keeps the visit until it is answered. Called again it sets a new deadline. */
uint64_t op_wait(struct op_request *visit, int64_t timeout_ms);
/* NULL: answered meanwhile. */
struct op_request *op_find(struct op_admin *admin, uint64_t handle);
/* Every answer begins with this. */
void op_leave(struct op_request *visit);
/* Ends the turn of a change: those that wait come next, on the loop's next turn. */
void op_turn_over(struct op_admin *admin);
/* Something that will call back has begun, has ended. */
void op_hold(struct op_admin *admin);
void op_release(struct op_admin *admin);

/* --- admin_routes.c --- */
void op_handle(struct srv_request *request, void *admin);

/* --- admin_answer.c --- */

/* 200 or 201 with a document, which is taken over (NULL = out of memory: 500). */
void op_json(struct op_request *visit, enum ans_verdict verdict, json_t *json);
/* NDJSON; `text` is heap and taken over. `last` < 0: no Penstock-Last-Seq. */
void op_ndjson(struct op_request *visit, char *text, size_t len, int64_t last);
/* `text` is heap and taken over. */
void op_text(struct op_request *visit, const char *type, char *text, size_t len);
void op_empty(struct op_request *visit); /* 204 */
void op_etag(struct op_request *visit, int64_t version);
void op_no(struct op_request *visit, enum ans_verdict verdict, const char *fmt, ...)
    PS_PRINTF(3, 4);
void op_fault(struct op_request *visit, enum ans_verdict verdict, const struct ps_fault *fault);
/* A negative result of oq_log_append or of reading the log. */
void op_no_log(struct op_request *visit, int err);
/* The same of a read; `why` is what there is to say of it, or "". */
void op_no_read(struct op_request *visit, int err, const char *why);

/* Is If-Match there, and does it name this version? */
enum op_match { OP_MATCH_NONE, OP_MATCH_YES, OP_MATCH_NO };
enum op_match op_if_match(const struct op_request *visit, int64_t version);
/* False: answered. For resources whose If-Match is optional. */
bool op_matches(struct op_request *visit, int64_t version);

/* Parameters of the query, each at most once. */
struct op_param {
    const char *name;
    char *text;      /* NULL: a number */
    size_t cap;      /* of text, with NUL; "" when absent */
    int64_t *number; /* untouched when absent */
    int64_t min, max;
};
/* Reads all; an unknown, repeated or bad one is answered with 422: false. */
bool op_query(struct op_request *visit, const struct op_param *params, size_t count);
/* Percent-decodes. PS_E_INVALID: not well-formed, a NUL, or too long for `cap` with its NUL. */
int op_decode(struct ps_str text, char *ret_text, size_t cap, size_t *ret_len) PS_MUST_CHECK;
/* A body that is absent, or an object that holds nothing but (maybe) a reason. False: answered. */
bool op_only_reason(struct op_request *visit);

/* --- admin_change.c: changes of what control.db keeps --- */

struct op_change {
    struct op_admin *admin;
    uint64_t handle;           /* of the request */
    struct cfg_store_job *job; /* until it is submitted */
    char who[PS_NAME_MAX + 1];
    char peer[OP_PEER_LEN];
    char why[OP_REASON_MAX + 1];
    const char *action; /* literal */
    char target[PS_USER_MAX + 64];
    bool created; /* the answer will be 201 */
    int apply_err;
    /* Takes the change into memory; NULL = nothing to take. */
    int (*apply)(struct gw_control *control, struct op_change *change);
    /* Whatever came of it; may be NULL. */
    void (*end)(struct op_change *change, bool written);
    /* It is durable and in force, and the visit is still there. */
    void (*answer)(struct op_request *visit, struct op_change *change);
    /* What `apply` and `answer` need. */
    struct cfg_stored_sale sale; /* its document is owned */
    struct cfg_limit_rule rule;
    struct cfg_block block;
    int64_t version; /* of the policy afterwards */
    char secret[OP_TOKEN_LEN + 1];
    char token[PS_NAME_MAX + 1];
};

/* An empty change by this visitor, with its job. NULL: answered with 500. */
struct op_change *op_change_new(struct op_request *visit, const char *action,
                                const char *target_kind, const char *target);
/* The policy's next version goes with the change. */
void op_change_policy(struct op_change *change);
/* Submits; the visit waits for the end. Takes change, `from` and `to` over (either may be NULL). */
void op_change_submit(struct op_request *visit, struct op_change *change, json_t *from, json_t *to);
void op_change_free(struct op_change *change); /* instead */

/* The audit line of something that the order log already remembers: written behind it. `done` comes
 * once, also when the line could not be written (which is logged), maybe at once. */
struct op_audit_entry {
    struct op_admin *admin;
    char who[PS_NAME_MAX + 1];
    char peer[OP_PEER_LEN];
    char why[OP_REASON_MAX + 1];
    const char *action;
    char target[PS_USER_MAX + 64];
    void (*done)(struct op_audit_entry *line);
};
/* Takes from and to over. */
void op_audit_entry_write(struct op_audit_entry *line, json_t *from, json_t *to);

/* --- admin_sales.c --- */
json_t *op_sale_json(const struct op_admin *admin, const struct gw_control_sale *sale);
/* One SKU's numbers: {"available","in_doubt","held","confirmed","adjustments"}. */
json_t *op_sku_json(const struct op_admin *admin, const struct gw_control_sale *sale, size_t sku);
/* It was served since the start, and will be again if it is fenced now. */
bool op_is_served(const struct gw_control_sale *sale);
/* NULL: answered with 404. */
struct gw_control_sale *op_sale(struct op_request *visit);

/* --- handlers of routes --- */
op_request_fn op_list_sales, op_get_sale, op_put_sale, op_delete_sale, op_pause_sale,
    op_resume_sale, op_end_sale;                                           /* admin_sales.c */
op_request_fn op_adjust;                                                   /* admin_adjust.c */
op_request_fn op_list_limits, op_get_limit, op_put_limit, op_delete_limit; /* admin_limits.c */
op_request_fn op_list_blocks, op_get_user, op_put_user, op_delete_user, op_get_range, op_put_range,
    op_delete_range; /* admin_blocklist.c */
op_request_fn op_get_order, op_confirm_order, op_cancel_order, op_order_batch; /* admin_orders.c */
op_request_fn op_list_orders, op_read_log, op_read_audit_log;                  /* admin_lines.c */
op_request_fn op_audit_sale;                                                   /* admin_audit.c */
op_request_fn op_livez, op_readyz, op_metrics, op_list_tokens, op_new_token, op_delete_token,
    op_drain; /* admin_ops.c */

/* --- admin_audit.c: the kept auditor --- */
int op_audit_new(struct op_admin *admin, struct op_audit **ret_audit) PS_MUST_CHECK;
/* Before its memory goes: its timer ends. */
void op_audit_stop(struct op_audit *audit);
void op_audit_free(struct op_audit *audit);
/* On every wake: has a cut been taken? */
void op_audit_wake(struct op_admin *admin);

#endif
