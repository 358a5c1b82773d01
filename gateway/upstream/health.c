/* Health checks. Each endpoint has a timer, which starts an attempt and ends it when it takes too
 * long. An attempt is a connection and the part of the answer's head that was read. It is freed
 * when its connection is closed, so a check may end, and its endpoint may leave, at any moment.
 *
 * The answer's body is not read: the connection is closed after the head. */
#include "gateway/upstream/health.h"

#include "common/http/head.h"
#include "common/http/write.h"
#include "common/sorted.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MAX    8192
#define REQUEST_MAX 4096
#define INTERIM_MAX 8 /* answers of 1xx before the final one */

static const struct ps_http_limits limits = {
    .target_max = REQUEST_MAX, .head_max = HEAD_MAX, .fields_max = PS_HTTP_FIELDS_MAX};

struct rules {
    char *path, *host; /* host NULL: use the address */
    int64_t interval_ms, timeout_ms;
    unsigned healthy_after, unhealthy_after;
    size_t expect_count;
    int expect[CFG_EXPECT_MAX];
};

struct pool_checks {
    struct up_health *health;
    char name[PS_NAME_MAX + 1];
    struct rules rules;
    size_t count;
    struct check **checks; /* by address */
    LIST_ENTRY(pool_checks) next;
};

struct check {
    struct pool_checks *pool;
    char address[CFG_ENDPOINT_SIZE];
    struct ps_address ip;
    uint16_t port;
    struct up_streak streak;
    struct up_verdict verdict;
    bool new_rules; /* the next result decides alone */
    struct attempt *attempt;
    uv_timer_t timer;
};

struct attempt {
    struct check *check; /* NULL: the check is over */
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    char request[REQUEST_MAX];
    size_t len; /* bytes read */
    unsigned interim;
    struct ps_http_head head;
    char data[HEAD_MAX + 1];
};

struct up_health {
    uv_loop_t *loop;
    const struct ps_clock *clock;
    up_health_fn *changed;
    void *ctx;
    LIST_HEAD(, pool_checks) pools;
};

/* --- Verdicts. --- */

bool up_streak_count(struct up_streak *streak, bool passed, unsigned healthy_after,
                     unsigned unhealthy_after)
{
    enum up_check result = passed ? UP_CHECK_PASSING : UP_CHECK_FAILING;

    if (result == streak->check) {
        streak->against = 0;
        return false;
    }
    streak->against++;
    if (streak->check != UP_CHECK_NONE &&
        streak->against < (passed ? healthy_after : unhealthy_after))
        return false;
    *streak = (struct up_streak){.check = result};
    return true;
}

static void wait_for_next(struct check *check);

/* Ends the attempt and counts its result. `why` NULL: it passed. */
static void end_check(struct check *check, const char *why)
{
    const struct rules *rules = &check->pool->rules;
    const struct up_health *health = check->pool->health;
    bool alone = check->new_rules;
    bool changed = up_streak_count(&check->streak, why == NULL, alone ? 1 : rules->healthy_after,
                                   alone ? 1 : rules->unhealthy_after);

    check->new_rules = false;
    if (why != NULL && check->streak.check == UP_CHECK_FAILING)
        (void)snprintf(check->verdict.why, sizeof check->verdict.why, "%s", why);
    wait_for_next(check);
    if (!changed)
        return;
    check->verdict.check = check->streak.check;
    check->verdict.since_ms = ps_clock_wall_ms(health->clock);
    if (why == NULL)
        check->verdict.why[0] = '\0';
    if (health->changed != NULL)
        health->changed(health->ctx, check->pool->name, check->address, &check->verdict);
}

/* --- Attempts. --- */

static void on_attempt_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void drop_attempt(struct check *check)
{
    struct attempt *attempt = check->attempt;

    if (attempt == NULL)
        return;
    check->attempt = NULL;
    attempt->check = NULL;
    uv_close((uv_handle_t *)&attempt->tcp, on_attempt_closed);
}

static void finish(struct attempt *attempt, const char *why)
{
    struct check *check = attempt->check;

    drop_attempt(check);
    end_check(check, why);
}

/* Readable: "connection refused", without the number. */
static void fail_with(struct attempt *attempt, const char *what, int error)
{
    char why[UP_WHY_SIZE];

    (void)snprintf(why, sizeof why, "%s%s", what, uv_strerror(error));
    finish(attempt, why);
}

static bool is_one_of(const int *expect, size_t count, int status)
{
    for (size_t i = 0; i < count; i++)
        if (expect[i] == status)
            return true;
    return false;
}

bool up_health_expects(const struct cfg_pool *pool, int status)
{
    return is_one_of(pool->health.expect, pool->health.expect_count, status);
}

/* Parses the head, as much of it as has arrived. */
static void read_head(struct attempt *attempt)
{
    const struct rules *rules = &attempt->check->pool->rules;
    char why[UP_WHY_SIZE];
    enum ps_http_step step;

    while ((step = ps_http_head_parse(&attempt->head, attempt->data, attempt->len)) ==
               PS_HTTP_DONE &&
           attempt->head.status < 200 && attempt->head.status != 101 &&
           attempt->interim++ < INTERIM_MAX) {
        attempt->len -= attempt->head.len;
        memmove(attempt->data, attempt->data + attempt->head.len, attempt->len);
        ps_http_response_init(&attempt->head, &limits, false);
    }
    if (step == PS_HTTP_MORE)
        return;
    if (step == PS_HTTP_BAD)
        (void)snprintf(why, sizeof why, "malformed answer: %s",
                       ps_http_rules[attempt->head.rule].text);
    else
        (void)snprintf(why, sizeof why, "status %d", attempt->head.status);
    finish(attempt, step == PS_HTTP_DONE &&
                            is_one_of(rules->expect, rules->expect_count, attempt->head.status)
                        ? NULL
                        : why);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct attempt *attempt = handle->data;

    (void)suggested;
    *buf =
        uv_buf_init(attempt->data + attempt->len, (unsigned)(sizeof attempt->data - attempt->len));
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct attempt *attempt = stream->data;

    (void)buf;
    if (attempt->check == NULL || nread == 0)
        return;
    if (nread == UV_EOF)
        finish(attempt, attempt->len > 0 ? "malformed answer: it ended in the middle of its head"
                                         : "the connection was closed without an answer");
    else if (nread < 0)
        fail_with(attempt, "", (int)nread);
    else {
        attempt->len += (size_t)nread;
        read_head(attempt);
    }
}

static void on_write(uv_write_t *write, int status)
{
    struct attempt *attempt = write->data;

    if (attempt->check != NULL && status < 0)
        fail_with(attempt, "", status);
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct attempt *attempt = connect->data;
    struct check *check = attempt->check;
    struct ps_buf buf;

    if (check == NULL)
        return;
    if (status < 0) {
        fail_with(attempt, "", status);
        return;
    }
    const struct rules *rules = &check->pool->rules;
    const char *host = rules->host != NULL ? rules->host : check->address;
    ps_buf_init(&buf, attempt->request, sizeof attempt->request);
    int err = ps_http_put_request(&buf, PS_STR("GET"), ps_str(rules->path));
    if (err == 0)
        err = ps_http_put_field(&buf, PS_STR("Host"), ps_str(host));
    ps_buf_puts(&buf, "User-Agent: penstock/" PENSTOCK_VERSION " (health check)\r\n"
                      "Connection: close\r\n\r\n");
    if (err < 0 || buf.overflow) { /* the checks of the document exclude this */
        finish(attempt, "the request cannot be written: path or host is too long or malformed");
        return;
    }
    uv_buf_t out = uv_buf_init(attempt->request, (unsigned)buf.len);
    ps_http_response_init(&attempt->head, &limits, false);
    err = uv_write(&attempt->write, (uv_stream_t *)&attempt->tcp, &out, 1, on_write);
    if (err == 0)
        err = uv_read_start((uv_stream_t *)&attempt->tcp, on_alloc, on_read);
    if (err < 0)
        fail_with(attempt, "", err);
}

static void end_late(uv_timer_t *timer)
{
    struct check *check = timer->data;
    char why[UP_WHY_SIZE];

    (void)snprintf(why, sizeof why, "no answer within %lld ms",
                   (long long)check->pool->rules.timeout_ms);
    drop_attempt(check);
    end_check(check, why);
}

/* libuv runs timers before it looks at sockets. If the thread was stopped, an answer may have
 * arrived in time: read it first. */
static void on_timeout(uv_timer_t *timer)
{
    uv_timer_start(timer, end_late, 1, 0);
}

static void begin_attempt(uv_timer_t *timer)
{
    struct check *check = timer->data;
    struct attempt *attempt = malloc(sizeof *attempt);
    struct sockaddr_storage to;

    if (attempt == NULL) { /* out of memory: says nothing about the endpoint */
        wait_for_next(check);
        return;
    }
    attempt->check = check;
    attempt->len = 0;
    attempt->interim = 0;
    (void)uv_tcp_init(check->pool->health->loop, &attempt->tcp); /* opens no socket yet */
    attempt->tcp.data = attempt->connect.data = attempt->write.data = attempt;
    check->attempt = attempt;
    uv_timer_start(&check->timer, on_timeout, (uint64_t)check->pool->rules.timeout_ms, 0);
    (void)ps_address_socket(&check->ip, check->port, &to);
    int err =
        uv_tcp_connect(&attempt->connect, &attempt->tcp, (const struct sockaddr *)&to, on_connect);
    if (err < 0)
        fail_with(attempt, "", err);
}

/* The interval, 10 % more or less. */
static void wait_for_next(struct check *check)
{
    uint64_t interval = (uint64_t)check->pool->rules.interval_ms;
    uint64_t tenth = interval / 10;

    uv_timer_start(&check->timer, begin_attempt,
                   interval - tenth + randombytes_uniform((uint32_t)(2 * tenth + 1)), 0);
}

/* --- Checks of a pool. --- */

static void on_check_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void free_check(struct check *check)
{
    drop_attempt(check);
    uv_close((uv_handle_t *)&check->timer, on_check_closed);
}

static struct check *new_check(struct pool_checks *pool, const struct cfg_endpoint *endpoint)
{
    struct check *check = calloc(1, sizeof *check);

    if (check == NULL)
        return NULL;
    check->pool = pool;
    memcpy(check->address, endpoint->address, sizeof check->address);
    check->ip = endpoint->ip;
    check->port = endpoint->port;
    uv_timer_init(pool->health->loop, &check->timer);
    check->timer.data = check;
    uv_timer_start(&check->timer, begin_attempt, 0, 0);
    return check;
}

static int by_address(const void *a, const void *b)
{
    return strcmp((*(struct check *const *)a)->address, (*(struct check *const *)b)->address);
}

static int compare_with_check(const void *address, const void *check)
{
    return strcmp(address, (*(struct check *const *)check)->address);
}

static struct check *find_check(const struct pool_checks *pool, const char *address)
{
    struct check **found = ps_sorted_find(address, pool->checks, pool->count, sizeof *pool->checks,
                                          compare_with_check);

    return found != NULL ? *found : NULL;
}

/* Keeps what is known of endpoints that remain. */
static int set_endpoints(struct pool_checks *pool, const struct cfg_endpoint *endpoints,
                         size_t count)
{
    struct check **checks = calloc(count > 0 ? count : 1, sizeof(struct check *));
    size_t kept = 0;
    int err = 0;

    if (checks == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        struct check *check = find_check(pool, endpoints[i].address);
        if (check != NULL)
            check->pool = NULL; /* it remains in use: see below */
        else
            check = new_check(pool, &endpoints[i]);
        if (check != NULL)
            checks[kept++] = check;
        else
            err = PS_E_NOMEM;
    }
    for (size_t i = 0; i < pool->count; i++)
        if (pool->checks[i]->pool != NULL)
            free_check(pool->checks[i]);
    for (size_t i = 0; i < kept; i++)
        checks[i]->pool = pool;
    free(pool->checks);
    pool->checks = checks;
    pool->count = kept;
    qsort(checks, kept, sizeof(struct check *), by_address);
    return err;
}

/* --- Rules. --- */

static bool same_rules(const struct rules *rules, const struct cfg_pool *doc)
{
    return ps_text_same(rules->path, doc->health.path) &&
           ps_text_same(rules->host, doc->health.host) &&
           rules->interval_ms == doc->health.interval_ms &&
           rules->timeout_ms == doc->health.timeout_ms &&
           rules->healthy_after == doc->health.healthy_after &&
           rules->unhealthy_after == doc->health.unhealthy_after &&
           rules->expect_count == doc->health.expect_count &&
           memcmp(rules->expect, doc->health.expect, rules->expect_count * sizeof(int)) == 0;
}

static int set_rules(struct pool_checks *pool, const struct cfg_pool *doc)
{
    struct rules rules = {.path = strdup(doc->health.path),
                          .host = doc->health.host != NULL ? strdup(doc->health.host) : NULL,
                          .interval_ms = doc->health.interval_ms,
                          .timeout_ms = doc->health.timeout_ms,
                          .healthy_after = doc->health.healthy_after,
                          .unhealthy_after = doc->health.unhealthy_after,
                          .expect_count = doc->health.expect_count};

    if (rules.path == NULL || (rules.host == NULL) != (doc->health.host == NULL)) {
        free(rules.path);
        free(rules.host);
        return PS_E_NOMEM;
    }
    memcpy(rules.expect, doc->health.expect, rules.expect_count * sizeof(int));
    free(pool->rules.path);
    free(pool->rules.host);
    pool->rules = rules;
    for (size_t i = 0; i < pool->count; i++) {
        struct check *check = pool->checks[i];
        drop_attempt(check);
        check->new_rules = true;
        uv_timer_start(&check->timer, begin_attempt, 0, 0);
    }
    return 0;
}

/* --- Pools. --- */

static struct pool_checks *find_pool(const struct up_health *health, const char *name)
{
    struct pool_checks *pool = LIST_FIRST(&health->pools);

    while (pool != NULL && strcmp(pool->name, name) != 0)
        pool = LIST_NEXT(pool, next);
    return pool;
}

static void free_pool(struct pool_checks *pool)
{
    LIST_REMOVE(pool, next);
    for (size_t i = 0; i < pool->count; i++)
        free_check(pool->checks[i]);
    free(pool->checks);
    free(pool->rules.path);
    free(pool->rules.host);
    free(pool);
}

int up_health_set(struct up_health *health, const struct cfg_pool *doc,
                  const struct cfg_endpoint *endpoints, size_t count)
{
    struct pool_checks *pool = find_pool(health, doc->name);

    if (doc->health.path == NULL) {
        if (pool != NULL)
            free_pool(pool);
        return 0;
    }
    if (pool == NULL) {
        pool = calloc(1, sizeof *pool);
        if (pool == NULL)
            return PS_E_NOMEM;
        pool->health = health;
        memcpy(pool->name, doc->name, sizeof pool->name);
        LIST_INSERT_HEAD(&health->pools, pool, next);
    }
    int err = pool->rules.path == NULL || !same_rules(&pool->rules, doc) ? set_rules(pool, doc) : 0;
    return err < 0 ? err : set_endpoints(pool, endpoints, count);
}

void up_health_drop(struct up_health *health, const char *name)
{
    struct pool_checks *pool = find_pool(health, name);

    if (pool != NULL)
        free_pool(pool);
}

const struct up_verdict *up_health_find(const struct up_health *health, const char *name,
                                        const char *address)
{
    const struct pool_checks *pool = find_pool(health, name);
    const struct check *check = pool != NULL ? find_check(pool, address) : NULL;

    return check != NULL ? &check->verdict : NULL;
}

int up_health_new(uv_loop_t *loop, const struct ps_clock *clock, up_health_fn *changed, void *ctx,
                  struct up_health **ret_health)
{
    struct up_health *health = calloc(1, sizeof *health);

    if (health == NULL || sodium_init() < 0) {
        free(health);
        return PS_E_NOMEM;
    }
    health->loop = loop;
    health->clock = clock;
    health->changed = changed;
    health->ctx = ctx;
    LIST_INIT(&health->pools);
    *ret_health = health;
    return 0;
}

void up_health_free(struct up_health *health)
{
    struct pool_checks *pool;

    if (health == NULL)
        return;
    while ((pool = LIST_FIRST(&health->pools)) != NULL)
        free_pool(pool);
    free(health);
}
