/* A small blocking HTTP client: connect, write, read until the answer is complete, close. Every
 * wait is a poll of at most SLICE_MS, so that deadlines and a second Ctrl-C are seen soon. */
#include "loadtest/admin.h"

#include "common/clock.h"

#include <errno.h>
#include <http_parser.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_MS    100
#define TRY_MS      10000 /* one try; then the next one */
#define PAUSE_MS    200
#define REPLY_MAX   (64U << 20)
#define REQUEST_MAX 8192

struct reading {
    struct lt_reply reply;
    size_t room;
    bool complete;
    int err;
};

int lt_admin_read_token(const char *path, struct lt_admin *admin, struct ps_fault *fault)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, "--token-file", "%s: %s", path, strerror(errno));
    const char *line = fgets(admin->token, sizeof admin->token, file);
    (void)fclose(file);
    if (line != NULL)
        admin->token[strcspn(admin->token, "\r\n")] = '\0';
    if (line == NULL || admin->token[0] == '\0' || strpbrk(admin->token, " \t") != NULL)
        return ps_fault(fault, PS_E_INVALID, "--token-file", "%s holds no token", path);
    return 0;
}

static bool told_to_stop(const struct lt_admin *admin)
{
    return admin->stop != NULL && *admin->stop >= 2;
}

static int64_t now_ms(void)
{
    return ps_clock_mono_ns(&ps_clock_system) / PS_NS_PER_MS;
}

int lt_admin_wait(const struct lt_admin *admin, int64_t ms)
{
    int64_t until = now_ms() + ms;
    while (!told_to_stop(admin)) {
        int64_t left = until - now_ms();
        if (left <= 0)
            return 0;
        (void)poll(NULL, 0, left < SLICE_MS ? (int)left : SLICE_MS);
    }
    return PS_E_CLOSED;
}

/* Waits for `events` on `fd` until `deadline_ms`. */
static int wait_for(const struct lt_admin *admin, int fd, short events, int64_t deadline_ms)
{
    while (!told_to_stop(admin)) {
        int64_t left = deadline_ms - now_ms();
        if (left <= 0)
            return PS_E_TIMEOUT;
        struct pollfd wait = {.fd = fd, .events = events};
        int ready = poll(&wait, 1, left < SLICE_MS ? (int)left : SLICE_MS);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return PS_E_IO;
    }
    return PS_E_CLOSED;
}

static int open_socket(const struct lt_admin *admin, int64_t deadline_ms, int *ret_fd)
{
    const struct lt_target *target = &admin->target;
    int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return PS_E_IO;
    int err = 0, failed = 0;
    socklen_t failed_len = sizeof failed;
    if (connect(fd, (const struct sockaddr *)&target->address, target->address_len) < 0) {
        if (errno == EINPROGRESS)
            err = wait_for(admin, fd, POLLOUT, deadline_ms);
        else
            err = PS_E_IO;
    }
    if (err == 0 &&
        (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &failed_len) < 0 || failed != 0)) {
        errno = failed;
        err = PS_E_IO;
    }
    if (err < 0) {
        int kept = errno;
        (void)close(fd);
        errno = kept;
        return err;
    }
    *ret_fd = fd;
    return 0;
}

static int send_all(const struct lt_admin *admin, int fd, const char *text, size_t len,
                    int64_t deadline_ms)
{
    while (len > 0) {
        ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);
        if (sent > 0) {
            text += sent;
            len -= (size_t)sent;
            continue;
        }
        if (errno != EAGAIN && errno != EINTR)
            return PS_E_IO;
        int err = wait_for(admin, fd, POLLOUT, deadline_ms);
        if (err < 0)
            return err;
    }
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct reading *reading = parser->data;
    size_t need = reading->reply.len + len + 1;
    if (need > REPLY_MAX) {
        reading->err = PS_E_FULL;
        return 1;
    }
    if (need > reading->room) {
        size_t room = need * 2;
        char *grown = realloc(reading->reply.body, room);
        if (grown == NULL) {
            reading->err = PS_E_NOMEM;
            return 1;
        }
        reading->reply.body = grown;
        reading->room = room;
    }
    memcpy(reading->reply.body + reading->reply.len, at, len);
    reading->reply.len += len;
    return 0;
}

static int on_message_complete(http_parser *parser)
{
    struct reading *reading = parser->data;
    reading->complete = true;
    reading->reply.status = parser->status_code;
    return 0;
}

static int read_reply(const struct lt_admin *admin, int fd, int64_t deadline_ms,
                      struct reading *reading)
{
    static const http_parser_settings settings = {.on_body = on_body,
                                                  .on_message_complete = on_message_complete};
    http_parser parser;
    http_parser_init(&parser, HTTP_RESPONSE);
    parser.data = reading;
    char bytes[16384];
    while (!reading->complete) {
        int err = wait_for(admin, fd, POLLIN, deadline_ms);
        if (err < 0)
            return err;
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got < 0)
            return PS_E_IO;
        size_t parsed = http_parser_execute(&parser, &settings, bytes, (size_t)got);
        if (reading->err < 0)
            return reading->err;
        if (!reading->complete && (got == 0 || parsed != (size_t)got)) {
            errno = EPROTO;
            return PS_E_IO;
        }
    }
    return 0;
}

static int try_call(const struct lt_admin *admin, const char *request, size_t request_len,
                    const char *body, int64_t deadline_ms, struct lt_reply *ret_reply)
{
    int fd;
    int err = open_socket(admin, deadline_ms, &fd);
    if (err < 0)
        return err;
    struct reading reading = {.room = 0};
    err = send_all(admin, fd, request, request_len, deadline_ms);
    if (err == 0 && body != NULL)
        err = send_all(admin, fd, body, strlen(body), deadline_ms);
    if (err == 0)
        err = read_reply(admin, fd, deadline_ms, &reading);
    int kept = errno;
    (void)close(fd);
    errno = kept;
    if (err == 0 && reading.reply.body == NULL) {
        reading.reply.body = malloc(1);
        if (reading.reply.body == NULL)
            err = PS_E_NOMEM;
    }
    if (err < 0) {
        free(reading.reply.body);
        return err;
    }
    reading.reply.body[reading.reply.len] = '\0';
    *ret_reply = reading.reply;
    return 0;
}

int lt_admin_call(const struct lt_admin *admin, const char *method, const char *path,
                  const char *body, int64_t patience_ms, struct lt_reply *ret_reply,
                  struct ps_fault *fault)
{
    char request[REQUEST_MAX];
    int len = snprintf(request, sizeof request,
                       "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n",
                       method, path, admin->target.authority, admin->token,
                       body != NULL ? strlen(body) : 0);
    if (len < 0 || (size_t)len >= sizeof request)
        return ps_fault(fault, PS_E_FULL, "--admin", "the request is too long");
    int64_t give_up_ms = now_ms() + patience_ms;
    while (!told_to_stop(admin)) {
        int64_t deadline_ms = now_ms() + TRY_MS;
        struct lt_reply reply;
        errno = 0;
        int err = try_call(admin, request, (size_t)len, body,
                           deadline_ms < give_up_ms ? deadline_ms : give_up_ms, &reply);
        if (err == 0 && reply.status != 429 && reply.status != 503) {
            *ret_reply = reply;
            return 0;
        }
        bool last = now_ms() + PAUSE_MS >= give_up_ms || err == PS_E_NOMEM || err == PS_E_FULL;
        if (last && err == 0) {
            *ret_reply = reply;
            return 0;
        }
        if (err == 0)
            free(reply.body);
        else if (last || err == PS_E_CLOSED)
            return ps_fault(fault, err, "--admin", "%s %s at %s: %s", method, path,
                            admin->target.authority,
                            err == PS_E_IO && errno != 0 ? strerror(errno) : ps_err_text(err));
        if (lt_admin_wait(admin, PAUSE_MS) < 0)
            break;
    }
    return ps_fault(fault, PS_E_CLOSED, "--admin", "told to stop");
}
