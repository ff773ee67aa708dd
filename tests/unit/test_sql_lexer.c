/*
 * test_sql_lexer.c - tokens and statements of SQL, names, and the commands about prepared statements.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/sql_command.h"
#include "wire/sql_session.h"

static const char letters[] = {
    [SQL_TOKEN_END] = '.',     [SQL_TOKEN_WORD] = 'w',     [SQL_TOKEN_QUOTED] = 'q',
    [SQL_TOKEN_UQUOTED] = 'u', [SQL_TOKEN_STRING] = 's',   [SQL_TOKEN_PARAMETER] = 'p',
    [SQL_TOKEN_NUMBER] = 'n',  [SQL_TOKEN_OPERATOR] = 'o', [SQL_TOKEN_CHAR] = 'c',
    [SQL_TOKEN_BROKEN] = '!',
};

static struct sql_lexer lexer(const char *text, bool standard_strings)
{
    /* a copy without a NUL, so that a look beyond the end is found */
    uint32_t n = (uint32_t)strlen(text);
    char *copy = malloc(n + 1);
    assert_non_null(copy);
    char *exact = realloc(copy, n > 0 ? n : 1);
    memcpy(exact, text, n);
    return (struct sql_lexer){.text = exact, .len_bytes = n, .standard_strings = standard_strings};
}

static void done(struct sql_lexer *l)
{
    free((char *)(uintptr_t)l->text);
}

/* kinds: a letter per token. tokens: the tokens themselves with | between, where it matters. */
static const struct lexed {
    const char *text;
    const char *kinds;
    const char *tokens;
} lexed[] = {
    {"", ".", ""},
    {"  \t\r\n\f\v ", ".", ""},
    {"SELECT a", "ww.", "SELECT|a"},
    {"a$b _c \xc3\xa9t\xc3\xa9 x1", "wwww.", "a$b|_c|\xc3\xa9t\xc3\xa9|x1"},
    {"\"a b\" \"a\"\"b\" \"\"", "qqq.", "\"a b\"|\"a\"\"b\"|\"\""},
    {"U&\"d\\0061\" u&'x' U &'x'", "uswos.", "U&\"d\\0061\"|u&'x'|U|&|'x'"},
    {"'it''s' 'a\\'", "ss.", "'it''s'|'a\\'"},
    {"E'it\\'s' e'\\\\'", "ss.", "E'it\\'s'|e'\\\\'"},
    {"B'01' x'f' N'a' b 'x'", "sssws.", "B'01'|x'f'|N'a'|b|'x'"},
    {"xe'a'", "ws.", "xe|'a'"},
    {"'a'\n  'b''c' 'd'", "ss.", "'a'\n  'b''c'|'d'"},
    {"'a' 'b'", "ss.", "'a'|'b'"},
    {"'a' -- x\n 'b;'", "s.", "'a' -- x\n 'b;'"},
    {"E'a'\n'\\''", "s.", "E'a'\n'\\''"},
    {"'a' /* x\n */ 'b'", "ss.", "'a'|'b'"},
    {"$$a;b$$ $x$ $$ $x $x$", "ss.", "$$a;b$$|$x$ $$ $x $x$"},
    {"$\xc3\xa9$;$\xc3\xa9$", "s.", "$\xc3\xa9$;$\xc3\xa9$"},
    {"$1 $23 $", "ppc.", "$1|$23|$"},
    {"a$$b$$", "w.", "a$$b$$"},
    {"1 1.5 .5 1e5 1.5e-3 1e 1..2", "nnnnnnwncn.", "1|1.5|.5|1e5|1.5e-3|1|e|1|.|.2"},
    {"1e'\\'' ", "ns.", "1|e'\\''"},
    {"+ <= @-@ a-b", "ooowow.", "+|<=|@-@|a|-|b"},
    {"a--b\nc", "ww.", "a|c"},
    {"a-/*x*/b", "wow.", "a|-|b"},
    {"a+--b", "wo.", "a|+"},
    {"/* a /* b */ ; */ c", "w.", "c"},
    {"-- only", ".", ""},
    {"(a,b);[x]::y.z", "cwcwcccwcccwcw.", NULL},
    {"\\ {", "cc.", NULL},
    {"'a", "!", NULL},
    {"'a\\", "!", NULL},
    {"\"a", "!", NULL},
    {"$x$ $y$", "!", NULL},
    {"a /* b", "w!", NULL},
    {"/* /* */", "!", NULL},
    {"E'\\", "!", NULL},
    {"U&'", "!", NULL},
    {"'a'\n'", "!", NULL},
};

static void check_tokens(const struct lexed *row, struct sql_lexer *l)
{
    char kinds[64] = "", tokens[256] = "";
    for (size_t n = 0; n < sizeof(kinds) - 1; n++) {
        uint32_t before = l->at;
        struct sql_token t = sql_lexer_next(l);
        kinds[n] = letters[t.kind];
        if (t.kind == SQL_TOKEN_END || t.kind == SQL_TOKEN_BROKEN) {
            assert_int_equal(sql_lexer_next(l).kind, t.kind); /* stays */
            break;
        }
        assert_true(t.start >= before && t.end > t.start && t.end <= l->len_bytes && l->at == t.end);
        snprintf(tokens + strlen(tokens), sizeof(tokens) - strlen(tokens), "%s%.*s", n > 0 ? "|" : "",
                 (int)(t.end - t.start), l->text + t.start);
    }
    assert_string_equal(kinds, row->kinds);
    if (row->tokens != NULL)
        assert_string_equal(tokens, row->tokens);
}

static void test_tokens(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lexed); i++) {
        struct sql_lexer l = lexer(lexed[i].text, true);
        check_tokens(&lexed[i], &l);
        done(&l);
    }
}

static void test_strings_that_do_not_conform(void **state)
{
    static const struct lexed rows[] = {
        {"'it\\'s' x", "sw.", "'it\\'s'|x"},  {"N'it\\'s'", "s.", "N'it\\'s'"}, {"B'\\'", "s.", "B'\\'"},
        {"'a'\n'\\';'", "s.", "'a'\n'\\';'"}, {"$$\\$$", "s.", "$$\\$$"},       {"\"\\\"", "q.", "\"\\\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_lexer l = lexer(rows[i].text, false);
        check_tokens(&rows[i], &l);
        done(&l);
    }
}

/* statements: with | between; a ! at the end: broken. */
static const struct split {
    const char *text;
    const char *statements;
} splits[] = {
    {"", ""},
    {" ; ;; -- x", ""},
    {"SELECT 1", "SELECT 1"},
    {" SELECT 1 ; SELECT 2; ", "SELECT 1|SELECT 2"},
    {"SELECT ';'; /* ; */ x -- ;\n; y", "SELECT ';'|x|y"},
    {"CREATE RULE r AS ON INSERT TO t DO (a; b); c", "CREATE RULE r AS ON INSERT TO t DO (a; b)|c"},
    {"a ); b; (c; d", "a )|b|(c; d"},
    {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END; c",
     "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END|c"},
    {"create or replace procedure p() begin atomic select case when a then b end; end; c",
     "create or replace procedure p() begin atomic select case when a then b end; end|c"},
    {"CREATE TABLE begin (atomic int); BEGIN; c", "CREATE TABLE begin (atomic int)|BEGIN|c"},
    {"CREATE FUNCTION f() AS $$BEGIN ATOMIC;$$; c", "CREATE FUNCTION f() AS $$BEGIN ATOMIC;$$|c"},
    {"CREATE OR FUNCTION BEGIN ATOMIC; c", "CREATE OR FUNCTION BEGIN ATOMIC|c"},
    {"SELECT 1; 'x", "SELECT 1|!"},
};

static void test_statements(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(splits); i++) {
        struct sql_lexer l = lexer(splits[i].text, true);
        struct sql_statement s;
        char got[256] = "";
        enum sql_statement_result r;
        while ((r = sql_next_statement(&l, &s)) == SQL_STATEMENT_OK)
            snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%.*s", got[0] ? "|" : "",
                     (int)(s.end - s.start), l.text + s.start);
        if (r == SQL_STATEMENT_BROKEN)
            strcat(got, "|!");
        assert_string_equal(got, splits[i].statements);
        done(&l);
    }
}

#define TEN   "0123456789"
#define SIXTY "a" TEN TEN TEN TEN TEN "012345678"

static const struct named {
    const char *token;
    const char *name;
} names[] = {
    {"Foo", "foo"},
    {"\"Foo\"", "Foo"},
    {"\"a\"\"b\"", "a\"b"},
    {"\"\"", ""},
    {"'a'", ""},
    {"U&\"a\"", ""},
    {"\xc3\x89T\xc3\x89", "\xc3\x89t\xc3\x89"},
    {SIXTY "XYZ", SIXTY "xyz"},
    {SIXTY "XYZA", SIXTY "xyz"},
    {SIXTY "XY\xc3\xa9", SIXTY "xy"},
    {SIXTY "X\xc3\xa9", SIXTY "x\xc3\xa9"},
    {"\"" SIXTY "X\xe2\x82\xac\"", SIXTY "X"},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct sql_lexer l = lexer(names[i].token, true);
        struct sql_token t = sql_lexer_next(&l);
        char name[SQL_NAME_BYTES] = "";
        assert_int_equal(sql_name(&l, &t, true, name), strlen(names[i].name));
        assert_string_equal(name, names[i].name);
        done(&l);
    }
    struct sql_lexer l = lexer(SIXTY "XY\xc3\xa9", true);
    struct sql_token t = sql_lexer_next(&l);
    char name[SQL_NAME_BYTES];
    assert_int_equal(sql_name(&l, &t, false, name), 63); /* an encoding of single bytes: cut anywhere */
    done(&l);
}

static void test_reserved_words(void **state)
{
    static const char *const reserved[] = {"all", "SELECT", "With", "Current_Schema", "is", "isnull", "when"};
    static const char *const free_ones[] = {"prepare", "execute", "transaction", "a",
                                            "al",      "alls",    "\"all\"",     "zebra"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(reserved) + ARRAY_SIZE(free_ones); i++) {
        bool is_reserved = i < ARRAY_SIZE(reserved);
        struct sql_lexer l = lexer(is_reserved ? reserved[i] : free_ones[i - ARRAY_SIZE(reserved)], true);
        struct sql_token t = sql_lexer_next(&l);
        assert_int_equal(sql_is_reserved(&l, &t), is_reserved);
        done(&l);
    }
}

static void test_encodings(void **state)
{
    (void)state;
    assert_true(sql_encoding_is_safe("UTF8"));
    assert_true(sql_encoding_is_safe("LATIN1"));
    assert_true(sql_encoding_is_safe("EUC_JP"));
    assert_false(sql_encoding_is_safe("SJIS"));
    assert_false(sql_encoding_is_safe("GBK"));
    assert_false(sql_encoding_is_safe(NULL));
}

/* ---- commands ---- */

static const struct command {
    const char *text;
    enum sql_command_kind kind;
    const char *name; /* as it is written */
    const char *body;
} commands[] = {
    {"PREPARE a AS SELECT 1", SQL_PREPARE, "a", "AS SELECT 1"},
    {"prepare \"A\"(int, text[]) as select $1", SQL_PREPARE, "\"A\"", "(int, text[]) as select $1"},
    {"PREPARE a /* x */ (numeric(1,2)) AS x", SQL_PREPARE, "a", "(numeric(1,2)) AS x"},
    {"PREPARE prepare AS x", SQL_PREPARE, "prepare", "AS x"},
    {"PREPARE transaction AS x", SQL_PREPARE, "transaction", "AS x"},
    {"PREPARE TRANSACTION 'x'", SQL_OTHER, NULL, NULL},
    {"PREPARE select AS x", SQL_OTHER, NULL, NULL},
    {"PREPARE a AS", SQL_OTHER, NULL, NULL},
    {"PREPARE a (int", SQL_OTHER, NULL, NULL},
    {"PREPARE a SELECT 1", SQL_OTHER, NULL, NULL},
    {"PREPARE U&\"a\" AS x", SQL_OTHER, NULL, NULL},
    {"PREPARE", SQL_OTHER, NULL, NULL},
    {"EXECUTE a", SQL_EXECUTE, "a", NULL},
    {"EXECUTE a(1, (2), ')')", SQL_EXECUTE, "a", NULL},
    {"EXECUTE a b", SQL_OTHER, NULL, NULL},
    {"EXECUTE a.b", SQL_OTHER, NULL, NULL},
    {"EXECUTE 'a'", SQL_OTHER, NULL, NULL},
    {"EXECUTE IMMEDIATE", SQL_EXECUTE, "IMMEDIATE", NULL},
    {"DEALLOCATE a", SQL_DEALLOCATE, "a", NULL},
    {"DEALLOCATE PREPARE a", SQL_DEALLOCATE, "a", NULL},
    {"DEALLOCATE prepare", SQL_DEALLOCATE, "prepare", NULL},
    {"DEALLOCATE PREPARE prepare", SQL_DEALLOCATE, "prepare", NULL},
    {"DEALLOCATE ALL", SQL_DEALLOCATE_ALL, NULL, NULL},
    {"DEALLOCATE PREPARE ALL", SQL_DEALLOCATE_ALL, NULL, NULL},
    {"DEALLOCATE \"all\"", SQL_DEALLOCATE, "\"all\"", NULL},
    {"DEALLOCATE a, b", SQL_OTHER, NULL, NULL},
    {"DISCARD ALL", SQL_DISCARD_ALL, NULL, NULL},
    {"DISCARD PLANS", SQL_OTHER, NULL, NULL},
    {"EXPLAIN EXECUTE a", SQL_EXECUTE, "a", NULL},
    {"EXPLAIN ANALYZE VERBOSE EXECUTE a(1)", SQL_EXECUTE, "a", NULL},
    {"EXPLAIN (ANALYZE, FORMAT json) EXECUTE a", SQL_EXECUTE, "a", NULL},
    {"EXPLAIN SELECT 1 AS execute", SQL_OTHER, NULL, NULL},
    {"CREATE TABLE t AS EXECUTE a", SQL_EXECUTE, "a", NULL},
    {"CREATE UNLOGGED TABLE IF NOT EXISTS s.t (x, y) WITH (fillfactor = 70) TABLESPACE q AS EXECUTE a(1) "
     "WITH NO DATA",
     SQL_EXECUTE, "a", NULL},
    {"EXPLAIN CREATE TEMP TABLE t AS EXECUTE a", SQL_EXECUTE, "a", NULL},
    {"CREATE TABLE t AS SELECT 1 AS execute", SQL_OTHER, NULL, NULL},
    {"CREATE TABLE t (execute int)", SQL_OTHER, NULL, NULL},
    {"CREATE VIEW v AS EXECUTE a", SQL_OTHER, NULL, NULL},
    {"SELECT 1 EXECUTE a", SQL_OTHER, NULL, NULL},
    {"\"EXECUTE\" a", SQL_OTHER, NULL, NULL},
};

static void test_commands(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        const struct command *row = &commands[i];
        struct sql_lexer l = lexer(row->text, true);
        struct sql_statement s;
        struct sql_command c;
        assert_int_equal(sql_next_statement(&l, &s), SQL_STATEMENT_OK);
        sql_command_read(&l, &s, true, &c);
        if (c.kind != row->kind)
            fail_msg("%s: kind %d", row->text, c.kind);
        if (row->name != NULL) {
            assert_int_equal(c.name_end - c.name_start, strlen(row->name));
            assert_memory_equal(l.text + c.name_start, row->name, strlen(row->name));
            assert_int_equal(c.name_bytes, strlen(c.name));
        }
        if (row->body != NULL) {
            assert_int_equal(c.body_end - c.body_start, strlen(row->body));
            assert_memory_equal(l.text + c.body_start, row->body, strlen(row->body));
        }
        if (row->kind != SQL_OTHER && !sql_may_have_command(l.text, l.len_bytes))
            fail_msg("%s: not seen", row->text);
        done(&l);
    }
}

/* len_bytes: with a NUL behind the text. */
static bool is_plain(const char *text, uint32_t len_bytes)
{
    return (sql_look(text, len_bytes) & SQL_LOOK_COMMAND) == 0;
}

static void test_quick_look(void **state)
{
    static const struct {
        const char *text;
        bool is_seen;
    } rows[] = {
        {"", false},
        {"   ", false},
        {"SELECT 1", false},
        {"SELECT 1;", false},
        {"SELECT 1 ; \n", false},
        {"SELECT 'EXECUTE a'", false},
        {"SELECT 1; SELECT 2", false},
        {"SELECT 1; execute a", true},
        {"SELECT 1; \"x\"", false},
        {"SELECT 1; reexecute a", false},
        {"SELECT 1; executed", false},
        {"DELETE FROM t", false},
        {"END", false},
        {"deallocate x", true},
        {" Discard all", true},
        {"PREPARE", true},
        {"PREPARED x", false},
        {"EXPLAIN SELECT 1", false},
        {"EXPLAIN EXECUTE a", true},
        {"CREATE TABLE t (x int)", false},
        {"CREATE TABLE t AS EXECUTE a", true},
        {"/**/EXECUTE a", true},
        {"-- x\nEXECUTE a", true},
        {"-- x\nSELECT 1", false},
        {";EXECUTE a", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_lexer l = lexer(rows[i].text, true);
        if (sql_may_have_command(l.text, l.len_bytes) != rows[i].is_seen)
            fail_msg("%s", rows[i].text);
        if (rows[i].is_seen && is_plain(rows[i].text, l.len_bytes + 1))
            fail_msg("%s is not plain", rows[i].text);
        done(&l);
    }
    assert_true(is_plain("SELECT 1", 9));
    assert_true(is_plain("SELECT 1;", 10));
    assert_true(is_plain("delete from t", 14));
    assert_true(is_plain("END", 4));
    assert_true(is_plain("COMMIT", 7));
    assert_false(is_plain("SELECT 1; ", 11)); /* looked at more closely */
    assert_false(is_plain("", 1));
    assert_true(sql_may_begin_with_command("/* x */ PREPARE a AS S", 22));
    assert_true(sql_may_begin_with_command("EXPLAIN EXEC", 12));
    assert_false(sql_may_begin_with_command("SELECT 1; EXECUTE a", 19));
    assert_false(sql_may_begin_with_command("/* x", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),         cmocka_unit_test(test_strings_that_do_not_conform),
        cmocka_unit_test(test_statements),     cmocka_unit_test(test_names),
        cmocka_unit_test(test_reserved_words), cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_commands),       cmocka_unit_test(test_quick_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
