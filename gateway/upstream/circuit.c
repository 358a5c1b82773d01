/* See circuit.h. */
#include "gateway/upstream/circuit.h"

#include <stdio.h>

const struct ps_breaker_settings up_circuit_of_endpoint = {.window_ms = 10000,
                                                           .calls_min = 20,
                                                           .failure_percent = 50,
                                                           .probes = 1,
                                                           .pause_min_ms = 500,
                                                           .pause_max_ms = 10000};
const struct ps_breaker_settings up_circuit_of_pool = {.window_ms = 10000,
                                                       .calls_min = 20,
                                                       .failure_percent = 50,
                                                       .probes = 3,
                                                       .pause_min_ms = 500,
                                                       .pause_max_ms = 5000};

static void show(struct up_circuit *circuit)
{
    struct ps_breaker_view view;

    ps_breaker_show(&circuit->breaker, &view);
    if (view.force.order == PS_BREAKER_FORCED_OPEN)
        (void)snprintf(view.why, sizeof view.why, "forced open");
    else if (view.state != PS_BREAKER_CLOSED && circuit->why != NULL)
        (void)snprintf(view.why, sizeof view.why, "the last failure: %s", circuit->why);
    view.force.id = circuit->obeyed;
    ps_board_write(&circuit->board, &view, sizeof view);
}

void up_circuit_init(struct up_circuit *circuit, const struct ps_breaker_settings *settings,
                     const struct ps_clock *clock)
{
    ps_breaker_init(&circuit->breaker, settings, clock);
    show(circuit);
}

bool up_circuit_admits(struct up_circuit *circuit, int64_t in_flight, const struct up_who *who)
{
    return ps_breaker_admits(&circuit->breaker, in_flight > 0 ? (size_t)in_flight : 0) &&
           !(up_circuit_is_half_open(circuit) && who != NULL &&
             up_marks_have(&circuit->suspects, who, ps_clock_mono_ns(circuit->breaker.clock)));
}

/* A probe speaks for itself. False: its client or path has probed badly before. */
static bool take_probe(struct up_circuit *circuit, enum up_says says, const struct up_who *who)
{
    int64_t now_ns = ps_clock_mono_ns(circuit->breaker.clock);

    if (says == UP_SAYS_GOOD || who == NULL)
        return true;
    if (up_marks_have(&circuit->suspects, who, now_ns))
        return false;
    up_marks_add(&circuit->suspects, who, false, now_ns);
    return true;
}

void up_circuit_count(struct up_circuit *circuit, const struct up_met *met,
                      const struct up_who *who)
{
    unsigned good = met->told.good, bad = met->told.bad;

    if (met->says == UP_SAYS_NOTHING)
        return;
    if (up_circuit_is_half_open(circuit)) {
        if (!take_probe(circuit, met->says, who))
            return;
        good = met->says == UP_SAYS_GOOD;
        bad = !good;
    }
    circuit->counted |= good + bad > 0;
    if (bad > 0)
        circuit->why = up_outcome_names[up_blame[met->end].word];
    while (bad-- > 0)
        (void)ps_breaker_fail(&circuit->breaker, 0);
    if (good > 0)
        (void)ps_breaker_succeed(&circuit->breaker, 0);
}

/* Keeps the view of an unused circuit up to date until its window is empty. */
void up_circuit_tick(struct up_circuit *circuit, const struct up_circuit_order *order)
{
    uint64_t id = atomic_load_explicit(&order->id, memory_order_acquire);
    struct ps_breaker_view view;

    if (id != circuit->obeyed) {
        struct ps_breaker_force force;
        ps_board_read(&order->board, &force, sizeof force);
        ps_breaker_force(&circuit->breaker, &force);
        circuit->obeyed = force.id;
        circuit->counted = true;
    }
    if (!circuit->counted && circuit->breaker.state == PS_BREAKER_CLOSED && id == 0)
        return;
    show(circuit);
    ps_board_read(&circuit->board, &view, sizeof view);
    circuit->counted = view.calls > 0;
}

void up_circuit_read(const struct up_circuit *circuit, struct ps_breaker_view *ret_view)
{
    ps_board_read(&circuit->board, ret_view, sizeof *ret_view);
}

void up_circuit_order(struct up_circuit_order *order, const struct ps_breaker_force *force)
{
    ps_board_write(&order->board, force, sizeof *force);
    atomic_store_explicit(&order->id, force->id, memory_order_release);
}
