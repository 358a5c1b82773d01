/* What a shared cache makes of two requests in a row. The rows are the cases of the public suite
 * http-tests/cache-tests (https://cache-tests.fyi), each by its id there, as facts of our own;
 * those for browsers' caches and those that need a connection are left out
 * (system/pages/test_cache.py has the latter). Where the suite asks a question instead of making a
 * demand, `want` is what this cache does on purpose. */
#include "tests/unit/check.h"

#include "tests/unit/cache_fixture.h"

#include <stdio.h>

enum want {
    CACHED,  /* the second request gets the entry */
    STALE,   /* the same, and the origin is asked in the background */
    FETCHED, /* the origin is asked without validators */
    BY_ETAG, /* ... with If-None-Match */
    BY_DATE, /* ... with If-Modified-Since */
    ABSENT   /* 504 */
};
static const char *const words[] = {"CACHED", "STALE", "FETCHED", "BY_ETAG", "BY_DATE", "ABSENT"};

#define OBEYED 0x10 /* obeys_no_cache */
#define TTL_60 0x20 /* default_ttl_s */

struct row {
    const char *id, *first, *answer;
    int pause_s;
    const char *second;
    unsigned want; /* an enum want, and what the route says */
};

#define FRESH      "200|Cache-Control: max-age=100000|Date: {0}"
#define STALE_SOON "200|Cache-Control: max-age=2|Date: {0}"

/* clang-format off */
static const struct row rows[] = {
    /* Age: RFC 9111, section 5.1. */
    {"age-parse-nonnumeric", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: abc", 3, "GET", CACHED},
    {"age-parse-negative", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: -7200", 3, "GET", CACHED},
    {"age-parse-float", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 7200.0", 3, "GET", CACHED},
    {"age-parse-large-minus-one", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 2147483647", 3, "GET", FETCHED},
    {"age-parse-large", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 2147483648", 3, "GET", FETCHED},
    {"age-parse-larger", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 2147483649", 3, "GET", FETCHED},
    {"age-parse-suffix", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 7200, 0", 3, "GET", FETCHED},
    {"age-parse-prefix", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 0, 7200", 3, "GET", CACHED},
    {"age-parse-suffix-twoline", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 7200|Age: 0", 3, "GET", FETCHED},
    {"age-parse-prefix-twoline", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 0|Age: 7200", 3, "GET", CACHED},
    {"age-parse-dup-0", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 0, 0", 3, "GET", CACHED},
    {"age-parse-dup-0-twoline", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 0|Age: 0", 3, "GET", CACHED},
    {"age-parse-dup-old", "GET", "200|Date: {0}|Cache-Control: max-age=10000|Age: 3600|Age: 3600", 3, "GET", CACHED},
    {"age-parse-parameter", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 7200;foo=bar", 3, "GET", CACHED},
    {"age-parse-numeric-parameter", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 7200;foo=111", 3, "GET", CACHED},

    /* Authorization: 3.5. */
    {"other-authorization", "GET|Authorization: FOO", FRESH, 3, "GET", FETCHED},
    {"other-authorization-public", "GET|Authorization: FOO", "200|Cache-Control: max-age=3600, public|Date: {0}", 3, "GET", CACHED},
    {"other-authorization-must-revalidate", "GET|Authorization: FOO", "200|Cache-Control: max-age=3600, must-revalidate|Date: {0}", 3, "GET", CACHED},
    {"other-authorization-smaxage", "GET|Authorization: FOO", "200|Cache-Control: s-maxage=3600|Date: {0}", 3, "GET", CACHED},

    /* Freshness by Cache-Control: 4.2.1, 5.2.2. */
    {"freshness-none", "GET", "200", 3, "GET", FETCHED},
    {"freshness-max-age", "GET", "200|Cache-Control: max-age=3600", 3, "GET", CACHED},
    {"freshness-max-age-stale", "GET", STALE_SOON, 3, "GET", FETCHED},
    {"freshness-max-age-0", "GET", "200|Cache-Control: max-age=0", 3, "GET", FETCHED},
    {"freshness-max-age-max-minus-1", "GET", "200|Cache-Control: max-age=2147483647", 3, "GET", CACHED},
    {"freshness-max-age-max", "GET", "200|Cache-Control: max-age=2147483648", 3, "GET", CACHED},
    {"freshness-max-age-max-plus-1", "GET", "200|Cache-Control: max-age=2147483649", 3, "GET", CACHED},
    {"freshness-max-age-max-plus", "GET", "200|Cache-Control: max-age=99999999999", 3, "GET", CACHED},
    {"freshness-max-age-age", "GET", "200|Date: {0}|Cache-Control: max-age=3600|Age: 7200", 3, "GET", FETCHED},
    {"freshness-max-age-date", "GET", "200|Date: {-7200}|Cache-Control: max-age=3600", 3, "GET", FETCHED},
    {"freshness-max-age-expires", "GET", "200|Cache-Control: max-age=3600|Expires: {-7200}|Date: {0}", 3, "GET", CACHED},
    {"freshness-max-age-expires-invalid", "GET", "200|Cache-Control: max-age=3600|Expires: 0|Date: {0}", 3, "GET", CACHED},
    {"freshness-max-age-0-expires", "GET", "200|Expires: {3600}|Cache-Control: max-age=0|Date: {0}", 3, "GET", FETCHED},
    {"freshness-max-age-extension", "GET", "200|Cache-Control: foobar, max-age=3600", 3, "GET", CACHED},
    {"freshness-max-age-case-insenstive", "GET", "200|Cache-Control: MaX-aGe=3600", 3, "GET", CACHED},
    {"freshness-max-age-negative", "GET", "200|Cache-Control: max-age=-3600", 3, "GET", FETCHED},
    {"freshness-s-maxage-shared", "GET", "200|Cache-Control: s-maxage=3600", 3, "GET", CACHED},
    {"freshness-max-age-s-maxage-shared-longer", "GET", "200|Cache-Control: max-age=3600, s-maxage=1", 3, "GET", FETCHED},
    {"freshness-max-age-s-maxage-shared-longer-reversed", "GET", "200|Cache-Control: s-maxage=1, max-age=3600", 3, "GET", FETCHED},
    {"freshness-max-age-s-maxage-shared-longer-multiple", "GET", "200|Cache-Control: max-age=3600|Cache-Control: s-maxage=1", 3, "GET", FETCHED},
    {"freshness-max-age-s-maxage-shared-shorter", "GET", "200|Cache-Control: max-age=1, s-maxage=3600", 3, "GET", CACHED},
    {"freshness-max-age-s-maxage-shared-shorter-expires", "GET", "200|Expires: {-10}|Cache-Control: max-age=0, s-maxage=3600", 3, "GET", CACHED},

    /* Parsing Cache-Control: 4.2.1, 5.2. Two values that differ are stale here. */
    {"freshness-max-age-two-fresh-stale-sameline", "GET", "200|Cache-Control: max-age=1800, max-age=1", 3, "GET", FETCHED},
    {"freshness-max-age-two-fresh-stale-sepline", "GET", "200|Cache-Control: max-age=1800|Cache-Control: max-age=1", 3, "GET", FETCHED},
    {"freshness-max-age-two-stale-fresh-sameline", "GET", "200|Cache-Control: max-age=1, max-age=1800", 3, "GET", FETCHED},
    {"freshness-max-age-two-stale-fresh-sepline", "GET", "200|Cache-Control: max-age=1|Cache-Control: max-age=1800", 3, "GET", FETCHED},
    {"(the same value twice)", "GET", "200|Cache-Control: max-age=1800, max-age=1800", 3, "GET", CACHED},
    {"freshness-max-age-quoted", "GET", "200|Cache-Control: max-age=\"3600\"", 3, "GET", CACHED},
    {"freshness-max-age-ignore-quoted", "GET", "200|Cache-Control: extension=\"max-age=3600\", max-age=1", 3, "GET", FETCHED},
    {"freshness-max-age-ignore-quoted-rev", "GET", "200|Cache-Control: max-age=1, extension=\"max-age=3600\"", 3, "GET", FETCHED},
    {"freshness-max-age-space-before-equals", "GET", "200|Cache-Control: max-age =3600", 3, "GET", FETCHED},
    {"freshness-max-age-space-after-equals", "GET", "200|Cache-Control: max-age= 3600", 3, "GET", FETCHED},
    {"freshness-max-age-leading-zero", "GET", "200|Cache-Control: max-age=003600", 3, "GET", CACHED},
    {"freshness-max-age-single-quoted", "GET", "200|Cache-Control: max-age='3600'", 3, "GET", FETCHED},
    {"freshness-max-age-decimal-zero", "GET", "200|Cache-Control: max-age=3600.0", 3, "GET", FETCHED},
    {"freshness-max-age-decimal-five", "GET", "200|Cache-Control: max-age=3600.5", 3, "GET", FETCHED},
    {"freshness-max-age-a100", "GET", "200|Cache-Control: max-age=a3600", 3, "GET", FETCHED},
    {"freshness-max-age-100a", "GET", "200|Cache-Control: max-age=3600a", 3, "GET", FETCHED},

    /* Requests: 5.2.1. Only a route that obeys them does. */
    {"ccreq-ma0", "GET", FRESH, 3, "GET|Cache-Control: max-age=0", FETCHED | OBEYED},
    {"ccreq-ma0 (not obeyed)", "GET", FRESH, 3, "GET|Cache-Control: max-age=0", CACHED},
    {"ccreq-ma1", "GET", FRESH, 3, "GET|Cache-Control: max-age=1", FETCHED | OBEYED},
    {"ccreq-magreaterage", "GET", FRESH "|Age: 1800", 3, "GET|Cache-Control: max-age=600", FETCHED | OBEYED},
    {"ccreq-max-stale", "GET", STALE_SOON, 3, "GET|Cache-Control: max-stale=1000", STALE},
    {"ccreq-max-stale (without a number)", "GET", STALE_SOON, 3000, "GET|Cache-Control: max-stale", STALE},
    {"ccreq-max-stale (too little)", "GET", STALE_SOON, 30, "GET|Cache-Control: max-stale=10", FETCHED},
    {"ccreq-max-stale-age", "GET", "200|Cache-Control: max-age=1500|Age: 2000|ETag: \"a\"", 0, "GET|Cache-Control: max-stale=1000", STALE},
    {"ccreq-min-fresh", "GET", "200|Cache-Control: max-age=1500", 0, "GET|Cache-Control: min-fresh=2000", FETCHED | OBEYED},
    {"ccreq-min-fresh-age", "GET", "200|Cache-Control: max-age=1500|Age: 1000", 0, "GET|Cache-Control: min-fresh=1000", FETCHED | OBEYED},
    {"ccreq-min-fresh (not obeyed)", "GET", "200|Cache-Control: max-age=1500", 0, "GET|Cache-Control: min-fresh=2000", CACHED},
    {"ccreq-no-cache", "GET", "200|Cache-Control: max-age=3600", 0, "GET|Cache-Control: no-cache", FETCHED | OBEYED},
    {"ccreq-no-cache (not obeyed)", "GET", "200|Cache-Control: max-age=3600", 0, "GET|Cache-Control: no-cache", CACHED},
    {"ccreq-no-cache-lm", "GET", "200|Cache-Control: max-age=3600|Last-Modified: {-10000}|Date: {0}", 0, "GET|Cache-Control: no-cache", BY_DATE | OBEYED},
    {"ccreq-no-cache-etag", "GET", "200|Cache-Control: max-age=3600|ETag: \"abc\"", 0, "GET|Cache-Control: no-cache", BY_ETAG | OBEYED},
    {"ccreq-no-store", "GET", FRESH, 3, "GET|Cache-Control: no-store", FETCHED | OBEYED},
    {"ccreq-no-store (of what is stored)", "GET|Cache-Control: no-store", FRESH, 3, "GET", FETCHED | OBEYED},
    {"ccreq-no-store (not obeyed)", "GET|Cache-Control: no-store", FRESH, 3, "GET", CACHED},
    {"ccreq-oic", "GET", "200", 0, "GET|Cache-Control: only-if-cached", ABSENT},
    {"ccreq-oic (stale)", "GET", STALE_SOON "|ETag: \"a\"", 3, "GET|Cache-Control: only-if-cached", ABSENT},
    {"ccreq-oic (fresh)", "GET", FRESH, 3, "GET|Cache-Control: only-if-cached", CACHED},

    /* Answers: 5.2.2. */
    {"cc-resp-private-shared", "GET", "200|Cache-Control: private, max-age=3600", 0, "GET", FETCHED},
    {"(private with names)", "GET", "200|Cache-Control: private=\"set-cookie\", max-age=3600", 0, "GET", FETCHED},
    {"cc-resp-no-store", "GET", "200|Cache-Control: no-store", 0, "GET", FETCHED},
    {"cc-resp-no-store-case-insensitive", "GET", "200|Cache-Control: No-StOrE", 0, "GET", FETCHED},
    {"cc-resp-no-store-fresh", "GET", "200|Cache-Control: max-age=10000, no-store|Expires: {10000}|Date: {0}", 0, "GET", FETCHED},
    {"cc-resp-no-cache", "GET", "200|Cache-Control: max-age=10000, no-cache|Expires: {10000}|Date: {0}", 0, "GET", FETCHED},
    {"cc-resp-no-cache-case-insensitive", "GET", "200|Cache-Control: max-age=10000, No-CaChE|Date: {0}", 0, "GET", FETCHED},
    {"cc-resp-no-cache-revalidate", "GET", "200|Cache-Control: no-cache|ETag: \"abcd\"", 0, "GET", BY_ETAG},
    {"cc-resp-no-cache-revalidate-fresh", "GET", "200|Cache-Control: max-age=10000, no-cache|Date: {0}|ETag: \"abcd\"", 0, "GET", BY_ETAG},
    {"headers-omit-headers-listed-in-Cache-Control-no-cache", "GET", "200|Cache-Control: no-cache=\"a, b\"|a: 1|Cache-Control: max-age=3600|ETag: \"a\"", 3, "GET", BY_ETAG},
    {"cc-resp-must-revalidate-fresh", "GET", "200|Cache-Control: max-age=10000, must-revalidate|ETag: \"abcd\"", 0, "GET", CACHED},
    {"cc-resp-must-revalidate-stale", "GET", "200|Cache-Control: max-age=2, must-revalidate|ETag: \"abcd\"", 3, "GET", BY_ETAG},

    /* CDN-Cache-Control: RFC 9213. */
    {"cdn-max-age", "GET", "200|CDN-Cache-Control: max-age=3600", 3, "GET", CACHED},
    {"cdn-max-age-max", "GET", "200|CDN-Cache-Control: max-age=2147483648", 3, "GET", CACHED},
    {"cdn-max-age-max-plus", "GET", "200|CDN-Cache-Control: max-age=99999999999", 3, "GET", CACHED},
    {"cdn-max-age-age", "GET", "200|Date: {0}|CDN-Cache-Control: max-age=3600|Age: 7200", 3, "GET", FETCHED},
    {"cdn-max-age-space-before-equals", "GET", "200|Cache-Control: max-age=1|CDN-Cache-Control: max-age =100", 3, "GET", FETCHED},
    {"cdn-max-age-space-after-equals", "GET", "200|Cache-Control: max-age=1|CDN-Cache-Control: max-age= 100", 3, "GET", FETCHED},
    {"cdn-max-age-0", "GET", "200|CDN-Cache-Control: max-age=0", 3, "GET", FETCHED},
    {"cdn-max-age-extension", "GET", "200|CDN-Cache-Control: foobar, max-age=3600", 3, "GET", CACHED},
    {"cdn-max-age-case-insensitive", "GET", "200|CDN-Cache-Control: MaX-aGe=3600", 3, "GET", FETCHED},
    {"cdn-max-age-expires", "GET", "200|CDN-Cache-Control: max-age=3600|Expires: {-10000}|Date: {0}", 3, "GET", CACHED},
    {"cdn-max-age-cc-max-age-invalid-expires", "GET", "200|CDN-Cache-Control: max-age=3600|Expires: 0|Date: {0}", 3, "GET", CACHED},
    {"cdn-max-age-0-expires", "GET", "200|CDN-Cache-Control: max-age=0|Expires: {10000}|Date: {0}", 3, "GET", FETCHED},
    {"cdn-max-age-short-cc-max-age", "GET", "200|Cache-Control: max-age=1|CDN-Cache-Control: max-age=3600", 3, "GET", CACHED},
    {"cdn-max-age-long-cc-max-age", "GET", "200|Cache-Control: max-age=3600|CDN-Cache-Control: max-age=1", 3, "GET", FETCHED},
    {"cdn-private", "GET", "200|CDN-Cache-Control: private|Cache-Control: max-age=10000|Expires: {10000}|Date: {0}", 0, "GET", FETCHED},
    {"cdn-no-cache", "GET", "200|CDN-Cache-Control: no-cache|Cache-Control: max-age=10000|Expires: {10000}|Date: {0}", 0, "GET", FETCHED},
    {"cdn-no-store-cc-fresh", "GET", "200|Cache-Control: max-age=10000|CDN-Cache-Control: no-store|Expires: {10000}|Date: {0}", 3, "GET", FETCHED},
    {"cdn-fresh-cc-nostore", "GET", "200|Cache-Control: no-store|CDN-Cache-Control: max-age=10000", 3, "GET", CACHED},
    {"cdn-cc-invalid-sh-type-unknown", "GET", "200|CDN-Cache-Control: max-age=10000, &&&&&|Cache-Control: no-store", 3, "GET", FETCHED},
    {"cdn-cc-invalid-sh-type-wrong", "GET", "200|CDN-Cache-Control: max-age=\"10000\"|Cache-Control: no-store", 3, "GET", FETCHED},
    {"(a dictionary of every type)", "GET", "200|CDN-Cache-Control: a=1.5, b=\"x\\\"y\", c=:aGk=:, d=?0, e=(1 2;p \"q\");r=tok/en, f=*t:x;g;h=-3|CDN-Cache-Control: max-age=9", 3, "GET", CACHED},
    {"(an empty one)", "GET", "200|CDN-Cache-Control: |Cache-Control: max-age=9", 3, "GET", CACHED},
    {"(a comma at its end)", "GET", "200|CDN-Cache-Control: max-age=9,|Cache-Control: no-store", 3, "GET", FETCHED},

    /* Validators: 4.3.1. */
    {"conditional-etag-strong-generate", "GET", STALE_SOON "|ETag: \"abcdef\"", 3, "GET", BY_ETAG},
    {"conditional-etag-weak-generate-weak", "GET", STALE_SOON "|ETag: W/\"abcdef\"", 3, "GET", BY_ETAG},
    {"conditional-etag-strong-generate-unquoted", "GET", STALE_SOON "|ETag: abcdef", 3, "GET", FETCHED},
    {"conditional-etag-vary-headers", "GET|Abc: 123", "200|Expires: {1}|ETag: \"abcdef\"|Date: {0}|Vary: Abc", 3, "GET|Abc: 123", BY_ETAG},
    {"conditional-etag-vary-headers-mismatch", "GET|Abc: 123", "200|Expires: {10000}|ETag: \"abcdef\"|Date: {0}|Vary: Abc", 3, "GET|Abc: 456", FETCHED},
    {"conditional-etag-forward", "GET", "200", 0, "GET|If-None-Match: \"abcdef\"", FETCHED},
    {"(the origin judges If-Match)", "GET", FRESH "|ETag: \"a\"", 0, "GET|If-Match: \"a\"", FETCHED},
    {"(the origin judges If-Unmodified-Since)", "GET", FRESH "|ETag: \"a\"", 0, "GET|If-Unmodified-Since: {0}", FETCHED},

    /* Expires: 5.3. */
    {"freshness-expires-future", "GET", "200|Expires: {2592000}|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-past", "GET", "200|Expires: {-2592000}|Date: {0}", 3, "GET", FETCHED},
    {"freshness-expires-present", "GET", "200|Expires: {0}|Date: {0}", 0, "GET", FETCHED},
    {"freshness-expires-old-date", "GET", "200|Expires: {300}|Date: {400}", 3, "GET", FETCHED},
    {"freshness-expires-invalid", "GET", "200|Expires: 0|Date: {0}", 3, "GET", FETCHED},
    {"freshness-expires-invalid-date", "GET", "200|Date: foo|Expires: {10}", 0, "GET", CACHED},
    {"freshness-expires-age-slow-date", "GET", "200|Date: {-10}|Expires: {10}|Age: 25", 0, "GET", FETCHED},
    {"freshness-expires-age-fast-date", "GET", "200|Date: {10}|Expires: {20}|Age: 15", 0, "GET", FETCHED},
    {"freshness-expires-32bit", "GET", "200|Expires: Tue, 19 Jan 2038 14:14:08 GMT|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-far-future", "GET", "200|Expires: Sun, 21 Nov 2286 04:46:39 GMT|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-rfc850", "GET", "200|Expires: Thursday, 18-Aug-50 02:01:18 GMT|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-ansi-c", "GET", "200|Expires: Thu Aug  8 02:01:18 2050|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-wrong-case-weekday", "GET", "200|Expires: THU, 18 Aug 2050 02:01:18 GMT|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-wrong-case-month", "GET", "200|Expires: Thu, 18 AUG 2050 02:01:18 GMT|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-wrong-case-tz", "GET", "200|Expires: Thu, 18 Aug 2050 02:01:18 gMT|Date: {0}", 3, "GET", CACHED},
    {"freshness-expires-invalid-utc", "GET", "200|Expires: Thu, 18 Aug 2050 02:01:18 UTC|Date: {0}", 3, "GET", FETCHED},
    {"freshness-expires-invalid-aest", "GET", "200|Expires: Thu, 18 Aug 2050 02:01:18 AEST|Date: {0}", 3, "GET", FETCHED},
    {"freshness-expires-invalid-2-digit-year", "GET", "200|Expires: Thu, 18 Aug 50 02:01:18 GMT|Date: {0}", 3, "GET", FETCHED},
    {"freshness-expires-invalid-no-comma", "GET", "200|Expires: Thu 18 Aug 2050 02:01:18 GMT|Date: {0}", 3, "GET", FETCHED},
    {"freshness-expires-invalid-multiple-spaces", "GET", "200|Expires: Thu, 18  Aug  2050 02:01:18 GMT|Date: {0}", 0, "GET", FETCHED},
    {"freshness-expires-invalid-date-dashes", "GET", "200|Expires: Thu, 18-Aug-2050 02:01:18 GMT|Date: {0}", 0, "GET", FETCHED},
    {"freshness-expires-invalid-time-periods", "GET", "200|Expires: Thu, 18 Aug 2050 02.01.18 GMT|Date: {0}", 0, "GET", FETCHED},
    {"freshness-expires-invalid-1-digit-hour", "GET", "200|Expires: Thu, 18 Aug 2050 2:01:18 GMT|Date: {0}", 0, "GET", FETCHED},
    {"freshness-expires-invalid-multiple-lines", "GET", "200|Expires: Thu, 18 Aug 2050 2:01:18 GMT|Expires: Thu, 18 Aug 2050 2:01:19 GMT|Date: {0}", 0, "GET", FETCHED},

    /* No heuristic but the route's: 4.2.2. */
    {"heuristic-200-cached (no default)", "GET", "200|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED},
    {"heuristic-200-cached", "GET", "200|Last-Modified: {-86400}|Date: {0}", 3, "GET", CACHED | TTL_60},
    {"heuristic-201-not_cached", "GET", "201|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-202-not_cached", "GET", "202|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-203-cached", "GET", "203|Last-Modified: {-86400}|Date: {0}", 3, "GET", CACHED | TTL_60},
    {"heuristic-204-cached", "GET", "204|Last-Modified: {-86400}|Date: {0}", 3, "GET", CACHED | TTL_60},
    {"heuristic-403-not_cached", "GET", "403|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-404-cached", "GET", "404|Last-Modified: {-86400}|Date: {0}", 3, "GET", CACHED | TTL_60},
    /* It could be kept, but answers what one visitor did; so do 414 and 501. */
    {"heuristic-405-cached", "GET", "405|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-410-cached", "GET", "410|Last-Modified: {-86400}|Date: {0}", 3, "GET", CACHED | TTL_60},
    {"heuristic-414-cached", "GET", "414|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-501-cached", "GET", "501|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-502-not_cached", "GET", "502|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-503-not_cached", "GET", "503|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-504-not_cached", "GET", "504|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-599-not_cached", "GET", "599|Last-Modified: {-86400}|Date: {0}", 3, "GET", FETCHED | TTL_60},
    {"heuristic-599-cached", "GET", "599|Last-Modified: {-86400}|Date: {0}|Cache-Control: public", 3, "GET", CACHED | TTL_60},
    {"(404 without a default)", "GET", "404", 3, "GET", FETCHED},

    /* Methods and statuses: 3. */
    {"method-POST", "POST", "200|Cache-Control: max-age=3600|Content-Location: /p|Date: {0}", 3, "GET", FETCHED},
    {"(HEAD has no body to keep)", "HEAD", FRESH, 3, "GET", FETCHED},
    {"(HEAD from GET)", "GET", FRESH, 3, "HEAD", CACHED},
    {"status-200-fresh", "GET", FRESH, 3, "GET", CACHED},
    {"status-203-fresh", "GET", "203|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-204-fresh", "GET", "204|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-299-fresh", "GET", "299|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-301-fresh", "GET", "301|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-302-fresh", "GET", "302|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-303-fresh", "GET", "303|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-307-fresh", "GET", "307|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-308-fresh", "GET", "308|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-400-fresh", "GET", "400|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-404-fresh", "GET", "404|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-410-fresh", "GET", "410|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-499-fresh", "GET", "499|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-500-fresh", "GET", "500|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-502-fresh", "GET", "502|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-503-fresh", "GET", "503|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-504-fresh", "GET", "504|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-599-fresh", "GET", "599|Cache-Control: max-age=100000|Date: {0}", 3, "GET", CACHED},
    {"status-200-stale", "GET", "200|Expires: {-5000}|Last-Modified: {-100000}|Date: {0}", 3, "GET", BY_DATE},
    {"status-404-stale", "GET", "404|Expires: {-5000}|Date: {0}", 3, "GET", FETCHED},
    {"status-599-must-understand", "GET", "599|Cache-Control: max-age=3600, no-store, must-understand", 0, "GET", FETCHED},
    {"status-200-must-understand", "GET", "200|Cache-Control: max-age=3600, no-store, must-understand", 0, "GET", CACHED},
    {"partial-store-partial-reuse-partial (206 is not kept)", "GET|Range: bytes=-5", "206|Cache-Control: max-age=3600|Content-Range: bytes 4-9/10", 0, "GET|Range: bytes=-5", FETCHED},
    {"partial-store-complete-reuse-partial", "GET", "200|Cache-Control: max-age=3600", 0, "GET|Range: bytes=0-1", CACHED},

    /* Cookies: 7.3. Set-Cookie keeps an answer out here. */
    {"other-set-cookie", "GET", FRESH "|Set-Cookie: a=b", 3, "GET", FETCHED},
    {"headers-store-Set-Cookie2", "GET", FRESH "|Set-Cookie2: a=b", 3, "GET", FETCHED},
    {"other-cookie", "GET", FRESH, 3, "GET|Cookie: a=b", CACHED},
    {"other-fresh-content-disposition-attachment", "GET", FRESH "|Content-Disposition: attachment; filename=example.txt", 3, "GET", CACHED},

    /* Pragma: 5.4. */
    {"pragma-request-no-cache", "GET", FRESH, 3, "GET|Pragma: no-cache", CACHED},
    {"pragma-request-no-cache (obeyed)", "GET", FRESH, 3, "GET|Pragma: no-cache", FETCHED | OBEYED},
    {"pragma-request-no-cache (beside Cache-Control)", "GET", FRESH, 3, "GET|Pragma: no-cache|Cache-Control: max-age=99", CACHED | OBEYED},
    {"pragma-request-extension", "GET", FRESH, 3, "GET|Pragma: unrecognised-extension", CACHED | OBEYED},
    {"pragma-response-no-cache", "GET", "200|Cache-Control: max-age=3600|Pragma: no-cache", 0, "GET", CACHED},
    {"pragma-response-no-cache-heuristic", "GET", "200|Date: {0}|Last-Modified: {-10000}|Pragma: no-cache", 0, "GET", FETCHED | TTL_60},
    {"pragma-response-extension", "GET", "200|Cache-Control: max-age=3600|Pragma: unrecognised-extension", 0, "GET", CACHED},

    /* Stale: RFC 5861, and 4.2.4. */
    {"stale-while-revalidate", "GET", "200|Cache-Control: max-age=1, stale-while-revalidate=3600|ETag: \"abc\"", 3, "GET", STALE},
    {"stale-while-revalidate-window", "GET", "200|Cache-Control: max-age=1, stale-while-revalidate=4|ETag: \"abc\"", 6, "GET", BY_ETAG},
    {"(must-revalidate ends it)", "GET", "200|Cache-Control: max-age=1, must-revalidate, stale-while-revalidate=3600|ETag: \"abc\"", 3, "GET", BY_ETAG},
    {"(s-maxage with a word of its own)", "GET", "200|Cache-Control: s-maxage=1, stale-while-revalidate=3600|ETag: \"abc\"", 3, "GET", STALE},
    {"stale-close-proxy-revalidate", "GET", "200|Cache-Control: max-age=2, proxy-revalidate|ETag: \"a\"", 3, "GET|Cache-Control: max-stale", BY_ETAG},
    {"stale-close-s-maxage=2", "GET", "200|Cache-Control: max-age=2, s-maxage=2|ETag: \"a\"", 3, "GET|Cache-Control: max-stale", BY_ETAG},
    {"stale-close-must-revalidate", "GET", "200|Cache-Control: max-age=2, must-revalidate|ETag: \"a\"", 3, "GET|Cache-Control: max-stale", BY_ETAG},
    {"stale-close-no-cache", "GET", "200|Cache-Control: max-age=2, no-cache|ETag: \"a\"", 3, "GET|Cache-Control: max-stale", BY_ETAG},

    /* Vary: 4.1. */
    {"vary-match", "GET|Foo: 1", FRESH "|Vary: Foo", 0, "GET|Foo: 1", CACHED},
    {"vary-no-match", "GET|Foo: 1", FRESH "|Vary: Foo", 0, "GET|Foo: 2", FETCHED},
    {"vary-omit-stored", "GET", FRESH "|Vary: Foo", 0, "GET|Foo: 1", FETCHED},
    {"vary-omit", "GET|Foo: 1", FRESH "|Vary: Foo", 0, "GET", FETCHED},
    {"vary-cache-key", "GET|Foo: 1|Other: 2", FRESH "|Vary: Foo", 0, "GET|Foo: 1|Other: 3", CACHED},
    {"vary-2-match", "GET|Foo: 1|Bar: abc", FRESH "|Vary: Foo, Bar", 0, "GET|Foo: 1|Bar: abc", CACHED},
    {"vary-2-no-match", "GET|Foo: 1|Bar: abc", FRESH "|Vary: Foo, Bar", 0, "GET|Foo: 2|Bar: abc", FETCHED},
    {"vary-2-match-omit", "GET|Foo: 1|Bar: abc", FRESH "|Vary: Foo, Bar", 0, "GET", FETCHED},
    {"vary-3-match", "GET|Foo: 1|Bar: abc|Baz: 789", FRESH "|Vary: Foo, Bar, Baz", 0, "GET|Foo: 1|Bar: abc|Baz: 789", CACHED},
    {"vary-3-no-match", "GET|Foo: 1|Bar: abc|Baz: 789", FRESH "|Vary: Foo, Bar, Baz", 0, "GET|Foo: 2|Bar: abc|Baz: 789", FETCHED},
    {"vary-3-order", "GET|Foo: 1|Bar: abc|Baz: 789", FRESH "|Vary: Foo, Bar, Baz", 0, "GET|Foo: 1|Baz: 789|Bar: abcde", FETCHED},
    {"vary-3-omit", "GET|Foo: 1|Baz: 789", FRESH "|Vary: Foo, Bar, Baz", 0, "GET|Foo: 1|Baz: 789", CACHED},
    {"vary-star", "GET|Foo: 1", FRESH "|Vary: *", 0, "GET|Foo: 1", FETCHED},
    {"vary-syntax-star-star", "GET|Foo: 1", FRESH "|Vary: *, *", 0, "GET|Foo: 1", FETCHED},
    {"vary-syntax-star-star-lines", "GET|Foo: 1", FRESH "|Vary: *|Vary: *", 0, "GET|Foo: 1", FETCHED},
    {"vary-syntax-empty-star", "GET|Foo: 1", FRESH "|Vary: , *", 0, "GET|Foo: 1", FETCHED},
    {"vary-syntax-empty-star-lines", "GET|Foo: 1", FRESH "|Vary: |Vary: *", 0, "GET|Foo: 1", FETCHED},
    {"vary-syntax-star-foo", "GET|Foo: 1", FRESH "|Vary: *, Foo", 0, "GET|Foo: 1", FETCHED},
    {"vary-syntax-foo-star", "GET|Foo: 1", FRESH "|Vary: Foo, *", 0, "GET|Foo: 1", FETCHED},
    {"vary-normalise-combine", "GET|Foo: 1, 2", FRESH "|Vary: Foo", 0, "GET|Foo: 1|Foo: 2", CACHED},
    {"vary-normalise-space", "GET|Foo: 1,2", FRESH "|Vary: Foo", 0, "GET|Foo:  1, 2 ", CACHED},
    {"vary-normalise-lang-case", "GET|Accept-Language: en, de", FRESH "|Vary: Accept-Language", 0, "GET|Accept-Language: eN, De", CACHED},
    {"vary-normalise-lang-space", "GET|Accept-Language: en, de", FRESH "|Vary: Accept-Language", 0, "GET|Accept-Language:  en ,   de", CACHED},
    /* The order of languages may mean something to the shop (RFC 9110, 12.5.4). */
    {"vary-normalise-lang-order", "GET|Accept-Language: en, de", FRESH "|Vary: Accept-Language", 0, "GET|Accept-Language: de, en", FETCHED},
    {"vary-normalise-lang-select", "GET|Accept-Language: en, de", FRESH "|Vary: Accept-Language|Content-Language: de", 0, "GET|Accept-Language: fr;q=0.5, de;q=1.0", FETCHED},
    {"(encodings in another order)", "GET|Accept-Encoding: gzip, br", FRESH "|Vary: accept-encoding", 0, "GET|Accept-Encoding: BR,gzip", CACHED},
    {"(eight names are kept)", "GET|A: 1", FRESH "|Vary: a, b, c, d, e, f, g, h, A", 0, "GET|A: 1", CACHED},
    {"(nine are not)", "GET|A: 1", FRESH "|Vary: a, b, c, d, e, f, g, h, i", 0, "GET|A: 1", FETCHED},
};
/* clang-format on */

static enum want seen(const struct cache_found *found)
{
    if (found->ask == CACHE_ASK_HIT)
        return CACHED;
    if (found->ask == CACHE_ASK_STALE)
        return STALE;
    if (found->ask == CACHE_ASK_ABSENT)
        return ABSENT;
    if (found->fill == NULL || found->entry == NULL)
        return FETCHED;
    if (found->entry->etag.at != NULL)
        return BY_ETAG;
    return found->entry->kept.modified_ms != INT64_MIN ? BY_DATE : FETCHED;
}

static bool run(const struct row *row)
{
    struct cfg_route_cache route = {.obeys_no_cache = (row->want & OBEYED) != 0,
                                    .default_ttl_s = row->want & TTL_60 ? 60 : 0};
    struct cache *cache = fixture_cache(CFG_EVICTION_LRU, 0);
    struct fixture_message first, second;
    int64_t now_ms = 1000;
    fixture_message(&first, row->first, now_ms);
    struct cache_found found = fixture_ask(cache, &route, &first, "/p", now_ms, NULL);
    assert_int_equal(found.ask, CACHE_ASK_FETCH);
    if (found.fill != NULL)
        fixture_answer(found.fill, row->answer, "0123456789", now_ms);
    now_ms += row->pause_s * 1000;
    fixture_message(&second, row->second, now_ms);
    found = fixture_ask(cache, &route, &second, "/p", now_ms, NULL);
    enum want got = seen(&found), want = row->want & 0xf;
    if (got != want)
        print_error("%s: %s, not %s\n", row->id, words[got], words[want]);
    fixture_done(&found);
    fixture_free(cache);
    return got == want;
}

/* CA2 */
static void a_shared_cache_does_what_the_standard_says(void **state)
{
    (void)state;
    size_t wrong = 0;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++)
        wrong += !run(&rows[i]);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shared_cache_does_what_the_standard_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
