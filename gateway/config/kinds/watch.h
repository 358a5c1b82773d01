/* The private kind `watches`: buyers whose verdicts every gateway keeps for a while, to be looked
 * at (gateway/admission/limits/watches.h). Its name is the user, its document {"until":…}; who
 * asked, when and why is the author of the version. */
#ifndef CFG_WATCH_H
#define CFG_WATCH_H

#include "gateway/config/store/document.h"

#define CFG_WATCHES_MAX     100
#define CFG_WATCH_TTL_MAX_S INT64_C(86400) /* a day */

struct cfg_watch {
    int64_t until_ms;
    int64_t ttl_s; /* while what PUT takes is read */
    char *reason;  /* the same */
};

/* Reads what PUT takes, {"ttl_s","reason"}. PS_E_INVALID: all faults are added. */
int cfg_watch_ask(const json_t *json, int64_t now_ms, struct cfg_watch *ret_watch,
                  struct ps_faults *faults) PS_MUST_CHECK;
/* Its document. NULL: out of memory. */
json_t *cfg_watch_write(const struct cfg_watch *watch) PS_MUST_CHECK;

/* Of a version that is no deletion. */
static inline const struct cfg_watch *cfg_watch_of(const struct cfg_doc *doc)
{
    return doc->parsed;
}

#endif
