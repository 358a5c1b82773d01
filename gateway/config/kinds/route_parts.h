/* Parts of a route's document: splits, header rules and fixed answers. */
#ifndef CFG_ROUTE_PARTS_H
#define CFG_ROUTE_PARTS_H

#include "gateway/config/kinds/formats.h"
#include "gateway/config/kinds/route_doc.h"

#define CFG_STATIC_BODY_MAX 65536
#define CFG_STATIC_FILE_MAX 255
#define CFG_STATIC_TYPE_MAX 128
#define CFG_VALUE_MAX       1024 /* bytes of a header field's value */

#define CFG_GET_BIT (1u << PS_HTTP_GET)

/* --- route_split.c --- */

extern const struct ps_member cfg_split_item; /* of the member split */
/* The shares of all splits together. */
void cfg_splits_check(struct ps_table_at *at, const struct cfg_route *route);

/* --- route_parts.c --- */

extern const struct ps_member cfg_header_set_item, cfg_header_remove_item;
/* Of the object `member`: no field is the gateway's own, and none appears twice. */
void cfg_header_rules_check(struct ps_table_at *at, const char *member,
                            const struct cfg_header_rules *rules);

extern const struct ps_format cfg_format_media_type;
/* Rows of a fixed answer, which is `field` of `struct type`. Instead of a body a change may name a
 * file of upstream.static_dir, whose text becomes the body. */
/* clang-format off */
#define CFG_STATIC_ROWS(type, field, of) \
    {"status", PS_M_INT, PS_AT(type, field status), .min = 200, .max = 599, .fallback = "200", .when = (of), .text = {"Its status", "状态码"}}, \
    {"content_type", PS_M_STRING, PS_AT(type, field content_type), .min = 1, .max = CFG_STATIC_TYPE_MAX, .format = &cfg_format_media_type, .fallback = "\"text/html\"", .when = (of), .text = {"Its media type", "媒体类型"}}, \
    {"body", PS_M_STRING, PS_AT(type, field body), .min = 0, .max = CFG_STATIC_BODY_MAX, .fallback = "\"\"", .when = (of), .text = {"Its body", "正文"}}, \
    {"file", PS_M_STRING, PS_AT(type, field file), .flags = PS_M_INPUT, .min = 1, .max = CFG_STATIC_FILE_MAX, .format = &cfg_format_inside, .when = (of), .example = "\"soon.html\"", .text = {"Instead of body: a file of upstream.static_dir, whose text becomes the body", "代替 body：upstream.static_dir 中的文件，其内容成为正文"}}
/* clang-format on */
/* Checks what rows cannot express; reads the file. */
void cfg_static_check(struct ps_table_at *at, struct cfg_static *answer);

#endif
