/* The rotation of the keys that seal references: a new one each day (UTC), made an hour before, so
 * that every gateway has it when it is used. Any gateway makes it; the store decides whose is
 * taken.
 *
 * One thread: control. */
#ifndef CFG_REF_ROTATION_H
#define CFG_REF_ROTATION_H

#include "gateway/config/kinds/ref_key.h"
#include "gateway/config/store/store.h"

#define CFG_REF_KEY_AHEAD_MS INT64_C(3600000)
#define CFG_REF_KEY_DAY_MS   INT64_C(86400000)
/* A key made too late is used this much later: the other gateways have it then. */
#define CFG_REF_KEY_LEAD_MS 2000

struct cfg_ref_rotation {
    struct cfg_store *store;
    bool busy;             /* a key is being written */
    int64_t next_ns;       /* monotonic: no attempt before */
    int64_t made, refused; /* attempts that went well, and others */
};

/* Now and then: makes the key that will be needed next, if it is missing and changes are taken. */
void cfg_ref_rotation_tick(struct cfg_ref_rotation *rotation);

/* Those to seal with from now on. */
void cfg_ref_keys_new(const struct cfg_store *store, struct cfg_ref_keys *ret_keys);
/* Opens a reference with all keys there are (ps_ref_open). */
int cfg_ref_open(const struct cfg_store *store, struct ps_str text,
                 struct ps_ref *ret_ref) PS_MUST_CHECK;

#endif
