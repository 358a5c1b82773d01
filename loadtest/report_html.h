/* The report as one HTML file that needs nothing else: no network, no script. */
#ifndef LT_REPORT_HTML_H
#define LT_REPORT_HTML_H

#include "loadtest/report.h"

/* Errors show in ferror(out). */
void lt_report_html(const struct lt_report *report, FILE *out);

#endif
