/* Which fallback answers instead of a route's pool. The order is the document's; a fallback that
 * cannot answer this request now is skipped. Pure. */
#ifndef UP_FALLBACK_H
#define UP_FALLBACK_H

#include "gateway/config/kinds/route_doc.h"

/* Why a route's own pool does not answer; the words of Penstock-Fallback, logs and metrics. */
/* clang-format off */
#define UP_TROUBLES(X) \
    X(override)    /* an operator's */ \
    X(level)       /* the class of the route gives way under overload */ \
    X(breaker)     /* the pool's breaker is open */ \
    X(no_endpoint) /* none may be used */ \
    X(busy)        /* all its places are taken, and the request may not wait, or waited too long */ \
    X(uploads_full) /* there are as many uploads as may be, in all or of this client */ \
    X(no_room)     /* this gateway has no memory, socket or port left */ \
    X(deadline)    /* no answer had begun before the deadline */ \
    X(failed)      /* before an answer began */
/* clang-format on */
#define UP_TROUBLE_ENUM(name) UP_TROUBLE_##name,
enum up_trouble { UP_TROUBLES(UP_TROUBLE_ENUM) UP_TROUBLE_COUNT };
#undef UP_TROUBLE_ENUM
extern const char *const up_trouble_names[UP_TROUBLE_COUNT + 1]; /* NULL-terminated */
extern const char *const up_fallback_names[];                    /* by enum cfg_fallback_kind */

/* What is available for a request. */
struct up_fallback_offer {
    bool stale;     /* the cache has an answer, of any age */
    bool sendable;  /* the request has no body, or it is still here, and there is time left */
    unsigned pools; /* a bit for each fallback (1 << index) whose pool may be used now */
};

/* The next usable fallback at or after `from`; route->fallback_count: none is left. */
size_t up_fallback_next(const struct cfg_route *route, size_t from,
                        const struct up_fallback_offer *offer);

#endif
