/* The records of the order log: seven kinds, one struct, and their JSON. See queue/README.md for
 * what each means. */
#ifndef OQ_EVENT_H
#define OQ_EVENT_H

#include "common/text/buf.h"
#include "common/err.h"
#include "common/text/id.h"
#include "queue/adjust_key.h"
#include "queue/counts.h"

enum oq_type {
    OQ_ACCEPTED,
    OQ_CONFIRMED,
    OQ_RELEASED,
    OQ_ADJUSTED,
    OQ_FENCED,
    OQ_ARCHIVED,
    OQ_HEAD,
    OQ_TYPES,           /* how many this version writes */
    OQ_LATER = OQ_TYPES /* of a type that a later version has added: kept, and means nothing here */
};
enum oq_reason { OQ_REASON_NONE, OQ_EXPIRED, OQ_CANCELLED, OQ_REJECTED };

/* Partitions are numbered 0 .. OQ_PARTITION_MAX - 1. */
#define OQ_PARTITION_MAX 1024

#define OQ_BY_MAX      64
#define OQ_NOTE_MAX    256
#define OQ_TRACE_LEN   55
#define OQ_REQUEST_MAX 64
#define OQ_GATEWAY_MAX 64
#define OQ_HASH_LEN    64 /* SHA-256 in lower-case hexadecimal */
/* The longest JSON of a record, closing NUL included; oq_event_line adds at most OQ_SEQ_TEXT_MAX.
 * A sale.archived alone may be longer: up to OQ_EVENT_LONG_MAX. */
#define OQ_EVENT_TEXT_MAX 1536
#define OQ_EVENT_LONG_MAX 20480
#define OQ_SEQ_TEXT_MAX   32

/* The place of a record: one number for partition and seq. Places rise partition by partition, not
 * by time: partitions have no common order, and an order made up by one gateway would mean nothing
 * to the next one, nor to the same one after a restart; this one is the same everywhere and
 * forever. In partition 0, the only one of a journal, the place is the seq. Outside the program it
 * is called `seq`. */
#define OQ_PLACE_SEQ_BITS 43 /* with 10 bits of partition: whole numbers that JSON keeps exact */
static inline int64_t oq_place(uint32_t partition, int64_t seq)
{
    return (int64_t)partition << OQ_PLACE_SEQ_BITS | seq;
}
static inline uint32_t oq_place_partition(int64_t place)
{
    return (uint32_t)(place >> OQ_PLACE_SEQ_BITS);
}
static inline int64_t oq_place_seq(int64_t place)
{
    return place & ((INT64_C(1) << OQ_PLACE_SEQ_BITS) - 1);
}

/* Encoding ignores fields that a type does not have; decoding sets them to zero. */
struct oq_event {
    enum oq_type type;
    bool rehearsal;
    bool has_order_id; /* accepted, confirmed; released of an order */
    struct ps_uuid order_id;
    struct ps_str adjust_key; /* adjusted; released{rejected} of a lowering one: the record's key */
    struct ps_str sale;
    int64_t epoch;     /* accepted, lowering, fenced: at least 1; else 0 = not known */
    int64_t at_ms;     /* wall clock of the writer */
    struct ps_str sku; /* accepted, released, adjusted */
    int64_t quantity;  /* accepted, released; at least 1 */
    /* accepted */
    struct ps_str user;
    struct ps_str key; /* .len == 0: none */
    int64_t reserved_at_ms;
    int64_t pay_by_ms;
    int64_t cap;     /* as at the reservation, so that the auditor judges each order by its own */
    int64_t sku_cap; /* 0 = none */
    int64_t sale_version;
    /* .len == 0 or OQ_TRACE_LEN; travels beside the JSON value in Kafka, inside it in the journal
     */
    struct ps_str traceparent;
    struct ps_str request_id; /* the X-Request-Id of the buy's answer; .len == 0: none */
    /* confirmed, adjusted */
    struct ps_str by; /* token id of the operator; .len == 0: none (the initial stock) */
    /* released */
    enum oq_reason reason;
    /* adjusted */
    int64_t delta;      /* not 0, except in an initial record, which is never below 0 */
    struct ps_str note; /* the operator's reason; .len == 0: none. In the JSON it is "reason" */
    /* fenced */
    struct ps_str gateway; /* desk.head, too: whose audit log it is */
    int64_t partitions;    /* archived, too: the number of partitions of the sale's keys */
    bool first;
    struct ps_str opening_id; /* of the cluster's opening of the sale; .len == 0: none */
    /* archived */
    struct ps_str counts; /* printed by oq_counts_put */
    int64_t orders;       /* orders that were ever accepted */
    int64_t lines;        /* of the archive; 0 when it was discarded */
    struct ps_str last_hash;
    struct ps_str sha256; /* of the uncompressed file; both are empty when it was discarded */
    bool discarded;       /* a rehearsal that was dropped without an archive */
    /* desk.head: of the audit log's last line */
    int64_t audit_seq;
    struct ps_str head; /* its SHA-256, which the next line holds */
    /* OQ_LATER */
    struct ps_str later_type;
    struct ps_str later_json; /* the whole record as it was read; encoding repeats it */
};

/* "penstock.order.accepted.v1" and so on; of OQ_LATER "unknown". */
const char *oq_type_name(enum oq_type type);
int oq_type_parse(const char *name, enum oq_type *ret_type) PS_MUST_CHECK;
const char *oq_reason_name(enum oq_reason reason); /* "" for none */

/* Is every field of its type there and within its bounds? PS_E_INVALID names the member in `fault`
 * (NULL is allowed) as a JSON pointer. Encoding and decoding check this themselves. */
int oq_event_check(const struct oq_event *event, struct ps_fault *fault) PS_MUST_CHECK;

/* Does it take reserved units: accepted, or lowering? Such a record counts only under its
 * partition's epoch, and released{rejected} can close it. */
bool oq_event_takes(const struct oq_event *event);
/* That closing record; its strings are those of `event`. */
void oq_event_reject(const struct oq_event *event, int64_t at_ms, struct oq_event *ret_rejected);

/* The record's key: order id text, adjust key, or sale name (fenced, archived, desk.head),
 * with a closing NUL.
 * `ret_key` holds at least OQ_ADJUST_KEY_MAX + 1 bytes. Returns its length. */
size_t oq_event_key(const struct oq_event *event, char *ret_key);

/* Writes the JSON object, `type` first. No allocation: on the hot path. PS_E_INVALID: the event
 * does not pass oq_event_check, nothing was written. PS_E_FULL: it does not fit. */
int oq_event_encode(const struct oq_event *event, struct ps_buf *buf) PS_MUST_CHECK;

/* Decodes one. Strings of *ret_event point into `*ret_owner`, which the caller must pass to
 * oq_event_release; `text` is not needed any more. Ignores unknown members; a missing or malformed
 * one is PS_E_INVALID and `fault` (NULL is allowed) names it. A record of an unknown type
 * `penstock.*` is OQ_LATER (later.h); PS_E_NEWER: it is marked as critical. Accepts any valid JSON;
 * the form that oq_event_encode writes is decoded some ten times faster. `text` NULL: a record
 * without a value, PS_E_INVALID. Any thread. */
int oq_event_decode(const char *text, size_t len, struct oq_event *ret_event, void **ret_owner,
                    struct ps_fault *fault) PS_MUST_CHECK;
void oq_event_release(void *owner); /* NULL is allowed */

/* The line form in which records leave the product: the record's JSON with "seq" as its first
 * member. Writes no line end. `json` is one encoded record. PS_E_INVALID, PS_E_FULL. */
int oq_event_line(int64_t seq, struct ps_str json, struct ps_buf *buf) PS_MUST_CHECK;
/* Reads such a line (a closing line end is allowed). As oq_event_decode. */
int oq_event_decode_line(const char *line, size_t len, int64_t *ret_seq, struct oq_event *ret_event,
                         void **ret_owner, struct ps_fault *fault) PS_MUST_CHECK;
/* Calls `fn` with what such a line holds, for as long as it runs. The decoder's error, or what `fn`
 * returns. */
typedef int oq_event_fn(int64_t seq, const struct oq_event *event, void *ctx);
int oq_event_visit_line(const char *line, size_t len, oq_event_fn *fn, void *ctx) PS_MUST_CHECK;

#endif
