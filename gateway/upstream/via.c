/* See via.h. A comment may contain commas, and nothing inside it counts. An unclosed comment is no
 * comment: otherwise the first client could hide in it what gateways add, where a proxy between
 * them joins the lines. */
#include "gateway/upstream/via.h"

#include <string.h>

/* Length of the comment at the beginning of the text; 0: it is not closed. */
static size_t comment_len(struct ps_str text)
{
    size_t depth = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\\')
            i++;
        else if (text.at[i] == '(')
            depth++;
        else if (text.at[i] == ')' && --depth == 0)
            return i + 1;
    }
    return 0;
}

static void skip(struct ps_str *text, size_t count)
{
    text->at += count;
    text->len -= count;
}

/* Takes the next element; commas in its comments do not end it. `*has_comments` becomes false at
 * the first unclosed one, so that each byte is read twice at most. */
static struct ps_str take_element(struct ps_str *line, bool *has_comments)
{
    struct ps_str element = *line;

    while (line->len > 0 && line->at[0] != ',') {
        size_t comment = *has_comments && line->at[0] == '(' ? comment_len(*line) : 1;
        *has_comments = *has_comments && comment > 0;
        skip(line, comment > 0 ? comment : 1);
    }
    element.len -= line->len;
    if (line->len > 0)
        skip(line, 1);
    return ps_http_trim(element);
}

/* received-protocol RWS received-by [ RWS comment ] */
static bool is_own(struct ps_str element)
{
    size_t len = 0;

    while (element.len > 0 && element.at[0] != ' ' && element.at[0] != '\t')
        skip(&element, 1);
    element = ps_http_trim(element);
    while (len < element.len && strchr(" \t(", element.at[len]) == NULL)
        len++;
    return ps_http_is_text((struct ps_str){element.at, len}, UP_VIA_NAME);
}

bool up_via_loops(const struct ps_http_head *head, const char *base)
{
    int count = 0;

    for (uint32_t i = 0; i < head->field_count; i++) {
        if (!ps_http_is_text(ps_http_text(base, head->fields[i].name), "Via"))
            continue;
        struct ps_str line = ps_http_text(base, head->fields[i].value);
        bool has_comments = true;
        while (line.len > 0)
            count += is_own(take_element(&line, &has_comments));
    }
    return count > UP_VIA_MAX;
}
