/* The Lua scripts of gateway/control/lua/, embedded when the program is built. */
#ifndef GW_ACCORD_SCRIPTS_H
#define GW_ACCORD_SCRIPTS_H

#include "common/redis_wire.h"

enum gw_accord_script { GW_ACCORD_SCRIPT_PUSH, GW_ACCORD_SCRIPT_PUT, GW_ACCORD_SCRIPT_SINCE };

extern const struct ps_redis_script gw_accord_scripts[]; /* by enum gw_accord_script */

#endif
