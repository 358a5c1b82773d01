/* The list is a hash table under a random key, as a tree of two levels: pages of buckets of
 * entries. A change makes anew the bucket and the page on its way, if a frozen list has them, too;
 * all else is shared by counted references. Addresses are looked up once for each prefix length in
 * use. */
#include "gateway/config/blocklist.h"

#include "common/id.h"

#include <stdlib.h>
#include <string.h>

#define FANOUT    128 /* pages, and buckets in a page: 6 entries in a bucket at 100,000 */
#define RANGE_LEN 17
#define LENGTHS   129

struct entry {
    size_t refs;
    uint64_t hash;
    int64_t until_ms;
    bool is_range;
    size_t len;
    char key[]; /* the user, or address and bits */
};

struct bucket {
    size_t refs;
    size_t count;
    struct entry *at[];
};

struct page {
    size_t refs;
    struct bucket *at[FANOUT]; /* NULL: empty */
};

struct cfg_blocklist {
    struct ps_hash_key user_key, range_key;
    size_t user_count;
    size_t lengths[LENGTHS]; /* ranges of each prefix length */
    size_t length_count;
    uint8_t used[LENGTHS]; /* prefix lengths in use */
    struct page *at[FANOUT];
};

struct key {
    uint64_t hash;
    bool is_range;
    size_t len;
    const void *at;
};

/* --- References. --- */

static void unref_entry(struct entry *entry)
{
    if (--entry->refs == 0)
        free(entry);
}

static void unref_bucket(struct bucket *bucket)
{
    if (bucket == NULL || --bucket->refs > 0)
        return;
    for (size_t i = 0; i < bucket->count; i++)
        unref_entry(bucket->at[i]);
    free(bucket);
}

static void unref_page(struct page *page)
{
    if (page == NULL || --page->refs > 0)
        return;
    for (size_t i = 0; i < FANOUT; i++)
        unref_bucket(page->at[i]);
    free(page);
}

void cfg_blocklist_free(struct cfg_blocklist *list)
{
    if (list == NULL)
        return;
    for (size_t i = 0; i < FANOUT; i++)
        unref_page(list->at[i]);
    free(list);
}

int cfg_blocklist_new(struct cfg_blocklist **ret_list)
{
    struct cfg_blocklist *list = calloc(1, sizeof *list);

    if (list == NULL)
        return PS_E_NOMEM;
    ps_hash_key_random(&list->user_key);
    ps_hash_key_random(&list->range_key);
    *ret_list = list;
    return 0;
}

struct cfg_blocklist *cfg_blocklist_freeze(const struct cfg_blocklist *list)
{
    struct cfg_blocklist *frozen = malloc(sizeof *frozen);

    if (frozen == NULL)
        return NULL;
    *frozen = *list;
    for (size_t i = 0; i < FANOUT; i++)
        if (frozen->at[i] != NULL)
            frozen->at[i]->refs++;
    return frozen;
}

/* --- Looking up. --- */

static size_t page_of(uint64_t hash)
{
    return hash % FANOUT;
}

static size_t bucket_of(uint64_t hash)
{
    return hash / FANOUT % FANOUT;
}

static bool is_key(const struct entry *entry, const struct key *key)
{
    return entry->hash == key->hash && entry->is_range == key->is_range && entry->len == key->len &&
           memcmp(entry->key, key->at, key->len) == 0;
}

static const struct bucket *find_bucket(const struct cfg_blocklist *list, uint64_t hash)
{
    const struct page *page = list->at[page_of(hash)];

    return page != NULL ? page->at[bucket_of(hash)] : NULL;
}

/* Its place in the bucket; bucket->count: it is not there. */
static size_t find_entry(const struct bucket *bucket, const struct key *key)
{
    size_t i = 0;

    while (i < bucket->count && !is_key(bucket->at[i], key))
        i++;
    return i;
}

static bool holds(const struct cfg_blocklist *list, const struct key *key, int64_t wall_ms)
{
    const struct bucket *bucket = find_bucket(list, key->hash);
    size_t at = bucket != NULL ? find_entry(bucket, key) : 0;

    return bucket != NULL && at < bucket->count && bucket->at[at]->until_ms > wall_ms;
}

static struct key user_key(const struct cfg_blocklist *list, const char *user, size_t len)
{
    return (struct key){ps_hash64(&list->user_key, user, len), false, len, user};
}

static struct key range_key(const struct cfg_blocklist *list, const struct ps_cidr *range,
                            uint8_t text[RANGE_LEN])
{
    memcpy(text, range->address.byte, sizeof range->address.byte);
    text[RANGE_LEN - 1] = range->bits;
    return (struct key){ps_hash64(&list->range_key, text, RANGE_LEN), true, RANGE_LEN, text};
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

bool cfg_blocklist_has(const struct cfg_blocklist *list, struct ps_str user,
                       const struct ps_address *address, int64_t wall_ms)
{
    if (user.len > 0 && list->user_count > 0) {
        struct key key = user_key(list, user.at, user.len);
        if (holds(list, &key, wall_ms))
            return true;
    }
    for (size_t i = 0; i < list->length_count; i++) {
        uint8_t text[RANGE_LEN];
        if (list->used[i] < PS_V4_BITS && ps_address_is_v4(address))
            continue;
        struct ps_cidr range = masked(address, list->used[i]);
        struct key key = range_key(list, &range, text);
        if (holds(list, &key, wall_ms))
            return true;
    }
    return false;
}

/* --- Changing. --- */

/* The page of the hash, for this list alone. NULL: out of memory. */
static struct page *own_page(struct cfg_blocklist *list, uint64_t hash)
{
    struct page **place = &list->at[page_of(hash)];
    struct page *page = *place;

    if (page != NULL && page->refs == 1)
        return page;
    struct page *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        return NULL;
    if (page != NULL) {
        *copy = *page;
        page->refs--;
        for (size_t i = 0; i < FANOUT; i++)
            if (copy->at[i] != NULL)
                copy->at[i]->refs++;
    }
    copy->refs = 1;
    *place = copy;
    return copy;
}

static struct entry *new_entry(const struct key *key, int64_t until_ms)
{
    struct entry *entry = malloc(sizeof *entry + key->len);

    if (entry == NULL)
        return NULL;
    *entry = (struct entry){1, key->hash, until_ms, key->is_range, key->len};
    memcpy(entry->key, key->at, key->len);
    return entry;
}

/* The bucket without the key's entry, and with `entry` (NULL: none) in its place. */
static struct bucket *new_bucket(const struct bucket *old, const struct key *key,
                                 struct entry *entry)
{
    size_t count = old != NULL ? old->count : 0;
    struct bucket *bucket = malloc(sizeof *bucket + (count + 1) * sizeof(struct entry *));

    if (bucket == NULL)
        return NULL;
    bucket->refs = 1;
    bucket->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_key(old->at[i], key))
            continue;
        old->at[i]->refs++;
        bucket->at[bucket->count++] = old->at[i];
    }
    if (entry != NULL)
        bucket->at[bucket->count++] = entry;
    return bucket;
}

/* +1, -1 or 0 entries of the key. */
static int put(struct cfg_blocklist *list, const struct key *key, int64_t until_ms, int *ret_more)
{
    const struct bucket *old = find_bucket(list, key->hash);
    bool there = old != NULL && find_entry(old, key) < old->count;

    *ret_more = (until_ms > 0) - there;
    if (until_ms == 0 && !there)
        return 0;
    struct page *page = own_page(list, key->hash);
    struct entry *entry = until_ms > 0 ? new_entry(key, until_ms) : NULL;
    struct bucket *bucket =
        page != NULL && (entry != NULL || until_ms == 0) ? new_bucket(old, key, entry) : NULL;
    if (bucket == NULL) {
        free(entry);
        return PS_E_NOMEM;
    }
    unref_bucket(page->at[bucket_of(key->hash)]);
    page->at[bucket_of(key->hash)] = bucket;
    return 0;
}

int cfg_blocklist_user(struct cfg_blocklist *list, const char *user, int64_t until_ms)
{
    struct key key = user_key(list, user, strlen(user));
    int more, err = put(list, &key, until_ms, &more);

    if (err == 0)
        list->user_count += (size_t)more;
    return err;
}

int cfg_blocklist_range(struct cfg_blocklist *list, const struct ps_cidr *range, int64_t until_ms)
{
    uint8_t text[RANGE_LEN];
    struct key key = range_key(list, range, text);
    int more, err = put(list, &key, until_ms, &more);

    if (err < 0 || more == 0)
        return err;
    list->lengths[range->bits] += (size_t)more;
    list->length_count = 0;
    for (unsigned bits = 0; bits < LENGTHS; bits++)
        if (list->lengths[bits] > 0)
            list->used[list->length_count++] = (uint8_t)bits;
    return 0;
}
