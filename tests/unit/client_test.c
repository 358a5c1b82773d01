/* Who asks: the walk through X-Forwarded-For, and whose word on the user counts. */
#include "check.h"
#include "gateway/public/client.h"

#include <string.h>

static struct ps_address address(const char *text)
{
    struct ps_address found;
    assert_ok(ps_address_parse(text, strlen(text), true, &found));
    return found;
}

static struct ps_cidrs trusted_loopback_and_ten(void)
{
    static struct ps_cidr cidrs[2];
    assert_ok(ps_cidr_parse("127.0.0.0/8", 11, &cidrs[0]));
    assert_ok(ps_cidr_parse("10.0.0.0/8", 10, &cidrs[1]));
    return (struct ps_cidrs){cidrs, 2};
}

static void found_is(const char *peer, const char *line, const char *expected)
{
    struct ps_cidrs trusted = trusted_loopback_and_ten();
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
    ps_address_format(&client.address, text);
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
    struct ps_cidrs trusted = trusted_loopback_and_ten();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x_forwarded_for_is_walked_from_the_right_past_trusted_proxies),
        cmocka_unit_test(an_untrusted_peers_word_is_not_taken),
        cmocka_unit_test(what_a_trusted_proxy_wrote_must_be_an_address),
        cmocka_unit_test(a_user_is_believed_from_a_trusted_proxy_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
