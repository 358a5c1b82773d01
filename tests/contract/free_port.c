/* See free_port.h. A port is taken by binding a Unix socket of its name (in Linux's abstract name
 * space: it goes with the process). */
#include "tests/contract/free_port.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PORTS_FROM 30000
#define PORTS      2700

static bool take(int port)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "penstock-port-%d", port);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, size) == 0)
        return true; /* held until the process ends */
    close(fd);
    return false;
}

static bool is_unused(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((in_port_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool unused = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return unused;
}

int free_port(void)
{
    static int next = -1;
    if (next < 0)
        next = getpid() % PORTS;
    for (int tries = 0; tries < PORTS; tries++) {
        int port = PORTS_FROM + next++ % PORTS;
        if (take(port) && is_unused(port))
            return port;
    }
    fprintf(stderr, "no port is free from %d to %d\n", PORTS_FROM, PORTS_FROM + PORTS - 1);
    exit(1);
}
