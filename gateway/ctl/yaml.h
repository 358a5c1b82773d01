/* One YAML document as JSON. What could mean two things is refused: tags, a member twice, a second
 * document, a text with a NUL. */
#ifndef CTL_YAML_H
#define CTL_YAML_H

#include "common/text/json.h"

/* A plain scalar that is a number of JSON, true, false, null, ~ or empty is that; any other is a
 * text. Aliases count each time that they are used: with more than CTL_YAML_NODES nodes or
 * CTL_YAML_DEPTH levels the document is refused. PS_E_INVALID: the fault says the line;
 * PS_E_NOMEM. Owner: the caller (json_decref). */
#define CTL_YAML_NODES 100000
#define CTL_YAML_DEPTH 64
int ctl_yaml_parse(const char *text, size_t len, json_t **ret_json,
                   struct ps_fault *fault) PS_MUST_CHECK;

#endif
