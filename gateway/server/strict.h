/* What a request head must look like to be taken (RFC 9110, RFC 9112, read strictly): everything
 * over which two programs in a row could disagree is refused. Knows nothing of the HTTP library:
 * the caller hands over the request line and each field. */
#ifndef SRV_STRICT_H
#define SRV_STRICT_H

#include "gateway/server/http.h"

struct srv_strict {
    struct srv_request
        *request; /* method, path, query, header[], header_lines[], forwarded_for[] are filled */
    struct ps_str client_ip_header;
    bool http_1_0;
    bool chunked;
    unsigned lengths;   /* lines of Content-Length */
    unsigned encodings; /* lines of Transfer-Encoding */
    uint64_t content_length;
    const char *fault; /* the first breach in words, or NULL */
};

/* `client_ip_header` may be NULL. The strings must live as long as the request. */
void srv_strict_begin(struct srv_strict *strict, struct srv_request *request,
                      const char *client_ip_header, struct ps_str method, struct ps_str target,
                      bool http_1_0);
/* One header line, in order; the value may have white space at its end. */
void srv_strict_field(struct srv_strict *strict, struct ps_str name, struct ps_str value);
/* The first breach of the whole head in words, or NULL when it is well-formed. */
const char *srv_strict_end(struct srv_strict *strict);

/* A field of a trailer: only its bytes matter. The breach, or NULL. */
const char *srv_strict_trailer(struct ps_str name, struct ps_str value);

/* True when the value of Content-Type is application/json, in any case, with or without parameters.
 * .at == NULL: there is none. */
bool srv_strict_json(struct ps_str type);

/* True when the value of Content-Encoding says that the body is not compressed, or there is none.
 */
bool srv_strict_plain(struct ps_str encoding);

/* True when `text` is 1-64 bytes of [A-Za-z0-9._-]. */
bool srv_strict_request_id(struct ps_str text);

/* Whether a field of this name has a meaning of its own, such as Host and X-User-Id. */
bool srv_strict_knows(struct ps_str name);

#endif
