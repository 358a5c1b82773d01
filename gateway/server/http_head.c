/* Reading a request's head, beside what the library made of it. */
#include "gateway/server/http_private.h"
#include "gateway/server/strict.h"

#include <string.h>
#include <strings.h>

/* Room for the head of an answer in the memory of a connection. */
#define ANSWER_HEAD_MAX ((size_t)1536)

/* The walk over the head. libmicrohttpd 0.9 parses it where it lies: it writes NULs over the ends
 * of names and lines, and gives out pointers. So the distance from the end of one value to the next
 * name is exactly its CRLF, unless something is hidden there: a NUL with more text behind it, a
 * line that ends in a bare LF, a folded line. */
struct walk {
    struct srv_strict strict;
    const char *next; /* where the next name must start; NULL: the layout is not known */
    size_t fields;
    size_t cookies; /* bytes of the first Cookie, which the library copies */
};

static enum MHD_Result on_field(void *ctx, enum MHD_ValueKind kind, const char *name,
                                size_t name_len, const char *value, size_t value_len)
{
    struct walk *walk = ctx;
    (void)kind;
    if (walk->next != NULL) {
        if (walk->next != name && walk->strict.fault == NULL)
            walk->strict.fault = "a line has a NUL in it, is folded, or ends in a bare LF";
        walk->next = value + value_len + 2;
    }
    walk->fields++;
    if (name_len == 6 && walk->cookies == 0 && strncasecmp(name, "Cookie", 6) == 0)
        walk->cookies = value_len;
    srv_strict_field(&walk->strict, (struct ps_str){name, name_len},
                     (struct ps_str){value, value_len});
    return MHD_YES;
}

static enum MHD_Result on_trailer(void *ctx, enum MHD_ValueKind kind, const char *name,
                                  size_t name_len, const char *value, size_t value_len)
{
    const char **fault = ctx;
    (void)kind;
    if (*fault == NULL)
        *fault =
            srv_strict_trailer((struct ps_str){name, name_len}, (struct ps_str){value, value_len});
    return MHD_YES;
}

/* Fills the request from the head. The first breach in words, or NULL. */
static const char *read_head(struct srv_slot *slot, const char *method, const char *version,
                             struct walk *walk)
{
    struct srv_http *http = slot->http;
    struct ps_str name = {method, strlen(method)};
    struct ps_str target = {slot->target, slot->target_len};

    srv_strict_begin(&walk->strict, &slot->request, http->settings.client_ip_header, name, target,
                     strcmp(version, "HTTP/1.0") == 0);
    walk->next = NULL;
    walk->fields = walk->cookies = 0;
    if (http->layout_known) {
        if (slot->raw_target != method + name.len + 1 ||
            version != slot->raw_target + target.len + 1)
            return "the request line is not three words with one space between them";
        walk->next = version + strlen(version) + 2;
    }
    MHD_get_connection_values_n(slot->mhd, MHD_HEADER_KIND, on_field, walk);
    if (http->layout_known) {
        const union MHD_ConnectionInfo *size =
            MHD_get_connection_info(slot->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        if (walk->strict.fault == NULL && walk->next + 2 != method + size->header_size)
            return "the last line has a NUL in it, is folded, or ends in a bare LF";
    }
    return srv_strict_end(&walk->strict);
}

/* Whether the head leaves no room for that of an answer: the library would then close the
 * connection when the request has been served already. It holds the head, an entry for each field
 * and cookie, and a copy of the cookies. */
static bool is_head_too_large(const struct srv_slot *slot, const struct walk *walk)
{
    const size_t entry = 64;
    size_t entries = walk->fields;
    if (walk->cookies > 0)
        entries += (size_t)MHD_get_connection_values_n(slot->mhd, MHD_COOKIE_KIND, NULL, NULL);
    size_t head =
        MHD_get_connection_info(slot->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    return head + entries * entry + walk->cookies + ANSWER_HEAD_MAX >
           slot->http->settings.head_memory;
}

bool srv_head_read(struct srv_slot *slot, const char *method, const char *version,
                   struct srv_head *ret_head)
{
    struct walk walk;
    const char *fault = read_head(slot, method, version, &walk);
    bool large = fault == NULL && is_head_too_large(slot, &walk);
    *ret_head = (struct srv_head){.content_length = walk.strict.content_length,
                                  .chunked = walk.strict.chunked,
                                  .refusal = large ? ANS_V_headers_too_large : ANS_V_malformed,
                                  .why = fault};
    return fault == NULL && !large;
}

const char *srv_head_trailer_fault(struct MHD_Connection *mhd)
{
    const char *fault = NULL;
    MHD_get_connection_values_n(mhd, MHD_FOOTER_KIND, on_trailer, &fault);
    return fault;
}
