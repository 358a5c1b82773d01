/* `penstock --print-docs DIR`. The pages are kept in docs/reference; a test prints them again and
 * compares, so nobody edits them: edit the rows. */
#include "gateway/print_docs.h"

#include "common/http/rules.h"
#include "common/program/reference.h"
#include "gateway/answers/verdict.h"
#include "gateway/config/store/document.h"
#include "gateway/log_events.h"
#include "gateway/metrics.h"
#include "gateway/settings.h"
#include "gateway/upstream/blame.h"

#include <assert.h>
#include <stdio.h>

static void print_settings(FILE *out)
{
    fputs("# Settings\n\n[简体中文](settings.zh-CN.md)\n\n", out);
    ps_reference_paragraph(
        out,
        "All settings are in one JSON file, given by `penstock --config FILE`. A dotted name "
        "stands for nested objects: `listen.port` is `{\"listen\": {\"port\": 8080}}`. What the "
        "file leaves out has its default. An unknown key or a value that is not allowed is an "
        "error that names its place; `--check-config` looks for errors without starting, and "
        "`--print-schema` prints the same rules as JSON Schema 2020-12, for editors. Settings "
        "marked *live* are also taken over by SIGHUP, the others at the start only.");
    ps_reference_paragraph(
        out, "`seed` is taken at the first start: [operations](../operations.md#seeds).");
    ps_reference_settings(out, &gw_settings_table, PS_ENGLISH);
}

static void print_settings_zh(FILE *out)
{
    fputs(
        "# 配置项\n\n"
        "[English](settings.md)\n\n"
        "全部配置在一个 JSON 文件里，用 `penstock --config FILE` 指定。带点的名字表示嵌套的对象：\n"
        "`listen.port` 即 `{\"listen\": {\"port\": 8080}}`。文件里没有写的取默认值。\n"
        "未知的键和不允许的值都是错误，会指出位置；`--check-config` 只查错、不启动；\n"
        "`--print-schema` 以 JSON Schema 2020-12 打印同样的规则，供编辑器使用。\n"
        "标有*热加载*的配置收到 SIGHUP 即生效，其余只在启动时读取。\n\n"
        "`seed` 在首次启动时采用：[运维手册](../zh/operations.md#种子配置)。\n\n",
        out);
    ps_reference_settings(out, &gw_settings_table, PS_CHINESE);
}

static void print_kinds(FILE *out, enum ps_language language)
{
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++) {
        if ((*kind)->id == NULL)
            continue;
        fprintf(out, "\n## %s\n\n", (*kind)->id);
        ps_reference_members(out, (*kind)->table, language);
    }
}

static void print_documents(FILE *out)
{
    fputs("# Documents\n\n", out);
    ps_reference_fill(out, 0, 0,
                      "What operators decide is JSON documents. Each kind has the members below; "
                      "`GET /admin/v1/schema/{kind}` gives the same as JSON Schema. What is "
                      "read-only is shown by GET alone. A dotted name stands for objects inside.");
    print_kinds(out, PS_ENGLISH);
}

static void print_documents_zh(FILE *out)
{
    fputs("# 文档\n\n运营人员的配置都是 JSON 文档，各类文档的字段如下；\n"
          "`GET /admin/v1/schema/{kind}?language=zh` 以 JSON Schema 给出相同内容。只读字段仅由 GET "
          "返回。\n",
          out);
    print_kinds(out, PS_CHINESE);
}

static void print_manual(FILE *out)
{
    ps_reference_manual(out, "penstock", "flash-sale admission gateway", &gw_settings_table);
}

static void print_metrics(FILE *out)
{
    fputs("# Metrics\n\n", out);
    ps_reference_paragraph(
        out,
        "`GET /metrics` on the admin listener answers in the Prometheus text format, or in "
        "OpenMetrics if `Accept` names it ([monitoring](../monitoring.md)). No label ever "
        "holds a user, an address or a SKU. `deploy/prometheus/penstock.rules.yml` has alerts; "
        "[troubleshooting](../troubleshooting.md#each-alert) says what to do about each.");
    ps_reference_metrics(out, gw_metric_table, GW_M_COUNT);
}

/* --- Answers --- */

static const char *retry_of(enum ans_retry retry)
{
    switch (retry) {
    case ANS_RETRY_NONE:
        return "";
    case ANS_RETRY_LIMIT:
        return "when the limit allows again, plus 0 or 1 s.";
    case ANS_RETRY_SOON:
        return "1 to 3 s.";
    case ANS_RETRY_OPENING:
        return "when the sale opens, plus 0 to 2 s.";
    }
    return "";
}

static const char *audience_of(enum ans_audience audience)
{
    switch (audience) {
    case ANS_TO_BUYERS:
        return "buyers";
    case ANS_TO_OPERATORS:
        return "operators";
    case ANS_TO_BOTH:
        return "buyers and operators";
    }
    return "";
}

static const char *client_of(enum ans_client client)
{
    switch (client) {
    case ANS_CLIENT_HAS:
        return "";
    case ANS_CLIENT_LOOK_UP:
        return "Say \"perhaps\", and ask for `Location` about once a second until `state` is "
               "another.";
    case ANS_CLIENT_WAIT:
        return "Nothing was bought by this request. Wait for `Retry-After`, then send the same "
               "with the same key.";
    case ANS_CLIENT_REPEAT:
        return "The outcome is unknown. Send the same again with the same key.";
    case ANS_CLIENT_WATCH:
        return "Nothing was bought. Watch the status page, and buy again when it says `in_stock`.";
    case ANS_CLIENT_FINAL:
        return "Final: the same request gets the same answer.";
    }
    return "";
}

static void print_item(FILE *out, const char *who, const char *text)
{
    if (text[0] != '\0')
        ps_reference_fill(out, (size_t)fprintf(out, "- %s:", who), 2, text);
}

static void print_answers(FILE *out)
{
    fputs("# Answers\n\n", out);
    ps_reference_fill(
        out, 0, 0,
        "Every answer of both listeners. An answer of status 400 or above is an RFC 9457 problem "
        "document whose `code` is the name here; metrics use the same names. Decide by `status` "
        "and `code`; `title` and `detail` are for people. What is added to `Retry-After` depends "
        "on the user and stays the same for that user, so a crowd spreads out and nobody gains by "
        "asking again. [Buying](../buying.md) has the whole way of a client.");
    for (size_t i = 0; i < ANS_VERDICT_COUNT; i++) {
        const struct ans_verdict_row *row = &ans_verdicts[i];
        fprintf(out, "\n## %s\n\nStatus %d, for %s.%s%s\n\n", row->name, row->status,
                audience_of(row->audience), row->retry != ANS_RETRY_NONE ? " `Retry-After`: " : "",
                retry_of(row->retry));
        ps_reference_fill(out, 0, 0, row->when);
        if (row->client != ANS_CLIENT_HAS || row->remedy[0] != '\0')
            fputc('\n', out);
        print_item(out, "Client", client_of(row->client));
        print_item(out, "Operator", row->remedy);
    }
}

/* --- Log events --- */

static const struct ps_reference_event events[] = {
#define EVENT(name, level, meaning, remedy) {#name, PS_LOG_##level, meaning, remedy},
    GW_LOG_EVENTS(EVENT)
#undef EVENT
};

static void print_http(FILE *out)
{
    fputs("# HTTP: what is refused\n\n", out);
    ps_reference_paragraph(
        out, "Every rule by which both listeners refuse a message, with the section of the "
             "standard and the status of the answer. The text in italics is the `detail` of the "
             "problem document; after it the connection closes. Where the program is stricter than "
             "the standard, the item says why.");
    ps_reference_paragraph(
        out, "Taken on purpose although it is old or odd: one empty line before a request, a minor "
             "version above 1 (as HTTP/1.1), an absolute target (its host is the one that counts), "
             "leading zeros in Content-Length and in chunk sizes, chunk extensions and trailers "
             "(checked, then dropped), bytes above 0x7f in field values, an unknown Expect, an "
             "offer to upgrade (ignored), and HTTP/1.0 without Host for the probes.");
    for (size_t i = 1; i < PS_HTTP_RULE_COUNT; i++) {
        const struct ps_http_rule_row *row = &ps_http_rules[i];
        char text[512];
        int len = snprintf(text, sizeof text, "%s, %d: *%s.*%s%s%s", row->section, row->status,
                           row->text, row->why != NULL ? " Stricter: " : "",
                           row->why != NULL ? row->why : "", row->why != NULL ? "." : "");
        assert(len > 0 && (size_t)len < sizeof text);
        fputs("- ", out);
        ps_reference_fill(out, 2, 2, text);
    }
}

static void print_events(FILE *out)
{
    fputs("# Log events\n\n", out);
    ps_reference_fill(out, 0, 0,
                      "The program's log is one JSON object a line on standard error: `time`, "
                      "`level`, `event`, and what belongs to it. Requests are not logged unless "
                      "`access_log.every` says so; metrics count them, and the order log has every "
                      "order.");
    ps_reference_events(out, events, PS_ARRAY_LEN(events));
}

/* --- Whose fault it was --- */

static const char *const says_words[UP_SAYS_COUNT] = {"", "good", "bad", "error"};
static const char *const place_words[UP_PLACE_COUNT] = {"", "head", "end", "dropped"};
static const char *const again_words[UP_AGAIN_COUNT] = {"", "other", "fresh"};

static void print_ends(FILE *out, enum ps_language language)
{
    for (size_t i = 0; i < UP_END_COUNT; i++) {
        const struct up_blame *row = &up_blame[i];
        fprintf(out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", row->name,
                up_outcome_names[row->word], place_words[row->place], says_words[row->endpoint],
                says_words[row->pool], says_words[row->row], says_words[row->rate],
                says_words[row->split], row->timed ? "yes" : "", again_words[row->again],
                up_end_asks_fallback(i) ? up_trouble_names[row->trouble] : "");
    }
    fputc('\n', out);
    for (size_t i = 0; i < UP_END_COUNT; i++)
        ps_reference_fill(out, (size_t)fprintf(out, "- **%s**:", up_blame[i].name), 2,
                          up_blame[i].when[language]);
}

static void print_blame(FILE *out)
{
    fputs("# Whose fault it was\n\n[简体中文](blame.zh-CN.md)\n\n", out);
    ps_reference_paragraph(
        out, "Each way in which an exchange with the shop can end, and what that says to those who "
             "judge the shop ([pages](../pages.md#whose-fault-it-was)). What ends while the client "
             "has its turn, to send or to read, says nothing of the shop, and neither does what "
             "this gateway lacks.");
    ps_reference_paragraph(
        out,
        "`word` is that of metrics, of the access log and of traces. `place`: the time until "
        "the answer's `head`, or the `end`, is measured for the pool's limit; `dropped` is "
        "not. `endpoint` and `pool` are the breakers, `row` and `rate` the errors in a row and "
        "the success rate of an endpoint, `split` the return of a split, for whose latency it "
        "is `timed`. An `error` counts as `bad` as far as several clients and pages meet it. "
        "`again`: the request may be sent to an`other` endpoint, or on a `fresh` connection. "
        "`fallback` is the reason in `Penstock-Fallback`.");
    fputs("| end | word | place | endpoint | pool | row | rate | split | timed | again | fallback "
          "|\n|-|-|-|-|-|-|-|-|-|-|-|\n",
          out);
    print_ends(out, PS_ENGLISH);
}

static void print_blame_zh(FILE *out)
{
    fputs("# 是谁的错\n\n[English](blame.md)\n\n"
          "与商城的一次交互可能的每一种结局，以及它向评判商城的各处说明什么"
          "（[页面](../zh/pages.md#是谁的错)）。\n"
          "轮到客户端发送或接收时发生的结局与商城无关，本网关自身的不足也是。\n\n"
          "`word` "
          "是指标、访问日志和链路追踪中的名称。`place`：到应答头部（`head`）或结局（`end`"
          "）的时间计入池的限制；\n"
          "`dropped` 不计。`endpoint` 和 `pool` 是熔断器，`row` 和 `rate` "
          "是端点的连续错误数和成功率，\n"
          "`split` 是分流的退回，`timed` 表示其时间计入分流的延迟。`error` "
          "在多个客户端和多个页面都遇到时才算 `bad`。\n"
          "`again`：请求可发往另一个端点（`other`），或经新连接重发（`fresh`）。`fallback` 是 "
          "`Penstock-Fallback` 中的原因。\n\n"
          "| 结局 | word | place | endpoint | pool | row | rate | split | timed | again | fallback "
          "|\n"
          "|-|-|-|-|-|-|-|-|-|-|-|\n",
          out);
    print_ends(out, PS_CHINESE);
}

int gw_print_docs(const char *dir, struct ps_fault *fault)
{
    static const struct ps_reference_page pages[] = {
        {"settings.md", print_settings},
        {"settings.zh-CN.md", print_settings_zh},
        {"documents.md", print_documents},
        {"documents.zh-CN.md", print_documents_zh},
        {"documents.schema.json", cfg_kinds_print_schemas},
        {"metrics.md", print_metrics},
        {"answers.md", print_answers},
        {"log-events.md", print_events},
        {"http.md", print_http},
        {"blame.md", print_blame},
        {"blame.zh-CN.md", print_blame_zh},
        {"penstock.json.5", print_manual},
    };

    return ps_reference_write(dir, pages, PS_ARRAY_LEN(pages), fault);
}
