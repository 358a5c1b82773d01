/* Any bytes as Accept: a weight is from 0 to 1, a type that is named outranks what a wildcard says,
 * and one more range that is malformed changes nothing. */
#include "common/http/accept.h"
#include "fuzz.h"

#include <string.h>

#define MOST 4096

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char type[] = "application/openmetrics-text", broken[] = ", application/*;q=2";
    char text[MOST + sizeof broken];
    bool named = false, named_again = false;

    if (size > MOST)
        return 0;
    if (size > 0)
        memcpy(text, bytes, size);
    int weight = ps_http_quality((struct ps_str){text, size}, type, "1.0.0", &named);
    MUST(weight >= 0 && weight <= 1000);
    if (memchr(text, '"', size) != NULL)
        return 0; /* quotes may reach into what is added */
    memcpy(text + size, broken, sizeof broken);
    int again = ps_http_quality((struct ps_str){text, size + sizeof broken - 1}, type, "1.0.0",
                                &named_again);
    MUST(again == weight && named_again == named);
    return 0;
}
