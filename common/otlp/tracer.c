/* Each producer has a ring of its own, so that none waits for another one's slot. The thread looks
 * every TURN_MS, prints what it finds into a body of bounded size, and sends that when it is full
 * or SEND_MS old. One body is sent at a time, and between two of them is a turn: so at most
 * BATCH_MAX * 1000 / TURN_MS spans leave in a second, whatever is recorded; the rings drop the
 * rest.
 *
 * A body that could not be sent (no connection, no answer, 429, 502, 503, 504) is tried again with
 * growing pauses, or after the collector's Retry-After, until it is GIVE_UP_NS old. Meanwhile the
 * rings fill. Any other answer but 2xx refuses the body for good. */
#include "common/otlp/tracer.h"

#include "common/call/call.h"
#include "common/clock.h"
#include "common/otlp/answer.h"
#include "common/program/secret.h"
#include "common/ring.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define RING_SPANS  512
#define BATCH_MAX   256
#define BODY_MAX    ((size_t)512 << 10)
#define TURN_MS     100
#define SEND_MS     500
#define CONNECT_MS  2000
#define ANSWER_MS   10000
#define ANSWER_MAX  ((size_t)64 << 10)
#define PAUSE_MS    1000
#define PAUSE_MAX_S 30
#define GIVE_UP_NS  (60 * PS_NS_PER_S)
#define END_NS      (1 * PS_NS_PER_S)
#define QUIET_NS    (60 * PS_NS_PER_S)
#define HEADERS_MAX 16
#define HEADER_MAX  8192

const char *const ps_span_ends[PS_SPAN_ENDS + 1] = {"exported", "dropped", "refused", "failed",
                                                    NULL};

/* No user, no query: both belong into the headers. libcurl judges the rest. */
static bool is_url(const char *text, size_t len)
{
    size_t scheme = strncmp(text, "http://", 7) == 0    ? 7
                    : strncmp(text, "https://", 8) == 0 ? 8
                                                        : 0;

    if (scheme == 0 || len == scheme || text[scheme] == '/')
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~' || strchr("@?#\"\\", text[i]) != NULL)
            return false;
    return true;
}

const struct ps_format ps_tracer_url = {
    .rule = {"an http or https URL without user, query and fragment",
             "http 或 https URL，不含用户名、查询串和片段"},
    .pattern = "^https?://[^/@?#\"\\\\ ][^@?#\"\\\\ ]*$",
    .is_ok = is_url};

struct ps_tracer {
    struct ps_tracer_settings settings;
    struct ps_caller *caller;
    struct ps_ring **rings;  /* one for each producer */
    char *body;              /* of BODY_MAX bytes */
    struct ps_buf text;      /* what is in it */
    size_t head_len;         /* the part that each body begins with */
    int64_t batch, first_ns; /* spans in it, and since when */
    enum ps_tracer_state state, reported;
    char why[sizeof(((struct ps_fault *)NULL)->text)];
    int64_t quiet_until_ns; /* no bad state is reported before */
    _Atomic int64_t counts[PS_SPAN_ENDS];
    _Atomic int64_t end_ns; /* when the thread must end; INT64_MAX while it runs */
    sem_t wake;
    pthread_t thread;
};

static int64_t now_ns(void)
{
    return ps_clock_mono_ns(&ps_clock_system);
}

static void count(struct ps_tracer *tracer, enum ps_span_end end, int64_t spans)
{
    atomic_fetch_add_explicit(&tracer->counts[end], spans, memory_order_relaxed);
}

static bool is_ending(const struct ps_tracer *tracer)
{
    return atomic_load(&tracer->end_ns) != INT64_MAX;
}

/* Reports a bad state at most once in QUIET_NS, and recovery only after a reported bad state: a
 * collector that comes and goes is not reported with each body. */
static void report_state(struct ps_tracer *tracer)
{
    bool is_bad = tracer->state != PS_TRACER_WELL;

    if (tracer->state == tracer->reported || (is_bad && now_ns() < tracer->quiet_until_ns))
        return;
    if (is_bad)
        tracer->quiet_until_ns = now_ns() + QUIET_NS;
    tracer->reported = tracer->state;
    tracer->settings.on_state(tracer->state, tracer->why);
}

static void change_state(struct ps_tracer *tracer, enum ps_tracer_state state, const char *why)
{
    tracer->state = state;
    (void)snprintf(tracer->why, sizeof tracer->why, "%s", why);
    report_state(tracer);
}

/* Until `wake_ns`, or the end. */
static void sleep_until(struct ps_tracer *tracer, int64_t wake_ns)
{
    int64_t left_ns = wake_ns - now_ns();
    struct timespec until;

    if (left_ns <= 0 || is_ending(tracer))
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += left_ns / PS_NS_PER_S;
    until.tv_nsec += left_ns % PS_NS_PER_S;
    if (until.tv_nsec >= PS_NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= PS_NS_PER_S;
    }
    while (sem_clockwait(&tracer->wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR)
        ;
}

/* --- The body --- */

static void put_resource(struct ps_buf *buf, const char *name, const char *value, bool more)
{
    ps_buf_puts(buf, "{\"key\":\"");
    ps_buf_puts(buf, name);
    ps_buf_puts(buf, "\",\"value\":{\"stringValue\":");
    ps_buf_put_json(buf, value, strlen(value));
    ps_buf_puts(buf, more ? "}}," : "}}");
}

static void print_head(struct ps_tracer *tracer)
{
    const struct ps_tracer_settings *settings = &tracer->settings;
    struct ps_buf *text = &tracer->text;

    ps_buf_init(text, tracer->body, BODY_MAX);
    ps_buf_puts(text, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
    put_resource(text, "service.name", settings->service, true);
    put_resource(text, "service.version", settings->version, true);
    put_resource(text, "service.instance.id", settings->instance, false);
    ps_buf_puts(text, "]},\"scopeSpans\":[{\"scope\":{\"name\":\"penstock\"},\"spans\":[");
    tracer->head_len = text->len;
}

static bool is_full(const struct ps_tracer *tracer)
{
    /* Behind the spans come a few brackets. */
    return tracer->batch == BATCH_MAX || BODY_MAX - tracer->text.len < PS_SPAN_JSON_MAX + 16;
}

/* What to add to a time of the monotonic clock. */
static int64_t wall_offset_ns(void)
{
    struct timespec wall;

    clock_gettime(CLOCK_REALTIME, &wall);
    return wall.tv_sec * PS_NS_PER_S + wall.tv_nsec - now_ns();
}

/* Moves spans from the rings into the body, while it has room. */
static void collect(struct ps_tracer *tracer)
{
    int64_t offset_ns = wall_offset_ns();

    for (size_t i = 0; i < tracer->settings.producers; i++) {
        const struct ps_span *span;
        while (!is_full(tracer) && (span = ps_ring_front(tracer->rings[i])) != NULL) {
            if (tracer->batch++ == 0)
                tracer->first_ns = now_ns();
            else
                ps_buf_puts(&tracer->text, ",");
            ps_span_put(&tracer->text, span, offset_ns);
            ps_ring_pop(tracer->rings[i]);
        }
    }
}

/* --- Sending --- */

enum sent { SENT, TRY_AGAIN, REFUSED, ENDED };

static enum sent judge_answer(struct ps_tracer *tracer, const struct ps_answer *answer)
{
    struct ps_otlp_answer said;
    char why[240];
    int status = answer->status;

    ps_otlp_answer_read(answer->text, answer->len, &said);
    if (status >= 200 && status < 300) {
        int64_t refused = said.refused < tracer->batch ? said.refused : tracer->batch;
        count(tracer, PS_SPAN_REFUSED, refused);
        count(tracer, PS_SPAN_EXPORTED, tracer->batch - refused);
        (void)snprintf(why, sizeof why, "the collector refused %lld spans: %s", (long long)refused,
                       said.why);
        change_state(tracer, refused > 0 ? PS_TRACER_REFUSED : PS_TRACER_WELL,
                     refused > 0 ? why : "");
        return SENT;
    }
    bool again = status == 429 || status == 502 || status == 503 || status == 504;
    (void)snprintf(why, sizeof why, "the collector answered %d%s%s", status,
                   said.why[0] != '\0' ? ": " : "", said.why);
    change_state(tracer, again ? PS_TRACER_AWAY : PS_TRACER_REFUSED, why);
    return again ? TRY_AGAIN : REFUSED;
}

/* One try. *ret_pause_s: what the collector asks for, 0: nothing. */
static enum sent send_once(struct ps_tracer *tracer, int64_t *ret_pause_s)
{
    const struct ps_call call = {.admin = tracer->settings.endpoint,
                                 .method = "POST",
                                 .path = "/v1/traces",
                                 .body = tracer->body,
                                 .headers = tracer->settings.headers,
                                 .connect_ms = CONNECT_MS,
                                 .answer_ms = ANSWER_MS,
                                 .answer_max = ANSWER_MAX};
    struct ps_answer *answer;
    struct ps_fault fault = {0};
    int err = ps_caller_begin(tracer->caller, &call), done = 0;

    while (err == 0 && done == 0 && now_ns() < atomic_load(&tracer->end_ns))
        done = ps_caller_poll(tracer->caller, TURN_MS, &answer, &fault);
    *ret_pause_s = 0;
    if (done > 0) {
        *ret_pause_s = answer->retry_after_s;
        return judge_answer(tracer, answer);
    }
    if (err == 0 && done == 0)
        return ENDED;
    change_state(tracer, PS_TRACER_AWAY, err < 0 ? ps_err_text(err) : fault.text);
    return TRY_AGAIN;
}

static void send_body(struct ps_tracer *tracer)
{
    enum sent sent = TRY_AGAIN;
    int64_t pause_ms = PAUSE_MS, asked_s;

    ps_buf_puts(&tracer->text, "]}]}]}");
    ps_buf_put(&tracer->text, "", 1);
    while (sent == TRY_AGAIN) {
        sent = send_once(tracer, &asked_s);
        if (sent != TRY_AGAIN || is_ending(tracer) || now_ns() - tracer->first_ns > GIVE_UP_NS)
            break;
        if (asked_s > 0)
            pause_ms = (asked_s < PAUSE_MAX_S ? asked_s : PAUSE_MAX_S) * 1000;
        sleep_until(tracer, now_ns() + pause_ms * PS_NS_PER_MS);
        pause_ms = pause_ms < PAUSE_MAX_S * 500 ? 2 * pause_ms : PAUSE_MAX_S * 1000;
    }
    if (sent != SENT)
        count(tracer, sent == REFUSED ? PS_SPAN_REFUSED : PS_SPAN_FAILED, tracer->batch);
    tracer->text.len = tracer->head_len;
    tracer->batch = 0;
}

/* What is there when the thread ends. */
static void send_rest(struct ps_tracer *tracer)
{
    do {
        collect(tracer);
        if (tracer->batch > 0)
            send_body(tracer);
        collect(tracer);
    } while (tracer->batch > 0);
}

static void *thread_main(void *arg)
{
    struct ps_tracer *tracer = arg;

    while (!is_ending(tracer)) {
        sleep_until(tracer, now_ns() + TURN_MS * PS_NS_PER_MS);
        report_state(tracer);
        collect(tracer);
        if (is_full(tracer) ||
            (tracer->batch > 0 && now_ns() - tracer->first_ns > SEND_MS * PS_NS_PER_MS))
            send_body(tracer);
    }
    send_rest(tracer);
    return NULL;
}

/* --- From outside --- */

static void free_parts(struct ps_tracer *tracer)
{
    for (size_t i = 0; tracer->rings != NULL && i < tracer->settings.producers; i++)
        ps_ring_free(tracer->rings[i]);
    free(tracer->rings);
    free(tracer->body);
    ps_caller_free(tracer->caller);
    sem_destroy(&tracer->wake);
    free(tracer);
}

static int start_thread(struct ps_tracer *tracer)
{
    sigset_t all, old;

    sigfillset(&all); /* signals are for the threads that expect them */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&tracer->thread, NULL, thread_main, tracer);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed == 0 ? 0 : PS_E_NOMEM;
}

int ps_tracer_new(const struct ps_tracer_settings *settings, struct ps_tracer **ret_tracer)
{
    struct ps_tracer *tracer = calloc(1, sizeof *tracer);
    int err = PS_E_NOMEM;

    if (tracer == NULL)
        return PS_E_NOMEM;
    tracer->settings = *settings;
    atomic_init(&tracer->end_ns, INT64_MAX);
    sem_init(&tracer->wake, 0, 0);
    tracer->body = malloc(BODY_MAX);
    tracer->caller = ps_caller_new();
    tracer->rings = calloc(settings->producers, sizeof *tracer->rings);
    if (tracer->body == NULL || tracer->caller == NULL || tracer->rings == NULL)
        goto fail;
    for (size_t i = 0; i < settings->producers; i++)
        if ((err = ps_ring_new(RING_SPANS, sizeof(struct ps_span), &tracer->rings[i])) < 0)
            goto fail;
    print_head(tracer);
    if ((err = start_thread(tracer)) < 0)
        goto fail;
    *ret_tracer = tracer;
    return 0;
fail:
    free_parts(tracer);
    return err;
}

void ps_tracer_stop(struct ps_tracer *tracer)
{
    if (tracer == NULL || is_ending(tracer))
        return;
    atomic_store(&tracer->end_ns, now_ns() + END_NS);
    sem_post(&tracer->wake);
    pthread_join(tracer->thread, NULL);
}

void ps_tracer_free(struct ps_tracer *tracer)
{
    if (tracer == NULL)
        return;
    ps_tracer_stop(tracer);
    free_parts(tracer);
}

struct ps_span *ps_tracer_take(struct ps_tracer *tracer, size_t producer)
{
    struct ps_span *span = ps_ring_reserve(tracer->rings[producer]);

    if (span == NULL)
        count(tracer, PS_SPAN_DROPPED, 1);
    return span;
}

void ps_tracer_record(struct ps_tracer *tracer, size_t producer, struct ps_span *span)
{
    ps_ring_publish(tracer->rings[producer], span);
}

int64_t ps_tracer_count(const struct ps_tracer *tracer, enum ps_span_end end)
{
    return atomic_load_explicit(&tracer->counts[end], memory_order_relaxed);
}

/* "Name: value": a token of RFC 9110, and visible text behind the colon. */
static bool is_header(const char *line)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    size_t name = strspn(line, token), value;

    if (name == 0 || line[name] != ':')
        return false;
    value = name + 1 + strspn(line + name + 1, " ");
    for (size_t i = value; line[i] != '\0'; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            return false;
    return line[value] != '\0';
}

int ps_tracer_headers_read(const char *path, const char *setting, struct ps_strings *ret_headers,
                           struct ps_fault *fault)
{
    struct ps_strings headers;
    int err = ps_secret_read_lines(path, setting, HEADER_MAX, HEADERS_MAX, &headers, fault);

    if (err < 0)
        return err;
    for (size_t i = 0; i < headers.count; i++) {
        if (!is_header(headers.at[i])) {
            ps_secret_lines_free(&headers);
            return ps_fault(fault, PS_E_INVALID, setting, "header %zu of %s is not \"Name: value\"",
                            i + 1, path);
        }
    }
    *ret_headers = headers;
    return 0;
}
