/* Gateways of a test that share one Redis: a store each, all on one loop, and calls that wait. */
#ifndef STORE_REDIS_FIXTURE_H
#define STORE_REDIS_FIXTURE_H

#include "inventory/shared.h"
#include "inventory/store_redis.h"
#include "tests/contract/redis_server.h"

#define SKUS  2
#define EPOCH 5
#define STOCK 10

/* One process, as far as the store can tell. */
struct gateway {
    struct inv_redis *redis;
    struct inv_store *store;
    struct inv_sale *sale; /* "drop", once loaded or attached */
    unsigned ready, away, fenced, errors;
    int err;        /* of the last on_away or on_error */
    char text[400]; /* the same */
};

extern uv_loop_t fixture_loop;
extern const char *const fixture_skus[SKUS]; /* black, white */

/* What each test has: a server that is empty but for the sale "drop", which `one` has opened under
 * EPOCH, with STOCK of each SKU. */
extern struct redis_server server;
extern struct gateway one, two;
int set_up(void **state);
int tear_down(void **state); /* stops `two` as well, if it runs */
/* `two` is ready, and has the sale too. */
void start_two(void);
/* The server's, with these words in it; until the next call. */
char *url_of(const char *login, const char *database);

void gateway_start(struct gateway *gateway, uint8_t number, const char *url);
/* Waits until it is ready, and its calls all go through. */
void gateway_ready(struct gateway *gateway);
void gateway_stop(struct gateway *gateway);
void turn(void);
/* Turns the loop for so long. */
void turn_ms(unsigned ms);
/* Until nothing of it is unsent or unanswered. */
void rest(struct gateway *gateway);

struct ps_uuid numbered(unsigned number);
struct inv_reservation wish(unsigned number, const char *user, const char *key, int64_t epoch);

/* An answer to a reservation that may still be under way. */
struct answer {
    unsigned times;
    int err;
    struct inv_answer answer;
};
/* Begins one. A refusal, or a result at once, counts as an answer. */
void reserve_later(struct gateway *gateway, const struct inv_reservation *r, struct answer *answer);
/* Begins and waits; the error or the result. */
int reserve(struct gateway *gateway, const struct inv_reservation *r);
int buy(struct gateway *gateway, unsigned number, const char *user, const char *key);
void resolve(struct gateway *gateway, unsigned number, enum inv_verdict verdict);
/* Of black. An error instead of `available` if there is one. */
struct inv_count counts(struct gateway *gateway);

/* A load with STOCK of each SKU, nothing else. */
struct inv_load *load_of(struct gateway *gateway, int64_t epoch);
void load_order(struct inv_load *load, unsigned number, const char *user, const char *key);
/* Installs such a load. */
void open_sale(struct gateway *gateway, int64_t epoch);
int attach(struct gateway *gateway, int64_t least_epoch);
int cur(struct gateway *gateway, struct inv_installed *ret);

/* What a walk over all pages of what is in doubt has found. */
struct doubts {
    size_t count, pages;
    int err;
    struct inv_doubt first; /* found */
    bool seen[4096];        /* by number */
};
void walk_doubts(struct gateway *gateway, int64_t age_ms, struct doubts *ret);

#endif
