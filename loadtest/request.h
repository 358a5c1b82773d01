/* The bytes of a buyer's click. */
#ifndef LT_REQUEST_H
#define LT_REQUEST_H

#include "common/text/buf.h"
#include "common/text/id.h"
#include "common/text/mark.h"
#include "loadtest/plan.h"

#define LT_REQUEST_MAX 1280

/* The parts of a request that are the same for every buyer. */
struct lt_request {
    char head[512]; /* up to and including the user prefix */
    size_t head_len;
    char address[80]; /* the address header, up to the varying part */
    size_t address_len;
    char mark[PS_MARK_TEXT_MAX + 32]; /* the header of a rehearsal's mark; "" = none */
    size_t mark_len;
    const struct lt_plan_spec *wants; /* the wishes; NULL: a page, without a body */
    struct {
        char text[96]; /* the body up to the quantity */
        size_t len;
    } body[LT_SKUS_MAX];
};

/* Names that all requests of a run use. */
struct lt_names {
    const char *authority;      /* of the gateway: HOST:PORT */
    const char *address_header; /* which header has a client's address */
    const char *user_prefix;    /* client n is user "<prefix><n>" */
};

/* `skus` are the names of `wants->skus` SKUs; `wants` is a plan's and is kept. PS_E_FULL: names,
 * host and header together are too long. */
int lt_request_init(struct lt_request *request, const struct lt_names *names, const char *sale,
                    const struct lt_plan_spec *wants, const struct lt_sku *skus) PS_MUST_CHECK;
/* The same for visitors who ask for a page, by its path with its query. */
int lt_request_init_page(struct lt_request *request, const struct lt_names *names,
                         const char *path) PS_MUST_CHECK;
/* The Idempotency-Key of the click's wish: "click-5", and "click-5-1" for the second one. Its
 * length; it ends with no NUL. */
#define LT_KEY_SIZE 32
size_t lt_request_key(const struct lt_click *click, char ret_key[LT_KEY_SIZE]);
/* Sets the mark of all further requests, of at most PS_MARK_TEXT_MAX bytes. */
void lt_request_mark(struct lt_request *request, const char *mark);
/* Writes at most LT_REQUEST_MAX bytes into `text`; returns their number. Buyers come from addresses
 * of 198.18.0.0/15, which is reserved for load tests (RFC 2544), in turn. */
size_t lt_request_write(const struct lt_request *request, const struct lt_click *click,
                        char text[LT_REQUEST_MAX]);

#endif
