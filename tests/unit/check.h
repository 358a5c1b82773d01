/* What every unit test includes: cmocka in its order, and a few words that make claims short. */
#ifndef PS_TEST_CHECK_H
#define PS_TEST_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define assert_ok(call) assert_int_equal((call), 0)

#endif
