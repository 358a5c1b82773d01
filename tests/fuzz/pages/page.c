/* See page.h. */
#include "tests/fuzz/pages/page.h"

#include "common/http/address.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>

static char plain(char c)
{
    return c > ' ' && c <= '~' && c != '|' && c != '"' && c != ',' ? c : '~';
}

void page_set(struct page *page, enum page_part part, struct ps_str value)
{
    char *to = page->parts[part];
    size_t len = value.len < PAGE_PART_MAX ? value.len : PAGE_PART_MAX - 1;

    for (size_t i = 0; i < len; i++)
        to[i] = plain(value.at[i]);
    to[len] = '\0';
}

void page_set_lower(struct page *page, enum page_part part, struct ps_str value)
{
    page_set(page, part, value);
    for (char *c = page->parts[part]; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
}

void page_set_authority(struct page *page, struct ps_str value)
{
    char text[PAGE_PART_MAX];
    struct ps_buf buf;

    ps_buf_init(&buf, text, sizeof text);
    ps_http_put_authority(&buf, value, NULL);
    page_set(page, PAGE_AUTHORITY, (struct ps_str){text, buf.len});
}

void page_set_path(struct page *page, struct ps_str value)
{
    char text[3 * PAGE_PART_MAX];
    struct ps_buf buf;

    ps_buf_init(&buf, text, sizeof text);
    MUST(ps_http_put_normal(&buf, value));
    page_set(page, PAGE_PATH, (struct ps_str){text, buf.len});
}

/* Those of the scripts are short, and have two parameters at most. */
void page_set_query(struct page *page, struct ps_str value)
{
    const char *and = value.len > 0 ? memchr(value.at, '&', value.len) : NULL;
    char text[PAGE_PART_MAX];

    if (and == NULL) {
        page_set(page, PAGE_QUERY, value);
        return;
    }
    int first = (int)(and-value.at), second = (int)value.len - first - 1;
    if (strncmp(value.at, and+1, (size_t)second) <= 0)
        (void)snprintf(text, sizeof text, "%.*s", (int)value.len, value.at);
    else
        (void)snprintf(text, sizeof text, "%.*s&%.*s", second, and+1, first, value.at);
    page_set(page, PAGE_QUERY, ps_str(text));
}

void page_print(const struct page *page, struct ps_buf *buf)
{
    for (size_t i = 0; i < PAGE_PARTS; i++) {
        if (i > 0)
            ps_buf_put(buf, "|", 1);
        ps_buf_puts(buf, page->parts[i]);
    }
}

bool page_read(struct ps_str text, struct page *ret_page)
{
    for (size_t i = 0; i < PAGE_PARTS; i++) {
        const char *bar = memchr(text.at, '|', text.len);
        size_t len = bar != NULL ? (size_t)(bar - text.at) : text.len;
        if ((bar == NULL) != (i == PAGE_PARTS - 1) || len >= PAGE_PART_MAX)
            return false;
        memcpy(ret_page->parts[i], text.at, len);
        ret_page->parts[i][len] = '\0';
        text.at += len + 1;
        text.len -= bar != NULL ? len + 1 : len;
    }
    return true;
}

uint64_t page_hash(const struct page *page)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (size_t i = 0; i < PAGE_PARTS; i++)
        for (const char *c = page->parts[i];; c++) {
            hash = (hash ^ (uint8_t)*c) * 1099511628211u;
            if (*c == '\0')
                break;
        }
    return hash;
}

/* It repeats after so many bytes, which divide no length of a part. */
#define PERIOD 509

const char *page_body(uint64_t hash)
{
    static char body[PAGE_BODY_MAX];
    static uint64_t made;
    uint64_t chance = hash | 1;

    if (made == hash)
        return body;
    made = hash;
    for (size_t i = 0; i < PERIOD; i++) {
        chance = chance * 6364136223846793005u + 1442695040888963407u;
        body[i] = (char)('a' + (chance >> 40) % 26);
    }
    for (size_t len = PERIOD; len < PAGE_BODY_MAX; len *= 2)
        memcpy(body + len, body, len < PAGE_BODY_MAX - len ? len : PAGE_BODY_MAX - len);
    return body;
}
