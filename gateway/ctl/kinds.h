/* The kinds of documents, as penstockctl calls and shows them. */
#ifndef CTL_KINDS_H
#define CTL_KINDS_H

#include "common/defs.h"

struct ctl_kind {
    const char *word;    /* "limit" */
    const char *path;    /* after /admin/v1/, and in a bundle: "limits" */
    const char *listed;  /* the member of the list's answer that holds the documents */
    const char *columns; /* of a table (print.h); the first one is the document's name */
    bool is_one;         /* a single document without a name */
};

extern const struct ctl_kind ctl_kinds[]; /* the last has no word */

/* By word or path. NULL: unknown; a usage error that names a similar kind was printed. */
const struct ctl_kind *ctl_kind_find(const char *text);

#endif
