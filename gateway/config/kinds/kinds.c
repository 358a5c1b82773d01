/* The kinds of documents. */
#include "gateway/config/store/document.h"

#include <string.h>

const struct cfg_kind *const cfg_kinds[] = {&cfg_kind_sale,
                                            &cfg_kind_limit,
                                            &cfg_kind_user,
                                            &cfg_kind_range,
                                            &cfg_kind_overload,
                                            &cfg_kind_feature,
                                            &cfg_kind_rehearsal_key,
                                            &cfg_kind_cache,
                                            &cfg_kind_pool,
                                            &cfg_kind_route,
                                            &cfg_kind_registration,
                                            &cfg_kind_override,
                                            &cfg_kind_plan,
                                            &cfg_kind_run,
                                            &cfg_kind_watch,
                                            &cfg_kind_ref_key,
                                            NULL};

const struct cfg_kind *cfg_kind_find(const char *path, size_t len)
{
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++)
        if (strlen((*kind)->path) == len && memcmp((*kind)->path, path, len) == 0)
            return *kind;
    return NULL;
}

const struct cfg_kind *cfg_kind_of(const char *text, const char **ret_name)
{
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++) {
        size_t len = strlen((*kind)->path);
        if (strncmp(text, (*kind)->path, len) != 0 || text[len] != '/')
            continue;
        *ret_name = text + len + 1;
        return *kind;
    }
    return NULL;
}

void cfg_kinds_print_schemas(FILE *out)
{
    json_t *kinds = json_object();
    int err = kinds == NULL;

    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL && err == 0; kind++)
        if ((*kind)->id != NULL)
            err = json_object_set_new(kinds, (*kind)->id, cfg_kind_schema(*kind, PS_ENGLISH));
    json_t *all = json_pack("{s:s, s:o}", "$schema", "https://json-schema.org/draft/2020-12/schema",
                            "$defs", kinds);
    all = ps_json_built(all, err);
    if (all == NULL || json_dumpf(all, out, JSON_INDENT(1)) != 0)
        fputs("out of memory", out);
    fputc('\n', out);
    json_decref(all);
}
