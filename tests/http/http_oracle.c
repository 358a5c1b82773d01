/* What the codec makes of messages: for tests/system/listener/test_http_differential.py. In: for
 * each, a kind
 * ('q' request, 'p' response, 'h' response to HEAD, 'c' chunks), its length in four bytes
 * (big-endian), its bytes. Out: a line each. */
#include "common/http/chunks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct ps_http_limits limits = {
    .target_max = 2048, .head_max = 10240, .fields_max = PS_HTTP_FIELDS_MAX};

static void print_span(const char *data, struct ps_http_span span)
{
    putchar(' ');
    putchar('=');
    for (uint32_t i = 0; i < span.len; i++)
        printf("%02x", (unsigned char)data[span.at + i]);
}

static void judge_head(const char *data, size_t len, char kind)
{
    struct ps_http_head head;

    if (kind == 'q')
        ps_http_request_init(&head, &limits);
    else
        ps_http_response_init(&head, &limits, kind == 'h');
    enum ps_http_step step = ps_http_head_parse(&head, data, len);
    if (step != PS_HTTP_DONE) {
        printf("%s %s\n", step == PS_HTTP_BAD ? "bad" : "more", ps_http_rules[head.rule].name);
        return;
    }
    printf("done %u %d %llu %d %u", head.len, (int)head.framing,
           head.framing == PS_HTTP_BY_LENGTH ? (unsigned long long)head.body_len : 0ull,
           head.keep_alive, head.field_count);
    if (kind == 'q') {
        print_span(data, head.method_text);
        print_span(data, head.path);
        print_span(data, head.query);
        print_span(data, head.host);
    } else {
        printf(" %d", head.status);
    }
    putchar('\n');
}

static void judge_chunks(const char *data, size_t len)
{
    struct ps_http_chunks chunks;
    enum ps_http_step step = PS_HTTP_MORE;
    size_t at = 0;
    char *body = malloc(len + 1);
    size_t body_len = 0;

    if (body == NULL)
        exit(1);
    ps_http_chunks_init(&chunks);
    while (at < len && step != PS_HTTP_DONE && step != PS_HTTP_BAD) {
        size_t used = 0;
        struct ps_str part;
        step = ps_http_chunks_next(&chunks, data + at, len - at, &used, &part);
        if (step == PS_HTTP_DATA) {
            memcpy(body + body_len, part.at, part.len);
            body_len += part.len;
        }
        at += used;
    }
    if (step != PS_HTTP_DONE) {
        printf("%s %s\n", step == PS_HTTP_BAD ? "bad" : "more", ps_http_rules[chunks.rule].name);
    } else {
        printf("done %zu =", at);
        for (size_t i = 0; i < body_len; i++)
            printf("%02x", (unsigned char)body[i]);
        putchar('\n');
    }
    free(body);
}

int main(void)
{
    unsigned char prefix[5];

    while (fread(prefix, 1, sizeof prefix, stdin) == sizeof prefix) {
        size_t len =
            (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];
        char *data = malloc(len + 1);
        if (data == NULL || fread(data, 1, len, stdin) != len)
            return 1;
        if (prefix[0] == 'c')
            judge_chunks(data, len);
        else
            judge_head(data, len, (char)prefix[0]);
        free(data);
    }
    return 0;
}
