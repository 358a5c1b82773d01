/* Merge patches as RFC 7396 has them, and differences as RFC 6902 writes them. */
#include "tests/unit/check.h"

#include "common/text/json.h"
#include "common/text/json_patch.h"

#include <stdlib.h>

static json_t *parse(const char *text)
{
    json_t *json = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &json, NULL));
    return json;
}

static void is(json_t *json, const char *expected)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text, expected);
    free(text);
    json_decref(json);
}

static void a_merge_patch_does_what_rfc_7396_says(void **state)
{
    /* The examples of its appendix A. */
    static const char *const cases[][3] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        json_t *target = parse(cases[i][0]), *patch = parse(cases[i][1]);
        is(ps_json_merge(target, patch), cases[i][2]);
        is(target, cases[i][0]); /* which stays as it was */
        json_decref(patch);
    }
}

static void a_difference_makes_the_one_of_the_other(void **state)
{
    static const char *const cases[][3] = {
        {"{\"a\":1}", "{\"a\":1}", "[]"},
        {"{\"a\":1}", "{\"a\":2}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":2}]"},
        {"{\"a\":1}", "{\"b\":1}",
         "[{\"op\":\"remove\",\"path\":\"/a\"},{\"op\":\"add\",\"path\":\"/b\",\"value\":1}]"},
        {"{\"a~/b\":{\"c\":1}}", "{\"a~/b\":{\"c\":null}}",
         "[{\"op\":\"replace\",\"path\":\"/a~0~1b/c\",\"value\":null}]"},
        {"{\"a\":[1,2,3]}", "{\"a\":[1]}",
         "[{\"op\":\"remove\",\"path\":\"/a/2\"},{\"op\":\"remove\",\"path\":\"/a/1\"}]"},
        {"{\"a\":[{\"b\":1}]}", "{\"a\":[{\"b\":2},3]}",
         "[{\"op\":\"replace\",\"path\":\"/a/0/b\",\"value\":2},"
         "{\"op\":\"add\",\"path\":\"/a/-\",\"value\":3}]"},
        {"{\"a\":{}}", "{\"a\":[]}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":[]}]"},
    };
    (void)state;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        json_t *from = parse(cases[i][0]), *to = parse(cases[i][1]);
        is(ps_json_difference(from, to), cases[i][2]);
        json_decref(from);
        json_decref(to);
    }
}

static void what_comes_and_goes_is_the_whole(void **state)
{
    json_t *json = parse("{\"a\":1}");
    (void)state;
    is(ps_json_difference(NULL, json), "[{\"op\":\"add\",\"path\":\"\",\"value\":{\"a\":1}}]");
    is(ps_json_difference(json, NULL), "[{\"op\":\"remove\",\"path\":\"\"}]");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_merge_patch_does_what_rfc_7396_says),
        cmocka_unit_test(a_difference_makes_the_one_of_the_other),
        cmocka_unit_test(what_comes_and_goes_is_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
