/* The degrade ladder's part of the document of the kind overload. */
#ifndef OP_LADDER_H
#define OP_LADDER_H

#include "gateway/admin/admin_internal.h"

/* Adds the level with its cause, the features and the last changes; 0 or -1. */
int op_show_ladder(const struct op_admin *admin, json_t *json);
/* Adds `levels`: what each level turns off after the change (NULL: at present), and how often that
 * was used in the last minute; 0 or -1. */
int op_show_levels(const struct op_admin *admin, const struct cfg_change *change, json_t *json);

#endif
