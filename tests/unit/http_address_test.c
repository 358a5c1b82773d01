/* One spelling for each address. */
#include "tests/unit/check.h"

#include "common/http/address.h"

#include <stdio.h>
#include <stdlib.h>

static void check_normal(const char *text, const char *want)
{
    char memory[256];
    struct ps_buf buf;

    ps_buf_init(&buf, memory, sizeof memory);
    bool is_put = ps_http_put_normal(&buf, ps_str(text));
    if (want == NULL ? is_put : (!is_put || !ps_str_is((struct ps_str){buf.at, buf.len}, want)))
        fail_msg("%s: %.*s, not %s", text, (int)buf.len, memory, want != NULL ? want : "refused");
    assert_true(ps_http_is_normal(ps_str(text)) == (want != NULL && strcmp(text, want) == 0));
}

static void unreserved_characters_are_decoded_and_others_are_encoded_in_upper_case(void **state)
{
    (void)state;
    check_normal("", "");
    check_normal("/a/b;c=1?x=%2F&y", "/a/b;c=1?x=%2F&y");
    check_normal("/%69nternal/%7e%2E", "/internal/~.");
    check_normal("/a%2fb%2Fc", "/a%2Fb%2Fc");
    check_normal("/\xe7\x81\xaf", "/%E7%81%AF");
    check_normal("/%e7%81%aF", "/%E7%81%AF");
    check_normal("?filter[color]=a|b`{}^\\", "?filter%5Bcolor%5D=a%7Cb%60%7B%7D%5E%5C");
    check_normal("/%5B", "/%5B");
    check_normal("/%2569", "/%2569"); /* decoded once */
    check_normal("/%", NULL);
    check_normal("/%4", NULL);
    check_normal("/%zz", NULL);
    check_normal("/%00", NULL);
}

/* Spells a byte in one of its ways. */
static size_t spell(char *to, unsigned char byte, int way)
{
    return (size_t)sprintf(to, way == 0 ? "%%%02x" : way == 1 ? "%%%02X" : "%c", byte);
}

static void two_spellings_of_ten_thousand_random_addresses_are_the_same(void **state)
{
    static const char bytes[] = "abzAZ019-._~[]|^`{}\xe7\xff/?&=+;:@!$'()*,";

    (void)state;
    srandom(32);
    for (int i = 0; i < 10000; i++) {
        char one[256], other[256], normal[2][768];
        size_t one_len = 0, other_len = 0;
        struct ps_buf bufs[2];
        for (int j = 0; j < 40; j++) {
            char byte = bytes[(size_t)random() % (sizeof bytes - 1)];
            bool reserved = strchr("/?&=+;:@!$'()*,", byte) != NULL; /* means another one encoded */
            one_len +=
                spell(one + one_len, (unsigned char)byte, reserved ? 2 : (int)(random() % 3));
            other_len +=
                spell(other + other_len, (unsigned char)byte, reserved ? 2 : (int)(random() % 3));
        }
        ps_buf_init(&bufs[0], normal[0], sizeof normal[0]);
        ps_buf_init(&bufs[1], normal[1], sizeof normal[1]);
        assert_true(ps_http_put_normal(&bufs[0], (struct ps_str){one, one_len}));
        assert_true(ps_http_put_normal(&bufs[1], (struct ps_str){other, other_len}));
        assert_true(bufs[0].len == bufs[1].len);
        assert_memory_equal(normal[0], normal[1], bufs[0].len);
        assert_true(ps_http_is_normal((struct ps_str){normal[0], bufs[0].len}));
    }
}

static void an_authority_is_lower_case_without_final_dot_and_default_port(void **state)
{
    static const struct {
        const char *text, *scheme, *want, *name;
    } rows[] = {
        {"Shop.Example", "http", "shop.example", "Shop.Example"},
        {"shop.example.", "http", "shop.example", "shop.example"},
        {"shop.example.:80", "http", "shop.example", "shop.example"},
        {"shop.example:80", "https", "shop.example:80", "shop.example"},
        {"shop.example:443", "https", "shop.example", "shop.example"},
        {"shop.example:443", NULL, "shop.example", "shop.example"},
        {"shop.example:", "http", "shop.example", "shop.example"},
        {"shop.example.:8080", "http", "shop.example:8080", "shop.example"},
        {"[2001:DB8::1]", "http", "[2001:db8::1]", "[2001:DB8::1]"},
        {"[::80]:80", "http", "[::80]", "[::80]"},
        {"127.0.0.1", "http", "127.0.0.1", "127.0.0.1"},
        {".", "http", ".", "."},
        {"", "http", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        char memory[64];
        struct ps_buf buf;
        ps_buf_init(&buf, memory, sizeof memory);
        ps_http_put_authority(&buf, ps_str(rows[i].text), rows[i].scheme);
        if (!ps_str_is((struct ps_str){memory, buf.len}, rows[i].want))
            fail_msg("%s: %.*s, not %s", rows[i].text, (int)buf.len, memory, rows[i].want);
        assert_true(ps_str_is(ps_http_host_name(ps_str(rows[i].text)), rows[i].name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreserved_characters_are_decoded_and_others_are_encoded_in_upper_case),
        cmocka_unit_test(two_spellings_of_ten_thousand_random_addresses_are_the_same),
        cmocka_unit_test(an_authority_is_lower_case_without_final_dot_and_default_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
