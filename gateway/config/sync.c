/* The exchange with Redis, one at a time:
 *
 *   [push: the own copies, when Redis is not known to have them ->] since: what is newer -> is
 *   taken over as a change of its own -> `steady`: all that Redis had is here
 *
 * It begins with each greeting, each POLL_MS, and when a put has been refused. A put may be under
 * way beside it: replies come in order, and the version decides.
 *
 * What must hold: the revision moves on only when what it stands for is in control.db; what could
 * not be written is asked for again. Revision 0 asks for all, and then what is not there is gone.
 * The generation is forgotten whenever Redis may have lost something. */
#include "gateway/config/sync.h"

#include "common/log.h"
#include "gateway/config/codec.h"
#include "gateway/config/sync_scripts.h"
#include "gateway/cluster/cluster.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY      "ps:control"
#define KEY_REVS "ps:control:revs"

#define POLL_MS    150
#define SETTLE_MS  1000 /* for the other gateways to notice that Redis is another one */
#define PAGE_DOCS  64
#define PAGE_BYTES ((size_t)256 << 10) /* of a push: no call of Redis takes long */
#define GENERATION 16                  /* random bytes */

struct cfg_sync {
    struct gw_control *control;
    uv_timer_t timer;
    struct ps_redis_link *link; /* NULL: stopped */
    char identity[PS_REDIS_IDENTITY_MAX + 1];
    char generation[2 * GENERATION + 1]; /* "": push first */
    int64_t rev;                         /* all up to here is in control.db */
    bool synced, steady;
    bool busy;          /* an exchange is under way */
    bool again;         /* one more after it */
    int64_t settled_ns; /* changes wait until then */
    size_t pushes;      /* pages that are not answered */
    int push_err;
    struct cfg_merge *taken; /* what is being taken over */
    int64_t taken_rev;
    cfg_sync_put_fn *put_fn;
    void *put_ctx;
    int64_t put_version;
    char why[320]; /* of the last exchange; "": it went well */
};

static void exchange(struct cfg_sync *accord);

static int64_t now_ns(const struct cfg_sync *accord)
{
    return ps_clock_mono_ns(accord->control->core->clock);
}

static bool is_open(const struct cfg_sync *accord)
{
    return accord->link != NULL && ps_redis_link_open(accord->link);
}

/* Whoever decides in a Redis that counts for another log has another cluster's sales before him. */
static bool is_ours(const struct cfg_sync *accord)
{
    return clu_owns(accord->control->core->cluster);
}

static const char *server(const struct cfg_sync *accord)
{
    return accord->link != NULL ? ps_redis_link_server(accord->link) : "";
}

/* Redis may have lost what this gateway knows: it is brought again, and so do the others. */
static void lose(struct cfg_sync *accord)
{
    accord->generation[0] = '\0';
    accord->steady = false;
    accord->settled_ns = now_ns(accord) + SETTLE_MS * PS_NS_PER_MS;
}

/* --- Calls. --- */

/* KEYS and ARGV of a call, heap. */
struct call {
    const char **at;
    size_t *len;
    int count;
};

static void add(struct call *call, const char *text)
{
    if (call->at == NULL)
        return;
    call->at[call->count] = text;
    call->len[call->count++] = strlen(text);
}

/* With room for so many ARGV; without memory send_call says so. */
static struct call begin_call(size_t argv)
{
    struct call call = {.at = calloc(argv + 2, sizeof *call.at),
                        .len = calloc(argv + 2, sizeof *call.len)};

    if (call.at == NULL || call.len == NULL) {
        free(call.at);
        free(call.len);
        return (struct call){0};
    }
    add(&call, KEY);
    add(&call, KEY_REVS);
    return call;
}

/* Frees the call in every case. */
static int send_call(struct cfg_sync *accord, enum cfg_sync_script script, struct call *call,
                     ps_redis_reply_fn *fn)
{
    int err = call->at == NULL
                  ? PS_E_NOMEM
                  : ps_redis_link_eval(accord->link, &cfg_sync_scripts[script], 2,
                                       (struct ps_redis_args){call->count, call->at, call->len}, fn,
                                       accord);
    free(call->at);
    free(call->len);
    return err;
}

/* What is wrong with a reply; 0: it is an array that begins with a word, or a text. */
static int reply_fault(const struct cfg_sync *accord, int err, const redisReply *reply,
                       struct ps_fault *fault)
{
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "Redis %s did not answer", server(accord));
    err = ps_redis_reply_err(reply);
    if (err == PS_E_CORRUPT)
        return ps_fault(fault, err, CFG_SYNC_PATH,
                        "Redis %s: " KEY " or " KEY_REVS
                        " is not penstock's: rename it, or name another database (%s)",
                        server(accord), reply->str);
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "Redis %s: %s", server(accord), reply->str);
    if (reply->type == REDIS_REPLY_STRING ||
        (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
         reply->element[0]->type == REDIS_REPLY_STRING))
        return 0;
    return ps_fault(fault, PS_E_CORRUPT, CFG_SYNC_PATH, "Redis %s: a strange reply",
                    server(accord));
}

static bool says(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ARRAY && strcmp(reply->element[0]->str, word) == 0;
}

/* --- The exchange. --- */

/* Says why once, not with every try. */
static void end_exchange(struct cfg_sync *accord, const struct ps_fault *fault)
{
    const char *why = fault != NULL ? fault->text : "";
    bool news = strcmp(accord->why, why) != 0;

    accord->busy = false;
    if (accord->link == NULL)
        return;
    if (news && fault != NULL)
        ps_log(PS_LOG_ERROR, "control_not_shared", PS_F_STR("error", why));
    else if (news || !accord->synced)
        ps_log(PS_LOG_INFO, "control_shared", PS_F_STR("redis", server(accord)),
               PS_F_INT("rev", accord->rev));
    (void)snprintf(accord->why, sizeof accord->why, "%s", why);
    if (fault == NULL && !accord->again)
        accord->steady = accord->synced = true;
    if (accord->again)
        exchange(accord);
    else
        gw_control_go_on(accord->control);
}

static void fail_exchange(struct cfg_sync *accord, int err)
{
    struct ps_fault fault;

    (void)ps_fault(&fault, err, CFG_SYNC_PATH, "Redis %s: %s", server(accord), ps_err_text(err));
    end_exchange(accord, &fault);
}

/* It is in control.db and in force, or not. */
static void on_taken(struct gw_control *control, int err, const struct ps_fault *fault, void *ctx)
{
    struct cfg_sync *accord = ctx;
    struct ps_fault why = *fault;

    (void)control;
    cfg_merge_free(accord->taken);
    accord->taken = NULL;
    if (accord->link == NULL)
        return;
    if (err < 0) {
        if (why.text[0] == '\0')
            (void)ps_fault(&why, err, "", "control.db: %s", ps_err_text(err));
        end_exchange(accord, &why);
        return;
    }
    if (accord->generation[0] == '\0') { /* lost meanwhile; another exchange follows */
        end_exchange(accord, NULL);
        return;
    }
    accord->rev = accord->taken_rev;
    end_exchange(accord, NULL);
}

/* A document that this gateway cannot read is left alone: it stays as it is here. PS_E_NOMEM. */
static int read_documents(struct cfg_sync *accord, const redisReply *reply)
{
    for (size_t i = 2; i + 1 < reply->elements; i += 2) {
        const redisReply *field = reply->element[i], *value = reply->element[i + 1];
        struct ps_str name = {field->str, field->len}, text = {NULL, 0};
        struct ps_fault fault;
        if (value->type == REDIS_REPLY_STRING)
            text = (struct ps_str){value->str, value->len};
        int err = cfg_merge_add(accord->taken, name, text, &fault);
        if (err == PS_E_NOMEM)
            return err;
        if (err < 0)
            ps_log(PS_LOG_ERROR, "shared_copy_unreadable", PS_F_STR("document", fault.path),
                   PS_F_STR("error", fault.text));
    }
    return 0;
}

static void on_since(int err, const redisReply *reply, void *ctx)
{
    struct cfg_sync *accord = ctx;
    struct ps_fault fault;

    if (reply_fault(accord, err, reply, &fault) < 0) {
        end_exchange(accord, &fault);
        return;
    }
    if (!says(reply, "OK") || reply->elements < 2) {
        lose(accord);
        accord->busy = false;
        exchange(accord);
        return;
    }
    if (reply->elements == 2) {
        end_exchange(accord, NULL);
        return;
    }
    accord->steady = false;
    accord->taken_rev = reply->element[1]->integer;
    accord->taken = cfg_merge_new(accord->rev == 0);
    if (accord->taken == NULL) {
        fail_exchange(accord, PS_E_NOMEM);
        return;
    }
    if (read_documents(accord, reply) < 0 ||
        gw_control_take(accord->control, accord->taken, on_taken, accord) < 0) {
        cfg_merge_free(accord->taken);
        accord->taken = NULL;
        fail_exchange(accord, PS_E_NOMEM);
    }
}

static void ask_since(struct cfg_sync *accord)
{
    struct call call = begin_call(2);
    char rev[24];

    (void)snprintf(rev, sizeof rev, "%" PRId64, accord->rev);
    add(&call, accord->generation);
    add(&call, rev);
    int err = send_call(accord, CFG_SYNC_SCRIPT_SINCE, &call, on_since);
    if (err < 0)
        fail_exchange(accord, err);
}

static void on_push(int err, const redisReply *reply, void *ctx)
{
    struct cfg_sync *accord = ctx;
    struct ps_fault fault;

    err = reply_fault(accord, err, reply, &fault);
    if (err == 0 && reply->len >= sizeof accord->generation)
        err = ps_fault(&fault, PS_E_CORRUPT, CFG_SYNC_PATH,
                       "the generation in " KEY " is not penstock's");
    if (err < 0)
        accord->push_err = err;
    else
        memcpy(accord->generation, reply->str, reply->len + 1);
    if (--accord->pushes > 0)
        return;
    if (accord->push_err < 0) {
        accord->generation[0] = '\0';
        if (err == 0)
            fail_exchange(accord, accord->push_err);
        else
            end_exchange(accord, &fault);
        return;
    }
    accord->rev = 0;
    ask_since(accord);
}

/* One document of `docs`, which may have entries behind it, or a part of them that have none; the
 * place behind it. */
static size_t push_some(struct cfg_sync *accord, const char *generation,
                        const struct cfg_codec_docs *docs, size_t from)
{
    char versions[PAGE_DOCS][24], count[24];
    size_t documents = 0, bytes = 0, i = from;
    struct call call = begin_call(2 + 3 * (docs->count - from));
    int err;

    while (from + documents < docs->count && docs->at[from + documents].version > 0 &&
           documents < PAGE_DOCS && bytes < PAGE_BYTES)
        bytes += strlen(docs->at[from + documents++].text);
    (void)snprintf(count, sizeof count, "%zu", documents);
    add(&call, generation);
    add(&call, count);
    for (; i < from + documents; i++) {
        (void)snprintf(versions[i - from], sizeof versions[0], "%" PRId64, docs->at[i].version);
        add(&call, docs->at[i].field);
        add(&call, versions[i - from]);
        add(&call, docs->at[i].text);
    }
    for (; i < docs->count && docs->at[i].version == 0; i++) {
        add(&call, docs->at[i].field);
        add(&call, docs->at[i].text);
    }
    err = send_call(accord, CFG_SYNC_SCRIPT_PUSH, &call, on_push);
    if (err < 0)
        accord->push_err = err;
    else
        accord->pushes++;
    return i;
}

static void push_all(struct cfg_sync *accord, const char *generation,
                     const struct cfg_codec_docs *docs)
{
    for (size_t i = 0; i < docs->count && accord->push_err == 0;)
        i = push_some(accord, generation, docs, i);
}

static void push(struct cfg_sync *accord)
{
    char generation[sizeof accord->generation];
    unsigned char random[GENERATION];
    struct cfg_codec_docs policy = {0}, sales = {0};
    int err = cfg_codec_policy_own(accord->control, &policy);

    if (err == 0)
        err = cfg_codec_sales_own(accord->control, &sales);
    randombytes_buf(random, sizeof random);
    (void)sodium_bin2hex(generation, sizeof generation, random, sizeof random);
    accord->push_err = err;
    push_all(accord, generation, &policy);
    push_all(accord, generation, &sales);
    cfg_codec_docs_done(&policy);
    cfg_codec_docs_done(&sales);
    if (accord->pushes == 0)
        fail_exchange(accord, accord->push_err);
}

/* Begins one, now or after the one that is under way. */
static void exchange(struct cfg_sync *accord)
{
    accord->again = accord->busy;
    if (accord->busy)
        return;
    if (!is_ours(accord)) {
        accord->steady = false;
        (void)snprintf(accord->why, sizeof accord->why,
                       "it counts for another order log, or Kafka, which says which one this "
                       "gateway's is, has not been reached yet");
        return;
    }
    accord->busy = true;
    if (accord->generation[0] == '\0')
        push(accord);
    else
        ask_since(accord);
}

/* --- Changes. --- */

static void on_put(int err, const redisReply *reply, void *ctx)
{
    struct cfg_sync *accord = ctx;
    cfg_sync_put_fn *fn = accord->put_fn;
    struct ps_fault fault = {0};

    accord->put_fn = NULL;
    err = reply_fault(accord, err, reply, &fault);
    if (err == PS_E_UNKNOWN)
        (void)ps_fault(&fault, err, CFG_SYNC_PATH,
                       "Redis %s did not answer: the change may come into force all the same",
                       server(accord));
    if (err == 0 && !says(reply, "OK")) {
        bool newer = says(reply, "CONFLICT") && reply->elements == 2 &&
                     reply->element[1]->integer >= accord->put_version;
        err = ps_fault(&fault, newer ? PS_E_CONFLICT : PS_E_BUSY, CFG_SYNC_PATH,
                       "somebody else has changed this meanwhile");
        if (!newer)
            lose(accord);
        accord->steady = false;
        exchange(accord);
    }
    fn(accord->control, err, &fault, accord->put_ctx);
}

/* The document that changes, then its entries. */
static int send_put(struct cfg_sync *accord, const struct cfg_codec_docs *docs)
{
    struct call call = begin_call(2 + 2 * docs->count);
    char version[24];

    (void)snprintf(version, sizeof version, "%" PRId64, docs->at[0].version);
    add(&call, accord->generation);
    add(&call, docs->at[0].field);
    add(&call, version);
    add(&call, docs->at[0].text);
    for (size_t i = 1; i < docs->count; i++) {
        add(&call, docs->at[i].field);
        add(&call, docs->at[i].text);
    }
    return send_call(accord, CFG_SYNC_SCRIPT_PUT, &call, on_put);
}

int cfg_sync_put(struct cfg_sync *accord, const struct cfg_store_job *job, cfg_sync_put_fn *fn,
                 void *ctx, struct ps_fault *fault)
{
    struct cfg_codec_docs docs;
    int err = cfg_codec_of_job(accord->control, job, &docs);

    if (err == PS_E_NOT_FOUND)
        return err;
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "out of memory");
    err = is_open(accord) && is_ours(accord) && accord->generation[0] != '\0'
              ? send_put(accord, &docs)
              : PS_E_CLOSED;
    accord->put_version = docs.at[0].version;
    cfg_codec_docs_done(&docs);
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "Redis %s takes no changes: %s", server(accord),
                        accord->why[0] != '\0' ? accord->why : ps_err_text(err));
    accord->put_fn = fn;
    accord->put_ctx = ctx;
    return 0;
}

bool cfg_sync_holds(const struct cfg_sync *accord)
{
    return is_open(accord) &&
           ((accord->busy && !accord->steady) || now_ns(accord) < accord->settled_ns);
}

/* --- The link, and the timer. --- */

static void on_ready(const char *identity, void *ctx)
{
    struct cfg_sync *accord = ctx;

    if (strcmp(identity, accord->identity) != 0) {
        if (accord->identity[0] != '\0')
            lose(accord);
        (void)snprintf(accord->identity, sizeof accord->identity, "%s", identity);
    }
    accord->steady = false;
    exchange(accord);
}

static void on_away(int err, const char *why, void *ctx)
{
    struct cfg_sync *accord = ctx;

    ps_log(PS_LOG_WARN, "control_redis_away", PS_F_STR("error", ps_err_text(err)),
           PS_F_STR("why", why));
    (void)snprintf(accord->why, sizeof accord->why, "%s", why);
}

static void on_timer(uv_timer_t *timer)
{
    struct cfg_sync *accord = timer->data;

    (void)uv_timer_start(&accord->timer, on_timer, POLL_MS, 0);
    if (is_open(accord) && !accord->busy)
        exchange(accord);
    gw_control_go_on(accord->control);
}

void cfg_sync_wake(struct cfg_sync *accord)
{
    if (accord->link != NULL)
        (void)uv_timer_start(&accord->timer, on_timer, 0, 0);
}

bool cfg_sync_synced(const struct cfg_sync *accord)
{
    return accord->synced;
}

int cfg_sync_new(struct gw_control *control, uv_loop_t *loop, const struct ps_redis_url *url,
                 const struct ps_redis_settings *settings)
{
    struct cfg_sync *accord = calloc(1, sizeof *accord);
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, accord};
    int err;

    if (accord == NULL)
        return PS_E_NOMEM;
    accord->control = control;
    err = ps_redis_link_new(loop, url, settings, &callbacks, &accord->link);
    if (err < 0) {
        free(accord);
        return err;
    }
    (void)uv_timer_init(loop, &accord->timer);
    accord->timer.data = accord;
    (void)uv_timer_start(&accord->timer, on_timer, POLL_MS, 0);
    control->accord = accord;
    return 0;
}

void cfg_sync_stop(struct cfg_sync *accord)
{
    struct ps_redis_link *link;

    if (accord == NULL || accord->link == NULL)
        return;
    uv_close((uv_handle_t *)&accord->timer, NULL);
    link = accord->link;
    accord->link = NULL;
    ps_redis_link_close(link); /* answers what is pending */
}

void cfg_sync_free(struct cfg_sync *accord)
{
    free(accord);
}
