/* "[+]name ok" or "[-]name failed" a check, then "ready" or "not ready". A full limit table is a
 * warning in the list and no reason to take the gateway out; overload is none either, for what this
 * one would not serve any more the next one would get on top. Nor is a breaker that is not closed:
 * the log says by itself when it takes no orders. */
#include "gateway/answers/readiness.h"

#include <string.h>

enum ans_verdict ans_readiness_verdict(const struct ans_readiness *readiness)
{
    if (readiness->started && !readiness->draining && readiness->log)
        return ANS_V_ok;
    return readiness->draining ? ANS_V_draining
           : readiness->log    ? ANS_V_fenced
                               : ANS_V_log_unavailable;
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

static void put_checks(struct ps_buf *buf, const struct ans_readiness *readiness)
{
    put_check(buf, "started", readiness->started);
    put_check(buf, "serving", !readiness->draining);
    put_check(buf, "log", readiness->log);
    if (readiness->in_cluster) {
        put_check(buf, "view", readiness->view);
        put_check(buf, "store", readiness->store);
    }
    for (size_t i = 0; i < readiness->breaker_count; i++)
        ps_buf_printf(buf, "%sbreaker_%s %s\n", readiness->breakers[i].closed ? "[+]" : "[-]",
                      readiness->breakers[i].name, readiness->breakers[i].closed ? "ok" : "failed");
    put_check(buf, "sales", readiness->sales_refused == 0);
    put_check(buf, "limits", readiness->limit_evictions == 0);
    if (readiness->admitted_percent < 100)
        ps_buf_printf(buf, "[-]overload: %u %% of the users may order\n",
                      readiness->admitted_percent);
}

void ans_readiness_print(struct ps_buf *buf, const struct ans_readiness *readiness,
                         struct ps_str query, bool operator_asks)
{
    bool verbose = wants_verbose(query);

    if (verbose)
        put_checks(buf, readiness);
    if (verbose && operator_asks)
        ps_buf_printf(buf,
                      "log backlog %u %%; sales that could not be opened %u; limit table "
                      "evictions %llu; log lines dropped %llu\n",
                      readiness->backlog_percent, readiness->sales_refused,
                      (unsigned long long)readiness->limit_evictions,
                      (unsigned long long)readiness->log_lines_dropped);
    ps_buf_puts(buf, ans_readiness_verdict(readiness) == ANS_V_ok ? "ready\n" : "not ready\n");
}
