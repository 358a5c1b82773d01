/* Opens listen sockets. With SO_REUSEPORT each thread has a socket of its own, and the kernel
 * distributes connections. But SO_REUSEPORT also lets a second program of the same user bind a port
 * that is taken, and take half of its clients. So the first bind is made without it; only if that
 * shows that the port is free, the sockets of the threads are opened. */
#include "gateway/server/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */

struct address {
    struct sockaddr_storage at;
    socklen_t len;
};

static int parse(const char *host, uint16_t port, struct address *ret_address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(&ret_address->at, &v4, sizeof v4);
        ret_address->len = sizeof v4;
        return 0;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(&ret_address->at, &v6, sizeof v6);
        ret_address->len = sizeof v6;
        return 0;
    }
    return PS_E_INVALID;
}

static int fault_of(int error)
{
    switch (error) {
    case EADDRINUSE:
        return PS_E_BUSY;
    case EACCES:
    case EPERM:
        return PS_E_PERMISSION;
    case EADDRNOTAVAIL:
    /* an IPv6 address that no socket can bind: it contains IPv4, or is link-local without its
     * interface */
    case EINVAL:
    case EAFNOSUPPORT:
        return PS_E_INVALID;
    default:
        return PS_E_IO;
    }
}

static int open_bound(const struct address *address, bool shared, int *ret_fd)
{
    int one = 1;
    int fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fault_of(errno);
    /* An IPv6 socket accepts IPv6 only, so that "::" and "0.0.0.0" can both be listed. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) ||
        (address->at.ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0) ||
        bind(fd, (const struct sockaddr *)&address->at, address->len) != 0) {
        int err = fault_of(errno);
        close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage at;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    socklen_t len = sizeof at;

    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return 0;
    if (at.ss_family == AF_INET6) {
        memcpy(&v6, &at, sizeof v6);
        return ntohs(v6.sin6_port);
    }
    memcpy(&v4, &at, sizeof v4);
    return ntohs(v4.sin_port);
}

int srv_listen(const char *host, uint16_t port, size_t count, int *ret_fds, uint16_t *ret_port)
{
    struct address address;
    size_t opened = 0;
    int trial;

    int err = parse(host, port, &address);
    if (err < 0)
        return err;
    err = open_bound(&address, false, &trial);
    if (err < 0)
        return err;
    uint16_t taken = port_of(trial);
    close(trial);
    if (taken == 0)
        return PS_E_IO;
    err = parse(host, taken, &address);
    if (err < 0)
        return err;

    for (; opened < count; opened++) {
        err = open_bound(&address, true, &ret_fds[opened]);
        if (err < 0)
            goto fail;
        if (listen(ret_fds[opened], BACKLOG) != 0) {
            err = fault_of(errno);
            close(ret_fds[opened]);
            goto fail;
        }
    }
    *ret_port = taken;
    return 0;
fail:
    while (opened > 0)
        close(ret_fds[--opened]);
    return err;
}
