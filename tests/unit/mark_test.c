/* Marks of rehearsals: the one form that is read, and who can sign it. */
#include "check.h"
#include "common/text/mark.h"

#include <string.h>

#define HEX       "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SIGNATURE "e8b1c772d37b2605b5a9be9676b4522940c9df63835cb213e06480880638a6c5"

static struct ps_str str(const char *text)
{
    return (struct ps_str){text, strlen(text)};
}

static void secret_of(const char *hex, uint8_t ret_secret[PS_MARK_SECRET_LEN])
{
    assert_ok(ps_mark_secret_parse(str(hex), ret_secret));
}

static void a_mark_reads_back_and_is_signed_with_its_secret_alone(void **state)
{
    uint8_t secret[PS_MARK_SECRET_LEN], other[PS_MARK_SECRET_LEN];
    char text[PS_MARK_TEXT_MAX + 1];
    struct ps_mark mark;

    (void)state;
    secret_of(HEX, secret);
    ps_mark_secret_new(other);
    ps_mark_write("k-1", 1795300000, "load-", secret, text);
    assert_ok(ps_mark_parse(str(text), &mark));
    assert_int_equal(mark.expires_s, 1795300000);
    assert_true(mark.key.len == 3 && memcmp(mark.key.at, "k-1", 3) == 0);
    assert_true(mark.user.len == 5 && memcmp(mark.user.at, "load-", 5) == 0);
    assert_true(ps_mark_is_signed(&mark, secret));
    assert_false(ps_mark_is_signed(&mark, other));
}

/* HMAC-SHA-256 by `openssl dgst -sha256 -mac HMAC -macopt hexkey:...`. */
static void the_signature_is_the_hmac_of_the_text_before_it(void **state)
{
    uint8_t secret[PS_MARK_SECRET_LEN];
    char text[PS_MARK_TEXT_MAX + 1];

    (void)state;
    secret_of(HEX, secret);
    ps_mark_write("k-1", 1795300000, "load-", secret, text);
    assert_string_equal(text, "v1;key=k-1;exp=1795300000;user=load-;sig=" SIGNATURE);
}

static void no_bit_of_a_mark_can_be_changed(void **state)
{
    uint8_t secret[PS_MARK_SECRET_LEN];
    char text[PS_MARK_TEXT_MAX + 1];

    (void)state;
    secret_of(HEX, secret);
    ps_mark_write("k-1", 1795300000, "load-", secret, text);
    for (size_t bit = 0; bit < 8 * strlen(text); bit++) {
        char changed[sizeof text];
        struct ps_mark mark;
        memcpy(changed, text, sizeof text);
        changed[bit / 8] = (char)(changed[bit / 8] ^ (1 << bit % 8));
        if (ps_mark_parse((struct ps_str){changed, strlen(text)}, &mark) == 0)
            assert_false(ps_mark_is_signed(&mark, secret));
    }
}

static void what_is_not_exactly_a_mark_is_none(void **state)
{
    static const char *const wrong[] = {
        "",
        "v1",
        "v1;key=k;exp=1795300000;user=load-",
        "v1;key=k;exp=1795300000;user=load-;sig=",
        "v1;key=k;exp=1795300000;user=load-;sig=" HEX ";",
        "v1;key=k;exp=1795300000;user=load-;sig=" HEX ";more=1",
        "v1;key=k;exp=1795300000;user=load-;sig=" HEX "00",
        "v1;key=k;exp=1795300000;user=load-;sig=0" HEX,
        "v1;key=k;exp=1795300000;user=load-;sig="
        "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff",
        "v1;key=k;exp=1795300000;user=load-;sig="
        "zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        "v1;key=;exp=1795300000;user=load-;sig=" HEX,
        "v1;key=.k;exp=1795300000;user=load-;sig=" HEX,
        "v1;key=k;exp=;user=load-;sig=" HEX,
        "v1;key=k;exp=-1;user=load-;sig=" HEX,
        "v1;key=k;exp=01;user=load-;sig=" HEX,
        "v1;key=k;exp=999999999999;user=load-;sig=" HEX,
        "v1;key=k;exp=1795300000;user=abc;sig=" HEX,
        "v1;key=k;exp=1795300000;user=a b c;sig=" HEX,
        "v1;key=k;exp=1795300000;user=;sig=" HEX,
        "v1;exp=1795300000;key=k;user=load-;sig=" HEX,
        "v1; key=k;exp=1795300000;user=load-;sig=" HEX,
        "v2;key=k;exp=1795300000;user=load-;sig=" HEX,
        "v11;key=k;exp=1795300000;user=load-;sig=" HEX,
        "v1;key=k;exp=1795300000;user="
        "01234567890123456789012345678901234567890123456789012345678901234;sig=" HEX,
    };
    struct ps_mark mark;

    (void)state;
    assert_ok(ps_mark_parse(str("v1;key=k;exp=1795300000;user=load-;sig=" HEX), &mark));
    for (size_t i = 0; i < PS_ARRAY_LEN(wrong); i++)
        if (ps_mark_parse(str(wrong[i]), &mark) != PS_E_INVALID)
            fail_msg("read: %s", wrong[i]);
}

static void the_longest_mark_fits(void **state)
{
    static const char longest[] =
        "0123456789012345678901234567890123456789012345678901234567890123";
    uint8_t secret[PS_MARK_SECRET_LEN];
    char text[PS_MARK_TEXT_MAX + 1];
    struct ps_mark mark;

    (void)state;
    secret_of(HEX, secret);
    ps_mark_write(longest, INT64_C(99999999999), longest, secret, text);
    assert_ok(ps_mark_parse(str(text), &mark));
    assert_true(ps_mark_is_signed(&mark, secret));
}

static void a_secret_reads_back(void **state)
{
    uint8_t secret[PS_MARK_SECRET_LEN], back[PS_MARK_SECRET_LEN];
    char text[PS_MARK_HEX_LEN + 1];

    (void)state;
    ps_mark_secret_new(secret);
    ps_mark_secret_format(secret, text);
    secret_of(text, back);
    assert_memory_equal(secret, back, sizeof secret);
    text[10] = 'x';
    assert_int_equal(ps_mark_secret_parse(str(text), back), PS_E_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_reads_back_and_is_signed_with_its_secret_alone),
        cmocka_unit_test(the_signature_is_the_hmac_of_the_text_before_it),
        cmocka_unit_test(no_bit_of_a_mark_can_be_changed),
        cmocka_unit_test(what_is_not_exactly_a_mark_is_none),
        cmocka_unit_test(the_longest_mark_fits),
        cmocka_unit_test(a_secret_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
