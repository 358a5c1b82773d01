/* One TCP connection that speaks Redis's protocol: commands in, replies out in the same order, each
 * within a deadline. It connects once and is lost once; to connect again, make another one
 * (redis_link does). hiredis formats and parses; libuv moves the bytes. One thread: that of the
 * loop. */
#ifndef PS_REDIS_WIRE_H
#define PS_REDIS_WIRE_H

#include "common/err.h"

#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <uv.h>

struct ps_redis_wire;

/* A Lua script: `sha1` in hexadecimal is that of `text`. */
struct ps_redis_script {
    const char *name;
    const char *text;
    size_t len;
    const char *sha1;
};

/* The parts of a command. */
struct ps_redis_args {
    int count;
    const char *const *at;
    const size_t *len;
};

/* Comes exactly once for each command that was taken. err 0: the reply, which may be one of type
 * error, and lives until this returns. PS_E_UNKNOWN: none will come; the command may have been
 * executed, or may still be. */
typedef void ps_redis_reply_fn(int err, const redisReply *reply, void *ctx);

struct ps_redis_wire_callbacks {
    /* After the callback of each reply, which came `took_ms` after its command was sent, by the
     * loop's clock. May be NULL. */
    void (*on_reply)(const redisReply *reply, int64_t took_ms, void *ctx);
    /* Comes at most once, after the callbacks of all commands; not after ps_redis_wire_close.
     * PS_E_CLOSED: not connected, or cut off; PS_E_TIMEOUT; PS_E_CORRUPT: not Redis's protocol. */
    void (*on_lost)(int err, const char *why, void *ctx);
    void *ctx;
};

/* Starts to connect; commands may be sent at once. `timeout_ms`: how long each reply may take,
 * counted from its command. PS_E_NOMEM; PS_E_IO. */
int ps_redis_wire_new(uv_loop_t *loop, const struct sockaddr *address, int64_t timeout_ms,
                      const struct ps_redis_wire_callbacks *callbacks,
                      struct ps_redis_wire **ret_wire) PS_MUST_CHECK;
/* What was sent within one turn of the loop leaves together at its end. PS_E_CLOSED: the wire is
 * lost; PS_E_NOMEM. */
int ps_redis_wire_send(struct ps_redis_wire *wire, struct ps_redis_args args, ps_redis_reply_fn *fn,
                       void *ctx) PS_MUST_CHECK;
/* EVALSHA with these KEYS and ARGV (`key_count` of the former). When the server does not know the
 * script, it is loaded and the call repeated, once. */
int ps_redis_wire_eval(struct ps_redis_wire *wire, const struct ps_redis_script *script,
                       int key_count, struct ps_redis_args args, ps_redis_reply_fn *fn,
                       void *ctx) PS_MUST_CHECK;
/* Writes now what the end of the turn would write. */
void ps_redis_wire_flush(struct ps_redis_wire *wire);
size_t ps_redis_wire_pending(const struct ps_redis_wire *wire);
/* Answers pending commands with PS_E_UNKNOWN; the memory is freed when the loop has closed the
 * handles. May be called from any callback. NULL is allowed. */
void ps_redis_wire_close(struct ps_redis_wire *wire);

#endif
