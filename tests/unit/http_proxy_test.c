/* The PROXY protocol: which headers are read, what they say, and which are refused. */
#include "check.h"
#include "common/http/proxy.h"

#include <string.h>

#define SIGNATURE   "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(text) text, sizeof(text) - 1

static struct ps_proxy_header header;

/* Of each part of the bytes, all but the last ask for more: wherever they are split. */
static enum ps_http_step read_in_parts(enum ps_proxy_versions versions, const char *bytes,
                                       size_t len)
{
    for (size_t i = 0; i < len; i++) {
        enum ps_http_step step = ps_proxy_parse(versions, bytes, i, &header);
        if (step != PS_HTTP_MORE)
            return step;
    }
    return ps_proxy_parse(versions, bytes, len, &header);
}

static void says(const char *bytes, size_t len, const char *expected)
{
    char text[46];

    assert_int_equal(read_in_parts(PS_PROXY_ANY, bytes, len), PS_HTTP_DONE);
    assert_int_equal(header.len, len);
    assert_int_equal(header.has_address, expected != NULL);
    if (expected == NULL)
        return;
    ps_address_format(&header.address, text);
    assert_string_equal(text, expected);
}

static void is_refused(enum ps_proxy_versions versions, const char *bytes, size_t len,
                       const char *why)
{
    assert_int_equal(read_in_parts(versions, bytes, len), PS_HTTP_BAD);
    if (strstr(header.why, why) == NULL)
        fail_msg("refused because %s, not because %s", header.why, why);
}

static void a_line_names_the_source(void **state)
{
    (void)state;
    says(BYTES("PROXY TCP4 198.51.100.7 10.0.0.1 40000 80\r\n"), "198.51.100.7");
    says(BYTES("PROXY TCP6 2001:db8::7 2001:db8::1 0 65535\r\n"), "2001:db8::7");
    says(BYTES("PROXY TCP6 fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
         "fe80:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    assert_int_equal(header.version, PS_PROXY_V1);
}

static void a_connection_of_no_known_address_is_the_proxys_own(void **state)
{
    (void)state;
    says(BYTES("PROXY UNKNOWN\r\n"), NULL);
    says(BYTES("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), NULL);
    says(BYTES(SIGNATURE "\x20\x00\x00\x00"), NULL); /* LOCAL */
    says(BYTES(SIGNATURE "\x20\xff\x00\x03"
                         "abc"),
         NULL);                                                /* LOCAL, with anything */
    says(BYTES(SIGNATURE "\x21\x00\x00\x00"), NULL);           /* AF_UNSPEC */
    char local[16 + 216] = SIGNATURE "\x21\x31\x00\xd8/run/a"; /* AF_UNIX */
    says(local, sizeof local, NULL);
}

static void a_binary_header_names_the_source(void **state)
{
    (void)state;
    says(BYTES(SIGNATURE "\x21\x11\x00\x0c"
                         "\xc6\x33\x64\x07"
                         "\x0a\x00\x00\x01"
                         "\x9c\x40\x00P"),
         "198.51.100.7");
    says(BYTES(SIGNATURE "\x21\x12\x00\x0c"
                         "\xc6\x33\x64\x08"
                         "\x0a\x00\x00\x01"
                         "\x9c\x40\x00P"),
         "198.51.100.8");
    says(BYTES(SIGNATURE "\x21\x21\x00\x24"
                         "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
                         "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                         "\x9c\x40\x00P"),
         "2001:db8::7");
    assert_int_equal(header.version, PS_PROXY_V2);
}

#define INET(len) SIGNATURE "\x21\x11\x00" len "\xc6\x33\x64\x07\x0a\x00\x00\x01\x9c\x40\x00P"

static void values_behind_the_addresses_end_within_the_header(void **state)
{
    (void)state;
    says(BYTES(INET("\x0f") "\x04\x00\x00"), "198.51.100.7"); /* NOOP */
    says(BYTES(INET("\x14") "\x02\x00\x05"
                            "a.com"),
         "198.51.100.7"); /* AUTHORITY */
    says(BYTES(INET("\x13") "\xe0\x00\x00"
                            "\x05\x00\x01"
                            "x"),
         "198.51.100.7"); /* UNIQUE_ID */
    is_refused(PS_PROXY_ANY, BYTES(INET("\x0e") "\x04\x00"), "a value ends");
    is_refused(PS_PROXY_ANY,
               BYTES(INET("\x10") "\x04\x00\x02"
                                  "a"),
               "a value ends");
    is_refused(PS_PROXY_ANY, BYTES(INET("\x0f") "\x04\xff\xff"), "a value ends");
    char long_id[28 + 3 + 129] = INET("\x90") "\x05\x00\x81";
    is_refused(PS_PROXY_ANY, long_id, sizeof long_id, "unique id");
}

static void a_checksum_must_be_right(void **state)
{
    (void)state;
    says(BYTES(INET("\x13") "\x03\x00\x04"
                            "\x91\x6f\xef\x96"),
         "198.51.100.7");
    is_refused(PS_PROXY_ANY,
               BYTES(INET("\x13") "\x03\x00\x04"
                                  "\x91\x6f\xef\x97"),
               "checksum");
    is_refused(PS_PROXY_ANY,
               BYTES(INET("\x12") "\x03\x00\x03"
                                  "\x91\x6f\xef"),
               "checksum");
}

static void what_is_no_header_is_refused_at_its_first_wrong_byte(void **state)
{
    (void)state;
    is_refused(PS_PROXY_ANY, BYTES("GET / HTTP/1.1\r\n"), "there is none");
    is_refused(PS_PROXY_ANY, BYTES("POST"), "there is none");
    assert_int_equal(ps_proxy_parse(PS_PROXY_ANY, "PO", 2, &header), PS_HTTP_BAD);
    is_refused(PS_PROXY_ANY, BYTES("\r\n\r\n\0\r\nQUIX"), "there is none");
    is_refused(PS_PROXY_V2, BYTES("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"), "of version 1");
    is_refused(PS_PROXY_V1, BYTES(INET("\x0c")), "of version 2");
}

static void a_line_of_another_form_is_refused(void **state)
{
    static const char *const lines[] = {
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
        "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 [::1] ::2 1 2\r\n",
        "PROXY TCP6 :: ::2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
    };
    char line[PS_PROXY_MAX];

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(lines); i++)
        is_refused(PS_PROXY_ANY, lines[i], strlen(lines[i]), "");
    memset(line, 'a', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(ps_proxy_parse(PS_PROXY_ANY, line, 106, &header), PS_HTTP_MORE);
    is_refused(PS_PROXY_ANY, line, 107, "107 bytes");
}

static void a_binary_header_of_another_form_is_refused(void **state)
{
    (void)state;
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x11\x11\x00\x0c"), "version or command");
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x22\x11\x00\x0c"), "version or command");
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x21\x41\x00\x0c"), "family or transport");
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x21\x13\x00\x0c"), "family or transport");
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x21\x11\x00\x0b"), "too short");
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x21\x21\x00\x0c"), "too short");
    is_refused(PS_PROXY_ANY, BYTES(SIGNATURE "\x20\x00\x02\x09"), "536 bytes");
    assert_int_equal(ps_proxy_parse(PS_PROXY_ANY, BYTES(SIGNATURE "\x20\x00\x02\x08"), &header),
                     PS_HTTP_MORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_names_the_source),
        cmocka_unit_test(a_connection_of_no_known_address_is_the_proxys_own),
        cmocka_unit_test(a_binary_header_names_the_source),
        cmocka_unit_test(values_behind_the_addresses_end_within_the_header),
        cmocka_unit_test(a_checksum_must_be_right),
        cmocka_unit_test(what_is_no_header_is_refused_at_its_first_wrong_byte),
        cmocka_unit_test(a_line_of_another_form_is_refused),
        cmocka_unit_test(a_binary_header_of_another_form_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
