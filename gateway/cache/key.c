/* Keys are plain text, so that an operator can write the beginning of one: `/p/1?id=2`. */
#include "gateway/cache/key.h"

#include "common/http/address.h"

#include <strings.h>

/* --- Query. --- */

struct parameter {
    struct ps_str text;
    size_t name_len;
};

static bool is_listed(const struct cfg_route_cache *route, struct ps_str name)
{
    for (size_t i = 0; i < route->name_count; i++) {
        if (ps_str_is(name, route->names[i]))
            return true;
    }
    return false;
}

static struct parameter take_parameter(struct ps_str *rest)
{
    const char *end = memchr(rest->at, '&', rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->at) : rest->len;
    struct parameter parameter = {{rest->at, len}, len};
    const char *equals = memchr(rest->at, '=', len);
    if (equals != NULL)
        parameter.name_len = (size_t)(equals - rest->at);
    len += end != NULL;
    rest->at += len;
    rest->len -= len;
    return parameter;
}

static bool comes_before(const struct parameter *a, const struct parameter *b)
{
    return ps_str_compare((struct ps_str){a->text.at, a->name_len},
                          (struct ps_str){b->text.at, b->name_len}) < 0;
}

bool cache_query_put(const struct cfg_route_cache *route, struct ps_str query, struct ps_buf *buf)
{
    struct parameter sorted[CACHE_PARAMETERS_MAX];
    size_t count = 0;
    if (route->query == CFG_QUERY_NONE)
        return !buf->overflow;
    while (query.at != NULL && query.len > 0) {
        struct parameter parameter = take_parameter(&query);
        if (parameter.text.len == 0 ||
            (route->query == CFG_QUERY_LISTED &&
             !is_listed(route, (struct ps_str){parameter.text.at, parameter.name_len})))
            continue;
        if (count == CACHE_PARAMETERS_MAX)
            return false;
        size_t at = count++;
        for (; at > 0 && comes_before(&parameter, &sorted[at - 1]); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = parameter;
    }
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            ps_buf_put(buf, "&", 1);
        ps_buf_put(buf, sorted[i].text.at, sorted[i].text.len);
    }
    return !buf->overflow;
}

bool cache_key_put(const struct cfg_route_cache *route, struct ps_str path, struct ps_str query,
                   struct ps_buf *buf)
{
    if (path.len == 0)
        path = PS_STR("/");
    ps_buf_put(buf, path.at, path.len);
    size_t before = buf->len;
    ps_buf_put(buf, "?", 1);
    if (!cache_query_put(route, query, buf))
        return false;
    if (buf->len == before + 1) /* no parameter counts */
        buf->len = before;
    return !buf->overflow && buf->len <= CACHE_KEY_MAX;
}

/* --- What Location names. --- */

static bool has_prefix(struct ps_str text, const char *prefix)
{
    return text.len >= strlen(prefix) && strncasecmp(text.at, prefix, strlen(prefix)) == 0;
}

/* "//shop.example:80/a" after the scheme (NULL: none): takes the authority. */
static bool take_same_authority(struct ps_str *named, struct ps_str authority, const char *scheme)
{
    char texts[2][CACHE_HOST_MAX];
    struct ps_buf one, other;
    size_t len = 2;

    while (len < named->len && strchr("/?#", named->at[len]) == NULL)
        len++;
    ps_buf_init(&one, texts[0], sizeof texts[0]);
    ps_buf_init(&other, texts[1], sizeof texts[1]);
    ps_http_put_authority(&one, (struct ps_str){named->at + 2, len - 2}, scheme);
    ps_http_put_authority(&other, authority, scheme);
    *named = (struct ps_str){named->at + len, named->len - len};
    return !one.overflow && !other.overflow &&
           ps_str_same((struct ps_str){one.at, one.len}, (struct ps_str){other.at, other.len});
}

/* Does it have a segment "." or ".."? Those are not resolved here. */
static bool has_dots(struct ps_str path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (path.at[i] == '.' && (i == 0 || path.at[i - 1] == '/')) {
            size_t end = i + 1 < path.len && path.at[i + 1] == '.' ? i + 2 : i + 1;
            if (end == path.len || path.at[end] == '/')
                return true;
        }
    }
    return false;
}

bool cache_key_put_named(const struct cfg_route_cache *route, struct ps_str authority,
                         struct ps_str path, struct ps_str named, struct ps_buf *buf)
{
    char text[CACHE_KEY_MAX], normal[CACHE_KEY_MAX];
    struct ps_buf whole, spelt;
    const char *scheme = has_prefix(named, "http:")    ? "http"
                         : has_prefix(named, "https:") ? "https"
                                                       : NULL;
    size_t skip = scheme != NULL ? strlen(scheme) + 1 : 0, end = 0, path_end = 0;

    ps_buf_init(&whole, text, sizeof text);
    ps_buf_init(&spelt, normal, sizeof normal);
    named = (struct ps_str){named.at + skip, named.len - skip};
    bool absolute = has_prefix(named, "//");
    if ((absolute && !take_same_authority(&named, authority, scheme)) ||
        (scheme != NULL && !absolute))
        return false;
    while (end < named.len && named.at[end] != '#')
        end++;
    if (!ps_http_put_normal(&spelt, (struct ps_str){named.at, end}))
        return false;
    while (path_end < spelt.len && normal[path_end] != '?')
        path_end++;
    struct ps_str query = {NULL, 0};
    if (path_end < spelt.len)
        query = (struct ps_str){normal + path_end + 1, spelt.len - path_end - 1};
    if (!absolute && path_end == 0) { /* "?a=1": the same path */
        ps_buf_put(&whole, path.at, path.len);
    } else if (!absolute && normal[0] != '/') { /* relative to the requested path */
        size_t parent = path.len;
        while (parent > 0 && path.at[parent - 1] != '/')
            parent--;
        ps_buf_put(&whole, path.at, parent);
    }
    ps_buf_put(&whole, normal, path_end);
    return !whole.overflow && !has_dots((struct ps_str){text, whole.len}) &&
           cache_key_put(route, (struct ps_str){text, whole.len}, query, buf);
}

/* --- Vary. --- */

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

#define PARTS_MAX 32 /* of Accept-Encoding; more are not sorted */

static void put_lower(struct ps_buf *buf, struct ps_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = lower(text.at[i]);
        ps_buf_put(buf, &c, 1);
    }
}

static int compare_lower(struct ps_str a, struct ps_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = strncasecmp(a.at, b.at, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Collects the parts of all lines of the field; returns how many. A field that Connection names has
 * none: the shop does not see it. */
static size_t read_parts(struct cache_message request, struct ps_str name,
                         struct ps_str parts[PARTS_MAX], bool sorted)
{
    size_t count = 0;
    if (ps_http_is_of_connection(request.head, request.data, name))
        return 0;
    for (uint32_t i = 0; i < request.head->field_count; i++) {
        const struct ps_http_field *field = &request.head->fields[i];
        if (!ps_http_same_text(name, ps_http_text(request.data, field->name)))
            continue;
        struct ps_str rest = ps_http_text(request.data, field->value), part;
        while (ps_http_take_element(&rest, &part)) {
            if (count == PARTS_MAX)
                return SIZE_MAX;
            size_t at = count++;
            for (; sorted && at > 0 && compare_lower(part, parts[at - 1]) < 0; at--)
                parts[at] = parts[at - 1];
            parts[at] = part;
        }
    }
    return count;
}

/* "name:value
 * "; `name` is lower case. Fails if the value has too many parts. */
static bool put_selected(struct cache_message request, struct ps_str name, struct ps_buf *buf)
{
    static const char *const folded[] = {"accept-encoding", "accept", "accept-charset",
                                         "accept-language"};
    struct ps_str parts[PARTS_MAX];
    bool is_folded = false;
    for (size_t i = 0; i < PS_ARRAY_LEN(folded); i++)
        is_folded |= ps_http_is_text(name, folded[i]);
    size_t count = read_parts(request, name, parts, ps_http_is_text(name, "accept-encoding"));
    if (count == SIZE_MAX)
        return false;
    ps_buf_put(buf, name.at, name.len);
    ps_buf_put(buf, ":", 1);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            ps_buf_put(buf, ",", 1);
        if (is_folded)
            put_lower(buf, parts[i]);
        else
            ps_buf_put(buf, parts[i].at, parts[i].len);
    }
    ps_buf_put(buf, "\n", 1);
    return !buf->overflow && buf->len <= CACHE_VARY_TEXT_MAX;
}

/* The names in Vary, each once, sorted. */
static bool read_names(struct cache_message answer, struct ps_str names[CACHE_VARY_NAMES_MAX],
                       size_t *ret_count)
{
    *ret_count = 0;
    for (uint32_t i = 0; i < answer.head->field_count; i++) {
        const struct ps_http_field *field = &answer.head->fields[i];
        if (!ps_http_is_text(ps_http_text(answer.data, field->name), "vary"))
            continue;
        struct ps_str rest = ps_http_text(answer.data, field->value), name;
        while (ps_http_take_element(&rest, &name)) {
            size_t at = 0;
            while (at < *ret_count && compare_lower(names[at], name) < 0)
                at++;
            if (at < *ret_count && compare_lower(names[at], name) == 0)
                continue;
            if (*ret_count == CACHE_VARY_NAMES_MAX || !ps_http_is_token(name) ||
                ps_http_is_text(name, "*"))
                return false;
            memmove(&names[at + 1], &names[at], (*ret_count - at) * sizeof names[0]);
            names[at] = name;
            (*ret_count)++;
        }
    }
    return true;
}

bool cache_vary_put(struct cache_message answer, struct cache_message request,
                    cache_field_way_fn *way, struct ps_buf *buf)
{
    struct ps_str names[CACHE_VARY_NAMES_MAX + 1];
    size_t count;
    if (!read_names(answer, names, &count))
        return false;
    for (size_t i = 0; i < count; i++) {
        char text[CACHE_VARY_TEXT_MAX];
        struct ps_buf name;
        enum cache_field_way its = way != NULL ? way(names[i]) : CACHE_FIELD_PASSED;
        if (its == CACHE_FIELD_CHANGED)
            return false;
        if (its == CACHE_FIELD_IN_KEY)
            continue;
        ps_buf_init(&name, text, sizeof text);
        put_lower(&name, names[i]);
        if (name.overflow || !put_selected(request, (struct ps_str){text, name.len}, buf))
            return false;
    }
    return true;
}

bool cache_vary_put_like(struct ps_str vary, struct cache_message request, struct ps_buf *buf)
{
    while (vary.len > 0) {
        const char *end = memchr(vary.at, '\n', vary.len);
        const char *colon = memchr(vary.at, ':', vary.len);
        if (!put_selected(request, (struct ps_str){vary.at, (size_t)(colon - vary.at)}, buf))
            return false;
        size_t len = (size_t)(end + 1 - vary.at);
        vary.at += len;
        vary.len -= len;
    }
    return true;
}

bool cache_vary_fits(struct ps_str vary, struct cache_message request)
{
    char text[CACHE_VARY_TEXT_MAX];
    struct ps_buf buf;
    if (vary.len == 0)
        return true;
    ps_buf_init(&buf, text, sizeof text);
    return cache_vary_put_like(vary, request, &buf) && buf.len == vary.len &&
           memcmp(text, vary.at, vary.len) == 0;
}
