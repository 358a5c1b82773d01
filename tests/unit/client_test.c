/* Who asks: addresses, CIDRs, the walk through X-Forwarded-For, and the trace that is passed on. */
#include "check.h"
#include "gateway/public/client.h"
#include "common/trace.h"

#include <string.h>

static struct srv_address address(const char *text)
{
    struct srv_address found;
    assert_ok(pub_address_parse(text, strlen(text), true, &found));
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
    struct srv_address found;
    char text[46];

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++) {
        found = address(good[i][0]);
        pub_address_format(&found, text);
        assert_string_equal(text, good[i][1]);
    }
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(pub_address_parse(bad[i], strlen(bad[i]), true, &found), PS_E_INVALID);
    assert_int_equal(pub_address_parse("1.2.3.4:80", 10, false, &found), PS_E_INVALID);
}

static void a_cidr_holds_what_its_prefix_says(void **state)
{
    static const char *const bad[] = {"10.0.0.1/8", "10.0.0.0/33",    "10.0.0.0/",
                                      "/8",         "2001:db8::/129", "10.0.0.0/-1"};
    struct pub_cidr cidr;
    struct srv_address in = address("10.255.0.1"), out = address("11.0.0.1"),
                       six = address("2001:db8:0:ff::1");

    (void)state;
    assert_ok(pub_cidr_parse("10.0.0.0/8", 10, &cidr));
    assert_true(pub_cidr_has(&cidr, &in));
    assert_false(pub_cidr_has(&cidr, &out));
    assert_false(pub_cidr_has(&cidr, &six));
    assert_ok(pub_cidr_parse("2001:db8::/56", 13, &cidr));
    assert_true(pub_cidr_has(&cidr, &six));
    assert_ok(pub_cidr_parse("10.255.0.1", 10, &cidr));
    assert_true(pub_cidr_has(&cidr, &in));
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_int_equal(pub_cidr_parse(bad[i], strlen(bad[i]), &cidr), PS_E_INVALID);
}

static void a_cidr_of_one_family_holds_no_address_of_the_other(void **state)
{
    static const char *const six[] = {"::/0", "::/8", "::/80", "::/95"};
    struct pub_cidr cidr;
    struct srv_address v4 = address("192.0.2.1"), v6 = address("::1");

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(six); i++) {
        assert_ok(pub_cidr_parse(six[i], strlen(six[i]), &cidr));
        assert_true(pub_cidr_has(&cidr, &v6));
        assert_false(pub_cidr_has(&cidr, &v4));
    }
    assert_ok(pub_cidr_parse("0.0.0.0/0", 9, &cidr));
    assert_true(pub_cidr_has(&cidr, &v4));
    assert_false(pub_cidr_has(&cidr, &v6));
}

static void the_prefix_of_a_mapped_address_counts_as_it_is_written(void **state)
{
    struct pub_cidr cidr;
    struct srv_address in = address("10.255.0.1"), out = address("11.0.0.1");

    (void)state;
    assert_ok(pub_cidr_parse("::ffff:10.0.0.0/104", 19, &cidr));
    assert_true(pub_cidr_has(&cidr, &in));
    assert_false(pub_cidr_has(&cidr, &out));
    assert_ok(pub_cidr_parse("::ffff:0:0/96", 13, &cidr));
    assert_true(pub_cidr_has(&cidr, &out));
    assert_int_equal(pub_cidr_parse("::ffff:10.0.0.0/8", 17, &cidr), PS_E_INVALID);
}

static void limits_count_ipv6_by_64_and_ipv4_whole(void **state)
{
    struct srv_address a = address("2001:db8::1"), b = address("2001:db8::ffff:2"),
                       c = address("2001:db8:0:1::1");
    struct srv_address v4 = address("192.0.2.1"), key_a, key_b, key_c, key_4;

    (void)state;
    pub_address_limit_key(&a, &key_a);
    pub_address_limit_key(&b, &key_b);
    pub_address_limit_key(&c, &key_c);
    pub_address_limit_key(&v4, &key_4);
    assert_memory_equal(&key_a, &key_b, sizeof key_a);
    assert_memory_not_equal(&key_a, &key_c, sizeof key_a);
    assert_memory_equal(&key_4, &v4, sizeof key_4);
}

static struct pub_cidrs trusted_loopback_and_ten(void)
{
    static struct pub_cidr cidrs[2];
    assert_ok(pub_cidr_parse("127.0.0.0/8", 11, &cidrs[0]));
    assert_ok(pub_cidr_parse("10.0.0.0/8", 10, &cidrs[1]));
    return (struct pub_cidrs){cidrs, 2};
}

static void found_is(const char *peer, const char *line, const char *expected)
{
    struct pub_cidrs trusted = trusted_loopback_and_ten();
    struct srv_request request = {.peer = address(peer)};
    struct pub_client client;
    char text[46];

    if (line != NULL) {
        request.header[SRV_H_FORWARDED_FOR] = (struct ps_str){line, strlen(line)};
        request.header_lines[SRV_H_FORWARDED_FOR] = 1;
        request.forwarded_for[0] = request.header[SRV_H_FORWARDED_FOR];
    }
    if (expected == NULL) {
        assert_int_equal(pub_client_find(&request, &trusted, false, &client), PS_E_INVALID);
        return;
    }
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    pub_address_format(&client.address, text);
    assert_string_equal(text, expected);
}

static void x_forwarded_for_is_walked_from_the_right_past_trusted_proxies(void **state)
{
    (void)state;
    found_is("127.0.0.1", NULL, "127.0.0.1");
    found_is("127.0.0.1", "198.51.100.7", "198.51.100.7");
    found_is("127.0.0.1", "6.6.6.6, 198.51.100.7, 10.1.1.1", "198.51.100.7");
    found_is("127.0.0.1", "10.2.2.2,10.1.1.1", "10.2.2.2");
    found_is("127.0.0.1", "not an address, 198.51.100.7", "198.51.100.7");
}

static void an_untrusted_peers_word_is_not_taken(void **state)
{
    (void)state;
    found_is("198.51.100.9", "203.0.113.1", "198.51.100.9");
}

static void what_a_trusted_proxy_wrote_must_be_an_address(void **state)
{
    (void)state;
    found_is("127.0.0.1", "198.51.100.7, unknown", NULL);
}

static void a_user_is_believed_from_a_trusted_proxy_only(void **state)
{
    struct pub_cidrs trusted = trusted_loopback_and_ten();
    struct srv_request request = {.peer = address("127.0.0.1")};
    struct pub_client client;

    (void)state;
    request.header[SRV_H_USER_ID] = PS_STR("ann");
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    assert_int_equal(client.identity, PUB_IDENTITY_OK);
    request.peer = address("198.51.100.9");
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    assert_int_equal(client.identity, PUB_IDENTITY_UNTRUSTED);
    assert_int_equal(client.user.len, 0);
    request.peer = address("10.0.0.1");
    request.header[SRV_H_USER_ID] = PS_STR("a b");
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    assert_int_equal(client.identity, PUB_IDENTITY_BAD);
}

static void a_good_trace_goes_on_and_a_bad_one_starts_anew(void **state)
{
    static const char good[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    static const char *const bad[] = {"",
                                      "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                      "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "garbage"};
    char memory[PS_TRACE_LEN + 1];
    struct ps_uuid_source ids;

    (void)state;
    ps_uuid_source_init(&ids);
    assert_int_equal(ps_trace_next((struct ps_str){0}, &ids, 1, memory).len, 0);
    assert_ptr_equal(ps_trace_next((struct ps_str){good, PS_TRACE_LEN}, &ids, 1, memory).at, good);
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct ps_str next =
            ps_trace_next((struct ps_str){bad[i], strlen(bad[i])}, &ids, 1, memory);
        assert_ptr_equal(next.at, memory);
        assert_true(ps_trace_ok(next));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_of_both_families_are_read_and_printed),
        cmocka_unit_test(a_cidr_holds_what_its_prefix_says),
        cmocka_unit_test(a_cidr_of_one_family_holds_no_address_of_the_other),
        cmocka_unit_test(the_prefix_of_a_mapped_address_counts_as_it_is_written),
        cmocka_unit_test(limits_count_ipv6_by_64_and_ipv4_whole),
        cmocka_unit_test(x_forwarded_for_is_walked_from_the_right_past_trusted_proxies),
        cmocka_unit_test(an_untrusted_peers_word_is_not_taken),
        cmocka_unit_test(what_a_trusted_proxy_wrote_must_be_an_address),
        cmocka_unit_test(a_user_is_believed_from_a_trusted_proxy_only),
        cmocka_unit_test(a_good_trace_goes_on_and_a_bad_one_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
