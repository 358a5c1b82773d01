/* What the files of the admin listener share. A request is a visit. The router (admin_routes.c)
 * finds out who asks and reads the body, then calls the route's handler. A handler either answers,
 * or makes the visit wait (gw_admin_wait) for something that calls it back.
 *
 * Changes go one at a time: while one is under way, the visits of routes that change something wait
 * for their turn, and only then look at what they change. So a handler checks versions against what
 * really is, and two operators never write over each other. Where control.db was changed by the
 * gateway itself meanwhile (a sale was opened), the handler is simply run again.
 *
 * A visit lies in its request's memory, which is gone once it is answered, and every visit that
 * waits has a deadline. So what is under way keeps a copy of what it needs and the request's
 * handle, and finds the visit again by it, or does not. */
#ifndef GW_ADMIN_PRIVATE_H
#define GW_ADMIN_PRIVATE_H

#include "gateway/control/admin.h"
#include "gateway/front/http.h"
#include "gateway/front/problem.h"
#include "gateway/front/verdict.h"
#include "gateway/orders/life.h"

#include <sodium.h>

#define GW_ADMIN_BODY_MAX   (1u << 20)
#define GW_ADMIN_WAIT_MS    10000
#define GW_ADMIN_REASON_MAX 256
#define GW_ADMIN_PEER_LEN   46

struct gw_admin_visit;
struct gw_admin_change;
struct gw_admin_audit;
struct gw_admin_deed;
struct gw_admin_adjust;
typedef void gw_admin_visit_fn(struct gw_admin_visit *visit);

struct gw_admin {
    struct gw_control *control;
    struct gw_core *core;
    struct gw_http *http; /* NULL: closed */
    void (*drain)(void *ctx);
    void *drain_ctx;
    struct gw_admin_visit *first, *last; /* visits that wait, in the order of their coming */
    bool changing;                       /* a change is under way */
    uv_timer_t tick;                     /* runs while a visit waits */
    uv_async_t wake;                     /* the next turn; an audit's cut has been taken */
    struct gw_admin_audit *audit;
    struct gw_admin_deed *deeds;     /* whose outcomes are awaited */
    struct gw_admin_adjust *adjusts; /* the same */
    struct gw_admin_adjust *doubts;  /* lowerings whose outcome is unknown */
    size_t open; /* what will call back: changes, work, handles; the memory goes with the last */
};

struct gw_admin_visit {
    struct gw_admin *admin;
    struct gw_request *request;
    uint64_t handle;           /* 0 = does not wait */
    struct ps_str arg[2];      /* what stands for the {} of the route's path */
    json_t *body;              /* NULL = none */
    char who[PS_NAME_MAX + 1]; /* id of the token */
    char peer[GW_ADMIN_PEER_LEN];
    char why[GW_ADMIN_REASON_MAX + 1]; /* member `reason` of the body; "" = none */
    gw_admin_visit_fn *run;            /* the route's handler */
    bool turn;                         /* waits for its turn */
    gw_admin_visit_fn *on_tick;        /* while it waits; NULL = nothing to look at */
    gw_admin_visit_fn *on_deadline;    /* must answer; NULL = 503 */
    int64_t deadline_ns;
    struct gw_admin_deed *deed; /* while it waits for the outcomes of one */
    unsigned conflicts;
    bool created; /* the answer will be 201 */
    struct gw_admin_visit *prev, *next;
};

/* --- admin.c: waiting --- */

/* Keeps the visit until it is answered. Called again it sets a new deadline. */
uint64_t gw_admin_wait(struct gw_admin_visit *visit, int64_t timeout_ms);
/* NULL: answered meanwhile. */
struct gw_admin_visit *gw_admin_find(struct gw_admin *admin, uint64_t handle);
/* Every answer begins with this. */
void gw_admin_leave(struct gw_admin_visit *visit);
/* Ends the turn of a change: those that wait come next, on the loop's next turn. */
void gw_admin_turn_over(struct gw_admin *admin);
/* Something that will call back has begun, has ended. */
void gw_admin_hold(struct gw_admin *admin);
void gw_admin_release(struct gw_admin *admin);

/* --- admin_routes.c --- */
void gw_admin_handle(struct gw_request *request, void *admin);

/* --- admin_answer.c --- */

/* 200 or 201 with a document, which is taken over (NULL = out of memory: 500). */
void gw_admin_json(struct gw_admin_visit *visit, enum gw_verdict verdict, json_t *json);
/* NDJSON; `text` is heap and taken over. `last` < 0: no Penstock-Last-Seq. */
void gw_admin_lines(struct gw_admin_visit *visit, char *text, size_t len, int64_t last);
/* `text` is heap and taken over. */
void gw_admin_text(struct gw_admin_visit *visit, const char *type, char *text, size_t len);
void gw_admin_empty(struct gw_admin_visit *visit); /* 204 */
void gw_admin_etag(struct gw_admin_visit *visit, int64_t version);
void gw_admin_no(struct gw_admin_visit *visit, enum gw_verdict verdict, const char *fmt, ...)
    PS_PRINTF(3, 4);
void gw_admin_fault(struct gw_admin_visit *visit, enum gw_verdict verdict,
                    const struct ps_fault *fault);
/* A negative result of oq_log_append or of reading the log. */
void gw_admin_no_log(struct gw_admin_visit *visit, int err);
/* The same of a read; `why` is what there is to say of it, or "". */
void gw_admin_no_read(struct gw_admin_visit *visit, int err, const char *why);

/* Is If-Match there, and does it name this version? */
enum gw_admin_match { GW_MATCH_NONE, GW_MATCH_YES, GW_MATCH_NO };
enum gw_admin_match gw_admin_if_match(const struct gw_admin_visit *visit, int64_t version);
/* False: answered. For resources whose If-Match is optional. */
bool gw_admin_matches(struct gw_admin_visit *visit, int64_t version);

/* Parameters of the query, each at most once. */
struct gw_admin_param {
    const char *name;
    char *text;      /* NULL: a number */
    size_t cap;      /* of text, with NUL; "" when absent */
    int64_t *number; /* untouched when absent */
    int64_t min, max;
};
/* Reads all; an unknown, repeated or bad one is answered with 422: false. */
bool gw_admin_query(struct gw_admin_visit *visit, const struct gw_admin_param *params,
                    size_t count);
/* Percent-decodes. PS_E_INVALID: not well-formed, a NUL, or too long for `cap` with its NUL. */
int gw_admin_decode(struct ps_str text, char *ret_text, size_t cap, size_t *ret_len) PS_MUST_CHECK;
/* A body that is absent, or an object that holds nothing but (maybe) a reason. False: answered. */
bool gw_admin_only_reason(struct gw_admin_visit *visit);

/* --- admin_change.c: changes of what control.db keeps --- */

struct gw_admin_change {
    struct gw_admin *admin;
    uint64_t handle;          /* of the request */
    struct gw_store_job *job; /* until it is submitted */
    char who[PS_NAME_MAX + 1];
    char peer[GW_ADMIN_PEER_LEN];
    char why[GW_ADMIN_REASON_MAX + 1];
    const char *action; /* literal */
    char target[PS_USER_MAX + 64];
    bool created; /* the answer will be 201 */
    int apply_err;
    /* Takes the change into memory; NULL = nothing to take. */
    int (*apply)(struct gw_control *control, struct gw_admin_change *change);
    /* Whatever came of it; may be NULL. */
    void (*end)(struct gw_admin_change *change, bool written);
    /* It is durable and in force, and the visit is still there. */
    void (*answer)(struct gw_admin_visit *visit, struct gw_admin_change *change);
    /* What `apply` and `answer` need. */
    struct gw_stored_sale sale; /* its document is owned */
    struct gw_limit_rule rule;
    struct gw_block block;
    int64_t version; /* of the policy afterwards */
    char secret[GW_TOKEN_LEN + 1];
    char token[PS_NAME_MAX + 1];
};

/* An empty change by this visitor, with its job. NULL: answered with 500. */
struct gw_admin_change *gw_admin_change_new(struct gw_admin_visit *visit, const char *action,
                                            const char *target_kind, const char *target);
/* The policy's next version goes with the change. */
void gw_admin_change_policy(struct gw_admin_change *change);
/* Submits; the visit waits for the end. Takes change, `from` and `to` over (either may be NULL). */
void gw_admin_change_submit(struct gw_admin_visit *visit, struct gw_admin_change *change,
                            json_t *from, json_t *to);
void gw_admin_change_free(struct gw_admin_change *change); /* instead */

/* The audit line of something that the order log already remembers: written behind it. `done` comes
 * once, also when the line could not be written (which is logged), maybe at once. */
struct gw_admin_line {
    struct gw_admin *admin;
    char who[PS_NAME_MAX + 1];
    char peer[GW_ADMIN_PEER_LEN];
    char why[GW_ADMIN_REASON_MAX + 1];
    const char *action;
    char target[PS_USER_MAX + 64];
    void (*done)(struct gw_admin_line *line);
};
/* Takes from and to over. */
void gw_admin_line_write(struct gw_admin_line *line, json_t *from, json_t *to);

/* --- admin_sales.c --- */
json_t *gw_admin_sale_json(const struct gw_admin *admin, const struct gw_control_sale *sale);
/* One SKU's numbers: {"available","in_doubt","held","confirmed","adjustments"}. */
json_t *gw_admin_sku_json(const struct gw_admin *admin, const struct gw_control_sale *sale,
                          size_t sku);
/* NULL: answered with 404. */
struct gw_control_sale *gw_admin_sale(struct gw_admin_visit *visit);

/* --- handlers of routes --- */
gw_admin_visit_fn gw_admin_list_sales, gw_admin_get_sale, gw_admin_put_sale, gw_admin_delete_sale,
    gw_admin_pause_sale, gw_admin_resume_sale, gw_admin_end_sale; /* admin_sales.c */
gw_admin_visit_fn gw_admin_adjust;                                /* admin_adjust.c */
gw_admin_visit_fn gw_admin_list_limits, gw_admin_get_limit, gw_admin_put_limit,
    gw_admin_delete_limit; /* admin_limits.c */
gw_admin_visit_fn gw_admin_list_blocks, gw_admin_get_user, gw_admin_put_user, gw_admin_delete_user,
    gw_admin_get_range, gw_admin_put_range, gw_admin_delete_range; /* admin_blocklist.c */
gw_admin_visit_fn gw_admin_get_order, gw_admin_confirm_order, gw_admin_cancel_order,
    gw_admin_order_batch; /* admin_orders.c */
gw_admin_visit_fn gw_admin_list_orders, gw_admin_read_log,
    gw_admin_read_audit_log;           /* admin_lines.c */
gw_admin_visit_fn gw_admin_audit_sale; /* admin_audit.c */
gw_admin_visit_fn gw_admin_livez, gw_admin_readyz, gw_admin_metrics, gw_admin_list_tokens,
    gw_admin_new_token, gw_admin_delete_token, gw_admin_drain; /* admin_ops.c */

/* --- admin_audit.c: the kept auditor --- */
int gw_admin_audit_new(struct gw_admin *admin, struct gw_admin_audit **ret_audit) PS_MUST_CHECK;
/* Before its memory goes: its timer ends. */
void gw_admin_audit_stop(struct gw_admin_audit *audit);
void gw_admin_audit_free(struct gw_admin_audit *audit);
/* On every wake: has a cut been taken? */
void gw_admin_audit_wake(struct gw_admin *admin);

/* When the listener closes: what still waits for outcomes that will not come any more. */
void gw_admin_deeds_free(struct gw_admin *admin);
void gw_admin_adjusts_free(struct gw_admin *admin);

#endif
