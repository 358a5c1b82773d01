/* The places for uploads: how many, and whose. */
#include "tests/unit/check.h"

#include "gateway/upstream/uploads.h"

#include <stdio.h>

static struct ps_address address(const char *text)
{
    struct ps_address parsed;

    assert_int_equal(ps_address_parse(text, strlen(text), false, &parsed), 0);
    return parsed;
}

static bool begin(struct up_uploads *uploads, struct up_upload *upload, const char *client)
{
    const struct ps_address from = address(client);

    *upload = (struct up_upload){0};
    return up_uploads_begin(uploads, upload, &from, 256, 0.25);
}

static void there_is_a_share_of_the_places_and_an_eighth_of_it_for_a_client(void **state)
{
    static const struct {
        uint32_t places;
        double share;
        size_t most, of_client;
    } cases[] = {{256, 0.25, 64, 8}, {8192, 1, 8192, 1024}, {8, 0.25, 2, 1},
                 {8, 0.1, 1, 1},     {256, 0, 0, 0},        {36, 0.25, 9, 2}};

    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        size_t of_client = 99;
        assert_int_equal(up_uploads_most(cases[i].places, cases[i].share, &of_client),
                         cases[i].most);
        assert_int_equal(of_client, cases[i].of_client);
    }
}

static void a_client_has_its_part_and_gets_a_place_back_when_one_ends(void **state)
{
    struct up_uploads uploads = {0};
    struct up_upload mine[9];

    (void)state;
    for (size_t i = 0; i < 8; i++)
        assert_true(begin(&uploads, &mine[i], "192.0.2.1"));
    assert_false(begin(&uploads, &mine[8], "192.0.2.1"));
    assert_int_equal(uploads.count, 8);
    assert_int_equal(uploads.refused, 1);
    up_uploads_end(&uploads, &mine[8]); /* it never began */
    assert_int_equal(uploads.count, 8);
    up_uploads_end(&uploads, &mine[3]);
    up_uploads_end(&uploads, &mine[3]);
    assert_int_equal(uploads.count, 7);
    assert_true(begin(&uploads, &mine[8], "192.0.2.1"));
}

static void a_64_of_ipv6_is_one_client(void **state)
{
    struct up_uploads uploads = {0};
    struct up_upload mine[9], other;
    char client[64];

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        (void)snprintf(client, sizeof client, "2001:db8:0:1::%zx", i + 1);
        assert_true(begin(&uploads, &mine[i], client));
    }
    assert_false(begin(&uploads, &mine[8], "2001:db8:0:1:ffff::1"));
    assert_true(begin(&uploads, &other, "2001:db8:0:2::1"));
}

static void all_clients_together_have_no_more_than_there_are(void **state)
{
    struct up_uploads uploads = {0};
    struct up_upload all[65];
    char client[64];

    (void)state;
    for (size_t i = 0; i < 65; i++) {
        (void)snprintf(client, sizeof client, "192.0.2.%zu", i);
        assert_int_equal(begin(&uploads, &all[i], client), i < 64);
    }
    for (size_t i = 0; i < 65; i++)
        up_uploads_end(&uploads, &all[i]);
    assert_int_equal(uploads.count, 0);
    assert_true(LIST_EMPTY(&uploads.all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_is_a_share_of_the_places_and_an_eighth_of_it_for_a_client),
        cmocka_unit_test(a_client_has_its_part_and_gets_a_place_back_when_one_ends),
        cmocka_unit_test(a_64_of_ipv6_is_one_client),
        cmocka_unit_test(all_clients_together_have_no_more_than_there_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
