/* Discovery of endpoints, against real files and a DNS server of its own. */
#include "gateway/upstream/discovery.h"

#include "tests/contract/dns_server.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    uv_loop_t loop;
    struct ps_clock_manual clock;
    struct ps_cidr networks[2];
    struct cfg_bounds bounds;
    struct dns_server dns;
    const char *servers[1];
    struct up_discovery *discovery;
    size_t changes;
    char folder[64], path[128];
};

static void on_changed(void *ctx, const char *pool)
{
    struct fixture *f = ctx;

    assert_string_equal(pool, "web");
    f->changes++;
}

static int begin_with(void **state, int64_t held_ms)
{
    struct fixture *f = calloc(1, sizeof *f);

    uv_loop_init(&f->loop);
    dns_server_start(&f->dns, &f->loop);
    f->servers[0] = f->dns.address;
    assert_int_equal(ps_cidr_parse("10.0.0.0/8", 10, &f->networks[0]), 0);
    assert_int_equal(ps_cidr_parse("fd00::/8", 8, &f->networks[1]), 0);
    f->bounds.networks = (struct ps_cidrs){f->networks, 2};
    f->bounds.endpoint_dir = f->folder;
    assert_int_equal(ps_address_parse("10.9.9.9", 8, false, &f->bounds.listeners[1].address), 0);
    f->bounds.listeners[1].port = 8090;
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/penstock-discovery-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    const struct up_discovery_settings settings = {.loop = &f->loop,
                                                   .clock = &ps_clock_system,
                                                   .bounds = &f->bounds,
                                                   .dns_servers = f->servers,
                                                   .dns_server_count = 1,
                                                   .held_ms = held_ms,
                                                   .changed = on_changed,
                                                   .ctx = f};
    assert_int_equal(up_discovery_new(&settings, &f->discovery), 0);
    (void)snprintf(f->path, sizeof f->path, "%s/endpoints.json", f->folder);
    *state = f;
    return 0;
}

static int begin(void **state)
{
    return begin_with(state, 0);
}

#define SHORT_HOLDING_MS 1000

static int begin_with_short_holding(void **state)
{
    return begin_with(state, SHORT_HOLDING_MS);
}

static int end(void **state)
{
    struct fixture *f = *state;

    up_discovery_free(f->discovery);
    dns_server_stop(&f->dns);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

/* --- Documents, as their parser makes them. --- */

static struct cfg_pool *make_pool(enum cfg_discovery by, const char *from, uint16_t port,
                                  double share)
{
    struct cfg_pool *pool = calloc(1, sizeof *pool);

    memcpy(pool->name, "web", 4);
    pool->discovery.by = by;
    pool->discovery.from = from != NULL ? strdup(from) : NULL;
    pool->discovery.port = port;
    pool->discovery.shrink_share_min = share;
    return pool;
}

static void use(struct fixture *f, enum cfg_discovery by, const char *from, uint16_t port,
                double share)
{
    struct cfg_pool *pool = make_pool(by, from, port, share);

    assert_int_equal(up_discovery_set(f->discovery, pool), 0);
    cfg_pool_drop(pool);
}

/* --- Looking. --- */

static void wake(uv_timer_t *timer)
{
    (void)timer;
}

static void turn(struct fixture *f, uint64_t ms)
{
    uv_timer_t timer;

    uv_timer_init(&f->loop, &timer);
    uv_timer_start(&timer, wake, ms, 0);
    uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void run_for(struct fixture *f, uint64_t ms)
{
    uv_update_time(&f->loop);
    for (uint64_t until = uv_now(&f->loop) + ms; uv_now(&f->loop) < until;)
        turn(f, 10);
}

/* "10.0.0.1:80*1 [fd00::1]:80*2", by address. */
static const char *endpoints(const struct fixture *f)
{
    static char text[4096];
    size_t count, len = 0;
    const struct cfg_endpoint *at = up_discovery_endpoints(f->discovery, "web", &count);

    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s*%u", i > 0 ? " " : "",
                                at[i].address, at[i].weight);
    return text;
}

static struct up_discovery_view view(const struct fixture *f)
{
    struct up_discovery_view view;

    assert_true(up_discovery_view(f->discovery, "web", &view));
    return view;
}

/* The next look, or the end of holding, was planned since then, for so much later. */
static void assert_planned(const struct fixture *f, int64_t since_ms, int64_t least_ms,
                           int64_t most_ms)
{
    assert_in_range(view(f).next_ms, since_ms + least_ms,
                    ps_clock_wall_ms(&ps_clock_system) + most_ms);
}

static void wait_for(struct fixture *f, const char *wanted)
{
    for (int i = 0; i < 1000 && strcmp(endpoints(f), wanted) != 0; i++)
        turn(f, 10);
    assert_string_equal(endpoints(f), wanted);
}

static void wait_state(struct fixture *f, enum up_discovery_state state)
{
    for (int i = 0; i < 1000 && view(f).state != state; i++)
        turn(f, 10);
    assert_string_equal(up_discovery_state_names[view(f).state], up_discovery_state_names[state]);
}

static void write_file(const struct fixture *f, const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    (void)f;
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void replace_file(const struct fixture *f, const char *text)
{
    char other[256];

    (void)snprintf(other, sizeof other, "%s.new", f->path);
    write_file(f, other, text);
    assert_int_equal(rename(other, f->path), 0);
}

/* --- The gate. --- */

static void a_list_is_enough_from_the_share_on(void **state)
{
    (void)state;
    assert_true(up_discovery_is_enough(5, 10, 0.5));
    assert_false(up_discovery_is_enough(4, 10, 0.5));
    assert_true(up_discovery_is_enough(0, 10, 0));
    assert_true(up_discovery_is_enough(1, 0, 0.5));
    assert_true(up_discovery_is_enough(11, 10, 1));
    assert_false(up_discovery_is_enough(9, 10, 1));
}

static void offer(struct fixture *f, const char *const *addresses, bool deliberate)
{
    struct cfg_endpoint list[300];
    size_t count = 0;

    for (; addresses[count] != NULL; count++)
        assert_int_equal(
            cfg_endpoint_parse(addresses[count], strlen(addresses[count]), &list[count]), 0);
    assert_int_equal(up_discovery_offer(f->discovery, "web", list, count, deliberate), 0);
}
#define OFFER(f, deliberate, ...) offer(f, (const char *const[]){__VA_ARGS__, NULL}, deliberate)

static void what_is_outside_the_networks_is_left_out_and_said(void **state)
{
    struct fixture *f = *state;

    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    assert_int_equal(view(f).state, UP_DISCOVERY_WAITING);
    assert_string_equal(view(f).source, "registration");
    OFFER(f, false, "10.0.0.2:80", "169.254.169.254:80", "10.0.0.1:80", "[::1]:80");
    assert_string_equal(endpoints(f), "10.0.0.1:80*1 10.0.0.2:80*1");
    assert_int_equal(view(f).state, UP_DISCOVERY_OK);
    assert_int_equal(view(f).endpoint_count, 2);
    assert_string_equal(view(f).why,
                        "left out 2 of 4 endpoints: 169.254.169.254:80 is outside the networks of "
                        "the setting upstream.allowed_networks; others are left out, too");
    OFFER(f, false, "10.0.0.2:80", "10.0.0.1:80");
    assert_string_equal(view(f).why, "");
    assert_int_equal(f->changes, 1); /* the same list */
}

static void a_listener_of_the_gateway_is_left_out_and_said(void **state)
{
    struct fixture *f = *state;

    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    OFFER(f, false, "10.0.0.2:80", "10.9.9.9:8090", "10.9.9.9:9091");
    assert_string_equal(endpoints(f), "10.0.0.2:80*1 10.9.9.9:9091*1");
    assert_string_equal(view(f).why,
                        "left out 1 of 3 endpoints: 10.9.9.9:8090 is a listener of this gateway");
    OFFER(f, false, "10.9.9.9:9091", "[fd00::1]:8090", "10.9.9.9:8090", "10.0.0.2:80", "[::1]:80");
    assert_string_equal(endpoints(f), "10.0.0.2:80*1 10.9.9.9:9091*1 [fd00::1]:8090*1");
    assert_string_equal(view(f).why,
                        "left out 2 of 5 endpoints: 10.9.9.9:8090 is a listener of this gateway; "
                        "others are left out, too");
}

static void a_list_that_shrinks_is_held_until_it_lasts_or_grows(void **state)
{
    struct fixture *f = *state;

    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80"); /* enough */
    assert_int_equal(view(f).endpoint_count, 2);
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
    int64_t since_ms = ps_clock_wall_ms(&ps_clock_system);
    OFFER(f, false, "10.0.0.3:80");
    assert_int_equal(view(f).state, UP_DISCOVERY_HELD);
    assert_int_equal(view(f).endpoint_count, 3);
    assert_string_equal(view(f).why, "1 of 3 endpoints are left, less than shrink_share_min 0.5 of "
                                     "them: the previous list stays in force for 60 s");
    assert_planned(f, since_ms, 59000, 60000);
    OFFER(f, false, "10.0.0.3:80", "10.0.0.4:80"); /* no longer short */
    assert_int_equal(view(f).state, UP_DISCOVERY_OK);
    assert_string_equal(endpoints(f), "10.0.0.3:80*1 10.0.0.4:80*1");
    assert_int_equal(f->changes, 4);
}

static void a_held_list_is_taken_with_another_version_of_the_document(void **state)
{
    struct fixture *f = *state;
    struct cfg_pool *pool = make_pool(CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);

    assert_int_equal(up_discovery_set(f->discovery, pool), 0);
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
    OFFER(f, false, "10.0.0.3:80");
    assert_int_equal(up_discovery_set(f->discovery, pool), 0); /* the same version */
    cfg_pool_drop(pool);
    assert_int_equal(view(f).state, UP_DISCOVERY_HELD);
    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.4);
    assert_int_equal(view(f).state, UP_DISCOVERY_OK);
    assert_string_equal(endpoints(f), "10.0.0.3:80*1");
}

static void a_held_list_that_lasts_is_taken(void **state)
{
    struct fixture *f = *state;

    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80");
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80");
    int64_t end_ms = view(f).next_ms;
    run_for(f, SHORT_HOLDING_MS / 4);
    uv_update_time(&f->loop);
    OFFER(f, false, "10.0.0.2:80"); /* its time goes on */
    assert_int_equal(view(f).endpoint_count, 5);
    assert_true(view(f).next_ms < end_ms + SHORT_HOLDING_MS / 8);
    wait_for(f, "10.0.0.2:80*1");
    assert_int_equal(view(f).state, UP_DISCOVERY_OK);
    OFFER(f, false, NULL); /* all registrations have ended */
    assert_int_equal(view(f).state, UP_DISCOVERY_HELD);
    wait_for(f, "");
    assert_int_equal(f->changes, 3);
}

static void what_somebody_removes_is_never_held(void **state)
{
    struct fixture *f = *state;

    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    OFFER(f, false, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
    OFFER(f, true, "10.0.0.3:80");
    assert_string_equal(endpoints(f), "10.0.0.3:80*1");
    assert_int_equal(up_discovery_offer(f->discovery, "web", NULL, 0, true), 0);
    assert_string_equal(endpoints(f), "");
    assert_int_equal(view(f).state, UP_DISCOVERY_OK);
}

static void a_pool_without_discovery_has_no_view(void **state)
{
    struct fixture *f = *state;
    struct up_discovery_view none;
    size_t count = 1;

    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    OFFER(f, false, "10.0.0.1:80");
    use(f, CFG_DISCOVERY_NONE, NULL, 0, 0.5);
    assert_false(up_discovery_view(f->discovery, "web", &none));
    assert_null(up_discovery_endpoints(f->discovery, "web", &count));
    assert_int_equal(count, 0);
    use(f, CFG_DISCOVERY_REGISTRATION, NULL, 0, 0.5);
    up_discovery_drop(f->discovery, "web");
    up_discovery_drop(f->discovery, "web");
    assert_false(up_discovery_view(f->discovery, "web", &none));
}

/* --- Files. --- */

static void a_file_is_followed_within_a_second(void **state)
{
    enum { TIMES = 6, POLL_MS = 1000 };
    struct fixture *f = *state;
    char text[64], wanted[64];

    write_file(f, f->path, "[{\"address\":\"10.0.0.1:80\",\"weight\":3}]");
    use(f, CFG_DISCOVERY_FILE, "endpoints.json", 0, 0.5);
    wait_for(f, "10.0.0.1:80*3");
    assert_int_equal(view(f).state, UP_DISCOVERY_OK);
    uint64_t before = uv_now(&f->loop);
    replace_file(f,
                 "{\"endpoints\":[{\"address\":\"10.0.0.2:80\"},{\"address\":\"[fd00::1]:80\"}]}");
    wait_for(f, "10.0.0.2:80*1 [fd00::1]:80*1");
    for (int i = 1; i < TIMES; i++) {
        (void)snprintf(text, sizeof text, "[{\"address\":\"10.0.1.%d:80\"}]", i);
        (void)snprintf(wanted, sizeof wanted, "10.0.1.%d:80*1", i);
        replace_file(f, text);
        wait_for(f, wanted);
    }
    /* Its directory told, not the poll, which sees one a round. */
    assert_true(uv_now(&f->loop) - before < (TIMES - 2) * POLL_MS);
    write_file(f, f->path, "[{\"address\":\"10.0.0.3:80\"}]"); /* in its place */
    wait_for(f, "10.0.0.3:80*1");
}

static void a_bad_file_keeps_the_last_good_list(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "endpoints.json: "},
        {"[{\"address\":\"10.0.0.2:80\"}", "endpoints.json: "},
        {"[{\"address\":\"10.0.0.2:80\"},{\"address\":\"shop:80\"}]",
         "endpoints.json: /1/address "},
        {"{\"endpoints\":[{\"address\":\"10.0.0.2:80\",\"wieght\":1}]}",
         "endpoints.json: /endpoints/0/wieght "},
        {"{\"endpoint\":[]}", "endpoints.json: /endpoint"},
        {"42", "endpoints.json: "},
        {"[]", "it names no endpoint"},
        {"[{\"address\":\"192.0.2.1:80\"}]", "left out 1 of 1 endpoints: 192.0.2.1:80 is outside "},
    };

    write_file(f, f->path, "[{\"address\":\"10.0.0.1:80\"}]");
    use(f, CFG_DISCOVERY_FILE, "endpoints.json", 0, 0.5);
    wait_for(f, "10.0.0.1:80*1");
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        replace_file(f, bad[i].text);
        wait_state(f, UP_DISCOVERY_FAILED);
        for (int j = 0; j < 300 && strncmp(view(f).why, bad[i].why, strlen(bad[i].why)) != 0; j++)
            turn(f, 10);
        if (strncmp(view(f).why, bad[i].why, strlen(bad[i].why)) != 0)
            fail_msg("file %zu: '%s' is not '%s…'", i, view(f).why, bad[i].why);
        assert_string_equal(endpoints(f), "10.0.0.1:80*1");
        replace_file(f, "[{\"address\":\"10.0.0.1:80\"}]");
        wait_state(f, UP_DISCOVERY_OK);
    }
    assert_int_equal(f->changes, 1);
}

static void a_file_may_come_go_and_be_no_file(void **state)
{
    struct fixture *f = *state;
    char folder[256];

    (void)snprintf(folder, sizeof folder, "%s", f->folder);
    rmdir(folder);
    use(f, CFG_DISCOVERY_FILE, "endpoints.json", 0, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_string_equal(view(f).why, "endpoints.json: cannot be opened: No such file or directory");
    assert_int_equal(mkdir(folder, 0700), 0);
    write_file(f, f->path, "[{\"address\":\"10.0.0.1:80\"}]");
    wait_for(f, "10.0.0.1:80*1");
    unlink(f->path);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    for (int i = 0; i < 300 && strstr(view(f).why, "regular") == NULL; i++)
        turn(f, 10);
    assert_string_equal(view(f).why, "endpoints.json: is no regular file");
    assert_string_equal(endpoints(f), "10.0.0.1:80*1");
}

static void another_source_takes_over_without_a_gap(void **state)
{
    struct fixture *f = *state;

    write_file(f, f->path,
               "[{\"address\":\"10.0.0.1:80\"},{\"address\":\"10.0.0.2:80\"},"
               "{\"address\":\"10.0.0.3:80\"}]");
    use(f, CFG_DISCOVERY_FILE, "endpoints.json", 0, 0.5);
    wait_for(f, "10.0.0.1:80*1 10.0.0.2:80*1 10.0.0.3:80*1");
    f->dns.silent = true;
    dns_add(&f->dns, "shop.test", DNS_A, 60, "10.0.0.9");
    use(f, CFG_DISCOVERY_DNS, "shop.test", 8080, 0.5);
    assert_int_equal(view(f).state, UP_DISCOVERY_WAITING);
    assert_string_equal(view(f).source, "dns");
    run_for(f, 50);
    assert_int_equal(view(f).endpoint_count, 3);
    f->dns.silent = false;
    wait_for(f, "10.0.0.9:8080*1"); /* not held: it is another list */
}

/* --- DNS. --- */

static void both_families_are_found_and_the_ttl_is_kept(void **state)
{
    struct fixture *f = *state;

    dns_add(&f->dns, "www.test", DNS_CNAME, 100, "shop.test");
    dns_add(&f->dns, "shop.test", DNS_A, 30, "10.0.0.1");
    dns_add(&f->dns, "shop.test", DNS_A, 40, "10.0.0.2");
    dns_add(&f->dns, "shop.test", DNS_AAAA, 50, "fd00::1");
    int64_t since_ms = ps_clock_wall_ms(&ps_clock_system);
    use(f, CFG_DISCOVERY_DNS, "www.test", 8080, 0.5);
    wait_for(f, "10.0.0.1:8080*1 10.0.0.2:8080*1 [fd00::1]:8080*1");
    assert_planned(f, since_ms, 29000, 30000);
    assert_int_equal(f->dns.asked, 2);
    run_for(f, 1200);
    assert_int_equal(f->dns.asked, 2);
}

static void a_changed_answer_is_followed_after_its_ttl(void **state)
{
    struct fixture *f = *state;

    dns_add(&f->dns, "shop.test", DNS_A, 0, "10.0.0.1"); /* 0 counts as 1 s */
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_for(f, "10.0.0.1:80*1");
    uint64_t before = uv_now(&f->loop);
    (void)snprintf(f->dns.records[0].value, sizeof f->dns.records[0].value, "10.0.0.2");
    wait_for(f, "10.0.0.2:80*1");
    assert_in_range(uv_now(&f->loop) - before, 700, 3000);
}

static void a_long_answer_comes_by_tcp(void **state)
{
    struct fixture *f = *state;
    char address[32];

    for (unsigned i = 0; i < CFG_ENDPOINTS_MAX; i++) {
        (void)snprintf(address, sizeof address, "10.0.%u.1", i);
        dns_add(&f->dns, "shop.test", DNS_A, 60, address);
    }
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_state(f, UP_DISCOVERY_OK);
    assert_int_equal(view(f).endpoint_count, CFG_ENDPOINTS_MAX);
    assert_true(f->dns.by_tcp >= 1);
}

static void too_many_addresses_are_a_failure(void **state)
{
    struct fixture *f = *state;
    char address[32];

    for (unsigned i = 0; i <= CFG_ENDPOINTS_MAX; i++) {
        (void)snprintf(address, sizeof address, "10.%u.%u.1", i / 200, i % 200);
        dns_add(&f->dns, "shop.test", DNS_A, 60, address);
    }
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_string_equal(view(f).why, "it names 257 endpoints; a pool has at most 256");
}

static void srv_records_give_port_and_weight_by_priority(void **state)
{
    struct fixture *f = *state;

    dns_add_srv(&f->dns, "_http._tcp.test", 20, "a.test", 8001, 1, 10);
    dns_add_srv(&f->dns, "_http._tcp.test", 20, "b.test", 8002, 1, 0);
    dns_add_srv(&f->dns, "_http._tcp.test", 20, "c.test", 8003, 2, 5);
    dns_add_srv(&f->dns, "_http._tcp.test", 20, "gone.test", 8004, 0, 5); /* has no address */
    dns_add(&f->dns, "a.test", DNS_A, 60, "10.0.0.1");
    dns_add(&f->dns, "a.test", DNS_AAAA, 60, "fd00::1");
    dns_add(&f->dns, "b.test", DNS_A, 60, "10.0.0.2");
    dns_add(&f->dns, "c.test", DNS_A, 60, "10.0.0.3");
    int64_t since_ms = ps_clock_wall_ms(&ps_clock_system);
    use(f, CFG_DISCOVERY_SRV, "_http._tcp.test", 0, 0.5);
    wait_for(f, "10.0.0.1:8001*10 10.0.0.2:8002*1 [fd00::1]:8001*10");
    assert_planned(f, since_ms, 19000, 20000);
}

static void great_srv_weights_are_scaled_together(void **state)
{
    struct fixture *f = *state;

    dns_add_srv(&f->dns, "_http._tcp.test", 60, "a.test", 80, 0, 60000);
    dns_add_srv(&f->dns, "_http._tcp.test", 60, "a.test", 81, 0, 30000);
    dns_add_srv(&f->dns, "_http._tcp.test", 60, "a.test", 82, 0, 1);
    dns_add(&f->dns, "a.test", DNS_A, 60, "10.0.0.1");
    use(f, CFG_DISCOVERY_SRV, "_http._tcp.test", 0, 0.5);
    wait_for(f, "10.0.0.1:80*1000 10.0.0.1:81*500 10.0.0.1:82*1");
}

static void a_dead_server_keeps_the_last_list_and_is_asked_again(void **state)
{
    struct fixture *f = *state;

    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.1");
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_for(f, "10.0.0.1:80*1");
    f->dns.silent = true;
    int64_t since_ms = ps_clock_wall_ms(&ps_clock_system);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_string_equal(endpoints(f), "10.0.0.1:80*1");
    assert_non_null(strstr(view(f).why, " of shop.test: no DNS server answers in time"));
    assert_planned(f, since_ms, 0, 1000);
    f->dns.silent = false;
    wait_state(f, UP_DISCOVERY_OK);
    assert_int_equal(f->changes, 1);
}

static void a_part_that_fails_is_no_shorter_list(void **state)
{
    struct fixture *f = *state;

    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.1");
    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.2");
    dns_add(&f->dns, "shop.test", DNS_AAAA, 1, "fd00::1");
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_for(f, "10.0.0.1:80*1 10.0.0.2:80*1 [fd00::1]:80*1");
    f->dns.fails = DNS_AAAA;
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_int_equal(view(f).endpoint_count, 3);
    assert_string_equal(view(f).why,
                        "AAAA of shop.test: no DNS server is reached, or each fails or refuses");
}

static void each_way_dns_fails_is_told(void **state)
{
    struct fixture *f = *state;

    use(f, CFG_DISCOVERY_DNS, "gone.test", 80, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_string_equal(view(f).why, "gone.test has no address");
    dns_add_srv(&f->dns, "_none._tcp.test", 60, "", 0, 0, 0); /* "." */
    use(f, CFG_DISCOVERY_SRV, "_none._tcp.test", 0, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_string_equal(view(f).why, "_none._tcp.test has no SRV record with an address");
    f->dns.refuses = 5;
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_non_null(strstr(view(f).why, "each fails or refuses"));
    f->dns.refuses = 0;
    f->dns.garbage = true;
    use(f, CFG_DISCOVERY_DNS, "shop.test", 81, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    use(f, CFG_DISCOVERY_SRV, "_http._tcp.test", 0, 0.5);
    wait_state(f, UP_DISCOVERY_FAILED);
    assert_int_equal(view(f).endpoint_count, 0);
}

static void a_shorter_answer_is_held(void **state)
{
    struct fixture *f = *state;

    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.1");
    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.2");
    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.3");
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
    wait_for(f, "10.0.0.1:80*1 10.0.0.2:80*1 10.0.0.3:80*1");
    f->dns.count = 1;
    wait_state(f, UP_DISCOVERY_HELD);
    assert_int_equal(view(f).endpoint_count, 3);
    f->dns.refuses = 2; /* a failure in between: it begins anew */
    wait_state(f, UP_DISCOVERY_FAILED);
    f->dns.refuses = 0;
    int64_t since_ms = ps_clock_wall_ms(&ps_clock_system);
    wait_state(f, UP_DISCOVERY_HELD);
    assert_planned(f, since_ms, 59000, 60000);
    f->dns.count = 3;
    wait_state(f, UP_DISCOVERY_OK);
    assert_int_equal(f->changes, 1);
}

static void a_look_may_end_at_any_moment(void **state)
{
    struct fixture *f = *state;

    dns_add(&f->dns, "shop.test", DNS_A, 1, "10.0.0.1");
    write_file(f, f->path, "[{\"address\":\"10.0.0.1:80\"}]");
    for (int i = 0; i < 40; i++) {
        use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
        for (int j = 0; j < i % 8; j++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        use(f, CFG_DISCOVERY_FILE, "endpoints.json", 0, 0.5);
        for (int j = 0; j < i % 5; j++)
            uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    up_discovery_drop(f->discovery, "web");
    use(f, CFG_DISCOVERY_DNS, "shop.test", 80, 0.5);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_enough_from_the_share_on),
        CASE(what_is_outside_the_networks_is_left_out_and_said),
        CASE(a_listener_of_the_gateway_is_left_out_and_said),
        CASE(a_list_that_shrinks_is_held_until_it_lasts_or_grows),
        CASE(a_held_list_is_taken_with_another_version_of_the_document),
        cmocka_unit_test_setup_teardown(a_held_list_that_lasts_is_taken, begin_with_short_holding,
                                        end),
        CASE(what_somebody_removes_is_never_held),
        CASE(a_pool_without_discovery_has_no_view),
        CASE(a_file_is_followed_within_a_second),
        CASE(a_bad_file_keeps_the_last_good_list),
        CASE(a_file_may_come_go_and_be_no_file),
        CASE(another_source_takes_over_without_a_gap),
        CASE(both_families_are_found_and_the_ttl_is_kept),
        CASE(a_changed_answer_is_followed_after_its_ttl),
        CASE(a_long_answer_comes_by_tcp),
        CASE(too_many_addresses_are_a_failure),
        CASE(srv_records_give_port_and_weight_by_priority),
        CASE(great_srv_weights_are_scaled_together),
        CASE(a_dead_server_keeps_the_last_list_and_is_asked_again),
        CASE(a_part_that_fails_is_no_shorter_list),
        CASE(each_way_dns_fails_is_told),
        CASE(a_shorter_answer_is_held),
        CASE(a_look_may_end_at_any_moment),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
