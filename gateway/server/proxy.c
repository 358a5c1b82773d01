/* Connections that must begin with a PROXY header (common/http/proxy.h). It is looked at in the
 * kernel, and only its own bytes are received: the requests behind it are read as on any other
 * connection. Nobody is answered before it is complete, since whoever cannot send one is no client
 * of this listener. */
#include "gateway/server/address_count.h"
#include "gateway/server/http_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

bool srv_count_address(struct srv_connection *connection)
{
    struct srv_http *http = connection->http;

    if (http->addresses == NULL || connection->forwards)
        return true;
    connection->counted = srv_address_add(http->addresses, &connection->peer);
    if (!connection->counted)
        srv_refuse(connection, ANS_V_too_many_connections,
                   "this address has as many connections as one address may have");
    return connection->counted;
}

static void end(struct srv_connection *connection, enum srv_proxy_result result, const char *why)
{
    const struct srv_settings *settings = &connection->http->settings;

    settings->on_proxy(result, &connection->peer, why, settings->ctx);
    srv_close(connection, result != SRV_PROXY_LEFT);
}

void srv_proxy_begin(struct srv_connection *connection)
{
    if (!connection->trusted) {
        end(connection, SRV_PROXY_UNTRUSTED, "the peer is not in trusted_proxies");
        return;
    }
    connection->state = SRV_PROXYING;
    srv_set_deadline(connection, SRV_DEADLINE_PROXY);
}

void srv_proxy_late(struct srv_connection *connection)
{
    end(connection, SRV_PROXY_LATE, "it did not arrive within a second");
}

/* Takes `len` bytes, which were looked at, from the kernel. */
static bool take(struct srv_connection *connection, char *bytes, size_t len)
{
    if (recv(connection->fd, bytes, len, 0) == (ssize_t)len)
        return true;
    end(connection, SRV_PROXY_LEFT, NULL);
    return false;
}

static void keep(struct srv_connection *connection, const char *bytes, size_t len)
{
    if (connection->kept == NULL)
        connection->kept = malloc(PS_PROXY_MAX);
    if (connection->kept == NULL) {
        srv_close(connection, true);
        return;
    }
    memcpy(connection->kept, bytes, len);
    connection->kept_len = len;
}

/* The header is complete: the connection is the client's. */
static bool take_over(struct srv_connection *connection, const struct ps_proxy_header *header)
{
    const struct srv_settings *settings = &connection->http->settings;
    enum srv_proxy_result version = header->version == PS_PROXY_V1 ? SRV_PROXY_V1 : SRV_PROXY_V2;

    settings->on_proxy(header->has_address ? version : SRV_PROXY_OWN, &connection->peer, NULL,
                       settings->ctx);
    free(connection->kept);
    connection->kept = NULL;
    connection->kept_len = 0;
    connection->state = SRV_READING;
    srv_set_deadline(connection, SRV_DEADLINE_HEAD);
    if (header->has_address) {
        connection->peer = header->address;
        connection->forwards = settings->is_trusted(&connection->peer, settings->ctx);
        connection->trusted = connection->forwards || settings->proxy_trusts_clients;
        if (!srv_count_address(connection))
            return false;
    }
    return !srv_guard_leaves(connection);
}

bool srv_proxy_read(struct srv_connection *connection)
{
    struct ps_proxy_header header;
    char bytes[PS_PROXY_MAX];
    size_t had = connection->kept_len;

    if (had > 0)
        memcpy(bytes, connection->kept, had);
    ssize_t found = recv(connection->fd, bytes + had, sizeof bytes - had, MSG_PEEK);
    if (found < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (found <= 0) {
        end(connection, SRV_PROXY_LEFT, NULL);
        return false;
    }
    size_t len = had + (size_t)found;
    switch (ps_proxy_parse(connection->http->settings.proxy_versions, bytes, len, &header)) {
    case PS_HTTP_DONE:
        return take(connection, bytes + had, header.len - had) && take_over(connection, &header);
    case PS_HTTP_MORE:
        if (take(connection, bytes + had, len - had))
            keep(connection, bytes, len);
        return false;
    default:
        end(connection, SRV_PROXY_MALFORMED, header.why);
        return false;
    }
}
