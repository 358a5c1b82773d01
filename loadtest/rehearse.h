/* The rehearsal as one piece of work, from its options to its result; main is only its shell. */
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
    const char *json_path, *html_path; /* NULL: none */
    const char *history_path;          /* where what clients saw is written; NULL: nowhere */
    const char *check_history, *sale;  /* a file to judge against the log of a sale; or NULL */
    const char *report_sale;           /* a sale to report on, instead of playing; NULL: none */
    const char *twin_of;               /* the live sale beside which it runs; NULL: none */
    const char *rehearsal_key;         /* the file of the key that signs its marks; with it */
    const char *pages;                 /* what visitors ask for beside the buyers; NULL: nothing */
    double pages_rate;                 /* a second */
    bool own_target;                   /* other machines may be aimed at */
    bool summary, quiet, end_sale, help, version;
    double confirm_share, cancel_share;
    int64_t connections, timeout_ms, settle_ms, retries;
    int64_t patience_ms; /* at most timeout_ms */
    int64_t in_time_ms;  /* 0: not asked for */
    int64_t live_port;   /* 0: no live page */
    bool live_said;      /* its address has been printed already */
    struct lt_plan_spec plan;
    bool find_capacity;
    double margin;           /* of a knee, with find_capacity */
    int64_t first_rate;      /* the search for it begins there; clicks a second … */
    int64_t step_ms;         /* … for so long each */
    const char *bundle_path; /* NULL: none */
    struct lt_thresholds thresholds;
    const char *baseline_path; /* NULL: none */
    double regression;         /* what is worse by more than this share has regressed */
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

/* Judges options->check_history. The same statuses; LT_EXIT_USAGE: it is no history. */
int lt_check_history(const struct lt_options *options, const volatile sig_atomic_t *stop);
/* Reports on options->report_sale, which is or was a sale of any kind. LT_EXIT_FAILED: its books
 * are not in order, or could not be read. */
int lt_report_sale(const struct lt_options *options, const volatile sig_atomic_t *stop);

/* The parts of it, for who plays several. */

/* Resolves the URLs, checks that they may be aimed at, reads the token. PS_E_INVALID,
 * PS_E_NOT_FOUND, PS_E_PERMISSION, PS_E_IO. */
int lt_rehearse_aim(const struct lt_options *options, struct lt_target *ret_public,
                    struct lt_admin *ret_admin, struct ps_fault *fault) PS_MUST_CHECK;
/* Before the load, not after minutes of it: can this be written? It stays as it is, or is made
 * empty. NULL is allowed. PS_E_IO. */
int lt_rehearse_try_file(const char *option, const char *path,
                         struct ps_fault *fault) PS_MUST_CHECK;
/* The document into the file, or the error to stderr. Not 0: it could not be written. */
int lt_rehearse_write(const json_t *json, const char *option, const char *path) PS_MUST_CHECK;
/* One rehearsal, whose report (lt_report_json) is returned instead of printed. A proof that fails
 * is no error. Owner of *ret_report: the caller (json_decref). */
int lt_rehearse_measure(const struct lt_options *options, const volatile sig_atomic_t *stop,
                        json_t **ret_report, struct ps_fault *fault) PS_MUST_CHECK;
/* Prints the fault; returns `status`. */
int lt_rehearse_fail(const struct ps_fault *fault, int status);

#endif
