/* Questions about a sale that need no load: its report, and whether a history fits its log. */
#include "loadtest/curves.h"
#include "loadtest/rehearse.h"
#include "loadtest/sale.h"
#include "loadtest/sale_report.h"
#include "loadtest/witness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CALL_PATIENCE_MS 15000
#define AGREE_TRIES      5

int lt_check_history(const struct lt_options *options, const volatile sig_atomic_t *stop)
{
    struct ps_fault fault = {.path = ""};
    struct lt_target public;
    struct lt_admin admin = {.stop = stop};
    struct lt_history_verdict verdict;
    char text[LT_HISTORY_WORDS_MAX];
    if (lt_rehearse_aim(options, &public, &admin, &fault) < 0)
        return lt_rehearse_fail(&fault, LT_EXIT_USAGE);
    int err = lt_witness_judge(&admin, options->sale, options->check_history, &verdict, &fault);
    if (err < 0)
        return lt_rehearse_fail(&fault, err == PS_E_INVALID || err == PS_E_FULL ? LT_EXIT_USAGE
                                                                                : LT_EXIT_FAILED);
    printf("%s\n", lt_history_words(&verdict, text));
    return verdict.contradictions == 0 ? LT_EXIT_PROVED : LT_EXIT_FAILED;
}

/* The gateway's data of a sale. */
struct sources {
    json_t *sale, *gateway, *saw, *report;
};

static void free_sources(struct sources *sources)
{
    json_decref(sources->report);
    json_decref(sources->saw);
    json_decref(sources->gateway);
    json_decref(sources->sale);
    *sources = (struct sources){.sale = NULL};
}

/* Reads everything once, and makes the report. */
static int read_sources(const struct lt_admin *admin, const char *name, struct sources *ret_sources,
                        struct ps_fault *fault)
{
    struct sources sources = {.sale = NULL};
    struct ps_fault none;
    struct lt_sale_log log;
    struct lt_lines lines = {.take = lt_sale_log_add, .ctx = &log};
    char path[PS_NAME_MAX + 64];
    int err = lt_sale_log_new(&log);
    if (err < 0)
        return ps_fault(fault, err, "", "out of memory");
    (void)snprintf(path, sizeof path, "/admin/v1/sales/%s", name);
    err = lt_admin_get(admin, path, CALL_PATIENCE_MS, &sources.sale, fault);
    if (err == 0)
        err = lt_sale_settle(admin, name, CALL_PATIENCE_MS, &sources.gateway, fault);
    if (err == 0)
        err = lt_sale_read_lines(admin, name, &lines, fault);
    if (err == 0 &&
        lt_curves_history(admin, lt_sale_report_start(&log, name), &sources.saw, &none) < 0)
        sources.saw = NULL; /* the report does without */
    if (err == 0 && (err = lt_sale_report_json(&log, sources.sale, sources.gateway, sources.saw,
                                               &sources.report)) < 0)
        (void)ps_fault(fault, err, "--report-sale",
                       err == PS_E_NOT_FOUND ? "the log has no record of %s" : "%s: out of memory",
                       name);
    lt_sale_log_free(&log);
    if (err < 0)
        free_sources(&sources);
    else
        *ret_sources = sources;
    return err;
}

/* `path` NULL: stdout. */
static int print(const json_t *report, bool page, const char *path)
{
    FILE *file = path != NULL ? fopen(path, "we") : stdout;
    int err = file != NULL ? lt_sale_report_print(report, page, file) : PS_E_IO;
    if (file != NULL && (fflush(file) != 0 || ferror(file)))
        err = PS_E_IO;
    if (err < 0)
        fprintf(stderr, "penstock-rehearse: %s: %s\n", path != NULL ? path : "stdout",
                err == PS_E_IO ? strerror(errno) : ps_err_text(err));
    if (file != NULL && file != stdout)
        (void)fclose(file); /* all is flushed */
    return err;
}

int lt_report_sale(const struct lt_options *options, const volatile sig_atomic_t *stop)
{
    struct ps_fault fault = {.path = ""};
    struct lt_target public;
    struct lt_admin admin = {.stop = stop};
    struct sources sources = {.sale = NULL};
    bool ok = false;
    if (lt_rehearse_aim(options, &public, &admin, &fault) < 0 ||
        lt_rehearse_try_file("--html", options->html_path, &fault) < 0 ||
        lt_rehearse_try_file("--json", options->json_path, &fault) < 0)
        return lt_rehearse_fail(&fault, LT_EXIT_USAGE);
    /* Orders may begin or end between the audit and the log: then the two differ. */
    for (int tries = 0; tries < AGREE_TRIES && !ok; tries++) {
        free_sources(&sources);
        if (read_sources(&admin, options->report_sale, &sources, &fault) < 0)
            return lt_rehearse_fail(&fault, LT_EXIT_FAILED);
        ok = json_is_true(json_object_get(json_object_get(sources.report, "proof"), "ok"));
    }
    int failed = print(sources.report, false, NULL);
    if (options->html_path != NULL)
        failed |= print(sources.report, true, options->html_path);
    if (options->json_path != NULL)
        failed |= lt_rehearse_write(sources.report, "--json", options->json_path);
    free_sources(&sources);
    return ok && failed == 0 ? LT_EXIT_PROVED : LT_EXIT_FAILED;
}
