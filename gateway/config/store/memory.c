/* The documents of each kind in memory, in a list sorted by name: found by binary search and listed
 * in order. Deletions remain in it. */
#include "gateway/config/store/store_internal.h"

#include "common/grow.h"
#include "common/sorted.h"

#include <string.h>

struct cfg_map *cfg_store_map(const struct cfg_store *store, const struct cfg_kind *kind)
{
    size_t i = 0;

    while (store->kinds[i] != kind)
        i++;
    return (struct cfg_map *)(uintptr_t)&store->maps[i];
}

static int compare_with_doc(const void *name, const void *doc)
{
    return strcmp(name, (*(struct cfg_doc *const *)doc)->name);
}

/* Its index, or where it would be inserted. */
static size_t find_place(const struct cfg_map *map, const char *name, bool *ret_there)
{
    return ps_sorted_place(name, map->at, map->count, sizeof *map->at, compare_with_doc, ret_there);
}

int cfg_map_make_room(struct cfg_map *map, size_t more)
{
    return ps_grow(&map->at, &map->room, map->count + more, sizeof(struct cfg_doc *));
}

struct cfg_doc *cfg_map_put(struct cfg_map *map, struct cfg_doc *doc)
{
    bool there;
    size_t place = find_place(map, doc->name, &there);
    struct cfg_doc *old = there ? map->at[place] : NULL;

    if (!there) {
        memmove(&map->at[place + 1], &map->at[place],
                (map->count - place) * sizeof(struct cfg_doc *));
        map->count++;
    }
    map->at[place] = doc;
    map->live += (size_t)(doc->json != NULL) - (size_t)(old != NULL && old->json != NULL);
    return old;
}

struct cfg_doc *cfg_map_remove(struct cfg_map *map, const char *name)
{
    bool there;
    size_t place = find_place(map, name, &there);

    if (!there)
        return NULL;
    struct cfg_doc *old = map->at[place];
    map->count--;
    map->live -= old->json != NULL;
    memmove(&map->at[place], &map->at[place + 1], (map->count - place) * sizeof(struct cfg_doc *));
    return old;
}

bool cfg_store_is_in_force(const struct cfg_store *store, const struct cfg_doc *doc)
{
    int64_t ends_at_ms = cfg_doc_ends_at_ms(doc);

    return doc->json != NULL &&
           (ends_at_ms == INT64_MAX || ends_at_ms > ps_clock_wall_ms(store->clock));
}

const struct cfg_doc *cfg_store_last(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const char *name)
{
    const struct cfg_map *map = cfg_store_map(store, kind);
    bool there;
    size_t place = find_place(map, name, &there);

    return there ? map->at[place] : NULL;
}

const struct cfg_doc *cfg_store_find(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const char *name)
{
    const struct cfg_doc *doc = cfg_store_last(store, kind, name);

    return doc != NULL && cfg_store_is_in_force(store, doc) ? doc : NULL;
}

const struct cfg_doc *cfg_store_behind(const struct cfg_store *store, const struct cfg_kind *kind,
                                       const char *name)
{
    const struct cfg_map *map = cfg_store_map(store, kind);
    bool there;

    for (size_t i = find_place(map, name, &there) + there; i < map->count; i++)
        if (cfg_store_is_in_force(store, map->at[i]))
            return map->at[i];
    return NULL;
}

const struct cfg_doc *cfg_store_next(const struct cfg_store *store, const struct cfg_kind *kind,
                                     const struct cfg_doc *after)
{
    return cfg_store_behind(store, kind, after != NULL ? after->name : "");
}

const struct cfg_doc *cfg_store_next_kept(const struct cfg_store *store,
                                          const struct cfg_kind *kind, const char *name)
{
    const struct cfg_kind *const *at = store->kinds;

    while (*at != kind)
        at++;
    for (; *at != NULL; at++, name = "") {
        const struct cfg_map *map = cfg_store_map(store, *at);
        bool there;
        for (size_t i = find_place(map, name, &there) + there; i < map->count; i++)
            if (map->at[i]->json == NULL || cfg_store_is_in_force(store, map->at[i]))
                return map->at[i];
    }
    return NULL;
}

size_t cfg_store_count(const struct cfg_store *store, const struct cfg_kind *kind)
{
    return cfg_store_map(store, kind)->live;
}

/* --- The store itself. --- */

int64_t cfg_store_revision(const struct cfg_store *store)
{
    return store->revision;
}

void cfg_store_set_bounds(struct cfg_store *store, const struct cfg_bounds *bounds)
{
    store->bounds = bounds;
}

const struct cfg_bounds *cfg_store_bounds(const struct cfg_store *store)
{
    return store->bounds;
}

const struct ps_clock *cfg_store_clock(const struct cfg_store *store)
{
    return store->clock;
}

bool cfg_store_sale_is_forgettable(const struct cfg_store *store, const char *sale)
{
    return store->callbacks.sale_is_forgettable != NULL &&
           store->callbacks.sale_is_forgettable(store->callbacks.ctx, sale);
}

bool cfg_store_sale_is_used(const struct cfg_store *store, const char *sale)
{
    return store->callbacks.sale_is_used != NULL &&
           store->callbacks.sale_is_used(store->callbacks.ctx, sale);
}

int cfg_store_tell(struct cfg_store *store, const struct cfg_doc *from, const struct cfg_doc *to)
{
    const struct cfg_kind *kind = to != NULL ? to->kind : from->kind;
    int err = store->callbacks.in_force(store->callbacks.ctx, from, to);

    if (err == 0 && kind->in_force != NULL)
        kind->in_force(from, to);
    return err;
}
