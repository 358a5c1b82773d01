/* A journal in a directory of its own, on a disk that can fail, as a log of one test at a time. */
#ifndef JOURNAL_FIXTURE_H
#define JOURNAL_FIXTURE_H

#include "queue/log_journal.h"
#include "tests/contract/log_watch.h"

extern char dir[64], path[96]; /* the journal is at `path` */
extern struct log_watch watch;
extern struct oq_log *log_;
extern struct ps_fault fault;

int make_journal_dir(void **state);
int drop_journal_dir(void **state);
/* With `mark` and `on_marks`, which may be NULL. */
int open_journal(struct oq_mark *mark, int (*on_marks)(bool fits, const char *why,
                                                       struct oq_sale_marks *sales, void *ctx));
void stop(void);
void do_sql(const char *sql);
int64_t ask_sql(const char *sql);

#endif
