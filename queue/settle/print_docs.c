/* `penstock-settle --print-docs DIR`. The pages are kept in docs/reference; a test prints them
 * again and compares. */
#include "queue/settle/print_docs.h"

#include "common/program/reference.h"
#include "queue/settle/log_events.h"
#include "queue/settle/report.h"
#include "queue/settle/settings.h"

static const struct ps_reference_event events[] = {
#define EVENT(name, level, meaning, remedy) {#name, PS_LOG_##level, meaning, remedy},
    ST_LOG_EVENTS(EVENT)
#undef EVENT
};

static void print_page(FILE *out)
{
    fputs("# Settlement\n\n[配置项的中文版](settle.zh-CN.md)\n\n", out);
    ps_reference_paragraph(out,
                           "Settings, metrics and log events of `penstock-settle`; "
                           "[queue/settle](../../queue/settle/README.md) explains the program.");
    fputs("# Settings\n\n", out);
    ps_reference_paragraph(out, "One JSON file, or flags: `gateway.token_file` is "
                                "`--gateway-token-file VALUE`. A flag wins over "
                                "the file.");
    ps_reference_settings(out, &st_settings_table, PS_ENGLISH);
    fputs("\n# Metrics\n\n", out);
    ps_reference_paragraph(
        out, "Written to `metrics.file`, for the textfile collector of node_exporter.");
    ps_reference_metrics(out, st_metrics, ST_M_COUNT);
    fputs("\n# Log events\n\n", out);
    ps_reference_fill(out, 0, 0, "The log is one JSON object a line on standard error.");
    ps_reference_events(out, events, PS_ARRAY_LEN(events));
}

static void print_settings_zh(FILE *out)
{
    fputs("# 结算的配置项\n\n"
          "[English](settle.md)\n\n"
          "`penstock-settle` 的配置写在一个 JSON 文件里，或用选项给出：`gateway.token_file` 即\n"
          "`--gateway-token-file VALUE`，选项优先于文件。程序本身、它的指标和日志事件见\n"
          "[queue/settle](../../queue/settle/README.md) 和 [settle.md](settle.md)（英文）。\n\n",
          out);
    ps_reference_settings(out, &st_settings_table, PS_CHINESE);
}

static void print_manual(FILE *out)
{
    ps_reference_manual(out, "penstock-settle", "settlement worker of penstock",
                        &st_settings_table);
}

int st_print_docs(const char *dir, struct ps_fault *fault)
{
    static const struct ps_reference_page pages[] = {{"settle.md", print_page},
                                                     {"settle.zh-CN.md", print_settings_zh},
                                                     {"penstock-settle.json.5", print_manual}};

    return ps_reference_write(dir, pages, PS_ARRAY_LEN(pages), fault);
}
