/* What the commands of penstockctl share: the parsed command line, the table of commands, and exit
 * statuses. One thread; everything blocks. */
#ifndef CTL_H
#define CTL_H

#include "common/defs.h"
#include "common/err.h"
#include "common/program/flags.h"

#include <stdio.h>

#define CTL_ARGS_MAX 16
#define CTL_FILE_MAX                                                                               \
    (1 << 20) /* bytes of a file that is read, as of a body that a gateway takes                   \
               */

/* Exit status. `diff` is like kubectl's: 0 equal, 1 different, above 1 an error. */
enum ctl_exit {
    CTL_OK,
    CTL_REFUSED, /* the gateway refuses, or a check finds something wrong */
    CTL_USAGE,   /* the command line, or a file that it names, is wrong: nothing was sent */
    CTL_AWAY,    /* no answer: the gateway was not reached, the connection broke, or 503 */
    CTL_FAILED,  /* this machine: memory, a file that cannot be written; `diff`: refused */
};

/* The values of --header, as given. */
struct ctl_headers {
    const char *at[16];
    size_t count;
};

/* The values of options; absent texts are NULL. They point into argv, the environment or
 * `ctl_context`.
 */
struct ctl_options {
    const char *admin, *token_file, *output, *file, *kinds, *reason, *gateway, *sale, *state, *id,
        *note, *pool, *out, *user, *ip, *sku, *at, *method, *path;
    int64_t ttl_s, arm_ttl_s, after, limit, interval_s, quantity, weight,
        wait_s; /* -1: not given */
    struct ctl_headers headers;
    bool prune, dry_run, once, help, force, break_glass, base, csv_raw;
};

/* The gateway that is called, and the command. */
struct ctl {
    struct ctl_options options;
    const struct ctl_command *command;
    const char *args[CTL_ARGS_MAX + 1]; /* the words after the command, NULL after the last */
    char admin[2048];                   /* http://…, https://… or unix:/path */
    const char *admin_from;             /* what named it: "--admin" … */
    char token[512];                    /* "" = none */
    char *context_text[2];              /* owned; admin and token file of the context */
};

/* One row: `penstockctl NAME ARGUMENTS`. The help, completions and the manual come from it. */
struct ctl_command {
    const char *name;      /* "get", "sale open" */
    const char *arguments; /* "KIND [NAME]"; "" = none */
    int least, most;       /* how many of them */
    uint64_t flags;        /* bits of enum ctl_flag */
    const char *outputs;   /* values of -o: "table json"; the first is the default; NULL: no -o */
    const char *help;      /* one line */
    int (*run)(struct ctl *ctl); /* an enum ctl_exit */
    bool local;                  /* does not call a gateway */
};

/* Options by their rows in ctl_flags. */
enum ctl_flag {
    CTL_F_ADMIN,
    CTL_F_TOKEN_FILE,
    CTL_F_HELP,
    CTL_F_OUTPUT,
    CTL_F_FILE,
    CTL_F_PRUNE,
    CTL_F_KINDS,
    CTL_F_DRY_RUN,
    CTL_F_REASON,
    CTL_F_TTL,
    CTL_F_ARM_TTL,
    CTL_F_GATEWAY,
    CTL_F_SALE,
    CTL_F_STATE,
    CTL_F_AFTER,
    CTL_F_LIMIT,
    CTL_F_ID,
    CTL_F_NOTE,
    CTL_F_POOL,
    CTL_F_OUT,
    CTL_F_INTERVAL,
    CTL_F_WAIT,
    CTL_F_ONCE,
    CTL_F_USER,
    CTL_F_IP,
    CTL_F_SKU,
    CTL_F_QUANTITY,
    CTL_F_METHOD,
    CTL_F_PATH,
    CTL_F_HEADER,
    CTL_F_FORCE,
    CTL_F_BREAK_GLASS,
    CTL_F_AT,
    CTL_F_BASE,
    CTL_F_WEIGHT,
    CTL_F_CSV_RAW,
    CTL_FLAGS
};
#define CTL_BIT(flag) (UINT64_C(1) << (flag))
#define CTL_FLAGS_ALL (CTL_BIT(CTL_F_ADMIN) | CTL_BIT(CTL_F_TOKEN_FILE) | CTL_BIT(CTL_F_HELP))

extern const struct ps_flag ctl_flags[CTL_FLAGS];
extern const struct ctl_command ctl_commands[]; /* the last has no name */

/* Runs `penstockctl argv…`; the exit status. */
int ctl_main(int argc, char **argv);

/* Prints "penstockctl: …" on stderr, control characters replaced. Returns `exit`, for
 * `return ctl_say(…)`. */
int ctl_say(enum ctl_exit exit, const char *fmt, ...) PS_PRINTF(2, 3);

/* Help, the manual (mdoc) and completions, all from the tables. */
void ctl_help(FILE *out, const struct ctl_command *command);
int ctl_man(struct ctl *ctl);
int ctl_completion(struct ctl *ctl);

#endif
