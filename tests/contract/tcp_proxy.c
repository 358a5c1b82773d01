/* The proxy: one loop around poll, a buffer for each direction of each connection. A direction that
 * is swallowed is read and dropped. */
#include "tests/contract/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS  128
#define BUFFER 65536

struct half {
    int from, to;
    size_t start, end;
    char buffer[BUFFER];
};

struct pair {
    bool used;
    struct half request, answer;
};

struct proxy {
    int port, server_port;
    int listener; /* -1: refuses */
    char mode;
    struct pair pairs[PAIRS];
};

static int listen_on(int port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0)
        abort();
    return fd;
}

static int connect_to(int port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

/* With a reset rather than an end. */
static void hang_up(int fd)
{
    const struct linger reset = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

static void drop(struct pair *pair)
{
    hang_up(pair->request.from);
    hang_up(pair->request.to);
    pair->used = false;
}

static void accept_one(struct proxy *proxy)
{
    int one = 1;
    int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    struct pair *pair = proxy->pairs;
    while (pair < proxy->pairs + PAIRS && pair->used)
        pair++;
    int server = pair < proxy->pairs + PAIRS ? connect_to(proxy->server_port) : -1;
    if (server < 0) {
        hang_up(client);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pair->used = true;
    pair->request.from = pair->answer.to = client;
    pair->request.to = pair->answer.from = server;
    pair->request.start = pair->request.end = pair->answer.start = pair->answer.end = 0;
}

/* False: the connection has ended. */
static bool move(struct half *half, bool swallow, short events)
{
    if (half->start == half->end) {
        if ((events & (POLLIN | POLLHUP | POLLERR)) == 0)
            return true;
        ssize_t got = recv(half->from, half->buffer, BUFFER, MSG_DONTWAIT);
        if (got <= 0)
            return false;
        half->start = 0;
        half->end = swallow ? 0 : (size_t)got;
    }
    if (half->start < half->end) {
        ssize_t sent = send(half->to, half->buffer + half->start, half->end - half->start,
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            half->start += (size_t)sent;
    }
    return true;
}

static void set_mode(struct proxy *proxy, char mode)
{
    for (struct pair *pair = proxy->pairs; pair < proxy->pairs + PAIRS; pair++)
        if (pair->used && mode != proxy->mode && (mode == 'c' || mode == 'w'))
            drop(pair);
    if (mode == 'c' && proxy->listener >= 0) {
        close(proxy->listener);
        proxy->listener = -1;
    } else if (mode != 'c' && proxy->listener < 0) {
        proxy->listener = listen_on(proxy->port);
    }
    proxy->mode = mode;
}

/* What to wait for on a half; each socket stands twice in the list, once for each half. */
static struct pollfd wait_for(const struct half *half)
{
    if (half->start == half->end)
        return (struct pollfd){.fd = half->from, .events = POLLIN};
    return (struct pollfd){.fd = half->to, .events = POLLOUT};
}

void tcp_proxy_run(int port, int server_port, int orders, int answers)
{
    static struct proxy proxy;
    proxy = (struct proxy){.port = port, .server_port = server_port, .listener = -1};
    set_mode(&proxy, 'w');
    for (;;) {
        struct pollfd fds[2 + 2 * PAIRS];
        struct pair *of[PAIRS];
        nfds_t count = 2;
        fds[0] = (struct pollfd){.fd = orders, .events = POLLIN};
        fds[1] = (struct pollfd){.fd = proxy.listener, .events = POLLIN};
        for (struct pair *pair = proxy.pairs; pair < proxy.pairs + PAIRS; pair++) {
            if (!pair->used)
                continue;
            of[(count - 2) / 2] = pair;
            fds[count++] = wait_for(&pair->request);
            fds[count++] = wait_for(&pair->answer);
        }
        if (poll(fds, count, -1) < 0)
            continue;
        for (nfds_t i = 2; i < count; i += 2) {
            struct pair *pair = of[(i - 2) / 2];
            if (!move(&pair->request, proxy.mode == 'q', fds[i].revents) ||
                !move(&pair->answer, proxy.mode == 'a', fds[i + 1].revents))
                drop(pair);
        }
        if (fds[1].revents != 0)
            accept_one(&proxy);
        if (fds[0].revents != 0) {
            char mode;
            if (read(orders, &mode, 1) != 1)
                return;
            set_mode(&proxy, mode);
            if (write(answers, &mode, 1) != 1)
                return;
        }
    }
}
