/* See net.h. Level-triggered readiness is looked up when the loop asks; nothing is queued. What is
 * not one of our descriptors goes to the kernel. */
#include "tests/fuzz/pages/net.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BASE  256
#define COUNT 128

#define POLLERS 4 /* libuv's, and those of the gateway's own */

enum kind { FREE, POLLER, EVENT, LISTENER, STREAM };

struct end {
    enum kind kind;
    uint32_t interest[POLLERS];
    epoll_data_t data[POLLERS];
    uint64_t count; /* EVENT */
    struct ps_address from;
    bool accepted;                      /* or made by connect */
    bool is_connecting, is_refused;     /* STREAM by connect */
    bool in_end, in_reset;              /* by the far end */
    bool out_end, is_closed, has_reset; /* by the gateway */
    bool is_left;                       /* by the far end */
    size_t in_len, in_at, out_len, out_max;
    unsigned order; /* in which clients came; which POLLER it is */
};

static struct end ends[COUNT];
static char ins[COUNT][NET_IN_MAX], outs[COUNT][NET_OUT_MAX];
static uint32_t interests[BASE][POLLERS]; /* of the kernel's descriptors: never ready */
static int64_t now_ns;
static size_t events_told, moves;
static unsigned clients, pollers, first_told, top; /* no descriptor from there on was given */

static struct end *find(int fd)
{
    struct end *end = fd >= BASE && fd < BASE + COUNT ? &ends[fd - BASE] : NULL;

    return end != NULL && end->kind != FREE && !end->is_closed ? end : NULL;
}

static struct end *far(int fd)
{
    MUST(fd >= BASE && fd < BASE + COUNT && ends[fd - BASE].kind == STREAM);
    return &ends[fd - BASE];
}

static char *in_of(const struct end *end)
{
    return ins[end - ends];
}

static char *out_of(const struct end *end)
{
    return outs[end - ends];
}

static int take(enum kind kind)
{
    for (int i = 0; i < COUNT; i++) {
        if (ends[i].kind != FREE)
            continue;
        ends[i] = (struct end){.kind = kind, .out_max = NET_OUT_MAX};
        top = (unsigned)i < top ? top : (unsigned)i + 1;
        return BASE + i;
    }
    errno = EMFILE;
    return -1;
}

/* With FUZZ_TRACE in the environment a script that was found can be watched. */
static void trace(const char *what, int fd, const char *data, size_t len)
{
    static const char *is_on = "";

    if (is_on != NULL && *is_on == '\0')
        is_on = getenv("FUZZ_TRACE");
    if (is_on != NULL && len > 0)
        (void)fprintf(stderr, "%lld ms, %d %s %zu: %.*s\n", (long long)(now_ns / PS_NS_PER_MS), fd,
                      what, len, (int)(len < 600 ? len : 600), data);
}

void net_reset(void)
{
    memset(ends, 0, sizeof ends);
    now_ns = INT64_C(1000000) * PS_NS_PER_S;
    clients = pollers = first_told = top = 0;
    memset(interests, 0, sizeof interests);
}

int64_t net_now_ns(void)
{
    return now_ns;
}

void net_stall(int64_t ms)
{
    now_ns += ms * PS_NS_PER_MS;
}

size_t net_events(void)
{
    size_t count = events_told;

    events_told = 0;
    return count;
}

size_t net_open(void)
{
    size_t open = 0;

    for (size_t i = 0; i < COUNT; i++)
        open += (ends[i].kind == STREAM && ends[i].accepted && !ends[i].is_closed) ||
                (ends[i].kind == LISTENER && !ends[i].is_closed);
    return open;
}

void net_turn(unsigned first)
{
    first_told = first;
}

size_t net_moves(void)
{
    size_t all = moves;

    moves = 0;
    return all;
}

int net_listen(void)
{
    return take(LISTENER);
}

int net_client(const struct ps_address *from)
{
    int fd = take(STREAM);

    if (fd >= 0) {
        ends[fd - BASE].from = *from;
        ends[fd - BASE].order = ++clients;
    }
    return fd;
}

/* --- The far end --- */

size_t net_push(int fd, const char *data, size_t len)
{
    struct end *end = far(fd);

    if (end->is_closed || end->in_end || end->in_reset)
        return len; /* nobody reads it */
    if (end->in_at > 0) {
        memmove(in_of(end), in_of(end) + end->in_at, end->in_len - end->in_at);
        end->in_len -= end->in_at;
        end->in_at = 0;
    }
    if (len > NET_IN_MAX - end->in_len)
        len = NET_IN_MAX - end->in_len;
    memcpy(in_of(end) + end->in_len, data, len);
    trace("is sent", fd, data, len);
    end->in_len += len;
    moves += len > 0;
    return len;
}

size_t net_pull(int fd, char *data, size_t len)
{
    struct end *end = far(fd);

    if (len > end->out_len)
        len = end->out_len;
    memcpy(data, out_of(end), len);
    trace("has sent", fd, data, len);
    memmove(out_of(end), out_of(end) + len, end->out_len - len);
    end->out_len -= len;
    moves += len > 0;
    return len;
}

size_t net_unread(int fd)
{
    return far(fd)->out_len;
}

void net_limit(int fd, size_t out_max)
{
    far(fd)->out_max = out_max;
}

void net_end(int fd)
{
    far(fd)->in_end = true;
    moves++;
}

void net_reset_by_peer(int fd)
{
    struct end *end = far(fd);

    end->in_reset = true;
    end->out_len = 0;
    moves++;
}

bool net_has_ended(int fd)
{
    const struct end *end = far(fd);

    return (end->is_closed || end->out_end || end->in_reset) && end->out_len == 0;
}

bool net_was_reset(int fd)
{
    return far(fd)->has_reset;
}

void net_leave(int fd)
{
    struct end *end = far(fd);

    end->is_left = true;
    if (end->is_closed)
        end->kind = FREE;
    else if (!end->in_end && !end->in_reset)
        net_reset_by_peer(fd);
}

/* --- Readiness --- */

static bool has_client(void)
{
    for (size_t i = 0; i < top; i++)
        if (ends[i].kind == STREAM && ends[i].order > 0 && !ends[i].accepted)
            return true;
    return false;
}

static uint32_t ready(const struct end *end);

/* What this poller is to be told of the descriptor. */
static uint32_t news(const struct end *end, unsigned poller)
{
    uint32_t interest = end->interest[poller];

    return interest != 0 && !end->is_closed ? ready(end) & (interest | EPOLLERR | EPOLLHUP) : 0;
}

static bool has_news(unsigned poller)
{
    for (size_t i = 0; i < top; i++)
        if (news(&ends[i], poller) != 0)
            return true;
    return false;
}

static uint32_t ready(const struct end *end)
{
    uint32_t is = 0;

    if (end->kind == EVENT)
        return end->count > 0 ? EPOLLIN : 0;
    if (end->kind == POLLER)
        return has_news(end->order) ? EPOLLIN : 0;
    if (end->kind == LISTENER)
        return has_client() ? EPOLLIN : 0;
    if (end->kind != STREAM || end->is_connecting)
        return 0;
    if (end->is_refused || end->in_reset)
        return EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP;
    if (end->in_len > end->in_at)
        is |= EPOLLIN;
    if (end->in_end)
        is |= EPOLLIN | EPOLLRDHUP | (end->out_end ? EPOLLHUP : 0u);
    if (end->out_len < end->out_max)
        is |= EPOLLOUT;
    return is;
}

static int tell(unsigned poller, struct epoll_event *events, int most)
{
    int count = 0;

    for (unsigned i = 0; i < top && count < most; i++) {
        const struct end *end = &ends[(i + first_told) % top];
        uint32_t is = news(end, poller);
        if (is != 0)
            events[count++] = (struct epoll_event){.events = is, .data = end->data[poller]};
    }
    events_told += (size_t)count;
    return count;
}

/* --- What libc has: for the gateway and libuv. --- */

int epoll_create1(int flags)
{
    int fd = take(POLLER);

    (void)flags;
    MUST(pollers < POLLERS);
    if (fd >= 0)
        ends[fd - BASE].order = pollers++;
    return fd;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    struct end *end = find(fd);
    unsigned poller = find(epfd)->order;
    uint32_t *interest = end != NULL            ? &end->interest[poller]
                         : fd >= 0 && fd < BASE ? &interests[fd][poller]
                                                : NULL;

    if (interest == NULL) {
        errno = EBADF;
        return -1;
    }
    if ((op == EPOLL_CTL_ADD) == (*interest != 0) && fd >= BASE) {
        errno = op == EPOLL_CTL_ADD ? EEXIST : ENOENT;
        return -1;
    }
    *interest = op == EPOLL_CTL_DEL ? 0 : event->events | EPOLLERR;
    if (end != NULL && op != EPOLL_CTL_DEL)
        end->data[poller] = event->data;
    return 0;
}

int epoll_pwait(int epfd, struct epoll_event *events, int most, int timeout, const sigset_t *mask)
{
    int count = tell(find(epfd)->order, events, most);

    (void)mask;
    if (count == 0 && timeout > 0)
        now_ns += timeout * PS_NS_PER_MS;
    return count;
}

int epoll_wait(int epfd, struct epoll_event *events, int most, int timeout)
{
    return epoll_pwait(epfd, events, most, timeout, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, ret);
    *ret = (struct timespec){now_ns / PS_NS_PER_S, now_ns % PS_NS_PER_S};
    return 0;
}

int eventfd(unsigned count, int flags)
{
    int fd = take(EVENT);

    (void)flags;
    if (fd >= 0)
        ends[fd - BASE].count = count;
    return fd;
}

ssize_t read(int fd, void *to, size_t len)
{
    struct end *end = find(fd);

    if (end == NULL || end->kind != EVENT)
        return syscall(SYS_read, fd, to, len);
    if (end->count == 0) {
        errno = EAGAIN;
        return -1;
    }
    memcpy(to, &end->count, sizeof end->count);
    end->count = 0;
    return sizeof end->count;
}

ssize_t write(int fd, const void *from, size_t len)
{
    struct end *end = find(fd);
    uint64_t count;

    if (end == NULL || end->kind != EVENT)
        return syscall(SYS_write, fd, from, len);
    memcpy(&count, from, sizeof count);
    end->count += count;
    return sizeof count;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return find(fd) != NULL ? 0 : (int)syscall(SYS_ioctl, fd, request, argument);
}

int accept4(int fd, struct sockaddr *from, socklen_t *len, int flags)
{
    struct end *oldest = NULL;
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_in v4 = {.sin_family = AF_INET};

    (void)fd;
    (void)flags;
    for (size_t i = 0; i < COUNT; i++)
        if (ends[i].kind == STREAM && ends[i].order > 0 && !ends[i].accepted &&
            (oldest == NULL || ends[i].order < oldest->order))
            oldest = &ends[i];
    if (oldest == NULL) {
        errno = EAGAIN;
        return -1;
    }
    oldest->accepted = true;
    if (ps_address_is_v4(&oldest->from)) {
        memcpy(&v4.sin_addr, oldest->from.byte + 12, 4);
        memcpy(from, &v4, sizeof v4);
        *len = sizeof v4;
    } else {
        memcpy(&v6.sin6_addr, oldest->from.byte, 16);
        memcpy(from, &v6, sizeof v6);
        *len = sizeof v6;
    }
    return BASE + (int)(oldest - ends);
}

int socket(int domain, int type, int protocol)
{
    int fd = take(STREAM);

    (void)domain;
    (void)type;
    (void)protocol;
    if (fd >= 0)
        ends[fd - BASE].accepted = ends[fd - BASE].is_connecting = true;
    return fd;
}

int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    struct end *end = find(fd);
    struct sockaddr_in v4;

    MUST(end != NULL && end->kind == STREAM && len >= sizeof v4);
    memcpy(&v4, to, sizeof v4);
    enum net_reply reply = shop_on_connect(fd, ntohs(v4.sin_port));
    end->is_connecting = reply == NET_IS_SILENT;
    end->is_refused = reply == NET_REFUSES || reply == NET_REFUSES_LATER;
    end->is_left = end->is_refused;
    errno = reply == NET_REFUSES ? ECONNREFUSED : EINPROGRESS;
    return -1;
}

static bool is_broken(struct end *end)
{
    MUST(end != NULL && end->kind == STREAM && !end->is_connecting);
    if (end->in_reset)
        errno = ECONNRESET;
    return end->in_reset;
}

ssize_t recv(int fd, void *to, size_t len, int flags)
{
    struct end *end = find(fd);

    if (is_broken(end))
        return -1;
    size_t there = end->in_len - end->in_at;
    if (there == 0) {
        errno = EAGAIN;
        return end->in_end ? 0 : -1;
    }
    if (len > there)
        len = there;
    memcpy(to, in_of(end) + end->in_at, len);
    if ((flags & MSG_PEEK) == 0)
        end->in_at += len;
    return (ssize_t)len;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct end *end = find(fd);
    size_t sent = 0, all = 0;

    (void)flags;
    if (is_broken(end))
        return -1;
    MUST(!end->out_end);
    for (size_t i = 0; i < message->msg_iovlen; i++) {
        size_t len = message->msg_iov[i].iov_len;
        size_t room = end->out_max > end->out_len ? end->out_max - end->out_len : 0;
        all += len;
        if (len > room)
            len = room;
        if (len > 0)
            memcpy(out_of(end) + end->out_len, message->msg_iov[i].iov_base, len);
        end->out_len += len;
        sent += len;
    }
    if (sent > 0 || all == 0)
        return (ssize_t)sent;
    errno = EAGAIN;
    return -1;
}

ssize_t send(int fd, const void *from, size_t len, int flags)
{
    struct iovec part = {(void *)(uintptr_t)from, len};

    return sendmsg(fd, &(struct msghdr){.msg_iov = &part, .msg_iovlen = 1}, flags);
}

int shutdown(int fd, int how)
{
    struct end *end = find(fd);

    MUST(end != NULL && how == SHUT_WR);
    end->out_end = true;
    return 0;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    struct end *end = find(fd);

    (void)value;
    (void)len;
    MUST(end != NULL);
    end->has_reset |= level == SOL_SOCKET && name == SO_LINGER;
    return 0;
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    const struct end *end = find(fd);
    int error = end != NULL && end->is_refused ? ECONNREFUSED : 0;

    if (level != SOL_SOCKET || name != SO_ERROR) {
        errno = ENOPROTOOPT;
        return -1;
    }
    memcpy(value, &error, sizeof error);
    *len = sizeof error;
    return 0;
}

int poll(struct pollfd *looks, nfds_t count, int timeout)
{
    const struct end *end = count == 1 ? find(looks->fd) : NULL;

    if (end == NULL)
        return (int)syscall(SYS_poll, looks, count, timeout);
    looks->revents = (short)(ready(end) & ((uint32_t)looks->events | EPOLLERR | EPOLLHUP));
    return looks->revents != 0;
}

int close(int fd)
{
    struct end *end = find(fd);

    if (end == NULL) {
        MUST(fd < BASE); /* closed twice */
        return (int)syscall(SYS_close, fd);
    }
    end->is_closed = true;
    memset(end->interest, 0, sizeof end->interest);
    /* What nobody has read ends a connection by a reset. */
    end->has_reset |= end->kind == STREAM && end->in_len > end->in_at;
    if (end->has_reset)
        end->out_len = 0;
    if (end->kind != STREAM || end->is_left || !end->accepted)
        end->kind = FREE;
    return 0;
}
