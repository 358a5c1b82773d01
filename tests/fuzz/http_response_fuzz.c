/* Any bytes as the head of a response, to GET and to HEAD. */
#include "common/http/head.h"
#include "fuzz.h"

static const struct ps_http_limits limits = {.target_max = 512, .head_max = 4096, .fields_max = 32};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    for (int to_head = 0; to_head < 2; to_head++) {
        struct ps_http_head whole, slow;
        enum ps_http_step step, other = PS_HTTP_MORE;
        ps_http_response_init(&whole, &limits, to_head == 1);
        step = size > 0 ? ps_http_head_parse(&whole, (const char *)bytes, size) : PS_HTTP_MORE;
        ps_http_response_init(&slow, &limits, to_head == 1);
        for (size_t len = 1; len <= size && other == PS_HTTP_MORE; len++)
            other = ps_http_head_parse(&slow, (const char *)bytes, len);
        MUST(step == other);
        if (step != PS_HTTP_DONE)
            continue;
        MUST(whole.len <= size && whole.status >= 100 && whole.status < 600);
        MUST(whole.framing == slow.framing && whole.body_len == slow.body_len);
        MUST(to_head == 0 || whole.framing == PS_HTTP_NO_BODY);
    }
    return 0;
}
