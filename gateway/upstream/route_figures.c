/* See route_figures.h. */
#include "gateway/upstream/route_figures.h"

#include "gateway/upstream/switch.h"
#include "gateway/upstream/tally.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* --- Targets. --- */

/* Zeroed. NULL: out of memory. */
static void *new_cells(size_t head, size_t count, size_t cell)
{
    size_t size = head + count * cell; /* both are multiples of a cache line */
    void *at = aligned_alloc(PS_CACHE_LINE, size);

    return at != NULL ? memset(at, 0, size) : NULL;
}

static struct up_target *new_target(uint64_t key, size_t workers)
{
    struct up_target *target = new_cells(sizeof *target, workers, sizeof target->cells[0]);

    if (target == NULL)
        return NULL;
    target->refs = 1;
    target->key = key;
    target->cell_count = workers;
    return target;
}

static struct up_target *keep_target(struct up_target *target)
{
    atomic_fetch_add_explicit(&target->refs, 1, memory_order_relaxed);
    return target;
}

static void drop_target(struct up_target *target)
{
    if (target == NULL || atomic_fetch_sub_explicit(&target->refs, 1, memory_order_acq_rel) > 1)
        return;
    up_window_free(target->window);
    json_decref(target->pending);
    free(target);
}

static void add(_Atomic(int64_t) *figure, unsigned more)
{
    if (more > 0)
        atomic_store_explicit(figure, atomic_load_explicit(figure, memory_order_relaxed) + more,
                              memory_order_relaxed);
}

void up_target_count(struct up_target *target, size_t worker, const struct up_met *met,
                     int64_t took_ns)
{
    struct up_target_cell *cell = &target->cells[worker];
    const struct up_blame *blame = &up_blame[met->end];

    up_route_count(&cell->outcomes[blame->word]);
    add(&cell->judged, met->told.good + met->told.bad);
    add(&cell->failed, met->told.bad);
    if (blame->timed)
        ps_times_add(&cell->latency, took_ns);
}

void up_target_skip(struct up_target *target, size_t worker)
{
    up_route_count(&target->cells[worker].skipped);
}

/* --- Routes. --- */

static struct up_route *new_route(const char *name, size_t workers)
{
    struct up_route *route = new_cells(sizeof *route, workers, sizeof route->cells[0]);

    if (route == NULL)
        return NULL;
    route->refs = 1;
    route->cell_count = workers;
    memcpy(route->name, name, strlen(name) + 1);
    return route;
}

static struct up_route *keep_route(struct up_route *route)
{
    atomic_fetch_add_explicit(&route->refs, 1, memory_order_relaxed);
    return route;
}

static void drop_route(struct up_route *route)
{
    if (route != NULL && atomic_fetch_sub_explicit(&route->refs, 1, memory_order_acq_rel) == 1)
        free(route);
}

void up_route_fell_back(struct up_route *route, size_t worker, enum cfg_fallback_kind kind)
{
    up_route_count(&route->cells[worker].fallbacks[kind]);
}

void up_route_has_nothing(struct up_route *route, size_t worker)
{
    up_route_count(&route->cells[worker].nothing_left);
}

/* --- From one version of a document to the next. --- */

static void add_text(crypto_generichash_state *hash, const char *text)
{
    if (text != NULL)
        (void)crypto_generichash_update(hash, (const unsigned char *)text, strlen(text));
    (void)crypto_generichash_update(hash, (const unsigned char *)"", 1);
}

/* Of the split's pool and its `by`; `split` NULL: of the route's own pool. */
static uint64_t key_of(const char *pool, const struct cfg_split *split)
{
    const unsigned char by = split != NULL ? (unsigned char)(split->by + 1) : 0;
    unsigned char bytes[crypto_generichash_BYTES_MIN];
    crypto_generichash_state hash;
    uint64_t key;

    (void)crypto_generichash_init(&hash, NULL, 0, sizeof bytes);
    (void)crypto_generichash_update(&hash, &by, 1);
    add_text(&hash, pool);
    if (split != NULL) {
        add_text(&hash, split->name);
        add_text(&hash, split->value);
    }
    (void)crypto_generichash_final(&hash, bytes, sizeof bytes);
    memcpy(&key, bytes, sizeof key);
    return key;
}

static const struct up_split_view *find_split(const struct up_route_view *before, uint64_t key)
{
    for (size_t i = 0; before != NULL && i < before->doc->split_count; i++)
        if (before->splits[i].live->key == key)
            return &before->splits[i];
    return NULL;
}

/* Drops a noted return if the element has changed, or the document already says it. */
static void settle_return(struct up_target *target, const struct cfg_split *split)
{
    json_t *written = target->pending != NULL ? cfg_split_write(split) : NULL;

    if (split->returned != NULL ||
        !json_equal(json_object_get(target->pending, "split"), written)) {
        json_decref(target->pending);
        target->pending = NULL;
    }
    json_decref(written);
    atomic_store_explicit(&target->returned, split->returned != NULL || target->pending != NULL,
                          memory_order_relaxed);
}

/* A watched element that is the same as before keeps its window; any other gets a new one. */
static int renew_window(const struct up_split_view *view, const struct up_target *own,
                        const struct up_split_view *before)
{
    const struct cfg_split *split = view->as, *was = before != NULL ? before->as : NULL;
    struct up_target *target = view->live;
    bool continues = was != NULL && before->per_mille == view->per_mille &&
                     was->back.errors_above == split->back.errors_above &&
                     was->back.p99_above == split->back.p99_above &&
                     was->back.window_s == split->back.window_s &&
                     (was->returned == NULL) == (split->returned == NULL);

    struct up_tally its_now, own_now;

    if (continues)
        return 0;
    up_window_free(target->window);
    up_tally_read(target, &its_now);
    up_tally_read(own, &own_now);
    target->window =
        split->back.window_s > 0 ? up_window_new(split->back.window_s, &its_now, &own_now) : NULL;
    return split->back.window_s > 0 && target->window == NULL ? PS_E_NOMEM : 0;
}

static int bind_split(struct up_split_view *split, const struct up_target *own,
                      const struct up_route_view *before, size_t workers)
{
    uint64_t key = key_of(split->as->pool, split->as);
    const struct up_split_view *was = find_split(before, key);

    split->live = was != NULL ? keep_target(was->live) : new_target(key, workers);
    if (split->live == NULL)
        return PS_E_NOMEM;
    settle_return(split->live, split->as);
    return renew_window(split, own, was);
}

int up_route_bind(struct up_route_view *view, const struct up_route_view *before, size_t workers)
{
    const struct cfg_route *doc = view->doc;
    uint64_t own = key_of(doc->pool, NULL);
    uint32_t per_mille[CFG_SPLITS_MAX];

    for (size_t i = 0; i < doc->split_count; i++)
        per_mille[i] = view->splits[i].per_mille;
    int err = up_switch_new(doc, per_mille, &view->switches);
    view->live = before != NULL ? keep_route(before->live) : new_route(doc->name, workers);
    view->own = before != NULL && before->own->key == own ? keep_target(before->own)
                                                          : new_target(own, workers);
    if (view->live == NULL || view->own == NULL)
        err = PS_E_NOMEM;
    for (size_t i = 0; err == 0 && i < doc->split_count; i++)
        err = bind_split(&view->splits[i], view->own, before, workers);
    if (err < 0)
        up_route_unbind(view);
    return err;
}

void up_route_unbind(struct up_route_view *view)
{
    for (size_t i = 0; view->splits != NULL && i < view->doc->split_count; i++) {
        drop_target(view->splits[i].live);
        view->splits[i].live = NULL;
    }
    up_switch_free(view->switches);
    drop_route(view->live);
    drop_target(view->own);
    view->switches = NULL;
    view->live = NULL;
    view->own = NULL;
}
