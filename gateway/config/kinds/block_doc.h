/* Documents of blocked users and of blocked address ranges. */
#ifndef CFG_BLOCK_DOC_H
#define CFG_BLOCK_DOC_H

#include "gateway/config/store/document.h"

struct cfg_block {
    int64_t until_ms;     /* INT64_MAX = never ends */
    int64_t ttl_s;        /* set only while a document is read */
    char *reason;         /* NULL = none */
    struct ps_cidr range; /* of a blocked range */
};

#endif
