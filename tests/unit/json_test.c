/* Strict documents and the reader of objects. */
#include "tests/unit/check.h"

#include "common/text/json.h"
#include "tests/unit/temp_dir.h"

static int parse(const char *text, struct ps_fault *fault)
{
    json_t *json = NULL;
    int err = ps_json_parse(text, strlen(text), &json, fault);
    json_decref(json);
    return err;
}

static json_t *parsed(const char *text)
{
    json_t *json = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    return json;
}

static void any_json_value_is_a_document(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}", "[]", "1", "\"a\"", "null", " true ", "[1,2.5e3,-0]", "{\"a\":{\"a\":1},\"b\":1}"};
    for (size_t i = 0; i < PS_ARRAY_LEN(good); i++)
        assert_ok(parse(good[i], NULL));
}

static void what_is_not_strict_json_is_a_fault_with_its_place(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "{}x",
        "{} {}",
        "{\"a\":1,}",
        "[1,]",
        "{\"a\":1,\"a\":2}",
        "{\"x\":{\"a\":1,\"b\":2,\"a\":1}}",
        "'a'",
        "{a:1}",
        "NaN",
        "Infinity",
        "01",
        "+1",
        ".5",
        "1.",
        "0x10",
        "9223372036854775808",
        "1e999",
        "\"\\u0000\"",
        "{\"a\\u0000b\":1}",
        "\"a\nb\"",
        "\"\\ud800\"",
        "\"\xff\"",
        "\"\xc0\x80\"",
        "\"\xed\xa0\x80\"",
        "\xef\xbb\xbf{}",
        "// x\n1",
        "truex",
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(bad); i++) {
        struct ps_fault fault = {.path = "x"};
        if (parse(bad[i], &fault) != PS_E_INVALID)
            fail_msg("%s", bad[i]);
        assert_string_equal(fault.path, "");
        assert_non_null(strstr(fault.text, "line"));
    }
    json_t *json = NULL;
    assert_int_equal(ps_json_parse("1\0", 2, &json, NULL), PS_E_INVALID);
    assert_int_equal(ps_json_parse("\"a\0b\"", 5, &json, NULL), PS_E_INVALID);
    assert_null(json);
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    static char text[100000];
    memset(text, '[', sizeof text);
    json_t *json = NULL;
    assert_int_equal(ps_json_parse(text, sizeof text, &json, NULL), PS_E_INVALID);
}

static void a_reader_takes_what_is_there_and_leaves_the_rest(void **state)
{
    (void)state;
    static const char *const words[] = {"off", "shadow", "enforce", NULL};
    json_t *json =
        parsed("{\"rate\":5,\"live\":true,\"sku\":\"s-1\",\"mode\":\"shadow\",\"raw\":[1],"
               "\"at\":\"1970-01-01T01:00:00+01:00\"}");
    struct ps_fault fault;
    struct ps_json_reader reader;
    int64_t rate = -1, burst = 77, at = -1;
    bool live = false;
    int mode = -1;
    struct ps_str sku = {0};
    ps_json_reader_init(&reader, json, "", &fault);
    ps_json_require(&reader, (const char *const[]){"rate", "sku", NULL});
    ps_json_int(&reader, "rate", 1, 10, &rate);
    ps_json_int(&reader, "burst", 1, 10, &burst);
    ps_json_bool(&reader, "live", &live);
    ps_json_string(&reader, "sku", PS_NAME_MAX, &sku);
    ps_json_enum(&reader, "mode", words, &mode);
    ps_json_time(&reader, "at", &at);
    assert_int_equal(json_array_size(ps_json_value(&reader, "raw")), 1);
    assert_null(ps_json_value(&reader, "nothing"));
    assert_true(ps_json_has(&reader, "rate"));
    assert_false(ps_json_has(&reader, "burst"));
    assert_ok(ps_json_done(&reader));
    assert_int_equal(rate, 5);
    assert_int_equal(burst, 77);
    assert_true(live);
    assert_int_equal(sku.len, 3);
    assert_memory_equal(sku.at, "s-1", 3);
    assert_int_equal(mode, 1);
    assert_int_equal(at, 0);
    json_decref(json);
}

static void a_whole_number_may_be_written_with_a_point_or_an_exponent(void **state)
{
    json_t *json = parsed("[5.0, -5e0, 9007199254740991.0, 5.5, 9007199254740994.0, \"5\"]");
    const int64_t whole[] = {5, -5, PS_INT_MAX};
    int64_t number;
    (void)state;
    for (size_t i = 0; i < json_array_size(json); i++) {
        bool is_whole = ps_json_whole(json_array_get(json, i), &number);
        assert_int_equal(is_whole, i < PS_ARRAY_LEN(whole));
        if (is_whole)
            assert_int_equal(number, whole[i]);
    }
    json_decref(json);
}

/* Reads the one member "m" of `text` in every typed way that `kind` names; the fault. */
static struct ps_fault fault_of(const char *text, char kind)
{
    static const char *const words[] = {"a", "b", NULL};
    json_t *json = parsed(text);
    struct ps_fault fault = {.text = "none"};
    struct ps_json_reader reader;
    int64_t number = 42;
    bool flag = true;
    int word = 42;
    struct ps_str string = {0};
    ps_json_reader_init(&reader, json, "/skus/0", &fault);
    switch (kind) {
    case 'i':
        ps_json_int(&reader, "m", 1, PS_INT_MAX, &number);
        break;
    case 'b':
        ps_json_bool(&reader, "m", &flag);
        break;
    case 's':
        ps_json_string(&reader, "m", 3, &string);
        break;
    case 't':
        ps_json_time(&reader, "m", &number);
        break;
    case 'e':
        ps_json_enum(&reader, "m", words, &word);
        break;
    default:
        ps_json_require(&reader, (const char *const[]){"m", NULL});
    }
    assert_int_equal(ps_json_done(&reader), PS_E_INVALID);
    assert_int_equal(number, 42);
    assert_int_equal(word, 42);
    assert_true(flag);
    assert_null(string.at);
    json_decref(json);
    return fault;
}

static void a_wrong_member_is_a_fault_that_names_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        char kind;
        const char *path, *says;
    } rows[] = {
        {"{\"m\":\"1\"}", 'i', "/skus/0/m", "must be a whole number"},
        {"{\"m\":1.5}", 'i', "/skus/0/m", "must be a whole number"},
        {"{\"m\":1e300}", 'i', "/skus/0/m", "must be a whole number"},
        {"{\"m\":null}", 'i', "/skus/0/m", "must be a whole number"},
        {"{\"m\":0}", 'i', "/skus/0/m", "must be between 1 and 9007199254740991"},
        {"{\"m\":9007199254740992}", 'i', "/skus/0/m", "must be between 1 and 9007199254740991"},
        {"{\"m\":1}", 'b', "/skus/0/m", "must be true or false"},
        {"{\"m\":1}", 's', "/skus/0/m", "must be a string"},
        {"{\"m\":\"abcd\"}", 's', "/skus/0/m", "must be at most 3 bytes long"},
        {"{\"m\":\"2030-11-11T10:00:00\"}", 't', "/skus/0/m",
         "must be a time with its offset, such as \"2030-11-11T10:00:00Z\""},
        {"{\"m\":5}", 't', "/skus/0/m",
         "must be a time with its offset, such as \"2030-11-11T10:00:00Z\""},
        {"{\"m\":\"c\"}", 'e', "/skus/0/m", "must be one of: a, b"},
        {"{\"m\":1}", 'e', "/skus/0/m", "must be one of: a, b"},
        {"{}", 'r', "/skus/0/m", "is missing"},
        {"{\"n\":1}", 'i', "/skus/0/n", "is unknown"},
        {"{\"a/b~c\":1}", 'i', "/skus/0/a~1b~0c", "is unknown"},
        {"[]", 'i', "/skus/0", "must be an object"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct ps_fault fault = fault_of(rows[i].text, rows[i].kind);
        assert_string_equal(fault.path, rows[i].path);
        assert_string_equal(fault.text, rows[i].says);
    }
}

static void an_unknown_member_names_the_nearest_known_one(void **state)
{
    (void)state;
    json_t *json = parsed("{\"per_user_cap\":1,\"quantty\":2}");
    struct ps_fault fault;
    struct ps_json_reader reader;
    int64_t number = 0;
    ps_json_reader_init(&reader, json, "", &fault);
    ps_json_int(&reader, "per_user_cap", 0, 9, &number);
    ps_json_int(&reader, "quantity", 0, 9, &number);
    assert_int_equal(ps_json_done(&reader), PS_E_INVALID);
    assert_string_equal(fault.path, "/quantty");
    assert_string_equal(fault.text, "is unknown; did you mean \"quantity\"?");
    json_decref(json);
}

static void the_first_fault_sticks(void **state)
{
    (void)state;
    json_t *json = parsed("{\"a\":0,\"b\":0}");
    struct ps_fault fault;
    struct ps_json_reader reader;
    int64_t number = 0;
    ps_json_reader_init(&reader, json, "", &fault);
    ps_json_fault(&reader, "a", "clashes with %s", "b");
    ps_json_int(&reader, "b", 1, 9, &number);
    ps_json_fault(&reader, "", "something else");
    assert_false(ps_json_has(&reader, "b"));
    assert_int_equal(ps_json_done(&reader), PS_E_INVALID);
    assert_string_equal(fault.path, "/a");
    assert_string_equal(fault.text, "clashes with b");
    json_decref(json);
}

static void very_long_members_do_no_harm(void **state)
{
    (void)state;
    char text[2100];
    memset(text, '/', sizeof text);
    memcpy(text, "{\"", 2);
    memcpy(text + 2050, "\":1}", 5);
    json_t *json = parsed(text);
    struct ps_fault fault;
    struct ps_json_reader reader;
    ps_json_reader_init(&reader, json, "", &fault);
    assert_int_equal(ps_json_done(&reader), PS_E_INVALID);
    assert_memory_equal(fault.path, "/~1~1~1", 7);
    assert_string_equal(fault.text, "is unknown");
    json_decref(json);
}

static void the_nearest_word_is_near(void **state)
{
    (void)state;
    static const char *const words[] = {"rate", "burst", "period_s", "max_wait_ms", NULL};
    assert_string_equal(ps_nearest_word("rte", words), "rate");
    assert_string_equal(ps_nearest_word("Burst", words), "burst");
    assert_string_equal(ps_nearest_word("period", words), "period_s");
    assert_string_equal(ps_nearest_word("max_wiat_ms", words), "max_wait_ms");
    assert_null(ps_nearest_word("xyz", words));
    const char *const caps[] = {"per_user_cap", "period_s", NULL};
    assert_string_equal(ps_nearest_word("per_user_limit", caps), "per_user_cap");
    assert_null(ps_nearest_word("permanently", caps));
    assert_null(ps_nearest_word("", words));
    assert_null(ps_nearest_word("a", words));
}

static void a_file_is_read_if_it_is_not_too_long(void **state)
{
    (void)state;
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "a.json");
    json_t *json = NULL;
    struct ps_fault fault;
    write_file(path, "[1,2]");
    assert_ok(ps_json_load(path, 5, &json, &fault));
    assert_int_equal(json_array_size(json), 2);
    json_decref(json);
    assert_int_equal(ps_json_load(path, 4, &json, &fault), PS_E_INVALID);
    assert_string_equal(fault.text, "is larger than 4 bytes");
    write_file(path, "[1,");
    assert_int_equal(ps_json_load(path, 5, &json, &fault), PS_E_INVALID);
    assert_int_equal(ps_json_load("/nonexistent/a.json", 5, &json, &fault), PS_E_IO);
    assert_string_equal(fault.text, "cannot be opened: No such file or directory");
    temp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_json_value_is_a_document),
        cmocka_unit_test(a_whole_number_may_be_written_with_a_point_or_an_exponent),
        cmocka_unit_test(what_is_not_strict_json_is_a_fault_with_its_place),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(a_reader_takes_what_is_there_and_leaves_the_rest),
        cmocka_unit_test(a_wrong_member_is_a_fault_that_names_it),
        cmocka_unit_test(an_unknown_member_names_the_nearest_known_one),
        cmocka_unit_test(the_first_fault_sticks),
        cmocka_unit_test(very_long_members_do_no_harm),
        cmocka_unit_test(the_nearest_word_is_near),
        cmocka_unit_test(a_file_is_read_if_it_is_not_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
