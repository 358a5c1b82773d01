/* The console: its files, which are part of the program. They are no secret, so no token is needed;
 * the page asks for one, and calls the rest of this listener with it. */
#include "common/console/asset.h"
#include "common/http/head.h"
#include "gateway/admin/parts.h"

/* Made by the build from gateway/console. */
extern const struct ps_asset op_console_assets[];

static void release(void *held)
{
    (void)held;
}

static void get_folder(struct op_request *request)
{
    op_leave(request);
    srv_answer_header(request->http, "Location", "/console/", sizeof "/console/" - 1);
    srv_answer(request->http, 308, NULL, (struct ps_str){"", 0}, false);
}

static struct ps_str field(const struct srv_request *http, const char *name)
{
    return ps_http_find(http->head, http->base, ps_str(name));
}

static void get_file(struct op_request *request)
{
    struct srv_request *http = request->http;
    const struct ps_asset *asset = ps_asset_find(op_console_assets, request->arg[0]);
    char fields[PS_ASSET_FIELDS_MAX];
    struct ps_asset_answer answer;
    struct ps_buf buf;

    if (http->head == NULL) {
        op_no(request, ANS_V_malformed, "a request for a file must have no body");
        return;
    }
    const struct ps_asset_request asked = {.accept_encoding = field(http, "Accept-Encoding"),
                                           .if_none_match = http->header[SRV_H_IF_NONE_MATCH],
                                           .fetch_site = field(http, "Sec-Fetch-Site"),
                                           .fetch_mode = field(http, "Sec-Fetch-Mode"),
                                           .fetch_dest = field(http, "Sec-Fetch-Dest")};
    if (asset == NULL) {
        op_no(request, ANS_V_not_found, "the console has no such file");
        return;
    }
    if (ps_asset_is_foreign(asset, &asked)) {
        op_no(request, ANS_V_forbidden, "another site may link to the console, but not embed it");
        return;
    }
    ps_asset_choose(asset, &asked, &answer);
    ps_buf_init(&buf, fields, sizeof fields);
    ps_asset_put_fields(&buf, asset, answer.is_gzip);
    op_leave(request);
    srv_answer_held(http,
                    &(struct srv_forward){.status = answer.status,
                                          .fields = {buf.at, buf.len},
                                          .len = (int64_t)answer.body.len},
                    answer.body, release, NULL);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_console_part = {
    .routes = (const struct op_route[]){
        {"/console",    SRV_GET, OP_ROLE_VIEWER, OP_PAGE | OP_QUERY, get_folder},
        {"/console/",   SRV_GET, OP_ROLE_VIEWER, OP_PAGE | OP_QUERY, get_file},
        {"/console/{}", SRV_GET, OP_ROLE_VIEWER, OP_PAGE | OP_QUERY, get_file},
        {0}},
};
/* clang-format on */
