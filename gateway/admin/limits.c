/* Limit rules: what each has refused. Their documents are served as those of every kind
 * (documents.c). */
#include "gateway/admin/parts.h"

#include <inttypes.h>

static void print_rules(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct adm_limit_set *limits = snap_view_last(admin->deps.view)->limits;
    const char *name = gw_metric_table[row].name;
    enum adm_limit_count what = row == GW_M_LIMIT_REFUSED          ? ADM_LIMIT_REFUSED
                                : row == GW_M_LIMIT_SHADOW_REFUSED ? ADM_LIMIT_SHADOW_REFUSED
                                                                   : ADM_LIMIT_TRIAL_REFUSED;

    for (size_t i = 0; i < limits->count; i++)
        if (row != GW_M_LIMIT_TRIAL_REFUSED || adm_limit_has_trial(&limits->rules[i]))
            fprintf(out, "%s{rule=\"%s\"} %" PRId64 "\n", name, limits->rules[i].name,
                    adm_limit_figures_sum(limits->compiled[i].figures, what));
}

/* --- What it brings. --- */

const struct op_part op_limits_part = {
    .rows =
        (const struct op_rows[]){{GW_M_LIMIT_REFUSED, GW_M_LIMIT_TRIAL_REFUSED, print_rules}, {0}}};
