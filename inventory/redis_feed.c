/* Chunks of 1,000 fields go out by load.lua. It runs a loop and a link of its own on the caller's
 * thread until enough replies have come, so the caller is kept waiting, but every wait has the
 * thread until enough replies have arrived. The caller waits, but every wait has the link's
 * deadlines. The first error ends the load: a lost link may have lost chunks, and may reconnect to
 * another server. Sent fields are then deleted (the server also deletes them after an hour). The
 * replies tell how many fields were new; the install sends these numbers, and the server compares
 * them with its own count. */
#include "inventory/redis_feed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_FIELDS 1000
#define CHUNK_BYTES  (256 * 1024)
/* Fewer than the refusals in a row after which a link leaves its server: if the server's memory is
 * full, what was sent can still be dropped. */
#define CHUNKS_OUT 7

/* Fields and their values, or members, of one key, one behind the other. */
struct inv_chunk {
    size_t fields, texts, len;
    size_t ends[2 * CHUNK_FIELDS]; /* of each text in `bytes` */
    char bytes[CHUNK_BYTES];
};

/* --- the connection --- */

static void note_trouble(struct inv_feed *feed, int err, const char *key, const char *text)
{
    if (feed->err < 0)
        return;
    feed->err = err;
    pthread_mutex_lock(&feed->redis->lock);
    (void)snprintf(feed->redis->trouble, INV_TROUBLE_MAX, "%s%s%s", key, key[0] != '\0' ? ": " : "",
                   text);
    pthread_mutex_unlock(&feed->redis->lock);
}

static void on_ready(const char *identity, void *ctx)
{
    (void)identity, (void)ctx; /* read when it is needed */
}

static void on_away(int err, const char *why, void *ctx)
{
    note_trouble(ctx, err, "", why);
}

static int open_link(struct inv_feed *feed)
{
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, feed};
    struct ps_redis_settings settings = feed->redis->settings.link;
    settings.command_timeout_ms = feed->redis->settings.load_timeout_ms;
    if (uv_loop_init(&feed->loop) < 0)
        return PS_E_NOMEM;
    feed->has_loop = true;
    int err = ps_redis_link_new(&feed->loop, &feed->redis->url, &settings, &callbacks, &feed->link);
    if (err < 0)
        return err;
    feed->has_link = true;
    while (feed->err == 0 && ps_redis_link_state(feed->link) != PS_REDIS_READY)
        (void)uv_run(&feed->loop, UV_RUN_ONCE);
    return feed->err;
}

/* Until at most `most` commands are in progress. */
static int wait_for_replies(struct inv_feed *feed, size_t most)
{
    while (feed->err == 0 && feed->out > most)
        (void)uv_run(&feed->loop, UV_RUN_ONCE);
    return feed->err;
}

/* A chunk in progress. */
struct parcel {
    struct inv_feed *feed;
    int key;
};

static void on_chunk(int err, const redisReply *reply, void *ctx)
{
    struct parcel *parcel = ctx;
    struct inv_feed *feed = parcel->feed;
    const char *key = feed->keys.name[parcel->key];
    feed->out--;
    if (err == 0 && (err = ps_redis_reply_err(reply)) < 0)
        note_trouble(feed, err == PS_E_UNKNOWN ? PS_E_IO : err, key, reply->str);
    else if (err == 0 && reply->type == REDIS_REPLY_INTEGER)
        feed->expected[parcel->key] += reply->integer;
    else if (err == 0)
        note_trouble(feed, PS_E_CONFLICT, key, "this epoch or a higher one is already installed");
    /* without a reply the link is lost, and on_away says why */
    free(parcel);
}

static int submit_chunk(struct inv_feed *feed, int key, const struct inv_chunk *chunk)
{
    enum { HEAD = 4 };
    const char **at = malloc((HEAD + chunk->texts) * sizeof *at);
    size_t *len = malloc((HEAD + chunk->texts) * sizeof *len);
    struct parcel *parcel = malloc(sizeof *parcel);
    char epoch[INV_INT_TEXT];
    int err = PS_E_NOMEM;
    if (at != NULL && len != NULL && parcel != NULL) {
        at[0] = feed->keys.name[INV_KEY_CURRENT], len[0] = feed->keys.len[INV_KEY_CURRENT];
        at[1] = feed->keys.name[key], len[1] = feed->keys.len[key];
        at[2] = epoch, len[2] = inv_print_int(epoch, feed->epoch);
        at[3] = key == INV_KEY_ADJUST ? "SADD" : "HSET", len[3] = 4;
        for (size_t i = 0, start = 0; i < chunk->texts; start = chunk->ends[i++]) {
            at[HEAD + i] = chunk->bytes + start;
            len[HEAD + i] = chunk->ends[i] - start;
        }
        *parcel = (struct parcel){feed, key};
        struct ps_redis_args args = {(int)(HEAD + chunk->texts), at, len};
        err = ps_redis_link_eval(feed->link, &inv_scripts[INV_SCRIPT_LOAD], 2, args, on_chunk,
                                 parcel);
    }
    if (err < 0)
        free(parcel);
    free(at);
    free(len);
    return err;
}

static int send_chunk(struct inv_feed *feed, int key)
{
    struct inv_chunk *chunk = feed->chunks[key];
    if (chunk == NULL || chunk->fields == 0)
        return feed->err;
    if (feed->err == 0 && !feed->has_loop) {
        int err = open_link(feed);
        if (err < 0)
            return feed->err = err;
    }
    if (wait_for_replies(feed, CHUNKS_OUT - 1) < 0)
        return feed->err;
    int err = submit_chunk(feed, key, chunk);
    if (err < 0)
        return feed->err = err;
    feed->out++;
    feed->sent = true;
    chunk->fields = chunk->texts = chunk->len = 0;
    (void)uv_run(&feed->loop, UV_RUN_NOWAIT); /* it is sent while the next one is filled */
    return feed->err;
}

/* --- its fields --- */

char *inv_feed_begin(struct inv_feed *feed, int key, size_t room)
{
    struct inv_chunk *chunk = feed->chunks[key];
    if (feed->err < 0)
        return NULL;
    if (chunk == NULL) {
        chunk = feed->chunks[key] = malloc(sizeof *chunk);
        if (chunk == NULL) {
            feed->err = PS_E_NOMEM;
            return NULL;
        }
        chunk->fields = chunk->texts = chunk->len = 0;
    }
    bool full = chunk->fields == CHUNK_FIELDS || CHUNK_BYTES - chunk->len < room;
    return full && send_chunk(feed, key) < 0 ? NULL : chunk->bytes + chunk->len;
}

char *inv_feed_value(struct inv_feed *feed, int key, char *end)
{
    struct inv_chunk *chunk = feed->chunks[key];
    chunk->len = (size_t)(end - chunk->bytes);
    chunk->ends[chunk->texts++] = chunk->len;
    return end;
}

void inv_feed_end(struct inv_feed *feed, int key, char *end)
{
    (void)inv_feed_value(feed, key, end);
    feed->chunks[key]->fields++;
}

/* --- the end --- */

static void on_installed(int err, const redisReply *reply, void *ctx)
{
    struct inv_feed *feed = ctx;
    const char *key = feed->keys.name[INV_KEY_CURRENT];
    const char *word = reply != NULL && reply->str != NULL ? reply->str : "no reply to the install";
    feed->out--;
    if (err == 0)
        err = ps_redis_reply_err(reply);
    if (err == 0 && reply->type != REDIS_REPLY_STATUS)
        err = PS_E_UNKNOWN; /* the script does not say that */
    feed->maybe_installed = err == PS_E_UNKNOWN || (err == 0 && strcmp(word, "OK") == 0);
    if (err < 0)
        note_trouble(feed, err, key, word);
    else if (strcmp(word, "LATE") == 0)
        note_trouble(feed, PS_E_CONFLICT, key, "this epoch or a higher one is installed");
    else if (strcmp(word, "FORBIDDEN") == 0)
        note_trouble(feed, PS_E_PERMISSION, key, "this Redis user may not run HDEL");
    else if (!feed->maybe_installed)
        note_trouble(feed, PS_E_BUSY, key, "the server does not have the whole load");
}

static void on_dropped(int err, const redisReply *reply, void *ctx)
{
    struct inv_feed *feed = ctx;
    (void)err, (void)reply; /* otherwise it expires after an hour */
    feed->out--;
}

/* install.lua or drop.lua: all keys, the epoch; of install also the identity and the numbers. */
static int send_end(struct inv_feed *feed, enum inv_script script, ps_redis_reply_fn *fn)
{
    const char *at[2 * INV_KEYS + 2];
    size_t len[2 * INV_KEYS + 2];
    char epoch[INV_INT_TEXT], numbers[INV_KEYS][INV_INT_TEXT];
    int count = INV_KEYS + 1;
    for (size_t i = 0; i < INV_KEYS; i++) {
        at[i] = feed->keys.name[i];
        len[i] = feed->keys.len[i];
    }
    at[INV_KEYS] = epoch, len[INV_KEYS] = inv_print_int(epoch, feed->epoch);
    if (script == INV_SCRIPT_INSTALL) {
        at[count] = ps_redis_link_identity(feed->link);
        len[count] = strlen(at[count]);
        count++;
        for (size_t i = 1; i < INV_KEYS; i++, count++) {
            at[count] = numbers[i];
            len[count] = inv_print_int(numbers[i], feed->expected[i]);
        }
    }
    int err = ps_redis_link_eval(feed->link, &inv_scripts[script], INV_KEYS,
                                 (struct ps_redis_args){count, at, len}, fn, feed);
    if (err == 0)
        feed->out++;
    return err;
}

int inv_feed_install(struct inv_feed *feed)
{
    for (int key = INV_KEY_STOCK; key < INV_KEYS; key++) {
        if (send_chunk(feed, key) < 0)
            return feed->err;
    }
    if (!feed->has_loop && (feed->err = open_link(feed)) < 0) /* a sale without SKUs */
        return feed->err;
    if (wait_for_replies(feed, 0) < 0)
        return feed->err;
    int err = send_end(feed, INV_SCRIPT_INSTALL, on_installed);
    if (err < 0)
        return feed->err = err;
    return wait_for_replies(feed, 0);
}

/* Ignores their results: a lost link answers all. */
static void wait_for_all(struct inv_feed *feed)
{
    while (feed->out > 0)
        (void)uv_run(&feed->loop, UV_RUN_ONCE);
}

/* Drops what was sent, if the server is still there. */
static void drop_sent(struct inv_feed *feed)
{
    if (!feed->sent || feed->maybe_installed)
        return;
    wait_for_all(feed);
    if (ps_redis_link_state(feed->link) == PS_REDIS_READY &&
        send_end(feed, INV_SCRIPT_DROP, on_dropped) == 0)
        wait_for_all(feed);
}

void inv_feed_close(struct inv_feed *feed)
{
    if (feed->has_link) {
        drop_sent(feed);
        ps_redis_link_close(feed->link);
    }
    if (feed->has_loop) {
        (void)uv_run(&feed->loop, UV_RUN_DEFAULT); /* until all handles are closed */
        int err = uv_loop_close(&feed->loop);
        assert(err == 0);
        (void)err;
    }
    for (size_t i = 0; i < INV_KEYS; i++)
        free(feed->chunks[i]);
}

const char *inv_feed_identity(const struct inv_feed *feed)
{
    return ps_redis_link_identity(feed->link);
}
