/* A board between threads. */
#include "check.h"
#include "common/board.h"

#include <pthread.h>

struct note {
    uint64_t first, middle[20], last;
};

static struct ps_board board;
static _Atomic int done;

static void *write_notes(void *arg)
{
    struct note note;
    (void)arg;
    for (uint64_t i = 1; i <= 200000; i++) {
        note.first = note.last = i;
        for (size_t k = 0; k < 20; k++)
            note.middle[k] = i;
        ps_board_write(&board, &note, sizeof note);
    }
    atomic_store(&done, 1);
    return NULL;
}

static void a_reader_never_sees_half_of_one_and_half_of_another(void **state)
{
    struct note note;
    uint64_t seen = 0;
    pthread_t writer;
    (void)state;
    assert_ok(pthread_create(&writer, NULL, write_notes, NULL));
    while (!atomic_load(&done)) {
        ps_board_read(&board, &note, sizeof note);
        assert_int_equal(note.first, note.last);
        for (size_t k = 0; k < 20; k++)
            assert_int_equal(note.first, note.middle[k]);
        assert_true(note.first >= seen);
        seen = note.first;
    }
    assert_ok(pthread_join(writer, NULL));
    ps_board_read(&board, &note, sizeof note);
    assert_int_equal(note.last, 200000);
}

static void a_new_board_shows_zeros_and_any_size_is_kept(void **state)
{
    struct ps_board fresh = {0};
    char text[13] = "not a word's", copy[13] = "............";
    (void)state;
    ps_board_read(&fresh, copy, sizeof copy);
    for (size_t i = 0; i < sizeof copy; i++)
        assert_int_equal(copy[i], 0);
    ps_board_write(&fresh, text, sizeof text);
    ps_board_read(&fresh, copy, sizeof copy);
    assert_string_equal(copy, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_never_sees_half_of_one_and_half_of_another),
        cmocka_unit_test(a_new_board_shows_zeros_and_any_size_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
