/* JSON Schema 2020-12 of a kind's documents, printed from the table that also reads them. */
#include "gateway/admin/admin_internal.h"
#include "gateway/admin/parts.h"

#include <string.h>

#define KINDS_MAX 32

static const struct cfg_kind *find_kind(struct ps_str id)
{
    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL; kind++)
        if ((*kind)->id != NULL && ps_str_is(id, (*kind)->id))
            return *kind;
    return NULL;
}

static void say_unknown(struct op_request *request)
{
    const char *ids[KINDS_MAX + 1], *near;
    char asked[PS_NAME_MAX + 1] = "";
    size_t count = 0;

    for (const struct cfg_kind *const *kind = cfg_kinds; *kind != NULL && count < KINDS_MAX; kind++)
        if ((*kind)->id != NULL)
            ids[count++] = (*kind)->id;
    ids[count] = NULL;
    if (request->arg[0].len <= PS_NAME_MAX)
        memcpy(asked, request->arg[0].at, request->arg[0].len);
    near = ps_nearest_word(asked, ids);
    op_no(request, ANS_V_not_found, "no such kind of documents%s%s%s",
          near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
          near != NULL ? "\"?" : "");
}

static void get_schema(struct op_request *request)
{
    char language[8] = "";
    const struct op_param params[] = {
        {.name = "language", .text = language, .cap = sizeof language}};
    const struct cfg_kind *kind = find_kind(request->arg[0]);

    if (!op_query(request, params, PS_ARRAY_LEN(params)))
        return;
    bool chinese = strcmp(language, "zh") == 0;
    if (!chinese && language[0] != '\0' && strcmp(language, "en") != 0)
        op_no(request, ANS_V_invalid, "in the query: language must be one of: en, zh");
    else if (kind == NULL)
        say_unknown(request);
    else
        op_json_as(request, ANS_V_ok, "application/schema+json",
                   cfg_kind_schema(kind, chinese ? PS_CHINESE : PS_ENGLISH));
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_schema_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/schema/{}", SRV_GET, OP_ROLE_VIEWER, OP_QUERY, get_schema},
        {0}},
};
/* clang-format on */
