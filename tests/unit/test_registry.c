/*
 * test_registry.c - pools, databases and users are found again, and keep their marks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "pool/registry.h"

static void test_get_and_find(void **state)
{
    struct registry *r = registry_new(2);
    bool is_new;

    (void)state;
    assert_null(registry_find_pool(r, "d", "u"));
    struct pool *p = registry_get_pool(r, "d", "u", &is_new);
    assert_true(is_new);
    assert_ptr_equal(registry_get_pool(r, "d", "u", &is_new), p);
    assert_false(is_new);
    struct pool *q = registry_get_pool(r, "d", "v", &is_new);
    assert_true(is_new && q != p);
    assert_ptr_equal(q->database, p->database);
    assert_ptr_equal(registry_find_pool(r, "d", "v"), q);
    assert_null(registry_find_pool(r, "d", "w"));
    assert_ptr_equal(registry_get_database(r, "d"), p->database);
    assert_ptr_equal(registry_get_user(r, "v"), q->user);
    assert_string_equal(p->database->name, "d");
    assert_int_equal(registry_count(r), 2);
    assert_int_equal(registry_database_count(r), 1);
    assert_int_equal(registry_user_count(r), 2);
    assert_ptr_equal(registry_pool(r, 0), p);
    assert_ptr_equal(registry_pool(r, 1), q);
    assert_null(registry_pool(r, 2));
    assert_null(registry_pool(r, -1));
    assert_ptr_equal(registry_user(r, 1), q->user);
    assert_int_equal(p->database->limits.n_members, 2);
    assert_int_equal(q->user->limits.n_members, 1);
    registry_destroy(r);
}

static void test_pause_of_later_pools(void **state)
{
    struct registry *r = registry_new(2);
    bool is_new;

    (void)state;
    struct pool_database *d = registry_get_database(r, "d");
    registry_set_paused(r, d, true);
    assert_true(registry_is_paused(r, d));
    assert_false(registry_is_paused(r, NULL));
    assert_true(registry_get_pool(r, "d", "u", &is_new)->is_paused);
    assert_false(registry_get_pool(r, "e", "u", &is_new)->is_paused);
    registry_set_paused(r, NULL, true);
    assert_true(registry_get_pool(r, "f", "u", &is_new)->is_paused);
    assert_true(registry_is_paused(r, registry_get_database(r, "e")));
    registry_set_paused(r, NULL, false);
    assert_true(registry_is_paused(r, d));
    registry_set_disabled(r, d, true);
    assert_true(registry_is_disabled(r, d));
    registry_destroy(r);
}

static void test_keys_and_retirement(void **state)
{
    struct registry *r = registry_new(2);
    uint8_t a[32], b[32], c[32] = {0}, d[32] = {0};
    bool is_new;

    (void)state;
    memset(a, 1, sizeof(a));
    memset(b, 2, sizeof(b));
    struct pool_user *u = registry_get_user(r, "u");
    assert_false(registry_get_scram_keys(r, u, c, d));
    registry_set_scram_keys(r, u, a, b);
    assert_true(registry_get_scram_keys(r, u, c, d));
    assert_memory_equal(a, c, sizeof(a));
    assert_memory_equal(b, d, sizeof(b));
    struct pool *p = registry_get_pool(r, "d", "u", &is_new);
    registry_retire(r, p);
    registry_retire_database(r, p->database);
    assert_true(p->is_retired && p->database->is_retired);
    assert_ptr_equal(registry_get_pool(r, "d", "u", &is_new), p);
    assert_false(is_new || p->is_retired || p->database->is_retired);
    registry_destroy(r);
}

static void *make_many(void *arg)
{
    char name[16];
    bool is_new;
    intptr_t n_new = 0;

    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "u%d", i % 100);
        assert_non_null(registry_get_pool(arg, i % 2 == 0 ? "d" : "e", name, &is_new));
        n_new += is_new;
    }
    return (void *)n_new;
}

/* Each pool is made once, whoever comes first. */
/* Names that strangers make up take only so many pools; who has been reached has nothing to do with that. */
static void test_made_up_databases(void **state)
{
    struct registry *r = registry_new(2);
    const struct pool_config config = {.limit = 1};
    struct pool_acts acts;
    struct pool *pool = NULL;
    char name[32];
    bool is_new;

    for (int i = 0; i < REGISTRY_MAX_UNREACHED; i++) {
        snprintf(name, sizeof(name), "made_up_%d", i);
        assert_true(registry_may_look_up(r, name, "u"));
        pool = registry_get_lookup_pool(r, name, "u", &is_new);
        assert_true(is_new);
    }
    assert_false(registry_may_look_up(r, "one more", "u"));
    assert_null(registry_find_pool(r, "one more", "u"));
    assert_true(registry_may_look_up(r, name, "u"));
    assert_false(registry_may_look_up(r, name, "another"));
    pool_configure(pool, &config, 1, &acts);
    pool_want_one(pool, 0, 1, &acts);
    struct params *welcome = params_empty();
    pool_connected(pool, acts.act[0].slot, welcome, 1, &acts);
    params_unref(welcome);
    assert_true(registry_may_look_up(r, "one more", "u"));
    (void)registry_get_lookup_pool(r, "one more", "u", &is_new);
    assert_false(registry_may_look_up(r, "two more", "u"));

    /* One that nobody has used for long makes room, and counts no more when it comes back. */
    pool = registry_get_lookup_pool(r, "made_up_0", "u", &is_new);
    assert_false(is_new);
    registry_retire(r, pool);
    assert_true(registry_may_look_up(r, "two more", "u"));
    (void)registry_get_lookup_pool(r, "two more", "u", &is_new);
    assert_true(is_new);
    (void)registry_get_lookup_pool(r, "made_up_0", "u", &is_new);
    assert_false(is_new);
    assert_false(registry_may_look_up(r, "three more", "u"));
    registry_destroy(r);
    (void)state;
}

/* Memory that is forgotten is not given back, so there is an end to it. */
static void test_made_up_without_end(void **state)
{
    struct registry *r = registry_new(1);
    char name[32];
    bool is_new;
    int n = 0;

    for (;; n++) {
        snprintf(name, sizeof(name), "made_up_%d", n);
        if (!registry_may_look_up(r, name, "u"))
            break;
        registry_retire(r, registry_get_lookup_pool(r, name, "u", &is_new));
    }
    assert_int_equal(n, REGISTRY_MAX_FORGOTTEN + REGISTRY_MAX_UNREACHED);
    registry_destroy(r);
    (void)state;
}

static void test_threads(void **state)
{
    struct registry *r = registry_new(2);
    pthread_t threads[4];
    intptr_t n_new = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_many, r), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *n;
        pthread_join(threads[i], &n);
        n_new += (intptr_t)n;
    }
    assert_int_equal(n_new, 100);
    assert_int_equal(registry_count(r), 100);
    assert_int_equal(registry_get_database(r, "d")->limits.n_members, 50);
    registry_destroy(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get_and_find),        cmocka_unit_test(test_pause_of_later_pools),
        cmocka_unit_test(test_keys_and_retirement), cmocka_unit_test(test_made_up_databases),
        cmocka_unit_test(test_made_up_without_end), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
