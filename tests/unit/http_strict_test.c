/* What a request must look like, over raw sockets: each row of tests/http/requests.txt is taken,
 * and the connection serves the next request, or is refused by a problem document and the
 * connection closes. */
#include "http_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CASES_MAX 256
#define HOST      "Host: shop.example\r\n"

/* A row of tests/http/requests.txt. */
struct attempt {
    char claim[96];
    char bytes[1024];
    size_t len;
    int status; /* 0: taken */
};

static struct attempt attempts[CASES_MAX];
static size_t attempt_count;

/* \r \n \t \\ \xHH */
static size_t unescape(const char *text, char *ret_bytes)
{
    size_t len = 0;

    for (; *text != '\0' && *text != '\n'; text++) {
        char c = *text;
        if (c == '\\') {
            c = *++text;
            if (c == 'x') {
                char digits[] = {text[1], text[2], '\0'};
                c = (char)strtoul(digits, NULL, 16);
                text += 2;
            } else {
                c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
            }
        }
        ret_bytes[len++] = c;
    }
    return len;
}

static int read_attempts(void **state)
{
    FILE *file = fopen(PENSTOCK_TESTS_DIR "/http/requests.txt", "r");
    char line[2048];

    (void)state;
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof line, file) != NULL) {
        struct attempt *attempt = &attempts[attempt_count];
        char *claim = strstr(line, " | "), *bytes = claim != NULL ? strstr(claim + 3, " | ") : NULL;
        if (line[0] == '#' || bytes == NULL)
            continue;
        assert_true(attempt_count < CASES_MAX && (size_t)(bytes - claim) < sizeof attempt->claim);
        memcpy(attempt->claim, claim + 3, (size_t)(bytes - claim) - 3);
        attempt->len = unescape(bytes + 3, attempt->bytes);
        attempt->status = atoi(line); /* "taken" is 0 */
        attempt_count++;
    }
    fclose(file);
    return attempt_count > 100 ? 0 : -1;
}

static bool field_is(const struct http_reply *reply, const char *name, const char *value)
{
    const char *field = http_field(reply, name);
    return field != NULL && strcmp(field, value) == 0;
}

static bool is_problem(const struct http_reply *reply)
{
    const char *id = http_field(reply, "X-Request-Id");
    return id != NULL && strstr(reply->body, id) != NULL &&
           strstr(reply->body, "\"code\":\"") != NULL &&
           field_is(reply, "Content-Type", "application/problem+json") &&
           field_is(reply, "Cache-Control", "no-store") && field_is(reply, "Connection", "close");
}

static bool serves_the_next(int fd, struct http_reply *reply)
{
    if (field_is(reply, "Connection", "close"))
        return false;
    http_send_text(fd, "GET /next HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    http_read(fd, false, reply);
    return reply->status == 200 && strstr(reply->body, "path=/next\n") != NULL;
}

static bool comes_out_right(struct http_fixture *fixture, const struct attempt *attempt)
{
    static struct http_reply reply;
    int fd = http_connect(fixture);
    bool right = false;

    http_send(fd, attempt->bytes, attempt->len);
    http_read(fd, false, &reply);
    if (attempt->status == 0)
        right = serves_the_next(fd, &reply);
    else
        right = reply.status == attempt->status && is_problem(&reply);
    right = right && http_closed(fd);
    if (!right)
        print_error("%s: status %d\n", attempt->claim, reply.status);
    close(fd);
    return right;
}

static void every_head_is_taken_or_refused_as_the_table_says(void **state)
{
    struct http_fixture fixture;
    size_t passed = 0, wrong = 0;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    for (size_t i = 0; i < attempt_count; i++) {
        wrong += !comes_out_right(&fixture, &attempts[i]);
        passed += attempts[i].status == 0;
    }
    assert_int_equal(wrong, 0);
    /* Two requests for each that passes; none of the others reached the handler. */
    assert_int_equal(atomic_load(&fixture.handled), 2 * passed);
    http_fixture_stop(&fixture);
}

/* The same bytes must mean the same however they are cut. */
static void a_head_in_single_bytes_is_judged_the_same(void **state)
{
    static struct http_reply reply;
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    for (size_t i = 0; i < attempt_count; i += 3) {
        int fd = http_connect(&fixture);
        for (size_t at = 0; at + 1 < attempts[i].len; at += 7) {
            size_t left = attempts[i].len - at;
            if (send(fd, attempts[i].bytes + at, left < 7 ? left : 7, MSG_NOSIGNAL) < 0)
                break; /* refused already */
            usleep(300);
        }
        if (attempts[i].len % 7 == 1)
            (void)!send(fd, attempts[i].bytes + attempts[i].len - 1, 1, MSG_NOSIGNAL);
        http_read(fd, false, &reply);
        assert_int_equal(reply.status, attempts[i].status == 0 ? 200 : attempts[i].status);
        close(fd);
    }
    http_fixture_stop(&fixture);
}

static void what_was_refused_is_counted_by_its_reason(void **state)
{
    static struct http_reply reply;
    static char long_target[6000];
    struct http_fixture fixture;
    int fd;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);

    fd = http_connect(&fixture);
    http_send_text(fd, "GET /x HTTP/1.1\r\n\r\n");
    assert_true(http_closed(fd));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_malformed]), 1);
    close(fd);

    fd = http_connect(&fixture);
    http_send_text(fd, "POST /x HTTP/1.1\r\n" HOST "Content-Length: x\r\n\r\n");
    assert_true(http_closed(fd));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_malformed]), 2);
    close(fd);

    memset(long_target, 'a', sizeof long_target);
    long_target[0] = '/';
    long_target[SRV_TARGET_MAX] = '\0';
    fd = http_connect(&fixture);
    http_send_text(fd, "GET ");
    http_send_text(fd, long_target);
    http_send_text(fd, " HTTP/1.1\r\n" HOST "\r\n");
    http_read(fd, false, &reply);
    assert_int_equal(reply.status, 200);
    http_send_text(fd, "GET ");
    http_send_text(fd, long_target);
    http_send_text(fd, "a HTTP/1.1\r\n" HOST "\r\n");
    http_read(fd, false, &reply);
    assert_int_equal(reply.status, 414);
    assert_non_null(strstr(reply.body, "\"code\":\"uri_too_long\""));
    assert_true(http_closed(fd));
    assert_int_equal(atomic_load(&fixture.refused[ANS_V_uri_too_long]), 1);
    close(fd);
    http_fixture_stop(&fixture);
}

static void a_probe_by_http_1_0_needs_no_host(void **state)
{
    static struct http_reply reply;
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    const char *const probes[] = {"GET /livez HTTP/1.0\r\n\r\n",
                                  "HEAD /readyz?verbose HTTP/1.0\r\n\r\n"};
    for (size_t i = 0; i < PS_ARRAY_LEN(probes); i++) {
        int fd = http_connect(&fixture);
        http_send_text(fd, probes[i]);
        http_read(fd, i == 1, &reply);
        assert_int_equal(reply.status, 200);
        assert_true(http_closed(fd));
        close(fd);
    }
    http_fixture_stop(&fixture);
}

static void the_fields_that_matter_arrive_trimmed_and_the_address_in_one_spelling(void **state)
{
    static struct http_reply reply;
    struct http_fixture fixture;
    (void)state;
    http_fixture_init(&fixture);
    http_fixture_start(&fixture);
    int fd = http_connect(&fixture);
    http_send_text(fd, "POST /a%20b/c?x=%41+b&y HTTP/1.1\r\n" HOST
                       "x-user-id:  u-1 \t\r\ncf-connecting-ip: 192.0.2.9\r\n"
                       "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-For: 192.0.2.3 "
                       "\r\nX-Request-Id: abc-1\r\n"
                       "Content-Length: 5\r\n\r\nhello");
    http_read(fd, false, &reply);
    assert_string_equal(
        reply.body,
        "method=POST\npath=/a%20b/"
        "c\nquery=x=A+b&y\nhost=shop.example\nuser=u-1\nclient=192.0.2.9\n"
        "forwarded=192.0.2.1, 192.0.2.2\nforwarded=192.0.2.3\nbody_len=5\nbody=hello\n");
    assert_string_equal(http_field(&reply, "X-Request-Id"), "abc-1");
    http_send_text(fd, "GET / HTTP/1.1\r\n" HOST "X-Request-Id: not this one\r\n\r\n");
    http_read(fd, false, &reply);
    assert_int_equal(strlen(http_field(&reply, "X-Request-Id")), PS_UUID_LEN);
    close(fd);
    http_fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_head_is_taken_or_refused_as_the_table_says),
        cmocka_unit_test(a_head_in_single_bytes_is_judged_the_same),
        cmocka_unit_test(what_was_refused_is_counted_by_its_reason),
        cmocka_unit_test(a_probe_by_http_1_0_needs_no_host),
        cmocka_unit_test(the_fields_that_matter_arrive_trimmed_and_the_address_in_one_spelling),
    };
    return cmocka_run_group_tests(tests, read_attempts, NULL);
}
