/* One call of a script (lua/), and its reply. A reply is checked here before anybody uses it,
 * because another program may have written what a Redis holds. */
#ifndef CFG_SYNC_CALL_H
#define CFG_SYNC_CALL_H

#include "common/redis/redis_link.h"

#define CFG_SYNC_KEY      "ps:control"
#define CFG_SYNC_KEY_REVS "ps:control:revs"

/* The scripts of lua/, embedded when the program is built. */
enum cfg_sync_script { CFG_SYNC_SCRIPT_PUSH, CFG_SYNC_SCRIPT_PUT, CFG_SYNC_SCRIPT_SINCE };
extern const struct ps_redis_script cfg_sync_scripts[]; /* by enum cfg_sync_script */

/* KEYS and ARGV of a call, heap; the texts are the caller's until it is sent. */
struct cfg_sync_call {
    const char **at;
    size_t *len;
    int count;
};

/* With room for this many ARGV; cfg_sync_call_send reports a lack of memory. */
struct cfg_sync_call cfg_sync_call_begin(size_t argv);
void cfg_sync_call_add(struct cfg_sync_call *call, const char *text);
/* As ps_redis_link_eval. Frees the call in every case. */
int cfg_sync_call_send(struct cfg_sync_call *call, struct ps_redis_link *link,
                       enum cfg_sync_script script, ps_redis_reply_fn *fn, void *ctx) PS_MUST_CHECK;
void cfg_sync_call_free(struct cfg_sync_call *call); /* instead of sending it */

/* The fault of a reply of this server; 0: it is an array that begins with a word, or a text. */
int cfg_sync_reply_fault(int err, const redisReply *reply, const char *server,
                         struct ps_fault *fault) PS_MUST_CHECK;
/* PS_E_CORRUPT, with the message for a reply that no script gives. */
int cfg_sync_reply_strange(const char *server, struct ps_fault *fault);
/* Is the reply this word, followed by one element per letter: `i` a version or revision, `s` a
 * text, `o` a text or nothing? The last `repeated` letters may occur any number of times, also not
 * at all. */
bool cfg_sync_reply_is(const redisReply *reply, const char *word, const char *letters,
                       size_t repeated);

#endif
