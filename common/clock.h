/* Time. Limits and deadlines use the monotonic clock, windows of sales the wall clock. A clock is a
 * value that is passed in, so that tests can hold it. */
#ifndef PS_CLOCK_H
#define PS_CLOCK_H

#include "common/defs.h"

#define PS_NS_PER_MS INT64_C(1000000)
#define PS_NS_PER_S  INT64_C(1000000000)

struct ps_clock {
    int64_t (*mono_ns)(void *ctx); /* nanoseconds since some start; never goes back */
    int64_t (*wall_ms)(void *ctx); /* milliseconds since 1970 UTC; may jump */
    void *ctx;
};

/* The clocks of the operating system. */
extern const struct ps_clock ps_clock_system;

static inline int64_t ps_clock_mono_ns(const struct ps_clock *clock)
{
    return clock->mono_ns(clock->ctx);
}

static inline int64_t ps_clock_wall_ms(const struct ps_clock *clock)
{
    return clock->wall_ms(clock->ctx);
}

/* A clock that stands still until set (tests). Set the `now` fields, then use `clock`. Not
 * thread-safe. */
struct ps_clock_manual {
    struct ps_clock clock;
    int64_t mono_ns;
    int64_t wall_ms;
};
void ps_clock_manual_init(struct ps_clock_manual *manual, int64_t mono_ns, int64_t wall_ms);

/* The wall clock against the monotonic one. A machine whose wall clock is wrong is put right
 * sooner or later, and then that clock jumps. So what cannot be undone waits until the wall clock
 * has gone on evenly for a while. One thread. */
#define PS_JUMP_MS 2000 /* clocks that are kept right by NTP move less between two looks */
struct ps_steady {
    bool known;
    int64_t offset_ms; /* wall minus monotonic clock, as last seen */
    int64_t since_ns;  /* of the monotonic clock: the first look, or the last jump */
};
/* Call it at least every second. By how many ms the wall clock has jumped since the last look; 0:
 * it has not. */
int64_t ps_steady_look(struct ps_steady *steady, int64_t wall_ms, int64_t mono_ns);

/* RFC 3339. Out: always UTC with milliseconds and 'Z', 24 bytes and a NUL. In: any offset, 0-9
 * digits of a second (cut to ms); no offset, a leap second or a date that does not exist is
 * PS_E_INVALID. */
#define PS_TIME_LEN 24
void ps_time_format(int64_t wall_ms, char ret_text[PS_TIME_LEN + 1]);
int ps_time_parse(const char *text, size_t len, int64_t *ret_wall_ms) PS_MUST_CHECK;

/* IMF-fixdate of RFC 9110 ("Sun, 06 Nov 1994 08:49:37 GMT"), 29 bytes and a NUL. */
#define PS_HTTP_DATE_LEN 29
void ps_http_date_format(int64_t wall_ms, char ret_text[PS_HTTP_DATE_LEN + 1]);
/* The three forms of RFC 9110, section 5.6.7; the case of letters does not matter (RFC 9111,
 * section 4.2). A year of two digits is the one that is at most 50 years after `now_ms`.
 * PS_E_INVALID. */
int ps_http_date_parse(const char *text, size_t len, int64_t now_ms,
                       int64_t *ret_wall_ms) PS_MUST_CHECK;

#endif
