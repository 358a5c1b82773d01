/* The pages of many sales, as one worker keeps them. */
#include "check.h"
#include "http_fixture.h"
#include "sale_documents.h"

#include "gateway/public/request.h"
#include "gateway/public/status_page.h"
#include "gateway/snapshot/view.h"

#include <stdio.h>
#include <unistd.h>

#define MANY 40

static struct http_fixture server;
static struct ps_metrics *metrics;
static struct adm_overload_shared overload;
static struct adm_worker_load load;
static struct adm_gates gates;
static struct pub_listener listener;
static struct snap_view *view;
static struct snapshot *snapshot;

/* "/NAME" */
static void answer_page(struct srv_request *http, void *ctx)
{
    struct pub_request *request = http->user;
    const struct snap_sale *sale = snapshot_sale(snapshot, http->path.at + 1, http->path.len - 1);

    (void)ctx;
    request->listener = &listener;
    request->http = http;
    if (sale != NULL)
        pub_status_page_answer(request, sale);
    else
        pub_request_refuse(request, ANS_V_not_found, NULL);
}

static void publish(void)
{
    struct snapshot *next;

    assert_ok(snap_view_snapshot(view, snapshot != NULL ? snapshot->version + 1 : 1, 1, &next));
    snapshot_free(snapshot);
    gates.snapshot = snapshot = next;
}

static void put_sale(const char *name)
{
    static const char text[] = "{\"skus\":[{\"sku\":\"phone\",\"stock\":5}]}";
    const struct cfg_sale_state state = {.version = 1};
    struct ps_faults faults = {0};
    struct cfg_sale_doc doc;
    json_t *json = NULL;

    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    assert_ok(
        sale_doc_read(json, &(struct cfg_reading){.name = name, .pointer = ""}, &doc, &faults));
    assert_ok(snap_view_put_sale(view, name, &doc, &state));
    sale_doc_done(&doc);
    json_decref(json);
}

static int begin(void **state)
{
    (void)state;
    assert_ok(ps_metrics_new(gw_metric_table, GW_M_COUNT, 1, &metrics));
    assert_ok(pub_status_pages_new(&listener.status_pages));
    assert_ok(snap_view_new(1, &view));
    listener.clock = &ps_clock_system;
    listener.gates = &gates;
    listener.load = &load;
    listener.shard = gates.shard = ps_metrics_shard(metrics);
    gates.overload = &overload;
    http_fixture_init(&server);
    server.settings.user_size = sizeof(struct pub_request);
    server.handle = answer_page;
    return 0;
}

static int end(void **state)
{
    (void)state;
    http_fixture_stop(&server);
    pub_status_pages_free(listener.status_pages);
    snapshot_free(snapshot);
    snap_view_free(view);
    ps_metrics_free(metrics);
    return 0;
}

/* A sale keeps its index, so that of the last one is beyond the number of sales then. */
static void a_sale_has_its_page_after_others_were_deleted(void **state)
{
    static struct http_reply reply;
    char name[32];
    (void)state;

    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "sale-%d", i);
        put_sale(name);
    }
    for (int i = 0; i < MANY - 1; i++) {
        (void)snprintf(name, sizeof name, "sale-%d", i);
        assert_ok(snap_view_put_sale(view, name, NULL, NULL));
    }
    publish();
    assert_true(snapshot->sales[0]->index >= snapshot->sale_count);
    http_fixture_start(&server);
    int fd = http_connect(&server);
    for (int i = 0; i < 2; i++) {
        http_send_text(fd, "GET /sale-39 HTTP/1.1\r\nHost: a\r\n\r\n");
        http_read(fd, false, &reply);
        assert_int_equal(reply.status, 200);
        assert_non_null(strstr(reply.body, "\"sale\":\"sale-39\""));
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sale_has_its_page_after_others_were_deleted, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
