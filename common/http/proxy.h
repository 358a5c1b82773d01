/* The PROXY protocol: the header by which a proxy says, before the first request of a connection,
 * whose connection it is (haproxy.org/download/2.8/doc/proxy-protocol.txt). Version 1 is a line of
 * text, version 2 is binary. Pure functions: any thread. */
#ifndef PS_HTTP_PROXY_H
#define PS_HTTP_PROXY_H

#include "common/http/head.h"
#include "common/text/address.h"

enum ps_proxy_versions { PS_PROXY_OFF, PS_PROXY_V1, PS_PROXY_V2, PS_PROXY_ANY };

/* No header is longer: of version 1, which is text, 107 bytes; of version 2, with its values. */
#define PS_PROXY_MAX 536

struct ps_proxy_header {
    size_t len;
    enum ps_proxy_versions version; /* PS_PROXY_V1 or PS_PROXY_V2 */
    /* False: the connection is the proxy's own (LOCAL, as health checks are), or of an address that
     * is neither IPv4 nor IPv6 (UNKNOWN, AF_UNSPEC, AF_UNIX). */
    bool has_address;
    struct ps_address address; /* the source */
    const char *why;           /* with PS_HTTP_BAD: what is wrong */
};

/* Reads the header at the beginning of `bytes`, of a version in `versions`. PS_HTTP_MORE: it is not
 * complete, which no header of PS_PROXY_MAX bytes is; PS_HTTP_DONE; PS_HTTP_BAD. */
enum ps_http_step ps_proxy_parse(enum ps_proxy_versions versions, const void *bytes, size_t len,
                                 struct ps_proxy_header *ret_header) PS_MUST_CHECK;

#endif
