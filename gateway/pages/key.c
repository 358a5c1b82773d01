/* What the shop is asked, and what its answer is kept under. The two must say the same, or one
 * visitor decides what others see: whatever of a request may shape the shop's page is part of the
 * key, or differs by Vary, or does not go to the shop. So a page that the cache is asked for goes
 * with the key's query and host, and without fields that override what was asked (fields.h).
 *
 * A key is plain text: "/p/1?id=2 https://shop.example web". Behind the address stands the origin,
 * the effective authority in lower case and without the port that its scheme implies (RFC 9110,
 * 4.2.3), then what trusted proxies say beyond it, the pool, and "rehearsal". No part has a space:
 * a purge by path meets all that begin with the path and a space. */
#include "gateway/pages/page_internal.h"

#include <string.h>
#include <strings.h>

#define HOST_MAX 255 /* of what is kept: the longest name with a port */

struct cache_asked page_asked(const struct page_request *page)
{
    struct cache_asked asked;

    cache_asked_read((struct cache_message){page->http->head, page->http->base}, &asked);
    asked.way = up_fields_way;
    /* A user who is known to the shop by X-User-Id is as good as Authorization (RFC 9111, 3.5). */
    asked.authorized |= page->asked->user.len > 0;
    return asked;
}

/* --- The origin --- */

static void put_lower(struct ps_buf *buf, struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        c = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
        ps_buf_put(buf, &c, 1);
    }
}

/* By which the visitor came, as far as a trusted proxy says so. */
static const char *scheme_of(const struct page_request *page)
{
    const struct srv_request *http = page->http;
    struct ps_str proto = {NULL, 0};

    if (page->trusted)
        proto = ps_http_find(http->head, http->base, PS_STR("X-Forwarded-Proto"));
    return proto.at != NULL && ps_http_is_text(proto, "https") ? "https" : "http";
}

static const char *port_of(const char *scheme)
{
    return scheme[4] == 's' ? ":443" : ":80";
}

/* The authority in lower case, without the scheme's own port. False: too long to be kept. */
static bool put_host(struct ps_buf *buf, struct ps_str host, const char *scheme)
{
    const char *port = port_of(scheme);
    size_t len = strlen(port);

    if (host.len > len && memcmp(host.at + host.len - len, port, len) == 0)
        host.len -= len;
    put_lower(buf, host);
    return host.len <= HOST_MAX;
}

/* One more part, which has no space in it. */
static bool put_part(struct ps_buf *key, const char *name, struct ps_str value)
{
    ps_buf_puts(key, name);
    put_lower(key, value);
    return memchr(value.at, ' ', value.len) == NULL && memchr(value.at, '\t', value.len) == NULL;
}

/* What an earlier proxy says of host and scheme (RFC 7239), where it differs. */
static bool put_forwarded(struct ps_buf *key, struct ps_str value, struct ps_str host,
                          const char *scheme)
{
    bool plain = true;

    while (value.len > 0) {
        size_t len = 0;
        while (len < value.len && value.at[len] != ',' && value.at[len] != ';')
            len++;
        struct ps_str pair = ps_http_trim((struct ps_str){value.at, len});
        struct ps_str said = {pair.at + 5, pair.len >= 5 ? pair.len - 5 : 0};
        bool of_host = pair.len >= 5 && strncasecmp(pair.at, "host=", 5) == 0;
        bool of_proto = pair.len >= 6 && strncasecmp(pair.at, "proto=", 6) == 0;
        if (of_proto)
            said = (struct ps_str){pair.at + 6, pair.len - 6};
        if (said.len >= 2 && said.at[0] == '"' && said.at[said.len - 1] == '"')
            said = (struct ps_str){said.at + 1, said.len - 2};
        if ((of_host && !ps_http_same_text(said, host)) ||
            (of_proto && !ps_http_is_text(said, scheme)))
            plain &= put_part(key, of_host ? " forwarded-host=" : " forwarded-proto=", said);
        len += len < value.len;
        value = (struct ps_str){value.at + len, value.len - len};
    }
    return plain;
}

/* What a trusted proxy says of the address beyond Host and scheme: the shop may write its links by
 * it. False: something that has no place in a key. */
static bool put_believed(const struct page_request *page, const char *scheme, struct ps_buf *key)
{
    const struct ps_http_head *head = page->http->head;
    const char *base = page->http->base, *port = port_of(scheme) + 1;
    struct ps_str host = page->http->header[SRV_H_HOST];
    bool plain = true;

    for (uint32_t i = 0; page->trusted && i < head->field_count; i++) {
        struct ps_str name = ps_http_text(base, head->fields[i].name);
        struct ps_str value = ps_http_text(base, head->fields[i].value);
        const char *part = NULL;
        if (name.len < 9 || (name.at[0] | 0x20) != (name.len == 9 ? 'f' : 'x'))
            continue;
        if (ps_http_is_text(name, "Forwarded"))
            plain &= put_forwarded(key, value, host, scheme);
        else if (ps_http_is_text(name, "X-Forwarded-Proto"))
            part = ps_http_is_text(value, scheme) ? "" : " proto=";
        else if (ps_http_is_text(name, "X-Forwarded-Host"))
            part = ps_http_same_text(value, host) ? "" : " host=";
        else if (ps_http_is_text(name, "X-Forwarded-Port"))
            part = ps_http_is_text(value, port) ? "" : " port=";
        else if (ps_http_is_text(name, "X-Forwarded-Prefix"))
            part = " prefix=";
        if (part != NULL && *part != '\0')
            plain &= put_part(key, part, value);
        if (part != NULL)
            plain &=
                !ps_http_is_of_connection(head, base, name); /* then the shop does not see it */
    }
    return plain;
}

/* What stands behind the address in a key. */
static bool put_origin(const struct page_request *page, const char *pool, struct ps_buf *key)
{
    const char *scheme = scheme_of(page);
    bool kept;

    ps_buf_put(key, " ", 1);
    ps_buf_puts(key, scheme);
    ps_buf_puts(key, "://");
    kept = put_host(key, page->http->header[SRV_H_HOST], scheme);
    kept &= put_believed(page, scheme, key);
    ps_buf_put(key, " ", 1);
    ps_buf_puts(key, pool);
    if (page->asked->rehearsal)
        ps_buf_puts(key, " rehearsal");
    return kept && !key->overflow && key->len <= CACHE_KEY_MAX;
}

bool page_key_put(const struct page_request *page, const char *pool, struct ps_buf *key)
{
    const struct srv_request *http = page->http;

    return cache_key_put(&page->route->doc->cache, http->path, http->query, key) &&
           put_origin(page, pool, key);
}

bool page_key_put_named(const struct page_request *page, struct ps_str named, const char *pool,
                        struct ps_buf *key)
{
    const struct srv_request *http = page->http;

    return cache_key_put_named(&page->route->doc->cache, http->header[SRV_H_HOST], http->path,
                               named, key) &&
           put_origin(page, pool, key);
}

/* --- The shop --- */

void page_origin(const struct page_request *page, struct page_texts *texts,
                 struct up_origin *ret_origin)
{
    const struct srv_request *http = page->http;
    struct ps_buf buf;

    *ret_origin = (struct up_origin){.head = http->head,
                                     .base = http->base,
                                     .path = http->path,
                                     .query = http->query,
                                     .host = http->header[SRV_H_HOST],
                                     .peer = &http->peer,
                                     .trusted = page->trusted,
                                     .user = page->asked->user,
                                     .request_id = http->request_id,
                                     .rehearsal = page->asked->rehearsal,
                                     .keyed = page->is_keyed};
    if (!page->is_keyed)
        return;
    ps_buf_init(&buf, texts->query, sizeof texts->query);
    if (cache_query_put(&page->route->doc->cache, http->query, &buf))
        ret_origin->query = (struct ps_str){buf.at, buf.len};
    ps_buf_init(&buf, texts->host, sizeof texts->host);
    if (put_host(&buf, http->header[SRV_H_HOST], scheme_of(page)))
        ret_origin->host = (struct ps_str){buf.at, buf.len};
}
