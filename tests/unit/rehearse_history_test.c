/* What clients saw: how it is written and read, and that each kind of contradiction with the log is
 * found. Each test plants one into a history that fits otherwise. */
#include "tests/unit/check.h"

#include "loadtest/history_check.h"
#include "tests/unit/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A log and a history that grow line by line. */
struct world {
    struct lt_history_log *log;
    int64_t seq[2];
    struct lt_history *history;
    struct ps_fault fault;
    struct lt_history_verdict verdict;
};

static void end(struct world *world)
{
    lt_history_log_free(world->log);
    lt_history_free(world->history);
}

static void add_record(struct world *world, uint32_t partition, struct oq_event event)
{
    assert_ok(lt_history_log_add(world->log, partition, ++world->seq[partition], &event));
}

static void begin(struct world *world, int64_t partitions)
{
    end(world);
    *world = (struct world){.seq = {0}};
    assert_ok(lt_history_log_new(&world->log));
    assert_ok(lt_history_new(&world->history));
    for (uint32_t i = 0; i < partitions; i++)
        add_record(world, i, fenced(1, partitions, true));
}

static int set_up(void **state)
{
    static struct world world;
    begin(&world, 1);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    end(*state);
    *(struct world *)*state = (struct world){.seq = {0}};
    return 0;
}

/* The order `id` of user b-<id> under the key k-<id>. */
static void log_order(struct world *world, uint32_t partition, uint32_t id)
{
    char user[16], key[16];
    (void)snprintf(user, sizeof user, "b-%u", id);
    (void)snprintf(key, sizeof key, "k-%u", id);
    add_record(world, partition, accepted(id, 1, user, key, 1));
}

/* `value` has single quotes, and @ for the id. */
static void line(struct world *world, int process, const char *type, const char *f,
                 const char *value, uint32_t id, int time)
{
    char uuid[PS_UUID_LEN + 1], text[512];
    struct ps_uuid order = id_of(id);
    struct ps_buf buf;
    ps_uuid_format(&order, uuid);
    ps_buf_init(&buf, text, sizeof text);
    ps_buf_printf(&buf, "{'process':%d,'type':'%s','f':'%s','value':{", process, type, f);
    for (; *value != '\0'; value++)
        *value == '@' ? ps_buf_puts(&buf, uuid) : ps_buf_put(&buf, value, 1);
    ps_buf_printf(&buf, "},'time':%d}", time);
    for (size_t i = 0; i < buf.len; i++)
        text[i] = text[i] == '\'' ? '"' : text[i];
    if (lt_history_add(world->history, text, buf.len, &world->fault) < 0)
        fail_msg("%s: %s", world->fault.text, text);
}

/* Buyer b-<id> asks with the key k-<id> from one moment to another, and is told `answer`. */
static void buy(struct world *world, uint32_t id, int from, int to, const char *type,
                const char *answer)
{
    static int process;
    char value[128];
    process++;
    (void)snprintf(value, sizeof value, "'user':'b-%u','key':'k-%u','sku':'sku','quantity':1", id,
                   id);
    line(world, process, "invoke", "buy", value, id, from);
    line(world, process, type, "buy", answer, id, to);
}

static void got(struct world *world, uint32_t id, int from, int to)
{
    buy(world, id, from, to, "ok", "'order_id':'@','verdict':'accepted','state':'accepted'");
}

/* An operator's or a reader's call. */
static void call(struct world *world, const char *f, uint32_t id, int from, int to,
                 const char *type, const char *answer)
{
    static int process = 1000;
    char value[128];
    process++;
    line(world, process, "invoke", f, "'order_id':'@'", id, from);
    (void)snprintf(value, sizeof value, "'order_id':'@'%s%s", answer[0] != '\0' ? "," : "", answer);
    line(world, process, type, f, value, id, to);
}

static void seen(struct world *world, uint32_t id, int from, int to, const char *state)
{
    char answer[64];
    (void)snprintf(answer, sizeof answer, "'state':%s", state);
    call(world, "read", id, from, to, "ok", answer);
}

static void fits(struct world *world)
{
    assert_ok(lt_history_check(world->history, world->log, "sale", &world->verdict));
    if (world->verdict.contradictions > 0)
        fail_msg("%s", world->verdict.text);
}

/* One contradiction, of this kind, which names these words. */
static void contradicts(struct world *world, const char *kind, const char *words)
{
    assert_ok(lt_history_check(world->history, world->log, "sale", &world->verdict));
    assert_int_equal(world->verdict.contradictions, 1);
    const char *text = world->verdict.text;
    if (strncmp(text, kind, strlen(kind)) != 0 || strstr(text, words) == NULL)
        fail_msg("\"%s ... %s\" is not in: %s", kind, words, text);
}

static void a_history_that_fits_is_found_to_fit(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    log_order(world, 0, 2);
    add_record(world, 0, confirmed(1));
    add_record(world, 0, released(2, OQ_EXPIRED));
    add_record(world, 0, released(3, OQ_REJECTED));
    got(world, 1, 10, 20);
    buy(world, 2, 12, 30, "info", "'verdict':'no_answer'");
    buy(world, 2, 40, 50, "ok", "'order_id':'@','verdict':'replayed','state':'accepted'");
    buy(world, 3, 15, 25, "ok", "'order_id':'@','verdict':'pending','state':'pending'");
    buy(world, 4, 16, 26, "fail", "'verdict':'sold_out'");
    buy(world, 1, 12, 60, "ok", "'order_id':'@','verdict':'replayed','state':'pending'");
    seen(world, 1, 61, 62, "'accepted'");
    call(world, "confirm", 1, 70, 80, "ok", "'state':'confirmed'");
    call(world, "cancel", 1, 90, 95, "fail", "'state':'confirmed','verdict':'order_confirmed'");
    call(world, "confirm", 2, 90, 99, "fail", "'state':'released','reason':'expired'");
    seen(world, 3, 70, 71, "'released','reason':'rejected'");
    seen(world, 5, 72, 73, "null");
    line(world, 1, "invoke", "buy", "'user':'b-9','sku':'sku','quantity':1", 9,
         100); /* never ends */
    fits(world);
    assert_int_equal(world->verdict.operations, 13);
}

static void an_accepted_order_that_the_log_lacks_is_lost(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    got(world, 1, 10, 20);
    got(world, 2, 11, 21);
    contradicts(world, "lost: line 4: ", "was seen accepted, and the log has nothing of it");
}

static void an_accepted_order_that_the_log_rejected_is_lost(void **state)
{
    struct world *world = *state;
    add_record(world, 0, released(1, OQ_REJECTED));
    log_order(world, 0, 1);
    got(world, 1, 10, 20);
    contradicts(world, "lost: line 2: ", "and the log has rejected");
}

static void an_order_of_another_sale_is_lost(void **state)
{
    struct world *world = *state;
    struct oq_event event = accepted(1, 1, "b-1", "k-1", 1), fence = fenced(1, 1, true);
    fence.sale = event.sale = PS_STR("other");
    add_record(world, 0, fence);
    add_record(world, 0, event);
    got(world, 1, 10, 20);
    contradicts(world, "lost: ", "nothing of it");
}

static void a_confirm_is_final(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    add_record(world, 0, released(1, OQ_CANCELLED));
    call(world, "confirm", 1, 70, 80, "ok", "'state':'confirmed'");
    contradicts(world, "lost: line 2: ", "was seen confirmed, and the log has released");
}

static void what_was_released_is_never_confirmed(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    add_record(world, 0, confirmed(1));
    call(world, "confirm", 1, 70, 80, "fail", "'state':'released','reason':'expired'");
    contradicts(world, "lost: line 2: ", "was seen released, and the log has confirmed");
    begin(world, 1);
    log_order(world, 0, 1);
    seen(world, 1, 70, 80, "'released','reason':'rejected'");
    contradicts(world, "lost: line 2: ", "was seen rejected, and the log has accepted");
}

static void an_order_is_what_was_asked_for(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *user, *key;
        int64_t quantity;
        const char *sku, *what;
    } cases[] = {{"b-2", "k-1", 1, "sku", "user"},
                 {"b-1", "k-2", 1, "sku", "key"},
                 {"b-1", "k-1", 2, "sku", "quantity"},
                 {"b-1", "k-1", 1, "other", "SKU"}};
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        begin(world, 1);
        struct oq_event event = accepted(1, 1, cases[i].user, cases[i].key, cases[i].quantity);
        event.sku = ps_str(cases[i].sku);
        add_record(world, 0, event);
        got(world, 1, 10, 20);
        contradicts(world, "other: line 2: ", cases[i].what);
    }
}

/* Without a key, where one buyer may have one order. */
static void a_repeat_without_a_key_may_show_another_order(void **state)
{
    struct world *world = *state;
    add_record(world, 0, accepted(1, 1, "b-1", "k-1", 3));
    line(world, 1, "invoke", "buy", "'user':'b-1','sku':'else','quantity':1", 1, 10);
    line(world, 1, "ok", "buy", "'order_id':'@','verdict':'replayed','state':'accepted'", 1, 20);
    fits(world);
}

static void one_key_has_one_order(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    struct oq_event second = accepted(2, 1, "b-1", "k-1", 1);
    add_record(world, 0, second);
    got(world, 1, 10, 20);
    line(world, 7000, "invoke", "buy", "'user':'b-1','key':'k-1'", 1, 12);
    line(world, 7000, "ok", "buy", "'order_id':'@','state':'accepted'", 2, 22);
    contradicts(world, "key: lines 2 and 4: ", "one key has the orders");
    begin(world, 1);
    log_order(world, 0, 1);
    add_record(world, 0, released(2, OQ_REJECTED));
    got(world, 1, 30, 40); /* the first try came to nothing */
    buy(world, 1, 10, 20, "ok",
        "'order_id':'01900000-0000-7000-8000-000002000000','state':'pending'");
    fits(world);
}

static void a_refused_key_buys_nothing(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    buy(world, 1, 10, 20, "fail", "'verdict':'sold_out'");
    contradicts(world, "refused: line 2: ", "refused at every try");
    buy(world, 1, 30, 40, "info", "'verdict':'reset'"); /* this one may have made it */
    fits(world);
}

static void no_read_goes_back(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    add_record(world, 0, confirmed(1));
    got(world, 1, 10, 20);
    seen(world, 1, 25, 30, "'confirmed'");
    seen(world, 1, 29, 35, "'accepted'"); /* at the same time */
    fits(world);
    seen(world, 1, 31, 36, "'accepted'");
    contradicts(world, "back: lines 4 and 8: ", "was seen confirmed, and afterwards accepted");
}

static void a_read_after_accepted_sees_the_order(void **state)
{
    struct world *world = *state;
    static const char *const states[] = {"null", "'pending'"};
    for (size_t i = 0; i < PS_ARRAY_LEN(states); i++) {
        begin(world, 1);
        log_order(world, 0, 1);
        seen(world, 1, 5, 30, states[i]); /* it may be from before */
        got(world, 1, 10, 20);
        fits(world);
        seen(world, 1, 21, 22, states[i]);
        contradicts(world, "back: lines 4 and 6: ", "was seen accepted, and afterwards");
    }
}

static void a_pending_order_may_turn_out_not_to_be(void **state)
{
    struct world *world = *state;
    buy(world, 1, 10, 20, "ok", "'order_id':'@','state':'pending'");
    seen(world, 1, 30, 40, "null");
    log_order(world, 0, 2);
    fits(world);
}

/* Each gateway of a cluster reads the log at its own speed. */
static void another_gateway_may_be_behind(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    seen(world, 1, 10, 20, "'accepted','at':'g1'");
    seen(world, 1, 30, 40, "'pending','at':'g2'");
    seen(world, 1, 50, 60, "'accepted','at':'g2'");
    fits(world);
    seen(world, 1, 70, 80, "'pending','at':'g2'");
    contradicts(world, "back: lines 6 and 8: ", "afterwards pending");
}

static void the_log_has_real_times_order(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 2);
    log_order(world, 0, 1);
    got(world, 1, 10, 20);
    buy(world, 2, 15, 40, "ok", "'order_id':'@','state':'accepted'");
    fits(world); /* both at once: either may be first */
    begin(world, 1);
    log_order(world, 0, 2);
    log_order(world, 0, 1);
    got(world, 1, 10, 20);
    buy(world, 2, 21, 40, "info", "'verdict':'reset'");
    contradicts(world, "order: lines 2 and 3: ", "the log has seq 2 of order");
    begin(world, 2);
    log_order(world, 0, 2);
    log_order(world, 1, 1); /* partitions have no common order */
    got(world, 1, 10, 20);
    got(world, 2, 21, 40);
    fits(world);
}

static void confirms_have_real_times_order_too(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    add_record(world, 0, confirmed(1));
    log_order(world, 0, 2);
    got(world, 1, 10, 20);
    got(world, 2, 30, 40);
    call(world, "confirm", 1, 50, 60, "info", "");
    contradicts(world, "order: lines 4 and 5: ", "the log has seq 3 of order");
}

static void nothing_is_seen_before_it_was_asked_for(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 1);
    seen(world, 1, 1, 2, "'accepted'");
    got(world, 1, 10, 20);
    contradicts(world, "order: lines 2 and 3: ", "asked for");
}

static void the_first_contradiction_is_named_and_all_are_counted(void **state)
{
    struct world *world = *state;
    log_order(world, 0, 3);
    for (uint32_t id = 1; id <= 2; id++)
        got(world, id, 10, 20);
    seen(world, 3, 30, 40, "'confirmed'");
    assert_ok(lt_history_check(world->history, world->log, "sale", &world->verdict));
    assert_int_equal(world->verdict.contradictions, 3);
    assert_non_null(strstr(world->verdict.text, "lost: line 2: "));
    char words[LT_HISTORY_WORDS_MAX];
    assert_non_null(
        strstr(lt_history_words(&world->verdict, words), "contradicts the log 3 times"));
    assert_int_equal(lt_history_check(world->history, world->log, "none", &world->verdict),
                     PS_E_NOT_FOUND);
}

/* As many operations as a large rehearsal has. */
static void a_large_history_is_judged(void **state)
{
    struct world *world = *state;
    enum { ORDERS = 20000 };
    for (uint32_t id = 1; id <= ORDERS; id++) {
        log_order(world, 0, id);
        got(world, id, (int)id * 10, (int)id * 10 + 100);
    }
    fits(world);
    assert_int_equal(world->verdict.operations, ORDERS);
    got(world, 7, 5 * ORDERS, 5 * ORDERS + 1); /* a second answer with the same order */
    seen(world, 7, 6 * ORDERS, 6 * ORDERS + 1, "null");
    contradicts(world, "back: ", "afterwards not there");
}

static int add(struct world *world, const char *text)
{
    char copy[512];
    size_t len = (size_t)snprintf(copy, sizeof copy, "%s", text);
    for (size_t i = 0; i < len; i++)
        copy[i] = copy[i] == '\'' ? '"' : copy[i];
    return lt_history_add(world->history, copy, len, &world->fault);
}

static void a_bad_line_is_named(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{'process':1", "line 3: "},
        {"", "line 3: "},
        {"[]", "line 3: "},
        {"{'type':'ok','f':'buy','value':{},'time':5}", "/process is missing"},
        {"{'process':-1,'type':'ok','f':'buy','value':{},'time':5}", "/process"},
        {"{'process':1,'type':'done','f':'buy','value':{},'time':5}", "/type"},
        {"{'process':1,'type':'ok','f':'sell','value':{},'time':5}", "/f"},
        {"{'process':1,'type':'ok','f':'read','value':{},'time':5}", "/f does not fit line 1"},
        {"{'process':1,'type':'ok','f':'buy','value':{},'time':0}", "/time does not fit line 1"},
        {"{'process':1,'type':'ok','f':'buy','value':5,'time':5}", "/value"},
        {"{'process':2,'type':'ok','f':'buy','value':{},'time':5}", "2 has nothing that could end"},
        {"{'process':1,'type':'invoke','f':'buy','value':{},'time':5}", "1 has not ended"},
        {"{'process':3,'type':'invoke','f':'read','value':{},'time':5}",
         "/value/order_id is missing"},
        {"{'process':1,'type':'ok','f':'buy','value':{'state':'accepted'},'time':5}",
         "/value/order_id is missing"},
        {"{'process':1,'type':'ok','f':'buy','value':{'order_id':'x'},'time':5}",
         "/value/order_id is no UUID"},
        {"{'process':1,'type':'ok','f':'buy','value':{'order_id':"
         "'01900000-0000-7000-8000-000000000001','state':'great'},'time':5}",
         "/value/state"},
        {"{'process':1,'type':'ok','f':'buy','value':{'quantity':0},'time':5}", "/value/quantity"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        begin(world, 1);
        assert_ok(add(
            world, "{'process':1,'type':'invoke','f':'buy','value':{'x':[]},'time':2,'index':7}"));
        assert_ok(add(world, "{'process':9,'type':'invoke','f':'buy','value':{},'time':2}"));
        assert_int_equal(add(world, cases[i].line), PS_E_INVALID);
        if (strstr(world->fault.text, "line 3: ") == NULL ||
            strstr(world->fault.text, cases[i].words) == NULL)
            fail_msg("\"%s\" is not in: %s", cases[i].words, world->fault.text);
    }
    begin(world, 1);
    char *text = calloc(1, LT_HISTORY_LINE_MAX + 1);
    assert_non_null(text);
    assert_int_equal(lt_history_add(world->history, text, LT_HISTORY_LINE_MAX + 1, &world->fault),
                     PS_E_INVALID);
    assert_non_null(strstr(world->fault.text, "line 1: longer than"));
    free(text);
}

static void what_is_written_is_read_again(void **state)
{
    struct world *world = *state;
    char path[] = "/tmp/rehearse-history-XXXXXX";
    struct lt_history_file *file = NULL;
    struct ps_uuid id = id_of(5);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_ok(lt_history_open(path, &file, &world->fault));
    int64_t process = lt_history_process(file);
    assert_true(process != lt_history_process(file));
    struct lt_history_line written = {.process = process,
                                      .type = LT_OP_INVOKE,
                                      .user = PS_STR("b-1"),
                                      .key = PS_STR("k"),
                                      .sku = PS_STR("sku"),
                                      .quantity = 3};
    lt_history_write(file, &written);
    written = (struct lt_history_line){.process = process,
                                       .type = LT_OP_OK,
                                       .verdict = PS_STR("replayed"),
                                       .order_id = &id,
                                       .seen = LT_SEEN_REJECTED};
    lt_history_write(file, &written);
    written = (struct lt_history_line){.process = 7, .f = LT_OP_READ, .order_id = &id};
    lt_history_write(file, &written);
    written.type = LT_OP_OK;
    written.seen = LT_SEEN_NONE;
    lt_history_write(file, &written);
    assert_ok(lt_history_close(file, &world->fault));

    struct lt_history *history = NULL;
    size_t count;
    assert_ok(lt_history_load(path, &history, &world->fault));
    const struct lt_op *ops = lt_history_ops(history, &count);
    assert_int_equal(count, 2);
    assert_int_equal(ops[0].f, LT_OP_BUY);
    assert_int_equal(ops[0].type, LT_OP_OK);
    assert_int_equal(ops[0].quantity, 3);
    assert_true(ps_str_is(ops[0].user, "b-1") && ps_str_is(ops[0].key, "k") &&
                ps_str_is(ops[0].sku, "sku"));
    assert_true(ops[0].replayed && ps_uuid_equal(&ops[0].order_id, &id));
    assert_int_equal(ops[0].seen, LT_SEEN_REJECTED);
    assert_true(ops[0].ended_ns >= ops[0].invoked_ns);
    assert_int_equal(ops[1].f, LT_OP_READ);
    assert_int_equal(ops[1].seen, LT_SEEN_NONE);
    assert_int_equal(ops[1].end_line, 4);
    lt_history_free(history);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(lt_history_load(path, &history, &world->fault), PS_E_IO);
    assert_int_equal(lt_history_open("/nowhere/at/all", &file, &world->fault), PS_E_IO);
}

static void a_full_disk_is_said(void **state)
{
    struct world *world = *state;
    struct lt_history_file *file = NULL;
    assert_ok(lt_history_open("/dev/full", &file, &world->fault));
    lt_history_write(file, &(struct lt_history_line){.process = 1});
    assert_int_equal(lt_history_close(file, &world->fault), PS_E_IO);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(a_history_that_fits_is_found_to_fit),
        WITH(an_accepted_order_that_the_log_lacks_is_lost),
        WITH(an_accepted_order_that_the_log_rejected_is_lost),
        WITH(an_order_of_another_sale_is_lost),
        WITH(a_confirm_is_final),
        WITH(what_was_released_is_never_confirmed),
        WITH(an_order_is_what_was_asked_for),
        WITH(a_repeat_without_a_key_may_show_another_order),
        WITH(one_key_has_one_order),
        WITH(a_refused_key_buys_nothing),
        WITH(no_read_goes_back),
        WITH(a_read_after_accepted_sees_the_order),
        WITH(a_pending_order_may_turn_out_not_to_be),
        WITH(another_gateway_may_be_behind),
        WITH(the_log_has_real_times_order),
        WITH(confirms_have_real_times_order_too),
        WITH(nothing_is_seen_before_it_was_asked_for),
        WITH(the_first_contradiction_is_named_and_all_are_counted),
        WITH(a_large_history_is_judged),
        WITH(a_bad_line_is_named),
        WITH(what_is_written_is_read_again),
        WITH(a_full_disk_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
