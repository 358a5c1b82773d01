/* penstock-standby: follows the journal of a gateway on another machine until it is stopped; then a
 * gateway started on its state directory continues where the other one ended. Exit status: 0
 * success, 1 failed, 2 usage. */
#include "common/program/flags.h"
#include "common/program/log.h"
#include "queue/standby/copy.h"

#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS  20   /* at a journal that had nothing new */
#define PAUSE_MS 1000 /* after an error */

enum { EXIT_WELL, EXIT_FAILED, EXIT_USAGE };

struct arguments {
    const char *gateway, *token_file, *state_dir;
    enum ps_log_format log_format;
    bool once, version, help;
};

static int set_format(const struct ps_flag *flag, const char *value, void *field,
                      struct ps_fault *fault)
{
    for (size_t i = 0; ps_log_formats[i] != NULL; i++) {
        if (strcmp(value, ps_log_formats[i]) == 0) {
            *(enum ps_log_format *)field = (enum ps_log_format)i;
            return 0;
        }
    }
    return ps_fault(fault, PS_E_INVALID, flag->name, "\"%s\" is neither penstock nor ecs", value);
}

static int set_gateway(const struct ps_flag *flag, const char *value, void *field,
                       struct ps_fault *fault)
{
    if (!ps_call_is_address(value))
        return ps_fault(fault, PS_E_INVALID, flag->name,
                        "\"%s\" is not http://HOST:PORT, https://HOST:PORT or unix:/PATH", value);
    return ps_flag_set_text(flag, value, field, fault);
}

#define AT(field) offsetof(struct arguments, field)

/* clang-format off */
static const struct ps_flag flags[] = {
    {"--gateway", "URL", "the admin listener of the gateway to follow, such as http://10.0.0.1:8090", set_gateway, AT(gateway), 0, 0},
    {"--token-file", "FILE", "a file whose first line is a token of that gateway with the role admin", ps_flag_set_text, AT(token_file), 0, 0},
    {"--state-dir", "DIR", "where the copy is kept: the state_dir of the gateway that will take over", ps_flag_set_text, AT(state_dir), 0, 0},
    {"--log-format", "FORMAT", "names of the log's members: penstock, or ecs, those of the Elastic Common Schema", set_format, AT(log_format), 0, 0},
    {"--once", NULL, "exit when everything up to this moment is copied", ps_flag_set_bool, AT(once), 0, 0},
    {"--version", NULL, "print the version", ps_flag_set_bool, AT(version), 0, 0},
    {"--help", NULL, "print this", ps_flag_set_bool, AT(help), 0, 0},
};
/* clang-format on */

static const char usage[] =
    "usage: penstock-standby --gateway URL --token-file FILE --state-dir DIR [--once]\n";

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static int give_up(const char *event, const struct ps_fault *fault)
{
    ps_log(PS_LOG_ERROR, event, PS_F_STR("where", fault->path), PS_F_STR("why", fault->text));
    return EXIT_FAILED;
}

/* Prints a problem once, when it begins. */
static void note_trouble(enum sb_turn turn, enum sb_turn before, const struct ps_fault *fault)
{
    if (turn != before && turn == SB_GATEWAY_AWAY)
        ps_log(PS_LOG_WARN, "gateway_away", PS_F_STR("why", fault->text));
    else if (turn != before && turn == SB_DISK_FAILED)
        ps_log(PS_LOG_WARN, "disk_failed", PS_F_STR("why", fault->text));
    else if (before == SB_GATEWAY_AWAY && turn > SB_REFUSED)
        ps_log(PS_LOG_INFO, "gateway_back");
}

static int follow(struct sb_copy *copy, const struct sb_source *from, bool once)
{
    enum sb_turn turn = SB_MORE, before;
    struct ps_fault fault;
    bool whole = false;

    while (stop == 0) {
        before = turn;
        turn = sb_copy_turn(copy, from, &fault);
        note_trouble(turn, before, &fault);
        if (turn == SB_REFUSED)
            return give_up("refused", &fault);
        if (!whole && sb_copy_is_whole(copy))
            ps_log(PS_LOG_INFO, "caught_up", PS_F_INT("seq", sb_copy_seq(copy)));
        whole = whole || sb_copy_is_whole(copy);
        if (once && whole)
            break;
        if (turn != SB_MORE)
            (void)poll(NULL, 0, turn == SB_WAIT ? LOOK_MS : PAUSE_MS);
    }
    ps_log(PS_LOG_INFO, "stopped", PS_F_INT("seq", sb_copy_seq(copy)));
    return once && !whole ? EXIT_FAILED : EXIT_WELL;
}

static int run(const struct arguments *arguments)
{
    struct sigaction on_stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    struct sb_source from = {.gateway = arguments->gateway, .token_file = arguments->token_file};
    struct sb_copy *copy = NULL;
    struct ps_fault fault;
    int status = EXIT_FAILED;

    (void)umask(077);
    ps_log_format_set(arguments->log_format, "penstock-standby", PENSTOCK_VERSION);
    if (sigaction(SIGINT, &on_stop, NULL) < 0 || sigaction(SIGTERM, &on_stop, NULL) < 0 ||
        sigaction(SIGPIPE, &ignore, NULL) < 0 || sodium_init() < 0 || ps_calls_start() < 0 ||
        ps_log_start(STDERR_FILENO, PS_LOG_INFO) != 0) {
        fputs("penstock-standby: cannot start\n", stderr);
        return EXIT_FAILED;
    }
    from.caller = ps_caller_new();
    int err = from.caller == NULL ? ps_fault(&fault, PS_E_NOMEM, "--gateway", "out of memory")
                                  : sb_copy_open(arguments->state_dir, &copy, &fault);
    if (err < 0) {
        (void)give_up("start_failed", &fault);
    } else {
        ps_log(PS_LOG_INFO, "started", PS_F_STR("version", PENSTOCK_VERSION),
               PS_F_STR("gateway", arguments->gateway), PS_F_INT("seq", sb_copy_seq(copy)));
        status = follow(copy, &from, arguments->once);
    }
    sb_copy_close(copy);
    ps_caller_free(from.caller);
    ps_log_stop();
    ps_calls_stop();
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct ps_fault fault;
    int err = ps_flags_read(flags, PS_ARRAY_LEN(flags), argc, argv, &arguments, &fault);

    if (err < 0) {
        fprintf(stderr, "penstock-standby: %s: %s\n%s", fault.path, fault.text, usage);
        return EXIT_USAGE;
    }
    if (arguments.help) {
        fputs(usage, stdout);
        ps_flags_print_help(flags, PS_ARRAY_LEN(flags), stdout);
        return EXIT_WELL;
    }
    if (arguments.version) {
        puts("penstock-standby " PENSTOCK_VERSION);
        return EXIT_WELL;
    }
    if (arguments.gateway == NULL || arguments.token_file == NULL || arguments.state_dir == NULL) {
        fprintf(stderr,
                "penstock-standby: --gateway, --token-file and --state-dir are required\n%s",
                usage);
        return EXIT_USAGE;
    }
    return run(&arguments);
}
