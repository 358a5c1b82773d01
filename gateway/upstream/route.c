/* The index is a hash table of (host, path, exact). Routes with the same key differ in their
 * methods and are chained. */
#include "gateway/upstream/route.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 255

struct key {
    struct ps_str host; /* lower case; .len == 0: any */
    struct ps_str path;
    bool exact;
};

/* FNV-1a, byte by byte, so that one pass over a path yields the hashes of all its prefixes. Only
 * operators choose the stored keys, so nobody can force collisions. */
static uint64_t add_to_hash(uint64_t hash, const char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (uint8_t)at[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t begin_hash(struct ps_str host, bool exact)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)exact;

    return add_to_hash(add_to_hash(hash, host.at, host.len), "\xff", 1);
}

static struct key key_of(const struct cfg_route *route)
{
    return (struct key){.host = {route->host, route->host != NULL ? strlen(route->host) : 0},
                        .path = {route->path, route->path_len},
                        .exact = route->exact};
}

static size_t place_of(uint64_t hash, size_t count)
{
    return (size_t)(hash ^ hash >> 32) & (count - 1);
}

int up_route_index(struct up_table *table)
{
    size_t count = 16;

    while (count < 2 * table->route_count)
        count *= 2;
    table->slots = calloc(count, sizeof *table->slots);
    if (table->slots == NULL)
        return PS_E_NOMEM;
    table->slot_count = count;
    for (size_t i = 0; i < table->route_count; i++) {
        struct key key = key_of(table->routes[i].doc);
        uint64_t hash = add_to_hash(begin_hash(key.host, key.exact), key.path.at, key.path.len);
        size_t slot = place_of(hash, count);
        while (table->slots[slot] != 0)
            slot = (slot + 1) & (count - 1);
        table->slots[slot] = (uint32_t)i + 1;
    }
    return 0;
}

/* A route of this key that serves the method; NULL: none, and *other is one of this key. */
static const struct up_route_view *look_up(const struct up_table *table, const struct key *key,
                                           uint64_t hash, enum ps_http_method method,
                                           const struct up_route_view **other)
{
    size_t slot = place_of(hash, table->slot_count);

    for (; table->slots[slot] != 0; slot = (slot + 1) & (table->slot_count - 1)) {
        const struct up_route_view *route = &table->routes[table->slots[slot] - 1];
        struct key has = key_of(route->doc);
        if (has.exact != key->exact || !ps_str_same(has.host, key->host) ||
            !ps_str_same(has.path, key->path))
            continue;
        if ((route->doc->methods >> method & 1) != 0)
            return route;
        *other = route;
    }
    return NULL;
}

static const struct up_route_view *find_of_host(const struct up_table *table, struct ps_str host,
                                                struct ps_str path, enum ps_http_method method,
                                                const struct up_route_view **other)
{
    struct key key = {.host = host, .path = path, .exact = true};
    const struct up_route_view *route, *found = NULL;
    uint64_t hash = begin_hash(host, false);

    route =
        look_up(table, &key, add_to_hash(begin_hash(host, true), path.at, path.len), method, other);
    if (route != NULL)
        return route;
    key.exact = false;
    for (size_t i = 0; i < path.len; i++) {
        hash = add_to_hash(hash, path.at + i, 1);
        if (path.at[i] != '/')
            continue;
        key.path.len = i + 1;
        route = look_up(table, &key, hash, method, other);
        found = route != NULL ? route : found;
    }
    return found;
}

const struct up_route_view *up_route_find(const struct up_table *table, struct ps_str host,
                                          struct ps_str path, enum ps_http_method method,
                                          const struct up_route_view **ret_other)
{
    const struct up_route_view *route = NULL;
    char lower[HOST_MAX];

    *ret_other = NULL;
    if (table->route_count == 0)
        return NULL;
    if (host.len > 0 && host.len <= sizeof lower) {
        for (size_t i = 0; i < host.len; i++)
            lower[i] =
                (char)(host.at[i] >= 'A' && host.at[i] <= 'Z' ? host.at[i] | 0x20 : host.at[i]);
        route = find_of_host(table, (struct ps_str){lower, host.len}, path, method, ret_other);
    }
    return route != NULL ? route
                         : find_of_host(table, (struct ps_str){"", 0}, path, method, ret_other);
}

/* The byte at `at`, percent-decoded once; *ret_len is the length of its encoding. */
static char decode_one(const char *at, size_t len, size_t *ret_len)
{
    static const struct {
        char code[4], byte;
    } codes[] = {{"%2e", '.'}, {"%2f", '/'}, {"%5c", '\\'}, {"%3b", ';'}};

    *ret_len = 1;
    for (size_t i = 0; at[0] == '%' && len >= 3 && i < PS_ARRAY_LEN(codes); i++) {
        if (strncasecmp(at, codes[i].code, 3) != 0)
            continue;
        *ret_len = 3;
        return codes[i].byte;
    }
    return at[0];
}

bool up_path_has_dots(struct ps_str path)
{
    size_t dots = 0, others = 0, step; /* of the segment, before its parameters */
    bool named = true;

    for (size_t i = 0; i < path.len; i += step) {
        char byte = decode_one(path.at + i, path.len - i, &step);
        if (byte == '/' || byte == '\\') {
            if (others == 0 && (dots == 1 || dots == 2))
                return true;
            dots = others = 0;
            named = true;
        } else if (byte == ';') {
            named = false;
        } else if (named) {
            dots += byte == '.';
            others += byte != '.';
        }
    }
    return others == 0 && (dots == 1 || dots == 2);
}
