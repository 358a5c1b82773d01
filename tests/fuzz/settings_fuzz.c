/* Any bytes as a file of settings: refused with a reason, or taken. */
#include "common/text/json.h"
#include "fuzz.h"
#include "gateway/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct ps_fault fault = {0};
    struct gw_settings settings;
    json_t *json;

    if (ps_json_parse((const char *)bytes, size, &json, &fault) < 0)
        return 0;
    struct ps_faults faults = {0};
    if (gw_settings_read(json, &settings, &faults) == 0)
        gw_settings_free(&settings);
    else
        MUST(faults.count > 0 && faults.at[0].text[0] != '\0');
    json_decref(json);
    return 0;
}
