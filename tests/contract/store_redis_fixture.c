/* Gateways on one loop. */
#include "tests/unit/check.h"

#include "tests/contract/store_redis_fixture.h"

#include <stdio.h>

#define PATIENCE_NS (UINT64_C(120) * 1000000000)

uv_loop_t fixture_loop;
struct redis_server server;
struct gateway one, two;
const char *const fixture_skus[SKUS] = {"black", "white"};
static uint64_t started_ns; /* of the last gateway */

static void on_ready(void *ctx)
{
    ((struct gateway *)ctx)->ready++;
}

static void note(struct gateway *gateway, int err, const char *text)
{
    gateway->err = err;
    (void)snprintf(gateway->text, sizeof gateway->text, "%s", text);
}

static void on_away(int err, const char *why, void *ctx)
{
    struct gateway *gateway = ctx;
    gateway->away++;
    note(gateway, err, why);
}

static void on_fenced(struct inv_sale *sale, void *ctx)
{
    struct gateway *gateway = ctx;
    assert_ptr_equal(sale, gateway->sale);
    gateway->fenced++;
}

static void on_error(struct inv_sale *sale, int err, const char *text, void *ctx)
{
    struct gateway *gateway = ctx;
    (void)sale;
    gateway->errors++;
    note(gateway, err, text);
}

void gateway_start(struct gateway *gateway, uint8_t number, const char *url_text)
{
    const struct ps_uuid start = {{number, 0x77}};
    const struct inv_redis_events events = {on_ready, on_away, on_fenced, on_error, gateway};
    struct inv_redis_settings settings = inv_redis_defaults;
    struct ps_redis_url url;
    settings.link.backoff_max_ms = 50;
    settings.link.check_ms = 20;
    settings.link.command_timeout_ms = 2000;
    started_ns = uv_hrtime();
    *gateway = (struct gateway){0};
    assert_int_equal(ps_redis_url_parse(url_text, &url, NULL), 0);
    assert_int_equal(inv_redis_new(&url, &settings, &start, &gateway->redis), 0);
    assert_int_equal(
        inv_store_redis_new(gateway->redis, &fixture_loop, 0, &events, &gateway->store), 0);
    inv_store_view_reached(gateway->store, INT64_MAX);
}

/* Whoever waits for something turns the loop until it has come: a test that waits in vain fails. */
void turn(void)
{
    if (uv_hrtime() - started_ns > PATIENCE_NS)
        fail_msg("the test has waited too long; the gateway said last: \"%s\"", one.text);
    (void)uv_run(&fixture_loop, UV_RUN_ONCE);
}

void turn_ms(unsigned ms)
{
    uint64_t end;
    uv_update_time(&fixture_loop);
    for (end = uv_now(&fixture_loop) + ms; uv_now(&fixture_loop) < end;)
        turn();
}

void gateway_ready(struct gateway *gateway)
{
    struct ps_breaker_view view;
    while (!inv_store_ready(gateway->store) || !inv_store_breaker(gateway->store, &view) ||
           view.state != PS_BREAKER_CLOSED)
        turn();
}

void gateway_stop(struct gateway *gateway)
{
    inv_store_free(gateway->store);
    for (int i = 0; i < 3; i++) /* until its handles are closed */
        (void)uv_run(&fixture_loop, UV_RUN_NOWAIT);
    inv_redis_free(gateway->redis);
    gateway->store = NULL;
}

void rest(struct gateway *gateway)
{
    while (inv_store_busy(gateway->store))
        turn();
}

struct ps_uuid numbered(unsigned number)
{
    return (struct ps_uuid){{[6] = 0x70, [14] = (uint8_t)(number >> 8), [15] = (uint8_t)number}};
}

struct inv_reservation wish(unsigned number, const char *user, const char *key, int64_t epoch)
{
    return (struct inv_reservation){.order_id = numbered(number),
                                    .epoch = epoch,
                                    .user = {user, strlen(user)},
                                    .key = {key, strlen(key)},
                                    .quantity = 1,
                                    .cap = 1000,
                                    .ttl_ms = 60000};
}

static void on_answer(uint64_t handle, int err, const struct inv_answer *answer, void *ctx)
{
    struct answer *ret = ctx;
    (void)handle;
    ret->times++;
    ret->err = err;
    if (err == 0)
        ret->answer = *answer;
}

void reserve_later(struct gateway *gateway, const struct inv_reservation *r, struct answer *answer)
{
    *answer = (struct answer){0};
    int result = inv_store_reserve(gateway->store, gateway->sale, r,
                                   (struct inv_reply_to){.on_answer = on_answer,
                                                         .ctx = answer,
                                                         .ret_answer = &answer->answer});
    if (result != INV_PENDING) {
        answer->times = 1;
        answer->err = result;
    }
}

int reserve(struct gateway *gateway, const struct inv_reservation *r)
{
    struct answer answer;
    reserve_later(gateway, r, &answer);
    while (answer.times == 0)
        turn();
    return answer.err < 0 ? answer.err : (int)answer.answer.result;
}

int buy(struct gateway *gateway, unsigned number, const char *user, const char *key)
{
    struct inv_reservation r = wish(number, user, key, inv_sale_epoch(gateway->sale));
    return reserve(gateway, &r);
}

void resolve(struct gateway *gateway, unsigned number, enum inv_verdict verdict)
{
    struct ps_uuid id = numbered(number);
    inv_store_resolve(gateway->store, gateway->sale, &id, verdict);
}

struct noted_counts {
    bool here;
    struct inv_count black;
};

static void on_counts(uint64_t handle, int err, const struct inv_count *all, void *ctx)
{
    struct noted_counts *noted = ctx;
    (void)handle;
    noted->here = true;
    if (err == 0)
        noted->black = all[0];
    else
        noted->black.available = err;
}

struct inv_count counts(struct gateway *gateway)
{
    struct noted_counts noted = {0};
    struct inv_count none[SKUS];
    int result = inv_store_counts(
        gateway->store, gateway->sale,
        (struct inv_reply_to){.on_counts = on_counts, .ctx = &noted, .ret_counts = none});
    if (result != INV_PENDING)
        return (struct inv_count){.available = result};
    while (!noted.here)
        turn();
    return noted.black;
}

struct inv_load *load_of(struct gateway *gateway, int64_t epoch)
{
    struct inv_load *load;
    assert_int_equal(inv_load_new(gateway->store, "drop", epoch, fixture_skus, SKUS, &load), 0);
    for (uint32_t sku = 0; sku < SKUS; sku++)
        assert_int_equal(inv_load_available(load, sku, STOCK), 0);
    return load;
}

void load_order(struct inv_load *load, unsigned number, const char *user, const char *key)
{
    struct inv_load_order order = {.id = numbered(number),
                                   .user = {user, strlen(user)},
                                   .key = {key, strlen(key)},
                                   .quantity = 1,
                                   .state = INV_LOAD_HELD};
    assert_int_equal(inv_load_order(load, &order), 0);
}

void open_sale(struct gateway *gateway, int64_t epoch)
{
    assert_int_equal(inv_load_install(load_of(gateway, epoch), &gateway->sale), 0);
}

struct noted_sale {
    bool here;
    int err;
    struct inv_sale *sale;
};

static void on_attached(int err, struct inv_sale *sale, void *ctx)
{
    *(struct noted_sale *)ctx = (struct noted_sale){true, err, sale};
}

int attach(struct gateway *gateway, int64_t least_epoch)
{
    struct noted_sale noted = {0};
    assert_int_equal(
        inv_shared_attach(gateway->store,
                          &(struct inv_attach){"drop", least_epoch, fixture_skus, SKUS},
                          on_attached, &noted),
        INV_PENDING);
    while (!noted.here)
        turn();
    if (noted.err == 0)
        gateway->sale = noted.sale;
    return noted.err;
}

struct noted_cur {
    bool here;
    int err;
    struct inv_installed cur;
};

static void on_cur(int err, const struct inv_installed *now, void *ctx)
{
    struct noted_cur *noted = ctx;
    noted->here = true;
    noted->err = err;
    if (err == 0)
        noted->cur = *now;
}

int cur(struct gateway *gateway, struct inv_installed *ret)
{
    struct noted_cur noted = {0};
    int result = inv_shared_installed(gateway->store, "drop", on_cur, &noted);
    if (result != INV_PENDING)
        return result;
    while (!noted.here)
        turn();
    *ret = noted.cur;
    return noted.err;
}

struct page {
    bool here;
    uint64_t next;
    struct doubts *all;
};

static void on_doubts(int err, const struct inv_doubt *doubts, size_t count, uint64_t next_cursor,
                      void *ctx)
{
    struct page *page = ctx;
    struct doubts *all = page->all;
    page->here = true;
    page->next = next_cursor;
    all->err = err;
    all->pages++;
    for (size_t i = 0; i < count; i++) {
        unsigned number = (unsigned)doubts[i].id.byte[14] << 8 | doubts[i].id.byte[15];
        if (all->count == 0)
            all->first = doubts[i];
        all->count += !all->seen[number];
        all->seen[number] = true;
    }
}

void walk_doubts(struct gateway *gateway, int64_t age_ms, struct doubts *ret)
{
    struct page page = {.all = ret};
    *ret = (struct doubts){0};
    do {
        page.here = false;
        assert_int_equal(
            inv_shared_doubts(gateway->store, gateway->sale, page.next, age_ms, on_doubts, &page),
            INV_PENDING);
        while (!page.here)
            turn();
    } while (ret->err == 0 && page.next != 0);
}

char *url_of(const char *login, const char *database)
{
    static char text[128];
    (void)snprintf(text, sizeof text, "redis://%s127.0.0.1:%d%s", login, server.port, database);
    return text;
}

int set_up(void **state)
{
    (void)state;
    redis_start(&server, NULL);
    assert_ok(uv_loop_init(&fixture_loop));
    gateway_start(&one, 1, url_of("", ""));
    gateway_ready(&one);
    open_sale(&one, EPOCH);
    resolve(&one, 4095, INV_VOID); /* so that the server knows the script */
    rest(&one);
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    gateway_stop(&one);
    if (two.store != NULL)
        gateway_stop(&two);
    assert_int_equal(uv_run(&fixture_loop, UV_RUN_DEFAULT), 0);
    assert_ok(uv_loop_close(&fixture_loop));
    redis_remove(&server);
    return 0;
}

void start_two(void)
{
    gateway_start(&two, 2, url_of("", ""));
    gateway_ready(&two);
    assert_ok(attach(&two, EPOCH));
}
