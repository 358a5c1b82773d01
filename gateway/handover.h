/* Sockets that the service manager has: those of a .socket unit, and those that an earlier process
 * of this service has opened and put into its file-descriptor store. While they exist, the kernel
 * queues new connections, also while no process of the gateway runs. See sd_listen_fds(3) and
 * sd_pid_notify_with_fds(3). The control thread, at the start. */
#ifndef GW_HANDOVER_H
#define GW_HANDOVER_H

#include "gateway/sockets.h"

#define GW_HANDED_MAX 1024

struct gw_handed {
    int fd; /* -1: taken, or closed */
    enum gw_listener listener;
    bool stored; /* by an earlier process; else a unit's */
};

struct gw_handover {
    struct gw_handed at[GW_HANDED_MAX];
    size_t count;
};

/* The sockets of LISTEN_FDS by their names, if LISTEN_PID is this process: `public`, `public-unix`,
 * `admin`, `admin-unix`, and stored ones with `stored-` before that. PS_E_INVALID: a name is
 * unknown, or a socket is none that listens, or of the wrong family. Sockets that the store has by
 * other names are removed from it. */
int gw_handover_read(struct gw_handover *ret_handover, struct ps_fault *fault) PS_MUST_CHECK;
/* Moves those of one listener into `listening`. False: there are none. */
bool gw_handover_take(struct gw_handover *handover, enum gw_listener listener, bool stored,
                      struct gw_listening *listening);
/* Removes the sockets of a listener from the store. */
void gw_handover_forget(enum gw_listener listener);
/* Puts all sockets that are not kept into the store, if the unit has one that is large enough. */
void gw_handover_store(struct gw_sockets *sockets);
const char *gw_handover_name(enum gw_listener listener);

#endif
