/* A request with an invalid mark is an ordinary request. If it were refused or sent to a twin,
 * anybody could do that to a buyer by adding a header field. */
#include "gateway/public/rehearsal.h"

#include <sodium.h>
#include <string.h>

static bool fits_user(const struct ps_mark *mark, const struct pub_client *client)
{
    struct ps_str user = client->user;

    return client->identity != PUB_IDENTITY_OK ||
           (user.len >= mark->user.len && memcmp(user.at, mark->user.at, mark->user.len) == 0);
}

static bool is_seen(const struct pub_rehearsal_seen *seen, struct ps_str text)
{
    return text.len == seen->len && text.len > 0 &&
           sodium_memcmp(text.at, seen->text, text.len) == 0;
}

static void note_seen(struct pub_rehearsal_seen *seen, struct ps_str text,
                      const struct ps_mark *mark)
{
    struct ps_str *const parts[] = {&seen->mark.key, &seen->mark.user, &seen->mark.text};

    memcpy(seen->text, text.at, text.len);
    seen->len = text.len;
    seen->mark = *mark;
    for (size_t i = 0; i < PS_ARRAY_LEN(parts); i++) /* of the copy */
        parts[i]->at = seen->text + (parts[i]->at - text.at);
}

enum pub_rehearsal_result pub_rehearsal_judge(const struct srv_request *request,
                                              const struct pub_client *client,
                                              const struct cfg_rehearsal_keys *keys,
                                              int64_t wall_ms, struct pub_rehearsal_seen *seen)
{
    struct ps_str text = request->header[SRV_H_REHEARSAL];
    struct ps_mark mark;

    bool again = is_seen(seen, text);
    if (again)
        mark = seen->mark;
    if (request->header_lines[SRV_H_REHEARSAL] != 1 || (!again && ps_mark_parse(text, &mark) < 0))
        return PUB_REHEARSAL_MALFORMED;
    const struct cfg_rehearsal_key *key = cfg_rehearsal_key_find(keys, mark.key, wall_ms);
    if (key == NULL)
        return PUB_REHEARSAL_UNKNOWN_KEY;
    if (mark.expires_s <= wall_ms / 1000)
        return PUB_REHEARSAL_EXPIRED;
    if (mark.expires_s > wall_ms / 1000 + PS_MARK_LIFE_MAX_S)
        return PUB_REHEARSAL_TOO_LONG;
    if (!fits_user(&mark, client))
        return PUB_REHEARSAL_OTHER_USER;
    if (again && sodium_memcmp(key->secret, seen->secret, sizeof seen->secret) == 0)
        return PUB_REHEARSAL_BELIEVED;
    if (!ps_mark_is_signed(&mark, key->secret))
        return PUB_REHEARSAL_FORGED;
    if (!again)
        note_seen(seen, text, &mark);
    memcpy(seen->secret, key->secret, sizeof seen->secret);
    return PUB_REHEARSAL_BELIEVED;
}
