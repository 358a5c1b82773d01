/* Records of types that a later version has added. A reader must not need to know them, so that a
 * later version can write one and be taken back: such a record is passed over, counted, named once,
 * and kept by copies and archives byte for byte.
 *
 * It has the members that all records have, and `type` first; it has no `seq` or `prev` of its own
 * and no control character, so that it fits into a line. Whoever must not pass it over is told by
 * `"critical":true`. */
#ifndef OQ_LATER_H
#define OQ_LATER_H

#include "common/text/json.h"
#include "queue/event.h"

#define OQ_LATER_TYPE_MAX 64
/* The longest such record: with its place it is a line of a copy. */
#define OQ_LATER_JSON_MAX (OQ_EVENT_LONG_MAX - OQ_SEQ_TEXT_MAX)

/* Is the type of this record a `penstock.*` that is not in `known` (ends with NULL)? */
bool oq_later_is(const json_t *json, const char *const *known);
/* Fills in type, later_type and later_json; the strings are those of `json` and `text`.
 * PS_E_INVALID; PS_E_NEWER: it is critical. `fault` says which record. */
int oq_later_read(const json_t *json, struct ps_str text, struct oq_event *event,
                  struct ps_fault *fault) PS_MUST_CHECK;

/* The types that were named already. Zeroed, it is empty; one thread at a time. Types beyond
 * OQ_LATER_NAMES are counted but never named. */
#define OQ_LATER_NAMES 16
struct oq_later_names {
    size_t count;
    char at[OQ_LATER_NAMES][OQ_LATER_TYPE_MAX + 1];
};
/* Is this the first record of its type? */
bool oq_later_is_new(struct oq_later_names *names, const struct oq_event *event);

#endif
