/* Nothing is bought before the gateway itself has reported the sale as a rehearsal, so that a
 * mistake here can never spend real stock. */
#include "loadtest/sale.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_PATIENCE_MS 15000
#define MAKE_PATIENCE_MS 5000 /* short, so that a wrong port is reported soon */
#define OPEN_PATIENCE_MS 15000
#define OPEN_POLL_MS     20
#define SETTLE_POLL_MS   50
#define SEQ_FIRST        "{\"seq\":" /* how each record's line begins */
#define PATH_SIZE        (PS_NAME_MAX + 96)

void lt_sale_name(int64_t wall_ms, char ret_name[PS_NAME_MAX + 1])
{
    char text[PS_TIME_LEN + 1];
    ps_time_format(wall_ms, text);
    size_t len = (size_t)snprintf(ret_name, PS_NAME_MAX + 1, "rehearsal-");
    for (const char *at = text; *at != '.'; at++) {
        if (*at != '-' && *at != ':')
            ret_name[len++] = *at;
    }
    ret_name[len++] = 'Z';
    ret_name[len] = '\0';
}

/* "/admin/v1/sales/NAME", and what comes after it. */
static void print_path(char path[PATH_SIZE], const char *sale, const char *rest)
{
    (void)snprintf(path, PATH_SIZE, "/admin/v1/sales/%s%s", sale, rest);
}

static int put_sale(const struct lt_admin *admin, const char *sale, const char *body,
                    struct ps_fault *fault)
{
    char path[PATH_SIZE];
    print_path(path, sale, "");
    struct lt_call call = {"PUT", path, body, MAKE_PATIENCE_MS};
    struct lt_reply reply;
    int err = lt_admin_call(admin, &call, &reply, fault);
    if (err < 0)
        return err;
    if (reply.status == 428 || reply.status == 412)
        err = ps_fault(fault, PS_E_EXISTS, "", "a sale %s exists", sale);
    else if (reply.status != 200 && reply.status != 201)
        err = lt_admin_refused(&reply, "creating the sale", fault);
    free(reply.body);
    return err;
}

int64_t lt_sale_stock(const struct lt_plan_spec *plan, size_t sku)
{
    return plan->stock / plan->skus + ((int64_t)sku < plan->stock % plan->skus);
}

/* The SKUs of `of`, the live sale of a twin; with NULL the rehearsal's own. */
static json_t *skus_json(const struct lt_sale *sale, const json_t *of)
{
    json_t *list = json_array();
    for (size_t i = 0; i < (size_t)sale->plan->skus; i++) {
        const json_t *like = json_array_get(json_object_get(of, "skus"), i);
        json_t *cap = sale->plan->sku_cap > 0 ? json_integer(sale->plan->sku_cap) : NULL;
        /* A "*" leaves a NULL out. */
        (void)json_array_append_new(
            list, json_pack("{s:s, s:I, s:o*, s:O*, s:O*}", "sku", sale->skus[i].name, "stock",
                            (json_int_t)lt_sale_stock(sale->plan, i), "per_user_cap", cap, "price",
                            json_object_get(like, "price"), "attributes",
                            json_object_get(like, "attributes")));
    }
    return list;
}

/* The document of the sale, with the plan's caps. Heap; NULL: out of memory. */
static char *sale_text(const struct lt_sale *sale, const json_t *of)
{
    char closes_at[PS_TIME_LEN + 1];
    ps_time_format(sale->closes_at_ms, closes_at);
    json_t *json =
        json_pack("{s:b, s:s, s:I, s:b, s:s*, s:O*, s:O*, s:o}", "open", 1, "closes_at", closes_at,
                  "per_user_cap", (json_int_t)sale->plan->cap, "rehearsal", 1, "twin_of",
                  sale->twin_of, "reservation_ttl_s", json_object_get(of, "reservation_ttl_s"),
                  "attributes", json_object_get(of, "attributes"), "skus", skus_json(sale, of));
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(json);
    return text;
}

static int create_sale(const struct lt_admin *admin, const char *name, struct lt_sale *sale,
                       struct ps_fault *fault)
{
    json_t *of = NULL;
    if (sale->twin_of != NULL) {
        char path[PATH_SIZE];
        print_path(path, sale->twin_of, "");
        int err = lt_admin_get(admin, path, MAKE_PATIENCE_MS, &of, fault);
        if (err < 0)
            return err;
    }
    const json_t *skus = json_object_get(of, "skus");
    for (size_t i = 0; i < (size_t)sale->plan->skus; i++) {
        const char *like = json_string_value(json_object_get(json_array_get(skus, i), "sku"));
        if (like != NULL)
            (void)snprintf(sale->skus[i].name, sizeof sale->skus[i].name, "%s", like);
        else if (i == 0)
            (void)snprintf(sale->skus[i].name, sizeof sale->skus[i].name, LT_SKU);
        else
            (void)snprintf(sale->skus[i].name, sizeof sale->skus[i].name, LT_SKU "-%zu", i + 1);
    }
    size_t has = json_array_size(skus);
    if (of != NULL && has < (size_t)sale->plan->skus) {
        json_decref(of);
        return ps_fault(fault, PS_E_CONFLICT, "--skus", "the sale %s has only %zu", sale->twin_of,
                        has);
    }
    char *body = sale_text(sale, of);
    json_decref(of);
    int err = body != NULL ? put_sale(admin, name, body, fault)
                           : ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    free(body);
    return err;
}

static int wait_until_open(const struct lt_admin *admin, const char *sale, struct ps_fault *fault)
{
    char path[PATH_SIZE], state[32] = "?";
    print_path(path, sale, "");
    for (int64_t waited = 0; waited < OPEN_PATIENCE_MS; waited += OPEN_POLL_MS) {
        json_t *json = NULL;
        int err = lt_admin_get(admin, path, CALL_PATIENCE_MS, &json, fault);
        if (err < 0)
            return err;
        const char *now = json_string_value(json_object_get(json, "state"));
        bool rehearsal = json_is_true(json_object_get(json, "rehearsal"));
        (void)snprintf(state, sizeof state, "%s", now != NULL ? now : "?");
        json_decref(json);
        if (!rehearsal)
            return ps_fault(fault, PS_E_CONFLICT, "--admin",
                            "the gateway does not report %s as a rehearsal; nothing was bought",
                            sale);
        if (strcmp(state, "open") == 0)
            return 0;
        err = lt_admin_wait(admin, OPEN_POLL_MS, fault);
        if (err < 0)
            return err;
    }
    return ps_fault(fault, PS_E_TIMEOUT, "--admin", "the sale %s is \"%s\", not \"open\"", sale,
                    state);
}

int lt_sale_open(const struct lt_admin *admin, const char *name, struct lt_sale *sale,
                 struct ps_fault *fault)
{
    int err = create_sale(admin, name, sale, fault);
    return err < 0 ? err : wait_until_open(admin, name, fault);
}

int lt_sale_end(const struct lt_admin *admin, const char *sale, struct ps_fault *fault)
{
    char path[PATH_SIZE];
    print_path(path, sale, "/end");
    struct lt_call call = {"POST", path, NULL, CALL_PATIENCE_MS};
    struct lt_reply reply;
    int err = lt_admin_call(admin, &call, &reply, fault);
    if (err < 0)
        return err;
    if (reply.status != 200 && reply.status != 204)
        err = lt_admin_refused(&reply, "ending the sale", fault);
    free(reply.body);
    return err;
}

int64_t lt_sale_audit_sum(const json_t *audit, const char *member)
{
    int64_t sum = 0;
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(audit, "skus"), index, row) sum +=
        json_integer_value(json_object_get(row, member));
    return sum;
}

const char *lt_sale_violation(const json_t *audit)
{
    const json_t *violation = json_array_get(json_object_get(audit, "violations"), 0);
    const char *text = json_string_value(json_object_get(violation, "text"));
    return text != NULL ? text : "no fault";
}

int64_t lt_sale_audit_number(const json_t *audit, const char *sku, const char *member)
{
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(audit, "skus"), index, row)
    {
        const char *name = json_string_value(json_object_get(row, "sku"));
        if (name != NULL && strcmp(name, sku) == 0)
            return json_integer_value(json_object_get(row, member));
    }
    return 0;
}

int lt_sale_settle(const struct lt_admin *admin, const char *sale, int64_t patience_ms,
                   json_t **ret_audit, struct ps_fault *fault)
{
    char path[PATH_SIZE];
    print_path(path, sale, "/audit");
    int64_t give_up_ns = ps_clock_mono_ns(&ps_clock_system) + patience_ms * PS_NS_PER_MS;
    for (;;) {
        json_t *audit = NULL;
        int err = lt_admin_get(admin, path, patience_ms, &audit, fault);
        if (err < 0)
            return err;
        if (lt_sale_audit_sum(audit, "in_doubt") == 0 ||
            ps_clock_mono_ns(&ps_clock_system) >= give_up_ns) {
            *ret_audit = audit;
            return 0;
        }
        json_decref(audit);
        err = lt_admin_wait(admin, SETTLE_POLL_MS, fault);
        if (err < 0)
            return err;
    }
}

static int take_lines(const struct lt_reply *page, struct lt_lines *lines, struct ps_fault *fault)
{
    const char *at = page->body, *end = page->body + page->len;
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL)
            return ps_fault(fault, PS_E_CORRUPT, "--admin", "the log ends in the middle of a line");
        int err = lines->take(at, (size_t)(line_end - at), lines->ctx);
        bool has_seq = strncmp(at, SEQ_FIRST, strlen(SEQ_FIRST)) == 0;
        int64_t seq = has_seq ? strtoll(at + strlen(SEQ_FIRST), NULL, 10) : -1;
        if (err == 0 && seq <= lines->after)
            err = PS_E_CORRUPT;
        if (err < 0)
            return ps_fault(fault, err, "--admin", "the log has an invalid record: %.*s",
                            (int)(line_end - at < 200 ? line_end - at : 200), at);
        lines->after = seq;
        lines->records++;
        at = line_end + 1;
    }
    return 0;
}

int lt_sale_read_lines(const struct lt_admin *admin, const char *sale, struct lt_lines *lines,
                       struct ps_fault *fault)
{
    char path[PATH_SIZE], rest[40];
    struct lt_call call = {"GET", path, NULL, CALL_PATIENCE_MS};
    for (;;) {
        (void)snprintf(rest, sizeof rest, "/log?after=%lld", (long long)lines->after);
        print_path(path, sale, rest);
        struct lt_reply page;
        int err = lt_admin_call(admin, &call, &page, fault);
        if (err < 0)
            return err;
        if (page.status != 200)
            err = lt_admin_refused(&page, "reading the log", fault);
        else
            err = take_lines(&page, lines, fault);
        bool more = page.len > 0;
        free(page.body);
        if (err < 0 || !more)
            return err;
    }
}

static int add_to_audit(const char *line, size_t len, void *ctx)
{
    return oq_audit_add_line(ctx, line, len);
}

int lt_sale_read_log(const struct lt_admin *admin, const char *sale, struct oq_audit *audit,
                     int64_t *io_records, struct ps_fault *fault)
{
    int64_t seq = oq_audit_seq(audit);
    struct lt_lines lines = {
        .take = add_to_audit, .ctx = audit, .after = seq < 0 ? 0 : seq, .records = *io_records};
    int err = lt_sale_read_lines(admin, sale, &lines, fault);
    *io_records = lines.records;
    return err;
}
