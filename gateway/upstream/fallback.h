/* What answers in the place of a route's pool. The order is the document's; a fall-back that cannot
 * answer this request now is passed over. Pure. */
#ifndef UP_FALLBACK_H
#define UP_FALLBACK_H

#include "gateway/config/kinds/route_doc.h"

/* Why a route's own pool does not answer; the words of Penstock-Fallback, logs and metrics. */
/* clang-format off */
#define UP_TROUBLES(X) \
    X(order)       /* an operator's, with a time */ \
    X(level)       /* the class of the route gives way under overload */ \
    X(breaker)     /* the pool's breaker is open */ \
    X(no_endpoint) /* none may be used */ \
    X(busy)        /* all its places are taken, and nobody may wait, or has waited for too long */ \
    X(deadline)    /* no answer had begun by then */ \
    X(failed)      /* before an answer had begun */
/* clang-format on */
#define UP_TROUBLE_ENUM(name) UP_TROUBLE_##name,
enum up_trouble { UP_TROUBLES(UP_TROUBLE_ENUM) UP_TROUBLE_COUNT };
#undef UP_TROUBLE_ENUM
extern const char *const up_trouble_names[UP_TROUBLE_COUNT + 1]; /* NULL-terminated */
extern const char *const up_fallback_names[];                    /* by enum cfg_fallback_kind */

/* What there is for a request. */
struct up_fallback_offer {
    bool stale;     /* an answer in the cache, however old */
    bool sendable;  /* its body is still here, or it has none, and there is time left */
    unsigned pools; /* a bit for each fall-back (1 << index) whose pool may be used now */
};

/* The next one at or after `from`; route->fallback_count: none is left. */
size_t up_fallback_next(const struct cfg_route *route, size_t from,
                        const struct up_fallback_offer *offer);

#endif
