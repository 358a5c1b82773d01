/* A hash table with open addressing and linear probing, at most half full. Its hash key is random,
 * so that nobody can choose addresses that collide. A removed entry's place is filled from the
 * entries behind it (Knuth, The Art of Computer Programming, vol. 3, 6.4, algorithm R). */
#include "gateway/server/address_count.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 2 /* per address, at most */

struct entry {
    struct ps_address key;
    size_t used; /* 0: free */
};

struct srv_address_count {
    unsigned char secret[crypto_shorthash_KEYBYTES];
    size_t mask, most;
    struct entry entries[];
};

int srv_address_count_new(size_t connections, size_t most, struct srv_address_count **ret_count)
{
    size_t size = 16;

    while (size < connections * KEYS * 2)
        size *= 2;
    struct srv_address_count *count = calloc(1, sizeof *count + size * sizeof count->entries[0]);
    if (count == NULL)
        return PS_E_NOMEM;
    count->mask = size - 1;
    count->most = most;
    randombytes_buf(count->secret, sizeof count->secret);
    *ret_count = count;
    return 0;
}

void srv_address_count_free(struct srv_address_count *count)
{
    free(count);
}

static size_t home_of(const struct srv_address_count *count, const struct ps_address *key)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t number;

    crypto_shorthash(hash, key->byte, sizeof key->byte, count->secret);
    memcpy(&number, hash, sizeof number);
    return (size_t)number & count->mask;
}

/* The address's entry, or the free place for it. */
static size_t find_place(const struct srv_address_count *count, const struct ps_address *key)
{
    size_t at = home_of(count, key);

    while (count->entries[at].used > 0 && memcmp(&count->entries[at].key, key, sizeof *key) != 0)
        at = (at + 1) & count->mask;
    return at;
}

/* The keys that count this address. A /64 ends in zeroes, so the mark of a /48 collides with
 * none. */
static size_t keys_of(const struct ps_address *address, struct ps_address ret_keys[KEYS])
{
    ps_address_limit_key(address, &ret_keys[0]);
    if (ps_address_is_v4(address))
        return 1;
    ret_keys[1] = ret_keys[0];
    memset(ret_keys[1].byte + 6, 0xff, sizeof ret_keys[1].byte - 6);
    return 2;
}

bool srv_address_add(struct srv_address_count *count, const struct ps_address *address)
{
    struct ps_address keys[KEYS];
    size_t key_count = keys_of(address, keys);

    for (size_t i = 0; i < key_count; i++)
        if (count->entries[find_place(count, &keys[i])].used >=
            (i == 0 ? count->most : count->most * SRV_ADDRESS_SITE))
            return false;
    for (size_t i = 0; i < key_count; i++) {
        struct entry *entry = &count->entries[find_place(count, &keys[i])];
        entry->key = keys[i];
        entry->used++;
    }
    return true;
}

static void drop_key(struct srv_address_count *count, const struct ps_address *key)
{
    size_t hole = find_place(count, key);

    if (--count->entries[hole].used > 0)
        return;
    for (size_t at = (hole + 1) & count->mask; count->entries[at].used > 0;
         at = (at + 1) & count->mask) {
        size_t home = home_of(count, &count->entries[at].key);
        if (((at - home) & count->mask) < ((at - hole) & count->mask))
            continue; /* it would move in front of its home */
        count->entries[hole] = count->entries[at];
        count->entries[at].used = 0;
        hole = at;
    }
}

void srv_address_drop(struct srv_address_count *count, const struct ps_address *address)
{
    struct ps_address keys[KEYS];

    for (size_t i = keys_of(address, keys); i > 0; i--)
        drop_key(count, &keys[i - 1]);
}
