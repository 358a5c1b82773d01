/* What the files of the cluster share: cluster.c (the state of each sale, the keeper's lease),
 * pulse.c (what gateways hear of each other, and how the sales stand), rebuild.c (a new epoch, from
 * the claim to the install), apply.c (effects to Redis), sweep.c (what stays in doubt). All of it
 * belongs to the control thread. */
#ifndef CLU_INTERNAL_H
#define CLU_INTERNAL_H

#include "gateway/admission/limit_share.h"
#include "gateway/cluster/cluster.h"
#include "gateway/sales/effects.h"
#include "gateway/sales/loader.h"
#include "inventory/shared.h"
#include "queue/log_kafka.h"

#define CLU_ALIVE_MS        3000 /* a gateway that has been silent for longer is dead */
#define CLU_CLOCKS_APART_MS 1000 /* so far from each other, two clocks do not agree */

struct sale_rebuild;

struct clu_member {
    struct ps_uuid start;
    int64_t age_ms; /* when heard of */
    struct inv_heartbeat beat;
};

struct clu_sale {
    struct clu_sale *next;
    struct clu_cluster *cluster;
    char name[PS_NAME_MAX + 1];
    struct oq_sale *books;    /* NULL until the log shows it */
    size_t sku_count;         /* that the log has named and that were looked at */
    struct inv_sale *counter; /* NULL until first attached */
    int64_t epoch;            /* of `counter`, as taken up here; 0 = none */
    bool checked;             /* its beginning is in the log */
    bool serving;             /* its epoch is in force, as far as this gateway knows */
    bool opening;             /* this gateway is bringing it into the log for the first time */
    bool attaching;           /* the question is out */
    bool gone;                /* Redis has no counters of it that could be used */
    bool foreign;             /* a key of it in Redis is somebody else's, as last heard */
    int64_t seen_ns;          /* since when it is known to have been opened */
    int64_t in_doubt;         /* units, as last heard; -1: not known */
    int64_t served_ns;        /* since when */
    int64_t busy_ns;          /* when it was last not over, or not settled */
    bool resting;             /* over and settled for a while: looked at rarely */

    struct sale_rebuild *rebuild;

    /* apply.c: read and not yet known to be in Redis */
    struct sale_effect_list effects;
    struct sale_applied *forgotten; /* up to where some were not kept; NULL: all were */
    bool trim_due;                  /* before anything is applied under this epoch */
    bool trimming;                  /* the question is out */
    int64_t trimmed_ns;

    /* sweep.c */
    bool sweeping;
    uint64_t cursor;
    unsigned pages;              /* of this round */
    bool gives_up;               /* this round */
    _Atomic(unsigned) giving_up; /* calls on their way to the log's thread */
    int64_t swept_ns;
};

struct clu_cluster {
    struct gw_control *control;
    struct gw_core *core;
    struct inv_store *store;      /* the control thread's */
    struct sale_effects *effects; /* the life's */
    struct sale_loader *loader;   /* NULL once stopped */
    struct clu_sale *sales;
    bool stopped;

    /* the pulse */
    bool pulsing;
    int64_t asked_at_ns;        /* when it was sent */
    int64_t pulsed_ns;          /* the last one that was answered; 0 = none */
    int64_t redis_ms, redis_ns; /* Redis's clock, and when it was told */
    int64_t set_ns;             /* when it was last found to have been set; INT64_MIN / 2: never */
    struct clu_member *members;
    size_t member_count;
    size_t pulse_count;              /* answered */
    char log[OQ_KAFKA_NAME_MAX + 1]; /* whose orders are counted; "": not known yet */
    bool log_said;                   /* by the pulse under way */
    bool owns;                       /* Redis counts for that log, as last heard */
    bool refused;                    /* it counts for another one, as last heard */
    int64_t other_ns;                /* when that was last heard; INT64_MIN / 2: never */
    size_t turn;                     /* which of the resting sales is asked about */
    bool ask_all;                    /* with the next pulse */
    struct adm_share_meter meter;
    int64_t demand;       /* as last said */
    _Atomic(bool) mailed; /* a mail is on its way to this thread */
    _Atomic(bool) has_view, has_redis;
    _Atomic(int64_t) reached_ns; /* the view has all that the log had then */
    _Atomic(int64_t) asked_ns;   /* when a journal was asked; 0 = it is not */
    bool alone;                  /* its log is no other gateway's */
    bool told_company;

    /* the keeper's lease */
    bool leasing;
    int64_t leased_ns, keeper_until_ns;
};

/* --- cluster.c --- */
int64_t clu_now_ns(const struct clu_cluster *cluster);
/* Makes it known if need be. NULL: out of memory. */
struct clu_sale *clu_sale(struct clu_cluster *cluster, const char *name);
/* sale->books, as soon as the log has shown it. */
void clu_find_books(struct clu_sale *sale);
struct gw_control_sale *clu_control_sale(const struct clu_sale *sale);
/* Puts a counter of this epoch in force here: the workers sell from it with the next policy. */
void clu_serve(struct clu_sale *sale, struct inv_sale *counter);
/* Nobody sells from it any more, until it is served again. */
void clu_fence(struct clu_sale *sale, const char *why);

/* --- pulse.c --- */
void clu_heartbeat_tick(struct clu_cluster *cluster); /* a pulse, unless one is under way */
/* NULL: not heard of. */
const struct clu_member *clu_member_find(const struct clu_cluster *cluster,
                                         const struct ps_uuid *start);
/* Is this start alive, and another one than ours? */
bool clu_lives(const struct clu_cluster *cluster, const struct ps_uuid *start);
/* When a gateway of that name was last heard in this Redis, another start than this one: of the
 * monotonic clock; INT64_MIN: never. */
int64_t clu_heard_ns(const struct clu_cluster *cluster, const char *name);
/* Is nobody else alive here? */
bool clu_is_alone(const struct clu_cluster *cluster);
/* Nobody has anything under way that could still become an order. */
bool clu_is_quiet(const struct clu_cluster *cluster);
/* May this gateway count in Redis: is its log shared with all who do, or is it the first one? */
bool clu_may_act(const struct clu_cluster *cluster);

/* --- rebuild.c --- */
int sale_rebuild_new(struct clu_sale *sale, struct sale_rebuild **ret_rebuild) PS_MUST_CHECK;
void sale_rebuild_free(struct sale_rebuild *rebuild); /* NULL is allowed */
/* Begins, unless it runs or has to wait after a failure; `opening`: for the first time. */
void sale_rebuild_start(struct sale_rebuild *rebuild, bool opening);
void sale_rebuild_tick(struct sale_rebuild *rebuild);
bool sale_rebuild_runs(const struct sale_rebuild *rebuild);
/* Is a load of it under way, or about to be? */
bool sale_rebuild_loads(const struct sale_rebuild *rebuild);
/* The control state says what was to be noted, or cannot be made to. */
void sale_rebuild_noted(struct sale_rebuild *rebuild, bool noted);
/* The loader has loaded. */
void sale_rebuild_loaded(struct sale_rebuild *rebuild);
/* Another gateway's epoch, or its own, was taken up: whatever it still does is over. */
void sale_rebuild_end(struct sale_rebuild *rebuild);
/* An opening that was under way has ended before its time: the sale is due again. */
void sale_rebuild_open_later(struct sale_rebuild *rebuild);

/* --- apply.c --- */
/* Up to which seq of each partition; 0 = nothing. */
struct sale_applied {
    int64_t upto[OQ_PARTITION_MAX];
};
/* Brings what was pushed to its sale. */
void sale_apply_take(struct clu_cluster *cluster);
/* A step for one sale. */
void sale_apply_tick(struct clu_sale *sale);

/* --- sweep.c --- */
void sale_sweep_tick(struct clu_sale *sale);

#endif
