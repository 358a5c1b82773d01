/* Which split of a route a request goes to: a pure function of the document, of the client and, for
 * splits by request, of a counter.
 *
 * Splits with the same `by` share one line of 1,000 places. A client has a place on it, by a keyed
 * hash, and a split has one place for each thousandth of its share. So splits with the same `by`
 * never overlap, and a split that grows keeps all its users; one that shrinks loses them in reverse
 * order. The first split of a line grows from its beginning and the second from its end: they never
 * move each other's users. Others begin in between (500, 499, 250, 749, 750, 249); where two reach
 * the same place, the split to whose beginning it is nearer gets it. (With three splits no rule can
 * avoid that: each would have to grow away from both others.) A split keeps its beginning as long
 * as its position among those of its line stays; one with a share of 0 keeps it, too.
 *
 * Splits with different `by` are asked in the order of the document. */
#ifndef UP_SWITCH_H
#define UP_SWITCH_H

#include "gateway/upstream/pool.h"

#define UP_PLACES 1000 /* in a line: shares have steps of 0.1 % */

struct up_switch;

/* The switch of a route's splits with these shares (NULL: those of its document); NULL when it has
 * none. Uses the texts of the document, which must outlive it. PS_E_NOMEM. */
int up_switch_new(const struct cfg_route *route, const uint32_t *per_mille,
                  struct up_switch **ret_switch) PS_MUST_CHECK;
void up_switch_free(struct up_switch *swtch); /* NULL is allowed */

/* The client of a request. */
struct up_asker {
    struct ps_str user; /* .len 0: not known; the client's address is used instead */
    struct ps_address client;
    const struct ps_http_head *head; /* of the request */
    const char *base;                /* what its views point into */
};

/* The split's index, or UP_NONE: the route's own pool. `off`: splits with a bit (1 << index) get
 * nothing now. `draws` is a counter of the caller, with any first value: of each 1,000 draws a
 * split by request gets exactly its share. Any thread. */
size_t up_switch_pick(const struct up_switch *swtch, const struct up_asker *asker, unsigned off,
                      uint64_t *draws);

/* Is this draw one of the share? Of each 1,000 exactly `per_mille` are. */
bool up_draw_is_in(uint64_t *draws, uint32_t per_mille);

#endif
