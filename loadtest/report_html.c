/* One page, made to be mailed: styles and pictures are inside, nothing is loaded, nothing runs.
 * Pictures are SVG stretched to the width that there is (lines keep their thickness), with axes and
 * legends as ordinary text beside them, so that a phone shows them as legibly as a screen on the
 * wall. Every picture has its numbers in a table below it, for those who cannot see it. */
#include "loadtest/report_html.h"

#include "common/clock.h"

#include <math.h>
#include <string.h>

#define COLUMNS_MAX 100
#define ROWS_MAX    25

/* Verdicts that are drawn together, from the bottom of the picture up. */
enum group { YES, PENDING, REPLAYED, SOLD_OUT, LIMITS, OTHER, NO_ANSWER, GROUPS };

static const struct {
    const char *label, *css;
} groups[GROUPS] = {
    [YES] = {"accepted", "yes"},
    [PENDING] = {"pending", "pending"},
    [REPLAYED] = {"shown the order they had", "replayed"},
    [SOLD_OUT] = {"sold out", "out"},
    [LIMITS] = {"limits", "limits"},
    [OTHER] = {"other refusals", "other"},
    [NO_ANSWER] = {"no answer", "bad"},
};

/* The timeline in as many columns as a picture can show. */
struct columns {
    size_t count;
    double width_s;
    uint64_t offered[COLUMNS_MAX];
    uint64_t sold[COLUMNS_MAX];
    uint64_t answers[COLUMNS_MAX][GROUPS];
    uint64_t total[GROUPS];
};

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
    "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Sale rehearsal</title>\n<style>\n"
    ":root{--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--soft:#5a6675;--line:#dde2e9;--yes:#1a7f4b;"
    "--pending:#b7791f;--replayed:#2b6cb0;--out:#97a1b1;--limits:#7c4dbd;--other:#c05621;"
    "--bad:#c53030}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#11151b;--card:#1a2028;--ink:#e8ecf1;"
    "--soft:#9aa6b5;--line:#2d3641;--yes:#3fb97a;--pending:#e0a840;--replayed:#63a4e8;"
    "--out:#6b7789;--limits:#a987e0;--other:#e58a4f;--bad:#f07070}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:16px/1.5 system-ui,sans-serif}main{max-width:60rem;margin:0 auto;padding:1.25rem}\n"
    "h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}h2{font-size:1.1rem;margin:0 0 .75rem}"
    "p{margin:.25rem 0}.soft,figcaption,footer{color:var(--soft);font-size:.875rem}\n"
    "section{background:var(--card);border:1px solid var(--line);border-radius:.75rem;"
    "padding:1rem 1.1rem;margin:1rem 0}\n"
    ".badge{display:inline-block;border-radius:2rem;padding:.2rem .9rem;font-weight:600;"
    "color:var(--card);background:var(--yes)}.badge.fails{background:var(--bad)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;"
    "margin:1rem 0}.tiles div{background:var(--card);border:1px solid var(--line);"
    "border-radius:.75rem;padding:.75rem 1rem}.tiles b{display:block;font-size:1.5rem;"
    "line-height:1.2;font-variant-numeric:tabular-nums}\n"
    "figure{margin:0}.plot{display:grid;grid-template-columns:auto 1fr;gap:0 .5rem}"
    ".plot svg{width:100%;height:14rem;display:block;border-bottom:1px solid var(--soft);"
    "overflow:visible}.y,.x{display:flex;justify-content:space-between;color:var(--soft);"
    "font-size:.75rem;font-variant-numeric:tabular-nums}.y{flex-direction:column;"
    "text-align:right;height:14rem}.x{grid-column:2}\n"
    ".grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}"
    ".offered{fill:none;stroke:var(--ink);stroke-width:1.5;vector-effect:non-scaling-stroke}"
    ".h{fill:transparent}.h:hover{fill:var(--ink);fill-opacity:.12}\n"
    ".f-yes{fill:var(--yes)}.f-pending{fill:var(--pending)}.f-replayed{fill:var(--replayed)}"
    ".f-out{fill:var(--out)}.f-limits{fill:var(--limits)}.f-other{fill:var(--other)}"
    ".f-bad{fill:var(--bad)}.area{fill:var(--yes);fill-opacity:.25;stroke:var(--yes);"
    "stroke-width:2;vector-effect:non-scaling-stroke}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;padding:0;"
    "margin:.75rem 0 0;font-size:.875rem}.legend i{display:inline-block;width:.8em;height:.8em;"
    "border-radius:.2em;margin-right:.4em}.legend i.line{height:0;border-top:2px solid "
    "var(--ink);vertical-align:middle}\n"
    ".b-yes{background:var(--yes)}.b-pending{background:var(--pending)}"
    ".b-replayed{background:var(--replayed)}.b-out{background:var(--out)}"
    ".b-limits{background:var(--limits)}.b-other{background:var(--other)}"
    ".b-bad{background:var(--bad)}.b-all{background:var(--soft)}.b-no{background:var(--out)}\n"
    "details{margin-top:.75rem;font-size:.875rem}summary{cursor:pointer;color:var(--soft)}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;"
    "font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.3rem .6rem;"
    "border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child"
    "{text-align:left;padding-left:0}thead th{color:var(--soft);font-weight:500}\n"
    ".bars td:not(:first-child){width:30%}.bar{display:block;height:.35rem;border-radius:.2rem;"
    "margin-left:auto;min-width:2px}\n"
    ".checks{list-style:none;padding:0;margin:0}.checks li{padding:.35rem 0 .35rem 1.9rem;"
    "position:relative;border-bottom:1px solid var(--line)}.checks li:last-child{border:0}"
    ".checks b{position:absolute;left:0;color:var(--yes)}.checks .fails b,.checks .fails"
    "{color:var(--bad)}\n"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.2rem 1rem;margin:0;font-size:.9rem}"
    "dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\n"
    "@media(max-width:30rem){main{padding:.75rem}section{padding:.9rem .8rem}table{font-size:"
    ".8125rem}th,td{padding:.3rem .25rem}}\n"
    "</style></head><body><main>\n";

static void put_escaped(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

static void put_count(uint64_t count, FILE *out)
{
    char text[LT_COUNT_LEN + 1];
    fputs(lt_count((int64_t)count, text), out);
}

static enum group group_of(const struct lt_tally *tally, size_t verdict)
{
    static const char *const limits[] = {"user_limit", "user_rate",   "ip_rate",
                                         "sale_rate",  "global_rate", NULL};
    switch (verdict) {
    case LT_V_ACCEPTED:
        return YES;
    case LT_V_PENDING:
        return PENDING;
    case LT_V_REPLAYED:
        return REPLAYED;
    case LT_V_NO_ANSWER:
    case LT_V_RESET:
    case LT_V_REFUSED:
    case LT_V_GARBLED:
        return NO_ANSWER;
    default:
        break;
    }
    const char *name = tally->verdicts[verdict]->name;
    for (size_t i = 0; limits[i] != NULL; i++) {
        if (strcmp(name, limits[i]) == 0)
            return LIMITS;
    }
    return strcmp(name, "sold_out") == 0 ? SOLD_OUT : OTHER;
}

static void gather(const struct lt_report *report, struct columns *columns)
{
    const struct lt_tally *tally = report->tally;
    size_t slots = tally->slot_count > 0 ? tally->slot_count : 1;
    size_t per_column = (slots + COLUMNS_MAX - 1) / COLUMNS_MAX;
    *columns = (struct columns){
        .count = (slots + per_column - 1) / per_column,
        .width_s = (double)per_column * (double)tally->slot_ns / (double)PS_NS_PER_S,
    };
    for (size_t i = 0; i < tally->slot_count; i++) {
        columns->offered[i / per_column] += tally->offered[i];
        columns->sold[i / per_column] += report->sold[i];
    }
    for (size_t v = 0; v < tally->verdict_count; v++) {
        enum group group = group_of(tally, v);
        columns->total[group] += tally->verdicts[v]->latency.count;
        for (size_t i = 0; i < tally->slot_count; i++)
            columns->answers[i / per_column][group] += tally->verdicts[v]->slot[i];
    }
}

/* The next round number above. */
static double round_up(double value)
{
    static const double steps[] = {1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10};
    double power = pow(10, floor(log10(value > 1 ? value : 1)));
    for (size_t i = 0; i < PS_ARRAY_LEN(steps); i++) {
        if (steps[i] * power >= value)
            return steps[i] * power;
    }
    return 10 * power;
}

/* Opens a figure: y axis from `top` to 0, and the picture with its grid. */
static void open_plot(size_t columns, double top, const char *unit, const char *alternative,
                      FILE *out)
{
    fputs("<figure><div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">", out);
    for (int i = 4; i >= 0; i -= 2) {
        double value = top * i / 4;
        fputs("<span>", out);
        if (value == floor(value))
            put_count((uint64_t)value, out);
        else
            fprintf(out, "%g", value); /* below 10 */
        fprintf(out, "%s</span>", unit);
    }
    fprintf(out,
            "</div>\n<svg viewBox=\"0 0 %zu 100\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"%s\">\n",
            columns, alternative);
    for (int i = 0; i < 4; i++)
        fprintf(out, "<line class=\"grid\" x1=\"0\" x2=\"%zu\" y1=\"%d\" y2=\"%d\"/>", columns,
                i * 25, i * 25);
    fputs("\n", out);
}

static void close_plot(double length_s, FILE *out)
{
    fputs("</svg>\n<div class=\"x\" aria-hidden=\"true\">", out);
    for (int i = 0; i <= 4; i++)
        fprintf(out, "<span>%.3g s</span>", length_s * (double)i / 4);
    fputs("</div></div>\n", out);
}

static void draw_answers(const struct columns *columns, double top, FILE *out)
{
    double scale = 100 / (top * columns->width_s);
    for (size_t i = 0; i < columns->count; i++) {
        double y = 100;
        for (int g = 0; g < GROUPS; g++) {
            double height = (double)columns->answers[i][g] * scale;
            y -= height;
            if (height > 0)
                fprintf(out,
                        "<rect class=\"f-%s\" x=\"%zu\" y=\"%.2f\" width=\".9\" height=\"%.2f\"/>",
                        groups[g].css, i, y, height);
        }
    }
    fputs("\n<path class=\"offered\" d=\"M0 100", out);
    for (size_t i = 0; i < columns->count; i++)
        fprintf(out, "V%.2fH%zu", 100 - (double)columns->offered[i] * scale, i + 1);
    fputs("\"/>\n", out);
    for (size_t i = 0; i < columns->count; i++) {
        fprintf(
            out,
            "<rect class=\"h\" x=\"%zu\" y=\"0\" width=\"1\" height=\"100\"><title>%.3g s: %llu "
            "clicks",
            i, (double)i * columns->width_s, (unsigned long long)columns->offered[i]);
        for (int g = 0; g < GROUPS; g++) {
            if (columns->answers[i][g] > 0)
                fprintf(out, ", %s %llu", groups[g].label,
                        (unsigned long long)columns->answers[i][g]);
        }
        fputs("</title></rect>", out);
    }
    fputs("\n", out);
}

static void put_timeline_table(const struct columns *columns, FILE *out)
{
    size_t step = (columns->count + ROWS_MAX - 1) / ROWS_MAX;
    fputs("<details><summary>The same in numbers</summary><div class=\"wide\"><table><thead><tr>"
          "<th scope=\"col\">from</th><th scope=\"col\">clicks</th>",
          out);
    for (int g = 0; g < GROUPS; g++) {
        if (columns->total[g] > 0)
            fprintf(out, "<th scope=\"col\">%s</th>", groups[g].label);
    }
    fputs("<th scope=\"col\">units sold</th></tr></thead><tbody>\n", out);
    for (size_t row = 0; row < columns->count; row += step) {
        uint64_t offered = 0, sold = 0, answers[GROUPS] = {0};
        for (size_t i = row; i < row + step && i < columns->count; i++) {
            offered += columns->offered[i];
            sold += columns->sold[i];
            for (int g = 0; g < GROUPS; g++)
                answers[g] += columns->answers[i][g];
        }
        fprintf(out, "<tr><td>%.3g s</td><td>%llu</td>", (double)row * columns->width_s,
                (unsigned long long)offered);
        for (int g = 0; g < GROUPS; g++) {
            if (columns->total[g] > 0)
                fprintf(out, "<td>%llu</td>", (unsigned long long)answers[g]);
        }
        fprintf(out, "<td>%llu</td></tr>\n", (unsigned long long)sold);
    }
    fputs("</tbody></table></div></details>", out);
}

static void put_timeline(const struct columns *columns, FILE *out)
{
    uint64_t most = 0;
    for (size_t i = 0; i < columns->count; i++) {
        uint64_t answered = 0;
        for (int g = 0; g < GROUPS; g++)
            answered += columns->answers[i][g];
        most = answered > most ? answered : most;
        most = columns->offered[i] > most ? columns->offered[i] : most;
    }
    double top = round_up((double)most / columns->width_s);
    fputs("<section><h2>Clicks and answers</h2>\n", out);
    open_plot(columns->count, top, "/s",
              "Clicks and answers a second over time, by verdict; the table below has the numbers",
              out);
    draw_answers(columns, top, out);
    close_plot((double)columns->count * columns->width_s, out);
    fputs("<ul class=\"legend\"><li><i class=\"line\"></i>clicks</li>", out);
    for (int g = 0; g < GROUPS; g++) {
        if (columns->total[g] == 0)
            continue;
        fprintf(out, "<li><i class=\"b-%s\"></i>%s: ", groups[g].css, groups[g].label);
        put_count(columns->total[g], out);
        fputs("</li>", out);
    }
    fputs("</ul>\n", out);
    put_timeline_table(columns, out);
    fputs("</figure></section>\n", out);
}

/* On a time scale of its own: the stock is often gone before the peak is over. */
static void put_stock(const struct lt_report *report, FILE *out)
{
    const struct lt_proof *proof = report->proof;
    if (!proof->made || proof->stock < 1 || report->last_sold_ns < 0)
        return;
    char stock[LT_COUNT_LEN + 1], reserved[LT_COUNT_LEN + 1], alternative[200];
    double last_s = (double)report->last_sold_ns / (double)PS_NS_PER_S;
    int64_t units = 0;
    for (size_t i = 0; i < LT_CURVE; i++)
        units += report->curve[i];
    (void)snprintf(alternative, sizeof alternative,
                   "Units left over time: of %s at the start, %s were reserved within %.3f seconds",
                   lt_count(proof->stock, stock), lt_count(units, reserved), last_s);
    size_t steps = (size_t)(report->last_sold_ns / report->curve_ns) + 1;
    double top = round_up((double)proof->stock), left = (double)proof->stock;
    fputs("<section><h2>Units left</h2>\n", out);
    open_plot(steps, top, "", alternative, out);
    fprintf(out, "<path class=\"area\" d=\"M0 100V%.3f", 100 - 100 * left / top);
    for (size_t i = 0; i < steps; i++) {
        left -= (double)report->curve[i];
        fprintf(out, "L%zu %.3f", i + 1, 100 - 100 * left / top);
    }
    fputs("V100Z\"/>\n", out);
    close_plot((double)steps * (double)report->curve_ns / (double)PS_NS_PER_S, out);
    fprintf(out,
            "<figcaption>By the order log: when each unit was reserved, the last one after %.3f s."
            "</figcaption></figure></section>\n",
            last_s);
}

/* One cell: the number, and a bar as long as its logarithm. */
static void put_ms(double ms, double most_ms, const char *css, FILE *out)
{
    const double least_ms = 0.05;
    double part = ms > least_ms ? log(ms / least_ms) / log(most_ms / least_ms) : 0;
    fprintf(out, "<td>%.*f ms<span class=\"bar b-%s\" style=\"width:%.0f%%\"></span></td>",
            ms < 10 ? 2 : 0, ms, css, 100 * part);
}

static void put_latency(const struct lt_report *report, FILE *out)
{
    static const char *const css[LT_OVERS] = {"all", "yes", "no"};
    static const char *const labels[LT_OVERS] = {"all answers", "accepted", "refused"};
    struct lt_latency of[LT_OVERS];
    double most_ms = 0.1;
    for (size_t i = 0; i < LT_OVERS; i++) {
        of[i] = lt_report_latency(report, (enum lt_over)i);
        most_ms = of[i].max_ms > most_ms ? of[i].max_ms : most_ms;
    }
    fputs("<section><h2>How long buyers waited</h2><div class=\"wide\"><table class=\"bars\">"
          "<thead><tr><th scope=\"col\">of the answers</th>",
          out);
    for (size_t i = 0; i < LT_OVERS; i++) {
        if (of[i].count > 0)
            fprintf(out, "<th scope=\"col\">%s</th>", labels[i]);
    }
    fputs("</tr></thead><tbody>\n", out);
    static const char *const rows[] = {"50 %", "90 %", "99 %", "99.9 %", "all"};
    for (size_t row = 0; row < PS_ARRAY_LEN(rows); row++) {
        fprintf(out, "<tr><th scope=\"row\">%s within</th>", rows[row]);
        for (size_t i = 0; i < LT_OVERS; i++) {
            const double ms[] = {of[i].p50_ms, of[i].p90_ms, of[i].p99_ms, of[i].p99_9_ms,
                                 of[i].max_ms};
            if (of[i].count > 0)
                put_ms(ms[row], most_ms, css[i], out);
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div><p class=\"soft\">From the moment at which the click was planned, "
          "so waiting for a free connection counts. Bars are logarithmic.</p></section>\n",
          out);
}

static void put_answers(const struct lt_report *report, FILE *out)
{
    const struct lt_tally *tally = report->tally;
    fputs(
        "<section><h2>Every answer</h2><div class=\"wide\"><table><thead><tr>"
        "<th scope=\"col\">verdict</th><th scope=\"col\">clicks</th><th scope=\"col\">p50, ms</th>"
        "<th scope=\"col\">p99, ms</th><th scope=\"col\">longest</th></tr></thead><tbody>\n",
        out);
    for (size_t i = 0; i < tally->verdict_count; i++) {
        struct lt_latency latency = lt_latency_of(&tally->verdicts[i]->latency);
        if (latency.count == 0)
            continue;
        fprintf(out, "<tr><th scope=\"row\">%s</th><td>", tally->verdicts[i]->name);
        put_count(latency.count, out);
        fprintf(out, "</td><td>%.2f</td><td>%.2f</td><td>%.2f</td></tr>\n", latency.p50_ms,
                latency.p99_ms, latency.max_ms);
    }
    fputs("</tbody></table></div></section>\n", out);
}

static void put_proof(const struct lt_proof *proof, FILE *out)
{
    fputs("<section><h2>The proof</h2>\n", out);
    if (!proof->made) {
        fputs("<p>It could not be made: ", out);
        put_escaped(proof->why_not, out);
        fputs("</p></section>\n", out);
        return;
    }
    fputs("<p class=\"soft\">Every record of the order log was read back and counted again, and "
          "held against what the buyers were told.</p><ul class=\"checks\">\n",
          out);
    for (size_t i = 0; i < LT_CHECKS; i++) {
        const struct lt_check *check = &proof->checks[i];
        fprintf(out, "<li%s><b>%s</b>%s", check->ok ? "" : " class=\"fails\"",
                check->ok ? "&#10003;" : "&#10007;", check->ok ? "" : "FAILED: ");
        put_escaped(check->text, out);
        fputs("</li>\n", out);
    }
    fputs("</ul></section>\n", out);
}

static void put_hints(const struct lt_report *report, FILE *out)
{
    char lines[LT_HINTS_MAX][LT_HINT_SIZE];
    size_t count = lt_report_hints(report, lines);
    for (size_t i = 0; i < count; i++) {
        fputs("<p class=\"soft\">Note: ", out);
        put_escaped(lines[i], out);
        fputs("</p>\n", out);
    }
}

static void put_top(const struct lt_report *report, FILE *out)
{
    const struct lt_proof *proof = report->proof;
    fputs("<h1>", out);
    put_count((uint64_t)report->plan->spec.buyers, out);
    fputs(" buyers for ", out);
    put_count((uint64_t)report->plan->spec.stock, out);
    fputs(" units</h1>\n<p><span class=\"badge", out);
    fprintf(out, "%s\">%s</span></p>\n", proof->ok ? "" : " fails", lt_proof_words(proof));
    put_hints(report, out);
    fputs("<div class=\"tiles\">", out);
    if (proof->made) {
        fputs("<div><b>", out);
        put_count((uint64_t)(proof->held + proof->confirmed), out);
        fputs("</b>units sold of ", out);
        put_count((uint64_t)proof->stock, out);
        fprintf(out, "</div><div><b>%lld</b>oversold</div><div><b>%lld</b>lost</div>",
                (long long)proof->oversold, (long long)proof->lost);
    }
    struct lt_latency all = lt_report_latency(report, LT_OVER_ALL);
    fprintf(out, "<div><b>%.*f ms</b>for 99 of 100 answers</div><div><b>", all.p99_ms < 10 ? 1 : 0,
            all.p99_ms);
    put_count(report->tally->clicks, out);
    fputs("</b>clicks</div></div>\n", out);
}

static void put_run(const struct lt_report *report, FILE *out)
{
    const struct lt_plan_spec *spec = &report->plan->spec;
    char started_at[PS_TIME_LEN + 1];
    ps_time_format(report->started_wall_ms, started_at);
    fputs("<section><h2>How it was run</h2><dl><dt>Sale</dt><dd>", out);
    put_escaped(report->sale, out);
    fputs("</dd><dt>Gateway</dt><dd>", out);
    put_escaped(report->public_authority, out);
    fprintf(out, "</dd><dt>Started</dt><dd>%s%s</dd><dt>Plan</dt><dd>", started_at,
            report->interrupted ? " (interrupted)" : "");
    for (size_t i = 0; i < spec->phase_count; i++)
        fprintf(out, "%s%s of %lld clicks over %.3g s", i > 0 ? ", then " : "",
                lt_shape_name(spec->phases[i].shape), (long long)spec->phases[i].clicks,
                (double)spec->phases[i].over_ms / 1e3);
    fprintf(out,
            "; %.0f %% clicked again; seed %llu</dd><dt>Connections</dt><dd>%zu</dd>"
            "<dt>Load generator</dt><dd>%.1f &micro;s CPU a click; clicks were sent late by at "
            "most %.2f ms</dd></dl></section>\n",
            100 * spec->repeat_share, (unsigned long long)spec->seed, report->connections,
            report->tally->clicks > 0 ? (double)report->cpu_us / (double)report->tally->clicks
                                      : 0.0,
            lt_latency_of(&report->tally->lag).max_ms);
}

void lt_report_html(const struct lt_report *report, FILE *out)
{
    struct columns columns;
    gather(report, &columns);
    fputs(head, out);
    put_top(report, out);
    put_timeline(&columns, out);
    put_stock(report, out);
    put_latency(report, out);
    put_answers(report, out);
    put_proof(report->proof, out);
    put_run(report, out);
    fputs("<footer>penstock-rehearse " PENSTOCK_VERSION "</footer>\n</main></body></html>\n", out);
}
