/*
 * cgroup.c - the CPU quota of the control groups that the process is in.
 *
 * In a container the group is usually the root of what it sees; under systemd, or without a namespace of its
 * own, it is named in /proc/self/cgroup, and each group above may set a limit too: the lowest counts. Version
 * 2 has cpu.max, version 1 two files in the cpu controller's hierarchy.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "main_int.h"

#define PATH_BYTES 4096

/* False when the file is not there. */
static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* Hundredths; 0: no limit, or no such group. */
static int quota_of(const char *dir, bool is_v2)
{
    char path[PATH_BYTES + 32], text[64];
    long long quota = 0, period = 0;

    if (is_v2) {
        snprintf(path, sizeof(path), "%s/cpu.max", dir);
        if (!read_text(path, text, sizeof(text)) || sscanf(text, "%lld %lld", &quota, &period) != 2)
            return 0; /* "max 100000" among them */
    } else {
        snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", dir);
        if (!read_text(path, text, sizeof(text)) || sscanf(text, "%lld", &quota) != 1)
            return 0;
        snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", dir);
        if (!read_text(path, text, sizeof(text)) || sscanf(text, "%lld", &period) != 1)
            return 0;
    }
    if (quota <= 0 || period <= 0)
        return 0;
    return quota * 100 / period > 0 ? (int)(quota * 100 / period) : 1;
}

/* The lowest of the group and those above it, up to the mount point. */
static int lowest(const char *mount, const char *group, bool is_v2)
{
    char dir[PATH_BYTES];
    int found = 0;

    if ((size_t)snprintf(dir, sizeof(dir), "%s%s", mount, group) >= sizeof(dir))
        return 0;
    for (;;) {
        int quota = quota_of(dir, is_v2);
        if (quota > 0 && (found == 0 || quota < found))
            found = quota;
        char *slash = strrchr(dir, '/');
        if (strlen(dir) <= strlen(mount) || slash == NULL)
            return found;
        *slash = '\0';
    }
}

/* Does the list of controllers ("cpu,cpuacct") have cpu? */
static bool has_cpu(const char *list, size_t len)
{
    for (size_t i = 0; i < len; i += strcspn(list + i, ",:") + 1)
        if (strncmp(list + i, "cpu", 3) == 0 && (list[i + 3] == ',' || list[i + 3] == ':'))
            return true;
    return false;
}

/* One line of /proc/self/cgroup: "NUMBER:CONTROLLERS:PATH". */
static int quota_of_line(const char *root, const char *line)
{
    char mount[PATH_BYTES];
    const char *list = strchr(line, ':');
    const char *group = list != NULL ? strchr(list + 1, ':') : NULL;

    if (group == NULL)
        return 0;
    list++;
    bool is_v2 = *list == ':';
    if (!is_v2 && !has_cpu(list, (size_t)(group - list)))
        return 0;
    snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s", root, is_v2 ? "" : "/cpu");
    int quota = lowest(mount, strcmp(group + 1, "/") == 0 ? "" : group + 1, is_v2);
    /* a container that sees the host's name of its group, and its own group as the root */
    return quota > 0 ? quota : lowest(mount, "", is_v2);
}

int cgroup_quota(const char *root)
{
    char path[PATH_BYTES], text[PATH_BYTES * 2];
    char *save = NULL;
    int found = 0;

    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (!read_text(path, text, sizeof(text)))
        return 0;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        int quota = quota_of_line(root, line);
        if (quota > 0 && (found == 0 || quota < found))
            found = quota;
    }
    return found;
}

int cgroup_workers(int n_cpus, int quota)
{
    int n = n_cpus, allowed = quota / 100 + (quota % 100 != 0);

    if (quota > 0 && allowed < n)
        n = allowed;
    return n < 1 ? 1 : n > 8 ? 8 : n;
}
