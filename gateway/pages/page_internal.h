/* What page.c (the steps) uses from the files below it: reply.c (answers), key.c (what the shop is
 * asked, and the key of its answer), lookup.c (the cache), fetch.c (exchanges and fills),
 * fallback.c. They call page.c by page_events alone. */
#ifndef PAGE_PAGE_INTERNAL_H
#define PAGE_PAGE_INTERNAL_H

#include "gateway/pages/page.h"
#include "gateway/upstream/fields.h"

/* Events for a page that waits. */
struct page_events {
    struct up_callbacks exchange; /* its `ctx` is the page */
    /* Its fetch has ended with an entry, which the page takes over: the shop has revalidated it
     * (304), or has failed and the entry may be served stale. */
    void (*entry)(struct page_request *page, struct cache_entry *entry);
    /* Its fetch has ended with a 304 that belongs to another entry: send it again. */
    void (*again)(struct page_request *page);
};

/* --- page.c, for look.c --- */

/* Is there a route for it, and nothing wrong with it? Else the verdict, and its text or NULL. */
bool page_is_served(const struct page_request *page, enum ans_verdict *ret_verdict,
                    const char **ret_text);
/* The index of the split that this request belongs to; UP_NONE: none. `draws` as
 * up_switch_pick. */
size_t page_split(const struct page_request *page, uint64_t *draws);
/* Sets pool and target: those of the split, or, UP_NONE, the route's own. */
void page_take_split(struct page_request *page, size_t split);

/* --- reply.c, with page_refuse. Each answers, ends the page and returns PAGE_ENDED. --- */

/* Ends the page and releases what it holds; call it before the answer is sent. */
void page_end(struct page_request *page, enum page_end end);
/* Keeps the request beyond its handler, if it is not yet kept. */
void page_keep(struct page_request *page);
enum page_state page_refuse_as(struct page_request *page, enum page_end end,
                               enum ans_verdict verdict, const struct ans_problem_detail *detail);
/* Answers with the body of a document. `location` and `why` (Penstock-Fallback) may be NULL. */
enum page_state page_answer_own(struct page_request *page, enum page_end end,
                                const struct cfg_static *fixed, const char *location,
                                const char *why);
/* What page_answer_entry would answer. */
enum ans_verdict page_entry_verdict(const struct page_request *page,
                                    const struct cache_entry *entry, int *ret_status);
/* Answers with the entry, or the requested part of it; takes the entry over. */
enum page_state page_answer_entry(struct page_request *page, enum page_end end,
                                  struct cache_entry *entry);

/* --- key.c --- */

/* Memory for texts that the shop gets in changed form. */
struct page_texts {
    char query[CACHE_KEY_MAX], host[CACHE_KEY_MAX];
};
/* What to send to the shop. */
void page_origin(const struct page_request *page, struct page_texts *texts,
                 struct up_origin *ret_origin);
/* What the request says about caching. */
struct cache_asked page_asked(const struct page_request *page);
/* Writes the key of the answer from this pool. False: the answer is not kept. */
bool page_key_put(const struct page_request *page, const char *pool, struct ps_buf *key);
/* Writes the key of the address that a field of an answer names, if it has the same origin. */
bool page_key_put_named(const struct page_request *page, struct ps_str named, const char *pool,
                        struct ps_buf *key);

/* --- lookup.c --- */

int64_t page_now_ms(const struct page_worker *worker);
/* Looks the page up. False: the cache does not apply to this page. */
bool page_ask(struct page_request *page, struct cache_found *ret_found);
/* What page_ask would find, without effect; `key` gets the key. */
bool page_ask_look(struct page_request *page, struct ps_buf *key, struct cache_found *ret_found);
/* The cached entry, of any age; the caller owns it. NULL: none that may be served stale. */
struct cache_entry *page_find_stale(const struct page_request *page);
/* May a stale entry be served after a failure of the shop? */
bool page_may_be_stale(const struct page_request *page, const struct cache_entry *entry);
/* After an answer of the shop: removes what a successful unsafe request made invalid (RFC 9111,
 * 4.4). */
void page_invalidate(const struct page_request *page, const struct up_answer *answer);

/* --- fetch.c --- */

/* The hash of the value that the pool's algorithm uses; the same on every gateway. */
uint64_t page_balance_key(const struct page_request *page, const struct cfg_pool *pool);
/* Sends the page to `sent_to`. False: *ret_end says why. */
bool page_send(struct page_request *page, enum up_end *ret_end);
/* Takes over the result of a look-up: a fill, and maybe an entry to revalidate. The page then
 * fetches for all who arrive meanwhile; out of memory, it fetches for itself alone. */
void page_fetch_open(struct page_request *page, struct cache_found *found);
/* Revalidates a stale entry in the background while the page is answered with it; takes the fill
 * over. */
void page_fetch_behind(struct page_request *page, struct cache_found *found);
/* The page needs no exchange any more. True: the exchange continues, for others who wait. */
bool page_leave(struct page_request *page, enum up_why why);
void page_fetches_stop(struct page_worker *worker);

/* --- fallback.c --- */

/* Should the shop not be asked at all, because of an override or the ladder? */
bool page_is_out(struct page_request *page);
/* Notes why the pool does not answer; `end` as in up_forward and `failed`. */
void page_note_trouble(struct page_request *page, enum up_end end);
enum page_state page_fall_back(struct page_request *page);
/* The next fallback that can answer, and takes it as the present one; fallback_count: none is
 * left. `stale`: the cache has an answer. */
size_t page_next_fallback(struct page_request *page, bool stale);
/* What is answered when none is left. */
enum ans_verdict page_give_up_verdict(const struct page_request *page,
                                      struct ans_problem_detail *ret_detail);
/* Writes the value of Penstock-Fallback; false: no fallback answers, and nothing is written. */
#define PAGE_WHY_MAX 48
bool page_put_why(const struct page_request *page, char ret_text[PAGE_WHY_MAX]);
/* Counts an answer of a fallback that has begun. */
void page_count_fallback(const struct page_request *page);

#endif
