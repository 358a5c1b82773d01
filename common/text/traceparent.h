/* W3C Trace Context: the field traceparent, version 00. */
#ifndef PS_TRACEPARENT_H
#define PS_TRACEPARENT_H

#include "common/defs.h"

#define PS_TRACEPARENT_LEN 55
#define PS_TRACE_ID_LEN    32 /* in hexadecimal digits */
#define PS_TRACE_SAMPLED   0x01

struct ps_traceparent {
    uint8_t trace[16];
    uint8_t span[8]; /* the caller's */
    uint8_t flags;
};

/* Strict: lower-case digits, and neither id is zero. PS_E_INVALID. */
int ps_traceparent_parse(struct ps_str text, struct ps_traceparent *ret_parent) PS_MUST_CHECK;
void ps_traceparent_format(const struct ps_traceparent *parent,
                           char ret_text[PS_TRACEPARENT_LEN + 1]);
/* Two lower-case digits a byte, without a NUL; returns the end. */
char *ps_hex_put(char *to, const uint8_t *from, size_t count);

#endif
