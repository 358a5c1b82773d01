/* The bytes of a buyer's click. */
#ifndef LT_REQUEST_H
#define LT_REQUEST_H

#include "common/buf.h"
#include "common/mark.h"
#include "loadtest/plan.h"

#define LT_REQUEST_MAX 1280

/* The parts of a request that are the same for every buyer. */
struct lt_request {
    char head[512]; /* up to and with the user prefix */
    size_t head_len;
    char address[80]; /* the address header, up to the numbers that differ */
    size_t address_len;
    char mark[PS_MARK_TEXT_MAX + 32]; /* the header of a rehearsal's mark; "" = none */
    size_t mark_len;
    char tail[160]; /* Content-Length, the empty line and the body */
    size_t tail_len;
};

/* PS_E_FULL: names, host and header together are too long. */
int lt_request_init(struct lt_request *request, const char *authority, const char *sale,
                    const char *sku, const char *address_header,
                    const char *user_prefix) PS_MUST_CHECK;
/* The same for visitors who ask for a page, by its path with its query. */
int lt_request_init_page(struct lt_request *request, const char *authority, const char *path,
                         const char *address_header, const char *user_prefix) PS_MUST_CHECK;
/* From now on requests carry this mark, of at most PS_MARK_TEXT_MAX bytes. */
void lt_request_mark(struct lt_request *request, const char *mark);
/* Writes at most LT_REQUEST_MAX bytes into `text`; how many. Buyers come from addresses of
 * 198.18.0.0/15, which is set aside for load tests (RFC 2544), one after the other. */
size_t lt_request_write(const struct lt_request *request, const struct lt_click *click,
                        char text[LT_REQUEST_MAX]);

#endif
