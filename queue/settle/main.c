/* penstock-settle: arguments, signals and exit status; the work is in worker.c. Exit status: 0
 * well, 1 failed, 2 usage. */
#include "common/call/call.h"
#include "common/program/log.h"
#include "queue/settle/print_docs.h"
#include "queue/settle/worker.h"

#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_WELL, EXIT_FAILED, EXIT_USAGE };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static int set_up(const struct st_settings *settings)
{
    struct sigaction on_stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGINT, &on_stop, NULL) < 0 || sigaction(SIGTERM, &on_stop, NULL) < 0 ||
        sigaction(SIGPIPE, &ignore, NULL) < 0) {
        perror("penstock-settle: sigaction");
        return -1;
    }
    ps_log_format_set((enum ps_log_format)settings->log_format, "penstock-settle",
                      PENSTOCK_VERSION);
    if (sodium_init() < 0 || ps_calls_start() < 0 ||
        ps_log_start(STDERR_FILENO, (enum ps_log_level)settings->log_level) != 0) {
        fputs("penstock-settle: cannot start\n", stderr);
        return -1;
    }
    return 0;
}

static int run_worker(const struct st_settings *settings, enum st_action action)
{
    if (set_up(settings) != 0)
        return EXIT_FAILED;
    int err = action == ST_INIT ? st_worker_create_tables(settings)
                                : st_worker_run(settings, action == ST_ONCE, &stop);
    ps_log_stop();
    ps_calls_stop();
    return err == 0 ? EXIT_WELL : EXIT_FAILED;
}

static int refuse(const struct ps_faults *faults, int err)
{
    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++)
        fprintf(stderr, "%spenstock-settle: %s%s%s\n", ps_log_priority(PS_LOG_ERROR),
                faults->at[i].path, faults->at[i].path[0] != '\0' ? ": " : "", faults->at[i].text);
    return err == PS_E_INVALID ? EXIT_USAGE : EXIT_FAILED;
}

static int print_docs(const char *dir)
{
    struct ps_fault fault;
    if (st_print_docs(dir, &fault) == 0)
        return EXIT_WELL;
    fprintf(stderr, "penstock-settle: %s: %s\n", fault.path, fault.text);
    return EXIT_FAILED;
}

/* Takes it over. */
static int print_json(json_t *json)
{
    return ps_json_print(json, stdout) == 0 ? EXIT_WELL : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct st_settings settings;
    enum st_action action;
    struct ps_faults faults = {0};
    int err = st_settings_read(argc, argv, &settings, &action, &faults);
    if (err != 0)
        return refuse(&faults, err);
    switch (action) {
    case ST_HELP:
        st_settings_help();
        return EXIT_WELL;
    case ST_VERSION:
        puts("penstock-settle " PENSTOCK_VERSION);
        return EXIT_WELL;
    case ST_DOCS:
        return print_docs(settings.docs_dir);
    case ST_DEFAULTS:
        return print_json(ps_table_defaults(&st_settings_table));
    case ST_SCHEMA:
        return print_json(ps_table_schema(&st_settings_table, PS_ENGLISH));
    default:
        break;
    }
    int result = run_worker(&settings, action);
    st_settings_free(&settings);
    return result;
}
