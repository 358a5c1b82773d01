/* The gate that every list of endpoints passes, and the sources by pool.
 *
 * Invariants: `have` changes only in take_list(), which calls `changed`. A held list is dropped as
 * soon as its source fails, so a list that is used after UP_HELD_MS was valid all that time. */
#include "gateway/upstream/discovery_internal.h"

#include "common/grow.h"
#include "common/program/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const up_discovery_state_names[] = {"waiting", "ok", "failed", "held", NULL};

struct up_discovery {
    struct up_discovery_settings settings;
    LIST_HEAD(, up_source) sources;
};

/* Registrations arrive by up_discovery_offer: there is nothing to start or stop. */
static const struct up_source_kind registration = {.name = "registration"};

static const struct up_source_kind *const kinds[] = {[CFG_DISCOVERY_NONE] = NULL,
                                                     [CFG_DISCOVERY_FILE] = &up_source_file,
                                                     [CFG_DISCOVERY_DNS] = &up_source_dns,
                                                     [CFG_DISCOVERY_SRV] = &up_source_srv,
                                                     [CFG_DISCOVERY_REGISTRATION] = &registration};

/* --- Lists. --- */

int up_found_add(struct up_found *found, const struct cfg_endpoint *endpoint)
{
    if (ps_grow(&found->at, &found->room, found->count + 1, sizeof *found->at) < 0)
        return PS_E_NOMEM;
    found->at[found->count++] = *endpoint;
    return 0;
}

void up_found_free(struct up_found *found)
{
    free(found->at);
    *found = (struct up_found){0};
}

static int by_address(const void *a, const void *b)
{
    return strcmp(((const struct cfg_endpoint *)a)->address,
                  ((const struct cfg_endpoint *)b)->address);
}

/* Sorts the list by address and keeps the heaviest of equal addresses. */
static void tidy(struct up_found *found)
{
    size_t kept = 0;

    if (found->count > 1)
        qsort(found->at, found->count, sizeof *found->at, by_address);
    for (size_t i = 0; i < found->count; i++) {
        if (kept == 0 || strcmp(found->at[kept - 1].address, found->at[i].address) != 0)
            found->at[kept++] = found->at[i];
        else if (found->at[kept - 1].weight < found->at[i].weight)
            found->at[kept - 1] = found->at[i];
    }
    found->count = kept;
}

static bool is_same(const struct up_found *a, const struct up_found *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->at[i].address, b->at[i].address) != 0 || a->at[i].weight != b->at[i].weight ||
            a->at[i].drain != b->at[i].drain)
            return false;
    return true;
}

/* Removes the addresses that the gateway may not connect to. `ret_why` gets the reason for the
 * first of them by address, or "" if none was removed. */
static void keep_allowed(const struct up_discovery *discovery, struct up_found *found,
                         char ret_why[UP_DISCOVERY_WHY])
{
    char first[CFG_ENDPOINT_SIZE] = "";
    const char *why = NULL;
    size_t kept = 0, count = found->count;

    for (size_t i = 0; i < count; i++) {
        const char *refusal = cfg_endpoint_refusal(&found->at[i], discovery->settings.bounds);
        if (refusal == NULL)
            found->at[kept++] = found->at[i];
        else if (why == NULL) {
            memcpy(first, found->at[i].address, sizeof first);
            why = refusal;
        }
    }
    found->count = kept;
    ret_why[0] = '\0';
    if (why != NULL)
        (void)snprintf(ret_why, UP_DISCOVERY_WHY, "left out %zu of %zu endpoints: %s %s%s",
                       count - kept, count, first, why,
                       count - kept > 1 ? "; others are left out, too" : "");
}

bool up_discovery_is_enough(size_t count, size_t last, double shrink_share_min)
{
    return (double)count >= shrink_share_min * (double)last;
}

/* --- What is known of a source. --- */

static int64_t wall_ms(const struct up_source *source)
{
    return ps_clock_wall_ms(source->discovery->settings.clock);
}

/* Logs a change of the state. */
static void set_state(struct up_source *source, enum up_discovery_state state, int64_t next_ms,
                      const char *why)
{
    struct up_discovery_view *view = &source->view;
    enum up_discovery_state from = view->state;
    bool news = from != state || strcmp(source->why, why) != 0;

    view->next_ms = next_ms > 0 ? wall_ms(source) + next_ms : 0;
    if (from != state)
        view->since_ms = wall_ms(source);
    view->state = state;
    if (!news)
        return;
    (void)snprintf(source->why, sizeof source->why, "%s", why);
    const char *pool = source->doc->name;
    if (state == UP_DISCOVERY_FAILED)
        ps_log(PS_LOG_WARN, "discovery_failed", PS_F_STR("pool", pool),
               PS_F_STR("source", source->kind->name), PS_F_STR("why", why),
               PS_F_INT("endpoints", source->have.count));
    else if (state == UP_DISCOVERY_HELD && from != state)
        ps_log(PS_LOG_WARN, "discovery_held", PS_F_STR("pool", pool),
               PS_F_STR("source", source->kind->name), PS_F_STR("why", why),
               PS_F_INT("endpoints", source->have.count));
    else if (state == UP_DISCOVERY_OK && why[0] != '\0')
        ps_log(PS_LOG_WARN, "discovery_left_out", PS_F_STR("pool", pool),
               PS_F_STR("source", source->kind->name), PS_F_STR("why", why));
}

/* --- The gate. --- */

static void drop_held(struct up_source *source)
{
    up_found_free(&source->held);
    uv_timer_stop(&source->holding);
}

/* Makes `found` the list in force; takes its memory. */
static void take_list(struct up_source *source, struct up_found *found, int64_t next_ms,
                      const char *why)
{
    struct up_discovery *discovery = source->discovery;
    struct up_found old = source->have;
    struct up_found accepted = *found;
    bool news = !is_same(&old, &accepted);
    enum up_discovery_state from = source->view.state;
    char pool[PS_NAME_MAX + 1];

    *found = (struct up_found){0};
    drop_held(source);
    source->is_baseline = true;
    source->have = accepted;
    source->view.endpoint_count = accepted.count;
    source->view.good_ms = wall_ms(source);
    up_found_free(&old);
    set_state(source, UP_DISCOVERY_OK, next_ms, why);
    if (news || from == UP_DISCOVERY_FAILED)
        ps_log(PS_LOG_INFO, "discovery_ok", PS_F_STR("pool", source->doc->name),
               PS_F_STR("source", source->kind->name), PS_F_INT("endpoints", accepted.count));
    if (!news)
        return;
    memcpy(pool, source->doc->name, sizeof pool);
    discovery->settings.changed(discovery->settings.ctx, pool);
}

static void on_held_long_enough(uv_timer_t *timer)
{
    struct up_source *source = timer->data;

    take_list(source, &source->held, 0, "");
}

static void hold(struct up_source *source, struct up_found *found)
{
    char why[UP_DISCOVERY_WHY];
    bool holds = uv_is_active((uv_handle_t *)&source->holding);

    (void)snprintf(why, sizeof why,
                   "%zu of %zu endpoints are left, less than shrink_share_min %g of them: the "
                   "previous list stays in force for %g s",
                   found->count, source->have.count, source->doc->discovery.shrink_share_min,
                   (double)source->discovery->settings.held_ms / 1000);
    up_found_free(&source->held);
    source->held = *found;
    *found = (struct up_found){0};
    if (!holds)
        uv_timer_start(&source->holding, on_held_long_enough,
                       (uint64_t)source->discovery->settings.held_ms, 0);
    set_state(source, UP_DISCOVERY_HELD, (int64_t)uv_timer_get_due_in(&source->holding), why);
}

static void judge(struct up_source *source, struct up_found *found, int64_t next_ms,
                  bool may_be_empty, bool deliberate)
{
    char why[UP_DISCOVERY_WHY];

    tidy(found); /* the same endpoints in another order give the same reason */
    keep_allowed(source->discovery, found, why);
    if (found->count > CFG_ENDPOINTS_MAX)
        up_source_fail(source, next_ms, "it names %zu endpoints; a pool has at most %d",
                       found->count, CFG_ENDPOINTS_MAX);
    else if (found->count == 0 && !may_be_empty)
        up_source_fail(source, next_ms, "%s", why[0] != '\0' ? why : "it names no endpoint");
    else if (deliberate || !source->is_baseline ||
             up_discovery_is_enough(found->count, source->have.count,
                                    source->doc->discovery.shrink_share_min))
        take_list(source, found, next_ms, why);
    else
        hold(source, found);
}

void up_source_report(struct up_source *source, struct up_found *found, int64_t next_ms)
{
    struct up_found list = *found;

    *found = (struct up_found){0};
    judge(source, &list, next_ms, false, false);
    up_found_free(&list);
}

void up_source_fail(struct up_source *source, int64_t next_ms, const char *fmt, ...)
{
    char why[UP_DISCOVERY_WHY];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    drop_held(source);
    source->view.failures++;
    set_state(source, UP_DISCOVERY_FAILED, next_ms, why);
}

/* --- Sources by pool. --- */

static struct up_source *find(const struct up_discovery *discovery, const char *pool)
{
    struct up_source *source = LIST_FIRST(&discovery->sources);

    while (source != NULL && strcmp(source->doc->name, pool) != 0)
        source = LIST_NEXT(source, next);
    return source;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void stop(struct up_source *source)
{
    if (source->state != NULL)
        source->kind->stop(source->state);
    source->state = NULL;
}

static void free_source(struct up_source *source)
{
    LIST_REMOVE(source, next);
    stop(source);
    up_found_free(&source->have);
    up_found_free(&source->held);
    cfg_pool_drop(source->doc);
    uv_close((uv_handle_t *)&source->holding, on_closed);
}

static bool is_same_source(const struct cfg_pool *a, const struct cfg_pool *b)
{
    const char *from = a->discovery.from, *other = b->discovery.from;

    return a->discovery.by == b->discovery.by && a->discovery.port == b->discovery.port &&
           (from == NULL || other == NULL ? from == other : strcmp(from, other) == 0);
}

static struct up_source *new_source(struct up_discovery *discovery, const struct cfg_pool *doc)
{
    struct up_source *source = calloc(1, sizeof *source);

    if (source == NULL)
        return NULL;
    source->discovery = discovery;
    source->doc = cfg_pool_keep((struct cfg_pool *)(uintptr_t)doc);
    source->kind = kinds[doc->discovery.by];
    uv_timer_init(discovery->settings.loop, &source->holding);
    source->holding.data = source;
    source->view.since_ms = wall_ms(source);
    source->view.source = source->kind->name;
    source->view.why = source->why;
    LIST_INSERT_HEAD(&discovery->sources, source, next);
    return source;
}

/* The endpoints found so far stay until the new source reports. */
static int start(struct up_source *source)
{
    drop_held(source);
    source->kind = kinds[source->doc->discovery.by];
    source->is_baseline = false;
    source->view.source = source->kind->name;
    source->view.good_ms = source->view.failures = 0;
    set_state(source, UP_DISCOVERY_WAITING, 0, "");
    return source->kind->start != NULL ? source->kind->start(source, &source->state) : 0;
}

int up_discovery_set(struct up_discovery *discovery, const struct cfg_pool *doc)
{
    struct up_source *source = find(discovery, doc->name);
    bool is_new = source == NULL;

    if (doc->discovery.by == CFG_DISCOVERY_NONE) {
        if (source != NULL)
            free_source(source);
        return 0;
    }
    if (is_new)
        source = new_source(discovery, doc);
    if (source == NULL)
        return PS_E_NOMEM;
    if (!is_new && source->doc == doc)
        return 0;
    bool continues = !is_new && is_same_source(source->doc, doc);
    if (!is_new) {
        cfg_pool_drop(source->doc);
        source->doc = cfg_pool_keep((struct cfg_pool *)(uintptr_t)doc);
    }
    if (continues) {
        if (source->view.state == UP_DISCOVERY_HELD)
            on_held_long_enough(&source->holding);
        return 0;
    }
    stop(source);
    int err = start(source);
    if (err < 0)
        free_source(source);
    return err;
}

void up_discovery_drop(struct up_discovery *discovery, const char *pool)
{
    struct up_source *source = find(discovery, pool);

    if (source != NULL)
        free_source(source);
}

int up_discovery_offer(struct up_discovery *discovery, const char *pool,
                       const struct cfg_endpoint *endpoints, size_t count, bool deliberate)
{
    struct up_source *source = find(discovery, pool);
    struct up_found found = {0};
    int err = 0;

    if (source == NULL || source->kind != &registration)
        return 0;
    for (size_t i = 0; i < count && err == 0; i++)
        err = up_found_add(&found, &endpoints[i]);
    if (err == 0)
        judge(source, &found, 0, true, deliberate);
    up_found_free(&found);
    return err;
}

void up_discovery_fail(struct up_discovery *discovery, const char *pool, const char *why)
{
    struct up_source *source = find(discovery, pool);

    if (source != NULL && source->kind == &registration)
        up_source_fail(source, 0, "%s", why);
}

const struct cfg_endpoint *up_discovery_endpoints(const struct up_discovery *discovery,
                                                  const char *pool, size_t *ret_count)
{
    const struct up_source *source = find(discovery, pool);

    *ret_count = source != NULL ? source->have.count : 0;
    return source != NULL ? source->have.at : NULL;
}

bool up_discovery_view(const struct up_discovery *discovery, const char *pool,
                       struct up_discovery_view *ret_view)
{
    const struct up_source *source = find(discovery, pool);

    if (source == NULL)
        return false;
    *ret_view = source->view;
    return true;
}

const struct up_discovery_settings *up_source_settings(const struct up_source *source)
{
    return &source->discovery->settings;
}

int up_discovery_new(const struct up_discovery_settings *settings,
                     struct up_discovery **ret_discovery)
{
    struct up_discovery *discovery = calloc(1, sizeof *discovery);
    int err = discovery != NULL ? up_dns_init() : PS_E_NOMEM;

    if (err < 0) {
        free(discovery);
        return err;
    }
    discovery->settings = *settings;
    if (settings->held_ms == 0)
        discovery->settings.held_ms = UP_HELD_MS;
    LIST_INIT(&discovery->sources);
    *ret_discovery = discovery;
    return 0;
}

void up_discovery_free(struct up_discovery *discovery)
{
    struct up_source *source;

    if (discovery == NULL)
        return;
    while ((source = LIST_FIRST(&discovery->sources)) != NULL)
        free_source(source);
    up_dns_done();
    free(discovery);
}
