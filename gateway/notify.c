/* See notify.h. */
#include "gateway/notify.h"

#include "common/text/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#define STATUS_MAX 4000 /* systemd passes over more than 4,096 bytes, and over half characters */

void gw_notify_status(const char *format, ...)
{
    char text[2 * STATUS_MAX];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = ps_utf8_cut(text, strlen(text), STATUS_MAX);
    (void)sd_notifyf(0, "STATUS=%.*s", (int)len, text);
}
