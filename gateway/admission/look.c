/* See look.h. */
#include "gateway/admission/look.h"

void adm_look_note(struct adm_look *look, const struct adm_note *note)
{
    look->note(note, look->ctx);
    look->noted = true;
}

void adm_look_begin(struct adm_look *look, const char *gate)
{
    look->gate = gate;
    look->noted = false;
    look->blocked = ADM_NOT_BLOCKED;
}

void adm_look_end(struct adm_look *look, const struct adm_admission *admission, enum adm_gate step)
{
    if (!look->noted)
        adm_look_note(look, &(struct adm_note){.gate = look->gate,
                                               .step = step,
                                               .verdict = admission->verdict,
                                               .detail = &admission->detail,
                                               .blocked = look->blocked,
                                               .range = look->range,
                                               .left = -1});
}

struct adm_limit_result adm_look_limit(const struct adm_admission *admission,
                                       const struct adm_look_rule *of, uint64_t key)
{
    struct adm_look *look = admission->look;
    struct adm_limit_result result = adm_limit_look(admission->gates->limits, of->compiled, key,
                                                    admission->now_ns, admission->patience_ms);
    bool watches = of->rule->mode == CFG_LIMIT_SHADOW;
    struct adm_note note = {
        .gate = look->gate,
        .step = ADM_GATE_PASS,
        .rule = of->rule,
        .wide = of->wide,
        .shadow = watches && !result.allowed,
        .left = result.allowed ? result.remaining + 1 : 0,
        .wait_ns = result.wait_ns,
    };

    if (!watches && !result.allowed) {
        note.step = ADM_GATE_DENY;
        note.verdict = of->verdict;
    } else if (!watches && result.wait_ns > 0) {
        note.step = ADM_GATE_WAIT;
    }
    adm_look_note(look, &note);
    return result;
}

int adm_look_sink_init(struct adm_look_sink *sink, int64_t now_ns)
{
    *sink = (struct adm_look_sink){0};
    int err = ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &sink->metrics);
    if (err == 0)
        err = adm_limit_samples_new(1, now_ns, &sink->samples);
    if (err < 0) {
        adm_look_sink_done(sink);
        return err;
    }
    sink->shard = ps_metrics_shard(sink->metrics);
    return 0;
}

void adm_look_sink_done(struct adm_look_sink *sink)
{
    ps_metrics_free(sink->metrics);
    adm_limit_samples_free(&sink->samples);
    *sink = (struct adm_look_sink){0};
}

void adm_gates_copy(const struct adm_gates *gates, const struct adm_look_sink *sink,
                    struct adm_gates_copy *ret_copy)
{
    ret_copy->gates = *gates;
    ret_copy->shed = *gates->shed;
    ret_copy->gates.shed = &ret_copy->shed;
    ret_copy->gates.shard = sink->shard;
    ret_copy->gates.sample = sink->samples.at;
}
