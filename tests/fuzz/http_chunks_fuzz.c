/* Any bytes as a body in chunks: given whole or byte by byte the body and its end are the same. */
#include "common/http/chunks.h"
#include "fuzz.h"

static enum ps_http_step read_all(const char *data, size_t size, size_t piece, char *body,
                                  size_t *ret_len, size_t *ret_used, enum ps_http_rule *ret_rule)
{
    struct ps_http_chunks chunks;
    enum ps_http_step step = PS_HTTP_MORE;
    size_t at = 0, len = 0;

    ps_http_chunks_init(&chunks);
    while (at < size && step != PS_HTTP_DONE && step != PS_HTTP_BAD) {
        size_t most = size - at < piece ? size - at : piece, used = 0;
        struct ps_str part;
        step = ps_http_chunks_next(&chunks, data + at, most, &used, &part);
        MUST(used <= most);
        if (step == PS_HTTP_DATA) {
            memcpy(body + len, part.at, part.len);
            len += part.len;
        }
        at += used;
    }
    *ret_len = len;
    *ret_used = at;
    *ret_rule = chunks.rule;
    return step == PS_HTTP_DATA ? PS_HTTP_MORE : step;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char *bodies = malloc(2 * size + 1);
    size_t len[2], used[2];
    enum ps_http_rule rule[2];

    MUST(bodies != NULL);
    enum ps_http_step whole =
        read_all((const char *)bytes, size, size + 1, bodies, &len[0], &used[0], &rule[0]);
    enum ps_http_step slow =
        read_all((const char *)bytes, size, 1, bodies + size, &len[1], &used[1], &rule[1]);
    MUST(whole == slow && len[0] == len[1] && memcmp(bodies, bodies + size, len[0]) == 0);
    MUST(whole != PS_HTTP_BAD || rule[0] == rule[1]);
    MUST(whole != PS_HTTP_DONE || used[0] == used[1]);
    free(bodies);
    return 0;
}
