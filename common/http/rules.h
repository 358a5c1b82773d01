/* Every rule by which the codec refuses a message: one row each, with the section of the standard
 * that it enforces. The text is the `detail` of the answer: it never quotes what was sent. `why` is
 * NULL where the standard itself asks for the refusal, else it says why this program is stricter.
 * The page docs/reference/http.md is printed from these rows. */
#ifndef PS_HTTP_RULES_H
#define PS_HTTP_RULES_H

/* X(name, status of the answer, section, text, why) */
/* clang-format off */
#define PS_HTTP_RULE_TABLE(X)                                                                      \
    X(EMPTY_LINES, 400, "RFC 9112, 2.2", "there is more than one empty line before the request line", \
      "old clients may send one; more only cost the server work")     \
    X(BARE_LF, 400, "RFC 9112, 2.2", "a line ends in LF without CR",                               \
      "the standard lets a server accept it; programs that disagree about it can be made to see different requests") \
    X(BARE_CR, 400, "RFC 9112, 2.2", "a CR is not followed by LF", NULL)                           \
    X(METHOD, 400, "RFC 9110, 9.1", "the method is not a token of at most 32 characters",          \
      "no method is longer than 17; the bound keeps the request line's cost small")                \
    X(REQUEST_LINE, 400, "RFC 9112, 3", "the request line is not method, target and version, one space apart", \
      "the standard lets a server accept other white space; request smuggling uses it")                      \
    X(VERSION, 400, "RFC 9112, 2.3", "the version is not HTTP/1.0 or HTTP/1.1", NULL)              \
    X(VERSION_MAJOR, 505, "RFC 9110, 15.6.6", "only HTTP/1 is supported", NULL)                  \
    X(TARGET_TOO_LONG, 414, "RFC 9112, 3", "the request target is too long", NULL)                   \
    X(TARGET_FORM, 400, "RFC 9112, 3.2", "the request target is neither a path nor an http address, nor * with OPTIONS", NULL) \
    X(TARGET_CHARS, 400, "RFC 3986, 3.3", "the request target has a byte that must be percent-encoded", NULL) \
    X(TARGET_ESCAPE, 400, "RFC 3986, 2.1", "the request target has a % without two hexadecimal digits", NULL) \
    X(TARGET_NUL, 400, "RFC 3986, 7.3", "the request target has an encoded NUL",                   \
      "no path of the gateway has one; programs behind it could cut the path there")                         \
    X(AUTHORITY, 400, "RFC 9110, 4.2", "the address in the request target has no valid host", NULL) \
    X(USERINFO, 400, "RFC 9110, 4.2.4", "the address in the request target has a user name", NULL) \
    X(HOST_MISSING, 400, "RFC 9112, 3.2", "Host is missing", NULL)                                 \
    X(HOST_TWICE, 400, "RFC 9112, 3.2", "Host appears twice", NULL)                           \
    X(HOST, 400, "RFC 3986, 3.2.2", "Host is not a host with an optional port",                    \
      "names of letters, digits, '-', '.', '_' and '~' only: no host that is served here has other characters") \
    X(FIELD_NAME, 400, "RFC 9112, 5.1", "a field name is not a token followed by a colon", NULL)   \
    X(FIELD_FOLD, 400, "RFC 9112, 5.2", "a field value continues in the next line", NULL)            \
    X(FIELD_VALUE, 400, "RFC 9110, 5.5", "a field value has a control byte", NULL)                 \
    X(TOO_MANY_FIELDS, 431, "RFC 6585, 5", "there are too many header fields", NULL)                    \
    X(HEAD_TOO_LARGE, 431, "RFC 6585, 5", "the header fields are too large", NULL)                       \
    X(LENGTH, 400, "RFC 9112, 6.3", "Content-Length is not a number of bytes", NULL)               \
    X(LENGTH_TOO_LARGE, 413, "RFC 9110, 8.6", "Content-Length has more than 18 digits",            \
      "it would not fit 64 bits")                                                                  \
    X(FRAMING_SPACE, 400, "RFC 9110, 5.5", "Content-Length or Transfer-Encoding is followed by white space", \
      "the standard allows it; programs disagree about what belongs to the value")       \
    X(LENGTH_TWICE, 400, "RFC 9112, 6.3", "Content-Length appears twice",                     \
      "also with the same value twice, which the standard lets a server accept: programs disagree about it") \
    X(ENCODING, 400, "RFC 9112, 6.1", "Transfer-Encoding is not chunked alone",                    \
      "no other coding is implemented; the standard suggests 501")                                 \
    X(ENCODING_AND_LENGTH, 400, "RFC 9112, 6.1", "Transfer-Encoding and Content-Length are both present", \
      "the standard lets a server accept it; request smuggling uses it")                       \
    X(ENCODING_IN_1_0, 400, "RFC 9112, 6.1", "Transfer-Encoding in a message of HTTP/1.0", NULL)   \
    X(CHUNK_SIZE, 400, "RFC 9112, 7.1", "a chunk size is not a hexadecimal number of at most 15 digits", NULL) \
    X(CHUNK_EXTENSION, 400, "RFC 9112, 7.1.1", "a chunk extension is malformed", NULL)             \
    X(CHUNK_LINE_TOO_LONG, 400, "RFC 9112, 7.1.1", "a chunk-size line is too long", NULL)                   \
    X(CHUNK_SIZE_END, 400, "RFC 9112, 7.1", "a chunk-size line does not end in CRLF", NULL)                   \
    X(CHUNK_END, 400, "RFC 9112, 7.1", "a chunk does not end in CRLF", NULL)                       \
    X(TRAILER, 400, "RFC 9112, 7.1.2", "a trailer field is malformed", NULL)                       \
    X(TRAILERS_TOO_LARGE, 431, "RFC 9112, 7.1.2", "the trailer fields are too large", NULL)               \
    X(STATUS_LINE, 400, "RFC 9112, 4", "the status line is malformed", NULL)                       \
    X(STATUS_BODY, 400, "RFC 9110, 8.6", "a response without a body announces one", NULL)
/* clang-format on */

#define PS_HTTP_RULE_ENUM(name, status, section, text, why) PS_HTTP_##name,
enum ps_http_rule { PS_HTTP_NO_RULE, PS_HTTP_RULE_TABLE(PS_HTTP_RULE_ENUM) PS_HTTP_RULE_COUNT };
#undef PS_HTTP_RULE_ENUM

struct ps_http_rule_row {
    const char *name; /* "BARE_LF" */
    int status;
    const char *section;
    const char *text;
    const char *why;
};
/* By enum ps_http_rule; the first row is empty. */
extern const struct ps_http_rule_row ps_http_rules[PS_HTTP_RULE_COUNT];

#endif
