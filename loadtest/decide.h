/* After the peak: part of the accepted orders is confirmed, part is cancelled, as a settlement
 * would. Blocking. */
#ifndef LT_DECIDE_H
#define LT_DECIDE_H

#include "loadtest/admin.h"
#include "loadtest/history.h"
#include "loadtest/tally.h"

struct lt_decision {
    struct ps_uuid order_id;
    bool confirm;    /* else cancel */
    bool done;       /* a definite answer came */
    bool said;       /* and it was yes: so it must be in the log, forever */
    int64_t process; /* of the last try, in the history */
};

struct lt_decisions {
    struct lt_decision *list; /* by order id, each once */
    size_t count;
    int64_t confirmed, cancelled; /* said */
    int64_t refused;              /* a definite no: expired meanwhile, for example */
    int64_t unknown;              /* no definite answer in time */
};

/* Which of the promised orders, drawn by `seed`. The shares are 0 to 1, together too. */
struct lt_decide_settings {
    double confirm_share, cancel_share;
    uint64_t seed;
    struct lt_history_file *history; /* what the gateway said is written there; NULL: nowhere */
};

/* Draws among the orders that buyers were promised. PS_E_NOMEM, PS_E_IO, PS_E_CONFLICT (the
 * gateway refused a whole batch), PS_E_CLOSED. Owner of *ret_decisions: lt_decisions_done, after
 * failure too. */
int lt_decide(const struct lt_admin *admin, const struct lt_tally *tally,
              const struct lt_decide_settings *settings, struct lt_decisions *ret_decisions,
              struct ps_fault *fault) PS_MUST_CHECK;
/* NULL: the order is none of them. */
const struct lt_decision *lt_decisions_find(const struct lt_decisions *decisions,
                                            const struct ps_uuid *order_id);
void lt_decisions_done(struct lt_decisions *decisions);

#endif
