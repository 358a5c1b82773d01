/* See places.h. */
#include "gateway/admission/places.h"

static enum adm_gate deny(struct adm_admission *admission, enum ans_verdict verdict)
{
    admission->verdict = verdict;
    return ADM_GATE_DENY;
}

enum ans_verdict adm_refuse_log(const struct adm_gates *gates)
{
    ps_metric_add(gates->shard, GW_M_FLOW_REFUSED, GW_FLOW_LOG, 1);
    return ANS_V_log_backlog;
}

enum ans_verdict adm_refuse_store(const struct adm_gates *gates)
{
    ps_metric_add(gates->shard, GW_M_FLOW_REFUSED, GW_FLOW_STORE, 1);
    return ANS_V_store_unavailable;
}

static bool has_room(const struct adm_admission *admission, struct ps_adaptive_limit *limit)
{
    if (limit == NULL)
        return true;
    return admission->look != NULL ? !ps_adaptive_limit_is_full(limit)
                                   : ps_adaptive_limit_has_room(limit, admission->now_ns);
}

enum adm_gate adm_gate_log(struct adm_admission *admission)
{
    const struct adm_gates *gates = admission->gates;
    struct oq_log_view view;

    if (!oq_log_available(gates->log)) {
        oq_log_view(gates->log, &view);
        return deny(admission,
                    view.state == OQ_LOG_BEHIND ? ANS_V_log_backlog : ANS_V_log_unavailable);
    }
    if (oq_log_backlog_percent(gates->log) > gates->backlog_percent)
        return deny(admission, ANS_V_log_backlog);
    return has_room(admission, gates->log_limit) ? ADM_GATE_PASS
                                                 : deny(admission, adm_refuse_log(gates));
}

enum adm_gate adm_gate_store(struct adm_admission *admission)
{
    const struct adm_gates *gates = admission->gates;

    return has_room(admission, gates->store_limit) ? ADM_GATE_PASS
                                                   : deny(admission, adm_refuse_store(gates));
}
