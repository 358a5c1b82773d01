/* The reference pages of the gateway, printed from its tables. */
#ifndef GW_PRINT_DOCS_H
#define GW_PRINT_DOCS_H

#include "common/err.h"

/* Writes the pages of docs/reference but those of penstock-settle into the directory `dir`, which
 * must exist; files of their names are replaced. PS_E_IO: the fault's path is the file. */
int gw_print_docs(const char *dir, struct ps_fault *fault) PS_MUST_CHECK;

#endif
