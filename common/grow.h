/* Arrays that grow. */
#ifndef PS_GROW_H
#define PS_GROW_H

#include "common/err.h"

#include <stdlib.h>
#include <string.h>

/* `array` points to the pointer to an array of *room elements of `size` bytes, NULL for none: makes
 * room for `count`, by doubling. PS_E_NOMEM: nothing has changed. */
static inline PS_MUST_CHECK int ps_grow(void *array, size_t *room, size_t count, size_t size)
{
    size_t more = *room > 0 ? *room : 16;
    void *at;

    if (count <= *room)
        return 0;
    while (more < count)
        more *= 2;
    memcpy(&at, array, sizeof at);
    at = realloc(at, more * size);
    if (at == NULL)
        return PS_E_NOMEM;
    memcpy(array, &at, sizeof at);
    *room = more;
    return 0;
}

#endif
