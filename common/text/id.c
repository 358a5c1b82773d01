/* Names, user ids, keys; UUIDv7; hashing under a key.
 * All of it runs for every request, so nothing here formats through stdio: characters are looked up
 * in small tables. A UUIDv7 is laid out as RFC 9562 5.7 with a counter (method 1 of its 6.2):
 *     48 bits milliseconds | 0111 | 12 bits counter | 10 | 14 bits counter | 48 bits random
 * The 26-bit counter starts each millisecond at a random value below 2^25 and counts up; when it is
 * used up, or the wall clock steps back, the ids continue in the latest millisecond that was used
 * (or the one after it), so that one source never goes back. Two sources that meet in a millisecond
 * differ in 25 + 48 random bits. */
#include "common/text/id.h"
#include "common/text/charset.h"
#include "common/err.h"
#include "common/text/utf8.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define COUNTER_BITS 26

_Static_assert(sizeof(struct ps_hash_key) == crypto_shorthash_KEYBYTES, "SipHash takes 16 bytes");
_Static_assert(sizeof(uint64_t) == crypto_shorthash_BYTES, "SipHash gives 8 bytes");

static const struct ps_charset first_chars = {{PS_DIGITS, PS_LETTERS}};
static const struct ps_charset name_chars = {
    {PS_DIGITS, PS_LETTERS, ['.'] = true, ['_'] = true, ['-'] = true}};

bool ps_name_ok(const char *text, size_t len)
{
    return len > 0 && len <= PS_NAME_MAX && ps_charset_has(&first_chars, text[0]) &&
           ps_charset_span(&name_chars, text, len) == len;
}

bool ps_user_ok(const char *text, size_t len)
{
    if (len == 0 || len > PS_USER_MAX)
        return false;
    for (size_t i = 0; i < len;) {
        if (PS_LIKELY(text[i] > ' ' && text[i] <= '~')) { /* nearly all ids are plain ASCII */
            i++;
            continue;
        }
        uint32_t point;
        size_t size = ps_utf8_next(text + i, len - i, &point);
        if (size == 0 || ps_utf8_is_control(point) || ps_utf8_is_space(point))
            return false;
        i += size;
    }
    return true;
}

bool ps_key_ok(const char *text, size_t len)
{
    if (len == 0 || len > PS_KEY_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '!' || text[i] > '~')
            return false;
    }
    return true;
}

/* The two digits of each byte, one after the other. */
static const char hex_pairs[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
                                "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
                                "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
                                "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
                                "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
                                "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
                                "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
                                "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

static inline char *put_hex(char *at, const uint8_t *byte, size_t count)
{
    for (size_t i = 0; i < count; i++)
        memcpy(at + 2 * i, hex_pairs + 2 * byte[i], 2);
    return at + 2 * count;
}

void ps_uuid_format(const struct ps_uuid *uuid, char ret_text[PS_UUID_LEN + 1])
{
    char *at = put_hex(ret_text, uuid->byte, 4);
    *at++ = '-';
    at = put_hex(at, uuid->byte + 4, 2);
    *at++ = '-';
    at = put_hex(at, uuid->byte + 6, 2);
    *at++ = '-';
    at = put_hex(at, uuid->byte + 8, 2);
    *at++ = '-';
    at = put_hex(at, uuid->byte + 10, 6);
    *at = '\0';
}

static bool has_dash_before(size_t byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

/* 0..15, or -1. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int ps_uuid_parse(const char *text, size_t len, struct ps_uuid *ret_uuid)
{
    if (len != PS_UUID_LEN)
        return PS_E_INVALID;
    struct ps_uuid uuid;
    for (size_t i = 0; i < sizeof uuid.byte; i++) {
        if (has_dash_before(i) && *text++ != '-')
            return PS_E_INVALID;
        int high = hex_digit(text[0]), low = hex_digit(text[1]);
        if (high < 0 || low < 0)
            return PS_E_INVALID;
        uuid.byte[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    *ret_uuid = uuid;
    return 0;
}

/* The library picks its generator and its code paths once. Without random bytes nothing here can be
 * promised, so there is no way on. */
static void need_sodium(void)
{
    if (sodium_init() < 0)
        abort();
}

size_t ps_id_pack_long(struct ps_str text, char *to, bool *ret_is_uuid)
{
    char again[PS_UUID_LEN + 1];
    struct ps_uuid uuid;

    *ret_is_uuid = false;
    if (ps_uuid_parse(text.at, text.len, &uuid) == 0) {
        ps_uuid_format(&uuid, again);
        *ret_is_uuid = memcmp(again, text.at, PS_UUID_LEN) == 0;
    }
    memcpy(to, *ret_is_uuid ? (const char *)&uuid : text.at, *ret_is_uuid ? sizeof uuid : text.len);
    return *ret_is_uuid ? sizeof uuid : text.len;
}

struct ps_str ps_id_unpack(const char *packed, size_t size, bool is_uuid,
                           char room[PS_UUID_LEN + 1])
{
    struct ps_uuid uuid;

    if (!is_uuid)
        return (struct ps_str){packed, size};
    memcpy(&uuid, packed, sizeof uuid);
    ps_uuid_format(&uuid, room);
    return (struct ps_str){room, PS_UUID_LEN};
}

void ps_uuid_source_init(struct ps_uuid_source *source)
{
    need_sodium();
    *source = (struct ps_uuid_source){.last_ms = -1, .used = sizeof source->random};
}

static void take_random(struct ps_uuid_source *source, void *ret_bytes, size_t len)
{
    if (sizeof source->random - source->used < len) {
        randombytes_buf(source->random, sizeof source->random);
        source->used = 0;
    }
    memcpy(ret_bytes, source->random + source->used, len);
    source->used += len;
}

void ps_uuid_next(struct ps_uuid_source *source, int64_t wall_ms, struct ps_uuid *ret_uuid)
{
    if (wall_ms > source->last_ms) {
        source->last_ms = wall_ms;
        take_random(source, &source->sequence, sizeof source->sequence);
        source->sequence &= (UINT32_C(1) << (COUNTER_BITS - 1)) - 1;
    } else if (++source->sequence >> COUNTER_BITS != 0) {
        source->last_ms++;
        source->sequence = 0;
    }
    uint64_t ms = (uint64_t)source->last_ms;
    uint32_t counter = source->sequence;
    uint8_t *byte = ret_uuid->byte;
    for (int i = 0; i < 6; i++)
        byte[i] = (uint8_t)(ms >> (40 - 8 * i));
    byte[6] = (uint8_t)(0x70 | counter >> 22);
    byte[7] = (uint8_t)(counter >> 14);
    byte[8] = (uint8_t)(0x80 | (counter >> 8 & 0x3f));
    byte[9] = (uint8_t)counter;
    take_random(source, byte + 10, 6);
}

void ps_hash_key_random(struct ps_hash_key *ret_key)
{
    need_sodium();
    randombytes_buf(ret_key->byte, sizeof ret_key->byte);
}

uint64_t ps_hash64(const struct ps_hash_key *key, const void *data, size_t len)
{
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, data, len, key->byte);
    return hash;
}
