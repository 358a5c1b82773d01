/* The spans of a request. */
#ifndef PUB_TRACING_H
#define PUB_TRACING_H

#include "gateway/public/request.h"

/* Records the spans of a request that is being answered, if it is traced. Only while tracing is
 * on. */
void pub_tracing_record(struct pub_request *request, enum ans_verdict verdict, int64_t took_ns,
                        bool is_watched);

#endif
