/* See log_mark.h. */
#include "queue/log_mark.h"

#include <sodium.h>
#include <string.h>

_Static_assert(crypto_hash_sha256_BYTES == OQ_MARK_DIGEST, "of SHA-256");

void oq_mark_set(struct oq_mark *mark, int64_t seq, struct ps_str json)
{
    mark->seq = seq;
    (void)crypto_hash_sha256(mark->digest, (const unsigned char *)(json.len > 0 ? json.at : ""),
                             json.len);
}

bool oq_mark_fits(const struct oq_mark *mark, int64_t seq, struct ps_str json)
{
    struct oq_mark found;
    if (seq != mark->seq)
        return false;
    oq_mark_set(&found, seq, json);
    return memcmp(found.digest, mark->digest, sizeof found.digest) == 0;
}
