/* Any bytes as a sale's document: what is taken can be printed, and is read as the same. */
#include "common/text/json.h"
#include "fuzz.h"
#include "gateway/config/kinds/sale_doc.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct ps_fault fault = {0};
    struct ps_faults faults = {0};
    struct cfg_sale_doc doc, again;
    json_t *json;

    if (ps_json_parse((const char *)bytes, size, &json, &fault) < 0)
        return 0;
    if (cfg_sale_doc_read(json, &(struct cfg_reading){.name = "fuzz", .pointer = ""}, &doc,
                          &faults) == 0) {
        json_t *written = ps_table_print(&cfg_sale_table, &doc), *written_again;
        MUST(faults.count == 0 && written != NULL);
        MUST(cfg_sale_doc_read(written, &(struct cfg_reading){.name = "fuzz", .pointer = ""},
                               &again, &faults) == 0);
        written_again = ps_table_print(&cfg_sale_table, &again);
        MUST(json_equal(written, written_again));
        json_decref(written);
        json_decref(written_again);
        cfg_sale_doc_done(&doc);
        cfg_sale_doc_done(&again);
    } else {
        MUST(faults.count > 0 && faults.at[0].text[0] != '\0');
    }
    json_decref(json);
    return 0;
}
