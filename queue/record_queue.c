/* The input queue of a log: a ps_ring (its proof is in common/ring.c) and one word that counts,
 * closes and wakes.
 *
 * `state` = places claimed and not yet released, plus two flags. Every put adds one to it *before*
 * anything else, and all changes of it are read-modify-writes, hence in one order. From that
 * follows:
 *  - Closing loses nothing: a put either sees CLOSED and takes its claim back, or its claim comes
 *    before the flag; the consumer ends only at "CLOSED and 0", so never while a claim is open.
 *  - No wake is lost: the consumer goes to sleep by the exchange 0 -> SLEEPING, so only when no
 *    claim is open; every later put sees SLEEPING in its own addition, publishes, and then signals
 *    the eventfd. Only the put that clears the flag does so: a sleeping consumer costs its waker
 *    one system call, a busy one costs none. A signal from outside ends a wait early, which is
 *    allowed.
 *  - A claim that is not yet published keeps the consumer awake for the few microseconds of an
 *    encoding: it yields meanwhile, so that a producer on the same core can finish.
 * A record that turns out invalid has its place already: it is published empty and passed over. */
#include "queue/record_queue.h"
#include "common/ring.h"

#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CLOSED   (UINT64_C(1) << 63)
#define SLEEPING (UINT64_C(1) << 62)
#define COUNT    (SLEEPING - 1)

struct oq_record_queue {
    PS_ALIGNED _Atomic uint64_t state;
    PS_ALIGNED struct ps_ring *ring;
    size_t taken; /* the consumer's: places taken and not yet released */
    int wakeup;
};

static void keep_text(struct ps_buf *buf, struct ps_str *text)
{
    if (text->len == 0)
        return;
    char *copy = buf->at + buf->len;
    ps_buf_put(buf, text->at, text->len);
    text->at = copy;
}

/* All strings that point into a record's text. */
#define EVENT_STRINGS 13
static void strings_of(struct oq_event *event, struct ps_str *ret_strings[EVENT_STRINGS])
{
    struct ps_str *strings[EVENT_STRINGS] = {
        &event->adjust_key,  &event->sale,       &event->sku,   &event->user, &event->key,
        &event->traceparent, &event->request_id, &event->by,    &event->note, &event->gateway,
        &event->counts,      &event->last_hash,  &event->sha256};
    memcpy(ret_strings, strings, sizeof strings);
}

/* Room for the JSON of a sale.archived and, beside it, for its strings. */
#define MORE_MAX (2 * OQ_EVENT_LONG_MAX + OQ_EVENT_STRINGS_MAX)

int oq_record_fill(struct oq_record *record, const struct oq_event *event)
{
    struct ps_buf buf;
    record->more = NULL;
    if (event->type == OQ_LATER)
        return PS_E_INVALID;
    if (event->type == OQ_ARCHIVED && (record->more = malloc(MORE_MAX)) == NULL)
        return PS_E_NOMEM;
    ps_buf_init(&buf, record->more != NULL ? record->more : record->text,
                record->more != NULL ? MORE_MAX : sizeof record->text);
    int err = oq_event_encode(event, &buf);
    struct ps_str json = {buf.at, buf.len};
    record->event = *event;
    struct ps_str *strings[EVENT_STRINGS];
    strings_of(&record->event, strings);
    for (size_t i = 0; i < EVENT_STRINGS && err == 0; i++)
        keep_text(&buf, strings[i]);
    if (err == 0 && buf.overflow) /* a string of a member that this type lacks, and too long */
        err = PS_E_INVALID;
    if (err != 0) {
        oq_record_done(record);
        return err;
    }
    record->json = json;
    record->text_len = buf.len;
    return 0;
}

void oq_record_copy(struct oq_record *record, struct oq_record *from)
{
    struct ps_str *strings[EVENT_STRINGS];
    memcpy(record, from, offsetof(struct oq_record, text));
    if (from->more != NULL) {
        from->more = NULL;
        return;
    }
    memcpy(record->text, from->text, from->text_len);
    record->json.at = record->text;
    strings_of(&record->event, strings);
    for (size_t i = 0; i < EVENT_STRINGS; i++)
        if (strings[i]->len > 0)
            strings[i]->at = record->text + (strings[i]->at - from->text);
}

void oq_record_done(struct oq_record *record)
{
    free(record->more);
    record->more = NULL;
}

int oq_record_queue_new(size_t capacity, struct oq_record_queue **ret_queue)
{
    struct oq_record_queue *queue = aligned_alloc(PS_CACHE_LINE, sizeof *queue);
    if (queue == NULL)
        return PS_E_NOMEM;
    *queue = (struct oq_record_queue){.wakeup = -1};
    int err = ps_ring_new(capacity, sizeof(struct oq_record), &queue->ring);
    if (err != 0)
        goto fail;
    queue->wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = queue->wakeup >= 0 ? 0 : PS_E_IO;
    if (err != 0)
        goto fail;
    *ret_queue = queue;
    return 0;
fail:
    oq_record_queue_free(queue);
    return err;
}

void oq_record_queue_free(struct oq_record_queue *queue)
{
    if (queue == NULL)
        return;
    if (queue->wakeup >= 0)
        close(queue->wakeup);
    ps_ring_free(queue->ring);
    free(queue);
}

/* `seen` is the state that our own change has returned. */
static void wake_reader(struct oq_record_queue *queue, uint64_t seen)
{
    if ((seen & SLEEPING) == 0)
        return;
    uint64_t before = atomic_fetch_and_explicit(&queue->state, ~SLEEPING, memory_order_acq_rel);
    if ((before & SLEEPING) == 0)
        return;
    /* Cannot fail: the counter is one or two, far from full. */
    (void)eventfd_write(queue->wakeup, 1);
}

/* Pass *ret_seen to wake_reader() after the place was published. */
static int claim_place(struct oq_record_queue *queue, struct oq_record **ret_record,
                       uint64_t *ret_seen)
{
    uint64_t seen = atomic_fetch_add_explicit(&queue->state, 1, memory_order_acq_rel);
    struct oq_record *record = NULL;
    if ((seen & CLOSED) == 0)
        record = ps_ring_reserve(queue->ring);
    if (record == NULL) {
        atomic_fetch_sub_explicit(&queue->state, 1, memory_order_acq_rel);
        return (seen & CLOSED) != 0 ? PS_E_CLOSED : PS_E_FULL;
    }
    *ret_record = record;
    *ret_seen = seen;
    return 0;
}

int oq_record_queue_put(struct oq_record_queue *queue, uint32_t partition,
                        const struct oq_event *event, const struct oq_ticket *ticket)
{
    struct oq_record *record;
    uint64_t seen;
    int err = claim_place(queue, &record, &seen);
    if (err != 0)
        return err;
    record->call = NULL;
    record->partition = partition;
    record->ticket = *ticket;
    err = oq_record_fill(record, event);
    if (err != 0)
        record->json.len = 0;
    ps_ring_publish(queue->ring, record);
    wake_reader(queue, seen);
    return err;
}

int oq_record_queue_call(struct oq_record_queue *queue, void (*call)(void *arg), void *arg)
{
    struct oq_record *record;
    uint64_t seen;
    int err = claim_place(queue, &record, &seen);
    if (err != 0)
        return err;
    record->call = call;
    record->arg = arg;
    record->more = NULL;
    ps_ring_publish(queue->ring, record);
    wake_reader(queue, seen);
    return 0;
}

void oq_record_queue_close(struct oq_record_queue *queue)
{
    wake_reader(queue, atomic_fetch_or_explicit(&queue->state, CLOSED, memory_order_acq_rel));
}

size_t oq_record_queue_count(const struct oq_record_queue *queue)
{
    size_t claims = (size_t)(atomic_load_explicit(&queue->state, memory_order_relaxed) & COUNT);
    size_t capacity = ps_ring_capacity(queue->ring);
    /* more: an append is being refused at this moment */
    return claims < capacity ? claims : capacity;
}

size_t oq_record_queue_capacity(const struct oq_record_queue *queue)
{
    return ps_ring_capacity(queue->ring);
}

struct oq_record *oq_record_queue_take(struct oq_record_queue *queue)
{
    struct oq_record *record;
    while ((record = ps_ring_at(queue->ring, queue->taken)) != NULL) {
        queue->taken++;
        if (record->call != NULL || record->json.len > 0)
            return record;
    }
    return NULL;
}

void oq_record_queue_release(struct oq_record_queue *queue)
{
    for (size_t i = 0; i < queue->taken; i++) {
        oq_record_done(ps_ring_front(queue->ring));
        ps_ring_pop(queue->ring);
    }
    atomic_fetch_sub_explicit(&queue->state, queue->taken, memory_order_acq_rel);
    queue->taken = 0;
}

void oq_record_queue_wait(struct oq_record_queue *queue, int timeout_ms)
{
    uint64_t idle = 0;
    if (!atomic_compare_exchange_strong_explicit(&queue->state, &idle, SLEEPING,
                                                 memory_order_acq_rel, memory_order_acquire)) {
        sched_yield();
        return;
    }
    oq_record_queue_rest(queue, timeout_ms);
    atomic_fetch_and_explicit(&queue->state, ~SLEEPING, memory_order_acq_rel);
}

void oq_record_queue_rest(struct oq_record_queue *queue, int timeout_ms)
{
    struct pollfd signal = {.fd = queue->wakeup, .events = POLLIN};
    eventfd_t count;
    if (poll(&signal, 1, timeout_ms) > 0)
        (void)eventfd_read(queue->wakeup, &count);
}

int oq_record_queue_wakeup(const struct oq_record_queue *queue)
{
    return queue->wakeup;
}

bool oq_record_queue_ended(const struct oq_record_queue *queue)
{
    return atomic_load_explicit(&queue->state, memory_order_acquire) == CLOSED;
}
