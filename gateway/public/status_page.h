/* The status page of a sale: prepared once, sent often. Each worker has its own pages; one is built
 * again when it is asked for and older than 100 ms, or the policy has changed. */
#ifndef PUB_STATUS_PAGE_H
#define PUB_STATUS_PAGE_H

#include "common/err.h"

struct pub_pages;
struct pub_request;
struct cfg_sale;

int pub_pages_new(struct pub_pages **ret_pages) PS_MUST_CHECK;
void pub_pages_free(struct pub_pages *pages); /* NULL is allowed */
/* The policy has changed: every page is built anew. */
void pub_pages_forget(struct pub_pages *pages);
/* Answers GET and HEAD: 200, or 304 when If-None-Match names the page's ETag. */
void pub_status_page_answer(struct pub_request *request, const struct cfg_sale *sale);

#endif
