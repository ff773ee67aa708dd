/*
 * test_intern.c - one pointer per text, also when threads get and drop the last reference at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/intern.h"

static void test_same_pointer(void **state)
{
    (void)state;
    struct istr *a = istr_get("alice", 5), *b = istr_get("alice_and_more", 5), *c = istr_get("bob", 3);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_string_equal(istr_cstr(b), "alice");
    assert_int_equal(istr_len(b), 5);
    assert_ptr_equal(istr_ref(a), a);
    istr_unref(a);
    istr_unref(a);
    istr_unref(c);
    assert_string_equal(istr_cstr(b), "alice");
    istr_unref(b);
    istr_unref(NULL);
    assert_null(istr_ref(NULL));
}

static void test_odd_texts(void **state)
{
    (void)state;
    struct istr *empty = istr_get(NULL, 0), *zero = istr_get("\0", 1), *two = istr_get("\0\0", 2);
    assert_ptr_equal(empty, istr_get("", 0));
    assert_ptr_not_equal(empty, zero);
    assert_ptr_not_equal(zero, two);
    assert_string_equal(istr_cstr(empty), "");
    assert_int_equal(istr_len(zero), 1);
    istr_unref(empty);
    istr_unref(empty);
    istr_unref(zero);
    istr_unref(two);
}

/* More strings than buckets: chains are searched and unlinked in any order. */
static void test_many(void **state)
{
    enum { COUNT = 10000 };
    static struct istr *all[COUNT];
    char text[16];
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        int n = snprintf(text, sizeof(text), "s%d", i);
        all[i] = istr_get(text, (uint32_t)n);
        assert_non_null(all[i]);
    }
    for (int i = 0; i < COUNT; i += 2)
        istr_unref(all[i]);
    for (int i = 1; i < COUNT; i += 2) {
        int n = snprintf(text, sizeof(text), "s%d", i);
        struct istr *again = istr_get(text, (uint32_t)n);
        assert_ptr_equal(again, all[i]);
        istr_unref(again);
        istr_unref(all[i]);
    }
}

/* Guards the race of the last unref with a get of the same text. */
static void *get_and_drop(void *arg)
{
    static const char *const texts[] = {"a", "b", "c"};
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        const char *text = texts[i % 3];
        struct istr *s = istr_get(text, 1);
        if (s == NULL || strcmp(istr_cstr(s), text) != 0)
            return s;
        struct istr *t = istr_ref(s);
        istr_unref(s);
        if (istr_len(t) != 1)
            return t;
        istr_unref(t);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_drop, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *wrong;
        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_pointer),
        cmocka_unit_test(test_odd_texts),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
