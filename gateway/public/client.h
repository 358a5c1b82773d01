/* Identity: the client's address behind trusted proxies, and the user. By default that is the TCP
 * peer. If the peer is a trusted proxy, one configured header counts, or X-Forwarded-For, read from
 * the right past every trusted address. */
#ifndef PUB_CLIENT_H
#define PUB_CLIENT_H

#include "common/text/address.h"
#include "gateway/server/http.h"

enum pub_identity_result {
    PUB_IDENTITY_OK,
    PUB_IDENTITY_NONE,
    PUB_IDENTITY_UNTRUSTED,
    PUB_IDENTITY_BAD
};

struct pub_client {
    struct ps_address address; /* of the client, as far as trusted proxies vouch for it */
    bool trusted_peer;
    struct ps_str user; /* valid with PUB_IDENTITY_OK; points into the request */
    enum pub_identity_result identity;
};

/* Fills *ret_client. PS_E_INVALID: a trusted proxy sent something that is no address (400). */
int pub_client_find(const struct srv_request *request, const struct ps_cidrs *trusted,
                    bool use_client_ip_header, struct pub_client *ret_client) PS_MUST_CHECK;

#endif
