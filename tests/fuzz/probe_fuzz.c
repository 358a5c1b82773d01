/* Any bytes as the answer to `penstock --probe ready`: one line that any program may show, and
 * "ready" for status 200 alone. */
#include "fuzz.h"
#include "gateway/probe.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char line[512] = "";
    FILE *out = fmemopen(line, sizeof line - 1, "w");

    MUST(out != NULL);
    bool ready = gw_probe_print(GW_PROBE_READY, (const char *)bytes, size, "127.0.0.1", out);
    MUST(fclose(out) == 0);
    size_t len = strlen(line);
    MUST(len > 1 && len < 400 && line[len - 1] == '\n');
    for (size_t i = 0; i < len - 1; i++)
        MUST(line[i] >= ' ' && line[i] <= '~');
    MUST(ready == (strcmp(line, "ready\n") == 0));
    MUST(!ready || (size > 12 && memcmp(bytes, "HTTP/1.", 7) == 0));
    return 0;
}
