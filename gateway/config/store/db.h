/* control.db as a file: documents with their history, and the audit lines that may not be in
 * audit.log yet, in SQLite (WAL, FULL, 0600). One thread at a time. */
#ifndef CFG_DB_H
#define CFG_DB_H

#include "common/db/db_file.h"
#include "gateway/config/store/document.h"

struct cfg_db;

/* Locks the file for this process until *ret_lock is closed; creates it if it does not exist.
 * PS_E_BUSY: another process has it; PS_E_PERMISSION: others may read it. */
int cfg_db_lock(const char *path, const char *vfs, int *ret_lock,
                struct ps_fault *fault) PS_MUST_CHECK;
/* Opens, checks, and migrates an older schema; what is read afterwards is durable. PS_E_NEWER:
 * written by a newer version; PS_E_CORRUPT: torn, or not a control.db; PS_E_PERMISSION,
 * PS_E_READ_ONLY, PS_E_IO: the fault says what, and what to do. */
int cfg_db_open(const char *path, const char *vfs, int lock, struct cfg_db **ret_db,
                struct ps_fault *fault) PS_MUST_CHECK;
void cfg_db_close(struct cfg_db *db); /* NULL is allowed */
/* For transactions, and what follows them. */
struct ps_db_file *cfg_db_file(struct cfg_db *db);

/* Removes documents that ended by `now_ms`, and deletions of the blocklist that are a month old. */
int cfg_db_forget_old(struct cfg_db *db, int64_t now_ms, struct ps_fault *fault) PS_MUST_CHECK;
/* Adds missing shipped documents, dated now, then calls `take` with each document, deleted ones
 * too, by kind and name; the callback owns it. PS_E_CORRUPT: a document cannot be read. */
typedef int cfg_db_take_fn(struct cfg_doc *doc, void *ctx);
int cfg_db_load(struct cfg_db *db, int64_t now_ms, cfg_db_take_fn *take, void *ctx,
                int64_t *ret_revision, struct ps_fault *fault) PS_MUST_CHECK;

/* --- Changing: between begin and commit of its file. --- */

/* Replaces the version in force, which becomes history; the last CFG_DB_VERSIONS of that are kept.
 * PS_E_CONFLICT: the version in force is not `after` (0: there must be none); CFG_DB_WHATEVER
 * replaces any. */
#define CFG_DB_VERSIONS 100
#define CFG_DB_WHATEVER (-1)
int cfg_db_put(struct cfg_db *db, const struct cfg_doc *doc, int64_t after,
               struct ps_fault *fault) PS_MUST_CHECK;
/* Removes a document that has ended, with its history. */
int cfg_db_forget(struct cfg_db *db, const char *kind, const char *name,
                  struct ps_fault *fault) PS_MUST_CHECK;
int cfg_db_set_revision(struct cfg_db *db, int64_t revision, struct ps_fault *fault) PS_MUST_CHECK;
/* Adds a line of the audit log and drops those that audit.log holds. */
int cfg_db_add_line(struct cfg_db *db, int64_t seq, const char *line, int64_t written,
                    struct ps_fault *fault) PS_MUST_CHECK;

/* --- Reading. --- */

/* The revision of the newest change in the file. */
int cfg_db_revision(struct cfg_db *db, int64_t *ret_revision, struct ps_fault *fault) PS_MUST_CHECK;
/* The highest seq of a line; 0: no line. */
int cfg_db_last_line(struct cfg_db *db, int64_t *ret_seq, struct ps_fault *fault) PS_MUST_CHECK;
/* Calls `take` with the lines behind `after`; an error of it ends the loop. */
typedef int cfg_db_line_fn(int64_t seq, const char *line, void *ctx, struct ps_fault *fault);
int cfg_db_lines(struct cfg_db *db, int64_t after, cfg_db_line_fn *take, void *ctx,
                 struct ps_fault *fault) PS_MUST_CHECK;
/* A document's versions: {"versions":[…]}, newest first, without the documents; for one version (>
 * 0) with its document. Owner: the caller. PS_E_NOT_FOUND. */
int cfg_db_history(struct cfg_db *db, const char *kind, const char *name, int64_t version,
                   json_t **ret_json, struct ps_fault *fault) PS_MUST_CHECK;
/* `kinds` as for cfg_kind_is_listed; private kinds are never included. */
/* The last 100 changes, newest first: {"versions":[{"revision","at","who","peer","action","why",
 * "documents":[…],"count"}]}, each with its first 100 documents. */
int cfg_db_revisions(struct cfg_db *db, const char *kinds, json_t **ret_json,
                     struct ps_fault *fault) PS_MUST_CHECK;
/* {"documents":{"limits":{…},…}} as they were in force at that revision, without those that have
 * ended by `now_ms`. PS_E_NOT_FOUND: a revision that is not known. */
int cfg_db_at_revision(struct cfg_db *db, const char *kinds, int64_t revision, int64_t now_ms,
                       json_t **ret_json, struct ps_fault *fault) PS_MUST_CHECK;

#endif
