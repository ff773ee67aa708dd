/*
 * test_cancel_key.c - cancel keys: their bytes, as a peer reads them, and the table from key to client.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "session/cancel_key.h"

/* Bytes 0 to 7 as they go over the wire. */
static unsigned byte_at(uint64_t key, int i)
{
    return (unsigned)(key >> (56 - 8 * i)) & 0xff;
}

static void test_layout(void **state)
{
    static const struct {
        uint64_t random;
        int worker, peer_id;
        uint64_t key;
    } rows[] = {
        {0x0123456789abcdef, 0, 0, 0x0123456789abcdef},
        {0xffffffffffffffff, 0, 0, 0x01ffffffffffffff}, /* the process id is positive */
        {0x0000000000000000, 63, 0, 0x7e00000000000000},
        {0xffffffffffffffff, 63, 0, 0x7fffffffffffffff},
        {0x00000000deadbeef, 0, 0, 0x01000000deadbeef}, /* ... and no server's */
        {0x0000000000000000, 5, 515, 0x0a03020000000003},
        {0xffffffffffffffff, 5, 515, 0x0b0302ffffffffff},
        {0x0000000000000000, 0, 1, 0x0101000000000003},
        {0xfffffffffffffffc, 1, 16383, 0x03ff3fffffffffff},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t key = cancel_key_make(rows[i].random, rows[i].worker, rows[i].peer_id);
        assert_int_equal(key, rows[i].key);
        assert_int_equal(cancel_key_worker(key), rows[i].worker);
        assert_false(cancel_key_may_be_servers(key));
        if (rows[i].peer_id == 0)
            continue;
        assert_int_equal(byte_at(key, 1) + (byte_at(key, 2) << 8), rows[i].peer_id);
        assert_int_equal(cancel_key_peer(key), rows[i].peer_id);
        assert_int_equal(cancel_key_hops(key), 3);
        for (unsigned hop = 0; hop <= 3; hop++) {
            assert_int_equal(cancel_key_hops(key - hop), 3 - hop);
            assert_int_equal(cancel_key_original(key - hop), key);
            assert_int_equal(cancel_key_peer(key - hop), rows[i].peer_id);
        }
    }
}

static void test_servers_pid(void **state)
{
    static const struct {
        uint64_t random;
        uint32_t pid;
        int peer_id;
        bool ok;
        uint64_t key;
    } rows[] = {
        {0x0123456789abcdec, 12345, 0, true, 0x0000303989abcdec},
        {0x0123456789abcdec, 12345, 7, true, 0x0000303989abcdef}, /* the hops */
        {0xffffffff00000000, 1, 0, true, 0x0000000100000000},
        {0, 0, 0, false, 0},
        {0, 0x00ffffff, 1, true, 0x00ffffff00000003},
        {0, 0x01000000, 1, false, 0}, /* another pooler's: could be one of our own */
        {0, 0x7f000000, 0, true, 0x7f00000000000000},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t key;
        assert_int_equal(cancel_key_make_servers(rows[i].random, rows[i].pid, rows[i].peer_id, &key),
                         rows[i].ok);
        if (rows[i].ok)
            assert_int_equal(key, rows[i].key);
        if (rows[i].ok && rows[i].peer_id > 0)
            assert_true(cancel_key_may_be_servers(key) && cancel_key_hops(key) == 3);
    }
}

static uint64_t nth_key(uint64_t n)
{
    return cancel_key_make(n * 0x9e3779b97f4a7c15, 0, 0);
}

static void test_table(void **state)
{
    struct cancel_table t;
    enum { N = 5000 };
    (void)state;
    cancel_table_init(&t);
    assert_int_equal(cancel_table_find(&t, 1), 0);
    cancel_table_remove(&t, 1);
    for (uint64_t n = 1; n <= N; n++)
        assert_true(cancel_table_add(&t, nth_key(n), n));
    assert_false(cancel_table_add(&t, nth_key(7), 8));
    assert_int_equal(t.count, N);
    assert_true(t.count <= t.capacity / 2);
    assert_int_equal(cancel_table_find(&t, 0), 0);
    cancel_table_remove(&t, 0);
    /* every third goes, which leaves holes that the others move up into */
    for (uint64_t n = 3; n <= N; n += 3)
        cancel_table_remove(&t, nth_key(n));
    cancel_table_remove(&t, nth_key(3));
    assert_int_equal(t.count, N - N / 3);
    for (uint64_t n = 1; n <= N; n++)
        assert_int_equal(cancel_table_find(&t, nth_key(n)), n % 3 == 0 ? 0 : n);
    for (uint64_t n = 3; n <= N; n += 3)
        assert_true(cancel_table_add(&t, nth_key(n), n + N));
    for (uint64_t n = 1; n <= N; n++)
        assert_int_equal(cancel_table_find(&t, nth_key(n)), n % 3 == 0 ? n + N : n);
    for (uint64_t n = N; n >= 1; n--)
        cancel_table_remove(&t, nth_key(n));
    assert_int_equal(t.count, 0);
    for (uint32_t i = 0; i < t.capacity; i++)
        assert_int_equal(t.entries[i].key, 0);
    cancel_table_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_servers_pid),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
