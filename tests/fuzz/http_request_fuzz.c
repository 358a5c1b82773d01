/* Any bytes as the head of a request: given whole or in pieces they mean the same, and what is
 * taken can be written down again and read as the same. */
#include "common/text/buf.h"
#include "common/http/head.h"
#include "fuzz.h"

static const struct ps_http_limits limits = {.target_max = 512, .head_max = 4096, .fields_max = 32};

static bool same_head(const struct ps_http_head *a, const struct ps_http_head *b)
{
    return a->len == b->len && a->minor == b->minor && a->keep_alive == b->keep_alive &&
           a->framing == b->framing && a->body_len == b->body_len &&
           a->field_count == b->field_count && a->method == b->method &&
           memcmp(&a->path, &b->path, sizeof a->path) == 0 &&
           memcmp(&a->query, &b->query, sizeof a->query) == 0 &&
           memcmp(&a->host, &b->host, sizeof a->host) == 0;
}

/* In pieces whose sizes the bytes themselves choose, each time at another place. */
static enum ps_http_step parse_pieces(struct ps_http_head *head, const char *data, size_t size)
{
    enum ps_http_step step = PS_HTTP_MORE;

    for (size_t len = 0; len < size && step == PS_HTTP_MORE;) {
        len += 1 + (unsigned char)data[len] % 23;
        len = len > size ? size : len;
        char *copy = malloc(len);
        MUST(copy != NULL);
        memcpy(copy, data, len);
        step = ps_http_head_parse(head, copy, len);
        free(copy);
    }
    return step;
}

/* The same fields in their plainest form. */
static void write_again(const struct ps_http_head *head, const char *data, struct ps_buf *buf)
{
    size_t line_end =
        (size_t)((const char *)memchr(data + head->method_text.at, '\r', head->len) - data);

    ps_buf_put(buf, data + head->method_text.at, line_end - head->method_text.at);
    ps_buf_puts(buf, "\r\n");
    for (uint32_t i = 0; i < head->field_count; i++) {
        ps_buf_put(buf, data + head->fields[i].name.at, head->fields[i].name.len);
        ps_buf_puts(buf, ":");
        ps_buf_put(buf, data + head->fields[i].value.at, head->fields[i].value.len);
        ps_buf_puts(buf, "\r\n");
    }
    ps_buf_puts(buf, "\r\n");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *data = (const char *)bytes;
    struct ps_http_head whole, pieces, again;
    char memory[8192];
    struct ps_buf buf;

    ps_http_request_init(&whole, &limits);
    enum ps_http_step step = size > 0 ? ps_http_head_parse(&whole, data, size) : PS_HTTP_MORE;
    ps_http_request_init(&pieces, &limits);
    enum ps_http_step other = parse_pieces(&pieces, data, size);
    MUST(step == other);
    MUST(step != PS_HTTP_BAD || (whole.rule > 0 && whole.rule < PS_HTTP_RULE_COUNT));
    if (step != PS_HTTP_DONE)
        return 0;
    MUST(whole.len <= size && same_head(&whole, &pieces));
    ps_buf_init(&buf, memory, sizeof memory);
    write_again(&whole, data, &buf);
    MUST(!buf.overflow);
    ps_http_request_init(&again, &limits);
    MUST(ps_http_head_parse(&again, buf.at, buf.len) == PS_HTTP_DONE && again.len == buf.len);
    MUST(again.framing == whole.framing && again.body_len == whole.body_len &&
         again.field_count == whole.field_count && again.keep_alive == whole.keep_alive);
    return 0;
}
