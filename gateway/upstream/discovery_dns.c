/* Endpoints from DNS, by c-ares: A and AAAA of a name (RFC 1035, RFC 3596), or SRV (RFC 2782).
 *
 * Each lookup has a c-ares channel of its own, so the next lookup uses a changed /etc/resolv.conf,
 * and a failed lookup leaves nothing behind. c-ares opens the sockets and says which of them it
 * waits for; libuv watches them. When an answer is truncated, c-ares repeats the query by TCP.
 *
 * A lookup succeeds or fails as a whole: a server that does not answer for AAAA, or for one target
 * of many, must not look like endpoints that have gone. "This name, or this kind of address, does
 * not exist" is an answer.
 *
 * Of the SRV records, those of the lowest priority that has addresses are used. Weights are at most
 * 1000 here, so larger ones are scaled down together. RFC 2782 gives a weight of 0 a small chance:
 * here it is 1. */
#include "gateway/upstream/discovery_internal.h"

#include <ares.h>
#include <ares_dns.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRY_MS      1000 /* for each server; twice that in the second round */
#define TRIES       2
#define LOOK_MS     6000 /* for the whole lookup */
#define TICK_MS     100  /* how often c-ares checks its timeouts */
#define TTL_MIN_S   1
#define TTL_MAX_S   3600
#define BACKOFF_MS  1000 /* after the first failure; doubled up to … */
#define BACKOFF_MAX 30000
#define ANSWERS_MAX 512

struct dns_socket {
    uv_poll_t poll;
    struct dns *dns;
    ares_socket_t fd;
    LIST_ENTRY(dns_socket) next;
};

/* What the addresses of a query belong to. */
struct target {
    uint16_t port, priority, weight;
};

struct dns {
    struct up_source *source; /* NULL: stopped */
    bool by_srv;
    ares_channel channel; /* NULL: no lookup is under way */
    uv_timer_t timer;     /* the next lookup, or the timeout of this one */
    uv_timer_t tick;
    LIST_HEAD(, dns_socket) sockets;
    unsigned open; /* handles */
    int64_t backoff_ms;
    /* The lookup under way. */
    size_t pending; /* queries */
    int64_t ttl_s;
    char why[UP_DISCOVERY_WHY]; /* of the first failure; "": none */
    struct up_found found;
    uint16_t *priority; /* of each endpoint in `found`: heap, same length */
};

struct query {
    struct dns *dns;
    struct target target;
    int type;
    char name[256];
};

int up_dns_init(void)
{
    return ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS && sodium_init() >= 0 ? 0 : PS_E_IO;
}

void up_dns_done(void)
{
    ares_library_cleanup();
}

static void release(struct dns *dns)
{
    if (--dns->open > 0)
        return;
    up_found_free(&dns->found);
    free(dns->priority);
    free(dns);
}

/* --- Sockets. --- */

static void on_socket_closed(uv_handle_t *handle)
{
    struct dns_socket *socket = handle->data;
    struct dns *dns = socket->dns;

    free(socket);
    release(dns);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct dns_socket *socket = poll->data;
    ares_socket_t fd = socket->fd;

    /* both on an error: c-ares finds out which */
    ares_process_fd(socket->dns->channel,
                    status < 0 || (events & UV_READABLE) != 0 ? fd : ARES_SOCKET_BAD,
                    status < 0 || (events & UV_WRITABLE) != 0 ? fd : ARES_SOCKET_BAD);
}

static struct dns_socket *find_socket(const struct dns *dns, ares_socket_t fd)
{
    struct dns_socket *socket = LIST_FIRST(&dns->sockets);

    while (socket != NULL && socket->fd != fd)
        socket = LIST_NEXT(socket, next);
    return socket;
}

static struct dns_socket *new_socket(struct dns *dns, ares_socket_t fd)
{
    struct dns_socket *socket = calloc(1, sizeof *socket);

    if (socket == NULL || uv_poll_init(dns->timer.loop, &socket->poll, fd) != 0) {
        free(socket);
        return NULL;
    }
    socket->poll.data = socket;
    socket->dns = dns;
    socket->fd = fd;
    dns->open++;
    LIST_INSERT_HEAD(&dns->sockets, socket, next);
    return socket;
}

/* c-ares says what it waits for on this socket; nothing: it closes the socket. A socket that cannot
 * be watched ends in a timeout. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns *dns = data;
    struct dns_socket *socket = find_socket(dns, fd);

    if (readable == 0 && writable == 0) {
        if (socket == NULL)
            return;
        LIST_REMOVE(socket, next);
        uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
        return;
    }
    if (socket == NULL)
        socket = new_socket(dns, fd);
    if (socket != NULL)
        uv_poll_start(&socket->poll,
                      (readable != 0 ? UV_READABLE : 0) | (writable != 0 ? UV_WRITABLE : 0),
                      on_ready);
}

/* --- Answers. --- */

static void end_look(uv_timer_t *timer);

PS_PRINTF(2, 3) static void fail(struct dns *dns, const char *fmt, ...)
{
    va_list args;

    if (dns->why[0] != '\0')
        return;
    va_start(args, fmt);
    (void)vsnprintf(dns->why, sizeof dns->why, fmt, args);
    va_end(args);
}

static void note_ttl(struct dns *dns, int64_t ttl_s)
{
    if (ttl_s < dns->ttl_s)
        dns->ttl_s = ttl_s;
}

static void add_address(struct dns *dns, const struct ps_address *ip, const struct target *target)
{
    struct cfg_endpoint endpoint;
    uint16_t *priority;

    cfg_endpoint_make(ip, target->port, &endpoint);
    endpoint.weight = target->weight;
    priority = realloc(dns->priority, (dns->found.count + 1) * sizeof *priority);
    if (priority != NULL)
        dns->priority = priority;
    if (priority == NULL || up_found_add(&dns->found, &endpoint) < 0)
        fail(dns, "out of memory");
    else
        priority[dns->found.count - 1] = target->priority;
}

static void read_v4(struct dns *dns, const struct target *target, const unsigned char *answer,
                    int len)
{
    struct ares_addrttl at[ANSWERS_MAX];
    int count = ANSWERS_MAX;
    struct ps_address ip = {.byte = {[10] = 0xff, [11] = 0xff}};

    if (ares_parse_a_reply(answer, len, NULL, at, &count) != ARES_SUCCESS)
        count = 0;
    for (int i = 0; i < count; i++) {
        memcpy(ip.byte + PS_V4_BITS / 8, &at[i].ipaddr, 4);
        note_ttl(dns, at[i].ttl);
        add_address(dns, &ip, target);
    }
}

static void read_v6(struct dns *dns, const struct target *target, const unsigned char *answer,
                    int len)
{
    struct ares_addr6ttl at[ANSWERS_MAX];
    int count = ANSWERS_MAX;
    struct ps_address ip;

    if (ares_parse_aaaa_reply(answer, len, NULL, at, &count) != ARES_SUCCESS)
        count = 0;
    for (int i = 0; i < count; i++) {
        memcpy(ip.byte, &at[i].ip6addr, sizeof ip.byte);
        note_ttl(dns, at[i].ttl);
        add_address(dns, &ip, target);
    }
}

static void ask(struct dns *dns, const char *name, int type, const struct target *target);

/* Keeps the lowest TTL of the answer's records. c-ares does not return it for SRV, so this parses
 * the records behind the questions (RFC 1035, section 4.1). */
static void note_answer_ttl(struct dns *dns, const unsigned char *answer, int len)
{
    const unsigned char *at = answer + HFIXEDSZ, *end = answer + len;
    unsigned questions = DNS_HEADER_QDCOUNT(answer), records = DNS_HEADER_ANCOUNT(answer);

    for (unsigned i = 0; i < questions + records; i++) {
        char *name;
        long name_len;
        int fixed = i < questions ? QFIXEDSZ : RRFIXEDSZ;
        if (ares_expand_name(at, answer, len, &name, &name_len) != ARES_SUCCESS)
            return;
        ares_free_string(name);
        if (end - at < name_len + fixed)
            return;
        at += name_len;
        int data_len = i < questions ? 0 : DNS_RR_LEN(at);
        if (i >= questions)
            note_ttl(dns, (int64_t)DNS_RR_TTL(at));
        if (end - at < fixed + data_len)
            return;
        at += fixed + data_len;
    }
}

static void read_srv(struct dns *dns, const unsigned char *answer, int len)
{
    struct ares_srv_reply *list = NULL;
    unsigned most = CFG_WEIGHT_MAX;
    size_t count = 0;

    if (ares_parse_srv_reply(answer, len, &list) != ARES_SUCCESS) {
        fail(dns, "the answer about SRV is malformed");
        return;
    }
    note_answer_ttl(dns, answer, len);
    for (const struct ares_srv_reply *at = list; at != NULL; at = at->next)
        if (at->weight > most)
            most = at->weight;
    for (const struct ares_srv_reply *at = list; at != NULL; at = at->next) {
        unsigned weight = at->weight * (unsigned)CFG_WEIGHT_MAX / most;
        struct target target = {at->port, at->priority, weight > 0 ? (uint16_t)weight : 1};
        if (at->host[0] == '\0' || at->port == 0) /* "." says that there is no such service */
            continue;
        if (++count > CFG_ENDPOINTS_MAX) {
            fail(dns, "there are more than %d SRV records", CFG_ENDPOINTS_MAX);
            break;
        }
        ask(dns, at->host, ns_t_a, &target);
        ask(dns, at->host, ns_t_aaaa, &target);
    }
    ares_free_data(list);
}

static const char *type_name(int type)
{
    return type == ns_t_a ? "A" : type == ns_t_aaaa ? "AAAA" : "SRV";
}

/* When one server fails or refuses, c-ares asks the next; after the last it only says that none
 * could be contacted. */
static const char *words_of(int status)
{
    return status == ARES_ECONNREFUSED ? "no DNS server is reached, or each fails or refuses"
           : status == ARES_ETIMEOUT   ? "no DNS server answers in time"
                                       : ares_strerror(status);
}

static void on_answer(void *arg, int status, int timeouts, unsigned char *answer, int len)
{
    struct query *query = arg;
    struct dns *dns = query->dns;

    (void)timeouts;
    if (status == ARES_EDESTRUCTION) {
        free(query);
        return;
    }
    if (status == ARES_SUCCESS && query->type == ns_t_srv)
        read_srv(dns, answer, len);
    else if (status == ARES_SUCCESS && query->type == ns_t_a)
        read_v4(dns, &query->target, answer, len);
    else if (status == ARES_SUCCESS)
        read_v6(dns, &query->target, answer, len);
    else if (status != ARES_ENODATA && status != ARES_ENOTFOUND)
        fail(dns, "%s of %s: %s", type_name(query->type), query->name, words_of(status));
    if (--dns->pending == 0) /* a callback may not end the channel */
        uv_timer_start(&dns->timer, end_look, 0, 0);
    free(query);
}

/* Out of memory: the lookup fails. */
static void ask(struct dns *dns, const char *name, int type, const struct target *target)
{
    struct query *query = malloc(sizeof *query);

    if (query == NULL) {
        fail(dns, "out of memory");
        return;
    }
    query->dns = dns;
    query->target = *target;
    query->type = type;
    (void)snprintf(query->name, sizeof query->name, "%s", name);
    dns->pending++;
    ares_query(dns->channel, name, ns_c_in, type, on_answer, query);
}

/* --- Looks. --- */

static int set_servers(const struct dns *dns)
{
    const struct up_discovery_settings *settings = up_source_settings(dns->source);
    char text[1024] = "";
    size_t len = 0;

    if (settings->dns_server_count == 0)
        return ARES_SUCCESS;
    for (size_t i = 0; i < settings->dns_server_count && len < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i > 0 ? "," : "",
                                settings->dns_servers[i]);
    return len < sizeof text ? ares_set_servers_ports_csv(dns->channel, text) : ARES_EBADSTR;
}

static void on_tick(uv_timer_t *timer)
{
    const struct dns *dns = timer->data;

    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void begin_look(uv_timer_t *timer)
{
    struct dns *dns = timer->data;
    const struct cfg_pool *doc = dns->source->doc;
    struct ares_options options = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
                                   .timeout = TRY_MS,
                                   .tries = TRIES,
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = dns};
    const struct target own = {doc->discovery.port, 0, 1};

    dns->ttl_s = TTL_MAX_S;
    dns->why[0] = '\0';
    dns->pending = 0;
    dns->found.count = 0;
    uv_timer_start(&dns->timer, end_look, LOOK_MS, 0);
    int status = ares_init_options(&dns->channel, &options,
                                   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                       ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS)
        dns->channel = NULL;
    else
        status = set_servers(dns);
    if (status != ARES_SUCCESS) {
        fail(dns, "%s", ares_strerror(status));
        uv_timer_start(&dns->timer, end_look, 0, 0);
        return;
    }
    uv_timer_start(&dns->tick, on_tick, TICK_MS, TICK_MS);
    if (dns->by_srv) {
        ask(dns, doc->discovery.from, ns_t_srv, &own);
    } else {
        ask(dns, doc->discovery.from, ns_t_a, &own);
        ask(dns, doc->discovery.from, ns_t_aaaa, &own);
    }
    if (dns->pending == 0)
        uv_timer_start(&dns->timer, end_look, 0, 0);
}

static void end_channel(struct dns *dns)
{
    uv_timer_stop(&dns->tick);
    if (dns->channel != NULL)
        ares_destroy(dns->channel);
    dns->channel = NULL;
}

/* Keeps the endpoints of the lowest priority that has any. */
static void keep_lowest(struct dns *dns)
{
    struct up_found *found = &dns->found;
    uint16_t lowest = UINT16_MAX;
    size_t kept = 0;

    for (size_t i = 0; i < found->count; i++)
        if (dns->priority[i] < lowest)
            lowest = dns->priority[i];
    for (size_t i = 0; i < found->count; i++)
        if (dns->priority[i] == lowest)
            found->at[kept++] = found->at[i];
    found->count = kept;
}

static void end_look(uv_timer_t *timer)
{
    struct dns *dns = timer->data;
    const char *name = dns->source->doc->discovery.from;
    int64_t next_ms;

    if (dns->pending > 0)
        fail(dns, "no answer within %d s", LOOK_MS / 1000);
    end_channel(dns);
    if (dns->why[0] == '\0' && dns->found.count == 0)
        fail(dns, "%s has no %s", name, dns->by_srv ? "SRV record with an address" : "address");
    if (dns->why[0] != '\0') {
        dns->backoff_ms = dns->backoff_ms == 0 ? BACKOFF_MS : 2 * dns->backoff_ms;
        if (dns->backoff_ms > BACKOFF_MAX)
            dns->backoff_ms = BACKOFF_MAX;
        next_ms = dns->backoff_ms - randombytes_uniform((uint32_t)(dns->backoff_ms / 2));
    } else {
        dns->backoff_ms = 0;
        next_ms = (dns->ttl_s < TTL_MIN_S ? TTL_MIN_S : dns->ttl_s) * 1000;
        keep_lowest(dns);
    }
    uv_timer_start(&dns->timer, begin_look, (uint64_t)next_ms, 0);
    if (dns->why[0] != '\0') {
        up_source_fail(dns->source, next_ms, "%s", dns->why);
    } else {
        struct up_found found = dns->found;
        dns->found = (struct up_found){0};
        up_source_report(dns->source, &found, next_ms);
    }
}

/* --- Life. --- */

static void on_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void stop(void *state)
{
    struct dns *dns = state;

    end_channel(dns);
    dns->source = NULL;
    uv_close((uv_handle_t *)&dns->timer, on_closed);
    uv_close((uv_handle_t *)&dns->tick, on_closed);
}

static int start(struct up_source *source, void **ret_state)
{
    uv_loop_t *loop = up_source_settings(source)->loop;
    struct dns *dns = calloc(1, sizeof *dns);

    if (dns == NULL)
        return PS_E_NOMEM;
    dns->source = source;
    dns->by_srv = source->doc->discovery.by == CFG_DISCOVERY_SRV;
    dns->open = 2;
    LIST_INIT(&dns->sockets);
    uv_timer_init(loop, &dns->timer);
    uv_timer_init(loop, &dns->tick);
    dns->timer.data = dns->tick.data = dns;
    uv_timer_start(&dns->timer, begin_look, 0, 0);
    *ret_state = dns;
    return 0;
}

const struct up_source_kind up_source_dns = {.name = "dns", .start = start, .stop = stop};
const struct up_source_kind up_source_srv = {.name = "srv", .start = start, .stop = stop};
