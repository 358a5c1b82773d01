/* What a standby asks (queue/standby): the journal's records behind a place, and a copy of
 * control.db. A standby asks for what is behind the last record that it has on its own disk, so
 * `after` also acknowledges, and `control` the documents that it has. With log.confirm_on_standby
 * the answer to a confirm waits for both: no order whose confirm was answered 200 is lost with this
 * machine, nor the sale that it belongs to. One standby at a time. */
#include "gateway/admin/standby.h"
#include "gateway/admin/export.h"
#include "gateway/admin/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONTROL_MAX  ((int64_t)256 << 20)
#define WORK_WAIT_MS 10000
#define AWAY_S       10

bool op_standby_has(const struct op_admin *admin, int64_t seq, const struct oq_order *order)
{
    if (!admin->deps.confirm_on_standby)
        return true;
    const struct cfg_doc *sale =
        cfg_store_find(admin->deps.config, &cfg_kind_sale, oq_sale_name(oq_order_sale(order)));
    return admin->standby.has >= seq && (sale == NULL || admin->standby.control >= sale->revision);
}

/* False: answered. */
static bool has_journal(struct op_request *request)
{
    struct oq_log_view view;

    oq_log_view(request->admin->deps.log, &view);
    if (view.shared)
        op_no(
            request, ANS_V_not_found,
            "a standby follows a journal; the log of this gateway is in Kafka, which its gateways "
            "share");
    return !view.shared;
}

/* --- The journal. --- */

static void standby_journal(struct op_request *request)
{
    struct op_standby *standby = &request->admin->standby;
    int64_t end = oq_fold_seq(request->admin->deps.fold, 0), after = -1, control = -1, limit = 1000;
    const struct op_param params[] = {
        {.name = "after", .number = &after, .min = 0, .max = PS_INT_MAX},
        {.name = "control", .number = &control, .min = 0, .max = PS_INT_MAX},
        {.name = "limit", .number = &limit, .min = 1, .max = 1000}};

    if (!has_journal(request) || !op_query(request, params, PS_ARRAY_LEN(params)))
        return;
    if (after < 0) {
        op_no(request, ANS_V_invalid, "query parameter \"after\" is missing");
        return;
    }
    if (end < 0)
        end = 0;
    if (after > end) {
        op_no(request, ANS_V_conflict,
              "this journal ends at record %lld: the standby follows another one", (long long)end);
        return;
    }
    *standby = (struct op_standby){
        .has = after, .control = control, .asked_ns = ps_clock_mono_ns(request->admin->deps.clock)};
    op_etag(request, cfg_store_revision(request->admin->deps.config));
    if (after == end)
        op_ndjson(request, strdup(""), 0, end);
    else
        op_export_journal(request, after, limit);
}

/* --- control.db. --- */

struct control_copy {
    struct op_read job; /* first */
    struct op_admin *admin;
    uint64_t handle;
    char *path;
    int64_t seq; /* the journal's seq when the copy began: control.db knows of no later record */
    char *bytes;
    size_t len;
    int err;
    struct ps_fault fault;
};

static void run_copy(struct op_read *job)
{
    struct control_copy *copy = (struct control_copy *)job;
    const struct ps_db_settings settings = {
        .path = copy->path, .access = PS_DB_READ, .busy_ms = 1000, .holds = "sales and limits"};
    struct ps_db *db;

    copy->err = ps_db_open(&settings, &db, &copy->fault);
    if (copy->err == 0) {
        copy->err = ps_db_copy(db, CONTROL_MAX, &copy->bytes, &copy->len, &copy->fault);
        ps_db_close(db);
    }
}

static bool is_copy_wanted(const struct op_read *job)
{
    const struct control_copy *copy = (const struct control_copy *)job;
    return op_find(copy->admin, copy->handle) != NULL;
}

static void end_copy(struct op_read *job)
{
    struct control_copy *copy = (struct control_copy *)job;
    struct op_admin *admin = copy->admin;
    struct op_request *request = op_find(admin, copy->handle);

    if (request != NULL && copy->err < 0) {
        op_no(request, ANS_V_control_unavailable, "%s", copy->fault.text);
    } else if (request != NULL) {
        op_last_seq(request, copy->seq);
        op_text(request, "application/vnd.sqlite3", copy->bytes, copy->len);
        copy->bytes = NULL;
    }
    free(copy->bytes);
    free(copy->path);
    free(copy);
    op_release(admin);
}

/* 204 if the standby has the present revision already. */
static void standby_control(struct op_request *request)
{
    struct op_admin *admin = request->admin;
    int64_t revision = cfg_store_revision(admin->deps.config), has = -1;
    const struct op_param params[] = {
        {.name = "revision", .number = &has, .min = 0, .max = PS_INT_MAX}};

    if (!has_journal(request) || !op_query(request, params, PS_ARRAY_LEN(params)))
        return;
    if (has == revision) {
        op_empty(request);
        return;
    }
    struct control_copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL || asprintf(&copy->path, "%s/control.db", admin->deps.state_dir) < 0) {
        free(copy);
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    copy->job = (struct op_read){.run = run_copy, .is_wanted = is_copy_wanted, .done = end_copy};
    copy->admin = admin;
    copy->seq = oq_fold_seq(admin->deps.fold, 0);
    op_etag(request, revision);
    op_hold(admin);
    copy->handle = op_wait(request, WORK_WAIT_MS);
    op_reads_start(&admin->reads, &copy->job);
}

/* --- Progress. --- */

/* Infinity: no standby since the start. */
static double asked_s_ago(const struct op_admin *admin)
{
    int64_t now = ps_clock_mono_ns(admin->deps.clock), asked = admin->standby.asked_ns;

    return asked != 0 ? (double)(now - asked) / PS_NS_PER_S : INFINITY;
}

static int64_t lag(const struct op_admin *admin)
{
    int64_t end = oq_fold_seq(admin->deps.fold, 0), has = admin->standby.has;

    return end > has ? end - has : 0;
}

static void get_standby(struct op_request *request)
{
    const struct op_admin *admin = request->admin;
    bool ever = admin->standby.asked_ns != 0;
    double ago_s = asked_s_ago(admin);

    if (!has_journal(request))
        return;
    op_json(request, ANS_V_ok,
            json_pack("{s:b, s:b, s:o, s:o, s:o}", "following", ago_s < AWAY_S, "confirm_waits",
                      admin->deps.confirm_on_standby, "acknowledged",
                      ever ? json_integer(admin->standby.has) : json_null(), "lag_records",
                      ever ? json_integer(lag(admin)) : json_null(), "asked_s_ago",
                      ever ? json_real(ago_s) : json_null()));
}

static void gather(const struct op_admin *admin)
{
    const struct op_standby *standby = &admin->standby;

    ps_metric_set(admin->deps.shard, GW_M_STANDBY_FOLLOWING, 0, asked_s_ago(admin) < AWAY_S);
    ps_metric_set(admin->deps.shard, GW_M_STANDBY_LAG, 0, standby->asked_ns != 0 ? lag(admin) : 0);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_standby_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/standby",         SRV_GET, OP_ROLE_VIEWER, 0,        get_standby},
        {"/admin/v1/standby/journal", SRV_GET, OP_ROLE_ADMIN,  OP_QUERY, standby_journal},
        {"/admin/v1/standby/control", SRV_GET, OP_ROLE_ADMIN,  OP_QUERY, standby_control},
        {0}},
    .gather = gather,
};
/* clang-format on */
