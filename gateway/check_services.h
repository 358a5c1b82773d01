/* `penstock --check-services`: are the services of the settings there, and would a gateway accept
 * them? */
#ifndef GW_CHECK_SERVICES_H
#define GW_CHECK_SERVICES_H

#include "gateway/settings.h"

#include <stdio.h>

/* Writes a line for each: "well", "refused" and what to change, or "away" and what to check. Takes
 * up to 10 s for each; writes nothing else. True: all are well. */
bool gw_check_services(const struct gw_settings *settings, FILE *out);

#endif
