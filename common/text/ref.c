/* Every refusal pays for sealing, so it is short: the key stream is drawn for 256 at once, which
 * costs a fraction of as many calls, and what is left is one SipHash. */
#include "common/text/ref.h"

#include <endian.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PLACE_LEN 8
#define TEXT_LEN  21
#define RAW_LEN   (1 + PLACE_LEN + TEXT_LEN)
#define PAD_LEN   24
#define TEXT_AT   (1 + PLACE_LEN)
#define MS_ZERO   0x800000 /* what the batch's beginning counts as */
#define MS_MAX    0xffffff

_Static_assert(RAW_LEN * 4 == PS_REF_LEN * 3, "base64 without padding");
_Static_assert(PLACE_LEN == crypto_shorthash_BYTES &&
                   PLACE_LEN == crypto_stream_chacha20_NONCEBYTES,
               "the place is a nonce, and hidden by a hash");
_Static_assert(sizeof((struct ps_ref_key *)0)->tag_key == crypto_shorthash_KEYBYTES &&
                   sizeof((struct ps_ref_key *)0)->text_key == crypto_stream_chacha20_KEYBYTES,
               "keys of libsodium");

static const char digits[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t load(const void *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return le64toh(word);
}

static uint64_t be64_load(const void *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
    return be64toh(word);
}

static void store(void *at, uint64_t word)
{
    word = htole64(word);
    memcpy(at, &word, sizeof word);
}

/* --- Names. --- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

uint64_t ps_ref_hash(const char *at, size_t len)
{
    uint64_t hash = mix(0, len), word = 0;
    size_t i = 0;

    for (; i + sizeof word <= len; i += sizeof word)
        hash = mix(hash, load(at + i));
    for (size_t bit = 0; i < len; i++, bit += 8)
        word |= (uint64_t)(uint8_t)at[i] << bit;
    return mix(hash, word);
}

int64_t ps_ref_revision(const struct ps_ref *ref, int64_t present)
{
    int64_t low = ref->revision & 0xffffff;
    int64_t revision = (present & ~INT64_C(0xffffff)) | low;

    return revision > present && revision > 0xffffff ? revision - 0x1000000 : revision;
}

/* --- The pads. --- */

void ps_ref_pads_init(struct ps_ref_pads *pads, uint16_t gateway, uint8_t worker)
{
    *pads = (struct ps_ref_pads){.gateway = gateway, .worker = worker};
}

static uint64_t since(const struct ps_ref_key *key, int64_t wall_ms)
{
    return wall_ms > key->from_ms ? (uint64_t)(wall_ms - key->from_ms) & 0xffffffff : 0;
}

static void draw(struct ps_ref_pads *pads, const struct ps_ref_key *key, int64_t wall_ms)
{
    uint8_t nonce[PLACE_LEN];
    int64_t at_ms = wall_ms > key->from_ms ? wall_ms : key->from_ms;

    if (pads->are_drawn && at_ms <= pads->batch_ms)
        at_ms = pads->batch_ms + 1;
    pads->are_drawn = true;
    pads->batch_ms = at_ms;
    pads->next = 0;
    pads->place =
        (uint64_t)pads->worker << 8 | since(key, at_ms) << 16 | (uint64_t)pads->gateway << 48;
    memcpy(pads->tag_key, key->tag_key, sizeof pads->tag_key);
    store(nonce, pads->place);
    (void)crypto_stream_chacha20((uint8_t *)pads->at, sizeof pads->at, nonce, key->text_key);
}

/* The reference's milliseconds, as they are in its text. */
static uint64_t passed(const struct ps_ref_pads *pads, int64_t wall_ms)
{
    return (uint64_t)(wall_ms - pads->batch_ms + MS_ZERO);
}

/* A clock that was set back far counts as the batch's beginning. */
static uint64_t take_pad(struct ps_ref_pads *pads, const struct ps_ref_key *key, int64_t wall_ms)
{
    uint64_t ms = passed(pads, wall_ms);

    if (PS_UNLIKELY(!pads->are_drawn || pads->next == PS_REF_BATCH || ms > MS_MAX ||
                    memcmp(pads->tag_key, key->tag_key, sizeof pads->tag_key) != 0)) {
        draw(pads, key, wall_ms);
        ms = passed(pads, wall_ms);
    }
    return ms <= MS_MAX ? ms : MS_ZERO;
}

/* --- The text. --- */

static void put_text(const struct ps_ref *ref, uint64_t ms, uint64_t ret_text[3])
{
    ret_text[0] = ms | (uint64_t)ref->verdict << 24 |
                  (uint64_t)((unsigned)ref->rule_kind & 15) << 40 |
                  (uint64_t)(ref->rule & 0xfffff) << 44;
    ret_text[1] = (ref->user & 0xffffff) | (uint64_t)(ref->revision & 0xffffff) << 24 |
                  (uint64_t)ref->admission << 48 | (uint64_t)(ref->level & 7) << 56;
    ret_text[2] = 0;
}

static bool take_text(const struct ps_ref_key *key, uint64_t place, const uint64_t text[3],
                      struct ps_ref *ret_ref)
{
    int64_t at_ms = key->from_ms + (int64_t)(place >> 16 & 0xffffffff) +
                    (int64_t)(text[0] & 0xffffff) - MS_ZERO;

    *ret_ref = (struct ps_ref){
        .at_ms = at_ms > key->from_ms ? at_ms : key->from_ms,
        .worker = (uint8_t)(place >> 8),
        .gateway = (uint16_t)(place >> 48),
        .verdict = (uint16_t)(text[0] >> 24),
        .rule_kind = (enum ps_ref_rule)(text[0] >> 40 & 15),
        .rule = (uint32_t)(text[0] >> 44),
        .user = (uint32_t)(text[1] & 0xffffff),
        .revision = (int64_t)(text[1] >> 24 & 0xffffff),
        .admission = (uint8_t)(text[1] >> 48),
        .level = (uint8_t)(text[1] >> 56 & 7),
    };
    return text[1] >> 59 == 0 && text[2] == 0;
}

/* Hides what is plain, and the other way round. */
static uint64_t hide_place(const struct ps_ref_key *key, const uint8_t *text, uint64_t place)
{
    uint8_t hash[PLACE_LEN];

    (void)crypto_shorthash(hash, text, TEXT_LEN, key->tag_key);
    return place ^ load(hash);
}

/* Sixteen sextets at a time: a value's digit is the value plus an offset that depends on its range.
 */
typedef int8_t sextets __attribute__((vector_size(16)));

static void put_digits(const uint8_t raw[RAW_LEN + 2], char ret_text[PS_REF_LEN])
{
    union {
        uint64_t words[6];
        sextets of[3];
        char text[48];
    } spread = {{0}};

    for (size_t i = 0; i < PS_REF_LEN / 8; i++) { /* 48 bits to 8 bytes of 6 */
        uint64_t bits = be64_load(raw + 6 * i) >> 16;
        bits = (bits & 0xffffff) | (bits & UINT64_C(0xffffff000000)) << 8;
        bits = (bits & UINT64_C(0xfff00000fff)) | (bits & UINT64_C(0xfff00000fff000)) << 4;
        bits = (bits & UINT64_C(0x3f003f003f003f)) | (bits & UINT64_C(0xfc00fc00fc00fc0)) << 2;
        spread.words[i] = htobe64(bits);
    }
    for (size_t i = 0; i < 3; i++) {
        sextets in = spread.of[i];
        spread.of[i] = in + 'A' + ((in > 25) & ('a' - 26 - 'A')) -
                       ((in > 51) & ('a' - 26 + 52 - '0')) + ((in > 61) & ('-' - 62 + 52 - '0')) +
                       ((in > 62) & ('_' - 63 + 62 - '-'));
    }
    memcpy(ret_text, spread.text, PS_REF_LEN);
}

void ps_ref_seal(struct ps_ref_pads *pads, const struct ps_ref_key *key, const struct ps_ref *ref,
                 char ret_text[PS_REF_LEN])
{
    uint8_t raw[TEXT_AT + PAD_LEN]; /* the last three bytes are not the text's */
    uint64_t text[3];

    put_text(ref, take_pad(pads, key, ref->at_ms), text);
    const uint32_t index = pads->next++;
    for (size_t i = 0; i < 3; i++)
        store(raw + TEXT_AT + 8 * i, text[i] ^ le64toh(pads->at[index][i]));
    raw[0] = (uint8_t)key->id;
    store(raw + 1, hide_place(key, raw + TEXT_AT, pads->place | index));
    put_digits(raw, ret_text);
}

/* --- Opening: at leisure. --- */

static const struct ps_ref_key *find_key(const struct ps_ref_key *keys, size_t count, uint8_t id)
{
    for (size_t i = 0; i < count; i++)
        if (keys[i].id == id)
            return &keys[i];
    return NULL;
}

/* Not by sodium_base642bin, which reads bytes above 127 as if they were characters. */
static bool decode(struct ps_str text, uint8_t ret_raw[RAW_LEN])
{
    if (text.len != PS_REF_LEN)
        return false;
    for (size_t from = 0, to = 0; from < PS_REF_LEN; from += 4, to += 3) {
        uint32_t bits = 0;
        for (size_t i = from; i < from + 4; i++) {
            const char *digit = memchr(digits, text.at[i], sizeof digits);
            if (digit == NULL)
                return false;
            bits = bits << 6 | (uint32_t)(digit - digits);
        }
        ret_raw[to] = (uint8_t)(bits >> 16);
        ret_raw[to + 1] = (uint8_t)(bits >> 8);
        ret_raw[to + 2] = (uint8_t)bits;
    }
    return true;
}

int ps_ref_open(const struct ps_ref_key *keys, size_t key_count, int64_t now_ms, struct ps_str text,
                struct ps_ref *ret_ref)
{
    uint8_t raw[TEXT_AT + PAD_LEN] = {0}, nonce[PLACE_LEN];
    uint8_t pads[PS_REF_BATCH][PAD_LEN];
    uint64_t words[3];
    struct ps_ref ref;

    if (!decode(text, raw))
        return PS_E_NOT_FOUND;
    const struct ps_ref_key *key = find_key(keys, key_count, raw[0]);
    if (key == NULL)
        return PS_E_NOT_FOUND;
    uint64_t place = hide_place(key, raw + TEXT_AT, load(raw + 1));
    const uint8_t index = (uint8_t)place;
    store(nonce, place ^ index);
    (void)crypto_stream_chacha20(pads[0], sizeof pads, nonce, key->text_key);
    for (size_t i = 0; i < 3; i++)
        words[i] = load(raw + TEXT_AT + 8 * i) ^ load(pads[index] + 8 * i);
    sodium_memzero(pads, sizeof pads);
    words[2] &= UINT64_C(0xffffffffff);
    if (!take_text(key, place, words, &ref))
        return PS_E_NOT_FOUND;
    if (now_ms - ref.at_ms > PS_REF_OPEN_MS)
        return PS_E_NOT_FOUND;
    *ret_ref = ref;
    return 0;
}

void ps_ref_key_new(uint16_t id, int64_t from_ms, int64_t until_ms, struct ps_ref_key *ret_key)
{
    if (sodium_init() < 0)
        abort();
    *ret_key = (struct ps_ref_key){.id = id, .from_ms = from_ms, .until_ms = until_ms};
    randombytes_buf(ret_key->secret, sizeof ret_key->secret);
}
