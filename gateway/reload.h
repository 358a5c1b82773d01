/* SIGHUP: reads the settings file again. */
#ifndef GW_RELOAD_H
#define GW_RELOAD_H

#include "gateway/config/store/store.h"
#include "gateway/settings.h"

/* Reads the file, all or nothing: a fault is logged and changes nothing. Settings that may change
 * while the gateway runs are taken over into `live`, seeds into `store`; of each other one that
 * differs the log says that it is kept. The control thread. */
void gw_reload(struct gw_settings *live, const char *path, struct cfg_store *store);

#endif
