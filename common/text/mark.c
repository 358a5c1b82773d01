/* The form is fixed to the byte (members, their order, no white space), so that what is signed is
 * the text itself and there is nothing to normalise. */
#include "common/text/mark.h"

#include "common/text/charset.h"
#include "common/text/id.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPIRES_DIGITS_MAX 11

static const struct ps_charset user_chars = {
    {PS_DIGITS, PS_LETTERS, ['.'] = true, ['_'] = true, ['-'] = true}};

bool ps_mark_user_ok(struct ps_str user)
{
    return user.len >= PS_MARK_USER_MIN && user.len <= PS_MARK_USER_MAX &&
           ps_charset_span(&user_chars, user.at, user.len) == user.len;
}

/* --- Secrets. --- */

void ps_mark_secret_new(uint8_t ret_secret[PS_MARK_SECRET_LEN])
{
    if (sodium_init() < 0)
        abort();
    randombytes_buf(ret_secret, PS_MARK_SECRET_LEN);
}

static bool parse_hex(struct ps_str text, uint8_t ret_bytes[PS_MARK_SECRET_LEN])
{
    size_t len;

    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] >= 'A' && text.at[i] <= 'F') /* one spelling */
            return false;
    return text.len == PS_MARK_HEX_LEN &&
           sodium_hex2bin(ret_bytes, PS_MARK_SECRET_LEN, text.at, text.len, NULL, &len, NULL) ==
               0 &&
           len == PS_MARK_SECRET_LEN;
}

int ps_mark_secret_parse(struct ps_str text, uint8_t ret_secret[PS_MARK_SECRET_LEN])
{
    return parse_hex(text, ret_secret) ? 0 : PS_E_INVALID;
}

void ps_mark_secret_format(const uint8_t secret[PS_MARK_SECRET_LEN],
                           char ret_text[PS_MARK_HEX_LEN + 1])
{
    sodium_bin2hex(ret_text, PS_MARK_HEX_LEN + 1, secret, PS_MARK_SECRET_LEN);
}

/* --- Marks. --- */

/* Takes `name` and what follows it up to the next semicolon, or to the end. */
static bool take_member(struct ps_str *left, struct ps_str name, struct ps_str *ret_value)
{
    if (left->len < name.len || memcmp(left->at, name.at, name.len) != 0)
        return false;
    const char *value = left->at + name.len, *end = left->at + left->len;
    const char *stop = memchr(value, ';', (size_t)(end - value));
    if (stop == NULL)
        stop = end;
    *ret_value = (struct ps_str){value, (size_t)(stop - value)};
    *left = (struct ps_str){stop, (size_t)(end - stop)};
    return true;
}

static bool parse_seconds(struct ps_str text, int64_t *ret_seconds)
{
    int64_t seconds = 0;

    if (text.len == 0 || text.len > EXPIRES_DIGITS_MAX || text.at[0] == '0')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        seconds = seconds * 10 + (text.at[i] - '0');
    }
    *ret_seconds = seconds;
    return true;
}

int ps_mark_parse(struct ps_str text, struct ps_mark *ret_mark)
{
    struct ps_str left = text, version, expires, signature;
    struct ps_mark mark;

    if (text.len > PS_MARK_TEXT_MAX || !take_member(&left, PS_STR("v1"), &version) ||
        version.len > 0 || !take_member(&left, PS_STR(";key="), &mark.key) ||
        !take_member(&left, PS_STR(";exp="), &expires) ||
        !take_member(&left, PS_STR(";user="), &mark.user))
        return PS_E_INVALID;
    mark.text = (struct ps_str){text.at, text.len - left.len};
    if (!take_member(&left, PS_STR(";sig="), &signature) || left.len > 0 ||
        !ps_name_ok(mark.key.at, mark.key.len) || !parse_seconds(expires, &mark.expires_s) ||
        !ps_mark_user_ok(mark.user) || !parse_hex(signature, mark.signature))
        return PS_E_INVALID;
    *ret_mark = mark;
    return 0;
}

static void sign(struct ps_str text, const uint8_t secret[PS_MARK_SECRET_LEN],
                 uint8_t ret_signature[PS_MARK_SECRET_LEN])
{
    _Static_assert(crypto_auth_hmacsha256_KEYBYTES == PS_MARK_SECRET_LEN &&
                       crypto_auth_hmacsha256_BYTES == PS_MARK_SECRET_LEN,
                   "secrets and signatures are as long as SHA-256's digests");
    (void)crypto_auth_hmacsha256(ret_signature, (const unsigned char *)text.at, text.len, secret);
}

bool ps_mark_is_signed(const struct ps_mark *mark, const uint8_t secret[PS_MARK_SECRET_LEN])
{
    uint8_t right[PS_MARK_SECRET_LEN];

    sign(mark->text, secret, right);
    return sodium_memcmp(right, mark->signature, sizeof right) == 0;
}

void ps_mark_write(const char *key, int64_t expires_s, const char *user,
                   const uint8_t secret[PS_MARK_SECRET_LEN], char ret_text[PS_MARK_TEXT_MAX + 1])
{
    uint8_t signature[PS_MARK_SECRET_LEN];
    char hex[PS_MARK_HEX_LEN + 1];
    int len = snprintf(ret_text, PS_MARK_TEXT_MAX + 1, "v1;key=%s;exp=%" PRId64 ";user=%s", key,
                       expires_s, user);

    sign((struct ps_str){ret_text, (size_t)len}, secret, signature);
    ps_mark_secret_format(signature, hex);
    (void)snprintf(ret_text + len, PS_MARK_TEXT_MAX + 1 - (size_t)len, ";sig=%s", hex);
}
