/* Any bytes as the reference of a refusal: what opens is what was sealed, to the bit. Bytes of the
 * right number are also sealed as the fields of one, and one bit of that changed. */
#include "common/text/ref.h"
#include "fuzz.h"

#include <string.h>

#define T0     INT64_C(1900000000000)
#define FIELDS 22

static const struct ps_ref_key keys[] = {{.id = 1, .from_ms = T0, .secret = {3}},
                                         {.id = 2, .from_ms = T0, .secret = {4}}};

static void opens_to_itself(struct ps_str text)
{
    char again[PS_REF_LEN];
    struct ps_ref ref;

    for (size_t i = 0; i < PS_ARRAY_LEN(keys); i++) {
        if (ps_ref_open(&keys[i], 1, T0, text, &ref) < 0)
            continue;
        MUST(text.len == sizeof again && ref.at_ms >= T0);
        ps_ref_seal(&keys[i], &ref, again);
        MUST(memcmp(again, text.at, sizeof again) == 0);
    }
}

static void seals_and_opens(const uint8_t *bytes)
{
    struct ps_ref ref = {.at_ms = T0 + ((int64_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2]),
                         .counter = (uint32_t)bytes[3] << 5 | (bytes[4] & 31),
                         .worker = bytes[5],
                         .gateway = (uint16_t)(bytes[6] << 8 | bytes[7]),
                         .verdict = (uint16_t)(bytes[8] << 8 | bytes[9]),
                         .rule_kind = (enum ps_ref_rule)(bytes[10] & 3),
                         .rule = (uint32_t)bytes[11] << 12 | (uint32_t)bytes[12] << 4,
                         .level = bytes[13] & 7,
                         .admission = bytes[14],
                         .user = (uint32_t)bytes[15] << 16 | (uint32_t)bytes[16] << 8 | bytes[17],
                         .revision = bytes[18] << 16 | bytes[19] << 8 | 1};
    char text[PS_REF_LEN];
    struct ps_ref opened;

    ps_ref_seal(&keys[0], &ref, text);
    MUST(ps_ref_open(keys, 2, T0, (struct ps_str){text, sizeof text}, &opened) == 0);
    MUST(opened.at_ms == ref.at_ms && opened.counter == ref.counter && opened.user == ref.user &&
         opened.worker == ref.worker && opened.gateway == ref.gateway && opened.rule == ref.rule &&
         opened.verdict == ref.verdict && opened.rule_kind == ref.rule_kind &&
         opened.level == ref.level && opened.admission == ref.admission &&
         opened.revision == ref.revision);
    text[bytes[20] % PS_REF_LEN] ^= (char)(1 << (bytes[21] & 7));
    MUST(ps_ref_open(keys, 2, T0, (struct ps_str){text, sizeof text}, &opened) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    opens_to_itself((struct ps_str){(const char *)bytes, size});
    if (size == FIELDS)
        seals_and_opens(bytes);
    return 0;
}
