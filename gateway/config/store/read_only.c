/* Read-only members of documents: measured values and states. A document that was read may be sent
 * back with them; the rows of a kind's table mark them. */
#include "gateway/config/store/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_MAX 192 /* bytes of a JSON pointer to a member of a table */

/* A read-only member in the `object` that was sent; `shown` is its value when the object was read,
 * or NULL. */
typedef void member_fn(json_t *object, const json_t *shown, const struct ps_member *member,
                       const char *word, const char *pointer, void *ctx);

static void each_shown(const struct ps_table *table, json_t *json, const json_t *shown,
                       const char *pointer, member_fn *take, void *ctx);

static void each_element(const struct ps_member *member, json_t *json, const json_t *shown,
                         const char *pointer, member_fn *take, void *ctx)
{
    char place[PLACE_MAX];
    size_t i;
    json_t *element;

    json_array_foreach(json, i, element)
    {
        if (snprintf(place, sizeof place, "%s/%zu", pointer, i) >= (int)sizeof place)
            return; /* deeper than any table */
        each_shown(member->item->table, element, json_array_get(shown, i), place, take, ctx);
    }
}

/* Calls `take` for each member of the table that is read-only and was sent. */
static void each_shown(const struct ps_table *table, json_t *json, const json_t *shown,
                       const char *pointer, member_fn *take, void *ctx)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct ps_member *member = &table->members[i];
        const char *name = member->name;
        json_t *object = json;
        const json_t *as_shown = shown;
        char place[PLACE_MAX];
        int len = snprintf(place, sizeof place, "%s", pointer);
        for (const char *dot; (dot = strchr(name, '.')) != NULL; name = dot + 1) {
            object = json_object_getn(object, name, (size_t)(dot - name));
            as_shown = json_object_getn(as_shown, name, (size_t)(dot - name));
            if (len < (int)sizeof place)
                len += snprintf(place + len, sizeof place - (size_t)len, "/%.*s", (int)(dot - name),
                                name);
        }
        json_t *value = json_object_get(object, name);
        if (len < (int)sizeof place)
            (void)snprintf(place + len, sizeof place - (size_t)len, "/%s", name);
        if (value != NULL && (member->flags & PS_M_SHOWN) != 0)
            take(object, json_object_get(as_shown, name), member, name, place, ctx);
        else if (value != NULL && member->type == PS_M_LIST && member->item->type == PS_M_OBJECT)
            each_element(member, value, json_object_get(as_shown, name), place, take, ctx);
    }
}

struct reading {
    struct ps_faults *faults;
    bool strict; /* a live member with another value is a fault, too */
};

static void take_out(json_t *object, const json_t *shown, const struct ps_member *member,
                     const char *word, const char *pointer, void *ctx)
{
    const struct reading *reading = ctx;
    bool strict = (member->flags & PS_M_READ_ONLY) != 0 ||
                  ((member->flags & PS_M_LIVE) != 0 && reading->strict);

    if (strict && !json_equal(json_object_get(object, word), shown)) {
        char *is = shown != NULL ? json_dumps(shown, JSON_ENCODE_ANY | CFG_JSON_FLAGS) : NULL;
        (void)ps_faults_add(reading->faults, PS_E_INVALID, pointer,
                            "is read-only%s%s: remove it, or leave it unchanged",
                            is != NULL ? ", as " : "", is != NULL ? is : "");
        free(is);
    }
    (void)json_object_del(object, word);
}

static void drop(json_t *object, const json_t *shown, const struct ps_member *member,
                 const char *word, const char *pointer, void *ctx)
{
    (void)shown;
    (void)member;
    (void)pointer;
    (void)ctx;
    (void)json_object_del(object, word);
}

void cfg_drop_read_only(json_t *json, const struct cfg_kind *kind)
{
    each_shown(kind->table, json, NULL, "", drop, NULL);
}

void cfg_take_read_only(json_t *json, const json_t *shown, const struct cfg_kind *kind, bool strict,
                        struct ps_faults *faults)
{
    struct reading reading = {faults, strict};

    each_shown(kind->table, json, shown, "", take_out, &reading);
}
