/* See live_feed.h. The page draws the same timeline as the report, so it comes from there. */
#include "loadtest/live_feed.h"

#include "common/clock.h"
#include "loadtest/curves.h"
#include "loadtest/report.h"

#include <stdlib.h>

struct lt_live_feed {
    uv_loop_t *loop;
    struct lt_live *live;
    const struct lt_admin *admin;
    const char *sale;
    struct lt_tally *tally;
    int64_t started_ms; /* wall clock; 0: no second is over yet */
    uv_work_t work;
    bool asking;
    json_t *answer;      /* of the work thread, while asking */
    json_t *gateway_saw; /* the last one; NULL: none yet */
};

int lt_live_feed_new(uv_loop_t *loop, struct lt_live *live, const struct lt_admin *admin,
                     const char *sale, struct lt_tally *tally, struct lt_live_feed **ret_feed)
{
    struct lt_live_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return PS_E_NOMEM;
    *feed = (struct lt_live_feed){
        .loop = loop, .live = live, .admin = admin, .sale = sale, .tally = tally};
    feed->work.data = feed;
    *ret_feed = feed;
    return 0;
}

static void ask(uv_work_t *work)
{
    struct lt_live_feed *feed = work->data;
    struct ps_fault fault;
    if (lt_curves_history(feed->admin, feed->started_ms, &feed->answer, &fault) < 0)
        feed->answer = NULL; /* the page goes on with what there is */
}

static void on_asked(uv_work_t *work, int status)
{
    struct lt_live_feed *feed = work->data;
    (void)status;
    feed->asking = false;
    if (feed->answer == NULL)
        return;
    json_decref(feed->gateway_saw);
    feed->gateway_saw = feed->answer;
    feed->answer = NULL;
}

void lt_live_feed_second(struct lt_live_feed *feed, const struct lt_progress *progress)
{
    if (feed->started_ms == 0)
        feed->started_ms = ps_clock_wall_ms(&ps_clock_system) - progress->elapsed_ns / PS_NS_PER_MS;
    json_t *json = json_pack(
        "{s:s, s:f, s:I, s:I, s:I, s:I, s:o, s:O?}", "sale", feed->sale, "elapsed_s",
        (double)progress->elapsed_ns / (double)PS_NS_PER_S, "offered",
        (json_int_t)progress->offered, "in_flight", (json_int_t)progress->in_flight, "waiting",
        (json_int_t)progress->waiting, "connected", (json_int_t)progress->connected, "timeline",
        lt_report_timeline(feed->tally), "gateway_saw", feed->gateway_saw);
    lt_live_show(feed->live, json != NULL ? json_dumps(json, JSON_COMPACT) : NULL);
    json_decref(json);
    if (!feed->asking)
        feed->asking = uv_queue_work(feed->loop, &feed->work, ask, on_asked) == 0;
}

void lt_live_feed_free(struct lt_live_feed *feed)
{
    if (feed == NULL)
        return;
    while (feed->asking)
        uv_run(feed->loop, UV_RUN_ONCE);
    json_decref(feed->gateway_saw);
    free(feed);
}
