/*
 * test_zones.c - which zone a host name belongs to, and which of two serials is the newer one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "resolve_int.h"

static void test_zone_of_name(void **state)
{
    static const struct {
        const char *name, *zone;
    } rows[] = {
        {"db.example", "example"},   {"db.eu.example.com", "eu.example.com"},
        {"localhost", NULL},         {"localhost.", NULL},
        {"db.example.", "example."}, {"", NULL},
        {"example.com", "com"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *zone = zone_of_name(rows[i].name);
        assert_true((zone == NULL) == (rows[i].zone == NULL));
        if (zone != NULL)
            assert_string_equal(zone, rows[i].zone);
    }
}

static void test_serials_go_round(void **state)
{
    static const struct {
        uint32_t serial, than;
        bool is_newer;
    } rows[] = {
        {2, 1, true},
        {1, 1, false},
        {1, 2, false},
        {0, UINT32_MAX, true},
        {UINT32_MAX, 0, false},
        {2026112101, 2026112100, true},
        {5, UINT32_MAX - 5, true},
        {0x7fffffff, 0, true},
        {0x80000001, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(zone_serial_is_newer(rows[i].serial, rows[i].than), rows[i].is_newer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zone_of_name),
        cmocka_unit_test(test_serials_go_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
