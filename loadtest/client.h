/* The buyers: an open-loop HTTP client on a uv loop. Every click of the plan starts at its moment,
 * whether or not earlier ones have been answered; latency counts from that moment, so waiting for a
 * free connection counts too (no coordinated omission). One thread, the loop's. */
#ifndef LT_CLIENT_H
#define LT_CLIENT_H

#include "common/text/mark.h"
#include "loadtest/plan.h"
#include "loadtest/target.h"

#include <signal.h>
#include <uv.h>

enum lt_outcome {
    LT_ANSWERED,  /* `status` and `body` hold */
    LT_NO_ANSWER, /* not in time */
    LT_RESET,     /* the connection ended before the answer was complete */
    LT_REFUSED,   /* no connection could be made */
    LT_GARBLED    /* what came back is not HTTP */
};

/* The result of one click. Pointers are valid during the callback. */
struct lt_answer {
    enum lt_outcome outcome;
    const struct lt_click *click;
    uint64_t process;     /* which connection carried it, counted from 1; 0: it was never sent */
    int64_t ended_ns;     /* from the start of the plan */
    int64_t latency_ns;   /* ended minus the click's moment */
    int64_t sent_late_ns; /* sent minus the click's moment; -1: never sent */
    int status;
    bool replayed;      /* the answer says Idempotency-Replayed */
    bool rehearsal;     /* the answer says Penstock-Rehearsal */
    const char *cache;  /* lt_response's; "" = nothing was said */
    struct ps_str body; /* cut at 1,024 bytes */
};

struct lt_progress {
    int64_t elapsed_ns;
    uint64_t offered; /* clicks whose moment has come, those tried again included */
    uint64_t tried_again;
    size_t waiting; /* for a free connection */
    size_t in_flight;
    size_t connected;
    uint64_t connects; /* since the start */
};

struct lt_client_settings {
    const struct lt_target *target;
    const struct lt_plan *plan;
    const struct lt_pages *pages; /* what they ask for, instead of buying; NULL: orders */
    const char *sale;
    const struct lt_sku *skus;    /* as many as the plan has */
    const char *user_prefix;      /* buyer n is user "<prefix><n>" */
    const char *client_ip_header; /* which header has a buyer's address */
    size_t connections;
    size_t connections_beside; /* of other clients of this process */
    int64_t timeout_ms;        /* from the click's moment */
    int64_t patience_ms;       /* as long: a click that waits for a free connection is never sent */
    uint16_t retries; /* how often a buyer without an answer, or with a 503, clicks again */
    const volatile sig_atomic_t
        *stop; /* 1: no more clicks; 2 or more: no more waiting for answers either; may be NULL */
    /* The mark that requests carry; asked for at the start and then once a minute. NULL: none. */
    void (*mark)(char ret_mark[PS_MARK_TEXT_MAX + 1], void *ctx);
    /* A click is about to be sent, and its answer has the same process; may be NULL. */
    void (*on_send)(const struct lt_click *click, uint64_t process, void *ctx);
    void (*on_answer)(const struct lt_answer *answer, void *ctx);     /* once a click */
    void (*on_second)(const struct lt_progress *progress, void *ctx); /* may be NULL */
    void *ctx;
};

struct lt_client;

/* What it points to must live as long. PS_E_NOMEM, PS_E_IO (timer, connection limit of the process:
 * see the fault). */
int lt_client_new(uv_loop_t *loop, const struct lt_client_settings *settings,
                  struct lt_client **ret_client, struct ps_fault *fault) PS_MUST_CHECK;
/* Several clients may share a loop: each begins by itself with the first turns, and each is run
 * until its own end. Opens the connections (at most 5 s), runs the plan, returns when every click
 * has its answer. Blocks in uv_run. PS_E_IO: not one connection could be made, no click was
 * offered. */
int lt_client_run(struct lt_client *client, struct ps_fault *fault) PS_MUST_CHECK;
void lt_client_progress(const struct lt_client *client, struct lt_progress *ret_progress);
/* From now on no click is offered any more; may be called from the callbacks. */
void lt_client_stop(struct lt_client *client);
/* Closes everything (turns the loop until that is done). NULL is allowed. */
void lt_client_free(struct lt_client *client);

#endif
