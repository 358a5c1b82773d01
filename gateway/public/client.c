/* Who sends a request decides whether its word on the user counts (srv_request's `trusted`). The
 * peer's address, or the one that its PROXY header has instead, is where the search for the
 * client's begins.
 *
 * Each proxy appends to X-Forwarded-For on the right, so only the right end was written by somebody
 * we trust: the list is read from the right, past every trusted address, and the first untrusted
 * one is the client. If all are trusted, the leftmost is. */
#include "gateway/public/client.h"

#include "common/http/head.h"

/* Reads one line from the right. Sets *ret_found at the first untrusted address. PS_E_INVALID: an
 * element to the right of the client's is no address, and a trusted proxy wrote it. */
static int walk_line(struct ps_str line, const struct ps_cidrs *trusted, struct ps_address *address,
                     bool *ret_found)
{
    size_t end = line.len;

    while (!*ret_found) {
        size_t start = end;
        while (start > 0 && line.at[start - 1] != ',')
            start--;
        struct ps_str element = ps_http_trim((struct ps_str){line.at + start, end - start});
        if (element.len > 0) {
            if (ps_address_parse(element.at, element.len, true, address) < 0)
                return PS_E_INVALID;
            *ret_found = !ps_cidrs_have(trusted, address);
        }
        if (start == 0)
            return 0;
        end = start - 1;
    }
    return 0;
}

static int find_address(const struct srv_request *request, const struct ps_cidrs *trusted,
                        bool use_client_ip_header, struct ps_address *address)
{
    bool found = false;

    if (use_client_ip_header) {
        struct ps_str text = request->header[SRV_H_CLIENT_IP];
        if (text.at == NULL)
            return 0;
        text = ps_http_trim(text);
        return ps_address_parse(text.at, text.len, false, address);
    }
    for (size_t i = request->header_lines[SRV_H_FORWARDED_FOR]; i > 0 && !found; i--) {
        int err = walk_line(request->forwarded_for[i - 1], trusted, address, &found);
        if (err < 0)
            return err;
    }
    return 0;
}

int pub_client_find(const struct srv_request *request, const struct ps_cidrs *trusted,
                    bool use_client_ip_header, struct pub_client *ret_client)
{
    struct pub_client client = {.address = request->peer, .trusted_peer = request->trusted};
    struct ps_str user = request->header[SRV_H_USER_ID];

    if (request->forwards) {
        int err = find_address(request, trusted, use_client_ip_header, &client.address);
        if (err < 0)
            return err;
    }
    if (user.at == NULL)
        client.identity = PUB_IDENTITY_NONE;
    else if (!client.trusted_peer)
        client.identity = PUB_IDENTITY_UNTRUSTED;
    else if (!ps_user_ok(user.at, user.len))
        client.identity = PUB_IDENTITY_BAD;
    else
        client.user = user;
    *ret_client = client;
    return 0;
}
