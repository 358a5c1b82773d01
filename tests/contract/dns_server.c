/* See dns_server.h. Messages as in RFC 1035, section 4; names in answers are not compressed but for
 * that of the question. */
#include "tests/contract/dns_server.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#define MESSAGE_MAX 65535
#define UDP_MAX     512

struct peer {
    uv_tcp_t tcp;
    uv_write_t write;
    struct dns_server *server;
    unsigned char in[1024];
    size_t len;
    unsigned char out[MESSAGE_MAX + 2];
};

static unsigned char *put16(unsigned char *at, unsigned value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
    return at + 2;
}

static unsigned char *put_name(unsigned char *at, const char *name)
{
    while (*name != '\0') {
        size_t len = strcspn(name, ".");
        *at++ = (unsigned char)len;
        memcpy(at, name, len);
        at += len;
        name += len + (name[len] == '.');
    }
    *at++ = 0;
    return at;
}

/* The question's name, as text; the byte behind it. */
static const unsigned char *get_name(const unsigned char *at, char ret_name[256])
{
    size_t len = 0;

    for (; *at != 0; at += *at + 1) {
        memcpy(ret_name + len, at + 1, *at);
        len += *at;
        ret_name[len++] = '.';
    }
    ret_name[len > 0 ? len - 1 : 0] = '\0';
    return at + 1;
}

static unsigned char *put_record(unsigned char *at, const struct dns_record *record)
{
    unsigned char *data;

    at = put_name(at, record->name);
    at = put16(at, record->type);
    at = put16(at, 1);
    at = put16(at, record->ttl >> 16);
    at = put16(at, record->ttl & 0xffff);
    data = at + 2;
    if (record->type == DNS_A) {
        assert_int_equal(inet_pton(AF_INET, record->value, data), 1);
        data += 4;
    } else if (record->type == DNS_AAAA) {
        assert_int_equal(inet_pton(AF_INET6, record->value, data), 1);
        data += 16;
    } else if (record->type == DNS_SRV) {
        data = put16(put16(put16(data, record->priority), record->weight), record->port);
        data = put_name(data, record->value);
    } else {
        data = put_name(data, record->value);
    }
    put16(at, (unsigned)(data - at - 2));
    return data;
}

/* Puts all records of a name, following what it is another name for; true: the name is there. */
static bool put_answers(const struct dns_server *server, const char *name, unsigned type,
                        unsigned char **at, unsigned *count)
{
    bool there = false;

    for (size_t i = 0; i < server->count; i++) {
        const struct dns_record *record = &server->records[i];
        if (strcasecmp(record->name, name) != 0)
            continue;
        there = true;
        if (record->type != type && record->type != DNS_CNAME)
            continue;
        *at = put_record(*at, record);
        ++*count;
        if (record->type == DNS_CNAME && type != DNS_CNAME)
            (void)put_answers(server, record->value, type, at, count);
    }
    return there;
}

static size_t make_answer(struct dns_server *server, const unsigned char *query, size_t len,
                          bool tcp, unsigned char *ret_answer)
{
    char name[256];
    const unsigned char *behind = get_name(query + 12, name);
    unsigned type = (unsigned)behind[0] << 8 | behind[1], code = (unsigned)server->refuses;
    size_t head = (size_t)(behind - query) + 4;
    unsigned char *at = ret_answer + head;
    unsigned count = 0;

    server->asked++;
    server->by_tcp += tcp;
    if (server->silent)
        return 0;
    if (server->garbage) {
        memset(ret_answer, 0xc0, 40);
        memcpy(ret_answer, query, 2);
        ret_answer[2] = 0x81;
        ret_answer[3] = 0x80;
        return 40;
    }
    assert_true(head <= len);
    memcpy(ret_answer, query, head);
    if (type == server->fails)
        code = 2;
    if (code == 0 && !put_answers(server, name, type, &at, &count))
        code = 3; /* NXDOMAIN */
    bool cut = !tcp && at - ret_answer > UDP_MAX;
    if (cut) {
        at = ret_answer + head;
        count = 0;
    }
    ret_answer[2] = cut ? 0x83 : 0x81;
    ret_answer[3] = (unsigned char)(0x80 | code);
    put16(ret_answer + 6, count);
    put16(ret_answer + 8, 0);
    put16(ret_answer + 10, 0);
    return (size_t)(at - ret_answer);
}

/* --- UDP. --- */

static void on_udp_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char bytes[2048];

    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(bytes, sizeof bytes);
}

static void on_udp(uv_udp_t *udp, ssize_t len, const uv_buf_t *buf, const struct sockaddr *from,
                   unsigned flags)
{
    static unsigned char answer[MESSAGE_MAX];

    (void)flags;
    if (len < 12 || from == NULL)
        return;
    size_t size =
        make_answer(udp->data, (const unsigned char *)buf->base, (size_t)len, false, answer);
    uv_buf_t out = uv_buf_init((char *)answer, (unsigned)size);
    if (size > 0)
        (void)uv_udp_try_send(udp, &out, 1, from);
}

/* --- TCP. --- */

static void on_peer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_peer_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct peer *peer = handle->data;

    (void)suggested;
    *buf = uv_buf_init((char *)peer->in + peer->len, (unsigned)(sizeof peer->in - peer->len));
}

static void on_peer(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf)
{
    struct peer *peer = stream->data;

    (void)buf;
    if (nread < 0) {
        uv_close((uv_handle_t *)stream, on_peer_closed);
        return;
    }
    peer->len += (size_t)nread;
    size_t wanted = peer->len < 2 ? SIZE_MAX : 2 + ((size_t)peer->in[0] << 8 | peer->in[1]);
    if (peer->len < wanted)
        return;
    size_t size = make_answer(peer->server, peer->in + 2, wanted - 2, true, peer->out + 2);
    memmove(peer->in, peer->in + wanted, peer->len - wanted);
    peer->len -= wanted;
    put16(peer->out, (unsigned)size);
    uv_buf_t out = uv_buf_init((char *)peer->out, (unsigned)size + 2);
    if (size > 0)
        assert_int_equal(uv_write(&peer->write, stream, &out, 1, NULL), 0);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct peer *peer = calloc(1, sizeof *peer);

    assert_int_equal(status, 0);
    peer->server = listener->data;
    assert_int_equal(uv_tcp_init(listener->loop, &peer->tcp), 0);
    peer->tcp.data = peer;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&peer->tcp, on_peer_alloc, on_peer), 0);
}

/* --- Life. --- */

void dns_server_start(struct dns_server *server, uv_loop_t *loop)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int len = sizeof at, err;

    do { /* until a port is free for both */
        at.sin_port = 0;
        assert_int_equal(uv_tcp_init(loop, &server->tcp), 0);
        assert_int_equal(uv_tcp_bind(&server->tcp, (struct sockaddr *)&at, 0), 0);
        uv_tcp_getsockname(&server->tcp, (struct sockaddr *)&at, &len);
        assert_int_equal(uv_udp_init(loop, &server->udp), 0);
        err = uv_udp_bind(&server->udp, (struct sockaddr *)&at, 0);
        if (err != 0) {
            uv_close((uv_handle_t *)&server->tcp, NULL);
            uv_close((uv_handle_t *)&server->udp, NULL);
            uv_run(loop, UV_RUN_DEFAULT);
        }
    } while (err != 0);
    server->port = ntohs(at.sin_port);
    (void)snprintf(server->address, sizeof server->address, "127.0.0.1:%d", server->port);
    server->udp.data = server->tcp.data = server;
    assert_int_equal(uv_listen((uv_stream_t *)&server->tcp, 64, on_connection), 0);
    assert_int_equal(uv_udp_recv_start(&server->udp, on_udp_alloc, on_udp), 0);
}

void dns_server_stop(struct dns_server *server)
{
    uv_close((uv_handle_t *)&server->tcp, NULL);
    uv_close((uv_handle_t *)&server->udp, NULL);
}

void dns_add(struct dns_server *server, const char *name, enum dns_type type, uint32_t ttl,
             const char *value)
{
    struct dns_record *record = &server->records[server->count++];

    *record = (struct dns_record){.type = type, .ttl = ttl};
    (void)snprintf(record->name, sizeof record->name, "%s", name);
    (void)snprintf(record->value, sizeof record->value, "%s", value);
}

void dns_add_srv(struct dns_server *server, const char *name, uint32_t ttl, const char *target,
                 uint16_t port, uint16_t priority, uint16_t weight)
{
    dns_add(server, name, DNS_SRV, ttl, target);
    struct dns_record *record = &server->records[server->count - 1];
    record->port = port;
    record->priority = priority;
    record->weight = weight;
}
