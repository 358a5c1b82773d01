/* A rehearsal is an attack on its target, so the name is resolved first and every address counts: a
 * name with one foreign address is foreign. */
#include "loadtest/target.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    }
    return false;
}

static int split_url(const char *url, struct lt_target *target)
{
    static const char scheme[] = "http://";
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return PS_E_INVALID;
    const char *at = url + sizeof scheme - 1;
    size_t authority_len = strcspn(at, "/?#@");
    const char *tail = at + authority_len;
    if (authority_len == 0 || authority_len >= sizeof target->authority ||
        (*tail != '\0' && strcmp(tail, "/") != 0))
        return PS_E_INVALID;
    memcpy(target->authority, at, authority_len);
    target->authority[authority_len] = '\0';

    bool bracket = at[0] == '[';
    const char *host = bracket ? at + 1 : at;
    size_t host_len = strcspn(host, bracket ? "]" : ":/");
    const char *after = host + host_len + bracket;
    if (host_len == 0 || host_len > LT_HOST_MAX || (bracket && host[host_len] != ']'))
        return PS_E_INVALID;
    memcpy(target->host, host, host_len);
    target->host[host_len] = '\0';

    strcpy(target->port, "80");
    if (after == tail)
        return 0;
    size_t port_len = (size_t)(tail - after) - 1;
    if (*after != ':' || port_len < 1 || port_len > 5 ||
        strspn(after + 1, "0123456789") != port_len || strtol(after + 1, NULL, 10) > 65535)
        return PS_E_INVALID;
    memcpy(target->port, after + 1, port_len);
    target->port[port_len] = '\0';
    return 0;
}

static bool is_listening(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    return connected;
}

/* "localhost" is often ::1 first, where nobody may listen: the first address that accepts a
 * connection is used. Only this machine is tried: no other may be touched yet. */
static const struct addrinfo *choose_address(const struct lt_target *target,
                                             const struct addrinfo *found)
{
    if (!target->loopback || found->ai_next == NULL)
        return found;
    for (const struct addrinfo *each = found; each != NULL; each = each->ai_next)
        if (is_listening(each))
            return each;
    return found;
}

int lt_target_parse(const char *url, const char *what, struct lt_target *ret_target,
                    struct ps_fault *fault)
{
    struct lt_target target = {.loopback = true};
    if (split_url(url, &target) < 0)
        return ps_fault(
            fault, PS_E_INVALID, what, "\"%s\" is not http://HOST[:PORT]%s", url,
            strncmp(url, "https:", strlen("https:")) == 0
                ? "; a rehearsal does not support TLS: aim at the gateway behind the proxy"
                : "");

    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int failed = getaddrinfo(target.host, target.port, &hints, &found);
    if (failed != 0)
        return ps_fault(fault, PS_E_NOT_FOUND, what, "%s: %s", target.host, gai_strerror(failed));
    for (const struct addrinfo *each = found; each != NULL; each = each->ai_next)
        target.loopback = target.loopback && is_loopback(each->ai_addr);
    const struct addrinfo *chosen = choose_address(&target, found);
    memcpy(&target.address, chosen->ai_addr, chosen->ai_addrlen);
    target.address_len = chosen->ai_addrlen;
    freeaddrinfo(found);
    *ret_target = target;
    return 0;
}
