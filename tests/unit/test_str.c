/*
 * test_str.c - numbers, distances, nearest names; and the small neighbours: hash, secrets, random.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <string.h>
#include <cmocka.h>

#include "base/hash.h"
#include "base/rand.h"
#include "base/secret.h"
#include "base/str.h"

static void test_to_int64(void **state)
{
    static const struct {
        const char *s;
        bool ok;
        int64_t value;
    } rows[] = {
        {"0", true, 0},
        {"42", true, 42},
        {"-42", true, -42},
        {"+7", true, 7},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"-9223372036854775808", true, INT64_MIN},
        {"9223372036854775808", false, 0},
        {"-9223372036854775809", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-", false, 0},
        {"+-1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1.0", false, 0},
        {"0x10", false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int64_t value = 0;
        assert_int_equal(str_to_int64(rows[i].s, &value), rows[i].ok);
        assert_true(value == rows[i].value);
    }
}

static void test_distance(void **state)
{
    static const struct {
        const char *a, *b;
        int distance;
    } rows[] = {
        {"", "", 0},
        {"", "abc", 3},
        {"abc", "abc", 0},
        {"abc", "ABC", 0},
        {"abc", "acb", 1},
        {"abc", "abd", 1},
        {"abc", "ab", 1},
        {"abc", "xabc", 1},
        {"kitten", "sitting", 3},
        {"pool_sise", "pool_size", 1},
        {"max_client_con", "max_client_conn", 1},
    };
    char many[200];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_int_equal(str_distance(rows[i].a, rows[i].b), rows[i].distance);
        assert_int_equal(str_distance(rows[i].b, rows[i].a), rows[i].distance);
    }
    memset(many, 'a', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    assert_int_equal(str_distance(many, ""), 64);
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"pool_size", "pool_mode", "min_pool_size", "user"};
    static const struct {
        const char *s, *nearest;
    } rows[] = {
        {"pool_sise", "pool_size"},
        {"POOLMODE", "pool_mode"},
        {"usr", "user"},
        {"minpoolsize", "min_pool_size"},
        {"zzzzzz", NULL},
        {"", NULL},
        {"x", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *found = str_nearest(rows[i].s, names, ARRAY_SIZE(names));
        if (rows[i].nearest == NULL)
            assert_null(found);
        else
            assert_string_equal(found, rows[i].nearest);
    }
    assert_null(str_nearest("a", NULL, 0));
}

static void test_copy_and_prefix(void **state)
{
    char dst[4] = "zzz";
    (void)state;
    assert_int_equal(str_copy(dst, "abcdef", sizeof(dst)), 6);
    assert_string_equal(dst, "abc");
    assert_int_equal(str_copy(dst, "ab", sizeof(dst)), 2);
    assert_string_equal(dst, "ab");
    assert_int_equal(str_copy(dst, "xyz", 0), 3);
    assert_string_equal(dst, "ab");
    assert_true(str_has_prefix("abc", "ab"));
    assert_true(str_has_prefix("abc", ""));
    assert_false(str_has_prefix("ab", "abc"));
}

/* Values from a separate implementation of the paper, key 00..0f, message 00, 01, ... */
static void test_hash(void **state)
{
    static const struct {
        size_t len;
        uint64_t hash;
    } rows[] = {
        {0, UINT64_C(0xabac0158050fc4dc)},
        {1, UINT64_C(0xc9f49bf37d57ca93)},
        {15, UINT64_C(0xd320d86d2a519956)},
    };
    unsigned char message[16];
    (void)state;
    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (unsigned char)i;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_true(hash_bytes_keyed(message, rows[i].len, UINT64_C(0x0706050403020100),
                                     UINT64_C(0x0f0e0d0c0b0a0908)) == rows[i].hash);
    assert_true(hash_bytes("abc", 3) == hash_bytes("abc", 3));
    assert_true(hash_bytes("abc", 3) != hash_bytes("abd", 3));
}

static void test_secret(void **state)
{
    char s[] = "secret";
    (void)state;
    assert_true(secret_equal("abc", "abc", 3));
    assert_false(secret_equal("abc", "abd", 3));
    assert_true(secret_equal("abc", "xyz", 0));
    secret_wipe(s, sizeof(s));
    for (size_t i = 0; i < sizeof(s); i++)
        assert_int_equal(s[i], 0);
    secret_free(NULL);
    secret_free(strdup("x"));
}

static void test_random(void **state)
{
    unsigned char a[32] = {0}, b[32] = {0};
    (void)state;
    rand_secure(a, sizeof(a));
    rand_secure(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_true(rand_fast() != rand_fast());
    for (int i = 0; i < 1000; i++)
        assert_in_range(rand_jitter_us(1000, 10), 900, 1100);
    assert_int_equal(rand_jitter_us(1000, 0), 1000);
    assert_int_equal(rand_jitter_us(0, 10), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_int64), cmocka_unit_test(test_distance),
        cmocka_unit_test(test_nearest),  cmocka_unit_test(test_copy_and_prefix),
        cmocka_unit_test(test_hash),     cmocka_unit_test(test_secret),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
