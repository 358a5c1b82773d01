/* Where settlement reads records: a gateway's journal, or the topic of a cluster. Two backends, one
 * contract (tests/contract/settle_source_test.c):
 *  - a partition is read from the position that the hook gives for it, in order, each record once.
 *    The record at that position must still be the one whose digest was stored, or the log is not
 *    the one that was read before: PS_E_CORRUPT, and nothing is read;
 *  - records that are gone before they were read are PS_E_CORRUPT too, or what the hook `lost`
 *    makes of them; never passed over without a word;
 *  - what is no record of the order log is given out as a poison record, with the reason.
 * One thread at a time. */
#ifndef ST_SETTLE_SOURCE_H
#define ST_SETTLE_SOURCE_H

#include "common/err.h"
#include "queue/event.h"
#include "queue/log_kafka.h"

/* The last record of a partition that the database has. */
struct st_position {
    int64_t seq;     /* 0 = none yet */
    bool checked;    /* false: the digest is not known */
    uint64_t digest; /* st_digest of that record */
};

struct st_record {
    uint32_t partition;
    int64_t seq; /* at least 1; Kafka: offset + 1 */
    uint64_t digest;
    struct oq_event event; /* unless poison */
    void *owner;           /* of the event's strings */
    char *poison;          /* heap: why it is none; NULL = it is one */
    struct ps_str raw;     /* heap; its bytes, if poison or asked for by st_record_text */
};

/* A record that is put aside; its `raw` holds what it said. */
struct st_letter {
    const struct st_record *record;
    const char *reason;
};

/* Records in the order in which they were read. */
struct st_batch {
    struct st_record *records;
    size_t count, capacity;
    size_t bytes; /* of their texts */
};
/* A batch with this many bytes takes no more: anybody may write to a topic, and as much as its
 * brokers accept. */
#define ST_BATCH_BYTES_MAX ((size_t)16 << 20)

int st_batch_init(struct st_batch *batch, size_t capacity) PS_MUST_CHECK;
bool st_batch_is_full(const struct st_batch *batch);
void st_batch_clear(struct st_batch *batch);
void st_batch_done(struct st_batch *batch);

/* Makes sure that `raw` holds the record's bytes. PS_E_NOMEM. */
int st_record_text(struct st_record *record) PS_MUST_CHECK;

struct st_source_hooks {
    /* Of a partition that the source begins with or returns to. */
    int (*position)(uint32_t partition, struct st_position *ret_position, void *ctx,
                    struct ps_fault *fault);
    /* The partition was read up to `seq` and continues with the record behind `first` only. Kafka:
     * it begins there; a journal: those between were deleted with their sale. 0: the position has
     * been moved on to `first`, and reading continues there. */
    int (*lost)(uint32_t partition, int64_t seq, int64_t first, void *ctx, struct ps_fault *fault);
    void *ctx;
};

struct st_source;

/* The journal of a gateway, which may be running or not. PS_E_NOT_FOUND, and as
 * oq_journal_reader_open. `path` is borrowed for the source's life. */
int st_source_journal_open(const char *path, const struct st_source_hooks *hooks,
                           struct st_source **ret_source, struct ps_fault *fault) PS_MUST_CHECK;

struct st_kafka_settings {
    const char *brokers, *topic, *group;
    const char *dead_letter_topic;              /* NULL = none */
    const struct oq_kafka_property *properties; /* of librdkafka: security and tuning */
    size_t property_count;
};

/* As oq_kafka_properties_check, by the worker's own rules. */
int st_source_kafka_check(const json_t *properties, const char *path, oq_kafka_fault_fn *on_fault,
                          void *ctx) PS_MUST_CHECK;

/* A member of a consumer group on a topic. Strings are borrowed for the source's life.
 * PS_E_INVALID: a setting. Kafka itself is looked for by the first read. */
int st_source_kafka_open(const struct st_kafka_settings *settings,
                         const struct st_source_hooks *hooks, struct st_source **ret_source,
                         struct ps_fault *fault) PS_MUST_CHECK;

/* Clears the batch and reads records into it until it is full or there are no more now; waits up to
 * `wait_ms` for the first one. PS_E_CORRUPT, PS_E_INVALID, PS_E_NOT_FOUND, PS_E_NEWER: continuing
 * is useless. Other errors may pass: read again. */
int st_source_read(struct st_source *source, struct st_batch *batch, int64_t wait_ms,
                   struct ps_fault *fault) PS_MUST_CHECK;
/* Forgets its position: the hook is asked again before the next record. */
void st_source_rewind(struct st_source *source);
/* The database has these. */
void st_source_stored(struct st_source *source, const struct st_batch *batch);
/* Sends letters to the dead-letter topic, if there is one, all of them together. How many could not
 * be sent; `fault` then says why. Nothing is lost: the database keeps them too. */
size_t st_source_bury(struct st_source *source, const struct st_letter *letters, size_t count,
                      struct ps_fault *fault) PS_MUST_CHECK;
/* Were all records returned that were there at the last read? */
bool st_source_caught_up(const struct st_source *source);
/* Records not given out yet; -1 = not known. */
int64_t st_source_lag(struct st_source *source);
void st_source_close(struct st_source *source); /* NULL is allowed */

/* --- For the backends --- */

struct st_source_ops {
    int (*read)(struct st_source *source, struct st_batch *batch, int64_t wait_ms,
                struct ps_fault *fault);
    void (*rewind)(struct st_source *source);
    void (*stored)(struct st_source *source, const struct st_batch *batch); /* NULL = nothing */
    size_t (*bury)(struct st_source *source, const struct st_letter *letters, size_t count,
                   struct ps_fault *fault); /* NULL = nothing */
    bool (*caught_up)(const struct st_source *source);
    int64_t (*lag)(struct st_source *source);
    void (*close)(struct st_source *source);
};

struct st_source {
    const struct st_source_ops *ops;
    struct st_source_hooks hooks;
};

/* Equal for equal bytes, everywhere and always; distinguishes records, proves nothing. */
uint64_t st_digest(struct ps_str raw);

/* Copies and decodes one record; the batch has room. What does not decode is poison. `raw.at` NULL:
 * the record has no value. PS_E_NOMEM; PS_E_NEWER: a later version has marked it as critical, and
 * `fault` names it by `log` and place. */
int st_batch_add(struct st_batch *batch, uint32_t partition, int64_t seq, struct ps_str raw,
                 const char *log, struct ps_fault *fault) PS_MUST_CHECK;

/* Is the record `raw` at `seq` the one that `position` names? PS_E_CORRUPT: no; `where` is that
 * place in the words of this log. */
int st_position_check(const struct st_position *position, int64_t seq, struct ps_str raw,
                      const char *log, const char *where, struct ps_fault *fault) PS_MUST_CHECK;

#endif
