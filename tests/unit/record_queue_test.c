/* The input queue of a log: many producers, one sleeper. */
#include "tests/unit/check.h"

#include "queue/record_queue.h"
#include "tests/unit/records.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <time.h>

#define PRODUCERS 3
#define EACH      5000

static struct oq_record_queue *queue;

static int set_up(void **state)
{
    (void)state;
    return oq_record_queue_new(64, &queue);
}

static int tear_down(void **state)
{
    (void)state;
    oq_record_queue_free(queue);
    return 0;
}

static int put(uint32_t number)
{
    struct oq_event event = accepted(number, 1, "user", "", 1);
    struct oq_ticket ticket = {.handle = number};
    return oq_record_queue_put(queue, 0, &event, &ticket);
}

static void a_record_is_encoded_in_its_place_and_owns_its_strings(void **state)
{
    (void)state;
    char user[] = "user";
    struct oq_event event = accepted(1, 1, user, "key", 1);
    assert_ok(oq_record_queue_put(queue, 0, &event, &(struct oq_ticket){.handle = 9}));
    memset(user, 'x', sizeof user - 1);
    struct oq_record *record = oq_record_queue_take(queue);
    assert_non_null(record);
    assert_int_equal(record->ticket.handle, 9);
    assert_memory_equal(record->event.user.at, "user", 4);
    assert_in_range((uintptr_t)record->event.user.at, (uintptr_t)record->text,
                    (uintptr_t)record->text + sizeof record->text);
    struct oq_event read;
    void *owner;
    assert_ok(oq_event_decode(record->json.at, record->json.len, &read, &owner, NULL));
    assert_memory_equal(read.key.at, "key", 3);
    oq_event_release(owner);
}

static void the_largest_event_of_each_type_fits(void **state)
{
    (void)state;
    char name[PS_NAME_MAX + 1], user[PS_USER_MAX + 1], key[PS_KEY_MAX + 1], by[OQ_BY_MAX + 1];
    char note[OQ_NOTE_MAX + 1], adjust[OQ_ADJUST_KEY_MAX + 1];
    memset(name, 'n', sizeof name);
    memset(user, '"', sizeof user); /* two bytes in JSON */
    memset(key, '"', sizeof key);
    memset(by, '"', sizeof by);
    memset(note, '"', sizeof note);
    snprintf(adjust, sizeof adjust, "adjust:%.64s/%.64s", name, name);
    struct oq_event base = {
        .sale = {name, PS_NAME_MAX},
        .sku = {name, PS_NAME_MAX},
        .user = {user, PS_USER_MAX},
        .key = {key, PS_KEY_MAX},
        .by = {by, OQ_BY_MAX},
        .note = {note, OQ_NOTE_MAX},
        .gateway = {by, OQ_GATEWAY_MAX},
        .traceparent = PS_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .request_id = {by, OQ_REQUEST_MAX},
        .rehearsal = true,
        .epoch = PS_INT_MAX,
        .at_ms = T0,
        .quantity = PS_INT_MAX,
        .reserved_at_ms = T0,
        .pay_by_ms = T0,
        .cap = PS_INT_MAX,
        .sku_cap = PS_INT_MAX,
        .sale_version = PS_INT_MAX,
        .delta = -PS_INT_MAX,
        .partitions = OQ_PARTITION_MAX,
        .order_id = id_of(1),
        .counts = PS_STR("[]"),
        .last_hash = PS_STR(A_HASH),
        .sha256 = PS_STR(A_HASH),
        .audit_seq = PS_INT_MAX,
        .head = PS_STR(A_HASH),
    };
    static struct oq_record record;
    for (int type = OQ_ACCEPTED; type < OQ_TYPES; type++) {
        struct oq_event event = base;
        event.type = (enum oq_type)type;
        event.has_order_id = type == OQ_ACCEPTED || type == OQ_CONFIRMED;
        event.reason = type == OQ_RELEASED ? OQ_REJECTED : OQ_REASON_NONE;
        if (type == OQ_RELEASED || type == OQ_ADJUSTED)
            event.adjust_key = str(adjust);
        assert_ok(oq_record_fill(&record, &event));
        assert_in_range(record.json.len, 1, OQ_EVENT_TEXT_MAX - 1);
        oq_record_done(&record);
    }
}

static void an_invalid_record_is_passed_over_and_its_place_comes_back(void **state)
{
    (void)state;
    struct oq_event bad = accepted(1, 0, "user", "", 1);
    for (int i = 0; i < 64; i++)
        assert_int_equal(oq_record_queue_put(queue, 0, &bad, &(struct oq_ticket){0}), PS_E_INVALID);
    assert_int_equal(put(1), PS_E_FULL);
    assert_null(oq_record_queue_take(queue));
    oq_record_queue_release(queue);
    assert_int_equal(oq_record_queue_count(queue), 0);
    assert_ok(put(2));
    assert_int_equal(oq_record_queue_take(queue)->ticket.handle, 2);
}

static void places_come_back_only_by_the_release(void **state)
{
    (void)state;
    assert_int_equal(oq_record_queue_capacity(queue), 64);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 64; i++)
            assert_ok(put(i));
        assert_int_equal(put(64), PS_E_FULL);
        assert_int_equal(oq_record_queue_count(queue), 64);
        for (uint32_t i = 0; i < 64; i++)
            assert_int_equal(oq_record_queue_take(queue)->ticket.handle, i);
        assert_null(oq_record_queue_take(queue));
        assert_int_equal(put(64), PS_E_FULL);
        oq_record_queue_release(queue);
        assert_int_equal(oq_record_queue_count(queue), 0);
    }
}

static void a_closed_queue_hands_out_what_it_has_and_takes_nothing(void **state)
{
    (void)state;
    assert_ok(put(1));
    oq_record_queue_close(queue);
    assert_int_equal(put(2), PS_E_CLOSED);
    assert_int_equal(oq_record_queue_call(queue, (void (*)(void *))1, NULL), PS_E_CLOSED);
    assert_false(oq_record_queue_ended(queue));
    oq_record_queue_wait(queue, -1); /* does not sleep */
    assert_non_null(oq_record_queue_take(queue));
    oq_record_queue_release(queue);
    assert_true(oq_record_queue_ended(queue));
    oq_record_queue_wait(queue, -1);
}

static void waiting_ends_by_itself_after_its_time(void **state)
{
    (void)state;
    oq_record_queue_wait(queue, 0);
    oq_record_queue_wait(queue, 5);
    assert_null(oq_record_queue_take(queue));
    assert_ok(put(1));
    oq_record_queue_wait(queue, -1);
    assert_non_null(oq_record_queue_take(queue));
}

/* --- threads --- */

static void *produce(void *arg)
{
    uint32_t producer = *(const uint32_t *)arg;
    for (uint32_t i = 0; i < EACH;) {
        if (put(producer << 16 | i) == 0)
            i++;
        else
            sched_yield();
        if (i % 500 == 0) /* lets the consumer fall asleep now and then */
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    return NULL;
}

static void no_wake_is_lost_and_each_producers_order_is_kept(void **state)
{
    (void)state;
    pthread_t thread[PRODUCERS];
    uint32_t name[PRODUCERS];
    uint32_t next[PRODUCERS] = {0};
    bool right = true;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        name[i] = i;
        assert_ok(pthread_create(&thread[i], NULL, produce, &name[i]));
    }
    for (size_t got = 0; got < PRODUCERS * EACH;) {
        struct oq_record *record;
        while ((record = oq_record_queue_take(queue)) != NULL) {
            uint32_t producer = (uint32_t)record->ticket.handle >> 16;
            right = right && producer < PRODUCERS &&
                    (record->ticket.handle & 0xffff) == next[producer]++ && record->json.len > 100;
            got++;
        }
        oq_record_queue_release(queue);
        if (got < PRODUCERS * EACH)
            oq_record_queue_wait(queue, -1); /* a lost wake hangs here */
    }
    for (uint32_t i = 0; i < PRODUCERS; i++)
        pthread_join(thread[i], NULL);
    assert_true(right);
    assert_int_equal(oq_record_queue_count(queue), 0);
}

static void *close_later(void *arg)
{
    (void)arg;
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    oq_record_queue_close(queue);
    return NULL;
}

static void closing_wakes_the_sleeper(void **state)
{
    (void)state;
    pthread_t thread;
    assert_ok(pthread_create(&thread, NULL, close_later, NULL));
    while (!oq_record_queue_ended(queue))
        oq_record_queue_wait(queue, -1);
    pthread_join(thread, NULL);
}

#define CLAIM(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_record_is_encoded_in_its_place_and_owns_its_strings),
        CLAIM(the_largest_event_of_each_type_fits),
        CLAIM(an_invalid_record_is_passed_over_and_its_place_comes_back),
        CLAIM(places_come_back_only_by_the_release),
        CLAIM(a_closed_queue_hands_out_what_it_has_and_takes_nothing),
        CLAIM(waiting_ends_by_itself_after_its_time),
        CLAIM(no_wake_is_lost_and_each_producers_order_is_kept),
        CLAIM(closing_wakes_the_sleeper),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
