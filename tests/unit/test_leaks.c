/*
 * test_leaks.c - the table of who leaves state behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "stats/leaks.h"

static const char locks[] = "advisory lock", tables[] = "temporary object";
static struct leaks leaks;

static struct leak leak_of(const char *application, const char *reason, uint64_t fingerprint)
{
    struct leak leak = {.reason = reason, .fingerprint = fingerprint, .count = 1};
    snprintf(leak.application, sizeof(leak.application), "%s", application);
    return leak;
}

static bool note(const char *application, const char *reason, uint64_t fingerprint, int64_t now_us)
{
    struct leak leak = leak_of(application, reason, fingerprint);
    return leaks_note(&leaks, &leak, now_us);
}

static void test_counts(void **state)
{
    struct leak out;

    (void)state;
    leaks_init(&leaks);
    assert_false(leaks_read(&leaks, 0, &out));
    /* said once per application and reason, whatever the statement */
    assert_true(note("a", locks, 1, 10));
    assert_false(note("a", locks, 1, 20));
    assert_false(note("a", locks, 2, 30));
    assert_true(note("a", tables, 1, 40));
    assert_true(note("b", locks, 1, 50));
    struct leak left = leak_of("a", locks, 1);
    left.count = 0;
    left.abandoned = 1;
    assert_false(leaks_note(&leaks, &left, 60));
    assert_true(leaks_read(&leaks, 0, &out));
    assert_int_equal(out.count, 2);
    assert_int_equal(out.abandoned, 1);
    assert_int_equal(out.last_wall_us, 60);
    assert_true(leaks_read(&leaks, 3, &out));
    assert_string_equal(out.application, "b");
    assert_false(leaks_read(&leaks, 4, &out));
    leaks_destroy(&leaks);
}

static void test_bound(void **state)
{
    struct leak out;
    bool has_often = false, has_oldest = false, has_newest = false;

    (void)state;
    leaks_init(&leaks);
    for (int i = 0; i < 3; i++)
        (void)note("often", locks, 1, i);
    for (uint64_t i = 0; i < LEAKS_MAX; i++)
        (void)note("seldom", locks, i, 100 + (int64_t)i);
    for (int i = 0; leaks_read(&leaks, i, &out); i++) {
        assert_true(i < LEAKS_MAX);
        has_often = has_often || strcmp(out.application, "often") == 0;
        has_oldest = has_oldest || out.last_wall_us == 100;
        has_newest = has_newest || out.last_wall_us == 100 + LEAKS_MAX - 1;
    }
    assert_true(has_often && has_newest && !has_oldest);
    leaks_destroy(&leaks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
