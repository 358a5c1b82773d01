/* Builds snapshots. What snapshots share (sales, the list of them, rules, blocklist, pages) belongs
 * to the view, and is freed with the last snapshot that has it: the one before the next. */
#include "gateway/snapshot/view.h"

#include "common/grow.h"
#include "common/sorted.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static int compare_with_sale(const void *name, const void *sale)
{
    return strcmp(name, (*(struct snap_sale *const *)sale)->name);
}

struct snap_view {
    struct snapshot *last;
    struct snap_sale **sales; /* sorted by name */
    size_t sale_count, room;
    size_t twin_count; /* of the sales */
    struct snap_sale *retired;
    size_t workers;
    struct snap_figures *free_figures;
    uint32_t *free_indexes;
    size_t free_count;
    uint32_t index_end;
    struct adm_limit_set *limits;
    struct adm_blocklist *blocklist;
    struct adm_watches *watches;
    struct up_table *up_table;
    struct cfg_rehearsal_keys rehearsal_keys;
    struct cfg_ref_keys ref_keys;
    bool sales_changed, limits_changed, blocklist_changed, watches_changed,
        up_table_changed; /* since the last one */
};

int snap_view_new(size_t workers, struct snap_view **ret_view)
{
    struct snap_view *view = calloc(1, sizeof *view);
    if (view == NULL || adm_blocklist_new(&view->blocklist) < 0 ||
        (view->limits = adm_limit_set_new(NULL, 0, NULL)) == NULL) {
        adm_blocklist_free(view != NULL ? view->blocklist : NULL);
        free(view);
        return PS_E_NOMEM;
    }
    view->workers = workers;
    view->sales_changed = view->limits_changed = true;
    view->blocklist_changed = view->up_table_changed = true;
    *ret_view = view;
    return 0;
}

/* Its index in the sorted list, or where to insert it. */
static size_t place_of(const struct snap_view *view, const char *name, bool *ret_there)
{
    return ps_sorted_place(name, view->sales, view->sale_count, sizeof *view->sales,
                           compare_with_sale, ret_there);
}

static void retire(struct snap_view *view, struct snap_sale *sale)
{
    sale->retired = view->retired;
    view->retired = sale;
}

const struct snapshot *snap_view_last(const struct snap_view *view)
{
    return view->last;
}

void snap_view_free(struct snap_view *view)
{
    if (view == NULL)
        return;
    snapshot_free_retired(view->retired);
    for (size_t i = 0; i < view->sale_count; i++) {
        snap_figures_free(view->sales[i]->figures);
        snap_sale_free(view->sales[i]);
    }
    struct snap_figures *figures;
    while ((figures = snap_figures_pop(&view->free_figures)) != NULL)
        snap_figures_free(figures);
    free(view->sales);
    free(view->free_indexes);
    if (view->limits_changed)
        adm_limit_set_free(view->limits);
    if (view->watches_changed)
        adm_watches_free(view->watches);
    if (view->up_table_changed)
        up_table_drop(view->up_table);
    adm_blocklist_free(view->blocklist);
    sodium_memzero(&view->rehearsal_keys, sizeof view->rehearsal_keys);
    sodium_memzero(&view->ref_keys, sizeof view->ref_keys);
    free(view);
}

/* Room for one more sale, and for its index when it is deleted. */
static int make_room(struct snap_view *view)
{
    size_t count = view->sale_count + 1, room = view->room;
    int err = ps_grow(&view->sales, &room, count, sizeof(struct snap_sale *));

    return err < 0 ? err
                   : ps_grow(&view->free_indexes, &view->room, count, sizeof *view->free_indexes);
}

static void drop_sale(struct snap_view *view, size_t place)
{
    struct snap_sale *sale = view->sales[place];
    view->free_indexes[view->free_count++] = sale->index;
    view->twin_count -= snap_sale_is_twin(sale);
    if (sale->figures != NULL)
        snap_figures_push(&view->free_figures, sale->figures);
    retire(view, sale);
    view->sale_count--;
    memmove(&view->sales[place], &view->sales[place + 1],
            (view->sale_count - place) * sizeof(struct snap_sale *));
    view->sales_changed = true;
}

int snap_view_put_sale(struct snap_view *view, const char *name, const struct cfg_sale_doc *doc,
                       const struct cfg_sale_state *state)
{
    bool there;
    size_t place = place_of(view, name, &there);
    if (doc == NULL) {
        if (there)
            drop_sale(view, place);
        return 0;
    }
    struct snap_sale *sale = snap_sale_new(name, doc, state);
    if (sale == NULL || (!there && make_room(view) < 0)) {
        snap_sale_free(sale);
        return PS_E_NOMEM;
    }
    if (there) {
        struct snap_sale *old = view->sales[place];
        struct snap_sale_run run = {.counter = old->counter,
                                    .log_sale = old->log_sale,
                                    .epoch = old->epoch,
                                    .fenced = old->fenced,
                                    .unserved = old->unserved};
        snap_sale_set_run(sale, &run);
        sale->index = old->index;
        sale->figures = old->figures;
        view->twin_count -= snap_sale_is_twin(old);
        retire(view, old);
    } else {
        sale->index =
            view->free_count > 0 ? view->free_indexes[--view->free_count] : view->index_end++;
        memmove(&view->sales[place + 1], &view->sales[place],
                (view->sale_count - place) * sizeof(struct snap_sale *));
        view->sale_count++;
    }
    view->twin_count += snap_sale_is_twin(sale);
    view->sales[place] = sale;
    view->sales_changed = true;
    return 0;
}

/* A sale has figures from its first counter until it is archived. Out of memory: nothing is
 * counted.
 */
static void follow_figures(struct snap_view *view, struct snap_sale *sale)
{
    bool needed = sale->counter != NULL && !sale->archived;

    if (needed && sale->figures == NULL) {
        sale->figures = snap_figures_pop(&view->free_figures);
        if (sale->figures == NULL)
            sale->figures = snap_figures_new(view->workers);
        else
            snap_figures_reset(sale->figures);
    } else if (!needed && sale->figures != NULL) {
        snap_figures_push(&view->free_figures, sale->figures);
        sale->figures = NULL;
    }
}

int snap_view_set_run(struct snap_view *view, const char *name, const struct snap_sale_run *run)
{
    bool there;
    size_t place = place_of(view, name, &there);

    if (!there || snap_sale_is_run(view->sales[place], run))
        return 0;
    /* A snapshot may have the sale: replaces it by a copy. */
    struct snap_sale *copy = snap_sale_copy(view->sales[place]);
    if (copy == NULL)
        return PS_E_NOMEM;
    snap_sale_set_run(copy, run);
    follow_figures(view, copy);
    retire(view, view->sales[place]);
    view->sales[place] = copy;
    view->sales_changed = true;
    return 0;
}

int snap_view_set_rules(struct snap_view *view, const struct cfg_limit_rule *rules, size_t count)
{
    struct adm_limit_set *limits = adm_limit_set_new(rules, count, view->limits);

    if (limits == NULL)
        return PS_E_NOMEM;
    if (view->limits_changed) /* no snapshot has them */
        adm_limit_set_free(view->limits);
    view->limits = limits;
    view->limits_changed = true;
    return 0;
}

int snap_view_set_watches(struct snap_view *view, const char *const *users, size_t count)
{
    struct adm_watches *watches;
    int err = adm_watches_new(users, count, view->watches, &watches);

    if (err < 0)
        return err;
    if (view->watches_changed) /* no snapshot has them */
        adm_watches_free(view->watches);
    view->watches = watches;
    view->watches_changed = true;
    return 0;
}

void snap_view_set_rehearsal_keys(struct snap_view *view, const struct cfg_rehearsal_keys *keys)
{
    view->rehearsal_keys = *keys;
}

void snap_view_set_ref_keys(struct snap_view *view, const struct cfg_ref_keys *keys)
{
    view->ref_keys = *keys;
}

void snap_view_set_up_table(struct snap_view *view, struct up_table *up_table)
{
    if (view->up_table_changed)
        up_table_drop(view->up_table);
    view->up_table = up_table;
    view->up_table_changed = true;
}

struct adm_blocklist *snap_view_blocklist(struct snap_view *view)
{
    view->blocklist_changed = true;
    return view->blocklist;
}

/* --- Building. --- */

/* By twin_of; the newest one of a sale first. Names decide if clocks do not. */
static int compare_twins(const void *a, const void *b)
{
    const struct snap_sale *x = *(struct snap_sale *const *)a, *y = *(struct snap_sale *const *)b;
    int order = strcmp(x->twin_of, y->twin_of);
    if (order == 0)
        order = (x->created_at_ms < y->created_at_ms) - (x->created_at_ms > y->created_at_ms);
    return order != 0 ? order : strcmp(y->name, x->name);
}

/* The newest twin of each sale; returns how many. */
static size_t list_twins(const struct snap_view *view, struct snap_sale **ret_twins)
{
    size_t count = 0, kept = 0;
    for (size_t i = 0; count < view->twin_count; i++)
        if (snap_sale_is_twin(view->sales[i]))
            ret_twins[count++] = view->sales[i];
    if (count > 1)
        qsort(ret_twins, count, sizeof *ret_twins, compare_twins);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(ret_twins[kept - 1]->twin_of, ret_twins[i]->twin_of) != 0)
            ret_twins[kept++] = ret_twins[i];
    return kept;
}

/* The list of sales, and behind it that of the twins. */
static struct snap_sale **copy_lists(const struct snap_view *view, size_t *ret_twin_count)
{
    struct snap_sale **sales = calloc(view->sale_count + view->twin_count + 1, sizeof *sales);
    if (sales == NULL)
        return NULL;
    if (view->sale_count > 0)
        memcpy(sales, view->sales, view->sale_count * sizeof *sales);
    *ret_twin_count = list_twins(view, sales + view->sale_count);
    return sales;
}

/* What the last snapshot has and `next` has not is freed with the last one. */
static void hand_over(struct snap_view *view, struct snapshot *next)
{
    struct snapshot *last = view->last;
    if (last != NULL) {
        last->retired.first_sale = view->retired;
        last->retired.sales = next->sales != last->sales ? last->sales : NULL;
        last->retired.limits = next->limits != last->limits ? last->limits : NULL;
        last->retired.blocklist = next->blocklist != last->blocklist ? last->blocklist : NULL;
        last->retired.watches = next->watches != last->watches ? last->watches : NULL;
        last->retired.up_table = next->up_table != last->up_table ? last->up_table : NULL;
    } else {
        snapshot_free_retired(view->retired);
    }
    view->retired = NULL;
    view->last = next;
    view->sales_changed = view->limits_changed = false;
    view->blocklist_changed = view->watches_changed = view->up_table_changed = false;
    /* The last of all frees what nobody takes over. */
    next->retired.sales = next->sales;
    next->retired.limits = next->limits;
    next->retired.blocklist = next->blocklist;
    next->retired.watches = next->watches;
    next->retired.up_table = next->up_table;
}

int snap_view_snapshot(struct snap_view *view, int64_t version, int64_t revision,
                       struct snapshot **ret_snapshot)
{
    const struct snapshot *last = view->last;
    struct snapshot *next;

    next = calloc(1, sizeof *next);
    if (next == NULL)
        return PS_E_NOMEM;
    next->version = version;
    next->revision = revision;
    next->sale_count = view->sale_count;
    next->index_end = view->index_end;
    next->twin_count = last != NULL ? last->twin_count : 0;
    next->sales = view->sales_changed ? copy_lists(view, &next->twin_count) : last->sales;
    next->limits = view->limits;
    next->up_table = view->up_table;
    next->watches = view->watches;
    next->blocklist =
        view->blocklist_changed ? adm_blocklist_freeze(view->blocklist) : last->blocklist;
    if (next->sales == NULL || next->blocklist == NULL) {
        if (view->sales_changed)
            free(next->sales);
        if (view->blocklist_changed)
            adm_blocklist_free(next->blocklist);
        free(next);
        return PS_E_NOMEM;
    }
    next->twins = next->sales + next->sale_count;
    next->rehearsal_keys = view->rehearsal_keys;
    next->ref_keys = view->ref_keys;
    hand_over(view, next);
    *ret_snapshot = next;
    return 0;
}
