/* The spill's file. Tables: spilled(seq, body), body the record's JSON; meta, one row, whose
 * counter is what a transaction without records writes.
 *
 * What must hold: the numbers in it have no gap, so that two of them say how many there are. */
#include "queue/spill_file.h"

#include <stdio.h>

enum { INSERT, DROP, SELECT, NUMBERS, STATEMENT_COUNT };
static const char *const statements[STATEMENT_COUNT] = {
    [INSERT] = "INSERT INTO spilled (seq, body) VALUES (?1, ?2)",
    [DROP] = "DELETE FROM spilled WHERE seq <= ?1",
    [SELECT] = "SELECT seq, body FROM spilled WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    /* Two subqueries, since each alone is one step into the table. */
    [NUMBERS] = "SELECT (SELECT min(seq) FROM spilled), (SELECT max(seq) FROM spilled)",
};

const struct ps_db_kind oq_spill_kind = {
    .name = "spill file",
    .holds = "the orders in it",
    .application_id = 0x50535331, /* "PSS1" */
    .format = 1,
    .tables = "CREATE TABLE spilled (seq INTEGER PRIMARY KEY, body TEXT NOT NULL);"
              "CREATE TABLE meta (recoveries INTEGER NOT NULL);"
              "INSERT INTO meta VALUES (0)",
    .statements = statements,
    .statement_count = STATEMENT_COUNT,
};

int oq_spill_file_count(struct ps_db_file *file, int64_t *ret_last, uint64_t *ret_count,
                        struct ps_fault *fault)
{
    struct ps_db_statement *numbers = ps_db_statement(ps_db_file_db(file), NUMBERS);
    int found = ps_db_row(numbers, fault);
    if (found < 0)
        return found;
    *ret_count = 0;
    if (!ps_db_is_null(numbers, 0)) {
        *ret_last = ps_db_int(numbers, 1);
        *ret_count = (uint64_t)(*ret_last - ps_db_int(numbers, 0) + 1);
    }
    ps_db_end_rows(numbers);
    return 0;
}

static int insert_records(struct ps_db_file *file, int64_t first,
                          const struct oq_record *const *records, size_t count,
                          struct ps_fault *fault)
{
    struct ps_db *db = ps_db_file_db(file);
    int err = ps_db_file_begin(file, fault);
    if (err == 0 && count == 0)
        err = ps_db_exec(db, "UPDATE meta SET recoveries = recoveries + 1", fault);
    for (size_t i = 0; i < count && err == 0; i++) {
        struct ps_db_statement *statement = ps_db_statement(db, INSERT);
        ps_db_bind_int(statement, 1, first + (int64_t)i);
        ps_db_bind_text(statement, 2, records[i]->json);
        err = ps_db_run(statement, fault);
    }
    return err;
}

int oq_spill_file_write(struct ps_db_file *file, int64_t first,
                        const struct oq_record *const *records, size_t count, bool *ret_unknown,
                        struct ps_fault *fault)
{
    *ret_unknown = false;
    int err = insert_records(file, first, records, count, fault);
    if (err == 0)
        return ps_db_file_commit(file, ret_unknown, fault);
    ps_db_file_rollback(file);
    return err;
}

int oq_spill_file_drop(struct ps_db_file *file, int64_t last, struct ps_fault *fault)
{
    bool unknown; /* no matter: dropping twice does no harm */
    int err = ps_db_file_begin(file, fault);
    if (err != 0)
        return err;
    struct ps_db_statement *drop = ps_db_statement(ps_db_file_db(file), DROP);
    ps_db_bind_int(drop, 1, last);
    err = ps_db_run(drop, fault);
    return err == 0 ? ps_db_file_commit(file, &unknown, fault) : err;
}

/* --- Reading --- */

static int order_unreadable(struct ps_db *db, int64_t seq, const struct ps_fault *wrong,
                            struct ps_fault *fault)
{
    char what[200];
    snprintf(what, sizeof what, "order %lld cannot be read: %.60s %.90s", (long long)seq,
             wrong->path, wrong->text);
    return ps_db_damaged(db, what, fault);
}

static int give_row(struct ps_db *db, const struct ps_db_statement *row, oq_spill_file_fn *fn,
                    void *ctx, struct ps_fault *fault)
{
    struct ps_fault wrong = {.path = "/type", .text = "it is not an accepted order"};
    int64_t seq = ps_db_int(row, 0);
    struct ps_str body = ps_db_text(row, 1);
    struct oq_event event;
    void *owner;
    int err = oq_event_decode(body.at, body.len, &event, &owner, &wrong);
    if (err == PS_E_INVALID)
        return order_unreadable(db, seq, &wrong, fault);
    if (err != 0)
        return ps_fault(fault, err, ps_db_path(db), "order %lld: %s", (long long)seq,
                        ps_err_text(err));
    if (event.type != OQ_ACCEPTED || fn(seq, &event, ctx) != 0)
        err = order_unreadable(db, seq, &wrong, fault);
    oq_event_release(owner);
    return err;
}

int oq_spill_file_read(struct ps_db_file *file, int64_t after, size_t limit, oq_spill_file_fn *fn,
                       void *ctx, struct ps_fault *fault)
{
    struct ps_db *db = ps_db_file_db(file);
    struct ps_db_statement *rows = ps_db_statement(db, SELECT);
    int found = 0, err = 0;
    int64_t last = 0;
    ps_db_bind_int(rows, 1, after);
    ps_db_bind_int(rows, 2, (int64_t)limit);
    while (err == 0 && (found = ps_db_row(rows, fault)) > 0) {
        int64_t seq = ps_db_int(rows, 0);
        if (last != 0 && seq != last + 1)
            err = ps_db_damaged(db, "orders in it are missing", fault);
        else
            err = give_row(db, rows, fn, ctx, fault);
        last = seq;
    }
    ps_db_end_rows(rows);
    return err != 0 ? err : found;
}
