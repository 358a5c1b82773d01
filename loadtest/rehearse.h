/* The rehearsal as one piece of work, from its options to its result; main only calls it. */
#ifndef LT_REHEARSE_H
#define LT_REHEARSE_H

#include "loadtest/admin.h"
#include "loadtest/plan.h"
#include "loadtest/thresholds.h"

#include <signal.h>

struct lt_options {
    const char *public_url, *admin_url;
    const char *state_dir;
    const char *token_file;            /* NULL: "<state_dir>/admin.token" */
    const char *client_ip_header;      /* which header has the buyers' addresses */
    const char *json_path, *html_path; /* where reports are written; NULL: nowhere */
    const char *history_path;          /* where the history is written; NULL: nowhere */
    const char *check_history, *sale;  /* a file to check against the log of a sale; or NULL */
    const char *report_sale;           /* a sale to report on, instead of playing; NULL: none */
    const char *twin_of;               /* the live sale beside which it runs; NULL: none */
    const char *rehearsal_key;         /* with twin_of: the file of the key that signs marks */
    const char *pages;                 /* the pages that visitors request; NULL: none */
    double pages_rate;                 /* a second */
    bool own_target;                   /* the target may be another machine */
    bool summary, quiet, end_sale, help, version;
    double confirm_share, cancel_share;
    int64_t connections, timeout_ms, settle_ms, retries;
    int64_t patience_ms; /* at most timeout_ms */
    int64_t in_time_ms;  /* 0: not given */
    int64_t live_port;   /* 0: no live page */
    bool live_said;      /* its address has been printed already */
    struct lt_plan_spec plan;
    bool find_capacity;
    double margin;           /* share of the knee, with find_capacity */
    int64_t first_rate;      /* the search begins at this rate, clicks per second … */
    int64_t step_ms;         /* … and each step lasts this long */
    const char *bundle_path; /* NULL: none */
    struct lt_thresholds thresholds;
    const char *baseline_path; /* NULL: none */
    double regression;         /* a figure that is worse by more than this share has regressed */
};

/* Reads the command line (and the plan file that it names). PS_E_INVALID: the fault names the
 * option. Strings are borrowed from argv. */
int lt_options_read(int argc, char **argv, struct lt_options *ret_options,
                    struct ps_fault *fault) PS_MUST_CHECK;
void lt_options_help(void);

/* Exit statuses. */
enum {
    LT_EXIT_PROVED = 0,
    LT_EXIT_FAILED = 1,
    LT_EXIT_USAGE = 2,
    LT_EXIT_CROSSED = 99 /* the proof holds, but a threshold is crossed or a figure has regressed */
};

/* Runs it: result on stdout, progress and errors on stderr. `stop`: 1 = end the plan and report, 2
 * = give up. Returns the exit status. */
int lt_rehearse(const struct lt_options *options, const volatile sig_atomic_t *stop);

/* Judges options->check_history. Returns the exit status; LT_EXIT_USAGE: not a history. */
int lt_check_history(const struct lt_options *options, const volatile sig_atomic_t *stop);
/* Reports on options->report_sale, a sale of any kind. LT_EXIT_FAILED: the audit found differences,
 * or the sale could not be read. */
int lt_report_sale(const struct lt_options *options, const volatile sig_atomic_t *stop);

/* Its parts, for callers that run several rehearsals. */

/* Resolves the URLs, checks that the target is allowed, reads the token. PS_E_INVALID,
 * PS_E_NOT_FOUND, PS_E_PERMISSION, PS_E_IO. */
int lt_rehearse_aim(const struct lt_options *options, struct lt_target *ret_public,
                    struct lt_admin *ret_admin, struct ps_fault *fault) PS_MUST_CHECK;
/* Checks before the load that the file can be written. It is unchanged, or created empty. NULL is
 * allowed. PS_E_IO. */
int lt_rehearse_try_file(const char *option, const char *path,
                         struct ps_fault *fault) PS_MUST_CHECK;
/* Writes the document to the file, or an error to stderr. Not 0: it could not be written. */
int lt_rehearse_write(const json_t *json, const char *option, const char *path) PS_MUST_CHECK;
/* One rehearsal, whose report (lt_report_json) is returned instead of printed. A failing proof
 * is not an error. Owner of *ret_report: the caller (json_decref). */
int lt_rehearse_measure(const struct lt_options *options, const volatile sig_atomic_t *stop,
                        json_t **ret_report, struct ps_fault *fault) PS_MUST_CHECK;
/* Prints the fault; returns `status`. */
int lt_rehearse_fail(const struct ps_fault *fault, int status);

#endif
