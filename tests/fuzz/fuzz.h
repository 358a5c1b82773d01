/* What each fuzz target is made of: libFuzzer calls LLVMFuzzerTestOneInput with bytes of its
 * making; a target ends the process by abort() when what must hold does not. */
#ifndef PENSTOCK_FUZZ_H
#define PENSTOCK_FUZZ_H

#include "common/defs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In every build, also without assert. */
#define MUST(claim)                                                                                \
    do {                                                                                           \
        if (!(claim)) {                                                                            \
            (void)fprintf(stderr, "%s:%d: it must hold: %s\n", __FILE__, __LINE__, #claim);        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
