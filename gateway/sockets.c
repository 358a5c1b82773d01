/* See sockets.h. */
#include "gateway/sockets.h"

#include "common/program/log.h"
#include "gateway/admission/cgroup.h"
#include "gateway/handover.h"
#include "gateway/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
#define FDS_A_WORKER 16   /* of its loop, and its links */
#define FDS_BESIDE   1024 /* of the admin listener, the log and the files */

/* The error of the listener of the settings `listener`.host and .port. */
static int listen_fault(int err, const char *listener, const char *host, int64_t port,
                        struct ps_fault *fault)
{
    char name[16];

    snprintf(name, sizeof name, "%s.%s", listener, err == PS_E_INVALID ? "host" : "port");
    if (err == PS_E_BUSY)
        return ps_fault(fault, err, name, "%s port %lld is taken by another program", host,
                        (long long)port);
    if (err == PS_E_INVALID)
        return ps_fault(fault, err, name, "%s is no address of this machine", host);
    return ps_fault(fault, err, name, "cannot listen on %s port %lld: %s", host, (long long)port,
                    ps_err_text(err));
}

/* --- Unix sockets --- */

/* The setting `member` of the socket, as the name in faults. */
static const char *setting(enum gw_listener listener, const char *member, char name[32])
{
    (void)snprintf(name, 32, "%s.unix.%s", listener == GW_ADMIN_UNIX ? "admin" : "listen", member);
    return name;
}

/* A socket that an ended gateway left behind refuses connections: removes it. */
static int remove_stale(const struct sockaddr_un *at, const char *name, struct ps_fault *fault)
{
    struct stat is;
    int fd, refused;

    if (lstat(at->sun_path, &is) != 0)
        return 0; /* bind returns the error */
    if (!S_ISSOCK(is.st_mode))
        return ps_fault(fault, PS_E_EXISTS, name, "%s is there and is no socket", at->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ps_fault(fault, PS_E_IO, name, "cannot open a socket: %s", strerror(errno));
    refused = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!refused)
        return ps_fault(fault, PS_E_BUSY, name, "another program listens on %s", at->sun_path);
    return unlink(at->sun_path) == 0 ? 0
                                     : ps_fault(fault, PS_E_IO, name, "cannot replace %s: %s",
                                                at->sun_path, strerror(errno));
}

/* Gives the socket its group and mode. */
static int set_access(const struct gw_unix_socket *local, enum gw_listener listener,
                      struct ps_fault *fault)
{
    const struct group *group = local->group != NULL ? getgrnam(local->group) : NULL;
    char name[32];

    if (local->group != NULL && group == NULL)
        return ps_fault(fault, PS_E_INVALID, setting(listener, "group", name),
                        "there is no group %s", local->group);
    if (group != NULL && lchown(local->path, (uid_t)-1, group->gr_gid) != 0)
        return ps_fault(fault, PS_E_IO, setting(listener, "group", name), "cannot listen on %s: %s",
                        local->path, strerror(errno));
    return chmod(local->path, (mode_t)strtoul(local->mode, NULL, 8)) == 0
               ? 0
               : ps_fault(fault, PS_E_IO, setting(listener, "path", name),
                          "cannot listen on %s: %s", local->path, strerror(errno));
}

/* Nobody can connect before it listens, and then it already has its mode and group. */
static int listen_unix(const struct gw_unix_socket *local, enum gw_listener listener, int *ret_fd,
                       struct ps_fault *fault)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char text[32];
    const char *name = setting(listener, "path", text);

    if (local->group != NULL && getgrnam(local->group) == NULL)
        return set_access(local, listener, fault);
    memcpy(at.sun_path, local->path, strlen(local->path));
    int err = remove_stale(&at, name, fault);
    if (err < 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    if (bound && (err = set_access(local, listener, fault)) == 0 && listen(fd, UNIX_BACKLOG) == 0) {
        *ret_fd = fd;
        return 0;
    }
    if (err == 0)
        err =
            ps_fault(fault, PS_E_IO, name, "cannot listen on %s: %s", local->path, strerror(errno));
    if (bound)
        (void)unlink(local->path);
    if (fd >= 0)
        close(fd);
    return err;
}

size_t gw_sockets_worker_count(const struct gw_settings *settings)
{
    double count = (double)settings->workers, cpus;

    if (count == 0) /* 0.1 of a processor, and what no file says, is one worker */
        count = adm_cgroup_cpus("", &cpus, NULL) == 0 ? ceil(cpus)
                                                      : (double)sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > GW_WORKERS_MAX ? GW_WORKERS_MAX : (size_t)count;
}

/* --- Sockets that the service manager has --- */

/* Of one listener: what the settings say. */
struct wanted {
    enum gw_listener listener;
    const char *host; /* NULL: a Unix socket */
    int64_t port;     /* 0: any */
    const struct gw_unix_socket *local;
    size_t count;
};

static const char *setting_of(const struct wanted *wanted, char name[32])
{
    if (wanted->host == NULL)
        return setting(wanted->listener, "path", name);
    return wanted->listener == GW_ADMIN ? "admin.port" : "listen.port";
}

/* The address of a TCP socket. */
static bool bound_to(int fd, struct ps_address *ret_address, uint16_t *ret_port)
{
    struct sockaddr_storage at;
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;
    socklen_t len = sizeof at;

    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return false;
    memcpy(&v6, &at, sizeof v6);
    memcpy(&v4, &at, sizeof v4);
    *ret_address = (struct ps_address){{[10] = 0xff, [11] = 0xff}};
    if (at.ss_family == AF_INET6)
        memcpy(ret_address->byte, &v6.sin6_addr, sizeof ret_address->byte);
    else
        memcpy(ret_address->byte + PS_V4_BITS / 8, &v4.sin_addr, sizeof v4.sin_addr);
    *ret_port = ntohs(at.ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
    return true;
}

static int check_tcp(const struct wanted *wanted, int fd, uint16_t *port, struct ps_fault *fault)
{
    struct ps_address address, own;
    char text[46], name[32];
    uint16_t bound;

    if (!bound_to(fd, &own, &bound) ||
        ps_address_parse(wanted->host, strlen(wanted->host), false, &address) < 0)
        return ps_fault(fault, PS_E_IO, "LISTEN_FDS", "a socket has no address");
    ps_address_format(&own, text);
    if (memcmp(&own, &address, sizeof own) != 0 || (*port != 0 && bound != *port))
        return ps_fault(fault, PS_E_INVALID, setting_of(wanted, name),
                        "the settings say %s port %u, but the socket %s of the service manager is "
                        "bound to %s port %u",
                        wanted->host, (unsigned)*port, gw_handover_name(wanted->listener), text,
                        (unsigned)bound);
    *port = bound;
    return 0;
}

/* A stored socket whose file is gone, with /run or by a hand, cannot be reached any more. */
static int check_unix(const struct wanted *wanted, int fd, struct ps_fault *fault)
{
    const char *path = wanted->local->path;
    struct sockaddr_un at = {0};
    socklen_t len = sizeof at - 1;
    char name[32];
    struct stat is;

    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0 || path == NULL ||
        strcmp(at.sun_path, path) != 0)
        return ps_fault(fault, PS_E_INVALID, setting_of(wanted, name),
                        "the settings say %s, but the socket %s of the service manager is %s",
                        path != NULL ? path : "null", gw_handover_name(wanted->listener),
                        at.sun_path[0] != '\0' ? at.sun_path : "no file");
    return lstat(path, &is) == 0 && S_ISSOCK(is.st_mode)
               ? 0
               : ps_fault(fault, PS_E_NOT_FOUND, setting_of(wanted, name), "%s is gone", path);
}

static int check_all(const struct wanted *wanted, const struct gw_listening *listening,
                     uint16_t *ret_port, struct ps_fault *fault)
{
    uint16_t port = (uint16_t)wanted->port;
    int err = 0;

    for (size_t i = 0; err == 0 && i < listening->count; i++)
        err = wanted->host == NULL ? check_unix(wanted, listening->fds[i], fault)
                                   : check_tcp(wanted, listening->fds[i], &port, fault);
    if (err == 0)
        *ret_port = port;
    return err;
}

static void drop_stored(enum gw_listener listener, struct gw_listening *listening, const char *why)
{
    ps_log(PS_LOG_INFO, "stored_socket_dropped", PS_F_STR("name", gw_handover_name(listener)),
           PS_F_STR("why", why));
    gw_handover_forget(listener);
    for (size_t i = 0; i < listening->count; i++)
        close(listening->fds[i]);
    *listening = (struct gw_listening){0};
}

/* --- Opening --- */

static int open_new(const struct wanted *wanted, struct gw_listening *listening, uint16_t *ret_port,
                    struct ps_fault *fault)
{
    int err;

    if (wanted->host != NULL) {
        err = srv_listen(wanted->host, (uint16_t)wanted->port, wanted->count, listening->fds,
                         ret_port);
        if (err < 0)
            return listen_fault(err, wanted->listener == GW_ADMIN ? "admin" : "listen",
                                wanted->host, wanted->port, fault);
        listening->count = wanted->count;
        return 0;
    }
    if (wanted->local->path == NULL)
        return 0;
    err = listen_unix(wanted->local, wanted->listener, &listening->fds[0], fault);
    listening->count = err == 0;
    return err;
}

/* A unit's sockets come first, since no others can be bound beside them. */
static int open_listener(const struct wanted *wanted, struct gw_handover *handover,
                         struct gw_listening *listening, uint16_t *ret_port, struct ps_fault *fault)
{
    struct gw_listening stored;
    struct ps_fault why;

    bool handed = gw_handover_take(handover, wanted->listener, false, listening);
    bool found = gw_handover_take(handover, wanted->listener, true, &stored);
    if (handed && found)
        drop_stored(wanted->listener, &stored, "the service manager has handed over another one");
    if (handed)
        return check_all(wanted, listening, ret_port, fault);
    if (found && check_all(wanted, &stored, ret_port, &why) < 0) {
        drop_stored(wanted->listener, &stored, why.text);
        found = false;
    }
    if (!found)
        return open_new(wanted, listening, ret_port, fault);
    *listening = stored;
    return wanted->local != NULL ? set_access(wanted->local, wanted->listener, fault) : 0;
}

int gw_sockets_open(const struct gw_settings *settings, size_t worker_count,
                    struct gw_sockets *ret_sockets, struct ps_fault *fault)
{
    const struct wanted all[] = {
        {GW_PUBLIC, settings->listen.host, settings->listen.port, NULL, worker_count},
        {GW_PUBLIC_UNIX, NULL, 0, &settings->listen.local, 1},
        {GW_ADMIN, settings->admin.host, settings->admin.port, NULL, 1},
        {GW_ADMIN_UNIX, NULL, 0, &settings->admin.local, 1},
    };
    struct gw_handover *handover = calloc(1, sizeof *handover);
    uint16_t ports[GW_LISTENERS];

    if (handover == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    int err = gw_handover_read(handover, fault);
    for (size_t i = 0; err == 0 && i < GW_LISTENERS; i++)
        err = open_listener(&all[i], handover, &ret_sockets->of[i], &ports[i], fault);
    free(handover);
    if (err < 0) {
        gw_sockets_remove(settings, ret_sockets);
        return err;
    }
    ret_sockets->port = ports[GW_PUBLIC];
    ret_sockets->admin_port = ports[GW_ADMIN];
    gw_handover_store(ret_sockets);
    return 0;
}

/* --- Dealing out --- */

static int deal_some(const struct gw_listening *listening, size_t worker_count, size_t index,
                     struct gw_doors *doors)
{
    size_t count = listening->count;

    if (count == 0)
        return 0;
    if (count >= worker_count) {
        for (size_t i = index; i < count; i += worker_count)
            doors->at[doors->count++] = (struct srv_door){.fd = listening->fds[i]};
        return 0;
    }
    size_t at = index % count;
    int fd = listening->fds[at];
    if (index >= count && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) < 0)
        return PS_E_IO;
    doors->at[doors->count++] = (struct srv_door){.fd = fd, .shared = at + count < worker_count};
    return 0;
}

int gw_sockets_deal(const struct gw_sockets *sockets, size_t worker_count, size_t index,
                    struct gw_doors *ret_doors)
{
    const struct gw_listening *tcp = &sockets->of[GW_PUBLIC], *local = &sockets->of[GW_PUBLIC_UNIX];
    struct gw_doors doors = {calloc(tcp->count + local->count + 2, sizeof *doors.at), 0};
    int err = doors.at == NULL ? PS_E_NOMEM : deal_some(tcp, worker_count, index, &doors);

    if (err == 0)
        err = deal_some(local, worker_count, index, &doors);
    if (err < 0)
        free(doors.at);
    else
        *ret_doors = doors;
    return err;
}

int gw_sockets_admin(const struct gw_sockets *sockets, struct gw_doors *ret_doors)
{
    const struct gw_listening *tcp = &sockets->of[GW_ADMIN], *local = &sockets->of[GW_ADMIN_UNIX];
    struct gw_doors doors = {calloc(tcp->count + local->count, sizeof *doors.at), 0};

    if (doors.at == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < tcp->count; i++)
        doors.at[doors.count++] = (struct srv_door){.fd = tcp->fds[i]};
    for (size_t i = 0; i < local->count; i++)
        doors.at[doors.count++] = (struct srv_door){.fd = local->fds[i]};
    *ret_doors = doors;
    return 0;
}

void gw_sockets_remove(const struct gw_settings *settings, const struct gw_sockets *sockets)
{
    const struct gw_listening *public = &sockets->of[GW_PUBLIC_UNIX];
    const struct gw_listening *admin = &sockets->of[GW_ADMIN_UNIX];

    if (public->count > 0 && !public->kept)
        (void)unlink(settings->listen.local.path);
    if (admin->count > 0 && !admin->kept)
        (void)unlink(settings->admin.local.path);
}

void gw_sockets_raise_limit(const struct gw_settings *settings, size_t worker_count)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)worker_count *
                        ((rlim_t)gw_worker_connections_max(settings, worker_count) + FDS_A_WORKER) +
                    FDS_BESIDE;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    if (limit.rlim_max < wanted) { /* root may raise it, others use what there is */
        struct rlimit more = {.rlim_cur = wanted, .rlim_max = wanted};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return;
        ps_log(PS_LOG_WARN, "fd_limit_low", PS_F_INT("limit", limit.rlim_max),
               PS_F_INT("wanted", wanted),
               PS_F_STR("why",
                        "http.connections needs more file descriptors than this process may open"));
    }
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    (void)!setrlimit(RLIMIT_NOFILE, &limit);
}
