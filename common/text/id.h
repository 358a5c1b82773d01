/* Names and ids: what is allowed, and UUIDv7 (RFC 9562) for orders and requests. */
#ifndef PS_ID_H
#define PS_ID_H

#include "common/defs.h"

/* sale, sku, rule, adjust_id: [A-Za-z0-9][A-Za-z0-9._-]{0,63} */
bool ps_name_ok(const char *text, size_t len);
/* 1-128 bytes of valid UTF-8 without control characters or white space (Unicode ones included). */
bool ps_user_ok(const char *text, size_t len);
/* 1-64 bytes of visible ASCII. */
bool ps_key_ok(const char *text, size_t len);

struct ps_uuid {
    uint8_t byte[16];
};

#define PS_UUID_LEN 36
void ps_uuid_format(const struct ps_uuid *uuid, char ret_text[PS_UUID_LEN + 1]);
/* Takes both cases of hexadecimal digits, only the form 8-4-4-4-12. PS_E_INVALID. */
int ps_uuid_parse(const char *text, size_t len, struct ps_uuid *ret_uuid) PS_MUST_CHECK;
static inline bool ps_uuid_equal(const struct ps_uuid *a, const struct ps_uuid *b)
{
    return __builtin_memcmp(a->byte, b->byte, sizeof a->byte) == 0;
}

/* A text in as few bytes as it needs: one that reads as ps_uuid_format writes takes 16, any other
 * those it has. `to` has room for text.len. The size; *ret_is_uuid belongs to it. */
size_t ps_id_pack_long(struct ps_str text, char *to, bool *ret_is_uuid); /* of a UUID's length */
static inline size_t ps_id_pack(struct ps_str text, char *to, bool *ret_is_uuid)
{
    if (text.len == PS_UUID_LEN)
        return ps_id_pack_long(text, to, ret_is_uuid);
    *ret_is_uuid = false;
    if (text.len > 0)
        __builtin_memcpy(to, text.at, text.len);
    return text.len;
}
/* Back: into `room` if need be, where the result may lie. */
struct ps_str ps_id_unpack(const char *packed, size_t size, bool is_uuid,
                           char room[PS_UUID_LEN + 1]);

/* The wall milliseconds of a UUIDv7; of any other it is a number without meaning. */
static inline int64_t ps_uuid_ms(const struct ps_uuid *uuid)
{
    int64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | uuid->byte[i];
    return ms;
}

/* A source of UUIDv7: 48 bits of wall milliseconds, then random bits from a buffered cryptographic
 * generator. One per thread; monotonic within a source even when the wall clock steps back. */
struct ps_uuid_source {
    int64_t last_ms;
    uint32_t sequence;
    size_t used;
    uint8_t random[1024];
};
void ps_uuid_source_init(struct ps_uuid_source *source);
void ps_uuid_next(struct ps_uuid_source *source, int64_t wall_ms, struct ps_uuid *ret_uuid);

/* SipHash-2-4 under a random key: users choose their ids, so tables must not be predictable. */
struct ps_hash_key {
    uint8_t byte[16];
};
void ps_hash_key_random(struct ps_hash_key *ret_key);
uint64_t ps_hash64(const struct ps_hash_key *key, const void *data, size_t len);

#endif
