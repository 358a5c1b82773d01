/* One request on a connection of its own, with one deadline for all of it: whatever listens there
 * gets no more time than that, however it answers. Nothing that it sends is printed but the names
 * of failed checks. */
#include "gateway/probe.h"

#include "common/http/head.h"
#include "common/text/address.h"
#include "common/text/buf.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX 16384

static const struct {
    const char *name, *request;
} probes[] = {
    [GW_PROBE_LIVE] = {"live",
                       "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"},
    [GW_PROBE_READY] =
        {"ready", "GET /readyz?verbose HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"},
};

int gw_probe_parse(const char *text, enum gw_probe *ret_probe, struct ps_fault *fault)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(probes); i++)
        if (strcmp(text, probes[i].name) == 0) {
            *ret_probe = (enum gw_probe)i;
            return 0;
        }
    return ps_fault(fault, PS_E_INVALID, "--probe", "must be live or ready, not \"%s\"", text);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Returns `err` with the system's word for it. */
static int failed(int err, int error, struct ps_fault *fault)
{
    return ps_fault(fault, err, "", "cannot be reached: %s", strerror(error));
}

static int wait_for(int fd, short events, int64_t deadline_ms, struct ps_fault *fault)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};
    int got;

    do {
        int64_t left_ms = deadline_ms - now_ms();
        got = left_ms > 0 ? poll(&poll_fd, 1, (int)left_ms) : 0;
    } while (got < 0 && errno == EINTR);
    if (got == 0)
        return ps_fault(fault, PS_E_TIMEOUT, "", "does not answer within %d s", GW_PROBE_MS / 1000);
    return got > 0 ? 0 : failed(PS_E_IO, errno, fault);
}

/* --- Where it listens. --- */

struct place {
    struct sockaddr_storage address;
    socklen_t len;
    char text[160]; /* for messages */
};

static int find_place(const struct gw_settings *settings, struct place *ret_place,
                      struct ps_fault *fault)
{
    const char *host = settings->admin.host, *path = settings->admin.local.path;
    struct ps_address address;

    *ret_place = (struct place){0};
    if (path != NULL) {
        struct sockaddr_un *local = (struct sockaddr_un *)&ret_place->address;
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, path, strlen(path)); /* as long as the settings allow */
        ret_place->len = sizeof *local;
        (void)snprintf(ret_place->text, sizeof ret_place->text, "%s", path);
        return 0;
    }
    if (settings->admin.port == 0)
        return ps_fault(fault, PS_E_INVALID, "admin.port",
                        "0 takes any free port, which a probe does not know: set one, or "
                        "admin.unix.path");
    /* The kernel connects 0.0.0.0 and [::] by loopback. */
    int err = ps_address_parse(host, strlen(host), false, &address);
    if (err < 0)
        return ps_fault(fault, err, "admin.host", "%s is no address", host);
    ret_place->len =
        ps_address_socket(&address, (uint16_t)settings->admin.port, &ret_place->address);
    (void)snprintf(ret_place->text, sizeof ret_place->text, "%s port %d", host,
                   (int)settings->admin.port);
    return 0;
}

/* --- One request and its answer. --- */

static int connect_to(int fd, const struct place *place, int64_t deadline_ms,
                      struct ps_fault *fault)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (connect(fd, (const struct sockaddr *)&place->address, place->len) == 0)
        return 0;
    if (errno != EINPROGRESS) /* EAGAIN: too many wait at a Unix socket */
        return failed(PS_E_IO, errno, fault);
    int err = wait_for(fd, POLLOUT, deadline_ms, fault);
    if (err == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0)
        err = failed(PS_E_IO, error, fault);
    return err;
}

/* Until the peer closes, or `answer` is full. */
static int read_answer(int fd, char answer[ANSWER_MAX], int64_t deadline_ms, size_t *ret_len,
                       struct ps_fault *fault)
{
    size_t len = 0;
    ssize_t got = 1;

    while (got != 0 && len < ANSWER_MAX) {
        int err = wait_for(fd, POLLIN, deadline_ms, fault);
        if (err < 0)
            return err;
        got = recv(fd, answer + len, ANSWER_MAX - len, 0);
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return failed(PS_E_IO, errno, fault);
        len += got > 0 ? (size_t)got : 0;
    }
    *ret_len = len;
    return 0;
}

static int ask(const struct place *place, const char *request, char answer[ANSWER_MAX],
               size_t *ret_len, struct ps_fault *fault)
{
    int64_t deadline_ms = now_ms() + GW_PROBE_MS;
    ssize_t len = (ssize_t)strlen(request); /* any socket's buffer takes it whole */
    int fd = socket(place->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return failed(PS_E_IO, errno, fault);
    int err = connect_to(fd, place, deadline_ms, fault);
    if (err == 0 && send(fd, request, (size_t)len, MSG_NOSIGNAL) != len)
        err = failed(PS_E_IO, errno, fault);
    if (err == 0)
        err = read_answer(fd, answer, deadline_ms, ret_len, fault);
    close(fd);
    return err;
}

/* --- What it says. --- */

/* The names of the checks that failed: of lines "[-]log failed" the word. */
static void put_failed(struct ps_buf *buf, struct ps_str body)
{
    const char *at = body.at, *end = body.at + body.len;

    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop != NULL ? stop : end) - at), name = 3;
        while (name < len && at[name] >= '_' && at[name] <= 'z')
            name++;
        if (len > 3 && memcmp(at, "[-]", 3) == 0) {
            ps_buf_puts(buf, buf->len == 0 ? ": failed: " : ", ");
            ps_buf_put(buf, at + 3, name - 3);
        }
        at = stop != NULL ? stop + 1 : end;
    }
}

bool gw_probe_print(enum gw_probe probe, const char *answer, size_t len, const char *where,
                    FILE *out)
{
    static const struct ps_http_limits limits = {.head_max = 8192,
                                                 .fields_max = PS_HTTP_FIELDS_MAX};
    const char *name = probes[probe].name;
    struct ps_http_head head;
    char memory[256];
    struct ps_buf failed;

    ps_http_response_init(&head, &limits, false);
    if (ps_http_head_parse(&head, answer, len) != PS_HTTP_DONE) {
        fprintf(out, "not %s: what listens at %s does not answer as a gateway\n", name, where);
        return false;
    }
    if (head.status == 200) {
        fprintf(out, "%s\n", name);
        return true;
    }
    ps_buf_init(&failed, memory, sizeof memory);
    put_failed(&failed, (struct ps_str){answer + head.len, len - head.len});
    fprintf(out, "not %s: status %u%.*s\n", name, head.status, (int)failed.len, memory);
    return false;
}

bool gw_probe(const struct gw_settings *settings, enum gw_probe probe, FILE *out)
{
    const char *name = probes[probe].name;
    char answer[ANSWER_MAX];
    struct ps_fault fault;
    struct place place;
    size_t len = 0;

    if (find_place(settings, &place, &fault) < 0) {
        fprintf(out, "not %s: %s: %s\n", name, fault.path, fault.text);
        return false;
    }
    if (ask(&place, probes[probe].request, answer, &len, &fault) < 0) {
        fprintf(out, "not %s: the admin listener at %s %s\n", name, place.text, fault.text);
        return false;
    }
    return gw_probe_print(probe, answer, len, place.text, out);
}
