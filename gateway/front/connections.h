/* The TCP side of a server: listen sockets, accepting, limits of connections, deadlines. Knows
 * nothing of HTTP. Private to the front. One loop, one thread. */
#ifndef GW_CONNECTIONS_H
#define GW_CONNECTIONS_H

#include "common/err.h"
#include "gateway/front/deadline.h"
#include "gateway/front/http.h"

#include <sys/socket.h>

struct gw_connections;

struct gw_connection {
    struct gw_deadline deadline; /* first: a deadline is its connection */
    struct gw_connections *all;
    void *request; /* the owner's: what is read or answered now, or NULL */
    struct gw_address peer;
    int fd;
    bool trusted;
    bool surplus; /* accepted above the soft limit */
    bool cut;     /* shut down by a deadline */
};

struct gw_connections_events {
    /* A socket was accepted: takes it, or closes it, ends the connection and says false. */
    bool (*accepted)(struct gw_connection *connection, const struct sockaddr *from, socklen_t len,
                     void *ctx);
    /* A deadline has passed. The socket is shut down afterwards. */
    void (*late)(struct gw_connection *connection, enum gw_deadline_kind kind, void *ctx);
    void *ctx;
    void *trusted_ctx; /* of settings.is_trusted */
};

/* `fds` as in gw_http_new; on an error they stay the caller's. `settings` must outlive the result.
 */
int gw_connections_new(uv_loop_t *loop, const int *fds, size_t count,
                       const struct gw_http_settings *settings,
                       const struct gw_connections_events *events,
                       struct gw_connections **ret_connections) PS_MUST_CHECK;
/* Accepts what is queued and closes the listen sockets. */
void gw_connections_drain(struct gw_connections *all);
size_t gw_connections_count(const struct gw_connections *all);
/* Every connection must have ended. `freed` is called on a later turn of the loop, when the memory
 * has gone. */
void gw_connections_free(struct gw_connections *all, void (*freed)(void *ctx));

/* The owner has closed the socket, or is just about to: gives the memory back. */
void gw_connection_ended(struct gw_connection *connection);
void gw_connection_deadline(struct gw_connection *connection, enum gw_deadline_kind kind);

/* The clocks as read at the start of this turn. */
void gw_connections_read_clock(struct gw_connections *all);
int64_t gw_connections_now_ns(const struct gw_connections *all);
int64_t gw_connections_wall_ms(const struct gw_connections *all);

#endif
