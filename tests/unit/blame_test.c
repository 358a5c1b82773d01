/* The table of blame: what must hold of its rows, whatever else is changed in it. */
#include "tests/unit/check.h"

#include "gateway/upstream/blame.h"

#include <string.h>

static void each_row_has_its_own_name_its_words_and_both_languages(void **unused)
{
    static const char *const names[] = {
#define NAME(name) #name,
        UP_ENDS(NAME)
#undef NAME
    };

    (void)unused;
    for (size_t i = 0; i < UP_END_COUNT; i++) {
        assert_string_equal(up_blame[i].name, names[i]);
        assert_true(strlen(up_blame[i].when[0]) > 0 && strlen(up_blame[i].when[1]) > 0);
        assert_true(up_blame[i].word < UP_OUTCOME_COUNT && up_blame[i].trouble < UP_TROUBLE_COUNT);
    }
}

static bool says_nothing(const struct up_blame *row)
{
    return row->endpoint == UP_SAYS_NOTHING && row->pool == UP_SAYS_NOTHING &&
           row->row == UP_SAYS_NOTHING && row->rate == UP_SAYS_NOTHING &&
           row->split == UP_SAYS_NOTHING && !row->timed && row->place != UP_PLACE_AT_END;
}

static void
what_ends_in_the_clients_turn_or_for_want_of_ours_says_nothing_of_the_shop(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < UP_END_COUNT; i++) {
        const struct up_blame *row = &up_blame[i];
        if (row->word == UP_OUTCOME_client_gone || row->word == UP_OUTCOME_client_slow ||
            row->word == UP_OUTCOME_no_room || row->word == UP_OUTCOME_drained)
            assert_true(says_nothing(row));
    }
    assert_true(says_nothing(&up_blame[UP_END_uploads_full]));
    assert_true(says_nothing(&up_blame[UP_END_request_too_large]));
}

static void what_the_shop_did_is_held_against_it_everywhere(void **unused)
{
    (void)unused;
    for (enum up_end end = UP_END_refused; end <= UP_END_unfinished; end++) {
        const struct up_blame *row = &up_blame[end];
        if (end == UP_END_stale || end == UP_END_head_too_large)
            continue;
        assert_true(row->endpoint == UP_SAYS_BAD && row->pool == UP_SAYS_BAD &&
                    row->row == UP_SAYS_BAD && row->rate == UP_SAYS_BAD &&
                    row->split == UP_SAYS_BAD);
    }
}

static void what_a_page_can_do_by_itself_counts_by_the_sample_only(void **unused)
{
    static const enum up_end ends[] = {UP_END_error, UP_END_early_error, UP_END_head_too_large};

    (void)unused;
    for (size_t i = 0; i < PS_ARRAY_LEN(ends); i++) {
        const struct up_blame *row = &up_blame[ends[i]];
        assert_int_equal(row->endpoint, UP_SAYS_GOOD);
        assert_true(row->pool == UP_SAYS_ERROR && row->row == UP_SAYS_ERROR &&
                    row->rate == UP_SAYS_ERROR && row->split == UP_SAYS_ERROR);
    }
}

static void the_time_of_a_client_is_nobodys_latency(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < UP_END_COUNT; i++)
        if (up_blame[i].timed)
            assert_true(up_blame[i].place == UP_PLACE_AT_HEAD ||
                        up_blame[i].place == UP_PLACE_AT_END);
    assert_false(up_blame[UP_END_early].timed);
    assert_false(up_blame[UP_END_deaf].timed);
}

static void only_what_no_endpoint_has_begun_to_serve_is_sent_again(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < UP_END_COUNT; i++) {
        bool unserved = i == UP_END_refused || i == UP_END_connect_late || i == UP_END_stale;
        assert_int_equal(up_blame[i].again != UP_AGAIN_NEVER, unserved);
    }
}

static void an_answer_is_judged_by_its_status_and_by_whose_time_it_took(void **unused)
{
    (void)unused;
    assert_int_equal(up_end_of_answer(200, true), UP_END_ok);
    assert_int_equal(up_end_of_answer(399, true), UP_END_ok);
    assert_int_equal(up_end_of_answer(404, true), UP_END_refusal);
    assert_int_equal(up_end_of_answer(413, false), UP_END_early);
    assert_int_equal(up_end_of_answer(500, true), UP_END_error);
    assert_int_equal(up_end_of_answer(599, false), UP_END_early_error);
}

static void an_end_from_this_side_is_by_why_and_by_whose_turn_it_is(void **unused)
{
    static const struct {
        enum up_why why;
        enum up_turn turn;
        int status;
        enum up_end end;
    } rows[] = {
        {UP_WHY_CLIENT_GONE, UP_TURN_SENDING, 0, UP_END_gone_sending},
        {UP_WHY_CLIENT_GONE, UP_TURN_SHOP, 0, UP_END_gone_waiting},
        {UP_WHY_CLIENT_GONE, UP_TURN_READING, 500, UP_END_gone_reading},
        {UP_WHY_CLIENT_SLOW, UP_TURN_SENDING, 0, UP_END_slow_sending},
        {UP_WHY_CLIENT_SLOW, UP_TURN_READING, 200, UP_END_slow_reading},
        {UP_WHY_SENT_TOO_MUCH, UP_TURN_SENDING, 0, UP_END_sent_too_much},
        {UP_WHY_HEAD_TOO_LARGE, UP_TURN_READING, 200, UP_END_head_too_large},
        {UP_WHY_UNWANTED, UP_TURN_READING, 503, UP_END_error},
        {UP_WHY_UNWANTED, UP_TURN_READING, 304, UP_END_ok},
        {UP_WHY_STOPPED, UP_TURN_SHOP, 0, UP_END_stopped},
    };

    (void)unused;
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++)
        assert_int_equal(up_end_of_why(rows[i].why, rows[i].turn, rows[i].status), rows[i].end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_has_its_own_name_its_words_and_both_languages),
        cmocka_unit_test(
            what_ends_in_the_clients_turn_or_for_want_of_ours_says_nothing_of_the_shop),
        cmocka_unit_test(what_the_shop_did_is_held_against_it_everywhere),
        cmocka_unit_test(what_a_page_can_do_by_itself_counts_by_the_sample_only),
        cmocka_unit_test(the_time_of_a_client_is_nobodys_latency),
        cmocka_unit_test(only_what_no_endpoint_has_begun_to_serve_is_sent_again),
        cmocka_unit_test(an_answer_is_judged_by_its_status_and_by_whose_time_it_took),
        cmocka_unit_test(an_end_from_this_side_is_by_why_and_by_whose_turn_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
