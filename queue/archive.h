/* The archive of a sale that is over: one file, {sale}.ndjson.zst, that anybody can check without
 * this program. NDJSON, one zstd frame with its checksum.
 *
 *   {"prev":"<64 hex>","seq":N,"type":…}   a record in the line form of log.h
 *   {"prev":"<64 hex>","type":"archive.end","sale":…,"partitions":…,"lines":…,"orders":…,
 *   "skus":[…],"ids_from":…,"ids_to":…,"key":"<16 hex>","at":…}
 *
 * `prev` is the SHA-256 of the line before without its line feed; in the first line 64 zeros. The
 * hash of the last line is in the log's sale.archived. `lines` counts the last line, too. `orders`
 * counts the orders that an accepted record names; `ids_from` and `ids_to` are the lowest and
 * highest of their ids ("" if there are none).
 *
 * No line has a user id: `user` and `idempotency_key` are BLAKE2b hashes of 256 bits under a key
 * that the file's owner keeps, so that nobody else can try out names; `key` is that key's
 * fingerprint. The hash includes the sale: nobody can find out from two archives who bought in
 * both.
 *
 * All calls block on the disk. One thread at a time for each writer; reading: any thread. */
#ifndef OQ_ARCHIVE_H
#define OQ_ARCHIVE_H

#include "common/err.h"
#include "queue/event.h"

#define OQ_ARCHIVE_SUFFIX ".ndjson.zst"
#define OQ_ARCHIVE_KEY    32 /* bytes */
/* The longest line: a sale.archived of an earlier try, its place and its prev. */
#define OQ_ARCHIVE_LINE_MAX (OQ_EVENT_LONG_MAX + 256)

/* --- The key --- */

/* Reads the key of `path`, 64 hexadecimal digits in a file of mode 0600; makes one if there is none
 * yet. Errors of private_file.h. */
int oq_archive_key(const char *path, uint8_t ret_key[OQ_ARCHIVE_KEY],
                   struct ps_fault *fault) PS_MUST_CHECK;
/* The archived form of a user: 64 hexadecimal digits and a NUL. */
void oq_archive_user(const uint8_t key[OQ_ARCHIVE_KEY], struct ps_str sale, struct ps_str user,
                     char ret_user[OQ_HASH_LEN + 1]);

/* --- Writing --- */

struct oq_archive;

/* Begins `<path>.new`, of mode 0600; replaces an existing one. PS_E_NOT_FOUND: its directory is
 * gone; PS_E_FULL, PS_E_READ_ONLY, PS_E_PERMISSION, PS_E_IO, PS_E_NOMEM: of all calls that follow,
 * too. */
int oq_archive_new(const char *path, const char *sale, const uint8_t key[OQ_ARCHIVE_KEY],
                   struct oq_archive **ret_archive, struct ps_fault *fault) PS_MUST_CHECK;
/* Adds the record at `place`, in canonical form. */
int oq_archive_add(struct oq_archive *archive, int64_t place, const struct oq_event *event,
                   struct ps_fault *fault) PS_MUST_CHECK;

/* The last line's content, and figures of the whole. */
struct oq_archive_end {
    char sale[PS_NAME_MAX + 1];
    int64_t partitions, lines, orders;
    int64_t unknown; /* records of a later version's types; of reading only */
    int64_t at_ms;
    bool has_ids;
    struct ps_uuid ids_from, ids_to;
    char key[17];
    char last_hash[OQ_HASH_LEN + 1], sha256[OQ_HASH_LEN + 1];
    struct ps_str counts; /* as in a sale.archived; points into `text` */
    char text[OQ_EVENT_LONG_MAX];
};

/* Writes the last line from `sale`'s partitions, orders, counts and time as given in `end`, and
 * syncs the file, still `<path>.new`. Fills in the rest of `end`. */
int oq_archive_finish(struct oq_archive *archive, struct oq_archive_end *end,
                      struct ps_fault *fault) PS_MUST_CHECK;
/* Moves the finished file to `path`, and syncs the directory. PS_E_UNKNOWN: it is there, but that
 * sync failed. */
int oq_archive_publish(const char *path, struct ps_fault *fault) PS_MUST_CHECK;
/* Removes the file of an archive that was not published. NULL is allowed. */
void oq_archive_free(struct oq_archive *archive);

/* --- Reading --- */

/* A record of it; `text` is its line without the line feed. Return 0 to continue, a positive value
 * to stop, a negative one as an error. */
typedef int oq_archive_fn(int64_t place, struct ps_str text, const struct oq_event *event,
                          void *ctx);

/* Passes the records to `fn` (NULL is allowed), in the file's order, each after checking its
 * `prev`; memory does not grow with the file. 0: read to its end, and *ret_end is filled in (NULL
 * is allowed); 1: `fn` has stopped it; PS_E_CORRUPT: `fault` says at which line; PS_E_NOT_FOUND,
 * PS_E_PERMISSION, PS_E_IO, PS_E_NOMEM; or the value that `fn` returned. */
int oq_archive_read(const char *path, oq_archive_fn *fn, void *ctx, struct oq_archive_end *ret_end,
                    struct ps_fault *fault) PS_MUST_CHECK;
/* Reads all of it and audits it (audit.h): its rules, and whether the last line's numbers match the
 * lines. PS_E_CORRUPT: a rule is broken; `fault` says which. `stop` (NULL is allowed): returns soon
 * after it is set, PS_E_CLOSED. */
int oq_archive_verify(const char *path, const _Atomic(bool) *stop, struct oq_archive_end *ret_end,
                      struct ps_fault *fault) PS_MUST_CHECK;

#endif
