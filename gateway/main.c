/* The program `penstock`: reads its arguments and settings, then runs the gateway. Exit status: 0
 * well, 1 failed, 2 usage. */
#include "common/log.h"
#include "gateway/config/seed.h"
#include "gateway/gateway.h"
#include "gateway/print_docs.h"

#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_WELL, EXIT_FAILED, EXIT_USAGE };

static void print_usage(FILE *out)
{
    fputs("usage: penstock [--config FILE] [--check-config] [--print-default-config] "
          "[--print-docs DIR]\n"
          "                [--version] [--help]\n",
          out);
}

static void print_help(void)
{
    print_usage(stdout);
    puts("\nA flash-sale admission gateway. Settings come from one JSON file; what it leaves out "
         "has these defaults:\n");
    ps_options_print_help(gw_options, gw_option_count, stdout);
    puts("\nSignals: SIGTERM drains and leaves, SIGHUP reads the file again. See penstock(8).");
}

static int print_defaults(void)
{
    json_t *defaults = ps_options_defaults(gw_options, gw_option_count);
    int result = defaults != NULL && json_dumpf(defaults, stdout, JSON_INDENT(2)) == 0 &&
                         putchar('\n') != EOF
                     ? EXIT_WELL
                     : EXIT_FAILED;

    json_decref(defaults);
    return result;
}

static int print_docs(const char *dir)
{
    struct ps_fault fault = {0};

    if (gw_print_docs(dir, &fault) == 0)
        return EXIT_WELL;
    fprintf(stderr, "penstock: %s: %s\n", fault.path, fault.text);
    return EXIT_FAILED;
}

static int load(const char *path, struct gw_settings *ret_settings)
{
    struct ps_fault fault = {0};
    int err = gw_settings_load(path, ret_settings, &fault);

    if (err == 0 && (err = cfg_seed_check(ret_settings->sales, ret_settings->policy, &fault)) < 0)
        gw_settings_free(ret_settings);
    if (err < 0)
        fprintf(stderr, "penstock: %s: %s%s%s\n", path ? path : "defaults", fault.path,
                fault.path[0] ? ": " : "", fault.text);
    return err;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"check-config", no_argument, NULL, 'k'},
                                            {"print-default-config", no_argument, NULL, 'p'},
                                            {"print-docs", required_argument, NULL, 'd'},
                                            {"version", no_argument, NULL, 'v'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *path = NULL;
    bool check = false;
    struct gw_settings settings;
    int option, err;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            check = true;
            break;
        case 'p':
            return print_defaults();
        case 'd':
            return print_docs(optarg);
        case 'v':
            puts("penstock " PENSTOCK_VERSION);
            return EXIT_WELL;
        case 'h':
            print_help();
            return EXIT_WELL;
        default:
            print_usage(stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "penstock: unexpected argument \"%s\"\n", argv[optind]);
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (sodium_init() < 0) {
        fputs("penstock: the random generator of the system is not to be had\n", stderr);
        return EXIT_FAILED;
    }
    if (load(path, &settings) < 0)
        return EXIT_FAILED;
    if (check) {
        printf("%s: ok\n", path ? path : "defaults");
        gw_settings_free(&settings);
        return EXIT_WELL;
    }
    if (ps_log_start(STDERR_FILENO, (enum ps_log_level)settings.logging.level) < 0) {
        fputs("penstock: cannot start the log\n", stderr);
        return EXIT_FAILED;
    }
    err = gw_gateway_run(&settings, path);
    ps_log_stop();
    gw_settings_free(&settings);
    return err < 0 ? EXIT_FAILED : EXIT_WELL;
}
