/* Any bytes as a mark of a rehearsal: one that is read is written the same again, and is not signed
 * with a secret that nobody used. */
#include "common/text/id.h"
#include "common/text/mark.h"
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const uint8_t secret[PS_MARK_SECRET_LEN] = {7};
    const struct ps_str text = {(const char *)bytes, size};
    char key[PS_NAME_MAX + 1], user[PS_MARK_USER_MAX + 1], again[PS_MARK_TEXT_MAX + 1];
    struct ps_mark mark;

    if (ps_mark_parse(text, &mark) < 0)
        return 0;
    MUST(mark.key.len < sizeof key && ps_mark_user_ok(mark.user) && mark.expires_s > 0);
    (void)snprintf(key, sizeof key, "%.*s", (int)mark.key.len, mark.key.at);
    (void)snprintf(user, sizeof user, "%.*s", (int)mark.user.len, mark.user.at);
    ps_mark_write(key, mark.expires_s, user, secret, again);
    MUST(strlen(again) == size && memcmp(again, bytes, mark.text.len) == 0);
    MUST(ps_mark_is_signed(&mark, secret) == (memcmp(again, bytes, size) == 0));
    return 0;
}
