/* One YAML document as JSON. Ambiguous input is refused: tags, a member twice, a second document, a
 * string with a NUL. */
#ifndef CTL_YAML_H
#define CTL_YAML_H

#include "common/text/json.h"

/* A plain scalar that is a JSON number, true, false, null, ~ or empty has that value; any other is
 * a string. Aliases count each time they are used: a document with more than CTL_YAML_NODES nodes,
 * CTL_YAML_DEPTH levels or CTL_YAML_ANCHORS anchors is refused. PS_E_INVALID: the fault has the
 * line; PS_E_NOMEM. Owner: the caller (json_decref). */
#define CTL_YAML_NODES   100000
#define CTL_YAML_DEPTH   64
#define CTL_YAML_ANCHORS 100
int ctl_yaml_parse(const char *text, size_t len, json_t **ret_json,
                   struct ps_fault *fault) PS_MUST_CHECK;

#endif
