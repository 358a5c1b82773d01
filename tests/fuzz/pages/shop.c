/* See page.h: the shop behind the gateway. It says the truth: what a page depends on, its Vary and
 * its Cache-Control tell, and its validators are of the page that they stand at. It trusts the
 * gateway in nothing: what comes must be whole requests, one after the other, in their frames. */
#include "tests/fuzz/pages/page.h"

#include <stdio.h>

#define CONNECTIONS 48
#define REPLY_MAX   ((size_t)96 * 1024)
#define HEAD_MAX    ((size_t)16 * 1024)
#define SERIALS     4096

enum phase { HEAD, BODY, ANSWERING, IDLE_END };

struct connection {
    bool used;
    int fd;
    unsigned endpoint;
    enum phase phase;
    char head[HEAD_MAX];
    size_t head_len;
    struct ps_http_head parse;
    struct ps_http_chunks chunks;
    uint64_t body_left;
    bool has_reply;
    enum shop_way way;
    size_t reply_len, sent, allowed; /* of `reply` */
    char reply[REPLY_MAX];
};

static const struct ps_http_limits limits = {
    .target_max = 8192, .head_max = HEAD_MAX, .fields_max = PS_HTTP_FIELDS_MAX};
static const unsigned statuses[] = {200, 200, 404, 500, 503, 301, 204, 200};
static const char *const controls[] = {"max-age=60",
                                       "",
                                       "private",
                                       "no-store",
                                       "max-age=1, stale-while-revalidate=30, stale-if-error=30",
                                       "public, max-age=60",
                                       "s-maxage=30",
                                       "no-cache"};
static const char *const varies[] = {"", "Accept-Language", "Accept-Language, X-Nobody", "*"};
static const size_t sizes[] = {100, 0, 12000, PAGE_BODY_MAX};

static struct connection connections[CONNECTIONS];
static enum net_reply replies[3];
static struct shop_plan plan;
static bool is_reading, made_trouble;
static unsigned serial;
static bool storable[SERIALS];

void shop_open(void)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        connections[i].used = false;
    memset(replies, 0, sizeof replies);
    plan = (struct shop_plan){0};
    is_reading = true;
    made_trouble = false;
    serial = 0;
}

bool shop_made_trouble(void)
{
    return made_trouble;
}

bool shop_is_storable(unsigned number)
{
    return storable[number % SERIALS];
}

size_t shop_connections(void)
{
    size_t count = 0;

    for (size_t i = 0; i < CONNECTIONS; i++)
        count += connections[i].used;
    return count;
}

enum net_reply shop_on_connect(int fd, uint16_t port)
{
    unsigned endpoint = port - 9001u;

    MUST(endpoint < PS_ARRAY_LEN(replies));
    if (replies[endpoint] == NET_REFUSES || replies[endpoint] == NET_REFUSES_LATER)
        return replies[endpoint];
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &connections[i];
        if (connection->used)
            continue;
        connection->used = true;
        connection->fd = fd;
        connection->endpoint = endpoint;
        connection->phase = HEAD;
        connection->head_len = connection->reply_len = connection->sent = 0;
        connection->has_reply = false;
        ps_http_request_init(&connection->parse, &limits);
        return replies[endpoint];
    }
    made_trouble = true;
    return NET_REFUSES;
}

/* --- Answers --- */

static bool has_word(const char *list, const char *word)
{
    return strstr(list, word) != NULL;
}

static struct ps_str field(const struct connection *connection, const char *name)
{
    return ps_http_find(&connection->parse, connection->head, ps_str(name));
}

static void set_or_dash(struct page *page, enum page_part part, struct ps_str value, bool depends)
{
    page_set(page, part, !depends || value.at == NULL ? PS_STR("-") : value);
}

/* Some paths have ways of their own, so that a script need not say so. */
static struct shop_plan plan_of(const struct connection *connection)
{
    struct ps_str path = ps_http_text(connection->head, connection->parse.path);
    struct shop_plan own = plan;

    if (path.len > 3 && memcmp(path.at + path.len - 3, "big", 3) == 0)
        own.size = 2;
    if (path.len > 4 && memcmp(path.at + path.len - 4, "lang", 4) == 0)
        own.vary = 1;
    return own;
}

static void fill_page(const struct connection *connection, const struct shop_plan *own,
                      struct page *page)
{
    const struct ps_http_head *head = &connection->parse;
    const char *control = controls[own->cache % PS_ARRAY_LEN(controls)];
    struct ps_str language = field(connection, "Accept-Language");
    bool varies_by_language = own->vary % PS_ARRAY_LEN(varies) != 0;
    bool is_shared = has_word(control, "public") || has_word(control, "s-maxage");
    char text[24];

    page_set(page, PAGE_METHOD, ps_http_text(connection->head, head->method_text));
    page_set_authority(page, ps_http_text(connection->head, head->host));
    page_set_path(page, ps_http_text(connection->head, head->path));
    page_set_query(page,
                   head->query.at != 0 ? ps_http_text(connection->head, head->query) : PS_STR(""));
    page_set(page, PAGE_SCHEME, field(connection, "X-Forwarded-Proto"));
    page_set_lower(page, PAGE_LANGUAGE,
                   !varies_by_language   ? PS_STR("-")
                   : language.at != NULL ? language
                                         : PS_STR("none"));
    set_or_dash(page, PAGE_USER, field(connection, "X-User-Id"), !is_shared);
    set_or_dash(page, PAGE_AUTHORIZATION, field(connection, "Authorization"), !is_shared);
    set_or_dash(page, PAGE_OVERRIDE, field(connection, "X-HTTP-Method-Override"), true);
    (void)snprintf(text, sizeof text, "%zu", sizes[own->size % PS_ARRAY_LEN(sizes)]);
    page_set(page, PAGE_LENGTH, ps_str(text));
}

static void put_page_fields(struct ps_buf *buf, const struct shop_plan *own,
                            const struct page *page, uint64_t hash)
{
    const char *control = controls[own->cache % PS_ARRAY_LEN(controls)];
    const char *vary = varies[own->vary % PS_ARRAY_LEN(varies)];

    ps_buf_puts(buf, "X-Saw: ");
    page_print(page, buf);
    ps_buf_printf(buf, "\r\nX-Serial: %u\r\nSurrogate-Key: t1 t2\r\n", serial);
    if (*control != '\0')
        ps_buf_printf(buf, "Cache-Control: %s\r\n", control);
    if (*vary != '\0')
        ps_buf_printf(buf, "Vary: %s\r\n", vary);
    if (!own->no_validators)
        ps_buf_printf(buf, "ETag: \"%llx\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
                      (unsigned long long)hash);
}

static void put_chunked(struct ps_buf *buf, uint64_t hash, size_t len, size_t each)
{
    for (size_t at = 0; at < len; at += each) {
        size_t piece = len - at < each ? len - at : each;
        ps_buf_printf(buf, "%zx\r\n", piece);
        ps_buf_put(buf, page_body(hash) + at, piece);
        ps_buf_puts(buf, "\r\n");
    }
    ps_buf_puts(buf, "0\r\n\r\n");
}

/* May more than one request get it? */
static bool may_be_kept(const struct ps_http_head *head, const struct shop_plan *own,
                        const struct page *page)
{
    const char *control = controls[own->cache % PS_ARRAY_LEN(controls)];

    return (head->method == PS_HTTP_GET || head->method == PS_HTTP_HEAD) &&
           !has_word(control, "private") && !has_word(control, "no-store") &&
           page_is(page, PAGE_USER, "-") && page_is(page, PAGE_AUTHORIZATION, "-");
}

static void put_answer(struct connection *connection, struct ps_buf *buf,
                       const struct shop_plan *own)
{
    unsigned status = statuses[own->status % PS_ARRAY_LEN(statuses)];
    struct ps_str condition = field(connection, "If-None-Match");
    const struct ps_http_head *head = &connection->parse;
    struct page page;
    char etag[24];

    fill_page(connection, own, &page);
    uint64_t hash = page_hash(&page);
    size_t len = sizes[own->size % PS_ARRAY_LEN(sizes)];
    (void)snprintf(etag, sizeof etag, "\"%llx\"", (unsigned long long)hash);
    if (status == 200 && !own->no_304 && !own->no_validators && condition.at != NULL &&
        ps_str_is(condition, etag))
        status = 304;
    serial++;
    storable[serial % SERIALS] = may_be_kept(head, own, &page) || status == 304;
    made_trouble |= status >= 500;
    ps_buf_printf(buf, "HTTP/1.1 %u Any\r\n", status);
    put_page_fields(buf, own, &page, hash);
    if (own->way == SHOP_CLOSE || own->way == SHOP_EARLY)
        ps_buf_puts(buf, "Connection: close\r\n");
    if (status == 204 || status == 304) {
        ps_buf_puts(buf, "\r\n");
        return;
    }
    unsigned framing = own->framing % 4;
    if (framing == 1 || framing == 2)
        ps_buf_puts(buf, "Transfer-Encoding: chunked\r\n\r\n");
    else if (framing == 0 || own->way != SHOP_CLOSE)
        ps_buf_printf(buf, "Content-Length: %zu\r\n\r\n", len);
    else
        ps_buf_puts(buf, "\r\n"); /* until it closes */
    if (head->method == PS_HTTP_HEAD)
        return;
    if (framing == 1 || framing == 2) {
        put_chunked(buf, hash, len, framing == 1 ? 5000 : len < 200 ? 1 : 700);
        return;
    }
    ps_buf_put(buf, page_body(hash), len);
}

static const char poison[] = "HTTP/1.1 200 OK\r\nX-Saw: "
                             "GET|nobody.example|/nothing||http|-|-|-|-|3\r\nX-Serial: 0\r\n"
                             "Cache-Control: max-age=60\r\nContent-Length: 3\r\n\r\nbad";

static void make_reply(struct connection *connection)
{
    struct shop_plan own = plan_of(connection);
    struct ps_buf buf;

    ps_buf_init(&buf, connection->reply, sizeof connection->reply);
    if (own.way == SHOP_GARBAGE)
        ps_buf_puts(&buf, "HTTP/1.1 two hundred\r\nnothing\r\n\r\n");
    else {
        if (own.way == SHOP_HINTS)
            ps_buf_puts(&buf, "HTTP/1.1 103 Early Hints\r\nLink: </c/1>; rel=preload\r\n\r\n");
        put_answer(connection, &buf, &own);
    }
    if (own.way == SHOP_SURPLUS)
        ps_buf_puts(&buf, poison);
    MUST(!buf.overflow);
    connection->has_reply = true;
    connection->way = own.way;
    connection->reply_len = buf.len;
    connection->sent = 0;
    connection->allowed = own.way == SHOP_STEP_BY_STEP || own.way == SHOP_SILENT   ? 0
                          : own.way == SHOP_HALF_RESET || own.way == SHOP_HALF_END ? buf.len / 2
                                                                                   : buf.len;
    made_trouble |= own.way != SHOP_AT_ONCE && own.way != SHOP_HINTS && own.way != SHOP_CLOSE;
}

/* --- Requests --- */

/* What the gateway must never let through. */
static void check_request(const struct connection *connection)
{
    const struct ps_http_head *head = &connection->parse;
    struct ps_str user = field(connection, "X-User-Id");
    size_t hosts = 0;

    for (uint32_t i = 0; i < head->field_count; i++)
        hosts += head->fields[i].known == PS_HTTP_F_HOST;
    MUST(hosts == 1 && head->minor == 1 && head->keep_alive);
    MUST(user.at == NULL || !ps_str_is(user, "stranger"));
    MUST(field(connection, "X-Forwarded-For").at != NULL && field(connection, "Via").at != NULL);
}

static size_t take_head(struct connection *connection, const char *data, size_t len)
{
    size_t had = connection->head_len;

    MUST(had + len <= HEAD_MAX);
    memcpy(connection->head + had, data, len);
    enum ps_http_step step = ps_http_head_parse(&connection->parse, connection->head, had + len);
    MUST(step != PS_HTTP_BAD);
    connection->head_len += len;
    if (step == PS_HTTP_MORE)
        return len;
    connection->head_len = connection->parse.len;
    check_request(connection);
    ps_http_chunks_init(&connection->chunks);
    connection->body_left =
        connection->parse.framing == PS_HTTP_BY_LENGTH ? connection->parse.body_len : 0;
    bool has_body = connection->parse.framing == PS_HTTP_CHUNKED || connection->body_left > 0;
    connection->phase = has_body ? BODY : ANSWERING;
    if (!has_body || plan.way == SHOP_EARLY)
        make_reply(connection);
    return connection->parse.len - had;
}

static size_t take_body(struct connection *connection, const char *data, size_t len)
{
    struct ps_str piece;
    size_t used = len;
    bool last = false;

    if (connection->parse.framing == PS_HTTP_BY_LENGTH) {
        used = len < connection->body_left ? len : (size_t)connection->body_left;
        connection->body_left -= used;
        last = connection->body_left == 0;
    } else {
        enum ps_http_step step = ps_http_chunks_next(&connection->chunks, data, len, &used, &piece);
        MUST(step != PS_HTTP_BAD);
        last = step == PS_HTTP_DONE;
    }
    if (last) {
        connection->phase = ANSWERING;
        if (!connection->has_reply)
            make_reply(connection);
    }
    return used;
}

static void receive(struct connection *connection)
{
    static char data[4096];
    size_t len, at;

    while (is_reading && connection->phase != ANSWERING &&
           (len = net_pull(connection->fd, data, sizeof data)) > 0)
        for (at = 0; at < len;) {
            /* A request never comes before the one in front of it is answered. */
            MUST(connection->phase == HEAD || connection->phase == BODY);
            at += connection->phase == HEAD ? take_head(connection, data + at, len - at)
                                            : take_body(connection, data + at, len - at);
        }
}

static void drop(struct connection *connection)
{
    net_leave(connection->fd);
    connection->used = false;
}

static void end_reply(struct connection *connection)
{
    enum shop_way way = connection->way;

    if (way == SHOP_HALF_RESET || way == SHOP_GARBAGE) {
        net_reset_by_peer(connection->fd);
        drop(connection);
    } else if (way == SHOP_HALF_END || way == SHOP_CLOSE || way == SHOP_EARLY) {
        net_end(connection->fd);
        connection->phase = IDLE_END;
    } else if (connection->phase == ANSWERING && connection->sent == connection->reply_len) {
        connection->phase = HEAD;
        connection->head_len = 0;
        connection->has_reply = false;
        ps_http_request_init(&connection->parse, &limits);
    }
}

static void pump(struct connection *connection)
{
    if (connection->phase != IDLE_END)
        receive(connection);
    if (connection->has_reply && connection->phase != IDLE_END &&
        connection->sent < connection->allowed)
        connection->sent += net_push(connection->fd, connection->reply + connection->sent,
                                     connection->allowed - connection->sent);
    if (net_has_ended(connection->fd) || net_was_reset(connection->fd)) {
        drop(connection);
        return;
    }
    if (connection->has_reply && connection->phase != IDLE_END && connection->allowed > 0 &&
        connection->sent == connection->allowed &&
        (connection->allowed == connection->reply_len || connection->way == SHOP_HALF_RESET ||
         connection->way == SHOP_HALF_END))
        end_reply(connection);
}

void shop_pump(void)
{
    for (size_t i = 0; i < CONNECTIONS; i++)
        if (connections[i].used)
            pump(&connections[i]);
}

/* --- The script --- */

void shop_set(const struct shop_plan *next)
{
    plan = *next;
    made_trouble |= plan.way == SHOP_STEP_BY_STEP || plan.way == SHOP_SILENT;
}

void shop_take_connections(unsigned endpoint, enum net_reply reply)
{
    replies[endpoint % PS_ARRAY_LEN(replies)] = reply;
    made_trouble |= reply != NET_ACCEPTS;
}

static struct connection *find(unsigned nth, bool waits)
{
    struct connection *found[CONNECTIONS];
    size_t count = 0;

    for (size_t i = 0; i < CONNECTIONS; i++)
        if (connections[i].used && (!waits || (connections[i].has_reply &&
                                               connections[i].sent < connections[i].reply_len)))
            found[count++] = &connections[i];
    return count > 0 ? found[nth % count] : NULL;
}

void shop_step(unsigned nth, size_t bytes)
{
    struct connection *connection = find(nth, true);

    if (connection == NULL || connection->way != SHOP_STEP_BY_STEP)
        return;
    size_t left = connection->reply_len - connection->allowed;
    connection->allowed += bytes == 0 || bytes > left ? left : bytes;
}

void shop_die(unsigned nth, bool reset)
{
    struct connection *connection = find(nth, false);

    made_trouble = true;
    if (connection == NULL)
        return;
    if (reset) {
        net_reset_by_peer(connection->fd);
        drop(connection);
    } else {
        net_end(connection->fd);
        connection->phase = IDLE_END;
    }
}

void shop_speak(unsigned nth)
{
    struct connection *connection = find(nth, false);

    made_trouble = true;
    /* Else it would be the answer of the request that is there. */
    if (connection != NULL && connection->phase == HEAD && connection->head_len == 0 &&
        net_unread(connection->fd) == 0)
        (void)net_push(connection->fd, poison, sizeof poison - 1);
}

void shop_read(bool reads)
{
    is_reading = reads;
    made_trouble |= !reads;
}

void shop_settle(void)
{
    plan.way = SHOP_AT_ONCE;
    is_reading = true;
    memset(replies, 0, sizeof replies);
    for (size_t i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &connections[i];
        if (!connection->used)
            continue;
        if (connection->way == SHOP_STEP_BY_STEP)
            connection->allowed = connection->reply_len;
        else if (connection->has_reply && connection->way == SHOP_SILENT) {
            net_reset_by_peer(connection->fd);
            drop(connection);
        }
    }
}
