/* The target of a rehearsal: an http URL, its addresses, and whether that is this machine. */
#ifndef LT_TARGET_H
#define LT_TARGET_H

#include "common/err.h"

#include <sys/socket.h>

#define LT_HOST_MAX 255

struct lt_target {
    char host[LT_HOST_MAX + 1];
    char port[6];
    char authority[LT_HOST_MAX + 10]; /* the value of the Host header */
    struct sockaddr_storage address;  /* the first resolved one, which is used */
    socklen_t address_len;
    bool loopback; /* every resolved address is one */
};

/* "http://HOST[:PORT][/]", IPv6 addresses in brackets; resolves the name (blocks). PS_E_INVALID:
 * not such a URL; PS_E_NOT_FOUND: the name has no address. The fault's path is `what`. */
int lt_target_parse(const char *url, const char *what, struct lt_target *ret_target,
                    struct ps_fault *fault) PS_MUST_CHECK;

#endif
