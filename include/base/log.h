/*
 * log.h - the log: never blocks the caller.
 *
 * A line is formatted by the caller, copied into a ring (leaf lock, no system
 * call) and written by the log thread to stderr, a file and syslog. When the
 * ring is full the line is lost and counted; the count is logged when there is
 * room again. Before log_start() and after log_stop() lines go out directly.
 *
 * Format: "YYYY-MM-DD HH:MM:SS.mmm TZ [pid] LEVEL TEXT".
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum log_level { LOG_LVL_FATAL, LOG_LVL_ERROR, LOG_LVL_WARNING, LOG_LVL_LOG, LOG_LVL_DEBUG, LOG_LVL_NOISE };

struct log_config {
    const char *file; /* "" = none */
    bool to_stderr;   /* off with -q and when daemonized */
    bool to_syslog;
    const char *syslog_ident;
    const char *syslog_facility;
    int verbose; /* 0: LOG and above, 1: DEBUG too, 2: NOISE too */
};

/* Sets where lines go; opens file and syslog. May be called again (reload, reopening a rotated
 * file). Returns false, with errno, when the file cannot be opened; then the old one stays. */
bool log_configure(const struct log_config *c) must_check;
/* Could it be opened as the log's file? "" is fine. False, with errno. */
bool log_can_open(const char *file) must_check;
/* Starts and stops the writer thread; stop writes out what is left. */
void log_start(void);
void log_stop(void);
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3) cold_path;
void log_vline(enum log_level level, const char *prefix, const char *fmt, va_list ap) cold_path;
/* For a crash handler: writes text to all places directly, async-signal-safe. */
void log_emergency(const char *text) cold_path;
/* Where log_emergency() writes; returns how many of fds[2] are set. Async-signal-safe. */
int log_emergency_fds(int fds[2]);
/* For pthread_sigmask() around the making of threads: all signals but those that a crash raises, which would
 * kill the process without a word while they are blocked. */
void log_thread_signals(sigset_t *set);
/* Bytes of the ring of lines that wait to be written, and its size. Any thread. */
void log_memory(uint32_t *used_bytes, uint32_t *size_bytes);
/* Lines lost so far. */
uint64_t log_lost(void);

#define log_fatal(...)   log_line(LOG_LVL_FATAL, __VA_ARGS__)
#define log_error(...)   log_line(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LVL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LVL_LOG, __VA_ARGS__)
#define log_debug(...)                                                                                       \
    do {                                                                                                     \
        if (log_enabled(LOG_LVL_DEBUG))                                                                      \
            log_line(LOG_LVL_DEBUG, __VA_ARGS__);                                                            \
    } while (0)
#define log_noise(...)                                                                                       \
    do {                                                                                                     \
        if (log_enabled(LOG_LVL_NOISE))                                                                      \
            log_line(LOG_LVL_NOISE, __VA_ARGS__);                                                            \
    } while (0)

/*
 * Rate limit for a line that repeats: true when the caller should log now; *suppressed
 * is how many were passed over since the last time. One static struct per place.
 */
struct log_rate {
    _Atomic int64_t next_us;
    _Atomic uint64_t suppressed;
};
bool log_rate_ok(struct log_rate *r, int64_t interval_us, uint64_t *suppressed);

#endif
