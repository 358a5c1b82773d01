/* Exports line by line, as NDJSON of at most 1,000 lines a call: records of the log, orders, the
 * audit log. All three may take long (a disk, a million orders), so a work thread reads them; any
 * thread may read the fold, and the log's reader has its own connection. Penstock-Last-Seq is the
 * `after` of the next call; a call that returns fewer lines than its limit has reached the end,
 * unless it asks for records of one type: then the end is where that number stays the same. (A
 * call returns at most about 1 MiB of the audit log, so there only a call without a line has
 * reached the end.) */
#include "gateway/admin/archived.h"
#include "gateway/admin/export.h"
#include "gateway/admin/parts.h"
#include "gateway/admin/sales.h"

#include "gateway/config/store/audit_log.h"
#include "gateway/sales/archive_job.h"
#include "gateway/orders/order_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX      1000
#define ORDER_LINE_MAX 1400 /* names and user escaped, three times, numbers */
#define AUDIT_DEFAULT  100
#define WORK_WAIT_MS   10000
#define LOOKS_MAX      100 /* of 1,000 records each: where a call asks for few of many */

struct lines {
    struct op_read job; /* first */
    struct op_admin *admin;
    uint64_t handle;
    void (*read)(struct lines *lines);
    /* The request. */
    char sale[PS_NAME_MAX + 1]; /* "" = all */
    char user[PS_USER_MAX + 1]; /* "" = all */
    char request[OQ_REQUEST_MAX + 1];
    int state; /* enum oq_state, -1 = all; void ones count as released */
    int type;  /* of records: enum oq_type, -1 = all */
    int64_t after;
    int64_t limit;
    bool orders; /* else records */
    char *path;
    /* The result. */
    int err;
    char why[320]; /* why err */
    int64_t last;  /* -1 = no header */
    int64_t count;
    struct ps_buf buf; /* heap */
};

/* --- A job for a work thread. --- */

static void lines_free(struct lines *lines)
{
    free(lines->path);
    free(lines->buf.at);
    free(lines);
}

static void run_job(struct op_read *job)
{
    struct lines *lines = (struct lines *)job;
    lines->read(lines);
}

static bool is_awaited(const struct op_read *job)
{
    const struct lines *lines = (const struct lines *)job;
    return op_find(lines->admin, lines->handle) != NULL;
}

static void end_job(struct op_read *job)
{
    struct lines *lines = (struct lines *)job;
    struct op_admin *admin = lines->admin;
    struct op_request *request = op_find(admin, lines->handle);

    if (request != NULL && lines->err < 0) {
        op_no_read(request, lines->err, lines->why);
    } else if (request != NULL) {
        op_ndjson(request, lines->buf.at, lines->buf.len, lines->last);
        lines->buf.at = NULL;
    }
    lines_free(lines);
    op_release(admin);
}

/* NULL: answered. */
static struct lines *lines_new(struct op_request *request, void (*read)(struct lines *lines))
{
    struct lines *lines = calloc(1, sizeof *lines);

    if (lines == NULL) {
        op_no(request, ANS_V_internal, "out of memory");
        return NULL;
    }
    *lines = (struct lines){.job = {.run = run_job, .is_wanted = is_awaited, .done = end_job},
                            .admin = request->admin,
                            .read = read,
                            .state = -1,
                            .type = -1,
                            .after = -1,
                            .limit = LINES_MAX,
                            .last = -1};
    return lines;
}

/* Takes ownership of `lines`. Reserves `line_max` bytes per line; 0: the job reserves memory
 * itself. */
static void start(struct op_request *request, struct lines *lines, size_t line_max)
{
    size_t room = (size_t)lines->limit * line_max;

    if (room > 0) { /* only the filled part is touched */
        char *memory = malloc(room);
        if (memory == NULL) {
            lines_free(lines);
            op_no(request, ANS_V_internal, "out of memory");
            return;
        }
        ps_buf_init(&lines->buf, memory, room);
    }
    op_hold(request->admin);
    lines->handle = op_wait(request, WORK_WAIT_MS);
    op_reads_start(&request->admin->reads, &lines->job);
}

/* --- Records and orders of an archived sale. --- */

static void read_archived(struct lines *lines)
{
    struct op_archived archived;
    uint8_t key[OQ_ARCHIVE_KEY];

    lines->err = op_archived_init(&archived, lines->admin, lines->sale);
    if (lines->err == 0 && lines->user[0] != '\0') {
        lines->err = oq_archive_key(lines->admin->deps.archive_key, key, &archived.fault);
        oq_archive_user(key, ps_str(lines->sale), ps_str(lines->user), archived.user);
    }
    archived.after = lines->after;
    archived.limit = lines->limit;
    archived.state = lines->state;
    archived.type = lines->type;
    archived.request = lines->request;
    archived.buf = &lines->buf;
    if (lines->err == 0)
        lines->err = lines->orders ? op_archived_orders(&archived) : op_archived_log(&archived);
    lines->count = archived.count;
    lines->last = archived.last;
    (void)snprintf(lines->why, sizeof lines->why, "%s", archived.fault.text);
}

/* If the sale was archived while it was read, part of what was to be read was gone: then it is read
 * from its archive instead. Places are the same there, so a walk by pages goes on. */
static void read_again_if_archived(struct lines *lines)
{
    const struct oq_sale *log_sale =
        lines->sale[0] != '\0'
            ? oq_fold_sale(lines->admin->deps.fold, lines->sale, strlen(lines->sale))
            : NULL;

    if (log_sale == NULL || !oq_sale_archived(log_sale))
        return;
    lines->buf.len = 0;
    lines->why[0] = '\0';
    read_archived(lines);
}

/* --- Records of the log. --- */

/* A line is printed in this program's own form, whoever wrote the record: a foreign record may be
 * longer than any of ours, span several lines, or have a seq of its own. Records that are not
 * events are skipped, as everywhere. */
static int take_record(int64_t seq, struct ps_str json, void *ctx)
{
    struct lines *lines = ctx;
    char text[OQ_EVENT_LONG_MAX];
    struct oq_event event;
    struct ps_buf own;
    void *owner;
    int err = oq_event_decode(json.at, json.len, &event, &owner, NULL);

    if (err < 0)
        return err == PS_E_INVALID ? 0 : err;
    if (lines->type >= 0 && (int)event.type != lines->type) {
        oq_event_release(owner);
        return 0;
    }
    ps_buf_init(&own, text, sizeof text);
    err = oq_event_encode(&event, &own);
    oq_event_release(owner);
    if (err == 0)
        err = oq_event_line(seq, (struct ps_str){own.at, own.len}, &lines->buf);
    if (err < 0)
        return err;
    ps_buf_puts(&lines->buf, "\n");
    lines->count++;
    return 0;
}

static void read_log(struct lines *lines)
{
    struct oq_reader *reader;
    int64_t after = lines->after, last = after;

    lines->err = oq_log_reader_new(lines->admin->deps.log, &reader);
    if (lines->err < 0)
        return;
    for (int looks = 0; lines->count < lines->limit && (lines->type < 0 || looks < LOOKS_MAX);
         looks++) {
        lines->err = oq_reader_read(reader,
                                    &(struct oq_read){after, (size_t)(lines->limit - lines->count),
                                                      lines->sale[0] != '\0' ? lines->sale : NULL,
                                                      take_record, lines},
                                    &last);
        if (lines->err < 0 || last == after)
            break;
        after = last;
    }
    (void)snprintf(lines->why, sizeof lines->why, "%s", oq_reader_why(reader));
    oq_reader_free(reader);
    lines->last = after < 0 ? 0 : after;
    read_again_if_archived(lines);
}

/* Reads where the lines begin, and how many. False: answered, and `lines` is freed. */
static bool read_place(struct op_request *request, struct lines *lines)
{
    const struct op_param params[] = {
        {.name = "after", .number = &lines->after, .min = 0, .max = PS_INT_MAX},
        {.name = "limit", .number = &lines->limit, .min = 1, .max = LINES_MAX}};

    if (op_query(request, params, PS_ARRAY_LEN(params)))
        return true;
    lines_free(lines);
    return false;
}

static void list_log(struct op_request *request)
{
    const struct sale_entry *sale = op_sale(request);
    struct lines *lines;
    enum oq_type wanted;
    char type[64];

    if (sale == NULL || (lines = lines_new(request, read_log)) == NULL)
        return;
    lines->after = 0;
    const struct op_param params[] = {
        {.name = "after", .number = &lines->after, .min = 0, .max = PS_INT_MAX},
        {.name = "limit", .number = &lines->limit, .min = 1, .max = LINES_MAX},
        {.name = "type", .text = type, .cap = sizeof type}};
    bool read = op_query(request, params, PS_ARRAY_LEN(params));
    if (read && type[0] != '\0' && oq_type_parse(type, &wanted) < 0) {
        op_no(request, ANS_V_invalid, "type must be that of a record, such as %s",
              oq_type_name(OQ_HEAD));
        read = false;
    }
    if (!read) {
        lines_free(lines);
        return;
    }
    lines->type = type[0] != '\0' ? (int)wanted : -1;
    memcpy(lines->sale, sale->stored.doc.name, sizeof lines->sale);
    if (op_is_archived(sale))
        lines->read = read_archived;
    start(request, lines, OQ_EVENT_LONG_MAX + OQ_SEQ_TEXT_MAX);
}

void op_export_journal(struct op_request *request, int64_t after, int64_t limit)
{
    struct lines *lines = lines_new(request, read_log);

    if (lines == NULL)
        return;
    lines->after = after;
    lines->limit = limit;
    start(request, lines, OQ_EVENT_LONG_MAX + OQ_SEQ_TEXT_MAX);
}

/* --- Orders, from the fold. --- */

/* A position in a sale's orders of one partition. A sale keeps its orders in order of arrival:
 * those of one partition in the order of their places, the partitions mixed. */
struct cursor {
    const struct oq_sale *log_sale;
    uint32_t partition;
    size_t next;
    struct oq_order *order; /* at `next`; NULL = no more */
};

/* The cursor's next order whose place is above `after`, from `next` on. */
static void seek(struct cursor *cursor, int64_t after)
{
    while ((cursor->order = oq_sale_order_at(cursor->log_sale, cursor->next)) != NULL &&
           (oq_place_partition(oq_order_place(cursor->order)) != cursor->partition ||
            oq_order_place(cursor->order) <= after))
        cursor->next++;
}

static struct cursor *next_of(struct cursor *cursors, size_t count)
{
    struct cursor *best = NULL;

    for (size_t i = 0; i < count; i++)
        if (cursors[i].order != NULL &&
            (best == NULL || oq_order_place(cursors[i].order) < oq_order_place(best->order)))
            best = &cursors[i];
    return best;
}

static bool is_wanted(const struct lines *lines, const struct oq_order *order)
{
    enum oq_state state = oq_order_state(order);
    struct oq_order_view view;

    if (state == OQ_STATE_VOID)
        state = OQ_STATE_RELEASED;
    if (lines->state >= 0 && (int)state != lines->state)
        return false;
    oq_order_get(order, &view);
    return lines->user[0] == '\0' || ps_str_is(view.user, lines->user);
}

/* Cursors of the requested sale, or of all, in the partition of `after`; NULL = out of
 * memory. */
static struct cursor *cursors_new(const struct lines *lines, int64_t after, size_t *ret_count)
{
    const struct oq_fold *fold = lines->admin->deps.fold;
    const struct oq_sale *log_sale;
    struct cursor *cursors;
    size_t count = 0;

    while (oq_fold_sale_at(fold, count) != NULL)
        count++;
    cursors = calloc(count + 1, sizeof *cursors);
    *ret_count = 0;
    for (size_t i = 0; cursors != NULL && i < count; i++) {
        log_sale = oq_fold_sale_at(fold, i);
        if (lines->sale[0] != '\0' && strcmp(lines->sale, oq_sale_name(log_sale)) != 0)
            continue;
        struct cursor *cursor = &cursors[(*ret_count)++];
        *cursor = (struct cursor){.log_sale = log_sale,
                                  .partition = oq_place_partition(after),
                                  .next = oq_sale_orders_after(log_sale, after)};
        seek(cursor, after);
    }
    return cursors;
}

static int read_partition(struct lines *lines, int64_t after)
{
    size_t count;
    struct cursor *cursors = cursors_new(lines, after, &count);
    struct cursor *at;

    if (cursors == NULL)
        return PS_E_NOMEM;
    while (lines->count < lines->limit && (at = next_of(cursors, count)) != NULL) {
        lines->last = oq_order_place(at->order);
        if (is_wanted(lines, at->order)) {
            ord_order_text_put_admin(&lines->buf, at->order);
            ps_buf_puts(&lines->buf, "\n");
            lines->count++;
        }
        at->next++;
        seek(at, after);
    }
    free(cursors);
    return 0;
}

static void read_orders(struct lines *lines)
{
    uint32_t partitions = oq_log_partitions(lines->admin->deps.log);
    uint32_t partition = oq_place_partition(lines->after);

    oq_fold_enter(lines->admin->deps.fold); /* a work thread has no other way to keep it valid */
    lines->last = lines->after;
    for (; lines->err == 0 && lines->count < lines->limit && partition < partitions; partition++)
        lines->err = read_partition(lines, partition == oq_place_partition(lines->after)
                                               ? lines->after
                                               : oq_place(partition, 0));
    oq_fold_leave(lines->admin->deps.fold);
    read_again_if_archived(lines);
}

/* --- The orders of a request, by its id: from the records of a sale; the fold has no request ids.
 * --- */

#define RECORDS_MAX 1000000 /* read per call; the next call continues */

static int take_if_asked(int64_t seq, struct ps_str json, void *ctx)
{
    struct lines *lines = ctx;
    const struct oq_order *order = NULL;
    struct oq_event event;
    void *owner;

    (void)seq;
    if (lines->count == lines->limit)
        return 1;
    if (memmem(json.at, json.len, lines->request, strlen(lines->request)) == NULL)
        return 0;
    int err = oq_event_decode(json.at, json.len, &event, &owner, NULL);
    if (err < 0)
        return err == PS_E_INVALID ? 0 : err;
    oq_fold_enter(lines->admin->deps.fold);
    if (event.type == OQ_ACCEPTED && ps_str_is(event.request_id, lines->request))
        order = oq_fold_order(lines->admin->deps.fold, &event.order_id);
    oq_event_release(owner);
    if (order != NULL && oq_order_known(order) && is_wanted(lines, order)) {
        ord_order_text_put_admin(&lines->buf, order);
        ps_buf_puts(&lines->buf, "\n");
        lines->count++;
    }
    oq_fold_leave(lines->admin->deps.fold);
    return 0;
}

static void read_orders_of_request(struct lines *lines)
{
    const size_t page = 1000;
    struct oq_reader *reader;
    const int64_t from = lines->after;
    int64_t last = from;

    lines->err = oq_log_reader_new(lines->admin->deps.log, &reader);
    if (lines->err < 0)
        return;
    for (size_t looked = 0; looked < RECORDS_MAX && lines->count < lines->limit; looked += page) {
        lines->err = oq_reader_read(
            reader, &(struct oq_read){lines->after, page, lines->sale, take_if_asked, lines},
            &last);
        if (lines->err < 0 || last == lines->after)
            break;
        lines->after = last;
    }
    (void)snprintf(lines->why, sizeof lines->why, "%s", oq_reader_why(reader));
    oq_reader_free(reader);
    lines->last = lines->after;
    lines->after = from;
    read_again_if_archived(lines);
}

/* False: answered. */
static bool check_request_id(struct op_request *request, const struct lines *lines)
{
    if (lines->request[0] == '\0' || lines->sale[0] != '\0')
        return true;
    op_no(request, ANS_V_invalid,
          "query parameter \"request_id\": needs \"sale\": the records of that sale are searched");
    return false;
}

/* False: answered. */
static bool read_state(struct op_request *request, const char *text, int *ret_state)
{
    static const char *const states[] = {[OQ_STATE_ACCEPTED] = "accepted",
                                         [OQ_STATE_CONFIRMED] = "confirmed",
                                         [OQ_STATE_RELEASED] = "released",
                                         NULL};

    return text[0] == '\0' || op_query_word(request, "state", text, states,
                                            " (pending orders are not in the log yet)", ret_state);
}

/* False: answered. */
static bool check_user(struct op_request *request, const char *user)
{
    if (user[0] == '\0' || ps_user_ok(user, strlen(user)))
        return true;
    op_no(request, ANS_V_invalid,
          "query parameter \"user\": 1 to 128 bytes of UTF-8 without control characters or white "
          "space");
    return false;
}

static void list_orders(struct op_request *request)
{
    struct lines *lines = lines_new(request, read_orders);
    char state[16];

    if (lines == NULL)
        return;
    lines->after = 0;
    lines->orders = true;
    struct op_param params[] = {
        {.name = "sale", .text = lines->sale, .cap = sizeof lines->sale},
        {.name = "state", .text = state, .cap = sizeof state},
        {.name = "user", .text = lines->user, .cap = sizeof lines->user},
        {.name = "request_id", .text = lines->request, .cap = sizeof lines->request},
        {.name = "after", .number = &lines->after, .min = 0, .max = PS_INT_MAX},
        {.name = "limit", .number = &lines->limit, .min = 1, .max = LINES_MAX}};
    if (!op_query(request, params, PS_ARRAY_LEN(params)) ||
        !read_state(request, state, &lines->state) || !check_user(request, lines->user) ||
        !check_request_id(request, lines)) {
        lines_free(lines);
        return;
    }
    const char *sale = lines->sale;
    const struct sale_entry *entry = sale_list_find(request->admin->deps.known, sale, strlen(sale));
    if (entry != NULL && op_is_archived(entry))
        lines->read = read_archived;
    else if (lines->request[0] != '\0')
        lines->read = read_orders_of_request;
    if (sale[0] != '\0' && entry == NULL &&
        oq_fold_sale(request->admin->deps.fold, sale, strlen(sale)) == NULL) {
        op_no(request, ANS_V_not_found, "no such sale");
        lines_free(lines);
        return;
    }
    start(request, lines, ORDER_LINE_MAX);
}

/* --- The audit log. --- */

static void read_audit_log(struct lines *lines)
{
    lines->err = cfg_audit_read(lines->path, lines->after, (size_t)lines->limit, &lines->buf.at,
                                &lines->buf.len);
}

/* Without `after`: the last lines. */
static void list_audit_log(struct op_request *request)
{
    static const char name[] = "/audit.log";
    const char *dir = request->admin->deps.state_dir;
    struct lines *lines = lines_new(request, read_audit_log);

    if (lines == NULL)
        return;
    lines->limit = AUDIT_DEFAULT;
    if (!read_place(request, lines))
        return;
    lines->path = malloc(strlen(dir) + sizeof name);
    if (lines->path == NULL) {
        lines_free(lines);
        op_no(request, ANS_V_internal, "out of memory");
        return;
    }
    memcpy(lines->path, dir, strlen(dir));
    memcpy(lines->path + strlen(dir), name, sizeof name);
    start(request, lines, 0);
}

/* --- The part. --- */

/* clang-format off */
const struct op_part op_export_part = {
    .routes = (const struct op_route[]){
        {"/admin/v1/sales/{}/log", SRV_GET, OP_ROLE_VIEWER, OP_QUERY | OP_EXPORT, list_log},
        {"/admin/v1/orders",       SRV_GET, OP_ROLE_VIEWER, OP_QUERY | OP_EXPORT, list_orders},
        {"/admin/v1/audit-log",    SRV_GET, OP_ROLE_VIEWER, OP_QUERY,             list_audit_log},
        {0}},
};
/* clang-format on */
