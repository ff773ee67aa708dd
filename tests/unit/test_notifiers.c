/*
 * test_notifiers.c - whose notifications those of a server are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session/notifiers.h"

#define LATER 1000000

static struct notifiers *table;

static int setup(void **state)
{
    (void)state;
    table = notifiers_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    notifiers_free(table);
    return 0;
}

static uint32_t find(uint32_t pid, const char *payload, int64_t now_us)
{
    return notifiers_find(table, 1, pid, "channel", payload, now_us);
}

static void say(struct notifier *x, uint32_t client, const char *text)
{
    notifier_says_text(table, x, client, text, (uint32_t)strlen(text), LATER);
}

static void test_links(void **state)
{
    struct notifier *x = notifiers_add(table, 1, 100);
    struct notifier *other = notifiers_add(table, 2, 100);

    (void)state;
    assert_int_equal(find(99, "", LATER), 99);   /* nobody's */
    assert_int_equal(find(100, "", LATER), 100); /* no client has had it */
    notifier_link(other, 9, LATER);              /* another host */
    assert_int_equal(find(100, "", 2 * LATER), 100);
    notifier_link(x, 1, LATER);
    assert_int_equal(find(100, "", LATER), 1);
    notifier_link(x, 2, 2 * LATER);
    assert_int_equal(find(100, "", 2 * LATER + NOTIFIER_LAG_US - 1), 1);
    assert_int_equal(find(100, "", 2 * LATER + NOTIFIER_LAG_US), 2);
    notifier_link(x, 2, 3 * LATER); /* the same one again */
    assert_int_equal(find(100, "", 3 * LATER), 2);
    for (uint32_t i = 0; i < 100; i++)
        notifier_link(x, 10 + i, 4 * LATER + i);
    assert_int_equal(find(100, "", 5 * LATER), 109);
    notifiers_remove(table, x);
    assert_int_equal(find(100, "", 5 * LATER), 100);
    notifiers_remove(table, other);
    notifiers_remove(table, NULL);
}

static void test_said(void **state)
{
    struct notifier *x = notifiers_add(table, 1, 100);

    (void)state;
    notifier_link(x, 1, LATER);
    say(x, 1, "NOTIFY channel, 'a'; NOTIFY other, 'b'");
    notifier_says_value(table, x, 1, (const uint8_t *)"c", 1, LATER);
    notifier_link(x, 2, LATER);
    say(x, 2, "SELECT pg_notify('channel', 'a')");
    notifier_link(x, 3, LATER);
    say(x, 3, "NOTIFY channel");
    say(x, 4, "NOTIFY \"CHANNEL\"");
    notifier_link(x, 5, LATER);
    int64_t now_us = LATER + 2 * NOTIFIER_LAG_US;
    assert_int_equal(find(100, "c", now_us), 1);
    assert_int_equal(find(100, "a", now_us), 1);
    assert_int_equal(find(100, "a", now_us), 2);
    assert_int_equal(find(100, "a", now_us), 5); /* used up: who has it now */
    assert_int_equal(find(100, "", now_us), 3);
    assert_int_equal(find(100, "b", now_us), 1);
    /* that channel is the first argument of pg_notify() says nothing */
    assert_int_equal(find(100, "channel", now_us), 5);
    /* what was said long ago was rolled back */
    say(x, 1, "NOTIFY channel, 'old'");
    assert_int_equal(find(100, "old", now_us + 20 * LATER), 5);
}

/* More than is kept: the newest count. */
static void test_much(void **state)
{
    struct notifier *x = notifiers_add(table, 1, 100);
    uint8_t value[4];

    (void)state;
    notifier_link(x, 7, LATER);
    for (uint32_t i = 0; i < 3 * NOTIFIER_SAID; i++) {
        memcpy(value, &i, sizeof(value));
        value[3] = 'x';
        notifier_says_value(table, x, 8, value, sizeof(value), LATER);
    }
    notifier_says_value(table, x, 9, (const uint8_t *)"last", 4, LATER);
    assert_int_equal(find(100, "last", 2 * LATER), 9);
    assert_int_equal(find(100, "first", 2 * LATER), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_links, setup, teardown),
        cmocka_unit_test_setup_teardown(test_said, setup, teardown),
        cmocka_unit_test_setup_teardown(test_much, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
