/* A bounded queue of equal slots for many producers and one consumer. A slot is filled and read in
 * place. No lock, no system call: how the consumer is woken is the user's business (ps_mailbox, the
 * log). */
#ifndef PS_RING_H
#define PS_RING_H

#include "common/defs.h"

struct ps_ring;

/* `capacity` is rounded up to a power of two (at least 2, at most 2^30). PS_E_NOMEM, PS_E_INVALID.
 */
int ps_ring_new(size_t capacity, size_t slot_size, struct ps_ring **ret_ring) PS_MUST_CHECK;
void ps_ring_free(struct ps_ring *ring); /* NULL is allowed */

/* Any thread. A slot to fill, or NULL when the ring is full. Every slot that was reserved must be
 * published soon, by the same thread: the consumer sees nothing that was reserved later until then.
 */
void *ps_ring_reserve(struct ps_ring *ring);
void ps_ring_publish(struct ps_ring *ring, void *slot);

/* The one consumer. The oldest published slot (until ps_ring_pop), or NULL. */
void *ps_ring_front(struct ps_ring *ring);
/* The slot `ahead` places behind the oldest one, or NULL while it is not published: several slots
 * can be read in place before the first is popped. */
void *ps_ring_at(struct ps_ring *ring, size_t ahead);
void ps_ring_pop(struct ps_ring *ring);
size_t ps_ring_capacity(const struct ps_ring *ring);

#endif
