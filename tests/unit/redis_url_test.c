/* Redis URLs. */
#include "tests/unit/check.h"

#include "common/redis/redis_url.h"

#include <stdio.h>

static struct ps_redis_url parse(const char *text)
{
    struct ps_redis_url url;
    struct ps_fault fault = {0};
    if (ps_redis_url_parse(text, &url, &fault) < 0)
        fail_msg("%s: %s", text, fault.text);
    return url;
}

static void a_plain_url_has_defaults(void **state)
{
    (void)state;
    struct ps_redis_url url = parse("redis://cache");
    assert_int_equal(url.host_count, 1);
    assert_string_equal(url.hosts[0].name, "cache");
    assert_int_equal(url.hosts[0].port, 6379);
    assert_int_equal(url.db, 0);
    assert_string_equal(url.user, "");
    assert_string_equal(url.password, "");
    assert_string_equal(url.master, "");
}

static void every_part_is_read(void **state)
{
    (void)state;
    struct ps_redis_url url = parse("redis://shop:a%2Fb%40c:d@10.0.0.7:7000/15");
    assert_string_equal(url.user, "shop");
    assert_string_equal(url.password, "a/b@c:d");
    assert_string_equal(url.hosts[0].name, "10.0.0.7");
    assert_int_equal(url.hosts[0].port, 7000);
    assert_int_equal(url.db, 15);
    url = parse("redis://:secret@[::1]:7001/");
    assert_string_equal(url.user, "");
    assert_string_equal(url.password, "secret");
    assert_string_equal(url.hosts[0].name, "::1");
    assert_int_equal(url.hosts[0].port, 7001);
    assert_string_equal(parse("redis://[fe80::2]").hosts[0].name, "fe80::2");
}

static void sentinels_are_read(void **state)
{
    (void)state;
    struct ps_redis_url url = parse("redis+sentinel://u:p@a,b:7000,[::1]:1/my-master/2");
    assert_int_equal(url.host_count, 3);
    assert_string_equal(url.hosts[0].name, "a");
    assert_int_equal(url.hosts[0].port, 26379);
    assert_int_equal(url.hosts[1].port, 7000);
    assert_string_equal(url.hosts[2].name, "::1");
    assert_string_equal(url.master, "my-master");
    assert_int_equal(url.db, 2);
    assert_int_equal(parse("redis+sentinel://a/m").db, 0);
}

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"rediss://cache", "accept = 127.0.0.1:6380, connect = cache:6379 "},
        {"rediss://ann:se%20cret@cache.example:7000/3", "put redis://127.0.0.1:6380/3 here"},
        {"rediss://", "host"},
        {"http://cache", "redis://"},
        {"", "redis://"},
        {"redis://", "host"},
        {"redis://:6379", "host"},
        {"redis://a:0", "port"},
        {"redis://a:65536", "port"},
        {"redis://a:x", "port"},
        {"redis://a:", "port"},
        {"redis://[::1", "]"},
        {"redis://[::1]x", "port"},
        {"redis://a b", "host"},
        {"redis://a,b", "hosts"},
        {"redis://a/x", "database"},
        {"redis://a/-1", "database"},
        {"redis://a/1/2", "database"},
        {"redis://:%zz@a", "escape"},
        {"redis://:%4@a", "escape"},
        {"redis://:%00@a", "escape"},
        {"redis+sentinel://a", "master"},
        {"redis+sentinel://a/", "master"},
        {"redis+sentinel://a,,b/m", "host"},
        {"redis+sentinel://a,b,/m", "host"},
        {"redis+sentinel://1,2,3,4,5,6,7,8,9/m", "8"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct ps_redis_url url;
        struct ps_fault fault = {0};
        assert_int_equal(ps_redis_url_parse(cases[i].text, &url, &fault), PS_E_INVALID);
        if (strstr(fault.text, cases[i].word) == NULL)
            fail_msg("%s: %s", cases[i].text, fault.text);
    }
}

static void texts_that_are_too_long_are_refused(void **state)
{
    (void)state;
    char text[400] = "redis://";
    struct ps_redis_url url;
    memset(text + 8, 'a', 300);
    assert_int_equal(ps_redis_url_parse(text, &url, NULL), PS_E_INVALID);
    text[8] = ':';
    text[290] = '@';
    assert_int_equal(ps_redis_url_parse(text, &url, NULL), PS_E_INVALID);
}

static void a_password_is_never_repeated(void **state)
{
    (void)state;
    struct ps_redis_url url;
    struct ps_fault fault = {0};
    assert_int_equal(ps_redis_url_parse("redis://:sesame@a:0/x", &url, &fault), PS_E_INVALID);
    assert_null(strstr(fault.text, "sesame"));
    assert_null(strstr(fault.path, "sesame"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_url_has_defaults),
        cmocka_unit_test(every_part_is_read),
        cmocka_unit_test(sentinels_are_read),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(texts_that_are_too_long_are_refused),
        cmocka_unit_test(a_password_is_never_repeated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
