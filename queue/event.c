/* The codec of the order log's records.
 *
 * One table says which members a record of each type has, in which order they are written, and what
 * each may hold; encoding, decoding and checking all walk it. Decoding has two ways. Records are
 * nearly always read in the very form in which oq_event_encode wrote them, and a start reads a
 * million: read_canonical() walks the table along the text and is done, or stops at the first byte
 * that the encoder would not have put there (an escape, another order, an unknown member). Then
 * the JSON library reads it, which takes every spelling and has the last word on what is an error.
 * (Measured: 15 us a record through the library alone, which made a start last 15 s.)
 * What is written passes the same check as what is read: a record that could not be read back must
 * never enter the log. */
#include "queue/event.h"
#include "queue/cursor.h"
#include "queue/later.h"
#include "common/clock.h"
#include "common/text/json.h"
#include "common/text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Wall clock in ms that the four-digit years of RFC 3339 can write. */
#define TIME_MAX_MS INT64_C(253402300799999)

enum kind {
    UUID,    /* order id; optional: absent without has_order_id */
    NAME,    /* ps_name_ok */
    USER,    /* ps_user_ok */
    KEY,     /* ps_key_ok */
    ADJUST,  /* an adjust key; its parts are checked against the other members */
    TEXT,    /* UTF-8 without control characters, at most `max` bytes */
    TRACE,   /* a W3C traceparent */
    VISIBLE, /* visible ASCII, at most `max` bytes */
    INT,     /* min .. max */
    TIME,
    BOOL, /* optional: absent when false */
    REASON,
    HASH,  /* SHA-256 */
    COUNTS /* of SKUs; its text is canonical */
};

enum { A = 1 << OQ_ACCEPTED, C = 1 << OQ_CONFIRMED, R = 1 << OQ_RELEASED, S = 1 << OQ_ADJUSTED };
enum { F = 1 << OQ_FENCED, X = 1 << OQ_ARCHIVED, D = 1 << OQ_HEAD };
enum { ALL = A | C | R | S | F | X | D | 1 << OQ_LATER };

struct member {
    const char *name;
    const char *pointer;
    struct ps_str lead; /* what stands before the value: ,"name": */
    enum kind kind;
    bool optional; /* strings: absent if empty */
    unsigned types;
    size_t offset;
    int64_t min, max;
};

/* clang-format off */
#define MEMBER(name, field, kind, optional, types, min, max) \
    {name, "/" name, {",\"" name "\":", sizeof(name) + 3}, kind, optional, types, offsetof(struct oq_event, field), min, max}

static const struct member members[] = {
    /*     name               field           kind    optional types      min           max */
    MEMBER("order_id",        order_id,       UUID,   true,  A | C | R,  0,            0),
    MEMBER("adjust_id",       adjust_key,     ADJUST, true,  R | S,      0,            0),
    MEMBER("sale",            sale,           NAME,   false, ALL,        0,            0),
    MEMBER("sku",             sku,            NAME,   false, A | R | S,  0,            0),
    MEMBER("user",            user,           USER,   false, A,          0,            0),
    MEMBER("quantity",        quantity,       INT,    false, A | R,      1,            PS_INT_MAX),
    MEMBER("delta",           delta,          INT,    false, S,          -PS_INT_MAX,  PS_INT_MAX),
    MEMBER("epoch",           epoch,          INT,    false, ALL,        0,            PS_INT_MAX),
    MEMBER("reserved_at",     reserved_at_ms, TIME,   false, A,          0,            TIME_MAX_MS),
    MEMBER("pay_by",          pay_by_ms,      TIME,   false, A,          0,            TIME_MAX_MS),
    MEMBER("idempotency_key", key,            KEY,    true,  A,          0,            0),
    MEMBER("cap",             cap,            INT,    false, A,          1,            PS_INT_MAX),
    MEMBER("sku_cap",         sku_cap,        INT,    false, A,          0,            PS_INT_MAX),
    MEMBER("sale_version",    sale_version,   INT,    false, A,          0,            PS_INT_MAX),
    MEMBER("reason",          reason,         REASON, false, R,          0,            0),
    MEMBER("reason",          note,           TEXT,   true,  S,          0,            OQ_NOTE_MAX),
    MEMBER("by",              by,             TEXT,   true,  C | S,      0,            OQ_BY_MAX),
    MEMBER("gateway",         gateway,        TEXT,   false, F | D,      1,            OQ_GATEWAY_MAX),
    MEMBER("partitions",      partitions,     INT,    false, F | X,      1,            OQ_PARTITION_MAX),
    MEMBER("first",           first,          BOOL,   false, F,          0,            0),
    MEMBER("opening_id",      opening_id,     NAME,   true,  F,          0,            0),
    MEMBER("skus",            counts,         COUNTS, false, X,          0,            0),
    MEMBER("orders",          orders,         INT,    false, X,          0,            PS_INT_MAX),
    MEMBER("lines",           lines,          INT,    false, X,          0,            PS_INT_MAX),
    MEMBER("last_hash",       last_hash,      HASH,   true,  X,          0,            0),
    MEMBER("sha256",          sha256,         HASH,   true,  X,          0,            0),
    MEMBER("discarded",       discarded,      BOOL,   true,  X,          0,            0),
    MEMBER("audit_seq",       audit_seq,      INT,    false, D,          1,            PS_INT_MAX),
    MEMBER("head",            head,           HASH,   false, D,          0,            0),
    MEMBER("at",              at_ms,          TIME,   false, ALL,        0,            TIME_MAX_MS),
    MEMBER("rehearsal",       rehearsal,      BOOL,   true,  ALL,        0,            0),
    MEMBER("traceparent",     traceparent,    TRACE,  true,  A,          0,            0),
    MEMBER("request_id",      request_id,     VISIBLE, true, A,          1,            OQ_REQUEST_MAX),
};
/* clang-format on */

static const char *const type_names[] = {
    [OQ_ACCEPTED] = "penstock.order.accepted.v1", [OQ_CONFIRMED] = "penstock.order.confirmed.v1",
    [OQ_RELEASED] = "penstock.order.released.v1", [OQ_ADJUSTED] = "penstock.stock.adjusted.v1",
    [OQ_FENCED] = "penstock.sale.fenced.v1",      [OQ_ARCHIVED] = "penstock.sale.archived.v1",
    [OQ_HEAD] = "penstock.desk.head.v1",          NULL};

static const char *const reason_names[] = {[OQ_REASON_NONE] = "",
                                           [OQ_EXPIRED] = "expired",
                                           [OQ_CANCELLED] = "cancelled",
                                           [OQ_REJECTED] = "rejected",
                                           NULL};

const char *oq_type_name(enum oq_type type)
{
    return type != OQ_LATER ? type_names[type] : "unknown";
}

const char *oq_reason_name(enum oq_reason reason)
{
    return reason_names[reason];
}

int oq_type_parse(const char *name, enum oq_type *ret_type)
{
    for (int i = 0; type_names[i] != NULL; i++) {
        if (strcmp(name, type_names[i]) == 0) {
            *ret_type = (enum oq_type)i;
            return 0;
        }
    }
    return PS_E_INVALID;
}

static const void *field_of(const struct oq_event *event, const struct member *member)
{
    return (const char *)event + member->offset;
}

static void *field_to_fill(struct oq_event *event, const struct member *member)
{
    return (char *)event + member->offset;
}

/* --- Checking --- */

static bool text_ok(struct ps_str text, const struct member *member)
{
    if (text.len < (size_t)member->min || text.len > (size_t)member->max)
        return false;
    for (size_t i = 0; i < text.len;) {
        uint32_t point;
        size_t size = ps_utf8_next(text.at + i, text.len - i, &point);
        if (size == 0 || ps_utf8_is_control(point))
            return false;
        i += size;
    }
    return true;
}

static bool visible_ok(struct ps_str text, const struct member *member)
{
    if (text.len > (size_t)member->max)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] < '!' || text.at[i] > '~')
            return false;
    return true;
}

/* "00-" 32 "-" 16 "-" 2, lower-case hexadecimal (W3C Trace Context, version 00). */
static bool trace_ok(struct ps_str trace)
{
    if (trace.len != OQ_TRACE_LEN)
        return false;
    for (size_t i = 0; i < trace.len; i++) {
        char c = trace.at[i];
        bool dash = i == 2 || i == 35 || i == 52;
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex)
            return false;
    }
    return true;
}

static bool hash_ok(struct ps_str hash)
{
    for (size_t i = 0; i < hash.len; i++)
        if (!((hash.at[i] >= '0' && hash.at[i] <= '9') || (hash.at[i] >= 'a' && hash.at[i] <= 'f')))
            return false;
    return hash.len == OQ_HASH_LEN;
}

/* The fault of a member that is present, or NULL. */
static const char *member_wrong(const struct member *member, const void *field)
{
    struct ps_str text = {"", 0};
    int64_t number = 0;
    enum oq_reason reason = OQ_REASON_NONE;
    switch (member->kind) {
    case UUID:
    case BOOL:
        return NULL;
    case INT:
    case TIME:
        memcpy(&number, field, sizeof number);
        return number >= member->min && number <= member->max ? NULL : "is out of range";
    case REASON:
        memcpy(&reason, field, sizeof reason);
        return reason == OQ_EXPIRED || reason == OQ_CANCELLED || reason == OQ_REJECTED
                   ? NULL
                   : "must be one of: expired, cancelled, rejected";
    default:
        break;
    }
    memcpy(&text, field, sizeof text);
    if (text.len == 0 && member->optional)
        return NULL;
    switch (member->kind) {
    case NAME:
        return ps_name_ok(text.at, text.len) ? NULL : "is not a name";
    case USER:
        return ps_user_ok(text.at, text.len) ? NULL : "is not a user id";
    case KEY:
        return ps_key_ok(text.at, text.len) ? NULL : "is not an idempotency key";
    case TRACE:
        return trace_ok(text) ? NULL : "is not a traceparent";
    case VISIBLE:
        return visible_ok(text, member) ? NULL : "is not 1 to 64 visible characters";
    case TEXT:
        return text_ok(text, member) ? NULL : "is too long, empty or not plain text";
    case HASH:
        return hash_ok(text) ? NULL : "is not a SHA-256 in lower-case hexadecimal";
    case COUNTS:
        return oq_counts_ok(text) ? NULL : "is not a list of at most 100 SKUs with their numbers";
    default:
        return NULL; /* ADJUST: see check_together */
    }
}

/* Rules that concern several members. */
static int check_together(const struct oq_event *event, struct ps_fault *fault)
{
    enum oq_type type = event->type;
    struct ps_str key = event->adjust_key;
    bool has_key = key.len > 0 && (type == OQ_RELEASED || type == OQ_ADJUSTED);
    if ((type == OQ_ACCEPTED || type == OQ_CONFIRMED) && !event->has_order_id)
        return ps_fault(fault, PS_E_INVALID, "/order_id", "is missing");
    if (type == OQ_RELEASED && event->has_order_id == has_key)
        return ps_fault(fault, PS_E_INVALID, "/order_id", "either this or adjust_id is needed");
    if (type == OQ_ADJUSTED && !has_key)
        return ps_fault(fault, PS_E_INVALID, "/adjust_id", "is missing");
    if (has_key && !oq_adjust_key_ok(key, event->sale, event->sku))
        return ps_fault(fault, PS_E_INVALID, "/adjust_id",
                        "is neither adjust:{sale}/{adjust_id} nor initial:{sale}/{sku}");
    if (type == OQ_RELEASED && has_key && event->reason != OQ_REJECTED)
        return ps_fault(fault, PS_E_INVALID, "/reason", "an adjustment can only be rejected");
    bool initial = has_key && oq_adjust_key_is_initial(key, event->sale, event->sku);
    if (type == OQ_ADJUSTED && (initial ? event->delta < 0 : event->delta == 0))
        return ps_fault(fault, PS_E_INVALID, "/delta", "is out of range");
    if (type == OQ_ARCHIVED && (event->last_hash.len == 0) != event->discarded)
        return ps_fault(fault, PS_E_INVALID, "/last_hash",
                        "an archive requires it; nothing else may have it");
    if (type == OQ_ARCHIVED && (event->sha256.len == 0) != event->discarded)
        return ps_fault(fault, PS_E_INVALID, "/sha256",
                        "an archive requires it; nothing else may have it");
    bool needs_epoch =
        type == OQ_ACCEPTED || type == OQ_FENCED || (type == OQ_ADJUSTED && event->delta < 0);
    if (needs_epoch && event->epoch < 1)
        return ps_fault(fault, PS_E_INVALID, "/epoch", "must be at least 1");
    return 0;
}

int oq_event_check(const struct oq_event *event, struct ps_fault *fault)
{
    if ((unsigned)event->type > OQ_LATER)
        return ps_fault(fault, PS_E_INVALID, "/type", "is unknown");
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        const struct member *member = &members[i];
        if ((member->types & 1U << event->type) == 0)
            continue;
        const char *wrong = member_wrong(member, field_of(event, member));
        if (wrong != NULL)
            return ps_fault(fault, PS_E_INVALID, member->pointer, "%s", wrong);
    }
    return check_together(event, fault);
}

/* --- Encoding --- */

static bool is_absent(const struct oq_event *event, const struct member *member)
{
    if (!member->optional)
        return false;
    if (member->kind == UUID)
        return !event->has_order_id;
    if (member->kind == BOOL) {
        bool value;
        memcpy(&value, field_of(event, member), sizeof value);
        return !value;
    }
    struct ps_str text;
    memcpy(&text, field_of(event, member), sizeof text);
    return text.len == 0;
}

static void put_quoted(struct ps_buf *buf, const char *text, size_t len)
{
    ps_buf_put(buf, "\"", 1);
    ps_buf_put(buf, text, len);
    ps_buf_put(buf, "\"", 1);
}

static void put_value(struct ps_buf *buf, const struct member *member, const void *field)
{
    char text[PS_UUID_LEN + 1];
    _Static_assert(sizeof text > PS_TIME_LEN, "holds a time too");
    int64_t number;
    enum oq_reason reason;
    struct ps_str string;
    bool flag;
    switch (member->kind) {
    case UUID:
        ps_uuid_format(field, text);
        put_quoted(buf, text, PS_UUID_LEN);
        return;
    case INT:
        memcpy(&number, field, sizeof number);
        ps_buf_put_int(buf, number);
        return;
    case TIME:
        memcpy(&number, field, sizeof number);
        ps_time_format(number, text);
        put_quoted(buf, text, PS_TIME_LEN);
        return;
    case BOOL:
        memcpy(&flag, field, sizeof flag);
        ps_buf_puts(buf, flag ? "true" : "false");
        return;
    case REASON:
        memcpy(&reason, field, sizeof reason);
        put_quoted(buf, reason_names[reason], strlen(reason_names[reason]));
        return;
    case COUNTS:
        memcpy(&string, field, sizeof string);
        ps_buf_put(buf, string.at, string.len);
        return;
    default:
        memcpy(&string, field, sizeof string);
        ps_buf_put_json(buf, string.at, string.len);
    }
}

int oq_event_encode(const struct oq_event *event, struct ps_buf *buf)
{
    int err = oq_event_check(event, NULL);
    if (err != 0)
        return err;
    if (event->type == OQ_LATER) {
        ps_buf_put(buf, event->later_json.at, event->later_json.len);
        return buf->overflow ? PS_E_FULL : 0;
    }
    ps_buf_puts(buf, "{\"type\":");
    put_quoted(buf, type_names[event->type], strlen(type_names[event->type]));
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        const struct member *member = &members[i];
        if ((member->types & 1U << event->type) == 0 || is_absent(event, member))
            continue;
        ps_buf_put(buf, member->lead.at, member->lead.len);
        put_value(buf, member, field_of(event, member));
    }
    ps_buf_put(buf, "}", 1);
    return buf->overflow ? PS_E_FULL : 0;
}

/* --- Decoding what the encoder wrote --- */

static bool take_reason(struct oq_cursor *cursor, enum oq_reason *ret_reason)
{
    struct ps_str text;
    if (!oq_take_string(cursor, &text))
        return false;
    for (int i = OQ_EXPIRED; i <= OQ_REJECTED; i++) {
        if (ps_str_is(text, reason_names[i])) {
            *ret_reason = (enum oq_reason)i;
            return true;
        }
    }
    return false;
}

/* Up to its bracket, which no name contains. oq_event_check checks the content. */
static bool take_list(struct oq_cursor *cursor, struct ps_str *ret_list)
{
    const char *end = memchr(cursor->at, ']', (size_t)(cursor->end - cursor->at));
    if (end == NULL)
        return false;
    *ret_list = (struct ps_str){cursor->at, (size_t)(end + 1 - cursor->at)};
    cursor->at = end + 1;
    return true;
}

static bool take_value(struct oq_cursor *cursor, const struct member *member,
                       struct oq_event *event)
{
    void *field = field_to_fill(event, member);
    struct ps_str text;
    switch (member->kind) {
    case UUID:
        event->has_order_id = true;
        return oq_take_string(cursor, &text) && ps_uuid_parse(text.at, text.len, field) == 0;
    case INT:
        return oq_take_int(cursor, field);
    case TIME:
        return oq_take_string(cursor, &text) && ps_time_parse(text.at, text.len, field) == 0;
    case BOOL:
        *(bool *)field = oq_skip(cursor, "true", 4);
        return *(bool *)field || oq_skip(cursor, "false", 5);
    case REASON:
        return take_reason(cursor, field);
    case COUNTS:
        return take_list(cursor, field);
    default:
        return oq_take_string(cursor, field);
    }
}

/* False: the encoder would not have written this; *event is then undefined. */
static bool read_canonical(const char *text, size_t len, struct oq_event *event)
{
    struct oq_cursor cursor = {text, text + len};
    struct ps_str name = {"", 0};
    *event = (struct oq_event){0};
    if (!oq_skip(&cursor, "{\"type\":", 8) || !oq_take_string(&cursor, &name))
        return false;
    char type_text[32];
    if (name.len >= sizeof type_text)
        return false;
    memcpy(type_text, name.at, name.len);
    type_text[name.len] = '\0';
    if (strlen(type_text) != name.len || oq_type_parse(type_text, &event->type) != 0)
        return false;
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        const struct member *member = &members[i];
        if ((member->types & 1U << event->type) == 0)
            continue;
        if (!oq_skip(&cursor, member->lead.at, member->lead.len)) {
            if (member->optional)
                continue;
            return false;
        }
        if (!take_value(&cursor, member, event))
            return false;
    }
    return oq_skip(&cursor, "}", 1) && cursor.at == cursor.end && oq_event_check(event, NULL) == 0;
}

/* --- Decoding any JSON --- */

/* What the strings of a decoded event point into. */
struct owner {
    json_t *json; /* or NULL: into `text` */
    char *counts; /* in canonical form, or NULL */
    char text[];
};

static void read_member(struct ps_json_reader *reader, const struct member *member,
                        struct oq_event *event, struct owner *owner)
{
    void *field = field_to_fill(event, member);
    struct ps_str text = {"", 0};
    int reason = 0;
    if (!ps_json_has(reader, member->name)) {
        if (!member->optional)
            ps_json_fault(reader, member->name, "is missing");
        return;
    }
    switch (member->kind) {
    case UUID:
        ps_json_string(reader, member->name, OQ_EVENT_TEXT_MAX, &text);
        if (ps_uuid_parse(text.at, text.len, field) != 0)
            ps_json_fault(reader, member->name, "is not a UUID");
        event->has_order_id = true;
        return;
    case INT: /* this program never writes 1.0 */
        if (json_is_real(ps_json_value(reader, member->name)))
            ps_json_fault(reader, member->name, "must be digits");
        ps_json_int(reader, member->name, member->min, member->max, field);
        return;
    case TIME:
        ps_json_time(reader, member->name, field);
        return;
    case BOOL:
        ps_json_bool(reader, member->name, field);
        return;
    case REASON:
        ps_json_enum(reader, member->name, reason_names + OQ_EXPIRED, &reason);
        *(enum oq_reason *)field = (enum oq_reason)(OQ_EXPIRED + reason);
        return;
    case COUNTS:
        if (oq_counts_read(ps_json_value(reader, member->name), &owner->counts, field) != 0)
            ps_json_fault(reader, member->name, "must be at most 100 SKUs with their numbers");
        return;
    default:
        ps_json_string(reader, member->name, OQ_EVENT_TEXT_MAX, field);
    }
}

/* `text` is what owner->json was parsed from. */
static int read_json(struct owner *owner, struct ps_str text, struct oq_event *event,
                     struct ps_fault *fault)
{
    const json_t *json = owner->json;
    struct ps_json_reader reader;
    int type = OQ_LATER;
    *event = (struct oq_event){0};
    ps_json_reader_init(&reader, json, "", fault);
    ps_json_require(&reader, (const char *const[]){"type", NULL});
    if (!oq_later_is(json, type_names))
        ps_json_enum(&reader, "type", type_names, &type);
    else
        reader.err = oq_later_read(json, text, event, fault);
    if (reader.err != 0)
        return reader.err;
    event->type = (enum oq_type)type;
    for (size_t i = 0; i < PS_ARRAY_LEN(members); i++) {
        if ((members[i].types & 1U << type) != 0)
            read_member(&reader, &members[i], event, owner);
    }
    /* Not ps_json_done: members that a later version adds are ignored. */
    return reader.err != 0 ? reader.err : oq_event_check(event, fault);
}

void oq_event_release(void *owner)
{
    if (owner == NULL)
        return;
    json_decref(((struct owner *)owner)->json);
    free(((struct owner *)owner)->counts);
    free(owner);
}

int oq_event_decode(const char *text, size_t len, struct oq_event *ret_event, void **ret_owner,
                    struct ps_fault *fault)
{
    struct oq_event event;
    if (text == NULL)
        return ps_fault(fault, PS_E_INVALID, "", "the record has no value");
    struct owner *owner = malloc(sizeof *owner + len);
    if (owner == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    owner->json = NULL;
    owner->counts = NULL;
    memcpy(owner->text, text, len);
    int err = 0;
    if (!read_canonical(owner->text, len, &event)) {
        err = ps_json_parse(text, len, &owner->json, fault);
        if (err == 0)
            err = read_json(owner, (struct ps_str){owner->text, len}, &event, fault);
    }
    if (err != 0) {
        oq_event_release(owner);
        return err;
    }
    *ret_event = event;
    *ret_owner = owner;
    return 0;
}

/* --- Closing --- */

bool oq_event_takes(const struct oq_event *event)
{
    return event->type == OQ_ACCEPTED || (event->type == OQ_ADJUSTED && event->delta < 0);
}

void oq_event_reject(const struct oq_event *event, int64_t at_ms, struct oq_event *ret_rejected)
{
    bool lowering = event->type == OQ_ADJUSTED;
    *ret_rejected = (struct oq_event){
        .type = OQ_RELEASED,
        .reason = OQ_REJECTED,
        .rehearsal = event->rehearsal,
        .has_order_id = !lowering,
        .order_id = event->order_id,
        .adjust_key = lowering ? event->adjust_key : (struct ps_str){0},
        .sale = event->sale,
        .sku = event->sku,
        .quantity = lowering ? -event->delta : event->quantity,
        .epoch = event->epoch,
        .at_ms = at_ms,
    };
}

/* --- Keys --- */

size_t oq_event_key(const struct oq_event *event, char *ret_key)
{
    bool of_sale = event->type >= OQ_FENCED; /* archived, desk.head, a later version's */
    struct ps_str key = of_sale ? event->sale : event->adjust_key;
    if (event->type == OQ_ACCEPTED || event->type == OQ_CONFIRMED ||
        (event->type == OQ_RELEASED && event->has_order_id)) {
        ps_uuid_format(&event->order_id, ret_key);
        return PS_UUID_LEN;
    }
    memcpy(ret_key, key.at, key.len);
    ret_key[key.len] = '\0';
    return key.len;
}
