/* See blame.h. The groups below are what most rows of one kind have in common; a row names what
 * differs. */
#include "gateway/upstream/blame.h"

#define NAME(name) #name,
const char *const up_outcome_names[UP_OUTCOME_COUNT + 1] = {UP_OUTCOMES(NAME) NULL};

/* clang-format off */
#define TO_ALL(says) .endpoint = says, .pool = says, .row = says, .rate = says, .split = says
/* What is judged of an answer: that the endpoint answers, and what. */
#define ANSWERED(says) .endpoint = UP_SAYS_GOOD, .pool = says, .row = says, .rate = says, .split = says
#define FAILED .trouble = UP_TROUBLE_failed

const struct up_blame up_blame[UP_END_COUNT] = {
    [UP_END_ok] = {"ok", UP_OUTCOME_ok, UP_PLACE_AT_HEAD, ANSWERED(UP_SAYS_GOOD), .timed = true, FAILED,
        .when = {"a whole answer below 400", "完整的应答，状态小于 400"}},
    [UP_END_refusal] = {"refusal", UP_OUTCOME_ok, UP_PLACE_AT_HEAD, ANSWERED(UP_SAYS_GOOD), .timed = true, FAILED,
        .when = {"a whole answer of 400 to 499", "完整的应答，状态 400 至 499"}},
    [UP_END_error] = {"error", UP_OUTCOME_error, UP_PLACE_AT_HEAD, ANSWERED(UP_SAYS_ERROR), .timed = true, FAILED,
        .when = {"an answer of 500 or above", "状态 500 以上的应答"}},
    [UP_END_early] = {"early", UP_OUTCOME_ok, UP_PLACE_NONE, ANSWERED(UP_SAYS_GOOD), FAILED,
        .when = {"an answer below 500 before the request's body was whole: the time was its client's", "请求正文尚未收完就给出的应答，状态小于 500：这段时间属于客户端"}},
    [UP_END_early_error] = {"early_error", UP_OUTCOME_error, UP_PLACE_NONE, ANSWERED(UP_SAYS_ERROR), FAILED,
        .when = {"the same, of 500 or above", "同上，状态 500 以上"}},

    [UP_END_refused] = {"refused", UP_OUTCOME_refused, UP_PLACE_DROPPED, TO_ALL(UP_SAYS_BAD), .again = UP_AGAIN_OTHER, FAILED,
        "the shop's server refused the connection", {"no connection", "连接被拒绝"}},
    [UP_END_connect_late] = {"connect_late", UP_OUTCOME_connect_timeout, UP_PLACE_DROPPED, TO_ALL(UP_SAYS_BAD), .again = UP_AGAIN_OTHER, .trouble = UP_TROUBLE_deadline,
        "the shop's server could not be connected to in time", {"no connection in time", "未能按时建立连接"}},
    [UP_END_stale] = {"stale", UP_OUTCOME_reset, UP_PLACE_DROPPED, .pool = UP_SAYS_BAD, .split = UP_SAYS_BAD, .again = UP_AGAIN_FRESH, FAILED,
        "the shop's server ended the connection without an answer", {"a kept connection had ended before the request came; the pool and the split count what was not sent again", "保持的连接在请求到达之前已结束；没有重发的才计入池和分流"}},
    [UP_END_reset] = {"reset", UP_OUTCOME_reset, UP_PLACE_DROPPED, TO_ALL(UP_SAYS_BAD), FAILED,
        "the shop's server ended the connection without an answer", {"the connection ended before a byte of an answer", "连接在应答的第一个字节之前结束"}},
    [UP_END_reset_in_head] = {"reset_in_head", UP_OUTCOME_reset, UP_PLACE_DROPPED, TO_ALL(UP_SAYS_BAD), FAILED,
        "the shop's server ended the connection without an answer", {"the connection ended in the head of an answer", "连接在应答头部中断"}},
    [UP_END_malformed] = {"malformed", UP_OUTCOME_malformed, UP_PLACE_DROPPED, TO_ALL(UP_SAYS_BAD), FAILED,
        "the shop's server sent an answer that is not valid HTTP", {"no HTTP in an answer's place", "应答不是合法的 HTTP"}},
    [UP_END_head_too_large] = {"head_too_large", UP_OUTCOME_head_too_large, UP_PLACE_DROPPED, ANSWERED(UP_SAYS_ERROR), FAILED,
        "the head of the shop's answer is too large", {"the head of an answer is too large, by itself or with what the route adds", "应答头部过大（包括路由所加的部分）"}},
    [UP_END_late] = {"late", UP_OUTCOME_timeout, UP_PLACE_AT_END, TO_ALL(UP_SAYS_BAD), .timed = true, .trouble = UP_TROUBLE_deadline,
        "the shop's server did not answer in time", {"the shop had the whole request, and no answer began by `first_byte_ms` or `total_ms`", "商城已收到整个请求，但在 `first_byte_ms` 或 `total_ms` 之前没有开始应答"}},
    [UP_END_deaf] = {"deaf", UP_OUTCOME_timeout, UP_PLACE_AT_END, TO_ALL(UP_SAYS_BAD), .trouble = UP_TROUBLE_deadline,
        "the shop's server did not take the request in time", {"the shop did not take what its client had sent, for `total_ms`", "商城在 `total_ms` 内不收客户端已发来的内容"}},
    [UP_END_broken] = {"broken", UP_OUTCOME_broken, UP_PLACE_AT_HEAD, TO_ALL(UP_SAYS_BAD), .timed = true, FAILED,
        .when = {"the connection ended in the body of an answer", "连接在应答正文中断"}},
    [UP_END_malformed_body] = {"malformed_body", UP_OUTCOME_broken, UP_PLACE_AT_HEAD, TO_ALL(UP_SAYS_BAD), .timed = true, FAILED,
        .when = {"no HTTP in the body of an answer", "应答正文不是合法的 HTTP"}},
    [UP_END_unfinished] = {"unfinished", UP_OUTCOME_broken, UP_PLACE_AT_HEAD, TO_ALL(UP_SAYS_BAD), .timed = true, FAILED,
        .when = {"`total_ms` was over in the body of an answer, while its client could take more", "应答正文未在 `total_ms` 内结束，而客户端仍可接收"}},

    [UP_END_gone_sending] = {"gone_sending", UP_OUTCOME_client_gone, UP_PLACE_DROPPED, FAILED,
        .when = {"the client left while it sent", "客户端在发送时离开"}},
    [UP_END_gone_waiting] = {"gone_waiting", UP_OUTCOME_client_gone, UP_PLACE_DROPPED, FAILED,
        .when = {"the client left while the shop had the request", "客户端在商城处理时离开"}},
    [UP_END_gone_reading] = {"gone_reading", UP_OUTCOME_client_gone, UP_PLACE_AT_HEAD, FAILED,
        .when = {"the client left in the body of an answer", "客户端在接收应答正文时离开"}},
    [UP_END_slow_sending] = {"slow_sending", UP_OUTCOME_client_slow, UP_PLACE_DROPPED, FAILED,
        .when = {"the client sent too little for `http.body_timeout_ms`", "客户端在 `http.body_timeout_ms` 内发送过少"}},
    [UP_END_slow_reading] = {"slow_reading", UP_OUTCOME_client_slow, UP_PLACE_AT_HEAD, FAILED,
        .when = {"the client took too little of an answer for as long", "客户端在同样的时间内接收过少"}},
    [UP_END_sent_too_much] = {"sent_too_much", UP_OUTCOME_client_gone, UP_PLACE_DROPPED, FAILED,
        .when = {"the client's body is longer than `body_max`", "客户端的正文超过 `body_max`"}},

    [UP_END_no_room] = {"no_room", UP_OUTCOME_no_room, UP_PLACE_DROPPED, .trouble = UP_TROUBLE_no_room,
        "this gateway has no memory or socket left for it", {"this gateway had no memory, socket or port left", "本网关没有内存、套接字或端口可用"}},
    [UP_END_drained] = {"drained", UP_OUTCOME_drained, UP_PLACE_DROPPED, FAILED,
        "the shop's server was taken out of use", {"the connection was cut, since its endpoint has left or is drained (`drain_ms`)", "端点已移除或下线（`drain_ms`），连接被切断"}},
    [UP_END_stopped] = {"stopped", UP_OUTCOME_client_gone, UP_PLACE_DROPPED, FAILED,
        .when = {"this gateway stopped", "本网关停止"}},

    [UP_END_no_endpoint] = {"no_endpoint", UP_OUTCOME_unsent, UP_PLACE_DROPPED, .pool = UP_SAYS_NOTHING, .split = UP_SAYS_BAD, .trouble = UP_TROUBLE_no_endpoint,
        "no server of the shop is usable now", {"no endpoint was usable", "没有可用的端点"}},
    [UP_END_breaker] = {"breaker", UP_OUTCOME_unsent, UP_PLACE_NONE, .split = UP_SAYS_BAD, .trouble = UP_TROUBLE_breaker,
        "the shop's servers are spared for a while: too many requests there have failed, or an operator says so", {"the breaker of the pool, or of each endpoint, was open", "池或所有端点的熔断器打开"}},
    [UP_END_busy] = {"busy", UP_OUTCOME_unsent, UP_PLACE_NONE, .split = UP_SAYS_BAD, .trouble = UP_TROUBLE_busy,
        "the shop's servers have as many requests as they can answer in time", {"the pool had no place, and its queue none or not in time", "池没有位置，队列也没有，或等待超时"}},
    [UP_END_uploads_full] = {"uploads_full", UP_OUTCOME_unsent, UP_PLACE_NONE, .trouble = UP_TROUBLE_uploads_full,
        "as many long bodies are on their way to the shop as may be, in all or of this client", {"all uploads, or those of its client, were under way", "上传总数或该客户端的上传数已满"}},
    [UP_END_request_too_large] = {"request_too_large", UP_OUTCOME_unsent, UP_PLACE_NONE, FAILED,
        .when = {"the request's head is too large with what the route adds", "请求头加上路由所加的部分过大"}},
};
/* clang-format on */

enum up_end up_end_of_answer(int status, bool sent)
{
    if (status >= 500)
        return sent ? UP_END_error : UP_END_early_error;
    if (!sent)
        return UP_END_early;
    return status >= 400 ? UP_END_refusal : UP_END_ok;
}

enum up_end up_end_of_why(enum up_why why, enum up_turn turn, int status)
{
    switch (why) {
    case UP_WHY_CLIENT_GONE:
        return turn == UP_TURN_READING   ? UP_END_gone_reading
               : turn == UP_TURN_SENDING ? UP_END_gone_sending
                                         : UP_END_gone_waiting;
    case UP_WHY_CLIENT_SLOW:
        return turn == UP_TURN_READING ? UP_END_slow_reading : UP_END_slow_sending;
    case UP_WHY_SENT_TOO_MUCH:
        return UP_END_sent_too_much;
    case UP_WHY_HEAD_TOO_LARGE:
        return UP_END_head_too_large;
    case UP_WHY_UNWANTED:
        return up_end_of_answer(status, turn != UP_TURN_SENDING);
    case UP_WHY_STOPPED:
        break;
    }
    return UP_END_stopped;
}

bool up_end_asks_fallback(enum up_end end)
{
    return up_blame[end].text != NULL;
}
