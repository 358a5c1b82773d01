/* A request costs the client a few copies: everything except buyer, address and key is printed once
 * per run. A key follows from the buyer's number and the number of the wish, so a repeated click
 * can carry the same key. */
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

int lt_request_init(struct lt_request *request, const struct lt_names *names, const char *sale,
                    const struct lt_plan_spec *wants, const struct lt_sku *skus)
{
    struct ps_buf buf;
    ps_buf_init(&buf, request->head, sizeof request->head);
    ps_buf_printf(&buf,
                  "POST /v1/sales/%s/orders HTTP/1.1\r\nHost: %s\r\n"
                  "Content-Type: application/json\r\nX-User-Id: %s",
                  sale, names->authority, names->user_prefix);
    if (buf.overflow)
        return PS_E_FULL;
    request->head_len = buf.len;
    request->wants = wants;
    for (size_t i = 0; i < (size_t)wants->skus; i++) {
        ps_buf_init(&buf, request->body[i].text, sizeof request->body[i].text);
        ps_buf_printf(&buf, "{\"sku\":\"%s\",\"quantity\":", skus[i].name);
        if (buf.overflow)
            return PS_E_FULL;
        request->body[i].len = buf.len;
    }
    return init_address(request, names->address_header);
}

int lt_request_init_page(struct lt_request *request, const struct lt_names *names, const char *path)
{
    struct ps_buf buf;
    ps_buf_init(&buf, request->head, sizeof request->head);
    ps_buf_printf(&buf, "GET %s HTTP/1.1\r\nHost: %s\r\nX-User-Id: %s", path, names->authority,
                  names->user_prefix);
    request->head_len = buf.len;
    request->wants = NULL;
    return buf.overflow ? PS_E_FULL : init_address(request, names->address_header);
}

void lt_request_mark(struct lt_request *request, const char *mark)
{
    struct ps_buf buf;
    ps_buf_init(&buf, request->mark, sizeof request->mark);
    ps_buf_printf(&buf, "\r\nPenstock-Rehearsal: %s", mark);
    assert(!buf.overflow);
    request->mark_len = buf.len;
}

size_t lt_request_key(const struct lt_click *click, char ret_key[LT_KEY_SIZE])
{
    struct ps_buf buf;
    ps_buf_init(&buf, ret_key, LT_KEY_SIZE);
    ps_buf_puts(&buf, "click-");
    ps_buf_put_int(&buf, click->buyer);
    if (click->wish > 0) {
        ps_buf_puts(&buf, "-");
        ps_buf_put_int(&buf, click->wish);
    }
    return buf.len;
}

static void put_body(struct ps_buf *buf, const struct lt_request *request,
                     const struct lt_click *click)
{
    struct lt_wish wish = lt_plan_wish(request->wants, click->buyer, click->wish);
    char number[24];
    struct ps_buf digits;
    ps_buf_init(&digits, number, sizeof number);
    ps_buf_put_int(&digits, wish.quantity);
    ps_buf_puts(buf, "\r\nContent-Length: ");
    ps_buf_put_int(buf, (int64_t)(request->body[wish.sku].len + digits.len + 1));
    ps_buf_puts(buf, "\r\n\r\n");
    ps_buf_put(buf, request->body[wish.sku].text, request->body[wish.sku].len);
    ps_buf_put(buf, number, digits.len);
    ps_buf_puts(buf, "}");
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
        char key[LT_KEY_SIZE];
        size_t key_len = lt_request_key(click, key);
        ps_buf_puts(&buf, "\r\nIdempotency-Key: \"");
        ps_buf_put(&buf, key, key_len);
        ps_buf_puts(&buf, "\"");
    }
    ps_buf_put(&buf, request->mark, request->mark_len);
    if (request->wants != NULL)
        put_body(&buf, request, click);
    else
        ps_buf_puts(&buf, "\r\n\r\n");
    assert(!buf.overflow);
    return buf.len;
}
