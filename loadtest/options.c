/* The command line. One row an option; the help is printed from the same rows. Options that make
 * the plan are gathered first and turned into phases at the end, since they depend on each other.
 */
#include "loadtest/rehearse.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAN_FILE_MAX (1 << 20)
#define HEADER_MAX    64 /* as of the gateway's setting */
#define HEADER_CHARS  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

/* What is said of the plan, before it is one. */
struct arrivals {
    const char *file;
    int64_t over_ms;
    int64_t shape;
    double rate;
    int64_t duration_ms;
    bool unique_users, over_given, shape_given, stock_given, buyers_given, repeat_given;
};

struct parse {
    struct lt_options options;
    struct arrivals arrivals;
};

enum kind { FLAG, TEXT, COUNT, SHARE, DURATION, SHAPE, RATE };

#define AT(field)  offsetof(struct parse, field)
#define NOT_NOTED  SIZE_MAX
#define CLICKS_MAX LT_CLICKS_MAX

/* clang-format off */
static const struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    size_t given; /* a bool that notes that the option was given, or NOT_NOTED */
    int64_t min, max;
    const char *argument, *help;
} rows[] = {
    {"--public",     TEXT,     AT(options.public_url),  NOT_NOTED, 0, 0, "URL",  "public listener (http://127.0.0.1:8080)"},
    {"--admin",      TEXT,     AT(options.admin_url),   NOT_NOTED, 0, 0, "URL",  "admin listener (http://127.0.0.1:9090)"},
    {"--state-dir",  TEXT,     AT(options.state_dir),   NOT_NOTED, 0, 0, "DIR",  "the gateway's state directory, for its admin.token (./.penstock)"},
    {"--token-file", TEXT,     AT(options.token_file),  NOT_NOTED, 0, 0, "FILE", "admin token (DIR/admin.token)"},
    {"--i-own-this-target", FLAG, AT(options.own_target), NOT_NOTED, 0, 0, NULL, "aim at another machine than this one"},
    {"--client-ip-header", TEXT, AT(options.client_ip_header), NOT_NOTED, 0, 0, "NAME", "the gateway's client_ip_header, where it has one (X-Forwarded-For)"},
    {"--buyers",     COUNT,    AT(options.plan.buyers), AT(arrivals.buyers_given), 1, CLICKS_MAX, "N", "how many people come (20000)"},
    {"--stock",      COUNT,    AT(options.plan.stock),  AT(arrivals.stock_given), 1, PS_INT_MAX, "N", "how many units there are (1000; with --unique-users enough for all)"},
    {"--over",       DURATION, AT(arrivals.over_ms),    AT(arrivals.over_given), 0, 0, "TIME", "within which time they come, such as 500ms, 3s, 2m (3s)"},
    {"--shape",      SHAPE,    AT(arrivals.shape),      AT(arrivals.shape_given), 0, 0, "SHAPE", "how they come: spike, ramp, step, constant (spike)"},
    {"--repeat-share", SHARE,  AT(options.plan.repeat_share), AT(arrivals.repeat_given), 0, 0, "X", "share of clicks that are repeated, 0 to 1 (0.2; with --rate 0)"},
    {"--repeat-key-share", SHARE, AT(options.plan.repeat_key_share), NOT_NOTED, 0, 0, "X", "share of the repeated clicks with the first one's key (0.5)"},
    {"--seed",       COUNT,    AT(options.plan.seed),   NOT_NOTED, 0, PS_INT_MAX, "N", "the same seed gives the same plan (1)"},
    {"--plan",       TEXT,     AT(arrivals.file),       NOT_NOTED, 0, 0, "FILE", "a plan of several phases, in JSON, instead of these"},
    {"--rate",       RATE,     AT(arrivals.rate),       NOT_NOTED, 0, 0, "R",    "for measuring: R evenly spaced clicks a second"},
    {"--duration",   DURATION, AT(arrivals.duration_ms), NOT_NOTED, 0, 0, "TIME", "with --rate: for how long"},
    {"--unique-users", FLAG,   AT(arrivals.unique_users), NOT_NOTED, 0, 0, NULL, "with --rate: each click by a new buyer"},
    {"--connections", COUNT,   AT(options.connections), NOT_NOTED, 1, 100000, "N", "connections that are kept open (1000)"},
    {"--timeout",    DURATION, AT(options.timeout_ms),  NOT_NOTED, 0, 0, "TIME", "after which a buyer gives up (10s)"},
    {"--retry",      COUNT,    AT(options.retries),     NOT_NOTED, 0, 1000, "N", "a buyer without an answer, or with a 503, clicks again 0.5 s later, at most N times (0)"},
    {"--confirm-share", SHARE, AT(options.confirm_share), NOT_NOTED, 0, 0, "X",  "share of the accepted orders to confirm after the peak (0)"},
    {"--cancel-share", SHARE,  AT(options.cancel_share), NOT_NOTED, 0, 0, "X",   "and to cancel (0)"},
    {"--settle",     DURATION, AT(options.settle_ms),   NOT_NOTED, 0, 0, "TIME", "how long to wait in the end until nothing is in doubt (30s)"},
    {"--end",        FLAG,     AT(options.end_sale),    NOT_NOTED, 0, 0, NULL,   "end the sale afterwards (it ends by itself after an hour)"},
    {"--json",       TEXT,     AT(options.json_path),   NOT_NOTED, 0, 0, "FILE", "write the report as JSON"},
    {"--html",       TEXT,     AT(options.html_path),   NOT_NOTED, 0, 0, "FILE", "write the report as one HTML page, with pictures"},
    {"--summary",    FLAG,     AT(options.summary),     NOT_NOTED, 0, 0, NULL,   "say it in ten lines, without numbers for engineers"},
    {"--quiet",      FLAG,     AT(options.quiet),       NOT_NOTED, 0, 0, NULL,   "no progress line each second"},
    {"--version",    FLAG,     AT(options.version),     NOT_NOTED, 0, 0, NULL,   "print the version"},
    {"--help",       FLAG,     AT(options.help),        NOT_NOTED, 0, 0, NULL,   "print this"},
};
/* clang-format on */

void lt_options_help(void)
{
    puts("usage: penstock-rehearse [OPTION...]\n\n"
         "Plays a flash sale against a penstock gateway, in a sale of its own that is marked as a "
         "rehearsal,\nand proves from the order log that nothing was oversold or lost. Exit status "
         "0: the proof holds,\n1: it fails or could not be made or nothing is proved, 2: usage.\n");
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char left[40];
        (void)snprintf(left, sizeof left, "%s %s", rows[i].name,
                       rows[i].argument != NULL ? rows[i].argument : "");
        printf("  %-25s %s\n", left, rows[i].help);
    }
}

static int parse_number(const char *text, double min, double max, double *ret)
{
    char *end = NULL;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || !(number >= min && number <= max))
        return PS_E_INVALID;
    *ret = number;
    return 0;
}

static int set_count(const struct row *row, const char *value, void *field, struct ps_fault *fault)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || number < row->min || number > row->max)
        return ps_fault(fault, PS_E_INVALID, row->name,
                        "\"%s\" is no whole number from %lld to %lld", value, (long long)row->min,
                        (long long)row->max);
    *(int64_t *)field = number;
    return 0;
}

static int set(const struct row *row, const char *value, struct parse *parse,
               struct ps_fault *fault)
{
    void *field = (char *)parse + row->offset;
    enum lt_shape shape;
    if (row->given != NOT_NOTED)
        *(bool *)((char *)parse + row->given) = true;
    switch (row->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case TEXT:
        *(const char **)field = value;
        return 0;
    case COUNT:
        return set_count(row, value, field, fault);
    case SHARE:
        if (parse_number(value, 0, 1, field) < 0)
            return ps_fault(fault, PS_E_INVALID, row->name, "\"%s\" is no number from 0 to 1",
                            value);
        return 0;
    case RATE:
        if (parse_number(value, 0.01, 1e7, field) < 0)
            return ps_fault(fault, PS_E_INVALID, row->name, "\"%s\" is no number above 0", value);
        return 0;
    case DURATION:
        if (lt_duration_parse(value, field) < 0)
            return ps_fault(fault, PS_E_INVALID, row->name, "\"%s\" is no time such as 3s", value);
        return 0;
    case SHAPE:
        if (lt_shape_parse(value, &shape) < 0)
            return ps_fault(fault, PS_E_INVALID, row->name,
                            "\"%s\" is not spike, ramp, step or constant", value);
        *(int64_t *)field = shape;
        return 0;
    }
    return PS_E_INVALID;
}

static int read_plan_file(const char *path, struct lt_plan_spec *spec, struct ps_fault *fault)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, "--plan", "%s: %s", path, strerror(errno));
    int err = 0;
    char *text = malloc(PLAN_FILE_MAX);
    size_t len = text != NULL ? fread(text, 1, PLAN_FILE_MAX, file) : 0;
    if (text == NULL)
        err = ps_fault(fault, PS_E_NOMEM, "--plan", "no memory");
    else if (ferror(file) || len == PLAN_FILE_MAX)
        err =
            ps_fault(fault, PS_E_IO, "--plan", "%s: cannot be read, or is longer than 1 MiB", path);
    (void)fclose(file);
    struct ps_fault inside;
    if (err == 0 && lt_plan_spec_read(text, len, spec, &inside) < 0)
        err = ps_fault(fault, PS_E_INVALID, "--plan", "%s: %s%s%s", path, inside.path,
                       inside.path[0] != '\0' ? " " : "", inside.text);
    free(text);
    return err;
}

/* --rate: clicks of so many buyers in turn, or each by a new one. */
static int plan_rate(const struct arrivals *arrivals, struct lt_plan_spec *spec,
                     struct ps_fault *fault)
{
    if (arrivals->duration_ms == 0)
        return ps_fault(fault, PS_E_INVALID, "--rate", "needs --duration");
    if (arrivals->shape_given || arrivals->over_given || arrivals->file != NULL)
        return ps_fault(fault, PS_E_INVALID, "--rate",
                        "does not go with --shape, --over or --plan");
    if (arrivals->unique_users && arrivals->buyers_given)
        return ps_fault(fault, PS_E_INVALID, "--unique-users", "does not go with --buyers");
    double clicks = round(arrivals->rate * (double)arrivals->duration_ms / 1000);
    if (!(clicks >= 1 && clicks <= CLICKS_MAX))
        return ps_fault(fault, PS_E_INVALID, "--rate", "gives %.0f clicks; 1 to %d are possible",
                        clicks, CLICKS_MAX);
    spec->phases[0] = (struct lt_phase){LT_CONSTANT, arrivals->duration_ms, (int64_t)clicks};
    if (arrivals->unique_users)
        spec->buyers = 0;
    if (arrivals->unique_users && !arrivals->stock_given)
        spec->stock = (int64_t)clicks;
    if (!arrivals->repeat_given)
        spec->repeat_share = 0;
    return 0;
}

static int make_plan(const struct arrivals *arrivals, struct lt_plan_spec *spec,
                     struct ps_fault *fault)
{
    spec->phase_count = 1;
    spec->phases[0] =
        (struct lt_phase){(enum lt_shape)arrivals->shape, arrivals->over_ms, spec->buyers};
    if (arrivals->rate > 0)
        return plan_rate(arrivals, spec, fault);
    if (arrivals->duration_ms > 0 || arrivals->unique_users)
        return ps_fault(fault, PS_E_INVALID,
                        arrivals->unique_users ? "--unique-users" : "--duration", "needs --rate");
    if (arrivals->file == NULL)
        return 0;
    if (arrivals->shape_given || arrivals->over_given || arrivals->buyers_given)
        return ps_fault(fault, PS_E_INVALID, "--plan",
                        "does not go with --shape, --over or --buyers");
    spec->buyers = 0;
    return read_plan_file(arrivals->file, spec, fault);
}

int lt_options_read(int argc, char **argv, struct lt_options *ret_options, struct ps_fault *fault)
{
    struct parse parse = {
        .options = {.public_url = "http://127.0.0.1:8080",
                    .admin_url = "http://127.0.0.1:9090",
                    .state_dir = "./.penstock",
                    .client_ip_header = "X-Forwarded-For",
                    .connections = 1000,
                    .timeout_ms = 10000,
                    .settle_ms = 30000,
                    .plan = {.buyers = 20000,
                             .stock = 1000,
                             .repeat_share = 0.2,
                             .repeat_key_share = 0.5,
                             .seed = 1}},
        .arrivals = {.over_ms = 3000, .shape = LT_SPIKE},
    };
    for (int i = 1; i < argc; i++) {
        size_t name_len = strcspn(argv[i], "=");
        const struct row *row = NULL;
        for (size_t r = 0; row == NULL && r < PS_ARRAY_LEN(rows); r++) {
            if (strlen(rows[r].name) == name_len && strncmp(rows[r].name, argv[i], name_len) == 0)
                row = &rows[r];
        }
        if (row == NULL)
            return ps_fault(fault, PS_E_INVALID, argv[i], "is no option; see --help");
        const char *value = argv[i][name_len] == '=' ? argv[i] + name_len + 1 : NULL;
        if (row->kind == FLAG && value != NULL)
            return ps_fault(fault, PS_E_INVALID, row->name, "takes no value");
        if (row->kind != FLAG && value == NULL) {
            if (i + 1 == argc)
                return ps_fault(fault, PS_E_INVALID, row->name, "needs a value");
            value = argv[++i];
        }
        int err = set(row, value, &parse, fault);
        if (err < 0)
            return err;
    }
    if (parse.options.confirm_share + parse.options.cancel_share > 1)
        return ps_fault(fault, PS_E_INVALID, "--cancel-share",
                        "and --confirm-share are more than 1 together");
    const char *header = parse.options.client_ip_header;
    if (header[0] == '\0' || strlen(header) > HEADER_MAX ||
        header[strspn(header, HEADER_CHARS)] != '\0')
        return ps_fault(fault, PS_E_INVALID, "--client-ip-header",
                        "\"%s\" is not the name of a header such as CF-Connecting-IP", header);
    int err = make_plan(&parse.arrivals, &parse.options.plan, fault);
    if (err < 0)
        return err;
    *ret_options = parse.options;
    return 0;
}
