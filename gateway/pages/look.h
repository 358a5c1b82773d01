/* What a page would come to now: the steps of page.c without effect. Nothing is sent, counted or
 * kept. */
#ifndef PAGE_LOOK_H
#define PAGE_LOOK_H

#include "gateway/admission/look.h"
#include "gateway/pages/page.h"

struct page_look {
    /* Input. All of it outlives the look. */
    const struct page_worker *worker;
    const struct adm_gates_copy *gates;
    struct srv_request *http;  /* described: its head, arrived_ns and now_ns */
    struct adm_request *asked; /* who asks */
    bool trusted;              /* its peer is a trusted proxy */
    int64_t wall_ms;           /* for the ends of blocks */
    struct adm_look *look;     /* "route", the gates, "class", "cache", "pool", "fallback" */
    /* Output; the pointers are valid until page_look_done. */
    enum ans_verdict verdict;
    int status;                         /* 0: the shop decides */
    const struct up_route_view *route;  /* NULL: none */
    const struct up_pool_view *pool;    /* that would be asked, or would have been; NULL: none */
    const struct up_endpoint *endpoint; /* that would be taken; NULL: none */
    const char *cache;                  /* fresh, stale, miss, revalidate, wait, absent, bypass;
                                           NULL: not looked up */
    size_t fallback; /* the one that answers, index into route->doc->fallbacks; SIZE_MAX: none */
    size_t key_len;
    char key[CACHE_KEY_MAX];
    /* Private. */
    struct page_request page;
    struct page_worker copied;
};

void page_look(struct page_look *look);
/* Releases what the output points to. */
void page_look_done(struct page_look *look);

#endif
