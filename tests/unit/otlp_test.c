/* Spans, their JSON, and their way to a collector: here a socket of this test. */
#include "tests/unit/check.h"

#include "common/call/call.h"
#include "common/clock.h"
#include "common/otlp/answer.h"
#include "common/otlp/tracer.h"
#include "common/text/json.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static const struct ps_traceparent is = {{1, 2, 3}, {4, 5}, PS_TRACE_SAMPLED};

/* Its JSON as an object; never longer than it may be. */
static json_t *print(const struct ps_span *span)
{
    static char text[PS_SPAN_JSON_MAX];
    struct ps_buf buf;
    json_t *json;

    ps_buf_init(&buf, text, sizeof text);
    ps_span_put(&buf, span, 1000);
    assert_false(buf.overflow);
    assert_ok(ps_json_parse(text, buf.len, &json, NULL));
    return json;
}

static void a_traceparent_is_read_and_written_the_same(void **state)
{
    static const char *const bad[] = {"",
                                      "00",
                                      "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "00-0Af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                      TRACE "-00"};
    struct ps_traceparent parent;
    char text[PS_TRACEPARENT_LEN + 1];

    (void)state;
    assert_ok(ps_traceparent_parse(ps_str(TRACE), &parent));
    assert_int_equal(parent.trace[0], 0x0a);
    assert_int_equal(parent.span[7], 0x31);
    assert_int_equal(parent.flags, PS_TRACE_SAMPLED);
    ps_traceparent_format(&parent, text);
    assert_string_equal(text, TRACE);
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(ps_traceparent_parse(ps_str(bad[i]), &parent), PS_E_INVALID);
    assert_int_equal(ps_traceparent_parse((struct ps_str){0}, &parent), PS_E_INVALID);
}

static void a_span_prints_as_the_protocol_says(void **state)
{
    static const uint8_t parent[8] = {9};
    struct ps_span span;

    (void)state;
    ps_span_begin(&span, &is, parent, PS_SPAN_SERVER);
    span.begin_ns = 7;
    span.end_ns = 9;
    span.failed = true;
    ps_span_name(&span, PS_STR("GET "));
    ps_span_name(&span, PS_STR("\"\xff"));
    ps_span_text(&span, "a", PS_STR("b\n"));
    ps_span_text(&span, "none", (struct ps_str){0});
    ps_span_number(&span, "n", INT64_MIN);
    json_t *json = print(&span);
    json_t *want = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:[{s:s, s:{s:s}}, {s:s, s:{s:s}}], s:{s:i}}",
        "traceId", "01020300000000000000000000000000", "spanId", "0405000000000000", "parentSpanId",
        "0900000000000000", "name", "GET \"\xef\xbf\xbd", "kind", 2, "startTimeUnixNano", "1007",
        "endTimeUnixNano", "1009", "attributes", "key", "a", "value", "stringValue", "b\n", "key",
        "n", "value", "intValue", "-9223372036854775808", "status", "code", 2);
    assert_true(json_equal(json, want));
    json_decref(want);
    json_decref(json);
    ps_span_begin(&span, &is, (const uint8_t[8]){0}, PS_SPAN_INTERNAL);
    json = print(&span);
    assert_null(json_object_get(json, "parentSpanId"));
    assert_int_equal(json_object_size(json_object_get(json, "status")), 0);
    json_decref(json);
}

/* The worst of all spans still fits; a value without room is left out whole. */
static void a_span_is_bounded_whatever_is_put_into_it(void **state)
{
    static char control[PS_SPAN_TEXT + 1];
    struct ps_span span;
    json_t *json;

    (void)state;
    memset(control, 1, sizeof control);
    ps_span_begin(&span, &is, is.span, PS_SPAN_SERVER);
    ps_span_name(&span, (struct ps_str){control, sizeof control});
    ps_span_text(&span, "too.long", (struct ps_str){control, sizeof control});
    ps_span_text(&span, "penstock.long.enough.name", (struct ps_str){control, sizeof control - 1});
    ps_span_text(&span, "no.room", PS_STR("x"));
    for (int i = 0; i < 2 * PS_SPAN_ATTRIBUTES; i++)
        ps_span_number(&span, "http.response.status_code.number", INT64_MIN);
    json = print(&span);
    assert_int_equal(json_array_size(json_object_get(json, "attributes")), PS_SPAN_ATTRIBUTES);
    json_decref(json);
}

static void ids_are_never_zero_and_lots_have_their_share(void **state)
{
    struct ps_span_ids ids;
    uint8_t a[16], b[16];
    int drawn = 0;

    (void)state;
    ps_span_ids_init(&ids);
    ps_span_ids_trace(&ids, a);
    ps_span_ids_trace(&ids, b);
    assert_memory_not_equal(a, b, sizeof a);
    for (int i = 0; i < 100000; i++) {
        assert_false(ps_span_ids_draw(&ids, 0));
        assert_true(ps_span_ids_draw(&ids, 1));
        drawn += ps_span_ids_draw(&ids, 10);
    }
    assert_in_range(drawn, 9000, 11000);
}

static void an_answer_says_how_many_spans_it_refuses(void **state)
{
    static const struct {
        const char *text;
        int64_t refused;
        const char *why;
    } cases[] = {
        {"", 0, ""},
        {"{}", 0, ""},
        {"[]", 0, ""},
        {"{\"partialSuccess\":{}}", 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"3\",\"errorMessage\":\"full\"}}", 3, "full"},
        {"{\"partialSuccess\":{\"rejectedSpans\":3}}", 3, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"-3\"}}", 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"99999999999999999999\"}}", 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":\"3x\"}}", 0, ""},
        {"{\"partialSuccess\":{\"rejectedSpans\":[1]}}", 0, ""},
        {"{\"partialSuccess\":7,\"code\":8,\"message\":\"slow down\"}", 0, "slow down"}};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_otlp_answer answer;
        ps_otlp_answer_read(cases[i].text, strlen(cases[i].text), &answer);
        assert_int_equal(answer.refused, cases[i].refused);
        assert_string_equal(answer.why, cases[i].why);
    }
}

/* --- A tracer --- */

/* A collector: answers each connection's one request with `answer`, in turn with `other` if that is
 * set, and counts spans. */
static struct collector {
    int fd;
    pthread_t thread;
    const char *answer, *other;
    _Atomic int requests, spans;
    _Atomic bool ends;
} collector;
static _Atomic int states[3];
static struct ps_strings headers;

static void serve(int fd)
{
    static char request[1 << 20];
    size_t len = 0, want = SIZE_MAX;

    while (len < want) {
        ssize_t n = read(fd, request + len, sizeof request - 1 - len);
        if (n <= 0)
            break;
        request[len += (size_t)n] = '\0';
        const char *body = strstr(request, "\r\n\r\n"),
                   *length = strstr(request, "Content-Length: ");
        if (body != NULL && length != NULL)
            want = (size_t)(body + 4 - request) + strtoul(length + 16, NULL, 10);
    }
    for (const char *at = request; (at = strstr(at, "\"spanId\"")) != NULL; at++)
        collector.spans++;
    const char *answer =
        collector.other != NULL && collector.requests % 2 == 1 ? collector.other : collector.answer;
    collector.requests++;
    (void)!write(fd, answer, strlen(answer));
}

static void *collect(void *arg)
{
    for (;;) {
        int fd = accept(collector.fd, NULL, NULL);
        if (collector.ends || fd < 0)
            return arg;
        serve(fd);
        close(fd);
    }
}

static void on_state(enum ps_tracer_state state, const char *why)
{
    assert_true((state == PS_TRACER_WELL) == (why[0] == '\0'));
    states[state]++;
}

static struct sockaddr_in address;

/* Listens; serves if there is an answer. The port that is left is nobody's. */
static struct ps_tracer *start(const char *answer)
{
    static char endpoint[64];
    socklen_t len = sizeof address;
    struct ps_tracer *tracer;

    collector = (struct collector){.answer = answer, .fd = socket(AF_INET, SOCK_STREAM, 0)};
    states[0] = states[1] = states[2] = 0;
    address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(collector.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(collector.fd, (struct sockaddr *)&address, &len), 0);
    if (answer != NULL) {
        assert_int_equal(listen(collector.fd, 8), 0);
        assert_int_equal(pthread_create(&collector.thread, NULL, collect, NULL), 0);
    }
    (void)snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_ok(ps_tracer_new(&(struct ps_tracer_settings){.endpoint = endpoint,
                                                         .headers = &headers,
                                                         .service = "s",
                                                         .version = "1",
                                                         .instance = "i",
                                                         .producers = 2,
                                                         .on_state = on_state},
                            &tracer));
    return tracer;
}

static void stop(struct ps_tracer *tracer)
{
    ps_tracer_free(tracer);
    if (collector.answer != NULL) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        collector.ends = true;
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        pthread_join(collector.thread, NULL);
        close(fd);
    }
    close(collector.fd);
}

struct producer {
    struct ps_tracer *tracer;
    size_t index;
    int spans;
};

static void *produce(void *arg)
{
    const struct producer *producer = arg;

    for (int i = 0; i < producer->spans; i++) {
        struct ps_span *span = ps_tracer_take(producer->tracer, producer->index);
        if (span == NULL)
            continue;
        ps_span_begin(span, &is, is.span, PS_SPAN_SERVER);
        ps_span_name(span, PS_STR("x"));
        ps_span_number(span, "i", i);
        ps_tracer_record(producer->tracer, producer->index, span);
    }
    return arg;
}

/* From two threads at once; returns when both have ended. */
static void record(struct ps_tracer *tracer, int spans)
{
    struct producer producers[2] = {{tracer, 0, spans}, {tracer, 1, spans}};
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, produce, &producers[1]), 0);
    (void)produce(&producers[0]);
    pthread_join(other, NULL);
}

static int64_t sum(const struct ps_tracer *tracer)
{
    int64_t all = 0;

    for (enum ps_span_end end = 0; end < PS_SPAN_ENDS; end++)
        all += ps_tracer_count(tracer, end);
    return all;
}

static void each_span_is_counted_once_and_what_fits_arrives(void **state)
{
    struct ps_tracer *tracer = start("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                                     "Connection: close\r\n\r\n{}");

    (void)state;
    record(tracer, 3000);
    ps_tracer_stop(tracer);
    assert_int_equal(sum(tracer), 6000);
    assert_int_equal(ps_tracer_count(tracer, PS_SPAN_EXPORTED), collector.spans);
    assert_in_range(collector.spans, 1024, 6000); /* the rings at least */
    assert_int_equal(
        ps_tracer_count(tracer, PS_SPAN_REFUSED) + ps_tracer_count(tracer, PS_SPAN_FAILED), 0);
    assert_int_equal(states[PS_TRACER_AWAY] + states[PS_TRACER_REFUSED], 0);
    stop(tracer);
}

static void a_collector_that_refuses_is_reported_once_and_what_it_refuses_is_counted(void **state)
{
    struct ps_tracer *tracer =
        start("HTTP/1.1 200 OK\r\nContent-Length: 60\r\nConnection: close\r\n\r\n"
              "{\"partialSuccess\":{\"rejectedSpans\":\"5\",\"errorMessage\":\"no\"}} ");

    (void)state;
    record(tracer, 300); /* more than one body */
    ps_tracer_stop(tracer);
    assert_true(collector.requests > 1);
    assert_int_equal(ps_tracer_count(tracer, PS_SPAN_REFUSED), 5 * collector.requests);
    assert_int_equal(sum(tracer), 600);
    assert_int_equal(states[PS_TRACER_REFUSED], 1);
    stop(tracer);
    tracer = start("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    record(tracer, 10);
    ps_tracer_stop(tracer);
    assert_int_equal(ps_tracer_count(tracer, PS_SPAN_REFUSED), 20);
    assert_int_equal(collector.requests, 1); /* not sent again */
    stop(tracer);
}

static void a_collector_that_comes_and_goes_is_reported_once_a_minute(void **state)
{
    struct ps_tracer *tracer =
        start("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");

    (void)state;
    collector.other = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    for (int i = 1; i <= 6; i++) {
        record(tracer, 1);
        while (sum(tracer) < 2 * i)
            usleep(10000);
    }
    assert_int_equal(ps_tracer_count(tracer, PS_SPAN_REFUSED), 6);
    assert_int_equal(ps_tracer_count(tracer, PS_SPAN_EXPORTED), 6);
    assert_int_equal(states[PS_TRACER_REFUSED], 1);
    assert_int_equal(states[PS_TRACER_WELL], 1);
    stop(tracer);
}

/* The end waits a second for it, at most. */
static void without_a_collector_spans_are_dropped_and_the_end_does_not_hang(void **state)
{
    struct ps_tracer *tracer = start(NULL);
    int64_t began_ns;

    (void)state;
    record(tracer, 2000);
    began_ns = ps_clock_mono_ns(&ps_clock_system);
    ps_tracer_stop(tracer);
    assert_true(ps_clock_mono_ns(&ps_clock_system) - began_ns < 20 * PS_NS_PER_S);
    assert_int_equal(sum(tracer), 4000);
    assert_int_equal(ps_tracer_count(tracer, PS_SPAN_EXPORTED), 0);
    assert_true(ps_tracer_count(tracer, PS_SPAN_DROPPED) > 0);
    assert_true(ps_tracer_count(tracer, PS_SPAN_FAILED) > 0);
    assert_int_equal(states[PS_TRACER_AWAY], 1);
    stop(tracer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_is_read_and_written_the_same),
        cmocka_unit_test(a_span_prints_as_the_protocol_says),
        cmocka_unit_test(a_span_is_bounded_whatever_is_put_into_it),
        cmocka_unit_test(ids_are_never_zero_and_lots_have_their_share),
        cmocka_unit_test(an_answer_says_how_many_spans_it_refuses),
        cmocka_unit_test(each_span_is_counted_once_and_what_fits_arrives),
        cmocka_unit_test(a_collector_that_refuses_is_reported_once_and_what_it_refuses_is_counted),
        cmocka_unit_test(a_collector_that_comes_and_goes_is_reported_once_a_minute),
        cmocka_unit_test(without_a_collector_spans_are_dropped_and_the_end_does_not_hang),
    };
    if (sodium_init() < 0 || ps_calls_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
