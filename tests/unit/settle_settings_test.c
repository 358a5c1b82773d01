/* The settings of penstock-settle: flags over file, one table for both. */
#include "tests/unit/check.h"

#include "queue/settle/settings.h"
#include "tests/unit/temp_dir.h"

static struct st_settings settings;
static enum st_action action;
static struct ps_faults faults;

static int read_flags(const char *const *flags)
{
    char *argv[24] = {(char *)(uintptr_t) "penstock-settle"};
    int argc = 1;
    while (flags[argc - 1] != NULL) {
        argv[argc] = (char *)(uintptr_t)flags[argc - 1];
        argc++;
    }
    faults = (struct ps_faults){0};
    return st_settings_read(argc, argv, &settings, &action, &faults);
}

#define READ(...) read_flags((const char *const[]){__VA_ARGS__, NULL})

static void flags_say_what_the_file_could_say(void **state)
{
    (void)state;
    assert_ok(READ("--journal", "j.db", "--database=sqlite:shop.db", "--gateway-url", "http://a",
                   "--gateway-url", "http://b", "--gateway-token-file", "t", "--auto-confirm",
                   "--batch", "7", "--once"));
    assert_int_equal(action, ST_ONCE);
    assert_string_equal(settings.journal, "j.db");
    assert_string_equal(settings.database, "sqlite:shop.db");
    assert_int_equal(settings.gateway.url.count, 2);
    assert_string_equal(settings.gateway.url.at[1], "http://b");
    assert_true(settings.auto_confirm);
    assert_int_equal(settings.batch, 7);
    assert_string_equal(settings.name, "log");
    st_settings_free(&settings);
}

static void flags_win_over_the_file(void **state)
{
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "settle.json");
    (void)state;
    write_file(path, "{\"kafka\":{\"brokers\":\"k:9092\",\"topic\":\"t\","
                     "\"properties\":{\"security.protocol\":\"SSL\"}},"
                     "\"database\":\"sqlite:a\",\"batch\":5,\"gateway\":{\"url\":[\"http://x\"],"
                     "\"token_file\":\"t\"},\"rehearsals\":true}");
    assert_ok(READ("--config", path, "--batch=6", "--rehearsals=false", "--gateway-url=http://y"));
    assert_int_equal(action, ST_RUN);
    assert_int_equal(settings.batch, 6);
    assert_false(settings.rehearsals);
    assert_string_equal(settings.kafka.topic, "t");
    assert_int_equal(settings.gateway.url.count, 1);
    assert_string_equal(settings.gateway.url.at[0], "http://y");
    st_settings_free(&settings);
    temp_dir_remove(&dir);
}

static void making_the_tables_needs_a_database_only(void **state)
{
    (void)state;
    assert_ok(READ("--init", "--database", "sqlite:a"));
    assert_int_equal(action, ST_INIT);
    st_settings_free(&settings);
    assert_int_equal(READ("--init"), PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "database");
}

static void help_needs_nothing(void **state)
{
    (void)state;
    assert_ok(READ("--help"));
    assert_int_equal(action, ST_HELP);
    assert_ok(READ("--version"));
    assert_int_equal(action, ST_VERSION);
}

static void what_makes_no_sense_is_refused_by_its_name(void **state)
{
    (void)state;
    assert_int_equal(READ("--jurnal", "x"), PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "--jurnal");
    assert_non_null(strstr(faults.at[0].text, "--journal"));
    assert_int_equal(READ("--journal"), PS_E_INVALID);
    assert_non_null(strstr(faults.at[0].text, "value"));
    assert_int_equal(READ("--once", "--init"), PS_E_INVALID);
    assert_int_equal(READ("--database", "sqlite:a"), PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "journal");
    assert_int_equal(READ("--database", "sqlite:a", "--journal", "j", "--kafka-brokers", "k"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "journal");
    assert_int_equal(READ("--database", "sqlite:a", "--journal", "j", "--batch", "many"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "batch");
    assert_int_equal(READ("--database", "sqlite:a", "--journal", "j", "--batch", "0"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "batch");
    assert_int_equal(READ("--database", "sqlite:a", "--journal", "j", "--auto-confirm"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "auto_confirm");
    assert_int_equal(READ("--database", "sqlite:a", "--journal", "j", "--gateway-url", "http://x"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "gateway.token_file");
    assert_int_equal(READ("--database", "sqlite:a", "--journal", "j", "--gateway-token-file", "t",
                          "--gateway-url", "ftp://x"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "gateway.url[0]");
    assert_int_equal(READ("--database", "sqlite:a", "--kafka-brokers", "k", "--kafka-properties",
                          "{\"linger.ms\":5}"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "kafka.properties");
    assert_int_equal(READ("--database", "sqlite:a", "--kafka-brokers", "k", "--kafka-properties",
                          "{\"no.such\":\"5\"}"),
                     PS_E_INVALID);
    assert_string_equal(faults.at[0].path, "kafka.properties");
    assert_non_null(strstr(faults.at[0].text, "\"no.such\""));
    assert_int_equal(READ("--config", "/nowhere/settle.json"), PS_E_IO);
}

static void every_fault_is_said_at_once(void **state)
{
    static const char *const paths[] = {"kafka.topic", "gateway.url[1]", "batch",  "log_level",
                                        "databse",     "database",       "journal"};
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "settle.json");
    (void)state;
    write_file(path, "{\"databse\":\"sqlite:a\",\"batch\":0,\"kafka\":{\"topic\":7},"
                     "\"log_level\":\"wran\",\"gateway\":{\"token_file\":\"t\",\"url\":"
                     "[\"http://x\",\"ftp://x\"]}}");
    assert_int_equal(READ("--config", path), PS_E_INVALID);
    assert_int_equal(faults.count, PS_ARRAY_LEN(paths));
    for (size_t i = 0; i < faults.count; i++)
        assert_string_equal(faults.at[i].path, paths[i]);
    assert_string_equal(faults.at[1].text,
                        "must be an http or https URL, not \"ftp://x\"; for example "
                        "\"http://127.0.0.1:8090\"");
    assert_non_null(strstr(faults.at[4].text, "did you mean \"database\""));
    temp_dir_remove(&dir);
}

static void a_file_that_is_no_object_is_refused(void **state)
{
    struct temp_dir dir = temp_dir_make();
    const char *path = temp_file(&dir, "settle.json");
    (void)state;
    write_file(path, "[]");
    assert_int_equal(READ("--config", path), PS_E_INVALID);
    write_file(path, "{\"kafka\":7}");
    assert_int_equal(READ("--config", path, "--kafka-topic", "t"), PS_E_INVALID);
    write_file(path, "{\"batch\":1,\"batch\":2}");
    assert_int_equal(READ("--config", path), PS_E_INVALID);
    temp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_say_what_the_file_could_say),
        cmocka_unit_test(flags_win_over_the_file),
        cmocka_unit_test(making_the_tables_needs_a_database_only),
        cmocka_unit_test(help_needs_nothing),
        cmocka_unit_test(what_makes_no_sense_is_refused_by_its_name),
        cmocka_unit_test(every_fault_is_said_at_once),
        cmocka_unit_test(a_file_that_is_no_object_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
