/* One connection: its deadline, its request's slot, its place, and its end. */
#include "gateway/server/address_count.h"
#include "gateway/server/http_internal.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void srv_set_deadline(struct srv_connection *connection, enum srv_deadline_kind kind)
{
    struct srv_http *http = connection->http;

    if (kind == SRV_DEADLINE_NONE) {
        srv_deadline_clear(&connection->deadline);
        return;
    }
    srv_deadline_set(&http->deadlines, &connection->deadline, kind, http->now_ns);
}

void srv_poll_waiting(struct srv_connection *connection)
{
    bool full = connection->kept_len > 0 ||
                (connection->state == SRV_STREAMING && connection->slot->paused);

    if (connection->polled == UV_PRIORITIZED && (full || connection->state == SRV_WAITING))
        return; /* it has sent its last byte */
    srv_poll(connection, full ? UV_DISCONNECT : UV_READABLE);
}

/* --- What it holds --- */

void srv_gathered_free(struct srv_slot *slot)
{
    free(slot->gathered);
    slot->http->gathered -= slot->gathered_size;
    slot->gathered = NULL;
    slot->gathered_len = slot->gathered_size = 0;
}

void srv_slot_free(struct srv_slot *slot)
{
    struct srv_http *http = slot->http;

    if (slot->state == SRV_SLOT_BODY && http->settings.on_gone != NULL)
        http->settings.on_gone(&slot->request, http->settings.ctx);
    if (slot->state >= SRV_SLOT_SUSPENDED)
        TAILQ_REMOVE(&http->suspended, slot, entry);
    srv_slot_count(slot, false);
    if (slot->gathered != NULL)
        srv_gathered_free(slot);
    free(slot->request.made);
    ps_pool_give(http->slots, slot);
}

void srv_segment_free(struct srv_segment *segment)
{
    if (segment->release != NULL)
        segment->release(segment->held);
    free(segment);
}

static void free_segments(struct srv_connection *connection)
{
    struct srv_segment *segment;

    while ((segment = STAILQ_FIRST(&connection->unsent)) != NULL) {
        STAILQ_REMOVE_HEAD(&connection->unsent, next);
        srv_segment_free(segment);
    }
}

/* --- Its end --- */

static void leave_slot(struct srv_connection *connection)
{
    struct srv_slot *slot = connection->slot;
    struct srv_http *http = connection->http;

    connection->slot = NULL;
    if (slot == NULL)
        return;
    if (slot->state != SRV_SLOT_SUSPENDED && slot->state != SRV_SLOT_ANSWERING) {
        srv_slot_free(slot);
        return;
    }
    slot->connection = NULL;
    slot->state = SRV_SLOT_LEFT;
    if (http->settings.on_gone == NULL) /* the request's owner still uses it */
        return;
    http->settings.on_gone(&slot->request, http->settings.ctx);
    srv_slot_free(slot);
}

/* The connection was refused or has ended: frees its place for others. */
static void leave_place(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    if (connection->counted)
        srv_address_drop(http->addresses, &connection->peer);
    http->places -= connection->placed;
    connection->counted = connection->placed = false;
}

void srv_close(struct srv_connection *connection, bool reset)
{
    static const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    struct srv_http *http = connection->http;

    if (connection->state == SRV_CLOSED)
        return;
    connection->state = SRV_CLOSED;
    srv_deadline_clear(&connection->deadline);
    if (connection->is_unread)
        srv_guard_forget(connection);
    if (connection->is_ready)
        TAILQ_REMOVE(&http->ready, connection, ready);
    connection->is_ready = false;
    if (http->reading == NULL || http->reading == connection)
        http->out_len = 0; /* drop what was gathered for it */
    leave_slot(connection);
    free_segments(connection);
    free(connection->kept);
    connection->kept = NULL;
    connection->kept_len = 0;
    leave_place(connection);
    TAILQ_INSERT_TAIL(&http->closed, connection, unread);
    if (reset)
        (void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(connection->fd);
}

/* At most half of the places above the soft limit linger: the other half is for connections that
 * must be told about that limit. */
void srv_linger(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    size_t spare = http->settings.connections_hard - http->settings.connections_soft;

    leave_place(connection);
    connection->state = SRV_LINGERING;
    shutdown(connection->fd, SHUT_WR);
    srv_poll(connection, UV_READABLE);
    srv_set_deadline(connection, SRV_DEADLINE_LINGER);
    if (ps_pool_used(http->pool) - http->places > spare / 2 + 1)
        srv_close(
            (struct srv_connection *)srv_deadline_next(&http->deadlines, SRV_DEADLINE_LINGER, NULL),
            false);
}

void srv_free_closed(struct srv_http *http)
{
    struct srv_connection *connection;

    while ((connection = TAILQ_FIRST(&http->closed)) != NULL) {
        TAILQ_REMOVE(&http->closed, connection, unread);
        TAILQ_REMOVE(&http->connections, connection, entry);
        ps_pool_give(http->pool, connection);
        http->handles--;
        http->accept_ns = 0;
    }
}

/* --- Room for another one --- */

/* The connection of these kinds that was silent for longest and may be closed in favour of others.
 * Trusted ones may be closed only while they have no request. */
static struct srv_connection *find_silent(struct srv_http *http, unsigned kinds, bool of_slots)
{
    struct srv_connection *oldest = NULL;
    int64_t oldest_ns = INT64_MAX;

    for (int kind = 0; kind < SRV_DEADLINE_KINDS; kind++) {
        struct srv_deadline *entry = NULL;
        bool found = (kinds & (1u << kind)) == 0;
        while (!found && (entry = srv_deadline_next(&http->deadlines, (enum srv_deadline_kind)kind,
                                                    entry)) != NULL) {
            struct srv_connection *connection = (struct srv_connection *)entry;
            int64_t since_ns = entry->at_ns - http->deadlines.delay_ns[kind];
            bool asks = connection->slot != NULL;
            found = connection->trusted ? !asks && kind == SRV_DEADLINE_IDLE_TRUSTED
                                        : asks || !of_slots;
            if (found && since_ns < oldest_ns) {
                oldest = connection;
                oldest_ns = since_ns;
            }
        }
    }
    return oldest;
}

bool srv_make_room(struct srv_http *http, bool of_slots)
{
    /* Order of closing: first untrusted connections that got an answer; then those that sent
     * nothing, or not everything; then trusted ones, which can reconnect. So a new connection has
     * time to show a token. */
    static const unsigned ranks[] = {
        1u << SRV_DEADLINE_SEND | 1u << SRV_DEADLINE_IDLE | 1u << SRV_DEADLINE_IDLE_SHORT,
        1u << SRV_DEADLINE_HEAD | 1u << SRV_DEADLINE_BODY, 1u << SRV_DEADLINE_IDLE_TRUSTED};
    struct srv_connection *silent = NULL;

    if (!http->settings.makes_room)
        return false;
    for (size_t i = 0; silent == NULL && i < PS_ARRAY_LEN(ranks); i++)
        silent = find_silent(http, ranks[i], of_slots);
    if (silent == NULL)
        return false;
    http->settings.on_refused(of_slots ? ANS_V_shed : ANS_V_too_many_connections,
                              http->settings.ctx);
    srv_close(silent, !STAILQ_EMPTY(&silent->unsent));
    return true;
}
