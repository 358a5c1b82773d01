/* {"partialSuccess":{"rejectedSpans":"3","errorMessage":"…"}}; 64-bit numbers are strings in the
 * protocol's JSON, but readers take numbers, too. A collector that fails sends {"message":"…"}
 * (google.rpc.Status). */
#include "common/otlp/answer.h"

#include "common/text/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int64_t number_of(const json_t *value)
{
    const char *text = json_string_value(value);
    long long number = (long long)json_integer_value(value); /* 0: it is none */
    char *end;

    if (text != NULL) {
        errno = 0;
        number = strtoll(text, &end, 10);
        if (errno != 0 || end == text || *end != '\0')
            number = 0;
    }
    return number > 0 ? number : 0;
}

void ps_otlp_answer_read(const char *text, size_t len, struct ps_otlp_answer *ret_answer)
{
    struct ps_otlp_answer answer = {0};
    json_t *document = NULL;

    if (ps_json_parse(text, len, &document, NULL) == 0) {
        const json_t *partial = json_object_get(document, "partialSuccess");
        const char *why = json_string_value(json_object_get(partial, "errorMessage"));
        if (why == NULL)
            why = json_string_value(json_object_get(document, "message"));
        answer.refused = number_of(json_object_get(partial, "rejectedSpans"));
        if (why != NULL)
            strncat(answer.why, why, sizeof answer.why - 1);
        json_decref(document);
    }
    *ret_answer = answer;
}
