/* Addresses and ranges of both families. */
#include "check.h"
#include "common/text/address.h"
#include "common/err.h"

#include <netdb.h>
#include <string.h>

static struct ps_address address(const char *text)
{
    struct ps_address found;
    assert_ok(ps_address_parse(text, strlen(text), true, &found));
    return found;
}

static void addresses_of_both_families_are_read_and_printed(void **state)
{
    static const char *const good[][2] = {
        {"203.0.113.7", "203.0.113.7"},       {"203.0.113.7:8080", "203.0.113.7"},
        {"2001:db8::1", "2001:db8::1"},       {"[2001:db8::1]", "2001:db8::1"},
        {"[2001:db8::1]:443", "2001:db8::1"}, {"::ffff:10.0.0.1", "10.0.0.1"}};
    static const char *const bad[] = {"",     "x",      "1.2.3",          "1.2.3.4:", "1.2.3.4:x",
                                      "[::1", "[::1]x", "1.2.3.4:123456", "::1%lo",   "256.1.1.1"};
    struct ps_address found;
    char text[46];

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++) {
        found = address(good[i][0]);
        ps_address_format(&found, text);
        assert_string_equal(text, good[i][1]);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(ps_address_parse(bad[i], strlen(bad[i]), true, &found), PS_E_INVALID);
    assert_int_equal(ps_address_parse("1.2.3.4:80", 10, false, &found), PS_E_INVALID);
}

static void a_cidr_holds_what_its_prefix_says(void **state)
{
    static const char *const bad[] = {"10.0.0.1/8", "10.0.0.0/33",    "10.0.0.0/",
                                      "/8",         "2001:db8::/129", "10.0.0.0/-1"};
    struct ps_cidr cidr;
    struct ps_address in = address("10.255.0.1"), out = address("11.0.0.1"),
                      six = address("2001:db8:0:ff::1");

    (void)state;
    assert_ok(ps_cidr_parse("10.0.0.0/8", 10, &cidr));
    assert_true(ps_cidr_has(&cidr, &in));
    assert_false(ps_cidr_has(&cidr, &out));
    assert_false(ps_cidr_has(&cidr, &six));
    assert_ok(ps_cidr_parse("2001:db8::/56", 13, &cidr));
    assert_true(ps_cidr_has(&cidr, &six));
    assert_ok(ps_cidr_parse("10.255.0.1", 10, &cidr));
    assert_true(ps_cidr_has(&cidr, &in));
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(ps_cidr_parse(bad[i], strlen(bad[i]), &cidr), PS_E_INVALID);
}

static void a_cidr_of_one_family_holds_no_address_of_the_other(void **state)
{
    static const char *const six[] = {"::/0", "::/8", "::/80", "::/95"};
    struct ps_cidr cidr;
    struct ps_address v4 = address("192.0.2.1"), v6 = address("::1");

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(six); i++) {
        assert_ok(ps_cidr_parse(six[i], strlen(six[i]), &cidr));
        assert_true(ps_cidr_has(&cidr, &v6));
        assert_false(ps_cidr_has(&cidr, &v4));
    }
    assert_ok(ps_cidr_parse("0.0.0.0/0", 9, &cidr));
    assert_true(ps_cidr_has(&cidr, &v4));
    assert_false(ps_cidr_has(&cidr, &v6));
}

static void the_prefix_of_a_mapped_address_counts_as_it_is_written(void **state)
{
    struct ps_cidr cidr;
    struct ps_address in = address("10.255.0.1"), out = address("11.0.0.1");

    (void)state;
    assert_ok(ps_cidr_parse("::ffff:10.0.0.0/104", 19, &cidr));
    assert_true(ps_cidr_has(&cidr, &in));
    assert_false(ps_cidr_has(&cidr, &out));
    assert_ok(ps_cidr_parse("::ffff:0:0/96", 13, &cidr));
    assert_true(ps_cidr_has(&cidr, &out));
    assert_int_equal(ps_cidr_parse("::ffff:10.0.0.0/8", 17, &cidr), PS_E_INVALID);
}

static void limits_count_ipv6_by_64_and_ipv4_whole(void **state)
{
    struct ps_address a = address("2001:db8::1"), b = address("2001:db8::ffff:2"),
                      c = address("2001:db8:0:1::1");
    struct ps_address v4 = address("192.0.2.1"), key_a, key_b, key_c, key_4;

    (void)state;
    ps_address_limit_key(&a, &key_a);
    ps_address_limit_key(&b, &key_b);
    ps_address_limit_key(&c, &key_c);
    ps_address_limit_key(&v4, &key_4);
    assert_memory_equal(&key_a, &key_b, sizeof key_a);
    assert_memory_not_equal(&key_a, &key_c, sizeof key_a);
    assert_memory_equal(&key_4, &v4, sizeof key_4);
}

static void a_socket_address_has_the_family_and_the_port(void **state)
{
    struct ps_address v4 = address("192.0.2.1"), v6 = address("2001:db8::1");
    struct sockaddr_storage to;
    char text[64], port[8];

    (void)state;
    socklen_t len = ps_address_socket(&v4, 8080, &to);
    assert_int_equal(getnameinfo((struct sockaddr *)&to, len, text, sizeof text, port, sizeof port,
                                 NI_NUMERICHOST | NI_NUMERICSERV),
                     0);
    assert_string_equal(text, "192.0.2.1");
    assert_string_equal(port, "8080");
    len = ps_address_socket(&v6, 443, &to);
    assert_int_equal(getnameinfo((struct sockaddr *)&to, len, text, sizeof text, port, sizeof port,
                                 NI_NUMERICHOST | NI_NUMERICSERV),
                     0);
    assert_string_equal(text, "2001:db8::1");
    assert_string_equal(port, "443");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_both_families_are_read_and_printed),
        cmocka_unit_test(a_cidr_holds_what_its_prefix_says),
        cmocka_unit_test(a_cidr_of_one_family_holds_no_address_of_the_other),
        cmocka_unit_test(the_prefix_of_a_mapped_address_counts_as_it_is_written),
        cmocka_unit_test(limits_count_ipv6_by_64_and_ipv4_whole),
        cmocka_unit_test(a_socket_address_has_the_family_and_the_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
