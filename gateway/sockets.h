/* The sockets that the gateway listens on, and how many file descriptors it may have. Start-up. */
#ifndef GW_SOCKETS_H
#define GW_SOCKETS_H

#include "common/err.h"
#include "gateway/server/http.h"
#include "gateway/settings.h"

#define GW_WORKERS_MAX 256

enum gw_listener {
    GW_PUBLIC,
    GW_PUBLIC_UNIX, /* listen.unix */
    GW_ADMIN,
    GW_ADMIN_UNIX, /* admin.unix */
    GW_LISTENERS
};

/* Of one listener; all have the same address. */
struct gw_listening {
    int fds[GW_WORKERS_MAX];
    size_t count; /* 0: the settings do not name it */
    bool kept;    /* the service manager has them too: they outlive this process */
};

struct gw_sockets {
    struct gw_listening of[GW_LISTENERS];
    uint16_t port, admin_port; /* as bound */
};

/* What one thread accepts from. */
struct gw_doors {
    struct srv_door *at;
    size_t count;
};

/* How many workers: as many as the settings say, or as there are cores. */
size_t gw_sockets_worker_count(const struct gw_settings *settings);
/* Takes the sockets that the service manager has (handover.h), and opens the others. PS_E_BUSY,
 * PS_E_INVALID, PS_E_EXISTS (what is at the path of a Unix socket is none), PS_E_IO; `fault` names
 * the setting. */
int gw_sockets_open(const struct gw_settings *settings, size_t worker_count,
                    struct gw_sockets *ret_sockets, struct ps_fault *fault) PS_MUST_CHECK;
/* The doors of a worker. Sockets are dealt out in turn; if there are fewer of a listener than
 * workers, workers share them. Each socket is given to its first worker; the others get copies.
 * PS_E_NOMEM, PS_E_IO. The caller frees `at`. */
int gw_sockets_deal(const struct gw_sockets *sockets, size_t worker_count, size_t index,
                    struct gw_doors *ret_doors) PS_MUST_CHECK;
/* Those of the admin listener: PS_E_NOMEM. */
int gw_sockets_admin(const struct gw_sockets *sockets, struct gw_doors *ret_doors) PS_MUST_CHECK;
/* Removes the Unix sockets that the service manager does not keep; their listeners have ended. */
void gw_sockets_remove(const struct gw_settings *settings, const struct gw_sockets *sockets);
/* Raises the limit of file descriptors to what http.connections needs; logs where it cannot. */
void gw_sockets_raise_limit(const struct gw_settings *settings, size_t worker_count);

#endif
