/* `penstock --print-docs DIR`. The pages are kept in docs/reference; a test prints them again and
 * compares, so nobody edits them: edit the rows. */
#include "gateway/print_docs.h"

#include "common/log.h"
#include "common/reference.h"
#include "gateway/answers/verdict.h"
#include "gateway/log_events.h"
#include "gateway/metrics.h"
#include "gateway/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static void print_paragraph(FILE *out, const char *text)
{
    ps_reference_fill(out, 0, 0, text);
    fputc('\n', out);
}

static void print_settings(FILE *out)
{
    fputs("# Settings\n\n", out);
    print_paragraph(
        out,
        "All settings are in one JSON file, given by `penstock --config FILE`. A dotted name "
        "stands for nested objects: `listen.port` is `{\"listen\": {\"port\": 8080}}`. What the "
        "file leaves out has its default. An unknown key or a value that is not allowed is an "
        "error that names its place; `--check-config` looks for errors without starting. Settings "
        "marked *live* are also taken over by SIGHUP, the others at the start only.");
    print_paragraph(
        out, "`sales` and `policy` are seeds: [operations](../operations.md#seeds) explains them.");
    ps_reference_settings(out, gw_options, gw_option_count);
}

static void print_manual(FILE *out)
{
    fputs(".Dd November 22, 2026\n"
          ".Dt PENSTOCK.JSON 5\n"
          ".Os\n"
          ".Sh NAME\n"
          ".Nm penstock.json\n"
          ".Nd settings of the flash-sale admission gateway\n"
          ".Sh DESCRIPTION\n"
          "The file that\n"
          ".Xr penstock 8\n"
          "reads with\n"
          ".Fl Fl config\n"
          "holds one JSON object.\n"
          "A dotted name stands for nested objects:\n"
          ".Cm listen.port\n"
          "is the member\n"
          ".Li port\n"
          "of the object\n"
          ".Li listen .\n"
          "What the file leaves out has its default.\n"
          "An unknown or repeated key, or a value that is not allowed, is an error that\n"
          "names its place.\n"
          "Settings that are marked live are also taken over at\n"
          ".Dv SIGHUP ;\n"
          "the others keep their value until the next start, and a log line names those\n"
          "that differ.\n"
          ".Bl -tag -width Ds\n",
          out);
    ps_reference_man_settings(out, gw_options, gw_option_count);
    fputs(".El\n"
          ".Pp\n"
          ".Cm sales\n"
          "and\n"
          ".Cm policy\n"
          "are seeds.\n"
          "A sale is created when its name is unknown.\n"
          "The rules in\n"
          ".Cm policy.limits\n"
          "replace the shipped ones until limits or blocklist have been changed for the\n"
          "first time; later only rules with an unknown name are added.\n"
          "What differs from what is already there is named in a log line and ignored:\n"
          "changes are made through the admin listener.\n"
          ".Sh EXAMPLES\n"
          ".Dl {\\(dqlisten\\(dq: {\\(dqport\\(dq: 8080}, \\(dqtrusted_proxies\\(dq: "
          "[\\(dq10.0.0.0/8\\(dq]}\n"
          ".Sh SEE ALSO\n"
          ".Xr penstock 8\n",
          out);
}

static void print_metrics(FILE *out)
{
    fputs("# Metrics\n\n", out);
    print_paragraph(
        out,
        "`GET /metrics` on the admin listener answers in the Prometheus text format. No label ever "
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

static const struct log_event {
    const char *name;
    enum ps_log_level level;
    const char *meaning;
    const char *remedy;
} events[] = {
#define EVENT(name, level, meaning, remedy) {#name, PS_LOG_##level, meaning, remedy},
    GW_LOG_EVENTS(EVENT)
#undef EVENT
};

static void print_level(FILE *out, enum ps_log_level level, const char *heading)
{
    fprintf(out, "\n## %s\n", heading);
    for (size_t i = 0; i < PS_ARRAY_LEN(events); i++) {
        if (events[i].level != level)
            continue;
        fprintf(out, "\n### %s\n\n", events[i].name);
        ps_reference_fill(out, 0, 0, events[i].meaning);
        if (events[i].remedy[0] != '\0')
            ps_reference_fill(out, (size_t)fprintf(out, "*To do:*"), 0, events[i].remedy);
    }
}

static void print_events(FILE *out)
{
    fputs("# Log events\n\n", out);
    ps_reference_fill(out, 0, 0,
                      "The program's log is one JSON object a line on standard error: `time`, "
                      "`level`, `event`, and what belongs to it. Requests are not logged; metrics "
                      "count them, and the order log has every order.");
    print_level(out, PS_LOG_ERROR, "Errors");
    print_level(out, PS_LOG_WARN, "Warnings");
    print_level(out, PS_LOG_INFO, "Information");
}

/* --- Files --- */

static const struct page {
    const char *file;
    void (*print)(FILE *out);
} pages[] = {
    {"settings.md", print_settings},   {"metrics.md", print_metrics},
    {"answers.md", print_answers},     {"log-events.md", print_events},
    {"penstock.json.5", print_manual},
};

static int write_page(const char *dir, const struct page *page, struct ps_fault *fault)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", dir, page->file);

    if (len < 0 || (size_t)len >= sizeof path)
        return ps_fault(fault, PS_E_IO, dir, "the path is too long");
    FILE *out = fopen(path, "we");
    if (out == NULL)
        return ps_fault(fault, PS_E_IO, path, "%s", strerror(errno));
    page->print(out);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed)
        return ps_fault(fault, PS_E_IO, path, "cannot be written: %s", strerror(errno));
    return 0;
}

int gw_print_docs(const char *dir, struct ps_fault *fault)
{
    int err = 0;

    for (size_t i = 0; i < PS_ARRAY_LEN(pages) && err == 0; i++)
        err = write_page(dir, &pages[i], fault);
    return err;
}
