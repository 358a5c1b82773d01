/* The status page of a sale: prepared once, sent often. Each worker has its own pages; it rebuilds
 * one that is requested and older than 100 ms, or older than the last change of the snapshot. */
#ifndef PUB_STATUS_PAGE_H
#define PUB_STATUS_PAGE_H

#include "common/err.h"

struct pub_status_pages;
struct pub_request;
struct snap_sale;

int pub_status_pages_new(struct pub_status_pages **ret_pages) PS_MUST_CHECK;
void pub_status_pages_free(struct pub_status_pages *pages); /* NULL is allowed */
/* The snapshot has changed: every page is rebuilt. */
void pub_status_pages_forget(struct pub_status_pages *pages);
/* Answers GET and HEAD: 200, or 304 when If-None-Match names the page's ETag. */
void pub_status_page_answer(struct pub_request *request, const struct snap_sale *sale);

#endif
