/* See caches.h. */
#include "gateway/cache/caches.h"

#include <stdlib.h>
#include <string.h>

struct named {
    char name[PS_NAME_MAX + 1];
    struct cache *cache;
    int64_t version; /* of its document */
    int64_t purged;  /* the number of the last purge that was applied */
};

/* A cache without a document: it is dropped when it is empty. */
struct leaving {
    SLIST_ENTRY(leaving) link;
    struct cache *cache;
};

struct caches {
    struct cache_wakeups *wakeups;
    size_t count;
    struct named *at;
    SLIST_HEAD(, leaving) leaving;
};

int caches_new(struct cache_wakeups *wakeups, struct caches **ret_caches)
{
    struct caches *caches = calloc(1, sizeof *caches);

    if (caches == NULL)
        return PS_E_NOMEM;
    caches->wakeups = wakeups;
    *ret_caches = caches;
    return 0;
}

void caches_free(struct caches *caches)
{
    for (size_t i = 0; caches != NULL && i < caches->count; i++)
        cache_drop(caches->at[i].cache);
    if (caches != NULL)
        free(caches->at);
    for (struct leaving *leaving; caches != NULL && (leaving = SLIST_FIRST(&caches->leaving));) {
        SLIST_REMOVE_HEAD(&caches->leaving, link);
        cache_drop(leaving->cache);
        free(leaving);
    }
    free(caches);
}

/* Empties it step by step, if there is memory for the list. */
static void leave(struct caches *caches, struct cache *cache)
{
    struct leaving *leaving = malloc(sizeof *leaving);

    if (leaving == NULL) {
        cache_drop(cache);
        return;
    }
    leaving->cache = cache;
    SLIST_INSERT_HEAD(&caches->leaving, leaving, link);
    (void)cache_purge_prefix(cache, PS_STR(""));
}

void caches_tick(struct caches *caches)
{
    struct leaving *leaving = SLIST_FIRST(&caches->leaving);

    for (size_t i = 0; i < caches->count; i++)
        (void)cache_sweep(caches->at[i].cache);
    if (leaving != NULL && !cache_sweep(leaving->cache)) {
        SLIST_REMOVE_HEAD(&caches->leaving, link);
        cache_drop(leaving->cache);
        free(leaving);
    }
}

static struct named *find(const struct caches *caches, const char *name)
{
    for (size_t i = 0; i < caches->count; i++)
        if (strcmp(caches->at[i].name, name) == 0)
            return &caches->at[i];
    return NULL;
}

struct cache *caches_find(const struct caches *caches, const char *name)
{
    const struct named *named = find(caches, name);

    return named != NULL ? named->cache : NULL;
}

struct cache *caches_at(const struct caches *caches, size_t i, const char **ret_name)
{
    if (i >= caches->count)
        return NULL;
    *ret_name = caches->at[i].name;
    return caches->at[i].cache;
}

static int64_t last_purge(const struct cfg_cache *doc)
{
    return doc->purge_count > 0 ? doc->purges[doc->purge_count - 1].number : 0;
}

static void purge(struct cache *cache, const struct cfg_purge *purge)
{
    struct ps_str text = {purge->text, strlen(purge->text)};

    if (purge->by == CFG_PURGE_KEY)
        (void)cache_purge_path(cache, text);
    else if (purge->by == CFG_PURGE_PREFIX)
        (void)cache_purge_prefix(cache, text);
    else
        (void)cache_purge_tag(cache, text);
}

static void do_purges(struct named *named, const struct cfg_cache *doc)
{
    bool missed = doc->purge_count > 0 && doc->purges[0].number > named->purged + 1;

    if (missed)
        (void)cache_purge_prefix(named->cache, PS_STR(""));
    for (size_t i = 0; !missed && i < doc->purge_count; i++)
        if (doc->purges[i].number > named->purged)
            purge(named->cache, &doc->purges[i]);
    named->purged = last_purge(doc);
}

static int add(struct caches *caches, const struct cfg_doc *doc)
{
    struct named *more = realloc(caches->at, (caches->count + 1) * sizeof *more);

    if (more == NULL)
        return PS_E_NOMEM;
    caches->at = more;
    struct named *named = &more[caches->count];
    *named = (struct named){.version = doc->version, .purged = last_purge(cfg_cache_of(doc))};
    memcpy(named->name, doc->name, strlen(doc->name) + 1);
    int err = cache_new(cfg_cache_of(doc), caches->wakeups, &named->cache);
    caches->count += err == 0;
    return err;
}

static int update(struct named *named, const struct cfg_doc *doc)
{
    if (named->version == doc->version)
        return 0;
    int err = cache_set(named->cache, cfg_cache_of(doc));
    do_purges(named, cfg_cache_of(doc)); /* these need no memory */
    if (err == 0)
        named->version = doc->version;
    return err;
}

int caches_apply(struct caches *caches, const struct cfg_store *store)
{
    const struct cfg_doc *doc = NULL;
    int err = 0;

    for (size_t i = caches->count; i > 0; i--) {
        struct named *named = &caches->at[i - 1];
        if (cfg_store_find(store, &cfg_kind_cache, named->name) != NULL)
            continue;
        leave(caches, named->cache);
        *named = caches->at[--caches->count];
    }
    while (err == 0 && (doc = cfg_store_next(store, &cfg_kind_cache, doc)) != NULL) {
        struct named *named = find(caches, doc->name);
        err = named != NULL ? update(named, doc) : add(caches, doc);
    }
    return err;
}
