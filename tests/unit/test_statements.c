/*
 * test_statements.c - statements kept once, clients' names for them, and which of them a server has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/codec.h"
#include "wire/statement_cache.h"
#include "wire/statement_names.h"

static struct istr *none;

static int setup(void **state)
{
    (void)state;
    none = istr_get("", 0);
    return none == NULL;
}

static int teardown(void **state)
{
    (void)state;
    istr_unref(none);
    return 0;
}

static struct statement *get(const char *sql, struct istr *settings)
{
    struct buf b;
    buf_init(&b, 0);
    wire_put_cstr(&b, sql);
    wire_put_u16(&b, 1);
    wire_put_u32(&b, 23);
    assert_true(statement_body_is_sound(b.data, b.len));
    struct statement *s = statement_get(b.data, b.len, settings);
    assert_non_null(s);
    buf_free(&b);
    return s;
}

static void test_bodies(void **state)
{
    (void)state;
    assert_true(statement_body_is_sound((const uint8_t *)"SELECT 1\0\0", 11));
    assert_false(statement_body_is_sound((const uint8_t *)"SELECT 1\0\0", 10));
    assert_false(statement_body_is_sound((const uint8_t *)"SELECT 1\0\0\0", 12));
    assert_false(statement_body_is_sound((const uint8_t *)"SELECT 1\0\0\1\0\0\0", 14));
    assert_true(statement_body_is_sound((const uint8_t *)"SELECT 1\0\0\1\0\0\0\1", 15));
    assert_false(statement_body_is_sound((const uint8_t *)"SELECT", 6));
    assert_false(statement_body_is_sound((const uint8_t *)"", 0));
}

static void test_equal_ones_are_the_same(void **state)
{
    (void)state;
    uint64_t before = statements_bytes();
    struct istr *tenant = istr_get("search_path\0tenant", 19);
    struct statement *a = get("SELECT 1", none), *b = get("SELECT 1", none), *c = get("SELECT 2", none),
                     *d = get("SELECT 1", tenant);
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_ptr_not_equal(a, d); /* another search_path: another statement */
    assert_string_not_equal(a->name, d->name);
    assert_int_equal(strlen(a->name), a->name_bytes);
    assert_int_equal(strncmp(a->name, STATEMENT_PREFIX, strlen(STATEMENT_PREFIX)), 0);
    assert_string_not_equal(a->name, STATEMENT_NOBODY);
    assert_int_equal(statements_bytes(),
                     before + statement_bytes(a) + statement_bytes(c) + statement_bytes(d));

    uint32_t n;
    struct statement **all = statements_all(&n);
    assert_int_equal(n, 3);
    assert_ptr_equal(all[0], a);
    assert_ptr_equal(all[1], c);
    assert_ptr_equal(all[2], d);
    for (uint32_t i = 0; i < n; i++)
        statement_unref(all[i]);
    free(all);

    statement_unref(a);
    statement_unref(b);
    statement_unref(c);
    statement_unref(d);
    statement_unref(NULL);
    istr_unref(tenant);
    assert_int_equal(statements_bytes(), before);
}

static void test_bounds(void **state)
{
    (void)state;
    uint8_t *large = calloc(1, STATEMENT_MAX_BODY_BYTES + 1);
    uint64_t before = statements_bytes();
    struct statement *all[STATEMENTS_MAX_BYTES / STATEMENT_MAX_BODY_BYTES + 1];
    size_t n = 0;
    assert_null(statement_get(large, STATEMENT_MAX_BODY_BYTES + 1, none));
    for (; n < ARRAY_SIZE(all); n++) {
        memcpy(large, &n, sizeof(n));
        all[n] = statement_get(large, STATEMENT_MAX_BODY_BYTES, none);
        if (all[n] == NULL)
            break;
    }
    assert_int_equal(n, STATEMENTS_MAX_BYTES / STATEMENT_MAX_BODY_BYTES - 1);
    while (n > 0)
        statement_unref(all[--n]);
    assert_int_equal(statements_bytes(), before);
    free(large);
}

static void *get_and_drop(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        struct statement *s = statement_get((const uint8_t *)"SELECT 1\0\0", 11, none);
        statement_unref(s);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint64_t before = statements_bytes();
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_drop, NULL), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(statements_bytes(), before);
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    struct statement_names *n = statement_names_new();
    struct statement *a = get("SELECT 1", none), *b = get("SELECT 2", none);
    assert_null(statement_names_find(n, "x", 1));
    struct statement_name *x = statement_names_add(n, "x", 1, statement_ref(a));
    struct statement_name *y = statement_names_add(n, "xy", 2, statement_ref(a));
    assert_ptr_equal(statement_names_find(n, "x", 1), x);
    assert_ptr_equal(statement_names_find(n, "xy", 2), y);
    assert_null(statement_names_find(n, "y", 1));
    assert_string_equal(y->name, "xy");
    assert_int_equal(a->n_clients, 2);

    statement_names_take(n, x);
    assert_null(statement_names_find(n, "x", 1));
    assert_int_equal(a->n_clients, 1);
    assert_ptr_equal(statement_names_find_number(n, a->number), y);
    assert_null(statement_names_find_number(n, b->number));
    assert_true(statement_names_put(n, x));
    assert_ptr_equal(statement_names_find(n, "x", 1), x);

    statement_names_change(n, x, statement_ref(b));
    assert_int_equal(a->n_clients, 1);
    assert_int_equal(b->n_clients, 1);
    assert_int_equal(b->refs, 2);

    y->is_pending = true;
    statement_names_clear(n);
    assert_null(statement_names_find(n, "x", 1));
    assert_ptr_equal(statement_names_find(n, "xy", 2), y);
    assert_int_equal(n->table.count, 1);
    statement_names_free(n);
    assert_int_equal(a->refs, 1);
    assert_int_equal(b->refs, 1);
    assert_int_equal(a->n_clients + b->n_clients, 0);
    statement_unref(a);
    statement_unref(b);
    statement_names_free(NULL);
}

static void test_many_names(void **state)
{
    (void)state;
    struct statement_names *n = statement_names_new();
    struct statement *a = get("SELECT 1", none);
    char text[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "s%d", i);
        assert_non_null(statement_names_add(n, text, (uint32_t)strlen(text), statement_ref(a)));
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "s%d", i);
        struct statement_name *found = statement_names_find(n, text, (uint32_t)strlen(text));
        assert_non_null(found);
        assert_string_equal(found->name, text);
        if (i % 2 == 0) {
            statement_names_take(n, found);
            statement_name_free(found);
        }
    }
    assert_int_equal(n->table.count, 500);
    assert_int_equal(a->n_clients, 500);
    statement_names_clear(n);
    assert_int_equal(n->bytes, 0);
    statement_names_free(n);
    statement_unref(a);
}

/* What one client may keep is bounded, also when it is the same text again and again. */
static void test_names_are_bounded(void **state)
{
    (void)state;
    struct statement_names *n = statement_names_new();
    uint8_t *large = calloc(1, 1 << 20);
    struct statement *s = statement_get(large, 1 << 20, none);
    char text[16];
    int i = 0;
    for (; i < 1000; i++) {
        snprintf(text, sizeof(text), "s%d", i);
        if (statement_names_add(n, text, (uint32_t)strlen(text), statement_ref(s)) == NULL)
            break;
    }
    assert_int_equal(i, 31);
    assert_int_equal(s->refs, 32);
    statement_names_free(n);
    statement_unref(s);
    free(large);
}

static void test_settings(void **state)
{
    (void)state;
    struct statement_names *n = statement_names_new();
    struct params *a = params_with(params_empty(), "search_path", "one"),
                  *b = params_with(a, "application_name", "web"), *c = params_with(b, "search_path", "two");
    struct istr *one = istr_ref(statement_names_settings(n, a));
    assert_ptr_equal(statement_names_settings(n, b), one); /* its name does not matter */
    struct istr *two = statement_names_settings(n, c);
    assert_ptr_not_equal(two, one);
    assert_ptr_equal(statement_names_settings(n, c), two);
    assert_ptr_equal(statement_names_settings(n, a), one);
    istr_unref(one);
    params_unref(a);
    params_unref(b);
    params_unref(c);
    statement_names_free(n);
}

/* ---- cache ---- */

static void test_cache_evicts_the_least_recently_used(void **state)
{
    (void)state;
    struct statement_cache c;
    struct statement *s[3];
    char sql[32];
    statement_cache_init(&c);
    for (int i = 0; i < 3; i++) {
        snprintf(sql, sizeof(sql), "SELECT %d", i);
        s[i] = get(sql, none);
        struct cached_statement *x = statement_cache_add(&c, s[i]);
        assert_non_null(x);
        assert_ptr_equal(statement_cache_victim(&c, 1), i == 0 ? NULL : statement_cache_find(&c, s[0]));
        x->is_pending = false;
    }
    assert_null(statement_cache_victim(&c, 4));
    assert_ptr_equal(statement_cache_victim(&c, 3)->statement, s[0]);
    statement_cache_use(&c, statement_cache_find(&c, s[0]));
    assert_ptr_equal(statement_cache_victim(&c, 3)->statement, s[1]);
    statement_cache_use(&c, statement_cache_find(&c, s[1]));
    statement_cache_use(&c, statement_cache_find(&c, s[1]));
    assert_ptr_equal(statement_cache_victim(&c, 3)->statement, s[2]);
    statement_cache_find(&c, s[2])->is_pending = true;
    assert_ptr_equal(statement_cache_victim(&c, 3)->statement, s[0]);
    assert_int_equal(s[0]->n_servers, 1);
    statement_cache_remove(&c, statement_cache_find(&c, s[0]));
    assert_null(statement_cache_find(&c, s[0]));
    assert_int_equal(s[0]->n_servers, 0);
    assert_int_equal(statement_cache_count(&c), 2);

    statement_cache_clear(&c); /* s[2] is pending */
    assert_null(statement_cache_find(&c, s[1]));
    assert_non_null(statement_cache_find(&c, s[2]));
    statement_cache_destroy(&c);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s[i]->refs, 1);
        statement_unref(s[i]);
    }
}

/* Of very many that are pending only some are looked at: else each more would cost more than the one before.
 */
static void test_cache_full_of_pending(void **state)
{
    (void)state;
    struct statement_cache c;
    char sql[32];
    statement_cache_init(&c);
    for (int i = 0; i < 2000; i++) {
        snprintf(sql, sizeof(sql), "SELECT %d", i);
        struct statement *s = get(sql, none);
        struct cached_statement *x = statement_cache_add(&c, s);
        assert_non_null(x);
        x->is_pending = i < 1999;
        statement_unref(s);
    }
    assert_null(statement_cache_victim(&c, 100));
    /* the oldest has been answered */
    struct cached_statement *oldest = list_entry(c.lru.prev, struct cached_statement, lru);
    oldest->is_pending = false;
    assert_ptr_equal(statement_cache_victim(&c, 100), oldest);
    statement_cache_destroy(&c);
}

static void test_cache_expires(void **state)
{
    (void)state;
    struct statement_cache c;
    struct statement *a = get("SELECT 1", none), *b = get("SELECT 2", none);
    statement_cache_init(&c);
    struct cached_statement *x = statement_cache_add(&c, a);
    assert_false(statement_cache_is_stale(&c, x));
    statement_cache_expire(&c);
    struct cached_statement *y = statement_cache_add(&c, b);
    assert_true(statement_cache_is_stale(&c, x));
    assert_false(statement_cache_is_stale(&c, y));
    y->batch = 7;
    statement_cache_expire_batch(&c, 8);
    assert_false(statement_cache_is_stale(&c, y));
    statement_cache_expire_batch(&c, 7);
    assert_true(statement_cache_is_stale(&c, y));
    statement_cache_destroy(&c);
    statement_unref(a);
    statement_unref(b);
}

static void test_cache_grows(void **state)
{
    (void)state;
    struct statement_cache c;
    struct statement *s[500];
    char sql[32];
    statement_cache_init(&c);
    for (int i = 0; i < 500; i++) {
        snprintf(sql, sizeof(sql), "SELECT %d", i);
        s[i] = get(sql, none);
        assert_non_null(statement_cache_add(&c, s[i]));
    }
    for (int i = 0; i < 500; i++)
        assert_ptr_equal(statement_cache_find(&c, s[i])->statement, s[i]);
    statement_cache_destroy(&c);
    for (int i = 0; i < 500; i++)
        statement_unref(s[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_equal_ones_are_the_same),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_names_are_bounded),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_cache_evicts_the_least_recently_used),
        cmocka_unit_test(test_cache_full_of_pending),
        cmocka_unit_test(test_cache_expires),
        cmocka_unit_test(test_cache_grows),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
