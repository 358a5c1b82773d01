/* One request costs the client a few copies: everything but buyer, address and key is printed once
 * for the whole run. A buyer's key follows from the buyer's number, so a repeated click can carry
 * it. */
#include "loadtest/request.h"

#include <assert.h>
#include <string.h>

#define ADDRESSES (UINT32_C(1) << 17) /* of 198.18.0.0/15 */

static int init_address(struct lt_request *request, const char *address_header)
{
    struct ps_buf buf;
    ps_buf_init(&buf, request->address, sizeof request->address);
    ps_buf_printf(&buf, "\r\n%s: 198.", address_header);
    request->address_len = buf.len;
    request->mark_len = 0;
    return buf.overflow ? PS_E_FULL : 0;
}

int lt_request_init(struct lt_request *request, const char *authority, const char *sale,
                    const char *sku, const char *address_header, const char *user_prefix)
{
    struct ps_buf buf;
    ps_buf_init(&buf, request->head, sizeof request->head);
    ps_buf_printf(&buf,
                  "POST /v1/sales/%s/orders HTTP/1.1\r\nHost: %s\r\n"
                  "Content-Type: application/json\r\nX-User-Id: %s",
                  sale, authority, user_prefix);
    if (buf.overflow)
        return PS_E_FULL;
    request->head_len = buf.len;

    char body[128];
    struct ps_buf body_buf;
    ps_buf_init(&body_buf, body, sizeof body);
    ps_buf_printf(&body_buf, "{\"sku\":\"%s\",\"quantity\":1}", sku);
    ps_buf_init(&buf, request->tail, sizeof request->tail);
    ps_buf_printf(&buf, "\r\nContent-Length: %zu\r\n\r\n", body_buf.len);
    ps_buf_put(&buf, body, body_buf.len);
    if (body_buf.overflow || buf.overflow)
        return PS_E_FULL;
    request->tail_len = buf.len;
    return init_address(request, address_header);
}

int lt_request_init_page(struct lt_request *request, const char *authority, const char *path,
                         const char *address_header, const char *user_prefix)
{
    static const char end[] = "\r\n\r\n";
    struct ps_buf buf;
    ps_buf_init(&buf, request->head, sizeof request->head);
    ps_buf_printf(&buf, "GET %s HTTP/1.1\r\nHost: %s\r\nX-User-Id: %s", path, authority,
                  user_prefix);
    request->head_len = buf.len;
    memcpy(request->tail, end, sizeof end);
    request->tail_len = sizeof end - 1;
    return buf.overflow ? PS_E_FULL : init_address(request, address_header);
}

void lt_request_mark(struct lt_request *request, const char *mark)
{
    struct ps_buf buf;
    ps_buf_init(&buf, request->mark, sizeof request->mark);
    ps_buf_printf(&buf, "\r\nPenstock-Rehearsal: %s", mark);
    assert(!buf.overflow);
    request->mark_len = buf.len;
}

size_t lt_request_write(const struct lt_request *request, const struct lt_click *click,
                        char text[LT_REQUEST_MAX])
{
    uint32_t address = click->buyer % ADDRESSES;
    struct ps_buf buf;
    ps_buf_init(&buf, text, LT_REQUEST_MAX);
    ps_buf_put(&buf, request->head, request->head_len);
    ps_buf_put_int(&buf, click->buyer);
    ps_buf_put(&buf, request->address, request->address_len);
    ps_buf_put_int(&buf, 18 + (address >> 16));
    ps_buf_puts(&buf, ".");
    ps_buf_put_int(&buf, (address >> 8) & 0xff);
    ps_buf_puts(&buf, ".");
    ps_buf_put_int(&buf, address & 0xff);
    if (click->with_key) {
        ps_buf_puts(&buf, "\r\nIdempotency-Key: \"click-");
        ps_buf_put_int(&buf, click->buyer);
        ps_buf_puts(&buf, "\"");
    }
    ps_buf_put(&buf, request->mark, request->mark_len);
    ps_buf_put(&buf, request->tail, request->tail_len);
    assert(!buf.overflow);
    return buf.len;
}
