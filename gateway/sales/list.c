/* An array of pointers, with binary search. */
#include "gateway/sales/list.h"

#include "common/grow.h"
#include "common/sorted.h"

#include <stdlib.h>
#include <string.h>

static int compare_with_entry(const void *name, const void *entry)
{
    return ps_str_compare(*(const struct ps_str *)name,
                          ps_str((*(struct sale_entry *const *)entry)->stored.doc.name));
}

/* Its place, or where it belongs. */
static size_t find_place(const struct sale_list *list, const char *name, size_t len,
                         bool *ret_there)
{
    const struct ps_str key = {name, len};

    return ps_sorted_place(&key, list->at, list->count, sizeof *list->at, compare_with_entry,
                           ret_there);
}

struct sale_entry *sale_list_find(const struct sale_list *list, const char *name, size_t len)
{
    bool there;
    size_t place = find_place(list, name, len, &there);

    return there ? list->at[place] : NULL;
}

struct sale_entry *sale_list_add(struct sale_list *list, struct sale_runs *runs, const char *name)
{
    bool there;
    size_t place = find_place(list, name, strlen(name), &there);

    if (there)
        return list->at[place];
    struct sale_run *run = sale_known(runs, name);
    struct sale_entry *entry = calloc(1, sizeof *entry);
    if (run == NULL || entry == NULL ||
        ps_grow(&list->at, &list->room, list->count + 1, sizeof list->at[0]) < 0) {
        free(entry);
        return NULL;
    }
    memmove(&list->at[place + 1], &list->at[place], (list->count - place) * sizeof list->at[0]);
    list->at[place] = entry;
    list->count++;
    memcpy(entry->stored.doc.name, name, strlen(name) + 1);
    entry->run = run;
    return entry;
}

void sale_list_drop(struct sale_list *list, const char *name)
{
    bool there;
    size_t place = find_place(list, name, strlen(name), &there);

    if (!there)
        return;
    free(list->at[place]);
    list->count--;
    memmove(&list->at[place], &list->at[place + 1], (list->count - place) * sizeof list->at[0]);
}

void sale_list_done(struct sale_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->at[i]);
    free(list->at);
    *list = (struct sale_list){0};
}
