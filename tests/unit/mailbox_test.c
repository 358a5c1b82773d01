/* Mail between threads and a loop. */
#include "tests/unit/check.h"

#include "common/err.h"
#include "common/mailbox.h"

#include <pthread.h>
#include <sched.h>

#define PRODUCERS 3
#define EACH      5000

struct receiver {
    uv_loop_t loop;
    struct ps_mailbox *mailbox;
    uint64_t next[PRODUCERS];
    size_t got;
    size_t drains;
    bool in_order;
    bool close_on_first;
};

static void on_mail(const struct ps_mail *mail, void *ctx)
{
    struct receiver *receiver = ctx;
    receiver->in_order =
        receiver->in_order && mail->kind < PRODUCERS && mail->value == receiver->next[mail->kind]++;
    receiver->got++;
    if (receiver->close_on_first)
        ps_mailbox_close(receiver->mailbox);
}

static void on_drained(void *ctx)
{
    struct receiver *receiver = ctx;
    receiver->drains++;
}

static void setup(struct receiver *receiver, size_t capacity)
{
    *receiver = (struct receiver){.in_order = true};
    assert_ok(uv_loop_init(&receiver->loop));
    assert_ok(ps_mailbox_new(&receiver->loop, capacity, on_mail, on_drained, receiver,
                             &receiver->mailbox));
}

static void teardown(struct receiver *receiver)
{
    uv_run(&receiver->loop, UV_RUN_DEFAULT); /* ends when the mailbox is closed */
    assert_ok(uv_loop_close(&receiver->loop));
}

struct sender {
    struct ps_mailbox *mailbox;
    uint32_t id;
};

static void *post_many(void *arg)
{
    const struct sender *sender = arg;
    for (uint64_t i = 0; i < EACH;) {
        if (ps_mailbox_post(sender->mailbox, &(struct ps_mail){.kind = sender->id, .value = i}) ==
            0)
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void every_mail_arrives_once_and_in_order_of_its_sender(void **state)
{
    (void)state;
    struct receiver receiver;
    setup(&receiver, 64);
    pthread_t thread[PRODUCERS];
    struct sender sender[PRODUCERS];
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        sender[i] = (struct sender){receiver.mailbox, i};
        assert_ok(pthread_create(&thread[i], NULL, post_many, &sender[i]));
    }
    while (receiver.got < PRODUCERS * EACH)
        uv_run(&receiver.loop, UV_RUN_ONCE);
    for (uint32_t i = 0; i < PRODUCERS; i++)
        pthread_join(thread[i], NULL);
    ps_mailbox_close(receiver.mailbox);
    teardown(&receiver);
    assert_int_equal(receiver.got, PRODUCERS * EACH);
    assert_true(receiver.in_order);
}

static void a_full_mailbox_refuses_and_keeps_what_it_has(void **state)
{
    (void)state;
    struct receiver receiver;
    setup(&receiver, 4);
    for (uint64_t i = 0; i < 4; i++)
        assert_ok(ps_mailbox_post(receiver.mailbox, &(struct ps_mail){.value = i}));
    assert_int_equal(ps_mailbox_post(receiver.mailbox, &(struct ps_mail){.value = 4}), PS_E_FULL);
    uv_run(&receiver.loop, UV_RUN_ONCE);
    ps_mailbox_close(receiver.mailbox);
    teardown(&receiver);
    assert_int_equal(receiver.got, 4);
    assert_true(receiver.in_order);
}

static void one_wake_drains_all_and_then_tells(void **state)
{
    (void)state;
    struct receiver receiver;
    setup(&receiver, 64);
    for (uint64_t i = 0; i < 10; i++)
        assert_ok(ps_mailbox_post(receiver.mailbox, &(struct ps_mail){.value = i}));
    uv_run(&receiver.loop, UV_RUN_ONCE);
    assert_int_equal(receiver.got, 10);
    assert_int_equal(receiver.drains, 1);
    ps_mailbox_close(receiver.mailbox);
    teardown(&receiver);
}

static void a_mailbox_may_be_closed_by_its_own_mail(void **state)
{
    (void)state;
    struct receiver receiver;
    setup(&receiver, 8);
    receiver.close_on_first = true;
    for (uint64_t i = 0; i < 5; i++)
        assert_ok(ps_mailbox_post(receiver.mailbox, &(struct ps_mail){.value = i}));
    teardown(&receiver);
    assert_int_equal(receiver.got, 1);
    assert_int_equal(receiver.drains, 0);
    ps_mailbox_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mail_arrives_once_and_in_order_of_its_sender),
        cmocka_unit_test(a_full_mailbox_refuses_and_keeps_what_it_has),
        cmocka_unit_test(one_wake_drains_all_and_then_tells),
        cmocka_unit_test(a_mailbox_may_be_closed_by_its_own_mail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
