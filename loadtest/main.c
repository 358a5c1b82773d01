/* penstock-rehearse: signals and exit status; the work is in rehearse.c. */
#include "loadtest/capacity.h"

#include <stdio.h>

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    if (stop < 2)
        stop = stop + 1;
}

int main(int argc, char **argv)
{
    struct lt_options options;
    struct ps_fault fault;
    if (lt_options_read(argc, argv, &options, &fault) < 0) {
        fprintf(stderr, "penstock-rehearse: %s: %s\n", fault.path, fault.text);
        return LT_EXIT_USAGE;
    }
    if (options.help) {
        lt_options_help();
        return LT_EXIT_PROVED;
    }
    if (options.version) {
        puts("penstock-rehearse " PENSTOCK_VERSION);
        return LT_EXIT_PROVED;
    }
    struct sigaction on_stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGINT, &on_stop, NULL) < 0 || sigaction(SIGTERM, &on_stop, NULL) < 0 ||
        sigaction(SIGPIPE, &ignore, NULL) < 0) {
        perror("penstock-rehearse: sigaction");
        return LT_EXIT_FAILED;
    }
    if (options.check_history != NULL)
        return lt_check_history(&options, &stop);
    if (options.report_sale != NULL)
        return lt_report_sale(&options, &stop);
    return options.find_capacity ? lt_find_capacity(&options, &stop) : lt_rehearse(&options, &stop);
}
