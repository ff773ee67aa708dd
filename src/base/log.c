/*
 * log.c - formatting of log lines, the ring, and the thread that empties it.
 *
 * A caller formats on its own stack, then copies the line into the ring under the
 * leaf lock. The writer copies a batch out under the lock and writes it unlocked.
 * It is woken only when the ring goes from empty to non-empty, after the lock has
 * been dropped, so that a busy log costs its callers no system call.
 *
 * Text may hold what a client sent: control characters are replaced, so that
 * nobody can forge a line or drive the terminal of who reads it.
 *
 * Threads: any. fork() is safe before log_start().
 * Not here: the outputs (log_sink.c).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "log_int.h"

#define RING_BYTES       (UINT32_C(1) << 20)
#define BATCH_BYTES      32768
#define BATCH_LINES      256
#define LOST_INTERVAL_US USEC_PER_SEC       /* between two reports of lost lines */
#define STOP_WAIT_US     (2 * USEC_PER_SEC) /* for a stalled stderr, in log_stop() */
#define STOP_JOIN_SEC    4                  /* for a stalled file or syslog; then the writer is left behind */

static const char *const level_words[] = {
    [LOG_LVL_FATAL] = "FATAL", [LOG_LVL_ERROR] = "ERROR", [LOG_LVL_WARNING] = "WARNING",
    [LOG_LVL_LOG] = "LOG",     [LOG_LVL_DEBUG] = "DEBUG", [LOG_LVL_NOISE] = "NOISE",
};

static struct lock ring_lock = LOCK_INITIALIZER(LOCK_RANK_LEAF);

/* [ring_lock] head and tail run freely; their difference is what is in the ring. */
static char ring[RING_BYTES];
static uint32_t ring_head, ring_tail;
static bool is_running;  /* lines go into the ring; the writer itself clears it when it ends */
static bool is_stopping; /* the writer is to end once the ring is empty */

/* Signalled with the ring no longer empty, or is_stopping. */
static pthread_cond_t ring_filled;
static pthread_once_t ring_filled_once = PTHREAD_ONCE_INIT;

/* [atomic] */
static _Atomic int verbosity;
static _Atomic uint64_t lost;

/* [control thread] */
static pthread_t writer;
static bool has_writer;

/* [writer thread] */
static struct {
    uint32_t count;
    struct log_record records[BATCH_LINES];
    char text[BATCH_BYTES];
} batch;

/* ---- formatting ---- */

static size_t format_head(char *out, size_t size, enum log_level level)
{
    /* The broken-down time changes once a second; localtime_r() takes a lock of libc. */
    static _Thread_local int64_t cached_sec = -1;
    static _Thread_local char date[24], zone[16];
    int64_t now_us = clock_wall_us();
    int64_t sec = now_us / USEC_PER_SEC;
    if (sec != cached_sec) {
        struct tm tm;
        time_t t = (time_t)sec;
        if (localtime_r(&t, &tm) == NULL)
            memset(&tm, 0, sizeof(tm));
        if (strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm) == 0)
            date[0] = '\0';
        if (strftime(zone, sizeof(zone), "%Z", &tm) == 0)
            zone[0] = '\0';
        cached_sec = sec;
    }
    int n = snprintf(out, size, "%s.%03d %s [%d] %s ", date, (int)(now_us % USEC_PER_SEC / 1000), zone,
                     (int)getpid(), level_words[level]);
    return n > 0 ? (size_t)n : 0;
}

/* Newlines and tabs become blanks, other control characters (also C1 in UTF-8) question marks. */
static void replace_controls(char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned char next = i + 1 < len ? (unsigned char)s[i + 1] : 0;
        if (c == '\n' || c == '\r' || c == '\t')
            s[i] = ' ';
        else if (c < 0x20 || c == 0x7f)
            s[i] = '?';
        else if (c == 0xc2 && next >= 0x80 && next <= 0x9f)
            s[i] = s[i + 1] = '?';
    }
}

/* Ends the text at `end` with dots, and not within a UTF-8 character. Returns the new end. */
static size_t end_with_dots(char *s, size_t start, size_t end)
{
    size_t at = end - 3;
    for (int i = 0; i < 3 && at > start && ((unsigned char)s[at] & 0xc0) == 0x80; i++)
        at--;
    memcpy(s + at, "...", 3);
    return at + 3;
}

static struct log_record format_line(char out[LOG_LINE_MAX], enum log_level level, const char *prefix,
                                     const char *fmt, va_list ap)
{
    int caller_errno = errno; /* for %m */
    size_t start = format_head(out, LOG_LINE_MAX, level);
    int n = prefix != NULL ? snprintf(out + start, LOG_LINE_MAX - start, "%s", prefix) : 0;
    size_t end = start + (n > 0 ? (size_t)n : 0);

    if (end < LOG_LINE_MAX) {
        errno = caller_errno;
        n = vsnprintf(out + end, LOG_LINE_MAX - end, fmt, ap);
        end += n > 0 ? (size_t)n : 0;
    }
    if (end >= LOG_LINE_MAX)
        end = end_with_dots(out, start, LOG_LINE_MAX - 1);
    while (end > start && out[end - 1] == '\n')
        end--;
    replace_controls(out + start, end - start);
    out[end++] = '\n';
    return (struct log_record){.len = (uint16_t)end, .level = (uint8_t)level, .text_offset = (uint8_t)start};
}

static struct log_record format_linef(char out[LOG_LINE_MAX], enum log_level level, const char *fmt, ...)
    printf_like(3, 4);

static struct log_record format_linef(char out[LOG_LINE_MAX], enum log_level level, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    struct log_record r = format_line(out, level, NULL, fmt, ap);
    va_end(ap);
    return r;
}

/* ---- ring ---- */

static void ring_put_locked(const void *p, uint32_t len)
{
    uint32_t at = ring_head % RING_BYTES;
    uint32_t first = len < RING_BYTES - at ? len : RING_BYTES - at;
    memcpy(ring + at, p, first);
    memcpy(ring, (const char *)p + first, len - first);
    ring_head += len;
}

static void ring_peek_locked(void *p, uint32_t offset, uint32_t len)
{
    uint32_t at = (ring_tail + offset) % RING_BYTES;
    uint32_t first = len < RING_BYTES - at ? len : RING_BYTES - at;
    memcpy(p, ring + at, first);
    memcpy((char *)p + first, ring, len - first);
}

/* Moves what fits from the ring into the batch. */
static void batch_fill_locked(void)
{
    uint32_t len = 0;
    batch.count = 0;
    while (ring_head != ring_tail && batch.count < BATCH_LINES) {
        struct log_record r;
        ring_peek_locked(&r, 0, sizeof(r));
        if (len + r.len > BATCH_BYTES)
            break;
        ring_peek_locked(batch.text + len, sizeof(r), r.len);
        ring_tail += (uint32_t)sizeof(r) + r.len;
        batch.records[batch.count++] = r;
        len += r.len;
    }
}

enum put_result { PUT_OK, PUT_WAKE, PUT_FULL, PUT_NOT_RUNNING };

static enum put_result ring_put_line(const struct log_record *r, const char *line)
{
    enum put_result result;
    lock_acquire(&ring_lock);
    uint32_t in_use = ring_head - ring_tail;
    if (!is_running) {
        result = PUT_NOT_RUNNING;
    } else if (in_use + sizeof(*r) + r->len > RING_BYTES) {
        result = PUT_FULL;
    } else {
        ring_put_locked(r, sizeof(*r));
        ring_put_locked(line, r->len);
        result = in_use == 0 ? PUT_WAKE : PUT_OK;
    }
    lock_release(&ring_lock);
    return result;
}

/* ---- writer thread ---- */

/* Waits for lines, the order to stop, or wake_us (monotonic; 0 = no limit). */
static void ring_wait_locked(int64_t wake_us)
{
    struct timespec ts = {.tv_sec = (time_t)(wake_us / USEC_PER_SEC),
                          .tv_nsec = wake_us % USEC_PER_SEC * 1000};
    while (ring_head == ring_tail && !is_stopping) {
        int rc = wake_us != 0 ? pthread_cond_timedwait(&ring_filled, &ring_lock.mutex, &ts)
                              : pthread_cond_wait(&ring_filled, &ring_lock.mutex);
        if (rc == ETIMEDOUT)
            return;
    }
}

static void report_lost(uint64_t n)
{
    char line[LOG_LINE_MAX];
    struct log_record r = format_linef(
        line, LOG_LVL_WARNING, "log: %llu lines lost (output too slow or full)", (unsigned long long)n);
    /* Not counted when it is dropped itself: log_lost() has the sum. */
    (void)!log_sink_write(line, &r, 1);
}

static void *writer_main(void *unused)
{
    uint64_t reported = atomic_load(&lost);
    int64_t next_report_us = 0;
    bool is_done = false;
    (void)unused;

    while (!is_done) {
        bool has_news = atomic_load(&lost) != reported;
        lock_acquire(&ring_lock);
        ring_wait_locked(has_news ? next_report_us : 0);
        batch_fill_locked();
        is_done = is_stopping && batch.count == 0;
        if (is_done)
            is_running = false;
        lock_release(&ring_lock);

        if (batch.count > 0)
            atomic_fetch_add(&lost, log_sink_write(batch.text, batch.records, batch.count));

        uint64_t now_lost = atomic_load(&lost);
        int64_t now_us = clock_now_us();
        if (now_lost != reported && (now_us >= next_report_us || is_done)) {
            report_lost(now_lost - reported);
            reported = now_lost;
            next_report_us = now_us + LOST_INTERVAL_US;
        }
    }
    return NULL;
}

static void ring_filled_init(void)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&ring_filled, &attr);
    pthread_condattr_destroy(&attr);
}

/* False when lines already go into the ring: a writer that log_stop() left behind still has it. */
static bool set_running(bool running)
{
    lock_acquire(&ring_lock);
    bool is_change = is_running != running;
    if (is_change) {
        is_running = running;
        is_stopping = false;
    }
    lock_release(&ring_lock);
    return is_change;
}

void log_thread_signals(sigset_t *set)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigfillset(set);
    for (size_t i = 0; i < ARRAY_SIZE(crashes); i++)
        sigdelset(set, crashes[i]);
}

void log_start(void)
{
    sigset_t set, old;
    pthread_once(&ring_filled_once, ring_filled_init);
    if (has_writer || !set_running(true))
        return;
    log_sink_set_deadline(0);
    /* Signals belong to the control thread. */
    log_thread_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    int rc = pthread_create(&writer, NULL, writer_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        (void)set_running(false);
        log_error("could not start the log thread: %s; log lines are written directly", strerror(rc));
        return;
    }
    pthread_setname_np(writer, "log");
    has_writer = true;
}

void log_stop(void)
{
    struct timespec until;
    if (!has_writer)
        return;
    has_writer = false;
    log_sink_set_deadline(clock_now_us() + STOP_WAIT_US);
    lock_acquire(&ring_lock);
    is_stopping = true;
    lock_release(&ring_lock);
    pthread_cond_signal(&ring_filled);

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_JOIN_SEC;
    if (pthread_timedjoin_np(writer, NULL, &until) != 0)
        pthread_detach(writer);
}

/* ---- public ---- */

bool log_configure(const struct log_config *c)
{
    if (!log_sink_configure(c))
        return false;
    atomic_store_explicit(&verbosity, c->verbose, memory_order_relaxed);
    return true;
}

bool log_enabled(enum log_level level)
{
    return (int)level <= (int)LOG_LVL_LOG + atomic_load_explicit(&verbosity, memory_order_relaxed);
}

void log_vline(enum log_level level, const char *prefix, const char *fmt, va_list ap)
{
    char line[LOG_LINE_MAX];
    int saved_errno = errno;
    if (!log_enabled(level))
        return;
    lock_assert_below(LOCK_RANK_REGISTRY); /* no log call under any lock */

    struct log_record r = format_line(line, level, prefix, fmt, ap);
    switch (ring_put_line(&r, line)) {
    case PUT_OK: break;
    case PUT_WAKE: pthread_cond_signal(&ring_filled); break;
    case PUT_FULL: atomic_fetch_add(&lost, 1); break;
    case PUT_NOT_RUNNING: atomic_fetch_add(&lost, log_sink_write(line, &r, 1)); break;
    }
    errno = saved_errno;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_vline(level, NULL, fmt, ap);
    va_end(ap);
}

void log_memory(uint32_t *used_bytes, uint32_t *size_bytes)
{
    lock_acquire(&ring_lock);
    *used_bytes = ring_head - ring_tail;
    lock_release(&ring_lock);
    *size_bytes = RING_BYTES;
}

uint64_t log_lost(void)
{
    return atomic_load(&lost);
}

bool log_rate_ok(struct log_rate *r, int64_t interval_us, uint64_t *suppressed)
{
    int64_t now_us = clock_now_us();
    int64_t next_us = atomic_load_explicit(&r->next_us, memory_order_relaxed);
    if (now_us < next_us || !atomic_compare_exchange_strong(&r->next_us, &next_us, now_us + interval_us)) {
        atomic_fetch_add_explicit(&r->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *suppressed = atomic_exchange_explicit(&r->suppressed, 0, memory_order_relaxed);
    return true;
}
