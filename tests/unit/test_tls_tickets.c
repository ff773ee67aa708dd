/*
 * test_tls_tickets.c - keys of tickets: when there is a new one, and which old ones are still good.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "tls_int.h"

#define S    USEC_PER_SEC
#define BOOT (1000 * S)

static void test_one_key_for_its_time(void **state)
{
    struct tls_tickets *t = tls_tickets_new();
    struct tls_ticket_key first, later, next;

    (void)state;
    tls_tickets_newest(t, BOOT, &first);
    tls_tickets_newest(t, BOOT + TLS_TICKET_KEY_US - 1, &later);
    tls_tickets_newest(t, BOOT + TLS_TICKET_KEY_US, &next);
    assert_memory_equal(&first, &later, sizeof(first));
    assert_memory_not_equal(first.name, next.name, sizeof(first.name));
    assert_memory_not_equal(first.cipher, next.cipher, sizeof(first.cipher));
    assert_memory_not_equal(first.mac, next.mac, sizeof(first.mac));
    assert_memory_not_equal(first.cipher, first.mac, sizeof(first.mac));
    tls_tickets_free(t);
}

/* A ticket of its last moment lives TLS_TICKET_LIFE_S, and not a microsecond longer. */
static void test_old_keys(void **state)
{
    static const struct {
        int64_t after_us;
        bool is_found;
    } rows[] = {
        {0, true},
        {TLS_TICKET_KEY_US, true},
        {TLS_TICKET_KEY_US + TLS_TICKET_LIFE_S * S - 1, true},
        {TLS_TICKET_KEY_US + TLS_TICKET_LIFE_S * S, false},
        {100 * TLS_TICKET_KEY_US, false},
    };
    struct tls_ticket_key first, found, newest;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        for (int is_busy = 0; is_busy < 2; is_busy++) {
            struct tls_tickets *t = tls_tickets_new();
            tls_tickets_newest(t, BOOT, &first);
            /* whether new ones are made meanwhile or not */
            for (int64_t at = 0; is_busy && at <= rows[i].after_us; at += TLS_TICKET_KEY_US / 3)
                tls_tickets_newest(t, BOOT + at, &newest);
            bool is_found = tls_tickets_find(t, first.name, BOOT + rows[i].after_us, &found);
            assert_int_equal(is_found, rows[i].is_found);
            if (is_found)
                assert_memory_equal(&found, &first, sizeof(first));
            tls_tickets_free(t);
        }
}

static void test_names_of_others(void **state)
{
    static const uint8_t nothing[16];
    struct tls_tickets *t = tls_tickets_new(), *other = tls_tickets_new();
    struct tls_ticket_key a, b, found;

    (void)state;
    assert_false(tls_tickets_find(t, nothing, BOOT, &found)); /* the place of one that was never made */
    tls_tickets_newest(t, BOOT, &a);
    tls_tickets_newest(other, BOOT, &b);
    assert_false(tls_tickets_find(t, b.name, BOOT, &found));
    assert_false(tls_tickets_find(t, nothing, BOOT, &found));
    tls_tickets_free(t);
    tls_tickets_free(other);
}

#define THREADS 4

#define STEPS 400

struct taker {
    struct tls_tickets *tickets;
    pthread_barrier_t *barrier;
    struct tls_ticket_key keys[STEPS];
    int n_not_found;
};

/* All at the same time of day: one that was held up for hours would find its key forgotten, and rightly. */
static void *take(void *arg)
{
    struct taker *me = arg;
    struct tls_ticket_key found;

    for (int i = 0; i < STEPS; i++) {
        int64_t now_us = BOOT + (i + 1) * TLS_TICKET_KEY_US / 10;
        pthread_barrier_wait(me->barrier);
        tls_tickets_newest(me->tickets, now_us, &me->keys[i]);
        me->n_not_found += !tls_tickets_find(me->tickets, me->keys[i].name, now_us, &found);
    }
    return NULL;
}

/* Threads that find the same key due make one, not one each. */
static void test_many_threads(void **state)
{
    static struct taker takers[THREADS];
    struct tls_tickets *t = tls_tickets_new();
    pthread_t threads[THREADS];
    pthread_barrier_t barrier;
    struct tls_ticket_key first;

    (void)state;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    tls_tickets_newest(t, BOOT, &first);
    for (int i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){.tickets = t, .barrier = &barrier};
        assert_int_equal(pthread_create(&threads[i], NULL, take, &takers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(takers[i].n_not_found, 0);
        assert_memory_equal(takers[i].keys, takers[0].keys, sizeof(takers[0].keys));
    }
    pthread_barrier_destroy(&barrier);
    tls_tickets_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_key_for_its_time),
        cmocka_unit_test(test_old_keys),
        cmocka_unit_test(test_names_of_others),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
