/*
 * test_mem.c - slabs: reuse, growth, zeroed objects; strings of the boot allocator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/mem.h"

static void test_slab_sizes(void **state)
{
    static const struct {
        size_t size, rounded, first_total;
    } rows[] = {
        {1, 16, 256}, {16, 16, 256}, {17, 32, 128}, {500, 512, 64}, {4096, 4096, 32}, {300000, 300000, 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct slab s;
        slab_init(&s, rows[i].size);
        assert_int_equal(s.object_size, rows[i].rounded);
        char *p = slab_alloc(&s);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        assert_int_equal(s.total, rows[i].first_total);
        memset(p, 0xff, rows[i].size);
        slab_free(&s, p);
        slab_destroy(&s);
        assert_null(s.chunks);
    }
}

static void test_slab_reuse_is_zeroed(void **state)
{
    struct slab s;
    (void)state;
    slab_init(&s, 48);
    unsigned char *p = slab_alloc(&s);
    memset(p, 0xaa, 48);
    slab_free(&s, p);
    assert_int_equal(s.in_use, 0);
    unsigned char *q = slab_alloc(&s);
    assert_ptr_equal(p, q);
    for (int i = 0; i < 48; i++)
        assert_int_equal(q[i], 0);
    slab_free(&s, q);
    slab_free(&s, NULL);
    assert_int_equal(s.in_use, 0);
    slab_destroy(&s);
}

static void test_slab_growth(void **state)
{
    enum { COUNT = 1000 };
    static uint32_t *objects[COUNT];
    struct slab s;
    (void)state;
    slab_init(&s, 100);
    for (uint32_t i = 0; i < COUNT; i++) {
        objects[i] = slab_alloc(&s);
        assert_non_null(objects[i]);
        *objects[i] = i;
    }
    assert_int_equal(s.in_use, COUNT);
    size_t total = s.total;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(*objects[i], i);
        slab_free(&s, objects[i]);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        objects[i] = slab_alloc(&s);
    assert_int_equal(s.total, total);
    slab_destroy(&s);
}

static void test_strings(void **state)
{
    (void)state;
    char *a = xstrdup("abc"), *b = xstrndup("abcdef", 3), *c = xasprintf("%s%d", "ab", 3);
    assert_string_equal(a, "abc");
    assert_string_equal(b, "abc");
    assert_string_equal(c, "ab3");
    free(a);
    free(b);
    free(c);
    void *p = xmalloc(0);
    p = xrealloc(p, 10);
    assert_non_null(p);
    free(p);
    p = xcalloc(0, 0);
    assert_non_null(p);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slab_sizes),
        cmocka_unit_test(test_slab_reuse_is_zeroed),
        cmocka_unit_test(test_slab_growth),
        cmocka_unit_test(test_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
