/* The body of a buy request. */
#include "tests/unit/check.h"

#include "common/text/json.h"
#include "gateway/admission/order_body.h"

#include <string.h>

static struct ps_str str(const char *text)
{
    return (struct ps_str){text, strlen(text)};
}

static void the_two_members_are_read_in_every_spelling(void **state)
{
    static const struct {
        const char *text;
        const char *sku;
        int64_t quantity;
    } cases[] = {
        {"{\"sku\":\"a\"}", "a", 1},
        {"{\"sku\":\"a-1.b_2\",\"quantity\":1}", "a-1.b_2", 1},
        {" { \"sku\" : \"a\" ,\r\n\t\"quantity\" : 12 } \n", "a", 12},
        {"{\"quantity\":3,\"sku\":\"a\"}", "a", 3},
        {"{\"sku\":\"\\u0061\\u002d\",\"quantity\":2}", "a-", 2},
        {"{\"sku\":\"a\",\"quantity\":999999999}", "a", 999999999},
        {"{\"sku\":\"a\",\"quantity\":1000000000}", "a", 1000000000},
        {"{\"sku\":\"a\",\"quantity\":9007199254740991}", "a", PS_INT_MAX},
        {"{\"sku\":\"a\",\"quantity\":9007199254740992}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":0}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":-1}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":1.5}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":2.0}", "a", 2},
        {"{\"sku\":\"a\",\"quantity\":3e2}", "a", 300},
        {"{\"sku\":\"a\",\"quantity\":1e300}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":-1.0}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":\"1\"}", "a", 0},
        {"{\"sku\":\"a\",\"quantity\":null}", "a", 0},
        {"{\"sku\":\"\"}", "", 1},
        {"{\"sku\":\"a b\"}", "a b", 1},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct adm_order_body body;
        assert_null(adm_order_body_read(str(cases[i].text), &body));
        assert_string_equal(body.sku, cases[i].sku);
        assert_int_equal(body.sku_len, strlen(cases[i].sku));
        assert_int_equal(body.quantity, cases[i].quantity);
    }
}

static void what_is_no_order_is_told_apart(void **state)
{
    static const struct {
        const char *text;
        const char *wrong;
    } cases[] = {
        {"", "the body is no valid JSON"},
        {"{\"sku\":\"a\"", "the body is no valid JSON"},
        {"{\"sku\":\"a\"}x", "the body is no valid JSON"},
        {"{\"sku\":\"a\",}", "the body is no valid JSON"},
        {"{\"sku\":\"a\" \"quantity\":1}", "the body is no valid JSON"},
        {"{\"sku\":\"a\",\"quantity\":01}", "the body is no valid JSON"},
        {"{\"sku\":\"a\",\"quantity\":}", "the body is no valid JSON"},
        {"{\"sku\":\"a\",\"sku\":\"a\"}", "the body is no valid JSON"},
        {"{\"sku\":\"a\nb\"}", "the body is no valid JSON"},
        {"[]", "the body must be a JSON object"},
        {"7", "the body must be a JSON object"},
        {"{\"sku\":\"a\",\"quantity\":1,\"note\":\"\"}", "the body may hold only sku and quantity"},
        {"{\"sku\":\"a\",\"Quantity\":1}", "the body may hold only sku and quantity"},
        {"{\"quantity\":1}", "sku: a string is required"},
        {"{\"sku\":1}", "sku: a string is required"},
        {"{}", "sku: a string is required"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        struct adm_order_body body;
        assert_string_equal(adm_order_body_read(str(cases[i].text), &body), cases[i].wrong);
    }
}

static void a_name_too_long_for_a_sku_is_none(void **state)
{
    char text[PS_NAME_MAX + 32];
    struct adm_order_body body;
    (void)state;
    for (int len = PS_NAME_MAX - 1; len <= PS_NAME_MAX + 1; len++) {
        (void)snprintf(text, sizeof text, "{\"sku\":\"%0*d\"}", len, 1);
        assert_null(adm_order_body_read(str(text), &body));
        assert_int_equal(body.sku_len, len <= PS_NAME_MAX ? len : 0);
        assert_int_equal(strlen(body.sku), body.sku_len);
    }
}

/* What the JSON library says of it, read the slow way. */
static void assert_as_the_library_reads(struct ps_str text)
{
    struct adm_order_body body;
    struct ps_fault fault;
    json_t *json;
    bool well = adm_order_body_read(text, &body) == NULL;
    if (ps_json_parse(text.at, text.len, &json, &fault) < 0) {
        assert_false(well);
        return;
    }
    const json_t *sku = json_object_get(json, "sku");
    const json_t *quantity = json_object_get(json, "quantity");
    size_t members = sku != NULL ? quantity != NULL ? 2 : 1 : 0;
    assert_int_equal(well, json_is_string(sku) && json_object_size(json) == members);
    if (well) {
        assert_string_equal(body.sku, json_string_value(sku));
        json_int_t number = quantity != NULL ? json_integer_value(quantity) : 1;
        assert_int_equal(body.quantity, number > 0 && number <= PS_INT_MAX ? number : 0);
    }
    json_decref(json);
}

static void a_body_means_what_the_json_library_says(void **state)
{
    static const char usual[] = "{\"sku\":\"a-1\", \"quantity\": 12}";
    char text[sizeof usual];
    (void)state;
    for (size_t at = 0; at < sizeof usual - 1; at++) {
        memcpy(text, usual, sizeof usual);
        for (int byte = 0; byte < 256; byte++) { /* another byte */
            text[at] = (char)byte;
            assert_as_the_library_reads((struct ps_str){text, sizeof usual - 1});
        }
        memcpy(text, usual, at); /* one byte less */
        memcpy(text + at, usual + at + 1, sizeof usual - at - 1);
        assert_as_the_library_reads((struct ps_str){text, sizeof usual - 2});
        assert_as_the_library_reads((struct ps_str){usual, at}); /* cut off */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_two_members_are_read_in_every_spelling),
        cmocka_unit_test(what_is_no_order_is_told_apart),
        cmocka_unit_test(a_name_too_long_for_a_sku_is_none),
        cmocka_unit_test(a_body_means_what_the_json_library_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
