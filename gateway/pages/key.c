/* What the shop is asked, and the key of its answer. Both must agree, or one visitor decides what
 * others see: whatever part of a request may shape the shop's page is in the key, or is covered by
 * Vary, or is not sent to the shop. So a page for the cache is requested with the key's query and
 * host, and without fields that override the request (fields.h).
 *
 * A key is plain text: "/p/1?id=2 https://shop.example web". After the address comes the origin:
 * the effective authority in lower case, without the port that its scheme implies (RFC 9110,
 * 4.2.3); then what trusted proxies add, the pool, and "rehearsal". No part contains a space: a
 * purge by path matches all keys that begin with the path and a space. */
#include "gateway/pages/page_internal.h"

#include "common/http/address.h"

#include <string.h>
#include <strings.h>

#define HOST_MAX 255 /* the longest host that is kept, port included */

struct cache_asked page_asked(const struct page_request *page)
{
    struct cache_asked asked;

    cache_asked_read((struct cache_message){page->http->head, page->http->base}, &asked);
    asked.way = up_fields_way;
    /* A user whom the shop knows by X-User-Id counts like Authorization (RFC 9111, 3.5). */
    asked.authorized |= page->asked->user.len > 0;
    return asked;
}

/* --- The origin --- */

static void put_lower(struct ps_buf *buf, struct ps_str text)
{
    size_t from = buf->len;

    ps_buf_put(buf, text.at, text.len);
    for (size_t i = from; i < buf->len; i++)
        if (buf->at[i] >= 'A' && buf->at[i] <= 'Z')
            buf->at[i] |= 0x20;
}

/* What a trusted proxy says about the address that the visitor requested: the shop may build links
 * from it. .at == NULL: nothing. */
struct believed {
    struct ps_str host, port, proto, prefix, forwarded;
    bool is_odd; /* given twice, or kept from the shop by Connection: no key can express that */
};

static bool is_any_hidden(const struct ps_http_head *head, const char *base)
{
    static const char *const names[] = {"X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Proto",
                                        "X-Forwarded-Prefix"};

    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++)
        if (ps_http_is_of_connection(head, base, ps_str(names[i])))
            return true;
    return false;
}

static struct believed read_believed(const struct page_request *page)
{
    const struct ps_http_head *head = page->http->head;
    const char *base = page->http->base;
    struct believed said = {0};
    bool hides = false;

    for (uint32_t i = 0; page->trusted && i < head->field_count; i++) {
        struct ps_str name = ps_http_text(base, head->fields[i].name);
        struct ps_str *ret = NULL;
        hides |= head->fields[i].known == PS_HTTP_F_CONNECTION;
        if (name.len == 9 && ps_http_is_text(name, "Forwarded"))
            ret = &said.forwarded;
        else if (name.len == 16 && ps_http_is_text(name, "X-Forwarded-Host"))
            ret = &said.host;
        else if (name.len == 16 && ps_http_is_text(name, "X-Forwarded-Port"))
            ret = &said.port;
        else if (name.len == 17 && ps_http_is_text(name, "X-Forwarded-Proto"))
            ret = &said.proto;
        else if (name.len == 18 && ps_http_is_text(name, "X-Forwarded-Prefix"))
            ret = &said.prefix;
        if (ret == NULL)
            continue;
        said.is_odd |= ret->at != NULL;
        *ret = ps_http_text(base, head->fields[i].value);
    }
    said.is_odd |= hides && is_any_hidden(head, base);
    return said;
}

/* The scheme that the visitor used. */
static const char *scheme_of(const struct believed *said)
{
    return said->proto.at != NULL && ps_http_is_text(said->proto, "https") ? "https" : "http";
}

static const char *port_of(const char *scheme)
{
    return scheme[4] == 's' ? ":443" : ":80";
}

/* False: too long to be kept. */
static bool put_host(struct ps_buf *buf, struct ps_str host, const char *scheme)
{
    ps_http_put_authority(buf, host, scheme);
    return host.len <= HOST_MAX;
}

/* Adds one part, unless it equals `known`. False: it has a space. */
static bool put_part(struct ps_buf *key, const char *name, struct ps_str value, struct ps_str known)
{
    if (value.at == NULL || ps_http_same_text(value, known))
        return true;
    ps_buf_puts(key, name);
    put_lower(key, value);
    return memchr(value.at, ' ', value.len) == NULL && memchr(value.at, '\t', value.len) == NULL;
}

/* Adds what earlier proxies say about host and scheme (RFC 7239). */
static bool put_forwarded(struct ps_buf *key, struct ps_str list, struct ps_str host,
                          struct ps_str scheme)
{
    bool plain = true;

    while (list.len > 0) {
        size_t len = 0;
        while (len < list.len && list.at[len] != ',' && list.at[len] != ';')
            len++;
        struct ps_str pair = ps_http_trim((struct ps_str){list.at, len});
        bool of_host = pair.len >= 5 && strncasecmp(pair.at, "host=", 5) == 0;
        bool of_proto = pair.len >= 6 && strncasecmp(pair.at, "proto=", 6) == 0;
        size_t name_len = of_host ? 5 : 6;
        if (of_host || of_proto) {
            struct ps_str said = {pair.at + name_len, pair.len - name_len};
            if (said.len >= 2 && said.at[0] == '"' && said.at[said.len - 1] == '"')
                said = (struct ps_str){said.at + 1, said.len - 2};
            plain &= put_part(key, of_host ? " forwarded-host=" : " forwarded-proto=", said,
                              of_host ? host : scheme);
        }
        len += len < list.len;
        list = (struct ps_str){list.at + len, list.len - len};
    }
    return plain;
}

/* Adds everything that follows the address in a key. */
static bool put_origin(const struct page_request *page, const char *pool, struct ps_buf *key)
{
    const struct believed said = read_believed(page);
    const char *scheme = scheme_of(&said);
    struct ps_str host = page->http->header[SRV_H_HOST], none = PS_STR("");
    bool kept = !said.is_odd;

    ps_buf_put(key, " ", 1);
    ps_buf_puts(key, scheme);
    ps_buf_put(key, "://", 3);
    kept &= put_host(key, host, scheme);
    kept &= put_part(key, " proto=", said.proto, ps_str(scheme));
    kept &= put_part(key, " host=", said.host, host);
    kept &= put_part(key, " port=", said.port, ps_str(port_of(scheme) + 1));
    kept &= put_part(key, " prefix=", said.prefix, none);
    kept &= put_forwarded(key, said.forwarded, host, ps_str(scheme));
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
                                     .path = http->sent_path,
                                     .query = http->sent_query,
                                     .host = http->header[SRV_H_HOST],
                                     .peer = &http->peer,
                                     .trusted = page->trusted,
                                     .user = page->asked->user,
                                     .request_id = http->request_id,
                                     .rehearsal = page->asked->rehearsal,
                                     .keyed = page->is_keyed};
    if (!page->is_keyed)
        return;
    /* Spelt as in the key: a shop that tells spellings apart would answer the first visitor's. */
    ret_origin->path = http->path;
    ret_origin->query = http->query;
    ps_buf_init(&buf, texts->query, sizeof texts->query);
    if (cache_query_put(&page->route->doc->cache, http->query, &buf))
        ret_origin->query = (struct ps_str){buf.at, buf.len};
    ps_buf_init(&buf, texts->host, sizeof texts->host);
    const struct believed said = read_believed(page);
    if (put_host(&buf, http->header[SRV_H_HOST], scheme_of(&said)))
        ret_origin->host = (struct ps_str){buf.at, buf.len};
}
