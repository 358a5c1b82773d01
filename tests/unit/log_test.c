/* The log: valid lines, and callers that never wait. */
#include "tests/unit/check.h"

#include "common/err.h"
#include "common/text/json.h"
#include "common/program/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#define THREADS 3
#define EACH    200

struct pipe_ends {
    int reader, writer;
};

static struct pipe_ends make_pipe(int flags)
{
    int fds[2];
    assert_ok(pipe2(fds, flags));
    return (struct pipe_ends){fds[0], fds[1]};
}

/* Reads all that was written before the writing end was closed. Static memory. */
static char *read_all(int fd)
{
    static char text[4 << 20];
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, text + len, sizeof text - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    close(fd);
    return text;
}

/* The next line as JSON; NULL at the end. */
static json_t *next_line(char **cursor)
{
    char *end = strchr(*cursor, '\n');
    if (end == NULL) {
        assert_string_equal(*cursor, "");
        return NULL;
    }
    assert_in_range(end - *cursor, 1, PS_LOG_LINE_MAX - 1);
    json_t *line = NULL;
    assert_ok(ps_json_parse(*cursor, (size_t)(end - *cursor), &line, NULL));
    *cursor = end + 1;
    return line;
}

static const char *text_of(const json_t *line, const char *member)
{
    const char *text = json_string_value(json_object_get(line, member));
    assert_non_null(text);
    return text;
}

static void a_line_is_one_json_object(void **state)
{
    (void)state;
    struct pipe_ends ends = make_pipe(0);
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    assert_int_equal(ps_log_start(ends.writer, PS_LOG_INFO), PS_E_BUSY);
    size_t size = 7;
    ps_log(PS_LOG_WARN, "odd_bytes", PS_F_STR("text", "a\"\n\xff"), PS_F_STRN("cut", "abcdef", 3),
           PS_F_INT("size", size), PS_F_BOOL("yes", true), PS_F_FLAG("set", true),
           PS_F_FLAG("unset", false), PS_F_STR("nothing", NULL));
    ps_log(PS_LOG_INFO, "bare");
    ps_log(PS_LOG_DEBUG, "too_low");
    ps_log_level_set(PS_LOG_DEBUG);
    ps_log(PS_LOG_DEBUG, "low_enough");
    ps_log_stop();
    close(ends.writer);
    char *cursor = read_all(ends.reader);
    json_t *line = next_line(&cursor);
    assert_int_equal(strlen(text_of(line, "time")), 24);
    assert_string_equal(text_of(line, "level"), "warn");
    assert_string_equal(text_of(line, "event"), "odd_bytes");
    assert_string_equal(text_of(line, "text"), "a\"\n\xef\xbf\xbd");
    assert_string_equal(text_of(line, "cut"), "abc");
    assert_int_equal(json_integer_value(json_object_get(line, "size")), 7);
    assert_true(json_is_true(json_object_get(line, "yes")));
    assert_true(json_is_true(json_object_get(line, "set")));
    assert_null(json_object_get(line, "unset"));
    assert_true(json_is_null(json_object_get(line, "nothing")));
    json_decref(line);
    line = next_line(&cursor);
    assert_string_equal(text_of(line, "event"), "bare");
    assert_int_equal(json_object_size(line), 3);
    json_decref(line);
    line = next_line(&cursor);
    assert_string_equal(text_of(line, "event"), "low_enough");
    json_decref(line);
    assert_null(next_line(&cursor));
}

/* Names of ECS have the type of ECS; what it has no name for is below penstock. */
static void a_line_in_the_format_ecs_has_the_names_of_ecs(void **state)
{
    (void)state;
    struct pipe_ends ends = make_pipe(0);
    ps_log_format_set(PS_LOG_ECS, "shop", "1.2.3");
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    ps_log(PS_LOG_WARN, "access", PS_F_STR("request_id", "r1"), PS_F_STR("trace_id", "ab"),
           PS_F_STR("user", NULL), PS_F_STR("address", "192.0.2.1"), PS_F_STR("peer", "unix"),
           PS_F_STR("method", "GET"), PS_F_INT("status", 409), PS_F_INT("took_us", 7),
           PS_F_STR("why", "w"), PS_F_STR("error", "e"), PS_F_STR("who", "ann"),
           PS_F_STR("version", "1.2.3"), PS_F_INT("version", 4), PS_F_STR("verdict", "sold_out"),
           PS_F_FLAG("rehearsal", false));
    ps_log_node_set("gw-1");
    ps_log(PS_LOG_INFO, "slow", PS_F_INT("took_us", INT64_MAX));
    ps_log_stop();
    ps_log_format_set(PS_LOG_PENSTOCK, "", "");
    close(ends.writer);
    char *cursor = read_all(ends.reader);
    json_t *line = next_line(&cursor),
           *want = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, "
                             "s:s, s:s, s:s, s:i, s:s}",
                             "log.level", "warn", "message", "access", "ecs.version", "8.11.0",
                             "event.action", "access", "service.name", "shop", "service.version",
                             "1.2.3", "http.request.id", "r1", "trace.id", "ab", "source.ip",
                             "192.0.2.1", "source.address", "unix", "http.request.method", "GET",
                             "http.response.status_code", 409, "event.duration", 7000,
                             "event.reason", "w", "error.message", "e", "user.name", "ann",
                             "penstock.version", 4, "penstock.verdict", "sold_out");
    assert_int_equal(strlen(text_of(line, "@timestamp")), 24);
    assert_ok(json_object_del(line, "@timestamp"));
    assert_true(json_equal(line, want));
    json_decref(want);
    json_decref(line);
    line = next_line(&cursor);
    assert_string_equal(text_of(line, "service.node.name"), "gw-1");
    assert_int_equal(json_integer_value(json_object_get(line, "event.duration")), INT64_MAX);
    json_decref(line);
}

static void what_does_not_fit_in_a_line_is_left_out(void **state)
{
    (void)state;
    static char big[3000];
    memset(big, '"', sizeof big - 1);
    struct pipe_ends ends = make_pipe(0);
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    ps_log(PS_LOG_INFO, "big", PS_F_INT("before", 1), PS_F_STR("big", big), PS_F_INT("after", 2));
    ps_log_stop();
    close(ends.writer);
    char *cursor = read_all(ends.reader);
    json_t *line = next_line(&cursor);
    assert_int_equal(json_object_size(line), 5);
    assert_non_null(json_object_get(line, "before"));
    assert_non_null(json_object_get(line, "after"));
    json_decref(line);
}

static void before_start_and_after_stop_lines_are_written_at_once(void **state)
{
    (void)state;
    struct pipe_ends ends = make_pipe(O_NONBLOCK);
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    ps_log_stop();
    ps_log_stop();
    ps_log(PS_LOG_INFO, "late");
    char text[PS_LOG_LINE_MAX];
    ssize_t n = read(ends.reader, text, sizeof text);
    assert_true(n > 0);
    assert_int_equal(text[n - 1], '\n');
    close(ends.writer);
    close(ends.reader);
}

static void *log_many(void *arg)
{
    for (int i = 0; i < EACH; i++)
        ps_log(PS_LOG_INFO, "many", PS_F_INT("thread", *(int *)arg), PS_F_INT("number", i));
    return NULL;
}

static void lines_of_a_thread_stay_in_order(void **state)
{
    (void)state;
    struct pipe_ends ends = make_pipe(0);
    assert_true(fcntl(ends.writer, F_SETPIPE_SZ, 1 << 20) >= 0);
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    pthread_t thread[THREADS];
    int id[THREADS];
    json_int_t next[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        id[i] = i;
        assert_ok(pthread_create(&thread[i], NULL, log_many, &id[i]));
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    ps_log_stop();
    close(ends.writer);
    char *cursor = read_all(ends.reader);
    json_t *line;
    while ((line = next_line(&cursor)) != NULL) {
        json_int_t from = json_integer_value(json_object_get(line, "thread"));
        assert_in_range(from, 0, THREADS - 1);
        assert_int_equal(json_integer_value(json_object_get(line, "number")), next[from]);
        next[from]++;
        json_decref(line);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], EACH);
}

/* The sum of what the lines tell of dropped ones. */
static json_int_t dropped_reported(char *text)
{
    json_int_t reported = 0;
    json_t *line;
    while ((line = next_line(&text)) != NULL) {
        reported += json_integer_value(json_object_get(line, "dropped"));
        json_decref(line);
    }
    return reported;
}

/* A reader that stands still: callers go on, what found no room is counted, and the lines that find
 * room again tell the number. */
static void blocked(int flags)
{
    struct pipe_ends ends = make_pipe(flags);
    uint64_t dropped_before = ps_log_dropped();
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    const json_int_t lines = 5000; /* many more than pipe and queue hold */
    for (json_int_t i = 0; i < lines; i++)
        ps_log(PS_LOG_INFO, "flood", PS_F_INT("number", i));
    json_int_t dropped = (json_int_t)(ps_log_dropped() - dropped_before);
    assert_in_range(dropped, 1, lines);

    /* Lets the writer catch up, then logs one more. */
    static char text[4 << 20];
    size_t len = 0;
    json_int_t seen = 0;
    while (seen < lines - dropped) {
        ssize_t n = read(ends.reader, text + len, sizeof text - 1 - len);
        if (n < 0)
            continue;
        for (size_t i = len; i < len + (size_t)n; i++)
            seen += text[i] == '\n';
        len += (size_t)n;
    }
    text[len] = '\0';
    ps_log(PS_LOG_INFO, "after");
    ps_log_stop();
    close(ends.writer);
    json_int_t reported = dropped_reported(text);
    char *rest = read_all(ends.reader);
    assert_non_null(strstr(rest, "\"event\":\"after\""));
    assert_int_equal(reported + dropped_reported(rest), dropped);
}

static void a_blocked_descriptor_stops_no_caller(void **state)
{
    (void)state;
    blocked(0);
    blocked(O_NONBLOCK);
}

static void stopping_gives_up_on_a_descriptor_that_stays_blocked(void **state)
{
    (void)state;
    struct pipe_ends ends = make_pipe(0);
    uint64_t dropped = ps_log_dropped();
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    for (int i = 0; i < 3000; i++)
        ps_log(PS_LOG_INFO, "flood", PS_F_INT("number", i));
    ps_log_stop();
    assert_true(ps_log_dropped() > dropped);
    close(ends.writer);
    close(ends.reader);
}

static void a_closed_descriptor_loses_lines_and_nothing_else(void **state)
{
    (void)state;
    struct pipe_ends ends = make_pipe(0);
    uint64_t dropped = ps_log_dropped();
    assert_ok(ps_log_start(ends.writer, PS_LOG_INFO));
    close(ends.reader);
    for (int i = 0; i < 10; i++)
        ps_log(PS_LOG_INFO, "into_nothing");
    ps_log_stop();
    ps_log(PS_LOG_INFO, "into_nothing");
    assert_int_equal(ps_log_dropped() - dropped, 11);
    close(ends.writer);
    ps_log(PS_LOG_INFO, "into_no_descriptor");
    assert_int_equal(ps_log_dropped() - dropped, 12);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_json_object),
        cmocka_unit_test(a_line_in_the_format_ecs_has_the_names_of_ecs),
        cmocka_unit_test(what_does_not_fit_in_a_line_is_left_out),
        cmocka_unit_test(before_start_and_after_stop_lines_are_written_at_once),
        cmocka_unit_test(lines_of_a_thread_stay_in_order),
        cmocka_unit_test(a_blocked_descriptor_stops_no_caller),
        cmocka_unit_test(stopping_gives_up_on_a_descriptor_that_stays_blocked),
        cmocka_unit_test(a_closed_descriptor_loses_lines_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
