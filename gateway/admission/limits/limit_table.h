/* Where the cells of rate limits live: one fixed-size table for all workers, 16 bytes a (rule,
 * key), 32 MiB for a million live keys at half fill. Any thread may check at any time; nothing
 * locks, nothing allocates, nothing is refused because the table is full: then the key that would
 * soonest be forgotten anyway is forgotten now, and counted. */
#ifndef ADM_LIMIT_TABLE_H
#define ADM_LIMIT_TABLE_H

#include "gateway/admission/limits/limit_share.h"
#include "gateway/admission/limits/limiter.h"

struct adm_limit_table;

/* `mib` (1 .. 65536) MiB of memory, touched here, so that no request faults a page in. Owner: the
 * caller. PS_E_NOMEM. */
int adm_limit_table_new(size_t mib, struct adm_limit_table **ret_table) PS_MUST_CHECK;
void adm_limit_table_free(struct adm_limit_table *table); /* NULL is allowed */

/* A key (any bytes) as the table knows it: its hash under a random key of the table's own, because
 * users choose their ids. One hash serves every rule. Any thread. */
uint64_t adm_limit_hash(const struct adm_limit_table *table, const void *key, size_t key_len);

/* Says that a check of this key under this rule comes soon. Its slot is hardly ever in the
 * processor's cache, and is fetched meanwhile (measured: 4 to 7 % of the user time of a request).
 * Any thread. */
void adm_limit_expect(const struct adm_limit_table *table, const struct adm_limit_compiled *rule,
                      uint64_t hash);

/* Counts one request of a key, given by its hash, under a rule. `now_ns`, `patience_ms` and the
 * result as in adm_limit_step. Any thread.
 *
 * Workers together admit what one alone would: a check that loses a race is made again on the new
 * cell. What can be admitted beyond a rule is one burst for each key forgotten
 * (adm_limit_table_evictions). Keys of global and sale rules have 4 MiB of their own beside the
 * `mib`, so that a flood of users or addresses never makes it forget them. */
struct adm_limit_result adm_limit_check(struct adm_limit_table *table,
                                        const struct adm_limit_compiled *rule, uint64_t hash,
                                        int64_t now_ns, int64_t patience_ms);

/* This gateway's share of the rules of the keys global and sale: whole until it is set
 * (limit_share.h). The other rules do not heed it. Any thread. */
struct adm_share *adm_limit_table_share(struct adm_limit_table *table);
/* Live keys forgotten for want of room, since the start. Any thread. */
uint64_t adm_limit_table_evictions(const struct adm_limit_table *table);

#endif
