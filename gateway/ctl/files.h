/* Documents in files, gathered into one bundle. */
#ifndef CTL_FILES_H
#define CTL_FILES_H

#include "common/text/json.h"
#include "gateway/ctl/ctl.h"

/* Reads a whole regular file (or a pipe; "-" is standard input) of at most CTL_FILE_MAX bytes, and
 * adds a closing NUL. Owner of *ret_text: the caller (free). An enum ctl_exit; the reason was
 * printed.
 */
int ctl_file_read(const char *path, char **ret_text, size_t *ret_len) PS_MUST_CHECK;

/* {kind: {name: document}} of a file, or of all *.json, *.yaml and *.yml files of a directory and
 * of those inside it (8 levels, 10,000 files, without names that begin with a dot). Each document
 * may occur once. Owner: the caller (json_decref). An enum ctl_exit. */
int ctl_files_bundle(const char *path, json_t **ret_documents) PS_MUST_CHECK;

#endif
