/* The proof: what buyers were told, what the log says, and what the gateway says of itself,
 * compared with each other. */
#ifndef LT_PROOF_H
#define LT_PROOF_H

#include "loadtest/decide.h"
#include "loadtest/history_check.h"
#include "loadtest/tally.h"
#include "queue/audit.h"

enum lt_check_name {
    LT_CHECK_OVERSOLD, /* the log gives away no more units than there are */
    LT_CHECK_LOST,     /* every promised order is in the log, the buyer's own, in force or ended */
    LT_CHECK_TWICE,    /* nobody was promised, or has, more than one buyer may have */
    LT_CHECK_PROMISES, /* no more promises than units */
    LT_CHECK_DECIDED,  /* what was said to be confirmed or cancelled is so in the log */
    LT_CHECK_LEGIBLE,  /* no answer, which may have been a promise, was unreadable */
    LT_CHECK_AUDITOR,  /* the auditor finds nothing in the records */
    LT_CHECK_GATEWAY,  /* the gateway's own audit finds no fault and has the same numbers */
    LT_CHECK_SETTLED,  /* nothing is in doubt any more */
    LT_CHECK_HISTORY,  /* what clients saw, in the order of time, fits the log (--history) */
    LT_CHECK_TRIED,    /* somebody got an order, and nobody got a 401 */
    LT_CHECKS
};

/* Units of one SKU, by the log. */
struct lt_proof_sku {
    char name[PS_NAME_MAX + 1];
    int64_t stock, held, confirmed, released, available;
    int64_t promised; /* units whose promises were in force when the last buyer had got an answer */
};

struct lt_check {
    const char *name; /* "oversold" */
    bool ok;
    bool applied;   /* false: there was nothing to check, which is ok */
    char text[400]; /* what was found, for people */
};

struct lt_proof {
    bool made; /* false: `why_not`, and nothing else holds */
    bool ok;
    char why_not[400];
    struct lt_check checks[LT_CHECKS];
    int64_t records;                            /* read from the log */
    struct lt_proof_sku skus[LT_SKUS_MAX], sum; /* by the log */
    size_t sku_count;
    int64_t oversold, lost, twice;
    int64_t promised;    /* different orders that buyers were told are accepted */
    int64_t orders;      /* in the log, and not void */
    int64_t found_again; /* of these, whose buyer lost the answer and was shown it by a replay */
    int64_t unreported;  /* of these, whose answer no buyer read */
    char first_lost[PS_UUID_LEN + 32];                    /* the order and its buyer, for people */
    int64_t confirmed_said, cancelled_said;               /* by the gateway */
    int64_t broken_decisions;                             /* of these, not so in the log */
    int64_t pending_accepted, pending_void, pending_gone; /* what became of each "pending" */
    json_t *auditor, *gateway;                            /* the two reports; owned */
};

struct lt_evidence {
    const struct lt_tally *tally;
    const struct lt_decisions *decisions;
    struct oq_audit *audit; /* has read `records` records of the log */
    int64_t records;
    json_t *gateway; /* the gateway's own audit */
    const char *sale;
    const struct lt_plan_spec *plan; /* who wanted what, and the caps; filled in */
    const struct lt_sku *skus;       /* its SKUs */
    const char *user_prefix;         /* buyer n is user "<prefix><n>" */
};

/* PS_E_NOT_FOUND: the records have no such sale; PS_E_NOMEM. *ret_proof's reports are references of
 * its own; owner: the caller (lt_proof_done). */
int lt_proof_make(const struct lt_evidence *evidence, struct lt_proof *ret_proof) PS_MUST_CHECK;
/* Adds to a proof that was made what --history found. */
void lt_proof_history(struct lt_proof *proof, const struct lt_history_verdict *verdict);
void lt_proof_done(struct lt_proof *proof);
/* The outcome in a few words, for people. */
const char *lt_proof_words(const struct lt_proof *proof);

#endif
