/* Forwarding of header fields: fields of one connection are not forwarded (RFC 9110, section
 * 7.6.1), the gateway writes the fields that say who asks, and a route's own rules come last.
 * Framing is never forwarded: the sender of the message writes it anew. Pure functions. */
#ifndef UP_FIELDS_H
#define UP_FIELDS_H

#include "common/text/buf.h"
#include "gateway/cache/freshness.h"
#include "gateway/config/kinds/route_doc.h"

/* A request as it came, and who sent it. */
struct up_origin {
    const struct ps_http_head *head;
    const char *base;              /* what the views point into */
    struct ps_str path, query;     /* query.len == 0: none */
    struct ps_str host;            /* with its port */
    const struct ps_address *peer; /* of the TCP connection */
    bool trusted;       /* the peer is a trusted proxy: what it says about the client is used */
    struct ps_str user; /* .len == 0: nobody */
    struct ps_str request_id;
    bool rehearsal;
    bool keyed; /* its answer may be kept under this key: no field may override what the key says */
    /* A request for the cache: without the client's conditions, but with these. */
    bool unconditional;
    struct ps_str if_none_match, if_modified_since; /* .len == 0: none */
};

/* How the shop gets a client's field if the answer may be kept: as it came, or as part of the key
 * (pages/key.c), or not at all, or changed. */
enum cache_field_way up_fields_way(struct ps_str name);

/* Writes request line and fields, each with its CRLF, without framing and without the empty line.
 * Sets buf->overflow if they do not fit. */
void up_fields_request(struct ps_buf *buf, const struct up_origin *origin,
                       const struct cfg_header_rules *rules);

/* Writes an answer's fields in the same form, for the client; without X-Request-Id. */
void up_fields_answer(struct ps_buf *buf, const struct ps_http_head *head, const char *base,
                      const struct cfg_header_rules *rules);

/* The lines of an answer's fields after the route's rules, in the buffer. Lines that do not fit are
 * left out: pass a buffer larger than the lines and the rules together. */
struct ps_str up_fields_ruled(struct ps_buf buf, struct ps_str lines,
                              const struct cfg_header_rules *rules);

/* The value of a cookie, in any line of Cookie; .at == NULL: there is none. */
struct ps_str up_cookie_find(const struct ps_http_head *head, const char *base, struct ps_str name);

#endif
