/* The policy of a page that may do anything that its operator may: everything comes from here, as
 * files; nothing inline is run; no page embeds it, and no other site reads it. */
#include "common/console/asset.h"

#include "common/http/head.h"
#include "common/http/write.h"

static const struct ps_asset *find(const struct ps_asset *table, struct ps_str name)
{
    for (; table->name != NULL; table++)
        if (ps_str_is(name, table->name))
            return table;
    return NULL;
}

const struct ps_asset *ps_asset_find(const struct ps_asset *own, struct ps_str name)
{
    if (name.len == 0)
        name = PS_STR(PS_ASSET_INDEX);
    const struct ps_asset *found = find(own, name);
    return found != NULL ? found : find(ps_console_assets, name);
}

bool ps_asset_is_foreign(const struct ps_asset *asset, const struct ps_asset_request *request)
{
    struct ps_str site = request->fetch_site;

    if (site.at == NULL || ps_str_is(site, "same-origin") || ps_str_is(site, "none"))
        return false;
    return asset == NULL || strcmp(asset->name, PS_ASSET_INDEX) != 0 ||
           !ps_str_is(request->fetch_mode, "navigate") ||
           !ps_str_is(request->fetch_dest, "document");
}

/* Is gzip named, and not by a weight of 0? */
static bool takes_gzip(struct ps_str accept)
{
    struct ps_str element;

    while (accept.at != NULL && ps_http_take_element(&accept, &element)) {
        const char *semicolon = memchr(element.at, ';', element.len);
        size_t len = semicolon != NULL ? (size_t)(semicolon - element.at) : element.len;
        struct ps_str rest = {element.at + len, element.len - len};
        if (!ps_http_is_text(ps_http_trim((struct ps_str){element.at, len}), "gzip"))
            continue;
        for (size_t i = 0; i < rest.len; i++)
            if (rest.at[i] >= '1' && rest.at[i] <= '9')
                return true;
        return rest.len == 0;
    }
    return false;
}

void ps_asset_choose(const struct ps_asset *asset, const struct ps_asset_request *request,
                     struct ps_asset_answer *ret_answer)
{
    struct ps_str none_match = request->if_none_match;
    bool gzip = takes_gzip(request->accept_encoding);

    *ret_answer = (struct ps_asset_answer){
        .status = none_match.at != NULL && ps_http_names_etag(none_match, asset->etag) ? 304 : 200,
        .body = gzip ? asset->gzip : asset->plain,
        .is_gzip = gzip};
}

/* clang-format off */
static const char policy[] =
    "Cache-Control: no-cache\r\n"
    "Vary: Accept-Encoding\r\n"
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Permissions-Policy: camera=(), geolocation=(), microphone=(), payment=(), usb=()\r\n";
/* clang-format on */

void ps_asset_put_fields(struct ps_buf *buf, const struct ps_asset *asset, bool is_gzip)
{
    ps_http_put_known(buf, PS_STR("Content-Type"), ps_str(asset->type));
    ps_buf_puts(buf, "ETag: W/");
    ps_buf_puts(buf, asset->etag);
    ps_buf_puts(buf, "\r\n");
    if (is_gzip)
        ps_buf_puts(buf, "Content-Encoding: gzip\r\n");
    ps_buf_puts(buf, policy);
}
