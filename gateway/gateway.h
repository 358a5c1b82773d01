/* One gateway process: everything put together, run, and taken apart. */
#ifndef GW_GATEWAY_H
#define GW_GATEWAY_H

#include "gateway/settings.h"

/* Runs until SIGTERM or SIGINT has been served. `settings` is taken over. `config_path` is read
 * again at SIGHUP (NULL = defaults). 0, or a negative error that has been printed on stderr. Once a
 * process. */
int gw_gateway_run(struct gw_settings *settings, const char *config_path);

#endif
