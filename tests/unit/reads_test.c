/* The long reads of the admin listener share libuv's work threads with the look-up of names. */
#include "check.h"
#include "gateway/admin/reads.h"

#include <semaphore.h>
#include <stdatomic.h>

#define READS 6

struct long_read {
    struct op_read read; /* first */
    bool unwanted;
    bool ran, done;
};

static uv_loop_t loop;
static struct op_reads reads;
static sem_t may_end;
static _Atomic(int) running, most;

static void run_long(struct op_read *read)
{
    int now = atomic_fetch_add(&running, 1) + 1;

    ((struct long_read *)read)->ran = true;
    if (now > atomic_load(&most))
        atomic_store(&most, now);
    sem_wait(&may_end);
    atomic_fetch_sub(&running, 1);
}

static bool is_wanted(const struct op_read *read)
{
    return !((const struct long_read *)read)->unwanted;
}

static void on_done(struct op_read *read)
{
    ((struct long_read *)read)->done = true;
}

static void start_all(struct long_read *all)
{
    uv_loop_init(&loop);
    op_reads_init(&reads, &loop);
    sem_init(&may_end, 0, 0);
    atomic_store(&most, 0);
    for (int i = 0; i < READS; i++) {
        all[i] =
            (struct long_read){.read = {.run = run_long, .is_wanted = is_wanted, .done = on_done}};
        op_reads_start(&reads, &all[i].read);
    }
}

static void end_all(void)
{
    for (int i = 0; i < READS; i++)
        sem_post(&may_end);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    sem_destroy(&may_end);
}

static void on_name(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    *(bool *)request->data = status == 0;
    uv_freeaddrinfo(found);
    uv_stop(&loop);
}

static void names_are_looked_up_beside_any_number_of_reads(void **state)
{
    struct long_read all[READS];
    uv_getaddrinfo_t request;
    bool found = false;
    (void)state;
    start_all(all);
    request.data = &found;
    assert_int_equal(uv_getaddrinfo(&loop, &request, on_name, "127.0.0.1", NULL, NULL), 0);
    uv_run(&loop, UV_RUN_DEFAULT); /* until the name is there: no read may end yet */
    assert_true(found);
    end_all();
    for (int i = 0; i < READS; i++)
        assert_true(all[i].ran && all[i].done);
    assert_true(atomic_load(&most) <= OP_READS_MAX);
}

static void a_read_that_nobody_waits_for_is_not_run(void **state)
{
    struct long_read all[READS];
    (void)state;
    start_all(all);
    all[READS - 1].unwanted = true; /* its asker has left while others ran */
    end_all();
    assert_true(all[READS - 2].ran && all[READS - 2].done);
    assert_true(!all[READS - 1].ran && all[READS - 1].done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_looked_up_beside_any_number_of_reads),
        cmocka_unit_test(a_read_that_nobody_waits_for_is_not_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
