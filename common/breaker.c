/* See breaker.h. Only open_circuit() opens, so every opening has its pause.
 *
 * The window is a ring of slots. A slot takes calls until it is a tenth of the window old, or has a
 * tenth of its calls; the next one then takes the place of the oldest. Slots that began before the
 * window are not added up, so time needs no timer to pass. */
#include "common/breaker.h"

#include <sodium.h>
#include <string.h>

const char *const ps_breaker_state_names[] = {[PS_BREAKER_CLOSED] = "closed",
                                              [PS_BREAKER_OPEN] = "open",
                                              [PS_BREAKER_HALF_OPEN] = "half_open",
                                              NULL};

void ps_breaker_init(struct ps_breaker *breaker, const struct ps_breaker_settings *settings,
                     const struct ps_clock *clock)
{
    *breaker = (struct ps_breaker){.settings = *settings, .clock = clock};
    if (breaker->settings.probes == 0)
        breaker->settings.probes = 1;
    breaker->since_ns = ps_clock_mono_ns(clock);
}

/* --- the window --- */

static void add_to_window(struct ps_breaker *breaker, int64_t now_ns, bool failed, bool slow)
{
    const struct ps_breaker_settings *settings = &breaker->settings;
    struct ps_breaker_slot *slot = &breaker->slots[breaker->slot];
    unsigned calls_max = (settings->window_calls + PS_BREAKER_SLOTS - 1) / PS_BREAKER_SLOTS;
    int64_t age_max_ns = settings->window_ms * PS_NS_PER_MS / PS_BREAKER_SLOTS;

    if (slot->calls > 0 &&
        (now_ns - slot->begin_ns >= age_max_ns || (calls_max > 0 && slot->calls >= calls_max))) {
        breaker->slot = (breaker->slot + 1) % PS_BREAKER_SLOTS;
        slot = &breaker->slots[breaker->slot];
        *slot = (struct ps_breaker_slot){0};
    }
    if (slot->calls == 0)
        slot->begin_ns = now_ns;
    slot->calls++;
    slot->failures += failed;
    slot->slow += slow;
}

static struct ps_breaker_slot sum_window(const struct ps_breaker *breaker, int64_t now_ns)
{
    int64_t window_ns = breaker->settings.window_ms * PS_NS_PER_MS;
    struct ps_breaker_slot sum = {0};

    for (size_t i = 0; i < PS_BREAKER_SLOTS; i++) {
        const struct ps_breaker_slot *slot = &breaker->slots[i];
        if (slot->calls == 0 || now_ns - slot->begin_ns >= window_ns)
            continue;
        sum.calls += slot->calls;
        sum.failures += slot->failures;
        sum.slow += slot->slow;
    }
    return sum;
}

static bool is_share(uint32_t part, uint32_t whole, unsigned percent)
{
    return percent > 0 && (uint64_t)part * 100 >= (uint64_t)whole * percent;
}

/* Do the calls of the window say that the service fails? */
static bool condemns(const struct ps_breaker *breaker, int64_t now_ns)
{
    const struct ps_breaker_settings *settings = &breaker->settings;

    if (settings->failures_in_row > 0 && breaker->row >= settings->failures_in_row)
        return true;
    if (settings->failure_percent == 0 && settings->slow_percent == 0)
        return false;
    struct ps_breaker_slot sum = sum_window(breaker, now_ns);
    return sum.calls > 0 && sum.calls >= settings->calls_min &&
           (is_share(sum.failures, sum.calls, settings->failure_percent) ||
            is_share(sum.slow, sum.calls, settings->slow_percent));
}

/* --- from state to state --- */

static int64_t next_pause_ms(const struct ps_breaker *breaker)
{
    int64_t ms = breaker->settings.pause_min_ms;
    for (unsigned i = 1; i < breaker->openings && ms < breaker->settings.pause_max_ms; i++)
        ms *= 2;
    if (ms > breaker->settings.pause_max_ms)
        ms = breaker->settings.pause_max_ms;
    return ms - (int64_t)randombytes_uniform((uint32_t)(ms / 2 + 1));
}

static void open_circuit(struct ps_breaker *breaker, int64_t now_ns)
{
    if (breaker->state == PS_BREAKER_CLOSED) {
        breaker->since_ns = now_ns;
        breaker->openings_total += breaker->force.order != PS_BREAKER_FORCED_OPEN;
    }
    breaker->state = PS_BREAKER_OPEN;
    breaker->row = breaker->good = 0;
    breaker->openings++;
    breaker->opened_ns = now_ns;
    breaker->until_ns = now_ns + next_pause_ms(breaker) * PS_NS_PER_MS;
}

bool ps_breaker_trip(struct ps_breaker *breaker)
{
    int64_t now = ps_clock_mono_ns(breaker->clock);

    if (breaker->state == PS_BREAKER_OPEN)
        return false;
    add_to_window(breaker, now, true, false);
    open_circuit(breaker, now);
    return true;
}

void ps_breaker_probe(struct ps_breaker *breaker)
{
    if (breaker->state == PS_BREAKER_CLOSED)
        breaker->since_ns = ps_clock_mono_ns(breaker->clock);
    breaker->state = PS_BREAKER_HALF_OPEN;
    breaker->good = 0;
}

/* Earlier counts say nothing about the service's present state. */
void ps_breaker_close(struct ps_breaker *breaker)
{
    if (breaker->state == PS_BREAKER_CLOSED)
        return;
    breaker->state = PS_BREAKER_CLOSED;
    breaker->since_ns = ps_clock_mono_ns(breaker->clock);
    breaker->row = 0;
    memset(breaker->slots, 0, sizeof breaker->slots);
}

/* --- calls --- */

static void note_good(struct ps_breaker *breaker)
{
    const struct ps_breaker_settings *settings = &breaker->settings;

    breaker->good++;
    if (breaker->state == PS_BREAKER_HALF_OPEN && breaker->good >= settings->probes)
        ps_breaker_close(breaker);
    if (breaker->state == PS_BREAKER_CLOSED && breaker->good >= settings->calls_min)
        breaker->openings = 0;
}

static bool count_call(struct ps_breaker *breaker, bool failed, int64_t took_ns)
{
    const struct ps_breaker_settings *settings = &breaker->settings;
    int64_t now = ps_clock_mono_ns(breaker->clock);
    bool slow = settings->slow_ms > 0 && took_ns >= settings->slow_ms * PS_NS_PER_MS;
    bool bad = failed || (slow && settings->slow_percent > 0);

    add_to_window(breaker, now, failed, slow);
    if (breaker->state == PS_BREAKER_OPEN) /* the call began before it opened */
        return false;
    breaker->row = failed ? breaker->row + 1 : 0;
    if (!bad)
        note_good(breaker);
    bool opens = breaker->state == PS_BREAKER_HALF_OPEN ? bad : condemns(breaker, now);
    if (!opens || breaker->force.order == PS_BREAKER_FORCED_CLOSED)
        return false;
    open_circuit(breaker, now);
    return true;
}

bool ps_breaker_succeed(struct ps_breaker *breaker, int64_t took_ns)
{
    return count_call(breaker, false, took_ns);
}

bool ps_breaker_fail(struct ps_breaker *breaker, int64_t took_ns)
{
    return count_call(breaker, true, took_ns);
}

int64_t ps_breaker_pause_ms(const struct ps_breaker *breaker)
{
    int64_t left_ns = breaker->until_ns - ps_clock_mono_ns(breaker->clock);
    if (breaker->state != PS_BREAKER_OPEN || left_ns <= 0)
        return 0;
    return (left_ns + PS_NS_PER_MS - 1) / PS_NS_PER_MS;
}

static bool is_pause_over(const struct ps_breaker *breaker)
{
    return breaker->state == PS_BREAKER_OPEN && breaker->force.order != PS_BREAKER_FORCED_OPEN &&
           ps_breaker_pause_ms(breaker) == 0;
}

bool ps_breaker_would_admit(const struct ps_breaker *breaker, size_t in_flight)
{
    enum ps_breaker_order forced = breaker->force.order;
    bool over = is_pause_over(breaker); /* HALF_OPEN with the next call, and none was good yet */

    if (forced == PS_BREAKER_FORCED_OPEN)
        return false;
    if ((breaker->state == PS_BREAKER_HALF_OPEN || over) && forced == PS_BREAKER_FREE)
        return in_flight + (over ? 0 : breaker->good) < breaker->settings.probes;
    return breaker->state != PS_BREAKER_OPEN || over;
}

bool ps_breaker_admits(struct ps_breaker *breaker, size_t in_flight)
{
    if (is_pause_over(breaker))
        ps_breaker_probe(breaker);
    return ps_breaker_would_admit(breaker, in_flight);
}

/* --- overrides --- */

void ps_breaker_force(struct ps_breaker *breaker, const struct ps_breaker_force *force)
{
    bool opens = force->order == PS_BREAKER_FORCED_OPEN;

    if (opens != (breaker->force.order == PS_BREAKER_FORCED_OPEN) &&
        breaker->state == PS_BREAKER_CLOSED)
        breaker->since_ns = ps_clock_mono_ns(breaker->clock);
    breaker->force = *force;
}

void ps_breaker_show(struct ps_breaker *breaker, struct ps_breaker_view *ret_view)
{
    bool forced_open = breaker->force.order == PS_BREAKER_FORCED_OPEN;
    struct ps_breaker_slot sum = sum_window(breaker, ps_clock_mono_ns(breaker->clock));

    *ret_view = (struct ps_breaker_view){.state = forced_open ? PS_BREAKER_OPEN : breaker->state,
                                         .since_ns = breaker->since_ns,
                                         .force = breaker->force,
                                         .calls = sum.calls,
                                         .failures = sum.failures,
                                         .slow = sum.slow,
                                         .openings = breaker->openings_total};
}
