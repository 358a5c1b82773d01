/* Many documents at once, as GET /admin/v1/config prints them:
 * {"documents":{kind:{name:document}}}. An operator's PUT and the settings' seed both use it.
 */
#ifndef CFG_BUNDLE_H
#define CFG_BUNDLE_H

#include "gateway/config/store/store.h"

/* What happens to documents that are absent from a bundle, of the kinds that it has. */
enum cfg_left_out {
    CFG_LEFT_OUT_DELETE, /* deleted; a document that always exists must be present */
    CFG_LEFT_OUT_DROP,   /* deleted, except documents that always exist */
    CFG_LEFT_OUT_KEEP,   /* kept */
};

struct cfg_bundle {
    const json_t *documents; /* an object of kinds; borrowed */
    const char *kinds;       /* paths it may have, "limits,routes"; "": all */
    bool lenient;            /* ignore read-only members, whatever their values */
    enum cfg_left_out left_out;
};

/* NULL: no kind of bundles has this path. */
const struct cfg_kind *cfg_bundle_kind(const char *path, size_t len);
/* Reads every document, without comparing it with what is in force. PS_E_INVALID: all faults are
 * added, their paths begin with /documents. */
int cfg_bundle_check(const json_t *documents, const struct cfg_bounds *bounds,
                     struct ps_faults *faults) PS_MUST_CHECK;
/* Adds the edits that make the documents match the bundle. Errors as of cfg_change_put,
 * cfg_change_drop and cfg_change_check; a malformed document takes precedence over a forbidden
 * change. All faults are added, their paths begin with /documents. */
int cfg_bundle_put(struct cfg_change *change, const struct cfg_bundle *bundle,
                   enum cfg_refusal *ret_refusal, struct ps_faults *faults) PS_MUST_CHECK;

#endif
