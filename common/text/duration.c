/* See duration.h. */
#include "common/text/duration.h"

#include <string.h>

#define DIGITS_MAX 12 /* times a day still fits */

int ps_duration_read(const char *text, size_t len, int64_t *ret_s)
{
    static const char units[] = "smhd";
    static const int64_t seconds[] = {1, 60, 3600, 86400};
    const char *unit = len >= 2 ? memchr(units, text[len - 1], sizeof units - 1) : NULL;
    int64_t number = 0;

    if (unit == NULL || len - 1 > DIGITS_MAX || (len > 2 && text[0] == '0'))
        return PS_E_INVALID;
    for (size_t i = 0; i + 1 < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return PS_E_INVALID;
        number = number * 10 + (text[i] - '0');
    }
    *ret_s = number * seconds[unit - units];
    return 0;
}
