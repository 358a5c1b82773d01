/* Entity tags: which version of a resource an answer shows, and whether If-Match names the one that
 * a request would change. */
#include "gateway/admin/admin_internal.h"

#include <stdio.h>
#include <string.h>

static size_t tag_text(int64_t version, char text[32])
{
    return (size_t)snprintf(text, 32, "\"%lld\"", (long long)version);
}

void op_etag(struct op_request *request, int64_t version)
{
    char text[32];
    size_t len = tag_text(version, text);

    srv_answer_header(request->http, "ETag", text, len);
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\t' || c == ',';
}

/* A list of tags, of which one must be ours; a weak one ("W/…") never is. */
enum op_match op_if_match(const struct op_request *request, int64_t version)
{
    struct ps_str list = request->http->header[SRV_H_IF_MATCH];
    char tag[32];
    size_t len = tag_text(version, tag);

    if (list.at == NULL)
        return OP_MATCH_NONE;
    if (op_matches_any(request))
        return OP_MATCH_YES;
    for (size_t i = 0; i < list.len;) {
        size_t start = i;
        while (i < list.len && !is_gap(list.at[i]))
            i++;
        if (i - start == len && memcmp(list.at + start, tag, len) == 0)
            return OP_MATCH_YES;
        while (i < list.len && is_gap(list.at[i]))
            i++;
    }
    return OP_MATCH_NO;
}

bool op_matches_any(const struct op_request *request)
{
    return ps_str_is(request->http->header[SRV_H_IF_MATCH], "*");
}

bool op_matches(struct op_request *request, int64_t version)
{
    if (op_if_match(request, version) != OP_MATCH_NO)
        return true;
    op_no(request, ANS_V_precondition_failed,
          "its present version is \"%lld\"; send it in If-Match with the quotation marks",
          (long long)version);
    return false;
}
