/* Reads the URL from left to right: scheme, secrets, hosts, master, db. What is wrong is named; the
 * text itself is never repeated as a whole, because it may hold a password. */
#include "common/redis/redis_url.h"
#include "common/text/id.h"

#include <string.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* Percent-decodes into a string of at most PS_REDIS_SECRET_MAX bytes. */
static bool take_secret(struct ps_str text, char ret[PS_REDIS_SECRET_MAX + 1])
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int byte = (unsigned char)text.at[i];
        if (byte == '%') {
            int high = i + 2 < text.len ? hex_value(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.at[i + 2]) : -1;
            byte = high < 0 || low < 0 ? 0 : high << 4 | low;
            i += 2;
        }
        if (byte == 0 || len == PS_REDIS_SECRET_MAX)
            return false;
        ret[len++] = (char)byte;
    }
    ret[len] = '\0';
    return true;
}

/* Decimal digits only. */
static bool take_number(struct ps_str text, int max, int *ret)
{
    int value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        value = value * 10 + (text.at[i] - '0');
        if (value > max)
            return false;
    }
    *ret = value;
    return text.len > 0;
}

/* What lies before the first (or last) `c`, which goes too; all of it when there is none. */
static struct ps_str cut_at(struct ps_str *rest, const char *c)
{
    struct ps_str head = {rest->at, rest->len};
    if (c != NULL)
        head.len = (size_t)(c - rest->at);
    size_t gone = c != NULL ? head.len + 1 : head.len;
    *rest = (struct ps_str){rest->at + gone, rest->len - gone};
    return head;
}

static const char *find_char(struct ps_str text, char c)
{
    return text.len > 0 ? memchr(text.at, c, text.len) : NULL;
}

static bool host_name_ok(struct ps_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (c <= ' ' || c == 0x7f || strchr("[]@/?#\\%", c) != NULL)
            return false;
    }
    return name.len > 0 && name.len <= PS_REDIS_HOST_MAX;
}

static int take_host(struct ps_str text, int port, struct ps_redis_host *ret,
                     struct ps_fault *fault)
{
    struct ps_str name;
    if (text.len > 0 && text.at[0] == '[') {
        text = (struct ps_str){text.at + 1, text.len - 1};
        const char *end = find_char(text, ']');
        if (end == NULL)
            return ps_fault(fault, PS_E_INVALID, "", "an IPv6 address lacks its \"]\"");
        name = cut_at(&text, end);
        if (text.len > 0 && text.at[0] != ':')
            return ps_fault(fault, PS_E_INVALID, "", "after \"]\" only a port may follow");
        if (text.len > 0 && !take_number((struct ps_str){text.at + 1, text.len - 1}, 65535, &port))
            port = 0;
    } else {
        const char *colon = find_char(text, ':');
        name = cut_at(&text, colon);
        if (colon != NULL && !take_number(text, 65535, &port))
            port = 0;
    }
    if (port == 0)
        return ps_fault(fault, PS_E_INVALID, "", "a port must be a number from 1 to 65535");
    if (!host_name_ok(name))
        return ps_fault(fault, PS_E_INVALID, "", "a host is missing or has an invalid character");
    memcpy(ret->name, name.at, name.len);
    ret->name[name.len] = '\0';
    ret->port = (uint16_t)port;
    return 0;
}

static int take_hosts(struct ps_str text, bool sentinels, struct ps_redis_url *url,
                      struct ps_fault *fault)
{
    const char *comma;
    do {
        if (url->host_count == (sentinels ? PS_REDIS_HOSTS_MAX : 1))
            return ps_fault(fault, PS_E_INVALID, "", "too many hosts: at most %d",
                            sentinels ? PS_REDIS_HOSTS_MAX : 1);
        comma = find_char(text, ',');
        int err = take_host(cut_at(&text, comma), sentinels ? 26379 : 6379,
                            &url->hosts[url->host_count++], fault);
        if (err < 0)
            return err;
    } while (comma != NULL);
    return 0;
}

enum scheme { PLAIN, SENTINEL, TLS, SCHEMES };

static int take_scheme(struct ps_str *rest, enum scheme *ret_scheme, struct ps_fault *fault)
{
    static const char *const schemes[SCHEMES] = {
        [PLAIN] = "redis://", [SENTINEL] = "redis+sentinel://", [TLS] = "rediss://"};
    for (enum scheme scheme = PLAIN; scheme < SCHEMES; scheme++) {
        size_t len = strlen(schemes[scheme]);
        if (strncmp(rest->at, schemes[scheme], len) != 0)
            continue;
        *rest = (struct ps_str){rest->at + len, rest->len - len};
        *ret_scheme = scheme;
        return 0;
    }
    return ps_fault(fault, PS_E_INVALID, "", "must begin with redis:// or redis+sentinel://");
}

/* Debian's hiredis has no TLS. */
static int refuse_tls(const struct ps_redis_url *url, struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_INVALID, "",
                    "rediss:// (TLS) is not supported: run stunnel beside this gateway with "
                    "client = yes, accept = 127.0.0.1:6380, connect = %.100s:%u (all of it: "
                    "deploy/redis/stunnel.conf), and put redis://127.0.0.1:6380/%d here, with the "
                    "same user and password",
                    url->hosts[0].name, (unsigned)url->hosts[0].port, url->db);
}

int ps_redis_url_parse(const char *text, struct ps_redis_url *ret_url, struct ps_fault *fault)
{
    struct ps_str rest = {text, strlen(text)};
    struct ps_redis_url url = {0};
    enum scheme scheme = PLAIN;
    int err = take_scheme(&rest, &scheme, fault);
    if (err < 0)
        return err;

    struct ps_str path = rest;
    struct ps_str place = cut_at(&path, find_char(rest, '/'));
    const char *at = place.len > 0 ? memrchr(place.at, '@', place.len) : NULL;
    if (at != NULL) {
        struct ps_str password = cut_at(&place, at);
        struct ps_str user = cut_at(&password, find_char(password, ':'));
        if (!take_secret(user, url.user) || !take_secret(password, url.password))
            return ps_fault(fault, PS_E_INVALID, "",
                            "user and password have at most %d bytes and no bad %%-escape",
                            PS_REDIS_SECRET_MAX);
    }
    if ((err = take_hosts(place, scheme == SENTINEL, &url, fault)) < 0)
        return err;
    if (scheme == SENTINEL) {
        struct ps_str name = cut_at(&path, find_char(path, '/'));
        if (!ps_name_ok(name.at, name.len))
            return ps_fault(fault, PS_E_INVALID, "",
                            "redis+sentinel:// needs the master's name as its path: "
                            "redis+sentinel://host:26379/mymaster");
        memcpy(url.master, name.at, name.len);
    }
    if (path.len > 0 && !take_number(path, 1 << 20, &url.db))
        return ps_fault(fault, PS_E_INVALID, "", "the database must be a number");
    if (scheme == TLS)
        return refuse_tls(&url, fault);
    *ret_url = url;
    return 0;
}
