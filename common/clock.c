/* Clocks and the two date formats that the outside sees.
 * Dates are computed on the proleptic Gregorian calendar with whole-number arithmetic: years of a
 * 400-year era begin in March, so that the leap day is the last of its year. No time zone of the
 * system, no locale and no lock of libc is involved. What is printed is always 24 (29) bytes: times
 * outside the years 0000 to 9999 are printed as the nearest end of that range, and never parsed. */
#include "common/clock.h"
#include "common/err.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#define MS_PER_DAY   INT64_C(86400000)
#define DAYS_TO_1970 INT64_C(719468)          /* from 0000-03-01 */
#define TIME_MIN_MS  INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define TIME_MAX_MS  INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

struct civil {
    int year, month, day; /* month and day count from 1 */
    int hour, minute, second, ms;
    int weekday; /* 0 = Sunday */
};

static int64_t system_mono_ns(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * PS_NS_PER_S + ts.tv_nsec;
}

static int64_t system_wall_ms(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / PS_NS_PER_MS;
}

const struct ps_clock ps_clock_system = {system_mono_ns, system_wall_ms, NULL};

static int64_t manual_mono_ns(void *ctx)
{
    const struct ps_clock_manual *manual = ctx;
    return manual->mono_ns;
}

static int64_t manual_wall_ms(void *ctx)
{
    const struct ps_clock_manual *manual = ctx;
    return manual->wall_ms;
}

void ps_clock_manual_init(struct ps_clock_manual *manual, int64_t mono_ns, int64_t wall_ms)
{
    *manual = (struct ps_clock_manual){
        .clock = {manual_mono_ns, manual_wall_ms, manual},
        .mono_ns = mono_ns,
        .wall_ms = wall_ms,
    };
}

int64_t ps_steady_look(struct ps_steady *steady, int64_t wall_ms, int64_t mono_ns)
{
    int64_t offset_ms = wall_ms - mono_ns / PS_NS_PER_MS;
    int64_t moved_ms = steady->known ? offset_ms - steady->offset_ms : 0;
    bool jumped = moved_ms <= -PS_JUMP_MS || moved_ms >= PS_JUMP_MS;

    if (!steady->known || jumped)
        steady->since_ns = mono_ns;
    steady->known = true;
    steady->offset_ms = offset_ms;
    return jumped ? moved_ms : 0;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01. */
static int64_t days_of(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = floor_div(y, 400);
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - DAYS_TO_1970;
}

static int64_t within_range(int64_t wall_ms)
{
    if (wall_ms < TIME_MIN_MS)
        return TIME_MIN_MS;
    return wall_ms > TIME_MAX_MS ? TIME_MAX_MS : wall_ms;
}

static struct civil civil_of(int64_t wall_ms)
{
    wall_ms = within_range(wall_ms);
    int64_t days = floor_div(wall_ms, MS_PER_DAY);
    int64_t ms = wall_ms - days * MS_PER_DAY;

    int64_t from_march = days + DAYS_TO_1970;
    int64_t era = floor_div(from_march, 146097);
    int64_t day_of_era = from_march - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    int64_t weekday = (days + 4) % 7; /* 1970-01-01 was a Thursday */
    return (struct civil){
        .year = (int)(year_of_era + era * 400 + (month <= 2)),
        .month = (int)month,
        .day = (int)(day_of_year - (153 * march_month + 2) / 5 + 1),
        .hour = (int)(ms / 3600000),
        .minute = (int)(ms / 60000 % 60),
        .second = (int)(ms / 1000 % 60),
        .ms = (int)(ms % 1000),
        .weekday = (int)(weekday < 0 ? weekday + 7 : weekday),
    };
}

static const char digit_pairs[] = "0001020304050607080910111213141516171819"
                                  "2021222324252627282930313233343536373839"
                                  "4041424344454647484950515253545556575859"
                                  "6061626364656667686970717273747576777879"
                                  "8081828384858687888990919293949596979899";

/* Two decimal digits of 0..99; returns the place behind them. */
static inline char *put_two(char *at, int value)
{
    memcpy(at, digit_pairs + 2 * value, 2);
    return at + 2;
}

static char *put_year(char *at, int year)
{
    return put_two(put_two(at, year / 100), year % 100);
}

static char *put_clock(char *at, const struct civil *c)
{
    at = put_two(at, c->hour);
    *at++ = ':';
    at = put_two(at, c->minute);
    *at++ = ':';
    return put_two(at, c->second);
}

#define DATE_LEN 11 /* with the T */

static void format_date(int64_t wall_ms, char ret_text[DATE_LEN])
{
    struct civil c = civil_of(wall_ms);
    char *at = put_year(ret_text, c.year);
    *at++ = '-';
    at = put_two(at, c.month);
    *at++ = '-';
    at = put_two(at, c.day);
    *at = 'T';
}

/* An order has five times in it, of today or tomorrow: each thread remembers two days. */
void ps_time_format(int64_t wall_ms, char ret_text[PS_TIME_LEN + 1])
{
    static _Thread_local struct {
        int64_t day;
        char date[DATE_LEN];
    } days[2] = {{.day = INT64_MIN}, {.day = INT64_MIN}};
    wall_ms = within_range(wall_ms);
    int64_t day = floor_div(wall_ms, MS_PER_DAY);
    unsigned ms = (unsigned)(wall_ms - day * MS_PER_DAY);
    if (day != days[day & 1].day) {
        format_date(wall_ms, days[day & 1].date);
        days[day & 1].day = day;
    }
    memcpy(ret_text, days[day & 1].date, DATE_LEN);
    struct civil c = {.hour = (int)(ms / 3600000),
                      .minute = (int)(ms / 60000 % 60),
                      .second = (int)(ms / 1000 % 60)};
    char *at = put_clock(ret_text + DATE_LEN, &c);
    *at++ = '.';
    *at++ = (char)('0' + ms % 1000 / 100);
    at = put_two(at, (int)(ms % 100));
    *at++ = 'Z';
    *at = '\0';
}

static const char *const weekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void ps_http_date_format(int64_t wall_ms, char ret_text[PS_HTTP_DATE_LEN + 1])
{
    struct civil c = civil_of(wall_ms);
    char *at = ret_text;
    memcpy(at, weekdays[c.weekday], 3);
    memcpy(at + 3, ", ", 2);
    at = put_two(at + 5, c.day);
    *at++ = ' ';
    memcpy(at, months[c.month - 1], 3);
    at[3] = ' ';
    at = put_year(at + 4, c.year);
    *at++ = ' ';
    at = put_clock(at, &c);
    memcpy(at, " GMT", 5);
}

/* What is left of the text that is being parsed. */
struct cursor {
    const char *at;
    const char *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool take_one_of(struct cursor *cursor, const char *any_of)
{
    if (cursor->at == cursor->end || *cursor->at == '\0' || strchr(any_of, *cursor->at) == NULL)
        return false;
    cursor->at++;
    return true;
}

/* Exactly `digits` decimal digits, whose value must lie in [min, max]. */
static bool take_number(struct cursor *cursor, int digits, int min, int max, int *ret_value)
{
    if (cursor->end - cursor->at < digits)
        return false;
    int value = 0;
    for (int i = 0; i < digits; i++) {
        if (!is_digit(cursor->at[i]))
            return false;
        value = value * 10 + (cursor->at[i] - '0');
    }
    if (value < min || value > max)
        return false;
    cursor->at += digits;
    *ret_value = value;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_fraction(struct cursor *cursor, int *ret_ms)
{
    *ret_ms = 0;
    if (!take_one_of(cursor, "."))
        return true;
    int digits = 0;
    for (; cursor->at < cursor->end && is_digit(*cursor->at); cursor->at++, digits++) {
        if (digits < 3)
            *ret_ms = *ret_ms * 10 + (*cursor->at - '0');
    }
    for (int i = digits; i < 3; i++)
        *ret_ms *= 10;
    return digits >= 1 && digits <= 9;
}

/* "Z" or "+hh:mm"; how far local time is ahead of UTC. */
static bool take_offset(struct cursor *cursor, int *ret_minutes)
{
    *ret_minutes = 0;
    if (take_one_of(cursor, "Zz"))
        return true;
    int sign = take_one_of(cursor, "-") ? -1 : 1;
    if (sign == 1 && !take_one_of(cursor, "+"))
        return false;
    int hours, minutes;
    if (!take_number(cursor, 2, 0, 23, &hours) || !take_one_of(cursor, ":") ||
        !take_number(cursor, 2, 0, 59, &minutes))
        return false;
    *ret_minutes = sign * (hours * 60 + minutes);
    return true;
}

int ps_time_parse(const char *text, size_t len, int64_t *ret_wall_ms)
{
    struct cursor cursor = {text, text + len};
    struct civil c;
    int offset_minutes;
    if (!take_number(&cursor, 4, 0, 9999, &c.year) || !take_one_of(&cursor, "-") ||
        !take_number(&cursor, 2, 1, 12, &c.month) || !take_one_of(&cursor, "-") ||
        !take_number(&cursor, 2, 1, days_in_month(c.year, c.month), &c.day) ||
        !take_one_of(&cursor, "Tt") || !take_number(&cursor, 2, 0, 23, &c.hour) ||
        !take_one_of(&cursor, ":") || !take_number(&cursor, 2, 0, 59, &c.minute) ||
        !take_one_of(&cursor, ":") || !take_number(&cursor, 2, 0, 59, &c.second) ||
        !take_fraction(&cursor, &c.ms) || !take_offset(&cursor, &offset_minutes) ||
        cursor.at != cursor.end)
        return PS_E_INVALID;
    int64_t minutes =
        days_of(c.year, c.month, c.day) * 1440 + c.hour * 60 + c.minute - offset_minutes;
    int64_t wall_ms = minutes * 60000 + c.second * 1000 + c.ms;
    if (wall_ms < TIME_MIN_MS || wall_ms > TIME_MAX_MS)
        return PS_E_INVALID;
    *ret_wall_ms = wall_ms;
    return 0;
}

static bool take_text(struct cursor *cursor, const char *text, size_t len)
{
    if ((size_t)(cursor->end - cursor->at) < len || strncasecmp(cursor->at, text, len) != 0)
        return false;
    cursor->at += len;
    return true;
}

static bool take_month(struct cursor *cursor, int *ret_month)
{
    for (int i = 0; i < 12; i++) {
        if (take_text(cursor, months[i], 3)) {
            *ret_month = i + 1;
            return true;
        }
    }
    return false;
}

/* "08:49:37"; a leap second is the next one. */
static bool take_clock(struct cursor *cursor, struct civil *c)
{
    return take_number(cursor, 2, 0, 23, &c->hour) && take_text(cursor, ":", 1) &&
           take_number(cursor, 2, 0, 59, &c->minute) && take_text(cursor, ":", 1) &&
           take_number(cursor, 2, 0, 60, &c->second);
}

/* " 06 Nov 1994 08:49:37 GMT" */
static bool take_fixdate(struct cursor *cursor, struct civil *c)
{
    return take_text(cursor, ", ", 2) && take_number(cursor, 2, 1, 31, &c->day) &&
           take_text(cursor, " ", 1) && take_month(cursor, &c->month) &&
           take_text(cursor, " ", 1) && take_number(cursor, 4, 0, 9999, &c->year) &&
           take_text(cursor, " ", 1) && take_clock(cursor, c) && take_text(cursor, " GMT", 4);
}

/* ", 06-Nov-94 08:49:37 GMT" of RFC 850 */
static bool take_short_date(struct cursor *cursor, int this_year, struct civil *c)
{
    if (!take_text(cursor, ", ", 2) || !take_number(cursor, 2, 1, 31, &c->day) ||
        !take_text(cursor, "-", 1) || !take_month(cursor, &c->month) ||
        !take_text(cursor, "-", 1) || !take_number(cursor, 2, 0, 99, &c->year) ||
        !take_text(cursor, " ", 1) || !take_clock(cursor, c) || !take_text(cursor, " GMT", 4))
        return false;
    c->year += (this_year + 50) / 100 * 100;
    if (c->year > this_year + 50)
        c->year -= 100;
    return true;
}

/* " Nov  6 08:49:37 1994" of asctime() */
static bool take_asctime(struct cursor *cursor, struct civil *c)
{
    return take_text(cursor, " ", 1) && take_month(cursor, &c->month) &&
           take_text(cursor, " ", 1) &&
           (take_text(cursor, " ", 1) ? take_number(cursor, 1, 1, 9, &c->day)
                                      : take_number(cursor, 2, 1, 31, &c->day)) &&
           take_text(cursor, " ", 1) && take_clock(cursor, c) && take_text(cursor, " ", 1) &&
           take_number(cursor, 4, 0, 9999, &c->year);
}

int ps_http_date_parse(const char *text, size_t len, int64_t now_ms, int64_t *ret_wall_ms)
{
    struct cursor cursor = {text, text + len};
    struct civil c;
    bool found = false;
    size_t day = 0;
    while (day < PS_ARRAY_LEN(weekdays) && !take_text(&cursor, weekdays[day], 3))
        day++;
    if (day == PS_ARRAY_LEN(weekdays))
        return PS_E_INVALID;
    if (cursor.at < cursor.end && *cursor.at == ',')
        found = take_fixdate(&cursor, &c);
    else if (cursor.at < cursor.end && *cursor.at == ' ')
        found = take_asctime(&cursor, &c);
    else if (take_text(&cursor, weekdays[day] + 3, strlen(weekdays[day]) - 3))
        found = take_short_date(&cursor, civil_of(now_ms).year, &c);
    if (!found || cursor.at != cursor.end || c.day > days_in_month(c.year, c.month))
        return PS_E_INVALID;
    int64_t minutes = days_of(c.year, c.month, c.day) * 1440 + c.hour * 60 + c.minute;
    *ret_wall_ms = minutes * 60000 + c.second * INT64_C(1000);
    return 0;
}
