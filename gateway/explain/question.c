/* What is described must be a request that one line of HTTP cannot break out of: no text has a
 * control character. Whether it is good HTTP is for the same parser to say that reads real
 * requests. */
#include "gateway/explain/question.h"

#include "common/http/head.h"
#include "common/text/buf.h"
#include "common/text/id.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_MAX (64 * 1024) /* the most that the settings allow */

static const char *const methods[] = {"GET",   "HEAD",   "POST",    "PUT",
                                      "PATCH", "DELETE", "OPTIONS", NULL};

/* What `user` and `ip` say, what frames a message, and what makes it a rehearsal. */
static const char *const not_headers[] = {"X-User-Id",          "X-Forwarded-For",
                                          "Content-Length",     "Transfer-Encoding",
                                          "Penstock-Rehearsal", NULL};

static bool is_clean(struct ps_str text, bool space_is)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        if (byte == 0x7f || byte < 0x20 || (byte == ' ' && !space_is))
            return false;
    }
    return true;
}

/* --- an order --- */

static void read_order(struct ps_json_reader *reader, struct exp_question *question)
{
    struct ps_str sku = {NULL, 0};
    int64_t quantity = 1;

    ps_json_require(reader, (const char *const[]){"user", "ip", "sku", NULL});
    ps_json_string(reader, "sku", PS_NAME_MAX, &sku);
    ps_json_int(reader, "quantity", 1, PS_INT_MAX, &quantity);
    if (sku.at != NULL && sku.len == 0)
        ps_json_fault(reader, "sku", "must not be empty");
    if (sku.at == NULL)
        return;
    json_t *body =
        json_pack("{s:s%, s:I}", "sku", sku.at, sku.len, "quantity", (json_int_t)quantity);
    question->order_len = json_dumpb(body, question->order, sizeof question->order, JSON_COMPACT);
    json_decref(body);
}

/* --- a page --- */

static void put_field(struct ps_buf *head, const char *name, struct ps_str value)
{
    ps_buf_puts(head, name);
    ps_buf_puts(head, ": ");
    ps_buf_put(head, value.at, value.len);
    ps_buf_puts(head, "\r\n");
}

static bool is_header(const char *name)
{
    for (size_t i = 0; not_headers[i] != NULL; i++)
        if (ps_http_is_text(ps_str(name), not_headers[i]))
            return false;
    return true;
}

/* The fault of a header; NULL: none. */
static const char *fault_of(const char *name, const json_t *value)
{
    if (!ps_http_is_token(ps_str(name)))
        return "has a name that is no header's";
    if (!is_header(name))
        return "must not have X-User-Id or X-Forwarded-For (say user and ip), Content-Length, "
               "Transfer-Encoding or Penstock-Rehearsal";
    if (!json_is_string(value) || json_string_length(value) > EXP_TEXT_MAX)
        return "must have values that are texts of at most 8192 bytes";
    return is_clean((struct ps_str){json_string_value(value), json_string_length(value)}, true)
               ? NULL
               : "must have values without control characters";
}

static void put_headers(struct ps_json_reader *reader, struct ps_buf *head)
{
    json_t *headers = (json_t *)(uintptr_t)ps_json_value(reader, "headers"), *value;
    bool has_host = false;
    const char *name;

    if (headers != NULL && !json_is_object(headers)) {
        ps_json_fault(reader, "headers", "must be an object of names and values");
        return;
    }
    if (json_object_size(headers) > EXP_HEADERS_MAX) {
        ps_json_fault(reader, "headers", "must have at most %d members", EXP_HEADERS_MAX);
        return;
    }
    json_object_foreach(headers, name, value)
    {
        const char *wrong = fault_of(name, value);
        if (wrong != NULL) {
            ps_json_fault(reader, "headers", "%s", wrong);
            return;
        }
        has_host |= ps_http_is_text(ps_str(name), "Host");
        put_field(head, name, (struct ps_str){json_string_value(value), json_string_length(value)});
    }
    if (!has_host)
        put_field(head, "Host", PS_STR("localhost"));
}

static void read_page(struct ps_json_reader *reader, struct exp_question *question)
{
    struct ps_str path = {NULL, 0};
    struct ps_buf head;
    int method = 0;

    ps_json_require(reader, (const char *const[]){"ip", NULL});
    ps_json_string(reader, "path", EXP_TEXT_MAX, &path);
    ps_json_enum(reader, "method", methods, &method);
    if (path.len > 10 && memcmp(path.at, "/v1/sales/", 10) == 0 &&
        strcmp(methods[method], "POST") == 0)
        ps_json_fault(reader, "path", "an order is described by sale and sku");
    if (path.at != NULL && (path.len == 0 || path.at[0] != '/' || !is_clean(path, false)))
        ps_json_fault(reader, "path",
                      "must begin with a slash, without spaces and control "
                      "characters; the query may follow it");
    question->head = malloc(HEAD_MAX);
    if (question->head == NULL)
        return;
    ps_buf_init(&head, question->head, HEAD_MAX);
    ps_buf_puts(&head, methods[method]);
    ps_buf_puts(&head, " ");
    ps_buf_put(&head, path.at != NULL ? path.at : "/", path.at != NULL ? path.len : 1);
    ps_buf_puts(&head, " HTTP/1.1\r\n");
    put_headers(reader, &head);
    ps_buf_puts(&head, "\r\n");
    if (head.overflow)
        ps_json_fault(reader, "headers", "must be at most %d bytes together, path included",
                      HEAD_MAX);
    question->head_len = head.len;
}

/* --- both --- */

static void read_client(struct ps_json_reader *reader, struct exp_question *question)
{
    struct ps_str ip = {NULL, 0};

    ps_json_string(reader, "user", PS_USER_MAX, &question->user);
    if (question->user.at != NULL && !ps_user_ok(question->user.at, question->user.len))
        ps_json_fault(reader, "user",
                      "must be 1 to 128 bytes without control characters or white "
                      "space");
    ps_json_string(reader, "ip", 64, &ip);
    if (ip.at != NULL && ps_address_parse(ip.at, ip.len, false, &question->address) < 0)
        ps_json_fault(reader, "ip", "must be an address: 203.0.113.7 or 2001:db8::1");
    ps_json_time(reader, "at", &question->at_ms);
}

int exp_question_read(json_t *json, struct exp_question *ret_question, struct ps_faults *faults)
{
    struct ps_json_reader reader;

    *ret_question = (struct exp_question){.at_ms = INT64_MAX, .json = json_incref(json)};
    ps_json_reader_init_all(&reader, json, "", faults);
    read_client(&reader, ret_question);
    bool is_order = ps_json_has(&reader, "sale"), is_page = ps_json_has(&reader, "path");
    if (is_order)
        ps_json_string(&reader, "sale", PS_NAME_MAX, &ret_question->sale);
    if (is_order && is_page)
        ps_json_fault(&reader, "", "describe an order (sale and sku) or a page (path), not both");
    else if (is_order)
        read_order(&reader, ret_question);
    else if (is_page)
        read_page(&reader, ret_question);
    else
        ps_json_fault(&reader, "", "needs sale and sku, or path");
    int err = ps_json_done(&reader);
    if (err == 0 && is_order
            ? ret_question->order_len == 0 || ret_question->order_len > sizeof ret_question->order
            : err == 0 && ret_question->head_len == 0)
        err = PS_E_NOMEM;
    if (err < 0)
        exp_question_done(ret_question);
    return err;
}

void exp_question_done(struct exp_question *question)
{
    free(question->head);
    json_decref(question->json);
    *question = (struct exp_question){0};
}
