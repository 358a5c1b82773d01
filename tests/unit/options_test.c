/* Settings from a table. */
#include "tests/unit/check.h"

#include "common/program/options.h"

#include <stdlib.h>

struct settings {
    int64_t port;
    int64_t batch;
    bool open;
    int level;
    char *host;
    char *token;
    struct ps_option_list proxies;
    json_t *sales;
};

static const char *const levels[] = {"debug", "info", "warn", NULL};

/* clang-format off */
#define AT(field) offsetof(struct settings, field)
static const struct ps_option table[] = {
    {"listen.port", PS_OPT_INT, AT(port), 0, 65535, "8080", "", NULL, false, "Where to listen."},
    {"listen.host", PS_OPT_STRING, AT(host), 1, 20, "\"127.0.0.1\"", "", NULL, false, "Which address."},
    {"log.commit_batch", PS_OPT_INT, AT(batch), 1, 4096, "256", "orders", NULL, true, "Orders a commit."},
    {"admin.open", PS_OPT_BOOL, AT(open), 0, 0, "false", NULL, NULL, true, "No token needed."},
    {"admin.token", PS_OPT_STRING, AT(token), 1, 20, "null", "", NULL, false, "A token."},
    {"logging.level", PS_OPT_ENUM, AT(level), 0, 0, "\"info\"", "", levels, true, "Least level."},
    {"trusted_proxies", PS_OPT_STRINGS, AT(proxies), 1, 8, "[\"::1\"]", "", NULL, true, "Whom to believe."},
    {"sales", PS_OPT_JSON, AT(sales), 0, 0, "[]", "", NULL, true, "Sales to create."},
};
/* clang-format on */
#define ROWS PS_ARRAY_LEN(table)

static int read_text(const char *text, struct settings *settings, struct ps_fault *fault)
{
    json_t *document = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &document, NULL));
    int err = ps_options_read(table, ROWS, document, settings, fault);
    json_decref(document);
    return err;
}

static void without_a_document_all_is_default(void **state)
{
    (void)state;
    struct settings s;
    memset(&s, 0xaa, sizeof s);
    assert_ok(ps_options_read(table, ROWS, NULL, &s, NULL));
    assert_int_equal(s.port, 8080);
    assert_int_equal(s.batch, 256);
    assert_false(s.open);
    assert_int_equal(s.level, 1);
    assert_string_equal(s.host, "127.0.0.1");
    assert_null(s.token);
    assert_int_equal(s.proxies.count, 1);
    assert_string_equal(s.proxies.at[0], "::1");
    assert_int_equal(json_array_size(s.sales), 0);
    ps_options_free(table, ROWS, &s);
    assert_null(s.host);
    ps_options_free(table, ROWS, &s);
}

static void a_document_overrides_what_it_names(void **state)
{
    (void)state;
    struct settings s;
    assert_ok(read_text("{\"listen\":{\"port\":0,\"host\":\"::\"},\"admin\":{\"open\":true,"
                        "\"token\":\"t\"},\"logging\":{\"level\":\"debug\"},"
                        "\"trusted_proxies\":[\"a\",\"b\"],\"sales\":[{\"x\":1}],\"log\":{}}",
                        &s, NULL));
    assert_int_equal(s.port, 0);
    assert_int_equal(s.batch, 256);
    assert_true(s.open);
    assert_int_equal(s.level, 0);
    assert_string_equal(s.host, "::");
    assert_string_equal(s.token, "t");
    assert_int_equal(s.proxies.count, 2);
    assert_string_equal(s.proxies.at[1], "b");
    assert_int_equal(json_array_size(s.sales), 1);
    ps_options_free(table, ROWS, &s);
    assert_ok(read_text("{\"admin\":{\"token\":null},\"trusted_proxies\":[]}", &s, NULL));
    assert_null(s.token);
    assert_int_equal(s.proxies.count, 0);
    ps_options_free(table, ROWS, &s);
}

static void a_bad_document_names_the_key_and_leaves_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path, *says;
    } rows[] = {
        {"[]", "", "must be an object, not an array"},
        {"{\"listen\":{\"port\":65536}}", "listen.port", "must be between 0 and 65535, not 65536"},
        {"{\"log\":{\"commit_batch\":0}}", "log.commit_batch",
         "must be between 1 and 4096 orders, not 0"},
        {"{\"listen\":{\"port\":\"80\"}}", "listen.port", "must be a whole number, not a string"},
        {"{\"listen\":{\"port\":80.5}}", "listen.port", "must be a whole number, not a fraction"},
        {"{\"listen\":{\"port\":{}}}", "listen.port", "must be a whole number, not an object"},
        {"{\"listen\":{\"host\":null}}", "listen.host", "must be a string, not null"},
        {"{\"listen\":{\"host\":\"\"}}", "listen.host", "must be 1 to 20 bytes long, not 0"},
        {"{\"listen\":8080}", "listen", "must be an object, not a whole number"},
        {"{\"admin\":{\"open\":1}}", "admin.open", "must be true or false, not a whole number"},
        {"{\"logging\":{\"level\":\"loud\"}}", "logging.level",
         "must be one of: debug, info, warn"},
        {"{\"trusted_proxies\":\"::1\"}", "trusted_proxies",
         "must be an array of strings, not a string"},
        {"{\"trusted_proxies\":[\"a\",1]}", "trusted_proxies[1]",
         "must be a string, not a whole number"},
        {"{\"trusted_proxies\":[\"123456789\"]}", "trusted_proxies[0]",
         "must be 1 to 8 bytes long, not 9"},
        {"{\"log\":{\"comit_batch\":1}}", "log.comit_batch",
         "is unknown; did you mean \"log.commit_batch\"?"},
        {"{\"lissten\":{}}", "lissten", "is unknown; did you mean \"listen\"?"},
        {"{\"commit_batch\":1}", "commit_batch", "is unknown; did you mean \"log.commit_batch\"?"},
        {"{\"completely_else\":1}", "completely_else", "is unknown"},
        {"{\"listen.port\":1}", "listen.port",
         "is unknown; write an object \"listen\" with \"port\" in it"},
        {"{\"\":1}", "", "is unknown"},
        {"{\"listen\":{\"\":1}}", "listen.", "is unknown"},
        {"{\"trusted_proxies\":[\"ok\"],\"sales\":[1],\"zzzzzz\":1}", "zzzzzz", "is unknown"},
    };
    for (size_t i = 0; i < PS_ARRAY_LEN(rows); i++) {
        struct settings s, zero;
        struct ps_fault fault = {{0}, {0}};
        memset(&s, 0, sizeof s);
        memset(&zero, 0, sizeof zero);
        assert_int_equal(read_text(rows[i].text, &s, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, rows[i].path);
        assert_string_equal(fault.text, rows[i].says);
        assert_memory_equal(&s, &zero, sizeof s);
    }
}

static void a_very_long_key_is_unknown(void **state)
{
    (void)state;
    char text[600] = "{\"listen\":{\"";
    memset(text + strlen(text), 'k', 500);
    memcpy(text + 512, "\":1}}", 6);
    struct settings s;
    struct ps_fault fault;
    assert_int_equal(read_text(text, &s, &fault), PS_E_INVALID);
    assert_memory_equal(fault.path, "listen.kkkk", 11);
    assert_string_equal(fault.text, "is unknown");
}

static void the_printed_defaults_read_back_as_the_defaults(void **state)
{
    (void)state;
    json_t *defaults = ps_options_defaults(table, ROWS);
    assert_non_null(defaults);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(defaults, "listen"), "port")), 8080);
    struct settings a, b;
    assert_ok(ps_options_read(table, ROWS, defaults, &a, NULL));
    assert_ok(ps_options_read(table, ROWS, NULL, &b, NULL));
    for (size_t i = 0; i < ROWS; i++)
        assert_false(ps_option_differs(&table[i], &a, &b));
    ps_options_free(table, ROWS, &a);
    ps_options_free(table, ROWS, &b);
    json_decref(defaults);
}

static void a_difference_is_seen_in_every_type(void **state)
{
    (void)state;
    struct settings a, b;
    assert_ok(ps_options_read(table, ROWS, NULL, &a, NULL));
    assert_ok(
        read_text("{\"listen\":{\"port\":1,\"host\":\"x\"},\"log\":{\"commit_batch\":1},"
                  "\"admin\":{\"open\":true,\"token\":\"x\"},\"logging\":{\"level\":\"warn\"},"
                  "\"trusted_proxies\":[\"::2\"],\"sales\":[1]}",
                  &b, NULL));
    for (size_t i = 0; i < ROWS; i++)
        assert_true(ps_option_differs(&table[i], &a, &b));
    ps_options_free(table, ROWS, &a);
    ps_options_free(table, ROWS, &b);
}

static void the_help_has_a_line_for_every_row(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    ps_options_print_help(table, ROWS, out);
    assert_ok(fclose(out));
    size_t lines = 0;
    for (const char *c = text; *c != '\0'; c++)
        lines += *c == '\n';
    assert_int_equal(lines, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        assert_non_null(strstr(text, table[i].path));
        assert_non_null(strstr(text, table[i].help));
    }
    assert_non_null(strstr(text, "1 to 4096 orders"));
    assert_non_null(strstr(text, "debug, info, warn"));
    free(text);
}

static void all_faults_are_said_at_once(void **state)
{
    (void)state;
    const char *text =
        "{\"listen\":{\"port\":70000,\"hots\":\"::1\"},\"logging\":{\"level\":\"wran\"},"
        "\"admin\":true,\"log\":{\"commit_batch\":7}}";
    struct settings s;
    struct ps_faults faults = {0};
    json_t *document = NULL;
    assert_ok(ps_json_parse(text, strlen(text), &document, NULL));
    assert_int_equal(ps_options_read_all(table, ROWS, document, &s, &faults), PS_E_INVALID);
    json_decref(document);
    static const char *const expected[][2] = {
        {"listen.port", "must be between 0 and 65535, not 70000"},
        {"listen.hots", "is unknown; did you mean \"listen.host\"?"},
        {"logging.level", "must be one of: debug, info, warn; did you mean \"warn\"?"},
        {"admin", "must be an object, not a boolean"},
    };
    assert_int_equal(faults.count, PS_ARRAY_LEN(expected));
    for (size_t i = 0; i < faults.count; i++) {
        assert_string_equal(faults.at[i].path, expected[i][0]);
        assert_string_equal(faults.at[i].text, expected[i][1]);
    }
    assert_int_equal(s.port, 8080); /* what is faulty keeps its default */
    assert_int_equal(s.level, 1);
    assert_int_equal(s.batch, 7);
    ps_options_free(table, ROWS, &s);
}

static json_t *property(const json_t *schema, const char *name)
{
    return json_object_get(json_object_get(schema, "properties"), name);
}

static void the_schema_says_of_each_row_what_may_be_read(void **state)
{
    (void)state;
    static const struct {
        const char *section, *name, *schema;
    } rows[] = {
        {"listen", "port",
         "{\"type\":\"integer\",\"minimum\":0,\"maximum\":65535,\"description\":\"Where to "
         "listen.\",\"default\":8080}"},
        {"listen", "host",
         "{\"type\":\"string\",\"minLength\":1,\"maxLength\":20,\"description\":\"Which "
         "address.\",\"default\":\"127.0.0.1\"}"},
        {"log", "commit_batch",
         "{\"type\":\"integer\",\"minimum\":1,\"maximum\":4096,\"description\":\"Orders a "
         "commit.\",\"default\":256,\"x-unit\":\"orders\",\"x-live\":true}"},
        {"admin", "open",
         "{\"type\":\"boolean\",\"description\":\"No token needed.\",\"default\":false,"
         "\"x-live\":true}"},
        {"admin", "token",
         "{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":20,\"description\":\"A "
         "token.\",\"default\":null}"},
        {"logging", "level",
         "{\"type\":\"string\",\"enum\":[\"debug\",\"info\",\"warn\"],\"description\":\"Least "
         "level.\",\"default\":\"info\",\"x-live\":true}"},
        {NULL, "trusted_proxies",
         "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":8},"
         "\"description\":\"Whom to believe.\",\"default\":[\"::1\"],\"x-live\":true}"},
        {NULL, "sales",
         "{\"type\":\"array\",\"description\":\"Sales to create.\",\"default\":[],"
         "\"x-live\":true}"},
    };
    assert_int_equal(PS_ARRAY_LEN(rows), ROWS);
    json_t *schema = ps_options_schema(table, ROWS, "Settings of a test");
    assert_non_null(schema);
    assert_string_equal(json_string_value(json_object_get(schema, "title")), "Settings of a test");
    assert_string_equal(json_string_value(json_object_get(schema, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    for (size_t i = 0; i < ROWS; i++) {
        json_t *section = rows[i].section != NULL ? property(schema, rows[i].section) : schema;
        assert_true(json_is_false(json_object_get(section, "additionalProperties")));
        json_t *expected = json_loads(rows[i].schema, 0, NULL);
        assert_true(json_equal(property(section, rows[i].name), expected));
        json_decref(expected);
    }
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_document_all_is_default),
        cmocka_unit_test(the_schema_says_of_each_row_what_may_be_read),
        cmocka_unit_test(a_document_overrides_what_it_names),
        cmocka_unit_test(a_bad_document_names_the_key_and_leaves_nothing),
        cmocka_unit_test(a_very_long_key_is_unknown),
        cmocka_unit_test(the_printed_defaults_read_back_as_the_defaults),
        cmocka_unit_test(a_difference_is_seen_in_every_type),
        cmocka_unit_test(the_help_has_a_line_for_every_row),
        cmocka_unit_test(all_faults_are_said_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
