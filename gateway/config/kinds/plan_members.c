/* Which members of which documents the steps of a plan change: see plan_doc.h. */
#include "gateway/config/kinds/plan_doc.h"

#include "common/grow.h"

#include <stdlib.h>
#include <string.h>

static bool is_at_or_below(const char *path, const char *above)
{
    size_t len = strlen(above);

    return strncmp(path, above, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* Is the override, of all gateways or of one, that of the rule whose mode the other changes? */
static bool is_mode_of(const struct cfg_member *override, const struct cfg_member *member)
{
    static const char of_limit[] = "limit:";
    const char *name = override->name;
    size_t len = sizeof of_limit - 1, rule = strlen(member->name);

    return override->kind == &cfg_kind_override && member->kind == &cfg_kind_limit &&
           strncmp(name, of_limit, len) == 0 && strncmp(name + len, member->name, rule) == 0 &&
           (name[len + rule] == '\0' || name[len + rule] == '@') &&
           is_at_or_below("/mode", member->path);
}

bool cfg_member_overlaps(const struct cfg_member *a, const struct cfg_member *b)
{
    if (a->kind == b->kind && strcmp(a->name, b->name) == 0)
        return is_at_or_below(a->path, b->path) || is_at_or_below(b->path, a->path);
    return is_mode_of(a, b) || is_mode_of(b, a);
}

/* Takes `path` over. */
static int add(struct cfg_members *members, const struct cfg_member *of, char *path)
{
    int err = members->count < CFG_PLAN_MEMBERS_MAX
                  ? ps_grow(&members->at, &members->room, members->count + 1, sizeof *members->at)
                  : PS_E_FULL;

    if (path == NULL)
        err = PS_E_NOMEM;
    if (err < 0) {
        free(path);
        return err;
    }
    members->at[members->count++] = (struct cfg_member){of->kind, of->name, path, of->step};
    return 0;
}

int cfg_members_add(struct cfg_members *members, const struct cfg_member *member)
{
    return add(members, member, strdup(member->path));
}

/* `outer` with a member's name behind it, escaped (RFC 6901). Heap. */
static char *path_below(const char *outer, const char *name)
{
    size_t len = strlen(outer);
    char *path = malloc(len + 2 * strlen(name) + 2), *at = path;

    if (path == NULL)
        return NULL;
    memcpy(path, outer, len);
    at += len;
    *at++ = '/';
    for (; *name != '\0'; name++) {
        bool escape = *name == '~' || *name == '/';
        if (escape)
            *at++ = '~';
        *at++ = !escape ? *name : *name == '~' ? '0' : '1';
    }
    *at = '\0';
    return path;
}

int cfg_members_add_patch(struct cfg_members *members, const struct cfg_member *of,
                          const json_t *patch, const json_t *target)
{
    const char *name;
    json_t *value;
    int err = 0;

    json_object_foreach((json_t *)(uintptr_t)patch, name, value)
    {
        const json_t *inner = json_object_get(target, name);
        bool whole = json_object_size(value) == 0 || (target != NULL && !json_is_object(inner));
        struct cfg_member below = *of;
        below.path = path_below(of->path, name);
        if (below.path == NULL)
            return PS_E_NOMEM;
        if (whole) {
            err = add(members, of, below.path);
        } else {
            err = cfg_members_add_patch(members, &below, value, inner);
            free(below.path);
        }
        if (err < 0)
            return err;
    }
    return 0;
}

void cfg_members_free(struct cfg_members *members)
{
    for (size_t i = 0; i < members->count; i++)
        free(members->at[i].path);
    free(members->at);
    *members = (struct cfg_members){0};
}
