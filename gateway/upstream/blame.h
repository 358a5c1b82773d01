/* Whose fault it was: one table, a row for each way in which an exchange with the shop can end.
 * What counts an end reads its row, and nothing else decides: the adaptive limit (gate.c),
 * circuits, outlier detection, a split's return, retries, fallbacks, and the words of metrics and
 * logs.
 *
 * Always: what ends while the client has its turn, to send or to read, is the client's; what this
 * gateway lacks is its own. Neither says anything about the shop. docs/reference/blame.md is
 * printed from the table. Pure. */
#ifndef UP_BLAME_H
#define UP_BLAME_H

#include "gateway/upstream/fallback.h"

#include <stdbool.h>

/* The words of metrics, of the access log and of traces. */
/* clang-format off */
#define UP_OUTCOMES(X) \
    X(ok)              /* an answer below 500 */ \
    X(error)           /* an answer of 500 and above */ \
    X(refused)         /* no connection */ \
    X(connect_timeout) \
    X(reset)           /* the connection ended before the answer's head was whole */ \
    X(malformed)       /* the answer broke a rule of HTTP */ \
    X(head_too_large)  /* that of the answer */ \
    X(timeout)         /* no head by first_byte_ms, or not whole by total_ms */ \
    X(broken)          /* the connection ended, or broke a rule, in the middle of the body */ \
    X(client_gone) \
    X(client_slow)     /* it was cut, since it sent or took too little */ \
    X(drained)         /* the connection was cut, since its endpoint has left */ \
    X(no_room)         /* this gateway had no memory, socket or port left */ \
    X(unsent)          /* to no endpoint */

/* Each way to end. Those of an answer come first, then what the shop did instead, what its client
 * did, what this gateway did, and last what was sent to no endpoint. */
#define UP_ENDS(X) \
    X(ok) X(refusal) X(error) X(early) X(early_error) \
    X(refused) X(connect_late) X(stale) X(reset) X(reset_in_head) X(malformed) X(head_too_large) X(late) X(deaf) \
    X(broken) X(malformed_body) X(unfinished) \
    X(gone_sending) X(gone_waiting) X(gone_reading) X(slow_sending) X(slow_reading) X(sent_too_much) \
    X(no_room) X(drained) X(stopped) \
    X(no_endpoint) X(breaker) X(busy) X(uploads_full) X(request_too_large)
/* clang-format on */
#define UP_OUTCOME_ENUM(name) UP_OUTCOME_##name,
enum up_outcome { UP_OUTCOMES(UP_OUTCOME_ENUM) UP_OUTCOME_COUNT };
#undef UP_OUTCOME_ENUM
extern const char *const up_outcome_names[UP_OUTCOME_COUNT + 1]; /* NULL-terminated */

#define UP_END_ENUM(name) UP_END_##name,
enum up_end { UP_ENDS(UP_END_ENUM) UP_END_COUNT };
#undef UP_END_ENUM
/* The request has a place or is under way: no end. */
#define UP_GOES UP_END_ok

/* What an end says to one who counts. */
enum up_says {
    UP_SAYS_NOTHING,
    UP_SAYS_GOOD,
    UP_SAYS_BAD,
    UP_SAYS_ERROR, /* bad, as far as others than one client and one path meet it */
    UP_SAYS_COUNT
};

/* What becomes of the place of the pool's adaptive limit, and of the time it was taken for. */
enum up_place {
    UP_PLACE_NONE,    /* it has none */
    UP_PLACE_AT_HEAD, /* given back with the answer's head, and measured until then */
    UP_PLACE_AT_END,  /* given back with the end, and measured until then */
    UP_PLACE_DROPPED, /* given back, and not measured */
    UP_PLACE_COUNT
};

enum up_again {
    UP_AGAIN_NEVER,
    UP_AGAIN_OTHER, /* on another endpoint: this one has received nothing */
    UP_AGAIN_FRESH, /* on a new connection, if there is no body */
    UP_AGAIN_COUNT
};

struct up_blame {
    const char *name;
    enum up_outcome word;
    enum up_place place;
    enum up_says endpoint; /* to the endpoint's circuit */
    enum up_says pool;     /* to the pool's circuit */
    enum up_says row;      /* to its endpoint's errors in a row */
    enum up_says rate;     /* to its endpoint's success rate */
    enum up_says split;    /* to the judgement of a split */
    bool timed;            /* its time counts in that judgement */
    enum up_again again;
    enum up_trouble trouble; /* why a fallback answers */
    const char *text;        /* for the client, if none does; NULL: the trouble has one */
    const char *when[2];     /* in English and Chinese, for the printed table */
};
extern const struct up_blame up_blame[UP_END_COUNT];

/* Why an exchange is ended from this side. */
enum up_why {
    UP_WHY_CLIENT_GONE,
    UP_WHY_CLIENT_SLOW,   /* the server has cut it */
    UP_WHY_SENT_TOO_MUCH, /* its body is longer than the route takes */
    UP_WHY_HEAD_TOO_LARGE,
    UP_WHY_UNWANTED, /* nobody needs the rest of the answer, which counts as whole */
    UP_WHY_STOPPED   /* the worker stops */
};

/* Whose turn it is. */
enum up_turn { UP_TURN_SENDING, UP_TURN_SHOP, UP_TURN_READING };

/* An answer of this status; `sent`: its request was whole by then. */
enum up_end up_end_of_answer(int status, bool sent);
/* `status`: of the answer, if it has begun. */
enum up_end up_end_of_why(enum up_why why, enum up_turn turn, int status);
/* Was the request sent to no endpoint? */
static inline bool up_end_is_unsent(enum up_end end)
{
    return up_blame[end].word == UP_OUTCOME_unsent;
}
/* May a fallback answer instead? Not once an answer has begun, or if its client is at fault. */
bool up_end_asks_fallback(enum up_end end);

#endif
