/* Every refusal pays for sealing, so it is short: the text is three words, and the key stream one
 * block of ChaCha20. The order is that of a synthetic IV: the tag of the text is the nonce, so that
 * no nonce is kept and two texts meet in one only by an accident of 64 bits. */
#include "common/text/ref.h"

#include <endian.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TAG_LEN  8
#define TEXT_LEN 21
#define RAW_LEN  (1 + TAG_LEN + TEXT_LEN)
#define BLOCK    64 /* of ChaCha20: a whole one costs less than a part */

_Static_assert(RAW_LEN * 4 == PS_REF_LEN * 3, "base64 without padding");
_Static_assert(TAG_LEN == crypto_shorthash_BYTES && TAG_LEN == crypto_stream_chacha20_NONCEBYTES,
               "the tag is the nonce");
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

/* --- The text. --- */

static void put_text(const struct ps_ref_key *key, const struct ps_ref *ref, uint64_t ret_text[3])
{
    uint64_t passed_ms = ref->at_ms > key->from_ms ? (uint64_t)(ref->at_ms - key->from_ms) : 0;

    ret_text[0] = (passed_ms & 0xffffffff) | (uint64_t)(ref->counter & 0x1fff) << 32 |
                  (uint64_t)(ref->level & 7) << 45 | (uint64_t)ref->gateway << 48;
    ret_text[1] = ref->worker | (uint64_t)ref->verdict << 8 |
                  (uint64_t)((unsigned)ref->rule_kind & 15) << 24 |
                  (uint64_t)(ref->rule & 0xfffff) << 28 | (uint64_t)ref->admission << 48 |
                  (uint64_t)(ref->user & 0xff) << 56;
    ret_text[2] = (ref->user >> 8 & 0xffff) | (uint64_t)(ref->revision & 0xffffff) << 16;
}

static void take_text(const struct ps_ref_key *key, const uint64_t text[3], struct ps_ref *ret_ref)
{
    *ret_ref = (struct ps_ref){
        .at_ms = key->from_ms + (int64_t)(text[0] & 0xffffffff),
        .counter = (uint32_t)(text[0] >> 32 & 0x1fff),
        .level = (uint8_t)(text[0] >> 45 & 7),
        .gateway = (uint16_t)(text[0] >> 48),
        .worker = (uint8_t)text[1],
        .verdict = (uint16_t)(text[1] >> 8),
        .rule_kind = (enum ps_ref_rule)(text[1] >> 24 & 15),
        .rule = (uint32_t)(text[1] >> 28 & 0xfffff),
        .admission = (uint8_t)(text[1] >> 48),
        .user = (uint32_t)(text[1] >> 56) | (uint32_t)(text[2] & 0xffff) << 8,
        .revision = (int64_t)(text[2] >> 16 & 0xffffff),
    };
}

/* Encrypts what is plain, and the other way round. */
static void crypt(const struct ps_ref_key *key, const uint8_t tag[TAG_LEN], uint64_t text[3])
{
    uint8_t stream[BLOCK];

    (void)crypto_stream_chacha20(stream, sizeof stream, tag, key->text_key);
    for (size_t i = 0; i < 3; i++)
        text[i] ^= load(stream + 8 * i);
}

static void put_tag(const struct ps_ref_key *key, const uint64_t text[3], uint8_t ret_tag[TAG_LEN])
{
    uint8_t bytes[24];

    for (size_t i = 0; i < 3; i++)
        store(bytes + 8 * i, text[i]);
    (void)crypto_shorthash(ret_tag, bytes, TEXT_LEN, key->tag_key);
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

void ps_ref_seal(const struct ps_ref_key *key, const struct ps_ref *ref, char ret_text[PS_REF_LEN])
{
    uint8_t raw[1 + TAG_LEN + 24]; /* the last three bytes are not the text's */
    uint64_t text[3];

    put_text(key, ref, text);
    raw[0] = (uint8_t)key->id;
    put_tag(key, text, raw + 1);
    crypt(key, raw + 1, text);
    for (size_t i = 0; i < 3; i++)
        store(raw + 1 + TAG_LEN + 8 * i, text[i]);
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
    uint8_t raw[RAW_LEN + 3] = {0}, tag[TAG_LEN];
    uint64_t words[3];
    struct ps_ref ref;

    if (!decode(text, raw))
        return PS_E_NOT_FOUND;
    const struct ps_ref_key *key = find_key(keys, key_count, raw[0]);
    if (key == NULL)
        return PS_E_NOT_FOUND;
    for (size_t i = 0; i < 3; i++)
        words[i] = load(raw + 1 + TAG_LEN + 8 * i);
    crypt(key, raw + 1, words);
    words[2] &= UINT64_C(0xffffffffff);
    put_tag(key, words, tag);
    if (sodium_memcmp(tag, raw + 1, sizeof tag) != 0)
        return PS_E_NOT_FOUND;
    take_text(key, words, &ref);
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
