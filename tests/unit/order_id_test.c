/* Ids of orders: they tell their sale, and are as unique as any. */
#include "check.h"
#include "gateway/orders/order_id.h"

#include <stdio.h>
#include <string.h>

#define ORDERS 10000
#define SALES  256

static void an_id_fits_its_own_sale(void **state)
{
    struct ps_uuid_source ids;
    struct ps_uuid id;

    (void)state;
    ps_uuid_source_init(&ids);
    for (int i = 0; i < SALES; i++) {
        char sale[PS_NAME_MAX + 1];
        (void)snprintf(sale, sizeof sale, "sale-%d", i);
        ord_order_id_next(&ids, 1000, sale, &id);
        assert_true(ord_order_id_fits(&id, sale));
    }
}

static void an_id_fits_few_other_sales(void **state)
{
    struct ps_uuid_source ids;
    struct ps_uuid id;
    int fits = 0;

    (void)state;
    ps_uuid_source_init(&ids);
    ord_order_id_next(&ids, 1000, "spring", &id);
    for (int i = 0; i < SALES; i++) {
        char sale[PS_NAME_MAX + 1];
        (void)snprintf(sale, sizeof sale, "sale-%d", i);
        fits += ord_order_id_fits(&id, sale);
    }
    assert_in_range(fits, 0, 4); /* one is to be expected */
}

/* Gateways of two versions, and one that has started again, must agree. */
static void the_mark_of_a_name_never_changes(void **state)
{
    (void)state;
    for (unsigned mark = 0; mark < 256; mark++) {
        struct ps_uuid id = {.byte = {[15] = (uint8_t)mark}};
        assert_int_equal(ord_order_id_fits(&id, "spring"), mark == 0x49);
    }
}

static void ids_of_one_sale_rise_and_none_comes_twice(void **state)
{
    struct ps_uuid_source ids;
    struct ps_uuid last = {{0}}, next;

    (void)state;
    ps_uuid_source_init(&ids);
    for (int i = 0; i < ORDERS; i++) {
        ord_order_id_next(&ids, 1700000000000 + i / 1000, "spring", &next);
        assert_true(memcmp(&last, &next, sizeof next) < 0);
        last = next;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_fits_its_own_sale),
        cmocka_unit_test(an_id_fits_few_other_sales),
        cmocka_unit_test(the_mark_of_a_name_never_changes),
        cmocka_unit_test(ids_of_one_sale_rise_and_none_comes_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
