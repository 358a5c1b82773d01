/* Names and texts of the error table, and the making of a fault.
 * A fault is formatted aside and copied at the end, so that a caller may wrap an older text of the
 * same fault ("sale \"x\": " + what was wrong) without copying it first. */
#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ps_err_name(int err)
{
    switch (err) {
#define PS_ERR_NAME(name, value, text)                                                             \
    case name:                                                                                     \
        return #name;
        PS_ERR_TABLE(PS_ERR_NAME)
#undef PS_ERR_NAME
    default:
        return "?";
    }
}

const char *ps_err_text(int err)
{
    switch (err) {
#define PS_ERR_TEXT(name, value, text)                                                             \
    case name:                                                                                     \
        return text;
        PS_ERR_TABLE(PS_ERR_TEXT)
#undef PS_ERR_TEXT
    default:
        return "unknown error";
    }
}

int ps_fault(struct ps_fault *fault, int err, const char *path, const char *fmt, ...)
{
    if (fault == NULL)
        return err;
    struct ps_fault made;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(made.text, sizeof made.text, fmt, args);
    va_end(args);
    size_t len = strnlen(path, sizeof made.path - 1);
    memcpy(made.path, path, len);
    made.path[len] = '\0';
    *fault = made;
    return err;
}
