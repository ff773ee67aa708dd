/*
 * test_buf.c - buffers: growth, bound, failure that sticks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

static void test_append(void **state)
{
    struct buf b;
    (void)state;
    buf_init(&b, 0);
    assert_string_equal(buf_cstr(&b), "");
    buf_append_str(&b, "ab");
    buf_append_byte(&b, 'c');
    buf_append(&b, NULL, 0);
    buf_printf(&b, "-%d-%s", 42, "x");
    assert_string_equal(buf_cstr(&b), "abc-42-x");
    assert_int_equal(b.len, 8);
    buf_consume(&b, 3);
    assert_string_equal(buf_cstr(&b), "-42-x");
    buf_consume(&b, 0);
    buf_consume(&b, 100);
    assert_int_equal(b.len, 0);
    buf_free(&b);
}

static void test_long_printf(void **state)
{
    char text[1000];
    struct buf b;
    (void)state;
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    buf_init(&b, 0);
    for (int i = 0; i < 20; i++)
        buf_printf(&b, "%s", text);
    assert_int_equal(b.len, 20 * 999);
    assert_int_equal(strlen(buf_cstr(&b)), b.len);
    buf_free(&b);
}

static void test_bound(void **state)
{
    static const struct {
        uint32_t max_bytes, append;
        int times;
        uint32_t len;
        int failed;
    } rows[] = {
        {10, 10, 1, 10, 0},       {10, 11, 1, 0, 1},        {10, 3, 4, 9, 1},
        {1000, 10, 100, 1000, 0}, {1000, 10, 101, 1000, 1}, {1, 1, 1, 1, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf b;
        buf_init(&b, rows[i].max_bytes);
        for (int j = 0; j < rows[i].times; j++)
            buf_append(&b, "0123456789abc", rows[i].append);
        assert_int_equal(b.len, rows[i].len);
        assert_int_equal(b.failed, rows[i].failed);
        assert_int_equal(strlen(buf_cstr(&b)), b.failed ? 0 : rows[i].len);
        buf_append(&b, "", 1);
        assert_true(b.failed || rows[i].len < rows[i].max_bytes);
        buf_clear(&b);
        assert_false(b.failed);
        assert_true(buf_reserve(&b, rows[i].max_bytes));
        assert_false(buf_reserve(&b, rows[i].max_bytes + 1));
        assert_true(b.failed);
        buf_free(&b);
    }
}

/* As any other, but that it grows by moving, which leaves nothing behind. */
static void test_wiped(void **state)
{
    struct buf b;
    (void)state;

    buf_init(&b, 1000);
    for (int i = 0; i < 100; i++) {
        assert_true(buf_reserve_wiped(&b, 10));
        buf_append(&b, "0123456789", 10);
    }
    assert_int_equal(b.len, 1000);
    for (uint32_t i = 0; i < b.len; i++)
        assert_int_equal(b.data[i], '0' + i % 10);
    assert_true(buf_reserve_wiped(&b, 0));
    assert_false(buf_reserve_wiped(&b, 1));
    assert_true(b.failed);
    assert_false(buf_reserve_wiped(&b, 0));
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_long_printf),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_wiped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
