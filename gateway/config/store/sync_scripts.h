/* The Lua scripts of gateway/config/store/lua/, embedded when the program is built. */
#ifndef CFG_SYNC_SCRIPTS_H
#define CFG_SYNC_SCRIPTS_H

#include "common/redis/redis_wire.h"

enum cfg_sync_script { CFG_SYNC_SCRIPT_PUSH, CFG_SYNC_SCRIPT_PUT, CFG_SYNC_SCRIPT_SINCE };

extern const struct ps_redis_script cfg_sync_scripts[]; /* by enum cfg_sync_script */

#endif
