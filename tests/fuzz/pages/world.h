/* The gateway under test: a real worker with its listener, routes, cache and pools, made anew for
 * each script, on the thread of the fuzzer and in virtual time (net.h). What operators decide is
 * documents, of which a script chooses: each one in some versions, some of them absent. */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include "gateway/config/kinds/cache_doc.h"
#include "tests/fuzz/pages/net.h"

#define WORLD_DOCUMENTS 12 /* that can be exchanged */

void world_open(void);
/* What is under way, or was taken and not given back: slots, holds of tables, places at pools,
 * bytes of the cache. NULL: nothing. */
const char *world_unrest(void);
void world_close(void);

/* Until nothing more happens at this moment. */
void world_run(void);
/* Time passes; timers run when they are due. `pump` is called in between. */
void world_sleep(int64_t ms, void (*pump)(void));

/* Another version of a document, and a table of them all. Out of memory: all stays. */
void world_exchange(unsigned document, unsigned version);
/* The cache is kept, made smaller, or gone and come back. */
void world_exchange_cache(unsigned version);
void world_purge(enum cfg_purge_by by, const char *text);
/* Bits: 1 << enum cfg_feature. */
void world_turn_off(unsigned features);

int world_listener(void);
size_t world_connections(void); /* that the worker counts */
/* Bytes that the gateway's code has taken since world_open, without what the cache keeps. */
size_t world_bytes(void);

#endif
