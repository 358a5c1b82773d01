/* See fields.h. */
#include "gateway/upstream/fields.h"

#include "common/text/address.h"
#include "common/http/write.h"
#include "gateway/upstream/via.h"

#include <string.h>

enum way {
    TO_SHOP = 1,   /* a request */
    TO_CLIENT = 2, /* an answer */
    BOTH = 3
};

#define NAME(text)                                                                                 \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
/* Why a field is not forwarded as it came. */
enum reason {
    OURS,     /* belongs to the connection, or the gateway writes it */
    BELIEVED, /* says who asks for what: forwarded from a trusted proxy, and part of a page's key */
    KNOWN,    /* the same, but only about the client: part of no key */
    OVERRIDE  /* makes another request of this one, for some shops: forwarded from a trusted proxy,
                 if the answer is not kept */
};
struct kept_back {
    struct ps_str name;
    enum way way;
    enum reason reason;
};
/* By the length of the name. */
#define KEPT_BACK_MAX 4
static const struct kept_back kept_back[][KEPT_BACK_MAX] = {
    [2] = {{NAME("TE"), BOTH, OURS}},
    [4] = {{NAME("Host"), TO_SHOP, OURS}},
    [6] = {{NAME("Expect"), TO_SHOP, OURS}, /* the listener has answered 100 */
           {NAME("X-Host"), TO_SHOP, OVERRIDE}},
    [7] = {{NAME("Trailer"), BOTH, OURS}, /* trailers are checked and dropped */
           {NAME("Upgrade"), BOTH, OURS}},
    [9] = {{NAME("Forwarded"), TO_SHOP, OURS},
           {NAME("X-User-Id"), TO_SHOP, OURS},
           {NAME("X-Real-IP"), TO_SHOP, KNOWN}},
    [10] = {{NAME("Connection"), BOTH, OURS}, {NAME("Keep-Alive"), BOTH, OURS}},
    [12] = {{NAME("X-Request-Id"), BOTH, OURS}, {NAME("X-Url-Scheme"), TO_SHOP, OVERRIDE}},
    [13] = {{NAME("Surrogate-Key"), TO_CLIENT, OURS},
            {NAME("X-Rewrite-URL"), TO_SHOP, OVERRIDE},
            {NAME("X-HTTP-Method"), TO_SHOP, OVERRIDE}},
    [14] = {{NAME("Content-Length"), BOTH, OURS},
            {NAME("HTTP2-Settings"), TO_SHOP, OURS},
            {NAME("X-Original-URL"), TO_SHOP, OVERRIDE}},
    [15] = {{NAME("X-Forwarded-For"), TO_SHOP, OURS},
            {NAME("X-Forwarded-Ssl"), TO_SHOP, OVERRIDE},
            {NAME("X-Original-Host"), TO_SHOP, OVERRIDE},
            {NAME("Front-End-Https"), TO_SHOP, OVERRIDE}},
    [16] = {{NAME("Proxy-Connection"), BOTH, OURS},
            {NAME("X-Forwarded-Host"), TO_SHOP, BELIEVED},
            {NAME("X-Forwarded-Port"), TO_SHOP, BELIEVED},
            {NAME("X-Forwarded-Path"), TO_SHOP, OVERRIDE}},
    [17] = {{NAME("Transfer-Encoding"), BOTH, OURS},
            {NAME("X-Forwarded-Proto"), TO_SHOP, BELIEVED},
            {NAME("X-Method-Override"), TO_SHOP, OVERRIDE}},
    [18] = {{NAME("Proxy-Authenticate"), BOTH, OURS},
            {NAME("X-Forwarded-Prefix"), TO_SHOP, BELIEVED},
            {NAME("X-Forwarded-Scheme"), TO_SHOP, OVERRIDE},
            {NAME("X-Forwarded-Server"), TO_SHOP, OVERRIDE}},
    [19] = {{NAME("Proxy-Authorization"), BOTH, OURS}},
    [20] = {{NAME("X-HTTP-Host-Override"), TO_SHOP, OVERRIDE}},
    [22] = {{NAME("X-HTTP-Method-Override"), TO_SHOP, OVERRIDE}},
};

/* NULL: the field is forwarded. */
static const struct kept_back *find_kept_back(struct ps_str name, enum way way)
{
    if (name.len >= PS_ARRAY_LEN(kept_back))
        return NULL;
    for (size_t i = 0; i < KEPT_BACK_MAX && kept_back[name.len][i].name.len > 0; i++) {
        const struct kept_back *field = &kept_back[name.len][i];
        if ((field->way & way) != 0 && (field->name.at[0] | 0x20) == (name.at[0] | 0x20) &&
            ps_http_same_text(field->name, name))
            return field;
    }
    return NULL;
}

static bool is_own(struct ps_str name)
{
    const struct ps_str prefix = PS_STR("Penstock-");

    return name.len > prefix.len && ps_http_same_text((struct ps_str){name.at, prefix.len}, prefix);
}

static bool has_connection(const struct ps_http_head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].known == PS_HTTP_F_CONNECTION)
            return true;
    return false;
}

static bool is_ruled(const struct cfg_header_rules *rules, struct ps_str name)
{
    for (size_t i = 0; i < rules->set_count; i++)
        if (ps_http_is_text(name, rules->set[i].name))
            return true;
    for (size_t i = 0; i < rules->remove_count; i++)
        if (ps_http_is_text(name, rules->remove[i]))
            return true;
    return false;
}

/* `origin`: for requests only. */
static bool is_kept_back(struct ps_str name, enum way way, const struct up_origin *origin)
{
    const struct kept_back *field = find_kept_back(name, way);
    bool trusted = origin != NULL && origin->trusted;

    if (field == NULL)
        return is_own(name);
    return field->reason == OURS || !trusted || (field->reason == OVERRIDE && origin->keyed);
}

/* A server that turns names into variables (CGI) reads X_User_Id and X.User.Id as X-User-Id. */
static bool looks_like_ours(struct ps_str name)
{
    char plain[32];
    bool odd = false;

    if (name.len > sizeof plain)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        bool other = name.at[i] == '_' || name.at[i] == '.';
        plain[i] = (char)(other ? '-' : name.at[i]);
        odd |= other;
    }
    return odd && is_kept_back((struct ps_str){plain, name.len}, TO_SHOP, NULL);
}

static bool is_condition(struct ps_str name)
{
    return (name.len == 13 && ps_http_is_text(name, "If-None-Match")) ||
           (name.len == 17 && ps_http_is_text(name, "If-Modified-Since"));
}

enum cache_field_way up_fields_way(struct ps_str name)
{
    const struct kept_back *field = find_kept_back(name, TO_SHOP);

    if (field != NULL)
        return field->reason == BELIEVED || ps_http_is_text(name, "Host") ? CACHE_FIELD_IN_KEY
                                                                          : CACHE_FIELD_CHANGED;
    return is_own(name) || looks_like_ours(name) || is_condition(name) ? CACHE_FIELD_CHANGED
                                                                       : CACHE_FIELD_PASSED;
}

/* Copies the fields that are forwarded as they came; `origin`: for requests only. */
static void pass(struct ps_buf *buf, const struct ps_http_head *head, const char *base,
                 enum way way, const struct up_origin *origin, const struct cfg_header_rules *rules)
{
    bool listed = has_connection(head);
    bool unconditional = origin != NULL && origin->unconditional;

    for (uint32_t i = 0; i < head->field_count; i++) {
        struct ps_str name = ps_http_text(base, head->fields[i].name);
        if (is_kept_back(name, way, origin) || is_ruled(rules, name) ||
            (way == TO_SHOP && looks_like_ours(name)) || (unconditional && is_condition(name)) ||
            (listed && ps_http_is_of_connection(head, base, name)))
            continue;
        ps_http_put_known(buf, name, ps_http_text(base, head->fields[i].value));
    }
}

static void put_rules(struct ps_buf *buf, const struct cfg_header_rules *rules)
{
    for (size_t i = 0; i < rules->set_count; i++) {
        const struct cfg_header_set *set = &rules->set[i];
        ps_http_put_known(buf, ps_str(set->name), ps_str(set->value));
    }
}

static struct ps_str find_cookie(struct ps_str cookies, struct ps_str name)
{
    for (size_t at = 0; at < cookies.len;) {
        while (at < cookies.len && (cookies.at[at] == ' ' || cookies.at[at] == ';'))
            at++;
        size_t end = at;
        while (end < cookies.len && cookies.at[end] != ';')
            end++;
        if (end - at > name.len && cookies.at[at + name.len] == '=' &&
            memcmp(cookies.at + at, name.at, name.len) == 0)
            return (struct ps_str){cookies.at + at + name.len + 1, end - at - name.len - 1};
        at = end;
    }
    return (struct ps_str){NULL, 0};
}

struct ps_str up_cookie_find(const struct ps_http_head *head, const char *base, struct ps_str name)
{
    struct ps_str found = {NULL, 0};

    for (uint32_t i = 0; i < head->field_count && found.at == NULL; i++)
        if (head->fields[i].name.len == 6 &&
            ps_http_is_text(ps_http_text(base, head->fields[i].name), "Cookie"))
            found = find_cookie(ps_http_text(base, head->fields[i].value), name);
    return found;
}

/* --- Requests --- */

/* Writes what trusted proxies have sent so far as one list, which the caller continues. */
static void put_earlier(struct ps_buf *buf, const struct up_origin *origin, struct ps_str name)
{
    for (uint32_t i = 0; origin->trusted && i < origin->head->field_count; i++) {
        const struct ps_http_field *field = &origin->head->fields[i];
        if (field->value.len == 0 ||
            !ps_http_same_text(ps_http_text(origin->base, field->name), name))
            continue;
        ps_buf_put(buf, origin->base + field->value.at, field->value.len);
        ps_buf_put(buf, ", ", 2);
    }
}

/* RFC 7239: an IPv6 address stands in brackets and quotes. A host with a port is quoted, too. */
static void put_forwarded(struct ps_buf *buf, const struct up_origin *origin, const char *peer)
{
    bool v6 = !ps_address_is_v4(origin->peer) && !ps_address_is_none(origin->peer);

    ps_buf_puts(buf, "Forwarded: ");
    put_earlier(buf, origin, PS_STR("Forwarded"));
    ps_buf_puts(buf, v6 ? "for=\"[" : "for=");
    ps_buf_puts(buf, peer);
    ps_buf_puts(buf, v6 ? "]\";host=\"" : ";host=\"");
    ps_buf_put(buf, origin->host.at, origin->host.len);
    ps_buf_puts(buf, "\";proto=http\r\n");
}

/* Did a trusted proxy send it, and does Connection not keep it here? */
static bool passes_on(const struct up_origin *origin, struct ps_str name)
{
    return origin->trusted && ps_http_find(origin->head, origin->base, name).at != NULL &&
           !ps_http_is_of_connection(origin->head, origin->base, name);
}

/* A Unix socket's peer has no address to be appended. */
static void put_forwarded_for(struct ps_buf *buf, const struct up_origin *origin, const char *peer)
{
    size_t before = buf->len, begun;

    ps_buf_puts(buf, "X-Forwarded-For: ");
    begun = buf->len;
    put_earlier(buf, origin, PS_STR("X-Forwarded-For"));
    if (!ps_address_is_none(origin->peer))
        ps_buf_puts(buf, peer);
    else if (buf->len > begun)
        buf->len -= 2;
    else {
        buf->len = before;
        return;
    }
    ps_buf_puts(buf, "\r\n");
}

static void put_who_asks(struct ps_buf *buf, const struct up_origin *origin)
{
    const struct ps_str host = PS_STR("X-Forwarded-Host"), proto = PS_STR("X-Forwarded-Proto");
    char peer[46] = "unknown"; /* RFC 7239, section 6.2 */

    if (!ps_address_is_none(origin->peer))
        ps_address_format(origin->peer, peer);
    put_forwarded_for(buf, origin, peer);
    put_forwarded(buf, origin, peer);
    if (!passes_on(origin, host))
        ps_http_put_known(buf, host, origin->host);
    if (!passes_on(origin, proto))
        ps_http_put_known(buf, proto, PS_STR("http"));
    if (origin->user.len > 0)
        ps_http_put_known(buf, PS_STR("X-User-Id"), origin->user);
    ps_http_put_known(buf, PS_STR("X-Request-Id"), origin->request_id);
    if (origin->rehearsal)
        ps_http_put_known(buf, PS_STR("Penstock-Rehearsal"), PS_STR("?1"));
}

void up_fields_request(struct ps_buf *buf, const struct up_origin *origin,
                       const struct cfg_header_rules *rules)
{
    struct ps_str method = ps_http_text(origin->base, origin->head->method_text);

    ps_buf_put(buf, method.at, method.len);
    ps_buf_put(buf, " ", 1);
    ps_buf_put(buf, origin->path.at, origin->path.len);
    if (origin->query.len > 0) {
        ps_buf_put(buf, "?", 1);
        ps_buf_put(buf, origin->query.at, origin->query.len);
    }
    ps_buf_puts(buf, " HTTP/1.1\r\n");
    ps_http_put_known(buf, PS_STR("Host"), origin->host);
    pass(buf, origin->head, origin->base, TO_SHOP, origin, rules);
    if (origin->if_none_match.len > 0)
        ps_http_put_known(buf, PS_STR("If-None-Match"), origin->if_none_match);
    if (origin->if_modified_since.len > 0)
        ps_http_put_known(buf, PS_STR("If-Modified-Since"), origin->if_modified_since);
    put_who_asks(buf, origin);
    ps_http_put_known(buf, PS_STR("Via"), PS_STR(UP_VIA));
    put_rules(buf, rules);
}

/* --- Answers --- */

void up_fields_answer(struct ps_buf *buf, const struct ps_http_head *head, const char *base,
                      const struct cfg_header_rules *rules)
{
    pass(buf, head, base, TO_CLIENT, NULL, rules);
    ps_http_put_known(buf, PS_STR("Via"), PS_STR(UP_VIA));
    put_rules(buf, rules);
}

struct ps_str up_fields_ruled(struct ps_buf buf, struct ps_str lines,
                              const struct cfg_header_rules *rules)
{
    for (size_t at = 0; at < lines.len;) {
        const char *line = lines.at + at;
        const char *end = memchr(line, '\n', lines.len - at);
        size_t len = end != NULL ? (size_t)(end - line) + 1 : lines.len - at;
        const char *colon = memchr(line, ':', len);
        size_t name_len = colon != NULL ? (size_t)(colon - line) : 0;
        if (!is_ruled(rules, (struct ps_str){line, name_len}))
            ps_buf_put(&buf, line, len);
        at += len;
    }
    put_rules(&buf, rules);
    return (struct ps_str){buf.at, buf.len};
}
