/* See archived.h. Only a fold of the records gives an order's state, so each walk fills a small
 * fold: with the fences, and with the records of the orders in question. */
#include "gateway/admin/archived.h"

#include "gateway/orders/order_id.h"
#include "gateway/orders/order_text.h"
#include "gateway/sales/archive_job.h"

#include "common/text/json.h"

#include <stdlib.h>
#include <string.h>

#define ORDER_TEXT_MAX 2048
#define WAIT_MS        60000
#define FILES_MAX      64     /* archives that one look-up of an order reads */
#define ORDERS_AT_ONCE 100000 /* kept during one pass over a file: about 15 MB */

bool op_is_archived(const struct sale_entry *sale)
{
    const struct sale_view *view = sale_view(sale->run);

    return sale->stored.state.archived || view->state == SALE_ARCHIVED ||
           (view->log_sale != NULL && oq_sale_archived(view->log_sale));
}

int op_archived_init(struct op_archived *archived, const struct op_admin *admin, const char *sale)
{
    *archived = (struct op_archived){.state = -1, .type = -1, .last = 0};
    memcpy(archived->sale, sale, strlen(sale) + 1);
    return sale_archive_path(admin->deps.archive_dir, sale, archived->path, sizeof archived->path);
}

/* --- Walks. --- */

static int put_record(int64_t place, struct ps_str text, const struct oq_event *event, void *ctx)
{
    static const size_t prev = sizeof "{\"prev\":\"\"," - 1 + OQ_HASH_LEN;
    struct op_archived *archived = ctx;

    if (place <= archived->after)
        return 0;
    if (archived->count == archived->limit)
        return 1;
    if (archived->type >= 0 && (int)event->type != archived->type) {
        archived->last = place;
        return 0;
    }
    ps_buf_puts(archived->buf, "{");
    ps_buf_put(archived->buf, text.at + prev, text.len - prev);
    ps_buf_puts(archived->buf, "\n");
    archived->count++;
    archived->last = place;
    return 0;
}

int op_archived_log(struct op_archived *archived)
{
    archived->last = archived->after;
    int err = oq_archive_read(archived->path, put_record, archived, NULL, &archived->fault);
    return err > 0 ? 0 : err;
}

/* A fold of some of the orders. */
struct walk {
    struct oq_fold *fold;
    const struct ps_uuid
        *id;             /* the only order; NULL: up to ORDERS_AT_ONCE of the user behind `after` */
    const char *user;    /* "": of all */
    const char *request; /* the id of the request that made it; "": of any */
    int64_t after, left;
    int64_t last; /* the last accepted record taken; 0 = none */
};

static int fold_record(int64_t place, struct ps_str text, const struct oq_event *event, void *ctx)
{
    struct walk *walk = ctx;
    struct oq_change change;
    bool wanted = event->type == OQ_FENCED;

    (void)text;
    if (event->has_order_id && walk->id != NULL)
        wanted = ps_uuid_equal(&event->order_id, walk->id);
    else if (event->type == OQ_ACCEPTED && place > walk->after && walk->left > 0 &&
             oq_fold_order(walk->fold, &event->order_id) == NULL)
        wanted = (walk->user[0] == '\0' || ps_str_is(event->user, walk->user)) &&
                 (walk->request[0] == '\0' || ps_str_is(event->request_id, walk->request));
    else if (event->has_order_id)
        wanted = oq_fold_order(walk->fold, &event->order_id) != NULL;
    if (!wanted)
        return 0;
    if (event->type == OQ_ACCEPTED && place > walk->after && walk->left > 0) {
        walk->left--;
        walk->last = place;
    }
    int err =
        oq_fold_apply(walk->fold, oq_place_partition(place), oq_place_seq(place), event, &change);
    return err == PS_E_INVALID ? 0 : err; /* records that the fold refuses do not count */
}

static bool is_wanted(const struct op_archived *archived, const struct oq_order *order)
{
    enum oq_state state = oq_order_state(order);

    if (state == OQ_STATE_VOID)
        state = OQ_STATE_RELEASED;
    return archived->state < 0 || (int)state == archived->state;
}

/* The next orders of the file, up to the limit. *ret_more: there may be more. */
static int walk_orders(struct op_archived *archived, bool *ret_more)
{
    struct walk walk = {.user = archived->user,
                        .request = archived->request,
                        .after = archived->last,
                        .left = ORDERS_AT_ONCE};
    const struct oq_order *order;
    int err = oq_fold_new(&walk.fold);

    if (err < 0)
        return err;
    err = oq_archive_read(archived->path, fold_record, &walk, NULL, &archived->fault);
    const struct oq_sale *sale = oq_fold_sale(walk.fold, archived->sale, strlen(archived->sale));
    size_t orders = sale != NULL ? oq_sale_order_count(sale) : 0;
    if (walk.last > 0)
        archived->last = walk.last;
    for (size_t i = 0; err == 0 && i < orders && archived->count < archived->limit; i++) {
        if ((order = oq_sale_order_at(sale, i)) == NULL || !is_wanted(archived, order))
            continue;
        ord_order_text_put_admin(archived->buf, order);
        ps_buf_puts(archived->buf, "\n");
        if (++archived->count == archived->limit)
            archived->last = oq_order_place(order);
    }
    *ret_more = walk.left == 0;
    oq_fold_free(walk.fold);
    return err;
}

int op_archived_orders(struct op_archived *archived)
{
    bool more = true;
    int err = 0;

    archived->last = archived->after;
    while (err == 0 && more && archived->count < archived->limit)
        err = walk_orders(archived, &more);
    return err;
}

/* --- One order, and an audit, for a request. --- */

struct look {
    struct op_read job; /* first */
    struct op_admin *admin;
    uint64_t handle;
    bool audits;
    enum op_order_wish wish;
    struct ps_uuid id;
    enum oq_state state; /* of the order that was found */
    enum oq_reason reason;
    int64_t at_ms;
    size_t count, missing;
    char sales[FILES_MAX][PS_NAME_MAX + 1]; /* whose archives may have it */
    struct op_archived archived;
    struct oq_archive_end end;
    int err;
    char *text; /* heap; NULL: not found */
};

static int look_into(struct look *look)
{
    struct walk walk = {.id = &look->id, .user = "", .request = ""};
    struct ps_buf buf;
    int err = oq_fold_new(&walk.fold);

    if (err < 0)
        return err;
    err = oq_archive_read(look->archived.path, fold_record, &walk, NULL, &look->archived.fault);
    const struct oq_order *order = oq_fold_order(walk.fold, &look->id);
    if (err == 0 && order != NULL && oq_order_known(order)) {
        look->state = oq_order_state(order);
        look->reason = oq_order_reason(order);
        look->text = malloc(ORDER_TEXT_MAX);
        if (look->text == NULL) {
            err = PS_E_NOMEM;
        } else {
            ps_buf_init(&buf, look->text, ORDER_TEXT_MAX - 1);
            ord_order_text_put_admin(&buf, order);
            ps_buf_puts(&buf, "\n");
            look->text[buf.len] = '\0';
        }
    }
    oq_fold_free(walk.fold);
    return err;
}

/* The report of an audit of a running sale, read from the file alone. */
static int print_audit(struct look *look)
{
    struct ps_str rest = look->end.counts;
    struct oq_count count;
    json_t *skus = json_array();
    int err = skus == NULL ? -1 : 0;

    while (err == 0 && oq_counts_next(&rest, &count)) {
        char sku[PS_NAME_MAX + 1];
        memcpy(sku, count.sku.at, count.sku.len);
        sku[count.sku.len] = '\0';
        err |= json_array_append_new(
            skus, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "sku", sku, "adjustments",
                            (json_int_t)count.adjustments, "available",
                            (json_int_t)(count.adjustments - count.held - count.confirmed),
                            "in_doubt", (json_int_t)0, "held", (json_int_t)count.held, "confirmed",
                            (json_int_t)count.confirmed, "released", (json_int_t)count.released));
    }
    json_t *json =
        err == 0 ? json_pack("{s:b, s:o, s:I, s:O, s:I, s:[], s:[], s:I, s:{s:s, s:I, s:I, s:s, "
                             "s:s}}",
                             "ok", 1, "at", ps_json_of_time(look->at_ms), "seq", (json_int_t)0,
                             "skus", skus, "violation_count", (json_int_t)0, "violations",
                             "notices", "unknown_records", (json_int_t)look->end.unknown, "archive",
                             "file", look->archived.path, "lines", (json_int_t)look->end.lines,
                             "orders", (json_int_t)look->end.orders, "last_hash",
                             look->end.last_hash, "sha256", look->end.sha256)
                 : NULL;
    json_decref(skus);
    look->text = op_json_line(json);
    return look->text != NULL ? 0 : PS_E_NOMEM;
}

static void run_look(struct op_read *job)
{
    struct look *look = (struct look *)job;

    for (size_t i = 0; i < look->count && look->err == 0 && look->text == NULL; i++) {
        look->err = op_archived_init(&look->archived, look->admin, look->sales[i]);
        if (look->err == 0 && look->audits) {
            look->err =
                oq_archive_verify(look->archived.path, NULL, &look->end, &look->archived.fault);
            if (look->err == 0)
                look->err = print_audit(look);
        } else if (look->err == 0) {
            look->err = look_into(look);
        }
        if (look->err == PS_E_NOT_FOUND && !look->audits) { /* stored elsewhere, or missing */
            look->missing++;
            look->err = 0;
        }
    }
}

static bool is_awaited(const struct op_read *job)
{
    const struct look *look = (const struct look *)job;

    return op_find(look->admin, look->handle) != NULL;
}

/* Answers a command about an order whose state is final. */
static enum ans_verdict verdict_of(const struct look *look)
{
    static const enum ans_verdict no[] = {[OQ_EXPIRED] = ANS_V_order_expired,
                                          [OQ_CANCELLED] = ANS_V_order_cancelled,
                                          [OQ_REJECTED] = ANS_V_order_rejected};
    bool confirmed = look->state == OQ_STATE_CONFIRMED;

    if (look->wish == OP_ORDER_CONFIRM && !confirmed)
        return no[look->reason];
    return look->wish == OP_ORDER_CANCEL && confirmed ? ANS_V_order_confirmed : ANS_V_ok;
}

static void end_look(struct op_read *job)
{
    struct look *look = (struct look *)job;
    struct op_admin *admin = look->admin;
    struct op_request *request = op_find(admin, look->handle);

    if (request == NULL) {
        free(look->text);
    } else if (look->text != NULL && !look->audits && verdict_of(look) != ANS_V_ok) {
        op_no(request, verdict_of(look), NULL);
        free(look->text);
    } else if (look->text != NULL) {
        op_text(request, "application/json", look->text, strlen(look->text));
    } else if (look->err == PS_E_NOT_FOUND || look->missing > 0) {
        op_no(request, ANS_V_archived, "this gateway has no such archive: %s",
              look->audits ? look->archived.path : "the order's sale is over; see archive.dir");
    } else if (look->err < 0) {
        op_no(request, ANS_V_internal, "%s: %s",
              look->archived.fault.path[0] != '\0' ? look->archived.fault.path
                                                   : look->archived.path,
              look->archived.fault.text[0] != '\0' ? look->archived.fault.text
                                                   : ps_err_text(look->err));
    } else {
        op_no(request, ANS_V_not_found, "no such order");
    }
    free(look);
    op_release(admin);
}

static struct look *look_new(struct op_request *request)
{
    struct look *look = calloc(1, sizeof *look);

    if (look == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return NULL;
    }
    look->job = (struct op_read){.run = run_look, .is_wanted = is_awaited, .done = end_look};
    look->admin = request->admin;
    look->at_ms = ps_clock_wall_ms(request->admin->deps.clock);
    return look;
}

static void look_start(struct op_request *request, struct look *look)
{
    request->on_deadline = op_late;
    op_hold(request->admin);
    look->handle = op_wait(request, WAIT_MS);
    op_reads_start(&request->admin->reads, &look->job);
}

static bool may_have(const struct sale_entry *sale, const struct ps_uuid *id)
{
    return op_is_archived(sale) && ord_order_id_fits(id, sale->stored.doc.name);
}

bool op_may_be_archived(const struct op_admin *admin, const struct ps_uuid *id)
{
    for (size_t i = 0; i < admin->deps.known->count; i++)
        if (may_have(admin->deps.known->at[i], id))
            return true;
    return false;
}

bool op_is_only_archived(const struct op_admin *admin, const struct ps_uuid *id)
{
    bool archived = false;

    for (size_t i = 0; i < admin->deps.known->count; i++) {
        const struct sale_entry *sale = admin->deps.known->at[i];
        if (!ord_order_id_fits(id, sale->stored.doc.name))
            continue;
        if (!op_is_archived(sale))
            return false;
        archived = true;
    }
    return archived;
}

bool op_archived_order(struct op_request *request, const struct ps_uuid *id,
                       enum op_order_wish wish)
{
    const struct sale_list *known = request->admin->deps.known;
    struct look *look;

    if (!op_may_be_archived(request->admin, id))
        return false;
    if ((look = look_new(request)) == NULL)
        return true;
    look->id = *id;
    look->wish = wish;
    for (size_t i = 0; i < known->count && look->count < FILES_MAX; i++)
        if (may_have(known->at[i], id))
            memcpy(look->sales[look->count++], known->at[i]->stored.doc.name, PS_NAME_MAX + 1);
    look_start(request, look);
    return true;
}

void op_archived_audit(struct op_request *request, const struct sale_entry *sale)
{
    struct look *look = look_new(request);

    if (look == NULL)
        return;
    look->audits = true;
    memcpy(look->sales[look->count++], sale->stored.doc.name, PS_NAME_MAX + 1);
    look_start(request, look);
}
