/* Header fields on their way through: what is of one connection only stays behind (RFC 9110,
 * section 7.6.1), what says who asks is ours to say, and a route's own rules come last. Framing is
 * never passed on: who sends the message writes it anew. Pure functions. */
#ifndef UP_FIELDS_H
#define UP_FIELDS_H

#include "common/text/buf.h"
#include "gateway/cache/freshness.h"
#include "gateway/config/kinds/route_doc.h"

/* A request as it came, and what is known of who asks. */
struct up_origin {
    const struct ps_http_head *head;
    const char *base;              /* where its bytes are */
    struct ps_str path, query;     /* query.len == 0: none */
    struct ps_str host;            /* with its port */
    const struct ps_address *peer; /* of the TCP connection */
    bool trusted;       /* the peer is a trusted proxy: what it says of the client holds */
    struct ps_str user; /* .len == 0: nobody */
    struct ps_str request_id;
    bool rehearsal;
    bool keyed; /* its answer may be kept, under what is said here: nothing overrides that */
    /* Of a request for the cache: its own conditions stay behind, and these are sent. */
    bool unconditional;
    struct ps_str if_none_match, if_modified_since; /* .len == 0: none */
};

/* How a field of a client reaches the shop where its answer may be kept: as it came, or in what the
 * key has (pages/key.c), or not, or not as it came. */
enum cache_field_way up_fields_way(struct ps_str name);

/* Request line and fields, each with its CRLF, without framing and without the empty line. What
 * does not fit sets buf->overflow. */
void up_fields_request(struct ps_buf *buf, const struct up_origin *origin,
                       const struct cfg_header_rules *rules);

/* The fields of an answer in the same form, for the client; without X-Request-Id. */
void up_fields_answer(struct ps_buf *buf, const struct ps_http_head *head, const char *base,
                      const struct cfg_header_rules *rules);

/* Lines of an answer's fields as the rules make them, in the buffer. What does not fit is left out:
 * give one that is larger than the lines and the rules. */
struct ps_str up_fields_ruled(struct ps_buf buf, struct ps_str lines,
                              const struct cfg_header_rules *rules);

/* The value of a cookie; .at == NULL: there is none. */
struct ps_str up_cookie_find(const struct ps_http_head *head, const char *base, struct ps_str name);

#endif
