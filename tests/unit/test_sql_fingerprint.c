/*
 * test_sql_fingerprint.c - which texts of SQL have the same shape.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "wire/sql_fingerprint.h"

static uint64_t of(const char *sql, char *shape, size_t size)
{
    return sql_fingerprint(sql, (uint32_t)strlen(sql), shape, size);
}

static void test_shapes(void **state)
{
    static const struct {
        const char *sql;
        const char *shape;
    } rows[] = {
        {"", ""},
        {";;", ""},
        {"SELECT 1", "select ?"},
        {"select  2 ;", "select ?"},
        {"SELECT $1", "select ?"},
        {"SELECT 'a', E'b', $$c$$, 1.5, $2", "select ?"},
        {"SELECT pg_advisory_lock( 42 )", "select pg_advisory_lock(?)"},
        {"SELECT pg_advisory_lock(42,  43)", "select pg_advisory_lock(?)"},
        {"INSERT INTO t VALUES (1, 'x'), (2, 'y')", "insert into t values(?),(?)"},
        {"CREATE TEMP TABLE \"My Table\" (x int) -- why", "create temp table \"My Table\"(x int)"},
        {"CREATE TEMP TABLE s.T/* */(x int[])", "create temp table s.t(x int[])"},
        {"SELECT a=1 , b", "select a = ?, b"},
        {"SELECT a = 'x;y', b", "select a = ?, b"},
        {"LOAD 'auto_explain'; SELECT 'open", "load ?; select"},
    };
    char shape[256];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t fingerprint = of(rows[i].sql, shape, sizeof(shape));
        assert_string_equal(shape, rows[i].shape);
        assert_int_equal(of(rows[i].shape, shape, sizeof(shape)), fingerprint);
        assert_string_equal(shape, rows[i].shape);
    }
}

static void test_differences(void **state)
{
    char shape[64];

    (void)state;
    assert_int_not_equal(of("SELECT a", shape, sizeof(shape)), of("SELECT b", shape, sizeof(shape)));
    assert_int_not_equal(of("SELECT \"A\"", shape, sizeof(shape)), of("SELECT \"a\"", shape, sizeof(shape)));
    assert_int_equal(of("LOAD 'a'", shape, sizeof(shape)), of("load 'b'", shape, sizeof(shape)));
}

/* Cut where there is no room; the fingerprint is of all. */
static void test_long(void **state)
{
    char text[3 * SQL_FINGERPRINT_MAX_BYTES], shape[16];

    (void)state;
    memset(text, 'x', sizeof(text));
    memcpy(text, "SELECT ", 7);
    text[sizeof(text) - 1] = '\0';
    uint64_t fingerprint = of(text, shape, sizeof(shape));
    assert_string_equal(shape, "select xxxxxxxx");
    text[SQL_FINGERPRINT_MAX_BYTES] = '\0';
    assert_int_equal(of(text, shape, sizeof(shape)), fingerprint);
    text[100] = 'y';
    assert_int_not_equal(of(text, shape, sizeof(shape)), fingerprint);
    for (uint32_t i = 0; i + 2 < SQL_FINGERPRINT_MAX_BYTES; i += 2)
        memcpy(text + i, "a=", 2); /* grows */
    (void)of(text, shape, sizeof(shape));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
