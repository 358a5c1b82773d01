/* See returns.h. */
#include "gateway/upstream/returns.h"

#include "common/program/log.h"

#include <math.h>
#include <stdio.h>

/* --- A return. --- */

static json_t *figures_json(const struct up_tally *tally)
{
    return json_pack("{s:I, s:I, s:o, s:o}", "requests", (json_int_t)tally->requests, "failures",
                     (json_int_t)tally->failures, "failure_share",
                     ps_json_of_number(round(up_tally_failure_share(tally) * 1e4) / 1e4), "p99_ms",
                     ps_json_of_number(round((double)up_tally_p99_ns(tally) / 1e4) / 1e2));
}

/* Stops the split, and notes what must be written. */
static void take_back(struct up_returns *returns, const struct up_route_view *route,
                      const struct up_split_view *split, enum up_cause cause,
                      const struct up_tally *its, const struct up_tally *own)
{
    json_t *entry =
        json_pack("{s:o, s:o, s:s, s:o, s:o}", "split", cfg_split_write(split->as), "since",
                  ps_json_of_time(ps_clock_wall_ms(returns->clock)), "why", up_cause_names[cause],
                  "new", figures_json(its), "old", figures_json(own));

    if (entry == NULL) {
        ps_log(PS_LOG_ERROR, "split_return_not_written", PS_F_STR("route", route->doc->name),
               PS_F_STR("pool", split->as->pool), PS_F_STR("error", ps_err_text(PS_E_NOMEM)));
        return; /* judged again in a second */
    }
    atomic_store_explicit(&split->live->returned, true, memory_order_relaxed);
    split->live->pending = entry;
    route->live->returns[cause]++;
    ps_log(PS_LOG_WARN, "split_returned", PS_F_STR("route", route->doc->name),
           PS_F_STR("pool", split->as->pool), PS_F_STR("why", up_cause_names[cause]),
           PS_F_INT("requests", its->requests), PS_F_INT("failures", its->failures),
           PS_F_INT("p99_ms", up_tally_p99_ns(its) / PS_NS_PER_MS),
           PS_F_INT("own_requests", own->requests), PS_F_INT("own_failures", own->failures),
           PS_F_INT("own_p99_ms", up_tally_p99_ns(own) / PS_NS_PER_MS));
}

static void on_written(int err, const struct ps_fault *fault, void *ctx)
{
    struct up_returns *returns = ctx;

    returns->writing = false;
    if (err < 0 && err != PS_E_CONFLICT && err != PS_E_CLOSED)
        ps_log(PS_LOG_ERROR, "split_return_not_written",
               PS_F_STR("error", fault->text[0] != '\0' ? fault->text : ps_err_text(err)));
}

/* All splits that were taken back, including this one. */
static json_t *returned_json(const struct cfg_route *route, json_t *entry)
{
    json_t *list = cfg_route_returned(route);

    return ps_json_built(list, list == NULL ? -1 : json_array_append(list, entry));
}

static int submit(struct up_returns *returns, const struct cfg_route *route, json_t *entry)
{
    struct cfg_change *change = cfg_change_own(returns->config, CFG_BY_GATEWAY, "route.return");
    char target[PS_NAME_MAX + sizeof "routes/"];
    json_t *state = cfg_route_state(route, returned_json(route, entry));
    int err = change != NULL && state != NULL
                  ? cfg_change_state(change, &cfg_kind_route, route->name, state)
                  : PS_E_NOMEM;

    json_decref(state);
    if (err < 0) {
        cfg_change_free(change);
        return err;
    }
    (void)snprintf(target, sizeof target, "routes/%s", route->name);
    cfg_change_line(change, target, json_incref(json_object_get(entry, "split")),
                    json_incref(entry));
    returns->writing = true;
    err = cfg_change_submit(change, on_written, returns);
    if (err < 0)
        returns->writing = false;
    return err;
}

/* Skips the write if the document now has another element there, or already says so: then the next
 * table brings that. */
static void write_down(struct up_returns *returns, const char *name, json_t *entry)
{
    const struct cfg_doc *doc = cfg_store_find(returns->config, &cfg_kind_route, name);
    const struct cfg_route *route = doc != NULL ? cfg_route_of(doc) : NULL;
    size_t index = route != NULL ? cfg_route_split(route, json_object_get(entry, "split")) : 0;

    if (route == NULL || index == route->split_count || route->splits[index].returned != NULL)
        return;
    int err = submit(returns, route, entry);
    if (err < 0)
        on_written(err, &(struct ps_fault){0}, returns);
}

/* --- Each second. --- */

static void judge(struct up_returns *returns, const struct up_route_view *route,
                  const struct up_split_view *split, int64_t now_s)
{
    struct up_tally its, own, its_window, own_window;

    up_tally_read(split->live, &its);
    up_tally_read(route->own, &own);
    up_window_note(split->live->window, now_s, &its, &own, &its_window, &own_window);
    struct up_tally met = up_tally_met(&its_window);
    enum up_cause cause = up_split_judge(split->as, &met, &own_window);
    if (cause != UP_CAUSE_NONE)
        take_back(returns, route, split, cause, &met, &own_window);
}

static void look_at(struct up_returns *returns, const struct up_route_view *route,
                    const struct up_split_view *split, int64_t now_s)
{
    struct up_target *live = split->live;

    if (live->window != NULL && !atomic_load_explicit(&live->returned, memory_order_relaxed))
        judge(returns, route, split, now_s);
    if (live->pending != NULL && !returns->writing)
        write_down(returns, route->doc->name, live->pending);
}

void up_returns_tick(struct up_returns *returns, const struct up_table *table)
{
    int64_t now_s = ps_clock_mono_ns(returns->clock) / PS_NS_PER_S;

    if (now_s == returns->judged_s)
        return;
    returns->judged_s = now_s;
    for (size_t i = 0; i < table->route_count; i++)
        for (size_t j = 0; j < table->routes[i].doc->split_count; j++)
            look_at(returns, &table->routes[i], &table->routes[i].splits[j], now_s);
}
