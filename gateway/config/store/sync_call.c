/* See sync_call.h. */
#include "gateway/config/store/sync_call.h"

#include "gateway/config/store/sync.h"

#include <stdlib.h>
#include <string.h>

/* --- Calls. --- */

struct cfg_sync_call cfg_sync_call_begin(size_t argv)
{
    struct cfg_sync_call call = {.at = calloc(argv + 2, sizeof *call.at),
                                 .len = calloc(argv + 2, sizeof *call.len)};

    if (call.at == NULL || call.len == NULL) {
        cfg_sync_call_free(&call);
        return (struct cfg_sync_call){0};
    }
    cfg_sync_call_add(&call, CFG_SYNC_KEY);
    cfg_sync_call_add(&call, CFG_SYNC_KEY_REVS);
    return call;
}

void cfg_sync_call_add(struct cfg_sync_call *call, const char *text)
{
    if (call->at == NULL)
        return;
    call->at[call->count] = text;
    call->len[call->count++] = strlen(text);
}

int cfg_sync_call_send(struct cfg_sync_call *call, struct ps_redis_link *link,
                       enum cfg_sync_script script, ps_redis_reply_fn *fn, void *ctx)
{
    const struct ps_redis_args args = {call->count, call->at, call->len};
    int err = call->at == NULL
                  ? PS_E_NOMEM
                  : ps_redis_link_eval(link, &cfg_sync_scripts[script], 2, args, fn, ctx);

    cfg_sync_call_free(call);
    return err;
}

void cfg_sync_call_free(struct cfg_sync_call *call)
{
    free(call->at);
    free(call->len);
}

/* --- Replies. --- */

int cfg_sync_reply_strange(const char *server, struct ps_fault *fault)
{
    return ps_fault(fault, PS_E_CORRUPT, CFG_SYNC_PATH, "Redis %s: an unexpected reply", server);
}

int cfg_sync_reply_fault(int err, const redisReply *reply, const char *server,
                         struct ps_fault *fault)
{
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "Redis %s did not answer", server);
    err = ps_redis_reply_err(reply);
    if (err == PS_E_CORRUPT)
        return ps_fault(fault, err, CFG_SYNC_PATH,
                        "Redis %s: " CFG_SYNC_KEY " or " CFG_SYNC_KEY_REVS
                        " is not Penstock's: rename it, or name another database (%s)",
                        server, reply->str);
    if (err < 0)
        return ps_fault(fault, err, CFG_SYNC_PATH, "Redis %s: %s", server, reply->str);
    if (reply->type == REDIS_REPLY_STRING ||
        (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
         reply->element[0]->type == REDIS_REPLY_STRING))
        return 0;
    return cfg_sync_reply_strange(server, fault);
}

static bool is_element(const redisReply *element, char letter)
{
    if (letter == 'i')
        return element->type == REDIS_REPLY_INTEGER && element->integer >= 0 &&
               element->integer <= PS_INT_MAX;
    return element->type == REDIS_REPLY_STRING ||
           (letter == 'o' && element->type == REDIS_REPLY_NIL);
}

bool cfg_sync_reply_is(const redisReply *reply, const char *word, const char *letters,
                       size_t repeated)
{
    size_t once = strlen(letters) - repeated;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 1 + once ||
        !is_element(reply->element[0], 's') || strcmp(reply->element[0]->str, word) != 0)
        return false;
    size_t count = reply->elements - 1, more = count - once;
    if (repeated == 0 ? more > 0 : more % repeated != 0)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!is_element(reply->element[1 + i],
                        letters[i < once ? i : once + (i - once) % repeated]))
            return false;
    return true;
}
