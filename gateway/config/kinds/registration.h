/* The kind `registrations`: endpoints of a pool that are kept alive by heartbeats. The name of a
 * document is "POOL/ADDRESS":
 *
 *   {"ttl_s":15,"weight":1,"until":"…Z","gone":false,"by":"t4f…"}
 *
 * It expires by itself. A document that differs from the previous one by its `until` alone is a
 * heartbeat: it has no line in the audit log, no history, and changes nothing that workers read. A
 * removed endpoint is `gone` for CFG_REGISTRATION_GONE_MS, so that every gateway of a cluster
 * learns of it, and then forgotten; a deletion would be kept for good.
 *
 * The kind is private: the admin listener has routes of its own for it, and no bundle has it. */
#ifndef CFG_REGISTRATION_H
#define CFG_REGISTRATION_H

#include "gateway/config/kinds/pool_doc.h"

#define CFG_REGISTRATION_TTL_S     15 /* default */
#define CFG_REGISTRATION_TTL_MAX_S 3600
#define CFG_REGISTRATION_GONE_MS   60000
#define CFG_REGISTRATIONS_MAX      10000 /* of all pools */

struct cfg_registration {
    char pool[PS_NAME_MAX + 1];
    struct cfg_endpoint endpoint;
    int64_t ttl_s;
    int64_t until_ms;
    bool gone;
    char by[PS_NAME_MAX + 1]; /* id of the token that registered it, whoever changes it later */
};

/* Of a version that is not a deletion. */
static inline const struct cfg_registration *cfg_registration_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

void cfg_registration_name(const char *pool, const struct cfg_endpoint *endpoint,
                           char ret_name[CFG_NAME_MAX + 1]);
/* As it is stored. Owner: the caller. NULL: out of memory. */
json_t *cfg_registration_write(const struct cfg_registration *registration);

/* The one in force that is not gone; NULL: none. */
const struct cfg_doc *cfg_registration_find(const struct cfg_store *store, const char *name);
/* The registrations of a pool, by address: the first (`after` NULL), or the next; NULL: no more. */
const struct cfg_doc *cfg_registration_next(const struct cfg_store *store, const char *pool,
                                            const struct cfg_doc *after);

#endif
