/* How long, as people write it: "90s", "10m", "2h", "1d". One number, one unit: no "1h30m", and no
 * number alone. */
#ifndef PS_DURATION_H
#define PS_DURATION_H

#include "common/err.h"

#include <stddef.h>
#include <stdint.h>

/* ECMA-262, for schemas. */
#define PS_DURATION_PATTERN "^(0|[1-9][0-9]{0,11})[smhd]$"

/* In seconds. PS_E_INVALID: it is none, or too long to be one. */
int ps_duration_read(const char *text, size_t len, int64_t *ret_s) PS_MUST_CHECK;

#endif
