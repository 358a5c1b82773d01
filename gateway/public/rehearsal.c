/* A mark that is not believed makes an ordinary request: who could have a buyer refused, or sent to
 * a twin, by a header field that anybody can write, would have a weapon. */
#include "gateway/public/rehearsal.h"

#include <string.h>

static bool fits_user(const struct ps_mark *mark, const struct pub_client *client)
{
    struct ps_str user = client->user;

    return client->identity != PUB_IDENTITY_OK ||
           (user.len >= mark->user.len && memcmp(user.at, mark->user.at, mark->user.len) == 0);
}

enum pub_rehearsal_result pub_rehearsal_judge(const struct srv_request *request,
                                              const struct pub_client *client,
                                              const struct cfg_rehearsal_keys *keys,
                                              int64_t wall_ms)
{
    struct ps_mark mark;

    if (request->header_lines[SRV_H_REHEARSAL] != 1 ||
        ps_mark_parse(request->header[SRV_H_REHEARSAL], &mark) < 0)
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
    return ps_mark_is_signed(&mark, key->secret) ? PUB_REHEARSAL_BELIEVED : PUB_REHEARSAL_FORGED;
}
