/* See kafka_breaker.h. Invariants: a lost log stays lost; on_state is called on the log's thread
 * only, not before oq_kafka_open has its answer, and once for each change; the state that other
 * threads see is stored before it is reported. */
#include "queue/kafka_breaker.h"
#include "common/program/thread.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WINDOW_MS 10000
#define SHOW_NS   (100 * PS_NS_PER_MS)

int oq_kafka_breaker_init(struct oq_kafka_breaker *breaker,
                          const struct oq_kafka_settings *settings,
                          const struct oq_log_callbacks *on)
{
    *breaker = (struct oq_kafka_breaker){.settings = settings, .on = on, .err = PS_E_IO};
    const struct ps_breaker_settings circuit = {
        .window_ms = WINDOW_MS, .slow_ms = settings->delivery_timeout_ms / 2, .failures_in_row = 1};
    ps_breaker_init(&breaker->circuit, &circuit, &ps_clock_system);
    ps_breaker_probe(&breaker->circuit); /* it was not closed before: no opening is counted */
    (void)ps_breaker_trip(&breaker->circuit);
    atomic_init(&breaker->state, OQ_LOG_CLOSED);
    atomic_init(&breaker->opening, OQ_BREAKER_OPENING);
    snprintf(breaker->why, sizeof breaker->why, "%s: has not been read up to its end yet",
             settings->topic);
    breaker->opened = eventfd(0, EFD_CLOEXEC);
    return breaker->opened < 0 ? PS_E_IO : 0;
}

void oq_kafka_breaker_done(struct oq_kafka_breaker *breaker)
{
    if (breaker->opened >= 0)
        close(breaker->opened);
    breaker->opened = -1;
}

enum oq_log_state oq_kafka_breaker_state(const struct oq_kafka_breaker *breaker)
{
    return atomic_load_explicit(&breaker->state, memory_order_relaxed);
}

void oq_kafka_breaker_view(const struct oq_kafka_breaker *breaker, struct ps_breaker_view *ret_view)
{
    ps_board_read(&breaker->view, ret_view, sizeof *ret_view);
}

/* At once when it matters, else now and then: the log's thread may go round often. */
static void write_view(struct oq_kafka_breaker *breaker, int err)
{
    int64_t now = ps_clock_mono_ns(&ps_clock_system);
    struct ps_breaker_view view;

    if (err == breaker->shown_err && breaker->circuit.force.id == breaker->shown_force &&
        now - breaker->shown_ns < SHOW_NS)
        return;
    ps_breaker_show(&breaker->circuit, &view);
    if (err != 0)
        snprintf(view.why, sizeof view.why, "%.*s", PS_BREAKER_WHY - 1, breaker->why);
    ps_board_write(&breaker->view, &view, sizeof view);
    breaker->shown_ns = now;
    breaker->shown_err = err;
    breaker->shown_force = view.force.id;
}

void oq_kafka_breaker_report(struct oq_kafka_breaker *breaker, bool behind)
{
    const struct oq_kafka_settings *settings = breaker->settings;
    enum oq_log_state state = OQ_LOG_CLOSED;
    int err = breaker->err;
    if (breaker->circuit.state == PS_BREAKER_CLOSED && behind) {
        state = OQ_LOG_BEHIND;
        err = PS_E_TIMEOUT;
        snprintf(breaker->why, sizeof breaker->why,
                 "%s: written records are not read back within %lld ms: check Kafka at %s",
                 settings->topic, (long long)settings->behind_ms, settings->brokers);
    } else if (breaker->circuit.state == PS_BREAKER_CLOSED) {
        state = OQ_LOG_WELL;
        err = 0;
    } else if (!breaker->lost && !breaker->mismatch && breaker->was_well) {
        state = OQ_LOG_AWAY;
    }
    atomic_store_explicit(&breaker->state, state, memory_order_relaxed);
    write_view(breaker, err);
    if (err == breaker->reported_err || atomic_load(&breaker->opening) != OQ_BREAKER_OPEN)
        return;
    breaker->reported_err = err;
    if (breaker->on->on_state != NULL)
        breaker->on->on_state(err == 0, err == 0 ? "" : breaker->why, breaker->on->ctx);
}

void oq_kafka_breaker_end(struct oq_kafka_breaker *breaker)
{
    atomic_store_explicit(&breaker->state, OQ_LOG_CLOSED, memory_order_relaxed);
}

/* --- The circuit --- */

static void set_why(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err)
{
    breaker->err = err;
    snprintf(breaker->why, sizeof breaker->why, "%s: %s", why->path, why->text);
    oq_kafka_breaker_report(breaker, false);
}

bool oq_kafka_breaker_trip(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err)
{
    if (breaker->lost)
        return false;
    bool tripped = ps_breaker_trip(&breaker->circuit);
    if (!breaker->mismatch)
        set_why(breaker, why, err);
    return tripped;
}

bool oq_kafka_breaker_fail(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err)
{
    if (breaker->lost)
        return false;
    bool opened = ps_breaker_fail(&breaker->circuit, 0);
    if (breaker->circuit.state == PS_BREAKER_OPEN && !breaker->mismatch)
        set_why(breaker, why, err);
    return opened;
}

void oq_kafka_breaker_mismatch(struct oq_kafka_breaker *breaker, const struct ps_fault *why,
                               int err)
{
    (void)ps_breaker_trip(&breaker->circuit);
    breaker->mismatch = true;
    set_why(breaker, why, err);
}

void oq_kafka_breaker_lose(struct oq_kafka_breaker *breaker, const struct ps_fault *why, int err)
{
    (void)ps_breaker_trip(&breaker->circuit);
    breaker->lost = true;
    set_why(breaker, why, err);
}

void oq_kafka_breaker_succeed(struct oq_kafka_breaker *breaker, int64_t took_ns)
{
    if (breaker->circuit.state == PS_BREAKER_CLOSED)
        (void)ps_breaker_succeed(&breaker->circuit, took_ns);
}

bool oq_kafka_breaker_may_return(struct oq_kafka_breaker *breaker)
{
    return breaker->circuit.state == PS_BREAKER_OPEN &&
           breaker->circuit.force.order != PS_BREAKER_FORCED_OPEN;
}

void oq_kafka_breaker_return(struct oq_kafka_breaker *breaker)
{
    ps_breaker_probe(&breaker->circuit);
}

/* --- Overrides --- */

void oq_kafka_breaker_force(struct oq_kafka_breaker *breaker, const struct ps_breaker_force *force)
{
    ps_board_write(&breaker->force, force, sizeof *force);
}

bool oq_kafka_breaker_obey(struct oq_kafka_breaker *breaker)
{
    struct ps_breaker_force force;
    struct ps_fault fault;

    ps_board_read(&breaker->force, &force, sizeof force);
    if (force.id == breaker->circuit.force.id)
        return false;
    ps_breaker_force(&breaker->circuit, &force);
    if (breaker->circuit.force.order != PS_BREAKER_FORCED_OPEN)
        return false;
    int err = ps_fault(&fault, PS_E_CLOSED, breaker->settings->topic,
                       "an operator forced the breaker open");
    return oq_kafka_breaker_trip(breaker, &fault, err);
}

/* --- Opening --- */

static void end_opening(struct oq_kafka_breaker *breaker, enum oq_breaker_opening how)
{
    enum oq_breaker_opening still = OQ_BREAKER_OPENING;
    if (atomic_compare_exchange_strong(&breaker->opening, &still, how))
        (void)eventfd_write(breaker->opened, 1);
}

void oq_kafka_breaker_mend(struct oq_kafka_breaker *breaker)
{
    (void)ps_breaker_succeed(&breaker->circuit, 0);
    breaker->mismatch = false;
    if (breaker->was_well)
        return;
    breaker->was_well = true;
    oq_kafka_breaker_report(breaker, false);
    end_opening(breaker, OQ_BREAKER_OPEN);
}

void oq_kafka_breaker_refuse(struct oq_kafka_breaker *breaker, const struct ps_fault *why)
{
    if (atomic_load(&breaker->opening) != OQ_BREAKER_OPENING)
        return;
    breaker->refusal = *why;
    end_opening(breaker, OQ_BREAKER_REFUSED);
}

int oq_kafka_breaker_wait(struct oq_kafka_breaker *breaker, int64_t timeout_ms,
                          struct ps_fault *fault)
{
    if (ps_event_wait(breaker->opened, timeout_ms) != 0)
        end_opening(breaker, OQ_BREAKER_OPEN);
    if (atomic_load(&breaker->opening) != OQ_BREAKER_REFUSED)
        return 0;
    return ps_fault(fault, PS_E_INVALID, breaker->refusal.path, "%s", breaker->refusal.text);
}
