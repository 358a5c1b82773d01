/* /proc/self/cgroup says in which group this process is, one line for each hierarchy.
 * /proc/self/mountinfo says where the hierarchies are mounted, and which part of them (a container
 * may see only its own group, under a path that /proc/self/cgroup does not show). With both
 * versions mounted, a controller belongs to the v1 hierarchy that lists it. Every level from the
 * process's group up to the mount may have a limit. See cgroups(7), and cgroup-v1/memory.txt,
 * cgroup-v2.rst and psi.rst of the kernel's documentation. */
#include "gateway/admission/cgroup.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_SIZE 1024
#define TEXT_SIZE 8192 /* of all files but mountinfo, which is read by lines */
/* v1 shows "no limit" as the largest multiple of a page that fits. */
#define NO_LIMIT (UINT64_C(1) << 60)

struct group {
    bool is_v2;
    char dir[PATH_SIZE]; /* of the group, root included */
    size_t top;          /* length of the mount's part: no group is above it */
};

/* --- files --- */

static bool join(char ret_path[PATH_SIZE], const char *dir, const char *name)
{
    int len = snprintf(ret_path, PATH_SIZE, "%s/%s", dir, name);

    return len >= 0 && len < PATH_SIZE;
}

/* The beginning of a file as a string. */
static int read_text(const char *dir, const char *name, char ret_text[TEXT_SIZE],
                     struct ps_fault *fault)
{
    char path[PATH_SIZE];

    if (!join(path, dir, name))
        return ps_fault(fault, PS_E_IO, name, "its path is too long");
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return ps_fault(fault, errno == ENOENT ? PS_E_NOT_FOUND : PS_E_IO, path,
                        "cannot be opened: %s", strerror(errno));
    errno = 0;
    size_t len = fread(ret_text, 1, TEXT_SIZE - 1, file);
    bool failed = ferror(file) != 0;
    int why = errno;
    (void)fclose(file); /* it was only read */
    if (failed)         /* PSI returns EOPNOTSUPP when it is switched off */
        return ps_fault(fault, why == EOPNOTSUPP ? PS_E_NOT_FOUND : PS_E_IO, path,
                        "cannot be read: %s", strerror(why));
    ret_text[len] = '\0';
    return 0;
}

static int corrupt(struct ps_fault *fault, const char *dir, const char *name, const char *wanted)
{
    char path[PATH_SIZE];

    return ps_fault(fault, PS_E_CORRUPT, join(path, dir, name) ? path : name,
                    "does not say %s as expected", wanted);
}

/* A number, followed by white space or the end. */
static bool parse_number(const char *text, uint64_t *ret_number, const char **ret_end)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || (*end != '\0' && *end != '\n' && *end != ' '))
        return false;
    *ret_number = number;
    *ret_end = end;
    return true;
}

static int read_number(const char *dir, const char *name, uint64_t *ret_number,
                       struct ps_fault *fault)
{
    char text[TEXT_SIZE];
    const char *end;
    int err = read_text(dir, name, text, fault);

    if (err < 0)
        return err;
    return parse_number(text, ret_number, &end) ? 0 : corrupt(fault, dir, name, "a number");
}

/* A line "key 123" or "key:   123" of a file. */
static bool find_number(const char *text, const char *key, uint64_t *ret_number)
{
    size_t len = strlen(key);
    const char *end;

    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, key, len) == 0 && (line[len] == ' ' || line[len] == ':')) {
            const char *at = line + len + (line[len] == ':');
            return parse_number(at + strspn(at, " "), ret_number, &end);
        }
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return false;
}

/* --- where the group is --- */

/* Is `word` in a list separated by commas? */
static bool lists(const char *list, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += len)
        if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ',' || at[len] == '\n'))
            return true;
    return false;
}

/* The path of this process in the controller's hierarchy; "" as controller: in v2. False: there is
 * no such hierarchy. */
static bool find_path(const char *cgroups, const char *controller, char ret_path[PATH_SIZE])
{
    char list[256];
    int at;

    for (const char *line = cgroups; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        list[0] = '\0';
        at = 0;
        bool is_v2 = sscanf(line, "0::%n", &at) == 0 && at > 0;
        if (!is_v2 && (sscanf(line, "%*u:%255[^:]:%n", list, &at) != 1 || at == 0))
            at = 0;
        if (at > 0 && (controller[0] == '\0' ? is_v2 : lists(list, controller)) &&
            len - (size_t)at < PATH_SIZE) {
            memcpy(ret_path, line + at, len - (size_t)at);
            ret_path[len - (size_t)at] = '\0';
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

/* A line of mountinfo: "36 25 0:31 ROOT POINT OPTIONS [more] - TYPE SOURCE SUPER". */
static bool is_mount_of(const char *line, const char *controller, char ret_root[PATH_SIZE],
                        char ret_point[PATH_SIZE])
{
    char type[32], super[256];
    const char *rest = strstr(line, " - ");

    if (rest == NULL || sscanf(rest, " - %31s %*s %255s", type, super) != 2 ||
        sscanf(line, "%*s %*s %*s %1023s %1023s", ret_root, ret_point) != 2)
        return false;
    return controller[0] == '\0' ? strcmp(type, "cgroup2") == 0
                                 : strcmp(type, "cgroup") == 0 && lists(super, controller);
}

/* The group's path below its mount; a path that the mount does not show becomes the mount
 * itself. */
static const char *below_mount(const char *path, const char *mount_root)
{
    size_t len = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);

    if (strncmp(path, mount_root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
        return "";
    return strcmp(path + len, "/") == 0 ? "" : path + len;
}

static int find_mount(const char *root, const char *controller, const char *path,
                      struct group *ret_group, struct ps_fault *fault)
{
    char name[PATH_SIZE], mount_root[PATH_SIZE], point[PATH_SIZE], *line = NULL;
    size_t size = 0;
    int err = PS_E_NOT_FOUND;

    FILE *file = join(name, root, "proc/self/mountinfo") ? fopen(name, "re") : NULL;
    if (file == NULL)
        return ps_fault(fault, PS_E_IO, name, "cannot be opened: %s", strerror(errno));
    while (err == PS_E_NOT_FOUND && getline(&line, &size, file) > 0) {
        if (!is_mount_of(line, controller, mount_root, point))
            continue;
        const char *below = below_mount(path, mount_root);
        int top = snprintf(ret_group->dir, PATH_SIZE, "%s%s", root, point);
        int len = snprintf(ret_group->dir, PATH_SIZE, "%s%s%s", root, point, below);
        ret_group->top = (size_t)top;
        ret_group->is_v2 = controller[0] == '\0';
        err = len < PATH_SIZE ? 0 : PS_E_IO;
    }
    free(line);
    (void)fclose(file); /* it was only read */
    if (err == 0 && access(ret_group->dir, F_OK) != 0)
        return ps_fault(fault, PS_E_IO, ret_group->dir,
                        "the control group of this process does not exist: %s", strerror(errno));
    return err == PS_E_IO ? ps_fault(fault, err, point, "its path is too long") : err;
}

/* PS_E_NOT_FOUND: this process is in no group of the controller ("" = of v2), or none is mounted;
 * no fault is written. */
static int find_group(const char *root, const char *controller, struct group *ret_group,
                      struct ps_fault *fault)
{
    char text[TEXT_SIZE], path[PATH_SIZE];
    struct ps_fault none;
    int err = read_text(root, "proc/self/cgroup", text, &none);

    if (err == PS_E_IO)
        return ps_fault(fault, err, none.path, "%s", none.text);
    if (err < 0)
        return err;
    if (controller[0] != '\0' && find_path(text, controller, path) &&
        (err = find_mount(root, controller, path, ret_group, fault)) != PS_E_NOT_FOUND)
        return err;
    return find_path(text, "", path) ? find_mount(root, "", path, ret_group, fault)
                                     : PS_E_NOT_FOUND;
}

/* Moves to the parent group. False: there is none. */
static bool go_up(struct group *group)
{
    char *slash = strrchr(group->dir, '/');

    if (strlen(group->dir) <= group->top || slash == NULL)
        return false;
    *slash = '\0';
    return true;
}

/* --- processors --- */

/* The quota of one level; *ret_cpus stays unchanged if it has none. */
static int read_quota_v1(const char *dir, double *ret_cpus, struct ps_fault *fault)
{
    char text[TEXT_SIZE];
    uint64_t quota, period;
    const char *end;
    int err = read_text(dir, "cpu.cfs_quota_us", text, fault);

    if (err == 0 && strcmp(text, "-1\n") == 0)
        return 0;
    if (err < 0)
        return err;
    if (!parse_number(text, &quota, &end))
        return corrupt(fault, dir, "cpu.cfs_quota_us", "a number");
    err = read_number(dir, "cpu.cfs_period_us", &period, fault);
    if (err == 0 && period == 0)
        err = corrupt(fault, dir, "cpu.cfs_period_us", "a period");
    if (err == 0)
        *ret_cpus = (double)quota / (double)period;
    return err == PS_E_NOT_FOUND ? PS_E_IO : err;
}

/* "max 100000" or "10000 100000". */
static int read_quota_v2(const char *dir, double *ret_cpus, struct ps_fault *fault)
{
    char text[TEXT_SIZE];
    uint64_t quota, period;
    const char *end;
    int err = read_text(dir, "cpu.max", text, fault);

    if (err < 0 || strncmp(text, "max ", 4) == 0)
        return err;
    if (!parse_number(text, &quota, &end) || *end != ' ' || !parse_number(end + 1, &period, &end) ||
        period == 0)
        return corrupt(fault, dir, "cpu.max", "a quota and a period");
    *ret_cpus = (double)quota / (double)period;
    return 0;
}

static double machine_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than the set can hold */
    return online > 0 ? (double)online : 1;
}

int adm_cgroup_cpus(const char *root, double *ret_cpus, struct ps_fault *fault)
{
    double cpus = machine_cpus();
    struct group group;
    int err = find_group(root, "cpu", &group, fault);

    if (err < 0 && err != PS_E_NOT_FOUND)
        return err;
    for (bool more = err == 0; more; more = go_up(&group)) {
        double quota = cpus;
        err = group.is_v2 ? read_quota_v2(group.dir, &quota, fault)
                          : read_quota_v1(group.dir, &quota, fault);
        if (err < 0 && err != PS_E_NOT_FOUND) /* not found: this level has no limit */
            return err;
        if (quota < cpus)
            cpus = quota;
    }
    *ret_cpus = cpus;
    return 0;
}

/* --- memory --- */

static int read_limit(const struct group *group, uint64_t *ret_limit, struct ps_fault *fault)
{
    const char *name = group->is_v2 ? "memory.max" : "memory.limit_in_bytes", *end;
    char text[TEXT_SIZE];
    int err = read_text(group->dir, name, text, fault);

    *ret_limit = NO_LIMIT;
    if (err == PS_E_NOT_FOUND || (err == 0 && strcmp(text, "max\n") == 0))
        return 0;
    if (err < 0)
        return err;
    return parse_number(text, ret_limit, &end) ? 0 : corrupt(fault, group->dir, name, "a number");
}

/* In use at this level, of `limit`. */
static int read_use(const struct group *group, uint64_t limit, double *ret_share,
                    struct ps_fault *fault)
{
    const char *cache = group->is_v2 ? "inactive_file" : "total_inactive_file";
    char text[TEXT_SIZE];
    uint64_t used, dropped;
    int err = read_number(group->dir, group->is_v2 ? "memory.current" : "memory.usage_in_bytes",
                          &used, fault);

    if (err == 0)
        err = read_text(group->dir, "memory.stat", text, fault);
    if (err == 0 && !find_number(text, cache, &dropped))
        err = corrupt(fault, group->dir, "memory.stat", cache);
    if (err < 0)
        return err == PS_E_NOT_FOUND ? PS_E_IO : err;
    *ret_share = used <= dropped ? 0 : limit == 0 ? 1 : (double)(used - dropped) / (double)limit;
    return 0;
}

static int read_machine_memory(const char *root, uint64_t *ret_total, double *ret_share,
                               struct ps_fault *fault)
{
    char text[TEXT_SIZE];
    uint64_t available;
    int err = read_text(root, "proc/meminfo", text, fault);

    if (err < 0)
        return err;
    if (!find_number(text, "MemTotal", ret_total) || *ret_total == 0 ||
        !find_number(text, "MemAvailable", &available) || available > *ret_total)
        return corrupt(fault, root, "proc/meminfo", "MemTotal and MemAvailable");
    *ret_share = 1 - (double)available / (double)*ret_total;
    *ret_total *= 1024;
    return 0;
}

int adm_cgroup_memory(const char *root, double *ret_share, struct ps_fault *fault)
{
    struct group group;
    uint64_t total, limit;
    double machine = 0, share, most = -1;
    int err = read_machine_memory(root, &total, &machine, fault);

    if (err < 0)
        return err;
    err = find_group(root, "memory", &group, fault);
    if (err < 0 && err != PS_E_NOT_FOUND)
        return err;
    for (bool more = err == 0; more; more = go_up(&group)) {
        if ((err = read_limit(&group, &limit, fault)) < 0)
            return err;
        if (limit >= total)
            continue;
        if ((err = read_use(&group, limit, &share, fault)) < 0)
            return err;
        if (share > most)
            most = share;
    }
    *ret_share = most >= 0 ? most : machine;
    return 0;
}

/* --- pressure --- */

int adm_cgroup_pressure(const char *root, const char *resource, double *ret_share,
                        struct ps_fault *fault)
{
    char text[TEXT_SIZE], name[64];
    const char *dir = root;
    struct group group;
    double percent;
    int err = find_group(root, "", &group, fault);

    if (err < 0 && err != PS_E_NOT_FOUND)
        return err;
    (void)snprintf(name, sizeof name, "%s.pressure", resource);
    if (err == 0)
        err = read_text(dir = group.dir, name, text, fault);
    if (err == PS_E_NOT_FOUND) {
        (void)snprintf(name, sizeof name, "proc/pressure/%s", resource);
        err = read_text(dir = root, name, text, fault);
    }
    if (err < 0)
        return err;
    if (sscanf(text, "some avg10=%lf", &percent) != 1 || !(percent >= 0 && percent <= 100))
        return corrupt(fault, dir, name, "some avg10=");
    *ret_share = percent / 100;
    return 0;
}

/* --- the machine --- */

/* "cpu user nice system idle iowait irq softirq steal …"; guests are counted as user, too. */
int adm_machine_cpu_read(const char *root, struct adm_machine_cpu *ret_cpu, struct ps_fault *fault)
{
    char text[TEXT_SIZE];
    uint64_t at[8], total = 0;
    int err = read_text(root, "proc/stat", text, fault);

    if (err < 0)
        return err;
    if (sscanf(text,
               "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64,
               &at[0], &at[1], &at[2], &at[3], &at[4], &at[5], &at[6], &at[7]) != 8)
        return corrupt(fault, root, "proc/stat", "the processors' times");
    for (size_t i = 0; i < 8; i++)
        total += at[i];
    *ret_cpu = (struct adm_machine_cpu){.busy = total - at[3] - at[4], .total = total};
    return 0;
}
