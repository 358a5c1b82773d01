/* The buyers' side of a rehearsal, on one thread. After every answer and every turn of the loop
 * send_due_clicks() gives the clicks that are due, the earliest first, to idle connections. (A
 * gateway that commits in groups answers hundreds at once. If the client read them all before it
 * sent the next click, clicks would come in bursts that nobody planned.)
 *
 * A connection is in exactly one state and on that state's list. Every list is in the order of
 * arrival on it, so that what has waited longest stands at the head: the connection idle for
 * longest is used next (which spreads the load over the gateway's workers), and deadlines need to
 * look at heads only.
 *
 * What must hold: every click that became due is reported to on_answer exactly once; a click whose
 * connection fails is never sent a second time by itself, only as a new try, and counted so. */
#include "loadtest/client.h"

#include "common/clock.h"
#include "loadtest/arrivals.h"
#include "loadtest/pages.h"
#include "loadtest/response.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LEAD_NS            PS_NS_PER_MS /* from the decision to start to the start */
#define TICK_MS            10
#define WARM_UP_NS         (5 * PS_NS_PER_S)
#define CONNECT_TIMEOUT_NS (3 * PS_NS_PER_S)
#define RECONNECT_NS       (100 * PS_NS_PER_MS)
#define TRY_AGAIN_NS       (500 * PS_NS_PER_MS)
#define CONNECTING_MAX     64 /* below every usual listen backlog */
#define FILES_BESIDE       64
#define READ_SIZE          65536
#define MARK_NS            (60 * PS_NS_PER_S) /* how long a mark is used */
#define IDLE_LOOK_NS       (100 * PS_NS_PER_MS)

enum state { DOWN, CONNECTING, IDLE, BUSY, CLOSING, STATES };

struct conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct lt_client *client;
    TAILQ_ENTRY(conn) link;
    enum state state;
    int64_t since_ns; /* in this state */
    uint64_t number;  /* of all that were connected, from 1 */
    /* BUSY: */
    struct lt_click click;
    int64_t sent_ns; /* from the start of the plan */
    struct lt_response response;
    char out[LT_REQUEST_MAX];
};

struct list {
    TAILQ_HEAD(, conn) conns;
    size_t count;
};

struct lt_client {
    struct lt_client_settings set;
    struct lt_request request;
    uv_loop_t *loop;
    uv_timer_t tick;
    uv_poll_t alarm;
    uv_check_t turn;
    int alarm_fd;
    int64_t alarm_at_ns; /* what the timer is set to, from the start of the plan; -1: not set */
    size_t handles;      /* of the three, not yet closed */
    struct conn *conns;
    struct list lists[STATES];
    int64_t start_ns; /* uv_hrtime of the plan's start; 0 = connections are being opened */
    int64_t created_ns, next_second_ns;
    int64_t mark_due_ns; /* the next mark */
    struct lt_arrivals arrivals;
    uint64_t connects;
    int connect_error;
    bool closing, done, failed;
    char read_buffer[READ_SIZE];
};

static void add_conn(struct conn *conn, enum state state)
{
    struct list *list = &conn->client->lists[state];
    TAILQ_INSERT_TAIL(&list->conns, conn, link);
    list->count++;
    conn->state = state;
}

static void move_conn(struct conn *conn, enum state state)
{
    struct list *from = &conn->client->lists[conn->state];
    TAILQ_REMOVE(&from->conns, conn, link);
    from->count--;
    conn->since_ns = (int64_t)uv_hrtime();
    add_conn(conn, state);
}

/* The connection that has been in the state for longest; NULL: none is in it. */
static struct conn *first_conn(const struct lt_client *client, enum state state)
{
    return TAILQ_FIRST(&client->lists[state].conns);
}

static int64_t plan_now(const struct lt_client *client)
{
    return (int64_t)uv_hrtime() - client->start_ns;
}

/* Every click ends here, once. `conn` is NULL when it was never sent. */
static void report_click(struct lt_client *client, const struct lt_click *click,
                         enum lt_outcome outcome, const struct conn *conn)
{
    int64_t now_ns = plan_now(client);
    struct lt_answer answer = {
        .outcome = outcome,
        .click = click,
        .ended_ns = now_ns,
        .process = conn != NULL ? conn->number : 0,
        .latency_ns = now_ns - click->at_ns,
        .sent_late_ns = conn != NULL ? conn->sent_ns - click->at_ns : -1,
        .cache = "",
    };
    if (outcome == LT_ANSWERED) {
        answer.status = conn->response.status;
        answer.replayed = conn->response.replayed;
        answer.rehearsal = conn->response.rehearsal;
        answer.cache = conn->response.cache;
        answer.body = (struct ps_str){conn->response.body, conn->response.body_len};
    }
    client->set.on_answer(&answer, client->set.ctx);
    if ((outcome != LT_ANSWERED || answer.status == 503) && click->tries < client->set.retries &&
        !client->arrivals.stopped)
        lt_arrivals_retry(&client->arrivals, click, now_ns + TRY_AGAIN_NS);
}

/* --- Connections --- */

static void on_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    lt_response_reset(&conn->response);
    move_conn(conn, DOWN);
}

static void close_conn(struct conn *conn)
{
    move_conn(conn, CLOSING);
    uv_close((uv_handle_t *)&conn->tcp, on_closed);
}

/* Ends the connection; its click ends with `outcome`. */
static void fail_conn(struct conn *conn, enum lt_outcome outcome)
{
    bool busy = conn->state == BUSY;
    close_conn(conn);
    if (busy)
        report_click(conn->client, &conn->click, outcome, conn);
}

static void on_written(uv_write_t *request, int status)
{
    struct conn *conn = request->data;
    if (status < 0 && conn->state == BUSY)
        fail_conn(conn, LT_RESET);
}

static void send_click(struct conn *conn, const struct lt_click *click)
{
    move_conn(conn, BUSY);
    conn->click = *click;
    conn->sent_ns = conn->since_ns - conn->client->start_ns;
    lt_response_reset(&conn->response);
    if (conn->client->set.on_send != NULL)
        conn->client->set.on_send(click, conn->number, conn->client->set.ctx);
    const struct lt_pages *pages = conn->client->set.pages;
    const struct lt_request *request =
        pages != NULL ? &pages->page[lt_pages_pick(pages, click)].request : &conn->client->request;
    size_t len = lt_request_write(request, click, conn->out);
    uv_buf_t buf = uv_buf_init(conn->out, (unsigned)len);
    /* Nearly always everything fits at once; then the loop has no further work. */
    int sent = uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    if (sent == (int)len)
        return;
    if (sent > 0)
        buf = uv_buf_init(conn->out + sent, (unsigned)len - (unsigned)sent);
    conn->write.data = conn;
    if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &buf, 1, on_written) < 0)
        fail_conn(conn, LT_RESET);
}

/* Of those that wait for a connection. */
static void give_up_waiting(struct lt_client *client, int64_t plan_ns, int64_t patience_ns)
{
    const struct lt_click *due;
    while ((due = lt_arrivals_peek(&client->arrivals)) != NULL &&
           due->at_ns + patience_ns <= plan_ns) {
        struct lt_click click = lt_arrivals_take(&client->arrivals);
        report_click(client, &click, LT_NO_ANSWER, NULL);
    }
}

/* A gateway closes a connection that was idle for long, and the loop may not have reported it yet.
 * Checking costs a system call: not worth it right after an answer. */
static bool has_ended(const struct conn *conn)
{
    uv_os_fd_t fd;
    char byte;
    if ((int64_t)uv_hrtime() - conn->since_ns < IDLE_LOOK_NS ||
        uv_fileno((const uv_handle_t *)&conn->tcp, &fd) < 0)
        return false;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

/* Clicks are given up before others become due: a click that is late because this program was late
 * has not waited for a connection. */
static void send_due_clicks(struct lt_client *client)
{
    int64_t plan_ns = plan_now(client);
    give_up_waiting(client, plan_ns, client->set.patience_ms * PS_NS_PER_MS);
    lt_arrivals_offer(&client->arrivals, plan_ns);
    struct conn *idle;
    while ((idle = first_conn(client, IDLE)) != NULL &&
           lt_arrivals_peek(&client->arrivals) != NULL) {
        if (has_ended(idle)) {
            close_conn(idle);
            continue;
        }
        struct lt_click click = lt_arrivals_take(&client->arrivals);
        send_click(idle, &click);
    }
    if (lt_arrivals_over(&client->arrivals) && client->lists[BUSY].count == 0 && !client->done) {
        client->done = true;
        uv_stop(client->loop);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct conn *conn = handle->data;
    *buf = uv_buf_init(conn->client->read_buffer, READ_SIZE);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
    struct conn *conn = stream->data;
    struct lt_client *client = conn->client;
    if (got == 0)
        return;
    if (conn->state != BUSY || (got < 0 && got != UV_EOF)) {
        fail_conn(conn, LT_RESET); /* an idle one just ends, whatever came */
        return;
    }
    bool complete = false;
    int err = 0;
    if (got > 0)
        err = lt_response_read(&conn->response, buf->base, (size_t)got, &complete);
    else
        complete = lt_response_ends(&conn->response);
    if (!complete) {
        if (err < 0 || got < 0)
            fail_conn(conn, err < 0 ? LT_GARBLED : LT_RESET);
        return;
    }
    if (got < 0 || err < 0 || !conn->response.keep_alive)
        close_conn(conn);
    else
        move_conn(conn, IDLE);
    report_click(client, &conn->click, LT_ANSWERED, conn);
    if (!client->closing)
        send_due_clicks(client);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct conn *conn = request->data;
    struct lt_client *client = conn->client;
    if (conn->state != CONNECTING)
        return; /* closed meanwhile */
    if (status == 0)
        status = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    if (status == 0) {
        conn->number = ++client->connects;
        move_conn(conn, IDLE);
        return;
    }
    client->connect_error = status;
    close_conn(conn);
    /* The buyer who waited for this connection was refused. */
    if (lt_arrivals_peek(&client->arrivals) != NULL) {
        struct lt_click click = lt_arrivals_take(&client->arrivals);
        report_click(client, &click, LT_REFUSED, NULL);
    }
}

static void open_conn(struct conn *conn)
{
    struct lt_client *client = conn->client;
    int err = uv_tcp_init(client->loop, &conn->tcp);
    assert(err == 0); /* it allocates nothing and opens no socket yet */
    conn->tcp.data = conn;
    conn->connect.data = conn;
    move_conn(conn, CONNECTING);
    err = uv_tcp_connect(&conn->connect, &conn->tcp,
                         (const struct sockaddr *)&client->set.target->address, on_connect);
    if (err == 0)
        err = uv_tcp_nodelay(&conn->tcp, 1);
    if (err < 0) {
        client->connect_error = err;
        close_conn(conn);
    }
}

/* --- Time --- */

/* Sets the timer to the next click that is not yet due. */
static void set_alarm(struct lt_client *client)
{
    int64_t next_ns = lt_arrivals_next_ns(&client->arrivals);
    if (next_ns == client->alarm_at_ns)
        return;
    client->alarm_at_ns = next_ns;
    int64_t at_ns = next_ns < 0 ? 0 : client->start_ns + next_ns; /* 0 stops it */
    struct itimerspec alarm = {.it_value = {at_ns / PS_NS_PER_S, at_ns % PS_NS_PER_S}};
    int failed = timerfd_settime(client->alarm_fd, TFD_TIMER_ABSTIME, &alarm, NULL);
    assert(failed == 0); /* a valid descriptor and a valid time */
    (void)failed;
}

static void on_turn(uv_check_t *turn)
{
    struct lt_client *client = turn->data;
    if (client->start_ns == 0 || client->closing)
        return;
    send_due_clicks(client);
    set_alarm(client);
}

/* It only wakes the loop: send_due_clicks() looks at the clock in the same turn, and setting the
 * timer again clears that it has fired. */
static void on_alarm(uv_poll_t *alarm, int status, int events)
{
    (void)status;
    (void)events;
    struct lt_client *client = alarm->data;
    client->alarm_at_ns = -2;
}

static void open_conns(struct lt_client *client, int64_t now_ns)
{
    struct conn *down;
    while ((down = first_conn(client, DOWN)) != NULL &&
           client->lists[CONNECTING].count < CONNECTING_MAX &&
           down->since_ns + RECONNECT_NS <= now_ns)
        open_conn(down);
}

static void expire_waits(struct lt_client *client, int64_t now_ns)
{
    bool given_up = client->set.stop != NULL && *client->set.stop >= 2;
    int64_t timeout_ns = given_up ? 0 : client->set.timeout_ms * PS_NS_PER_MS;
    int64_t plan_ns = now_ns - client->start_ns;
    struct conn *conn;
    while ((conn = first_conn(client, CONNECTING)) != NULL &&
           conn->since_ns + CONNECT_TIMEOUT_NS <= now_ns) {
        client->connect_error = UV_ETIMEDOUT;
        close_conn(conn);
    }
    if (client->start_ns == 0)
        return;
    while ((conn = first_conn(client, BUSY)) != NULL && conn->click.at_ns + timeout_ns <= plan_ns)
        fail_conn(conn, LT_NO_ANSWER);
    give_up_waiting(client, plan_ns, given_up ? 0 : client->set.patience_ms * PS_NS_PER_MS);
}

/* The plan starts when every connection is open, or after a while with those that are. */
static void warm_up(struct lt_client *client, int64_t now_ns)
{
    size_t open = client->lists[IDLE].count;
    bool late = now_ns - client->created_ns >= WARM_UP_NS;
    if (client->arrivals.stopped || (late && open == 0)) {
        client->done = true;
        client->failed = !client->arrivals.stopped;
        uv_stop(client->loop);
        return;
    }
    if (open < client->set.connections && !late)
        return;
    client->start_ns = now_ns + LEAD_NS;
    client->next_second_ns = client->start_ns + PS_NS_PER_S;
    set_alarm(client); /* this turn's poll comes before its check */
}

static void renew_mark(struct lt_client *client, int64_t now_ns)
{
    char mark[PS_MARK_TEXT_MAX + 1];
    if (client->set.mark == NULL || now_ns < client->mark_due_ns)
        return;
    client->set.mark(mark, client->set.ctx);
    lt_request_mark(&client->request, mark);
    client->mark_due_ns = now_ns + MARK_NS;
}

static void on_tick(uv_timer_t *tick)
{
    struct lt_client *client = tick->data;
    if (client->closing)
        return;
    int64_t now_ns = (int64_t)uv_hrtime();
    if (client->set.stop != NULL && *client->set.stop != 0)
        client->arrivals.stopped = true;
    renew_mark(client, now_ns);
    open_conns(client, now_ns);
    expire_waits(client, now_ns);
    if (client->start_ns == 0) {
        warm_up(client, now_ns);
    } else if (now_ns >= client->next_second_ns) {
        client->next_second_ns += PS_NS_PER_S;
        struct lt_progress progress;
        lt_client_progress(client, &progress);
        if (client->set.on_second != NULL)
            client->set.on_second(&progress, client->set.ctx);
    }
}

/* --- Life --- */

static int allow_files(size_t connections, struct ps_fault *fault)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)connections + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return ps_fault(fault, PS_E_IO, "--connections", "getrlimit: %s", strerror(errno));
    if (need > limit.rlim_max)
        return ps_fault(fault, PS_E_IO, "--connections",
                        "%zu need %llu open files, and this process may have %llu (ulimit -n)",
                        connections, (unsigned long long)need, (unsigned long long)limit.rlim_max);
    if (need <= limit.rlim_cur)
        return 0;
    limit.rlim_cur = need;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return ps_fault(fault, PS_E_IO, "--connections", "setrlimit: %s", strerror(errno));
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct lt_client *client = handle->data;
    client->handles--;
}

/* The three handles; on failure lt_client_free closes those that were made. */
static int start_handles(struct lt_client *client)
{
    client->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (client->alarm_fd < 0)
        return -errno;
    int err = uv_timer_init(client->loop, &client->tick);
    if (err == 0) {
        client->handles = 1;
        err = uv_check_init(client->loop, &client->turn);
    }
    if (err == 0) {
        client->handles = 2;
        err = uv_poll_init(client->loop, &client->alarm, client->alarm_fd);
    }
    if (err == 0)
        client->handles = 3;
    client->tick.data = client->turn.data = client->alarm.data = client;
    if (err == 0)
        err = uv_timer_start(&client->tick, on_tick, 0, TICK_MS);
    if (err == 0)
        err = uv_check_start(&client->turn, on_turn);
    if (err == 0)
        err = uv_poll_start(&client->alarm, UV_READABLE, on_alarm);
    return err;
}

int lt_client_new(uv_loop_t *loop, const struct lt_client_settings *settings,
                  struct lt_client **ret_client, struct ps_fault *fault)
{
    assert(settings->connections > 0 && settings->plan->count > 0);
    int err = allow_files(settings->connections + settings->connections_beside, fault);
    if (err < 0)
        return err;
    struct lt_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "no memory for the client");
    client->set = *settings;
    client->loop = loop;
    client->alarm_fd = -1;
    client->alarm_at_ns = -1;
    client->created_ns = (int64_t)uv_hrtime();
    for (size_t i = 0; i < STATES; i++)
        TAILQ_INIT(&client->lists[i].conns);
    client->conns = calloc(settings->connections, sizeof *client->conns);
    err = lt_arrivals_init(&client->arrivals, settings->plan, settings->retries > 0);
    if (err < 0 || client->conns == NULL) {
        err = ps_fault(fault, PS_E_NOMEM, "--connections", "no memory");
        goto fail;
    }
    for (size_t i = 0; i < settings->connections; i++) {
        client->conns[i].client = client;
        add_conn(&client->conns[i], DOWN);
    }
    const struct lt_names names = {settings->target->authority, settings->client_ip_header,
                                   settings->user_prefix};
    err = settings->pages != NULL ? 0
                                  : lt_request_init(&client->request, &names, settings->sale,
                                                    &settings->plan->spec, settings->skus);
    if (err < 0) {
        err = ps_fault(fault, err, "--public",
                       "the names of the host and of the address header are too long");
        goto fail;
    }
    renew_mark(client, client->created_ns);
    int uv_err = start_handles(client);
    if (uv_err < 0) {
        err = ps_fault(fault, PS_E_IO, "", "timer: %s", uv_strerror(uv_err));
        goto fail;
    }
    *ret_client = client;
    return 0;
fail:
    lt_client_free(client);
    return err;
}

int lt_client_run(struct lt_client *client, struct ps_fault *fault)
{
    while (!client->done)
        uv_run(client->loop, UV_RUN_DEFAULT);
    if (client->failed)
        return ps_fault(fault, PS_E_IO, "--public", "no connection to %s: %s",
                        client->set.target->authority, uv_strerror(client->connect_error));
    return 0;
}

void lt_client_stop(struct lt_client *client)
{
    client->arrivals.stopped = true;
}

void lt_client_progress(const struct lt_client *client, struct lt_progress *ret_progress)
{
    *ret_progress = (struct lt_progress){
        .elapsed_ns = client->start_ns != 0 ? plan_now(client) : 0,
        .offered = client->arrivals.due + client->arrivals.tried_again,
        .tried_again = client->arrivals.tried_again,
        .waiting = lt_arrivals_waiting(&client->arrivals),
        .in_flight = client->lists[BUSY].count,
        .connected = client->lists[IDLE].count + client->lists[BUSY].count,
        .connects = client->connects,
    };
}

void lt_client_free(struct lt_client *client)
{
    if (client == NULL)
        return;
    client->closing = true;
    uv_handle_t *const handles[] = {(uv_handle_t *)&client->tick, (uv_handle_t *)&client->turn,
                                    (uv_handle_t *)&client->alarm};
    for (size_t i = client->handles; i > 0; i--)
        uv_close(handles[i - 1], on_handle_closed);
    static const enum state open[] = {CONNECTING, IDLE, BUSY};
    for (size_t i = 0; i < PS_ARRAY_LEN(open); i++) {
        for (struct conn *conn; (conn = first_conn(client, open[i])) != NULL;)
            close_conn(conn);
    }
    while (client->handles > 0 || client->lists[CLOSING].count > 0)
        uv_run(client->loop, UV_RUN_ONCE);
    if (client->alarm_fd >= 0)
        (void)close(client->alarm_fd);
    lt_arrivals_done(&client->arrivals);
    free(client->conns);
    free(client);
}
