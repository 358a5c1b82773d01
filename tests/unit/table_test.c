/* Objects by table: reading, faults, printing, comparison and the schema of each type of member. */
#include "tests/unit/check.h"

#include "common/table/table.h"

#include <stdlib.h>

enum { RED, GREEN };
static const char *const colours[] = {"red", "green", NULL};
static const char *const days[] = {"mon", "tue", "wed", NULL};
enum { BY_FILE, BY_NAME };
enum { ROUND, SQUARE };
static const char *const shapes[] = {"round", "square", NULL};

struct wheel {
    char name[PS_NAME_MAX + 1];
    int64_t spokes;
};
struct pair {
    char *name, *value;
};
struct thing {
    bool on;
    int64_t big;
    uint16_t small;
    int32_t cold;
    double ratio;
    uint32_t share;
    int64_t until_ms;
    char name[PS_NAME_MAX + 1];
    char *note;
    int colour;
    unsigned days;
    struct {
        int64_t ms;
        char *path;
    } health;
    size_t wheel_count;
    struct wheel *wheels;
    size_t status_count;
    int *status;
    struct ps_strings hosts;
    size_t pair_count;
    struct pair *pairs;
    json_t *extra;
    int64_t deep;
    int even;
    struct {
        unsigned by;
        char *from;
        int64_t port;
    } source;
    struct {
        unsigned shape;
        int64_t radius, side;
    } body;
};

static bool read_even(struct ps_table_at *at, const char *place, const json_t *value, void *object)
{
    (void)at;
    (void)place;
    ((struct thing *)object)->even = (int)json_integer_value(value);
    return json_is_integer(value) && json_integer_value(value) % 2 == 0;
}

static json_t *print_even(const void *object)
{
    return json_integer(((const struct thing *)object)->even);
}

static const struct ps_own even = {.rule = {"an even number", "偶数"},
                                   .schema = "{\"type\":\"integer\",\"multipleOf\":2}",
                                   .read = read_even,
                                   .print = print_even};

static void check_wheel(struct ps_table_at *at, void *object)
{
    const struct wheel *wheel = object;

    if (wheel->spokes == 13)
        ps_table_fault(at, "spokes", "must not be 13");
}

/* clang-format off */
static const struct ps_member health_rows[] = {
    {"ms", PS_M_INT, PS_AT(struct thing, health.ms), .min = 1, .max = 1000, .fallback = "500", .unit = {"ms"}},
    {"path", PS_M_STRING, PS_AT(struct thing, health.path), .min = 1, .max = 100, .fallback = "\"/\""},
};
static const struct ps_table health = {.title = "health", .members = health_rows, .count = 2, .size = sizeof(struct thing)};

static const struct ps_member wheel_rows[] = {
    {"name", PS_M_CHARS, PS_AT(struct wheel, name), .flags = PS_M_REQUIRED, .format = &ps_format_name, .example = "\"front\""},
    {"spokes", PS_M_INT, PS_AT(struct wheel, spokes), .min = 0, .max = 100, .fallback = "32"},
    {"held", PS_M_INT, .flags = PS_M_LIVE},
};
static const struct ps_table wheel = {.title = "wheel", .members = wheel_rows, .count = 3, .size = sizeof(struct wheel), .check = check_wheel};
static const struct ps_member wheel_item = {"", PS_M_OBJECT, .size = sizeof(struct wheel), .table = &wheel};
static const struct ps_member status_item = {"", PS_M_INT, .size = sizeof(int), .min = 200, .max = 599};

static bool is_host(const char *text, size_t len)
{
    return len > 0 && strchr(text, ':') == NULL;
}
static const struct ps_format host = {.rule = {"a host", "主机名"}, .is_ok = is_host};
static const struct ps_member host_item = {"", PS_M_STRING, .size = sizeof(char *), .format = &host, .example = "\"a.b\""};

static const struct ps_member pair_rows[] = {
    {"name", PS_M_STRING, PS_AT(struct pair, name), .min = 1, .max = 8},
    {"value", PS_M_STRING, PS_AT(struct pair, value), .min = 0, .max = 8},
};
static const struct ps_table pair = {.title = "pair", .members = pair_rows, .count = 2, .size = sizeof(struct pair)};
static const struct ps_member pair_item = {"", PS_M_OBJECT, .size = sizeof(struct pair), .table = &pair};

static const struct ps_member source_rows[] = {
    {"file", PS_M_STRING, PS_AT(struct thing, source.from), .flags = PS_M_CHOICE, .min = 1, .max = 9, .when = 1 << BY_FILE},
    {"dns", PS_M_STRING, PS_AT(struct thing, source.from), .flags = PS_M_CHOICE, .min = 1, .max = 9, .when = 1 << BY_NAME},
    {"port", PS_M_INT, PS_AT(struct thing, source.port), .flags = PS_M_REQUIRED, .min = 1, .max = 65535, .when = 1 << BY_NAME},
};
static const struct ps_table source = {.title = "source", .members = source_rows, .count = 3, .size = sizeof(struct thing), .has_tag = true, .tag_at = offsetof(struct thing, source.by)};

static const struct ps_member body_rows[] = {
    {"shape", PS_M_ENUM, PS_AT(struct thing, body.shape), .flags = PS_M_REQUIRED, .words = shapes},
    {"radius", PS_M_INT, PS_AT(struct thing, body.radius), .flags = PS_M_REQUIRED, .min = 1, .max = 9, .when = 1 << ROUND},
    {"side", PS_M_INT, PS_AT(struct thing, body.side), .min = 1, .max = 9, .fallback = "3", .when = 1 << SQUARE},
};
static const struct ps_table body = {.title = "body", .members = body_rows, .count = 3, .size = sizeof(struct thing), .has_tag = true, .tag_at = offsetof(struct thing, body.shape)};

#define AT(field)         PS_AT(struct thing, field)
#define AT_STRINGS(field) PS_AT_STRINGS(struct thing, field)
static const struct ps_member rows[] = {
    {"on", PS_M_BOOL, AT(on), .fallback = "true"},
    {"big", PS_M_INT, AT(big), .min = -5, .max = 5000000000.0, .fallback = "7", .unit = {"orders", "个订单"}, .text = {"How many", "数量"}},
    {"small", PS_M_INT, AT(small), .max = 65535, .fallback = "1"},
    {"cold", PS_M_INT, AT(cold), .min = -40, .max = 40, .fallback = "-3"},
    {"ratio", PS_M_NUMBER, AT(ratio), .max = 1, .fallback = "0.5"},
    {"share", PS_M_SHARE, AT(share), .fallback = "0.25"},
    {"until", PS_M_TIME, AT(until_ms), .flags = PS_M_NULLABLE},
    {"name", PS_M_CHARS, AT(name), .flags = PS_M_NULLABLE, .format = &ps_format_name},
    {"note", PS_M_STRING, AT(note), .flags = PS_M_NULLABLE | PS_M_OMIT, .max = 5, .format = &ps_format_text},
    {"colour", PS_M_ENUM, AT(colour), .words = colours, .fallback = "\"green\""},
    {"days", PS_M_SET, AT(days), .words = days, .fallback = "[\"mon\"]"},
    {"health", PS_M_OBJECT, .flags = PS_M_NULLABLE, .size = sizeof(struct thing), .table = &health},
    {"wheels", PS_M_LIST, AT(wheels), .count_at = offsetof(struct thing, wheel_count), .max = 3, .item = &wheel_item, .fallback = "[]"},
    {"status", PS_M_LIST, AT(status), .count_at = offsetof(struct thing, status_count), .min = 1, .max = 2, .item = &status_item, .fallback = "[200]"},
    {"hosts", PS_M_LIST, AT_STRINGS(hosts), .item = &host_item, .fallback = "[\"x\"]", .flags = PS_M_RELOADS},
    {"pairs", PS_M_MAP, AT(pairs), .count_at = offsetof(struct thing, pair_count), .max = 2, .item = &pair_item, .fallback = "{}"},
    {"extra", PS_M_FREE, AT(extra), .max = 40, .fallback = "{}"},
    {"outer.inner.deep", PS_M_INT, AT(deep), .max = 9, .fallback = "4"},
    {"outer.even", PS_M_OWN, .own = &even, .fallback = "2"},
    {"outer.seen", PS_M_INT, .flags = PS_M_MEASURED},
    {"source", PS_M_OBJECT, .flags = PS_M_NULLABLE, .size = sizeof(struct thing), .table = &source},
    {"body", PS_M_OBJECT, .flags = PS_M_NULLABLE, .size = sizeof(struct thing), .table = &body},
};
/* clang-format on */
static const char *const dropped[] = {"weight", "sun", NULL};
static const struct ps_table table = {.title = "thing",
                                      .members = rows,
                                      .count = PS_ARRAY_LEN(rows),
                                      .size = sizeof(struct thing),
                                      .dropped = dropped};

#define DEFAULTS                                                                                   \
    "{\"on\":true,\"big\":7,\"small\":1,\"cold\":-3,\"ratio\":0.5,\"share\":0.25,\"until\":null,"  \
    "\"name\":null,\"colour\":\"green\",\"days\":[\"mon\"],\"health\":null,\"wheels\":[],"         \
    "\"status\":[200],\"hosts\":[\"x\"],\"pairs\":{},\"extra\":{},"                                \
    "\"outer\":{\"inner\":{\"deep\":4},\"even\":2},\"source\":null,\"body\":null}"
#define FULL                                                                                        \
    "{\"on\":false,\"big\":-5,\"small\":65535,\"cold\":-40,\"ratio\":0.1,\"share\":0.999,"          \
    "\"until\":\"2030-11-11T10:00:00.000Z\",\"name\":\"x\",\"note\":\"优惠\",\"colour\":\"red\"," \
    "\"days\":[\"mon\",\"wed\"],\"health\":{\"ms\":1,\"path\":\"/h\"},"                             \
    "\"wheels\":[{\"name\":\"a\",\"spokes\":0},{\"name\":\"b\",\"spokes\":32}],"                    \
    "\"status\":[204,599],\"hosts\":[],\"pairs\":{\"k\":\"v\",\"b\":\"\"},\"extra\":{\"b\":1,"      \
    "\"a\":[9.9]},"                                                                                 \
    "\"outer\":{\"inner\":{\"deep\":9},\"even\":-4},"                                               \
    "\"source\":{\"dns\":\"shop\",\"port\":80},\"body\":{\"shape\":\"square\",\"side\":3}}"

static int read_from(const char *text, struct ps_table_source from, struct thing *ret,
                     struct ps_faults *faults)
{
    struct ps_fault fault;
    json_t *json;

    from.pointer = "";
    *ret = (struct thing){0};
    *faults = (struct ps_faults){0};
    assert_ok(ps_json_parse(text, strlen(text), &json, &fault));
    from.json = json;
    int err = ps_table_read(&table, &from, ret, faults);
    json_decref(json);
    return err;
}

static int read_thing(const char *text, enum ps_path_style style, struct thing *ret,
                      struct ps_faults *faults)
{
    return read_from(text, (struct ps_table_source){.style = style}, ret, faults);
}

static void assert_prints(const struct thing *thing, const char *text)
{
    json_t *json = ps_table_print(&table, thing);
    char *printed = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));

    assert_string_equal(printed, text);
    free(printed);
    json_decref(json);
}

static void what_is_left_out_has_its_default(void **unused)
{
    (void)unused;
    struct ps_faults faults;
    struct thing thing;
    json_t *defaults = ps_table_defaults(&table);
    char *text = json_dumps(defaults, JSON_COMPACT);

    assert_ok(read_thing("{}", PS_PATH_POINTER, &thing, &faults));
    assert_int_equal(thing.until_ms, INT64_MAX);
    assert_prints(&thing, DEFAULTS);
    assert_string_equal(text, DEFAULTS);
    ps_table_free(&table, &thing);
    free(text);
    json_decref(defaults);
}

static void without_json_there_are_the_defaults(void **unused)
{
    (void)unused;
    const struct ps_table_source nothing = {.pointer = ""};
    struct ps_faults faults = {0};
    struct thing thing = {0};

    assert_ok(ps_table_read(&table, &nothing, &thing, &faults));
    assert_prints(&thing, DEFAULTS);
    ps_table_free(&table, &thing);
}

/* A key with a dot in it is no path, and what stands in the wrong object is named by its right one.
 */
static void a_misspelt_or_misplaced_member_names_the_right_one(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *path, *says;
    } cases[] = {
        {"{\"outr\":{}}", "outr", "is unknown; did you mean \"outer\"?"},
        {"{\"outer\":{\"iner\":{}}}", "outer.iner", "is unknown; did you mean \"outer.inner\"?"},
        {"{\"outer\":{\"deep\":1}}", "outer.deep",
         "is unknown; did you mean \"outer.inner.deep\"?"},
        {"{\"even\":2}", "even", "is unknown; did you mean \"outer.even\"?"},
        {"{\"outer\":{\"inner.deep\":1}}", "outer.inner.deep",
         "is unknown; write an object \"inner\" with \"deep\" in it"},
        {"{\"wholly_else\":1}", "wholly_else", "is unknown"},
        {"{\"\":1}", "", "is unknown"},
        {"{\"outer\":{\"\":1}}", "outer.", "is unknown"},
    };
    struct ps_faults faults;
    struct thing thing;

    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        assert_int_equal(read_thing(cases[i].text, PS_PATH_DOTTED, &thing, &faults), PS_E_INVALID);
        assert_int_equal(faults.count, 1);
        assert_string_equal(faults.at[0].path, cases[i].path);
        assert_string_equal(faults.at[0].text, cases[i].says);
        ps_table_free(&table, &thing);
    }
}

static void a_very_long_key_is_unknown(void **unused)
{
    (void)unused;
    char text[600] = "{\"outer\":{\"";
    struct ps_faults faults;
    struct thing thing;

    memset(text + strlen(text), 'k', 500);
    memcpy(text + 511, "\":1}}", 6);
    assert_int_equal(read_thing(text, PS_PATH_DOTTED, &thing, &faults), PS_E_INVALID);
    assert_memory_equal(faults.at[0].path, "outer.kkkk", 10);
    assert_string_equal(faults.at[0].text, "is unknown");
    ps_table_free(&table, &thing);
}

static void a_value_is_described_in_both_languages(void **unused)
{
    (void)unused;
    static const struct {
        const char *member, *english, *chinese;
    } cases[] = {
        {"big", "a whole number between -5 and 5000000000 orders", "整数，-5 至 5000000000 个订单"},
        {"hosts", "an array, each a host", "数组，每项为主机名"},
        {"colour", "one of: red, green", "以下之一：red, green"},
        {"outer.even", "an even number", "偶数"},
    };
    char text[200];

    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        const struct ps_member *row = ps_table_find(&table, cases[i].member);
        ps_member_describe(row, PS_ENGLISH, text, sizeof text);
        assert_string_equal(text, cases[i].english);
        ps_member_describe(row, PS_CHINESE, text, sizeof text);
        assert_string_equal(text, cases[i].chinese);
    }
}

static void what_is_printed_reads_back_the_same(void **unused)
{
    (void)unused;
    static const char *const texts[] = {DEFAULTS, FULL};
    struct ps_faults faults;
    struct thing thing, again;

    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        assert_ok(read_thing(texts[i], PS_PATH_POINTER, &thing, &faults));
        assert_prints(&thing, texts[i]);
        assert_ok(read_thing(texts[i], PS_PATH_POINTER, &again, &faults));
        assert_true(ps_table_same(&table, &thing, &again));
        ps_table_free(&table, &again);
        ps_table_free(&table, &thing);
    }
}

static void the_order_of_members_is_no_difference_and_a_value_is_one(void **unused)
{
    (void)unused;
    static const char *const others[] = {
        "{\"on\":false}",
        "{\"big\":8}",
        "{\"note\":\"x\"}",
        "{\"health\":{}}",
        "{\"wheels\":[{\"name\":\"a\"}]}",
        "{\"status\":[201]}",
        "{\"hosts\":[\"y\"]}",
        "{\"hosts\":[\"x\",\"x\"]}",
        "{\"pairs\":{\"a\":\"c\",\"b\":\"b\"}}",
        "{\"extra\":{\"a\":1}}",
        "{\"outer\":{\"even\":4}}",
        "{\"source\":{\"file\":\"x\"}}",
        "{\"body\":{\"shape\":\"round\",\"radius\":1}}",
    };
    struct ps_faults faults;
    struct thing a, b;

    assert_ok(read_thing("{\"pairs\":{\"a\":\"b\",\"b\":\"b\"},\"extra\":{\"x\":1,\"y\":2}}",
                         PS_PATH_POINTER, &a, &faults));
    assert_ok(read_thing("{\"extra\":{\"y\":2,\"x\":1},\"pairs\":{\"b\":\"b\",\"a\":\"b\"}}",
                         PS_PATH_POINTER, &b, &faults));
    assert_true(ps_table_same(&table, &a, &b));
    ps_table_free(&table, &b);
    for (size_t i = 0; i < PS_ARRAY_LEN(others); i++) {
        assert_ok(read_thing(others[i], PS_PATH_POINTER, &b, &faults));
        assert_false(ps_table_same(&table, &a, &b));
        ps_table_free(&table, &b);
    }
    ps_table_free(&table, &a);
}

static void a_fault_names_the_member_and_says_what_is_allowed(void **unused)
{
    (void)unused;
    static const struct {
        const char *text, *path, *says;
    } cases[] = {
        {"[]", "", "must be an object, not an array"},
        {"{\"on\":1}", "/on", "must be true or false, not 1; for example true"},
        {"{\"big\":-6}", "/big",
         "must be a whole number between -5 and 5000000000 orders, not -6; for example 7"},
        {"{\"big\":1.5}", "/big",
         "must be a whole number between -5 and 5000000000 orders, not 1.5; for example 7"},
        {"{\"big\":\"7\"}", "/big",
         "must be a whole number between -5 and 5000000000 orders, not a string; for example 7"},
        {"{\"big\":null}", "/big",
         "must be a whole number between -5 and 5000000000 orders, not null; for example 7"},
        {"{\"share\":0.0001}", "/share",
         "must be a number between 0 and 1 in steps of 0.001, not 0.0001; for example 0.25"},
        {"{\"until\":\"soon\"}", "/until",
         "must be a time with its offset, such as \"2030-11-11T10:00:00Z\""},
        {"{\"name\":\"a b\"}", "/name",
         "must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}, not \"a b\""},
        {"{\"note\":\"123456\"}", "/note",
         "must be a text without control characters of 0 to 5 characters, not \"123456\""},
        {"{\"note\":\"a\\nb\"}", "/note",
         "must be a text without control characters of 0 to 5 characters, not \"a?b\""},
        {"{\"colour\":\"gren\"}", "/colour", "must be one of: red, green; did you mean \"green\"?"},
        {"{\"colour\":\"xyzzy\"}", "/colour", "must be one of: red, green; for example \"green\""},
        {"{\"colour\":7}", "/colour", "must be one of: red, green, not 7; for example \"green\""},
        {"{\"days\":[\"mon\",\"tue\",\"mon\"]}", "/days/2",
         "repeats \"mon\": each word may appear once"},
        {"{\"days\":[\"mon\",\"wend\"]}", "/days/1",
         "must be one of: mon, tue, wed; did you mean \"wed\"?"},
        {"{\"days\":[\"mon\",7]}", "/days/1", "must be one of: mon, tue, wed, not 7"},
        {"{\"days\":[]}", "/days",
         "must be an array of at least one of, each once: mon, tue, wed, not 0 entries; for "
         "example [\"mon\"]"},
        {"{\"days\":\"mon\"}", "/days",
         "must be an array of at least one of, each once: mon, tue, wed, not a string; for "
         "example [\"mon\"]"},
        {"{\"health\":{\"ms\":0}}", "/health/ms",
         "must be a whole number between 1 and 1000 ms, not 0; for example 500"},
        {"{\"wheels\":[{\"name\":\"a\"},{}]}", "/wheels/1/name",
         "is missing: it must be a name: [A-Za-z0-9][A-Za-z0-9._-]{0,63}; for example \"front\""},
        {"{\"wheels\":[{\"name\":\"a\",\"spokes\":13}]}", "/wheels/0/spokes", "must not be 13"},
        {"{\"wheels\":[{\"name\":\"a\",\"held\":3}]}", "/wheels/0/held", "is read-only: remove it"},
        {"{\"wheels\":[7]}", "/wheels/0", "must be an object, not 7"},
        {"{\"status\":[200,7]}", "/status/1", "must be a whole number between 200 and 599, not 7"},
        {"{\"status\":[]}", "/status",
         "must be an array of 1 to 2 entries, each a whole number between 200 and 599, not 0 "
         "entries; "
         "for example [200]"},
        {"{\"hosts\":\"x\"}", "/hosts",
         "must be an array, each a host, not a string; for example [\"x\"]"},
        {"{\"hosts\":[\"x\",\"y:1\"]}", "/hosts/1",
         "must be a host, not \"y:1\"; for example \"a.b\""},
        {"{\"hosts\":[null]}", "/hosts/0", "must be a host, not null; for example \"a.b\""},
        {"{\"pairs\":{\"secret\":\"123456789\"}}", "/pairs/secret",
         "must be a string of 0 to 8 bytes"},
        {"{\"pairs\":{\"a/b\":7}}", "/pairs/a~1b", "must be a string of 0 to 8 bytes, not 7"},
        {"{\"extra\":[]}", "/extra",
         "must be an object of at most 40 bytes as compact JSON, not an array; for example {}"},
        {"{\"outer\":7}", "/outer", "must be an object, not a whole number"},
        {"{\"outer\":{\"inner\":{\"deep\":10}}}", "/outer/inner/deep",
         "must be a whole number between 0 and 9, not 10; for example 4"},
        {"{\"outer\":{\"even\":3}}", "/outer/even", "must be an even number, not 3; for example 2"},
        {"{\"source\":{}}", "/source", "must have exactly one of: file, dns"},
        {"{\"source\":{\"file\":\"a\",\"dns\":\"b\"}}", "/source",
         "must have exactly one of: file, dns"},
        {"{\"source\":{\"file\":\"a\",\"port\":1}}", "/source/port",
         "belongs to dns only: leave it out"},
        {"{\"source\":{\"dns\":\"a\"}}", "/source/port",
         "is missing: it must be a whole number between 1 and 65535"},
        {"{\"body\":{\"shape\":\"square\",\"radius\":1}}", "/body/radius",
         "belongs to round only: leave it out"},
        {"{\"bigg\":1}", "/bigg", "is unknown; did you mean \"big\"?"},
        {"{\"a~/b\":1}", "/a~0~1b", "is unknown"},
        {"{\"outer\":{\"iner\":1}}", "/outer/iner", "is unknown; did you mean \"inner\"?"},
        {"{\"deep\":1}", "/deep", "is unknown; did you mean \"outer.inner.deep\"?"},
        {"{\"outer.even\":1}", "/outer.even",
         "is unknown; write an object \"outer\" with \"even\" in it"},
    };
    struct ps_faults faults;
    struct thing thing;

    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        assert_int_equal(read_thing(cases[i].text, PS_PATH_POINTER, &thing, &faults), PS_E_INVALID);
        assert_int_equal(faults.count, 1);
        assert_string_equal(faults.at[0].path, cases[i].path);
        assert_string_equal(faults.at[0].text, cases[i].says);
        ps_table_free(&table, &thing);
    }
}

static void every_fault_is_found_at_once_and_what_is_faulty_has_its_default(void **unused)
{
    (void)unused;
    struct ps_faults faults;
    struct thing thing;

    assert_int_equal(
        read_thing("{\"on\":0,\"big\":\"x\",\"hosts\":[\"x\",7],\"wheels\":[{\"spokes\":-1},8],"
                   "\"outer\":{\"even\":1},\"colur\":1}",
                   PS_PATH_DOTTED, &thing, &faults),
        PS_E_INVALID);
    static const char *const paths[] = {
        "on",        "big",      "wheels[0].name", "wheels[0].spokes",
        "wheels[1]", "hosts[1]", "outer.even",     "colur"};
    assert_int_equal(faults.count, PS_ARRAY_LEN(paths));
    for (size_t i = 0; i < PS_ARRAY_LEN(paths); i++)
        assert_string_equal(faults.at[i].path, paths[i]);
    assert_true(thing.on);
    assert_int_equal(thing.big, 7);
    assert_int_equal(thing.even, 2);
    ps_table_free(&table, &thing);
}

static void what_an_older_version_stored_is_passed_over_there_alone(void **unused)
{
    (void)unused;
    static const char *const texts[] = {"{\"weight\":7}", "{\"days\":[\"sun\",\"tue\"]}",
                                        "{\"days\":[\"sun\"]}", "{\"days\":[]}"};
    static const unsigned bits[] = {1, 2, 0, 0};
    const struct ps_table_source stored = {.stored = true}, asked = {.stored = false};
    struct ps_faults faults;
    struct thing thing;

    for (size_t i = 0; i < PS_ARRAY_LEN(texts); i++) {
        assert_ok(read_from(texts[i], stored, &thing, &faults));
        assert_int_equal(thing.days, bits[i]);
        ps_table_free(&table, &thing);
        assert_int_equal(read_from(texts[i], asked, &thing, &faults), PS_E_INVALID);
        ps_table_free(&table, &thing);
    }
    assert_int_equal(read_from("{\"days\":[\"mun\"]}", stored, &thing, &faults), PS_E_INVALID);
    ps_table_free(&table, &thing);
}

static void the_schema_says_what_is_read(void **unused)
{
    (void)unused;
    json_t *schema = ps_table_schema(&table, PS_ENGLISH);
    const json_t *of = json_object_get(schema, "properties");
    static const struct {
        const char *member, *text;
    } cases[] = {
        {"big", "{\"type\":\"integer\",\"minimum\":-5,\"maximum\":5000000000,"
                "\"description\":\"How many\",\"default\":7,\"x-unit\":\"orders\"}"},
        {"until", "{\"type\":[\"string\",\"null\"],\"format\":\"date-time\"}"},
        {"colour", "{\"type\":\"string\",\"enum\":[\"red\",\"green\"],\"default\":\"green\"}"},
        {"status", "{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":200,"
                   "\"maximum\":599},\"minItems\":1,\"maxItems\":2,\"default\":[200]}"},
        {"hosts", "{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"default\":[\"x\"],"
                  "\"x-live\":true}"},
        {"outer",
         "{\"type\":\"object\",\"properties\":{\"inner\":{\"type\":\"object\",\"properties\":{"
         "\"deep\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9,\"default\":4}},"
         "\"additionalProperties\":false},\"even\":{\"type\":\"integer\",\"multipleOf\":2,"
         "\"default\":2},\"seen\":{\"type\":\"integer\",\"readOnly\":true}},"
         "\"additionalProperties\":false}"},
    };

    assert_string_equal(json_string_value(json_object_get(schema, "$schema")),
                        "https://json-schema.org/draft/2020-12/schema");
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        char *text = json_dumps(json_object_get(of, cases[i].member), JSON_COMPACT);
        assert_string_equal(text, cases[i].text);
        free(text);
    }
    json_decref(schema);
    schema = ps_table_schema(&table, PS_CHINESE);
    of = json_object_get(json_object_get(schema, "properties"), "big");
    assert_string_equal(json_string_value(json_object_get(of, "description")), "数量");
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_left_out_has_its_default),
        cmocka_unit_test(without_json_there_are_the_defaults),
        cmocka_unit_test(a_misspelt_or_misplaced_member_names_the_right_one),
        cmocka_unit_test(a_very_long_key_is_unknown),
        cmocka_unit_test(a_value_is_described_in_both_languages),
        cmocka_unit_test(what_is_printed_reads_back_the_same),
        cmocka_unit_test(the_order_of_members_is_no_difference_and_a_value_is_one),
        cmocka_unit_test(a_fault_names_the_member_and_says_what_is_allowed),
        cmocka_unit_test(every_fault_is_found_at_once_and_what_is_faulty_has_its_default),
        cmocka_unit_test(what_an_older_version_stored_is_passed_over_there_alone),
        cmocka_unit_test(the_schema_says_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
