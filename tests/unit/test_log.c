/*
 * test_log.c - the format, no forged lines, reopening, stalled outputs, lines of many threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"

static char directory[] = "/tmp/test_log_XXXXXX";
static char path[64], rotated[72];

static void configure(const char *file, bool to_stderr, int verbose)
{
    const struct log_config c = {.file = file, .to_stderr = to_stderr, .verbose = verbose};
    assert_true(log_configure(&c));
}

/* The content of a file; the caller frees it. */
static char *slurp(const char *name)
{
    FILE *f = fopen(name, "r");
    assert_non_null(f);
    char *text = NULL;
    size_t size = 0;
    ssize_t n = getdelim(&text, &size, '\0', f);
    if (n < 0) {
        free(text);
        text = strdup("");
    }
    fclose(f);
    return text;
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void assert_matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&re, text, 0, NULL, 0) != 0)
        fail_msg("'%s' does not match '%s'", text, pattern);
    regfree(&re);
}

static int setup(void **state)
{
    (void)state;
    unlink(path);
    unlink(rotated);
    configure(path, false, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_stop();
    configure("", true, 0);
    return 0;
}

static void emit(const char *prefix, const char *fmt, ...) printf_like(2, 3);

static void emit(const char *prefix, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    log_vline(LOG_LVL_LOG, prefix, fmt, ap);
    va_end(ap);
}

static void test_format(void **state)
{
    struct stat st;
    (void)state;
    log_info("hello %d", 42); /* before log_start(): directly */
    log_debug("not shown");
    char *text = slurp(path);
    assert_matches(text, "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} [A-Z0-9+-]+ "
                         "\\[[0-9]+\\] LOG hello 42\n$");
    free(text);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0137, 0);
    configure(path, false, 2);
    log_noise("noise");
    errno = ENOENT;
    log_warning("%m");
    assert_int_equal(errno, ENOENT);
    text = slurp(path);
    assert_non_null(strstr(text, " NOISE noise\n"));
    assert_non_null(strstr(text, " WARNING No such file"));
    free(text);
}

static void test_no_forged_lines(void **state)
{
    static const struct {
        const char *prefix, *text, *expected;
    } rows[] = {
        {NULL, "a\nb", " LOG a b\n"},
        {"db/us\ner: ", "x", " LOG db/us er: x\n"},
        {NULL, "a\r\tb", " LOG a  b\n"},
        {NULL, "\033[31mred\a\177", " LOG ?[31mred??\n"},
        {NULL, "c1 \302\233 end", " LOG c1 ?? end\n"},
        {NULL, "na\303\257ve", " LOG na\303\257ve\n"},
        {NULL, "newline at the end\n", " LOG newline at the end\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        setup(NULL);
        emit(rows[i].prefix, "%s", rows[i].text);
        char *text = slurp(path);
        assert_int_equal(count_lines(text), 1);
        if (strstr(text, rows[i].expected) == NULL)
            fail_msg("row %zu: '%s'", i, text);
        free(text);
    }
}

static void test_truncated(void **state)
{
    static char big[5000];
    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    log_info("%s", big);
    emit(big, "unseen");
    for (size_t i = 0; i + 2 < sizeof(big); i += 2)
        memcpy(big + i, "\303\251", 2);
    log_info("%s", big);
    char *text = slurp(path), *line = text;
    for (int i = 0; i < 3; i++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_in_range(end - line + 1, 2046, 2048);
        assert_memory_equal(end - 3, "...", 3);
        if (i == 2)
            assert_memory_equal(end - 5, "\303\251", 2); /* a whole character */
        line = end + 1;
    }
    free(text);
}

static void test_reopen(void **state)
{
    const struct log_config wrong = {.file = "/nonexistent/x", .to_stderr = false};
    (void)state;
    log_start();
    log_info("one");
    log_stop();
    assert_int_equal(rename(path, rotated), 0);
    log_start();
    configure(path, false, 0);
    assert_false(log_configure(&wrong));
    assert_int_equal(errno, ENOENT);
    log_info("two");
    log_stop();
    log_emergency("three");
    char *text = slurp(rotated);
    assert_int_equal(count_lines(text), 1);
    free(text);
    text = slurp(path);
    assert_non_null(strstr(text, " LOG two\nthree\n"));
    free(text);
}

enum { THREADS = 4, LINES = 1000 };

static void *log_many(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info("thread %d line %d.", *(int *)arg, i);
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[THREADS];
    int numbers[THREADS], next[THREADS] = {0};
    (void)state;
    uint64_t lost = log_lost();
    log_start();
    log_start(); /* harmless */
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &numbers[i]), 0);
    }
    for (int i = 0; i < 20; i++)
        configure(path, false, 0); /* reopening beside the writer */
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    log_stop();
    log_stop();
    assert_int_equal(log_lost(), lost);
    char *text = slurp(path);
    assert_int_equal(count_lines(text), THREADS * LINES);
    for (char *p = text; (p = strstr(p, "thread ")) != NULL; p++) {
        int thread, line;
        assert_int_equal(sscanf(p, "thread %d line %d.", &thread, &line), 2);
        assert_int_equal(line, next[thread]++); /* each thread's lines in its order */
    }
    free(text);
}

/* stderr is a pipe that nobody reads: callers go on, the file gets all, the losses are counted. */
static void test_stalled_stderr(void **state)
{
    int fds[2], saved = dup(STDERR_FILENO);
    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_true(fcntl(fds[1], F_SETPIPE_SZ, 65536) > 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    configure(path, true, 0);
    uint64_t lost = log_lost();
    log_start();
    for (int i = 0; i < 3000; i++)
        log_info("line %d of a hundred characters or so, that fill up the pipe of stderr", i);
    log_stop();
    uint64_t lost_with_file = log_lost() - lost;

    configure("", true, 0); /* stderr only: lines wait in the ring, then are lost */
    log_start();
    int64_t start_us = clock_now_us();
    for (int i = 0; i < 20000; i++)
        log_info("line %d of a hundred characters or so, that fill up the ring", i);
    int64_t logging_us = clock_now_us() - start_us;
    start_us = clock_now_us();
    log_stop();
    int64_t stopping_us = clock_now_us() - start_us;
    uint64_t lost_in_all = log_lost() - lost;
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[0]);
    close(fds[1]);

    assert_true(lost_with_file > 1000);
    assert_true(lost_in_all > lost_with_file + 10000);
    assert_true(logging_us < 10 * USEC_PER_SEC);
    assert_true(stopping_us < 10 * USEC_PER_SEC);
    char *text = slurp(path);
    assert_non_null(strstr(text, "line 2999 of"));
    assert_non_null(strstr(text, " lines lost"));
    free(text);
}

static void test_rate(void **state)
{
    struct log_rate r = {0};
    uint64_t suppressed = 99;
    (void)state;
    assert_true(log_rate_ok(&r, 3600 * USEC_PER_SEC, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_false(log_rate_ok(&r, 3600 * USEC_PER_SEC, &suppressed));
    assert_false(log_rate_ok(&r, 3600 * USEC_PER_SEC, &suppressed));
    r.next_us = 0;
    assert_true(log_rate_ok(&r, 3600 * USEC_PER_SEC, &suppressed));
    assert_int_equal(suppressed, 2);
}

static int make_directory(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", directory);
    snprintf(rotated, sizeof(rotated), "%s.1", path);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    unlink(rotated);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_format, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_forged_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reopen, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stalled_stderr, setup, teardown),
        cmocka_unit_test(test_rate),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
