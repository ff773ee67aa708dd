/*
 * test_policy.c - who gets a server that has come free.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "pool/policy.h"
#include "pool/registry.h"

#define MAX_WAITERS 40

struct row {
    const char *text;
    const char *workers; /* of the waiters, oldest first: '0' .. */
    int overtake_max;
    int64_t overtake_us;
    int overtaken_head;
    int64_t age_us; /* of all */
    uint8_t worker;
    int expect; /* index, -1 = nobody */
};

static const struct row rows[] = {
    {"nobody waits", "", 3, 1000, 0, 0, 0, -1},
    {"strict: the head", "100", 0, 0, 0, 0, 0, 0},
    {"strict without a time", "100", 3, 0, 0, 0, 0, 0},
    {"strict without a number", "100", 0, 1000, 0, 0, 0, 0},
    {"the head is near anyway", "0110", 3, 1000, 0, 0, 0, 0},
    {"a near one goes first", "1101", 3, 1000, 0, 0, 0, 2},
    {"nobody is near", "1121", 3, 1000, 0, 0, 0, 0},
    {"the head was overtaken often enough", "1101", 3, 1000, 3, 0, 0, 0},
    {"once more is allowed", "1101", 3, 1000, 2, 0, 0, 2},
    {"the head is too old", "1101", 3, 1000, 0, 1001, 0, 0},
    {"the head is just not too old", "1101", 3, 1000, 0, 1000, 0, 2},
    {"the control thread is near to nobody", "1101", 3, 1000, 0, 0, POOL_NO_WORKER, 0},
    {"too far back to be seen", "1111111111111111111111111111111111110", 3, 1000, 0, 0, 0, 0},
};

static void test_pick(void **state)
{
    struct registry *r = registry_new(4);
    bool is_new;
    struct pool *pool = registry_get_pool(r, "d", "u", &is_new);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct ticket tickets[MAX_WAITERS];
        const struct row *row = &rows[i];
        int n = (int)strlen(row->workers);

        memset(tickets, 0, sizeof(tickets));
        list_init(&pool->waiters);
        pool->config.overtake_max = row->overtake_max;
        pool->config.overtake_us = row->overtake_us;
        for (int k = 0; k < n; k++) {
            tickets[k].worker = (uint8_t)(row->workers[k] - '0');
            tickets[k].since_us = 5000 - row->age_us;
            list_push_back(&pool->waiters, &tickets[k].node);
        }
        tickets[0].overtaken = (uint16_t)row->overtaken_head;
        lock_acquire(&pool->lock);
        struct ticket *t = policy_pick(pool, row->worker, 5000);
        lock_release(&pool->lock);
        int got = t == NULL ? -1 : (int)(t - tickets);
        if (got != row->expect)
            fail_msg("%s: %d instead of %d", row->text, got, row->expect);
        for (int k = 1; k < n; k++)
            assert_int_equal(tickets[k].overtaken, k < row->expect);
        if (n > 0)
            assert_int_equal(tickets[0].overtaken, row->overtaken_head + (row->expect > 0));
    }
    list_init(&pool->waiters);
    registry_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pick)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
