/* What writing and reading an archive share: the chain of its lines. */
#ifndef OQ_ARCHIVE_INTERNAL_H
#define OQ_ARCHIVE_INTERNAL_H

#include "queue/archive.h"

#include <sodium.h>
#include <zstd.h>

struct oq_archive_chain {
    char prev[OQ_HASH_LEN + 1]; /* the `prev` of the next line */
    int64_t lines;
    crypto_hash_sha256_state file;
};

void oq_archive_chain_init(struct oq_archive_chain *chain);
/* A line without its line feed. */
void oq_archive_chain_add(struct oq_archive_chain *chain, struct ps_str line);
/* After the last line: fills in last_hash and sha256. */
void oq_archive_chain_end(struct oq_archive_chain *chain, struct oq_archive_end *ret_end);

#endif
