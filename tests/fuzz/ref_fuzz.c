/* Any bytes as the reference of a refusal: of what opens no bit can be changed. Bytes of the right
 * number are also sealed as the fields of one, and one bit of that changed. */
#include "common/text/ref.h"
#include "fuzz.h"

#include <string.h>

#define T0     INT64_C(1900000000000)
#define FIELDS 20

static const struct ps_ref_key keys[] = {{.id = 1, .from_ms = T0, .secret = {3}},
                                         {.id = 2, .from_ms = T0, .secret = {4}}};

static void opens_as_it_is(struct ps_str text)
{
    char other[PS_REF_LEN];
    struct ps_ref ref;

    if (ps_ref_open(keys, 2, T0, text, &ref) < 0)
        return;
    MUST(text.len == sizeof other && ref.at_ms >= T0);
    for (size_t bit = 0; bit < 8 * sizeof other; bit++) {
        memcpy(other, text.at, sizeof other);
        other[bit / 8] ^= (char)(1 << bit % 8);
        MUST(ps_ref_open(keys, 2, T0, (struct ps_str){other, sizeof other}, &ref) < 0);
    }
}

static struct ps_ref_pads pads;

static void seals_and_opens(const uint8_t *bytes)
{
    struct ps_ref ref = {.at_ms = T0 + ((int64_t)bytes[0] << 24 | bytes[1] << 16 | bytes[2]),
                         .worker = bytes[3],
                         .gateway = (uint16_t)(bytes[4] << 8 | bytes[5]),
                         .verdict = (uint16_t)(bytes[6] << 8 | bytes[7]),
                         .rule_kind = (enum ps_ref_rule)(bytes[8] & 3),
                         .rule = (uint32_t)bytes[9] << 12 | (uint32_t)bytes[10] << 4,
                         .level = bytes[11] & 7,
                         .admission = bytes[12],
                         .user = (uint32_t)bytes[13] << 16 | (uint32_t)bytes[14] << 8 | bytes[15],
                         .revision = bytes[16] << 16 | bytes[17] << 8 | 1};
    char text[PS_REF_LEN];
    struct ps_ref opened;

    ps_ref_pads_init(&pads, ref.gateway, ref.worker);
    ps_ref_seal(&pads, &keys[0], &ref, text);
    MUST(ps_ref_open(keys, 2, T0, (struct ps_str){text, sizeof text}, &opened) == 0);
    MUST(opened.at_ms == ref.at_ms && opened.user == ref.user && opened.worker == ref.worker &&
         opened.gateway == ref.gateway && opened.rule == ref.rule &&
         opened.verdict == ref.verdict && opened.rule_kind == ref.rule_kind &&
         opened.level == ref.level && opened.admission == ref.admission &&
         opened.revision == ref.revision);
    text[bytes[18] % PS_REF_LEN] ^= (char)(1 << (bytes[19] & 7));
    MUST(ps_ref_open(keys, 2, T0, (struct ps_str){text, sizeof text}, &opened) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    opens_as_it_is((struct ps_str){(const char *)bytes, size});
    if (size == FIELDS)
        seals_and_opens(bytes);
    return 0;
}
