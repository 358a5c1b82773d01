/* Who changed what, when, from what, to what, and why: an append-only file, one JSON object a line,
 * synced at each append.
 *
 *     {"seq":12,"prev":"9f…","at":"…Z","who":"t4f…","peer":"127.0.0.1","action":"sale.pause","target":"sales/spring","from":…,"to":…,"why":"…"}
 *
 * Lines are made by the control store: a line is committed to control.db in the transaction of its
 * change and appended here right after (store.h), so there is no change without its line.
 * `seq` rises by one per line. `prev` is the SHA-256 in hexadecimal of the previous line, without
 * its line feed, also when that line is in a file that was moved away; 64 zeros begin a chain. So a
 * line that was changed, removed or moved shows in the line behind it. The file is opened anew for
 * each append: it may be moved away at any time, and the gateway begins a new one. */
#ifndef CFG_AUDIT_LOG_H
#define CFG_AUDIT_LOG_H

#include "common/err.h"
#include "common/text/json.h"

struct cfg_audit_entry {
    int64_t at_ms;
    const char *who;    /* id of the token, "settings", or CFG_BY_GATEWAY */
    const char *peer;   /* address, or "" */
    const char *action; /* "sale.put", "sale.pause", "limit.put", "block.user", "token.new"… */
    const char *target; /* "sales/spring" */
    const json_t *from; /* NULL = null */
    const json_t *to;
    const char *why; /* NULL = null */
};

/* The entry as a JSON object without `seq`, compact, heap. Texts that are not UTF-8 are a
 * programming error. NULL = out of memory. Any thread. */
char *cfg_audit_text(const struct cfg_audit_entry *entry);

/* The hash of the last line, which the next line holds; closing NUL included. */
#define CFG_AUDIT_HEAD 65

/* The last line of the log; seq 0: it has none. */
struct cfg_audit_head {
    int64_t seq;
    char hash[CFG_AUDIT_HEAD];
};

/* Makes the file (0600) when absent, cuts off a torn last line, and finds the last seq (0 = none)
 * and the head: of an empty file zeros. PS_E_PERMISSION, PS_E_IO; PS_E_CORRUPT: the last whole line
 * has no seq. */
int cfg_audit_open(const char *path, int64_t *ret_last_seq, char ret_head[CFG_AUDIT_HEAD],
                   struct ps_fault *fault) PS_MUST_CHECK;
/* Appends {"seq":SEQ,"prev":HEAD, and the rest of `text`, syncs, and sets `head` to the hash of the
 * new line. On failure the partial line is cut off again, and `head` is unchanged. One thread at a
 * time.
 */
int cfg_audit_append(const char *path, char head[CFG_AUDIT_HEAD], int64_t seq, const char *text,
                     struct ps_fault *fault) PS_MUST_CHECK;

/* Lines with seq > after, oldest first, at most `limit` (>= 1) and at most about 1 MiB (one line at
 * least), as NDJSON, heap; `after` < 0: the last ones. No line: "" and length 0. Any thread, beside
 * the writer; reads the file, so not on a loop that serves buyers. */
int cfg_audit_read(const char *path, int64_t after, size_t limit, char **ret_text,
                   size_t *ret_len) PS_MUST_CHECK;

#endif
