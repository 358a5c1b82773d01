/* A lasting link to the one Redis that counts: found by URL (through Sentinels, if there are any),
 * greeted before anything else, watched, and found again when it is lost.
 *
 * The greeting is AUTH, SELECT and INFO. Only a master whose maxmemory-policy is noeviction is
 * accepted, and no node of a Redis Cluster; what it is (run_id and master_replid: its *identity*)
 * comes with `on_ready`, before any other command can be sent, and looked at again every
 * `check_ms`. When it changes, or the server says that it is no master any more, the link is lost
 * and greets anew: two servers are never taken for one.
 *
 * A circuit breaker (breaker.h) stands before the server:
 *   away    open: nothing goes through until its pause is over
 *   trying  half open: connects and greets
 *   ready   closed; after time-outs or refusals still half open, so that one command at a time goes
 *           through until the first good reply. Open while most replies have been slow: the
 *           connection stays, since what is pending may still be answered.
 * A link that is lost, a time-out and a server that is not the master trip it. Refusals, in a row
 * or most of the window's, and slow replies are its judgement. A reply that says that the command
 * itself was wrong is a good one.
 *
 * An operator may override it. Forced open, no command goes through; the link stays connected and
 * keeps checking the server. Forced closed, no judgement stops commands.
 *
 * One thread: that of the loop. SIGPIPE must be ignored by the program. */
#ifndef PS_REDIS_LINK_H
#define PS_REDIS_LINK_H

#include "common/breaker.h"
#include "common/redis/redis_url.h"
#include "common/redis/redis_wire.h"

struct ps_redis_link;

struct ps_redis_settings {
    int64_t connect_timeout_ms; /* to find, connect and greet one server */
    int64_t command_timeout_ms; /* for each reply */
    /* Doubled at each failure; half of it to all of it, at random. The most is small, since it is
     * part of how long buyers wait when Redis is back. */
    int64_t backoff_min_ms, backoff_max_ms;
    int64_t check_ms; /* between looks at the identity; 0 = none */
    /* A reply that takes this long is slow; while most are, the breaker is open; 0 = off. For links
     * whose callers prefer a quick refusal to a late answer. */
    int64_t slow_ms;
    size_t pending_max; /* commands that wait for their replies */
};
extern const struct ps_redis_settings ps_redis_defaults;

#define PS_REDIS_IDENTITY_MAX 95 /* "run_id:master_replid" */

enum ps_redis_state { PS_REDIS_AWAY, PS_REDIS_TRYING, PS_REDIS_READY };

struct ps_redis_callbacks {
    /* The server is greeted. */
    void (*on_ready)(const char *identity, void *ctx);
    /* Not ready any more, or an attempt has failed in another way than the one before. `why` names
     * the server, never a password. PS_E_PERMISSION: AUTH was refused. PS_E_READ_ONLY: no master.
     * PS_E_INVALID: its settings or its version are not accepted. */
    void (*on_away)(int err, const char *why, void *ctx);
    void *ctx;
};

/* Starts to connect. `url` is copied. PS_E_NOMEM; PS_E_IO: no random numbers. */
int ps_redis_link_new(uv_loop_t *loop, const struct ps_redis_url *url,
                      const struct ps_redis_settings *settings,
                      const struct ps_redis_callbacks *callbacks,
                      struct ps_redis_link **ret_link) PS_MUST_CHECK;
/* Pending commands are answered with PS_E_UNKNOWN before this returns; the memory is freed when the
 * loop has closed the handles. No callback of the link comes after this. NULL is allowed. */
void ps_redis_link_close(struct ps_redis_link *link);

enum ps_redis_state ps_redis_link_state(const struct ps_redis_link *link);
/* True if a command would be sent now. */
bool ps_redis_link_open(struct ps_redis_link *link);
/* Its breaker's view; `why` names the server, never a password. */
void ps_redis_link_show(struct ps_redis_link *link, struct ps_breaker_view *ret_view);
void ps_redis_link_force(struct ps_redis_link *link, const struct ps_breaker_force *force);
/* Of the last greeted server; "" before the first. */
const char *ps_redis_link_identity(const struct ps_redis_link *link);
/* "host:port" of the present or last server. */
const char *ps_redis_link_server(const struct ps_redis_link *link);

/* As ps_redis_wire_eval. PS_E_CLOSED: not let through; PS_E_FULL: pending_max are pending;
 * PS_E_NOMEM. */
int ps_redis_link_eval(struct ps_redis_link *link, const struct ps_redis_script *script,
                       int key_count, struct ps_redis_args args, ps_redis_reply_fn *fn,
                       void *ctx) PS_MUST_CHECK;

/* A plain command: as ps_redis_wire_send, and errors as of ps_redis_link_eval. */
int ps_redis_link_send(struct ps_redis_link *link, struct ps_redis_args args, ps_redis_reply_fn *fn,
                       void *ctx) PS_MUST_CHECK;

/* Writes now what the end of the loop's turn would write. */
void ps_redis_link_flush(struct ps_redis_link *link);

/* 0: the reply is no error. Else the error: PS_E_FULL (OOM), PS_E_READ_ONLY, PS_E_PERMISSION,
 * PS_E_BUSY (loading, a slow script, cannot write its disk, too few replicas) and PS_E_CORRUPT
 * (WRONGTYPE) mean that the command was not executed; PS_E_UNKNOWN is everything else. */
int ps_redis_reply_err(const redisReply *reply);

#endif
