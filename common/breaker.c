/* See breaker.h. Only trip() opens, so every opening has its pause. */
#include "common/breaker.h"

#include <sodium.h>

void ps_breaker_init(struct ps_breaker *breaker, const struct ps_breaker_settings *settings,
                     const struct ps_clock *clock)
{
    *breaker = (struct ps_breaker){.settings = *settings, .clock = clock};
}

static int64_t next_pause_ms(const struct ps_breaker *breaker)
{
    int64_t ms = breaker->settings.pause_min_ms;
    for (unsigned i = 1; i < breaker->openings && ms < breaker->settings.pause_max_ms; i++)
        ms *= 2;
    if (ms > breaker->settings.pause_max_ms)
        ms = breaker->settings.pause_max_ms;
    return ms - (int64_t)randombytes_uniform((uint32_t)(ms / 2 + 1));
}

bool ps_breaker_trip(struct ps_breaker *breaker)
{
    if (breaker->state == PS_BREAKER_OPEN)
        return false;
    breaker->state = PS_BREAKER_OPEN;
    breaker->strikes = 0;
    breaker->openings++;
    breaker->opened_ns = ps_clock_mono_ns(breaker->clock);
    breaker->until_ns = breaker->opened_ns + next_pause_ms(breaker) * PS_NS_PER_MS;
    return true;
}

bool ps_breaker_strike(struct ps_breaker *breaker)
{
    if (++breaker->strikes >= breaker->settings.strikes_max ||
        breaker->state == PS_BREAKER_HALF_OPEN)
        (void)ps_breaker_trip(breaker);
    return breaker->state == PS_BREAKER_OPEN;
}

void ps_breaker_probe(struct ps_breaker *breaker)
{
    breaker->state = PS_BREAKER_HALF_OPEN;
}

void ps_breaker_close(struct ps_breaker *breaker)
{
    breaker->state = PS_BREAKER_CLOSED;
    breaker->strikes = 0;
}

void ps_breaker_succeed(struct ps_breaker *breaker)
{
    ps_breaker_close(breaker);
    breaker->openings = 0;
}

int64_t ps_breaker_pause_ms(const struct ps_breaker *breaker)
{
    int64_t left_ns = breaker->until_ns - ps_clock_mono_ns(breaker->clock);
    if (breaker->state != PS_BREAKER_OPEN || left_ns <= 0)
        return 0;
    return (left_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS;
}

bool ps_breaker_admits(struct ps_breaker *breaker, size_t in_flight)
{
    if (breaker->state == PS_BREAKER_OPEN && ps_breaker_pause_ms(breaker) == 0)
        ps_breaker_probe(breaker);
    return breaker->state == PS_BREAKER_CLOSED ||
           (breaker->state == PS_BREAKER_HALF_OPEN && in_flight == 0);
}
