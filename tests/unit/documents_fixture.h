/* A store of documents for unit tests, with its snapshots, which nobody goes by. Its clock stands
 * still. It is that of the gateway "gw-1". */
#ifndef DOCUMENTS_FIXTURE_H
#define DOCUMENTS_FIXTURE_H

#include "tests/unit/doc_store.h"

#include "gateway/snapshot/view.h"

extern size_t doc_published; /* snapshots, but for the first */

/* Set-up and tear-down of a test. */
int doc_make(void **state);
int doc_drop(void **state);
void doc_reopen(void);
const char *doc_audit_path(void);
const struct snapshot *doc_snapshot(void); /* the last one */

/* Changes by "ann", done when they return. The first returns what cfg_change_put says. */
int doc_try_put(const struct cfg_kind *kind, const char *name, const char *json) PS_MUST_CHECK;
void doc_put(const struct cfg_kind *kind, const char *name, const char *json);
void doc_delete(const struct cfg_kind *kind, const char *name);
/* An override that ends so many seconds from now; `value` is JSON. */
void doc_override(const char *name, const char *value, int64_t ttl_s);

#endif
