/* What a database of settlement must do, run unchanged on each: SQLite and a real PostgreSQL. */
#include "tests/contract/settle_databases.h"

#include "queue/settle/settle_sink.h"
#include "tests/unit/records.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char url[512];
static struct st_sink *sink;
static struct ps_fault fault;

/* --- Words --- */

static struct st_sink *connect_to(void)
{
    struct st_sink *made;
    assert_ok(st_sink_open(url, true, &made, &fault));
    return made;
}

static int set_up(void **state)
{
    (void)state;
    settle_database->make(url, sizeof url);
    sink = connect_to();
    assert_ok(st_sink_create(sink, &fault));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    st_sink_close(sink);
    settle_database->drop();
    return 0;
}

static const char *query(const char *sql)
{
    return settle_database->query(sql);
}

static int64_t position(struct st_sink *of, const char *name, uint32_t partition)
{
    struct st_position position;
    assert_ok(st_sink_position(of, name, partition, &position, &fault));
    return position.seq;
}

static int begin(struct st_sink *of, uint32_t partition, int64_t from, int64_t to)
{
    struct st_claim claim = {.partition = partition, .from = from, .to = to, .digest = UINT64_MAX};
    return st_sink_begin(of, "log", &claim, 1, &fault);
}

static int store(struct st_sink *of, const struct st_changes *changes)
{
    return st_sink_store(of, "log", changes, &fault);
}

/* One transaction with these changes, from `from` to `from` + 1. */
static void commit(int64_t from, const struct st_changes *changes)
{
    (void)position(sink, "log", 0);
    assert_ok(begin(sink, 0, from, from + 1));
    assert_ok(store(sink, changes));
    assert_ok(st_sink_commit(sink, &fault));
}

static struct st_order new_order(const struct st_record *record)
{
    return (struct st_order){.id = record->event.order_id, .is = ST_ACCEPTED, .first = record};
}

static struct st_record record_of(uint32_t number, const char *user)
{
    return (struct st_record){.seq = number, .event = accepted(number, 5, user, "", 1)};
}

static void put_order(int64_t from, uint32_t number)
{
    struct st_record record = record_of(number, "u");
    struct st_order order = new_order(&record);
    commit(from, &(struct st_changes){.orders = &order, .order_count = 1});
}

static struct st_order look_up(uint32_t number)
{
    struct st_order order = {.id = id_of(number)};
    (void)position(sink, "look", 0);
    assert_ok(st_sink_begin(sink, "look", NULL, 0, &fault));
    assert_ok(st_sink_look_up(sink, "log", &(struct st_known){NULL, 0, &order, 1}, &fault));
    assert_ok(st_sink_commit(sink, &fault));
    return order;
}

static const char *text_of(uint32_t number)
{
    static char text[PS_UUID_LEN + 1];
    struct ps_uuid id = id_of(number);
    ps_uuid_format(&id, text);
    return text;
}

static bool decide(uint32_t number, const char *decision)
{
    char sql[160];
    snprintf(sql, sizeof sql,
             "INSERT INTO penstock_decisions (order_id, decision) VALUES ('%s', '%s')",
             text_of(number), decision);
    return settle_database->try_query(sql);
}

static size_t due(int64_t lease_ms, struct st_decision *decisions, size_t max)
{
    size_t count;
    assert_ok(st_sink_due(sink, lease_ms, decisions, max, &count, &fault));
    return count;
}

/* --- Tables --- */

static void tables_are_made_once_and_missed_before(void **state)
{
    char other[256];
    struct st_sink *empty;
    (void)state;
    assert_ok(st_sink_check(sink, &fault));
    assert_ok(st_sink_create(sink, &fault));
    put_order(0, 1);
    assert_ok(st_sink_create(sink, &fault));
    assert_string_equal(query("SELECT count(*) FROM orders"), "1\n");
    st_sink_close(sink);
    settle_database->drop();
    settle_database->make(other, sizeof other);
    assert_ok(st_sink_open(other, true, &empty, &fault));
    assert_int_equal(st_sink_check(empty, &fault), PS_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "--init"));
    snprintf(url, sizeof url, "%s", other);
    sink = empty;
}

static void tables_of_a_newer_version_are_refused(void **state)
{
    (void)state;
    query("UPDATE penstock_schema SET version = 99");
    assert_int_equal(st_sink_check(sink, &fault), PS_E_NEWER);
    assert_int_equal(st_sink_create(sink, &fault), PS_E_NEWER);
}

static void a_table_of_the_shops_own_is_left_alone(void **state)
{
    (void)state;
    query("DROP TABLE penstock_schema");
    query("DROP TABLE penstock_void");
    query("DROP TABLE penstock_epochs");
    query("INSERT INTO penstock_offsets (name, log_partition, log_seq, at) VALUES ('x', 1, 2, "
          "'2030-01-01T00:00:00Z')");
    assert_int_equal(st_sink_create(sink, &fault), PS_E_EXISTS);
    assert_non_null(strstr(fault.text, "orders"));
    assert_false(settle_database->try_query("SELECT * FROM penstock_void"));
    assert_string_equal(query("SELECT log_seq FROM penstock_offsets"), "2\n");
}

static void a_database_that_is_none_is_refused_by_name(void **state)
{
    struct st_sink *none;
    (void)state;
    assert_int_equal(st_sink_open("mysql:shop", true, &none, &fault), PS_E_INVALID);
    assert_string_equal(fault.path, "database");
    assert_int_equal(st_sink_open("sqlite:", true, &none, &fault), PS_E_INVALID);
    assert_int_equal(st_sink_open("sqlite:/nowhere/shop.db", true, &none, &fault), PS_E_PERMISSION);
    assert_int_equal(st_sink_open("sqlite:/nowhere/shop.db", false, &none, &fault), PS_E_NOT_FOUND);
    assert_int_equal(st_sink_open("host=/nowhere user=x dbname=x", true, &none, &fault), PS_E_IO);
    assert_int_equal(st_sink_open("postgresql://host?nonsense=1", true, &none, &fault),
                     PS_E_INVALID);
}

/* --- Positions --- */

static void a_partition_begins_with_nothing_and_goes_on_where_it_was(void **state)
{
    struct st_position found;
    (void)state;
    assert_int_equal(position(sink, "log", 0), 0);
    assert_int_equal(position(sink, "log", 7), 0);
    commit(0, &(struct st_changes){0});
    assert_int_equal(position(sink, "log", 0), 1);
    assert_int_equal(position(sink, "log", 7), 0);
    assert_int_equal(position(sink, "other", 0), 0);
    struct st_sink *again = connect_to();
    assert_ok(st_sink_position(again, "log", 0, &found, &fault));
    assert_int_equal(found.seq, 1);
    assert_true(found.checked);
    assert_true(found.digest == UINT64_MAX);
    st_sink_close(again);
    query("UPDATE penstock_offsets SET log_seq = 40, digest = NULL");
    assert_ok(st_sink_position(sink, "log", 0, &found, &fault));
    assert_int_equal(found.seq, 40);
    assert_false(found.checked);
    /* the record at a position may be gone */
    const struct st_claim claim = {.partition = 0, .from = 40, .to = 50, .unchecked = true};
    assert_ok(st_sink_begin(sink, "log", &claim, 1, &fault));
    assert_ok(st_sink_commit(sink, &fault));
    assert_ok(st_sink_position(sink, "log", 0, &found, &fault));
    assert_int_equal(found.seq, 50);
    assert_false(found.checked);
}

static void who_was_not_the_first_changes_nothing(void **state)
{
    (void)state;
    struct st_sink *other = connect_to();
    struct st_record record = record_of(1, "u");
    struct st_order order = new_order(&record);
    (void)position(sink, "log", 0);
    (void)position(sink, "log", 1);
    put_order(0, 7);
    assert_int_equal(begin(other, 0, 0, 5), PS_E_CONFLICT);
    /* of several claims none is moved */
    struct st_claim claims[] = {{.partition = 0, .from = 1, .to = 9},
                                {.partition = 1, .from = 3, .to = 9}};
    assert_int_equal(st_sink_begin(other, "log", claims, 2, &fault), PS_E_CONFLICT);
    assert_int_equal(position(other, "log", 0), 1);
    /* and it can go on from where the other one is */
    assert_ok(begin(other, 0, 1, 2));
    assert_ok(store(other, &(struct st_changes){.orders = &order, .order_count = 1}));
    assert_ok(st_sink_commit(other, &fault));
    assert_int_equal(position(sink, "log", 0), 2);
    st_sink_close(other);
}

static void a_transaction_that_is_not_committed_leaves_nothing(void **state)
{
    (void)state;
    struct st_record record = record_of(1, "u");
    struct st_order order = new_order(&record);
    struct st_changes changes = {.orders = &order, .order_count = 1, .auto_confirm = true};
    (void)position(sink, "log", 0);
    assert_ok(begin(sink, 0, 0, 1));
    assert_ok(store(sink, &changes));
    st_sink_close(sink); /* as a worker that dies */
    sink = connect_to();
    assert_int_equal(position(sink, "log", 0), 0);
    assert_string_equal(query("SELECT count(*) FROM orders"), "0\n");
    assert_string_equal(query("SELECT count(*) FROM penstock_decisions"), "0\n");
}

#define AT_ONCE 150

static void fail_worker(void)
{
    fprintf(stderr, "%s: %s\n", fault.path, fault.text);
    _exit(1);
}

/* On a slow disk the others may hold the database for longer than one waits for it: then a worker
 * closes it and begins anew. `err`: what it has met. */
static int64_t find_position(struct st_sink **mine, int err)
{
    struct st_position found;
    if (err != PS_E_BUSY)
        err = st_sink_position(*mine, "log", 0, &found, &fault);
    while (err == PS_E_BUSY) {
        st_sink_close(*mine);
        *mine = NULL;
        err = st_sink_open(url, true, mine, &fault);
        if (err == 0)
            err = st_sink_position(*mine, "log", 0, &found, &fault);
    }
    if (err != 0)
        fail_worker();
    return found.seq;
}

static void work_beside_others(int worker)
{
    struct st_sink *mine = NULL;
    int64_t at = find_position(&mine, PS_E_BUSY); /* opens it */
    while (at < AT_ONCE) {
        struct st_record record = record_of((uint32_t)at + 1, worker == 0 ? "a" : "b");
        struct st_order order = new_order(&record);
        struct st_changes changes = {.orders = &order, .order_count = 1};
        int err = begin(mine, 0, at, at + 1);
        if (err == PS_E_CONFLICT || err == PS_E_BUSY) {
            at = find_position(&mine, err);
            continue;
        }
        if (err != 0 || store(mine, &changes) != 0 || st_sink_commit(mine, &fault) != 0)
            fail_worker();
        at++;
    }
    st_sink_close(mine);
    _exit(0);
}

static void workers_at_once_store_each_record_once(void **state)
{
    (void)state;
    pid_t pid[3];
    (void)position(sink, "log", 0);
    for (int i = 0; i < 3; i++) {
        pid[i] = fork();
        if (pid[i] == 0)
            work_beside_others(i);
    }
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    char expected[32];
    snprintf(expected, sizeof expected, "%d|%d\n", AT_ONCE, AT_ONCE);
    assert_string_equal(query("SELECT count(*), count(DISTINCT log_seq) FROM orders"), expected);
    assert_int_equal(position(sink, "log", 0), AT_ONCE);
}

/* --- Orders --- */

static void an_order_is_stored_with_all_that_its_record_says(void **state)
{
    static const char *const users[] = {"NULL", "a\"b\\c", "{x},y", "'); --", "\xe7\x94\xa8", "%s"};
    struct st_record records[PS_ARRAY_LEN(users)];
    struct st_order orders[PS_ARRAY_LEN(users)];
    (void)state;
    for (uint32_t i = 0; i < PS_ARRAY_LEN(users); i++) {
        records[i] = record_of(i + 1, users[i]);
        records[i].partition = 3;
        records[i].event.key = str(i == 0 ? "NULL" : i == 1 ? "k\"\\,{}" : "");
        records[i].event.quantity = i + 1;
        orders[i] = new_order(&records[i]);
    }
    orders[3].is = ST_CONFIRMED;
    orders[3].decided_at_ms = T0 + 5;
    orders[4].is = ST_RELEASED;
    orders[4].is_reason = OQ_EXPIRED;
    orders[4].decided_at_ms = T0 + 6;
    commit(0, &(struct st_changes){.orders = orders, .order_count = PS_ARRAY_LEN(users)});
    assert_string_equal(
        query("SELECT user_id, idempotency_key, quantity, state, reason, log_seq FROM orders ORDER "
              "BY log_seq"),
        "NULL|NULL|1|accepted|-|1\n"
        "a\"b\\c|k\"\\,{}|2|accepted|-|2\n"
        "{x},y|-|3|accepted|-|3\n"
        "'); --|-|4|confirmed|-|4\n"
        "\xe7\x94\xa8|-|5|released|expired|5\n"
        "%s|-|6|accepted|-|6\n");
    assert_string_equal(
        query("SELECT sale, sku, epoch, log_name, log_partition, decided_at IS NULL "
              "FROM orders WHERE log_seq = 1"),
        settle_database == &settle_databases[0] ? "sale|sku|5|log|3|1\n" : "sale|sku|5|log|3|t\n");
    const char *times = settle_database == &settle_databases[0]
                            ? "SELECT reserved_at, pay_by, decided_at FROM orders WHERE log_seq=5"
                            : "SELECT to_char(reserved_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"
                              " to_char(pay_by, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"
                              " to_char(decided_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
                              " FROM orders WHERE log_seq = 5";
    assert_string_equal(query(times), "2030-03-17T17:46:40.000Z|2030-03-17T18:01:40.000Z|"
                                      "2030-03-17T17:46:40.006Z\n");
}

static void what_is_known_of_an_order_is_what_was_stored(void **state)
{
    (void)state;
    struct st_record record = {.seq = 2, .event = released(2, OQ_REJECTED)};
    struct st_order rejected = {.id = id_of(2), .is = ST_VOID, .first = &record};
    put_order(0, 1);
    commit(1, &(struct st_changes){.orders = &rejected, .order_count = 1});
    assert_int_equal(look_up(1).was, ST_ACCEPTED);
    assert_int_equal(look_up(2).was, ST_VOID);
    assert_int_equal(look_up(3).was, ST_UNKNOWN);
    assert_string_equal(query("SELECT count(*) FROM orders"), "1\n");
    struct st_order step = {.id = id_of(1),
                            .was = ST_ACCEPTED,
                            .is = ST_RELEASED,
                            .is_reason = OQ_CANCELLED,
                            .decided_at_ms = T0};
    commit(2, &(struct st_changes){.orders = &step, .order_count = 1});
    assert_int_equal(look_up(1).was, ST_RELEASED);
    assert_int_equal(look_up(1).was_reason, OQ_CANCELLED);
    put_order(3, 4);
    step = (struct st_order){
        .id = id_of(4), .was = ST_ACCEPTED, .is = ST_CONFIRMED, .decided_at_ms = T0};
    commit(4, &(struct st_changes){.orders = &step, .order_count = 1});
    assert_int_equal(look_up(4).was, ST_CONFIRMED);
}

static struct st_order rehearsed_order(struct st_record *record)
{
    record->event.rehearsal = true;
    struct st_order order = new_order(record);
    order.rehearsal = true;
    return order;
}

static void orders_of_rehearsals_are_in_tables_of_their_own(void **state)
{
    struct st_record records[] = {record_of(1, "u"), record_of(2, "v"), record_of(3, "w")};
    struct st_order orders[] = {new_order(&records[0]), rehearsed_order(&records[1]),
                                rehearsed_order(&records[2])};
    (void)state;
    commit(0, &(struct st_changes){.orders = orders, .order_count = 3, .auto_confirm = true});
    assert_string_equal(query("SELECT user_id FROM orders"), "u\n");
    assert_string_equal(query("SELECT user_id FROM penstock_rehearsal_orders ORDER BY user_id"),
                        "v\nw\n");
    assert_string_equal(query("SELECT count(*) FROM penstock_decisions"), "1\n");
    assert_string_equal(query("SELECT count(*) FROM penstock_rehearsal_decisions"), "2\n");
    assert_false(look_up(1).rehearsal);
    struct st_order step = look_up(2);
    assert_true(step.rehearsal);
    assert_int_equal(step.was, ST_ACCEPTED);
    step.is = ST_CONFIRMED;
    step.decided_at_ms = T0;
    commit(1, &(struct st_changes){.orders = &step, .order_count = 1});
    assert_string_equal(query("SELECT state FROM penstock_rehearsal_orders ORDER BY user_id"),
                        "confirmed\naccepted\n");
    assert_string_equal(query("SELECT state FROM orders"), "accepted\n");
    assert_int_equal(look_up(2).was, ST_CONFIRMED);
}

static void what_was_decided_of_rehearsals_is_answered_in_a_table_of_its_own(void **state)
{
    struct st_record records[] = {record_of(1, "u"), record_of(2, "v")};
    struct st_order orders[] = {new_order(&records[0]), rehearsed_order(&records[1])};
    struct st_decision decisions[4];
    int64_t open;
    (void)state;
    commit(0, &(struct st_changes){.orders = orders, .order_count = 2});
    assert_ok(st_sink_confirm_all(sink, &fault));
    assert_ok(st_sink_open_decisions(sink, &open, &fault));
    assert_int_equal(open, 2);
    assert_int_equal(due(60000, decisions, 1), 1); /* real buyers first */
    assert_false(decisions[0].rehearsal);
    assert_int_equal(due(60000, decisions + 1, 3), 1);
    assert_true(decisions[1].rehearsal && decisions[1].known);
    decisions[0].result = "confirmed";
    decisions[1].result = "order_expired";
    assert_ok(st_sink_answer(sink, decisions, 2, &fault));
    assert_string_equal(query("SELECT result FROM penstock_decisions"), "confirmed\n");
    assert_string_equal(query("SELECT result FROM penstock_rehearsal_decisions"),
                        "order_expired\n");
    assert_ok(st_sink_open_decisions(sink, &open, &fault));
    assert_int_equal(open, 0);
}

/* Version 1 had no tables of rehearsals. */
static void tables_of_version_1_are_brought_up_and_their_rehearsals_moved(void **state)
{
    struct st_record records[] = {record_of(1, "u"), record_of(2, "v")};
    struct st_order orders[] = {new_order(&records[0]), new_order(&records[1])};
    (void)state;
    records[1].event.rehearsal = true;
    commit(0, &(struct st_changes){.orders = orders, .order_count = 2, .auto_confirm = true});
    query("DROP TABLE penstock_rehearsal_orders");
    query("DROP TABLE penstock_rehearsal_decisions");
    query("ALTER TABLE orders DROP COLUMN traceparent");
    query("UPDATE penstock_schema SET version = 1");
    assert_int_equal(st_sink_check(sink, &fault), PS_E_NOT_FOUND);
    assert_non_null(strstr(fault.text, "version 1"));
    assert_non_null(strstr(fault.text, "--init"));
    assert_ok(st_sink_create(sink, &fault));
    assert_ok(st_sink_check(sink, &fault));
    assert_string_equal(query("SELECT user_id FROM orders"), "u\n");
    assert_string_equal(query("SELECT user_id FROM penstock_rehearsal_orders"), "v\n");
    assert_string_equal(query("SELECT count(*) FROM penstock_decisions"), "1\n");
    assert_string_equal(query("SELECT count(*) FROM penstock_rehearsal_decisions"), "1\n");
    assert_true(look_up(2).rehearsal);
    assert_ok(st_sink_create(sink, &fault));
}

/* Version 2 had no traces. */
static void tables_of_version_2_are_brought_up(void **state)
{
    struct st_record records[] = {record_of(1, "u"), record_of(2, "v")};
    struct st_order orders[] = {new_order(&records[0]), new_order(&records[1])};
    (void)state;
    records[1].event.rehearsal = orders[1].rehearsal = true;
    commit(0, &(struct st_changes){.orders = orders, .order_count = 2});
    query("ALTER TABLE orders DROP COLUMN traceparent");
    query("ALTER TABLE penstock_rehearsal_orders DROP COLUMN traceparent");
    query("UPDATE penstock_schema SET version = 2");
    assert_int_equal(st_sink_check(sink, &fault), PS_E_NOT_FOUND);
    assert_ok(st_sink_create(sink, &fault));
    assert_ok(st_sink_check(sink, &fault));
    assert_true(look_up(2).rehearsal);
    assert_string_equal(look_up(1).traceparent, "");
}

static void an_order_keeps_the_trace_of_its_record(void **state)
{
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    struct st_record records[] = {record_of(1, "u"), record_of(2, "v"), record_of(3, "w")};
    struct st_order orders[] = {new_order(&records[0]), new_order(&records[1]),
                                new_order(&records[2])};
    (void)state;
    records[0].event.traceparent = ps_str(trace);
    records[2].event.traceparent = ps_str(trace);
    records[2].event.rehearsal = orders[2].rehearsal = true;
    commit(0, &(struct st_changes){.orders = orders, .order_count = 3});
    assert_string_equal(look_up(1).traceparent, trace);
    assert_string_equal(look_up(2).traceparent, "");
    assert_string_equal(look_up(3).traceparent, trace);
    assert_string_equal(look_up(4).traceparent, "");
}

static void an_epoch_is_known_by_log_partition_and_sale(void **state)
{
    (void)state;
    struct st_epoch epochs[] = {{.partition = 0, .sale = PS_STR("a"), .is = 7},
                                {.partition = 0, .sale = PS_STR("b"), .is = 0},
                                {.partition = 1, .sale = PS_STR("a"), .is = PS_INT_MAX}};
    commit(0, &(struct st_changes){.epochs = epochs, .epoch_count = 3});
    struct st_epoch found[] = {{.partition = 1, .sale = PS_STR("a")},
                               {.partition = 0, .sale = PS_STR("a")},
                               {.partition = 0, .sale = PS_STR("b"), .was = 3},
                               {.partition = 2, .sale = PS_STR("a")}};
    assert_ok(st_sink_begin(sink, "log", NULL, 0, &fault));
    assert_ok(st_sink_look_up(sink, "log", &(struct st_known){found, 4, NULL, 0}, &fault));
    assert_true(found[0].was == PS_INT_MAX && found[1].was == 7);
    assert_true(found[2].was == 0 && found[3].was == 0);
    assert_ok(st_sink_look_up(sink, "other", &(struct st_known){found, 1, NULL, 0}, &fault));
    assert_int_equal(found[0].was, 0);
    assert_ok(st_sink_commit(sink, &fault));
    epochs[0].was = 7;
    epochs[0].is = 9;
    commit(1, &(struct st_changes){.epochs = epochs, .epoch_count = 1});
    assert_string_equal(query("SELECT epoch FROM penstock_epochs WHERE log_partition = 0"), "9\n");
}

static void a_dead_letter_keeps_its_bytes(void **state)
{
    static const char bytes[] = {'{', 0, '"', '\\', (char)0xff, '\n', '\''};
    (void)state;
    struct st_record records[] = {{.partition = 2, .seq = 11, .raw = {bytes, sizeof bytes}},
                                  {.partition = 2, .seq = 12, .raw = {"", 0}}};
    struct st_letter letters[] = {{&records[0], "it's \"odd\" \\"}, {&records[1], "empty"}};
    commit(0, &(struct st_changes){.letters = letters, .letter_count = 2});
    const char *hex = settle_database == &settle_databases[0]
                          ? "SELECT log_partition, log_seq, reason, lower(hex(record)) FROM "
                            "penstock_dead_letters ORDER BY log_seq"
                          : "SELECT log_partition, log_seq, reason, encode(record, 'hex') FROM "
                            "penstock_dead_letters ORDER BY log_seq";
    assert_string_equal(query(hex), "2|11|it's \"odd\" \\|7b00225cff0a27\n2|12|empty|\n");
}

/* As when an operator has moved a position back. */
static void a_dead_letter_that_is_read_again_is_there_once(void **state)
{
    (void)state;
    struct st_record record = {.partition = 2, .seq = 11, .raw = {"x", 1}};
    struct st_letter letter = {&record, "odd"};
    commit(0, &(struct st_changes){.letters = &letter, .letter_count = 1});
    letter.reason = "still odd";
    commit(1, &(struct st_changes){.letters = &letter, .letter_count = 1});
    assert_string_equal(query("SELECT log_seq, reason FROM penstock_dead_letters"),
                        "11|still odd\n");
}

/* Who waits for a worker that has stopped in the middle of its transaction gives up and says so. */
static void a_transaction_that_does_not_end_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    struct st_sink *other = connect_to();
    (void)position(sink, "log", 0);
    assert_ok(begin(sink, 0, 0, 1));
    assert_int_equal(begin(other, 0, 0, 1), PS_E_BUSY);
    st_sink_close(other);
    other = connect_to();
    assert_ok(st_sink_commit(sink, &fault));
    assert_int_equal(begin(other, 0, 0, 1), PS_E_CONFLICT);
    assert_int_equal(position(other, "log", 0), 1);
    st_sink_close(other);
}

/* --- Decisions --- */

static void only_orders_and_the_two_words_can_be_decided(void **state)
{
    (void)state;
    assert_true(decide(1, "confirm"));
    assert_false(decide(1, "cancel"));
    assert_false(decide(2, "perhaps"));
    assert_false(settle_database->try_query(
        "INSERT INTO penstock_decisions (order_id, decision) VALUES ('17', 'confirm')"));
}

static void a_decision_is_given_out_to_one_worker_until_its_lease_is_over(void **state)
{
    struct st_decision decisions[4];
    size_t count;
    (void)state;
    put_order(0, 1);
    assert_true(decide(1, "confirm") && decide(2, "cancel") && decide(3, "cancel"));
    assert_int_equal(due(60000, decisions, 2), 2);
    struct st_sink *other = connect_to();
    assert_ok(st_sink_due(other, 1, decisions, 4, &count, &fault));
    assert_int_equal(count, 1);
    st_sink_close(other);
    usleep(20000);
    assert_int_equal(due(60000, decisions, 4), 1); /* what the other one had */
    assert_int_equal(decisions[0].tries, 2);
    query("UPDATE penstock_decisions SET retry_at = NULL");
    assert_int_equal(due(60000, decisions, 4), 3);
    for (int i = 0; i < 3; i++) {
        bool first = strcmp(decisions[i].order_id, text_of(1)) == 0;
        assert_int_equal(decisions[i].confirm, first);
        assert_int_equal(decisions[i].known, first);
    }
    int64_t open;
    assert_ok(st_sink_open_decisions(sink, &open, &fault));
    assert_int_equal(open, 3);
}

static void an_answer_is_written_down_and_nobody_asks_again(void **state)
{
    struct st_decision decisions[4];
    (void)state;
    assert_true(decide(1, "confirm") && decide(2, "cancel") && decide(3, "confirm"));
    assert_int_equal(due(60000, decisions, 4), 3);
    for (int i = 0; i < 3; i++)
        decisions[i].result = decisions[i].confirm ? "confirmed" : "released";
    assert_ok(st_sink_answer(sink, decisions, 3, &fault));
    assert_string_equal(
        query("SELECT result, tries, retry_at FROM penstock_decisions ORDER BY order_id"),
        "confirmed|1|-\nreleased|1|-\nconfirmed|1|-\n");
    assert_int_equal(due(60000, decisions, 4), 0);
    int64_t open;
    assert_ok(st_sink_open_decisions(sink, &open, &fault));
    assert_int_equal(open, 0);
}

static void what_is_to_be_asked_again_comes_after_its_pause(void **state)
{
    struct st_decision decision;
    (void)state;
    assert_true(decide(1, "confirm"));
    assert_int_equal(due(60000, &decision, 1), 1);
    decision.retry_after_ms = 60000;
    assert_ok(st_sink_answer(sink, &decision, 1, &fault));
    assert_int_equal(due(60000, &decision, 1), 0);
    query("UPDATE penstock_decisions SET retry_at = NULL");
    assert_int_equal(due(60000, &decision, 1), 1);
    decision.retry_after_ms = 1;
    assert_ok(st_sink_answer(sink, &decision, 1, &fault));
    usleep(20000);
    assert_int_equal(due(60000, &decision, 1), 1);
    assert_int_equal(decision.tries, 3);
}

static void an_answer_to_what_the_shop_has_decided_otherwise_meanwhile_is_dropped(void **state)
{
    struct st_decision decision;
    (void)state;
    assert_true(decide(1, "confirm"));
    assert_int_equal(due(1, &decision, 1), 1);
    query("UPDATE penstock_decisions SET decision = 'cancel'");
    decision.result = "confirmed";
    assert_ok(st_sink_answer(sink, &decision, 1, &fault));
    assert_string_equal(query("SELECT decision, result FROM penstock_decisions"), "cancel|-\n");
    usleep(20000);
    assert_int_equal(due(60000, &decision, 1), 1);
    assert_false(decision.confirm);
    decision.result = "order_confirmed";
    assert_ok(st_sink_answer(sink, &decision, 1, &fault));
    decision.result = "released"; /* a late second answer does not replace the first */
    assert_ok(st_sink_answer(sink, &decision, 1, &fault));
    assert_string_equal(query("SELECT result FROM penstock_decisions"), "order_confirmed\n");
}

static void confirming_all_leaves_the_shops_decisions_alone(void **state)
{
    (void)state;
    struct st_record records[] = {record_of(1, "u"), record_of(2, "v")};
    struct st_order orders[] = {new_order(&records[0]), new_order(&records[1])};
    orders[1].is = ST_RELEASED;
    orders[1].is_reason = OQ_EXPIRED;
    put_order(0, 4);
    put_order(1, 5);
    assert_true(decide(5, "cancel"));
    commit(2, &(struct st_changes){.orders = orders, .order_count = 2, .auto_confirm = true});
    assert_string_equal(query("SELECT decision FROM penstock_decisions ORDER BY order_id"),
                        "confirm\ncancel\n");
    assert_ok(st_sink_confirm_all(sink, &fault));
    assert_ok(st_sink_confirm_all(sink, &fault));
    assert_string_equal(query("SELECT decision FROM penstock_decisions ORDER BY order_id"),
                        "confirm\nconfirm\ncancel\n");
}

/* --- SQLite alone: its memory can be made to end --- */

static sqlite3_mem_methods memory;
static int64_t memory_left = -1; /* so many more pieces, then one that is not given; -1: no end */

static void *give_memory(int size)
{
    if (memory_left >= 0 && memory_left-- == 0)
        return NULL;
    return memory.xMalloc(size);
}

/* Before SQLite is used. Its stock of small pieces would hide that there are no more. */
static void make_memory_end(void)
{
    sqlite3_mem_methods ours;
    if (sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory) != SQLITE_OK)
        abort();
    ours = memory;
    ours.xMalloc = give_memory;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &ours) != SQLITE_OK)
        abort();
}

/* Confirms order 4, but for the commit. */
static int try_confirm(void)
{
    struct st_order order = {.id = id_of(4)};
    int err = st_sink_begin(sink, "log", NULL, 0, &fault);
    if (err == 0)
        err = st_sink_look_up(sink, "log", &(struct st_known){NULL, 0, &order, 1}, &fault);
    if (err != 0)
        return err;
    assert_int_equal(order.was, ST_ACCEPTED);
    order.is = ST_CONFIRMED;
    order.decided_at_ms = 1;
    return store(sink, &(struct st_changes){.orders = &order, .order_count = 1});
}

static void memory_that_ends_is_an_error_and_never_another_statement(void **state)
{
    (void)state;
    put_order(0, 4);
    bool ended = true;
    for (int64_t pieces = 0; ended; pieces++) {
        st_sink_close(sink);
        sink = connect_to();
        memory_left = pieces;
        int err = try_confirm();
        ended = memory_left < 0;
        memory_left = -1;
        if (err != 0) {
            assert_int_equal(err, PS_E_NOMEM);
            continue;
        }
        assert_ok(st_sink_commit(sink, &fault));
        assert_string_equal(query("SELECT state FROM orders"), "confirmed\n");
        query("UPDATE orders SET state = 'accepted'");
    }
}

/* Its order would be refused again and again. */
static void a_database_that_has_not_all_characters_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *encoding;
        int err;
    } cases[] = {{"LATIN1", PS_E_INVALID}, {"SQL_ASCII", 0}};
    char other[sizeof url], sql[128];
    struct st_sink *made;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        snprintf(sql, sizeof sql,
                 "CREATE DATABASE other%zu ENCODING '%s' TEMPLATE template0 LOCALE 'C'", i,
                 cases[i].encoding);
        query(sql);
        snprintf(other, sizeof other, "postgresql:///other%zu?%s", i, strchr(url, '?') + 1);
        int err = st_sink_open(other, true, &made, &fault);
        assert_int_equal(err, cases[i].err);
        if (err == 0)
            st_sink_close(made);
        else
            assert_non_null(strstr(fault.text, cases[i].encoding));
    }
}

/* Whatever way its planner finds best; some would look for them anew for each row. */
static void no_more_decisions_are_given_out_than_there_is_room_for(void **state)
{
    (void)state;
    static const char no_other_way[] = "%20-cenable_material%3Doff%20-cenable_hashjoin%3Doff"
                                       "%20-cenable_mergejoin%3Doff%20-cenable_hashagg%3Doff"
                                       "%20-cenable_sort%3Doff";
    struct st_decision decisions[40];
    size_t count;
    st_sink_close(sink);
    strcat(url, no_other_way);
    sink = connect_to();
    assert_true(decide(1, "confirm") && decide(2, "confirm"));
    query("ANALYZE penstock_decisions");
    query("INSERT INTO penstock_decisions SELECT gen_random_uuid(), 'confirm' "
          "FROM generate_series(1, 30)");
    assert_ok(st_sink_due(sink, 60000, decisions, 5, &count, &fault));
    assert_int_equal(count, 5);
    assert_int_equal(due(60000, decisions, 40), 27);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(tables_are_made_once_and_missed_before),
        CLAIM(tables_of_a_newer_version_are_refused),
        CLAIM(a_table_of_the_shops_own_is_left_alone),
        CLAIM(a_database_that_is_none_is_refused_by_name),
        CLAIM(a_partition_begins_with_nothing_and_goes_on_where_it_was),
        CLAIM(who_was_not_the_first_changes_nothing),
        CLAIM(a_transaction_that_is_not_committed_leaves_nothing),
        CLAIM(workers_at_once_store_each_record_once),
        CLAIM(a_transaction_that_does_not_end_is_not_waited_for_for_ever),
        CLAIM(an_order_is_stored_with_all_that_its_record_says),
        CLAIM(what_is_known_of_an_order_is_what_was_stored),
        CLAIM(orders_of_rehearsals_are_in_tables_of_their_own),
        CLAIM(what_was_decided_of_rehearsals_is_answered_in_a_table_of_its_own),
        CLAIM(tables_of_version_1_are_brought_up_and_their_rehearsals_moved),
        CLAIM(tables_of_version_2_are_brought_up),
        CLAIM(an_order_keeps_the_trace_of_its_record),
        CLAIM(an_epoch_is_known_by_log_partition_and_sale),
        CLAIM(a_dead_letter_keeps_its_bytes),
        CLAIM(a_dead_letter_that_is_read_again_is_there_once),
        CLAIM(only_orders_and_the_two_words_can_be_decided),
        CLAIM(a_decision_is_given_out_to_one_worker_until_its_lease_is_over),
        CLAIM(an_answer_is_written_down_and_nobody_asks_again),
        CLAIM(what_is_to_be_asked_again_comes_after_its_pause),
        CLAIM(an_answer_to_what_the_shop_has_decided_otherwise_meanwhile_is_dropped),
        CLAIM(confirming_all_leaves_the_shops_decisions_alone),
    };
    return cmocka_run_group_tests_name(settle_database->name, tests, NULL, NULL);
}

static int run_sqlite(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(memory_that_ends_is_an_error_and_never_another_statement),
    };
    settle_database = &settle_databases[0];
    return cmocka_run_group_tests_name("SQLite alone", tests, NULL, NULL);
}

static int run_postgres(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_database_that_has_not_all_characters_is_refused),
        CLAIM(no_more_decisions_are_given_out_than_there_is_room_for),
    };
    return cmocka_run_group_tests_name("PostgreSQL alone", tests, NULL, NULL);
}

int main(void)
{
    make_memory_end();
    int failed = run_sqlite();
    for (size_t i = 0; i < PS_ARRAY_LEN(settle_databases); i++) {
        settle_database = &settle_databases[i];
        if (!settle_database->start())
            continue;
        failed += run_all();
        if (i == 1)
            failed += run_postgres();
        settle_database->stop();
    }
    return failed;
}
