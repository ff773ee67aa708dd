/*
 * test_crowd.c - whose login gives way, and who is next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "session/crowd.h"

/* Letters for addresses. */
static struct crowd crowd_of(const char *letters)
{
    struct crowd c = {.n = 0};

    for (const char *p = letters; *p != '\0'; p++)
        assert_true(crowd_add(&c, (uint64_t)*p * 0x9e3779b97f4a7c15u | 1));
    return c;
}

static uint64_t key_of(char letter)
{
    return (uint64_t)letter * 0x9e3779b97f4a7c15u | 1;
}

static void test_who_gives_way(void **state)
{
    static const struct {
        const char *logins; /* the oldest first */
        char newcomer;
        int expected;
    } rows[] = {
        {"", 'a', -1},     {"a", 'b', -1},     /* one each is fair */
        {"aa", 'b', 0},                        /* the oldest */
        {"aa", 'a', -1},                       /* among themselves nobody gives way */
        {"baa", 'c', 1},                       /* of the address that has the most */
        {"aab", 'b', -1},                      /* two each would be fair, and that is so already */
        {"aaab", 'b', 0},                      /* three are more than two */
        {"aabb", 'c', 0},                      /* of equals the one whose oldest is older */
        {"bbaa", 'c', 0},  {"bbaaa", 'b', -1}, /* they would have three each */
        {"bbaaa", 'c', 2}, {"abcdef", 'g', -1}, {"abcdefa", 'g', 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct crowd c = crowd_of(rows[i].logins);
        assert_int_equal(crowd_yields(&c, key_of(rows[i].newcomer)), rows[i].expected);
    }
}

static void test_who_is_next(void **state)
{
    static const struct {
        const char *waiting, *served;
        int expected;
    } rows[] = {
        {"", "aaa", -1},  {"a", "aaaa", 0},    {"ab", "", 0},        {"aaab", "aa", 3},
        {"aab", "ab", 0}, {"aab", "aabbb", 0}, {"aaabc", "aaab", 4}, {"bbbb", "aaaa", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct crowd waiting = crowd_of(rows[i].waiting), served = crowd_of(rows[i].served);
        assert_int_equal(crowd_next(&waiting, &served), rows[i].expected);
    }
}

/* However many there are, the table is large enough, and each step leads to shares that differ by one. */
static void test_shares_become_equal(void **state)
{
    struct crowd c = {.n = 0};
    int counts[8] = {0}, turns = 0;
    (void)state;

    for (int i = 0; i < CROWD_MAX; i++)
        assert_true(crowd_add(&c, key_of('a')));
    assert_false(crowd_add(&c, key_of('a')));
    for (int i; (i = crowd_yields(&c, key_of((char)('a' + turns % 8)))) >= 0 || turns % 8 == 0; turns++)
        if (i >= 0)
            c.keys[i] = key_of((char)('a' + turns % 8));
    for (int i = 0; i < c.n; i++)
        for (int k = 0; k < 8; k++)
            counts[k] += c.keys[i] == key_of((char)('a' + k));
    for (int k = 0; k < 8; k++)
        assert_in_range(counts[k], CROWD_MAX / 8 - 1, CROWD_MAX / 8 + 7);
}

static void test_all_different(void **state)
{
    struct crowd c = {.n = 0};
    (void)state;

    for (uint64_t i = 0; i < CROWD_MAX; i++)
        assert_true(crowd_add(&c, (i % 7 << 8) | (i << 32) | 1)); /* places in the table collide */
    assert_int_equal(crowd_yields(&c, 5), -1);
    assert_int_equal(crowd_next(&c, &c), 0);
    c.keys[200] = c.keys[100];
    assert_int_equal(crowd_yields(&c, 5), 100);
}

static void test_addresses(void **state)
{
    static const uint8_t one[16] = {10, 0, 0, 1, 9, 9}, same[16] = {10, 0, 0, 1, 8, 8},
                         two[16] = {10, 0, 0, 2};
    static const uint8_t six[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 1},
                         near[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, 2};
    static const uint8_t far[16] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 2, 1};
    (void)state;

    assert_true(address_key(AF_INET, one) == address_key(AF_INET, same));
    assert_true(address_key(AF_INET, one) != address_key(AF_INET, two));
    assert_true(address_key(AF_INET6, six) == address_key(AF_INET6, near));
    assert_true(address_key(AF_INET6, six) != address_key(AF_INET6, far));
    assert_true(address_key(AF_UNIX, one) == address_key(AF_UNIX, six));
    assert_true(address_key(AF_INET, one) != address_key(AF_INET6, one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_gives_way),       cmocka_unit_test(test_who_is_next),
        cmocka_unit_test(test_shares_become_equal), cmocka_unit_test(test_all_different),
        cmocka_unit_test(test_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
