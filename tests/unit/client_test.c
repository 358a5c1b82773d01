/* Who asks: the walk through X-Forwarded-For, whose word on the user counts, and whose mark of a
 * rehearsal. */
#include "check.h"
#include "gateway/public/rehearsal.h"

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

/* On a connection of this peer, which has sent no PROXY header. */
static void come_from(struct srv_request *request, const char *peer)
{
    struct ps_cidrs trusted = trusted_loopback_and_ten();

    request->peer = address(peer);
    request->trusted = request->forwards = ps_cidrs_have(&trusted, &request->peer);
}

static void found_is(const char *peer, const char *line, const char *expected)
{
    struct ps_cidrs trusted = trusted_loopback_and_ten();
    struct srv_request request = {0};
    struct pub_client client;
    char text[46];

    come_from(&request, peer);
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
    struct srv_request request = {0};
    struct pub_client client;

    (void)state;
    come_from(&request, "127.0.0.1");
    request.header[SRV_H_USER_ID] = PS_STR("ann");
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    assert_int_equal(client.identity, PUB_IDENTITY_OK);
    come_from(&request, "198.51.100.9");
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    assert_int_equal(client.identity, PUB_IDENTITY_UNTRUSTED);
    assert_int_equal(client.user.len, 0);
    come_from(&request, "10.0.0.1");
    request.header[SRV_H_USER_ID] = PS_STR("a b");
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    assert_int_equal(client.identity, PUB_IDENTITY_BAD);
}

/* Of a connection whose own peer is trusted, but the address of its PROXY header is a stranger's.
 */
static void an_address_in_a_proxy_header_is_where_the_search_begins(void **state)
{
    const struct ps_str forged = PS_STR("203.0.113.1");
    struct ps_cidrs trusted = trusted_loopback_and_ten();
    struct srv_request request = {.peer = address("198.51.100.9"), .trusted = true};
    struct pub_client client;
    char text[46];

    (void)state;
    request.header[SRV_H_USER_ID] = PS_STR("ann");
    request.header[SRV_H_FORWARDED_FOR] = request.forwarded_for[0] = forged;
    request.header_lines[SRV_H_FORWARDED_FOR] = 1;
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    ps_address_format(&client.address, text);
    assert_string_equal(text, "198.51.100.9");
    assert_int_equal(client.identity, PUB_IDENTITY_OK);
    request.header[SRV_H_CLIENT_IP] = forged;
    assert_ok(pub_client_find(&request, &trusted, true, &client));
    ps_address_format(&client.address, text);
    assert_string_equal(text, "198.51.100.9");
    request.peer = address("10.0.0.1");
    request.forwards = true;
    assert_ok(pub_client_find(&request, &trusted, false, &client));
    ps_address_format(&client.address, text);
    assert_string_equal(text, "203.0.113.1");
}

#define WALL_MS INT64_C(1800000000000)

static enum pub_rehearsal_result judged(const char *mark, const char *user,
                                        const struct cfg_rehearsal_keys *keys, int64_t wall_ms,
                                        struct pub_rehearsal_seen *seen)
{
    struct srv_request request = {0};
    const struct pub_client client = {.user = {user, strlen(user)}, .identity = PUB_IDENTITY_OK};
    request.header[SRV_H_REHEARSAL] = (struct ps_str){mark, strlen(mark)};
    request.header_lines[SRV_H_REHEARSAL] = 1;
    return pub_rehearsal_judge(&request, &client, keys, wall_ms, seen);
}

/* Whether or not the same mark, or another one, was believed just before. */
static void a_mark_is_believed_for_its_users_its_time_and_its_key_alone(void **state)
{
    struct cfg_rehearsal_keys keys = {
        .count = 1, .at = {{.name = "k-1", .until_ms = WALL_MS + 7200000, .secret = {1, 2, 3}}}};
    const struct cfg_rehearsal_keys none = {0};
    struct pub_rehearsal_seen fresh = {0}, used = {0};
    char mark[PS_MARK_TEXT_MAX + 1], forged[PS_MARK_TEXT_MAX + 1];

    (void)state;
    ps_mark_write("k-1", WALL_MS / 1000 + 60, "load-", keys.at[0].secret, mark);
    memcpy(forged, mark, sizeof mark);
    forged[strlen(forged) - 1] = forged[strlen(forged) - 1] == '0' ? '1' : '0';
    assert_int_equal(judged(mark, "load-1", &keys, WALL_MS, &used), PUB_REHEARSAL_BELIEVED);
    for (int round = 0; round < 2; round++) {
        struct pub_rehearsal_seen *seen = round == 0 ? &fresh : &used;
        assert_int_equal(judged(forged, "load-1", &keys, WALL_MS, seen), PUB_REHEARSAL_FORGED);
        assert_int_equal(judged(mark, "ann", &keys, WALL_MS, seen), PUB_REHEARSAL_OTHER_USER);
        assert_int_equal(judged(mark, "load", &keys, WALL_MS, seen), PUB_REHEARSAL_OTHER_USER);
        assert_int_equal(judged(mark, "load-1", &keys, WALL_MS + 60000, seen),
                         PUB_REHEARSAL_EXPIRED);
        assert_int_equal(judged(mark, "load-1", &keys, WALL_MS - 3541000, seen),
                         PUB_REHEARSAL_TOO_LONG);
        assert_int_equal(judged(mark, "load-1", &keys, WALL_MS + 7200000, seen),
                         PUB_REHEARSAL_UNKNOWN_KEY);
        assert_int_equal(judged(mark, "load-1", &none, WALL_MS, seen), PUB_REHEARSAL_UNKNOWN_KEY);
        keys.at[0].secret[0] ^= 1;
        assert_int_equal(judged(mark, "load-1", &keys, WALL_MS, seen), PUB_REHEARSAL_FORGED);
        keys.at[0].secret[0] ^= 1;
        assert_int_equal(judged(mark, "load-1", &keys, WALL_MS, seen), PUB_REHEARSAL_BELIEVED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x_forwarded_for_is_walked_from_the_right_past_trusted_proxies),
        cmocka_unit_test(an_untrusted_peers_word_is_not_taken),
        cmocka_unit_test(what_a_trusted_proxy_wrote_must_be_an_address),
        cmocka_unit_test(an_address_in_a_proxy_header_is_where_the_search_begins),
        cmocka_unit_test(a_user_is_believed_from_a_trusted_proxy_only),
        cmocka_unit_test(a_mark_is_believed_for_its_users_its_time_and_its_key_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
