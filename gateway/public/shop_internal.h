/* What shop.c (to the shop and back) and fallback.c (what answers in its place) share. */
#ifndef PUB_SHOP_INTERNAL_H
#define PUB_SHOP_INTERNAL_H

#include "gateway/public/request.h"
#include "gateway/upstream/route_figures.h"

/* --- shop.c --- */

/* Sends the request there; `target` NULL: for no split and not as the route's own. If that is not
 * possible, falls back. */
void pub_shop_send(struct pub_request *request, const struct up_pool_view *pool,
                   struct up_target *target);
/* The same of a request that is not the client's own (cached.fetch); NULL: it is not possible. */
struct up_exchange *pub_shop_start(struct pub_request *request, const struct up_pool_view *pool,
                                   struct up_target *target);
/* Keeps the request beyond its handler, if it is not kept already. */
void pub_shop_keep(struct pub_request *request);
/* What an exchange tells; their `ctx` is the pub_request. */
extern const struct up_callbacks pub_shop_callbacks;
/* Answers with what a document holds. `why` (one line of a field, or NULL) goes into
 * Penstock-Fallback. */
void pub_shop_answer(struct pub_request *request, const struct cfg_static *fixed,
                     const char *location, const char *why);
/* Answers with a problem document. */
void pub_shop_refuse(struct pub_request *request, enum ans_verdict verdict,
                     const struct ans_problem_detail *detail);

/* --- shop_cache.c --- */

/* What the request says of caches; a user who is known to the shop by X-User-Id is as good as
 * Authorization (RFC 9111, 3.5). */
struct cache_asked pub_cache_asked(const struct pub_request *request);
/* Answers with the entry, which is taken over, or what the request needs of it. */
void pub_cache_answer(struct pub_request *request, struct cache_entry *entry);
int64_t pub_cache_now_ms(const struct pub_listener *listener);

/* --- shop_fetch.c --- */

/* Takes over what was found: a fill, and maybe an entry to ask about. `request` NULL: it has no
 * client. NULL: no memory, and nothing is taken over. */
struct pub_fetch *pub_fetch_new(struct pub_listener *listener, struct pub_request *request,
                                struct cache_found *found);
/* Fetches what was found stale while the request is answered with it; takes the fill over. */
void pub_fetch_behind(struct pub_request *request, struct cache_found *found);
/* What is asked for otherwise than the client did. */
void pub_fetch_origin(const struct pub_fetch *fetch, struct up_origin *origin);
/* Its client has left. True: it goes on. False: it is gone, and its exchange is to be cancelled. */
bool pub_fetch_leave(struct pub_fetch *fetch);

/* --- fallback.c --- */

/* Is there a reason not to ask the shop at all? An operator's order, or the ladder; then the
 * request is answered, or falls back. */
bool pub_fallback_first(struct pub_request *request);
/* The pool does not answer: the next fall-back does, or a problem document. `outcome` as
 * up_forward and `failed` have it. */
void pub_fallback_next(struct pub_request *request, enum up_outcome outcome);
/* The value of Penstock-Fallback for an answer of a fall-back pool; false: it is none, and nothing
 * is printed. */
#define PUB_FALLBACK_MAX 48
bool pub_fallback_print(const struct pub_request *request, char ret_text[PUB_FALLBACK_MAX]);
/* An answer of a fall-back has begun. */
void pub_fallback_count(const struct pub_request *request);

#endif
