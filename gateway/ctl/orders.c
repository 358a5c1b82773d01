/* order: single orders, and the export of all orders of a sale. An export requests page by page and
 * prints each at once; if it breaks off, it prints the number after which it can continue. */
#include "gateway/ctl/call.h"
#include "gateway/ctl/commands.h"
#include "gateway/ctl/print.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE  1000
#define TRIES 10

int ctl_order_show(struct ctl *ctl)
{
    const struct ctl_call call = {.path = "/admin/v1/orders/{}", .args = {ctl->args[0]}};

    return ctl_send_and_print(ctl, &call, NULL);
}

/* "order confirm": the second word is the last part of the path. */
int ctl_order_act(struct ctl *ctl)
{
    json_t *body = ctl_body(ctl);
    const struct ctl_call call = {.method = "POST",
                                  .path = "/admin/v1/orders/{}/{+}",
                                  .args = {ctl->args[0], strchr(ctl->command->name, ' ') + 1},
                                  .body = body};
    int exit =
        body != NULL ? ctl_send_and_print(ctl, &call, NULL) : ctl_say(CTL_FAILED, "out of memory");

    json_decref(body);
    return exit;
}

/* --- export --- */

static const char *const columns[] = {"order_id", "sale",   "sku",   "quantity",
                                      "state",    "reason", "user",  "reserved_at",
                                      "pay_by",   "seq",    "epoch", "idempotency_key"};

/* A cell as in RFC 4180; null is empty. */
static void put_cell(const json_t *value)
{
    const char *text = json_string_value(value);

    if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    if (text == NULL)
        return;
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
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

static int put_line(const char *line, size_t len)
{
    struct ps_fault fault;
    json_t *order;

    if (ps_json_parse(line, len, &order, &fault) < 0)
        return ctl_say(CTL_AWAY, "a line of the answer is not valid JSON: %s", fault.text);
    for (size_t i = 0; i < PS_ARRAY_LEN(columns); i++) {
        fputs(i > 0 ? "," : "", stdout);
        put_cell(json_object_get(order, columns[i]));
    }
    fputs("\r\n", stdout);
    json_decref(order);
    return CTL_OK;
}

/* Prints the lines of a page, counts them, and flushes, so that every counted line was written. */
static int put_page(const struct ctl_reply *reply, bool csv, size_t *ret_lines)
{
    const char *at = reply->text, *end = reply->text + reply->len;
    int exit = CTL_OK;

    *ret_lines = 0;
    while (exit == CTL_OK && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((stop != NULL ? stop : end) - at);
        if (csv)
            exit = put_line(at, len);
        else
            (void)(fwrite(at, 1, len, stdout), putchar('\n'));
        at += len + 1;
        (*ret_lines)++;
    }
    if (exit == CTL_OK && (fflush(stdout) != 0 || ferror(stdout)))
        exit = ctl_say(CTL_FAILED, "standard output cannot be written");
    return exit;
}

/* Requests a page; after a 503 it waits as Retry-After says and tries again. */
static int get_page(const struct ctl *ctl, int64_t after, struct ctl_reply *ret_reply)
{
    const char *state = ctl->options.state;
    char more[64];
    int exit = CTL_OK;

    (void)snprintf(more, sizeof more, "&limit=%d&after=%lld", PAGE, (long long)after);
    const struct ctl_call call = {
        .path = "/admin/v1/orders?sale={}{+}{+}{}",
        .args = {ctl->options.sale, more, state != NULL ? "&state=" : "", state},
        .no_json = true,
        .allow = 503};
    for (int i = 0; i < TRIES; i++) {
        exit = ctl_send(ctl, &call, ret_reply);
        if (exit != CTL_OK || ret_reply->status != 503)
            return exit;
        int64_t wait_s = ret_reply->retry_after_s;
        ctl_reply_done(ret_reply);
        (void)sleep(wait_s < 1 ? 1 : wait_s > 30 ? 30 : (unsigned)wait_s);
    }
    return ctl_say(CTL_REFUSED, "%s answered 503 %d times", ctl->admin, TRIES);
}

int ctl_order_export(struct ctl *ctl)
{
    bool csv = ctl->options.output == NULL || strcmp(ctl->options.output, "csv") == 0;
    int64_t after = ctl->options.after >= 0 ? ctl->options.after : 0, orders = 0;
    size_t lines = PAGE;
    int exit = CTL_OK;

    if (ctl->options.sale == NULL)
        return ctl_say(CTL_USAGE, "order export needs --sale SALE");
    if (csv && ctl->options.after < 0)
        put_head();
    while (exit == CTL_OK && lines == PAGE) {
        struct ctl_reply reply;
        exit = get_page(ctl, after, &reply);
        if (exit == CTL_OK)
            exit = put_page(&reply, csv, &lines);
        if (exit == CTL_OK) {
            after = reply.last_seq > after ? reply.last_seq : after;
            orders += (int64_t)lines;
        }
        ctl_reply_done(&reply);
    }
    if (exit == CTL_OK)
        fprintf(stderr, "%lld orders; for later ones: --after %lld\n", (long long)orders,
                (long long)after);
    else if (orders > 0)
        fprintf(stderr, "interrupted after %lld orders; continue with --after %lld\n",
                (long long)orders, (long long)after);
    return exit;
}
