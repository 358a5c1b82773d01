/* Documents of users and of address ranges that are refused. */
#ifndef CFG_BLOCK_DOC_H
#define CFG_BLOCK_DOC_H

#include "gateway/config/store/document.h"

struct cfg_block {
    int64_t until_ms;     /* INT64_MAX = for good */
    int64_t ttl_s;        /* 0, except while it is read */
    char *reason;         /* NULL = none */
    struct ps_cidr range; /* of documents of ranges */
};

#endif
