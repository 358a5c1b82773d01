/* The link's states and what leads from one to the next:
 *
 *   away --(timer)--> trying: [ask a Sentinel where the master is ->] look the name up -> connect
 *     ^                  |     -> AUTH, SELECT, INFO in one go -> judge INFO
 *     +---- fail --------+
 *     +---- fail ------ ready: commands, and INFO again every check_ms
 *
 * Whatever goes wrong, anywhere, ends in fail_link(): the wire is closed (which answers everybody),
 * and the timer is set to the next attempt. Only the Sentinels are asked one after the other
 * without a pause, and only slow replies open the breaker and leave the wire as it is. Late results
 * of an abandoned attempt are known by their wire: there is one wire at most, and closing it
 * silences it. A name look-up cannot be silenced; while an old one is under way, no new one is
 * begun. */
#include "common/redis/redis_link.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_MAX    PS_BREAKER_WHY
#define SERVER_MAX (PS_REDIS_HOST_MAX + 16)
/* When to leave a server alone for a while: most commands of the last five seconds were refused, or
 * slow, or this many in a row were refused. */
#define WINDOW_MS       5000
#define CALLS_MIN       20
#define BAD_PERCENT     80
#define FAILURES_IN_ROW 8

const struct ps_redis_settings ps_redis_defaults = {
    .connect_timeout_ms = 1000,
    .command_timeout_ms = 500,
    .backoff_min_ms = 20,
    .backoff_max_ms = 250,
    .check_ms = 100,
    .pending_max = 1024,
};

struct ps_redis_link {
    uv_loop_t *loop;
    uv_timer_t timer; /* away: the next attempt; trying: the deadline; ready: the next check */
    uv_getaddrinfo_t look_up;
    bool looking_up, timer_closed, closed;
    struct ps_redis_url url;
    struct ps_redis_settings settings;
    struct ps_redis_callbacks callbacks;
    enum ps_redis_state state;
    struct ps_redis_wire *wire;  /* trying (once the address is known) and ready */
    struct ps_redis_host master; /* what the Sentinel said */
    bool asking;                 /* trying: the wire leads to a Sentinel */
    bool sentinel_auth;          /* trying: it requires a password */
    size_t sentinel;             /* the one to ask first */
    size_t asked;                /* trying: how many did not help */
    unsigned attempts;           /* to take each address of a name in turn */
    struct ps_breaker breaker;
    bool suspect;  /* commands have failed here: its next greeting must prove it */
    bool greeting; /* the present reply made it ready: it proves nothing more */
    bool checking;
    uint64_t check_due; /* uv_now: of the next check */
    int64_t late_ms;    /* how late the loop was for its recent checks */
    char identity[PS_REDIS_IDENTITY_MAX + 1];
    char server[SERVER_MAX];
    char why[WHY_MAX]; /* reported last */
    int err;
};

static void try_next(struct ps_redis_link *link);
static void on_timer(uv_timer_t *timer);

static void set_timer(struct ps_redis_link *link, int64_t ms)
{
    (void)uv_timer_start(&link->timer, on_timer, (uint64_t)ms, 0);
}

static void set_check(struct ps_redis_link *link)
{
    link->check_due = uv_now(link->loop) + (uint64_t)link->settings.check_ms;
    set_timer(link, link->settings.check_ms);
}

/* --- failing --- */

static void fail_link(struct ps_redis_link *link, int err, const char *what)
{
    char why[WHY_MAX];
    bool was_ready = link->state == PS_REDIS_READY;
    struct ps_redis_wire *wire = link->wire;

    (void)snprintf(why, sizeof why, "%.200s: %.110s", link->server, what);
    /* A Sentinel that is cut off from the others may name a wrong master forever. */
    if (link->state == PS_REDIS_TRYING && !link->asking && link->url.master[0] != '\0')
        link->sentinel = (link->sentinel + 1) % link->url.host_count;
    link->state = PS_REDIS_AWAY;
    link->wire = NULL;
    link->checking = false;
    (void)ps_breaker_trip(&link->breaker);
    set_timer(link, ps_breaker_pause_ms(&link->breaker));
    ps_redis_wire_close(wire); /* answers what is pending */
    bool known = !was_ready && link->err == err && strcmp(link->why, why) == 0;
    link->err = err;
    memcpy(link->why, why, sizeof why);
    if (known || link->closed)
        return;
    link->callbacks.on_away(err, why, link->callbacks.ctx);
}

/* One Sentinel did not help: ask the next one, unless all were asked. */
static void next_sentinel(struct ps_redis_link *link, int err, const char *what)
{
    ps_redis_wire_close(link->wire);
    link->wire = NULL;
    link->sentinel = (link->sentinel + 1) % link->url.host_count;
    if (++link->asked >= link->url.host_count)
        fail_link(link, err, what);
    else
        try_next(link);
}

static void give_up(struct ps_redis_link *link, int err, const char *what)
{
    if (link->state == PS_REDIS_TRYING && link->asking)
        next_sentinel(link, err, what);
    else
        fail_link(link, err, what);
}

static void on_lost(int err, const char *why, void *ctx)
{
    struct ps_redis_link *link = ctx;
    link->wire = NULL;
    if (err == PS_E_TIMEOUT)
        link->suspect = true;
    give_up(link, err, why);
}

/* --- what replies say --- */

int ps_redis_reply_err(const redisReply *reply)
{
    static const struct {
        const char *word;
        int err;
    } words[] = {
        {"OOM ", PS_E_FULL},          {"READONLY ", PS_E_READ_ONLY},
        {"NOAUTH ", PS_E_PERMISSION}, {"WRONGPASS ", PS_E_PERMISSION},
        {"NOPERM ", PS_E_PERMISSION}, {"LOADING ", PS_E_BUSY},
        {"BUSY ", PS_E_BUSY},         {"MASTERDOWN ", PS_E_BUSY},
        {"MISCONF ", PS_E_BUSY},      {"NOREPLICAS ", PS_E_BUSY},
        {"CLUSTERDOWN ", PS_E_BUSY},  {"TRYAGAIN ", PS_E_BUSY},
        {"WRONGTYPE ", PS_E_CORRUPT},
    };
    if (reply->type != REDIS_REPLY_ERROR)
        return 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(words); i++) {
        if (strncmp(reply->str, words[i].word, strlen(words[i].word)) == 0)
            return words[i].err;
    }
    return PS_E_UNKNOWN;
}

/* A slow loop sees every reply late. The time by which it is late for its own timer, and the same
 * again for the turn in which the command waited to be written, is not Redis's. */
static int64_t redis_took_ns(const struct ps_redis_link *link, int64_t took_ms)
{
    return (took_ms - 2 * link->late_ms) * PS_NS_PER_MS;
}

static void note_slow(struct ps_redis_link *link)
{
    (void)snprintf(link->why, sizeof link->why, "%.200s: most replies take %lld ms or more",
                   link->server, (long long)link->settings.slow_ms);
}

static void on_reply(const redisReply *reply, int64_t took_ms, void *ctx)
{
    struct ps_redis_link *link = ctx;
    int err = ps_redis_reply_err(reply);
    int64_t took_ns = redis_took_ns(link, took_ms);
    bool greeting = link->greeting;
    link->greeting = false;
    if (greeting || link->state != PS_REDIS_READY)
        return;
    /* the server works; the call failed */
    if (err == 0 || err == PS_E_CORRUPT || err == PS_E_UNKNOWN) {
        link->suspect = false;
        if (ps_breaker_succeed(&link->breaker, took_ns))
            note_slow(link);
        return;
    }
    bool must_greet = err == PS_E_READ_ONLY || err == PS_E_PERMISSION;
    if (!ps_breaker_fail(&link->breaker, took_ns) && !must_greet)
        return;
    link->suspect = true;
    fail_link(link, err, reply->str);
}

/* --- the greeting --- */

/* The value of a line "name:value" of INFO; false when it is not there or is too long. */
static bool info_value(const char *info, const char *name, char *ret, size_t cap)
{
    size_t name_len = strlen(name);
    for (const char *line = info; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        size_t len = strcspn(line + name_len + 1, "\r\n");
        if (len >= cap)
            return false;
        memcpy(ret, line + name_len + 1, len);
        ret[len] = '\0';
        return true;
    }
    return false;
}

/* Reads what INFO says. PS_E_READ_ONLY, PS_E_INVALID, and why. */
static int judge_info(const redisReply *reply, char ret_identity[PS_REDIS_IDENTITY_MAX + 1],
                      char ret_why[WHY_MAX])
{
    char run_id[48], replid[48], role[16], policy[32], version[16], mode[16];
    if (reply->type != REDIS_REPLY_STRING || strlen(reply->str) != reply->len ||
        !info_value(reply->str, "run_id", run_id, sizeof run_id) ||
        !info_value(reply->str, "master_replid", replid, sizeof replid) ||
        !info_value(reply->str, "role", role, sizeof role) ||
        !info_value(reply->str, "maxmemory_policy", policy, sizeof policy) ||
        !info_value(reply->str, "redis_version", version, sizeof version)) {
        (void)snprintf(ret_why, WHY_MAX, "its INFO is not that of Redis 7: %.80s",
                       reply->type == REDIS_REPLY_ERROR ? reply->str : "a line is missing");
        return PS_E_INVALID;
    }
    if (info_value(reply->str, "redis_mode", mode, sizeof mode) && strcmp(mode, "cluster") == 0) {
        (void)snprintf(ret_why, WHY_MAX,
                       "it is a node of a Redis Cluster, which cannot count all sales in one "
                       "script: take one master, with replicas and Sentinel");
        return PS_E_INVALID;
    }
    if (strcmp(role, "master") != 0) {
        (void)snprintf(ret_why, WHY_MAX, "it is not a master (role:%s)", role);
        return PS_E_READ_ONLY;
    }
    if (atoi(version) < 7) { /* NOLINT(cert-err34-c): what is no number is below 7 */
        (void)snprintf(ret_why, WHY_MAX, "its version is %s; 7.0 or newer is needed", version);
        return PS_E_INVALID;
    }
    if (strcmp(policy, "noeviction") != 0) {
        (void)snprintf(ret_why, WHY_MAX,
                       "its maxmemory-policy is %s, which may delete counters: set noeviction",
                       policy);
        return PS_E_INVALID;
    }
    (void)snprintf(ret_identity, PS_REDIS_IDENTITY_MAX + 1, "%s:%s", run_id, replid);
    return 0;
}

static int send_words(struct ps_redis_link *link, ps_redis_reply_fn *fn, int count,
                      const char *const *words)
{
    size_t len[8];
    for (int i = 0; i < count; i++)
        len[i] = strlen(words[i]);
    return ps_redis_wire_send(link->wire, (struct ps_redis_args){count, words, len}, fn, link);
}

static int send_auth(struct ps_redis_link *link, ps_redis_reply_fn *fn)
{
    const struct ps_redis_url *url = &link->url;
    if (url->user[0] != '\0')
        return send_words(link, fn, 3, (const char *const[]){"AUTH", url->user, url->password});
    return send_words(link, fn, 2, (const char *const[]){"AUTH", url->password});
}

static int send_info(struct ps_redis_link *link, ps_redis_reply_fn *fn)
{
    return send_words(link, fn, 4,
                      (const char *const[]){"INFO", "server", "replication", "memory"});
}

/* For AUTH and SELECT. The first one closes a failed attempt; the others then arrive here with
 * PS_E_UNKNOWN, and the wire is no longer the link's. */
static void on_prepared(int err, const redisReply *reply, void *ctx)
{
    struct ps_redis_link *link = ctx;
    if (err == 0 && link->wire != NULL && reply->type == REDIS_REPLY_ERROR) {
        /* A server that does not know a command repeats its words. */
        bool tells = link->url.password[0] != '\0' && strstr(reply->str, link->url.password);
        err = ps_redis_reply_err(reply);
        fail_link(link, err == PS_E_UNKNOWN ? PS_E_PERMISSION : err,
                  tells ? "AUTH was refused; the reply repeats the password" : reply->str);
    }
}

static void on_greeted(int err, const redisReply *reply, void *ctx)
{
    struct ps_redis_link *link = ctx;
    char why[WHY_MAX];
    if (err < 0 || link->wire == NULL)
        return;
    err = ps_redis_reply_err(reply);
    if (err < 0 && err != PS_E_UNKNOWN) { /* no password was given and one is required; busy */
        fail_link(link, err, reply->str);
        return;
    }
    err = judge_info(reply, link->identity, why);
    if (err < 0) {
        fail_link(link, err, why);
        return;
    }
    link->state = PS_REDIS_READY;
    if (!link->suspect)
        ps_breaker_close(&link->breaker);
    link->greeting = true;
    link->err = 0;
    link->late_ms = 0;
    if (link->settings.check_ms > 0)
        set_check(link);
    else
        uv_timer_stop(&link->timer);
    link->callbacks.on_ready(link->identity, link->callbacks.ctx);
}

static void on_checked(int err, const redisReply *reply, void *ctx)
{
    struct ps_redis_link *link = ctx;
    char identity[PS_REDIS_IDENTITY_MAX + 1], why[WHY_MAX];
    if (err < 0 || link->state != PS_REDIS_READY)
        return;
    link->checking = false;
    if (ps_redis_reply_err(reply) < 0) /* on_reply judges it */
        return;
    err = judge_info(reply, identity, why);
    if (err == 0 && strcmp(identity, link->identity) != 0) {
        (void)snprintf(why, sizeof why, "its identity has changed: it may have lost data");
        err = PS_E_CONFLICT;
    }
    if (err < 0)
        fail_link(link, err, why);
}

static void send_greeting(struct ps_redis_link *link)
{
    char db[12];
    int err = link->url.password[0] != '\0' ? send_auth(link, on_prepared) : 0;
    if (err == 0 && link->url.db > 0) {
        (void)snprintf(db, sizeof db, "%d", link->url.db);
        err = send_words(link, on_prepared, 2, (const char *const[]){"SELECT", db});
    }
    if (err == 0)
        err = send_info(link, on_greeted);
    if (err < 0)
        fail_link(link, err, ps_err_text(err));
}

/* --- Sentinel --- */

static void ask_sentinel(struct ps_redis_link *link);

static void on_master(int err, const redisReply *reply, void *ctx)
{
    struct ps_redis_link *link = ctx;
    if (err < 0 || link->wire == NULL)
        return;
    if (ps_redis_reply_err(reply) == PS_E_PERMISSION && !link->sentinel_auth &&
        link->url.password[0] != '\0') {
        link->sentinel_auth = true;
        err = send_auth(link, NULL);
        if (err == 0)
            ask_sentinel(link);
        else
            next_sentinel(link, err, ps_err_text(err));
        return;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        next_sentinel(link, ps_redis_reply_err(reply), reply->str);
        return;
    }
    int port = 0;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_STRING &&
        reply->element[0]->len <= PS_REDIS_HOST_MAX)
        port = atoi(reply->element[1]->str); /* NOLINT(cert-err34-c): what is no number is 0 */
    if (port < 1 || port > 65535) {
        char why[WHY_MAX];
        (void)snprintf(why, sizeof why, "this Sentinel knows no master called %s",
                       link->url.master);
        next_sentinel(link, PS_E_NOT_FOUND, why);
        return;
    }
    memcpy(link->master.name, reply->element[0]->str, reply->element[0]->len + 1);
    link->master.port = (uint16_t)port;
    ps_redis_wire_close(link->wire);
    link->wire = NULL;
    link->asking = false;
    try_next(link);
}

static void ask_sentinel(struct ps_redis_link *link)
{
    int err =
        send_words(link, on_master, 3,
                   (const char *const[]){"SENTINEL", "get-master-addr-by-name", link->url.master});
    if (err < 0)
        next_sentinel(link, err, ps_err_text(err));
}

/* --- finding and connecting --- */

static void connect_to(struct ps_redis_link *link, const struct sockaddr *address)
{
    const struct ps_redis_wire_callbacks callbacks = {on_reply, on_lost, link};
    int err = ps_redis_wire_new(link->loop, address, link->settings.command_timeout_ms, &callbacks,
                                &link->wire);
    if (err < 0)
        give_up(link, err, "cannot connect");
    else if (link->asking)
        ask_sentinel(link);
    else
        send_greeting(link);
}

static void free_when_closed(struct ps_redis_link *link)
{
    if (link->timer_closed && !link->looking_up)
        free(link);
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct ps_redis_link *link = request->data;
    link->looking_up = false;
    if (link->closed) {
        free_when_closed(link);
    } else if (link->state != PS_REDIS_TRYING || link->wire != NULL) {
        /* too late: that attempt was given up */
    } else if (status < 0) {
        give_up(link, PS_E_NOT_FOUND, uv_strerror(status));
    } else {
        size_t count = 0;
        for (struct addrinfo *at = found; at != NULL; at = at->ai_next)
            count++;
        const struct addrinfo *pick = found;
        for (size_t i = link->attempts++ % count; i > 0; i--)
            pick = pick->ai_next;
        connect_to(link, pick->ai_addr);
    }
    uv_freeaddrinfo(found);
}

static void try_host(struct ps_redis_link *link, const struct ps_redis_host *host)
{
    struct sockaddr_storage address;
    (void)snprintf(link->server, sizeof link->server, "%s:%u", host->name, (unsigned)host->port);
    set_timer(link, link->settings.connect_timeout_ms);
    if (uv_ip4_addr(host->name, host->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(host->name, host->port, (struct sockaddr_in6 *)&address) == 0) {
        connect_to(link, (struct sockaddr *)&address);
        return;
    }
    if (link->looking_up) {
        give_up(link, PS_E_TIMEOUT, "an earlier name look-up is still in progress");
        return;
    }
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)host->port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int err = uv_getaddrinfo(link->loop, &link->look_up, on_looked_up, host->name, port, &hints);
    if (err < 0)
        give_up(link, PS_E_NOT_FOUND, uv_strerror(err));
    else
        link->looking_up = true;
}

static void try_next(struct ps_redis_link *link)
{
    if (link->asking) {
        link->sentinel_auth = false;
        try_host(link, &link->url.hosts[link->sentinel]);
    } else {
        try_host(link, link->url.master[0] != '\0' ? &link->master : &link->url.hosts[0]);
    }
}

static void begin_attempt(struct ps_redis_link *link)
{
    link->state = PS_REDIS_TRYING;
    ps_breaker_probe(&link->breaker);
    link->asking = link->url.master[0] != '\0';
    link->asked = 0;
    try_next(link);
}

static void note_lateness(struct ps_redis_link *link)
{
    int64_t late_ms = (int64_t)(uv_now(link->loop) - link->check_due);
    int64_t fading_ms = link->late_ms * 3 / 4;
    link->late_ms = late_ms > fading_ms ? late_ms : fading_ms;
}

static void on_timer(uv_timer_t *timer)
{
    struct ps_redis_link *link = timer->data;
    switch (link->state) {
    case PS_REDIS_AWAY:
        begin_attempt(link);
        break;
    case PS_REDIS_TRYING:
        give_up(link, PS_E_TIMEOUT, "no connection and greeting in time");
        break;
    case PS_REDIS_READY:
        note_lateness(link);
        set_check(link);
        (void)ps_redis_link_open(link); /* half open when its pause is over: the check is a probe */
        if (!link->checking && send_info(link, on_checked) == 0)
            link->checking = true;
        break;
    }
}

/* --- commands --- */

bool ps_redis_link_open(struct ps_redis_link *link)
{
    return link->state == PS_REDIS_READY &&
           ps_breaker_admits(&link->breaker, ps_redis_wire_pending(link->wire));
}

void ps_redis_link_show(struct ps_redis_link *link, struct ps_breaker_view *ret_view)
{
    ps_breaker_show(&link->breaker, ret_view);
    if (link->breaker.state != PS_BREAKER_CLOSED)
        memcpy(ret_view->why, link->why, sizeof link->why);
    else if (ret_view->state == PS_BREAKER_OPEN)
        (void)snprintf(ret_view->why, sizeof ret_view->why, "an operator forced it open");
}

void ps_redis_link_force(struct ps_redis_link *link, const struct ps_breaker_force *force)
{
    ps_breaker_force(&link->breaker, force);
}

static int admit(struct ps_redis_link *link)
{
    if (!ps_redis_link_open(link))
        return PS_E_CLOSED;
    return ps_redis_wire_pending(link->wire) >= link->settings.pending_max ? PS_E_FULL : 0;
}

int ps_redis_link_eval(struct ps_redis_link *link, const struct ps_redis_script *script,
                       int key_count, struct ps_redis_args args, ps_redis_reply_fn *fn, void *ctx)
{
    int err = admit(link);
    return err < 0 ? err : ps_redis_wire_eval(link->wire, script, key_count, args, fn, ctx);
}

int ps_redis_link_send(struct ps_redis_link *link, struct ps_redis_args args, ps_redis_reply_fn *fn,
                       void *ctx)
{
    int err = admit(link);
    return err < 0 ? err : ps_redis_wire_send(link->wire, args, fn, ctx);
}

void ps_redis_link_flush(struct ps_redis_link *link)
{
    if (link->wire != NULL)
        ps_redis_wire_flush(link->wire);
}

/* --- life --- */

int ps_redis_link_new(uv_loop_t *loop, const struct ps_redis_url *url,
                      const struct ps_redis_settings *settings,
                      const struct ps_redis_callbacks *callbacks, struct ps_redis_link **ret_link)
{
    if (sodium_init() < 0) /* of the jitter */
        return PS_E_IO;
    struct ps_redis_link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return PS_E_NOMEM;
    link->loop = loop;
    link->url = *url;
    link->settings = *settings;
    link->callbacks = *callbacks;
    const struct ps_breaker_settings circuit = {.window_ms = WINDOW_MS,
                                                .calls_min = CALLS_MIN,
                                                .failure_percent = BAD_PERCENT,
                                                .slow_percent = BAD_PERCENT,
                                                .slow_ms = settings->slow_ms,
                                                .failures_in_row = FAILURES_IN_ROW,
                                                .probes = 1,
                                                .pause_min_ms = settings->backoff_min_ms,
                                                .pause_max_ms = settings->backoff_max_ms};
    ps_breaker_init(&link->breaker, &circuit, &ps_clock_system);
    (void)uv_timer_init(loop, &link->timer);
    link->timer.data = link->look_up.data = link;
    set_timer(link, 0); /* not at once: no callback comes before this returns */
    *ret_link = link;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct ps_redis_link *link = handle->data;
    link->timer_closed = true;
    free_when_closed(link);
}

void ps_redis_link_close(struct ps_redis_link *link)
{
    if (link == NULL)
        return;
    struct ps_redis_wire *wire = link->wire;
    link->closed = true;
    link->state = PS_REDIS_AWAY;
    link->wire = NULL;
    ps_redis_wire_close(wire);
    if (link->looking_up)
        (void)uv_cancel((uv_req_t *)&link->look_up); /* else it ends by itself */
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}

enum ps_redis_state ps_redis_link_state(const struct ps_redis_link *link)
{
    return link->state;
}

const char *ps_redis_link_identity(const struct ps_redis_link *link)
{
    return link->identity;
}

const char *ps_redis_link_server(const struct ps_redis_link *link)
{
    return link->server;
}
