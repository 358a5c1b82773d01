/* The keys that sign the marks of rehearsals (common/text/mark.h). */
#ifndef CFG_REHEARSAL_KEY_H
#define CFG_REHEARSAL_KEY_H

#include "common/text/id.h"
#include "common/text/mark.h"
#include "gateway/config/store/document.h"

#define CFG_REHEARSAL_KEYS_MAX      8
#define CFG_REHEARSAL_KEY_TTL_MIN_S 60
#define CFG_REHEARSAL_KEY_TTL_MAX_S INT64_C(2592000) /* 30 days */
#define CFG_REHEARSAL_KEY_TTL_S     INT64_C(86400)   /* default */
#define CFG_REHEARSAL_NOTE_MAX      CFG_REASON_MAX

/* In the form in which marks are checked. */
struct cfg_rehearsal_key {
    char name[PS_NAME_MAX + 1];
    int64_t until_ms;
    uint8_t secret[PS_MARK_SECRET_LEN];
};

struct cfg_rehearsal_keys {
    size_t count;
    struct cfg_rehearsal_key at[CFG_REHEARSAL_KEYS_MAX];
};

/* NULL: no key of this name is valid at `wall_ms`. */
const struct cfg_rehearsal_key *cfg_rehearsal_key_find(const struct cfg_rehearsal_keys *keys,
                                                       struct ps_str name, int64_t wall_ms);

/* A key's parsed document. */
struct cfg_stored_key {
    struct cfg_rehearsal_key key;
    char *note; /* "" = none */
};

/* A new key's document, with its secret. NULL: out of memory. */
json_t *cfg_rehearsal_key_new(int64_t until_ms, const char *note) PS_MUST_CHECK;
/* The public part of a key: everything but its secret. NULL: out of memory. */
json_t *cfg_rehearsal_key_show(const struct cfg_doc *doc) PS_MUST_CHECK;
/* Of a key's version that is not a deletion. */
static inline const struct cfg_stored_key *cfg_rehearsal_key_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
