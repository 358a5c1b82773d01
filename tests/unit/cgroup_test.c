/* What a process may use and what of it is in use, read from fixtures of /proc and of control
 * groups: v1, v2, both, none, and files that say something else. */
#include "tests/unit/temp_dir.h"

#include "gateway/admission/cgroup.h"

#include <stdlib.h>
#include <string.h>

#define MOUNTS_V1                                                                                  \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                                   \
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"         \
    "33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"                   \
    "34 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
#define MOUNT_V2     "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
#define MOUNT_HYBRID "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"

static struct temp_dir dir;

/* Writes a file of the fixture, and the directories above it. */
static void put(const char *name, const char *text)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/%s", dir.path, name);
    for (char *at = path + strlen(dir.path) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    write_file(path, text);
}

/* A machine of 16 GiB of which 12 are available. */
static int set_up(void **state)
{
    (void)state;
    dir = temp_dir_make();
    put("proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1 kB\n"
                        "MemAvailable:   12582912 kB\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    temp_dir_remove(&dir);
    return 0;
}

static void assert_near(double got, double wanted)
{
    if (got < wanted - 0.0001 || got > wanted + 0.0001)
        fail_msg("%g instead of %g", got, wanted);
}

static double cpus(void)
{
    struct ps_fault fault = {0};
    double value = -1;

    if (adm_cgroup_cpus(dir.path, &value, &fault) < 0)
        fail_msg("%s %s", fault.path, fault.text);
    return value;
}

static double memory(void)
{
    struct ps_fault fault = {0};
    double value = -1;

    if (adm_cgroup_memory(dir.path, &value, &fault) < 0)
        fail_msg("%s %s", fault.path, fault.text);
    return value;
}

/* The processors that this thread may run on, as in a machine without any group. */
static double all_cpus(void)
{
    double value;

    assert_ok(adm_cgroup_cpus("/nowhere", &value, NULL));
    return value;
}

static void the_quota_of_v1_is_the_smallest_up_to_the_mount(void **state)
{
    (void)state;
    put("proc/self/mountinfo", MOUNTS_V1);
    put("proc/self/cgroup", "3:cpuset:/other\n2:cpu,cpuacct:/shop/penstock\n0::/\n");
    put("sys/fs/cgroup/cpu,cpuacct/shop/penstock/cpu.cfs_quota_us", "50000\n");
    put("sys/fs/cgroup/cpu,cpuacct/shop/penstock/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    assert_near(cpus(), 0.5);
    put("sys/fs/cgroup/cpu,cpuacct/shop/cpu.cfs_quota_us", "10000\n");
    assert_near(cpus(), 0.1);
}

static void the_quota_of_v2_is_the_smallest_up_to_the_mount(void **state)
{
    (void)state;
    put("proc/self/mountinfo", MOUNT_V2);
    put("proc/self/cgroup", "0::/shop/penstock\n");
    put("sys/fs/cgroup/shop/penstock/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/shop/cpu.max", "20000 100000\n");
    assert_near(cpus(), 0.2);
    put("sys/fs/cgroup/shop/penstock/cpu.max", "5000 50000\n");
    assert_near(cpus(), 0.1);
}

static void a_quota_of_more_than_the_machine_has_is_the_machine(void **state)
{
    (void)state;
    put("proc/self/mountinfo", MOUNT_V2);
    put("proc/self/cgroup", "0::/a\n");
    put("sys/fs/cgroup/a/cpu.max", "999900000 100000\n");
    assert_near(cpus(), all_cpus());
    assert_true(all_cpus() >= 1);
}

static void a_container_that_sees_only_its_own_group_finds_it(void **state)
{
    (void)state;
    put("proc/self/mountinfo",
        "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
    put("proc/self/cgroup", "2:cpu:/docker/abc\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "25000\n");
    put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_near(cpus(), 0.25);
    put("proc/self/cgroup", "2:cpu:/docker/abc/inner\n");
    put("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "-1\n");
    assert_near(cpus(), 0.25);
    put("proc/self/cgroup", "2:cpu:/docker/abcdef\n"); /* not below the mount's root */
    assert_near(cpus(), 0.25);
}

static void memory_is_the_share_of_the_tightest_limit(void **state)
{
    (void)state;
    put("proc/self/mountinfo", MOUNTS_V1);
    put("proc/self/cgroup", "4:memory:/shop/penstock\n");
    put("sys/fs/cgroup/memory/shop/penstock/memory.limit_in_bytes", "1073741824\n");
    put("sys/fs/cgroup/memory/shop/penstock/memory.usage_in_bytes", "644245094\n");
    put("sys/fs/cgroup/memory/shop/penstock/memory.stat",
        "inactive_file 1\ntotal_cache 5\ntotal_inactive_file 107374182\n");
    put("sys/fs/cgroup/memory/shop/memory.limit_in_bytes", "9223372036854771712\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_near(memory(), 0.5);
    put("sys/fs/cgroup/memory/shop/memory.limit_in_bytes", "2147483648\n");
    put("sys/fs/cgroup/memory/shop/memory.usage_in_bytes", "1932735283\n");
    put("sys/fs/cgroup/memory/shop/memory.stat", "total_inactive_file 0\n");
    assert_near(memory(), 0.9);
}

static void memory_of_v2_is_the_share_of_its_limit(void **state)
{
    (void)state;
    put("proc/self/mountinfo", MOUNT_V2);
    put("proc/self/cgroup", "0::/a\n");
    put("sys/fs/cgroup/a/memory.max", "1073741824\n");
    put("sys/fs/cgroup/a/memory.current", "322122547\n");
    put("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 107374182\n");
    assert_near(memory(), 0.2);
}

static void without_a_limit_memory_is_the_machines(void **state)
{
    (void)state;
    assert_near(memory(), 0.25); /* no control groups at all */
    put("proc/self/mountinfo", MOUNT_V2);
    put("proc/self/cgroup", "0::/a\n");
    put("sys/fs/cgroup/a/memory.max", "max\n");
    assert_near(memory(), 0.25);
    put("sys/fs/cgroup/a/memory.max", "17179869184\n"); /* all that the machine has */
    assert_near(memory(), 0.25);
}

static void with_both_versions_a_controller_is_where_v1_lists_it(void **state)
{
    (void)state;
    put("proc/self/mountinfo", MOUNTS_V1 MOUNT_HYBRID);
    put("proc/self/cgroup", "2:cpu,cpuacct:/a\n0::/b\n");
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "10000\n");
    put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/unified/b/memory.max", "1073741824\n");
    put("sys/fs/cgroup/unified/b/memory.current", "536870912\n");
    put("sys/fs/cgroup/unified/b/memory.stat", "inactive_file 0\n");
    assert_near(cpus(), 0.1);
    assert_near(memory(), 0.5);
}

static void what_cannot_be_read_is_a_fault_that_names_the_file(void **state)
{
    static const struct {
        const char *name, *text;
    } broken[] = {
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "much\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", ""},
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "99999999999999999999\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "0\n"},
        {"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "-1\n"},
    };

    (void)state;
    put("proc/self/mountinfo", MOUNTS_V1);
    put("proc/self/cgroup", "2:cpu,cpuacct:/a\n");
    for (size_t i = 0; i < PS_ARRAY_LEN(broken); i++) {
        struct ps_fault fault = {0};
        double value = 77;
        put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "10000\n");
        put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
        put(broken[i].name, broken[i].text);
        assert_int_equal(adm_cgroup_cpus(dir.path, &value, &fault), PS_E_CORRUPT);
        assert_non_null(strstr(fault.path, broken[i].name));
        assert_true(fault.text[0] != '\0');
        assert_near(value, 77);
    }
}

static void a_group_that_is_not_there_is_a_fault_and_not_the_machine(void **state)
{
    struct ps_fault fault = {0};
    double value = 77;

    (void)state;
    put("proc/self/mountinfo", MOUNTS_V1);
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("proc/self/cgroup", "2:cpu,cpuacct:/gone (deleted)\n");
    assert_int_equal(adm_cgroup_cpus(dir.path, &value, &fault), PS_E_IO);
    assert_non_null(strstr(fault.path, "/gone (deleted)"));
    assert_near(value, 77);
}

static void a_limit_of_memory_without_its_use_is_a_fault(void **state)
{
    struct ps_fault fault = {0};
    double value = 77;

    (void)state;
    put("proc/self/mountinfo", MOUNT_V2);
    put("proc/self/cgroup", "0::/a\n");
    put("sys/fs/cgroup/a/memory.max", "1073741824\n");
    assert_int_equal(adm_cgroup_memory(dir.path, &value, &fault), PS_E_IO);
    assert_non_null(strstr(fault.path, "memory.current"));
    put("sys/fs/cgroup/a/memory.current", "1\n");
    put("sys/fs/cgroup/a/memory.stat", "anon 5\n");
    assert_int_equal(adm_cgroup_memory(dir.path, &value, &fault), PS_E_CORRUPT);
    assert_non_null(strstr(fault.path, "memory.stat"));
    put("sys/fs/cgroup/a/memory.max", "lots\n");
    assert_int_equal(adm_cgroup_memory(dir.path, &value, &fault), PS_E_CORRUPT);
    assert_non_null(strstr(fault.path, "memory.max"));
    put("proc/meminfo", "MemTotal: 5 kB\n");
    assert_int_equal(adm_cgroup_memory(dir.path, &value, &fault), PS_E_CORRUPT);
    assert_non_null(strstr(fault.path, "meminfo"));
    assert_near(value, 77);
}

static void pressure_is_the_groups_in_v2_and_else_the_machines(void **state)
{
    struct ps_fault fault = {0};
    double value = 77;

    (void)state;
    put("proc/self/cgroup", "0::/a\n");
    put("proc/self/mountinfo", MOUNT_V2);
    put("sys/fs/cgroup/a/x", "");
    assert_int_equal(adm_cgroup_pressure(dir.path, "memory", &value, &fault), PS_E_NOT_FOUND);
    assert_non_null(strstr(fault.path, "proc/pressure/memory"));
    assert_near(value, 77);
    put("proc/pressure/memory", "some avg10=12.50 avg60=1.00 avg300=0.10 total=5\nfull …\n");
    assert_ok(adm_cgroup_pressure(dir.path, "memory", &value, &fault));
    assert_near(value, 0.125);
    put("sys/fs/cgroup/a/memory.pressure", "some avg10=50.00 avg60=1.00 avg300=0.10 total=5\n");
    assert_ok(adm_cgroup_pressure(dir.path, "memory", &value, &fault));
    assert_near(value, 0.5);
    put("sys/fs/cgroup/a/memory.pressure", "some avg10=nan\n");
    assert_int_equal(adm_cgroup_pressure(dir.path, "memory", &value, &fault), PS_E_CORRUPT);
    assert_near(value, 0.5);
}

static void the_machines_time_is_busy_unless_it_is_idle_or_waits_for_a_disk(void **state)
{
    struct adm_machine_cpu cpu = {7, 7};
    struct ps_fault fault = {0};

    (void)state;
    put("proc/stat", "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3\n");
    assert_ok(adm_machine_cpu_read(dir.path, &cpu, &fault));
    assert_int_equal(cpu.busy, 171);
    assert_int_equal(cpu.total, 621);
    put("proc/stat", "intr 5\n");
    assert_int_equal(adm_machine_cpu_read(dir.path, &cpu, &fault), PS_E_CORRUPT);
    assert_int_equal(cpu.total, 621);
    assert_int_equal(adm_machine_cpu_read("/nowhere", &cpu, &fault), PS_E_NOT_FOUND);
}

static void this_machine_is_understood(void **state)
{
    struct adm_machine_cpu cpu;
    struct ps_fault fault = {0};
    double value = -1;

    (void)state;
    if (adm_cgroup_cpus("", &value, &fault) < 0 || !(value > 0))
        fail_msg("cpus %g: %s %s", value, fault.path, fault.text);
    if (adm_cgroup_memory("", &value, &fault) < 0 || !(value > 0 && value < 1))
        fail_msg("memory %g: %s %s", value, fault.path, fault.text);
    assert_ok(adm_machine_cpu_read("", &cpu, &fault));
    assert_true(cpu.busy > 0 && cpu.busy < cpu.total);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(the_quota_of_v1_is_the_smallest_up_to_the_mount),
        CLAIM(the_quota_of_v2_is_the_smallest_up_to_the_mount),
        CLAIM(a_quota_of_more_than_the_machine_has_is_the_machine),
        CLAIM(a_container_that_sees_only_its_own_group_finds_it),
        CLAIM(memory_is_the_share_of_the_tightest_limit),
        CLAIM(memory_of_v2_is_the_share_of_its_limit),
        CLAIM(without_a_limit_memory_is_the_machines),
        CLAIM(with_both_versions_a_controller_is_where_v1_lists_it),
        CLAIM(what_cannot_be_read_is_a_fault_that_names_the_file),
        CLAIM(a_group_that_is_not_there_is_a_fault_and_not_the_machine),
        CLAIM(a_limit_of_memory_without_its_use_is_a_fault),
        CLAIM(pressure_is_the_groups_in_v2_and_else_the_machines),
        CLAIM(the_machines_time_is_busy_unless_it_is_idle_or_waits_for_a_disk),
        CLAIM(this_machine_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
