/* The reference of a refusal: 40 characters that tell an operator everything about it, and nobody
 * else anything. It is base64url over 30 bytes, numbers from their lowest byte on:
 *
 *   0      the key's id
 *   1-8    place, XORed with SipHash-2-4 of the encrypted text under the key's `tag_key`
 *   9-29   text, XORed with its pad
 *
 * The place is where the pad is, which no other reference of the key has:
 *
 *    8  index in the batch            8  worker
 *   32  milliseconds from the key's beginning to the batch's
 *   16  gateway: hash of its name
 *
 * A worker draws its pads in batches: 256 times 24 bytes of ChaCha20 under `text_key`, the nonce
 * being the place with index 0. The text is 168 bits:
 *
 *   24  milliseconds since the batch's beginning, plus 2^23
 *   16  verdict: hash of its name    4  what kind of rule refused, 20: hash of its name
 *   24  hash of the user, 0: not known
 *   24  revision of the documents, its lowest bits
 *    8  admission, per cent          3  level of the degrade ladder
 *   45  zeros
 *
 * The place looks random, since the hash of a text encrypted once does. Whoever changes a bit gets
 * another pad, so the zeros are lost: a forgery opens once in 2^45. Two gateways whose names have
 * one hash, or a clock set back before a restart, may use a pad twice, once in a while; who has
 * both references and knows the pair learns in which bits the texts differ. Random bits of the
 * process would prevent that, but the place has no bit left: they would take the gateway's, which
 * would take the zeros', and a forgery would open once in 2^29.
 *
 * Names are hashed, not numbered, so that a reference outlives an upgrade and a change of the
 * rules: who opens it compares with the names that there are. */
#ifndef PS_REF_H
#define PS_REF_H

#include "common/defs.h"
#include "common/err.h"

#define PS_REF_LEN       40
#define PS_REF_SECRET    48 /* bytes of a key */
#define PS_REF_OPEN_MS   (INT64_C(30) * 24 * 3600 * 1000)
#define PS_REF_LEVEL_MAX 7

struct ps_ref_key {
    uint16_t id;               /* 0 to 255 */
    int64_t from_ms, until_ms; /* seals from then on, and exists until then */
    union {
        uint8_t secret[PS_REF_SECRET];
        struct {
            uint8_t tag_key[16], text_key[32];
        };
    };
};

/* The kind of what has refused. The numbers are for ever. */
enum ps_ref_rule {
    PS_REF_RULE_NONE,    /* the verdict says it all */
    PS_REF_RULE_LIMIT,   /* a limit rule */
    PS_REF_RULE_FEATURE, /* a feature that is off at the present level */
    PS_REF_RULE_ROUTE    /* a page's route, or its pool */
};

struct ps_ref {
    int64_t at_ms;    /* wall clock; not before the key's from_ms */
    uint8_t worker;   /* sealed: the pads' */
    uint16_t gateway; /* the same */
    uint16_t verdict;
    enum ps_ref_rule rule_kind;
    uint32_t rule; /* its name's hash */
    uint8_t level;
    uint8_t admission; /* per cent */
    uint32_t user;
    int64_t revision; /* opened: its lowest bits, see ps_ref_revision */
};

/* A worker's pads, drawn ahead. One thread. */
#define PS_REF_BATCH 256
struct ps_ref_pads {
    uint16_t gateway;
    uint8_t worker;
    bool are_drawn;
    uint32_t next;       /* index */
    int64_t batch_ms;    /* wall clock: the batch's beginning; no two batches have the same */
    uint64_t place;      /* of index 0 */
    uint8_t tag_key[16]; /* of the key that they were drawn with */
    uint64_t at[PS_REF_BATCH][3];
};

/* Hashes of names. The same on every machine; not secret, since nobody sees them. */
uint64_t ps_ref_hash(const char *at, size_t len);
static inline uint16_t ps_ref_gateway(struct ps_str name)
{
    return (uint16_t)ps_ref_hash(name.at, name.len);
}
static inline uint16_t ps_ref_verdict(struct ps_str name)
{
    return (uint16_t)ps_ref_hash(name.at, name.len);
}
static inline uint32_t ps_ref_rule(struct ps_str name)
{
    return (uint32_t)(ps_ref_hash(name.at, name.len) & 0xfffff);
}
/* Never 0; of "" 0. */
static inline uint32_t ps_ref_user(struct ps_str name)
{
    uint32_t hash = (uint32_t)(ps_ref_hash(name.at, name.len) & 0xffffff);

    return name.len == 0 ? 0 : hash != 0 ? hash : 1;
}

/* The whole revision, from the present one: the newest that ends in the same bits. */
int64_t ps_ref_revision(const struct ps_ref *ref, int64_t present);

/* Nothing is drawn yet. `gateway`: ps_ref_gateway. */
void ps_ref_pads_init(struct ps_ref_pads *pads, uint16_t gateway, uint8_t worker);
/* Writes PS_REF_LEN characters. A field that is too large loses its highest bits. */
void ps_ref_seal(struct ps_ref_pads *pads, const struct ps_ref_key *key, const struct ps_ref *ref,
                 char ret_text[PS_REF_LEN]);
/* Opens a reference sealed with one of these keys that is not older than PS_REF_OPEN_MS.
 * PS_E_NOT_FOUND: it is none of these, whatever it is. */
int ps_ref_open(const struct ps_ref_key *keys, size_t key_count, int64_t now_ms, struct ps_str text,
                struct ps_ref *ret_ref) PS_MUST_CHECK;

void ps_ref_key_new(uint16_t id, int64_t from_ms, int64_t until_ms, struct ps_ref_key *ret_key);

#endif
