/* The admin side of a rehearsal, against a thread that answers from a script. */
#include "tests/unit/check.h"

#include "loadtest/decide.h"
#include "loadtest/sale.h"
#include "tests/unit/records.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ASKED_MAX 16

struct line {
    const char *status; /* "200 OK"; NULL: hangs up */
    const char *body;
};

/* Answers its lines one after the other, a connection each, and keeps what was asked. */
struct script {
    int listener;
    pthread_t thread;
    const struct line *lines;
    size_t count;
    char asked[ASKED_MAX][2048];
    struct lt_admin admin;
};

static void answer(int peer, const struct line *line, char *asked, size_t size)
{
    size_t len = 0;
    const char *body = NULL;
    while (len < size - 1) {
        ssize_t got = read(peer, asked + len, size - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        asked[len] = '\0';
        body = strstr(asked, "\r\n\r\n");
        const char *body_len = strstr(asked, "Content-Length: ");
        if (body != NULL &&
            (body_len == NULL || strlen(body + 4) >= strtoul(body_len + 16, NULL, 10)))
            break;
    }
    char text[4096];
    if (line->status != NULL) {
        int text_len = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s",
                                line->status, strlen(line->body), line->body);
        ssize_t sent = write(peer, text, (size_t)text_len);
        (void)sent; /* the client notices */
    }
    close(peer);
}

static void *play(void *arg)
{
    struct script *script = arg;
    for (size_t i = 0; i < script->count; i++) {
        int peer = accept(script->listener, NULL, NULL);
        if (peer < 0)
            break;
        answer(peer, &script->lines[i], script->asked[i], sizeof script->asked[i]);
    }
    return NULL;
}

static struct script script;
static const struct lt_plan_spec plan = {.stock = 77, .skus = 1, .cap = 1};
static struct ps_fault fault;

static void start(const struct line *lines, size_t count)
{
    script = (struct script){.lines = lines, .count = count};
    script.listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_ok(bind(script.listener, (struct sockaddr *)&address, len));
    assert_ok(listen(script.listener, 16));
    assert_ok(getsockname(script.listener, (struct sockaddr *)&address, &len));
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    assert_ok(lt_target_parse(url, "--admin", &script.admin.target, &fault));
    strcpy(script.admin.token, "secret");
    assert_ok(pthread_create(&script.thread, NULL, play, &script));
}

/* Every line has been played. */
static void finish(void)
{
    assert_ok(pthread_join(script.thread, NULL));
    close(script.listener);
}

static void asked(size_t index, const char *words)
{
    if (strstr(script.asked[index], words) == NULL)
        fail_msg("\"%s\" was not asked in:\n%s", words, script.asked[index]);
}

#define START(lines) start(lines, PS_ARRAY_LEN(lines))

static void a_sale_is_made_as_a_rehearsal_and_waited_for(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"201 Created", "{}"},
        {"200 OK", "{\"state\":\"scheduled\",\"rehearsal\":true}"},
        {"200 OK", "{\"state\":\"open\",\"rehearsal\":true}"},
    };
    START(lines);
    assert_ok(lt_sale_open(&script.admin, "s-1",
                           &(struct lt_sale){.plan = &plan, .closes_at_ms = T0}, &fault));
    finish();
    asked(0, "PUT /admin/v1/sales/s-1 HTTP/1.1\r\n");
    asked(0, "Authorization: Bearer secret\r\n");
    asked(0, "\"rehearsal\":true");
    asked(0, "\"stock\":77");
    asked(0, "\"closes_at\":\"2030-03-17T17:46:40.000Z\"");
    asked(2, "GET /admin/v1/sales/s-1 HTTP/1.1\r\n");
}

static void a_twin_is_made_after_its_sale(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"200 OK",
         "{\"reservation_ttl_s\":77,\"per_user_cap\":9,\"attributes\":{\"a\":1.5},\"skus\":["
         "{\"sku\":\"phone\",\"stock\":5,\"held\":1,\"price\":null,\"attributes\":{\"b\":2}},"
         "{\"sku\":\"case\"}]}"},
        {"201 Created", "{}"},
        {"200 OK", "{\"state\":\"open\",\"rehearsal\":true}"},
        {"404 Not Found", "{\"code\":\"not_found\"}"},
    };
    struct lt_sale twin = {.twin_of = "live", .plan = &plan, .closes_at_ms = T0};
    START(lines);
    assert_ok(lt_sale_open(&script.admin, "s-1", &twin, &fault));
    assert_string_equal(twin.skus[0].name, "phone");
    assert_int_equal(lt_sale_open(&script.admin, "s-1", &twin, &fault), PS_E_CONFLICT);
    finish();
    asked(0, "GET /admin/v1/sales/live HTTP/1.1\r\n");
    asked(1, "PUT /admin/v1/sales/s-1 HTTP/1.1\r\n");
    asked(1,
          "\"rehearsal\":true,\"twin_of\":\"live\",\"reservation_ttl_s\":77,\"attributes\":{\"a\":"
          "1.5},"
          "\"skus\":[{\"sku\":\"phone\",\"stock\":77,\"price\":null,\"attributes\":{\"b\":2}}]}");
    asked(1, "\"per_user_cap\":1");
}

static void a_sale_that_is_no_rehearsal_is_not_bought_from(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"201 Created", "{}"},
        {"200 OK", "{\"state\":\"open\",\"rehearsal\":false}"},
    };
    START(lines);
    assert_int_equal(lt_sale_open(&script.admin, "s-1", &(struct lt_sale){.plan = &plan}, &fault),
                     PS_E_CONFLICT);
    assert_non_null(strstr(fault.text, "rehearsal"));
    finish();
}

static void a_refusal_is_told_with_its_reason(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"422 Unprocessable", "{\"code\":\"invalid\",\"detail\":\"/skus/0/stock is too large\"}"},
        {"428 Precondition Required", "{\"code\":\"precondition_required\"}"},
    };
    START(lines);
    assert_int_equal(lt_sale_open(&script.admin, "s-1", &(struct lt_sale){.plan = &plan}, &fault),
                     PS_E_CONFLICT);
    assert_non_null(strstr(fault.text, "422 invalid: /skus/0/stock is too large"));
    assert_int_equal(lt_sale_open(&script.admin, "s-1", &(struct lt_sale){.plan = &plan}, &fault),
                     PS_E_EXISTS);
    finish();
}

static void a_busy_or_failing_listener_is_asked_again(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {NULL, ""}, {"503 Busy", "{}"}, {"429 Slow", "{}"}, {"200 OK", "{}"}};
    START(lines);
    assert_ok(lt_sale_end(&script.admin, "s-1", &fault));
    finish();
    asked(3, "POST /admin/v1/sales/s-1/end HTTP/1.1\r\n");
}

/* Nobody accepts: the connection waits in the listener's queue. */
static void patience_ends(void **state)
{
    (void)state;
    struct lt_reply reply;
    start(NULL, 0);
    struct lt_call call = {.method = "GET", .path = "/", .patience_ms = 50};
    assert_int_equal(lt_admin_call(&script.admin, &call, &reply, &fault), PS_E_TIMEOUT);
    finish();
}

static void told_twice_to_stop_it_gives_up(void **state)
{
    (void)state;
    static const struct line lines[] = {{"200 OK", "{}"}};
    static volatile sig_atomic_t stop = 2;
    START(lines);
    struct lt_admin stopped = script.admin;
    stopped.stop = &stop;
    struct lt_reply reply;
    struct lt_call call = {.method = "GET", .path = "/", .patience_ms = 1000};
    assert_int_equal(lt_admin_call(&stopped, &call, &reply, &fault), PS_E_CLOSED);
    assert_ok(lt_sale_end(&script.admin, "s-1", &fault)); /* nothing had been asked */
    finish();
}

/* The log in two pages, the second one read on from where the first ended. */
static void the_log_is_read_to_its_end(void **state)
{
    (void)state;
    char pages[2][2048], json[OQ_EVENT_TEXT_MAX];
    struct oq_event events[] = {fenced(1, 1, true), adjusted("initial:sale/sku", 5, 1),
                                accepted(1, 1, "b-1", "", 1)};
    struct ps_buf page[2];
    for (size_t i = 0; i < PS_ARRAY_LEN(events); i++) {
        size_t on = i / 2;
        struct ps_buf buf;
        ps_buf_init(&buf, json, sizeof json);
        assert_ok(oq_event_encode(&events[i], &buf));
        if (i % 2 == 0)
            ps_buf_init(&page[on], pages[on], sizeof pages[on]);
        assert_ok(oq_event_line((int64_t)i * 10 + 3, (struct ps_str){json, buf.len}, &page[on]));
        ps_buf_put(&page[on], "\n", 2);
        page[on].len--; /* of the NUL */
    }
    const struct line lines[] = {{"200 OK", pages[0]}, {"200 OK", pages[1]}, {"200 OK", ""}};
    struct oq_audit *audit = NULL;
    int64_t records = 0;
    assert_ok(oq_audit_new(&audit));
    START(lines);
    assert_ok(lt_sale_read_log(&script.admin, "sale", audit, &records, &fault));
    finish();
    assert_int_equal(records, 3);
    assert_int_equal(oq_audit_seq(audit), 23);
    asked(0, "GET /admin/v1/sales/sale/log?after=0 ");
    asked(1, "?after=13 ");
    asked(2, "?after=23 ");
    oq_audit_free(audit);
}

static void a_torn_or_senseless_log_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{\"seq\":1", "{\"seq\":1,\"type\":\"x\"}\n", "\n"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bodies); i++) {
        const struct line lines[] = {{"200 OK", bodies[i]}};
        struct oq_audit *audit = NULL;
        int64_t records = 0;
        assert_ok(oq_audit_new(&audit));
        START(lines);
        assert_true(lt_sale_read_log(&script.admin, "sale", audit, &records, &fault) < 0);
        finish();
        oq_audit_free(audit);
    }
}

static void it_settles_when_nothing_is_in_doubt(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"200 OK", "{\"ok\":true,\"skus\":[{\"in_doubt\":2},{\"in_doubt\":0}]}"},
        {"200 OK", "{\"ok\":true,\"skus\":[{\"in_doubt\":0},{\"in_doubt\":0}]}"},
    };
    json_t *audit = NULL;
    START(lines);
    assert_ok(lt_sale_settle(&script.admin, "s-1", 5000, &audit, &fault));
    finish();
    assert_int_equal(lt_sale_audit_sum(audit, "in_doubt"), 0);
    json_decref(audit);
}

/* Two orders to confirm; the second one is not known at first. */
static void what_is_not_known_is_asked_again(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"200 OK", "{\"results\":[{\"status\":200},{\"status\":503,\"code\":\"order_pending\"}]}"},
        {"200 OK", "{\"results\":[{\"status\":409,\"code\":\"order_expired\"}]}"},
    };
    struct lt_promise promises[] = {{.order_id = id_of(2)},
                                    {.order_id = id_of(1)},
                                    {.order_id = id_of(2)},
                                    {.order_id = id_of(3), .reported = LT_REPORTED_PENDING}};
    struct lt_tally tally = {.promises = promises, .promise_count = PS_ARRAY_LEN(promises)};
    const struct lt_decide_settings all = {.confirm_share = 1, .seed = 1};
    struct lt_decisions decisions;
    START(lines);
    assert_ok(lt_decide(&script.admin, &tally, &all, &decisions, &fault));
    finish();
    char both[160], second[160], id[2][PS_UUID_LEN + 1];
    for (uint32_t i = 0; i < 2; i++) {
        struct ps_uuid uuid = id_of(i + 1);
        ps_uuid_format(&uuid, id[i]);
    }
    (void)snprintf(both, sizeof both, "{\"confirm\":[\"%s\",\"%s\"],\"cancel\":[]}", id[0], id[1]);
    (void)snprintf(second, sizeof second, "{\"confirm\":[\"%s\"],\"cancel\":[]}", id[1]);
    asked(0, "POST /admin/v1/orders:batch HTTP/1.1\r\n");
    asked(0, both);
    asked(1, second);
    assert_int_equal(decisions.count, 2);
    assert_true(decisions.list[0].said && !decisions.list[1].said);
    assert_int_equal(decisions.confirmed, 1);
    assert_int_equal(decisions.refused, 1);
    assert_int_equal(decisions.unknown, 0);
    lt_decisions_done(&decisions);
}

static void a_rehearsal_is_named_after_its_moment(void **state)
{
    (void)state;
    char name[PS_NAME_MAX + 1];
    lt_sale_name(T0 + 7, name);
    assert_string_equal(name, "rehearsal-20300317T174640Z");
    assert_true(ps_name_ok(name, strlen(name)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sale_is_made_as_a_rehearsal_and_waited_for),
        cmocka_unit_test(a_twin_is_made_after_its_sale),
        cmocka_unit_test(a_sale_that_is_no_rehearsal_is_not_bought_from),
        cmocka_unit_test(a_refusal_is_told_with_its_reason),
        cmocka_unit_test(a_busy_or_failing_listener_is_asked_again),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(told_twice_to_stop_it_gives_up),
        cmocka_unit_test(the_log_is_read_to_its_end),
        cmocka_unit_test(a_torn_or_senseless_log_is_refused),
        cmocka_unit_test(it_settles_when_nothing_is_in_doubt),
        cmocka_unit_test(what_is_not_known_is_asked_again),
        cmocka_unit_test(a_rehearsal_is_named_after_its_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
