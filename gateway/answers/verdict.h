/* The one table of answers: what the program can say to a request, with its HTTP status, problem
 * type and retry rule. There is no other place where a status code is chosen. */
#ifndef ANS_VERDICT_H
#define ANS_VERDICT_H

#include "common/defs.h"

enum ans_retry {
    ANS_RETRY_NONE,
    ANS_RETRY_LIMIT,  /* when the limit allows again, plus jitter by user */
    ANS_RETRY_SOON,   /* 1 s plus jitter by user */
    ANS_RETRY_OPENING /* when the sale opens, plus jitter by user */
};

enum ans_problem_type { ANS_TYPE_OWN, ANS_TYPE_QUOTA, ANS_TYPE_CAPACITY };

/* clang-format off */
/*    name                     status  problem type      retry             title */
#define ANS_VERDICT_TABLE(X)                                                                                          \
    X(accepted,                202, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Accepted")                                  \
    X(pending,                 202, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Pending")                                   \
    X(replayed,                202, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Replayed")                                  \
    X(ok,                      200, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "OK")                                        \
    X(created,                 201, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Created")                                   \
    X(no_content,              204, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "No content")                                \
    X(not_modified,            304, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Not modified")                              \
    X(malformed,               400, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Malformed request")                         \
    X(unauthenticated,         401, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "No identity")                               \
    X(blocked,                 403, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Blocked")                                   \
    X(forbidden,               403, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Not allowed for this role")                 \
    X(not_found,               404, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Not found")                                 \
    X(method_not_allowed,      405, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Method not allowed")                        \
    X(request_timeout,         408, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The request took too long to arrive")       \
    X(not_started,             409, ANS_TYPE_OWN,      ANS_RETRY_OPENING, "The sale has not started")                  \
    X(sold_out,                409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Sold out")                                  \
    X(user_limit,              409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The limit per user is reached")             \
    X(ended,                   409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The sale has ended")                        \
    X(idempotency_in_progress, 409, ANS_TYPE_OWN,      ANS_RETRY_SOON,    "The same request is still in progress")     \
    X(order_expired,           409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The order has expired")                     \
    X(order_cancelled,         409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The order is cancelled")                    \
    X(order_rejected,          409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The order was rejected")                    \
    X(order_confirmed,         409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The order is confirmed")                    \
    X(use_adjust,              409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Stock changes only by adjust")              \
    X(sale_has_orders,         409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The sale has been opened")                  \
    X(conflict,                409, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Conflicts with the present state")          \
    X(precondition_failed,     412, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Changed by somebody else")                  \
    X(too_large,               413, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The body is too large")                     \
    X(uri_too_long,            414, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The request target is too long")            \
    X(unsupported_media_type,  415, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The body must be application/json")         \
    X(misdirected,             421, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "This host is not served here")              \
    X(invalid,                 422, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "A value is not allowed")                    \
    X(quantity,                422, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The quantity is not a positive integer")    \
    X(idempotency_mismatch,    422, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The key was used with another payload")     \
    X(precondition_required,   428, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "If-Match is required")                      \
    X(user_rate,               429, ANS_TYPE_QUOTA,    ANS_RETRY_LIMIT,   "Too many requests of this user")            \
    X(ip_rate,                 429, ANS_TYPE_QUOTA,    ANS_RETRY_LIMIT,   "Too many requests from this address")       \
    X(sale_rate,               429, ANS_TYPE_QUOTA,    ANS_RETRY_LIMIT,   "Too many requests for this sale")           \
    X(global_rate,             429, ANS_TYPE_QUOTA,    ANS_RETRY_LIMIT,   "Too many requests")                         \
    X(admin_rate,              429, ANS_TYPE_QUOTA,    ANS_RETRY_LIMIT,   "Too many attempts from this address")       \
    X(headers_too_large,       431, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "The header fields are too large")           \
    X(internal,                500, ANS_TYPE_OWN,      ANS_RETRY_NONE,    "Internal error")                            \
    X(shed,                    503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "Overloaded")                                \
    X(too_many_connections,    503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "Too many connections")                      \
    X(log_backlog,             503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "The order log is behind")                   \
    X(store_unavailable,       503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "The stock counter is away")                 \
    X(log_unavailable,         503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "The order log is away")                     \
    X(fenced,                  503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "The stock counter is being rebuilt")        \
    X(order_pending,           503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "The order is not decided yet")              \
    X(control_unavailable,     503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "Changes cannot be written now")             \
    X(paused,                  503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "The sale is paused")                        \
    X(draining,                503, ANS_TYPE_CAPACITY, ANS_RETRY_SOON,    "This gateway is shutting down")
/* clang-format on */

#define ANS_VERDICT_ENUM(name, ...) ANS_V_##name,
enum ans_verdict { ANS_VERDICT_TABLE(ANS_VERDICT_ENUM) ANS_VERDICT_COUNT };
#undef ANS_VERDICT_ENUM

struct ans_verdict_row {
    const char *name; /* the problem's `code` and the metric label */
    int status;
    enum ans_problem_type type;
    enum ans_retry retry;
    const char *title;
};

extern const struct ans_verdict_row ans_verdicts[ANS_VERDICT_COUNT];
/* The names in order, NULL-terminated: values of a metric's label. */
extern const char *const ans_verdict_names[ANS_VERDICT_COUNT + 1];

#endif
