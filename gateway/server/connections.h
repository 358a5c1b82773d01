/* The TCP side of a server: listen sockets, accepting, limits of connections, deadlines. Knows
 * nothing of HTTP. Private to the front. One loop, one thread. */
#ifndef SRV_CONNECTIONS_H
#define SRV_CONNECTIONS_H

#include "common/err.h"
#include "gateway/server/deadline.h"
#include "gateway/server/http.h"

#include <sys/socket.h>

struct srv_connections;

struct srv_connection {
    struct srv_deadline deadline; /* first: a deadline is its connection */
    struct srv_connections *all;
    void *request; /* the owner's: what is read or answered now, or NULL */
    struct ps_address peer;
    int fd;
    bool trusted;
    bool surplus; /* accepted above the soft limit */
    bool cut;     /* srv_connection_cut */
};

struct srv_connections_events {
    /* A socket was accepted: takes it, or closes it, ends the connection and says false. */
    bool (*accepted)(struct srv_connection *connection, const struct sockaddr *from, socklen_t len,
                     void *ctx);
    /* A deadline has passed. The socket is shut down afterwards. */
    void (*late)(struct srv_connection *connection, enum srv_deadline_kind kind, void *ctx);
    void *ctx;
    void *trusted_ctx; /* of settings.is_trusted */
};

/* `fds` as in srv_http_new; on an error they stay the caller's. `settings` must outlive the result.
 */
int srv_connections_new(uv_loop_t *loop, const int *fds, size_t count,
                        const struct srv_settings *settings,
                        const struct srv_connections_events *events,
                        struct srv_connections **ret_connections) PS_MUST_CHECK;
/* Accepts what is queued and closes the listen sockets. */
void srv_connections_drain(struct srv_connections *all);
size_t srv_connections_count(const struct srv_connections *all);
/* Every connection must have ended. `freed` is called on a later turn of the loop, when the memory
 * has gone. */
void srv_connections_free(struct srv_connections *all, void (*freed)(void *ctx));

/* The owner has closed the socket, or is just about to: gives the memory back. */
void srv_connection_ended(struct srv_connection *connection);
/* Shuts the socket down; the owner notices and ends it. What has arrived does not count. */
void srv_connection_cut(struct srv_connection *connection);
void srv_connection_deadline(struct srv_connection *connection, enum srv_deadline_kind kind);

/* The clocks as read at the start of this turn. */
void srv_connections_read_clock(struct srv_connections *all);
int64_t srv_connections_now_ns(const struct srv_connections *all);
int64_t srv_connections_wall_ms(const struct srv_connections *all);

#endif
