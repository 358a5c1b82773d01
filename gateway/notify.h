/* What `systemctl status` shows of this process: one line, by STATUS= of sd_notify(3). Without a
 * service manager nothing happens. Any thread. */
#ifndef GW_NOTIFY_H
#define GW_NOTIFY_H

#include "common/err.h"

/* The text has no line break, as a fault has none: systemd reads the next line as another
 * assignment. Cut after 4,000 bytes. */
void gw_notify_status(const char *format, ...) PS_PRINTF(1, 2);

#endif
