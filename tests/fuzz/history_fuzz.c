/* Any bytes as lines of a history: what can be read is whole, and can be judged against a log that
 * has one of its orders. */
#include "fuzz.h"
#include "loadtest/history_check.h"

static const struct ps_uuid order = {{0x01, 0xa2, 0x09, 0x5a, 0xd4, 0xe4, 0x76, 0x7a, 0x96, 0x4b,
                                      0xef, 0x80, 0x97, 0xbb, 0xb4, 0x1c}};

static struct lt_history_log *make_log(void)
{
    struct lt_history_log *log = NULL;
    struct oq_event fence = {.type = OQ_FENCED,
                             .sale = PS_STR("s"),
                             .epoch = 1,
                             .gateway = PS_STR("g"),
                             .partitions = 1,
                             .first = true};
    struct oq_event accepted = {.type = OQ_ACCEPTED,
                                .has_order_id = true,
                                .order_id = order,
                                .sale = PS_STR("s"),
                                .sku = PS_STR("s"),
                                .user = PS_STR("a"),
                                .key = PS_STR("k"),
                                .quantity = 1,
                                .epoch = 1,
                                .cap = 1,
                                .pay_by_ms = 1,
                                .sale_version = 1};
    MUST(lt_history_log_new(&log) == 0);
    MUST(lt_history_log_add(log, 0, 1, &fence) == 0);
    MUST(lt_history_log_add(log, 0, 2, &accepted) == 0);
    return log;
}

static void look_at(const struct lt_history *history)
{
    size_t count;
    const struct lt_op *ops = lt_history_ops(history, &count);
    for (size_t i = 0; i < count; i++) {
        MUST(ops[i].line > 0 && (ops[i].end_line == 0 || ops[i].end_line > ops[i].line));
        MUST(ops[i].ended_ns >= ops[i].invoked_ns);
        MUST(ops[i].f == LT_OP_BUY || ops[i].has_order);
        MUST(ops[i].seen == LT_SEEN_UNKNOWN || ops[i].has_order);
        MUST(ops[i].type != LT_OP_INVOKE);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *at = (const char *)bytes, *end = at + size;
    struct lt_history *history = NULL;
    struct lt_history_verdict verdict;
    struct ps_fault fault;
    int err = 0;
    MUST(lt_history_new(&history) == 0);
    while (err == 0 && at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((line_end != NULL ? line_end : end) - at);
        err = lt_history_add(history, at, len, &fault);
        MUST(err == 0 || strstr(fault.text, "line ") != NULL);
        at += len + 1;
    }
    if (err == 0) {
        struct lt_history_log *log = make_log();
        look_at(history);
        MUST(lt_history_check(history, log, "s", &verdict) == 0);
        MUST((verdict.contradictions > 0) == (verdict.text[0] != '\0'));
        lt_history_log_free(log);
    }
    lt_history_free(history);
    return 0;
}
