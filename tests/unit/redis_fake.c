/* The fake server. Commands are arrays of bulk strings, as every client sends them. */
#include "tests/unit/check.h"

#include "tests/unit/redis_fake.h"

#include <stdio.h>
#include <stdlib.h>

static void on_gone(uv_handle_t *handle)
{
    struct fake_client *client = handle->data;
    client->open = false;
}

static void drop(struct fake_client *client)
{
    if (client->open && !uv_is_closing((uv_handle_t *)&client->tcp))
        uv_close((uv_handle_t *)&client->tcp, on_gone);
}

static void note(struct fake *fake, const char *text, size_t len)
{
    size_t used = strlen(fake->seen);
    if (used + len + 2 < sizeof fake->seen)
        memcpy(fake->seen + used, text, len); /* the rest is zero */
}

/* The length of a whole command at `at`, or 0: more is to come. */
static size_t take_command(struct fake *fake, char *at, const char *end)
{
    char *start = at, *line = memchr(at, '\n', (size_t)(end - at));
    if (line == NULL)
        return 0;
    assert_int_equal(*at, '*');
    long words = strtol(at + 1, NULL, 10);
    at = line + 1;
    size_t mark = strlen(fake->seen);
    for (long i = 0; i < words; i++) {
        line = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        long len = line != NULL ? strtol(at + 1, NULL, 10) : 0;
        if (line == NULL || end - (line + 1) < len + 2) {
            memset(fake->seen + mark, 0, strlen(fake->seen + mark));
            return 0;
        }
        note(fake, line + 1, (size_t)len);
        note(fake, i + 1 < words ? " " : "\n", 1);
        at = line + 1 + len + 2;
    }
    return (size_t)(at - start);
}

static void answer(struct fake_client *client)
{
    struct fake *fake = client->fake;
    const char *text = fake->rest;
    if (fake->script[fake->at] != NULL)
        text = fake->script[fake->at++];
    fake->commands++;
    if (text == FAKE_CLOSE) {
        drop(client);
    } else if (text != NULL && text != FAKE_SILENT) {
        uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text, (unsigned)strlen(text));
        assert_int_equal(uv_try_write((uv_stream_t *)&client->tcp, &buf, 1), buf.len);
    }
}

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct fake_client *client = handle->data;
    (void)suggested;
    *ret = uv_buf_init(client->in + client->len, (unsigned)(sizeof client->in - client->len));
}

static void answer_all(struct fake_client *client)
{
    while (!uv_is_closing((uv_handle_t *)&client->tcp)) {
        size_t used = take_command(client->fake, client->in, client->in + client->len);
        if (used == 0)
            return;
        memmove(client->in, client->in + used, client->len - used);
        client->len -= used;
        answer(client);
    }
}

static void on_delay(uv_timer_t *timer)
{
    struct fake *fake = timer->data;
    for (size_t i = 0; i < FAKE_CLIENTS; i++) {
        if (fake->clients[i].open)
            answer_all(&fake->clients[i]);
    }
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct fake_client *client = stream->data;
    struct fake *fake = client->fake;
    (void)buf;
    if (len < 0) {
        drop(client);
        return;
    }
    client->len += (size_t)len;
    if (fake->delay_ms == 0)
        answer_all(client);
    else
        (void)uv_timer_start(&fake->delay, on_delay, fake->delay_ms, 0);
}

static void on_client(uv_stream_t *listener, int status)
{
    struct fake *fake = listener->data;
    struct fake_client *client = fake->clients;
    assert_int_equal(status, 0);
    while (client->open)
        client++;
    assert_true(client < fake->clients + FAKE_CLIENTS);
    client->fake = fake;
    client->open = true;
    client->len = 0;
    assert_int_equal(uv_tcp_init(listener->loop, &client->tcp), 0);
    client->tcp.data = client;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&client->tcp), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&client->tcp, give_room, on_read), 0);
    fake->connections++;
}

void fake_start(struct fake *fake, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int len = sizeof address;
    memset(fake, 0, sizeof *fake);
    assert_int_equal(uv_ip4_addr("127.0.0.1", 0, &address), 0);
    assert_int_equal(uv_tcp_init(loop, &fake->listener), 0);
    assert_int_equal(uv_timer_init(loop, &fake->delay), 0);
    fake->listener.data = fake->delay.data = fake;
    assert_int_equal(uv_tcp_bind(&fake->listener, (struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&fake->listener, 8, on_client), 0);
    assert_int_equal(uv_tcp_getsockname(&fake->listener, (struct sockaddr *)&address, &len), 0);
    fake->port = ntohs(address.sin_port);
}

void fake_script(struct fake *fake, const char *const *script, const char *rest)
{
    size_t count = 0;
    for (; script != NULL && script[count] != NULL; count++) {
        assert_true(count < FAKE_SCRIPT_MAX);
        fake->script[count] = script[count];
    }
    fake->script[count] = NULL;
    fake->rest = rest;
    fake->at = 0;
    fake->commands = 0;
    memset(fake->seen, 0, sizeof fake->seen);
}

void fake_cut(struct fake *fake)
{
    for (size_t i = 0; i < FAKE_CLIENTS; i++)
        drop(&fake->clients[i]);
}

void fake_stop(struct fake *fake)
{
    fake_cut(fake);
    uv_close((uv_handle_t *)&fake->listener, NULL);
    uv_close((uv_handle_t *)&fake->delay, NULL);
}
