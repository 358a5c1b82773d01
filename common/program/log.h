/* The program's log: one JSON object a line on a file descriptor. Any thread may log and none
 * waits: a line goes into a bounded queue that a small thread writes out; what does not fit is
 * dropped and counted, and the next line that fits says how many. Libraries do not log; the gateway
 * logs each error once, where it is handled. */
#ifndef PS_LOG_H
#define PS_LOG_H

#include "common/defs.h"

enum ps_log_level { PS_LOG_DEBUG, PS_LOG_INFO, PS_LOG_WARN, PS_LOG_ERROR };
/* The names of a line's members: our own, or those of the Elastic Common Schema. */
enum ps_log_format { PS_LOG_PENSTOCK, PS_LOG_ECS };
extern const char *const ps_log_formats[]; /* their names, in order, NULL-terminated */

enum ps_log_kind { PS_LOG_END, PS_LOG_STRING, PS_LOG_INT, PS_LOG_BOOL, PS_LOG_FLAG };

struct ps_log_field {
    const char *name;
    enum ps_log_kind kind;
    int64_t number;
    const char *text;
    size_t len;
};

#define PS_F_STR(n, s)     ((struct ps_log_field){(n), PS_LOG_STRING, 0, (s), SIZE_MAX})
#define PS_F_STRN(n, s, l) ((struct ps_log_field){(n), PS_LOG_STRING, 0, (s), (l)})
#define PS_F_INT(n, i)     ((struct ps_log_field){(n), PS_LOG_INT, (int64_t)(i), NULL, 0})
#define PS_F_BOOL(n, b)    ((struct ps_log_field){(n), PS_LOG_BOOL, (b), NULL, 0})
#define PS_F_FLAG(n, b)                                                                            \
    ((struct ps_log_field){(n), PS_LOG_FLAG, (b), NULL, 0}) /* true, or not printed */
#define PS_F_END ((struct ps_log_field){NULL, PS_LOG_END, 0, NULL, 0})

#define PS_LOG_LINE_MAX 2048

/* ps_log(PS_LOG_INFO, "sale_paused", PS_F_STR("sale", name), PS_F_INT("version", v)) prints
 * {"time":"…Z","level":"info","event":"sale_paused","sale":"…","version":3}. A line is cut at
 * PS_LOG_LINE_MAX bytes (fields that do not fit are left out, the line stays valid JSON). A NULL
 * text prints as null; bytes that are not UTF-8 print as U+FFFD. Events and names are plain words.
 */
#define ps_log(level, ...) ps_log_call((level), __VA_ARGS__, PS_F_END)
#define ps_log_call(level, event, ...)                                                             \
    ps_log_write(level, event, (struct ps_log_field[]){__VA_ARGS__})
void ps_log_write(enum ps_log_level level, const char *event, const struct ps_log_field *fields);

/* The format of all lines, and the service that each line of PS_LOG_ECS names. Before ps_log_start;
 * the texts outlive the log. */
void ps_log_format_set(enum ps_log_format format, const char *service, const char *version);
/* The instance of the service, which lines of PS_LOG_ECS name from now on: at most 64 bytes of it,
 * copied. Once. */
void ps_log_node_set(const char *node);
/* Starts the writer. Before start (and after stop) a line is written at once, to stderr or the last
 * descriptor, and waits up to a second for it. SIGPIPE must be ignored by the program. PS_E_NOMEM,
 * PS_E_BUSY: started already. */
int ps_log_start(int fd, enum ps_log_level least) PS_MUST_CHECK;
void ps_log_level_set(enum ps_log_level least);
/* Writes out what is queued (at most 2 s) and ends the thread. What other threads log meanwhile may
 * be lost. The threads that start and stop are the same or take turns. */
void ps_log_stop(void);
/* What a line on stderr begins with: "<3>" and the like (sd-daemon(3)) where $JOURNAL_STREAM says
 * that systemd's journal reads stderr, which takes it off and keeps it as the line's priority; else
 * "". Lines of ps_log have it. Any thread. */
const char *ps_log_priority(enum ps_log_level level);
/* Lines without room, or that the descriptor refused. */
uint64_t ps_log_dropped(void);

#endif
