/* The readers of events. A timer, which runs only while somebody reads, renders one text a second
 * for all of them. A reader that has not taken the event before gets no other one until it has, and
 * is cut if that lasts too long. What the client's kernel has acknowledged counts as taken, so a
 * client that reads nothing cannot be told from one that reads. So each stream ends after a minute,
 * and readers connect again. A token is looked up again each second.
 *
 * A reader's request stays with the server until it is ended here, also if its client has left. */
#include "gateway/admin/events.h"

#include "gateway/admin/parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD_MS  1000
#define KERNEL_MAX (32 * 1024) /* the kernel doubles it, for its own use */
#define FRAME_MAX  128         /* of an event: its lines without the text */
#define LATE_MAX   10          /* events that a reader may miss in succession */
#define LIFE_MAX   60          /* events of one stream, missed ones too */

enum op_events_end { LEFT, SLOW, TOKEN, DRAIN, FULL, AGE };

struct reader {
    uint64_t handle; /* of its request */
    char token[PS_NAME_MAX + 1];
    unsigned late; /* events in succession that it did not get: it has not taken the last one */
    unsigned seen; /* events since it came */
};

struct op_events {
    struct op_admin *admin;
    struct op_state *state;
    uv_timer_t timer;
    struct reader readers[OP_READERS_MAX];
    size_t count;
    int64_t sent;             /* events since the start */
    char event[OP_EVENT_MAX]; /* the last one */
    size_t len;               /* 0: there is none */
};

/* --- Ends. --- */

static void count_end(const struct op_events *events, enum op_events_end end)
{
    struct ps_metrics_shard *shard = events->admin->deps.shard;

    ps_metric_set(shard, GW_M_EVENT_READERS, 0, (int64_t)events->count);
    ps_metric_add(shard, GW_M_EVENT_ENDS, end, 1);
}

/* The last reader moves to its place. */
static void remove_reader(struct op_events *events, size_t index, enum op_events_end end)
{
    events->readers[index] = events->readers[--events->count];
    count_end(events, end);
    if (events->count > 0)
        return;
    uv_timer_stop(&events->timer);
    events->len = 0;
    op_state_forget(events->state);
}

/* Says why, so that the reader does not just try again. */
static void end_reader(struct op_events *events, size_t index, enum op_events_end end)
{
    static const char token[] = "event: end\ndata: {\"code\":\"unauthenticated\"}\n\n";
    static const char drain[] = "event: end\ndata: {\"code\":\"draining\"}\n\n";
    struct srv_request *http = srv_find(events->admin->http, events->readers[index].handle);

    remove_reader(events, index, end);
    if (http != NULL)
        srv_answer_last(http, end == TOKEN ? PS_STR(token) : PS_STR(drain));
}

static bool token_is_valid(const struct op_events *events, const struct reader *reader)
{
    const struct op_deps *deps = &events->admin->deps;
    const struct op_token *token = op_auth_find(deps->auth, reader->token, strlen(reader->token));

    return token != NULL && token->role >= OP_ROLE_VIEWER &&
           token->expires_at_ms > ps_clock_wall_ms(deps->clock);
}

static bool is_draining(const struct op_deps *deps)
{
    struct ans_readiness readiness;

    deps->readiness(deps->ctx, &readiness);
    return readiness.draining;
}

/* Forgets readers that have left, and ends those that may not read any more. */
static void sweep(struct op_events *events)
{
    bool draining = is_draining(&events->admin->deps);

    for (size_t i = events->count; i-- > 0;) {
        const struct reader *reader = &events->readers[i];
        struct srv_request *http = srv_find(events->admin->http, reader->handle);
        if (http == NULL || srv_answer_is_left(http)) {
            remove_reader(events, i, LEFT);
            if (http != NULL)
                srv_answer_end(http, true);
        } else if (draining || !token_is_valid(events, reader)) {
            end_reader(events, i, draining ? DRAIN : TOKEN);
        }
    }
}

/* --- An event. --- */

/* Out of memory: the one before stays. */
static void render(struct op_events *events)
{
    char *text = op_state_text(events->state, sizeof events->event - FRAME_MAX);
    struct ps_buf buf;

    if (text == NULL)
        return;
    ps_buf_init(&buf, events->event, sizeof events->event);
    ps_buf_printf(&buf, "id: %" PRId64 ".%" PRId64 "\nevent: state\ndata: ",
                  events->admin->deps.started_ms, ++events->sent);
    ps_buf_puts(&buf, text);
    ps_buf_puts(&buf, "\n\n");
    free(text);
    events->len = buf.overflow ? 0 : buf.len;
}

/* Cuts a reader that has not taken events for too long. The last event of a stream ends it. */
static void send_event(struct op_events *events, size_t index)
{
    struct reader *reader = &events->readers[index];
    struct srv_request *http = srv_find(events->admin->http, reader->handle);

    if (http == NULL)
        return;
    bool takes = srv_answer_unsent(http) == 0;
    struct ps_str event = {events->event, takes ? events->len : 0};
    if (++reader->seen == LIFE_MAX) {
        remove_reader(events, index, AGE);
        srv_answer_last(http, event);
    } else if (takes) {
        reader->late = 0;
        (void)srv_answer_part(http, event);
    } else if (++reader->late >= LATE_MAX) {
        remove_reader(events, index, SLOW);
        srv_answer_end(http, false);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct op_events *events = timer->data;

    sweep(events);
    if (events->count == 0)
        return;
    render(events);
    for (size_t i = events->count; i-- > 0;)
        send_event(events, i);
}

/* --- A reader. --- */

#define FIELDS                                                                                     \
    "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n"

static const struct srv_forward head = {
    .status = 200, .fields = {FIELDS, sizeof FIELDS - 1}, .len = -1};

static size_t readers_with(const struct op_events *events, const char *token)
{
    size_t count = 0;

    for (size_t i = 0; i < events->count; i++)
        count += strcmp(events->readers[i].token, token) == 0;
    return count;
}

static void get_events(struct op_request *request)
{
    struct op_events *events = request->admin->events;
    struct srv_request *http = request->http;

    if (events->count == OP_READERS_MAX || readers_with(events, request->who) >= OP_READERS_TOKEN)
        sweep(events);
    if (http->method == SRV_HEAD) {
        (void)srv_suspend(http);
        (void)srv_answer_forward(http, &head, PS_STR(""), true);
        return;
    }
    if (events->count == OP_READERS_MAX) {
        count_end(events, FULL);
        op_no(request, ANS_V_shed, "this gateway has %d readers of events already", OP_READERS_MAX);
        return;
    }
    if (readers_with(events, request->who) >= OP_READERS_TOKEN) {
        count_end(events, FULL);
        op_no(request, ANS_V_shed, "this token has %d readers of events already", OP_READERS_TOKEN);
        return;
    }
    if (is_draining(&request->admin->deps)) {
        op_no(request, ANS_V_draining, NULL);
        return;
    }
    struct reader *reader = &events->readers[events->count++];
    *reader = (struct reader){.handle = srv_suspend(http)};
    memcpy(reader->token, request->who, sizeof reader->token);
    ps_metric_set(request->admin->deps.shard, GW_M_EVENT_READERS, 0, (int64_t)events->count);
    srv_answer_bound(http, KERNEL_MAX);
    if (events->count == 1) {
        render(events);
        uv_timer_start(&events->timer, on_timer, PERIOD_MS, PERIOD_MS);
    }
    (void)srv_answer_forward(http, &head, (struct ps_str){events->event, events->len}, false);
}

/* --- Start and end. --- */

int op_events_new(struct op_admin *admin, struct op_events **ret_events)
{
    struct op_events *events = calloc(1, sizeof *events);

    if (events == NULL)
        return PS_E_NOMEM;
    events->admin = admin;
    events->state = op_state_new(admin);
    if (events->state == NULL) {
        free(events);
        return PS_E_NOMEM;
    }
    *ret_events = events;
    return 0;
}

void op_events_start(struct op_events *events)
{
    uv_timer_init(events->admin->deps.loop, &events->timer);
    events->timer.data = events;
}

static void on_closed(uv_handle_t *handle)
{
    op_release(((struct op_events *)handle->data)->admin);
}

void op_events_stop(struct op_events *events)
{
    while (events->count > 0)
        end_reader(events, 0, DRAIN);
    uv_close((uv_handle_t *)&events->timer, on_closed);
}

void op_events_free(struct op_events *events)
{
    if (events == NULL)
        return;
    op_state_free(events->state);
    free(events);
}

/* --- The part. --- */

const struct op_part op_events_part = {
    .routes =
        (const struct op_route[]){{"/admin/v1/events", SRV_GET, OP_ROLE_VIEWER, 0, get_events},
                                  {0}},
};
