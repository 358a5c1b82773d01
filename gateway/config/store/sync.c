/* The exchange with Redis, one at a time:
 *
 *   [push: this gateway's copies, unless Redis is known to have them ->] since: the newer versions
 * -> they come into force as a change of their own -> since … -> `steady`: all that Redis had is
 * here
 *
 * It begins after each greeting, each POLL_MS, and when a put was refused. A put may be in progress
 * at the same time: replies come in order, and the version decides. Long lists go in pages, so that
 * no call of Redis takes long.
 *
 * What must hold: the revision advances only when all its changes are in control.db; what could not
 * be written is requested again. Revision 0 requests everything. The generation is forgotten
 * whenever Redis may have lost something. */
#include "gateway/config/store/sync.h"

#include "common/program/log.h"
#include "gateway/config/store/codec.h"
#include "gateway/config/store/sync_call.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS    150
#define SETTLE_MS  1000 /* time for the other gateways to notice that Redis has changed */
#define PAGE_DOCS  256
#define PAGE_BYTES ((size_t)256 << 10) /* of a push */
#define PAGE_READ  "1000"              /* documents, about */
#define GENERATION 16                  /* random bytes */

struct cfg_sync {
    struct cfg_store *store;
    struct cfg_sync_settings settings;
    uv_timer_t timer;
    struct ps_redis_link *link; /* NULL: stopped */
    char identity[PS_REDIS_IDENTITY_MAX + 1];
    char generation[2 * GENERATION + 1]; /* "": push first */
    int64_t rev;                         /* all up to here is in control.db */
    bool synced, steady;
    bool busy, again;   /* an exchange is in progress; another follows */
    int64_t settled_ns; /* changes wait until then */
    /* A push: the last document that was sent, and its generation. */
    const struct cfg_kind *pushed_kind;
    char pushed_name[CFG_NAME_MAX + 1];
    char pushed_generation[2 * GENERATION + 1];
    bool pushed;       /* a page has been taken */
    int64_t taken_rev; /* of the versions that are coming into force */
    bool more;         /* more versions follow */
    const struct cfg_job *put_job;
    cfg_sync_put_fn *put_fn;
    void *put_ctx;
    char why[320]; /* why the last exchange failed; "": it did not */
};

static void exchange(struct cfg_sync *sync);

static bool is_open(const struct cfg_sync *sync)
{
    return sync->link != NULL && ps_redis_link_open(sync->link);
}

static bool is_ours(const struct cfg_sync *sync)
{
    return sync->settings.is_ours == NULL || sync->settings.is_ours(sync->settings.ctx);
}

static const char *server(const struct cfg_sync *sync)
{
    return sync->link != NULL ? ps_redis_link_server(sync->link) : "";
}

/* Redis may have lost what this gateway knows: this gateway pushes its copies again, as the others
 * do. */
static void lose(struct cfg_sync *sync)
{
    sync->generation[0] = '\0';
    sync->steady = false;
    sync->settled_ns = ps_clock_mono_ns(cfg_store_clock(sync->store)) + SETTLE_MS * PS_NS_PER_MS;
}

/* --- The exchange. --- */

/* Logs a reason once, not at every attempt. */
static void end_exchange(struct cfg_sync *sync, const struct ps_fault *fault)
{
    const char *why = fault != NULL ? fault->text : "";
    bool news = strcmp(sync->why, why) != 0;

    sync->busy = false;
    if (sync->link == NULL)
        return;
    if (news && fault != NULL)
        ps_log(PS_LOG_ERROR, "control_not_shared", PS_F_STR("error", why));
    else if (news || !sync->synced)
        ps_log(PS_LOG_INFO, "control_shared", PS_F_STR("redis", server(sync)),
               PS_F_INT("rev", sync->rev));
    (void)snprintf(sync->why, sizeof sync->why, "%s", why);
    if (fault == NULL && !sync->again)
        sync->steady = sync->synced = true;
    if (sync->again)
        exchange(sync);
    else
        cfg_store_go_on(sync->store);
}

static void fail_exchange(struct cfg_sync *sync, int err)
{
    struct ps_fault fault;

    (void)ps_fault(&fault, err, CFG_SYNC_PATH, "Redis %s: %s", server(sync), ps_err_text(err));
    end_exchange(sync, &fault);
}

/* Frees the call in every case. */
static int send_call(struct cfg_sync *sync, enum cfg_sync_script script, struct cfg_sync_call *call,
                     ps_redis_reply_fn *fn)
{
    return cfg_sync_call_send(call, sync->link, script, fn, sync);
}

static void ask_since(struct cfg_sync *sync);

/* Advances the known revision. */
static void move_on(struct cfg_sync *sync)
{
    if (sync->rev < sync->taken_rev)
        sync->rev = sync->taken_rev;
    cfg_store_reach(sync->store, sync->rev);
    if (sync->more)
        ask_since(sync);
    else
        end_exchange(sync, NULL);
}

/* The change is in control.db and in force, or it failed. */
static void on_taken(int err, const struct ps_fault *fault, void *ctx)
{
    struct cfg_sync *sync = ctx;
    struct ps_fault why = *fault;

    if (sync->link == NULL)
        return;
    if (err < 0) {
        if (why.text[0] == '\0')
            (void)ps_fault(&why, err, "", "control.db: %s", ps_err_text(err));
        end_exchange(sync, &why);
    } else if (sync->generation[0] == '\0') { /* lost meanwhile; another exchange follows */
        end_exchange(sync, NULL);
    } else {
        move_on(sync);
    }
}

/* Skips a document that this gateway cannot read: the copy here is unchanged. A document without a
 * text has ended. PS_E_NOMEM. */
static int read_documents(const struct cfg_sync *sync, const redisReply *reply,
                          struct cfg_edit *edits, size_t *ret_count)
{
    for (size_t i = 2; i + 2 < reply->elements; i += 3) {
        const redisReply *field = reply->element[i], *value = reply->element[i + 2];
        const char *name;
        const struct cfg_kind *kind = cfg_kind_of(field->str, &name);
        const struct cfg_doc *last = kind != NULL ? cfg_store_last(sync->store, kind, name) : NULL;
        struct ps_str text = {value->str, value->len};
        struct ps_fault fault;
        if (value->type != REDIS_REPLY_STRING || (last != NULL && cfg_codec_is_same(last, text)))
            continue;
        int err = cfg_codec_read((struct ps_str){field->str, field->len}, text,
                                 reply->element[i + 1]->integer, &edits[*ret_count].doc, &fault);
        if (err == PS_E_NOMEM)
            return err;
        if (err < 0)
            ps_log(PS_LOG_ERROR, "shared_copy_unreadable", PS_F_STR("document", fault.path),
                   PS_F_STR("error", fault.text));
        else
            edits[*ret_count] =
                (struct cfg_edit){.doc = edits[*ret_count].doc, .after = CFG_DB_WHATEVER};
        *ret_count += err == 0;
    }
    return 0;
}

static void take(struct cfg_sync *sync, const redisReply *reply)
{
    struct cfg_edit *edits = calloc(reply->elements, sizeof *edits);
    size_t count = 0;
    int err = edits != NULL ? read_documents(sync, reply, edits, &count) : PS_E_NOMEM;

    if (err < 0) {
        for (size_t i = 0; i < count; i++)
            cfg_doc_free(edits[i].doc);
        free(edits);
    } else if (count == 0) {
        free(edits);
        move_on(sync);
    } else {
        sync->steady = false;
        err = cfg_store_take(sync->store, edits, count, on_taken, sync);
    }
    if (err < 0)
        fail_exchange(sync, err);
}

static void on_since(int err, const redisReply *reply, void *ctx)
{
    struct cfg_sync *sync = ctx;
    struct ps_fault fault;

    if (cfg_sync_reply_fault(err, reply, server(sync), &fault) < 0) {
        end_exchange(sync, &fault);
        return;
    }
    if (cfg_sync_reply_is(reply, "LOST", "", 0)) {
        lose(sync);
        sync->busy = false;
        exchange(sync);
        return;
    }
    bool whole = cfg_sync_reply_is(reply, "OK", "isio", 3);
    if (whole && reply->elements == 2) {
        end_exchange(sync, NULL);
        return;
    }
    sync->taken_rev = whole ? reply->element[reply->elements - 2]->integer : 0;
    if (sync->taken_rev <= sync->rev) { /* nothing new: the same page would be requested for ever */
        (void)cfg_sync_reply_strange(server(sync), &fault);
        end_exchange(sync, &fault);
        return;
    }
    sync->more = sync->taken_rev < reply->element[1]->integer;
    take(sync, reply);
}

static void ask_since(struct cfg_sync *sync)
{
    struct cfg_sync_call call = cfg_sync_call_begin(3);
    char rev[24];

    (void)snprintf(rev, sizeof rev, "%" PRId64, sync->rev);
    cfg_sync_call_add(&call, sync->generation);
    cfg_sync_call_add(&call, rev);
    cfg_sync_call_add(&call, PAGE_READ);
    int err = send_call(sync, CFG_SYNC_SCRIPT_SINCE, &call, on_since);
    if (err < 0)
        fail_exchange(sync, err);
}

/* --- Push. --- */

static void push(struct cfg_sync *sync);
static void push_page(struct cfg_sync *sync);

static void on_push(int err, const redisReply *reply, void *ctx)
{
    struct cfg_sync *sync = ctx;
    struct ps_fault fault;

    err = cfg_sync_reply_fault(err, reply, server(sync), &fault);
    if (err == 0 && (reply->type != REDIS_REPLY_STRING || reply->len == 0 ||
                     reply->len >= sizeof sync->generation))
        err = ps_fault(&fault, PS_E_CORRUPT, CFG_SYNC_PATH,
                       "the generation in " CFG_SYNC_KEY " is not Penstock's");
    if (err < 0) {
        end_exchange(sync, &fault);
        return;
    }
    if (sync->pushed && strcmp(sync->pushed_generation, reply->str) != 0) { /* emptied meanwhile */
        push(sync);
        return;
    }
    sync->pushed = true;
    memcpy(sync->pushed_generation, reply->str, reply->len + 1);
    if (cfg_store_next_kept(sync->store, sync->pushed_kind, sync->pushed_name) != NULL) {
        push_page(sync);
        return;
    }
    memcpy(sync->generation, sync->pushed_generation, sizeof sync->generation);
    sync->rev = 0;
    ask_since(sync);
}

/* The texts of a page are kept until they are sent. */
struct page {
    size_t count;
    char fields[PAGE_DOCS][CFG_FIELD_SIZE], versions[PAGE_DOCS][24];
    char *texts[PAGE_DOCS];
};

static int fill_page(const struct cfg_sync *sync, struct page *page,
                     const struct cfg_doc **ret_last)
{
    const struct cfg_doc *doc =
        cfg_store_next_kept(sync->store, sync->pushed_kind, sync->pushed_name);
    size_t bytes = 0;

    for (; doc != NULL && page->count < PAGE_DOCS && bytes < PAGE_BYTES; page->count++) {
        cfg_codec_field(doc->kind, doc->name, page->fields[page->count]);
        (void)snprintf(page->versions[page->count], sizeof page->versions[0], "%" PRId64,
                       doc->version);
        page->texts[page->count] = cfg_codec_text(doc);
        if (page->texts[page->count] == NULL)
            return PS_E_NOMEM;
        bytes += strlen(page->texts[page->count]);
        *ret_last = doc;
        doc = cfg_store_next_kept(sync->store, doc->kind, doc->name);
    }
    return 0;
}

static void push_page(struct cfg_sync *sync)
{
    struct page *page = calloc(1, sizeof *page);
    const struct cfg_doc *last = NULL;
    char revision[24];
    int err = page != NULL ? fill_page(sync, page, &last) : PS_E_NOMEM;

    (void)snprintf(revision, sizeof revision, "%" PRId64, cfg_store_revision(sync->store));
    if (err == 0) {
        struct cfg_sync_call call = cfg_sync_call_begin(2 + 3 * page->count);
        cfg_sync_call_add(&call, sync->pushed_generation);
        cfg_sync_call_add(&call, revision);
        for (size_t i = 0; i < page->count; i++) {
            cfg_sync_call_add(&call, page->fields[i]);
            cfg_sync_call_add(&call, page->versions[i]);
            cfg_sync_call_add(&call, page->texts[i]);
        }
        err = send_call(sync, CFG_SYNC_SCRIPT_PUSH, &call, on_push);
    }
    if (err == 0 && last != NULL) {
        sync->pushed_kind = last->kind;
        (void)snprintf(sync->pushed_name, sizeof sync->pushed_name, "%s", last->name);
    }
    for (size_t i = 0; page != NULL && i < page->count; i++)
        free(page->texts[i]);
    free(page);
    if (err < 0)
        fail_exchange(sync, err);
}

static void push(struct cfg_sync *sync)
{
    unsigned char random[GENERATION];

    randombytes_buf(random, sizeof random);
    (void)sodium_bin2hex(sync->pushed_generation, sizeof sync->pushed_generation, random,
                         sizeof random);
    sync->pushed_kind = cfg_kinds[0];
    sync->pushed_name[0] = '\0';
    sync->pushed = false;
    push_page(sync);
}

/* Begins an exchange, now or after the one in progress. */
static void exchange(struct cfg_sync *sync)
{
    sync->again = sync->busy;
    if (sync->busy)
        return;
    if (!is_ours(sync)) {
        sync->steady = false;
        (void)snprintf(sync->why, sizeof sync->why,
                       "it is used for another order log; or Kafka, which tells which log this "
                       "gateway uses, has not been reached yet");
        return;
    }
    sync->busy = true;
    if (sync->generation[0] == '\0')
        push(sync);
    else
        ask_since(sync);
}

/* --- Changes. --- */

/* True: Redis has a newer version than the put. False: it has lost something. */
static bool is_newer(const struct cfg_sync *sync, const redisReply *reply)
{
    char field[CFG_FIELD_SIZE];

    for (size_t i = 0; reply->elements == 3 && i < sync->put_job->edit_count; i++) {
        const struct cfg_doc *doc = sync->put_job->edits[i].doc;
        cfg_codec_field(doc->kind, doc->name, field);
        if (strcmp(field, reply->element[1]->str) == 0)
            return reply->element[2]->integer >= doc->version;
    }
    return false;
}

static void on_put(int err, const redisReply *reply, void *ctx)
{
    struct cfg_sync *sync = ctx;
    cfg_sync_put_fn *fn = sync->put_fn;
    struct ps_fault fault = {0};
    int64_t revision = 0;

    sync->put_fn = NULL;
    err = cfg_sync_reply_fault(err, reply, server(sync), &fault);
    if (err == 0 && cfg_sync_reply_is(reply, "OK", "i", 0)) {
        revision = reply->element[1]->integer;
    } else if (err == 0 && (cfg_sync_reply_is(reply, "LOST", "", 0) ||
                            cfg_sync_reply_is(reply, "CONFLICT", "si", 0))) {
        bool newer = is_newer(sync, reply);
        err = ps_fault(&fault, newer ? PS_E_CONFLICT : PS_E_BUSY, CFG_SYNC_PATH,
                       "somebody else changed this in the meantime");
        if (!newer)
            lose(sync);
        sync->steady = false;
        exchange(sync);
    } else if (err == 0 || err == PS_E_UNKNOWN) {
        err = ps_fault(&fault, PS_E_UNKNOWN, CFG_SYNC_PATH,
                       "Redis %s did not %s: the change may still come into force", server(sync),
                       err == 0 ? "say whether it has the change" : "answer");
    }
    fn(sync->store, err, revision, &fault, sync->put_ctx);
}

/* Texts that a call points to until it is sent: four per document, one per ended document. */
static int write_put(const struct cfg_job *job, size_t ended_count, struct cfg_sync_call *call,
                     char **texts)
{
    const struct cfg_ended *ended;
    char field[CFG_FIELD_SIZE], *text;
    size_t count = 0;

    if (asprintf(&text, "%zu", ended_count) < 0)
        return PS_E_NOMEM;
    texts[count++] = text;
    STAILQ_FOREACH(ended, &job->ended, next)
    {
        cfg_codec_field(ended->kind, ended->name, field);
        if ((texts[count++] = strdup(field)) == NULL)
            return PS_E_NOMEM;
    }
    for (size_t i = 0; i < job->edit_count; i++) {
        const struct cfg_edit *edit = &job->edits[i];
        cfg_codec_field(edit->doc->kind, edit->doc->name, field);
        texts[count++] = strdup(field);
        if (asprintf(&text, "%" PRId64, edit->after) >= 0)
            texts[count++] = text;
        if (asprintf(&text, "%" PRId64, edit->doc->version) >= 0)
            texts[count++] = text;
        texts[count++] = cfg_codec_text(edit->doc);
    }
    for (size_t i = 0; i < 1 + ended_count + 4 * job->edit_count; i++) {
        if (texts[i] == NULL)
            return PS_E_NOMEM;
        cfg_sync_call_add(call, texts[i]);
    }
    return 0;
}

static int send_put(struct cfg_sync *sync, const struct cfg_job *job)
{
    size_t ended = job->ended_count, count = 1 + ended + 4 * job->edit_count;
    struct cfg_sync_call call = cfg_sync_call_begin(2 + count);
    char revision[24], **texts = calloc(count, sizeof *texts);

    (void)snprintf(revision, sizeof revision, "%" PRId64, cfg_store_revision(sync->store));
    cfg_sync_call_add(&call, sync->generation);
    cfg_sync_call_add(&call, revision);
    int err = texts != NULL ? write_put(job, ended, &call, texts) : PS_E_NOMEM;
    if (err == 0)
        err = send_call(sync, CFG_SYNC_SCRIPT_PUT, &call, on_put);
    else
        cfg_sync_call_free(&call);
    for (size_t i = 0; texts != NULL && i < count; i++)
        free(texts[i]);
    free(texts);
    return err;
}

bool cfg_sync_takes_puts(const struct cfg_sync *sync)
{
    return is_open(sync) && is_ours(sync) && sync->generation[0] != '\0';
}

int cfg_sync_put(struct cfg_sync *sync, const struct cfg_job *job, cfg_sync_put_fn *fn, void *ctx,
                 struct ps_fault *fault)
{
    int err = cfg_sync_takes_puts(sync) ? send_put(sync, job) : PS_E_CLOSED;
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "Redis %s takes no changes: %s", server(sync),
                        sync->why[0] != '\0' ? sync->why : ps_err_text(err));
    sync->put_job = job;
    sync->put_fn = fn;
    sync->put_ctx = ctx;
    return 0;
}

bool cfg_sync_holds(const struct cfg_sync *sync)
{
    return is_open(sync) && ((sync->busy && !sync->steady) ||
                             ps_clock_mono_ns(cfg_store_clock(sync->store)) < sync->settled_ns);
}

/* --- The link, and the timer. --- */

static void on_ready(const char *identity, void *ctx)
{
    struct cfg_sync *sync = ctx;

    if (strcmp(identity, sync->identity) != 0) {
        if (sync->identity[0] != '\0')
            lose(sync);
        (void)snprintf(sync->identity, sizeof sync->identity, "%s", identity);
    }
    sync->steady = false;
    exchange(sync);
}

static void on_away(int err, const char *why, void *ctx)
{
    struct cfg_sync *sync = ctx;

    ps_log(PS_LOG_WARN, "control_redis_away", PS_F_STR("error", ps_err_text(err)),
           PS_F_STR("why", why));
    (void)snprintf(sync->why, sizeof sync->why, "%s", why);
}

static void on_timer(uv_timer_t *timer)
{
    struct cfg_sync *sync = timer->data;

    (void)uv_timer_start(&sync->timer, on_timer, POLL_MS, 0);
    if (is_open(sync) && !sync->busy)
        exchange(sync);
    cfg_store_go_on(sync->store);
}

void cfg_sync_wake(struct cfg_sync *sync)
{
    if (sync->link != NULL)
        (void)uv_timer_start(&sync->timer, on_timer, 0, 0);
}

int64_t cfg_sync_complete(const struct cfg_sync *sync)
{
    return sync->rev > 0 ? sync->rev : 1;
}

void cfg_sync_written(struct cfg_sync *sync, int64_t revision)
{
    if (sync->rev > 0 && revision == sync->rev + 1) /* no other change in between */
        sync->rev = revision;
}

bool cfg_sync_synced(const struct cfg_sync *sync)
{
    return sync->synced;
}

int cfg_sync_new(struct cfg_store *store, const struct cfg_sync_settings *settings)
{
    struct cfg_sync *sync = calloc(1, sizeof *sync);
    const struct ps_redis_callbacks callbacks = {on_ready, on_away, sync};
    int err;

    if (sync == NULL)
        return PS_E_NOMEM;
    sync->store = store;
    sync->settings = *settings;
    err =
        ps_redis_link_new(settings->loop, settings->url, settings->redis, &callbacks, &sync->link);
    if (err < 0) {
        free(sync);
        return err;
    }
    (void)uv_timer_init(settings->loop, &sync->timer);
    sync->timer.data = sync;
    (void)uv_timer_start(&sync->timer, on_timer, POLL_MS, 0);
    cfg_store_set_sync(store, sync);
    return 0;
}

void cfg_sync_stop(struct cfg_sync *sync)
{
    struct ps_redis_link *link = sync != NULL ? sync->link : NULL;

    if (link == NULL)
        return;
    uv_close((uv_handle_t *)&sync->timer, NULL);
    sync->link = NULL;
    ps_redis_link_close(link); /* answers what is pending */
}

void cfg_sync_free(struct cfg_sync *sync)
{
    free(sync);
}
