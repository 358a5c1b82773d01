/* Members of documents that only reading shows: what is measured, what has become of it. A document
 * that was read may be sent back with them; a kind names them by patterns (document.h). */
#include "gateway/config/store/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Calls `take` for each place in `json` that the pattern names: "/skus/" and "*" and "/held". */
typedef void place_fn(json_t *object, const json_t *shown, const char *member, const char *pointer,
                      void *ctx);

static void each_place(json_t *json, const json_t *shown, const char *pattern, const char *pointer,
                       place_fn *take, void *ctx)
{
    char member[64], place[192];
    size_t len = strcspn(pattern + 1, "/");

    (void)snprintf(member, sizeof member, "%.*s", (int)len, pattern + 1);
    if (pattern[1 + len] == '\0') {
        (void)snprintf(place, sizeof place, "%s/%s", pointer, member);
        if (json_object_get(json, member) != NULL)
            take(json, json_object_get(shown, member), member, place, ctx);
        return;
    }
    if (strcmp(member, "*") != 0) {
        (void)snprintf(place, sizeof place, "%s/%s", pointer, member);
        each_place(json_object_get(json, member), json_object_get(shown, member), pattern + 1 + len,
                   place, take, ctx);
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value)
    {
        (void)snprintf(place, sizeof place, "%s/%s", pointer, name);
        each_place(value, json_object_get(shown, name), pattern + 1 + len, place, take, ctx);
    }
    for (size_t i = 0; i < json_array_size(json); i++) {
        (void)snprintf(place, sizeof place, "%s/%zu", pointer, i);
        each_place(json_array_get(json, i), json_array_get(shown, i), pattern + 1 + len, place,
                   take, ctx);
    }
}

struct reading {
    struct ps_faults *faults;
    bool strict; /* a member that is not as it is shown is a fault */
};

static void take_out(json_t *object, const json_t *shown, const char *member, const char *pointer,
                     void *ctx)
{
    const struct reading *reading = ctx;

    if (reading->strict && !json_equal(json_object_get(object, member), shown)) {
        char *is = shown != NULL ? json_dumps(shown, JSON_ENCODE_ANY | CFG_JSON_FLAGS) : NULL;
        (void)ps_faults_add(reading->faults, PS_E_INVALID, pointer,
                            "is shown by reading only%s%s: leave it out or as it is",
                            is != NULL ? ", as " : "", is != NULL ? is : "");
        free(is);
    }
    (void)json_object_del(object, member);
}

static void drop(json_t *object, const json_t *shown, const char *member, const char *pointer,
                 void *ctx)
{
    (void)shown;
    (void)pointer;
    (void)ctx;
    (void)json_object_del(object, member);
}

void cfg_drop_read_only(json_t *json, const struct cfg_kind *kind)
{
    const char *const *const lists[] = {kind->read_only, kind->measured, kind->live};

    for (size_t i = 0; i < PS_ARRAY_LEN(lists); i++)
        for (const char *const *at = lists[i]; at != NULL && *at != NULL; at++)
            each_place(json, NULL, *at, "", drop, NULL);
}

void cfg_take_read_only(json_t *json, const json_t *shown, const struct cfg_kind *kind, bool strict,
                        struct ps_faults *faults)
{
    struct reading reading = {faults, true};

    for (const char *const *at = kind->read_only; at != NULL && *at != NULL; at++)
        each_place(json, shown, *at, "", take_out, &reading);
    reading.strict = false;
    for (const char *const *at = kind->measured; at != NULL && *at != NULL; at++)
        each_place(json, shown, *at, "", take_out, &reading);
    reading.strict = strict;
    for (const char *const *at = kind->live; at != NULL && *at != NULL; at++)
        each_place(json, shown, *at, "", take_out, &reading);
}
