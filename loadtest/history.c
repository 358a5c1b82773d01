/* See history.h for the format. Members that a line has besides are ignored, so that histories of
 * other tools can be judged too. Strings live in chunks that never move. */
#include "loadtest/history.h"

#include "common/text/buf.h"
#include "common/clock.h"
#include "common/grow.h"
#include "common/text/json.h"
#include "common/sorted.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE    65536
#define FIRST_PROCESS INT64_C(1000000000) /* above every connection's number */

static const char *const type_words[] = {"invoke", "ok", "fail", "info", NULL};
static const char *const f_words[] = {"buy", "read", "confirm", "cancel", NULL};
static const struct {
    const char *state, *reason;
} seen_words[] = {
    [LT_SEEN_PENDING] = {"pending", NULL},         [LT_SEEN_ACCEPTED] = {"accepted", NULL},
    [LT_SEEN_CONFIRMED] = {"confirmed", NULL},     [LT_SEEN_RELEASED] = {"released", NULL},
    [LT_SEEN_REJECTED] = {"released", "rejected"},
};

enum lt_seen lt_seen_parse(struct ps_str state, struct ps_str reason)
{
    for (size_t i = LT_SEEN_PENDING; i < LT_SEEN_REJECTED; i++) {
        if (ps_str_is(state, seen_words[i].state))
            return i == LT_SEEN_RELEASED && ps_str_is(reason, "rejected") ? LT_SEEN_REJECTED
                                                                          : (enum lt_seen)i;
    }
    return LT_SEEN_UNKNOWN;
}

/* --- writing --- */

struct lt_history_file {
    FILE *file;
    int64_t start_ns, next_process;
};

int lt_history_open(const char *path, struct lt_history_file **ret_file, struct ps_fault *fault)
{
    struct lt_history_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ps_fault(fault, PS_E_NOMEM, "--history", "out of memory");
    file->file = fopen(path, "we");
    if (file->file == NULL) {
        free(file);
        return ps_fault(fault, PS_E_IO, "--history", "%s: %s", path, strerror(errno));
    }
    file->start_ns = ps_clock_mono_ns(&ps_clock_system);
    file->next_process = FIRST_PROCESS;
    *ret_file = file;
    return 0;
}

static void put_text(struct ps_buf *buf, const char *name, struct ps_str text)
{
    if (text.len > 0)
        ps_buf_printf(buf, "\"%s\":\"%.*s\",", name, (int)text.len, text.at);
}

void lt_history_write(struct lt_history_file *file, const struct lt_history_line *line)
{
    char text[LT_HISTORY_LINE_MAX], id[PS_UUID_LEN + 1];
    struct ps_buf buf;
    ps_buf_init(&buf, text, sizeof text);
    ps_buf_printf(&buf, "{\"process\":%lld,\"type\":\"%s\",\"f\":\"%s\",\"value\":{",
                  (long long)line->process, type_words[line->type], f_words[line->f]);
    put_text(&buf, "user", line->user);
    put_text(&buf, "key", line->key);
    put_text(&buf, "sku", line->sku);
    if (line->quantity > 0)
        ps_buf_printf(&buf, "\"quantity\":%lld,", (long long)line->quantity);
    if (line->order_id != NULL) {
        ps_uuid_format(line->order_id, id);
        put_text(&buf, "order_id", ps_str(id));
    }
    put_text(&buf, "verdict", line->verdict);
    if (line->seen == LT_SEEN_NONE)
        ps_buf_puts(&buf, "\"state\":null,");
    else if (line->seen != LT_SEEN_UNKNOWN)
        put_text(&buf, "state", ps_str(seen_words[line->seen].state));
    if (line->seen == LT_SEEN_REJECTED)
        put_text(&buf, "reason", ps_str(seen_words[line->seen].reason));
    if (line->anywhere)
        ps_buf_puts(&buf, "\"at\":null,");
    if (buf.at[buf.len - 1] == ',')
        buf.len--;
    ps_buf_printf(&buf, "},\"time\":%lld}\n",
                  (long long)(ps_clock_mono_ns(&ps_clock_system) - file->start_ns));
    (void)fwrite(text, 1, buf.len, file->file); /* ferror() keeps what went wrong */
}

int64_t lt_history_process(struct lt_history_file *file)
{
    return file->next_process++;
}

int lt_history_close(struct lt_history_file *file, struct ps_fault *fault)
{
    if (file == NULL)
        return 0;
    bool failed = ferror(file->file) != 0;
    failed = fclose(file->file) != 0 || failed;
    free(file);
    return failed ? ps_fault(fault, PS_E_IO, "--history", "not all of it could be written") : 0;
}

/* --- reading --- */

struct open_op { /* invoked, and not ended */
    int64_t process;
    size_t op;
};

struct chunk {
    struct chunk *next;
    char text[CHUNK_SIZE];
};

struct lt_history {
    struct lt_op *ops;
    size_t count, room;
    struct open_op *open; /* by process */
    size_t open_count, open_room;
    struct chunk *chunks;
    size_t used; /* of the first chunk */
    size_t lines;
};

int lt_history_new(struct lt_history **ret_history)
{
    *ret_history = calloc(1, sizeof **ret_history);
    return *ret_history != NULL ? 0 : PS_E_NOMEM;
}

void lt_history_free(struct lt_history *history)
{
    if (history == NULL)
        return;
    for (struct chunk *next; history->chunks != NULL; history->chunks = next) {
        next = history->chunks->next;
        free(history->chunks);
    }
    free(history->open);
    free(history->ops);
    free(history);
}

/* A copy that stays. At most a line long. */
static int keep(struct lt_history *history, struct ps_str *text)
{
    if (text->len == 0)
        return 0;
    if (history->chunks == NULL || history->used + text->len > CHUNK_SIZE) {
        struct chunk *chunk = malloc(sizeof *chunk);
        if (chunk == NULL)
            return PS_E_NOMEM;
        chunk->next = history->chunks;
        history->chunks = chunk;
        history->used = 0;
    }
    char *at = history->chunks->text + history->used;
    memcpy(at, text->at, text->len);
    history->used += text->len;
    text->at = at;
    return 0;
}

/* What a line says; its strings are the document's. */
struct event {
    int64_t process, time_ns;
    int type, f;
    struct lt_op op; /* of it what stands in `value` */
};

static void read_value(struct ps_json_reader *reader, struct lt_op *ret_op)
{
    struct ps_str id = {"", 0}, state = {"", 0}, reason = {"", 0}, verdict = {"", 0};
    bool none = json_is_null(json_object_get(reader->object, "state"));
    const size_t max = LT_HISTORY_LINE_MAX;
    ps_json_string(reader, "user", max, &ret_op->user);
    ps_json_string(reader, "key", max, &ret_op->key);
    ps_json_string(reader, "sku", max, &ret_op->sku);
    ret_op->anywhere = json_is_null(json_object_get(reader->object, "at"));
    if (!ret_op->anywhere)
        ps_json_string(reader, "at", max, &ret_op->at);
    ps_json_string(reader, "verdict", max, &verdict);
    ps_json_int(reader, "quantity", 1, PS_INT_MAX, &ret_op->quantity);
    ps_json_string(reader, "order_id", max, &id);
    if (!none)
        ps_json_string(reader, "state", max, &state);
    if (!json_is_null(json_object_get(reader->object, "reason")))
        ps_json_string(reader, "reason", max, &reason);
    ret_op->replayed = ps_str_is(verdict, "replayed");
    ret_op->has_order = id.len > 0;
    if (id.len > 0 && ps_uuid_parse(id.at, id.len, &ret_op->order_id) < 0)
        ps_json_fault(reader, "order_id", "is no UUID");
    ret_op->seen = none ? LT_SEEN_NONE : lt_seen_parse(state, reason);
    if (state.len > 0 && ret_op->seen == LT_SEEN_UNKNOWN)
        ps_json_fault(reader, "state", "is not pending, accepted, confirmed or released");
    if (ret_op->seen != LT_SEEN_UNKNOWN && id.len == 0)
        ps_json_fault(reader, "order_id", "is missing: of which order is this the state?");
}

static int read_event(const json_t *json, struct event *ret_event, struct ps_fault *fault)
{
    struct ps_json_reader reader, value;
    *ret_event = (struct event){.op = {.user = {"", 0}}};
    ps_json_reader_init(&reader, json, "", fault);
    ps_json_require(&reader, (const char *const[]){"process", "type", "f", "value", "time", NULL});
    ps_json_int(&reader, "process", 0, PS_INT_MAX, &ret_event->process);
    ps_json_int(&reader, "time", -PS_INT_MAX, PS_INT_MAX, &ret_event->time_ns);
    ps_json_enum(&reader, "type", type_words, &ret_event->type);
    ps_json_enum(&reader, "f", f_words, &ret_event->f);
    if (reader.err < 0)
        return reader.err;
    ps_json_reader_init(&value, ps_json_value(&reader, "value"), "/value", fault);
    read_value(&value, &ret_event->op);
    if (value.err == 0 && ret_event->type == LT_OP_INVOKE && ret_event->f != LT_OP_BUY &&
        !ret_event->op.has_order)
        ps_json_fault(&value, "order_id", "is missing");
    return value.err;
}

static int by_process(const void *key, const void *element)
{
    int64_t process = *(const int64_t *)key, other = ((const struct open_op *)element)->process;
    return process < other ? -1 : process > other;
}

static int begin(struct lt_history *history, const struct event *event, size_t place)
{
    struct lt_op op = event->op;
    int err = ps_grow(&history->ops, &history->room, history->count + 1, sizeof op);
    if (err == 0)
        err = ps_grow(&history->open, &history->open_room, history->open_count + 1,
                      sizeof *history->open);
    struct ps_str *const texts[] = {&op.user, &op.key, &op.sku, &op.at};
    for (size_t i = 0; err == 0 && i < PS_ARRAY_LEN(texts); i++)
        err = keep(history, texts[i]);
    if (err < 0)
        return err;
    op.type = LT_OP_INFO;
    op.f = (enum lt_op_f)event->f;
    op.seen = LT_SEEN_UNKNOWN;
    op.line = (uint32_t)history->lines;
    op.invoked_ns = event->time_ns;
    op.ended_ns = INT64_MAX;
    struct open_op *at = history->open + place;
    memmove(at + 1, at, (history->open_count++ - place) * sizeof *at);
    *at = (struct open_op){event->process, history->count};
    history->ops[history->count++] = op;
    return 0;
}

/* The answer says which order, and may say again what was asked. */
static int end(struct lt_history *history, const struct event *event, size_t place,
               struct ps_fault *fault)
{
    struct lt_op *op = &history->ops[history->open[place].op];
    if (event->f != (int)op->f || event->time_ns < op->invoked_ns)
        return ps_fault(fault, PS_E_INVALID, event->f != (int)op->f ? "/f" : "/time",
                        "does not fit line %u, where process %lld invoked \"%s\"", op->line,
                        (long long)event->process, f_words[op->f]);
    if (op->has_order && event->op.has_order && !ps_uuid_equal(&op->order_id, &event->op.order_id))
        return ps_fault(fault, PS_E_INVALID, "/value/order_id", "is not that of line %u", op->line);
    op->type = (enum lt_op_type)event->type;
    op->end_line = (uint32_t)history->lines;
    if (op->type != LT_OP_INFO)
        op->ended_ns = event->time_ns;
    op->seen = event->op.seen;
    op->replayed = event->op.replayed;
    op->anywhere = event->op.anywhere;
    if (event->op.has_order) {
        op->has_order = true;
        op->order_id = event->op.order_id;
    }
    if (event->op.at.len > 0) {
        op->at = event->op.at;
        int err = keep(history, &op->at);
        if (err < 0)
            return err;
    }
    history->open_count--;
    memmove(history->open + place, history->open + place + 1,
            (history->open_count - place) * sizeof *history->open);
    return 0;
}

static int add_event(struct lt_history *history, const struct event *event, struct ps_fault *fault)
{
    bool open;
    size_t place = ps_sorted_place(&event->process, history->open, history->open_count,
                                   sizeof *history->open, by_process, &open);
    if (open == (event->type == LT_OP_INVOKE))
        return ps_fault(fault, PS_E_INVALID, "/process",
                        open ? "%lld has not ended what it did before"
                             : "%lld has nothing that could end",
                        (long long)event->process);
    if (open)
        return end(history, event, place, fault);
    if (history->open_count == LT_HISTORY_OPEN_MAX)
        return ps_fault(fault, PS_E_FULL, "/process", "more than %d operations at once",
                        LT_HISTORY_OPEN_MAX);
    return begin(history, event, place);
}

int lt_history_add(struct lt_history *history, const char *line, size_t len, struct ps_fault *fault)
{
    struct ps_fault inside = {.path = ""};
    struct event event;
    json_t *json = NULL;
    int err;
    if (++history->lines > LT_HISTORY_LINES_MAX)
        return ps_fault(fault, PS_E_FULL, "", "more than %d lines", LT_HISTORY_LINES_MAX);
    if (len > LT_HISTORY_LINE_MAX)
        err = ps_fault(&inside, PS_E_INVALID, "", "longer than %d bytes", LT_HISTORY_LINE_MAX);
    else
        err = ps_json_parse(line, len, &json, &inside);
    if (err == 0)
        err = read_event(json, &event, &inside);
    if (err == 0)
        err = add_event(history, &event, &inside);
    json_decref(json);
    if (err == PS_E_NOMEM)
        return ps_fault(fault, err, "", "line %zu: out of memory", history->lines);
    return err < 0 ? ps_fault(fault, err, "", "line %zu: %s%s%s", history->lines, inside.path,
                              inside.path[0] != '\0' ? " " : "", inside.text)
                   : 0;
}

int lt_history_load(const char *path, struct lt_history **ret_history, struct ps_fault *fault)
{
    struct lt_history *history = NULL;
    struct ps_fault inside;
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, "--check-history", "%s: %s", path, strerror(errno));
    int err = lt_history_new(&history);
    if (err < 0)
        err = ps_fault(&inside, err, "", "out of memory");
    while (err == 0 && (len = getline(&line, &size, file)) > 0)
        err = lt_history_add(history, line, (size_t)len - (line[len - 1] == '\n'), &inside);
    if (err == 0 && ferror(file))
        err = ps_fault(&inside, PS_E_IO, "", "%s", strerror(errno));
    free(line);
    (void)fclose(file); /* it was only read */
    if (err < 0) {
        lt_history_free(history);
        return ps_fault(fault, err, "--check-history", "%s: %s", path, inside.text);
    }
    *ret_history = history;
    return 0;
}

const struct lt_op *lt_history_ops(const struct lt_history *history, size_t *ret_count)
{
    *ret_count = history->count;
    return history->ops;
}
