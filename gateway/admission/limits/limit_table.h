/* The cells of rate limits: one table of fixed size for all workers, 16 bytes for each (rule, key),
 * 32 MiB for a million live keys at half fill. Any thread may check at any time; nothing locks or
 * allocates, and a full table refuses nothing: then the key that would be forgotten first is
 * forgotten early, and counted. */
#ifndef ADM_LIMIT_TABLE_H
#define ADM_LIMIT_TABLE_H

#include "gateway/admission/limits/limit_share.h"
#include "gateway/admission/limits/limiter.h"

struct adm_limit_table;

/* Uses `mib` (1 .. 65536) MiB of memory, touched here, so that no request faults a page in. Owner:
 * the caller. PS_E_NOMEM. */
int adm_limit_table_new(size_t mib, struct adm_limit_table **ret_table) PS_MUST_CHECK;
void adm_limit_table_free(struct adm_limit_table *table); /* NULL is allowed */

/* The hash of a key (any bytes), under a random key of the table's own, because users choose their
 * ids. One hash serves every rule. Any thread. */
uint64_t adm_limit_hash(const struct adm_limit_table *table, const void *key, size_t key_len);

/* Announces a check of this key under this rule: its slot is rarely in the processor's cache, and
 * is prefetched (measured: 4 to 7 % of the user time of a request). Any thread. */
void adm_limit_expect(const struct adm_limit_table *table, const struct adm_limit_compiled *rule,
                      uint64_t hash);

/* Counts one request of a key, given by its hash, under a rule. `now_ns`, `patience_ms` and the
 * result as in adm_limit_step. Any thread.
 *
 * All workers together admit what one alone would: a check that loses a race is repeated on the new
 * cell. Beyond a rule, at most one burst for each forgotten key is admitted
 * (adm_limit_table_evictions). Keys of global and sale rules have 4 MiB of their own beside the
 * `mib`, so that a flood of users or addresses never makes the table forget them. */
struct adm_limit_result adm_limit_check(struct adm_limit_table *table,
                                        const struct adm_limit_compiled *rule, uint64_t hash,
                                        int64_t now_ns, int64_t patience_ms);

/* The result that adm_limit_check would have now; nothing is counted. Any thread. */
struct adm_limit_result adm_limit_look(const struct adm_limit_table *table,
                                       const struct adm_limit_compiled *rule, uint64_t hash,
                                       int64_t now_ns, int64_t patience_ms);

/* This gateway's share of the rules with the keys global and sale: the whole until it is set
 * (limit_share.h). Other rules ignore it. Any thread. */
struct adm_share *adm_limit_table_share(struct adm_limit_table *table);
/* Live keys forgotten because the table was full, since the start. Any thread. */
uint64_t adm_limit_table_evictions(const struct adm_limit_table *table);

#endif
