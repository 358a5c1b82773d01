/* Moves committed pages from the WAL of a database into the database and syncs it, on a thread and
 * through a connection of its own, while the writer goes on committing. One thread at a time calls.
 */
#ifndef OQ_DB_COPIER_H
#define OQ_DB_COPIER_H

#include "common/err.h"

#include <sqlite3.h>

struct oq_db_copier;

/* `handle` is a connection to a database in WAL mode, which belongs to the copier from now on, also
 * after an error: PS_E_NOMEM. */
int oq_db_copier_new(sqlite3 *handle, struct oq_db_copier **ret_copier) PS_MUST_CHECK;
/* Waits until what is under way has ended. What SQLite answered last, taken or not; SQLITE_OK:
 * nothing was started. NULL is allowed. */
int oq_db_copier_free(struct oq_db_copier *copier) PS_MUST_CHECK;

/* Not while one is under way. */
void oq_db_copier_start(struct oq_db_copier *copier);
bool oq_db_copier_runs(struct oq_db_copier *copier);
/* Once after each start, when it runs no longer: what SQLite answered, and how many frames of the
 * WAL are in the database now; they are durable there only when it answered SQLITE_OK. False:
 * nothing was started since. */
bool oq_db_copier_take(struct oq_db_copier *copier, int *ret_rc, int *ret_copied);
/* For the words of an error; not while it runs. */
sqlite3 *oq_db_copier_handle(const struct oq_db_copier *copier);

#endif
