/* The console's files, as parts of a program: the gateway serves all of them on its admin listener,
 * the rehearsal those of the first page. Immutable; any thread. */
#ifndef PS_CONSOLE_ASSET_H
#define PS_CONSOLE_ASSET_H

#include "common/text/buf.h"

/* The page that a browser gets for the folder. */
#define PS_ASSET_INDEX "index.html"

struct ps_asset {
    const char *name; /* NULL: the end of a table */
    const char *type;
    const char *etag; /* in quotes; of both forms, so it is sent as a weak one */
    struct ps_str plain, gzip;
};

/* The files in common/console: style, words, charts, the first page. */
extern const struct ps_asset ps_console_assets[];

/* The file of this name in `own`, or else in common/console; "" is the index. NULL: there is
 * none. */
const struct ps_asset *ps_asset_find(const struct ps_asset *own, struct ps_str name);

/* What a request said; .at == NULL: nothing. */
struct ps_asset_request {
    struct ps_str accept_encoding, if_none_match;
    struct ps_str fetch_site, fetch_mode, fetch_dest; /* Sec-Fetch-… */
};

struct ps_asset_answer {
    int status;         /* 200 or 304 */
    struct ps_str body; /* the form that the client takes */
    bool is_gzip;
};

/* Does another site embed the file, or read it by script? Its links may open the index. `asset`
 * NULL: something else that is served beside the files. */
bool ps_asset_is_foreign(const struct ps_asset *asset, const struct ps_asset_request *request);
void ps_asset_choose(const struct ps_asset *asset, const struct ps_asset_request *request,
                     struct ps_asset_answer *ret_answer);
/* The header fields of the answer, but Content-Length: at most PS_ASSET_FIELDS_MAX bytes. */
#define PS_ASSET_FIELDS_MAX 1024
void ps_asset_put_fields(struct ps_buf *buf, const struct ps_asset *asset, bool is_gzip);

#endif
