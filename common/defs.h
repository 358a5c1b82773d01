/* Words that every file shares: attributes, sizes, limits of names. Nothing here has state. */
#ifndef PS_DEFS_H
#define PS_DEFS_H

#ifdef NDEBUG /* assertions guard sizes and rules that must hold: without them a fault would go    \
                 unnoticed */
#error "build without NDEBUG: cmake --preset release, or CMAKE_C_FLAGS_RELEASE=-O2"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PS_MUST_CHECK        __attribute__((warn_unused_result))
#define PS_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define PS_CACHE_LINE        64
#define PS_ALIGNED           __attribute__((aligned(PS_CACHE_LINE)))
#define PS_LIKELY(x)         __builtin_expect(!!(x), 1)
#define PS_UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define PS_ARRAY_LEN(a)      (sizeof(a) / sizeof((a)[0]))

/* Largest stock, rate or delta: the integers that every JSON reader keeps exact. */
#define PS_INT_MAX INT64_C(9007199254740991)

static inline bool ps_int_ok(int64_t value, int64_t min)
{
    return value >= min && value <= PS_INT_MAX;
}

/* Longest sale, SKU, rule and adjust id; user; Idempotency-Key. In bytes, without a closing NUL. */
#define PS_NAME_MAX 64
#define PS_USER_MAX 128
#define PS_KEY_MAX  64

/* A counted string that somebody else owns. Not NUL-terminated unless a function says so. */
struct ps_str {
    const char *at;
    size_t len;
};

#define PS_STR(literal) ((struct ps_str){(literal), sizeof(literal) - 1})

static inline struct ps_str ps_str(const char *text)
{
    return (struct ps_str){text, strlen(text)};
}

static inline bool ps_str_is(struct ps_str text, const char *word)
{
    return text.len == strlen(word) && memcmp(text.at, word, text.len) == 0;
}

static inline bool ps_str_same(struct ps_str a, struct ps_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* Like strcmp, of counted strings. */
static inline int ps_str_compare(struct ps_str left, struct ps_str right)
{
    size_t len = left.len < right.len ? left.len : right.len;
    int order = len > 0 ? memcmp(left.at, right.at, len) : 0;

    return order != 0 ? order : (left.len > right.len) - (left.len < right.len);
}

/* A list of texts, each NUL-terminated. Whose it is, its owner says. */
struct ps_strings {
    char **at;
    size_t count;
};

/* Of texts that may be NULL, which is the same as nothing but NULL. */
static inline bool ps_text_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

#endif
