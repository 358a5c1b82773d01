/* The program `penstock`: reads its arguments and settings, then runs the gateway. Exit status: 0
 * well, 1 failed, 2 usage. */
#include "common/program/flags.h"
#include "common/program/log.h"
#include "common/program/reference.h"
#include "gateway/check_services.h"
#include "gateway/gateway.h"
#include "gateway/notify.h"
#include "gateway/print_docs.h"
#include "gateway/probe.h"

#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_WELL, EXIT_FAILED, EXIT_USAGE };

struct arguments {
    const char *config, *docs_dir, *probe;
    bool check, services, defaults, schema, version, help;
};

#define AT(field) offsetof(struct arguments, field)

/* clang-format off */
static const struct ps_flag flags[] = {
    {"--config", "FILE", "read settings from this JSON file", ps_flag_set_text, AT(config), 0, 0},
    {"--check-config", NULL, "say what is wrong with the settings, and end", ps_flag_set_bool, AT(check), 0, 0},
    {"--check-services", NULL, "say whether Redis, Kafka and the state directory of the settings are well, and end", ps_flag_set_bool, AT(services), 0, 0},
    {"--probe", "live|ready", "ask the gateway that runs with these settings whether it is live, or ready, print one line, and end: 0 if it is, else 1", ps_flag_set_text, AT(probe), 0, 0},
    {"--print-default-config", NULL, "print all settings with their defaults as JSON", ps_flag_set_bool, AT(defaults), 0, 0},
    {"--print-schema", NULL, "print what the file may hold, as JSON Schema 2020-12", ps_flag_set_bool, AT(schema), 0, 0},
    {"--print-docs", "DIR", "write the reference pages into this directory", ps_flag_set_text, AT(docs_dir), 0, 0},
    {"--version", NULL, "print the version", ps_flag_set_bool, AT(version), 0, 0},
    {"--help", NULL, "print this", ps_flag_set_bool, AT(help), 0, 0},
};
/* clang-format on */

static const char usage[] = "usage: penstock [OPTION...]\n";

static void print_help(FILE *out)
{
    fprintf(out, "%s\nA flash-sale admission gateway.\n\n", usage);
    ps_flags_print_help(flags, PS_ARRAY_LEN(flags), out);
    fputs("\nSettings come from one JSON file; what it leaves out has these defaults:\n\n", out);
    ps_reference_help(out, &gw_settings_table);
    fputs("\nSignals: SIGTERM drains and leaves, SIGHUP reads the file again. See penstock(8).\n",
          out);
}

static int print_version(void)
{
    puts("penstock " PENSTOCK_VERSION);
    return EXIT_WELL;
}

/* Takes it over. */
static int print_json(json_t *json)
{
    return ps_json_print(json, stdout) == 0 ? EXIT_WELL : EXIT_FAILED;
}

static int print_docs(const char *dir)
{
    struct ps_fault fault = {0};

    if (gw_print_docs(dir, &fault) == 0)
        return EXIT_WELL;
    fprintf(stderr, "penstock: %s: %s\n", fault.path, fault.text);
    return EXIT_FAILED;
}

static int load(const char *path, bool to_serve, struct gw_settings *ret_settings)
{
    struct ps_faults faults = {0};
    int err = gw_settings_load(path, ret_settings, &faults);

    for (size_t i = 0; i < faults.count && i < PS_FAULTS_KEPT; i++) {
        const struct ps_fault *fault = &faults.at[i];
        const char *file = path ? path : "defaults", *colon = fault->path[0] ? ": " : "";
        fprintf(stderr, "%spenstock: %s: %s%s%s\n", ps_log_priority(PS_LOG_ERROR), file,
                fault->path, colon, fault->text);
        if (i == 0 && to_serve)
            gw_notify_status("Failed: %s: %s%s%s", file, fault->path, colon, fault->text);
    }
    if (faults.count > PS_FAULTS_KEPT)
        fprintf(stderr, "penstock: and %zu more\n", faults.count - PS_FAULTS_KEPT);
    return err;
}

static int serve(struct gw_settings *settings, const char *config)
{
    ps_log_format_set((enum ps_log_format)settings->logging.format, "penstock", PENSTOCK_VERSION);
    if (ps_log_start(STDERR_FILENO, (enum ps_log_level)settings->logging.level) < 0) {
        fputs("penstock: cannot start the log\n", stderr);
        return EXIT_FAILED;
    }
    /* libuv's work threads, before they are first used. Name look-ups use at most half of them, and
     * each may last as long as a name server is silent; operators' reads use two (reads.h). So two
     * more remain for the files that name endpoints. An environment variable overrides this. */
    (void)setenv("UV_THREADPOOL_SIZE", "8", 0);
    int err = gw_gateway_run(settings, config);
    ps_log_stop();
    return err < 0 ? EXIT_FAILED : EXIT_WELL;
}

/* What needs settings. */
static int run(const struct arguments *arguments, enum gw_probe probe)
{
    struct gw_settings settings;
    int status = EXIT_WELL;

    bool to_serve = !arguments->check && !arguments->services && arguments->probe == NULL;
    if (load(arguments->config, to_serve, &settings) < 0)
        return EXIT_FAILED;
    if (arguments->check) {
        printf("%s: ok\n", arguments->config ? arguments->config : "defaults");
    } else if (arguments->services) {
        (void)signal(SIGPIPE, SIG_IGN);
        status = gw_check_services(&settings, stdout) ? EXIT_WELL : EXIT_FAILED;
    } else if (arguments->probe != NULL) {
        status = gw_probe(&settings, probe, stdout) ? EXIT_WELL : EXIT_FAILED;
    } else {
        status = serve(&settings, arguments->config);
    }
    gw_settings_free(&settings);
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    enum gw_probe probe = GW_PROBE_LIVE;
    struct ps_fault fault;
    int err = ps_flags_read(flags, PS_ARRAY_LEN(flags), argc, argv, &arguments, &fault);

    if (err == 0 && arguments.probe != NULL)
        err = gw_probe_parse(arguments.probe, &probe, &fault);
    if (err < 0) {
        fprintf(stderr, "penstock: %s: %s\n%s", fault.path, fault.text, usage);
        return EXIT_USAGE;
    }
    if (arguments.help) {
        print_help(stdout);
        return EXIT_WELL;
    }
    if (arguments.version)
        return print_version();
    if (arguments.defaults)
        return print_json(ps_table_defaults(&gw_settings_table));
    if (arguments.schema)
        return print_json(ps_table_schema(&gw_settings_table, PS_ENGLISH));
    if (arguments.docs_dir != NULL)
        return print_docs(arguments.docs_dir);
    /* Somebody tries the program for the first time: do not create /var/lib/penstock. */
    if (arguments.config == NULL && !arguments.check && !arguments.services &&
        arguments.probe == NULL && isatty(STDIN_FILENO)) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (sodium_init() < 0) {
        fputs("penstock: the random generator of the system is not to be had\n", stderr);
        return EXIT_FAILED;
    }
    return run(&arguments, probe);
}
