/* Any bytes as a sale's document: what is taken can be printed, and is read as the same. */
#include "common/json.h"
#include "fuzz.h"
#include "gateway/config/sale_doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct ps_fault fault = {0};
    struct cfg_sale_doc doc, again;
    json_t *json;

    if (ps_json_parse((const char *)bytes, size, &json, &fault) < 0)
        return 0;
    if (cfg_sale_doc_read(json, "", "fuzz", &doc, &fault) == 0) {
        json_t *written = cfg_sale_doc_write(&doc);
        MUST(written != NULL && cfg_sale_doc_read(written, "", "fuzz", &again, &fault) == 0);
        char *a = cfg_sale_doc_text(&doc), *b = cfg_sale_doc_text(&again);
        MUST(a != NULL && b != NULL && strcmp(a, b) == 0);
        free(a);
        free(b);
        json_decref(written);
        cfg_sale_doc_done(&doc);
        cfg_sale_doc_done(&again);
    } else {
        MUST(fault.text[0] != '\0');
    }
    json_decref(json);
    return 0;
}
