/*
 * test_list.c - intrusive list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
    int value;
    struct list link;
};

static int as_number(struct list *head)
{
    int n = 0;
    LIST_FOR_EACH (it, head)
        n = n * 10 + list_entry(it, struct item, link)->value;
    return n;
}

static void test_order(void **state)
{
    struct item items[4] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};
    struct list head;
    (void)state;
    list_init(&head);
    assert_true(list_is_empty(&head));
    assert_null(list_pop_front(&head));
    assert_null(list_first_entry(&head, struct item, link));
    for (int i = 0; i < 4; i++) {
        list_init(&items[i].link);
        assert_false(list_is_linked(&items[i].link));
    }
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[3].link);
    list_push_front(&head, &items[0].link);
    list_insert_after(&items[1].link, &items[2].link);
    assert_int_equal(as_number(&head), 1234);
    list_del(&items[2].link);
    list_del(&items[2].link); /* not linked: harmless */
    assert_false(list_is_linked(&items[2].link));
    assert_int_equal(as_number(&head), 124);
    assert_ptr_equal(list_first_entry(&head, struct item, link), &items[0]);
    assert_ptr_equal(list_pop_front(&head), &items[0].link);
    assert_int_equal(as_number(&head), 24);
    LIST_FOR_EACH_SAFE (it, &head)
        list_del(it);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
