/* Mail between threads and a loop. */
#include "tests/unit/check.h"

#include "common/err.h"
#include "common/program/mailbox.h"

#include <pthread.h>
#include <sched.h>

#define PRODUCERS 3
#define EACH      5000
#define ROUNDS    10000
#define STUCK_MS  30000

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

/* A centre asks two peers, each on a thread of its own; both answer at the same moment. */
struct centre {
    uv_loop_t loop, peer_loop[2];
    struct ps_mailbox *mailbox, *peer[2];
    uv_timer_t watch;
    size_t rounds, answers, watched;
    bool stuck;
};

enum { ASK, STOP };

static void on_peer_mail(const struct ps_mail *mail, void *ctx)
{
    struct centre *centre = ctx;
    if (mail->kind == ASK)
        (void)!ps_mailbox_post(centre->mailbox, mail); /* two mails at most: there is room */
    else
        ps_mailbox_close(centre->peer[mail->value]);
}

static void ask(struct centre *centre, uint32_t kind)
{
    centre->answers = 0;
    for (uint64_t i = 0; i < 2; i++)
        (void)!ps_mailbox_post(centre->peer[i], &(struct ps_mail){.kind = kind, .value = i});
}

static void end(struct centre *centre)
{
    ask(centre, STOP);
    ps_mailbox_close(centre->mailbox);
    uv_close((uv_handle_t *)&centre->watch, NULL);
}

static void on_answer(const struct ps_mail *mail, void *ctx)
{
    struct centre *centre = ctx;
    (void)mail;
    if (++centre->answers < 2)
        return;
    if (++centre->rounds < ROUNDS)
        ask(centre, ASK);
    else
        end(centre);
}

static void on_watch(uv_timer_t *timer)
{
    struct centre *centre = timer->data;
    centre->stuck = centre->rounds == centre->watched;
    centre->watched = centre->rounds;
    if (centre->stuck)
        end(centre);
}

static void *run_peer(void *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    return NULL;
}

static void two_who_post_at_the_same_moment_are_both_heard(void **state)
{
    (void)state;
    struct centre centre = {0};
    pthread_t thread[2];
    assert_ok(uv_loop_init(&centre.loop));
    assert_ok(ps_mailbox_new(&centre.loop, 8, on_answer, NULL, &centre, &centre.mailbox));
    for (size_t i = 0; i < 2; i++) {
        assert_ok(uv_loop_init(&centre.peer_loop[i]));
        assert_ok(
            ps_mailbox_new(&centre.peer_loop[i], 8, on_peer_mail, NULL, &centre, &centre.peer[i]));
        assert_int_equal(pthread_create(&thread[i], NULL, run_peer, &centre.peer_loop[i]), 0);
    }
    uv_timer_init(&centre.loop, &centre.watch);
    centre.watch.data = &centre;
    uv_timer_start(&centre.watch, on_watch, STUCK_MS, STUCK_MS);
    ask(&centre, ASK);
    uv_run(&centre.loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(thread[i], NULL);
        assert_ok(uv_loop_close(&centre.peer_loop[i]));
    }
    assert_ok(uv_loop_close(&centre.loop));
    assert_false(centre.stuck);
    assert_int_equal(centre.rounds, ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mail_arrives_once_and_in_order_of_its_sender),
        cmocka_unit_test(a_full_mailbox_refuses_and_keeps_what_it_has),
        cmocka_unit_test(one_wake_drains_all_and_then_tells),
        cmocka_unit_test(a_mailbox_may_be_closed_by_its_own_mail),
        cmocka_unit_test(two_who_post_at_the_same_moment_are_both_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
