/* Any bytes as a PROXY header: what is read ends within the bytes and its bound, says the same when
 * it comes in two parts, and an end that a header has is not asked for again; a version that is
 * not allowed is never read. */
#include "common/http/proxy.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct ps_proxy_header header, part;

    for (int versions = PS_PROXY_V1; versions <= PS_PROXY_ANY; versions++) {
        enum ps_http_step step =
            ps_proxy_parse((enum ps_proxy_versions)versions, bytes, size, &header);
        MUST(step == PS_HTTP_MORE || step == PS_HTTP_DONE || step == PS_HTTP_BAD);
        MUST((step == PS_HTTP_BAD) == (header.why != NULL));
        MUST(step != PS_HTTP_MORE || size < PS_PROXY_MAX);
        if (step != PS_HTTP_DONE)
            continue;
        MUST(header.len > 0 && header.len <= size && header.len <= PS_PROXY_MAX);
        MUST(versions == PS_PROXY_ANY || (int)header.version == versions);
        for (size_t len = 0; len <= header.len; len++)
            MUST(ps_proxy_parse((enum ps_proxy_versions)versions, bytes, len, &part) ==
                 (len < header.len ? PS_HTTP_MORE : PS_HTTP_DONE));
        MUST(part.len == header.len && part.has_address == header.has_address);
        MUST(memcmp(&part.address, &header.address, sizeof part.address) == 0);
    }
    return 0;
}
