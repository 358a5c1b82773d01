/* A store of documents for unit tests, with its snapshots, which nobody goes by. Its clock stands
 * still. It is that of the gateway "gw-1". */
#ifndef DOCUMENTS_FIXTURE_H
#define DOCUMENTS_FIXTURE_H

#include "tests/unit/temp_dir.h"

#include "gateway/snapshot/view.h"

#define DOC_T0 INT64_C(1900000000000) /* 2030-03-17T17:46:40Z */

extern struct cfg_store *doc_store;
extern struct ps_clock_manual doc_clock;
extern size_t doc_published; /* snapshots, but for the first */

/* Set-up and tear-down of a test. */
int doc_make(void **state);
int doc_drop(void **state);
void doc_reopen(void);
const char *doc_audit_path(void);
const struct snapshot *doc_snapshot(void); /* the last one */

/* Until nothing is under way. */
void doc_settle(void);
/* Changes by "ann", done when they return. The first returns what cfg_change_put says. */
int doc_try_put(const struct cfg_kind *kind, const char *name, const char *json) PS_MUST_CHECK;
void doc_put(const struct cfg_kind *kind, const char *name, const char *json);
void doc_delete(const struct cfg_kind *kind, const char *name);
/* An override that ends so many seconds from now; `value` is JSON. */
void doc_override(const char *name, const char *value, int64_t ttl_s);

#endif
