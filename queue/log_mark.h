/* A mark of the last record of a partition, by which a log is recognized: its place and its
 * content. A reader of a partition that finds the marked record there again has read a beginning of
 * the present log; another log of the same name, or one that lost its end and has grown again, has
 * something else in that place. */
#ifndef OQ_LOG_MARK_H
#define OQ_LOG_MARK_H

#include "common/defs.h"

#include <stdbool.h>
#include <stdint.h>

#define OQ_MARK_DIGEST 32

struct oq_mark {
    int64_t seq;                          /* of the record; 0 = none has been read */
    unsigned char digest[OQ_MARK_DIGEST]; /* SHA-256 of its JSON, byte for byte */
};

/* Some 2 us. `json.at` NULL: a record without a value. Any thread. */
void oq_mark_set(struct oq_mark *mark, int64_t seq, struct ps_str json);
bool oq_mark_fits(const struct oq_mark *mark, int64_t seq, struct ps_str json);

#endif
