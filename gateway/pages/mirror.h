/* Mirrored requests: a share of a route's GET requests is sent to another pool, too, and what comes
 * back is dropped. Nobody waits for a copy: it is not tried again, it is left out where there is no
 * place, and no answer waits for it. It carries Penstock-Shadow: ?1. One thread. */
#ifndef PAGE_MIRROR_H
#define PAGE_MIRROR_H

#include <stddef.h>
#include <sys/queue.h>

struct page_mirror;
struct page_request;

#define PAGE_MIRRORS_MAX 64 /* under way, of one worker */

/* The copies of one worker; all zero: none is under way. */
struct page_mirrors {
    LIST_HEAD(, page_mirror) all;
    size_t count;
};

/* Sends a copy of a page that was sent, if it is this one's turn. */
void page_mirror_send(struct page_request *page);
/* Ends them all. */
void page_mirrors_cancel(struct page_mirrors *mirrors);

#endif
