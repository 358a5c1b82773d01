/* The records of the order log: five kinds, one struct, and their JSON. See queue/README.md for what each means. */
#ifndef OQ_EVENT_H
#define OQ_EVENT_H

#include "common/buf.h"
#include "common/err.h"
#include "common/id.h"

enum oq_type { OQ_ACCEPTED, OQ_CONFIRMED, OQ_RELEASED, OQ_ADJUSTED, OQ_FENCED };
enum oq_reason { OQ_REASON_NONE, OQ_EXPIRED, OQ_CANCELLED, OQ_REJECTED };

/* "adjust:{sale}/{adjust_id}" or "initial:{sale}/{sku}" */
#define OQ_ADJUST_KEY_MAX  (8 + PS_NAME_MAX + 1 + PS_NAME_MAX)
#define OQ_BY_MAX          64
#define OQ_NOTE_MAX        256
#define OQ_TRACE_LEN       55
#define OQ_GATEWAY_MAX     64
/* The longest JSON of a record, closing NUL included. */
#define OQ_EVENT_TEXT_MAX  1536

struct oq_event {
    enum oq_type type;
    bool rehearsal;
    bool has_order_id;         /* accepted, confirmed; released of an order */
    struct ps_uuid order_id;
    struct ps_str adjust_key;  /* adjusted; released{rejected} of a lowering adjustment: the record's key */
    struct ps_str sale;
    int64_t epoch;
    int64_t at_ms;             /* wall clock of the writer */
    struct ps_str sku;         /* accepted, released, adjusted */
    int64_t quantity;          /* accepted, released */
    /* accepted */
    struct ps_str user;
    struct ps_str key;         /* .len == 0: none */
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    int64_t cap;               /* as at the reservation, so that the auditor judges each order by its own */
    int64_t sku_cap;           /* 0 = none */
    int64_t sale_version;
    struct ps_str traceparent; /* .len == 0 or OQ_TRACE_LEN; travels beside the JSON value in Kafka, inside it in the journal */
    /* confirmed, adjusted */
    struct ps_str by;          /* token id of who asked */
    /* released */
    enum oq_reason reason;
    /* adjusted */
    int64_t delta;
    struct ps_str note;        /* the operator's reason; "" = none */
    /* fenced */
    struct ps_str gateway;
    int64_t partitions;
    bool first;
};

/* "penstock.order.accepted.v1" and so on. */
const char *oq_type_name(enum oq_type type);
int oq_type_parse(const char *name, enum oq_type *ret_type) PS_MUST_CHECK;
const char *oq_reason_name(enum oq_reason reason); /* "" for none */

/* The record's key: order id text, adjust key, or sale name (fences). `ret_key` holds at least OQ_ADJUST_KEY_MAX + 1 bytes. Its length. */
size_t oq_event_key(const struct oq_event *event, char *ret_key);

/* 16 bytes that stand for an adjust key where an order id would stand (counter entries): BLAKE2b of the key. */
void oq_adjust_ref(struct ps_str adjust_key, struct ps_uuid *ret_ref);

/* Writes the JSON object, `type` first. PS_E_FULL when it does not fit. No allocation: on the hot path. */
int oq_event_encode(const struct oq_event *event, struct ps_buf *buf) PS_MUST_CHECK;

/* Reads one. Strings of *ret_event point into `*ret_owner`, which the caller gives to oq_event_release. Unknown members are ignored; a
 * missing or wrong one is PS_E_INVALID and names it. */
int oq_event_decode(const char *text, size_t len, struct oq_event *ret_event, void **ret_owner, struct ps_fault *fault) PS_MUST_CHECK;
void oq_event_release(void *owner); /* NULL is allowed */

#endif
