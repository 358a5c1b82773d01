/* The status page of a sale: prepared once, sent often. Each worker has its own pages; one is built
 * again when it is asked for and older than 100 ms, or the policy has changed. */
#ifndef GW_STATUS_PAGE_H
#define GW_STATUS_PAGE_H

#include "common/err.h"

#include <stddef.h>

struct gw_pages;
struct gw_worker;
struct gw_request;
struct gw_sale;

int gw_pages_new(struct gw_pages **ret_pages) PS_MUST_CHECK;
void gw_pages_free(struct gw_pages *pages); /* NULL is allowed */
/* The policy has changed: every page is built anew. */
void gw_pages_forget(struct gw_pages *pages);
/* Answers GET and HEAD: 200, or 304 when If-None-Match names the page's ETag. */
void gw_status_answer(struct gw_worker *worker, struct gw_request *request,
                      const struct gw_sale *sale);
/* True when the If-None-Match field's value names `etag` (quoted): "*", or a list with weak
 * comparison (RFC 9110, 13.1.2). */
bool gw_etag_listed(struct ps_str field, const char *etag);

#endif
