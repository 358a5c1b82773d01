/* Which addresses lead to a listener of this process. */
#include "tests/unit/check.h"

#include "common/listener.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct ps_address address(const char *text)
{
    struct ps_address parsed;

    assert_ok(ps_address_parse(text, strlen(text), false, &parsed));
    return parsed;
}

static bool takes(const char *own, const char *to, uint16_t port)
{
    const struct ps_listener listener = {address(own), 8080};
    struct ps_address at = address(to);

    return ps_listener_takes(&listener, &at, port);
}

static void one_address_leads_to_a_listener_on_it(void **state)
{
    (void)state;
    assert_true(takes("127.0.0.1", "127.0.0.1", 8080));
    assert_true(takes("127.0.0.1", "::ffff:127.0.0.1", 8080));
    assert_true(takes("::1", "[0:0::1]", 8080));
    assert_true(takes("192.0.2.1", "192.0.2.1", 8080));
    assert_false(takes("127.0.0.1", "127.0.0.1", 8081));
    assert_false(takes("127.0.0.1", "127.0.0.2", 8080));
    assert_false(takes("127.0.0.1", "::1", 8080));
    assert_false(takes("::1", "127.0.0.1", 8080));
    assert_false(takes("192.0.2.1", "127.0.0.1", 8080));
}

static void no_address_leads_to_a_listener_by_loopback(void **state)
{
    (void)state;
    assert_true(takes("127.0.0.1", "0.0.0.0", 8080));
    assert_true(takes("0.0.0.0", "0.0.0.0", 8080));
    assert_true(takes("::1", "::", 8080));
    assert_true(takes("::", "::", 8080));
    assert_false(takes("127.0.0.1", "::", 8080));
    assert_false(takes("::1", "0.0.0.0", 8080));
    assert_false(takes("0.0.0.0", "0.0.0.0", 80));
}

static void every_address_of_the_machine_leads_to_a_listener_on_all(void **state)
{
    (void)state;
    struct ifaddrs *list, *at;
    size_t seen = 0;

    assert_int_equal(getifaddrs(&list), 0);
    for (at = list; at != NULL; at = at->ifa_next) {
        struct ps_address is = {0};
        int family = at->ifa_addr != NULL ? at->ifa_addr->sa_family : AF_UNSPEC;
        if (family == AF_INET) {
            struct sockaddr_in v4;
            memcpy(&v4, at->ifa_addr, sizeof v4);
            is.byte[10] = is.byte[11] = 0xff;
            memcpy(is.byte + 12, &v4.sin_addr, 4);
        } else if (family == AF_INET6) {
            struct sockaddr_in6 v6;
            memcpy(&v6, at->ifa_addr, sizeof v6);
            if (IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr)) /* nothing connects to it without a scope */
                continue;
            memcpy(is.byte, &v6.sin6_addr, 16);
        } else {
            continue;
        }
        const struct ps_listener all = {family == AF_INET ? address("0.0.0.0") : address("::"),
                                        8080};
        assert_true(ps_listener_takes(&all, &is, 8080));
        assert_false(ps_listener_takes(&all, &is, 8081));
        seen++;
    }
    freeifaddrs(list);
    assert_true(seen > 0);
    assert_true(takes("0.0.0.0", "127.255.255.254", 8080));
    assert_true(takes("::", "::1", 8080));
    assert_false(takes("0.0.0.0", "192.0.2.1", 8080));
    assert_false(takes("0.0.0.0", "255.255.255.255", 8080));
    assert_false(takes("0.0.0.0", "224.0.0.1", 8080));
    assert_false(takes("0.0.0.0", "::1", 8080));
    assert_false(takes("::", "127.0.0.1", 8080));
    assert_false(takes("::", "2001:db8::1", 8080));
    assert_false(takes("::", "fe80::1", 8080));
}

static void a_process_that_may_open_nothing_still_knows_loopback(void **state)
{
    (void)state;
    struct rlimit was, none;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    none = (struct rlimit){0, was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    bool loopback = takes("0.0.0.0", "127.0.0.1", 8080);
    bool other = takes("0.0.0.0", "192.0.2.1", 8080);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_true(loopback);
    assert_false(other);
}

static void a_listener_of_no_port_takes_nothing(void **state)
{
    (void)state;
    const struct ps_listener nowhere = {0};
    struct ps_address at = address("::");

    assert_false(ps_listener_takes(&nowhere, &at, 0));
    assert_false(ps_listener_takes(&nowhere, &at, 8080));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address_leads_to_a_listener_on_it),
        cmocka_unit_test(no_address_leads_to_a_listener_by_loopback),
        cmocka_unit_test(every_address_of_the_machine_leads_to_a_listener_on_all),
        cmocka_unit_test(a_process_that_may_open_nothing_still_knows_loopback),
        cmocka_unit_test(a_listener_of_no_port_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
