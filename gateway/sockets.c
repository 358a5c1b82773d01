/* See sockets.h. */
#include "gateway/sockets.h"

#include "common/log.h"
#include "gateway/server/http.h"
#include "gateway/worker.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define FDS_A_WORKER 16   /* of its loop, and its links */
#define FDS_BESIDE   1024 /* of the admin listener, the log and the files */

static int listen_on(const char *listener, const char *host, int64_t port, size_t count, int *fds,
                     uint16_t *ret_port, struct ps_fault *fault)
{
    char name[16];
    int err = srv_listen(host, (uint16_t)port, count, fds, ret_port);

    snprintf(name, sizeof name, "%s.%s", listener, err == PS_E_INVALID ? "host" : "port");
    if (err == PS_E_BUSY)
        ps_fault(fault, err, name, "%s port %lld is taken by another program", host,
                 (long long)port);
    else if (err == PS_E_INVALID)
        ps_fault(fault, err, name, "%s is no address of this machine", host);
    else if (err < 0)
        ps_fault(fault, err, name, "cannot listen on %s port %lld: %s", host, (long long)port,
                 ps_err_text(err));
    return err;
}

size_t gw_sockets_worker_count(const struct gw_settings *settings)
{
    long count = settings->workers > 0 ? (long)settings->workers : sysconf(_SC_NPROCESSORS_ONLN);

    return count < 1 ? 1 : count > GW_WORKERS_MAX ? GW_WORKERS_MAX : (size_t)count;
}

int gw_sockets_open(const struct gw_settings *settings, size_t worker_count,
                    struct gw_sockets *ret_sockets, struct ps_fault *fault)
{
    int err = listen_on("listen", settings->listen.host, settings->listen.port, worker_count,
                        ret_sockets->workers, &ret_sockets->port, fault);

    if (err == 0)
        err = listen_on("admin", settings->admin.host, settings->admin.port, 1, &ret_sockets->admin,
                        &ret_sockets->admin_port, fault);
    return err;
}

void gw_sockets_raise_limit(const struct gw_settings *settings, size_t worker_count)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)worker_count *
                        ((rlim_t)gw_worker_connections_max(settings, worker_count) + FDS_A_WORKER) +
                    FDS_BESIDE;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    if (limit.rlim_max < wanted) { /* root may raise it, others take what there is */
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
