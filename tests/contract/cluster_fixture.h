/* What the tests of a cluster see of it: gateways that share one real Redis and one log. Of each
 * gateway only its control thread's part runs, all on one loop, without workers. The log is in
 * memory, and each gateway reads on only when it is told.
 *
 * This is the only way in: how a gateway keeps its sales, and which keys Redis has, stands in
 * cluster_fixture.c alone. Calls about "the sale" are about SALE. */
#ifndef CLUSTER_FIXTURE_H
#define CLUSTER_FIXTURE_H

#include "tests/contract/redis_server.h"
#include "tests/contract/shared_log.h"
#include "tests/unit/check.h"

#include "common/clock.h"
#include "gateway/metrics.h"
#include "queue/fold.h"

#define STOCK 10
#define SALE  "spring"

struct node; /* a gateway */

extern struct redis_server server;
extern struct shared_topic *topic;
extern struct node *const a, *const b;

/* --- gateways --- */

/* Setup and teardown: the server runs, no gateway does. */
int make(void **state);
int drop(void **state);
/* All have one name: what is asked here is who started when. */
void start(struct node *node);
/* What operators decide at it is the cluster's from now on; it knows what the cluster has. */
void share(struct node *node);
/* As a kill does: nothing is said to anybody. */
void stop(struct node *node);
/* One turn of the loop and of each log; where a snapshot was published, the worker that there is
 * not takes it over. */
void turn(void);
void turn_ms(uint64_t ms);

/* Sales that it refuses, as it reports them. */
unsigned refused_at(const struct node *node);
struct ps_uuid start_of(const struct node *node);
int64_t metric_of(const struct node *node, enum gw_metric metric);
/* Its monotonic clock is so far ahead of the others'. */
void set_ahead(struct node *node, int64_t ahead_ns);
/* From now on it can write no sale, as if its disk were full. */
void break_disk(const struct node *node);

/* Its log neither reads nor runs calls; `away` also takes nothing. */
void hold_log(struct node *node, bool held, bool away);
/* It reads all that its log has. */
void read_log(struct node *node);

/* --- what a gateway knows of the cluster --- */

bool leads(const struct node *node); /* it has the leader's lease */
bool has_redis(const struct node *node);
size_t members_at(const struct node *node);
/* Effects that it holds for Redis. */
size_t effects_at(const struct node *node);

/* --- sales: STOCK phones each --- */

/* What operators have decided, as of this version. */
void put_sale(struct node *node, const char *name, int64_t version, bool opened,
              int64_t closes_at_ms);
/* The sale, version 1, without an end. */
void know_sale(struct node *node, bool opened);
/* As an operator at `node` would: the sale with this stock, as the next version. The answer. */
int put_stock(struct node *node, int stock);
/* As settings that name these two would, in this order. */
void seed_sales(struct node *node, const char *first, const char *second);
/* `a` has brought the sale into the log, and all that run have taken it up. */
void open_sale(void);

int64_t version_at(const struct node *node); /* 0: it does not know it */
int64_t stock_at(const struct node *node);   /* by its document */
bool is_stock_fixed(const struct node *node);
bool is_noted_opened(const struct node *node);
/* It is over and settled: heartbeats ask about it in its turn alone. */
bool is_resting(const struct node *node, const char *name);

bool serves_sale(const struct node *node, const char *name);
bool serves(const struct node *node);
void until_served(const struct node *node);
/* Buyers are told to come again. */
bool is_fenced(const struct node *node);
/* It knows that the sale has to wait: to be built again, or for a foreign key to go. */
bool is_known_fenced(const struct node *node, const char *name);
/* Why it refuses the sale; NULL: it does not. */
const char *refusal_at(const struct node *node);
int64_t epoch_at(const struct node *node);
/* What is left, as it last learnt. */
int64_t left_at(const struct node *node);

/* --- what a gateway's view of the log shows --- */

bool is_in_log(const struct node *node);
int64_t logged_stock(const struct node *node);
/* -1: it does not know it. */
int state_at(const struct node *node, struct ps_uuid id);
struct fence {
    int64_t epoch;
    const char *author; /* "": there are two */
};
struct fence last_fence(const struct node *node);

/* --- what Redis has: under the epoch in force --- */

/* What is available; what the sale's counters say of "phone", "phone/held" and the like. */
long long left(void);
long long count_of(const char *field);
enum redis_entries { IN_DOUBT, DECIDED, APPLIED };
long long entries(enum redis_entries kind);
bool is_installed(const char *name);
/* Another hand writes there: an epoch in place of the one in force; an identity that is not this
 * server's; the counters of a log that is
 * not this one; a foreign key in place of the sale's, until it is put back. */
void install_epoch(int64_t epoch);
void spoil_identity(void);
void install_foreign_counters(void);
bool remove_counters(void); /* true: there were some */
void replace_sale(const char *name);
void restore_sale(const char *name);
/* Which log it counts for. */
bool says_log(const char *log);
bool says_no_log(void);
void say_log(const char *log);
void say_no_log(void);
/* Has any gateway said there that it lives or leads? */
bool has_heartbeats(void);
/* The heartbeat of a gateway that is none of the test's, `ms_ago`. */
void say_heartbeat(const struct ps_uuid *start, const char *name, int spilled, int ms_ago);
void forget_heartbeat(const struct ps_uuid *start);
/* The version of the sale that all share. */
long long shared_version(void);

/* --- orders --- */

/* As a worker of `node` would; nothing is appended. */
struct ps_uuid reserve(struct node *node, const char *user);
/* Records. */
struct oq_event accepted(struct ps_uuid id, const char *user, int64_t epoch);
struct oq_event cancelled(struct ps_uuid id);
struct oq_event fence_of(int64_t epoch);
void append(struct node *node, const struct oq_event *event);
/* sale.archived in each partition, as a gateway that is none of the test's writes it. */
void archive_sale(void);
/* An order of ann's that `node` has reserved and appended; all that run have read it. */
struct ps_uuid buy(struct node *node);

#endif
