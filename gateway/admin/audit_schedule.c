/* Automatic audits: of each open sale once a minute while the gateway is not loaded (level 0 of the
 * ladder), and of each ended sale until its last order is settled, with a last audit after that. In
 * a cluster the leader makes them. One at a time; after an audit the next waits 20 times as long,
 * so that audits never take more than a twentieth of one processor. Rehearsals audit themselves. */
#include "gateway/admin/audit_internal.h"
#include "gateway/admin/parts.h"

#include "gateway/cluster/cluster.h"

#include <inttypes.h>
#include <string.h>

#define TICK_MS     1000
#define EVERY_NS    (60 * PS_NS_PER_S)
#define PAUSE_TIMES 20 /* pause after an audit, in times its duration */
#define ENDED_LEVEL 3  /* from this level of the ladder on audits of ended sales wait, too */

static bool is_settled(const struct op_deps *deps, const struct sale_entry *sale)
{
    const struct oq_sale *log_sale = sale_view(sale->run)->log_sale;

    if (inv_store_is_shared(deps->store) && sale_has_doubts(sale->run, &sale->stored.state))
        return false;
    for (uint32_t i = 0; i < oq_sale_sku_count(log_sale); i++) {
        struct oq_totals totals;
        oq_sale_totals(log_sale, i, &totals);
        if (totals.held > 0)
            return false;
    }
    return true;
}

enum wish { NOT, WHILE_OPEN, WHEN_ENDED };

static enum wish wish_of(const struct op_deps *deps, const struct sale_entry *sale)
{
    const struct cfg_sale_doc *doc = &sale->stored.doc;
    const struct cfg_sale_state *state = &sale->stored.state;
    const struct sale_view *view = sale_view(sale->run);

    if (doc->rehearsal || view->state != SALE_SERVING ||
        inv_sale_sku_count(view->counter) > CFG_SALE_SKUS_MAX)
        return NOT;
    const char *name = cfg_sale_state_name(doc, state, ps_clock_wall_ms(deps->clock));
    if (strcmp(name, "open") == 0 || strcmp(name, "paused") == 0)
        return WHILE_OPEN;
    return strcmp(name, "ended") == 0 && !sale->audited.final ? WHEN_ENDED : NOT;
}

static bool is_draining(const struct op_deps *deps)
{
    struct ans_readiness readiness;

    deps->readiness(deps->ctx, &readiness);
    return readiness.draining;
}

static void on_tick(uv_timer_t *timer)
{
    struct op_audit *audit = timer->data;
    const struct op_deps *deps = &audit->admin->deps;
    int64_t now_ns = ps_clock_mono_ns(deps->clock);
    struct sale_entry *next = NULL;

    if (audit->admin->http == NULL)
        return;
    if (is_draining(deps)) { /* no audit while draining */
        atomic_store(&audit->cancelled, audit->running && audit->handle == 0);
        return;
    }
    op_heads_tick(audit->admin);
    if (audit->running || !clu_leads(deps->cluster))
        return;
    for (size_t i = 0; i < deps->known->count; i++) {
        struct sale_entry *sale = deps->known->at[i];
        enum wish wish = wish_of(deps, sale);
        if (wish == WHEN_ENDED && !sale->audited.ended)
            sale->audited.due_ns = now_ns;
        else if (wish != NOT && sale->audited.due_ns == 0)
            sale->audited.due_ns = now_ns + EVERY_NS;
        sale->audited.ended = wish == WHEN_ENDED;
        if (wish != NOT && deps->overload->level < (wish == WHILE_OPEN ? 1 : ENDED_LEVEL) &&
            now_ns >= sale->audited.due_ns &&
            (next == NULL || sale->audited.due_ns < next->audited.due_ns))
            next = sale;
    }
    if (next != NULL)
        op_audit_begin(audit, next, 0);
}

/* Keeps an audit's result with its sale. */
static void note(struct op_audit *audit)
{
    const struct op_deps *deps = &audit->admin->deps;
    struct sale_entry *sale = sale_list_find(deps->known, audit->sale, strlen(audit->sale));
    int64_t now_ns = ps_clock_mono_ns(deps->clock);
    int64_t pause_ns = PAUSE_TIMES * (now_ns - audit->began_ns);
    bool cancelled = atomic_exchange(&audit->cancelled, false);

    if (!cancelled)
        ps_metric_add(deps->shard, GW_M_AUDITS,
                      audit->err < 0 ? GW_AUDIT_FAILED
                      : audit->ok    ? GW_AUDIT_OK
                                     : GW_AUDIT_VIOLATIONS,
                      1);
    if (sale == NULL)
        return;
    sale->audited.due_ns = now_ns + (pause_ns > EVERY_NS ? pause_ns : EVERY_NS);
    if (audit->err < 0) /* the last result remains the latest */
        return;
    sale->audited.at_ms = audit->at_ms;
    sale->audited.violations = audit->violations;
    sale->audited.final = audit->ok && wish_of(deps, sale) == WHEN_ENDED && is_settled(deps, sale);
}

void op_audit_schedule(struct op_audit *audit)
{
    audit->ended = note;
    uv_timer_start(&audit->schedule, on_tick, TICK_MS, TICK_MS);
}

static void print_audits(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct op_deps *deps = &admin->deps;
    size_t left = deps->metrics_sales_max;

    if (!clu_leads(deps->cluster)) /* the leader has newer results */
        return;
    /* Results that an operator must see come first. */
    for (int good = 0; good <= 1; good++) {
        for (size_t i = 0; i < deps->known->count && left > 0; i++) {
            const struct sale_entry *sale = deps->known->at[i];
            const struct sale_audited *audited = &sale->audited;
            if (audited->at_ms == 0 || (audited->violations == 0) != good ||
                (good && wish_of(deps, sale) == NOT))
                continue;
            int64_t value = row == GW_M_AUDIT_OK           ? audited->violations == 0
                            : row == GW_M_AUDIT_VIOLATIONS ? audited->violations
                                                           : audited->at_ms / 1000;
            fprintf(out, "%s{sale=\"%s\"} %" PRId64 "\n", gw_metric_table[row].name,
                    sale->stored.doc.name, value);
            left--;
        }
    }
}

/* --- The part. --- */

const struct op_part op_audit_schedule_part = {
    .rows = (const struct op_rows[]){{GW_M_AUDIT_OK, GW_M_AUDIT_SECONDS, print_audits}, {0}},
};
