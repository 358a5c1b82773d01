/* The history of a rehearsal (--history): what its buyers and operators saw is written as it
 * happens, and judged against the log afterwards. */
#ifndef LT_WITNESS_H
#define LT_WITNESS_H

#include "loadtest/admin.h"
#include "loadtest/history_check.h"
#include "loadtest/tally.h"

/* Who asks for what; the members are borrowed. One thread. */
struct lt_witness {
    struct lt_history_file *file; /* NULL: nothing is written */
    const struct lt_plan_spec *plan;
    const struct lt_sku *skus;
    const char *user_prefix;
};

/* A buyer's click goes out, and ends. `verdict` is that of the tally. */
void lt_witness_send(const struct lt_witness *witness, const struct lt_click *click,
                     uint64_t process);
void lt_witness_answer(const struct lt_witness *witness, const struct lt_answer *answer,
                       const char *verdict);

/* Looks up promised orders, evenly chosen, at most LT_WITNESS_READS. Blocking. The errors of
 * lt_admin_call. */
#define LT_WITNESS_READS 500
int lt_witness_read(const struct lt_witness *witness, const struct lt_admin *admin,
                    const struct lt_tally *tally, struct ps_fault *fault) PS_MUST_CHECK;

/* Reads the file and the whole log of the sale, and judges. Blocking. PS_E_INVALID, PS_E_FULL: the
 * file is no history, the fault names the line; the errors of lt_sale_read_lines; PS_E_NOT_FOUND:
 * the log has no such sale; PS_E_NOMEM. */
int lt_witness_judge(const struct lt_admin *admin, const char *sale, const char *path,
                     struct lt_history_verdict *ret_verdict, struct ps_fault *fault) PS_MUST_CHECK;

#endif
