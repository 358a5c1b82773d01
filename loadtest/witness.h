/* The history of a rehearsal (--history): what its buyers and operators saw is recorded as it
 * happens, and checked against the log afterwards. */
#ifndef LT_WITNESS_H
#define LT_WITNESS_H

#include "loadtest/admin.h"
#include "loadtest/history_check.h"
#include "loadtest/tally.h"

/* What to record; the members are borrowed. One thread. */
struct lt_witness {
    struct lt_history_file *file; /* NULL: nothing is written */
    const struct lt_plan_spec *plan;
    const struct lt_sku *skus;
    const char *user_prefix;
    bool several; /* several gateways answer the buyers */
};

/* Is the gateway one of several, by its settings? True if they cannot be read. */
bool lt_witness_several(const struct lt_admin *admin);

/* Record a buyer's click as sent, and as ended. `verdict` is the tally's. */
void lt_witness_send(const struct lt_witness *witness, const struct lt_click *click,
                     uint64_t process);
void lt_witness_answer(const struct lt_witness *witness, const struct lt_answer *answer,
                       const char *verdict);

/* Looks up promised orders, evenly chosen, at most LT_WITNESS_READS. Blocking. The errors of
 * lt_admin_call. */
#define LT_WITNESS_READS 500
int lt_witness_read(const struct lt_witness *witness, const struct lt_admin *admin,
                    const struct lt_tally *tally, struct ps_fault *fault) PS_MUST_CHECK;

/* Checks the file against the whole log of the sale. Blocking. PS_E_INVALID, PS_E_FULL: the
 * file is not a history, the fault names the line; the errors of lt_sale_read_lines;
 * PS_E_NOT_FOUND: the log has no such sale; PS_E_NOMEM. */
int lt_witness_judge(const struct lt_admin *admin, const char *sale, const char *path,
                     struct lt_history_verdict *ret_verdict, struct ps_fault *fault) PS_MUST_CHECK;

#endif
