/* Who goes to which split of a route: a pure function of the document, of who asks, and, for splits
 * by request, of a counter.
 *
 * Splits that choose by the same thing share one line of 1,000 places. Who asks has a place on it,
 * by a keyed hash, and a split has as many places as its share has thousandths: so nobody is in two
 * splits, and a split that grows keeps everybody whom it had. One that shrinks lets them go in
 * reverse order. The first split of a line grows from its beginning and the second from its end:
 * they never move each other's users. Others begin in between (500, 499, 250, 749, 750, 249); where
 * two want one place, the one for which it is nearer has it. (With three splits no rule can do
 * without that: each would have to grow against both others.) A split keeps its beginning as long
 * as its place among those of its line stays; one with a share of 0 keeps it, too.
 *
 * Splits that choose by different things are asked in the order of the document. */
#ifndef UP_SWITCH_H
#define UP_SWITCH_H

#include "gateway/upstream/pool.h"

#define UP_PLACES 1000 /* of a line: a share goes in steps of 0.1 % */

struct up_switch;

/* What the splits of a route make; NULL when it has none. Uses the texts of the document, which
 * outlives it. PS_E_NOMEM. */
int up_switch_new(const struct cfg_route *route, struct up_switch **ret_switch) PS_MUST_CHECK;
void up_switch_free(struct up_switch *swtch); /* NULL is allowed */

/* Who asks. */
struct up_asker {
    struct ps_str user; /* .len 0: not known; then it is the client's address that counts */
    struct ps_address client;
    const struct ps_http_head *head; /* of the request */
    const char *base;                /* where its bytes are */
};

/* The split's index, or UP_NONE: the route's own pool. `off`: those with a bit (1 << index) have
 * no share now. `draws` is a counter of the caller's, at first any number: of each 1,000 draws a
 * split by request has exactly its share. Any thread. */
size_t up_switch_pick(const struct up_switch *swtch, const struct up_asker *asker, unsigned off,
                      uint64_t *draws);

/* Is this draw one of the share? Of each 1,000 exactly `per_mille` are. */
bool up_draw_is_in(uint64_t *draws, uint32_t per_mille);

#endif
