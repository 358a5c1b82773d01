/* Sorted arrays: what is in them is found by halves. In a header, so that a comparison costs no
 * call. `compare` is that of bsearch: below, at or above 0 as the key stands before, at or behind
 * the element. */
#ifndef PS_SORTED_H
#define PS_SORTED_H

#include "common/defs.h"

typedef int ps_compare_fn(const void *key, const void *element);

/* The place of `key` among `count` elements of `size` bytes, or where it belongs. */
static inline size_t ps_sorted_place(const void *key, const void *array, size_t count, size_t size,
                                     ps_compare_fn *compare, bool *ret_there)
{
    size_t low = 0, high = count;

    *ret_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(key, (const char *)array + middle * size);
        if (order == 0) {
            *ret_there = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The element; NULL: it is not there. The array may be NULL when it has none. */
static inline void *ps_sorted_find(const void *key, const void *array, size_t count, size_t size,
                                   ps_compare_fn *compare)
{
    bool there;
    size_t place = ps_sorted_place(key, array, count, size, compare, &there);

    return there ? (char *)(uintptr_t)array + place * size : NULL;
}

#endif
