/*
 * process.c - what a process does once: user, background, pidfile, limits, crash handler, log.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"
#include "main_int.h"

#define OWN_DESCRIPTORS 100 /* listeners, loops, log, HTTP, names, cancel requests */

/* What looks for leaks at the end of the process does so as a debugger. */
#if defined(__SANITIZE_ADDRESS__)
#define PROCESS_HAS_LEAK_CHECK 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PROCESS_HAS_LEAK_CHECK 1
#endif
#endif
#ifndef PROCESS_HAS_LEAK_CHECK
#define PROCESS_HAS_LEAK_CHECK 0
#endif

bool process_switch_user(const char *user)
{
    if (geteuid() != 0)
        return true;
    if (user[0] == '\0') {
        fprintf(stderr, "pgsluice must not run as root: name a user with -u or the setting \"user\"\n");
        return false;
    }
    const struct passwd *pw = getpwnam(user);
    if (pw == NULL) {
        fprintf(stderr, "user \"%s\" does not exist\n", user);
        return false;
    }
    if (pw->pw_uid == 0) {
        fprintf(stderr, "user \"%s\" is root\n", user);
        return false;
    }
    if (initgroups(user, pw->pw_gid) != 0 || setgid(pw->pw_gid) != 0 || setuid(pw->pw_uid) != 0) {
        fprintf(stderr, "cannot become user \"%s\": %s\n", user, strerror(errno));
        return false;
    }
    return true;
}

void process_forbid_core_dumps(bool forbid)
{
#if !PROCESS_HAS_LEAK_CHECK
    if (prctl(PR_SET_DUMPABLE, forbid ? 0 : 1) != 0)
        log_warning("core dumps cannot be %s: %s", forbid ? "forbidden" : "allowed", strerror(errno));
#else
    (void)forbid;
#endif
}

/* The process of an existing pidfile, if it is alive; else 0. */
static pid_t alive_in_pidfile(const char *path)
{
    char text[32] = "";
    int64_t pid;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    if (!str_to_int64(text, &pid) || pid <= 0 || (kill((pid_t)pid, 0) != 0 && errno == ESRCH))
        return 0;
    return (pid_t)pid;
}

bool process_check_background(const struct settings *s)
{
    if (s->logfile[0] == '\0' && s->syslog == 0) {
        fprintf(stderr, "daemon needs a logfile or syslog in its configuration\n");
        return false;
    }
    if (s->pidfile[0] == '\0') {
        fprintf(stderr, "daemon needs a pidfile in its configuration\n");
        return false;
    }
    if (!process_check_pidfile(s->pidfile))
        return false;
    int fd = open(s->pidfile, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        fprintf(stderr, "could not write pidfile \"%s\": %s\n", s->pidfile, strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

bool process_check_pidfile(const char *path)
{
    pid_t other = path[0] != '\0' ? alive_in_pidfile(path) : 0;
    if (other == 0 || other == getpid())
        return true;
    fprintf(stderr, "pidfile \"%s\" belongs to process %d, which is alive: already running?\n", path,
            (int)other);
    return false;
}

bool process_daemonize(void)
{
    pid_t pid = fork();
    if (pid < 0) {
        fprintf(stderr, "cannot go to the background: %s\n", strerror(errno));
        return false;
    }
    if (pid > 0)
        _exit(0);
    if (setsid() < 0 || (pid = fork()) < 0)
        return false;
    if (pid > 0)
        _exit(0);
    int fd = open("/dev/null", O_RDWR);
    if (fd < 0)
        return false;
    dup2(fd, 0);
    dup2(fd, 1);
    dup2(fd, 2);
    if (fd > 2)
        close(fd);
    return true;
}

bool process_write_pidfile(const char *path)
{
    char text[32];

    if (path[0] == '\0')
        return true;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (fd < 0 || write(fd, text, (size_t)len) != len) {
        log_fatal("could not write pidfile \"%s\": %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    close(fd);
    return true;
}

void process_remove_pidfile(const char *path)
{
    if (path[0] != '\0' && alive_in_pidfile(path) == getpid())
        (void)unlink(path);
}

/* As many as one database can get to have: no more than there may be clients to use them, but for what is
 * kept without any. Pools of further users come on top of that, and nobody knows how many those will be. */
static int64_t possible_servers(const struct config *cfg, const struct database_config *db)
{
    const struct settings *s = config_settings(cfg);
    int64_t n = (int64_t)config_pool_size(cfg, db, NULL) + config_reserve_pool_size(cfg, db, NULL);
    int least = config_min_pool_size(cfg, db), most = config_max_db_connections(cfg, db);

    if (n > s->max_client_conn)
        n = s->max_client_conn;
    if (n < least)
        n = least;
    return most > 0 && n > most ? most : n;
}

static int64_t descriptors_wanted(const struct config *cfg, int64_t *servers)
{
    *servers = 0;
    for (size_t i = 0; i < config_database_count(cfg); i++)
        *servers += possible_servers(cfg, config_database_at(cfg, i));
    return config_settings(cfg)->max_client_conn + *servers + OWN_DESCRIPTORS;
}

void process_raise_descriptor_limit(const struct config *cfg)
{
    struct rlimit rl;
    int64_t servers, wanted = descriptors_wanted(cfg, &servers);

    if (getrlimit(RLIMIT_NOFILE, &rl) != 0)
        return;
    if (rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &rl) != 0)
            (void)getrlimit(RLIMIT_NOFILE, &rl);
    }
    if (rl.rlim_cur == RLIM_INFINITY || rl.rlim_cur >= (rlim_t)wanted)
        return;
    log_warning(
        "the limit of open files (%llu) is too low for max_client_conn = %d: with up to %lld server "
        "connections of the pools and %d files of its own that makes %lld. Raise it (ulimit -n, LimitNOFILE "
        "of systemd, --ulimit nofile of a container), or lower max_client_conn or the pools' sizes",
        (unsigned long long)rl.rlim_cur, config_settings(cfg)->max_client_conn, (long long)servers,
        OWN_DESCRIPTORS, (long long)wanted);
}

/* ---- crashes ---- */

static void on_crash(int sig)
{
    void *frames[64];
    char text[64];

    snprintf(text, sizeof(text), "CRASH: signal %d, backtrace follows\n", sig);
    log_emergency(text);
    int fds[2], n_fds = log_emergency_fds(fds);
    int n = backtrace(frames, (int)ARRAY_SIZE(frames));
    for (int i = 0; i < n_fds; i++) /* does not allocate: the heap may be what is broken, and locked */
        backtrace_symbols_fd(frames, n, fds[i]);
    signal(sig, SIG_DFL);
    raise(sig);
}

void process_catch_crashes(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    struct sigaction sa = {.sa_handler = on_crash, .sa_flags = SA_RESETHAND | SA_NODEFER};
    void *frame;

    (void)backtrace(&frame, 1); /* loads what it needs now, not in the handler */
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaction(signals[i], &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* ---- log, CPUs ---- */

bool process_open_log(const struct settings *s, const struct args *a)
{
    struct log_config lc = {
        .file = s->logfile,
        .to_stderr = !a->quiet && !a->daemonize,
        .to_syslog = s->syslog != 0,
        .syslog_ident = s->syslog_ident,
        .syslog_facility = s->syslog_facility,
        .verbose = s->verbose,
    };
    if (log_configure(&lc))
        return true;
    fprintf(stderr, "could not open log file \"%s\": %s\n", s->logfile, strerror(errno));
    return false;
}

int process_auto_workers(void)
{
    cpu_set_t set;
    int n = 1;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        n = CPU_COUNT(&set);
    return cgroup_workers(n, cgroup_quota(""));
}
