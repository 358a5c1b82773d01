/* Any bytes as the path behind /console/ and the fields that decide about the answer, one a line: a
 * file is only found by its whole name, and what another site asks by script is refused. */
#include "common/console/asset.h"
#include "fuzz.h"

#include <string.h>

/* The next line; at the end of the bytes the field is absent. */
static struct ps_str next(const char **at, const char *end)
{
    const char *start = *at,
               *stop = start < end ? memchr(start, '\n', (size_t)(end - start)) : NULL;

    if (start >= end)
        return (struct ps_str){NULL, 0};
    if (stop == NULL)
        stop = end;
    *at = stop + 1;
    return (struct ps_str){start, (size_t)(stop - start)};
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const struct ps_asset none[] = {{0}};
    const char *at = (const char *)bytes, *end = at + size;
    struct ps_str name = next(&at, end);
    const struct ps_asset *asset = ps_asset_find(none, name);
    struct ps_asset_request asked;
    struct ps_asset_answer answer;

    asked.accept_encoding = next(&at, end);
    asked.if_none_match = next(&at, end);
    asked.fetch_site = next(&at, end);
    asked.fetch_mode = next(&at, end);
    asked.fetch_dest = next(&at, end);
    MUST(asset == NULL || ps_str_is(name, asset->name));
    if (asset == NULL)
        asset = &ps_console_assets[0];
    MUST(asked.fetch_site.at == NULL || ps_str_is(asked.fetch_site, "same-origin") ||
         ps_str_is(asked.fetch_site, "none") || ps_asset_is_foreign(asset, &asked));
    ps_asset_choose(asset, &asked, &answer);
    MUST(answer.status == 200 || answer.status == 304);
    MUST(answer.body.at == (answer.is_gzip ? asset->gzip.at : asset->plain.at));
    return 0;
}
