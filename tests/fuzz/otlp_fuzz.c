/* Any bytes as a collector's answer, as a traceparent, and as the texts of a span: what is read is
 * bounded, what is written reads back. */
#include "common/otlp/answer.h"
#include "common/otlp/span.h"
#include "common/text/json.h"
#include "fuzz.h"

#include <string.h>

static void read_traceparent(struct ps_str text)
{
    struct ps_traceparent parent;
    char again[PS_TRACEPARENT_LEN + 1];

    if (ps_traceparent_parse(text, &parent) < 0)
        return;
    ps_traceparent_format(&parent, again);
    MUST(strlen(again) == text.len && memcmp(again, text.at, text.len) == 0);
}

static void print_span(struct ps_str text)
{
    static const struct ps_traceparent is = {{1}, {2}, 0};
    static char memory[PS_SPAN_JSON_MAX];
    size_t half = text.len / 2;
    struct ps_span span;
    struct ps_buf buf;
    json_t *json;

    ps_span_begin(&span, &is, is.span, PS_SPAN_SERVER);
    ps_span_name(&span, text);
    ps_span_text(&span, "a", (struct ps_str){text.at, half});
    ps_span_text(&span, "b", (struct ps_str){text.at + half, text.len - half});
    ps_buf_init(&buf, memory, sizeof memory);
    ps_span_put(&buf, &span, 0);
    MUST(!buf.overflow);
    if (memchr(text.at, 0, text.len) != NULL) /* our reader refuses it; it is JSON all the same */
        return;
    MUST(ps_json_parse(memory, buf.len, &json, NULL) == 0);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct ps_str text = {(const char *)bytes, size};
    struct ps_otlp_answer answer;

    ps_otlp_answer_read(text.at, text.len, &answer);
    MUST(answer.refused >= 0 && strlen(answer.why) < sizeof answer.why);
    read_traceparent(text);
    print_span(text);
    return 0;
}
