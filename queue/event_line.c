/* Records as lines, the form in which they leave the product. See event.h. */
#include "queue/cursor.h"
#include "queue/event.h"

#include <stdlib.h>
#include <string.h>

int oq_event_line(int64_t seq, struct ps_str json, struct ps_buf *buf)
{
    if (seq < 0 || json.len < 2 || json.at[0] != '{')
        return PS_E_INVALID;
    ps_buf_puts(buf, "{\"seq\":");
    ps_buf_put_int(buf, seq);
    ps_buf_put(buf, ",", 1);
    ps_buf_put(buf, json.at + 1, json.len - 1);
    return buf->overflow ? PS_E_FULL : 0;
}

int oq_event_decode_line(const char *line, size_t len, int64_t *ret_seq, struct oq_event *ret_event,
                         void **ret_owner, struct ps_fault *fault)
{
    if (len > 0 && line[len - 1] == '\n')
        len--;
    struct oq_cursor cursor = {line, line + len};
    int64_t seq;
    if (!oq_skip(&cursor, "{\"seq\":", 7) || !oq_take_int(&cursor, &seq) || seq < 0 ||
        !oq_skip(&cursor, ",", 1))
        return ps_fault(fault, PS_E_INVALID, "/seq", "the line does not start with {\"seq\":N,");
    /* The object without its first member: the brace replaces the comma. */
    size_t rest = (size_t)(cursor.end - cursor.at) + 1;
    char *object = malloc(rest);
    if (object == NULL)
        return ps_fault(fault, PS_E_NOMEM, "", "out of memory");
    object[0] = '{';
    memcpy(object + 1, cursor.at, rest - 1);
    int err = oq_event_decode(object, rest, ret_event, ret_owner, fault);
    free(object);
    if (err == 0)
        *ret_seq = seq;
    return err;
}

int oq_event_visit_line(const char *line, size_t len, oq_event_fn *fn, void *ctx)
{
    struct oq_event event;
    void *owner;
    int64_t seq;
    int err = oq_event_decode_line(line, len, &seq, &event, &owner, NULL);

    if (err < 0)
        return err;
    err = fn(seq, &event, ctx);
    oq_event_release(owner);
    return err;
}
