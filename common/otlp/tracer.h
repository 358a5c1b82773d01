/* Sends spans to a collector of OpenTelemetry, on a thread of its own. */
#ifndef PS_TRACER_H
#define PS_TRACER_H

#include "common/otlp/span.h"
#include "common/table/table.h"

/* What became of spans. Each is counted once. */
enum ps_span_end {
    PS_SPAN_EXPORTED,
    PS_SPAN_DROPPED, /* no room in the ring: the collector is away or slow, or there are too many */
    PS_SPAN_REFUSED, /* by the collector */
    PS_SPAN_FAILED,  /* tried for a minute, or not sent before the end */
    PS_SPAN_ENDS
};
extern const char
    *const ps_span_ends[PS_SPAN_ENDS + 1]; /* their names, in order, NULL-terminated */

enum ps_tracer_state { PS_TRACER_WELL, PS_TRACER_AWAY, PS_TRACER_REFUSED };

/* The texts outlive the tracer. */
struct ps_tracer_settings {
    const char *endpoint;                     /* http://HOST:PORT; /v1/traces is added */
    const struct ps_strings *headers;         /* "Name: value" each */
    const char *service, *version, *instance; /* of the resource */
    size_t producers;                         /* threads that record */
    /* When the state has changed, on the tracer's thread; to a bad one at most once a minute. `why`
     * is a sentence, "" when all is well. */
    void (*on_state)(enum ps_tracer_state state, const char *why);
};

/* An on_state that logs: traces_sent, traces_not_sent, traces_refused. */
void ps_tracer_log_state(enum ps_tracer_state state, const char *why);

/* Of the setting that names the endpoint. */
extern const struct ps_format ps_tracer_url;

struct ps_tracer;

/* After ps_calls_start. PS_E_NOMEM. */
int ps_tracer_new(const struct ps_tracer_settings *settings,
                  struct ps_tracer **ret_tracer) PS_MUST_CHECK;
/* Sends what is there, for at most a second. No thread records any more; ps_tracer_count still
 * answers. NULL is allowed. */
void ps_tracer_stop(struct ps_tracer *tracer);
/* Stops it first. NULL is allowed. */
void ps_tracer_free(struct ps_tracer *tracer);

/* The thread of `producer` alone. A span to fill, with anything in it (ps_span_begin), which
 * ps_tracer_record must follow soon; NULL: dropped, and counted. */
struct ps_span *ps_tracer_take(struct ps_tracer *tracer, size_t producer);
void ps_tracer_record(struct ps_tracer *tracer, size_t producer, struct ps_span *span);

/* Any thread. */
int64_t ps_tracer_count(const struct ps_tracer *tracer, enum ps_span_end end);

/* Reads a file of header fields, one "Name: value" a line; empty lines and those that begin with #
 * are passed over. As ps_secret_read: others may not read it, and a name without a slash is a
 * credential of systemd. */
int ps_tracer_headers_read(const char *path, const char *setting, struct ps_strings *ret_headers,
                           struct ps_fault *fault) PS_MUST_CHECK;

#endif
