/* The documents that the gateways of a cluster share, as text: one a sale ("sale/{name}": document
 * and state, or that it was deleted), and the policy, which is one version ("policy") with an entry
 * for each limit rule ("entry/rule/{name}") and each line of the blocklist ("entry/user/{user}",
 * "entry/range/{range}"). They are divided as the versions are. Made from the control thread's
 * memory or from a change's job; read back into what is to be taken over. One thread: control. */
#ifndef CFG_SYNC_DOC_H
#define CFG_SYNC_DOC_H

#include "gateway/control.h"

struct cfg_codec_doc {
    char field[sizeof "entry/range/" + PS_USER_MAX];
    int64_t version; /* 0: an entry */
    char *text;      /* heap; "": of the policy, or an entry that goes */
};

/* Documents, then the entries that belong to the policy among them. */
struct cfg_codec_docs {
    struct cfg_codec_doc *at;
    size_t count;
};
void cfg_codec_docs_done(struct cfg_codec_docs *docs);

/* All sales that this gateway has, and those that it knows to be deleted. Owner: the caller.
 * PS_E_NOMEM. */
int cfg_codec_sales_own(const struct gw_control *control,
                        struct cfg_codec_docs *ret_docs) PS_MUST_CHECK;
/* The policy with all its entries. */
int cfg_codec_policy_own(const struct gw_control *control,
                         struct cfg_codec_docs *ret_docs) PS_MUST_CHECK;
/* The one document that the job changes, at the version that follows the one it replaces; of the
 * policy with the entries that change. PS_E_NOT_FOUND: the job changes nothing that is shared.
 * PS_E_NOMEM. */
int cfg_codec_of_job(const struct gw_control *control, const struct cfg_store_job *job,
                     struct cfg_codec_docs *ret_docs) PS_MUST_CHECK;

/* --- Documents of others (accord_taken.c). --- */
/* `whole`: what is not added is not there. NULL: out of memory. */
struct cfg_merge *cfg_merge_new(bool whole);
void cfg_merge_free(struct cfg_merge *taken);
/* Adds one document or entry, checked as if an operator had written it; `value.at` NULL: it is
 * gone. PS_E_INVALID: the fault's path is the field, with the member's pointer; PS_E_NOMEM. Nothing
 * is added then. */
int cfg_merge_add(struct cfg_merge *taken, struct ps_str field, struct ps_str value,
                  struct ps_fault *fault) PS_MUST_CHECK;
/* The job that writes what is newer than memory (or as old and different: the cluster's counts),
 * with a line "cluster.take" that names old and new versions. It forgets what is no news.
 * PS_E_NOT_FOUND: all of it. PS_E_NOMEM. */
int cfg_merge_job(const struct gw_control *control, struct cfg_merge *taken,
                  struct cfg_store_job **ret_job) PS_MUST_CHECK;
/* Takes what the job has written into memory. */
void cfg_merge_apply(struct gw_control *control, struct cfg_merge *taken);

#endif
