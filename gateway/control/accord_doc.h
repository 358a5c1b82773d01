/* The documents that the gateways of a cluster accord, as text: one a sale ("sale/{name}": document
 * and state, or that it was deleted) and one for limit rules and blocklist together ("policy").
 * They are divided as the versions are. Made from the control thread's memory or from a change's
 * job; read back into what is to be taken over. One thread: control. */
#ifndef GW_ACCORD_DOC_H
#define GW_ACCORD_DOC_H

#include "gateway/control/control.h"

struct gw_accord_doc {
    char field[sizeof "sale/" + PS_NAME_MAX];
    int64_t version;
    char *text; /* heap */
};

struct gw_accord_docs {
    struct gw_accord_doc *at;
    size_t count;
};
void gw_accord_docs_done(struct gw_accord_docs *docs);

/* All that this gateway has. Owner: the caller. PS_E_NOMEM. */
int gw_accord_docs_own(const struct gw_control *control,
                       struct gw_accord_docs *ret_docs) PS_MUST_CHECK;
/* What the job makes of what is in memory now; its version is one higher than the one it replaces.
 * The caller frees the text. PS_E_NOT_FOUND: the job changes nothing that is shared. PS_E_NOMEM. */
int gw_accord_doc_of_job(const struct gw_control *control, const struct gw_store_job *job,
                         struct gw_accord_doc *ret_doc) PS_MUST_CHECK;

/* --- Documents of others (accord_taken.c). --- */
struct gw_accord_taken *gw_accord_taken_new(void); /* NULL: out of memory */
void gw_accord_taken_free(struct gw_accord_taken *taken);
size_t gw_accord_taken_count(const struct gw_accord_taken *taken);
/* Adds one, checked as if an operator had written it. PS_E_INVALID: the fault's path is the field,
 * with the member's pointer; PS_E_NOMEM. Nothing is added then. */
int gw_accord_taken_add(struct gw_accord_taken *taken, struct ps_str field, struct ps_str value,
                        struct ps_fault *fault) PS_MUST_CHECK;
/* The job that writes what is newer than memory (or as old and different: the cluster's counts),
 * with a line "cluster.take" that names old and new versions. It forgets what is no news.
 * PS_E_NOT_FOUND: all of it. PS_E_NOMEM. */
int gw_accord_taken_job(const struct gw_control *control, struct gw_accord_taken *taken,
                        struct gw_store_job **ret_job) PS_MUST_CHECK;
/* Takes what the job has written into memory. */
void gw_accord_taken_apply(struct gw_control *control, struct gw_accord_taken *taken);

#endif
