/* The list is one hash table with open addressing; a frozen list is a copy of it (4 MiB at 100,000
 * entries). Of a user or a range, the table keeps only a hash of 64 bits under a random key, so
 * that nobody can construct a user whose hash equals another's. A collision by chance would need
 * far more entries and users than there can be. Addresses are looked up once per prefix length in
 * use. */
#include "gateway/admission/limits/blocklist.h"

#include "common/text/id.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 16
#define LENGTHS   129

struct entry {
    uint64_t hash;    /* 0: the slot is free */
    int64_t until_ms; /* 0 in a free slot */
};

struct adm_blocklist {
    struct ps_hash_key user_key, range_key;
    size_t user_count;
    size_t lengths[LENGTHS]; /* ranges of each prefix length */
    size_t length_count;
    uint8_t used[LENGTHS]; /* prefix lengths in use */
    size_t count, slots;   /* a power of two, at most three quarters of them in use */
    struct entry *at;
};

void adm_blocklist_free(struct adm_blocklist *list)
{
    if (list == NULL)
        return;
    free(list->at);
    free(list);
}

int adm_blocklist_new(struct adm_blocklist **ret_list)
{
    struct adm_blocklist *list = calloc(1, sizeof *list);

    if (list == NULL || (list->at = calloc(SLOTS_MIN, sizeof *list->at)) == NULL) {
        free(list);
        return PS_E_NOMEM;
    }
    list->slots = SLOTS_MIN;
    ps_hash_key_random(&list->user_key);
    ps_hash_key_random(&list->range_key);
    *ret_list = list;
    return 0;
}

struct adm_blocklist *adm_blocklist_freeze(const struct adm_blocklist *list)
{
    struct adm_blocklist *frozen = malloc(sizeof *frozen);
    struct entry *at = malloc(list->slots * sizeof *at);

    if (frozen == NULL || at == NULL) {
        free(frozen);
        free(at);
        return NULL;
    }
    *frozen = *list;
    frozen->at = memcpy(at, list->at, list->slots * sizeof *at);
    return frozen;
}

/* --- Looking up. --- */

static uint64_t hash_of(const struct ps_hash_key *key, const void *data, size_t len)
{
    uint64_t hash = ps_hash64(key, data, len);

    return hash != 0 ? hash : 1;
}

static uint64_t range_hash(const struct adm_blocklist *list, const struct ps_cidr *range)
{
    uint8_t text[sizeof range->address.byte + 1];

    memcpy(text, range->address.byte, sizeof range->address.byte);
    text[sizeof range->address.byte] = range->bits;
    return hash_of(&list->range_key, text, sizeof text);
}

/* The entry, or the free slot where it belongs. */
static struct entry *find_entry(const struct adm_blocklist *list, uint64_t hash)
{
    size_t i = hash & (list->slots - 1);

    while (list->at[i].hash != 0 && list->at[i].hash != hash)
        i = (i + 1) & (list->slots - 1);
    return &list->at[i];
}

/* The first `bits` bits of the address, the rest zero. */
static struct ps_cidr masked(const struct ps_address *address, uint8_t bits)
{
    struct ps_cidr range = {.bits = bits};
    size_t whole = bits / 8;

    memcpy(range.address.byte, address->byte, whole);
    if (bits % 8 != 0)
        range.address.byte[whole] = (uint8_t)(address->byte[whole] & (0xff00 >> (bits % 8)));
    return range;
}

enum adm_blocked adm_blocklist_find(const struct adm_blocklist *list, struct ps_str user,
                                    const struct ps_address *address, int64_t wall_ms,
                                    struct ps_cidr *ret_range)
{
    if (user.len > 0 && list->user_count > 0 &&
        find_entry(list, hash_of(&list->user_key, user.at, user.len))->until_ms > wall_ms)
        return ADM_BLOCKED_USER;
    for (size_t i = 0; i < list->length_count; i++) {
        if (list->used[i] < PS_V4_BITS && ps_address_is_v4(address))
            continue;
        struct ps_cidr range = masked(address, list->used[i]);
        if (find_entry(list, range_hash(list, &range))->until_ms <= wall_ms)
            continue;
        if (ret_range != NULL)
            *ret_range = range;
        return ADM_BLOCKED_RANGE;
    }
    return ADM_NOT_BLOCKED;
}

/* --- Changing. --- */

static int grow(struct adm_blocklist *list)
{
    struct adm_blocklist more = *list;

    more.slots = 2 * list->slots;
    more.at = calloc(more.slots, sizeof *more.at);
    if (more.at == NULL)
        return PS_E_NOMEM;
    for (size_t i = 0; i < list->slots; i++)
        if (list->at[i].hash != 0)
            *find_entry(&more, list->at[i].hash) = list->at[i];
    free(list->at);
    *list = more;
    return 0;
}

/* Entries behind it move up, so that no search ends before them. */
static void remove_entry(struct adm_blocklist *list, struct entry *entry)
{
    size_t mask = list->slots - 1, hole = (size_t)(entry - list->at);

    for (size_t i = (hole + 1) & mask; list->at[i].hash != 0; i = (i + 1) & mask)
        if (((i - list->at[i].hash) & mask) >= ((i - hole) & mask)) {
            list->at[hole] = list->at[i];
            hole = i;
        }
    list->at[hole] = (struct entry){0};
}

/* *ret_more: +1, -1 or 0 entries. */
static int put(struct adm_blocklist *list, uint64_t hash, int64_t until_ms, int *ret_more)
{
    struct entry *entry = find_entry(list, hash);
    bool there = entry->hash != 0;

    *ret_more = (until_ms > 0) - there;
    if (*ret_more > 0 && 4 * (list->count + 1) > 3 * list->slots) {
        if (grow(list) < 0)
            return PS_E_NOMEM;
        entry = find_entry(list, hash);
    }
    if (until_ms > 0)
        *entry = (struct entry){hash, until_ms};
    else if (there)
        remove_entry(list, entry);
    list->count += (size_t)*ret_more;
    return 0;
}

int adm_blocklist_user(struct adm_blocklist *list, const char *user, int64_t until_ms)
{
    int more, err = put(list, hash_of(&list->user_key, user, strlen(user)), until_ms, &more);

    if (err == 0)
        list->user_count += (size_t)more;
    return err;
}

int adm_blocklist_range(struct adm_blocklist *list, const struct ps_cidr *range, int64_t until_ms)
{
    int more, err = put(list, range_hash(list, range), until_ms, &more);

    if (err < 0 || more == 0)
        return err;
    list->lengths[range->bits] += (size_t)more;
    list->length_count = 0;
    for (unsigned bits = 0; bits < LENGTHS; bits++)
        if (list->lengths[bits] > 0)
            list->used[list->length_count++] = (uint8_t)bits;
    return 0;
}
