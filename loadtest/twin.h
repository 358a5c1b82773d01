/* Rehearsing beside a live sale: the marks of its clicks, and the checks before the first click. A
 * click whose mark is not accepted buys from the live sale. */
#ifndef LT_TWIN_H
#define LT_TWIN_H

#include "common/text/id.h"
#include "common/text/mark.h"
#include "loadtest/client.h"

struct lt_twin {
    const char *of; /* the live sale; NULL: the rehearsal has a sale of its own */
    const char *user_prefix;
    char key[PS_NAME_MAX + 1];
    int64_t key_ends_ms;
    uint8_t secret[PS_MARK_SECRET_LEN];
};

/* Reads the key from a file: the answer of POST /admin/v1/rehearsal-keys. PS_E_NOT_FOUND,
 * PS_E_IO; PS_E_PERMISSION: others may read it; PS_E_INVALID: no key, or it ends within `need_ms`
 * from now. */
int lt_twin_read_key(const char *path, int64_t need_ms, struct lt_twin *twin,
                     struct ps_fault *fault) PS_MUST_CHECK;

/* A mark that is valid for the next minutes. */
void lt_twin_mark(const struct lt_twin *twin, char ret_mark[PS_MARK_TEXT_MAX + 1]);

/* Requests the marked page of the live sale from the public listener until that of its twin `name`
 * arrives, and then some more times: behind a balancer there are several gateways. PS_E_CONFLICT:
 * it does not arrive; errors as lt_admin_call. Blocking. */
int lt_twin_check(const struct lt_twin *twin, const struct lt_target *target, const char *name,
                  const volatile sig_atomic_t *stop, struct ps_fault *fault) PS_MUST_CHECK;

/* True: the live sale answered, so the click's mark was not accepted. Answers of a proxy, or of a
 * gateway to an unreadable request, are of no sale. */
bool lt_twin_missed(const struct lt_answer *answer);

#endif
