/* See sockets.h. */
#include "gateway/sockets.h"

#include "common/program/log.h"
#include "gateway/admission/cgroup.h"
#include "gateway/server/http.h"
#include "gateway/worker.h"

#include <errno.h>
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

/* A socket that an ended gateway left behind refuses connections: removes it. */
static int remove_stale(const struct sockaddr_un *at, struct ps_fault *fault)
{
    struct stat is;
    int fd, refused;

    if (lstat(at->sun_path, &is) != 0)
        return 0; /* bind returns the error */
    if (!S_ISSOCK(is.st_mode))
        return ps_fault(fault, PS_E_EXISTS, "admin.unix.path", "%s is there and is no socket",
                        at->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return ps_fault(fault, PS_E_IO, "admin.unix.path", "cannot open a socket: %s",
                        strerror(errno));
    refused = connect(fd, (const struct sockaddr *)at, sizeof *at) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!refused)
        return ps_fault(fault, PS_E_BUSY, "admin.unix.path", "another program listens on %s",
                        at->sun_path);
    return unlink(at->sun_path) == 0
               ? 0
               : ps_fault(fault, PS_E_IO, "admin.unix.path", "cannot replace %s: %s", at->sun_path,
                          strerror(errno));
}

/* Nobody can connect before it listens, and then it already has its mode and group. */
static int listen_unix(const struct gw_settings *settings, int *ret_fd, struct ps_fault *fault)
{
    const char *path = settings->admin.local.path, *group = settings->admin.local.group;
    const struct group *known = group != NULL ? getgrnam(group) : NULL;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const char *name = "admin.unix.path";

    if (group != NULL && known == NULL)
        return ps_fault(fault, PS_E_INVALID, "admin.unix.group", "there is no group %s", group);
    memcpy(at.sun_path, path, strlen(path));
    int err = remove_stale(&at, fault);
    if (err < 0)
        return err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    if (bound && known != NULL && lchown(path, (uid_t)-1, known->gr_gid) != 0)
        name = "admin.unix.group";
    else if (bound && chmod(path, (mode_t)strtoul(settings->admin.local.mode, NULL, 8)) == 0 &&
             listen(fd, UNIX_BACKLOG) == 0) {
        *ret_fd = fd;
        return 0;
    }
    err = ps_fault(fault, PS_E_IO, name, "cannot listen on %s: %s", path, strerror(errno));
    if (bound)
        (void)unlink(path);
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

int gw_sockets_open(const struct gw_settings *settings, size_t worker_count,
                    struct gw_sockets *ret_sockets, struct ps_fault *fault)
{
    const char *host = settings->listen.host, *admin_host = settings->admin.host;
    int64_t port = settings->listen.port, admin_port = settings->admin.port;

    ret_sockets->admins = 1;
    int err =
        srv_listen(host, (uint16_t)port, worker_count, ret_sockets->workers, &ret_sockets->port);
    if (err < 0)
        return listen_fault(err, "listen", host, port, fault);
    err = srv_listen(admin_host, (uint16_t)admin_port, 1, ret_sockets->admin,
                     &ret_sockets->admin_port);
    if (err < 0)
        return listen_fault(err, "admin", admin_host, admin_port, fault);
    return settings->admin.local.path == NULL
               ? 0
               : listen_unix(settings, &ret_sockets->admin[ret_sockets->admins++], fault);
}

void gw_sockets_remove(const struct gw_settings *settings)
{
    if (settings->admin.local.path != NULL)
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
