/* Snapshots. What they share - sales, the list of them, rules, blocklist - belongs to the view, and
 * is freed with the last snapshot that has it: the one before the next.
 *
 * Sales are found by binary search over the sorted names, SKUs one by one (there are at most 100,
 * and mostly a handful). */
#include "gateway/config/snapshot.h"

#include "common/grow.h"
#include "common/sorted.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Sales. --- */

/* `"price":{…},"attributes":{…}`: the members of an object without its braces. */
static char *public_members(const struct cfg_sku_doc *doc)
{
    json_t *price = doc->amount[0] == '\0'
                        ? json_null()
                        : json_pack("{s:s, s:s}", "amount", doc->amount, "currency", doc->currency);
    json_t *object = json_pack("{s:o, s:O}", "price", price, "attributes", doc->attributes);
    char *text = object != NULL ? json_dumps(object, CFG_JSON_FLAGS) : NULL;
    json_decref(object);
    if (text == NULL)
        return NULL;
    size_t len = strlen(text);
    memmove(text, text + 1, len - 2);
    text[len - 2] = '\0';
    return text;
}

static void free_sale(struct cfg_sale *sale)
{
    if (sale == NULL)
        return;
    for (size_t i = 0; i < sale->sku_count; i++)
        free(sale->skus[i].public_members);
    free(sale->skus);
    free(sale->attributes);
    free(sale);
}

/* NULL: out of memory. */
static struct cfg_sale *new_sale(const char *name, const struct cfg_sale_doc *doc,
                                 const struct cfg_sale_state *state)
{
    struct cfg_sale *sale = calloc(1, sizeof *sale);
    if (sale == NULL)
        return NULL;
    (void)snprintf(sale->name, sizeof sale->name, "%s", name);
    sale->version = state->version;
    sale->opens_at_ms = doc->opens_at_ms;
    sale->closes_at_ms = doc->closes_at_ms;
    sale->draft = doc->opens_at_ms == INT64_MAX;
    sale->paused = state->paused;
    sale->ended = state->ended;
    sale->archived = state->archived;
    sale->rehearsal = doc->rehearsal;
    memcpy(sale->twin_of, doc->twin_of, sizeof sale->twin_of);
    sale->created_at_ms = state->created_at_ms;
    sale->cap = doc->cap;
    sale->ttl_ms = doc->ttl_s * 1000;
    sale->attributes = json_dumps(doc->attributes, CFG_JSON_FLAGS);
    sale->skus = calloc(doc->sku_count, sizeof *sale->skus);
    bool whole = sale->attributes != NULL && sale->skus != NULL;
    for (; whole && sale->sku_count < doc->sku_count; sale->sku_count++) {
        const struct cfg_sku_doc *from = &doc->skus[sale->sku_count];
        struct cfg_sku *sku = &sale->skus[sale->sku_count];
        memcpy(sku->name, from->name, sizeof sku->name);
        sku->cap = from->cap;
        sku->stock = from->stock;
        sku->public_members = public_members(from);
        whole = sku->public_members != NULL;
    }
    if (whole)
        return sale;
    free_sale(sale);
    return NULL;
}

static struct cfg_sale *copy_sale(const struct cfg_sale *from)
{
    struct cfg_sale *sale = malloc(sizeof *sale);
    if (sale == NULL)
        return NULL;
    *sale = *from;
    sale->sku_count = 0;
    sale->attributes = strdup(from->attributes);
    sale->skus = calloc(from->sku_count, sizeof *sale->skus);
    bool whole = sale->attributes != NULL && sale->skus != NULL;
    for (; whole && sale->sku_count < from->sku_count; sale->sku_count++) {
        struct cfg_sku *sku = &sale->skus[sale->sku_count];
        *sku = from->skus[sale->sku_count];
        sku->public_members = strdup(sku->public_members);
        whole = sku->public_members != NULL;
    }
    if (whole)
        return sale;
    free_sale(sale);
    return NULL;
}

enum cfg_phase cfg_sale_phase(const struct cfg_sale *sale, int64_t wall_ms)
{
    return cfg_phase_at(sale->opens_at_ms, sale->closes_at_ms, sale->paused, sale->ended, wall_ms);
}

int cfg_sale_sku(const struct cfg_sale *sale, const char *name, size_t len, uint32_t *ret_sku)
{
    for (uint32_t i = 0; i < sale->sku_count; i++) {
        if (ps_str_is((struct ps_str){name, len}, sale->skus[i].name)) {
            *ret_sku = i;
            return 0;
        }
    }
    return PS_E_NOT_FOUND;
}

static int compare_with_sale(const void *name, const void *sale)
{
    return ps_str_compare(*(const struct ps_str *)name,
                          ps_str((*(struct cfg_sale *const *)sale)->name));
}

static int compare_with_twin(const void *name, const void *sale)
{
    return ps_str_compare(*(const struct ps_str *)name,
                          ps_str((*(struct cfg_sale *const *)sale)->twin_of));
}

/* Its place in the sorted list, or where it belongs. */
static size_t place_of(struct cfg_sale *const *sales, size_t count, const char *name, size_t len,
                       bool *ret_there)
{
    const struct ps_str key = {name, len};

    return ps_sorted_place(&key, sales, count, sizeof *sales, compare_with_sale, ret_there);
}

/* --- The view. --- */

struct cfg_view {
    struct cfg_view_callbacks callbacks;
    struct cfg_snapshot *last;
    struct cfg_sale **sales; /* sorted by name */
    size_t sale_count, room;
    size_t twin_count; /* of the sales */
    struct cfg_sale *retired;
    uint32_t *free_indexes;
    size_t free_count;
    uint32_t index_end;
    struct cfg_limit_rule *rules;
    size_t rule_count;
    struct cfg_blocklist *blocklist;
    struct cfg_rehearsal_keys rehearsal_keys;
    bool sales_changed, rules_changed, blocklist_changed, pages_changed;
    bool decorates; /* all sales anew */
};

int cfg_view_new(struct cfg_view **ret_view)
{
    struct cfg_view *view = calloc(1, sizeof *view);
    if (view == NULL || cfg_blocklist_new(&view->blocklist) < 0) {
        free(view);
        return PS_E_NOMEM;
    }
    view->sales_changed = view->rules_changed = true;
    view->blocklist_changed = view->pages_changed = true;
    *ret_view = view;
    return 0;
}

void cfg_view_set_callbacks(struct cfg_view *view, const struct cfg_view_callbacks *callbacks)
{
    view->callbacks = *callbacks;
    view->decorates = true;
}

static void retire(struct cfg_view *view, struct cfg_sale *sale)
{
    sale->retired = view->retired;
    view->retired = sale;
}

static void free_retired(struct cfg_sale *sale)
{
    while (sale != NULL) {
        struct cfg_sale *next = sale->retired;
        free_sale(sale);
        sale = next;
    }
}

void cfg_view_free(struct cfg_view *view)
{
    if (view == NULL)
        return;
    free_retired(view->retired);
    for (size_t i = 0; i < view->sale_count; i++)
        free_sale(view->sales[i]);
    free(view->sales);
    free(view->free_indexes);
    free(view->rules);
    cfg_blocklist_free(view->blocklist);
    sodium_memzero(&view->rehearsal_keys, sizeof view->rehearsal_keys);
    free(view);
}

/* Room for one more sale, and for its index when it goes. */
static int make_room(struct cfg_view *view)
{
    size_t count = view->sale_count + 1, room = view->room;
    int err = ps_grow(&view->sales, &room, count, sizeof(struct cfg_sale *));

    return err < 0 ? err
                   : ps_grow(&view->free_indexes, &view->room, count, sizeof *view->free_indexes);
}

static void drop_sale(struct cfg_view *view, size_t place)
{
    struct cfg_sale *sale = view->sales[place];
    view->free_indexes[view->free_count++] = sale->index;
    view->twin_count -= cfg_sale_is_twin(sale);
    retire(view, sale);
    view->sale_count--;
    memmove(&view->sales[place], &view->sales[place + 1],
            (view->sale_count - place) * sizeof(struct cfg_sale *));
    view->sales_changed = true;
}

/* Brings the SKUs into the order of the log: the place that each got there when its stock landed.
 * It is that of the document, unless a disk failed in the middle of the opening. */
static void order_skus(const struct cfg_view *view, struct cfg_sale *sale)
{
    for (uint32_t place = 0; place < sale->sku_count; place++) {
        const char *name = view->callbacks.log_sku(sale->log_sale, place);
        for (size_t i = place + 1; name != NULL && i < sale->sku_count; i++) {
            struct cfg_sku sku = sale->skus[i];
            if (strcmp(sku.name, name) != 0)
                continue;
            sale->skus[i] = sale->skus[place];
            sale->skus[place] = sku;
            break;
        }
    }
}

static struct cfg_sale_run run_of(const struct cfg_view *view, const char *name)
{
    struct cfg_sale_run run = {0};
    if (view->callbacks.decorate != NULL)
        view->callbacks.decorate(view->callbacks.ctx, name, &run);
    return run;
}

static void set_run(const struct cfg_view *view, struct cfg_sale *sale,
                    const struct cfg_sale_run *run)
{
    sale->counter = run->counter;
    sale->log_sale = run->log_sale;
    sale->epoch = run->epoch;
    sale->fenced = run->fenced;
    sale->unserved = run->unserved;
    sale->archived |= run->archived;
    if (sale->log_sale != NULL)
        order_skus(view, sale);
}

int cfg_view_put_sale(struct cfg_view *view, const char *name, const struct cfg_sale_doc *doc,
                      const struct cfg_sale_state *state)
{
    bool there;
    size_t place = place_of(view->sales, view->sale_count, name, strlen(name), &there);
    if (doc == NULL) {
        if (there)
            drop_sale(view, place);
        return 0;
    }
    struct cfg_sale *sale = new_sale(name, doc, state);
    if (sale == NULL || (!there && make_room(view) < 0)) {
        free_sale(sale);
        return PS_E_NOMEM;
    }
    if (there) {
        sale->index = view->sales[place]->index;
        view->twin_count -= cfg_sale_is_twin(view->sales[place]);
        retire(view, view->sales[place]);
    } else {
        sale->index =
            view->free_count > 0 ? view->free_indexes[--view->free_count] : view->index_end++;
        memmove(&view->sales[place + 1], &view->sales[place],
                (view->sale_count - place) * sizeof(struct cfg_sale *));
        view->sale_count++;
    }
    view->twin_count += cfg_sale_is_twin(sale);
    struct cfg_sale_run run = run_of(view, name);
    set_run(view, sale, &run);
    view->sales[place] = sale;
    view->sales_changed = true;
    return 0;
}

void cfg_view_set_rules(struct cfg_view *view, struct cfg_limit_rule *rules, size_t count)
{
    free(view->rules);
    view->rules = rules;
    view->rule_count = count;
    view->rules_changed = true;
}

void cfg_view_set_rehearsal_keys(struct cfg_view *view, const struct cfg_rehearsal_keys *keys)
{
    view->rehearsal_keys = *keys;
}

void cfg_view_pages_changed(struct cfg_view *view)
{
    view->pages_changed = true;
}

struct cfg_blocklist *cfg_view_blocklist(struct cfg_view *view)
{
    view->blocklist_changed = true;
    return view->blocklist;
}

/* --- Building. --- */

/* A sale that is in a snapshot is not changed: a copy takes its place. */
static int decorate(struct cfg_view *view, struct cfg_sale **place)
{
    struct cfg_sale *sale = *place, *copy;
    struct cfg_sale_run run = run_of(view, sale->name);
    if (sale->counter == run.counter && sale->log_sale == run.log_sale &&
        sale->epoch == run.epoch && sale->fenced == run.fenced && sale->unserved == run.unserved &&
        sale->archived == (sale->archived || run.archived))
        return 0;
    copy = copy_sale(sale);
    if (copy == NULL)
        return PS_E_NOMEM;
    set_run(view, copy, &run);
    retire(view, sale);
    *place = copy;
    view->sales_changed = true;
    return 0;
}

void cfg_view_decorate(struct cfg_view *view, const char *sale)
{
    bool there = false;
    size_t place = 0;

    if (sale != NULL)
        place = place_of(view->sales, view->sale_count, sale, strlen(sale), &there);
    if (sale == NULL || (there && decorate(view, &view->sales[place]) < 0))
        view->decorates = true;
}

static int decorate_sales(struct cfg_view *view)
{
    for (size_t i = 0; view->decorates && i < view->sale_count; i++)
        if (decorate(view, &view->sales[i]) < 0)
            return PS_E_NOMEM;
    view->decorates = false;
    return 0;
}

static void free_limits(struct cfg_limits *limits)
{
    if (limits == NULL)
        return;
    if (limits->free_compiled != NULL)
        limits->free_compiled(limits->compiled);
    free(limits->rules);
    free(limits);
}

static struct cfg_limits *new_limits(const struct cfg_view *view)
{
    struct cfg_limits *limits = calloc(1, sizeof *limits);
    if (limits == NULL)
        return NULL;
    limits->count = view->rule_count;
    /* One place more than is used: calloc may give NULL for none. */
    limits->rules = calloc(view->rule_count + 1, sizeof *limits->rules);
    if (limits->rules != NULL && view->rule_count > 0)
        memcpy(limits->rules, view->rules, view->rule_count * sizeof *limits->rules);
    if (limits->rules != NULL && view->callbacks.compile != NULL) {
        limits->compiled = view->callbacks.compile(limits->rules, limits->count);
        limits->free_compiled = view->callbacks.free_compiled;
    }
    if (limits->rules == NULL || (view->callbacks.compile != NULL && limits->compiled == NULL)) {
        limits->free_compiled = NULL;
        free_limits(limits);
        return NULL;
    }
    return limits;
}

/* By twin_of; the newest one of a sale first. Names decide where clocks do not. */
static int compare_twins(const void *a, const void *b)
{
    const struct cfg_sale *x = *(struct cfg_sale *const *)a, *y = *(struct cfg_sale *const *)b;
    int order = strcmp(x->twin_of, y->twin_of);
    if (order == 0)
        order = (x->created_at_ms < y->created_at_ms) - (x->created_at_ms > y->created_at_ms);
    return order != 0 ? order : strcmp(y->name, x->name);
}

/* Of each sale the newest twin; their number. */
static size_t list_twins(const struct cfg_view *view, struct cfg_sale **ret_twins)
{
    size_t count = 0, kept = 0;
    for (size_t i = 0; count < view->twin_count; i++)
        if (cfg_sale_is_twin(view->sales[i]))
            ret_twins[count++] = view->sales[i];
    if (count > 1)
        qsort(ret_twins, count, sizeof *ret_twins, compare_twins);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(ret_twins[kept - 1]->twin_of, ret_twins[i]->twin_of) != 0)
            ret_twins[kept++] = ret_twins[i];
    return kept;
}

/* The list of sales, and behind it that of the twins. */
static struct cfg_sale **copy_lists(const struct cfg_view *view, size_t *ret_twin_count)
{
    struct cfg_sale **sales = calloc(view->sale_count + view->twin_count + 1, sizeof *sales);
    if (sales == NULL)
        return NULL;
    if (view->sale_count > 0)
        memcpy(sales, view->sales, view->sale_count * sizeof *sales);
    *ret_twin_count = list_twins(view, sales + view->sale_count);
    return sales;
}

/* What the last snapshot has and `next` has not goes with the last one. */
static void hand_over(struct cfg_view *view, struct cfg_snapshot *next)
{
    struct cfg_snapshot *last = view->last;
    if (last != NULL) {
        last->retired.first_sale = view->retired;
        last->retired.sales = next->sales != last->sales ? last->sales : NULL;
        last->retired.limits = next->limits != last->limits ? last->limits : NULL;
        last->retired.blocklist = next->blocklist != last->blocklist ? last->blocklist : NULL;
        last->retired.pages = next->pages != last->pages ? last->pages : NULL;
    } else {
        free_retired(view->retired);
    }
    view->retired = NULL;
    view->last = next;
    view->sales_changed = view->rules_changed = false;
    view->blocklist_changed = view->pages_changed = false;
    /* The last of all frees what nobody takes over. */
    next->retired.sales = next->sales;
    next->retired.limits = next->limits;
    next->retired.blocklist = next->blocklist;
    next->retired.pages = next->pages;
}

/* New pages, or those of the last snapshot. False: out of memory. */
static bool take_pages(const struct cfg_view *view, struct cfg_snapshot *next)
{
    const struct cfg_view_callbacks *callbacks = &view->callbacks;

    next->drop_pages = callbacks->drop_pages;
    if (!view->pages_changed)
        next->pages = view->last->pages;
    else if (callbacks->pages != NULL)
        next->pages = callbacks->pages(callbacks->ctx);
    return callbacks->pages == NULL || next->pages != NULL;
}

static void free_pages(const struct cfg_snapshot *snapshot, void *pages)
{
    if (pages != NULL && snapshot->drop_pages != NULL)
        snapshot->drop_pages(pages);
}

int cfg_view_snapshot(struct cfg_view *view, int64_t version, int64_t revision,
                      struct cfg_snapshot **ret_snapshot)
{
    const struct cfg_snapshot *last = view->last;
    struct cfg_snapshot *next;
    if (decorate_sales(view) < 0)
        return PS_E_NOMEM;
    next = calloc(1, sizeof *next);
    if (next == NULL)
        return PS_E_NOMEM;
    next->version = version;
    next->revision = revision;
    next->sale_count = view->sale_count;
    next->index_end = view->index_end;
    next->twin_count = last != NULL ? last->twin_count : 0;
    next->sales = view->sales_changed ? copy_lists(view, &next->twin_count) : last->sales;
    next->limits = view->rules_changed ? new_limits(view) : last->limits;
    next->blocklist =
        view->blocklist_changed ? cfg_blocklist_freeze(view->blocklist) : last->blocklist;
    bool whole = take_pages(view, next);
    if (!whole || next->sales == NULL || next->limits == NULL || next->blocklist == NULL) {
        if (view->sales_changed)
            free(next->sales);
        if (view->rules_changed)
            free_limits(next->limits);
        if (view->blocklist_changed)
            cfg_blocklist_free(next->blocklist);
        if (view->pages_changed)
            free_pages(next, next->pages);
        free(next);
        return PS_E_NOMEM;
    }
    next->twins = next->sales + next->sale_count;
    next->rehearsal_keys = view->rehearsal_keys;
    hand_over(view, next);
    *ret_snapshot = next;
    return 0;
}

void cfg_snapshot_free(struct cfg_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    free_retired(snapshot->retired.first_sale);
    free(snapshot->retired.sales);
    free_limits(snapshot->retired.limits);
    cfg_blocklist_free(snapshot->retired.blocklist);
    free_pages(snapshot, snapshot->retired.pages);
    sodium_memzero(&snapshot->rehearsal_keys, sizeof snapshot->rehearsal_keys);
    free(snapshot);
}

const struct cfg_sale *cfg_snapshot_sale(const struct cfg_snapshot *snapshot, const char *name,
                                         size_t len)
{
    bool there;
    size_t place = place_of(snapshot->sales, snapshot->sale_count, name, len, &there);
    return there ? snapshot->sales[place] : NULL;
}

const struct cfg_sale *cfg_snapshot_twin(const struct cfg_snapshot *snapshot, const char *name,
                                         size_t len)
{
    const struct ps_str key = {name, len};
    struct cfg_sale *const *twin = ps_sorted_find(&key, snapshot->twins, snapshot->twin_count,
                                                  sizeof *twin, compare_with_twin);

    if (twin != NULL)
        return *twin;
    const struct cfg_sale *sale = cfg_snapshot_sale(snapshot, name, len);
    return sale != NULL && cfg_sale_is_twin(sale) ? sale : NULL;
}
