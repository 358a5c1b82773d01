/* Texts of the error table, and the making of a fault.
 * A fault is formatted aside and copied at the end, so that a caller may wrap an older text of the
 * same fault ("sale \"x\": " + what was wrong) without copying it first. Faults quote what
 * strangers sent and are printed on terminals, in logs and in JSON: they are always UTF-8 without
 * controls. */
#include "common/err.h"
#include "common/text/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* Replaces each control character, and each byte that is not UTF-8, by a question mark. */
static void make_printable(char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        uint32_t point;
        size_t size = ps_utf8_next(text + i, len - i, &point);
        if (size == 0 || ps_utf8_is_control(point)) {
            size = size > 0 ? size : 1;
            memset(text + i, '?', size);
        }
        i += size;
    }
}

static void make_fault(struct ps_fault *fault, const char *path, const char *fmt, va_list args)
{
    struct ps_fault made;
    (void)vsnprintf(made.text, sizeof made.text, fmt, args);
    (void)snprintf(made.path, sizeof made.path, "%s", path);
    make_printable(made.text);
    make_printable(made.path);
    *fault = made;
}

int ps_fault(struct ps_fault *fault, int err, const char *path, const char *fmt, ...)
{
    va_list args;
    if (fault == NULL)
        return err;
    va_start(args, fmt);
    make_fault(fault, path, fmt, args);
    va_end(args);
    return err;
}

int ps_faults_add(struct ps_faults *faults, int err, const char *path, const char *fmt, ...)
{
    struct ps_fault fault;
    va_list args;
    va_start(args, fmt);
    make_fault(&fault, path, fmt, args);
    va_end(args);
    for (size_t i = 0; i < faults->count && i < PS_FAULTS_KEPT; i++)
        if (strcmp(faults->at[i].path, fault.path) == 0)
            return err;
    if (faults->count < PS_FAULTS_KEPT)
        faults->at[faults->count] = fault;
    faults->count++;
    return err;
}
