/* What clients saw: a file of one JSON object a line, in the manner of Jepsen. An operation is two
 * lines, of the process that did it: "invoke", and how it ended.
 *
 *   {"process":7,"type":"invoke","f":"buy","value":{"user":"b-1","key":"k","sku":"phone",
 *    "quantity":1},"time":12000}
 *   {"process":7,"type":"ok","f":"buy","value":{"order_id":"0190…","state":"accepted",
 *    "verdict":"accepted"},"time":13000}
 *
 * - type: "ok", it was done; "fail", it surely was not; "info", nobody knows.
 * - f: "buy", "read", "confirm" or "cancel".
 * - value: what was asked (user, key, sku, quantity, order_id) and answered (order_id, verdict). Of
 *   the order: `state`, null where there is no such order, and `reason`. `at` says which gateway
 *   answered, where there are several: each reads the log at its own speed. Null: one of several.
 * - time: nanoseconds of one clock that never goes back.
 *
 * A process does one thing after the other. After an "info" it must not go on under its number. */
#ifndef LT_HISTORY_H
#define LT_HISTORY_H

#include "common/err.h"
#include "common/text/id.h"

#include <stdio.h>

#define LT_HISTORY_LINE_MAX  4096
#define LT_HISTORY_LINES_MAX 100000000
#define LT_HISTORY_OPEN_MAX  100000 /* operations at once */

enum lt_op_type { LT_OP_INVOKE, LT_OP_OK, LT_OP_FAIL, LT_OP_INFO };
enum lt_op_f { LT_OP_BUY, LT_OP_READ, LT_OP_CONFIRM, LT_OP_CANCEL };

/* What an answer shows about its order. */
enum lt_seen {
    LT_SEEN_UNKNOWN, /* it says nothing of it */
    LT_SEEN_NONE,    /* there is no such order */
    LT_SEEN_PENDING,
    LT_SEEN_ACCEPTED,
    LT_SEEN_CONFIRMED,
    LT_SEEN_RELEASED, /* by expiry or cancellation, or it is not said why */
    LT_SEEN_REJECTED  /* it never was accepted */
};

/* `state` and `reason` as the gateway says them; LT_SEEN_UNKNOWN: other words. */
enum lt_seen lt_seen_parse(struct ps_str state, struct ps_str reason);

/* --- writing --- */

struct lt_history_file;

/* One line. Strings that are empty are left out; they hold no character that JSON escapes. */
struct lt_history_line {
    int64_t process;
    enum lt_op_type type;
    enum lt_op_f f;
    struct ps_str user, key, sku, verdict;
    int64_t quantity;               /* 0: left out */
    const struct ps_uuid *order_id; /* NULL: left out */
    enum lt_seen seen;              /* LT_SEEN_UNKNOWN: left out */
    bool anywhere;                  /* one of several gateways has answered */
};

/* Makes the file empty. PS_E_IO, PS_E_NOMEM. One thread. */
int lt_history_open(const char *path, struct lt_history_file **ret_file,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* Writes the line, of this moment. An error shows when the file is closed. */
void lt_history_write(struct lt_history_file *file, const struct lt_history_line *line);
/* A number that no process has had, for an operation outside of connections. */
int64_t lt_history_process(struct lt_history_file *file);
/* PS_E_IO: not everything was written. NULL is allowed. */
int lt_history_close(struct lt_history_file *file, struct ps_fault *fault) PS_MUST_CHECK;

/* --- reading --- */

struct lt_op {
    enum lt_op_type type; /* how it ended; INFO when it never did */
    enum lt_op_f f;
    enum lt_seen seen;
    bool has_order, replayed;
    bool anywhere;           /* nobody knows which gateway answered */
    uint32_t line, end_line; /* from 1; end_line 0: it never ended */
    int64_t invoked_ns;
    int64_t ended_ns; /* INT64_MAX: nobody knows when, or if */
    int64_t quantity; /* 0: not said */
    struct ps_uuid order_id;
    struct ps_str user, key, sku, at; /* empty: not said */
};

struct lt_history; /* inside */

int lt_history_new(struct lt_history **ret_history) PS_MUST_CHECK;
void lt_history_free(struct lt_history *history); /* NULL is allowed */
/* Takes the next line. PS_E_INVALID: the fault names its number and what is wrong; PS_E_FULL: more
 * lines or operations at once than can be taken; PS_E_NOMEM. Then only lt_history_free is of use.
 */
int lt_history_add(struct lt_history *history, const char *line, size_t len,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* All lines of a file. PS_E_IO, and as above. Owner of *ret_history: the caller. */
int lt_history_load(const char *path, struct lt_history **ret_history,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* The operations by the moment of their invocation line; lives as long as the history, and until
 * the next line is added. */
const struct lt_op *lt_history_ops(const struct lt_history *history, size_t *ret_count);

#endif
