/* Judges what clients saw against the order of the log, in O(n log n). What must hold, each under
 * its word in a contradiction's text:
 *
 * - lost: an order that somebody saw accepted, confirmed or released is so in the log, or has gone
 *   on from there; what was seen confirmed stays it, and what was seen released never is.
 * - other: the order that a buy shows is of that user, key, SKU and quantity.
 * - key: one key of a user has one order that was ever accepted.
 * - refused: a key whose every try was surely refused has no order.
 * - back: of two answers of one gateway, one ended before the other was asked for, the later one
 *   shows no earlier state. So a read that begins after "accepted" was read sees the order. Across
 *   gateways this is not promised: each reads the log at its own speed.
 * - order: what was seen before something else was first asked for does not stand behind it in the
 *   log, where both are in one partition. Who confirms and cancels must be in the history. */
#ifndef LT_HISTORY_CHECK_H
#define LT_HISTORY_CHECK_H

#include "loadtest/history.h"
#include "queue/fold.h"

/* The log of one sale, as the checker needs it. One thread. */
struct lt_history_log;

int lt_history_log_new(struct lt_history_log **ret_log) PS_MUST_CHECK;
void lt_history_log_free(struct lt_history_log *log); /* NULL is allowed */
/* As oq_fold_apply: PS_E_NOMEM, PS_E_INVALID. */
int lt_history_log_add(struct lt_history_log *log, uint32_t partition, int64_t seq,
                       const struct oq_event *event) PS_MUST_CHECK;
/* The same for a record in line form. */
int lt_history_log_add_line(struct lt_history_log *log, const char *line, size_t len) PS_MUST_CHECK;

struct lt_history_verdict {
    size_t operations, contradictions;
    char text[300]; /* the first one by its last line; "" when there is none */
};

/* `log` was read after the last operation had ended; it is sorted, and may still grow.
 * PS_E_NOT_FOUND: it has no such sale; PS_E_NOMEM. */
int lt_history_check(const struct lt_history *history, struct lt_history_log *log, const char *sale,
                     struct lt_history_verdict *ret_verdict) PS_MUST_CHECK;

/* The verdict in a line, for people; returns `ret_text`. */
#define LT_HISTORY_WORDS_MAX 400
const char *lt_history_words(const struct lt_history_verdict *verdict,
                             char ret_text[LT_HISTORY_WORDS_MAX]);

#endif
