/* What a collector answers: ExportTraceServiceResponse in JSON. */
#ifndef PS_OTLP_ANSWER_H
#define PS_OTLP_ANSWER_H

#include "common/err.h"

struct ps_otlp_answer {
    int64_t refused; /* spans that it did not take, 0 or more */
    char why[160];   /* "": it does not say */
};

/* Bytes from outside. What is no such object says nothing: 0 spans refused. */
void ps_otlp_answer_read(const char *text, size_t len, struct ps_otlp_answer *ret_answer);

#endif
