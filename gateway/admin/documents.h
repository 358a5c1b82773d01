/* Documents of any kind, for parts that change or show those of their own kind. A part's struct
 * op_kind has its additions. */
#ifndef OP_DOCUMENTS_H
#define OP_DOCUMENTS_H

#include "gateway/admin/admin_internal.h"

/* The document that the path names. False: answered. */
struct op_target {
    const struct cfg_kind *kind;
    char name[CFG_NAME_MAX + 1];
    const struct cfg_doc *have; /* in force; NULL: none */
};
bool op_read_target(struct op_request *request, const struct cfg_kind *kind,
                    struct op_target *ret_target);
/* A document as GET shows it; NULL: out of memory. */
json_t *op_document_json(const struct op_admin *admin, const struct cfg_doc *doc);
/* 200 or 201 with the document in force, or 404. */
void op_say_document(struct op_request *request, const struct cfg_kind *kind, const char *name);
/* An empty change of one document, as op_change. NULL: answered. */
struct op_change *op_document_change(struct op_request *request, const struct op_target *target,
                                     const char *action);
/* Adds the next version of the document; takes ownership of `json` (NULL: out of memory). False:
 * answered, and the change is freed. */
bool op_document_put(struct op_request *request, struct op_change *change, json_t *json);
/* The same, and deletes it. */
bool op_document_drop(struct op_request *request, struct op_change *change);
/* Submits a change of the document's state alone, with `from` and `to` for its audit line; takes
 * ownership of all three (state NULL: out of memory). The answer shows the document. */
void op_document_state(struct op_request *request, const struct op_target *target,
                       const char *action, json_t *state, json_t *from, json_t *to);
/* The query of a change: dry_run alone. False: answered. */
bool op_read_dry_run(struct op_request *request, bool *ret_dry_run);
/* Adds to what a dry run says: each document that would change, and how; but private ones. 0 or -1.
 */
int op_show_changes(const struct op_admin *admin, const struct cfg_change *change, json_t *json);
/* Answers a dry run: the documents of the change, and the differences; `tag` is the version or
 * revision in force (0: none). Frees the change. */
void op_say_dry_run(struct op_request *request, struct op_change *change, int64_t tag);

/* Deletes the document that the path names, whatever its version: a rehearsal, once it is
 * archived. */
void op_delete_discarded(struct op_request *request);

#define OP_LIST_MAX 1000
/* Answers with up to `limit` documents of the request's kind behind the name `after` ("": from the
 * first) that `is_wanted` (NULL: all) accepts. */
typedef bool op_doc_filter_fn(const struct op_admin *admin, const struct cfg_doc *doc,
                              const void *filter);
void op_say_list(struct op_request *request, const char *after, int64_t limit,
                 op_doc_filter_fn *is_wanted, const void *filter);

#endif
