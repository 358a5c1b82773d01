/* The final numbers of a sale's SKUs, in sale.archived and in an archive: a JSON array in canonical
 * form. */
#ifndef OQ_COUNTS_H
#define OQ_COUNTS_H

#include "common/text/buf.h"
#include "common/err.h"

#include <jansson.h>

/* the most SKUs of a sale */
#define OQ_COUNTS_MAX      100
#define OQ_COUNTS_TEXT_MAX 19456

struct oq_count {
    struct ps_str sku;
    int64_t adjustments, held, confirmed, released;
};

/* Prints them. `count` is at most OQ_COUNTS_MAX. */
void oq_counts_put(struct ps_buf *buf, const struct oq_count *counts, size_t count);
/* Takes the next one from `*rest`, which begins as a text that oq_counts_ok accepted. False: there
 * are no more. *ret_count points into the text. */
bool oq_counts_next(struct ps_str *rest, struct oq_count *ret_count);
/* At most OQ_COUNTS_MAX, in canonical form, every number within its bounds? */
bool oq_counts_ok(struct ps_str text);
/* Brings any spelling into canonical form; *ret_counts points into *ret_text, which is heap.
 * PS_E_INVALID: it is no such list. PS_E_NOMEM. */
int oq_counts_read(const json_t *list, char **ret_text, struct ps_str *ret_counts) PS_MUST_CHECK;

#endif
