/*
 * test_cgroup.c - CPU quotas of control groups, in trees as kernels show them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "main_int.h"

static char root[64];

/* Makes the directories on the way. */
static void put(const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/pgs-cgroup-XXXXXX");
    return mkdtemp(root) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

static void test_quotas(void **state)
{
    static const struct {
        const char *what;
        const char *files[8]; /* path, text, ... */
        int quota;
    } rows[] = {
        {"nothing", {NULL}, 0},
        {"version 2, no limit", {"/proc/self/cgroup", "0::/\n", "/sys/fs/cgroup/cpu.max", "max 100000\n"}, 0},
        {"version 2, a container",
         {"/proc/self/cgroup", "0::/\n", "/sys/fs/cgroup/cpu.max", "150000 100000\n"},
         150},
        {"version 2, the lowest of two",
         {"/proc/self/cgroup", "0::/a.slice/b.service\n", "/sys/fs/cgroup/a.slice/cpu.max", "100000 100000\n",
          "/sys/fs/cgroup/a.slice/b.service/cpu.max", "400000 100000\n"},
         100},
        {"version 2, the host's name in a container",
         {"/proc/self/cgroup", "0::/docker/abc\n", "/sys/fs/cgroup/cpu.max", "50000 100000\n"},
         50},
        {"version 2, next to nothing",
         {"/proc/self/cgroup", "0::/\n", "/sys/fs/cgroup/cpu.max", "100 100000\n"},
         1},
        {"version 1",
         {"/proc/self/cgroup", "3:cpuset:/x\n2:cpu,cpuacct:/d\n0::/\n",
          "/sys/fs/cgroup/cpu/d/cpu.cfs_quota_us", "250000\n", "/sys/fs/cgroup/cpu/d/cpu.cfs_period_us",
          "100000\n"},
         250},
        {"version 1, no limit",
         {"/proc/self/cgroup", "2:cpu:/\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n",
          "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
         0},
        {"nonsense", {"/proc/self/cgroup", "x\n:\n0::\n", "/sys/fs/cgroup/cpu.max", "nonsense"}, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(setup(state), 0);
        for (int f = 0; f < 8 && rows[i].files[f] != NULL; f += 2)
            put(rows[i].files[f], rows[i].files[f + 1]);
        int quota = cgroup_quota(root);
        assert_int_equal(teardown(state), 0);
        if (quota != rows[i].quota)
            fail_msg("%s: %d instead of %d", rows[i].what, quota, rows[i].quota);
    }
}

static void test_workers(void **state)
{
    static const struct {
        int cpus, quota, workers;
    } rows[] = {
        {0, 0, 1},   {1, 0, 1},   {2, 0, 2},    {8, 0, 8},     {9, 0, 8},          {64, 0, 8},
        {4, 1, 1},   {4, 50, 1},  {4, 100, 1},  {4, 101, 2},   {4, 250, 3},        {4, 400, 4},
        {4, 900, 4}, {1, 250, 1}, {64, 250, 3}, {64, 5000, 8}, {64, INT32_MAX, 8},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (cgroup_workers(rows[i].cpus, rows[i].quota) != rows[i].workers)
            fail_msg("%d CPUs, quota %d: %d", rows[i].cpus, rows[i].quota,
                     cgroup_workers(rows[i].cpus, rows[i].quota));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quotas), cmocka_unit_test(test_workers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
