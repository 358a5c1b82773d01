/* The numbers of the report and its text. A latency group merges the histograms of its verdicts,
 * so the percentiles are those of the group, not averages of percentiles. */
#include "loadtest/report.h"

#include "common/clock.h"
#include "loadtest/words.h"

#include <ctype.h>
#include <string.h>

/* The moment of a sold unit, or -1: the order never held one. Clocks of two machines may differ. */
static int64_t sold_at_ns(const struct lt_report *report, const struct oq_order *order)
{
    if (!order->known || oq_order_state(order) == OQ_STATE_VOID)
        return -1;
    int64_t at_ns = (order->reserved_at_ms - report->started_wall_ms) * PS_NS_PER_MS;
    return at_ns > 0 ? at_ns : 0;
}

void lt_report_sales(struct lt_report *report, const struct oq_fold *fold)
{
    const struct oq_sale *sale = oq_fold_sale(fold, report->sale, strlen(report->sale));
    size_t count = sale != NULL ? oq_sale_order_count(sale) : 0;
    report->last_sold_ns = -1;
    for (size_t i = 0; i < count; i++) {
        int64_t at_ns = sold_at_ns(report, oq_sale_order_at(sale, i));
        if (at_ns > report->last_sold_ns)
            report->last_sold_ns = at_ns;
    }
    /* Orders know milliseconds. */
    report->curve_ns = PS_NS_PER_MS * (1 + report->last_sold_ns / (LT_CURVE * PS_NS_PER_MS));
    (void)lt_tally_slot(report->tally,
                        report->last_sold_ns); /* widens the slots, before they fill */
    for (size_t i = 0; i < count; i++) {
        const struct oq_order *order = oq_sale_order_at(sale, i);
        int64_t at_ns = sold_at_ns(report, order);
        if (at_ns < 0)
            continue;
        report->sold[lt_tally_slot(report->tally, at_ns)] += (uint32_t)order->quantity;
        report->curve[at_ns / report->curve_ns] += (uint32_t)order->quantity;
    }
}

struct lt_latency lt_latency_of(const struct ps_histogram *histogram)
{
    const double ns_per_ms = (double)PS_NS_PER_MS;
    return (struct lt_latency){
        .count = histogram->count,
        .p50_ms = (double)ps_histogram_percentile(histogram, 50) / ns_per_ms,
        .p90_ms = (double)ps_histogram_percentile(histogram, 90) / ns_per_ms,
        .p99_ms = (double)ps_histogram_percentile(histogram, 99) / ns_per_ms,
        .p99_9_ms = (double)ps_histogram_percentile(histogram, 99.9) / ns_per_ms,
        .max_ms = (double)histogram->max_ns / ns_per_ms,
    };
}

static bool has_answer(size_t verdict)
{
    return verdict <= LT_V_REPLAYED || verdict >= LT_V_FIXED;
}

struct lt_latency lt_report_latency(const struct lt_report *report, enum lt_over over)
{
    struct ps_histogram sum;
    ps_histogram_init(&sum);
    for (size_t i = 0; i < report->tally->verdict_count; i++) {
        const struct lt_verdict_tally *verdict = report->tally->verdicts[i];
        bool in = over == LT_OVER_ALL   ? has_answer(i)
                  : over == LT_OVER_YES ? i == LT_V_ACCEPTED
                                        : verdict->refusal;
        if (in)
            ps_histogram_merge(&sum, &verdict->latency);
    }
    return lt_latency_of(&sum);
}

uint64_t lt_report_answered(const struct lt_report *report)
{
    uint64_t count = 0;
    for (size_t i = 0; i < report->tally->verdict_count; i++)
        count += has_answer(i) ? report->tally->verdicts[i]->latency.count : 0;
    return count;
}

uint64_t lt_report_unanswered(const struct lt_report *report)
{
    return report->tally->clicks - lt_report_answered(report);
}

/* What a verdict says about the rehearsal instead of about the gateway. */
static const struct {
    const char *verdict, *text;
} suspicions[] = {
    {"unauthenticated", "401: the gateway does not believe X-User-Id from the address that the "
                        "buyers came from: is this machine (or the proxy) in its trusted_proxies?"},
    {"not_found", "404: the gateway at --public did not know the sale that was made at --admin: "
                  "are they of the same gateway or cluster?"},
    {"ip_rate",
     "each buyer has an address of their own: if the gateway has a client_ip_header, name "
     "it with --client-ip-header, else all of them count as one."},
    {"blocked", "buyers or their addresses (198.18.0.0/15) are on the blocklist."},
};

static bool has_foreign_answers(const struct lt_tally *tally)
{
    for (size_t i = LT_V_FIXED; i < tally->verdict_count; i++) {
        if (strncmp(tally->verdicts[i]->name, "http_", strlen("http_")) == 0)
            return true;
    }
    return false;
}

size_t lt_report_hints(const struct lt_report *report, char ret_lines[LT_HINTS_MAX][LT_HINT_SIZE])
{
    const struct lt_tally *tally = report->tally;
    size_t count = 0;
    if (report->interrupted)
        (void)snprintf(ret_lines[count++], LT_HINT_SIZE,
                       "interrupted; the plan was not played to its end.");
    if (tally->never_sent > 0)
        (void)snprintf(ret_lines[count++], LT_HINT_SIZE,
                       "%s clicks never found a free connection; with a healthy gateway, use more "
                       "--connections.",
                       LT_COUNT(tally->never_sent));
    for (size_t i = 0; i < PS_ARRAY_LEN(suspicions); i++) {
        if (lt_tally_count(tally, suspicions[i].verdict) > 0)
            (void)snprintf(ret_lines[count++], LT_HINT_SIZE, "%s", suspicions[i].text);
    }
    if (has_foreign_answers(tally))
        (void)snprintf(ret_lines[count++], LT_HINT_SIZE,
                       "http_NNN is not the answer of a gateway, but of a proxy or of something "
                       "else at --public.");
    if (report->proof->made && report->proof->unreported > 0)
        (void)snprintf(ret_lines[count++], LT_HINT_SIZE,
                       "%s orders are in the log although no buyer read the answer; they would "
                       "find them when they try again.",
                       LT_COUNT(report->proof->unreported));
    return count;
}

static void print_hints(const struct lt_report *report, FILE *out)
{
    char lines[LT_HINTS_MAX][LT_HINT_SIZE];
    size_t count = lt_report_hints(report, lines);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "Note: %s\n", lines[i]);
}

static void print_loudly(const char *words, FILE *out)
{
    for (; *words != '\0'; words++)
        fputc(toupper((unsigned char)*words), out);
    fputs(":\n", out);
}

static void print_proof_line(const struct lt_report *report, FILE *out)
{
    const struct lt_proof *proof = report->proof;
    if (!proof->made) {
        fprintf(out, "THE PROOF COULD NOT BE MADE: %s\n", proof->why_not);
        return;
    }
    fprintf(out, "Proof: all %s records of the order log were read back and counted again:\n",
            LT_COUNT(proof->records));
    fprintf(out, "%s of %s units sold, %lld oversold, %lld lost, %lld sold twice to one buyer.\n",
            LT_COUNT(proof->held + proof->confirmed), LT_COUNT(proof->stock),
            (long long)proof->oversold, (long long)proof->lost, (long long)proof->twice);
    if (proof->released > 0)
        fprintf(out, "%s units were given back by orders that were cancelled or expired.\n",
                LT_COUNT(proof->released));
    if (proof->ok)
        fprintf(out, "%s.\n", lt_proof_words(proof));
    else
        print_loudly(lt_proof_words(proof), out);
    for (size_t i = 0; i < LT_CHECKS; i++) {
        if (!proof->checks[i].ok)
            fprintf(out, "  %s\n", proof->checks[i].text);
    }
}

void lt_report_print_summary(const struct lt_report *report, FILE *out)
{
    const struct lt_tally *tally = report->tally;
    fprintf(out, "%s buyers came for %s units and clicked %s times, within %.1f seconds.\n\n",
            LT_COUNT(report->plan->spec.buyers), LT_COUNT(report->plan->spec.stock),
            LT_COUNT(tally->clicks), (double)report->plan->length_ns / 1e9);
    fprintf(out, "%12s got an order", LT_COUNT(tally->verdicts[LT_V_ACCEPTED]->latency.count));
    if (report->last_sold_ns >= 0)
        fprintf(out, "; the last one was accepted %.2f s after the start",
                (double)report->last_sold_ns / 1e9);
    fputs("\n", out);
    for (size_t i = LT_V_ACCEPTED + 1; i < tally->verdict_count; i++) {
        const struct lt_verdict_tally *verdict = tally->verdicts[i];
        if (verdict->latency.count == 0)
            continue;
        const char *phrase = lt_words_of(verdict->name);
        fprintf(out, "%12s %s%s\n", LT_COUNT(verdict->latency.count),
                phrase != NULL ? phrase : "were answered ", phrase != NULL ? "" : verdict->name);
    }
    struct lt_latency all = lt_report_latency(report, LT_OVER_ALL);
    if (all.count > 0)
        fprintf(out,
                "\nHalf of the answers came within %.1f ms, 99 of 100 within %.1f ms, all within "
                "%.1f ms.\n",
                all.p50_ms, all.p99_ms, all.max_ms);
    print_proof_line(report, out);
    print_hints(report, out);
}

static void print_latency(const char *name, const struct lt_latency *latency, FILE *out)
{
    fprintf(out, "  %-24s %12s", name, LT_COUNT(latency->count));
    if (latency->count > 0)
        fprintf(out, " %9.2f %9.2f %9.2f %9.2f %9.2f", latency->p50_ms, latency->p90_ms,
                latency->p99_ms, latency->p99_9_ms, latency->max_ms);
    fputs("\n", out);
}

void lt_report_print(const struct lt_report *report, FILE *out)
{
    const struct lt_plan_spec *spec = &report->plan->spec;
    const struct lt_tally *tally = report->tally;
    const struct lt_proof *proof = report->proof;
    fprintf(out, "Rehearsal %s at %s\n", report->sale, report->public_authority);
    fprintf(out,
            "  %lld buyers, %llu clicks (%llu repeated, %llu tried again), %lld units, seed %llu\n",
            (long long)spec->buyers, (unsigned long long)tally->clicks,
            (unsigned long long)tally->repeats, (unsigned long long)tally->tries_again,
            (long long)spec->stock, (unsigned long long)spec->seed);
    for (size_t i = 0; i < spec->phase_count; i++)
        fprintf(out, "  %s of %lld clicks over %.3g s\n", lt_shape_name(spec->phases[i].shape),
                (long long)spec->phases[i].clicks, (double)spec->phases[i].over_ms / 1e3);
    fprintf(out, "\n  %-24s %12s %9s %9s %9s %9s %9s\n", "ms from the planned moment", "count",
            "p50", "p90", "p99", "p99.9", "max");
    for (size_t i = 0; i < tally->verdict_count; i++) {
        struct lt_latency latency = lt_latency_of(&tally->verdicts[i]->latency);
        if (latency.count > 0)
            print_latency(tally->verdicts[i]->name, &latency, out);
    }
    struct lt_latency all = lt_report_latency(report, LT_OVER_ALL);
    print_latency("all answers", &all, out);

    struct lt_latency late = lt_latency_of(&tally->sent_late);
    fprintf(out,
            "\nClient: %zu connections (%llu opened), %.1f us CPU a click, clicks sent late by p99 "
            "%.2f ms, max %.2f ms\n",
            report->connections, (unsigned long long)report->end.connects,
            tally->clicks > 0 ? (double)report->cpu_us / (double)tally->clicks : 0.0, late.p99_ms,
            late.max_ms);
    if (proof->made) {
        fprintf(out,
                "Stock:  %lld units: %lld held, %lld confirmed, %lld left; %lld were released\n",
                (long long)proof->stock, (long long)proof->held, (long long)proof->confirmed,
                (long long)proof->available, (long long)proof->released);
        if (tally->verdicts[LT_V_PENDING]->latency.count > 0)
            fprintf(out, "Pending: %lld became orders, %lld void, %lld never reached the log\n",
                    (long long)proof->pending_accepted, (long long)proof->pending_void,
                    (long long)proof->pending_gone);
        fputs("Checks:\n", out);
        for (size_t i = 0; i < LT_CHECKS; i++) {
            const struct lt_check *check = &proof->checks[i];
            if (check->applied)
                fprintf(out, "  %-6s %-9s %s\n", check->ok ? "ok" : "FAILED", check->name,
                        check->text);
        }
    }
    print_proof_line(report, out);
    print_hints(report, out);
}
