/* Mirrored requests: a share of a route's GET requests also goes to another pool, whose answers are
 * dropped. A copy is sent once, and only if there is a place; no client waits for it. It carries
 * Penstock-Mirror: ?1. One thread. */
#ifndef PAGE_MIRROR_H
#define PAGE_MIRROR_H

#include <stddef.h>
#include <sys/queue.h>

struct page_mirror;
struct page_request;

#define PAGE_MIRRORS_MAX 64 /* under way at once, for each worker */

/* The copies of one worker; all zero: none. */
struct page_mirrors {
    LIST_HEAD(, page_mirror) all;
    size_t count;
};

/* Sends a copy of a page that was sent, if this request should be mirrored. */
void page_mirror_send(struct page_request *page);
/* Cancels all copies. */
void page_mirrors_cancel(struct page_mirrors *mirrors);

#endif
