/* The one table of answers: what the program can say to a request, with its HTTP status, retry
 * rule, and what the documents say of it. No other place chooses a status code; an answer from
 * the shop or the cache keeps the shop's status, or is 304 if the client has the page already. */
#ifndef ANS_VERDICT_H
#define ANS_VERDICT_H

#include "common/defs.h"

enum ans_retry {
    ANS_RETRY_NONE,
    ANS_RETRY_LIMIT,  /* when the limit allows again, plus jitter by user */
    ANS_RETRY_SOON,   /* 1 s plus jitter by user */
    ANS_RETRY_OPENING /* when the sale opens, plus jitter by user */
};

/* Who gets the answer: clients of the public listener, of the admin listener, or of both. */
enum ans_audience { ANS_TO_BUYERS, ANS_TO_OPERATORS, ANS_TO_BOTH };

/* Who says it: a route, or a listener by itself, before any route has seen the request. */
enum ans_speaker { ANS_BY_ROUTE = 1, ANS_BY_LISTENER = 2, ANS_BY_EITHER = 3 };

/* What a client does with the answer; the texts are printed with the documents. */
enum ans_client {
    ANS_CLIENT_HAS,     /* it has what it asked for */
    ANS_CLIENT_LOOK_UP, /* asks for the order until its state is another */
    ANS_CLIENT_WAIT,    /* waits for Retry-After, then sends the same with the same key */
    ANS_CLIENT_REPEAT,  /* the outcome is unknown: sends the same with the same key */
    ANS_CLIENT_WATCH,   /* watches the status page, buys when it says in_stock */
    ANS_CLIENT_FINAL    /* the same request would get the same answer */
};

/* clang-format off */
/*    name, status, retry, title,
 *      who gets it, who says it, what the client does,
 *      when it is said; what an operator does about it ("" = nothing) */
#define ANS_VERDICT_TABLE(X) \
    X(accepted, 202, ANS_RETRY_NONE, "Accepted", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "The order is in the log: a promise until pay_by.", \
      "") \
    X(pending, 202, ANS_RETRY_NONE, "Pending", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_LOOK_UP, \
      "The units are reserved, but the log has not shown the order within log.ack_timeout_ms.", \
      "A few are normal. Many: the log is slow or away; see penstock_log_available.") \
    X(replayed, 202, ANS_RETRY_NONE, "Replayed", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "A repeat: the order that this buyer already has, as it is now.", \
      "") \
    X(ok, 200, ANS_RETRY_NONE, "OK", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "A page, an order, a list, or the result of a change.", \
      "") \
    X(created, 201, ANS_RETRY_NONE, "Created", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "Something new is stored.", \
      "") \
    X(no_content, 204, ANS_RETRY_NONE, "No content", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "OPTIONS was answered; for operators: deleted.", \
      "") \
    X(page, 200, ANS_RETRY_NONE, "Page", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "A route answered: with the shop's page, whatever its status, or with an answer of its own.", \
      "") \
    X(not_modified, 304, ANS_RETRY_NONE, "Not modified", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "The client's copy of the page is still current.", \
      "") \
    X(partial, 206, ANS_RETRY_NONE, "Partial content", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_HAS, \
      "The part of a page that Range asks for, from the cache.", \
      "") \
    X(malformed, 400, ANS_RETRY_NONE, "Malformed request", ANS_TO_BOTH, ANS_BY_EITHER, ANS_CLIENT_FINAL, \
      "The request breaks strict HTTP (the connection closes), or its JSON or a header is invalid.", \
      "If nearly all buyers get it: the proxy sends a field twice, or no address in the client address header. detail says which.") \
    X(body_not_expected, 400, ANS_RETRY_NONE, "This method has no body here", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "A GET, HEAD, DELETE or OPTIONS for a page has a body, and its route does not name the method in body_methods; the connection closes.", \
      "If the shop reads such bodies: name the method in the route's body_methods.") \
    X(unauthenticated, 401, ANS_RETRY_NONE, "No identity", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "No user, or one named by an untrusted peer; for operators: no token, or a wrong one.", \
      "If nearly all buyers get it: the proxy is not in trusted_proxies or sets no X-User-Id. detail says which.") \
    X(blocked, 403, ANS_RETRY_NONE, "Blocked", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The user or the address is on the blocklist.", \
      "If many buyers get it: an entry covers too wide a range. List the blocklist.") \
    X(forbidden, 403, ANS_RETRY_NONE, "Not allowed with this token", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The token's role does not allow this; or a registrar asks for a pool that its token does not name, or for what another token has registered; or a page of another site asks, as the browser says (Sec-Fetch-Site).", \
      "detail says which: use a token with a higher role, or one that names the pool.") \
    X(not_found, 404, ANS_RETRY_NONE, "Not found", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "No such path, sale, SKU or order, or another user's order; for operators also: records that the retention of the log has deleted.", \
      "If all buyers get it: list the sales of this gateway.") \
    X(ref_unknown, 404, ANS_RETRY_NONE, "No such reference", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The text is no reference of a refusal, or another cluster's, or older than 30 days.", \
      "Ask for all 40 characters, as they stand in the answer; if they are right, look at another cluster, or at the access log.") \
    X(method_not_allowed, 405, ANS_RETRY_NONE, "Method not allowed", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The path exists, the method does not. Allow lists those that do.", \
      "") \
    X(request_timeout, 408, ANS_RETRY_NONE, "The request took too long to arrive", ANS_TO_BOTH, ANS_BY_LISTENER, ANS_CLIENT_REPEAT, \
      "The head or the body did not arrive in time; the connection closes.", \
      "") \
    X(not_started, 409, ANS_RETRY_OPENING, "The sale has not started", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The sale is a draft or opens later.", \
      "Compare opens_at with the gateway's clock (Date of any answer).") \
    X(sold_out, 409, ANS_RETRY_NONE, "Sold out", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WATCH, \
      "No unit is left, or fewer than were asked for. Units may come back.", \
      "") \
    X(user_limit, 409, ANS_RETRY_NONE, "The limit per user is reached", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The order would take the buyer above the cap. order_id names one of the buyer's orders, if there is one.", \
      "") \
    X(archived, 410, ANS_RETRY_NONE, "The sale is archived", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The order's sale ended long ago, and its orders are in its archive.", \
      "The archive, or GET /admin/v1/orders/{id}, says what became of an order.") \
    X(ended, 409, ANS_RETRY_NONE, "The sale has ended", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The sale is over. An ended sale stays ended.", \
      "To go on selling, make a sale of another name.") \
    X(idempotency_in_progress, 409, ANS_RETRY_SOON, "The same request is still in progress", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The first request with this key is not answered yet; for operators: the same adjust_id is in progress.", \
      "") \
    X(order_expired, 409, ANS_RETRY_NONE, "The order has expired", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "Confirm: the order was not paid in time.", \
      "Give the money back.") \
    X(order_cancelled, 409, ANS_RETRY_NONE, "The order is cancelled", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "Confirm: the order was cancelled.", \
      "Give the money back.") \
    X(order_rejected, 409, ANS_RETRY_NONE, "The order was rejected", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "Confirm: the order is void; it was never accepted.", \
      "Give the money back.") \
    X(order_confirmed, 409, ANS_RETRY_NONE, "The order is confirmed", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "Cancel: the order is paid.", \
      "Returned goods are a stock adjustment.") \
    X(use_adjust, 409, ANS_RETRY_NONE, "Stock changes only by adjust", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The stock of an opened sale was changed in its document.", \
      "Change it by adjust.") \
    X(sale_has_orders, 409, ANS_RETRY_NONE, "The sale has been opened", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "A sale that was opened can be deleted only if nobody has ordered from it, some seconds after its end.", \
      "End it.") \
    X(in_use, 409, ANS_RETRY_NONE, "In use", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "What is to be deleted or changed is named by other documents (a pool or a cache by routes, a route by limit rules), or a live run of a plan holds it. detail names them.", \
      "Change or delete those documents first, or all together as a bundle; end the run, or force the change.") \
    X(conflict, 409, ANS_RETRY_NONE, "Conflicts with the present state", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "Not possible in the present state. detail says why.", \
      "Read the document again.") \
    X(precondition_failed, 412, ANS_RETRY_NONE, "Changed by somebody else", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "If-Match names an old version.", \
      "Read again, apply the change to what is there now, send it with the new ETag.") \
    X(too_large, 413, ANS_RETRY_NONE, "The body is too large", ANS_TO_BOTH, ANS_BY_EITHER, ANS_CLIENT_FINAL, \
      "The body is larger than 4 KiB (operators: 1 MiB); the connection closes.", \
      "") \
    X(uri_too_long, 414, ANS_RETRY_NONE, "The request target is too long", ANS_TO_BOTH, ANS_BY_LISTENER, ANS_CLIENT_FINAL, \
      "The request target is longer than 2,048 bytes (of a page: http.target_max), or its query has more than 100 parameters.", \
      "") \
    X(unsupported_media_type, 415, ANS_RETRY_NONE, "The body must be application/json", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The body is not application/json, or it is compressed.", \
      "") \
    X(misdirected, 421, ANS_RETRY_NONE, "This host is not served here", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The Host is not in admin.hosts.", \
      "Name the host in admin.hosts, or ask by address.") \
    X(no_range, 416, ANS_RETRY_NONE, "No such range", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "Range lies outside the cached page. Content-Range says how long the page is.", \
      "") \
    X(invalid, 422, ANS_RETRY_NONE, "A value is not allowed", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "A value is not allowed. pointer names the member.", \
      "Correct the member that pointer names.") \
    X(quantity, 422, ANS_RETRY_NONE, "The quantity is not a positive integer", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The quantity is below 1 or not an integer.", \
      "") \
    X(idempotency_mismatch, 422, ANS_RETRY_NONE, "The key was used with another payload", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The key was used before, for another SKU or quantity.", \
      "") \
    X(precondition_required, 428, ANS_RETRY_NONE, "If-Match is required", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "A change must say which version it changes.", \
      "Send If-Match with the ETag that was read.") \
    X(user_rate, 429, ANS_RETRY_LIMIT, "Too many requests of this user", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "A limit by user.", \
      "") \
    X(ip_rate, 429, ANS_RETRY_LIMIT, "Too many requests from this address", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "A limit by address.", \
      "If many buyers get it: they share an address. A CDN or proxy is missing in trusted_proxies, or does not pass on X-Forwarded-For. Set the rule to shadow at once, then remove the cause.") \
    X(sale_rate, 429, ANS_RETRY_LIMIT, "Too many requests for this sale", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "A limit by sale.", \
      "This is what the rule is for. Raise it only to what a rehearsal has proved.") \
    X(global_rate, 429, ANS_RETRY_LIMIT, "Too many requests", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "A limit over all buyers.", \
      "This is what the rule is for. Raise it only to what a rehearsal has proved.") \
    X(admin_rate, 429, ANS_RETRY_LIMIT, "Too many attempts from this address", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "Too many requests or wrong tokens from this address.", \
      "Find the program with the wrong token: admin_denied in the log names its address.") \
    X(headers_too_large, 431, ANS_RETRY_NONE, "The header fields are too large", ANS_TO_BOTH, ANS_BY_LISTENER, ANS_CLIENT_FINAL, \
      "The head with its request line is larger than http.head_max_kib, or has more than 96 fields.", \
      "Let the CDN or the proxy drop cookies, or raise http.head_max_kib.") \
    X(version_not_supported, 505, ANS_RETRY_NONE, "Only HTTP/1 is supported", ANS_TO_BOTH, ANS_BY_LISTENER, ANS_CLIENT_FINAL, \
      "The request line names HTTP/2 or another version that is not 1.", \
      "") \
    X(internal, 500, ANS_RETRY_NONE, "Internal error", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_REPEAT, \
      "A fault of the program.", \
      "Look at the log; report it.") \
    X(shed, 503, ANS_RETRY_SOON, "Overloaded", ANS_TO_BOTH, ANS_BY_EITHER, ANS_CLIENT_WAIT, \
      "Overload: the worker cannot serve all requests in time and refuses some users until it can; or it has no room for another request; or this feature is off at the present overload level (violated-policies names it). For operators: the change takes too long, and may still come into force.", \
      "If it passes: nothing. If it lasts: more cores and workers, another gateway, a lower global limit, a smaller max_wait_ms. After a change: read what is in force.") \
    X(too_many_connections, 503, ANS_RETRY_SOON, "Too many connections", ANS_TO_BOTH, ANS_BY_LISTENER, ANS_CLIENT_WAIT, \
      "More open connections than http.connections; the connection closes.", \
      "Raise http.connections and LimitNOFILE; let the CDN reuse connections.") \
    X(log_backlog, 503, ANS_RETRY_SOON, "The order log is behind", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "More orders are on their way to the log than it can write in time (log.target_ms), its queue is fuller than log.backlog_percent, or the spill is full.", \
      "If it passes: nothing. If it lasts: a faster disk or a lower global limit; bring Kafka back.") \
    X(store_unavailable, 503, ANS_RETRY_SOON, "The stock counter is away", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The counter cannot count: memory is short, Redis is away, or Redis has more requests in progress than it can answer in time (store.redis.target_ms). For operators: Redis refused the change, or did not confirm it.", \
      "Free memory, or look at Redis. After a change: read what is in force before repeating it.") \
    X(log_unavailable, 503, ANS_RETRY_SOON, "The order log is away", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The log takes no records. The reservation was given back.", \
      "Make room on the disk of state_dir or repair it; look at Kafka. It recovers without a restart; do not restart, since a gateway does not start with a full disk.") \
    X(bad_gateway, 502, ANS_RETRY_NONE, "The shop gave no answer", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_REPEAT, \
      "The shop's server refused the connection, closed it before it had answered, or sent invalid HTTP.", \
      "detail says which; GET /admin/v1/pools/{pool} says which endpoint.") \
    X(gateway_timeout, 504, ANS_RETRY_NONE, "The shop did not answer in time", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_REPEAT, \
      "The shop's server did not begin its answer within the route's first_byte_ms, or could not be reached in time.", \
      "Look at its latency in GET /admin/v1/pools/{pool}; raise first_byte_ms only if buyers may wait that long.") \
    X(upstream_unavailable, 503, ANS_RETRY_SOON, "No server of the shop can be used", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The route's pool has no usable endpoint, its breaker is open, it has as many requests in progress as it can answer in time, or an operator has taken the route out of service.", \
      "detail says which; GET /admin/v1/pools/{pool} says of each endpoint why, GET /admin/v1/breakers whether somebody has forced one.") \
    X(uploads_full, 503, ANS_RETRY_SOON, "Too many uploads", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "As many requests with long bodies are on their way to the route's pool as it may have (uploads of the pool), or an eighth of them are this client's; the connection closes.", \
      "If many users get it: raise uploads of the pool. If they share an address: a proxy is missing in trusted_proxies, or does not pass on X-Forwarded-For.") \
    X(loop_detected, 508, ANS_RETRY_NONE, "The request goes in a circle", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_FINAL, \
      "The request has passed gateways of this program three times already, as its Via says: a route's pool leads back to the gateway.", \
      "Look where the endpoints of the route's pool lead: a proxy or a load balancer among them sends requests on to a gateway.") \
    X(fenced, 503, ANS_RETRY_SOON, "The stock counter is being rebuilt", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The sale's counter is being built, or the order was void.", \
      "If it passes: nothing. If it lasts: look for sale_not_rebuilt and sale_refused in the log.") \
    X(order_pending, 503, ANS_RETRY_SOON, "The order is not decided yet", ANS_TO_BOTH, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "The order is being decided at this moment; for operators: the outcome is not known yet.", \
      "Ask again.") \
    X(standby_behind, 503, ANS_RETRY_SOON, "The standby does not have it yet", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "log.confirm_on_standby: the order is confirmed here, but the standby has not acknowledged the record within log.ack_timeout_ms.", \
      "Ask again. If it lasts: look at penstock-standby, or set log.confirm_on_standby to false.") \
    X(control_unavailable, 503, ANS_RETRY_SOON, "Changes cannot be written now", ANS_TO_OPERATORS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "control.db cannot be written. Nothing has changed here.", \
      "Make room on the disk of state_dir, or repair it.") \
    X(paused, 503, ANS_RETRY_SOON, "The sale is paused", ANS_TO_BUYERS, ANS_BY_ROUTE, ANS_CLIENT_WAIT, \
      "An operator paused the sale.", \
      "Resume it.") \
    X(draining, 503, ANS_RETRY_SOON, "This gateway is shutting down", ANS_TO_BOTH, ANS_BY_EITHER, ANS_CLIENT_WAIT, \
      "The gateway is shutting down.", \
      "Nothing: the load balancer has been told.")
/* clang-format on */

#define ANS_VERDICT_ENUM(name, ...) ANS_V_##name,
enum ans_verdict { ANS_VERDICT_TABLE(ANS_VERDICT_ENUM) ANS_VERDICT_COUNT };
#undef ANS_VERDICT_ENUM

struct ans_verdict_row {
    const char *name; /* the problem's `code` and the metric label */
    int status;
    enum ans_retry retry;
    const char *title;
    enum ans_audience audience;
    enum ans_speaker speaker;
    enum ans_client client;
    const char *when;   /* one line */
    const char *remedy; /* what an operator does, one line; "" = nothing */
    /* The parts of its problem document that are the same for every request. */
    struct ps_str begin; /* from '{' to the status */
    struct ps_str code;  /* to the quote before the request id */
};

extern const struct ans_verdict_row ans_verdicts[ANS_VERDICT_COUNT];

/* Kinds of answers, for metrics: orders (202), what was asked for (200 to 399), refusals (400 to
 * 499), and failures (500 and above). */
enum ans_class { ANS_CLASS_ORDER, ANS_CLASS_CONTENT, ANS_CLASS_REFUSED, ANS_CLASS_UNAVAILABLE };
extern const char *const ans_class_names[]; /* in order, NULL-terminated */
static inline enum ans_class ans_class_of(enum ans_verdict verdict)
{
    int status = ans_verdicts[verdict].status;

    if (status < 400)
        return status == 202 ? ANS_CLASS_ORDER : ANS_CLASS_CONTENT;
    return status < 500 ? ANS_CLASS_REFUSED : ANS_CLASS_UNAVAILABLE;
}

/* Whether a public route, or a listener by itself, can give the verdict with this index: metrics
 * count no others. */
bool ans_is_public(size_t verdict);
bool ans_is_early(size_t verdict);
/* The names in order, NULL-terminated: values of a metric's label. */
extern const char *const ans_verdict_names[ANS_VERDICT_COUNT + 1];

#endif
