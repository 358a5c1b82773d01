/* Documents that end by themselves. None is in force after its end (cfg_store_is_in_force). A heap
 * has the times, the tick removes them from memory, and the next change removes them from
 * control.db and from Redis. A document that would be missed, such as a key or a block, stays until
 * the wall clock has gone on evenly for `rest_ms`: one that is put right brings it back into force.
 */
#include "gateway/config/store/store_internal.h"

#include "common/program/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void cfg_store_watch_end(struct cfg_store *store, const struct cfg_doc *doc)
{
    int64_t ends_at_ms = cfg_doc_ends_at_ms(doc);
    struct cfg_ended *ended;

    if (ends_at_ms == INT64_MAX)
        return;
    ended = malloc(sizeof *ended + strlen(doc->name) + 1);
    if (ended == NULL)
        return;
    ended->kind = doc->kind;
    memcpy(ended->name, doc->name, strlen(doc->name) + 1);
    if (ps_heap_put(store->ends, ends_at_ms, (uint64_t)(uintptr_t)ended) < 0)
        free(ended);
}

void cfg_store_say_end(struct cfg_store *store, const struct cfg_doc *doc, const char *who,
                       const char *action)
{
    char target[CFG_NAME_MAX + 64];
    struct cfg_change *change = cfg_change_own(store, who, action);

    if (change == NULL)
        return;
    (void)snprintf(target, sizeof target, "%s/%s", doc->kind->path, doc->name);
    cfg_change_line(change, target, cfg_doc_json(doc), NULL);
    int err = cfg_change_submit(change, NULL, NULL);
    if (err < 0)
        ps_log(PS_LOG_ERROR, "audit_line_lost", PS_F_STR("who", who), PS_F_STR("action", action),
               PS_F_STR("target", target), PS_F_STR("error", ps_err_text(err)));
}

/* Until when the wall clock is not believed, by this clock; in the past: it is believed. */
static int64_t rests_until_ms(const struct cfg_store *store, int64_t now_ms)
{
    int64_t even_ns =
        store->steady.known ? ps_clock_mono_ns(store->clock) - store->steady.since_ns : 0;

    return now_ms + store->rest_ms - even_ns / PS_NS_PER_MS;
}

void cfg_store_tick(struct cfg_store *store)
{
    int64_t now_ms = ps_clock_wall_ms(store->clock);
    (void)ps_steady_look(&store->steady, now_ms, ps_clock_mono_ns(store->clock));
    int64_t rests_ms = rests_until_ms(store, now_ms);
    bool publishes = false;
    uint64_t value;

    while (ps_heap_take(store->ends, now_ms, &value)) {
        struct cfg_ended *ended = (struct cfg_ended *)(uintptr_t)value;
        const struct cfg_doc *doc = cfg_store_last(store, ended->kind, ended->name);
        bool stays = doc != NULL && cfg_doc_ends_at_ms(doc) <= now_ms &&
                     ended->kind->end_is_final && rests_ms > now_ms;
        if (stays && ps_heap_put(store->ends, rests_ms, value) == 0)
            continue;
        if (stays || doc == NULL || cfg_doc_ends_at_ms(doc) > now_ms ||
            cfg_store_tell(store, doc, NULL) < 0) {
            free(ended); /* another version ends later; or without memory, the next start sees it */
            continue;
        }
        struct cfg_doc *removed = cfg_map_remove(cfg_store_map(store, ended->kind), ended->name);
        STAILQ_INSERT_TAIL(&store->ended, ended, next);
        const char *action =
            ended->kind->ended != NULL ? ended->kind->ended(removed->parsed) : NULL;
        if (action != NULL)
            cfg_store_say_end(store, removed, CFG_BY_GATEWAY, action);
        publishes |= ended->kind->ends_at_once;
        cfg_doc_free(removed);
    }
    if (publishes)
        cfg_store_changed(store);
}

/* This change removes them from control.db and from Redis. A change without documents does not
 * reach Redis. */
void cfg_change_add_ended(struct cfg_change *change)
{
    struct cfg_store *store = change->store;
    struct cfg_ended *ended;

    if (store->sync != NULL && change->job.edit_count == 0)
        return;
    for (size_t i = 0; i < CFG_ENDED_MAX && (ended = STAILQ_FIRST(&store->ended)) != NULL; i++) {
        STAILQ_REMOVE_HEAD(&store->ended, next);
        STAILQ_INSERT_TAIL(&change->job.ended, ended, next);
        change->job.ended_count++;
    }
    int64_t now_ms = ps_clock_wall_ms(store->clock);
    if (!store->has_forgotten && rests_until_ms(store, now_ms) <= now_ms) {
        store->has_forgotten = true;
        change->job.forget_ms = now_ms;
    }
}
