/* Merge patches and differences. Values are copied, never shared: a result that is printed later
 * does not change with its source. */
#include "common/text/json_patch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *ps_json_merge(const json_t *target, const json_t *patch)
{
    const char *member;
    json_t *value;
    if (!json_is_object(patch))
        return json_deep_copy(patch);
    json_t *merged = json_is_object(target) ? json_deep_copy(target) : json_object();
    json_object_foreach((json_t *)(uintptr_t)patch, member, value)
    {
        if (json_is_null(value)) {
            (void)json_object_del(merged, member);
            continue;
        }
        json_t *inner = ps_json_merge(json_object_get(merged, member), value);
        if (json_object_set_new(merged, member, inner) != 0) {
            json_decref(merged);
            return NULL;
        }
    }
    return merged;
}

/* --- Differences. --- */

struct difference {
    json_t *list;
    int err;
};

/* The pointer of a member or an element, heap. */
static char *pointer_of(const char *outer, const char *member)
{
    char *text = malloc(strlen(outer) + 2 * strlen(member) + 2), *at = text;
    if (text == NULL)
        return NULL;
    at += sprintf(at, "%s/", outer);
    for (; *member != '\0'; member++) {
        if (*member == '~' || *member == '/') {
            *at++ = '~';
            *at++ = *member == '~' ? '0' : '1';
        } else {
            *at++ = *member;
        }
    }
    *at = '\0';
    return text;
}

static void note(struct difference *difference, const char *operation, const char *pointer,
                 const json_t *value)
{
    json_t *entry = json_pack("{s:s, s:s}", "op", operation, "path", pointer);
    int err = 0;
    if (value != NULL)
        err = json_object_set_new(entry, "value", json_deep_copy(value));
    if (err != 0 || json_array_append(difference->list, entry) != 0)
        difference->err = -1;
    json_decref(entry);
}

static void compare(struct difference *difference, const char *pointer, const json_t *from,
                    const json_t *to);

static void compare_inner(struct difference *difference, const char *outer, const char *member,
                          const json_t *from, const json_t *to)
{
    char *pointer = pointer_of(outer, member);
    if (pointer == NULL)
        difference->err = -1;
    else
        compare(difference, pointer, from, to);
    free(pointer);
}

static void compare_objects(struct difference *difference, const char *pointer, const json_t *from,
                            const json_t *to)
{
    const char *member;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, member, value)
        compare_inner(difference, pointer, member, value, json_object_get(to, member));
    json_object_foreach((json_t *)(uintptr_t)to, member,
                        value) if (json_object_get(from, member) == NULL)
        compare_inner(difference, pointer, member, NULL, value);
}

/* Surplus elements are removed from the end, so that the index of each operation is valid. */
static void compare_arrays(struct difference *difference, const char *pointer, const json_t *from,
                           const json_t *to)
{
    size_t before = json_array_size(from), after = json_array_size(to);
    char place[24];
    for (size_t i = 0; i < before && i < after; i++) {
        (void)snprintf(place, sizeof place, "%zu", i);
        compare_inner(difference, pointer, place, json_array_get(from, i), json_array_get(to, i));
    }
    for (size_t i = before; i < after; i++)
        compare_inner(difference, pointer, "-", NULL, json_array_get(to, i));
    for (size_t i = before; i > after; i--) {
        (void)snprintf(place, sizeof place, "%zu", i - 1);
        compare_inner(difference, pointer, place, json_array_get(from, i - 1), NULL);
    }
}

static void compare(struct difference *difference, const char *pointer, const json_t *from,
                    const json_t *to)
{
    if (from == NULL || to == NULL) {
        if (from != to)
            note(difference, from == NULL ? "add" : "remove", pointer, to);
    } else if (json_is_object(from) && json_is_object(to)) {
        compare_objects(difference, pointer, from, to);
    } else if (json_is_array(from) && json_is_array(to)) {
        compare_arrays(difference, pointer, from, to);
    } else if (!json_equal(from, to)) {
        note(difference, "replace", pointer, to);
    }
}

json_t *ps_json_difference(const json_t *from, const json_t *to)
{
    struct difference difference = {.list = json_array()};
    if (difference.list != NULL)
        compare(&difference, "", from, to);
    if (difference.err != 0) {
        json_decref(difference.list);
        difference.list = NULL;
    }
    return difference.list;
}
