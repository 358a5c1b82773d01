/* The wire. hiredis has an asynchronous layer of its own, which is not used: it frees its contexts
 * under its callers, resolves names while it blocks, knows no deadlines and loses connections that
 * are refused. A TCP handle of libuv and hiredis's formatter and parser are all that is needed.
 *
 * Commands are formatted into `out` and leave at the end of the loop's turn (an idle handle: it
 * runs before the loop waits, and keeps it from waiting). While libuv still writes `writing`, `out`
 * gathers what comes next. Each command has an entry in a ring, in the order of sending; a reply
 * answers the oldest. All have the same patience, so only the oldest one's deadline is watched. A
 * loop that was held up would see deadlines pass whose replies lie in the socket, so an overdue
 * reply gets one more turn.
 *
 * Whoever loses the wire (`lose`) first marks it lost, so that callbacks cannot send any more, then
 * answers everybody, then tells the owner. The memory outlives every callback: it goes when libuv
 * has closed both timer and socket. */
#include "common/redis/redis_wire.h"
#include "common/grow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_AT_ONCE (64 * 1024)
#define WHY_MAX      192

struct bytes {
    char *at;
    size_t len, cap;
};

struct pending {
    ps_redis_reply_fn *fn; /* NULL: nobody waits for it */
    void *ctx;
    uint64_t deadline;                    /* uv_now */
    const struct ps_redis_script *script; /* of an EVALSHA that may be repeated */
    sds command;                          /* of the same */
};

struct ps_redis_wire {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_idle_t turn;
    uv_connect_t connect;
    uv_write_t write;
    struct ps_redis_wire_callbacks callbacks;
    uint64_t timeout_ms;
    redisReader *reader;
    struct bytes out, writing;
    struct pending *pending; /* a ring */
    size_t first, count, cap;
    unsigned handles; /* that are not yet closed */
    bool connected, lost, overdue;
    char in[READ_AT_ONCE];
};

static void lose_connection(struct ps_redis_wire *wire, int err, const char *why, bool tell);

/* --- bytes --- */

static int bytes_put(struct bytes *bytes, const char *at, size_t len)
{
    if (ps_grow(&bytes->at, &bytes->cap, bytes->len + len, 1) < 0)
        return PS_E_NOMEM;
    memcpy(bytes->at + bytes->len, at, len);
    bytes->len += len;
    return 0;
}

static void flush_output(struct ps_redis_wire *wire);

static void on_written(uv_write_t *request, int status)
{
    struct ps_redis_wire *wire = request->data;
    wire->writing.len = 0;
    if (wire->lost)
        return;
    if (status < 0)
        lose_connection(wire, PS_E_CLOSED, uv_strerror(status), true);
    else
        flush_output(wire);
}

/* Writes what was gathered, unless the last write is still in progress: then its end does. */
static void flush_output(struct ps_redis_wire *wire)
{
    if (!wire->connected || wire->writing.len > 0 || wire->out.len == 0)
        return;
    struct bytes swap = wire->writing;
    wire->writing = wire->out;
    wire->out = swap;
    uv_buf_t buf = uv_buf_init(wire->writing.at, (unsigned)wire->writing.len);
    int done = uv_try_write((uv_stream_t *)&wire->tcp, &buf, 1);
    if (done == (int)buf.len) {
        wire->writing.len = 0;
        return;
    }
    if (done > 0)
        buf = uv_buf_init(buf.base + done, (unsigned)(buf.len - (size_t)done));
    int err = done < 0 && done != UV_EAGAIN
                  ? done
                  : uv_write(&wire->write, (uv_stream_t *)&wire->tcp, &buf, 1, on_written);
    if (err < 0)
        lose_connection(wire, PS_E_CLOSED, uv_strerror(err), true);
}

static void on_turn(uv_idle_t *idle)
{
    ps_redis_wire_flush(idle->data);
}

/* --- the ring of commands --- */

static int make_room(struct ps_redis_wire *wire)
{
    if (wire->count < wire->cap)
        return 0;
    size_t cap = wire->cap > 0 ? wire->cap * 2 : 16;
    struct pending *more = calloc(cap, sizeof *more);
    if (more == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < wire->count; i++)
        more[i] = wire->pending[(wire->first + i) % wire->cap];
    free(wire->pending);
    wire->pending = more;
    wire->first = 0;
    wire->cap = cap;
    return 0;
}

static struct pending pop_pending(struct ps_redis_wire *wire)
{
    struct pending pending = wire->pending[wire->first];
    wire->first = (wire->first + 1) % wire->cap;
    wire->count--;
    wire->overdue = false;
    return pending;
}

static void on_timer(uv_timer_t *timer);

static void watch_deadline(struct ps_redis_wire *wire)
{
    if (wire->lost)
        return;
    if (wire->count == 0) {
        uv_timer_stop(&wire->timer);
        return;
    }
    uint64_t now = uv_now(wire->tcp.loop), deadline = wire->pending[wire->first].deadline;
    (void)uv_timer_start(&wire->timer, on_timer, deadline > now ? deadline - now : 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct ps_redis_wire *wire = timer->data;
    if (wire->pending[wire->first].deadline > uv_now(timer->loop)) {
        watch_deadline(wire);
    } else if (!wire->overdue) {
        wire->overdue = true;
        (void)uv_timer_start(timer, on_timer, 1, 0);
    } else {
        char why[WHY_MAX];
        (void)snprintf(why, sizeof why, "no reply within %llu ms",
                       (unsigned long long)wire->timeout_ms);
        lose_connection(wire, PS_E_TIMEOUT, why, true);
    }
}

/* --- commands --- */

/* `script` NULL: a command that is never repeated. */
static int submit_command(struct ps_redis_wire *wire, const struct ps_redis_args *args,
                          const struct ps_redis_script *script, ps_redis_reply_fn *fn, void *ctx)
{
    sds command;
    if (wire->lost)
        return PS_E_CLOSED;
    int err = make_room(wire);
    if (err < 0)
        return err;
    if (redisFormatSdsCommandArgv(&command, args->count, (const char **)(uintptr_t)args->at,
                                  args->len) < 0)
        return PS_E_NOMEM;
    err = bytes_put(&wire->out, command, sdslen(command));
    if (err < 0 || script == NULL) {
        redisFreeSdsCommand(command);
        command = NULL;
    }
    if (err < 0)
        return err;
    wire->pending[(wire->first + wire->count) % wire->cap] = (struct pending){
        .fn = fn,
        .ctx = ctx,
        .deadline = uv_now(wire->tcp.loop) + wire->timeout_ms,
        .script = script,
        .command = command,
    };
    if (wire->count++ == 0)
        watch_deadline(wire);
    (void)uv_idle_start(&wire->turn, on_turn);
    return 0;
}

int ps_redis_wire_send(struct ps_redis_wire *wire, struct ps_redis_args args, ps_redis_reply_fn *fn,
                       void *ctx)
{
    return submit_command(wire, &args, NULL, fn, ctx);
}

int ps_redis_wire_eval(struct ps_redis_wire *wire, const struct ps_redis_script *script,
                       int key_count, struct ps_redis_args args, ps_redis_reply_fn *fn, void *ctx)
{
    enum { HEAD = 3 };
    const char *small_at[64];
    size_t small_len[64];
    char number[12];
    int count = args.count + HEAD;
    bool fits = (size_t)count <= PS_ARRAY_LEN(small_at);
    const char **at = fits ? small_at : malloc((size_t)count * sizeof *at);
    size_t *len = fits ? small_len : malloc((size_t)count * sizeof *len);
    int err = at != NULL && len != NULL ? 0 : PS_E_NOMEM;
    if (err == 0) {
        at[0] = "EVALSHA", len[0] = 7;
        at[1] = script->sha1, len[1] = strlen(script->sha1);
        at[2] = number, len[2] = (size_t)snprintf(number, sizeof number, "%d", key_count);
        memcpy(at + HEAD, args.at, (size_t)args.count * sizeof *at);
        memcpy(len + HEAD, args.len, (size_t)args.count * sizeof *len);
        struct ps_redis_args all = {count, at, len};
        err = submit_command(wire, &all, script, fn, ctx);
    }
    if (!fits) {
        free(at);
        free(len);
    }
    return err;
}

/* The server does not know the script (a restart, SCRIPT FLUSH): loads it and repeats the call.
 * False: it could not be repeated. */
static bool load_and_repeat(struct ps_redis_wire *wire, struct pending *pending)
{
    const char *at[] = {"SCRIPT", "LOAD", pending->script->text};
    const size_t len[] = {6, 4, pending->script->len};
    struct ps_redis_args load = {3, at, len};
    if (submit_command(wire, &load, NULL, NULL, NULL) < 0 || make_room(wire) < 0 ||
        bytes_put(&wire->out, pending->command, sdslen(pending->command)) < 0)
        return false;
    struct pending *again = &wire->pending[(wire->first + wire->count++) % wire->cap];
    *again = (struct pending){.fn = pending->fn,
                              .ctx = pending->ctx,
                              .deadline = uv_now(wire->tcp.loop) + wire->timeout_ms};
    return true;
}

static void answer_first(struct ps_redis_wire *wire, redisReply *reply)
{
    struct pending pending = pop_pending(wire);
    bool unknown_script = pending.command != NULL && reply->type == REDIS_REPLY_ERROR &&
                          strncmp(reply->str, "NOSCRIPT", 8) == 0;
    if (!(unknown_script && load_and_repeat(wire, &pending))) {
        if (pending.fn != NULL)
            pending.fn(0, reply, pending.ctx);
        int64_t took_ms = (int64_t)(uv_now(wire->tcp.loop) + wire->timeout_ms - pending.deadline);
        if (!wire->lost && wire->callbacks.on_reply != NULL)
            wire->callbacks.on_reply(reply, took_ms, wire->callbacks.ctx);
    }
    if (pending.command != NULL)
        redisFreeSdsCommand(pending.command);
    freeReplyObject(reply);
}

/* --- reading --- */

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct ps_redis_wire *wire = handle->data;
    (void)suggested;
    *ret = uv_buf_init(wire->in, sizeof wire->in);
}

static void take_replies(struct ps_redis_wire *wire)
{
    while (!wire->lost) {
        void *reply = NULL;
        if (redisReaderGetReply(wire->reader, &reply) != REDIS_OK) {
            char why[WHY_MAX];
            (void)snprintf(why, sizeof why, "this is not Redis's protocol: %s",
                           wire->reader->errstr);
            lose_connection(wire, PS_E_CORRUPT, why, true);
            return;
        }
        if (reply == NULL)
            return;
        if (wire->count == 0) {
            freeReplyObject(reply);
            lose_connection(wire, PS_E_CORRUPT, "a reply without a command", true);
            return;
        }
        answer_first(wire, reply);
    }
}

static void on_read(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct ps_redis_wire *wire = stream->data;
    if (wire->lost)
        return;
    if (len < 0) {
        lose_connection(wire, PS_E_CLOSED,
                        len == UV_EOF ? "the server closed the connection" : uv_strerror((int)len),
                        true);
        return;
    }
    if (redisReaderFeed(wire->reader, buf->base, (size_t)len) != REDIS_OK) {
        lose_connection(wire, PS_E_NOMEM, ps_err_text(PS_E_NOMEM), true);
        return;
    }
    take_replies(wire);
    watch_deadline(wire);
}

/* --- life --- */

static void on_connected(uv_connect_t *connect, int status)
{
    struct ps_redis_wire *wire = connect->data;
    if (wire->lost)
        return;
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&wire->tcp, give_room, on_read);
    if (status < 0) {
        lose_connection(wire, PS_E_CLOSED, uv_strerror(status), true);
        return;
    }
    wire->connected = true;
    flush_output(wire);
}

int ps_redis_wire_new(uv_loop_t *loop, const struct sockaddr *address, int64_t timeout_ms,
                      const struct ps_redis_wire_callbacks *callbacks,
                      struct ps_redis_wire **ret_wire)
{
    struct ps_redis_wire *wire = calloc(1, sizeof *wire);
    redisReader *reader = redisReaderCreate();
    if (wire == NULL || reader == NULL) {
        free(wire);
        if (reader != NULL)
            redisReaderFree(reader);
        return PS_E_NOMEM;
    }
    wire->reader = reader;
    wire->callbacks = *callbacks;
    wire->timeout_ms = (uint64_t)timeout_ms;
    /* These three only fill memory: no socket is made before the connect. */
    (void)uv_tcp_init(loop, &wire->tcp);
    (void)uv_timer_init(loop, &wire->timer);
    (void)uv_idle_init(loop, &wire->turn);
    wire->handles = 3;
    wire->tcp.data = wire->timer.data = wire->turn.data = wire;
    wire->connect.data = wire->write.data = wire;
    int err = uv_tcp_connect(&wire->connect, &wire->tcp, address, on_connected);
    if (err < 0) {
        ps_redis_wire_close(wire);
        return err == UV_ENOMEM ? PS_E_NOMEM : PS_E_IO;
    }
    (void)uv_tcp_nodelay(&wire->tcp, 1);
    (void)uv_tcp_keepalive(&wire->tcp, 1, 60);
    *ret_wire = wire;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct ps_redis_wire *wire = handle->data;
    if (--wire->handles > 0)
        return;
    redisReaderFree(wire->reader);
    free(wire->pending);
    free(wire->out.at);
    free(wire->writing.at);
    free(wire);
}

static void lose_connection(struct ps_redis_wire *wire, int err, const char *why, bool tell)
{
    wire->lost = true;
    uv_close((uv_handle_t *)&wire->tcp, on_closed);
    uv_close((uv_handle_t *)&wire->timer, on_closed);
    uv_close((uv_handle_t *)&wire->turn, on_closed);
    while (wire->count > 0) {
        struct pending pending = pop_pending(wire);
        if (pending.command != NULL)
            redisFreeSdsCommand(pending.command);
        if (pending.fn != NULL)
            pending.fn(PS_E_UNKNOWN, NULL, pending.ctx);
    }
    if (tell)
        wire->callbacks.on_lost(err, why, wire->callbacks.ctx);
}

void ps_redis_wire_close(struct ps_redis_wire *wire)
{
    if (wire != NULL && !wire->lost)
        lose_connection(wire, PS_E_CLOSED, NULL, false);
}

void ps_redis_wire_flush(struct ps_redis_wire *wire)
{
    if (wire->lost)
        return;
    uv_idle_stop(&wire->turn);
    flush_output(wire);
}

size_t ps_redis_wire_pending(const struct ps_redis_wire *wire)
{
    return wire->count;
}
