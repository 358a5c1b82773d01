/* A rehearsal in order: check the target, create the sale, send the buyers' clicks, wait until
 * nothing is in doubt at the gateway, read back the whole log, judge, report. After Ctrl-C no more
 * clicks are sent, but everything else happens: answers so far are compared with the log.
 *
 * Beside a live sale (--twin-of) the created sale is its twin, and the clicks are marked. The first
 * answer that does not acknowledge its mark ends the run. */
#include "loadtest/rehearse.h"

#include "common/clock.h"
#include "common/program/process.h"
#include "loadtest/baseline.h"
#include "loadtest/live.h"
#include "loadtest/pages.h"
#include "loadtest/report.h"
#include "loadtest/sale.h"
#include "loadtest/twin.h"
#include "loadtest/template.h"
#include "loadtest/witness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SALE_OUTLIVES_MS 3600000
#define AGREE_TRIES      5
#define KEY_SPARE_MS     60000

struct rehearsal {
    const struct lt_options *options;
    const volatile sig_atomic_t *stop;
    struct lt_target public_target;
    struct lt_admin admin;
    struct lt_plan *plan;
    struct lt_tally *tally;
    struct oq_audit *audit;
    struct lt_decisions decisions;
    struct lt_pages *pages; /* of visitors, or NULL */
    struct lt_proof proof;
    struct lt_report report;
    struct lt_witness witness; /* of --history */
    struct lt_live *live;      /* of --live, while buyers come; or NULL */
    json_t *baseline;          /* the report of --baseline, or NULL */
    struct lt_twin twin;
    struct lt_client *client;
    uint64_t missed; /* answers by the live sale */
    struct lt_sale made;
    char sale[PS_NAME_MAX + 1];
    char user_prefix[PS_NAME_MAX + 1];
};

/* A sale's name is used once: if another rehearsal has this second's name, take the next second's.
 */
static int make_sale(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    struct lt_sale *sale = &rehearsal->made;
    *sale = (struct lt_sale){.twin_of = rehearsal->twin.of, .plan = &rehearsal->plan->spec};
    for (;;) {
        int64_t now_ms = ps_clock_wall_ms(&ps_clock_system);
        lt_sale_name(now_ms, rehearsal->sale);
        sale->closes_at_ms = now_ms + rehearsal->plan->length_ns / PS_NS_PER_MS + SALE_OUTLIVES_MS;
        int err = lt_sale_open(&rehearsal->admin, rehearsal->sale, sale, fault);
        if (err != PS_E_EXISTS)
            return err;
        err = lt_admin_wait(&rehearsal->admin, 1000 - now_ms % 1000, fault);
        if (err < 0)
            return err;
    }
}

static void on_answer(const struct lt_answer *answer, void *ctx)
{
    struct rehearsal *rehearsal = ctx;
    const char *verdict = lt_tally_add(rehearsal->tally, answer);
    if (rehearsal->witness.file != NULL)
        lt_witness_answer(&rehearsal->witness, answer, verdict);
    if (rehearsal->twin.of != NULL && lt_twin_missed(answer)) {
        rehearsal->missed++;
        lt_client_stop(rehearsal->client);
    }
}

static void on_send(const struct lt_click *click, uint64_t process, void *ctx)
{
    const struct rehearsal *rehearsal = ctx;
    lt_witness_send(&rehearsal->witness, click, process);
}

static void put_mark(char ret_mark[PS_MARK_TEXT_MAX + 1], void *ctx)
{
    const struct rehearsal *rehearsal = ctx;
    lt_twin_mark(&rehearsal->twin, ret_mark);
}

static void print_second(const struct rehearsal *rehearsal, const struct lt_progress *progress)
{
    fprintf(stderr, "%4.0f s  offered %s", (double)progress->elapsed_ns / (double)PS_NS_PER_S,
            LT_COUNT(progress->offered));
    for (size_t i = 0; i < rehearsal->tally->verdict_count; i++) {
        const struct lt_verdict_tally *verdict = rehearsal->tally->verdicts[i];
        if (verdict->latency.count > 0 || i == LT_V_ACCEPTED)
            fprintf(stderr, "  %s %s", verdict->name, LT_COUNT(verdict->latency.count));
    }
    fprintf(stderr, "  in flight %zu  waiting %zu\n", progress->in_flight, progress->waiting);
}

static void on_second(const struct lt_progress *progress, void *ctx)
{
    const struct rehearsal *rehearsal = ctx;
    if (!rehearsal->options->quiet)
        print_second(rehearsal, progress);
    if (rehearsal->live != NULL)
        lt_live_second(rehearsal->live, progress);
}

static int show_live(struct rehearsal *rehearsal, uv_loop_t *loop, struct ps_fault *fault)
{
    const struct lt_live_source source = {&rehearsal->admin, rehearsal->sale, rehearsal->tally};
    int err = lt_live_new(loop, (uint16_t)rehearsal->options->live_port, &source, &rehearsal->live,
                          fault);
    if (err == 0 && !rehearsal->options->live_said)
        fprintf(stderr, "live: http://127.0.0.1:%d/\n", (int)rehearsal->options->live_port);
    return err;
}

static void on_page(const struct lt_answer *answer, void *ctx)
{
    lt_pages_add(ctx, answer);
}

/* Visits last as long as the buyers' clicks. */
static int add_visitors(struct rehearsal *rehearsal, uv_loop_t *loop, struct lt_client **ret_client,
                        struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    struct lt_client_settings settings = {
        .target = &rehearsal->public_target,
        .plan = rehearsal->pages->plan,
        .pages = rehearsal->pages,
        .connections = (size_t)options->connections,
        .connections_beside = (size_t)options->connections,
        .timeout_ms = options->timeout_ms,
        .patience_ms = options->patience_ms,
        .stop = rehearsal->stop,
        .on_answer = on_page,
        .ctx = rehearsal->pages,
    };
    char prefix[PS_NAME_MAX + 16];
    (void)snprintf(prefix, sizeof prefix, "%svisitor-", rehearsal->user_prefix);
    const struct lt_names names = {rehearsal->public_target.authority, options->client_ip_header,
                                   prefix};
    if (lt_pages_address(rehearsal->pages, &names) < 0)
        return ps_fault(fault, PS_E_FULL, "--pages", "a path is too long for this host's name");
    return lt_client_new(loop, &settings, ret_client, fault);
}

static int let_buyers_come(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    uv_loop_t loop;
    int uv_err = uv_loop_init(&loop);
    if (uv_err < 0)
        return ps_fault(fault, PS_E_IO, "", "event loop: %s", uv_strerror(uv_err));
    struct lt_client_settings settings = {
        .target = &rehearsal->public_target,
        .plan = rehearsal->plan,
        .sale = rehearsal->twin.of != NULL ? rehearsal->twin.of : rehearsal->sale,
        .skus = rehearsal->made.skus,
        .user_prefix = rehearsal->user_prefix,
        .client_ip_header = options->client_ip_header,
        .connections = (size_t)options->connections,
        .timeout_ms = options->timeout_ms,
        .patience_ms = options->patience_ms,
        .retries = (uint16_t)options->retries,
        .stop = rehearsal->stop,
        .mark = rehearsal->twin.of != NULL ? put_mark : NULL,
        .on_send = rehearsal->witness.file != NULL ? on_send : NULL,
        .on_answer = on_answer,
        .on_second = on_second,
        .ctx = rehearsal,
    };
    struct lt_client *client = NULL, *visitors = NULL;
    int err = lt_client_new(&loop, &settings, &client, fault);
    if (err == 0 && rehearsal->pages != NULL)
        err = add_visitors(rehearsal, &loop, &visitors, fault);
    if (err == 0 && options->live_port > 0)
        err = show_live(rehearsal, &loop, fault);
    if (err == 0) {
        rehearsal->client = client;
        int64_t cpu_before_ns = ps_process_cpu_ns();
        err = lt_client_run(client, fault);
        if (err == 0 && visitors != NULL)
            err = lt_client_run(visitors, fault);
        struct lt_report *report = &rehearsal->report;
        report->cpu_us = (ps_process_cpu_ns() - cpu_before_ns) / 1000;
        lt_client_progress(client, &report->end);
        report->started_wall_ms =
            ps_clock_wall_ms(&ps_clock_system) - report->end.elapsed_ns / PS_NS_PER_MS;
        report->interrupted = report->end.offered - report->end.tried_again < settings.plan->count;
    }
    lt_live_free(rehearsal->live);
    rehearsal->live = NULL;
    lt_client_free(visitors);
    lt_client_free(client);
    (void)uv_loop_close(&loop); /* every handle is closed, so it cannot fail */
    return err;
}

/* True: gateway and log have the same numbers for each SKU. */
static bool numbers_agree(const struct rehearsal *rehearsal, const json_t *gateway)
{
    const struct oq_fold *fold = oq_audit_fold(rehearsal->audit);
    const struct oq_sale *sale = oq_fold_sale(fold, rehearsal->sale, strlen(rehearsal->sale));
    for (size_t i = 0; i < (size_t)rehearsal->plan->spec.skus; i++) {
        const char *name = rehearsal->made.skus[i].name;
        struct oq_totals totals = {0};
        uint32_t sku;
        if (sale != NULL && oq_sale_sku_find(sale, name, strlen(name), &sku) == 0)
            oq_sale_totals(sale, sku, &totals);
        if (lt_sale_audit_number(gateway, name, "held") != totals.held ||
            lt_sale_audit_number(gateway, name, "confirmed") != totals.confirmed)
            return false;
    }
    return true;
}

/* Orders may expire while the log is read: if the gateway's numbers differ, both are read again,
 * the log from its beginning, because in another partition later records may come first. A
 * difference that remains is a finding. */
static int make_proof(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    int64_t records = 0;
    json_t *gateway = NULL;
    int err = 0;
    for (int tries = 0; tries < AGREE_TRIES; tries++) {
        json_decref(gateway);
        gateway = NULL;
        records = 0;
        oq_audit_free(rehearsal->audit);
        if (oq_audit_new(&rehearsal->audit) < 0)
            return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
        err = lt_sale_settle(&rehearsal->admin, rehearsal->sale, rehearsal->options->settle_ms,
                             &gateway, fault);
        if (err == 0)
            err = lt_sale_read_log(&rehearsal->admin, rehearsal->sale, rehearsal->audit, &records,
                                   fault);
        if (err < 0 || numbers_agree(rehearsal, gateway))
            break;
    }
    if (err == 0) {
        struct lt_evidence evidence = {
            .tally = rehearsal->tally,
            .decisions = &rehearsal->decisions,
            .audit = rehearsal->audit,
            .records = records,
            .gateway = gateway,
            .sale = rehearsal->sale,
            .plan = &rehearsal->plan->spec,
            .skus = rehearsal->made.skus,
            .user_prefix = rehearsal->user_prefix,
        };
        err = lt_proof_make(&evidence, &rehearsal->proof);
        if (err < 0)
            err = ps_fault(fault, err, "", "judging the records: %s", ps_err_text(err));
    }
    json_decref(gateway);
    return err;
}

int lt_rehearse_write(const json_t *json, const char *option, const char *path)
{
    int failed =
        json == NULL ? -1 : json_dump_file(json, path, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (failed != 0)
        fprintf(stderr, "penstock-rehearse: %s: %s could not be written: %s\n", option, path,
                strerror(errno));
    return failed;
}

/* `file` NULL: it could not be opened. */
static int write_form(const struct lt_report *report, enum lt_form form, FILE *file,
                      const char *name)
{
    int err = file != NULL ? lt_report_print(report, form, file) : PS_E_IO;
    if (err == 0 && (fflush(file) != 0 || ferror(file)))
        err = PS_E_IO;
    if (err < 0)
        fprintf(stderr, "penstock-rehearse: %s: %s\n", name,
                err == PS_E_IO ? strerror(errno) : ps_err_text(err));
    return err;
}

static int write_html(const struct lt_report *report, const char *path)
{
    FILE *file = fopen(path, "we");
    int failed = write_form(report, LT_PAGE, file, "--html");
    if (file != NULL)
        (void)fclose(file); /* all is flushed */
    return failed;
}

/* The numbers of a run that was played. A new reference; NULL: out of memory. */
static json_t *fill_report(struct rehearsal *rehearsal)
{
    const struct lt_options *options = rehearsal->options;
    struct lt_report *report = &rehearsal->report;
    report->plan = rehearsal->plan;
    report->sale = rehearsal->sale;
    report->public_authority = rehearsal->public_target.authority;
    report->connections = (size_t)options->connections;
    report->timeout_ms = options->timeout_ms;
    report->patience_ms = options->patience_ms;
    report->tally = rehearsal->tally;
    report->pages = rehearsal->pages;
    report->proof = &rehearsal->proof;
    report->twin_of = options->twin_of;
    lt_report_sales(report, oq_audit_fold(rehearsal->audit));
    return lt_report_json(report);
}

/* Adds the results of the command line's criteria to the JSON, and to `out` as text. False: one of
 * them is not met. */
static bool judge(const struct rehearsal *rehearsal, json_t *json, FILE *out)
{
    const struct lt_options *options = rehearsal->options;
    size_t broken = 0;
    if (options->thresholds.count > 0) {
        json_t *judged = lt_thresholds_judge(&options->thresholds, json);
        broken += judged == NULL || lt_thresholds_crossed(judged) > 0;
        fputs("Thresholds:\n", out);
        lt_thresholds_print(judged, out);
        (void)json_object_set_new(json, "thresholds", judged);
    }
    if (rehearsal->baseline != NULL) {
        json_t *compared = lt_baseline_compare(rehearsal->baseline, json, options->regression);
        broken += compared == NULL || lt_baseline_regressed(compared) > 0;
        fprintf(out, "Against %s:\n", options->baseline_path);
        lt_baseline_print(compared, out);
        (void)json_object_set_new(json, "baseline", compared);
    }
    return broken == 0;
}

/* The text goes to stdout and, in the report, onto the page. False: a criterion is not met, or
 * memory ran out. */
static bool meets_criteria(struct rehearsal *rehearsal, json_t *json)
{
    struct lt_report *report = &rehearsal->report;
    size_t len = 0;
    if (rehearsal->options->thresholds.count == 0 && rehearsal->baseline == NULL)
        return true;
    FILE *out = open_memstream(&report->criteria, &len);
    if (out == NULL)
        return false;
    report->crossed = !judge(rehearsal, json, out);
    if (fclose(out) != 0)
        return false;
    fputs(report->criteria, stdout);
    return !report->crossed;
}

/* The exit status. */
static int write_reports(struct rehearsal *rehearsal)
{
    const struct lt_options *options = rehearsal->options;
    const struct lt_report *report = &rehearsal->report;
    json_t *json = fill_report(rehearsal);
    int failed = write_form(report, options->summary ? LT_SUMMARY : LT_TEXT, stdout, "stdout");
    bool met = json != NULL && meets_criteria(rehearsal, json);
    if (options->json_path != NULL)
        failed |= lt_rehearse_write(json, "--json", options->json_path);
    if (options->html_path != NULL)
        failed |= write_html(report, options->html_path);
    bool proved = json != NULL && failed == 0 && rehearsal->proof.made && rehearsal->proof.ok;
    json_decref(json);
    return !proved ? LT_EXIT_FAILED : met ? LT_EXIT_PROVED : LT_EXIT_CROSSED;
}

int lt_rehearse_fail(const struct ps_fault *fault, int status)
{
    fprintf(stderr, "penstock-rehearse: %s%s%s\n", fault->path, fault->path[0] != '\0' ? ": " : "",
            fault->text);
    return status;
}

int lt_rehearse_try_file(const char *option, const char *path, struct ps_fault *fault)
{
    FILE *file = path != NULL ? fopen(path, "ae") : NULL;
    if (path != NULL && file == NULL)
        return ps_fault(fault, PS_E_IO, option, "%s: %s", path, strerror(errno));
    if (file != NULL)
        fclose(file);
    return 0;
}

/* The key must be valid until the last click's answer. */
static int read_key(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    int64_t need_ms = rehearsal->plan->length_ns / PS_NS_PER_MS + KEY_SPARE_MS +
                      options->timeout_ms * (1 + options->retries);
    rehearsal->twin.of = options->twin_of;
    rehearsal->twin.user_prefix = rehearsal->user_prefix;
    return lt_twin_read_key(options->rehearsal_key, need_ms, &rehearsal->twin, fault);
}

static int read_pages(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    int err = lt_pages_parse(options->pages, &rehearsal->pages, fault);
    return err < 0 ? err
                   : lt_pages_plan(rehearsal->pages, options->pages_rate,
                                   rehearsal->plan->length_ns / PS_NS_PER_MS, options->plan.seed,
                                   fault);
}

/* Checks everything that the command line names. */
static int prepare(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    int err = lt_plan_new(&options->plan, &rehearsal->plan, fault);
    if (err == 0 && options->pages != NULL)
        err = read_pages(rehearsal, fault);
    if (err == 0)
        err = lt_rehearse_aim(options, &rehearsal->public_target, &rehearsal->admin, fault);
    if (err == 0 && options->twin_of != NULL)
        err = read_key(rehearsal, fault);
    if (err == 0 && options->baseline_path != NULL)
        err = lt_baseline_load(options->baseline_path, &rehearsal->baseline, fault);
    if (err == 0)
        err = lt_rehearse_try_file("--json", options->json_path, fault);
    if (err == 0)
        err = lt_rehearse_try_file("--history", options->history_path, fault);
    return err < 0 ? err : lt_rehearse_try_file("--html", options->html_path, fault);
}

/* Part of the orders is confirmed or cancelled; a history looks orders up before and after. */
static int decide(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    const struct lt_witness *witness = &rehearsal->witness;
    const struct lt_decide_settings settings = {
        .confirm_share = options->confirm_share,
        .cancel_share = options->cancel_share,
        .seed = options->plan.seed,
        .history = witness->file,
    };
    int err = 0;
    if (witness->file != NULL)
        err = lt_witness_read(witness, &rehearsal->admin, rehearsal->tally, fault);
    if (err == 0)
        err =
            lt_decide(&rehearsal->admin, rehearsal->tally, &settings, &rehearsal->decisions, fault);
    if (err == 0 && witness->file != NULL)
        err = lt_witness_read(witness, &rehearsal->admin, rehearsal->tally, fault);
    return err;
}

/* Checks the history as it was written to the file. */
static int judge_history(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    struct lt_history_verdict verdict;
    struct lt_history_file *file = rehearsal->witness.file;
    rehearsal->witness.file = NULL;
    int err = lt_history_close(file, fault);
    if (err == 0)
        err = lt_witness_judge(&rehearsal->admin, rehearsal->sale, rehearsal->options->history_path,
                               &verdict, fault);
    if (err == 0)
        lt_proof_history(&rehearsal->proof, &verdict);
    return err;
}

/* From creating the sale to the proof. A proof that could not be made is not an error. */
static int play(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    const struct lt_options *options = rehearsal->options;
    if (lt_tally_new(&rehearsal->tally) < 0 || oq_audit_new(&rehearsal->audit) < 0)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    rehearsal->tally->in_time_ns = options->in_time_ms * PS_NS_PER_MS;
    rehearsal->witness = (struct lt_witness){.plan = &rehearsal->plan->spec,
                                             .skus = rehearsal->made.skus,
                                             .user_prefix = rehearsal->user_prefix};
    int err = 0;
    if (options->history_path != NULL)
        rehearsal->witness.several = lt_witness_several(&rehearsal->admin);
    if (options->history_path != NULL)
        err = lt_history_open(options->history_path, &rehearsal->witness.file, fault);
    if (err == 0)
        err = make_sale(rehearsal, fault);
    if (err < 0)
        return err;
    /* Own user names, so that limits reached in an earlier rehearsal do not apply to this one. */
    (void)snprintf(rehearsal->user_prefix, sizeof rehearsal->user_prefix, "%s-",
                   rehearsal->sale + strlen("rehearsal-"));
    if (rehearsal->twin.of != NULL)
        err = lt_twin_check(&rehearsal->twin, &rehearsal->public_target, rehearsal->sale,
                            rehearsal->stop, fault);
    if (err == 0)
        err = let_buyers_come(rehearsal, fault);
    if (err == 0 && rehearsal->missed > 0)
        err = ps_fault(fault, PS_E_CONFLICT, "--twin-of",
                       "the live sale itself answered %llu clicks: their marks were not accepted, "
                       "so no more clicks were sent. Look for orders of users %s* in %s and cancel "
                       "them",
                       (unsigned long long)rehearsal->missed, rehearsal->user_prefix,
                       rehearsal->twin.of);
    if (err < 0) {
        struct ps_fault none; /* the first fault is the one to report */
        (void)!lt_sale_end(&rehearsal->admin, rehearsal->sale, &none);
        return err;
    }
    struct ps_fault why_not;
    if (!options->quiet)
        fputs("reading back the order log (an overloaded gateway delays that)\n", stderr);
    err = decide(rehearsal, &why_not);
    if (err == 0)
        err = make_proof(rehearsal, &why_not);
    if (err == 0 && options->history_path != NULL)
        err = judge_history(rehearsal, &why_not);
    if (err < 0) {
        rehearsal->proof.made = rehearsal->proof.ok = false;
        (void)snprintf(rehearsal->proof.why_not, sizeof rehearsal->proof.why_not, "%s",
                       why_not.text);
    }
    struct lt_report *report = &rehearsal->report;
    if (lt_curves_read(&rehearsal->admin, report->started_wall_ms, &report->gateway, &why_not) < 0)
        (void)snprintf(report->why_no_gateway, sizeof report->why_no_gateway, "%s", why_not.text);
    return 0;
}

static int end_sale(struct rehearsal *rehearsal, struct ps_fault *fault)
{
    return rehearsal->options->end_sale ? lt_sale_end(&rehearsal->admin, rehearsal->sale, fault)
                                        : 0;
}

static struct rehearsal *new_rehearsal(const struct lt_options *options,
                                       const volatile sig_atomic_t *stop)
{
    struct rehearsal *rehearsal = calloc(1, sizeof *rehearsal);
    if (rehearsal == NULL)
        return NULL;
    rehearsal->options = options;
    rehearsal->stop = stop;
    rehearsal->admin.stop = stop;
    return rehearsal;
}

static void free_rehearsal(struct rehearsal *rehearsal)
{
    (void)!lt_history_close(rehearsal->witness.file, NULL); /* only if no proof was made */
    free(rehearsal->report.criteria);
    json_decref(rehearsal->baseline);
    json_decref(rehearsal->report.gateway);
    lt_decisions_done(&rehearsal->decisions);
    lt_proof_done(&rehearsal->proof);
    oq_audit_free(rehearsal->audit);
    lt_tally_free(rehearsal->tally);
    lt_pages_free(rehearsal->pages);
    lt_plan_free(rehearsal->plan);
    free(rehearsal);
}

int lt_rehearse(const struct lt_options *options, const volatile sig_atomic_t *stop)
{
    struct ps_fault fault = {.path = ""};
    struct rehearsal *rehearsal = new_rehearsal(options, stop);
    if (rehearsal == NULL) {
        fputs("penstock-rehearse: out of memory\n", stderr);
        return LT_EXIT_FAILED;
    }
    int status = LT_EXIT_FAILED;
    if (prepare(rehearsal, &fault) < 0) {
        status = lt_rehearse_fail(&fault, LT_EXIT_USAGE);
    } else if (play(rehearsal, &fault) < 0) {
        status = lt_rehearse_fail(&fault, LT_EXIT_FAILED);
    } else {
        status = write_reports(rehearsal);
        if (end_sale(rehearsal, &fault) < 0)
            status = lt_rehearse_fail(&fault, LT_EXIT_FAILED);
    }
    free_rehearsal(rehearsal);
    return status;
}

int lt_rehearse_measure(const struct lt_options *options, const volatile sig_atomic_t *stop,
                        json_t **ret_report, struct ps_fault *fault)
{
    struct rehearsal *rehearsal = new_rehearsal(options, stop);
    if (rehearsal == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    int err = prepare(rehearsal, fault);
    if (err == 0)
        err = play(rehearsal, fault);
    if (err == 0)
        err = end_sale(rehearsal, fault);
    json_t *report = err == 0 ? fill_report(rehearsal) : NULL;
    if (err == 0 && report == NULL)
        err = ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    if (err == 0)
        *ret_report = report;
    free_rehearsal(rehearsal);
    return err;
}
