/* The reference pages of the settlement worker, printed from its tables. */
#ifndef ST_PRINT_DOCS_H
#define ST_PRINT_DOCS_H

#include "common/err.h"

/* Writes settle.md, settle.zh-CN.md and penstock-settle.json.5 into `dir`; as ps_reference_write().
 */
int st_print_docs(const char *dir, struct ps_fault *fault) PS_MUST_CHECK;

#endif
