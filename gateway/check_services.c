/* Contacts each service as a gateway does before it starts: the same link to Redis, the same check
 * of the topic. Writes nothing, so a gateway may be running with them. */
#include "gateway/check_services.h"

#include "common/redis/redis_link.h"
#include "gateway/backends.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

#define WAIT_MS 10000

/* `notice`: a notice for operators although the service is well, or "". */
static bool print_line(FILE *out, const char *what, int err, const char *why, const char *notice)
{
    bool away = err == PS_E_IO || err == PS_E_TIMEOUT || err == PS_E_CLOSED || err == PS_E_BUSY;

    if (err == 0)
        fprintf(out, "%s: well%s%s\n", what, notice[0] != '\0' ? ", but " : "", notice);
    else
        fprintf(out, "%s: %s: %s\n", what, away ? "away" : "refused", why);
    (void)fflush(out);
    return err == 0;
}

static bool check_state_dir(const struct gw_settings *settings, FILE *out)
{
    struct ps_fault fault = {0};
    char what[1100], *parent = strdup(settings->state_dir);
    struct stat st;
    int err = 0;

    (void)snprintf(what, sizeof what, "state_dir %s", settings->state_dir);
    if (parent == NULL) {
        err = ps_fault(&fault, PS_E_NOMEM, "", "out of memory");
    } else if (stat(settings->state_dir, &st) == 0) {
        err = S_ISDIR(st.st_mode) ? gw_state_dir_check_fs(settings->state_dir, &fault)
                                  : ps_fault(&fault, PS_E_INVALID, "", "is not a directory");
    } else if (errno != ENOENT || stat(dirname(parent), &st) != 0) {
        err = ps_fault(&fault, PS_E_NOT_FOUND, "", "cannot be reached: %s", strerror(errno));
    } else { /* the start will create it */
        err = gw_state_dir_check_fs(parent, &fault);
    }
    free(parent);
    return print_line(out, what, err, fault.text, "");
}

/* --- Redis --- */

struct redis_check {
    struct ps_redis_link *link;
    bool done;
    int err;
    char why[320];
    char notice[320];
};

static void on_config(int err, const redisReply *reply, void *ctx)
{
    struct redis_check *check = ctx;

    check->done = true;
    /* Redis does not answer without this right; a gateway never asks. */
    if (err == 0 && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING && strcmp(reply->element[1]->str, "0") != 0)
        (void)snprintf(check->notice, sizeof check->notice,
                       "repl-backlog-ttl is %.20s: so many seconds after its last replica has died "
                       "it becomes another server by its replication id, and every sale is fenced "
                       "and counted anew; set it to 0",
                       reply->element[1]->str);
}

static void on_ready(const char *identity, void *ctx)
{
    static const char *const words[] = {"CONFIG", "GET", "repl-backlog-ttl"};
    static const size_t len[] = {6, 3, 16};
    struct redis_check *check = ctx;

    (void)identity;
    check->err = 0;
    if (ps_redis_link_send(check->link, (struct ps_redis_args){3, words, len}, on_config, check) <
        0)
        check->done = true;
}

static void on_away(int err, const char *why, void *ctx)
{
    struct redis_check *check = ctx;

    check->err = err;
    (void)snprintf(check->why, sizeof check->why, "%s", why);
    /* It would return the same again; other errors may pass. */
    check->done = err == PS_E_PERMISSION || err == PS_E_INVALID || err == PS_E_READ_ONLY;
}

static void on_late(uv_timer_t *timer)
{
    ((struct redis_check *)timer->data)->done = true;
}

static bool check_redis(const struct gw_settings *settings, FILE *out)
{
    const struct ps_redis_url *url = &settings->redis;
    struct redis_check check = {.err = PS_E_TIMEOUT, .why = "it does not answer"};
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, &check};
    struct ps_redis_settings link = ps_redis_defaults;
    uv_timer_t late = {.data = &check};
    uv_loop_t loop;
    char what[512];

    (void)snprintf(what, sizeof what, "redis %s%s%s:%u%s", url->master,
                   url->master[0] != '\0' ? " by Sentinel " : "", url->hosts[0].name,
                   (unsigned)url->hosts[0].port, url->host_count > 1 ? ",..." : "");
    if (uv_loop_init(&loop) < 0)
        return print_line(out, what, PS_E_NOMEM, "out of memory", "");
    link.connect_timeout_ms = settings->store.redis.connect_timeout_ms;
    link.command_timeout_ms = settings->store.redis.command_timeout_ms;
    check.err = ps_redis_link_new(&loop, url, &link, &callbacks, &check.link);
    if (check.err == 0) {
        check.err = PS_E_TIMEOUT;
        (void)uv_timer_init(&loop, &late);
        (void)uv_timer_start(&late, on_late, WAIT_MS, 0);
        while (!check.done)
            (void)uv_run(&loop, UV_RUN_ONCE);
        ps_redis_link_close(check.link);
        uv_close((uv_handle_t *)&late, NULL);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
    }
    (void)uv_loop_close(&loop);
    return print_line(out, what, check.err, check.why, check.notice);
}

/* --- Kafka --- */

static bool check_kafka(const struct gw_settings *settings, FILE *out)
{
    char what[1200], notice[OQ_KAFKA_NOTICE] = "";
    struct ps_fault fault = {0};
    int err = gw_log_check(settings, WAIT_MS, notice, &fault);

    (void)snprintf(what, sizeof what, "kafka %s, topic %s", settings->log.kafka.brokers,
                   settings->log.kafka.topic);
    return print_line(out, what, err, fault.text, notice);
}

bool gw_check_services(const struct gw_settings *settings, FILE *out)
{
    bool well = check_state_dir(settings, out);

    if (settings->store.kind == GW_STORE_REDIS)
        well &= check_redis(settings, out);
    if (settings->log.kind == GW_LOG_KAFKA)
        well &= check_kafka(settings, out);
    return well;
}
