/* Checkpoints: the fold in a file is the fold as it was at the cut, whatever went on meanwhile; and
 * a file that is not what was written is refused. */
#include "tests/unit/check.h"

#include "queue/checkpoint.h"
#include "tests/unit/records.h"
#include "tests/unit/temp_dir.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTITIONS 3
#define ORDERS     400

static struct temp_dir dir;

static int make_dir(void **state)
{
    (void)state;
    dir = temp_dir_make();
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

/* --- A log of random records of four sales --- */

struct log {
    struct oq_fold *fold;
    int64_t next[PARTITIONS];
    uint64_t seed;
};

static struct log new_log(uint64_t seed)
{
    struct log log = {.next = {1, 1, 1}, .seed = seed};
    assert_ok(oq_fold_new(&log.fold));
    return log;
}

static struct oq_event random_event(uint64_t *seed, char text[4][64])
{
    static const char *const sales[] = {"sale-a", "sale-b", "sale-c", "gone"};
    uint32_t id = random_below(seed, ORDERS), pick = random_below(seed, 100);
    struct oq_event event;
    const char *sale = sales[id % 4];
    snprintf(text[0], sizeof text[0], id % 3 == 0 ? "018f3c5a-7d2e-7b31-9c04-%012x" : "user-%u",
             id % 50);
    snprintf(text[1], sizeof text[1], id % 5 == 0 ? "9b2f6c1e-41d7-4e0a-8f33-%012x" : "key-%u", id);
    snprintf(text[2], sizeof text[2], "adjust:%s/%u", sale, random_below(seed, 20));
    snprintf(text[3], sizeof text[3], "sku-%u", id % 7);
    if (pick < 45) {
        event = accepted(id, random_below(seed, 20) == 0 ? 4 : 5, text[0], id % 4 ? text[1] : "",
                         1 + id % 3);
        event.pay_by_ms += id % 2;
        event.rehearsal = id % 4 == 2;
    } else if (pick < 65) {
        event = confirmed(id);
    } else if (pick < 85) {
        event = released(id, random_below(seed, 3) == 0 ? OQ_REJECTED : OQ_EXPIRED);
    } else if (pick < 99) {
        event = adjusted(text[2], (int64_t)random_below(seed, 50) - 10, 5);
        if (event.delta == 0)
            event.delta = 1;
    } else {
        event = fenced(random_below(seed, 10) == 0 ? 6 : 5, PARTITIONS, false);
    }
    event.sale = str(sale);
    if (event.sku.len > 0)
        event.sku = str(text[3]);
    return event;
}

static void put(struct log *log, uint32_t partition, const struct oq_event *event)
{
    struct oq_change change;
    assert_ok(oq_fold_apply(log->fold, partition, log->next[partition]++, event, &change));
}

static void step(struct log *log)
{
    char text[4][64];
    struct oq_event event = random_event(&log->seed, text);
    uint32_t partition = event.has_order_id ? event.order_id.byte[12] % PARTITIONS
                                            : (uint8_t)event.sale.at[3] % PARTITIONS;
    put(log, event.type == OQ_FENCED ? random_below(&log->seed, PARTITIONS) : partition, &event);
}

static void steps(struct log *log, int count)
{
    for (int i = 0; i < count; i++)
        step(log);
}

static void open_sales(struct log *log)
{
    static const char *const sales[] = {"sale-a", "sale-b", "sale-c", "gone"};
    for (size_t i = 0; i < PS_ARRAY_LEN(sales); i++) {
        for (uint32_t p = 0; p < PARTITIONS; p++) {
            struct oq_event event = fenced(5, PARTITIONS, true);
            event.sale = str(sales[i]);
            event.opening_id = i == 1 ? (struct ps_str){NULL, 0} : PS_STR("opening-of-it");
            put(log, p, &event);
        }
    }
}

static void marks_of(const struct log *log, struct oq_mark marks[PARTITIONS])
{
    for (uint32_t i = 0; i < PARTITIONS; i++)
        oq_mark_set(&marks[i], log->next[i] - 1, PS_STR("{}"));
}

/* --- All that a reader can see of a fold, as text --- */

static void put_order(FILE *to, const struct oq_fold *fold, const struct oq_order *order)
{
    struct oq_order_view view;
    char id[PS_UUID_LEN + 1], other[PS_UUID_LEN + 1] = "-";
    oq_order_get(order, &view);
    ps_uuid_format(&view.id, id);
    fprintf(to, "%s %s %u %d %d %d %d %lld '%.*s' '%.*s' %lld %lld %lld %lld %lld %lld", id,
            oq_sale_name(view.sale), view.sku, view.rehearsal, view.known, view.state, view.reason,
            (long long)view.quantity, (int)view.user.len, view.user.at, (int)view.key.len,
            view.key.at, (long long)view.reserved_at_ms, (long long)view.pay_by_ms,
            (long long)view.epoch, (long long)view.cap, (long long)view.sku_cap,
            (long long)view.place);
    if (oq_order_older(order) != NULL)
        ps_uuid_format(oq_order_id(oq_order_older(order)), other);
    fprintf(to, " older %s", other);
    const struct oq_order *found = oq_fold_by_key(fold, view.sale, view.user, view.key);
    if (found != NULL)
        ps_uuid_format(oq_order_id(found), other);
    fprintf(to, " key %s", found != NULL ? other : "-");
    found = oq_fold_newest(fold, view.sale, view.user);
    if (found != NULL)
        ps_uuid_format(oq_order_id(found), other);
    fprintf(to, " newest %s\n", found != NULL ? other : "-");
}

static void put_sale(FILE *to, const struct oq_fold *fold, const struct oq_sale *sale)
{
    struct oq_totals totals;
    struct ps_uuid ref;
    uint32_t sku;
    int64_t delta;
    fprintf(to, "%s %s %d %u %d %d\n", oq_sale_name(sale), oq_sale_opening_id(sale),
            oq_sale_rehearsal(sale), oq_sale_partitions(sale), oq_sale_archived(sale),
            oq_sale_forgotten(sale));
    for (uint32_t i = 0; i < oq_sale_sku_count(sale); i++) {
        oq_sale_totals(sale, i, &totals);
        fprintf(to, "%s %lld %lld %lld %lld\n", oq_sale_sku(sale, i), (long long)totals.adjustments,
                (long long)totals.held, (long long)totals.confirmed, (long long)totals.released);
    }
    for (uint32_t p = 0; p < PARTITIONS; p++)
        fprintf(to, "epoch %lld\n", (long long)oq_sale_epoch(sale, p));
    for (size_t i = 0; oq_sale_adjusted_at(sale, i, &ref, &sku, &delta); i++)
        fprintf(to, "%02x%02x%02x %u %lld %d\n", ref.byte[0], ref.byte[1], ref.byte[2], sku,
                (long long)delta, oq_sale_adjusted(sale, &ref));
    for (size_t i = 0; i < oq_sale_order_count(sale); i++)
        put_order(to, fold, oq_sale_order_at(sale, i));
}

static char *text_of_fold(const struct oq_fold *fold)
{
    const struct oq_sale *sale;
    char *text;
    size_t len;
    FILE *to = open_memstream(&text, &len);
    assert_non_null(to);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        fprintf(to, "seq %lld\n", (long long)oq_fold_seq(fold, p));
    for (size_t i = 0; (sale = oq_fold_sale_at(fold, i)) != NULL; i++)
        put_sale(to, fold, sale);
    for (uint32_t id = 0; id < ORDERS; id++) {
        struct ps_uuid uuid = id_of(id);
        const struct oq_order *order = oq_fold_order(fold, &uuid);
        if (order != NULL)
            put_order(to, fold, order);
    }
    fclose(to);
    return text;
}

static void assert_same_folds(const struct oq_fold *one, const struct oq_fold *other)
{
    char *a = text_of_fold(one), *b = text_of_fold(other);
    assert_string_equal(a, b);
    free(a);
    free(b);
}

/* --- Writing and reading --- */

static const char *path(void)
{
    static const char *name;
    if (name == NULL)
        name = temp_file(&dir, "fold.checkpoint");
    return name;
}

static struct oq_cut *begin(struct log *log)
{
    struct oq_mark marks[PARTITIONS];
    struct oq_cut *cut;
    marks_of(log, marks);
    assert_ok(oq_cut_begin(log->fold, marks, PARTITIONS, &cut));
    return cut;
}

static void finish(struct oq_cut *cut, const char *notes)
{
    oq_cut_end(cut);
    assert_ok(oq_cut_publish(cut, ps_str(notes), NULL));
    oq_cut_free(cut);
}

static void write_checkpoint(struct log *log, const char *notes)
{
    struct oq_cut *cut = begin(log);
    assert_ok(oq_cut_write(cut, path(), NULL));
    finish(cut, notes);
}

static struct oq_checkpoint *read_checkpoint(void)
{
    struct oq_checkpoint *checkpoint;
    struct ps_fault fault = {0};
    if (oq_checkpoint_open(path(), &checkpoint, &fault) != 0)
        fail_msg("%s", fault.text);
    return checkpoint;
}

static struct oq_fold *loaded(void)
{
    struct oq_checkpoint *checkpoint = read_checkpoint();
    struct oq_fold *fold;
    assert_ok(oq_fold_new(&fold));
    assert_ok(oq_checkpoint_load(checkpoint, fold));
    oq_checkpoint_free(checkpoint);
    return fold;
}

/* What was written is this fold; frees the text. */
static void assert_loads(char *then)
{
    struct oq_fold *fold = loaded();
    char *now = text_of_fold(fold);
    assert_string_equal(now, then);
    free(now);
    free(then);
    oq_fold_free(fold);
}

static void a_fold_comes_back_as_it_was_and_goes_on_alike(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct log log = new_log(seed);
        open_sales(&log);
        steps(&log, (int)seed * 400);
        if (seed % 2 == 0)
            oq_fold_forget(log.fold, oq_fold_sale(log.fold, "gone", 4));
        write_checkpoint(&log, "what the host notes");

        struct oq_checkpoint *checkpoint = read_checkpoint();
        uint32_t count;
        const struct oq_mark *marks = oq_checkpoint_marks(checkpoint, &count);
        assert_int_equal(count, PARTITIONS);
        for (uint32_t i = 0; i < count; i++)
            assert_true(oq_mark_fits(&marks[i], log.next[i] - 1, PS_STR("{}")));
        struct ps_str notes = oq_checkpoint_notes(checkpoint);
        assert_true(ps_str_is(notes, "what the host notes"));
        oq_checkpoint_free(checkpoint);

        struct log again = log;
        again.fold = loaded();
        assert_same_folds(log.fold, again.fold);
        steps(&log, 1000);
        steps(&again, 1000);
        assert_same_folds(log.fold, again.fold);
        oq_fold_free(log.fold);
        oq_fold_free(again.fold);
    }
}

static void an_empty_fold_and_an_archived_sale_come_back(void **state)
{
    (void)state;
    struct log log = new_log(1);
    write_checkpoint(&log, "");
    struct oq_fold *fold = loaded();
    assert_same_folds(log.fold, fold);
    oq_fold_free(fold);

    struct oq_event events[] = {fenced(5, 1, true), accepted(1, 5, "alice", "", 2), archived(),
                                accepted(2, 5, "bob", "", 1)};
    for (size_t i = 0; i < 3; i++)
        put(&log, 0, &events[i]);
    oq_fold_forget(log.fold, oq_fold_sale(log.fold, "sale", 4));
    write_checkpoint(&log, "");
    fold = loaded();
    struct oq_change change;
    assert_true(oq_sale_archived(oq_fold_sale(fold, "sale", 4)));
    assert_true(oq_sale_forgotten(oq_fold_sale(fold, "sale", 4)));
    assert_same_folds(log.fold, fold);
    assert_ok(oq_fold_apply(fold, 0, log.next[0], &events[3], &change));
    assert_int_equal(change.effect, OQ_EFFECT_NONE);
    oq_fold_free(fold);
    oq_fold_free(log.fold);
}

/* A stranger's release names another sale than the order's own, which the fold learnt of before. */
static void an_order_that_took_the_place_of_a_release_has_it_still(void **state)
{
    (void)state;
    struct log log = new_log(1);
    struct oq_event first = fenced(5, PARTITIONS, true), early = released(7, OQ_REJECTED);
    struct oq_event order = accepted(7, 5, "ann", "", 1);
    early.sale = PS_STR("other");
    put(&log, 0, &first);
    put(&log, 0, &early);
    put(&log, 0, &order);
    assert_true(oq_order_known(oq_fold_order(log.fold, &order.order_id)));
    write_checkpoint(&log, "");
    struct oq_fold *read = loaded();
    assert_true(oq_order_known(oq_fold_order(read, &order.order_id)));
    assert_string_equal(oq_sale_name(oq_order_sale(oq_fold_order(read, &order.order_id))), "sale");
    oq_fold_free(read);
    oq_fold_free(log.fold);
}

static void what_goes_on_while_it_is_written_is_not_in_it(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 20; seed++) {
        struct log log = new_log(seed);
        open_sales(&log);
        steps(&log, 1000);
        char *then = text_of_fold(log.fold);
        struct oq_cut *cut = begin(&log);
        struct oq_mark marks[PARTITIONS] = {0};
        struct oq_cut *second;
        assert_int_equal(oq_cut_begin(log.fold, marks, PARTITIONS, &second), PS_E_BUSY);
        steps(&log, 500);
        if (seed % 2 == 0) {
            oq_fold_forget(log.fold, oq_fold_sale(log.fold, "gone", 4));
            while (oq_fold_tidy(log.fold))
                ;
            oq_fold_reclaim(log.fold, oq_fold_retired(log.fold));
        }
        assert_ok(oq_cut_write(cut, path(), NULL));
        steps(&log, 500);
        finish(cut, "");
        assert_loads(then);
        oq_fold_free(log.fold);
    }
}

/* The same with the two threads that there are. */
static void *write_cut(void *arg)
{
    return (void *)(intptr_t)oq_cut_write(arg, path(), NULL);
}

static void the_log_goes_on_beside_the_thread_that_writes(void **state)
{
    (void)state;
    struct log log = new_log(99);
    open_sales(&log);
    steps(&log, 2000);
    for (int round = 0; round < 10; round++) {
        pthread_t thread;
        void *err;
        char *then = text_of_fold(log.fold);
        struct oq_cut *cut = begin(&log);
        assert_ok(pthread_create(&thread, NULL, write_cut, cut));
        steps(&log, 300);
        assert_ok(pthread_join(thread, &err));
        assert_null(err);
        finish(cut, "");
        assert_loads(then);
    }
    oq_fold_free(log.fold);
}

/* --- Files that are not what was written --- */

static char *file_bytes(size_t *ret_size)
{
    FILE *file = fopen(path(), "rb");
    assert_non_null(file);
    char *text = malloc(1 << 20);
    *ret_size = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

static void set_file(const char *text, size_t size)
{
    int fd = open(path(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, text, size), size);
    close(fd);
}

static int open_error(void)
{
    struct oq_checkpoint *checkpoint = NULL;
    struct ps_fault fault = {0};
    int err = oq_checkpoint_open(path(), &checkpoint, &fault);
    assert_true((err == 0) == (checkpoint != NULL));
    assert_true(err == 0 || fault.text[0] != '\0');
    oq_checkpoint_free(checkpoint);
    return err;
}

/* F28. */
static void a_file_with_any_other_byte_is_refused(void **state)
{
    (void)state;
    struct log log = new_log(5);
    open_sales(&log);
    steps(&log, 60);
    write_checkpoint(&log, "notes");
    oq_fold_free(log.fold);
    size_t size;
    char *text = file_bytes(&size);
    for (size_t i = 0; i < size; i++) {
        text[i] ^= (char)(1 << i % 8);
        set_file(text, size);
        assert_int_equal(open_error(), i < 8 ? PS_E_INVALID : PS_E_CORRUPT);
        text[i] ^= (char)(1 << i % 8);
    }
    for (size_t shorter = 0; shorter < size; shorter += 1 + shorter / 50) {
        set_file(text, shorter);
        assert_int_equal(open_error(), PS_E_CORRUPT);
    }
    text[size] = '\0';
    set_file(text, size + 1);
    assert_int_equal(open_error(), PS_E_CORRUPT);
    set_file(text, size);
    assert_ok(open_error());
    assert_ok(chmod(path(), 0644));
    assert_int_equal(open_error(), PS_E_PERMISSION);
    assert_ok(unlink(path()));
    assert_int_equal(open_error(), PS_E_NOT_FOUND);
    free(text);
}

/* F28. */
static void what_cannot_be_written_leaves_the_old_file(void **state)
{
    (void)state;
    struct log log = new_log(6);
    struct ps_fault fault;
    char name[4096];
    open_sales(&log);
    write_checkpoint(&log, "old");
    snprintf(name, sizeof name, "%s.new", path());

    struct oq_cut *cut = begin(&log);
    assert_int_equal(oq_cut_write(cut, "/nowhere/fold.checkpoint", &fault), PS_E_NOT_FOUND);
    oq_cut_end(cut);
    oq_cut_free(cut);

    cut = begin(&log);
    assert_ok(oq_cut_write(cut, path(), &fault));
    assert_ok(access(name, F_OK));
    oq_cut_end(cut);
    oq_cut_free(cut);
    assert_int_equal(access(name, F_OK), -1);
    struct oq_checkpoint *checkpoint = read_checkpoint();
    assert_true(ps_str_is(oq_checkpoint_notes(checkpoint), "old"));
    oq_checkpoint_free(checkpoint);
    oq_fold_free(log.fold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fold_comes_back_as_it_was_and_goes_on_alike),
        cmocka_unit_test(an_empty_fold_and_an_archived_sale_come_back),
        cmocka_unit_test(an_order_that_took_the_place_of_a_release_has_it_still),
        cmocka_unit_test(what_goes_on_while_it_is_written_is_not_in_it),
        cmocka_unit_test(the_log_goes_on_beside_the_thread_that_writes),
        cmocka_unit_test(a_file_with_any_other_byte_is_refused),
        cmocka_unit_test(what_cannot_be_written_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
