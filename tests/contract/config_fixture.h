/* What the tests of shared decisions see: gateways that share what operators decide over one real
 * Redis. Of each only the control thread's memory and its control.db run, all on one loop; their
 * log is away, so no sale is opened. How a gateway keeps what was decided, and which keys Redis
 * has, stands in config_fixture.c alone. */
#ifndef CONFIG_FIXTURE_H
#define CONFIG_FIXTURE_H

#include "tests/contract/redis_server.h"
#include "tests/unit/check.h"

#include "common/text/id.h"
#include "gateway/config/store/store.h"

struct node; /* a gateway */

extern struct redis_server server;
extern struct node *const a, *const b, *const c;

/* Setup and teardown: the server runs, no gateway does. */
int make(void **state);
int drop(void **state);
/* Alone until share(). */
void start(struct node *node);
/* Begins to share; is_synced tells when it has all. */
void share(struct node *node);
/* Both, and until it has all. */
void start_shared(struct node *node);
void stop(struct node *node);
/* From now on it makes keys of references, once it may. */
void make_ref_keys(struct node *node);
struct cfg_store *store_of(const struct node *node);
/* One turn of the loop; where a snapshot was published, the worker that there is not takes it over.
 */
void turn(void);
void turn_ms(uint64_t ms);

/* --- what a gateway has --- */

int64_t version_of(const struct node *node, const char *sale); /* 0: there is none */
int64_t stock_of(const struct node *node, const char *sale);
void until_version(const struct node *node, const char *sale, int64_t version);
size_t sale_count(const struct node *node);
int64_t deletion_of(const struct node *node, const char *sale); /* its version; 0: none */
bool has_document(const struct node *node, const struct cfg_kind *kind, const char *name);
int64_t revision_of(const struct node *node);
int64_t rate_of(const struct node *node, const char *rule); /* 0: there is none */
size_t rule_count(const struct node *node);
bool blocked(const struct node *node, const char *user);
size_t block_count(const struct node *node);
bool is_blocklist_sorted(const struct node *node);
bool is_synced(const struct node *node);
bool is_ready(const struct node *node);
const char *control_db(const struct node *node); /* its path */
char *audit_lines(const struct node *node);      /* the caller's */

/* --- changes --- */

/* A change and what was heard of it. */
struct change {
    const struct node *node;
    const char *sale; /* NULL: it is about something else */
    int err;          /* 1 until it is answered */
    struct ps_fault fault;
    int64_t version_heard; /* of the sale, in memory, when it was answered */
};

/* A sale of one SKU as version `version`; an entry of the blocklist. */
void begin_sale(struct node *node, const char *name, int stock, int64_t version,
                struct change *change);
void begin_block(struct node *node, const char *user, int64_t until_ms, struct change *change);
/* A document of any kind; `text` NULL: deletes it. */
void begin_document(struct node *node, const struct cfg_kind *kind, const char *name,
                    const char *text, struct change *change);
/* Waits for it: 0 or the error. */
int answer(struct change *change);

/* The same, with the answer. */
int put_sale(struct node *node, const char *name, int stock, int64_t version);
int delete_sale(struct node *node, const char *name);
int put_block(struct node *node, const char *user);
int put_rule(struct node *node, const char *name, int64_t rate);
/* The rule and the user's entry, each if it is not "". */
int drop_entries(struct node *node, const char *rule, const char *user);
/* What the settings name and is not there yet; either may be NULL. */
void seed(struct node *node, json_t *bundle);
/* `a` and `b` run and know one sale, spring. */
void share_spring(void);

/* --- what Redis has --- */

bool is_shared(const char *document); /* "sales/spring", "blocklist/users/mallory" */
bool is_anything_shared(void);
/* How many documents have changed last, together. */
long long shared_with_last_change(void);
/* Another hand: a document as text; another program's key in place of all of it. */
void put_shared(const char *document, const char *text, int change);
void take_shared_key(void);
bool is_shared_key_taken(void);
void give_shared_key_back(void);

#endif
