/* The policy snapshot: built by the control thread, read by workers without a lock.
 *
 * Sales are found by binary search over the sorted names, SKUs one by one (there are at most 100,
 * and mostly a handful). The blocklist is two hash tables under a random key, one of users and one
 * of (prefix length, masked address); an address is looked up once for each prefix length in use.
 */
#include "gateway/config/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many times the rate an IPv6 /48 has: as much as 16 of its /64. */
#define WIDE_SCALE 16

/* --- Sales. --- */

/* `"price":{…},"attributes":{…}`: the members of an object without its braces. */
static char *public_members(const struct cfg_sku_doc *doc)
{
    json_t *price = doc->amount[0] == '\0'
                        ? json_null()
                        : json_pack("{s:s, s:s}", "amount", doc->amount, "currency", doc->currency);
    json_t *object = json_pack("{s:o, s:O}", "price", price, "attributes", doc->attributes);
    char *text = object != NULL ? json_dumps(object, CFG_SALE_JSON_FLAGS) : NULL;
    json_decref(object);
    if (text == NULL)
        return NULL;
    size_t len = strlen(text);
    memmove(text, text + 1, len - 2);
    text[len - 2] = '\0';
    return text;
}

int cfg_sale_new(const char *name, const struct cfg_sale_doc *doc,
                 const struct cfg_sale_state *state, struct cfg_sale **ret_sale)
{
    struct cfg_sale *sale = calloc(1, sizeof *sale);
    if (sale == NULL)
        return PS_E_NOMEM;
    (void)snprintf(sale->name, sizeof sale->name, "%s", name);
    sale->version = state->version;
    sale->opens_at_ms = doc->opens_at_ms;
    sale->closes_at_ms = doc->closes_at_ms;
    sale->draft = doc->opens_at_ms == INT64_MAX;
    sale->paused = state->paused;
    sale->ended = state->ended;
    sale->rehearsal = doc->rehearsal;
    sale->cap = doc->cap;
    sale->ttl_ms = doc->ttl_s * 1000;
    sale->attributes = json_dumps(doc->attributes, CFG_SALE_JSON_FLAGS);
    sale->skus = calloc(doc->sku_count, sizeof *sale->skus);
    if (sale->attributes == NULL || sale->skus == NULL)
        goto fail;
    for (; sale->sku_count < doc->sku_count; sale->sku_count++) {
        const struct cfg_sku_doc *from = &doc->skus[sale->sku_count];
        struct cfg_sku *sku = &sale->skus[sale->sku_count];
        memcpy(sku->name, from->name, sizeof sku->name);
        sku->cap = from->cap;
        sku->stock = from->stock;
        sku->public_members = public_members(from);
        if (sku->public_members == NULL)
            goto fail;
    }
    *ret_sale = sale;
    return 0;
fail:
    cfg_sale_free(sale);
    return PS_E_NOMEM;
}

void cfg_sale_order_skus(struct cfg_sale *sale, const struct oq_sale *books)
{
    for (uint32_t place = 0; place < sale->sku_count; place++) {
        const char *name = oq_sale_sku(books, place);
        for (size_t i = place + 1; name != NULL && i < sale->sku_count; i++) {
            struct cfg_sku sku = sale->skus[i];
            if (strcmp(sku.name, name) != 0)
                continue;
            sale->skus[i] = sale->skus[place];
            sale->skus[place] = sku;
            break;
        }
    }
}

void cfg_sale_free(struct cfg_sale *sale)
{
    if (sale == NULL)
        return;
    for (size_t i = 0; i < sale->sku_count; i++)
        free(sale->skus[i].public_members);
    free(sale->skus);
    free(sale->attributes);
    free(sale);
}

enum cfg_phase cfg_sale_phase(const struct cfg_sale *sale, int64_t wall_ms)
{
    if (sale->ended)
        return CFG_PHASE_ENDED;
    if (sale->draft)
        return CFG_PHASE_SCHEDULED;
    if (wall_ms >= sale->closes_at_ms)
        return CFG_PHASE_ENDED;
    if (wall_ms < sale->opens_at_ms)
        return CFG_PHASE_SCHEDULED;
    return sale->paused ? CFG_PHASE_PAUSED : CFG_PHASE_OPEN;
}

/* Like strcmp, of a counted and a NUL-terminated text. */
static int compare(const char *text, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    int order = memcmp(text, name, len < name_len ? len : name_len);
    return order != 0 ? order : (len > name_len) - (len < name_len);
}

int cfg_sale_sku(const struct cfg_sale *sale, const char *name, size_t len, uint32_t *ret_sku)
{
    for (uint32_t i = 0; i < sale->sku_count; i++) {
        if (compare(name, len, sale->skus[i].name) == 0) {
            *ret_sku = i;
            return 0;
        }
    }
    return PS_E_NOT_FOUND;
}

/* --- Snapshots. --- */

static int by_name(const void *a, const void *b)
{
    const struct cfg_sale *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

int cfg_snapshot_new(int64_t version, struct cfg_sale *const *sales, size_t sale_count,
                     const struct cfg_limit_rule *rules, size_t rule_count,
                     struct cfg_blocklist *blocklist, struct cfg_snapshot **ret_policy)
{
    struct cfg_snapshot *policy = calloc(1, sizeof *policy);
    if (policy == NULL)
        return PS_E_NOMEM;
    /* One place more than is used: calloc may give NULL for none. */
    policy->sales = calloc(sale_count + 1, sizeof(struct cfg_sale *));
    policy->rules = calloc(rule_count + 1, sizeof *policy->rules);
    policy->compiled = calloc(rule_count + 1, sizeof *policy->compiled);
    policy->wide = calloc(rule_count + 1, sizeof *policy->wide);
    if (policy->sales == NULL || policy->rules == NULL || policy->compiled == NULL ||
        policy->wide == NULL) {
        cfg_snapshot_free(policy);
        return PS_E_NOMEM;
    }
    for (size_t i = 0; i < sale_count; i++)
        policy->sales[i] = sales[i];
    qsort(policy->sales, sale_count, sizeof(struct cfg_sale *), by_name);
    for (size_t i = 0; i < sale_count; i++)
        policy->sales[i]->index = (uint32_t)i;
    for (size_t i = 0; i < rule_count; i++) {
        policy->rules[i] = rules[i];
        adm_limit_compile(&rules[i], 1, &policy->compiled[i]);
        adm_limit_compile(&rules[i], WIDE_SCALE, &policy->wide[i]);
    }
    policy->version = version;
    policy->sale_count = sale_count;
    policy->rule_count = rule_count;
    policy->blocklist = blocklist;
    *ret_policy = policy;
    return 0;
}

void cfg_snapshot_free(struct cfg_snapshot *policy)
{
    if (policy == NULL)
        return;
    for (size_t i = 0; i < policy->sale_count; i++)
        cfg_sale_free(policy->sales[i]);
    free(policy->sales);
    free(policy->rules);
    free(policy->compiled);
    free(policy->wide);
    cfg_blocklist_free(policy->blocklist);
    free(policy);
}

const struct cfg_sale *cfg_snapshot_sale(const struct cfg_snapshot *policy, const char *name,
                                         size_t len)
{
    size_t low = 0, high = policy->sale_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare(name, len, policy->sales[middle]->name);
        if (order == 0)
            return policy->sales[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* --- Blocklist. --- */

/* Open addressing, at most half full; a slot holds an index + 1, 0 = free. */
struct slots {
    uint32_t *at;
    size_t mask;
};

struct cfg_blocklist {
    struct ps_hash_key key;
    struct cfg_blocked_user *users;
    struct cfg_blocked_range *ranges;
    struct slots user_slots;
    struct slots range_slots;
    size_t user_count;
    size_t range_count;
    size_t length_count;
    uint8_t lengths[129]; /* prefix lengths in use */
};

static int slots_init(struct slots *slots, size_t count)
{
    size_t size = 2;
    while (size < 2 * count)
        size *= 2;
    slots->at = calloc(size, sizeof *slots->at);
    slots->mask = size - 1;
    return slots->at != NULL ? 0 : PS_E_NOMEM;
}

/* The slot of the user, or the free one where he belongs. */
static uint32_t *user_slot(const struct cfg_blocklist *list, const char *user, size_t len)
{
    const struct slots *slots = &list->user_slots;
    uint64_t i = ps_hash64(&list->key, user, len);
    for (;; i++) {
        uint32_t *slot = &slots->at[i & slots->mask];
        if (*slot == 0 || (strlen(list->users[*slot - 1].user) == len &&
                           memcmp(list->users[*slot - 1].user, user, len) == 0))
            return slot;
    }
}

static bool same_range(const struct ps_cidr *a, const struct ps_cidr *b)
{
    return a->bits == b->bits &&
           memcmp(a->address.byte, b->address.byte, sizeof a->address.byte) == 0;
}

static uint32_t *range_slot(const struct cfg_blocklist *list, const struct ps_cidr *range)
{
    const struct slots *slots = &list->range_slots;
    uint8_t text[sizeof range->address.byte + 1];
    memcpy(text, range->address.byte, sizeof range->address.byte);
    text[sizeof range->address.byte] = range->bits;
    uint64_t i = ps_hash64(&list->key, text, sizeof text);
    for (;; i++) {
        uint32_t *slot = &slots->at[i & slots->mask];
        if (*slot == 0 || same_range(&list->ranges[*slot - 1].range, range))
            return slot;
    }
}

static void add_user(struct cfg_blocklist *list, const struct cfg_blocked_user *user)
{
    uint32_t *slot = user_slot(list, user->user, strlen(user->user));
    if (*slot == 0) {
        list->users[list->user_count++] = *user;
        *slot = (uint32_t)list->user_count;
    } else if (list->users[*slot - 1].until_ms < user->until_ms) {
        list->users[*slot - 1].until_ms = user->until_ms;
    }
}

static void add_range(struct cfg_blocklist *list, const struct cfg_blocked_range *range)
{
    uint32_t *slot = range_slot(list, &range->range);
    if (*slot == 0) {
        list->ranges[list->range_count++] = *range;
        *slot = (uint32_t)list->range_count;
        if (memchr(list->lengths, range->range.bits, list->length_count) == NULL)
            list->lengths[list->length_count++] = range->range.bits;
    } else if (list->ranges[*slot - 1].until_ms < range->until_ms) {
        list->ranges[*slot - 1].until_ms = range->until_ms;
    }
}

int cfg_blocklist_new(const struct cfg_blocked_user *users, size_t user_count,
                      const struct cfg_blocked_range *ranges, size_t range_count,
                      struct cfg_blocklist **ret_blocklist)
{
    struct cfg_blocklist *list = calloc(1, sizeof *list);
    if (list == NULL)
        return PS_E_NOMEM;
    ps_hash_key_random(&list->key);
    list->users = calloc(user_count + 1, sizeof *list->users);
    list->ranges = calloc(range_count + 1, sizeof *list->ranges);
    if (list->users == NULL || list->ranges == NULL ||
        slots_init(&list->user_slots, user_count) != 0 ||
        slots_init(&list->range_slots, range_count) != 0) {
        cfg_blocklist_free(list);
        return PS_E_NOMEM;
    }
    for (size_t i = 0; i < user_count; i++)
        add_user(list, &users[i]);
    for (size_t i = 0; i < range_count; i++)
        add_range(list, &ranges[i]);
    *ret_blocklist = list;
    return 0;
}

void cfg_blocklist_free(struct cfg_blocklist *list)
{
    if (list == NULL)
        return;
    free(list->users);
    free(list->ranges);
    free(list->user_slots.at);
    free(list->range_slots.at);
    free(list);
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
        uint32_t slot = *user_slot(list, user.at, user.len);
        if (slot != 0 && list->users[slot - 1].until_ms > wall_ms)
            return true;
    }
    for (size_t i = 0; i < list->length_count; i++) {
        if (list->lengths[i] < PS_V4_BITS && ps_address_is_v4(address))
            continue;
        struct ps_cidr range = masked(address, list->lengths[i]);
        uint32_t slot = *range_slot(list, &range);
        if (slot != 0 && list->ranges[slot - 1].until_ms > wall_ms)
            return true;
    }
    return false;
}
