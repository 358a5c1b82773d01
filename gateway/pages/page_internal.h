/* What page.c (the way) has from the files below it: reply.c (answers), key.c (what the shop is
 * asked, and what that is kept under), lookup.c (the cache), fetch.c (exchanges and fills),
 * fallback.c (what stands in for a pool). They tell page.c by page_events alone. */
#ifndef PAGE_PAGE_INTERNAL_H
#define PAGE_PAGE_INTERNAL_H

#include "gateway/pages/page.h"
#include "gateway/upstream/fields.h"

/* What happens to a page that waits. */
struct page_events {
    struct up_callbacks exchange; /* `ctx` is the page */
    /* Its fetch has ended with an entry, which is taken over: the shop has freshened it (304), or
     * has failed, and it may be stale. */
    void (*entry)(struct page_request *page, struct cache_entry *entry);
    /* Its fetch has ended with a 304 of another entry: send it anew. */
    void (*again)(struct page_request *page);
};

/* --- reply.c, with page_refuse. Each answers, ends the page and returns PAGE_ENDED. --- */

/* Ends the page and gives back what it holds; before its answer leaves. */
void page_end(struct page_request *page, enum page_end end);
/* Keeps the request beyond its handler, if it is not kept already. */
void page_keep(struct page_request *page);
enum page_state page_refuse_as(struct page_request *page, enum page_end end,
                               enum ans_verdict verdict, const struct ans_problem_detail *detail);
/* With what a document holds. `location` and `why` (Penstock-Fallback) may be NULL. */
enum page_state page_answer_own(struct page_request *page, enum page_end end,
                                const struct cfg_static *fixed, const char *location,
                                const char *why);
/* With the entry, which is taken over, or what the request needs of it. */
enum page_state page_answer_entry(struct page_request *page, enum page_end end,
                                  struct cache_entry *entry);

/* --- key.c --- */

/* Memory of texts that the shop gets in another form than they came. */
struct page_texts {
    char query[CACHE_KEY_MAX], host[CACHE_KEY_MAX];
};
/* What the shop is asked. */
void page_origin(const struct page_request *page, struct page_texts *texts,
                 struct up_origin *ret_origin);
/* What the request says of caches. */
struct cache_asked page_asked(const struct page_request *page);
/* What its answer from this pool is kept under. False: it is not kept. */
bool page_key_put(const struct page_request *page, const char *pool, struct ps_buf *key);
/* The same of what a field of an answer names, if it is of the same origin. */
bool page_key_put_named(const struct page_request *page, struct ps_str named, const char *pool,
                        struct ps_buf *key);

/* --- lookup.c --- */

int64_t page_now_ms(const struct page_worker *worker);
/* Asks the cache. False: it has no say in this page. */
bool page_ask(struct page_request *page, struct cache_found *ret_found);
/* What it has, however stale; the caller's. NULL: nothing that may ever be used so. */
struct cache_entry *page_find_stale(const struct page_request *page);
/* May a stale entry serve now that the shop has failed? */
bool page_may_be_stale(const struct page_request *page, const struct cache_entry *entry);
/* The shop has answered: what a successful unsafe request has made invalid goes (RFC 9111, 4.4). */
void page_invalidate(const struct page_request *page, const struct up_answer *answer);

/* --- fetch.c --- */

/* Sends the page to `sent_to`. False: *ret_outcome says why. */
bool page_send(struct page_request *page, enum up_outcome *ret_outcome);
/* Takes over what was found, a fill and maybe an entry to ask about: the page fetches for all who
 * come while it does. Without memory it fetches for itself. */
void page_fetch_open(struct page_request *page, struct cache_found *found);
/* Fetches what was found stale, while the page is answered with it; takes the fill over. */
void page_fetch_behind(struct page_request *page, struct cache_found *found);
/* The page needs no exchange any more. True: the exchange goes on, for those who wait. */
bool page_leave(struct page_request *page);
void page_fetches_stop(struct page_worker *worker);

/* --- fallback.c --- */

/* Is there a reason not to ask the shop at all? An operator's, or the ladder's. */
bool page_is_out(struct page_request *page);
/* The pool does not answer; `outcome` as up_forward and `failed` have it. */
void page_note_trouble(struct page_request *page, enum up_outcome outcome);
enum page_state page_fall_back(struct page_request *page);
/* The value of Penstock-Fallback; false: no fallback answers, and nothing is printed. */
#define PAGE_WHY_MAX 48
bool page_put_why(const struct page_request *page, char ret_text[PAGE_WHY_MAX]);
/* An answer of a fallback has begun. */
void page_count_fallback(const struct page_request *page);

#endif
