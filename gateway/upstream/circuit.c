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

void up_circuit_succeed(struct up_circuit *circuit, int64_t took_ns)
{
    circuit->counted = true;
    (void)ps_breaker_succeed(&circuit->breaker, took_ns);
}

void up_circuit_fail(struct up_circuit *circuit, int64_t took_ns, const char *why)
{
    circuit->counted = true;
    circuit->why = why;
    (void)ps_breaker_fail(&circuit->breaker, took_ns);
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
