/* Moves committed pages from the WAL of a database into the database and syncs it, on a thread and
 * through a connection of its own, while the writer continues to commit. One thread at a time
 * calls.
 */
#ifndef PS_DB_COPIER_H
#define PS_DB_COPIER_H

#include "common/db/db_internal.h"

struct ps_db_copier;

/* `db` is a connection to a database in WAL mode, which belongs to the copier from now on, also
 * after an error: PS_E_NOMEM. `on_failure` is called on the copier's thread after each copy that
 * failed, before anybody can learn of it otherwise. */
int ps_db_copier_new(struct ps_db *db, void (*on_failure)(void *ctx), void *ctx,
                     struct ps_db_copier **ret_copier) PS_MUST_CHECK;
/* Waits until a copy in progress has ended. NULL is allowed. */
void ps_db_copier_free(struct ps_db_copier *copier);

/* Not while a copy is in progress. */
void ps_db_copier_start(struct ps_db_copier *copier);
bool ps_db_copier_runs(struct ps_db_copier *copier);
/* Once after each start, when it has ended: SQLite's result, and how many frames of the WAL are in
 * the database now; they are durable there only if it was SQLITE_OK. False: nothing was started
 * since. */
bool ps_db_copier_take(struct ps_db_copier *copier, int *ret_rc, int *ret_copied);
/* For the words of an error; not while it runs. */
const struct ps_db *ps_db_copier_db(const struct ps_db_copier *copier);

/* Did a checkpoint fail? One that met a lock has lost nothing. */
static inline bool ps_db_copy_failed(int rc)
{
    return rc != SQLITE_OK && rc != SQLITE_BUSY;
}

#endif
