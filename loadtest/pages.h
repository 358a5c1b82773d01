/* Visitors of a shop's pages beside the buyers: the pages that they request, and the answers. */
#ifndef LT_PAGES_H
#define LT_PAGES_H

#include "loadtest/request.h"
#include "loadtest/response.h"
#include "loadtest/tally.h"

#define LT_PAGES_MAX       64
#define LT_PAGE_PATH_MAX   255
#define LT_CACHE_WORDS_MAX 8

struct lt_page {
    char path[LT_PAGE_PATH_MAX + 1]; /* with its query */
    double weight;                   /* its share of the visits, relative to other weights */
    struct lt_request request;
    uint64_t offered;
    struct ps_histogram latency; /* of visits that were answered */
    uint64_t cache[LT_CACHE_WORDS_MAX];
};

/* A mix of pages, and its results. One thread. */
struct lt_pages {
    double weights;                 /* the sum */
    struct lt_plan *plan;           /* of the visits, each by another visitor */
    struct lt_tally *tally;         /* over all pages */
    char cache[LT_CACHE_WORDS_MAX]  /* words of Cache-Status, in order of first appearance; */
              [LT_CACHE_WORD_SIZE]; /* "" ends them */
    size_t count;
    struct lt_page page[];
};

/* "/=5,/reviews/lamp=1": paths with weights (default 1), separated by commas; "@" and the name of a
 * file that has such a text, separated by commas or lines. PS_E_INVALID, PS_E_IO, PS_E_NOMEM.
 * Owner: the caller (lt_pages_free). */
int lt_pages_parse(const char *text, struct lt_pages **ret_pages,
                   struct ps_fault *fault) PS_MUST_CHECK;
void lt_pages_free(struct lt_pages *pages); /* NULL is allowed */

/* Plans `rate` visits a second for this duration, at random moments. PS_E_INVALID: too many;
 * PS_E_NOMEM.
 */
int lt_pages_plan(struct lt_pages *pages, double rate, int64_t length_ms, uint64_t seed,
                  struct ps_fault *fault) PS_MUST_CHECK;
/* Makes the requests. PS_E_FULL: the names are too long. */
int lt_pages_address(struct lt_pages *pages, const struct lt_names *names) PS_MUST_CHECK;

/* The page that a visitor requests: the same each time. */
size_t lt_pages_pick(const struct lt_pages *pages, const struct lt_click *visit);
void lt_pages_add(struct lt_pages *pages, const struct lt_answer *answer);

#endif
