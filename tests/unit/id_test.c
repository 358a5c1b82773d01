/* Names, users, keys; UUIDv7; keyed hashing. */
#include "tests/unit/check.h"

#include "common/err.h"
#include "common/text/id.h"

static bool name_ok(const char *text)
{
    return ps_name_ok(text, strlen(text));
}

static bool user_ok(const char *text)
{
    return ps_user_ok(text, strlen(text));
}

static void names_are_short_and_plain(void **state)
{
    (void)state;
    char name[PS_NAME_MAX + 2];
    memset(name, 'a', sizeof name);
    assert_true(ps_name_ok(name, PS_NAME_MAX));
    assert_false(ps_name_ok(name, PS_NAME_MAX + 1));
    assert_true(name_ok("a"));
    assert_true(name_ok("Sale-2030.11_11"));
    assert_true(name_ok("0"));
    static const char *const bad[] = {"",    ".a",  "-a",       "_a", "a b",
                                      "a/b", "a\n", "\xc3\xa9", "a~", "a%"};
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++)
        assert_false(name_ok(bad[i]));
    assert_false(ps_name_ok("a\0b", 3));
}

static void users_are_utf8_without_space_and_controls(void **state)
{
    (void)state;
    char user[PS_USER_MAX + 1];
    memset(user, 'u', sizeof user);
    assert_true(ps_user_ok(user, PS_USER_MAX));
    assert_false(ps_user_ok(user, PS_USER_MAX + 1));
    assert_true(user_ok("alice@example.com"));
    assert_true(user_ok("\xe5\xbc\xa0\xe4\xb8\x89")); /* two Han letters */
    assert_true(user_ok("\xf0\x9f\x98\x80"));         /* beyond the first plane */
    static const char *const bad[] = {
        "",
        " ",
        "a b",
        "a\tb",
        "a\x7f",
        "\xc2\x80",     /* C1 */
        "\xc2\x85",     /* next line */
        "\xc2\xa0",     /* no-break space */
        "\xe1\x9a\x80", /* U+1680 */
        "\xe2\x80\x80", /* U+2000 */
        "\xe2\x80\x8a", /* U+200A */
        "\xe2\x80\xa8", /* U+2028 */
        "\xe2\x80\xa9", /* U+2029 */
        "\xe2\x80\xaf", /* U+202F */
        "\xe2\x81\x9f", /* U+205F */
        "\xe3\x80\x80", /* U+3000 */
        "a\xff",
        "\xc0\xaf",     /* overlong */
        "\xed\xa0\x80", /* surrogate */
        "a\xc3",        /* cut short */
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        if (user_ok(bad[i]))
            fail_msg("row %zu", i);
    }
    assert_false(ps_user_ok("a\0b", 3));
}

static void keys_are_visible_ascii(void **state)
{
    (void)state;
    char key[PS_KEY_MAX + 1];
    memset(key, 'k', sizeof key);
    assert_true(ps_key_ok(key, PS_KEY_MAX));
    assert_false(ps_key_ok(key, PS_KEY_MAX + 1));
    assert_true(ps_key_ok("!~", 2));
    assert_false(ps_key_ok("", 0));
    assert_false(ps_key_ok("a b", 3));
    assert_false(ps_key_ok("\x7f", 1));
    assert_false(ps_key_ok("\xc3\xa9", 2));
}

static void a_uuid_reads_back_as_it_was_printed(void **state)
{
    (void)state;
    struct ps_uuid_source source;
    ps_uuid_source_init(&source);
    for (int i = 0; i < 1000; i++) {
        struct ps_uuid uuid, back;
        char text[PS_UUID_LEN + 1];
        ps_uuid_next(&source, 1700000000000 + i / 10, &uuid);
        ps_uuid_format(&uuid, text);
        assert_int_equal(strlen(text), PS_UUID_LEN);
        assert_ok(ps_uuid_parse(text, PS_UUID_LEN, &back));
        assert_true(ps_uuid_equal(&uuid, &back));
    }
    struct ps_uuid uuid;
    char text[PS_UUID_LEN + 1];
    assert_ok(ps_uuid_parse("01234567-89AB-7CDE-bf01-23456789ABCD", PS_UUID_LEN, &uuid));
    ps_uuid_format(&uuid, text);
    assert_string_equal(text, "01234567-89ab-7cde-bf01-23456789abcd");
}

static void only_the_one_form_of_a_uuid_is_taken(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "0123456789ab7cdebf0123456789abcd",
        "{1234567-89ab-7cde-bf01-23456789abc}",
        "01234567-89ab-7cde-bf01-23456789abc",
        "01234567-89ab-7cde-bf01-23456789abcde",
        "0123456789-ab-7cde-bf01-23456789abcd",
        "01234567-89ab-7cde-bf01-23456789abcg",
        "01234567+89ab-7cde-bf01-23456789abcd",
        "0123456--89ab-7cde-bf01-23456789abcd",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct ps_uuid uuid;
        assert_int_equal(ps_uuid_parse(bad[i], strlen(bad[i]), &uuid), PS_E_INVALID);
    }
}

static void a_uuid_carries_its_time_version_and_variant(void **state)
{
    (void)state;
    struct ps_uuid_source source;
    struct ps_uuid uuid;
    char text[PS_UUID_LEN + 1];
    ps_uuid_source_init(&source);
    ps_uuid_next(&source, 0x017f22e279b0, &uuid); /* the example of RFC 9562, A.6 */
    ps_uuid_format(&uuid, text);
    assert_memory_equal(text, "017f22e2-79b0-7", 15);
    assert_non_null(strchr("89ab", text[19]));
}

static void uuids_of_a_source_only_rise_even_when_the_clock_falls(void **state)
{
    (void)state;
    struct ps_uuid_source source;
    struct ps_uuid last = {{0}}, next;
    ps_uuid_source_init(&source);
    for (int i = 0; i < 100000; i++) {
        int64_t wall_ms = 1700000000000 + (i < 50000 ? i / 1000 : -3600000);
        ps_uuid_next(&source, wall_ms, &next);
        assert_true(memcmp(last.byte, next.byte, sizeof next.byte) < 0);
        last = next;
    }
}

static void a_used_up_counter_moves_to_the_next_millisecond(void **state)
{
    (void)state;
    struct ps_uuid_source source;
    struct ps_uuid before, after;
    ps_uuid_source_init(&source);
    ps_uuid_next(&source, 1000, &before);
    source.sequence = (UINT32_C(1) << 26) - 2;
    ps_uuid_next(&source, 1000, &before);
    ps_uuid_next(&source, 1000, &after);
    assert_true(memcmp(before.byte, after.byte, sizeof after.byte) < 0);
    assert_int_equal(before.byte[5], 1000 & 0xff);
    assert_int_equal(after.byte[5], 1001 & 0xff);
}

static void two_sources_do_not_meet(void **state)
{
    (void)state;
    struct ps_uuid_source a, b;
    ps_uuid_source_init(&a);
    ps_uuid_source_init(&b);
    for (int i = 0; i < 1000; i++) {
        struct ps_uuid x, y;
        ps_uuid_next(&a, 1, &x);
        ps_uuid_next(&b, 1, &y);
        assert_false(ps_uuid_equal(&x, &y));
        assert_memory_not_equal(x.byte + 10, y.byte + 10, 6);
    }
}

static void the_hash_is_siphash_2_4(void **state)
{
    (void)state;
    /* The example of the SipHash paper: key 00..0f, message 00..0e. */
    struct ps_hash_key key;
    uint8_t message[15];
    for (uint8_t i = 0; i < 16; i++)
        key.byte[i] = i;
    for (uint8_t i = 0; i < 15; i++)
        message[i] = i;
    assert_true(ps_hash64(&key, message, sizeof message) == UINT64_C(0xa129ca6149be45e5));
    struct ps_hash_key a, b;
    ps_hash_key_random(&a);
    ps_hash_key_random(&b);
    assert_memory_not_equal(a.byte, b.byte, sizeof a.byte);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_short_and_plain),
        cmocka_unit_test(users_are_utf8_without_space_and_controls),
        cmocka_unit_test(keys_are_visible_ascii),
        cmocka_unit_test(a_uuid_reads_back_as_it_was_printed),
        cmocka_unit_test(only_the_one_form_of_a_uuid_is_taken),
        cmocka_unit_test(a_uuid_carries_its_time_version_and_variant),
        cmocka_unit_test(uuids_of_a_source_only_rise_even_when_the_clock_falls),
        cmocka_unit_test(a_used_up_counter_moves_to_the_next_millisecond),
        cmocka_unit_test(two_sources_do_not_meet),
        cmocka_unit_test(the_hash_is_siphash_2_4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
