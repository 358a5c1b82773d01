/* A state for each place of the grammar; what may stand at a place is the `case`. */
#include "common/http/chunks.h"

enum state {
    SIZE_FIRST, /* no digit yet */
    SIZE,
    GAP,         /* white space before ';' */
    NAME_FIRST,  /* behind ';' */
    NAME,        /* of an extension */
    NAME_GAP,    /* white space before '=' or ';' */
    VALUE_FIRST, /* behind '=' */
    VALUE,       /* a token */
    QUOTED,      /* within quotes */
    QUOTED_PAIR, /* behind a backslash */
    QUOTED_END,  /* behind the closing quote */
    LINE_END,    /* LF of the size line */
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* a field, or the empty line that ends all */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    ENDED
};

#define SIZE_DIGITS_MAX 15 /* 60 bits */

void ps_http_chunks_init(struct ps_http_chunks *chunks)
{
    *chunks = (struct ps_http_chunks){.state = SIZE_FIRST};
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_gap(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_token_char(char c)
{
    return ps_http_is_token((struct ps_str){&c, 1});
}

static bool is_control(char c)
{
    unsigned char byte = (unsigned char)c;

    return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

static enum ps_http_rule step_size(struct ps_http_chunks *chunks, char c)
{
    int value = hex_value(c);

    if (value >= 0) {
        if (chunks->line_len > SIZE_DIGITS_MAX)
            return PS_HTTP_CHUNK_SIZE;
        chunks->left = chunks->left * 16 + (uint64_t)value;
        chunks->state = SIZE;
    } else if (chunks->state == SIZE_FIRST) {
        return PS_HTTP_CHUNK_SIZE;
    } else if (c == '\r') {
        chunks->state = LINE_END;
    } else if (c == ';') {
        chunks->state = NAME_FIRST;
    } else if (is_gap(c)) {
        chunks->state = GAP;
    } else {
        return PS_HTTP_CHUNK_SIZE;
    }
    return PS_HTTP_NO_RULE;
}

/* What may follow a whole extension: the line's end, the next one, or white space before it. */
static bool step_behind(struct ps_http_chunks *chunks, char c)
{
    if (c == '\r')
        chunks->state = LINE_END;
    else if (c == ';')
        chunks->state = NAME_FIRST;
    else if (is_gap(c))
        chunks->state = GAP;
    else
        return false;
    return true;
}

/* RFC 9112, section 7.1.1: *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ) */
static bool step_extension(struct ps_http_chunks *chunks, char c)
{
    switch (chunks->state) {
    case GAP:
        if (c == ';')
            chunks->state = NAME_FIRST;
        return c == ';' || is_gap(c);
    case NAME_FIRST:
        if (is_token_char(c))
            chunks->state = NAME;
        return is_token_char(c) || is_gap(c);
    case NAME:
        if (is_token_char(c))
            return true;
        if (is_gap(c))
            chunks->state = NAME_GAP;
        else if (c == '=')
            chunks->state = VALUE_FIRST;
        else
            return step_behind(chunks, c);
        return true;
    case NAME_GAP:
        if (c == '=')
            chunks->state = VALUE_FIRST;
        else if (c == ';')
            chunks->state = NAME_FIRST;
        return c == '=' || c == ';' || is_gap(c);
    case VALUE_FIRST:
        if (c == '"')
            chunks->state = QUOTED;
        else if (is_token_char(c))
            chunks->state = VALUE;
        return c == '"' || is_token_char(c) || is_gap(c);
    case VALUE:
        return is_token_char(c) || step_behind(chunks, c);
    case QUOTED:
        if (c == '"')
            chunks->state = QUOTED_END;
        else if (c == '\\')
            chunks->state = QUOTED_PAIR;
        return !is_control(c);
    case QUOTED_PAIR:
        chunks->state = QUOTED;
        return !is_control(c);
    default: /* QUOTED_END */
        return step_behind(chunks, c);
    }
}

static enum ps_http_rule step_trailer(struct ps_http_chunks *chunks, char c)
{
    switch (chunks->state) {
    case TRAILER_FIRST:
        if (c == '\r')
            chunks->state = LAST_LF;
        else if (is_token_char(c))
            chunks->state = TRAILER_NAME;
        else
            return PS_HTTP_TRAILER;
        return PS_HTTP_NO_RULE;
    case TRAILER_NAME:
        if (c == ':')
            chunks->state = TRAILER_VALUE;
        return c == ':' || is_token_char(c) ? PS_HTTP_NO_RULE : PS_HTTP_TRAILER;
    case TRAILER_VALUE:
        if (c == '\r')
            chunks->state = TRAILER_LF;
        return c == '\r' || !is_control(c) ? PS_HTTP_NO_RULE : PS_HTTP_TRAILER;
    default: /* TRAILER_LF, LAST_LF */
        if (c != '\n')
            return PS_HTTP_TRAILER;
        chunks->state = chunks->state == LAST_LF ? ENDED : TRAILER_FIRST;
        return PS_HTTP_NO_RULE;
    }
}

/* A byte that is not data. */
static enum ps_http_rule step(struct ps_http_chunks *chunks, char c)
{
    switch (chunks->state) {
    case SIZE_FIRST:
    case SIZE:
        chunks->line_len++;
        return step_size(chunks, c);
    case LINE_END:
        if (c != '\n')
            return PS_HTTP_CHUNK_SIZE_END;
        chunks->line_len = 0;
        chunks->state = chunks->left > 0 ? DATA : TRAILER_FIRST;
        return PS_HTTP_NO_RULE;
    case DATA_CR:
        chunks->state = DATA_LF;
        return c == '\r' ? PS_HTTP_NO_RULE : PS_HTTP_CHUNK_END;
    case DATA_LF:
        chunks->state = SIZE_FIRST;
        return c == '\n' ? PS_HTTP_NO_RULE : PS_HTTP_CHUNK_END;
    case TRAILER_FIRST:
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
    case LAST_LF:
        if (++chunks->line_len > PS_HTTP_TRAILER_MAX)
            return PS_HTTP_TRAILERS_TOO_LARGE;
        return step_trailer(chunks, c);
    default:
        if (++chunks->line_len > PS_HTTP_CHUNK_LINE_MAX)
            return PS_HTTP_CHUNK_LINE_TOO_LONG;
        return step_extension(chunks, c) ? PS_HTTP_NO_RULE : PS_HTTP_CHUNK_EXTENSION;
    }
}

enum ps_http_step ps_http_chunks_next(struct ps_http_chunks *chunks, const char *data, size_t len,
                                      size_t *ret_used, struct ps_str *ret_piece)
{
    size_t at = 0;

    while (at < len && chunks->state != ENDED) {
        if (chunks->state == DATA) {
            size_t piece = len - at < chunks->left ? len - at : (size_t)chunks->left;
            *ret_piece = (struct ps_str){data + at, piece};
            *ret_used = at + piece;
            chunks->left -= piece;
            if (chunks->left == 0)
                chunks->state = DATA_CR;
            return PS_HTTP_DATA;
        }
        chunks->rule = step(chunks, data[at++]);
        if (chunks->rule != PS_HTTP_NO_RULE)
            return PS_HTTP_BAD;
    }
    *ret_used = at;
    return chunks->state == ENDED ? PS_HTTP_DONE : PS_HTTP_MORE;
}
