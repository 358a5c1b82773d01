/* See handover.h. A unit's sockets and stored ones differ in their names, because they differ in
 * what a change of the settings means: a unit still listens on its address, so that a difference
 * is a mistake, while a stored socket is only what the settings said at an earlier start.
 *
 * The manager does not say whether it has stored a socket; it ignores what exceeds
 * FileDescriptorStoreMax=. So nothing is stored unless $FDSTORE says how many it takes. (systemd
 * sets it from version 254 on; the shipped unit sets it for earlier ones.) */
#include "gateway/handover.h"

#include "common/program/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define STORED     "stored-"
#define STORED_LEN (sizeof STORED - 1)
#define ONE_SEND   128 /* the kernel passes at most 253 in a message */

static const char *const names[GW_LISTENERS] = {"public", "public-unix", "admin", "admin-unix"};

const char *gw_handover_name(enum gw_listener listener)
{
    return names[listener];
}

/* --- What was handed over --- */

static bool find_listener(const char *name, enum gw_listener *ret_listener)
{
    for (int i = 0; i < GW_LISTENERS; i++)
        if (strcmp(name, names[i]) == 0) {
            *ret_listener = (enum gw_listener)i;
            return true;
        }
    return false;
}

static bool is_of_family(int fd, enum gw_listener listener)
{
    if (listener == GW_PUBLIC_UNIX || listener == GW_ADMIN_UNIX)
        return sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0;
    return sd_is_socket(fd, AF_INET, SOCK_STREAM, 1) > 0 ||
           sd_is_socket(fd, AF_INET6, SOCK_STREAM, 1) > 0;
}

static void forget(const char *name)
{
    (void)sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

void gw_handover_forget(enum gw_listener listener)
{
    char name[32];

    (void)snprintf(name, sizeof name, STORED "%s", names[listener]);
    forget(name);
}

static int read_one(struct gw_handover *handover, int fd, const char *name, struct ps_fault *fault)
{
    bool stored = strncmp(name, STORED, STORED_LEN) == 0;
    struct gw_handed handed = {.fd = fd, .stored = stored};
    bool known = find_listener(stored ? name + STORED_LEN : name, &handed.listener);
    bool fits = known && is_of_family(fd, handed.listener) &&
                fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;

    if (!fits && stored) { /* another version's */
        forget(name);
        close(fd);
        return 0;
    }
    if (!known)
        return ps_fault(fault, PS_E_INVALID, "LISTEN_FDNAMES",
                        "a socket is named %s, but only public, public-unix, admin and admin-unix "
                        "are known: set FileDescriptorName= in its unit",
                        name);
    if (!fits)
        return ps_fault(fault, PS_E_INVALID, "LISTEN_FDS",
                        "what is named %s is no %s stream socket that listens", name,
                        strchr(name, '-') != NULL ? "Unix" : "TCP");
    handover->at[handover->count++] = handed;
    return 0;
}

int gw_handover_read(struct gw_handover *ret_handover, struct ps_fault *fault)
{
    char **given = NULL;
    int count = sd_listen_fds_with_names(1, &given), err = 0;

    ret_handover->count = 0;
    if (count < 0)
        return ps_fault(fault, PS_E_INVALID, "LISTEN_FDS", "cannot be read: %s", strerror(-count));
    if (count > GW_HANDED_MAX)
        err = ps_fault(fault, PS_E_INVALID, "LISTEN_FDS", "%d sockets are more than %d", count,
                       GW_HANDED_MAX);
    for (int i = 0; err == 0 && i < count; i++)
        err = read_one(ret_handover, SD_LISTEN_FDS_START + i, given[i], fault);
    for (int i = 0; given != NULL && i < count; i++)
        free(given[i]);
    free(given);
    return err;
}

bool gw_handover_take(struct gw_handover *handover, enum gw_listener listener, bool stored,
                      struct gw_listening *listening)
{
    listening->count = 0;
    for (size_t i = 0; i < handover->count; i++) {
        struct gw_handed *handed = &handover->at[i];
        if (handed->fd < 0 || handed->listener != listener || handed->stored != stored)
            continue;
        if (listening->count < GW_WORKERS_MAX)
            listening->fds[listening->count++] = handed->fd;
        else
            close(handed->fd);
        handed->fd = -1;
    }
    listening->kept = listening->count > 0;
    return listening->kept;
}

/* --- The store --- */

static int send_some(const char *state, const int *fds, size_t count)
{
    for (size_t at = 0; at < count; at += ONE_SEND) {
        size_t most = count - at < ONE_SEND ? count - at : ONE_SEND;
        int sent = sd_pid_notify_with_fds(0, 0, state, fds + at, (unsigned)most);
        if (sent <= 0)
            return sent < 0 ? sent : -ENOTCONN;
    }
    return 0;
}

static void store(enum gw_listener listener, struct gw_listening *listening)
{
    char state[64];

    (void)snprintf(state, sizeof state, "FDSTORE=1\nFDNAME=" STORED "%s", names[listener]);
    int err = send_some(state, listening->fds, listening->count);
    listening->kept = err == 0;
    if (err < 0)
        ps_log(PS_LOG_WARN, "sockets_not_kept", PS_F_STR("name", names[listener]),
               PS_F_STR("why", strerror(-err)));
}

void gw_handover_store(struct gw_sockets *sockets)
{
    const char *most = getenv("FDSTORE");
    long room = most != NULL && getenv("NOTIFY_SOCKET") != NULL ? strtol(most, NULL, 10) : 0;
    size_t count = 0;

    for (int i = 0; i < GW_LISTENERS; i++)
        count += sockets->of[i].count;
    if (room <= 0)
        return;
    if ((size_t)room < count) {
        ps_log(PS_LOG_WARN, "sockets_not_kept", PS_F_INT("sockets", (int64_t)count),
               PS_F_INT("room", room),
               PS_F_STR("why", "FileDescriptorStoreMax= of the unit is too small"));
        return;
    }
    for (int i = 0; i < GW_LISTENERS; i++)
        if (sockets->of[i].count > 0 && !sockets->of[i].kept)
            store((enum gw_listener)i, &sockets->of[i]);
}
