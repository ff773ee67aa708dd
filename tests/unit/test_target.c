/*
 * test_target.c - target_session_attrs: libpq's rules as a table, and the answer of servers that must be
 * asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "session/target.h"

#define FITS TARGET_FITS
#define NOT  TARGET_MISMATCH
#define ASK  TARGET_ASK

/* in_hot_standby, default_transaction_read_only; then a verdict for each word of enum
 * config_target_session_attrs */
static const struct row {
    const char *standby, *read_only;
    enum target_verdict verdicts[6];
} rows[] = {
    /*               any   rw    ro    primary standby prefer-standby */
    {"off", "off", {FITS, FITS, NOT, FITS, NOT, NOT}}, {"off", "on", {FITS, NOT, FITS, FITS, NOT, NOT}},
    {"on", "off", {FITS, NOT, FITS, NOT, FITS, FITS}}, {"on", "on", {FITS, NOT, FITS, NOT, FITS, FITS}},
    {NULL, "on", {FITS, NOT, FITS, ASK, ASK, ASK}},    {NULL, "off", {FITS, ASK, ASK, ASK, ASK, ASK}},
    {"off", NULL, {FITS, ASK, ASK, FITS, NOT, NOT}},   {"on", NULL, {FITS, NOT, FITS, NOT, FITS, FITS}},
    {NULL, NULL, {FITS, ASK, ASK, ASK, ASK, ASK}},     {"maybe", "off", {FITS, ASK, ASK, ASK, ASK, ASK}},
};

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct server_role role = {(uint8_t)target_tri(rows[i].standby),
                                   (uint8_t)target_tri(rows[i].read_only)};
        for (int wanted = TARGET_ANY; wanted <= TARGET_PREFER_STANDBY; wanted++)
            if (target_check((enum config_target_session_attrs)wanted, &role) != rows[i].verdicts[wanted])
                fail_msg("row %zu, word %d", i, wanted);
    }
    assert_string_equal(target_mismatch_text(TARGET_READ_WRITE), "session is read-only");
    assert_string_equal(target_mismatch_text(TARGET_STANDBY), "server is not in hot standby mode");
}

#define ROW(text) (const uint8_t *)(text), sizeof(text) - 1

static void test_answer(void **state)
{
    (void)state;
    struct server_role role;
    assert_true(target_parse_row(ROW("\0\2\0\0\0\1t\0\0\0\1f"), &role));
    assert_int_equal(role.in_hot_standby, TRI_YES);
    assert_int_equal(role.default_read_only, TRI_NO);
    assert_false(target_parse_row(ROW("\0\2\0\0\0\1t\0\0\0\1x"), &role)); /* no boolean */
    assert_false(target_parse_row(ROW("\0\1\0\0\0\1t"), &role));
    assert_false(target_parse_row(ROW("\0\2\0\0\0\1t\377\377\377\377"), &role)); /* NULL */
    assert_false(target_parse_row(ROW("\0\2\0\0\0\1t\0\0\0\1"), &role));         /* cut off */
    assert_false(target_parse_row(ROW("\0\2\0\0\0\1t\0\0\0\1ff"), &role));       /* too long */
    assert_false(target_parse_row(ROW(""), &role));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
