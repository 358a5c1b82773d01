/* What a server does that cannot serve all who ask in time: one request keeps its loop until the
 * test lets it go, and others come meanwhile. */
#include "check.h"
#include "http_fixture.h"

#include "common/clock.h"

#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MANY 20

/* So few that none is served as overdue, however long they waited. */
#define FEW 8

static struct http_fixture server;
static int fd[MANY];

static void start(int64_t wait_ms)
{
    server.settings.wait_ns = wait_ms * PS_NS_PER_MS;
    http_fixture_start(&server);
    for (int i = 0; i < MANY; i++)
        fd[i] = http_connect(&server);
    assert_true(http_wait(&server.connections, MANY));
}

static int set_up(void **state)
{
    (void)state;
    http_fixture_init(&server);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++)
        close(fd[i]);
    http_fixture_stop(&server);
    return 0;
}

/* When it is there: who asks next is newer. */
static void ask_nap(int of, unsigned ms)
{
    char text[64];
    int on_its_way = 0;

    (void)snprintf(text, sizeof text, "GET /nap?%u HTTP/1.1\r\nHost: a\r\n\r\n", ms);
    http_send_text(fd[of], text);
    while (ioctl(fd[of], SIOCOUTQ, &on_its_way) == 0 && on_its_way > 0)
        usleep(100);
}

static void ask_gate(int of)
{
    http_send_text(fd[of], "GET /gate HTTP/1.1\r\nHost: a\r\n\r\n");
}

/* The first connection keeps the loop until it is let go; the server has looked for the last time.
 */
static void keep_busy(void)
{
    ask_gate(0);
    assert_true(http_wait(&server.at_gate, 1));
}

/* All that was asked has waited for so long. */
static void let_go_after(int64_t ms)
{
    usleep((useconds_t)ms * 1000);
    atomic_store(&server.gate_is_open, true);
}

static void ask_some(int first, int end, unsigned ms)
{
    for (int i = first; i < end; i++)
        ask_nap(i, ms);
}

static void ask_all(int first, unsigned ms)
{
    ask_some(first, MANY, ms);
}

/* How many were handled before it. */
static int place_of(int of, bool *ret_overdue)
{
    static struct http_reply reply;

    http_read(fd[of], false, &reply);
    assert_int_equal(reply.status, 200);
    *ret_overdue = strstr(reply.body, "overdue") != NULL;
    return atoi(reply.body);
}

static void assert_newest_first(void)
{
    bool overdue;
    int first = place_of(1, &overdue), before = first;

    assert_false(overdue);
    for (int i = 2; i < FEW; i++) { /* the first event of the turn is read when it is met */
        int place = place_of(i, &overdue);
        assert_true(place < before || i == 2);
        assert_false(overdue);
        before = place;
    }
    assert_int_equal(before, first == 1 ? 2 : 1);
}

static void what_has_waited_too_long_is_served_after_what_is_newer(void **state)
{
    (void)state;

    start(20);
    keep_busy();
    ask_some(1, FEW, 0);
    let_go_after(30);
    assert_newest_first();
}

static atomic_bool stopped, goes_on;

static void on_stop(int number)
{
    const struct timespec moment = {.tv_nsec = PS_NS_PER_MS};

    (void)number;
    atomic_store(&stopped, true);
    while (!atomic_load(&goes_on))
        (void)nanosleep(&moment, NULL);
}

/* As by SIGSTOP, which ends the loop's poll. A timer is due meanwhile, so the loop does not look at
 * once when it goes on. */
static void what_comes_while_the_process_is_stopped_has_waited_since(void **state)
{
    (void)state;
    sigset_t set;

    atomic_store(&stopped, false);
    atomic_store(&goes_on, false);
    start(20);
    http_send_text(fd[0], "GET /later?30 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(http_wait(&server.in_flight, 1));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, &set, NULL), 0); /* so the loop's thread gets it */
    assert_int_equal(sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_stop}, NULL), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    while (!atomic_load(&stopped))
        usleep(1000);
    ask_some(1, FEW, 0);
    usleep(60 * 1000);
    atomic_store(&goes_on, true);
    assert_newest_first();
}

static void within_the_bound_all_are_served_in_order(void **state)
{
    (void)state;
    bool overdue;

    start(60000);
    keep_busy();
    ask_all(1, 0);
    let_go_after(30);
    for (int i = 1; i < MANY; i++)
        assert_int_equal(place_of(i, &overdue), i);
}

/* They have waited longer than the bound for what is newer, but not longer than a round may take.
 */
static void while_a_round_is_short_all_are_served_in_turn(void **state)
{
    (void)state;
    bool overdue;

    server.settings.round_ns = 60 * PS_NS_PER_S;
    start(20);
    keep_busy();
    ask_all(1, 0);
    let_go_after(30);
    for (int i = 1; i < MANY; i++)
        assert_int_equal(place_of(i, &overdue), i);
}

static void where_a_round_takes_too_long_the_newest_are_served_first(void **state)
{
    (void)state;

    server.settings.round_ns = 60 * PS_NS_PER_MS;
    start(20);
    keep_busy();
    ask_some(1, FEW, 0);
    let_go_after(80);
    assert_newest_first();
}

/* 40 ms each: all of them in less than 4/5 of half a second only when some of them have been
 * served. */
static void when_a_round_is_short_again_the_oldest_are_served_first(void **state)
{
    (void)state;
    bool overdue;
    int oldest[3];

    server.settings.round_ns = 500 * PS_NS_PER_MS;
    start(20);
    keep_busy();
    ask_all(1, 40);
    let_go_after(600);
    (void)place_of(1, &overdue);
    for (int i = 0; i < 3; i++)
        oldest[i] = place_of(2 + i, &overdue);
    assert_true(oldest[0] < oldest[1] && oldest[1] < oldest[2]);
    assert_true(place_of(MANY - 1, &overdue) < oldest[0]);
}

/* The server looks for 256 at a time. What it finds in a later look has not come since the look
 * before. */
static void who_is_found_in_a_later_look_has_waited_since_it_asked(void **state)
{
    (void)state;
    enum { CROWD = 800, LOOK = 256 };
    static int of[CROWD], place[CROWD];
    bool overdue;

    server.settings.connections_soft = server.settings.connections_hard = CROWD + MANY;
    server.settings.requests_max = CROWD + MANY;
    server.settings.round_ns = 280 * PS_NS_PER_MS;
    start(20);
    for (int i = 0; i < CROWD; i++)
        of[i] = http_connect(&server);
    assert_true(http_wait(&server.connections, CROWD + MANY));
    keep_busy();
    for (int i = 0; i < CROWD; i++)
        http_send_text(of[i], i % 6 == 0 ? "GET /nap?2 HTTP/1.1\r\nHost: a\r\n\r\n"
                                         : "GET /nap?0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let_go_after(10);
    for (int i = 0; i < CROWD; i++) {
        static struct http_reply reply;
        http_read(of[i], false, &reply);
        assert_int_equal(reply.status, 200);
        place[i] = atoi(reply.body);
        close(of[i]);
    }
    assert_true(place[CROWD - 1] < place[3 * LOOK + 1]); /* 86 ms a look */
    (void)place_of(0, &overdue);
}

static void a_server_without_a_bound_leaves_nothing_unread(void **state)
{
    (void)state;
    bool overdue;

    start(0);
    keep_busy();
    ask_all(1, 0);
    let_go_after(30);
    for (int i = 1; i < MANY; i++)
        assert_int_equal(place_of(i, &overdue), i);
}

static void
after_seven_of_the_newest_one_that_waited_for_a_second_is_told_that_it_is_overdue(void **state)
{
    (void)state;
    bool overdue[MANY];
    int place[MANY], count = 0;

    start(20);
    keep_busy();
    for (int i = 1; i < MANY; i++) {
        ask_nap(i, 2);
        usleep(12 * 1000); /* the kernel tells by ticks of up to 10 ms which is the older */
    }
    let_go_after(1100);
    for (int i = 1; i < MANY; i++) {
        place[i] = place_of(i, &overdue[i]);
        count += overdue[i];
    }
    assert_int_equal(count, (MANY - 2) / 8);
    for (int i = 2; i < MANY; i++)
        if (overdue[i]) /* of the oldest ones */
            assert_true(i <= 4 && place[i] >= 8);
}

static void a_client_that_has_left_meanwhile_is_not_served(void **state)
{
    (void)state;
    bool overdue;

    start(20);
    keep_busy();
    ask_all(1, 0);
    for (int i = 2; i < MANY; i += 2)
        shutdown(fd[i], SHUT_RDWR);
    let_go_after(1100);
    for (int i = 3; i < MANY; i += 2)
        (void)place_of(i, &overdue);
    while (atomic_load(&server.connections) > MANY / 2 + 1)
        usleep(1000);
    assert_in_range(atomic_load(&server.handled), MANY / 2, MANY / 2 + 1);
}

/* Asked while the loop is kept; the newest keeps it again, until all deadlines have passed. */
static void let_deadlines_pass(int newest)
{
    ask_gate(newest);
    let_go_after(30);
    assert_true(http_wait(&server.at_gate, 2));
    let_go_after(server.settings.head_timeout_ms + 50);
}

/* Each turn one at its deadline, and one is served that takes longer than the turn. */
static void an_unread_connection_is_closed_at_its_deadline(void **state)
{
    (void)state;
    int closed = 0;

    server.settings.head_timeout_ms = 2000;
    start(20);
    keep_busy();
    for (int i = 1; i < MANY - 1; i++)
        ask_nap(i, 2);
    let_deadlines_pass(MANY - 1);
    for (int i = 1; i < MANY; i++) {
        static struct http_reply reply;
        http_read(fd[i], false, &reply);
        closed += reply.status == 0;
    }
    assert_in_range(closed, 3, MANY - 3);
    assert_true(http_wait(&server.handled, (size_t)(MANY - closed)));
}

static void requests_in_a_row_on_an_unread_connection_are_answered_in_order(void **state)
{
    (void)state;
    static struct http_reply reply;

    start(20);
    keep_busy();
    ask_all(1, 0);
    let_go_after(30);
    http_send_text(fd[5],
                   "GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    http_read(fd[5], false, &reply); /* that of ask_all */
    http_read(fd[5], false, &reply);
    assert_non_null(strstr(reply.body, "path=/one"));
    http_read(fd[5], false, &reply);
    assert_non_null(strstr(reply.body, "path=/two"));
    ask_nap(5, 0); /* and it goes on */
    http_read(fd[5], false, &reply);
    assert_int_equal(reply.status, 200);
}

static void half_a_request_that_was_left_unread_is_completed_later(void **state)
{
    (void)state;
    static struct http_reply reply;

    start(20);
    keep_busy();
    http_send_text(fd[3], "GET /half HTTP/1.1\r\nHo");
    ask_all(4, 0);
    let_go_after(30);
    assert_true(http_wait(&server.handled, 1 + MANY - 4));
    http_send_text(fd[3], "st: a\r\n\r\n");
    http_read(fd[3], false, &reply);
    assert_non_null(strstr(reply.body, "path=/half"));
}

static void a_drain_answers_what_is_unread(void **state)
{
    (void)state;
    static struct http_reply reply;

    start(20);
    keep_busy();
    ask_all(1, 3);
    usleep(30 * 1000);
    http_fixture_drain(&server); /* it begins before an answer does */
    for (int i = 1; i < MANY; i++) {
        http_read(fd[i], false, &reply);
        assert_int_equal(reply.status, 200);
    }
    assert_string_equal(http_field(&reply, "Connection"), "close");
}

static void a_server_is_freed_with_unread_connections(void **state)
{
    (void)state;
    start(20);
    keep_busy();
    ask_all(1, 50);
    usleep(30 * 1000); /* tear_down lets it go, and ends it */
}

static void the_loop_rests_when_the_last_unread_connection_is_closed_at_its_deadline(void **state)
{
    (void)state;
    static struct http_reply reply;

    server.settings.head_timeout_ms = 2000;
    start(20);
    keep_busy();
    ask_nap(1, 0); /* is left: the last takes more than the turn */
    ask_nap(2, 0);
    let_deadlines_pass(3);
    http_read(fd[1], false, &reply);
    assert_int_equal(reply.status, 0);
    size_t before, turns = SIZE_MAX;
    for (int tries = 0; tries < 150 && turns > 20; tries++) { /* until all is closed */
        before = atomic_load(&server.turns);
        usleep(200 * 1000);
        turns = atomic_load(&server.turns) - before;
    }
    assert_in_range(turns, 0, 20);
}

static atomic_size_t looks; /* at the wall clock: one an event */

static int64_t mono_ns(void *ctx)
{
    (void)ctx;
    return ps_clock_mono_ns(&ps_clock_system);
}

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&looks, 1);
    return ps_clock_wall_ms(&ps_clock_system);
}

static void connections_that_are_overdue_when_they_come_are_left_until_they_are_read(void **state)
{
    (void)state;
    static const struct ps_clock counting = {.mono_ns = mono_ns, .wall_ms = wall_ms};
    static struct http_reply reply;
    int late[MANY];
    bool overdue;

    server.settings.clock = &counting;
    start(20);
    keep_busy();
    for (int i = 0; i < MANY; i++) {
        late[i] = http_connect(&server);
        http_send_text(late[i], "GET /nap?0 HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    ask_all(2, 3);
    ask_nap(1, 30);
    let_go_after(1100);
    (void)place_of(0, &overdue);
    atomic_store(&looks, 0);
    ask_nap(0, 3); /* newer than those that have waited to be accepted */
    for (int i = 0; i < MANY; i++) {
        http_read(late[i], false, &reply);
        assert_int_equal(reply.status, 200);
        close(late[i]);
    }
    assert_in_range(atomic_load(&looks), 0, 8 * MANY);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(what_has_waited_too_long_is_served_after_what_is_newer),
        CLAIM(what_comes_while_the_process_is_stopped_has_waited_since),
        CLAIM(within_the_bound_all_are_served_in_order),
        CLAIM(while_a_round_is_short_all_are_served_in_turn),
        CLAIM(where_a_round_takes_too_long_the_newest_are_served_first),
        CLAIM(when_a_round_is_short_again_the_oldest_are_served_first),
        CLAIM(who_is_found_in_a_later_look_has_waited_since_it_asked),
        CLAIM(a_server_without_a_bound_leaves_nothing_unread),
        CLAIM(after_seven_of_the_newest_one_that_waited_for_a_second_is_told_that_it_is_overdue),
        CLAIM(a_client_that_has_left_meanwhile_is_not_served),
        CLAIM(an_unread_connection_is_closed_at_its_deadline),
        CLAIM(requests_in_a_row_on_an_unread_connection_are_answered_in_order),
        CLAIM(half_a_request_that_was_left_unread_is_completed_later),
        CLAIM(a_drain_answers_what_is_unread),
        CLAIM(a_server_is_freed_with_unread_connections),
        CLAIM(the_loop_rests_when_the_last_unread_connection_is_closed_at_its_deadline),
        CLAIM(connections_that_are_overdue_when_they_come_are_left_until_they_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
