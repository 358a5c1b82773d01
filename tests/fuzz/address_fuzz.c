/* Any bytes as an address: what is spelt normally stays so, is found normal, and has no byte that
 * the parser of heads refuses. The same bytes as an authority. */
#include "common/http/address.h"
#include "common/http/head.h"
#include "fuzz.h"

#include <string.h>

#define ADDRESS_MAX 8192

static const struct ps_http_limits limits = {
    .target_max = 4 * ADDRESS_MAX, .head_max = 5 * ADDRESS_MAX, .fields_max = 8};

static void check_head(struct ps_str normal)
{
    static char text[4 * ADDRESS_MAX];
    struct ps_http_head head;
    struct ps_buf buf;

    ps_buf_init(&buf, text, sizeof text);
    ps_buf_puts(&buf, "GET /");
    ps_buf_put(&buf, normal.at, normal.len);
    ps_buf_puts(&buf, " HTTP/1.1\r\nHost: x\r\n\r\n");
    ps_http_request_init(&head, &limits);
    MUST(ps_http_head_parse(&head, text, buf.len) == PS_HTTP_DONE && !head.is_odd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static char once[3 * ADDRESS_MAX], twice[3 * ADDRESS_MAX];
    struct ps_str text = {(const char *)bytes, size};
    struct ps_buf buf, again;

    if (size > ADDRESS_MAX)
        return 0;
    ps_buf_init(&buf, once, sizeof once);
    ps_buf_init(&again, twice, sizeof twice);
    if (ps_http_put_normal(&buf, text)) {
        struct ps_str normal = {once, buf.len};
        MUST(ps_http_is_normal(normal) && ps_http_put_normal(&again, normal));
        MUST(ps_str_same(normal, (struct ps_str){twice, again.len}));
        MUST(!ps_http_is_normal(text) || ps_str_same(normal, text));
        check_head(normal);
    }
    buf.len = again.len = 0;
    ps_http_put_authority(&buf, text, "http");
    if (ps_http_is_authority(text)) {
        struct ps_str host = {once, buf.len};
        ps_http_put_authority(&again, host, "http");
        MUST(buf.len > 0 && buf.len <= size);
        /* One final dot goes at a time. */
        MUST(ps_str_same(host, (struct ps_str){twice, again.len}) ||
             memmem(text.at, text.len, "..", 2) != NULL);
    }
    return 0;
}
