/* Databases of settlement: selects one; and what both have in common. */
#include "queue/settle/settle_sink.h"

#include <inttypes.h>
#include <string.h>

static const char *const state_names[] = {[ST_UNKNOWN] = "",
                                          [ST_ACCEPTED] = "accepted",
                                          [ST_CONFIRMED] = "confirmed",
                                          [ST_RELEASED] = "released",
                                          [ST_VOID] = ""};

const char *st_state_name(enum st_state state)
{
    return state_names[state];
}

int st_state_parse(const char *state, const char *reason, enum st_state *ret_state,
                   enum oq_reason *ret_reason)
{
    *ret_reason = OQ_REASON_NONE;
    for (int i = ST_ACCEPTED; i <= ST_RELEASED; i++) {
        if (strcmp(state, state_names[i]) != 0)
            continue;
        *ret_state = (enum st_state)i;
        if (i != ST_RELEASED)
            return 0;
        for (int r = OQ_EXPIRED; r <= OQ_CANCELLED; r++) {
            *ret_reason = (enum oq_reason)r;
            if (strcmp(reason, oq_reason_name(*ret_reason)) == 0)
                return 0;
        }
    }
    return PS_E_CORRUPT;
}

enum st_change st_order_change(const struct st_order *order)
{
    if (order->is == order->was)
        return ST_NOTHING;
    if (order->is == ST_VOID)
        return ST_VOIDED;
    return order->was == ST_UNKNOWN ? ST_NEW : ST_STEP;
}

void st_order_set_trace(struct st_order *order, struct ps_str traceparent)
{
    size_t len = traceparent.len < sizeof order->traceparent ? traceparent.len : 0;
    if (len > 0)
        memcpy(order->traceparent, traceparent.at, len);
    order->traceparent[len] = '\0';
}

int st_schema_check(int64_t version, const char *database, struct ps_fault *fault)
{
    if (version == 0)
        return ps_fault(fault, PS_E_NOT_FOUND, database,
                        "the tables of settlement do not exist: run penstock-settle --init once");
    if (version < ST_SCHEMA_VERSION)
        return ps_fault(fault, PS_E_NOT_FOUND, database,
                        "the tables have version %" PRId64 ", this program needs %d: run "
                        "penstock-settle --init once",
                        version, ST_SCHEMA_VERSION);
    if (version > ST_SCHEMA_VERSION)
        return ps_fault(fault, PS_E_NEWER, database,
                        "the tables have version %" PRId64 ", this program knows only %d: use the "
                        "newer program",
                        version, ST_SCHEMA_VERSION);
    return 0;
}

int st_sink_open(const char *database, bool make, struct st_sink **ret_sink, struct ps_fault *fault)
{
    if (strncmp(database, "sqlite:", 7) == 0 && database[7] != '\0')
        return st_sqlite_open(database + 7, make, ret_sink, fault);
    if (strncmp(database, "postgresql:", 11) == 0 || strncmp(database, "postgres:", 9) == 0 ||
        strchr(database, '=') != NULL)
        return st_postgres_open(database, ret_sink, fault);
    return ps_fault(fault, PS_E_INVALID, "database",
                    "\"%s\" is neither sqlite:FILE nor a connection string of PostgreSQL",
                    database);
}

void st_sink_close(struct st_sink *sink)
{
    if (sink != NULL)
        sink->ops->close(sink);
}

int st_sink_create(struct st_sink *sink, struct ps_fault *fault)
{
    return sink->ops->create(sink, fault);
}

int st_sink_check(struct st_sink *sink, struct ps_fault *fault)
{
    int64_t version;
    int err = sink->ops->version(sink, &version, fault);
    return err == 0 ? st_schema_check(version, sink->database, fault) : err;
}

int st_sink_position(struct st_sink *sink, const char *name, uint32_t partition,
                     struct st_position *ret_position, struct ps_fault *fault)
{
    return sink->ops->position(sink, name, partition, ret_position, fault);
}

int st_sink_begin(struct st_sink *sink, const char *name, const struct st_claim *claims,
                  size_t count, struct ps_fault *fault)
{
    return sink->ops->begin(sink, name, claims, count, fault);
}

int st_sink_look_up(struct st_sink *sink, const char *name, const struct st_known *known,
                    struct ps_fault *fault)
{
    return sink->ops->look_up(sink, name, known, fault);
}

int st_sink_store(struct st_sink *sink, const char *name, const struct st_changes *changes,
                  struct ps_fault *fault)
{
    return sink->ops->store(sink, name, changes, fault);
}

int st_sink_commit(struct st_sink *sink, struct ps_fault *fault)
{
    return sink->ops->commit(sink, fault);
}

int st_sink_confirm_all(struct st_sink *sink, struct ps_fault *fault)
{
    int err = sink->ops->confirm_all(sink, false, fault);
    return err == 0 ? sink->ops->confirm_all(sink, true, fault) : err;
}

int st_sink_due(struct st_sink *sink, int64_t lease_ms, struct st_decision *ret_decisions,
                size_t max, size_t *ret_count, struct ps_fault *fault)
{
    int count = sink->ops->due(sink, false, lease_ms, ret_decisions, max, fault);
    if (count < 0)
        return count;
    int more =
        sink->ops->due(sink, true, lease_ms, ret_decisions + count, max - (size_t)count, fault);
    if (more < 0)
        return more;
    *ret_count = (size_t)(count + more);
    return 0;
}

int st_sink_answer(struct st_sink *sink, const struct st_decision *decisions, size_t count,
                   struct ps_fault *fault)
{
    return sink->ops->answer(sink, decisions, count, fault);
}

int st_sink_open_decisions(struct st_sink *sink, int64_t *ret_count, struct ps_fault *fault)
{
    return sink->ops->open_decisions(sink, ret_count, fault);
}
