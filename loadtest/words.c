/* Counts and verdicts as people say them. */
#include "loadtest/words.h"

#include "common/defs.h"

#include <stdio.h>
#include <string.h>

/* How a shopkeeper would say it. */
static const struct {
    const char *verdict, *text;
} phrases[] = {
    {"pending", "were told \"perhaps\" (the log was slow)"},
    {"replayed", "were clicks again by people who were shown the order they had"},
    {"no_answer", "got no answer in time"},
    {"reset", "lost their connection before the answer"},
    {"refused", "found the door shut (no connection)"},
    {"garbled", "got an answer that makes no sense"},
    {"sold_out", "were told \"sold out\""},
    {"user_limit", "wanted more than one buyer may have"},
    {"user_rate", "clicked too fast and were slowed down"},
    {"ip_rate", "came from an address that clicks too fast"},
    {"sale_rate", "met the speed limit of the sale"},
    {"global_rate", "met the speed limit of the shop"},
    {"idempotency_in_progress", "clicked again while the first click was being answered"},
    {"unauthenticated", "were not known (401)"},
    {"shed", "were sent away because of overload"},
    {"fenced", "came while the gateway was counting its stock again"},
    {"draining", "came while the gateway was shutting down"},
    {"paused", "came while the sale was paused"},
    {"log_backlog", "came faster than orders can be written"},
    {"log_unavailable", "came while no order could be written (is the disk full?)"},
    {"store_unavailable", "came while stock could not be counted"},
    {"too_many_connections", "found no place: the gateway had too many connections"},
    {"not_found", "asked a gateway that does not know the sale"},
    {"blocked", "are on the blocklist"},
};

const char *lt_count(int64_t count, char text[LT_COUNT_LEN + 1])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)count);
    int at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-')
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    return text;
}

const char *lt_words_of(const char *verdict)
{
    for (size_t i = 0; i < PS_ARRAY_LEN(phrases); i++) {
        if (strcmp(phrases[i].verdict, verdict) == 0)
            return phrases[i].text;
    }
    return NULL;
}
