/* Counts and verdicts as people say them. Any thread. */
#ifndef LT_WORDS_H
#define LT_WORDS_H

#include <stdint.h>

/* "1,234,567"; LT_COUNT's text lives as long as the block that it stands in. */
#define LT_COUNT_LEN    27
#define LT_COUNT(count) lt_count((int64_t)(count), (char[LT_COUNT_LEN + 1]){0})
const char *lt_count(int64_t count, char text[LT_COUNT_LEN + 1]);

/* What happened to buyers with this verdict ("were told ..."); NULL: no words are known. */
const char *lt_words_of(const char *verdict);

#endif
