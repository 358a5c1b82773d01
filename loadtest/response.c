/* A head that arrives in pieces is kept and parsed again when more has arrived; a gateway's answers
 * nearly always arrive in one piece. Interim answers are skipped. */
#include "loadtest/response.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MAX 16384

static const struct ps_http_limits limits = {
    .target_max = 1024, .head_max = HEAD_MAX, .fields_max = PS_HTTP_FIELDS_MAX};

void lt_response_reset(struct lt_response *response)
{
    free(response->head);
    *response = (struct lt_response){0};
}

static void keep_body(struct lt_response *response, struct ps_str part)
{
    size_t room = sizeof response->body - response->body_len;
    size_t kept = part.len < room ? part.len : room;

    memcpy(response->body + response->body_len, part.at, kept);
    response->body_len += kept;
}

static bool says(const struct ps_http_head *head, const char *data, struct ps_str name,
                 struct ps_str value)
{
    return ps_http_same_text(ps_http_find(head, data, name), value);
}

/* In a list of caches the last is the nearest. Takes its "hit", or the token of its "fwd". */
static void read_cache(struct lt_response *response, const struct ps_http_head *head,
                       const char *data)
{
    static const char fwd[] = "fwd=";
    struct ps_str field = {"", 0};
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (ps_http_same_text(ps_http_text(data, head->fields[i].name), PS_STR("Cache-Status")))
            field = ps_http_text(data, head->fields[i].value);
    }
    const char *end = field.at + field.len, *comma = memrchr(field.at, ',', field.len);
    const char *at = comma != NULL ? comma + 1 : field.at;
    while (at < end && (at = memchr(at, ';', (size_t)(end - at))) != NULL) {
        for (at++; at < end && *at == ' '; at++)
            continue;
        size_t len = 0;
        while (at + len < end && at[len] != ';' && at[len] != ' ')
            len++;
        bool hit = ps_str_is((struct ps_str){at, len}, "hit");
        bool why = len >= sizeof fwd && memcmp(at, fwd, sizeof fwd - 1) == 0;
        if (hit || why) {
            const char *word = why ? at + sizeof fwd - 1 : at;
            (void)snprintf(response->cache, sizeof response->cache, "%.*s", (int)(at + len - word),
                           word);
            return;
        }
    }
}

/* Keeps the beginning of a head until more has arrived. */
static int keep_head(struct lt_response *response, const char *data, size_t len)
{
    char *head = realloc(response->head, response->head_len + len);

    if (head == NULL)
        return PS_E_NOMEM;
    memcpy(head + response->head_len, data, len);
    response->head = head;
    response->head_len += len;
    return 0;
}

/* `data` begins with a head. *ret_used: its length, if it is complete. */
static int read_head(struct lt_response *response, const char *data, size_t len, size_t *ret_used)
{
    struct ps_http_head head;

    ps_http_response_init(&head, &limits, false);
    enum ps_http_step step = ps_http_head_parse(&head, data, len);
    if (step == PS_HTTP_BAD)
        return PS_E_CORRUPT;
    *ret_used = step == PS_HTTP_DONE ? head.len : 0;
    if (step == PS_HTTP_MORE || head.status < 200)
        return 0;
    response->status = head.status;
    response->keep_alive = head.keep_alive;
    response->replayed = says(&head, data, PS_STR("Idempotency-Replayed"), PS_STR("true"));
    response->rehearsal = says(&head, data, PS_STR("Penstock-Rehearsal"), PS_STR("?1"));
    read_cache(response, &head, data);
    response->framing = head.framing;
    response->left = head.framing == PS_HTTP_BY_LENGTH ? head.body_len : 0;
    response->in_body = true;
    ps_http_chunks_init(&response->chunks);
    return 0;
}

/* The number of bytes that belong to the body. */
static int read_body(struct lt_response *response, const char *data, size_t len, size_t *ret_used,
                     bool *ret_complete)
{
    size_t at = 0;

    if (response->framing == PS_HTTP_BY_LENGTH) {
        at = len < response->left ? len : (size_t)response->left;
        keep_body(response, (struct ps_str){data, at});
        response->left -= at;
        *ret_complete = response->left == 0;
    } else if (response->framing == PS_HTTP_UNTIL_CLOSE) {
        keep_body(response, (struct ps_str){data, len});
        at = len;
    } else if (response->framing == PS_HTTP_NO_BODY) {
        *ret_complete = true;
    }
    while (response->framing == PS_HTTP_CHUNKED && at < len && !*ret_complete) {
        struct ps_str part;
        size_t used = 0;
        enum ps_http_step step =
            ps_http_chunks_next(&response->chunks, data + at, len - at, &used, &part);
        if (step == PS_HTTP_BAD)
            return PS_E_CORRUPT;
        if (step == PS_HTTP_DATA)
            keep_body(response, part);
        *ret_complete = step == PS_HTTP_DONE;
        at += used;
    }
    *ret_used = at;
    return 0;
}

int lt_response_read(struct lt_response *response, const char *data, size_t len, bool *ret_complete)
{
    char *kept = NULL;
    size_t used = 0;
    int err = 0;

    *ret_complete = false;
    if (response->head != NULL) { /* appends to the head's beginning */
        if ((err = keep_head(response, data, len)) < 0)
            return err;
        data = kept = response->head;
        len = response->head_len;
        response->head = NULL;
        response->head_len = 0;
    }
    while (err == 0 && len > 0 && !response->in_body) {
        err = read_head(response, data, len, &used);
        if (err == 0 && used == 0)
            err = keep_head(response, data, len);
        used = used == 0 ? len : used;
        data += used;
        len -= used;
    }
    if (err == 0 && response->in_body)
        err = read_body(response, data, len, &used, ret_complete);
    if (err == 0 && *ret_complete && used < len)
        err = PS_E_CORRUPT;
    free(kept);
    return err;
}

bool lt_response_ends(const struct lt_response *response)
{
    return response->in_body && response->framing == PS_HTTP_UNTIL_CLOSE;
}
