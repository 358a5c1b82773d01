/* See page.h: the gateway's clients. Each knows what it has asked for on its connection, in order,
 * and reads the answers by their frames: one for each request, in order, and each one a page that
 * the shop has made for such a request. */
#include "tests/fuzz/pages/page.h"
#include "tests/fuzz/pages/world.h"

#include <stdio.h>

#define OUT_MAX  ((size_t)256 * 1024)
#define HEAD_MAX ((size_t)16 * 1024)
#define ASKS     256
#define SERIALS  4096
#define BIG_BODY 100000

enum phase { HEAD, BODY, ENDED /* the answer said that it is the last */ };

/* Requests of the same bytes, one after the other. */
struct ask {
    struct page wants; /* what a page for it says */
    bool to_head, expects, only_if_cached, any_scheme;
    unsigned left; /* that are not answered yet */
    uint64_t at;   /* the next one's first byte, in all that the client has to say */
    size_t len;    /* of one */
};

struct client {
    bool connected, trusted, reads, wild, half;
    int fd;
    size_t may_read; /* though it does not read */
    /* What it has to say: bytes, of which `allowed` may go; and how many have gone. */
    char out[OUT_MAX];
    size_t out_len, allowed;
    uint64_t gone;
    struct ask asks[ASKS];
    size_t first_ask, ask_count;
    /* The answer that is being read. */
    enum phase phase;
    char head[HEAD_MAX];
    size_t head_len;
    struct ps_http_head parse;
    struct ps_http_chunks chunks;
    bool is_page;
    uint64_t hash, body_at, body_left, page_len;
    char etag[32]; /* of the last page */
};

static const struct ps_http_limits limits = {
    .target_max = 8192, .head_max = HEAD_MAX, .fields_max = PS_HTTP_FIELDS_MAX};
static const char *const paths[] = {"/c/1",
                                    "/c/big",
                                    "/c/lang",
                                    "/p/1",
                                    "/p/big",
                                    "/p/lang",
                                    "/up/1",
                                    "/fix",
                                    "/late/1",
                                    "/late/lang",
                                    "/set/lang",
                                    "/none/1",
                                    "/",
                                    "/c/some/1",
                                    "/livez",
                                    "/v1/sales/x",
                                    "/v1/sales/x/orders",
                                    "/p/%2e%2e/c/1",
                                    "/%63/1",
                                    "/c/%6cang",
                                    "/%70/l%61ng"};
static const char *const queries[] = {"", "a=1", "a=1&b=2", "b=2&a=1"};
static const char *const methods[] = {"GET", "GET",    "HEAD",    "POST",
                                      "PUT", "DELETE", "OPTIONS", "GET"};
static const struct {
    const char *target, *host; /* `target` in front of the path */
    const char *authority;
} hosts[] = {{"", "shop.example", "shop.example"},
             {"", "evil.example", "evil.example"},
             {"", "shop.example:1337", "shop.example:1337"},
             {"", "SHOP.example", "shop.example"},
             {"http://evil.example", "shop.example", "evil.example"},
             {"", "m.shop.example", "m.shop.example"},
             {"", "shop.example.", "shop.example"},
             {"", "shop.example:80", "shop.example"},
             {"http://shop.example:1337", "evil.example", "shop.example:1337"}};
static const char *const schemes[] = {NULL, "http", "https", "https"};
static const char *const languages[] = {NULL, "de", "en", "DE"};
static const char *const listed[] = {NULL, "Accept-Language", "close",
                                     "X-Forwarded-Proto, Accept-Language"};
static const char *const controls[] = {NULL, "no-cache", "only-if-cached", "no-store"};

static struct client clients[CLIENTS];
static uint8_t given[SERIALS]; /* how often an answer of the shop was seen */
static bool expects_trouble;

void client_open(void)
{
    for (size_t i = 0; i < CLIENTS; i++)
        clients[i].connected = false;
    memset(given, 0, sizeof given);
    expects_trouble = false;
}

void client_expect_trouble(void)
{
    expects_trouble = true;
}

size_t clients_connected(void)
{
    size_t count = 0;

    for (size_t i = 0; i < CLIENTS; i++)
        count += clients[i].connected;
    return count;
}

static bool has_reason_for_trouble(void)
{
    return expects_trouble || shop_made_trouble() || memory_has_failed();
}

static struct client *of(unsigned number)
{
    return &clients[number % CLIENTS];
}

bool client_connect(unsigned number, unsigned from)
{
    static const char *const addresses[] = {"192.0.2.1", "10.0.0.1", "2001:db8::1", "10.0.0.2"};
    const char *text = addresses[from % PS_ARRAY_LEN(addresses)];
    struct client *client = of(number);
    struct ps_address address;

    if (client->connected)
        return false;
    MUST(ps_address_parse(text, strlen(text), false, &address) == 0);
    client->fd = net_client(&address);
    if (client->fd < 0)
        return true;
    client->connected = client->reads = true;
    client->trusted = text[0] == '1' && text[1] == '0';
    client->wild = client->half = false;
    client->out_len = client->allowed = client->may_read = 0;
    client->gone = 0;
    client->first_ask = client->ask_count = 0;
    client->phase = HEAD;
    client->head_len = 0;
    return true;
}

/* --- Requests --- */

static struct ask *first_ask(struct client *client)
{
    return client->ask_count > 0 ? &client->asks[client->first_ask % ASKS] : NULL;
}

static struct ps_str or_dash(const char *text)
{
    return text != NULL ? ps_str(text) : PS_STR("-");
}

static void put_line(struct ps_buf *buf, const char *name, const char *value)
{
    if (value != NULL)
        ps_buf_printf(buf, "%s: %s\r\n", name, value);
}

/* What a page for this request says, if it depends on such things. */
static void expect(const struct client *client, const struct client_ask *as, const char *user,
                   const char *authorization, struct ask *ask)
{
    const char *lists = listed[as->connection % PS_ARRAY_LEN(listed)];
    const char *scheme = schemes[as->scheme % PS_ARRAY_LEN(schemes)];
    const char *language = languages[as->language % PS_ARRAY_LEN(languages)];
    const char *path = paths[as->path % PS_ARRAY_LEN(paths)];
    struct page *wants = &ask->wants;

    if (lists != NULL && strstr(lists, "Accept-Language") != NULL)
        language = NULL;
    ask->any_scheme = lists != NULL && strstr(lists, "X-Forwarded-Proto") != NULL;
    page_set(wants, PAGE_METHOD, ps_str(methods[as->method % PS_ARRAY_LEN(methods)]));
    page_set_authority(wants, ps_str(hosts[as->host % PS_ARRAY_LEN(hosts)].authority));
    page_set_path(wants, ps_str(path));
    page_set_query(wants, ps_str(queries[as->query % PS_ARRAY_LEN(queries)]));
    page_set(wants, PAGE_SCHEME,
             client->trusted && scheme != NULL ? ps_str(scheme) : PS_STR("http"));
    page_set_lower(wants, PAGE_LANGUAGE, language != NULL ? ps_str(language) : PS_STR("none"));
    page_set(wants, PAGE_USER, client->trusted ? or_dash(user) : PS_STR("-"));
    page_set(wants, PAGE_AUTHORIZATION, or_dash(authorization));
    page_set(wants, PAGE_OVERRIDE, or_dash(as->override ? "DELETE" : NULL));
    ask->to_head = page_is(wants, PAGE_METHOD, "HEAD");
    ask->expects = as->expects;
    ask->only_if_cached = as->control % PS_ARRAY_LEN(controls) == 2;
}

static void put_body(struct ps_buf *buf, unsigned kind)
{
    static const size_t lengths[] = {0, 10, 3000, 6000, BIG_BODY};
    static char bytes[BIG_BODY];

    if (kind == 0)
        ps_buf_puts(buf, "\r\n");
    else if (kind < PS_ARRAY_LEN(lengths)) {
        memset(bytes, 'b', lengths[kind]);
        ps_buf_printf(buf, "Content-Length: %zu\r\n\r\n", lengths[kind]);
        ps_buf_put(buf, bytes, lengths[kind]);
    } else {
        ps_buf_puts(buf, "Transfer-Encoding: chunked\r\n\r\n");
        if (kind == 5)
            ps_buf_puts(buf, "5;x=1\r\nchunk\r\n3\r\nbod\r\n");
        for (size_t i = 0; kind == 6 && i < 40; i++)
            ps_buf_puts(buf, "1\r\nx\r\n");
        ps_buf_puts(buf, "0\r\n\r\n");
    }
}

static void put_request(const struct client *client, const struct client_ask *as, const char *user,
                        const char *authorization, struct ps_buf *buf)
{
    const char *query = queries[as->query % PS_ARRAY_LEN(queries)];
    size_t host = as->host % PS_ARRAY_LEN(hosts);

    ps_buf_printf(buf, "%s %s%s%s%s HTTP/1.%c\r\nHost: %s\r\n",
                  methods[as->method % PS_ARRAY_LEN(methods)], hosts[host].target,
                  paths[as->path % PS_ARRAY_LEN(paths)], *query != '\0' ? "?" : "", query,
                  as->old ? '0' : '1', hosts[host].host);
    put_line(buf, "X-Forwarded-Proto", schemes[as->scheme % PS_ARRAY_LEN(schemes)]);
    put_line(buf, "Accept-Language", languages[as->language % PS_ARRAY_LEN(languages)]);
    put_line(buf, "Connection", listed[as->connection % PS_ARRAY_LEN(listed)]);
    put_line(buf, "Cache-Control", controls[as->control % PS_ARRAY_LEN(controls)]);
    put_line(buf, "X-User-Id", client->trusted || user == NULL ? user : "stranger");
    put_line(buf, "Authorization", authorization);
    put_line(buf, "X-HTTP-Method-Override", as->override ? "DELETE" : NULL);
    put_line(buf, "Expect", as->expects ? "100-continue" : NULL);
    if (as->condition % 4 == 1 && client->etag[0] != '\0')
        put_line(buf, "If-None-Match", client->etag);
    else if (as->condition % 4 == 2)
        put_line(buf, "If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT");
    else if (as->condition % 4 == 3)
        put_line(buf, "Range", "bytes=5-60");
    put_body(buf, as->body % 8);
}

static void add_ask(struct client *client, const struct ask *ask, const char *bytes)
{
    size_t all = ask->len * ask->left;
    struct ask *place;

    if (client->ask_count == ASKS || client->half || all > OUT_MAX - client->out_len)
        return;
    place = &client->asks[(client->first_ask + client->ask_count++) % ASKS];
    *place = *ask;
    place->at = client->gone + client->out_len;
    for (unsigned i = 0; i < ask->left; i++)
        memcpy(client->out + client->out_len + i * ask->len, bytes, ask->len);
    client->out_len += all;
}

static void ask_times(unsigned number, const struct client_ask *as, unsigned times)
{
    static char text[BIG_BODY + 2048];
    struct client *client = of(number);
    const char *user = !as->user ? NULL : number % 2 == 0 ? "ann" : "bob";
    char authorization[16];
    struct ask ask = {.left = times};
    struct ps_buf buf;

    (void)snprintf(authorization, sizeof authorization, "Basic c%u", number % CLIENTS);
    const char *said = as->authorization ? authorization : NULL;
    ps_buf_init(&buf, text, sizeof text);
    put_request(client, as, user, said, &buf);
    MUST(!buf.overflow);
    expect(client, as, user, said, &ask);
    ask.len = buf.len;
    add_ask(client, &ask, text);
}

void client_ask(unsigned number, const struct client_ask *as, size_t hold)
{
    struct client *client = of(number);

    (void)client_connect(number, number);
    if (!client->connected)
        return;
    ask_times(number, as, 1);
    client->allowed = client->out_len > hold ? client->out_len - hold : 0;
}

void client_ask_often(unsigned number, unsigned path, unsigned times)
{
    struct client *client = of(number);

    (void)client_connect(number, number);
    if (!client->connected)
        return;
    ask_times(number, &(struct client_ask){.path = path}, times + 1);
    client->allowed = client->out_len;
}

static void send_some(struct client *client, size_t most)
{
    size_t len = client->allowed < most ? client->allowed : most;

    if (!client->connected || client->half || len == 0)
        return;
    len = net_push(client->fd, client->out, len);
    memmove(client->out, client->out + len, client->out_len - len);
    client->out_len -= len;
    client->allowed -= len;
    client->gone += len;
}

void client_go_on(unsigned number, size_t bytes, bool singly)
{
    struct client *client = of(number);

    if (!client->connected)
        return;
    if (bytes > client->out_len - client->allowed)
        bytes = client->out_len - client->allowed;
    for (size_t i = 0; singly && i < bytes && i < 32 && client->connected; i++) {
        client->allowed++;
        send_some(client, OUT_MAX);
        world_run();
    }
    client->allowed =
        client->allowed + bytes < client->out_len ? client->allowed + bytes : client->out_len;
}

void client_say(unsigned number, const char *data, size_t len)
{
    struct client *client = of(number);

    (void)client_connect(number, number);
    if (!client->connected || len > OUT_MAX - client->out_len)
        return;
    client->wild = true;
    memcpy(client->out + client->out_len, data, len);
    client->out_len += len;
    client->allowed = client->out_len;
}

void client_read(unsigned number, bool reads, size_t bytes)
{
    of(number)->reads = reads;
    of(number)->may_read = bytes;
}

void client_limit(unsigned number, size_t bytes)
{
    if (of(number)->connected)
        net_limit(of(number)->fd, bytes < NET_OUT_MAX ? bytes : NET_OUT_MAX);
}

/* --- Answers --- */

static struct ps_str field(const struct client *client, const char *name)
{
    return ps_http_find(&client->parse, client->head, ps_str(name));
}

/* A page may leave open what it does not depend on; else it says what was asked for. */
static bool agrees(const struct page *page, const struct page *wants, enum page_part part)
{
    return page_is(page, part, "-") || page_is(page, part, wants->parts[part]);
}

static void check_page(const struct client *client, const struct ask *ask, const struct page *page)
{
    const struct page *wants = &ask->wants;
    struct ps_str serial = field(client, "X-Serial");
    unsigned number = 0;

    MUST(page_is(page, PAGE_METHOD, wants->parts[PAGE_METHOD]) ||
         (ask->to_head && page_is(page, PAGE_METHOD, "GET")));
    MUST(page_is(page, PAGE_AUTHORITY, wants->parts[PAGE_AUTHORITY]));
    MUST(page_is(page, PAGE_PATH, wants->parts[PAGE_PATH]));
    MUST(page_is(page, PAGE_QUERY, wants->parts[PAGE_QUERY]) ||
         (page_is(page, PAGE_QUERY, "") && strncmp(page->parts[PAGE_PATH], "/none/", 6) == 0));
    MUST(page_is(page, PAGE_SCHEME, wants->parts[PAGE_SCHEME]) || ask->any_scheme);
    MUST(agrees(page, wants, PAGE_LANGUAGE) ||
         (page_is(page, PAGE_LANGUAGE, "set") && strncmp(page->parts[PAGE_PATH], "/set/", 5) == 0));
    MUST(agrees(page, wants, PAGE_USER));
    MUST(agrees(page, wants, PAGE_AUTHORIZATION));
    MUST(agrees(page, wants, PAGE_OVERRIDE));
    for (size_t i = 0; i < serial.len; i++)
        number = number * 10 + (unsigned)(serial.at[i] - '0');
    given[number % SERIALS]++;
    MUST(given[number % SERIALS] == 1 || shop_is_storable(number)); /* one's answer, another's */
    given[number % SERIALS] = 1;
}

static void check_status(const struct client *client, const struct ask *ask)
{
    unsigned status = client->parse.status;

    if (client->is_page || status < 500)
        return;
    MUST(status != 500 || memory_has_failed());
    MUST(has_reason_for_trouble() || (status == 504 && ask->only_if_cached) || status == 505);
}

static void read_range(struct client *client)
{
    struct ps_str range = field(client, "Content-Range");

    if (client->parse.status != 206)
        return;
    MUST(range.at != NULL && range.len > 7);
    client->body_at = strtoull(range.at + 6, NULL, 10);
}

/* The final head of an answer is there. */
static void begin_answer(struct client *client, const struct ask *ask)
{
    struct ps_str saw = field(client, "X-Saw"), etag = field(client, "ETag");
    struct page page;

    client->is_page = saw.at != NULL;
    client->body_at = 0;
    client->body_left = client->parse.body_len;
    if (client->is_page) {
        MUST(page_read(saw, &page));
        check_page(client, ask, &page);
        client->hash = page_hash(&page);
        client->page_len = strtoull(page.parts[PAGE_LENGTH], NULL, 10);
        if (etag.at != NULL && etag.len < sizeof client->etag)
            (void)snprintf(client->etag, sizeof client->etag, "%.*s", (int)etag.len, etag.at);
        read_range(client);
    }
    check_status(client, ask);
    ps_http_chunks_init(&client->chunks);
    client->phase = BODY;
}

static void end_answer(struct client *client)
{
    struct ask *ask = first_ask(client);
    bool has_body = client->parse.framing != PS_HTTP_NO_BODY;

    MUST(!client->is_page || !has_body || client->parse.status == 206 ||
         client->body_at == client->page_len);
    ask->at += ask->len;
    client->phase = client->parse.keep_alive ? HEAD : ENDED;
    /* Who breaks a rule in a head is answered before anybody knows that it is HEAD. */
    client->wild |= ask->to_head && !client->is_page && client->phase == ENDED;
    if (--ask->left == 0) {
        client->first_ask++;
        client->ask_count--;
    }
    client->head_len = 0;
}

static size_t take_head(struct client *client, const char *data, size_t len)
{
    const struct ask *ask = first_ask(client);
    size_t had = client->head_len;

    /* Nothing comes that was not asked for. */
    MUST(ask != NULL && ask->at < client->gone && had + len <= HEAD_MAX);
    if (had == 0)
        ps_http_response_init(&client->parse, &limits, ask->to_head);
    memcpy(client->head + had, data, len);
    enum ps_http_step step = ps_http_head_parse(&client->parse, client->head, had + len);
    MUST(step != PS_HTTP_BAD);
    client->head_len += len;
    if (step == PS_HTTP_MORE)
        return len;
    size_t used = client->parse.len - had;
    if (client->parse.status < 200) {
        /* One that has closed its half is asked whether it still reads. */
        MUST(client->parse.status == 103 ||
             (client->parse.status == 100 && (ask->expects || client->half)));
        client->head_len = 0;
        return used;
    }
    client->head_len = client->parse.len;
    begin_answer(client, ask);
    if (client->parse.framing == PS_HTTP_NO_BODY ||
        (client->parse.framing == PS_HTTP_BY_LENGTH && client->body_left == 0))
        end_answer(client);
    return used;
}

static void check_bytes(struct client *client, struct ps_str part)
{
    if (client->is_page && part.len > 0) {
        MUST(client->body_at + part.len <= client->page_len);
        MUST(memcmp(part.at, page_body(client->hash) + client->body_at, part.len) == 0);
    }
    client->body_at += part.len;
}

static size_t take_body(struct client *client, const char *data, size_t len)
{
    struct ps_str part = {data, len};
    size_t used = len;
    bool last = false;

    if (client->parse.framing == PS_HTTP_BY_LENGTH) {
        used = part.len = len < client->body_left ? len : (size_t)client->body_left;
        client->body_left -= used;
        last = client->body_left == 0;
    } else if (client->parse.framing == PS_HTTP_CHUNKED) {
        enum ps_http_step step = ps_http_chunks_next(&client->chunks, data, len, &used, &part);
        MUST(step != PS_HTTP_BAD);
        last = step == PS_HTTP_DONE;
        if (step != PS_HTTP_DATA)
            part.len = 0;
    }
    check_bytes(client, part);
    if (last)
        end_answer(client);
    return used;
}

static void feed(struct client *client, const char *data, size_t len)
{
    for (size_t at = 0; at < len && !client->wild;) {
        MUST(client->phase != ENDED);
        at += client->phase == HEAD ? take_head(client, data + at, len - at)
                                    : take_body(client, data + at, len - at);
    }
}

/* Its connection has ended. An answer that ends with it is whole, or was reset. */
static void end_connection(struct client *client)
{
    if (!client->wild && client->phase == BODY && client->is_page &&
        client->parse.framing == PS_HTTP_UNTIL_CLOSE && !net_was_reset(client->fd))
        MUST(client->body_at == client->page_len);
    net_leave(client->fd);
    client->connected = false;
}

static void pump(struct client *client)
{
    static char data[8192];
    size_t len = 1;

    send_some(client, OUT_MAX);
    while (len > 0 && client->connected && (client->reads || client->may_read > 0)) {
        size_t most =
            client->reads || client->may_read > sizeof data ? sizeof data : client->may_read;
        len = net_pull(client->fd, data, most);
        if (!client->reads)
            client->may_read -= len < client->may_read ? len : client->may_read;
        feed(client, data, len);
    }
    if (client->connected && net_has_ended(client->fd))
        end_connection(client);
}

void client_pump(void)
{
    for (size_t i = 0; i < CLIENTS; i++)
        if (clients[i].connected)
            pump(&clients[i]);
}

/* --- The end --- */

void client_leave(unsigned number, enum client_end how)
{
    struct client *client = of(number);

    if (!client->connected)
        return;
    if (how == CLIENT_HALF) {
        client->half = true;
        net_end(client->fd);
        return;
    }
    if (how == CLIENT_RESET)
        net_reset_by_peer(client->fd);
    net_leave(client->fd);
    client->connected = false;
}

void client_settle(void)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i].reads = true;
        clients[i].allowed = clients[i].out_len;
        client_limit((unsigned)i, NET_OUT_MAX);
    }
}

bool clients_answered(void)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct client *client = &clients[i];
        if (client->connected && !client->wild && !client->half &&
            (client->ask_count > 0 || client->phase == BODY))
            return false;
    }
    return true;
}

void client_leave_all(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        client_leave(i, CLIENT_CLOSE);
}
