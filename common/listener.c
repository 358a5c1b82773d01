/* See listener.h. The routing table knows whether an address belongs to this machine: a datagram
 * socket that is connected to one of the machine's addresses gets that address as its own, and
 * otherwise does not. Nothing is sent. A list of the interfaces (getifaddrs) would have to be read
 * again and again, and needs AF_NETLINK, which the service may not use. */
#include "common/listener.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISCARD_PORT 9 /* any */

static bool is_any(const struct ps_address *address)
{
    static const struct ps_address any_v4 = {{[10] = 0xff, [11] = 0xff}}, any_v6 = {{0}};

    return memcmp(address, &any_v4, sizeof any_v4) == 0 ||
           memcmp(address, &any_v6, sizeof any_v6) == 0;
}

static bool is_of_this_machine(const struct ps_address *address)
{
    bool is_v4 = ps_address_is_v4(address);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(DISCARD_PORT)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(DISCARD_PORT)};
    struct sockaddr *at = is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
    socklen_t len = is_v4 ? sizeof v4 : sizeof v6;
    int fd = socket(at->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    memcpy(&v4.sin_addr, address->byte + PS_V4_BITS / 8, sizeof v4.sin_addr);
    memcpy(&v6.sin6_addr, address->byte, sizeof v6.sin6_addr);
    bool connected = connect(fd, at, len) == 0 && getsockname(fd, at, &len) == 0;
    close(fd);
    return connected &&
           (is_v4 ? memcmp(&v4.sin_addr, address->byte + PS_V4_BITS / 8, sizeof v4.sin_addr) == 0
                  : memcmp(&v6.sin6_addr, address->byte, sizeof v6.sin6_addr) == 0);
}

bool ps_listener_takes(const struct ps_listener *listener, const struct ps_address *address,
                       uint16_t port)
{
    const struct ps_address *own = &listener->address;

    if (port == 0 || port != listener->port || ps_address_is_v4(address) != ps_address_is_v4(own))
        return false;
    if (is_any(address) || memcmp(address, own, sizeof *own) == 0)
        return true;
    return is_any(own) && (ps_address_is_loopback(address) || is_of_this_machine(address));
}
