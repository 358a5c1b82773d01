/* The proof: compares the answers that buyers got, the order log, and what the gateway reports
 * about itself. */
#ifndef LT_PROOF_H
#define LT_PROOF_H

#include "loadtest/decide.h"
#include "loadtest/history_check.h"
#include "loadtest/tally.h"
#include "queue/audit.h"

enum lt_check_name {
    LT_CHECK_OVERSOLD, /* the log sells no more units than exist */
    LT_CHECK_LOST,     /* every promised order is in the log, the buyer's own, in force or ended */
    LT_CHECK_TWICE,    /* no buyer was promised, or has, more than allowed */
    LT_CHECK_PROMISES, /* no more promises than units */
    LT_CHECK_DECIDED,  /* orders reported as confirmed or cancelled are so in the log */
    LT_CHECK_LEGIBLE,  /* no answer was unreadable: it could have been a promise */
    LT_CHECK_AUDITOR,  /* the auditor finds nothing in the records */
    LT_CHECK_GATEWAY,  /* the gateway's own audit found no difference and has the same numbers */
    LT_CHECK_SETTLED,  /* nothing is in doubt at the end */
    LT_CHECK_HISTORY,  /* the history that clients saw fits the log (--history) */
    LT_CHECK_TRIED,    /* at least one order was made, and no 401 occurred */
    LT_CHECKS
};

/* Units of one SKU, by the log. */
struct lt_proof_sku {
    char name[PS_NAME_MAX + 1];
    int64_t stock, held, confirmed, released, available;
    int64_t promised; /* units whose promises were in force when the last buyer got an answer */
};

struct lt_check {
    const char *name; /* "oversold" */
    bool ok;
    bool applied;   /* false: nothing to check, which counts as ok */
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
    int64_t promised;    /* distinct orders that answers reported as accepted */
    int64_t orders;      /* in the log, and not void */
    int64_t found_again; /* of these, the answer was lost and a replay returned the order */
    int64_t unreported;  /* of these, no buyer received an answer */
    char first_lost[PS_UUID_LEN + 32];                    /* the order and its buyer, for people */
    int64_t confirmed_said, cancelled_said;               /* as the gateway reported */
    int64_t broken_decisions;                             /* of these, not in the log */
    int64_t pending_accepted, pending_void, pending_gone; /* outcomes of "pending" answers */
    json_t *auditor, *gateway;                            /* the two reports; owned */
};

struct lt_evidence {
    const struct lt_tally *tally;
    const struct lt_decisions *decisions;
    struct oq_audit *audit; /* has read `records` records of the log */
    int64_t records;
    json_t *gateway; /* the gateway's own audit */
    const char *sale;
    const struct lt_plan_spec *plan; /* wishes and caps, with defaults filled in */
    const struct lt_sku *skus;       /* its SKUs */
    const char *user_prefix;         /* buyer n is user "<prefix><n>" */
};

/* PS_E_NOT_FOUND: the records have no such sale; PS_E_NOMEM. *ret_proof's reports are references of
 * its own; owner: the caller (lt_proof_done). */
int lt_proof_make(const struct lt_evidence *evidence, struct lt_proof *ret_proof) PS_MUST_CHECK;
/* Adds the result of --history to a proof. */
void lt_proof_history(struct lt_proof *proof, const struct lt_history_verdict *verdict);
void lt_proof_done(struct lt_proof *proof);
/* The outcome in a few words, for people. */
const char *lt_proof_words(const struct lt_proof *proof);

#endif
