/*
 * test_console_parse.c - statements as the parser reads them, and binary forms of values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops_int.h"

/* command: NULL = an error with this SQLSTATE; "" = empty. */
static const struct {
    const char *sql, *command, *name, *value, *sqlstate;
} rows[] = {
    {"", "", "", "", NULL},
    {"  ;", "", "", "", NULL},
    {"-- only", "", "", "", NULL},
    {"pause", "PAUSE", "", "", NULL},
    {"pause;", "PAUSE", "", "", NULL},
    {"PAUSE My-db.1;", "PAUSE", "My-db.1", "", NULL},
    {"PAUSE\n\"My \"\"db\";", "PAUSE", "My \"db", "", NULL},
    {"PAUSE/**/x--y", "PAUSE", "x", "", NULL},
    {"PAUSE \"\"", NULL, "", "", "42602"},
    {"PAUSE a b", NULL, "", "", "42601"},
    {"PAUSE 'a'", NULL, "", "", "42601"},
    {"PAUSE aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123", "PAUSE",
     "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff123", "", NULL},
    {"PAUSE aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff1234", NULL, "", "", "42602"},
    {"DISABLE", "DISABLE", "", "", NULL},
    {"SET a = b", "SET", "a", "b", NULL},
    {"set a to 'b c'", "SET", "a", "b c", NULL},
    {"SET a='it''s';", "SET", "a", "it's", NULL},
    {"SET a = ''", "SET", "a", "", NULL},
    {"SET a=-1", "SET", "a", "-1", NULL},
    {"SET SESSION a = 1.5s", "SET", "a", "1.5s", NULL},
    {"SET LOCAL a TO b", "SET", "a", "b", NULL},
    {"SET session = 1", "SET", "session", "1", NULL},
    {"SET a", NULL, "", "", "42601"},
    {"SET a =", NULL, "", "", "42601"},
    {"SET = b", NULL, "", "", "42601"},
    {"SET a = $1", NULL, "", "", "42P02"},
    {"SET a = 'b", NULL, "", "", "42601"},
    {"SET TIME ZONE 'UTC'", "SET", "TIME", "", NULL},
    {"SET NAMES 'utf8'", "SET", "NAMES", "", NULL},
    {"SHOW", "SHOW", "", "", NULL},
    {"SHOW STATS_TOTALS", "SHOW", "", "", NULL},
    {"SHOW POOLS extended", NULL, "", "", "42601"},
    {"SHOW POOLS; DROP", "SHOW", "", "", NULL},
    {"'SHOW' POOLS", NULL, "", "", "42601"},
    {"\"SHOW\" POOLS", NULL, "", "", "42601"},
    {"(SHOW POOLS)", NULL, "", "", "42601"},
    {"$1", NULL, "", "", "42P02"},
    {"BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN", "", "", NULL},
    {"BEGIN 'x", NULL, "", "", "42601"},
};

static void test_statements(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *sql = rows[i].sql;
        struct statement st;
        struct parse_error e;
        bool ok = statement_parse(&sql, &st, &e);

        if (ok != (rows[i].command != NULL))
            print_error("%s: %s\n", rows[i].sql, e.message);
        assert_int_equal(ok, rows[i].command != NULL);
        if (!ok) {
            assert_string_equal(e.sqlstate, rows[i].sqlstate);
            continue;
        }
        assert_string_equal(st.command != NULL ? st.command->name : "", rows[i].command);
        assert_string_equal(st.name, rows[i].name);
        assert_string_equal(st.value, rows[i].value);
    }
}

static void test_where_it_ends(void **state)
{
    static const char text[] = "PAUSE ';' ; SHOW /* ; */ POOLS;RELOAD";
    const char *sql = text;
    struct statement st;
    struct parse_error e;

    (void)state;
    sql = text + strlen("PAUSE ';' ;");
    assert_true(statement_parse(&sql, &st, &e));
    assert_string_equal(sql, "RELOAD");
    assert_false(statement_is_last(sql));
    assert_true(statement_parse(&sql, &st, &e));
    assert_string_equal(sql, "");
    assert_true(statement_is_last(" ; ; -- x"));
    assert_true(statement_is_last("/* open"));
}

static void test_long_value(void **state)
{
    char text[CONSOLE_VALUE_BYTES + 64] = "SET a = '";
    const char *sql = text;
    struct statement st;
    struct parse_error e;

    (void)state;
    memset(text + 9, 'x', CONSOLE_VALUE_BYTES - 1);
    text[9 + CONSOLE_VALUE_BYTES - 1] = '\'';
    assert_true(statement_parse(&sql, &st, &e));
    assert_int_equal(strlen(st.value), CONSOLE_VALUE_BYTES - 1);
    text[9 + CONSOLE_VALUE_BYTES - 1] = 'x';
    text[9 + CONSOLE_VALUE_BYTES] = '\'';
    sql = text;
    assert_false(statement_parse(&sql, &st, &e));
    text[8] = 'x'; /* bare */
    text[9 + CONSOLE_VALUE_BYTES] = '\0';
    sql = text;
    assert_false(statement_parse(&sql, &st, &e));
}

#define ZEROS_64 "0000000000000000000000000000000000000000000000000000000000000000"

/* Values as PostgreSQL's own *_send functions write them. */
static const struct {
    char type;
    const char *text;
    bool ok;
    uint8_t len;
    uint8_t bytes[24];
} binaries[] = {
    {'i', "0", true, 4, {0, 0, 0, 0}},
    {'i', "-2", true, 4, {255, 255, 255, 254}},
    {'i', "x", false, 0, {0}},
    {'q', "4294967298", true, 8, {0, 0, 0, 1, 0, 0, 0, 2}},
    {'B', "t", true, 1, {1}},
    {'B', "f", true, 1, {0}},
    {'s', "abc", true, 3, {'a', 'b', 'c'}},
    {'T', "2", true, 1, {'2'}},
    /* ndigits, weight, sign, dscale, digits of base 10000 */
    {'N', "0", true, 8, {0, 0, 0, 0, 0, 0, 0, 0}},
    {'N', "0.000", true, 8, {0, 0, 0, 0, 0, 0, 0, 3}},
    {'N', "1", true, 10, {0, 1, 0, 0, 0, 0, 0, 0, 0, 1}},
    {'N', "12345", true, 12, {0, 2, 0, 1, 0, 0, 0, 0, 0, 1, 2345 >> 8, 2345 & 255}},
    {'N', "10000", true, 10, {0, 1, 0, 1, 0, 0, 0, 0, 0, 1}},
    {'N', "-12.345", true, 12, {0, 2, 0, 0, 0x40, 0, 0, 3, 0, 12, 3450 >> 8, 3450 & 255}},
    {'N', "0.950", true, 10, {0, 1, 255, 255, 0, 0, 0, 3, 9500 >> 8, 9500 & 255}},
    {'N', "0.00001", true, 10, {0, 1, 255, 254, 0, 0, 0, 5, 1000 >> 8, 1000 & 255}},
    {'N',
     "18446744073709551615",
     true,
     18,
     {0, 5, 0, 4, 0, 0, 0, 0, 1844 >> 8, 1844 & 255, 6744 >> 8, 6744 & 255, 737 >> 8, 737 & 255, 955 >> 8,
      955 & 255, 1615 >> 8, 1615 & 255}},
    {'N', "", false, 0, {0}},
    {'N', "nan", false, 0, {0}},
    {'N', "1.2.3", false, 0, {0}},
    {'N', "1" ZEROS_64 ZEROS_64 ZEROS_64 ZEROS_64 ZEROS_64 ZEROS_64, false, 0, {0}},
};

static void test_binary(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(binaries); i++) {
        struct buf b;

        buf_init(&b, 0);
        assert_int_equal(result_binary(&b, binaries[i].type, binaries[i].text), binaries[i].ok);
        if (binaries[i].ok) {
            assert_int_equal(b.len, binaries[i].len);
            assert_memory_equal(b.data, binaries[i].bytes, b.len);
        }
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements),
        cmocka_unit_test(test_where_it_ends),
        cmocka_unit_test(test_long_value),
        cmocka_unit_test(test_binary),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
