/* `penstock --probe live` and `penstock --probe ready`: how is the gateway of these settings? For
 * health checks in an image that has neither a shell nor curl. */
#ifndef GW_PROBE_H
#define GW_PROBE_H

#include "gateway/settings.h"

#include <stdio.h>

#define GW_PROBE_MS 2000

enum gw_probe { GW_PROBE_LIVE, GW_PROBE_READY };

/* PS_E_INVALID: the text is neither "live" nor "ready"; the fault says so. */
int gw_probe_parse(const char *text, enum gw_probe *ret_probe,
                   struct ps_fault *fault) PS_MUST_CHECK;

/* Writes the line for an answer, whatever `where` has sent; its body is that of /readyz?verbose.
 * True: it is. */
bool gw_probe_print(enum gw_probe probe, const char *answer, size_t len, const char *where,
                    FILE *out);

/* Asks the admin listener of these settings: at admin.unix.path if there is one, else at
 * admin.host and admin.port. Writes one line: "live" or "ready", or why not. Blocks for up to
 * GW_PROBE_MS. True: it is. */
bool gw_probe(const struct gw_settings *settings, enum gw_probe probe, FILE *out);

#endif
