/* Redis addresses:
 *
 *   redis://[user[:password]@]host[:port][/db]
 *   redis+sentinel://[user[:password]@]host[:port][,host[:port]...]/master-name[/db]
 *
 * User and password may be percent-encoded; a user without a password gets it from elsewhere; a
 * host may be a name, an IPv4 address or an IPv6 one in brackets. Ports default to 6379 and 26379,
 * db to 0. */
#ifndef PS_REDIS_URL_H
#define PS_REDIS_URL_H

#include "common/err.h"

#define PS_REDIS_HOSTS_MAX  8
#define PS_REDIS_HOST_MAX   255
#define PS_REDIS_SECRET_MAX 255

struct ps_redis_host {
    char name[PS_REDIS_HOST_MAX + 1];
    uint16_t port;
};

struct ps_redis_url {
    char user[PS_REDIS_SECRET_MAX + 1];             /* "" = none */
    char password[PS_REDIS_SECRET_MAX + 1];         /* "" = none */
    struct ps_redis_host hosts[PS_REDIS_HOSTS_MAX]; /* of Redis (one), or of the Sentinels */
    size_t host_count;
    char master[PS_NAME_MAX + 1]; /* as the Sentinels call it; "" = no Sentinel */
    int db;
};

/* PS_E_INVALID: `fault` says what is wrong (its path is left to the caller) and, for rediss://,
 * what to write instead; it never repeats the password. */
int ps_redis_url_parse(const char *text, struct ps_redis_url *ret_url,
                       struct ps_fault *fault) PS_MUST_CHECK;

#endif
