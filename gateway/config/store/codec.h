/* A document's version as the text that gateways share (sync.h), and back. */
#ifndef CFG_CODEC_H
#define CFG_CODEC_H

#include "gateway/config/store/document.h"

#define CFG_FIELD_SIZE (CFG_NAME_MAX + 32)

/* "kind/name" */
void cfg_codec_field(const struct cfg_kind *kind, const char *name, char ret_field[CFG_FIELD_SIZE]);
/* Heap; NULL: out of memory. */
char *cfg_codec_text(const struct cfg_doc *doc);
/* Does this value ("version text") hold the same version of the same document? */
bool cfg_codec_is_same(const struct cfg_doc *doc, struct ps_str value);
/* Reads "version text", checked as if it had been stored here. PS_E_INVALID: the fault's path is
 * the field, with the member's pointer; PS_E_NOMEM. Owner: the caller. */
int cfg_codec_read(struct ps_str field, struct ps_str value, int64_t revision,
                   struct cfg_doc **ret_doc, struct ps_fault *fault) PS_MUST_CHECK;

#endif
