/* The text of the readiness probe, in the form that orchestrators know: one line a check. Both
 * listeners answer it. */
#ifndef ANS_READINESS_H
#define ANS_READINESS_H

#include "common/text/buf.h"
#include "gateway/answers/verdict.h"

struct ans_breaker {
    const char *name;
    bool closed; /* all circuits of the name */
};

#define ANS_BREAKERS_MAX 8

struct ans_readiness {
    bool started;                                  /* start-up is complete */
    bool draining;                                 /* the gateway is shutting down */
    bool log;                                      /* the order log takes records */
    bool in_cluster;                               /* the next two count */
    bool view;                                     /* the log is read to its end */
    bool store;                                    /* the counter can be asked */
    struct ans_breaker breakers[ANS_BREAKERS_MAX]; /* warnings only */
    size_t breaker_count;
    unsigned sales_refused;   /* sales that could not be opened */
    uint64_t limit_evictions; /* of the limit table: a warning only */
    unsigned backlog_percent; /* of the log's queue */
    uint64_t log_lines_dropped;
    unsigned admitted_percent; /* of the users, to buy: less is overload, and a warning only */
};

/* ok, or why buyers cannot be served. */
enum ans_verdict ans_readiness_verdict(const struct ans_readiness *readiness);

/* `query`: that of the request; with `verbose` in it one line a check comes first.
 * `operator_asks`: then also how much. */
void ans_readiness_print(struct ps_buf *buf, const struct ans_readiness *readiness,
                         struct ps_str query, bool operator_asks);

#endif
