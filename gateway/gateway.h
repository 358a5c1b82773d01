/* One gateway process: assembled, run, and taken apart. */
#ifndef GW_GATEWAY_H
#define GW_GATEWAY_H

#include "gateway/settings.h"

/* Runs until SIGTERM or SIGINT was handled. Takes over `settings`. SIGHUP reads `config_path` again
 * (NULL = defaults). 0, or a negative error that was printed on stderr. Once per process. */
int gw_gateway_run(struct gw_settings *settings, const char *config_path);

#endif
