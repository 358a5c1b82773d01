/* Gateways of a test that share one real Redis and one log: of each its control thread's part, all
 * on one loop, without workers. The log is in memory, and each gateway reads on only when it is
 * told. */
#ifndef CLUSTER_FIXTURE_H
#define CLUSTER_FIXTURE_H

#include "tests/contract/redis_server.h"
#include "tests/contract/shared_log.h"
#include "tests/unit/temp_dir.h"

#include "gateway/control.h"
#include "gateway/cluster/cluster.h"
#include "gateway/orders/order_events.h"

#define NODES 2
#define STOCK 10
#define SALE  "spring"

struct node {
    struct temp_dir temp;
    struct ps_clock clock;
    _Atomic(int64_t) ahead_ns; /* its monotonic clock, of the others' */
    struct gw_settings settings;
    struct cfg_store *store;
    struct gw_core core;
    struct gw_control *control; /* NULL: it does not run */
};

extern struct redis_server server;
extern struct shared_topic *topic;
extern struct node nodes[NODES];
extern struct node *const a, *const b;

/* Setup and teardown: the server runs, no gateway does. */
int make(void **state);
int drop(void **state);
/* All have one name: what is asked here is who started when. */
void start(struct node *node);
/* What operators decide at it is the cluster's from now on; it knows what the cluster has. */
void share(struct node *node);
/* As a kill does: nothing is said to anybody. */
void stop(struct node *node);
/* One turn of the loop and of each log; where a policy was published, the worker that there is not
 * takes it over. */
void turn(void);
void turn_ms(uint64_t ms);

/* --- a sale: STOCK phones --- */

/* What its control state will say; one of this version, at the end. */
void put_sale(struct node *node, const char *name, int64_t version, bool opened,
              int64_t closes_at_ms);
/* SALE, version 1, without an end. */
void know_sale(struct node *node, bool opened);
/* `a` has brought SALE into the log, and all that run have taken it up. */
void open_sale(void);
/* The rest is of SALE. */
struct gw_control_sale *sale_of(const struct node *node);
bool serves(const struct node *node);
void until_served(const struct node *node);
/* What Redis has available under the epoch in force; how many entries a hash of it has. */
long long left(void);
long long entries(const char *key);

/* --- orders --- */

/* As a worker of `node` would; nothing is appended. */
struct ps_uuid reserve(struct node *node, const char *user);
/* Records. */
struct oq_event accepted(struct ps_uuid id, const char *user, int64_t epoch);
struct oq_event cancelled(struct ps_uuid id);
struct oq_event fence_of(int64_t epoch);
void append(struct node *node, const struct oq_event *event);
/* -1: it does not know it. */
int state_at(const struct node *node, struct ps_uuid id);
/* An order of ann's that `node` has reserved and appended; all that run have read it. */
struct ps_uuid buy(struct node *node);

#endif
