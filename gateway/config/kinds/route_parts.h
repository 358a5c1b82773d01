/* Parts of a route's document: how it switches, header rules, and answers that need nobody. */
#ifndef CFG_ROUTE_PARTS_H
#define CFG_ROUTE_PARTS_H

#include "gateway/config/kinds/part.h"
#include "gateway/config/kinds/route_doc.h"

#define CFG_STATIC_BODY_MAX ((size_t)64 << 10)
#define CFG_VALUE_MAX       1024 /* bytes of a header field's value */

#define CFG_GET_BIT (1u << PS_HTTP_GET)

/* --- route_split.c: the members split and mirror. The route's pool and methods are read. --- */

void cfg_splits_read(struct cfg_part *part, struct cfg_route *route);
json_t *cfg_splits_write(const struct cfg_route *route);
void cfg_splits_done(struct cfg_route *route);
void cfg_mirror_read(struct cfg_part *outer, struct cfg_route *route);
json_t *cfg_mirror_write(const struct cfg_route *route);

/* --- route_parts.c --- */

/* Both members `set` and `remove` of the object `member`. */
void cfg_header_rules_read(struct cfg_part *outer, const char *member,
                           struct cfg_header_rules *ret_rules);
json_t *cfg_header_rules_write(const struct cfg_header_rules *rules);
void cfg_header_rules_done(struct cfg_header_rules *rules);

/* The members status, content_type and body of an open part; in the place of a body a file of
 * upstream.static_dir, whose text becomes the body. */
void cfg_static_read(struct cfg_part *part, struct cfg_static *ret_answer);
/* Adds them; 0 or -1. */
int cfg_static_write(const struct cfg_static *answer, json_t *json);
void cfg_static_done(struct cfg_static *answer);

#endif
