/* What a request to buy would come to now: the gates and the counter judge it as any other
 * (judge.h), and nothing is taken, held, appended or answered. */
#ifndef ORD_LOOK_H
#define ORD_LOOK_H

#include "gateway/admission/look.h"
#include "gateway/orders/in_flight.h"

struct ord_look {
    /* Input. Of `request`: `asked`, `now_ns`, `arrived_ns`, `in_flight`, and `deps`, whose gates
     * are copies (adm_gates_copy). All of it outlives the look. */
    struct ord_request request;
    int64_t wall_ms;       /* for the phase and the ends of blocks */
    struct adm_look *look; /* every gate notes what it says, the counter as "counter" */
    /* Called once: at once, or later on this thread if the counter is elsewhere. */
    void (*on_verdict)(struct ord_look *look, enum ans_verdict verdict);
    /* Private. */
    struct inv_sale *counter;
    int64_t left;
};

void ord_buy_look(struct ord_look *look, const struct snap_sale *sale);

#endif
