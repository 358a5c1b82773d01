/* What heartbeats ask about the sales, and Redis's answers. A resting sale is asked about in its
 * turn, one with each heartbeat; but when one sale is found without its counters (Redis is empty,
 * or another server), all are asked about. A foreign key of one sale concerns only that sale. */
#include "gateway/sales/sales_internal.h"

#include "common/program/log.h"

static size_t count_counters(void *ctx)
{
    const struct sale_runs *runs = ctx;

    return runs->count;
}

/* All counters in use, and of the resting ones one at a time, or all. */
static size_t choose_counters(bool all, struct inv_sale **ret_counters, void *ctx)
{
    struct sale_runs *runs = ctx;
    size_t count = 0, resting = 0, turn = runs->turn++;

    for (size_t i = 0; i < runs->count; i++)
        resting += runs->at[i]->view.counter != NULL && runs->at[i]->resting;
    for (size_t i = 0; i < runs->count; i++) {
        struct sale_run *run = runs->at[i];
        if (run->view.counter == NULL || (run->resting && !all && turn++ % resting != 0))
            continue;
        runs->asked[count] = run;
        ret_counters[count++] = run->view.counter;
    }
    return count;
}

/* One of its keys is foreign: each buyer gets store_unavailable; the sale continues when the key is
 * gone. Logged once. */
static void note_foreign(struct sale_run *run, const char *foreign)
{
    if (foreign != NULL && run->in_redis != SALE_IN_REDIS_FOREIGN)
        ps_log(PS_LOG_ERROR, "sale_key_foreign", SALE_LOG_NAME(run),
               PS_F_STR("server", inv_store_server(run->runs->settings.store)),
               PS_F_STR("why", foreign));
    run->in_redis = foreign != NULL ? SALE_IN_REDIS_FOREIGN : SALE_IN_REDIS_USABLE;
}

static void take_answer(struct sale_run *run, const struct inv_sale_state *answer)
{
    note_foreign(run, answer->foreign);
    run->in_doubt = answer->in_doubt;
    if (run->in_redis == SALE_IN_REDIS_FOREIGN)
        return;
    if (answer->installed.epoch < 0)
        sale_fence(run, "Redis has no counters of it");
    else if (!answer->installed.fits)
        sale_fence(run, "Redis is not the server, or not the life of it, that it was counted in");
    else if (answer->installed.epoch > run->view.epoch)
        sale_fence(run, "another gateway has counted it anew");
    else if (answer->installed.epoch < run->view.epoch)
        sale_fence(run, "Redis has counters of it that are over");
}

/* An answer to a question from before the sale was served says nothing about what is served now. */
static void on_answer(size_t place, const struct inv_sale_state *answer, int64_t asked_ns,
                      void *ctx)
{
    const struct sale_runs *runs = ctx;
    struct sale_run *run = runs->asked[place];

    if (run->view.state == SALE_SERVING && run->since_ns < asked_ns)
        take_answer(run, answer);
}

static void on_disowned(void *ctx)
{
    const struct sale_runs *runs = ctx;

    for (size_t i = 0; i < runs->count; i++) {
        struct sale_run *run = runs->at[i];
        if (run->view.state > SALE_FENCED && run->view.state < SALE_SERVING) {
            bool opening = run->rebuild.opening;
            sale_end_try(run);
            sale_set_state(run, opening ? SALE_WAITING : SALE_FENCED);
        }
        sale_fence(run, "Redis counts for another log");
    }
}

/* It must learn what the previous leader has applied. */
static void on_lead(void *ctx)
{
    const struct sale_runs *runs = ctx;

    for (size_t i = 0; i < runs->count; i++)
        runs->at[i]->trim_due = true;
}

const struct clu_sales sale_watch = {.count = count_counters,
                                     .ask = choose_counters,
                                     .on_answer = on_answer,
                                     .on_disowned = on_disowned,
                                     .on_lead = on_lead};
