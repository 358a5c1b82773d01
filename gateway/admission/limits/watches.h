/* Watched buyers: the last answers that this gateway gave to each, in memory. Without a watch there
 * is no set, and nothing is looked up. What a watch has seen outlives the sets that have it, up to
 * its end.
 *
 * The control thread makes sets and reads them; workers look users up and note. A worker takes a
 * watch's lock for the copy of an entry, the control thread for that of all. */
#ifndef ADM_WATCHES_H
#define ADM_WATCHES_H

#include "common/err.h"
#include "common/text/buf.h"

#define ADM_WATCH_KEPT 100

struct adm_watched {
    int64_t seq;   /* 1 is the first since the watch began at this gateway */
    int64_t at_ms; /* wall clock */
    int64_t took_ns;
    int verdict, status;
    const char *method, *path; /* of the API, as it is described; literals */
    char sale[PS_NAME_MAX + 1];
    char rule[PS_NAME_MAX + 1]; /* the limit or feature that has refused it; "": the verdict says */
    char request_id[72];        /* cut */
};

struct adm_watch;
struct adm_watches;

/* --- The control thread. --- */

/* These users (sorted by name) are watched; those that `before` (NULL: none) has keep what was
 * noted. None: *ret_watches is NULL. PS_E_NOMEM. */
int adm_watches_new(const char *const *users, size_t count, const struct adm_watches *before,
                    struct adm_watches **ret_watches) PS_MUST_CHECK;
void adm_watches_free(struct adm_watches *watches); /* NULL is allowed */
/* Copies the newest first; returns how many. */
size_t adm_watch_read(struct adm_watch *watch, struct adm_watched ret_entries[ADM_WATCH_KEPT]);

/* --- Any thread that has the set. --- */

/* NULL: nobody watches this user, or there is no set. */
struct adm_watch *adm_watches_find(const struct adm_watches *watches, struct ps_str user);
/* Copied, with a `seq` of the watch's own. */
void adm_watch_note(struct adm_watch *watch, const struct adm_watched *entry);

#endif
