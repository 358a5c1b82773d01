/* The report as one HTML file that needs nothing else: no network, no script. */
#ifndef LT_REPORT_HTML_H
#define LT_REPORT_HTML_H

#include "loadtest/report.h"

/* PS_E_NOMEM: nothing was written. Errors of writing show in ferror(out). */
int lt_report_html(const struct lt_report *report, FILE *out) PS_MUST_CHECK;

#endif
