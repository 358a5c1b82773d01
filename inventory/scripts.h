/* The Lua scripts of inventory/lua/, embedded when the program is built. */
#ifndef INV_SCRIPTS_H
#define INV_SCRIPTS_H

#include "common/redis/redis_wire.h"

enum inv_script {
    INV_SCRIPT_CURRENT,
    INV_SCRIPT_DROP,
    INV_SCRIPT_HEARTBEAT,
    INV_SCRIPT_INSTALL,
    INV_SCRIPT_LEASE,
    INV_SCRIPT_LOAD,
    INV_SCRIPT_READ,
    INV_SCRIPT_RESERVE
};

extern const struct ps_redis_script inv_scripts[]; /* by enum inv_script */

#endif
