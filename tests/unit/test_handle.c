/*
 * test_handle.c - handles: stale ones never reach the next object in the same place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/handle.h"

static int objects[500];

static void test_stale_handles(void **state)
{
    struct handle_table t;
    (void)state;
    handle_table_init(&t);
    assert_null(handle_get(&t, 0));
    uint64_t a = handle_new(&t, &objects[0]);
    assert_int_not_equal(a, 0);
    assert_ptr_equal(handle_get(&t, a), &objects[0]);
    handle_free(&t, a);
    assert_null(handle_get(&t, a));
    assert_null(handle_at(&t, handle_index(a)));

    uint64_t b = handle_new(&t, &objects[1]);
    assert_int_equal(handle_index(b), handle_index(a));
    assert_true(a != b);
    assert_null(handle_get(&t, a));
    handle_free(&t, a); /* stale: must not free b */
    assert_ptr_equal(handle_get(&t, b), &objects[1]);
    assert_int_equal(t.count, 1);
    assert_null(handle_get(&t, b + 1));
    handle_table_destroy(&t);
}

static void test_generation_skips_zero(void **state)
{
    struct handle_table t;
    (void)state;
    handle_table_init(&t);
    uint64_t a = handle_new(&t, &objects[0]);
    handle_free(&t, a);
    t.entries[0].generation = UINT32_MAX;
    a = handle_new(&t, &objects[0]);
    handle_free(&t, a);
    assert_null(handle_get(&t, a));
    a = handle_new(&t, &objects[0]);
    assert_int_not_equal(a, 0);
    assert_ptr_equal(handle_get(&t, a), &objects[0]);
    handle_table_destroy(&t);
}

static void test_growth_and_walk(void **state)
{
    static uint64_t handles[ARRAY_SIZE(objects)];
    struct handle_table t;
    (void)state;
    handle_table_init(&t);
    for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
        handles[i] = handle_new(&t, &objects[i]);
    for (size_t i = 0; i < ARRAY_SIZE(objects); i += 2)
        handle_free(&t, handles[i]);
    size_t found = 0;
    for (uint32_t i = 0; i < t.used; i++)
        found += handle_at(&t, i) != NULL;
    assert_int_equal(found, ARRAY_SIZE(objects) / 2);
    assert_int_equal(t.count, found);
    for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
        assert_ptr_equal(handle_get(&t, handles[i]), i % 2 == 0 ? NULL : &objects[i]);
    uint32_t used = t.used;
    for (size_t i = 0; i < ARRAY_SIZE(objects); i += 2)
        assert_int_not_equal(handle_new(&t, &objects[i]), 0);
    assert_int_equal(t.used, used); /* places are used again */
    assert_null(handle_at(&t, t.used));
    handle_table_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stale_handles),
        cmocka_unit_test(test_generation_skips_zero),
        cmocka_unit_test(test_growth_and_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
