/* See fallback.h. */
#include "gateway/upstream/fallback.h"

#define NAME(name) #name,
const char *const up_trouble_names[UP_TROUBLE_COUNT + 1] = {UP_TROUBLES(NAME) NULL};
const char *const up_fallback_names[] = {"stale", "pool", "static", "problem", NULL};

static bool can_answer(enum cfg_fallback_kind kind, size_t index,
                       const struct up_fallback_offer *offer)
{
    switch (kind) {
    case CFG_FALLBACK_STALE:
        return offer->stale;
    case CFG_FALLBACK_POOL:
        return offer->sendable && (offer->pools >> index & 1) != 0;
    case CFG_FALLBACK_STATIC:
    case CFG_FALLBACK_PROBLEM:
    case CFG_FALLBACK_KINDS:
        break;
    }
    return true;
}

size_t up_fallback_next(const struct cfg_route *route, size_t from,
                        const struct up_fallback_offer *offer)
{
    while (from < route->fallback_count && !can_answer(route->fallbacks[from].kind, from, offer))
        from++;
    return from;
}
