/* What the tests of documents start from: a store in a directory of its own, with its writer, a
 * loop and a clock by hand, and no workers. */
#ifndef DOC_STORE_H
#define DOC_STORE_H

#include "tests/unit/temp_dir.h"

#include "gateway/config/store/store.h"

#define T0 INT64_C(1900000000000) /* 2030-03-17T17:46:40Z */

extern struct temp_dir temp;
extern struct ps_clock_manual clock_; /* at T0 */
extern uv_loop_t loop;
extern struct cfg_writer_settings settings;
extern struct cfg_store *store; /* NULL: closed */

/* All but the store, which the test opens with the callbacks it wants. */
void make_files(void);
void close_store(void);
/* Closes the store, too. Always 0. */
int drop(void **state);
/* Turns the loop until nothing is under way; the workers that there are not take what is
 * published. */
void settle(void);

#endif
