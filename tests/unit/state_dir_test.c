/* The state directory. */
#include "tests/unit/temp_dir.h"

#include "gateway/state_dir.h"

#include <sys/vfs.h>
#include <unistd.h>

static struct temp_dir temp;

static int make(void **state)
{
    (void)state;
    temp = temp_dir_make();
    return 0;
}

static int drop(void **state)
{
    (void)state;
    temp_dir_remove(&temp);
    return 0;
}

static void a_directory_is_made_for_its_owner_alone(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    const char *path = temp_file(&temp, "new");
    assert_ok(gw_state_dir_open(path, &dir, NULL));
    assert_int_equal(mode_of(path), 0700);
    char *id = gw_state_dir_file(&dir, "gateway.id");
    assert_int_equal(mode_of(id), 0600);
    free(id);
    gw_state_dir_close(&dir);
}

static void the_gateway_keeps_its_name(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    char first[PS_NAME_MAX + 1];
    assert_ok(gw_state_dir_open(temp.path, &dir, NULL));
    strcpy(first, dir.gateway_id);
    assert_int_equal(strlen(first), strlen("gw-01234567"));
    gw_state_dir_close(&dir);
    assert_ok(gw_state_dir_open(temp.path, &dir, NULL));
    assert_string_equal(dir.gateway_id, first);
    gw_state_dir_close(&dir);
}

static void a_name_of_the_operators_is_taken(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    write_file(temp_file(&temp, "gateway.id"), "shop-1 \n");
    assert_ok(gw_state_dir_open(temp.path, &dir, NULL));
    assert_string_equal(dir.gateway_id, "shop-1");
    gw_state_dir_close(&dir);
}

static void what_is_no_name_is_refused(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    struct ps_fault fault;
    write_file(temp_file(&temp, "gateway.id"), "two words\n");
    assert_int_equal(gw_state_dir_open(temp.path, &dir, &fault), PS_E_INVALID);
    assert_non_null(strstr(fault.path, "gateway.id"));
}

static void a_wrong_mode_is_refused_with_the_command_to_run(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    struct ps_fault fault;
    assert_int_equal(chmod(temp.path, 0750), 0);
    assert_int_equal(gw_state_dir_open(temp.path, &dir, &fault), PS_E_PERMISSION);
    assert_non_null(strstr(fault.text, "0750"));
    assert_non_null(strstr(fault.text, "chmod 700 /tmp/penstock-test-"));
    assert_int_equal(mode_of(temp.path), 0750);
}

static void a_foreign_owner_is_refused_with_the_command_to_run(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    struct ps_fault fault;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(temp.path, 12345, 12345), 0);
    assert_int_equal(gw_state_dir_open(temp.path, &dir, &fault), PS_E_PERMISSION);
    assert_non_null(strstr(fault.text, "chown -R 0 /tmp/penstock-test-"));
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    struct ps_fault fault;
    const char *id = temp_file(&temp, "gateway.id");
    write_file(id, "shop-1");
    assert_int_equal(chmod(id, 0644), 0);
    assert_int_equal(gw_state_dir_open(temp.path, &dir, &fault), PS_E_PERMISSION);
    assert_non_null(strstr(fault.text, "chmod 600"));
}

static void two_gateways_never_share_a_directory(void **state)
{
    (void)state;
    struct gw_state_dir first, second;
    assert_ok(gw_state_dir_open(temp.path, &first, NULL));
    assert_int_equal(gw_state_dir_open(temp.path, &second, NULL), PS_E_BUSY);
    gw_state_dir_close(&first);
    assert_ok(gw_state_dir_open(temp.path, &second, NULL));
    gw_state_dir_close(&second);
}

static void a_missing_parent_is_named(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    struct ps_fault fault;
    const char *path = temp_file(&temp, "no/where");
    assert_int_equal(gw_state_dir_open(path, &dir, &fault), PS_E_NOT_FOUND);
    assert_string_equal(fault.path, path);
    assert_non_null(strstr(fault.text, "mkdir -p"));
}

static void a_file_in_its_place_is_refused(void **state)
{
    (void)state;
    struct gw_state_dir dir;
    const char *path = temp_file(&temp, "file");
    write_file(path, "");
    assert_int_equal(gw_state_dir_open(path, &dir, NULL), PS_E_INVALID);
}

/* What statfs says of a path that ends so. (With 64-bit offsets its name is statfs64.) */
static const char *elsewhere;
static unsigned magic;
int __real_statfs64(const char *path, struct statfs *ret);
int __wrap_statfs64(const char *path, struct statfs *ret);
int __wrap_statfs64(const char *path, struct statfs *ret)
{
    int result = __real_statfs64(path, ret);
    size_t len = strlen(path), end = elsewhere != NULL ? strlen(elsewhere) : 0;

    if (result == 0 && elsewhere != NULL && len >= end && strcmp(path + len - end, elsewhere) == 0)
        ret->f_type = (__typeof__(ret->f_type))magic;
    return result;
}

/* F25. */
static void a_directory_on_a_network_file_system_is_refused_by_name(void **state)
{
    static const struct {
        unsigned magic;
        const char *name;
    } cases[] = {{0x6969, "NFS"},        {0x517b, "SMB"},     {0xff534d42, "CIFS"},
                 {0xfe534d42, "SMB"},    {0x01021997, "9p"},  {0x00c36400, "Ceph"},
                 {0x0bd00bd0, "Lustre"}, {0x5346414f, "AFS"}, {0x65735546, "FUSE"}};
    struct gw_state_dir dir;
    struct ps_fault fault;

    (void)state;
    elsewhere = temp.path;
    for (size_t i = 0; i < PS_ARRAY_LEN(cases); i++) {
        magic = cases[i].magic;
        assert_int_equal(gw_state_dir_open(temp.path, &dir, &fault), PS_E_INVALID);
        assert_string_equal(fault.path, temp.path);
        assert_non_null(strstr(fault.text, cases[i].name));
        assert_non_null(strstr(fault.text, "network file system"));
    }
    elsewhere = NULL;
    assert_int_equal(access(temp_file(&temp, "gateway.id"), F_OK), -1); /* nothing was written */
    assert_ok(gw_state_dir_open(temp.path, &dir, NULL));
    gw_state_dir_close(&dir);
}

/* F25. */
static void a_database_that_is_a_link_to_one_is_refused(void **state)
{
    static const char *const names[] = {"journal.db", "control.db", "spill.db"};
    struct gw_state_dir dir;
    struct ps_fault fault;

    (void)state;
    magic = 0x6969;
    for (size_t i = 0; i < PS_ARRAY_LEN(names); i++) {
        elsewhere = names[i];
        assert_ok(gw_state_dir_open(temp.path, &dir, NULL)); /* it is not there */
        gw_state_dir_close(&dir);
        write_file(temp_file(&temp, names[i]), "");
        assert_int_equal(gw_state_dir_open(temp.path, &dir, &fault), PS_E_INVALID);
        assert_non_null(strstr(fault.path, names[i]));
        assert_int_equal(unlink(temp_file(&temp, names[i])), 0);
    }
    elsewhere = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_directory_is_made_for_its_owner_alone),
        TEST(the_gateway_keeps_its_name),
        TEST(a_name_of_the_operators_is_taken),
        TEST(what_is_no_name_is_refused),
        TEST(a_wrong_mode_is_refused_with_the_command_to_run),
        TEST(a_foreign_owner_is_refused_with_the_command_to_run),
        TEST(a_file_that_others_may_read_is_refused),
        TEST(two_gateways_never_share_a_directory),
        TEST(a_missing_parent_is_named),
        TEST(a_file_in_its_place_is_refused),
        TEST(a_directory_on_a_network_file_system_is_refused_by_name),
        TEST(a_database_that_is_a_link_to_one_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
