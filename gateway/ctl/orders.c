/* order, sale log: many orders at once, and the export of all orders, or records, of a sale. An
 * export requests page by page and prints each at once; if it breaks off, it prints the number
 * after which it can continue. */
#include "common/clock.h"
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/files.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE   1000
#define TRIES  10
#define SHED_S INT64_C(3600) /* an overload is waited for so long, without --wait */

/* --- Many at once. --- */

/* The ids of the file, one a line; other white space and empty lines do not count. */
static json_t *read_ids(const char *text, size_t *ret_count)
{
    json_t *ids = json_array();

    *ret_count = 0;
    for (const char *at = text + strspn(text, " \t\r\n"); *at != '\0' && ids != NULL;
         at += strspn(at, " \t\r\n")) {
        size_t len = strcspn(at, " \t\r\n");
        if (json_array_append_new(ids, json_stringn(at, len)) != 0) {
            json_decref(ids);
            return NULL;
        }
        at += len;
        (*ret_count)++;
    }
    return ids;
}

/* Sends some ids and adds the results to `all`. */
static int send_batch(const struct ctl *ctl, json_t *ids, json_t *all)
{
    const struct ctl_call call = {.method = "POST", .path = "/admin/v1/orders:batch"};
    json_t *body = ctl_body(ctl);
    struct ctl_reply reply;
    int exit = ctl_change(ctl, call, body, json_object_set(body, ctl->args[0], ids), &reply);

    if (exit == CTL_OK && json_array_extend(all, json_object_get(reply.json, "results")) != 0)
        exit = ctl_say(CTL_AWAY, "the answer has no results");
    ctl_reply_done(&reply);
    return exit;
}

/* How many of the results are no success. */
static size_t count_failed(const json_t *results)
{
    json_t *result;
    size_t i, failed = 0;

    json_array_foreach(results, i, result) failed +=
        json_integer_value(json_object_get(result, "status")) / 100 != 2;
    return failed;
}

int ctl_order_batch(struct ctl *ctl)
{
    const char *word = ctl->args[0];
    char *text = NULL;
    size_t len, count = 0;

    if (strcmp(word, "confirm") != 0 && strcmp(word, "cancel") != 0)
        return ctl_say(CTL_USAGE, "\"%s\" is neither confirm nor cancel", word);
    if (ctl->options.file == NULL)
        return ctl_say(CTL_USAGE, "order batch needs -f FILE with an order's id on each line, or "
                                  "-f - for standard input");
    int exit = ctl_file_read(ctl->options.file, &text, &len);
    if (exit != CTL_OK)
        return exit;
    json_t *ids = read_ids(text, &count), *all = json_array();
    free(text);
    if (ids == NULL)
        exit = ctl_say(CTL_USAGE, "%s is not valid UTF-8", ctl->options.file);
    else if (count == 0)
        exit = ctl_say(CTL_USAGE, "%s has no id", ctl->options.file);
    for (size_t at = 0; exit == CTL_OK && at < count; at += PAGE) {
        json_t *some = json_array();
        for (size_t i = at; i < count && i < at + PAGE; i++)
            (void)json_array_append(some, json_array_get(ids, i));
        exit = send_batch(ctl, some, all);
        json_decref(some);
    }
    size_t failed = count_failed(all);
    if (json_array_size(all) > 0)
        (void)ctl_print(ctl, all, "order_id action status code state reason");
    if (exit == CTL_AWAY)
        (void)ctl_say(CTL_AWAY,
                      "the outcome of %zu of %zu orders is unknown: repeat the command, which "
                      "changes nothing that is done",
                      count - json_array_size(all), count);
    else if (exit == CTL_REFUSED)
        (void)ctl_say(CTL_REFUSED, "nothing has happened to %zu of %zu orders",
                      count - json_array_size(all), count);
    else if (exit == CTL_OK && failed > 0)
        exit = ctl_say(CTL_REFUSED, "%zu of %zu orders were refused", failed, count);
    json_decref(ids);
    json_decref(all);
    return exit;
}

/* --- export --- */

static const char *const columns[] = {"order_id", "sale",   "sku",   "quantity",
                                      "state",    "reason", "user",  "reserved_at",
                                      "pay_by",   "seq",    "epoch", "idempotency_key"};

enum format { NDJSON, CSV, CSV_RAW };

/* A cell as in RFC 4180; null is empty. Users and keys are the buyers' own text, and a spreadsheet
 * runs what begins like a formula: an apostrophe before it makes it text (OWASP, "CSV Injection").
 */
static void put_cell(const json_t *value, enum format format)
{
    const char *text = json_string_value(value);
    bool formula = format == CSV && text != NULL && text[0] != '\0' && strchr("=+-@\t\r", text[0]);

    if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    if (text == NULL)
        return;
    if (!formula && strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, stdout);
        return;
    }
    fputs(formula ? "\"'" : "\"", stdout);
    for (; *text != '\0'; text++) {
        putchar(*text);
        if (*text == '"')
            putchar('"');
    }
    putchar('"');
}

static void put_head(void)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(columns); i++)
        printf("%s%s", i > 0 ? "," : "", columns[i]);
    fputs("\r\n", stdout);
}

static int put_line(const char *line, size_t len, enum format format)
{
    struct ps_fault fault;
    json_t *order;

    if (ps_json_parse(line, len, &order, &fault) < 0)
        return ctl_say(CTL_AWAY, "a line of the answer is not valid JSON: %s", fault.text);
    for (size_t i = 0; i < PS_ARRAY_LEN(columns); i++) {
        fputs(i > 0 ? "," : "", stdout);
        put_cell(json_object_get(order, columns[i]), format);
    }
    fputs("\r\n", stdout);
    json_decref(order);
    return CTL_OK;
}

/* Prints the lines of a page, counts them, and flushes, so that every counted line was written. */
static int put_page(const struct ctl_reply *reply, enum format format, size_t *ret_lines)
{
    const char *at = reply->text, *end = reply->text + reply->len;
    int exit = CTL_OK;

    *ret_lines = 0;
    while (exit == CTL_OK && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop != NULL ? stop : end) - at);
        if (format != NDJSON)
            exit = put_line(at, len, format);
        else
            (void)(fwrite(at, 1, len, stdout), putchar('\n'));
        at += len + 1;
        (*ret_lines)++;
    }
    return exit == CTL_OK ? ctl_flush() : exit;
}

/* What the gateway says, once. */
static void say_wait(const struct ctl *ctl, const struct ctl_reply *reply, char said[256])
{
    const char *code = json_string_value(json_object_get(reply->json, "code"));
    const char *detail = json_string_value(json_object_get(reply->json, "detail"));
    char text[256];

    (void)snprintf(text, sizeof text, "%s%s%s", code != NULL ? code : "503",
                   detail != NULL ? ": " : "", detail != NULL ? detail : "");
    if (strcmp(text, said) == 0)
        return;
    (void)ctl_say(CTL_AWAY, "%s answers %s; asking again until it ends", ctl->admin, text);
    memcpy(said, text, sizeof text);
}

/* Requests a page; after a 503 it says why, waits as Retry-After says and tries again: while the
 * gateway is overloaded for --wait, else a few times. */
static int get_page(const struct ctl *ctl, struct ctl_call call, struct ctl_reply *ret_reply)
{
    int64_t wait_s = ctl->options.wait_s >= 0 ? ctl->options.wait_s : SHED_S;
    int64_t end_ns = ps_clock_mono_ns(&ps_clock_system) + wait_s * PS_NS_PER_S;
    char said[256] = "";
    int exit = CTL_OK;

    call.no_json = true;
    call.allow = 503;
    for (int i = 0;; i++) {
        exit = ctl_send(ctl, &call, ret_reply);
        if (exit != CTL_OK || ret_reply->status != 503)
            return exit;
        const char *code = json_string_value(json_object_get(ret_reply->json, "code"));
        bool is_shed = code != NULL && strcmp(code, "shed") == 0;
        int64_t pause_s = ret_reply->retry_after_s;
        if (is_shed ? ps_clock_mono_ns(&ps_clock_system) >= end_ns : i + 1 >= TRIES)
            break;
        say_wait(ctl, ret_reply, said);
        ctl_reply_done(ret_reply);
        (void)sleep(pause_s < 1 ? 1 : pause_s > 30 ? 30 : (unsigned)pause_s);
    }
    say_wait(ctl, ret_reply, said);
    ctl_reply_done(ret_reply);
    return ctl_say(CTL_AWAY, "gave up: while the gateway is overloaded, penstockctl override set "
                             "feature:exports on lets an export through");
}

/* All pages from --after on; `page` makes the call for one. */
static int export(const struct ctl *ctl, const char *words, enum format format,
                  struct ctl_call (*page)(const struct ctl *ctl, const char *query))
{
    int64_t after = ctl->options.after >= 0 ? ctl->options.after : 0, count = 0;
    size_t lines = PAGE;
    int exit = CTL_OK;

    while (exit == CTL_OK && lines == PAGE) {
        char query[64];
        struct ctl_reply reply;
        (void)snprintf(query, sizeof query, "limit=%d&after=%lld", PAGE, (long long)after);
        exit = get_page(ctl, page(ctl, query), &reply);
        if (exit == CTL_OK)
            exit = put_page(&reply, format, &lines);
        if (exit == CTL_OK) {
            after = reply.last_seq > after ? reply.last_seq : after;
            count += (int64_t)lines;
        }
        ctl_reply_done(&reply);
    }
    if (exit == CTL_OK)
        fprintf(stderr, "%lld %s; for later ones: --after %lld\n", (long long)count, words,
                (long long)after);
    else if (count > 0)
        fprintf(stderr, "interrupted after %lld %s; continue with --after %lld\n", (long long)count,
                words, (long long)after);
    return exit;
}

static struct ctl_call orders_page(const struct ctl *ctl, const char *query)
{
    const char *state = ctl->options.state;

    return (struct ctl_call){
        .path = "/admin/v1/orders?{+}&sale={}{+}{}",
        .args = {query, ctl->options.sale, state != NULL ? "&state=" : "", state}};
}

int ctl_order_export(struct ctl *ctl)
{
    bool csv = ctl->options.output == NULL || strcmp(ctl->options.output, "csv") == 0;
    enum format format = !csv ? NDJSON : ctl->options.csv_raw ? CSV_RAW : CSV;

    if (ctl->options.sale == NULL)
        return ctl_say(CTL_USAGE, "order export needs --sale SALE");
    if (!csv && ctl->options.csv_raw)
        return ctl_say(CTL_USAGE, "--csv-raw is an option of -o csv");
    if (csv && ctl->options.after < 0)
        put_head();
    return export(ctl, "orders", format, orders_page);
}

static struct ctl_call log_page(const struct ctl *ctl, const char *query)
{
    return (struct ctl_call){.path = "/admin/v1/sales/{}/log?{+}", .args = {ctl->args[0], query}};
}

int ctl_sale_log(struct ctl *ctl)
{
    return export(ctl, "records", NDJSON, log_page);
}
