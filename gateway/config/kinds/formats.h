/* Rules of texts that documents of several kinds have in common. */
#ifndef CFG_FORMATS_H
#define CFG_FORMATS_H

#include "common/http/head.h"
#include "gateway/config/store/document.h"

/* A name of a kind whose names are ps_name_ok: for struct cfg_kind.name. */
int cfg_plain_name(const char *text, size_t len, char ret_name[CFG_NAME_MAX + 1]);

extern const struct ps_format cfg_format_host;        /* a host name or an address, no port */
extern const struct ps_format cfg_format_field_name;  /* of a header field */
extern const struct ps_format cfg_format_field_value; /* no control bytes, no space around it */
extern const struct ps_format cfg_format_inside;      /* a file inside a directory */

/* An absolute path as a request line has it: no query, no "." or ".." segments. */
bool cfg_is_path(const char *text);
bool cfg_is_field_value(const char *text);
/* Visible ASCII. */
bool cfg_is_visible(const char *text);

#endif
