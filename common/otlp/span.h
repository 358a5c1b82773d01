/* A span: one step of a request, as OpenTelemetry describes it. Of fixed size, so that a thread
 * fills it in place. A value that does not fit is left out, with its name. */
#ifndef PS_SPAN_H
#define PS_SPAN_H

#include "common/text/buf.h"
#include "common/text/traceparent.h"

/* The numbers of the protocol. */
enum ps_span_kind {
    PS_SPAN_INTERNAL = 1,
    PS_SPAN_SERVER = 2,
    PS_SPAN_PRODUCER = 4,
    PS_SPAN_CONSUMER = 5
};

#define PS_SPAN_NAME_MAX   96
#define PS_SPAN_ATTRIBUTES 16
#define PS_SPAN_TEXT       768
/* Its JSON is never longer: six bytes for each of text and name, and what is between them. */
#define PS_SPAN_JSON_MAX (6 * (PS_SPAN_TEXT + PS_SPAN_NAME_MAX) + 128 * PS_SPAN_ATTRIBUTES + 512)

struct ps_span {
    uint8_t trace[16], id[8];
    uint8_t parent[8]; /* all zero: none */
    enum ps_span_kind kind;
    bool failed;
    int64_t begin_ns, end_ns; /* of the monotonic clock */
    char name[PS_SPAN_NAME_MAX];
    size_t name_len;
    struct ps_span_attribute {
        const char *name; /* outlives the span; plain words */
        bool is_text;
        uint16_t at, len;
        int64_t number;
    } attribute[PS_SPAN_ATTRIBUTES];
    size_t attributes, text_len;
    char text[PS_SPAN_TEXT];
};

/* Empties it, but for its ids. */
void ps_span_begin(struct ps_span *span, const struct ps_traceparent *is, const uint8_t parent[8],
                   enum ps_span_kind kind);
/* Adds to its name what fits. */
void ps_span_name(struct ps_span *span, struct ps_str part);
/* An empty text is left out. */
void ps_span_text(struct ps_span *span, const char *name, struct ps_str text);
void ps_span_number(struct ps_span *span, const char *name, int64_t number);

/* Prints it as an element of `spans`. `wall_ns` is added to its times. */
void ps_span_put(struct ps_buf *buf, const struct ps_span *span, int64_t wall_ns);

/* Ids: random numbers of a generator that one thread uses. */
struct ps_span_ids {
    uint64_t state[2];
};
void ps_span_ids_init(struct ps_span_ids *ids); /* from the system's generator */
void ps_span_ids_next(struct ps_span_ids *ids, uint8_t ret_id[8]);
void ps_span_ids_trace(struct ps_span_ids *ids, uint8_t ret_trace[16]);
/* One in `n` at random; 0: never. */
bool ps_span_ids_draw(struct ps_span_ids *ids, int64_t n);

#endif
