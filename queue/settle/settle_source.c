/* Batches of records, and what the two sources have in common.
 *
 * A position carries a digest of the record that it names, so that a database is never continued
 * from another log than the one that it was filled from: a journal that was restored from a backup
 * or started anew, a topic that was deleted and made again. Positions in such a log look valid, and
 * orders would be passed over without a word. */
#include "queue/settle/settle_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int st_batch_init(struct st_batch *batch, size_t capacity)
{
    *batch = (struct st_batch){.records = calloc(capacity, sizeof *batch->records),
                               .capacity = capacity};
    return batch->records != NULL ? 0 : PS_E_NOMEM;
}

bool st_batch_is_full(const struct st_batch *batch)
{
    return batch->count == batch->capacity || batch->bytes >= ST_BATCH_BYTES_MAX;
}

void st_batch_clear(struct st_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        oq_event_release(batch->records[i].owner);
        free(batch->records[i].poison);
        free((char *)(uintptr_t)batch->records[i].raw.at);
    }
    batch->count = batch->bytes = 0;
}

void st_batch_done(struct st_batch *batch)
{
    st_batch_clear(batch);
    free(batch->records);
    batch->records = NULL;
}

uint64_t st_digest(struct ps_str raw)
{
    static const struct ps_hash_key key = {{0}};
    return ps_hash64(&key, raw.len > 0 ? raw.at : "", raw.len);
}

/* Keeps the bytes and the reason. */
static int keep_poison(struct st_record *record, struct ps_str raw, const struct ps_fault *fault)
{
    char *bytes = malloc(raw.len + 1);
    size_t room = strlen(fault->path) + strlen(fault->text) + 2;
    record->poison = malloc(room);
    if (bytes == NULL || record->poison == NULL) {
        free(bytes);
        free(record->poison);
        return PS_E_NOMEM;
    }
    if (raw.len > 0)
        memcpy(bytes, raw.at, raw.len);
    record->raw = (struct ps_str){bytes, raw.len};
    snprintf(record->poison, room, "%s%s%s", fault->path, fault->path[0] != '\0' ? " " : "",
             fault->text);
    return 0;
}

int st_batch_add(struct st_batch *batch, uint32_t partition, int64_t seq, struct ps_str raw,
                 const char *log, struct ps_fault *fault)
{
    struct st_record *record = &batch->records[batch->count];
    struct ps_fault wrong = {0};
    *record = (struct st_record){.partition = partition, .seq = seq, .digest = st_digest(raw)};
    int err = oq_event_decode(raw.at, raw.len, &record->event, &record->owner, &wrong);
    if (err == PS_E_INVALID)
        err = keep_poison(record, raw, &wrong);
    if (err == PS_E_NEWER)
        return ps_fault(fault, err, log, "partition %u, record %lld: %s", partition, (long long)seq,
                        wrong.text);
    if (err != 0)
        return ps_fault(fault, err, log, "out of memory");
    batch->count++;
    batch->bytes += raw.len;
    return 0;
}

int st_record_text(struct st_record *record)
{
    struct ps_buf buf;
    if (record->raw.at != NULL)
        return 0;
    char *text = malloc(OQ_EVENT_LONG_MAX);
    if (text == NULL)
        return PS_E_NOMEM;
    ps_buf_init(&buf, text, OQ_EVENT_LONG_MAX);
    int err = oq_event_encode(&record->event, &buf);
    if (err != 0) {
        free(text);
        return err;
    }
    record->raw = (struct ps_str){text, buf.len};
    return 0;
}

int st_position_check(const struct st_position *position, int64_t seq, struct ps_str raw,
                      const char *log, const char *where, struct ps_fault *fault)
{
    if (seq == position->seq && (!position->checked || st_digest(raw) == position->digest))
        return 0;
    return ps_fault(
        fault, PS_E_CORRUPT, log,
        "the record at %s is not the one that the database was filled from: the log was "
        "restored or replaced; connect the database to its own log, or give this log "
        "another name (\"name\")",
        where);
}

/* --- The interface --- */

int st_source_read(struct st_source *source, struct st_batch *batch, int64_t wait_ms,
                   struct ps_fault *fault)
{
    st_batch_clear(batch);
    return source->ops->read(source, batch, wait_ms, fault);
}

void st_source_rewind(struct st_source *source)
{
    source->ops->rewind(source);
}

void st_source_stored(struct st_source *source, const struct st_batch *batch)
{
    if (source->ops->stored != NULL)
        source->ops->stored(source, batch);
}

size_t st_source_bury(struct st_source *source, const struct st_letter *letters, size_t count,
                      struct ps_fault *fault)
{
    return source->ops->bury != NULL ? source->ops->bury(source, letters, count, fault) : 0;
}

bool st_source_caught_up(const struct st_source *source)
{
    return source->ops->caught_up(source);
}

int64_t st_source_lag(struct st_source *source)
{
    return source->ops->lag(source);
}

void st_source_close(struct st_source *source)
{
    if (source != NULL)
        source->ops->close(source);
}
