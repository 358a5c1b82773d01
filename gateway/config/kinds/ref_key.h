/* The keys that seal the references of refusals (common/text/ref.h). */
#ifndef CFG_REF_KEY_H
#define CFG_REF_KEY_H

#include "common/text/ref.h"
#include "gateway/config/store/document.h"

#define CFG_REF_KEY_NEW_MAX 3 /* that a worker needs: the next one, the present one, one more */
#define CFG_REF_KEYS_MAX    40

/* The newest keys, the newest first: what workers seal with. */
struct cfg_ref_keys {
    size_t count;
    struct ps_ref_key at[CFG_REF_KEY_NEW_MAX];
};

/* The one to seal with at `wall_ms`; NULL: there is none. */
static inline const struct ps_ref_key *cfg_ref_key_now(const struct cfg_ref_keys *keys,
                                                       int64_t wall_ms)
{
    for (size_t i = 0; i < keys->count; i++)
        if (keys->at[i].from_ms <= wall_ms)
            return keys->at[i].until_ms > wall_ms ? &keys->at[i] : NULL;
    return NULL;
}

/* Its document, with its secret. NULL: out of memory. */
json_t *cfg_ref_key_write(const struct ps_ref_key *key) PS_MUST_CHECK;
/* Of a key's version that is no deletion. */
static inline const struct ps_ref_key *cfg_ref_key_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
