/*
 * log_sink.c - where log lines go: file, stderr, syslog.
 *
 * The file keeps one descriptor number for ever: reopening opens the path anew and
 * moves it onto the number with dup3(), which is atomic, so that a writer in the
 * midst of write() needs no lock against it. For the same reason the syslog
 * settings are handed over and applied by the one who writes next: log_configure()
 * never waits for a stalled output.
 *
 * stderr is asked with poll() first. When it is stalled its lines are dropped if
 * there is another output to go on with; if there is none they wait in the ring.
 *
 * Threads: configure: one at a time; write: any, one at a time through sink_mutex
 * (which is held over system calls, and so has no rank: nothing is taken under it
 * but the leaf lock).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/str.h"
#include "log_int.h"

#define STDERR_PIECE   4096 /* PIPE_BUF: what poll() promises that a pipe takes without blocking */
#define STDERR_WAIT_MS 20   /* for a reader that is merely slow, where other outputs wait behind it */

/* [atomic] */
static _Atomic int file_fd = -1; /* changes once, from -1 */
static _Atomic bool file_is_on;
static _Atomic bool stderr_is_on = true;
static _Atomic bool syslog_is_on;
static _Atomic int64_t deadline;

/* [settings_lock] */
static struct lock settings_lock = LOCK_INITIALIZER(LOCK_RANK_LEAF);
static char wanted_ident[64];
static int wanted_facility;
static unsigned wanted_generation;

/* [sink_mutex] */
static pthread_mutex_t sink_mutex = PTHREAD_MUTEX_INITIALIZER;
static char ident[64]; /* openlog() keeps the pointer */
static unsigned applied_generation;
static bool stderr_is_stalled;

static const struct {
    const char *name;
    int facility;
} facilities[] = {
    {"auth", LOG_AUTH},     {"authpriv", LOG_AUTHPRIV}, {"daemon", LOG_DAEMON}, {"user", LOG_USER},
    {"local0", LOG_LOCAL0}, {"local1", LOG_LOCAL1},     {"local2", LOG_LOCAL2}, {"local3", LOG_LOCAL3},
    {"local4", LOG_LOCAL4}, {"local5", LOG_LOCAL5},     {"local6", LOG_LOCAL6}, {"local7", LOG_LOCAL7},
};

static const int priorities[] = {
    [LOG_LVL_FATAL] = LOG_CRIT, [LOG_LVL_ERROR] = LOG_ERR,   [LOG_LVL_WARNING] = LOG_WARNING,
    [LOG_LVL_LOG] = LOG_INFO,   [LOG_LVL_DEBUG] = LOG_DEBUG, [LOG_LVL_NOISE] = LOG_DEBUG,
};

static int facility_by_name(const char *name)
{
    for (size_t i = 0; name != NULL && i < ARRAY_SIZE(facilities); i++)
        if (strcasecmp(name, facilities[i].name) == 0)
            return facilities[i].facility;
    return LOG_DAEMON;
}

/* Puts new_fd under the number that the writers use. */
static void file_set(int new_fd)
{
    int fd = atomic_load(&file_fd);
    if (fd < 0) {
        atomic_store(&file_fd, new_fd);
        return;
    }
    while (dup3(new_fd, fd, O_CLOEXEC) < 0 && (errno == EINTR || errno == EBUSY))
        ;
    close(new_fd);
}

static int file_open(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
}

bool log_can_open(const char *file)
{
    int fd = file[0] != '\0' ? file_open(file) : -1;

    if (fd >= 0)
        close(fd);
    return fd >= 0 || file[0] == '\0';
}

static bool file_configure(const char *path)
{
    if (path == NULL || path[0] == '\0') {
        bool was_on = atomic_exchange(&file_is_on, false);
        /* Lets go of the old file, so that its space is freed once it has been removed. */
        int null_fd = was_on ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
        if (null_fd >= 0)
            file_set(null_fd);
        return true;
    }
    int fd = file_open(path);
    if (fd < 0)
        return false;
    file_set(fd);
    atomic_store(&file_is_on, true);
    return true;
}

bool log_sink_configure(const struct log_config *c)
{
    int facility = facility_by_name(c->syslog_facility);
    if (!file_configure(c->file))
        return false;
    lock_acquire(&settings_lock);
    str_copy(wanted_ident, c->syslog_ident != NULL ? c->syslog_ident : "pgsluice", sizeof(wanted_ident));
    wanted_facility = facility;
    wanted_generation++;
    lock_release(&settings_lock);
    atomic_store(&syslog_is_on, c->to_syslog);
    atomic_store(&stderr_is_on, c->to_stderr);
    return true;
}

void log_sink_set_deadline(int64_t deadline_us)
{
    atomic_store(&deadline, deadline_us);
}

/* False when it cannot be written, with errno. */
static bool write_all(int fd, const char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* Waits until stderr takes a piece; false when it is stalled and the lines should be dropped. */
static bool stderr_wait(bool is_only_output)
{
    for (;;) {
        struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
        int64_t until_us = atomic_load(&deadline);
        bool is_late = until_us != 0 && clock_now_us() >= until_us;
        int timeout_ms = is_late || stderr_is_stalled ? 0 : STDERR_WAIT_MS;
        /* In slices even when there is no other output, so that a new deadline is seen. */
        int n = poll(&p, 1, is_only_output && !is_late ? STDERR_WAIT_MS : timeout_ms);
        if (n > 0) {
            stderr_is_stalled = false;
            return true;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (!is_only_output || is_late) {
            stderr_is_stalled = true;
            return false;
        }
    }
}

/* Writes one piece; true unless its lines were dropped by a stalled reader. */
static bool stderr_write(const char *p, size_t len, bool is_only_output)
{
    if (!stderr_wait(is_only_output))
        return false;
    while (!write_all(STDERR_FILENO, p, len)) {
        if (errno != EAGAIN)
            return true; /* closed: nobody is there to lose lines */
        if (!stderr_wait(is_only_output))
            return false;
    }
    return true;
}

static uint32_t stderr_write_lines(const char *text, const struct log_record *records, uint32_t count,
                                   bool is_only_output)
{
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < count;) {
        size_t len = 0;
        uint32_t first = i;
        while (i < count && len + records[i].len <= STDERR_PIECE)
            len += records[i++].len;
        if (!stderr_write(text, len, is_only_output))
            dropped += i - first;
        text += len;
    }
    return dropped;
}

static void syslog_apply_settings(void)
{
    int facility;
    lock_acquire(&settings_lock);
    bool is_new = applied_generation != wanted_generation;
    applied_generation = wanted_generation;
    facility = wanted_facility;
    if (is_new)
        memcpy(ident, wanted_ident, sizeof(ident));
    lock_release(&settings_lock);
    if (is_new)
        openlog(ident, LOG_PID, facility);
}

static void syslog_write_lines(const char *text, const struct log_record *records, uint32_t count)
{
    syslog_apply_settings();
    for (uint32_t i = 0; i < count; i++) {
        const struct log_record *r = &records[i];
        syslog(priorities[r->level], "%.*s", r->len - r->text_offset - 1, text + r->text_offset);
        text += r->len;
    }
}

uint32_t log_sink_write(const char *text, const struct log_record *records, uint32_t count)
{
    bool has_file = atomic_load(&file_is_on), has_syslog = atomic_load(&syslog_is_on);
    uint32_t dropped = 0;
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += records[i].len;

    pthread_mutex_lock(&sink_mutex);
    if (has_file && !write_all(atomic_load(&file_fd), text, len))
        dropped += count;
    if (has_syslog)
        syslog_write_lines(text, records, count);
    if (atomic_load(&stderr_is_on))
        dropped += stderr_write_lines(text, records, count, !has_file && !has_syslog);
    pthread_mutex_unlock(&sink_mutex);
    return dropped;
}

/* Async-signal-safe: atomics and write(2) only. */
int log_emergency_fds(int fds[2])
{
    bool has_file = atomic_load(&file_is_on);
    int n = 0;
    if (has_file)
        fds[n++] = atomic_load(&file_fd);
    if (atomic_load(&stderr_is_on) || !has_file)
        fds[n++] = STDERR_FILENO;
    return n;
}

/* Async-signal-safe: atomics and write(2) only. */
void log_emergency(const char *text)
{
    size_t len = strlen(text);
    int fds[2], n = log_emergency_fds(fds);
    for (int i = 0; i < n; i++) {
        if (!write_all(fds[i], text, len))
            continue;
        if (len == 0 || text[len - 1] != '\n')
            (void)!write(fds[i], "\n", 1);
    }
}
