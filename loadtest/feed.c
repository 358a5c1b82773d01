/* A connection at a time, to the address to which the target was resolved. What is no event stream
 * ends it: an answer of another status, another framing than chunks, an event that is too long. */
#include "loadtest/feed.h"

#include "common/http/chunks.h"
#include "common/http/write.h"
#include "common/text/buf.h"

#include <stdlib.h>
#include <string.h>

#define AGAIN_MS     500
#define SILENT_MS    5000 /* an event comes each second */
#define REQUEST_SIZE 1024
#define READ_SIZE    ((size_t)16 * 1024)
#define HEAD_MAX     8192

struct lt_feed {
    const struct lt_admin *admin;
    lt_event_fn *on_event;
    void *ctx;
    uv_loop_t *loop;
    uv_timer_t timer; /* until it connects again, or while it waits for the gateway */
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    size_t handles; /* open ones */
    bool connected; /* tcp is open, or closing */
    bool ending;
    bool in_body;
    size_t head_len, event_len;
    struct ps_http_chunks chunks;
    char request[REQUEST_SIZE];
    char in[READ_SIZE];
    char head[HEAD_MAX];
    char event[LT_EVENT_MAX];
};

static void begin(uv_timer_t *timer);

static void on_tcp_closed(uv_handle_t *handle)
{
    struct lt_feed *feed = handle->data;
    feed->handles--;
    feed->connected = false;
    if (!feed->ending)
        uv_timer_start(&feed->timer, begin, AGAIN_MS, 0);
}

static void end(struct lt_feed *feed)
{
    if (feed->connected && !uv_is_closing((uv_handle_t *)&feed->tcp))
        uv_close((uv_handle_t *)&feed->tcp, on_tcp_closed);
}

static void on_silence(uv_timer_t *timer)
{
    end(timer->data);
}

/* Passes on the events that are complete. False: one is too long. */
static bool take(struct lt_feed *feed, struct ps_str piece)
{
    while (piece.len > 0) {
        size_t room = sizeof feed->event - feed->event_len;
        size_t used = piece.len < room ? piece.len : room;
        memcpy(feed->event + feed->event_len, piece.at, used);
        feed->event_len += used;
        piece.at += used;
        piece.len -= used;
        const char *found;
        while ((found = memmem(feed->event, feed->event_len, "\n\n", 2)) != NULL) {
            size_t len = (size_t)(found - feed->event) + 2;
            feed->on_event((struct ps_str){feed->event, len}, feed->ctx);
            feed->event_len -= len;
            memmove(feed->event, feed->event + len, feed->event_len);
        }
        if (feed->event_len == sizeof feed->event)
            return false;
    }
    return true;
}

/* False: the stream has ended, or is none. */
static bool read_body(struct lt_feed *feed, const char *data, size_t len)
{
    enum ps_http_step step = PS_HTTP_MORE;
    for (size_t at = 0, used; at < len; at += used) {
        struct ps_str piece;
        step = ps_http_chunks_next(&feed->chunks, data + at, len - at, &used, &piece);
        if (step == PS_HTTP_BAD || step == PS_HTTP_DONE ||
            (step == PS_HTTP_DATA && !take(feed, piece)))
            return false;
    }
    return true;
}

/* Keeps the head until it is whole. False: it is not that of an event stream. */
static bool read_head(struct lt_feed *feed, const char *data, size_t len)
{
    static const struct ps_http_limits limits = {
        .target_max = 1024, .head_max = HEAD_MAX, .fields_max = PS_HTTP_FIELDS_MAX};
    struct ps_http_head head;
    size_t before = feed->head_len;
    size_t kept = len < sizeof feed->head - before ? len : sizeof feed->head - before;
    memcpy(feed->head + before, data, kept);
    feed->head_len += kept;
    ps_http_response_init(&head, &limits, false);
    enum ps_http_step step = ps_http_head_parse(&head, feed->head, feed->head_len);
    if (step == PS_HTTP_MORE)
        return feed->head_len < sizeof feed->head;
    if (step != PS_HTTP_DONE || head.status != 200 || head.framing != PS_HTTP_CHUNKED)
        return false;
    feed->in_body = true;
    ps_http_chunks_init(&feed->chunks);
    feed->event_len = 0;
    size_t used = head.len - before; /* the head ends in these bytes */
    return read_body(feed, data + used, len - used);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct lt_feed *feed = handle->data;
    (void)suggested;
    *buf = uv_buf_init(feed->in, sizeof feed->in);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct lt_feed *feed = stream->data;
    if (got == 0)
        return;
    if (got > 0)
        uv_timer_start(&feed->timer, on_silence, SILENT_MS, 0);
    if (got < 0 || !(feed->in_body ? read_body(feed, buf->base, (size_t)got)
                                   : read_head(feed, buf->base, (size_t)got)))
        end(feed);
}

static void on_written(uv_write_t *write, int status)
{
    if (status < 0)
        end(write->data);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct lt_feed *feed = connect->data;
    struct ps_buf buf;
    if (status < 0) {
        end(feed);
        return;
    }
    ps_buf_init(&buf, feed->request, sizeof feed->request);
    ps_buf_puts(&buf, "GET /admin/v1/events HTTP/1.1\r\n");
    ps_http_put_known(&buf, PS_STR("Host"), ps_str(feed->admin->target.authority));
    ps_buf_puts(&buf, "Authorization: Bearer ");
    ps_buf_puts(&buf, feed->admin->token);
    ps_buf_puts(&buf, "\r\n\r\n");
    uv_buf_t part = uv_buf_init(feed->request, (unsigned)buf.len);
    feed->write.data = feed;
    if (buf.overflow || uv_read_start((uv_stream_t *)&feed->tcp, on_alloc, on_read) < 0 ||
        uv_write(&feed->write, (uv_stream_t *)&feed->tcp, &part, 1, on_written) < 0)
        end(feed);
}

static void begin(uv_timer_t *timer)
{
    struct lt_feed *feed = timer->data;
    (void)uv_tcp_init(feed->loop, &feed->tcp); /* it opens no socket yet */
    feed->tcp.data = feed->connect.data = feed;
    feed->handles++;
    feed->connected = true;
    feed->in_body = false;
    feed->head_len = 0;
    uv_timer_start(timer, on_silence, SILENT_MS, 0);
    if (uv_tcp_connect(&feed->connect, &feed->tcp,
                       (const struct sockaddr *)&feed->admin->target.address, on_connected) < 0)
        end(feed);
}

struct lt_feed *lt_feed_new(uv_loop_t *loop, const struct lt_admin *admin, lt_event_fn *on_event,
                            void *ctx)
{
    struct lt_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return NULL;
    feed->loop = loop;
    feed->admin = admin;
    feed->on_event = on_event;
    feed->ctx = ctx;
    (void)uv_timer_init(loop, &feed->timer);
    feed->timer.data = feed;
    feed->handles = 1;
    uv_timer_start(&feed->timer, begin, 0, 0);
    return feed;
}

static void on_timer_closed(uv_handle_t *handle)
{
    ((struct lt_feed *)handle->data)->handles--;
}

void lt_feed_free(struct lt_feed *feed)
{
    if (feed == NULL)
        return;
    feed->ending = true;
    uv_close((uv_handle_t *)&feed->timer, on_timer_closed);
    end(feed);
    while (feed->handles > 0)
        uv_run(feed->loop, UV_RUN_ONCE);
    free(feed);
}
