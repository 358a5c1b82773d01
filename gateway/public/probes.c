/* Probes in the form that orchestrators know: 200 "ok", or 503; `?verbose` lists the checks,
 * "[+]name ok" or "[-]name failed". A full limit table is a warning in the list and no reason to
 * take the gateway out. */
#include "gateway/public/probes.h"

#include "common/log.h"
#include "gateway/cluster/cluster.h"

#include <string.h>

static void answer_text(struct srv_request *request, int status, struct ps_str text)
{
    srv_answer_header(request, "Cache-Control", "no-store", sizeof "no-store" - 1);
    srv_answer(request, status, "text/plain; charset=utf-8", text, false);
}

void pub_probe_live(struct srv_request *request)
{
    answer_text(request, 200, PS_STR("ok\n"));
}

static bool wants_verbose(struct ps_str query)
{
    static const char word[] = "verbose";
    size_t len = sizeof word - 1;

    return query.len >= len && memcmp(query.at, word, len) == 0 &&
           (query.len == len || query.at[len] == '=' || query.at[len] == '&');
}

static void put_check(struct ps_buf *buf, const char *name, bool good)
{
    ps_buf_puts(buf, good ? "[+]" : "[-]");
    ps_buf_puts(buf, name);
    ps_buf_puts(buf, good ? " ok\n" : " failed\n");
}

enum ans_verdict pub_probe_ready(struct gw_core *core, struct srv_request *request,
                                 bool operator_asks)
{
    bool started = atomic_load_explicit(&core->ready, memory_order_acquire);
    bool serving = !atomic_load_explicit(&core->draining, memory_order_acquire);
    bool log = oq_log_available(core->log);
    bool sales = atomic_load_explicit(&core->sales_refused, memory_order_relaxed) == 0;
    bool ready = started && serving && log;
    struct ps_buf body = srv_answer_body(request);

    if (wants_verbose(request->query)) {
        uint64_t evictions = adm_limit_table_evictions(core->limits);
        put_check(&body, "started", started);
        put_check(&body, "serving", serving);
        put_check(&body, "log", log);
        if (core->cluster != NULL) {
            put_check(&body, "view", clu_has_view(core->cluster));
            put_check(&body, "store", clu_has_redis(core->cluster));
        }
        put_check(&body, "sales", sales);
        put_check(&body, "limits", evictions == 0);
        if (operator_asks)
            ps_buf_printf(&body,
                          "log backlog %u %%; sales that could not be opened %u; limit table "
                          "evictions %llu; log lines dropped %llu\n",
                          oq_log_backlog_percent(core->log),
                          atomic_load_explicit(&core->sales_refused, memory_order_relaxed),
                          (unsigned long long)evictions, (unsigned long long)ps_log_dropped());
    }
    ps_buf_puts(&body, ready ? "ready\n" : "not ready\n");
    answer_text(request, ready ? 200 : 503, (struct ps_str){body.at, body.len});
    if (ready)
        return ANS_V_ok;
    return !serving ? ANS_V_draining : log ? ANS_V_fenced : ANS_V_log_unavailable;
}
