/* Blocked users and address ranges. One thread makes and changes a list; workers look
 * them up in frozen copies of it. */
#ifndef ADM_BLOCKLIST_H
#define ADM_BLOCKLIST_H

#include "common/text/address.h"
#include "common/err.h"

struct adm_blocklist;

/* An empty list that can be changed. Owner: the caller. PS_E_NOMEM. */
int adm_blocklist_new(struct adm_blocklist **ret_list) PS_MUST_CHECK;
/* A copy of the list as it is now, for any thread to read. Owner: the caller. NULL: out of
 * memory. */
struct adm_blocklist *adm_blocklist_freeze(const struct adm_blocklist *list) PS_MUST_CHECK;
void adm_blocklist_free(struct adm_blocklist *list); /* NULL is allowed */

/* Adds or replaces the entry of this user or range. `until_ms`: INT64_MAX for good; 0 removes the
 * entry. PS_E_NOMEM: nothing has changed. */
int adm_blocklist_user(struct adm_blocklist *list, const char *user,
                       int64_t until_ms) PS_MUST_CHECK;
int adm_blocklist_range(struct adm_blocklist *list, const struct ps_cidr *range,
                        int64_t until_ms) PS_MUST_CHECK;

enum adm_blocked { ADM_NOT_BLOCKED, ADM_BLOCKED_USER, ADM_BLOCKED_RANGE };
/* Whether an entry refuses the user or the address, and which. One look-up for the user, one for
 * each prefix length that is in use: the cost does not grow with the number of entries. `user.len`
 * 0 = address only. *ret_range (NULL is allowed) is written with ADM_BLOCKED_RANGE. */
enum adm_blocked adm_blocklist_find(const struct adm_blocklist *list, struct ps_str user,
                                    const struct ps_address *address, int64_t wall_ms,
                                    struct ps_cidr *ret_range);
static inline bool adm_blocklist_has(const struct adm_blocklist *list, struct ps_str user,
                                     const struct ps_address *address, int64_t wall_ms)
{
    return adm_blocklist_find(list, user, address, wall_ms, NULL) != ADM_NOT_BLOCKED;
}

#endif
