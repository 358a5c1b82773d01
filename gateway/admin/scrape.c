/* GET /metrics: what is measured all the time, and the rows that parts print at a scrape. Who names
 * OpenMetrics in Accept, as Prometheus does, gets it; all others get the older text. */
#include "gateway/admin/parts.h"

#include "common/http/accept.h"
#include "common/program/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_breaker(FILE *out, enum gw_metric row, const struct adm_breaker *breaker)
{
    const char *metric = gw_metric_table[row].name, *name = breaker->source.name;
    struct adm_breaker_sum sum;

    adm_breaker_add_up(breaker, &sum);
    if (row == GW_M_BREAKER_OPENINGS)
        fprintf(out, "%s{breaker=\"%s\"} %" PRIu64 "\n", metric, name, sum.openings);
    for (size_t i = 0; row == GW_M_BREAKER && i < PS_BREAKER_STATES; i++)
        fprintf(out, "%s{breaker=\"%s\",state=\"%s\"} %zu\n", metric, name,
                ps_breaker_state_names[i], sum.circuits[i]);
}

static void print_breakers(FILE *out, enum gw_metric row, const struct op_admin *admin)
{
    const struct adm_breaker *breaker;

    for (size_t i = 0; (breaker = adm_breakers_at(admin->deps.breakers, i)) != NULL; i++)
        if (strncmp(breaker->name, "endpoint:", 9) != 0) /* there may be thousands */
            print_breaker(out, row, breaker);
}

static void print_process(FILE *out, size_t row, const struct ps_process *process)
{
    const char *name = gw_metric_table[row].name;
    int64_t value = row == GW_M_RESIDENT_BYTES  ? process->resident_bytes
                    : row == GW_M_VIRTUAL_BYTES ? process->virtual_bytes
                    : row == GW_M_OPEN_FDS      ? process->open_fds
                    : row == GW_M_MAX_FDS       ? process->max_fds
                                                : -1;

    if (row == GW_M_CPU_SECONDS && process->cpu_ns >= 0)
        fprintf(out, "%s %" PRId64 ".%09" PRId64 "\n", name, process->cpu_ns / PS_NS_PER_S,
                process->cpu_ns % PS_NS_PER_S);
    else if (value >= 0)
        fprintf(out, "%s %" PRId64 "\n", name, value);
}

struct scrape {
    const struct op_admin *admin;
    struct ps_process process;
};

/* Rows that no part prints are about the process. */
static void print_asked(FILE *out, size_t row, void *ctx)
{
    const struct scrape *scrape = ctx;

    for (const struct op_part *const *part = scrape->admin->parts; *part != NULL; part++) {
        const struct op_rows *rows = (*part)->rows;
        for (; rows != NULL && rows->print != NULL; rows++) {
            if (row >= rows->first && row <= rows->last) {
                rows->print(out, (enum gw_metric)row, scrape->admin);
                return;
            }
        }
    }
    print_process(out, row, &scrape->process);
}

/* A client that accepts anything is a person: the older text is the more legible. */
static bool wants_open_metrics(const struct srv_request *http)
{
    struct ps_str accept = {NULL, 0};
    bool named;

    if (http->head != NULL)
        accept = ps_http_find(http->head, http->base, PS_STR("Accept"));
    int open = ps_http_quality(accept, "application/openmetrics-text", "1.0.0", &named);
    return named && open > 0 && open >= ps_http_quality(accept, "text/plain", "0.0.4", NULL);
}

static void get_metrics(struct op_request *request)
{
    const struct op_admin *admin = request->admin;
    const struct op_deps *deps = &admin->deps;
    struct scrape scrape = {.admin = admin};
    size_t len;
    char *text;

    deps->gather(deps->ctx);
    for (const struct op_part *const *part = admin->parts; *part != NULL; part++)
        if ((*part)->gather != NULL)
            (*part)->gather(admin);
    ps_metric_set(deps->shard, GW_M_BUILD_INFO, 0, 1);
    ps_metric_set(deps->shard, GW_M_START_SECONDS, 0, deps->started_ms * PS_NS_PER_MS);
    ps_process_read(&scrape.process);
    bool open = wants_open_metrics(request->http);
    text = open ? ps_metrics_print_open(deps->metrics, print_asked, &scrape, &len)
                : ps_metrics_print(deps->metrics, print_asked, &scrape, &len);
    if (text == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    srv_answer_header(request->http, "Vary", "Accept", sizeof "Accept" - 1);
    op_text(request,
            open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                 : "text/plain; version=0.0.4; charset=utf-8",
            text, len);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_scrape_part = {
    .routes = (const struct op_route[]){
        {"/metrics",            SRV_GET,    OP_ROLE_VIEWER, OP_METRICS,                 get_metrics},
        {0}},
    .rows = (const struct op_rows[]){{GW_M_BREAKER, GW_M_BREAKER_OPENINGS, print_breakers}, {0}},
};
/* clang-format on */
