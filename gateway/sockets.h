/* The sockets that the gateway listens on, and how many file descriptors it may have. Start-up. */
#ifndef GW_SOCKETS_H
#define GW_SOCKETS_H

#include "common/err.h"
#include "gateway/settings.h"

#define GW_WORKERS_MAX 256

struct gw_sockets {
    int workers[GW_WORKERS_MAX]; /* one for each, of the same address */
    int admin[2];                /* the second one is admin.unix */
    size_t admins;
    uint16_t port, admin_port; /* as bound */
};

/* How many workers: as many as the settings say, or as there are cores. */
size_t gw_sockets_worker_count(const struct gw_settings *settings);
/* PS_E_BUSY, PS_E_INVALID, PS_E_EXISTS (what is at admin.unix.path is no socket), PS_E_IO; `fault`
 * names the setting. */
int gw_sockets_open(const struct gw_settings *settings, size_t worker_count,
                    struct gw_sockets *ret_sockets, struct ps_fault *fault) PS_MUST_CHECK;
/* Removes the socket at admin.unix.path; its listener has ended. */
void gw_sockets_remove(const struct gw_settings *settings);
/* Raises the limit of file descriptors to what http.connections needs; logs where it cannot. */
void gw_sockets_raise_limit(const struct gw_settings *settings, size_t worker_count);

#endif
