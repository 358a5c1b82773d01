/* How long requests have waited in the kernel before they are read, and which stay unread when a
 * worker cannot serve them all.
 *
 * *When bytes arrived.* Bytes that the loop finds may have waited since its last look. If the loop
 * slept until they arrived, they have waited only if the thread did not get its processor at once,
 * as under a quota. Then the kernel is asked when the first of them arrived, at most once in 10 ms.
 * (That takes 1.1 us. A time stamp with each receipt, SO_TIMESTAMPNS, costs 0.3 to 0.7 us more for
 * each request, 4 % of a refusal.) libuv knows by its own clock, in milliseconds, how long it
 * slept; so waits are known to a few milliseconds, and are never underestimated by more.
 *
 * *A round.* Connections are served in turn: the kernel reports first the one that has waited
 * longest, and a turn of the loop takes a number of them, so that mail, timers and new connections
 * get their turns in between. (libuv would look 48 times for 1,024 each before it turns to its
 * timers: more than a second. So connections have an epoll set of their own, which libuv watches.)
 * If a look did not find all, the first of the next look has waited longest, and the kernel is
 * asked since when. So a large crowd is served in rounds. While a round is short, nobody is
 * refused, since that would serve nobody sooner.
 *
 * *When a round is too long*, more requests arrive than the worker can serve. A refusal costs half
 * as much as an acceptance, so with far too many requests the worker would do nothing but refuse,
 * and late. So connections whose bytes may have waited longer than the bound are not read at once
 * but pushed onto a stack. When the loop has reported everything it found (mail of the log and
 * answers to be sent included: what is admitted goes first), the newest are read, for a
 * millisecond. The rest stays in the kernel, which costs nothing, and stays in the epoll set, since
 * removing and adding it again are two system calls. Last in, first out: whoever is served is
 * served in time, and nobody works off a queue whose clients have given up (B. Maurer, "Fail at
 * Scale", ACM Queue 2015, calls it adaptive LIFO). One in eight of those read is the oldest, once
 * it has waited for a second; it is best refused at once. So nearly everybody gets an answer in the
 * end, and their connections can be used again. Deadlines close the rest, a few in a turn. Once all
 * unread requests could be served in less than a round may take, they are, the oldest first; then
 * all are served in turn again. */
#include "gateway/server/http_internal.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* libuv has slept, and not only counted one millisecond. */
#define SLEPT_MS 2

/* How far a difference of libuv's clock may be too short: it counts whole milliseconds, and
 * lags. */
#define CLOCK_MS 2

/* Least time between two questions to the kernel. */
#define ASK_NS (10 * PS_NS_PER_MS)

/* While late, rounds are measured over this time, and count as short again at 4/5 of the bound. */
#define ROUND_EACH_NS (200 * PS_NS_PER_MS)

/* How long a turn reads unread connections before the loop looks again: newer bytes may have
 * arrived, and admitted requests continue. */
#define TURN_NS PS_NS_PER_MS
/* After this many of the newest, one of the oldest is read, if it is overdue. */
#define OVERDUE_EACH 7
/* While some are unread, one connection is accepted, and one closed at its deadline, for this many
 * that are read: each costs about as much as a refusal. */
#define SURPLUS_EACH 16

void srv_read_clock(struct srv_http *http)
{
    http->now_ns = ps_clock_mono_ns(http->settings.clock);
    http->wall_ms = ps_clock_wall_ms(http->settings.clock);
}

/* How long the loop's last poll slept. */
static int64_t slept_ms(const struct srv_guard *guard)
{
    return (int64_t)(uv_now(guard->prepare.loop) - guard->before_ms);
}

/* When the last poll returned. */
static int64_t returned_ns(const struct srv_guard *guard, int64_t ms)
{
    return guard->looked_ns + (ms < SLEPT_MS ? 0 : ms * PS_NS_PER_MS);
}

void srv_guard_event(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;

    if (!guard->begun) {
        int64_t since_ns = returned_ns(guard, slept_ms(guard));
        guard->begun = true;
        guard->first_ns = http->now_ns;
        guard->slept = since_ns > guard->looked_ns || guard->blind;
        if (!guard->slept)
            since_ns = guard->last_ns;
        guard->since_ns = since_ns < http->now_ns ? since_ns : http->now_ns;
    }
    http->came_ns = guard->since_ns;
}

/* How long ago the kernel received the connection's bytes; 0: it does not say. */
static int64_t received_ago_ns(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0
               ? info.tcpi_last_data_recv * PS_NS_PER_MS
               : 0;
}

void srv_guard_ask(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    struct srv_guard *guard = &http->guard;

    guard->slept = false;
    if (http->now_ns - guard->asked_ns < ASK_NS)
        return;
    guard->asked_ns = http->now_ns;
    int64_t came_ns = http->now_ns - received_ago_ns(connection->fd);
    if (came_ns < guard->last_ns) /* the loop looked at that moment */
        came_ns = guard->last_ns;
    if (came_ns < guard->since_ns)
        http->came_ns = guard->since_ns = came_ns;
}

/* --- what stays unread --- */

static void take_up(struct srv_connection *connection)
{
    struct srv_guard *guard = &connection->http->guard;

    TAILQ_REMOVE(&guard->unread, connection, unread);
    connection->is_unread = false;
    guard->unread_count--;
}

/* For a new connection: it may have waited in the listen queue, and its bytes with it. */
static int64_t new_came_ns(const struct srv_connection *connection)
{
    const struct srv_http *http = connection->http;
    int64_t came_ns = http->now_ns - received_ago_ns(connection->fd);

    return came_ns < http->came_ns ? came_ns : http->came_ns;
}

/* The loop need not report it again. */
static void leave(struct srv_connection *connection)
{
    srv_poll(connection, 0);
    connection->http->guard.load.left++;
}

/* Newest first; a connection that is already overdue, as after a long time in the listen queue,
 * goes last. */
static void put_unread(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    struct srv_guard *guard = &http->guard;
    const struct srv_connection *newest = TAILQ_FIRST(&guard->unread);

    if (newest != NULL && connection->came_ns < newest->came_ns &&
        http->now_ns - connection->came_ns > SRV_OVERDUE_NS) {
        TAILQ_INSERT_TAIL(&guard->unread, connection, unread);
        leave(connection); /* this turn reads it last, if at all */
    } else {
        TAILQ_INSERT_HEAD(&guard->unread, connection, unread);
    }
    connection->is_unread = true;
    guard->unread_count++;
}

/* Requests handled, and connections closed instead, since the start. */
static uint64_t progress(const struct srv_guard *guard)
{
    return guard->before + guard->load.requests + guard->load.closed;
}

static void begin_timing(struct srv_http *http)
{
    http->guard.timed_ns = http->now_ns;
    http->guard.timed = progress(&http->guard);
}

bool srv_guard_judge(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;
    struct srv_guard *guard = &http->guard;

    if (connection->state != SRV_READING || connection->is_unread)
        return connection->is_unread;
    connection->came_ns = http->came_ns;
    if (!TAILQ_EMPTY(&guard->unread) && connection->deadline.kind == SRV_DEADLINE_HEAD)
        connection->came_ns = new_came_ns(connection);
    int64_t waited_ns = http->now_ns - connection->came_ns;
    if (waited_ns <= http->settings.wait_ns ||
        (!guard->late && waited_ns <= http->settings.round_ns))
        return false;
    if (!guard->late)
        begin_timing(http);
    guard->late = guard->load.late = true;
    put_unread(connection);
    return true;
}

void srv_guard_forget(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    take_up(connection);
    http->guard.load.closed++;
}

/* The oldest connection, if its turn has come. */
static struct srv_connection *find_overdue(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;
    struct srv_connection *oldest = TAILQ_LAST(&guard->unread, srv_connection_list);

    if (guard->served < OVERDUE_EACH || http->now_ns - oldest->came_ns < SRV_OVERDUE_NS)
        return NULL;
    guard->served = 0;
    return oldest;
}

void srv_guard_begin_unread(struct srv_http *http)
{
    srv_read_clock(http);
    http->guard.began_ns = http->now_ns;
    http->guard.read = 0;
}

struct srv_connection *srv_guard_next(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;
    struct srv_connection *next = TAILQ_FIRST(&guard->unread), *overdue;
    bool enough =
        guard->late ? http->now_ns - guard->began_ns >= TURN_NS : guard->read >= SRV_BATCH;

    http->overdue = false;
    if (next == NULL || enough)
        return NULL;
    guard->read++;
    if (!guard->late) {
        next = TAILQ_LAST(&guard->unread, srv_connection_list);
    } else if ((overdue = find_overdue(http)) != NULL) {
        http->overdue = true;
        next = overdue;
    } else {
        guard->served++;
    }
    take_up(next);
    return next;
}

/* Leaves those unread that this turn found and did not read. */
static void leave_rest(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;
    struct srv_connection *connection;

    TAILQ_FOREACH(connection, &guard->unread, unread)
    {
        if (connection->polled != UV_READABLE)
            return; /* older ones were left already */
        leave(connection);
    }
}

/* If all unread connections can be served soon, serves them all, and stops leaving any. */
static void judge_round(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;
    int64_t took_ns = http->now_ns - guard->timed_ns;

    if (guard->unread_count == 0) {
        guard->late = false;
    } else if (took_ns >= ROUND_EACH_NS) {
        double each_ns = (double)took_ns / (double)(progress(guard) - guard->timed + 1);
        guard->late = each_ns * (double)guard->unread_count > 0.8 * (double)http->settings.round_ns;
        begin_timing(http);
    }
}

void srv_guard_end_unread(struct srv_http *http)
{
    if (!http->guard.late)
        return;
    leave_rest(http);
    http->guard.most = 1 + http->guard.read / SURPLUS_EACH;
    judge_round(http);
}

/* --- who is told of --- */

static uint32_t epoll_events(int events)
{
    return (events & UV_READABLE ? EPOLLIN | EPOLLRDHUP : 0U) |
           (events & UV_WRITABLE ? EPOLLOUT : 0U) | (events & UV_DISCONNECT ? EPOLLRDHUP : 0U);
}

int srv_watch(struct srv_connection *connection)
{
    struct epoll_event event = {.events = EPOLLET, .data.ptr = connection};

    return epoll_ctl(connection->http->guard.fd, EPOLL_CTL_ADD, connection->fd, &event) == 0
               ? 0
               : PS_E_IO;
}

void srv_poll(struct srv_connection *connection, int events)
{
    struct epoll_event event = {.events = epoll_events(events), .data.ptr = connection};

    if (connection->polled == events || connection->state == SRV_CLOSED)
        return;
    connection->polled = events;
    if (events == 0)
        event.events = EPOLLET; /* the kernel always reports an end, but this way only once */
    (void)epoll_ctl(connection->http->guard.fd, EPOLL_CTL_MOD, connection->fd, &event);
}

/* The kernel reports first the connection that has waited longest. If the last look did not find
 * all, it may have waited since before that look. */
static void date_back(struct srv_http *http, const struct epoll_event *found, size_t count)
{
    struct srv_guard *guard = &http->guard;

    for (size_t i = 0; i < count; i++) {
        const struct srv_connection *connection = found[i].data.ptr;
        if (connection->state != SRV_READING || connection->is_unread ||
            connection->polled != UV_READABLE ||
            (found[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
            continue; /* the time of an end is unknown */
        int64_t came_ns = http->now_ns - received_ago_ns(connection->fd);
        if (came_ns < guard->all_ns)
            came_ns = guard->all_ns;
        if (came_ns < guard->since_ns)
            guard->since_ns = came_ns;
        return;
    }
}

size_t srv_guard_look(struct srv_http *http, struct epoll_event *found)
{
    struct srv_guard *guard = &http->guard;
    int count = epoll_wait(guard->fd, found, SRV_BATCH, 0);

    srv_read_clock(http);
    srv_guard_event(http);
    if (guard->full && count > 0)
        date_back(http, found, (size_t)count);
    guard->full = count == SRV_BATCH;
    if (!guard->full)
        guard->all_ns = http->now_ns;
    return count > 0 ? (size_t)count : 0;
}

/* --- the loop's poll --- */

void srv_guard_before_poll(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;

    guard->looked_ns = ps_clock_mono_ns(http->settings.clock);
    if (guard->turn_ns != 0 && http->settings.on_turn != NULL)
        http->settings.on_turn(guard->looked_ns - guard->turn_ns, http->settings.ctx);
    uv_update_time(guard->prepare.loop);
    guard->before_ms = uv_now(guard->prepare.loop);
    guard->begun = false;
    guard->first_ns = INT64_MAX;
}

/* A turn must not be taken for longer than it was. Its first event knows best when it began;
 * without one, libuv's clock says so. The poll may then have been ended by a signal, as SIGSTOP and
 * SIGCONT do: the loop has not looked since it fell asleep. */
void srv_guard_after_poll(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;
    int64_t ms = slept_ms(guard), turn_ns = guard->looked_ns + (ms + CLOCK_MS) * PS_NS_PER_MS;

    guard->blind = ms >= SLEPT_MS && !guard->begun;
    if (!guard->blind)
        guard->last_ns = returned_ns(guard, ms);
    guard->turn_ns = turn_ns < guard->first_ns ? turn_ns : guard->first_ns;
}

int srv_guard_start(struct srv_http *http)
{
    struct srv_guard *guard = &http->guard;

    TAILQ_INIT(&guard->unread);
    guard->last_ns = guard->looked_ns = guard->all_ns = http->now_ns;
    guard->before_ms = uv_now(guard->prepare.loop);
    guard->fd = epoll_create1(EPOLL_CLOEXEC);
    return guard->fd < 0 ? PS_E_IO : 0;
}

/* --- for the layer above --- */

void srv_http_load(struct srv_http *http, struct srv_load *ret_load)
{
    struct srv_guard *guard = &http->guard;

    *ret_load = guard->load;
    guard->before = progress(guard);
    guard->load = (struct srv_load){.late = guard->late};
    ret_load->unread = guard->unread_count;
    if (guard->unread_count > 0)
        ret_load->unread_ns = ps_clock_mono_ns(http->settings.clock) -
                              TAILQ_LAST(&guard->unread, srv_connection_list)->came_ns;
}

void srv_http_set_wait(struct srv_http *http, int64_t wait_ns)
{
    http->settings.wait_ns = wait_ns > 0 ? wait_ns : INT64_MAX;
}
