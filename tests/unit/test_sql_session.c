/*
 * test_sql_session.c - what texts of SQL do to their session: the quick look, acts, names and values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/sql_session.h"

static const char *const kinds[] = {
    [SQL_SESSION_SET] = "set",
    [SQL_SESSION_SET_CONFIG] = "set_config",
    [SQL_SESSION_RESET] = "reset",
    [SQL_SESSION_RESET_ALL] = "reset_all",
    [SQL_SESSION_BEGIN] = "begin",
    [SQL_SESSION_COMMIT] = "commit",
    [SQL_SESSION_ROLLBACK] = "rollback",
    [SQL_SESSION_SAVEPOINT] = "savepoint",
    [SQL_SESSION_RELEASE] = "release",
    [SQL_SESSION_ROLLBACK_TO] = "rollback_to",
    [SQL_SESSION_PREPARE_TRANSACTION] = "prepare_transaction",
    [SQL_SESSION_LISTEN] = "listen",
    [SQL_SESSION_UNLISTEN] = "unlisten",
    [SQL_SESSION_UNLISTEN_ALL] = "unlisten_all",
    [SQL_SESSION_NOTIFY] = "notify",
    [SQL_SESSION_LOCK] = "lock",
    [SQL_SESSION_UNLOCK] = "unlock",
    [SQL_SESSION_UNLOCK_ALL] = "unlock_all",
    [SQL_SESSION_TEMP] = "temp",
    [SQL_SESSION_HOLD] = "hold",
    [SQL_SESSION_CLOSE] = "close",
    [SQL_SESSION_CLOSE_ALL] = "close_all",
    [SQL_SESSION_LOAD] = "load",
    [SQL_SESSION_DISCARD_ALL] = "discard_all",
    [SQL_SESSION_DISCARD_PLANS] = "discard_plans",
    [SQL_SESSION_DISCARD_SEQUENCES] = "discard_sequences",
    [SQL_SESSION_DISCARD_TEMP] = "discard_temp",
    [SQL_SESSION_UNKNOWN] = "unknown",
};

/* A copy without a NUL, so that a look beyond the end is found. */
static struct sql_lexer lexer(const char *text, bool standard_strings)
{
    uint32_t n = (uint32_t)strlen(text);
    char *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, text, n);
    return (struct sql_lexer){.text = copy, .len_bytes = n, .standard_strings = standard_strings};
}

static void put_operand(const struct sql_lexer *l, const struct sql_operand *o, struct buf *out)
{
    switch (o->kind) {
    case SQL_OPERAND_UNKNOWN: buf_append_str(out, "?"); return;
    case SQL_OPERAND_NULL: buf_append_str(out, "NULL"); return;
    case SQL_OPERAND_PARAMETER: buf_printf(out, "$%u", o->number); return;
    case SQL_OPERAND_LITERAL:
        if (!sql_operand_value(l, o, out))
            buf_append_str(out, "(unknown)");
        return;
    }
}

static void put_act(const struct sql_lexer *l, const struct sql_session_act *a, struct buf *out)
{
    buf_printf(out, "%s%s%s%s%s", kinds[a->kind], a->is_local ? "-local" : "", a->is_chain ? "-chain" : "",
               a->is_certain ? "!" : "", a->is_hidden ? "?" : "");
    if (a->name_bytes > 0)
        buf_printf(out, " %s", a->name);
    if (a->kind == SQL_SESSION_SET) {
        buf_append_str(out, "=");
        if (!sql_session_value(l, a, out))
            buf_append_str(out, "(unknown)");
    }
    if (a->kind == SQL_SESSION_SET_CONFIG) {
        for (int i = 0; i < 3; i++) {
            buf_append_str(out, i == 0 ? "(" : ",");
            put_operand(l, &a->args[i], out);
        }
        buf_append_str(out, ")");
    }
}

/* All acts of the text: those of a statement with '|' between, statements with ';'. */
static void acts_of(const char *text, bool standard_strings, struct buf *out)
{
    struct sql_lexer l = lexer(text, standard_strings);
    const struct sql_lexer whole = l;
    struct sql_statement s;
    struct sql_session_reader r;
    struct sql_session_act a;

    for (bool is_next = false; sql_next_statement(&l, &s) == SQL_STATEMENT_OK; is_next = true) {
        if (is_next)
            buf_append_str(out, "; ");
        bool is_more = false;
        for (sql_session_begin(&r, &whole, &s, true); sql_session_next(&r, &a); is_more = true) {
            if (is_more)
                buf_append_str(out, " | ");
            put_act(&whole, &a, out);
        }
    }
    free((char *)(uintptr_t)l.text);
}

static const struct {
    const char *text;
    const char *acts;
} rows[] = {
    /* settings */
    {"SET a = 1", "set a=1"},
    {"set A TO 'x'", "set a=x"},
    {"SET SESSION a.b TO on", "set a.b=on"},
    {"SET LOCAL \"A\".b = -5", "set-local A.b=-5"},
    {"SET a=-5", "set a=-5"},
    {"SET a=+007", "set a=7"},
    {"SET a=1.50", "set a=1.50"},
    {"SET a = 'it''s'", "set a=it's"},
    {"SET a = E'x\\n\\'\\x41\\101\\\\'", "set a=x\n'AA\\"},
    {"SET a = E'\\u00e9'", "set a=(unknown)"},
    {"SET a = $t$x'y$t$", "set a=x'y"},
    {"SET a = 'x'\n  'y'", "set a=xy"},
    {"SET a = U&'x'", "set a=(unknown)"},
    {"SET a = TRUE", "set a=true"},
    {"SET a = \"Mixed\"", "set a=Mixed"},
    {"SET a = b c", "set a=(unknown)"},
    {"SET a = 1 + 2", "set a=(unknown)"},
    {"SET a", ""},
    {"SET a =", ""},
    {"SET a FROM CURRENT", ""},
    {"SET a TO DEFAULT", "reset a"},
    {"SET LOCAL a = DEFAULT", "reset-local a"},
    {"SET search_path TO a, \"B c\", 'd', '$user', user, PUBLIC",
     "set search_path=a, \"B c\", d, \"$user\", \"user\", public"},
    {"SET search_path = ''", "set search_path=\"\""},
    {"SET search_path TO int, xmltable, between, none, values, zz",
     "set search_path=\"int\", \"xmltable\", \"between\", \"none\", \"values\", zz"},
    {"SET DateStyle TO ISO, 'DMY'", "set datestyle=iso, DMY"},
    {"SET SCHEMA 'a b'", "set search_path=\"a b\""},
    {"SET TIME ZONE 'UTC'", "set timezone=UTC"},
    {"SET LOCAL TIME ZONE -8", "set-local timezone=-8"},
    {"SET TIME ZONE LOCAL", "reset timezone"},
    {"SET TIME ZONE DEFAULT", "reset timezone"},
    {"SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", "set timezone=(unknown)"},
    {"SET time = 1", "set time=1"},
    {"SET NAMES 'latin1'", "set client_encoding=latin1"},
    {"SET NAMES", "reset client_encoding"},
    {"SET NAMES DEFAULT", "reset client_encoding"},
    {"SET XML OPTION DOCUMENT", "set xmloption=document"},
    {"SET ROLE Alice", "set role=alice"},
    {"SET ROLE \"Alice\"", "set role=Alice"},
    {"SET LOCAL ROLE 'x'", "set-local role=x"},
    {"SET SESSION ROLE none", "set role=none"},
    {"SET ROLE NONE", "set role=none"},
    {"RESET ROLE", "reset role"},
    {"SET ROLE TO bob", "set role=bob"},
    {"SET SESSION AUTHORIZATION bob", "set session_authorization=bob"},
    {"SET SESSION SESSION AUTHORIZATION bob", "set session_authorization=bob"},
    {"SET LOCAL SESSION AUTHORIZATION 'bob'", "set-local session_authorization=bob"},
    {"SET SESSION AUTHORIZATION DEFAULT", "reset session_authorization"},
    {"RESET SESSION AUTHORIZATION", "reset session_authorization"},
    {"SET session.x = 1", "set session.x=1"},
    {"SET local = 1", "set local=1"},
    {"SET LOCAL local.x = 1", "set-local local.x=1"},
    {"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY DEFERRABLE",
     "set default_transaction_isolation=repeatable read | set default_transaction_read_only=on | "
     "set default_transaction_deferrable=on"},
    {"SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE, NOT DEFERRABLE, ISOLATION LEVEL SERIALIZABLE",
     "set default_transaction_read_only=off | set default_transaction_deferrable=off | "
     "set default_transaction_isolation=serializable"},
    {"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
     "set default_transaction_isolation=read committed"},
    {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ""},
    {"SET LOCAL TRANSACTION READ ONLY", ""},
    {"SET CONSTRAINTS ALL DEFERRED", ""},
    {"RESET a.b", "reset a.b"},
    {"RESET ALL", "reset_all"},
    {"RESET TIME ZONE", "reset timezone"},
    {"RESET TRANSACTION ISOLATION LEVEL", "reset transaction_isolation"},
    {"RESET a b", ""},
    {"/* x */ SET -- y\n a /* z */ = 1 ; ;", "set a=1"},

    /* calls */
    {"SELECT set_config('a', 'b', false)", "set_config!(a,b,false)"},
    {"SELECT pg_catalog . SET_CONFIG ( $1 , $2::text , TRUE )", "set_config!($1,$2,true)"},
    {"SELECT \"set_config\"('a', NULL, 'off'), set_config('b', lower('X'), false)",
     "set_config!(a,NULL,off) | set_config!(b,?,false)"},
    {"SELECT set_config('a', 'x' || 'y', false)", "set_config!(a,?,false)"},
    {"SELECT set_config('a', '1'::pg_catalog.text, false)", "set_config!(a,1,false)"},
    {"SELECT length(set_config('a', set_config('b', 'c', false), 1::bool))",
     "set_config(a,?,1) | set_config(b,c,false)"},
    {"SELECT 1 FROM t WHERE set_config('a', 'b', false) = 'b'", "set_config(a,b,false)"},
    {"SELECT CASE WHEN x THEN set_config('a', 'b', false) END", "set_config(a,b,false)"},
    {"SELECT set_config('a', 'b')", ""},
    {"SELECT set_config, 'set_config(1,2,3)'", ""},
    {"WITH x AS (SELECT set_config('a', 'b', false)) TABLE x", "set_config(a,b,false)"},
    {"INSERT INTO t SELECT pg_advisory_lock(1)", "lock"},
    {"SELECT pg_advisory_lock(1, 2)", "lock!"},
    {"SELECT pg_try_advisory_lock(1), pg_advisory_lock_shared(2), pg_try_advisory_lock_shared(3)",
     "lock! | lock! | lock!"},
    {"SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)", ""},
    {"SELECT id FROM t WHERE pg_try_advisory_lock(id) LIMIT 1", "lock"},
    {"SELECT pg_advisory_unlock(1), pg_advisory_unlock_shared(2)", "unlock! | unlock!"},
    {"select PG_ADVISORY_UNLOCK_ALL()", "unlock_all!"},
    {"EXPLAIN ANALYZE SELECT pg_advisory_lock(1)", "lock"},
    {"PREPARE a AS SELECT pg_advisory_lock(1)", ""},

    /* transactions */
    {"BEGIN", "begin"},
    {"begin isolation level serializable", "begin"},
    {"START TRANSACTION READ ONLY", "begin"},
    {"COMMIT", "commit"},
    {"END TRANSACTION", "commit"},
    {"COMMIT WORK AND CHAIN", "commit-chain"},
    {"COMMIT AND NO CHAIN", "commit"},
    {"COMMIT PREPARED 'x'", ""},
    {"ROLLBACK", "rollback"},
    {"ABORT WORK", "rollback"},
    {"ROLLBACK AND CHAIN", "rollback-chain"},
    {"ROLLBACK PREPARED 'x'", ""},
    {"ROLLBACK TO a", "rollback_to a"},
    {"ROLLBACK TRANSACTION TO SAVEPOINT \"A b\"", "rollback_to A b"},
    {"ROLLBACK TO savepoint", "rollback_to savepoint"},
    {"SAVEPOINT S", "savepoint s"},
    {"RELEASE S", "release s"},
    {"RELEASE SAVEPOINT s", "release s"},
    {"RELEASE savepoint", "release savepoint"},
    {"PREPARE TRANSACTION 'x'", "prepare_transaction"},
    {"PREPARE transaction AS SELECT 1", ""},

    /* channels */
    {"LISTEN a", "listen a"},
    {"LISTEN \"A\"", "listen A"},
    {"UNLISTEN *", "unlisten_all"},
    {"UNLISTEN a", "unlisten a"},
    {"NOTIFY a, 'x'", "notify a"},

    /* what ties to a server */
    {"CREATE TEMP TABLE t (a int)", "temp"},
    {"CREATE LOCAL TEMPORARY TABLE t () ON COMMIT DROP", "temp-local"},
    {"CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1", "temp-local"},
    {"CREATE TEMP TABLE t AS SELECT pg_advisory_lock(1)", "temp | lock"},
    {"CREATE OR REPLACE TEMP VIEW v AS SELECT 1", "temp"},
    {"CREATE TEMP SEQUENCE s", "temp"},
    {"CREATE TABLE IF NOT EXISTS pg_temp.t (a int)", "temp"},
    {"CREATE FUNCTION pg_temp.f() RETURNS int AS 'SELECT 1' LANGUAGE sql", "temp"},
    {"CREATE TABLE t (temp int)", ""},
    {"CREATE TABLE t AS SELECT * FROM pg_temp.x", ""},
    {"SELECT * INTO TEMP t FROM x", "temp"},
    {"SELECT * INTO LOCAL TEMPORARY TABLE t FROM x", "temp"},
    {"SELECT * INTO pg_temp.t FROM x", "temp"},
    {"SELECT temp FROM t", ""},
    {"INSERT INTO pg_temp.t VALUES (1)", ""},
    {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "hold c"},
    {"DECLARE \"C\" NO SCROLL CURSOR WITH HOLD FOR SELECT 1", "hold C"},
    {"DECLARE c CURSOR FOR SELECT 1", ""},
    {"DECLARE c CURSOR WITHOUT HOLD FOR SELECT pg_advisory_lock(1)", "lock"},
    {"CLOSE c", "close c"},
    {"CLOSE ALL", "close_all"},
    {"LOAD 'x'", "load"},
    {"DISCARD ALL", "discard_all"},
    {"DISCARD PLANS", "discard_plans"},
    {"DISCARD SEQUENCES", "discard_sequences"},
    {"DISCARD TEMPORARY", "discard_temp"},
    {"DISCARD TEMP", "discard_temp"},
    {"CALL f()", "unknown"},
    {"CALL f(pg_try_advisory_lock(1))", "unknown | lock"},
    {"DO", ""},

    /* code in a literal */
    {"DO $$BEGIN PERFORM count(*) FROM t; END$$", "unknown"},
    {"DO $$BEGIN PERFORM pg_advisory_lock(1); END$$", "unknown | lock?"},
    {"DO $x$BEGIN IF Pg_Catalog.\"pg_try_advisory_lock_shared\"(1) THEN END IF; END$x$ LANGUAGE plpgsql",
     "unknown | lock?"},
    {"DO LANGUAGE 'plpgsql' 'BEGIN PERFORM pg_advisory_lock(1), pg_advisory_unlock_all(); END'",
     "unknown | lock? | unlock?"},
    {"DO $$BEGIN EXECUTE 'SELECT pg_advisory_lock(' || n || ')'; END$$", "unknown | lock?"},
    {"DO 'BEGIN EXECUTE ''SELECT pg_advisory_lock(1)''; END'", "unknown | lock?"},
    {"DO $$plpy.execute(\"SELECT pg_advisory_lock(1)\")$$ LANGUAGE plpython3u", "unknown | lock?"},
    {"DO $$BEGIN PERFORM pg_advisory_xact_lock(1), my_pg_advisory_lock(1), pg_advisory_locks(); END$$",
     "unknown"},
    {"DO $$BEGIN PERFORM my.\"U\"(), U&\"pg_adv\\0069sory_lock\"(1); END$$",
     "unknown | lock? | unlock? | temp? | hold? | set_config?(?,?,?)"},
    {"DO E'BEGIN PERFORM pg_adv\\x69sory_lock(1); END'",
     "unknown | lock? | unlock? | temp? | hold? | set_config?(?,?,?)"},
    {"DO E'BEGIN END'", "unknown"},
    {"DO $$BEGIN PERFORM regexp_replace(a, '\\d', ''); END$$", "unknown"},
    {"DO $$BEGIN CREATE TEMP TABLE t (a int); END$$", "unknown | temp?"},
    {"DO $$BEGIN EXECUTE 'create or replace temporary view v as select 1'; END$$", "unknown | temp?"},
    {"DO $$BEGIN CREATE LOCAL TEMP SEQUENCE s; END$$", "unknown | temp?"},
    {"DO $$BEGIN CREATE TABLE pg_temp.t (a int); END$$", "unknown | temp?"},
    {"DO $$DECLARE temp int; BEGIN UPDATE weather SET temp = 1; CREATE TABLE temperature (temp int); END$$",
     "unknown"},
    {"DO $$BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; END$$", "unknown | hold?"},
    {"DO $$BEGIN LOAD 'x'; END$$", "unknown | load?"},
    {"DO $$BEGIN PERFORM 1; EXECUTE 'LOAD ''x'''; END$$", "unknown | load?"},
    {"DO $$BEGIN RAISE NOTICE 'load ''x'''; load := 'x'; SELECT load, 'x'; END$$", "unknown"},
    {"DO $$BEGIN PERFORM set_config('a', 'b', false); END$$", "unknown | set_config?(?,?,?)"},
    {"DO $$BEGIN SET a = 1; END$$", "unknown | set_config?(?,?,?)"},
    {"DO $$BEGIN -- first; 'this'\n RESET a; END$$", "unknown | set_config?(?,?,?)"},
    {"DO $$BEGIN /* then\n */ SET a = 1; END$$", "unknown | set_config?(?,?,?)"},
    {"DO $$BEGIN IF a THEN EXECUTE format('SET ROLE %I', a); END IF; END$$", "unknown | set_config?(?,?,?)"},
    {"DO $$BEGIN SET LOCAL a = 1; SET TRANSACTION READ ONLY; SET CONSTRAINTS ALL DEFERRED; END$$", "unknown"},
    {"DO $$BEGIN UPDATE t\n SET a = 1; UPDATE \"T\" SET a = 1; -- set\n END$$", "unknown"},

    /* names with escapes */
    {"SELECT U&\"pg_adv\\0069sory_lock\"(1)", "lock? | unlock? | set_config?(?,?,?)"},
    {"SELECT 1, u&\"pg_adv!0069sory_lock\" UESCAPE '!' (1), set_config('a', 'b', false)",
     "lock? | unlock? | set_config?(?,?,?) | set_config!(a,b,false)"},
    {"SELECT U&\"d\\0061t\\+000061 of a name\" FROM t WHERE f(x)", ""},
    {"SELECT U&\"data of a long name\"(1)", ""},
    {"SELECT U&'d\\0061t\\+000061', f(a && \"b\"), count(a)", ""},

    /* several statements, and none */
    {"BEGIN; SET a = 1; SELECT 1; COMMIT; SET b = ';'", "begin; set a=1; ; commit; set b=;"},
    {"SELECT 1; SELECT 'SET a = 1'", "; "},
    {"", ""},
    {"EXECUTE a", ""},
    {"SHOW a", ""},
    {"SET a = 'x", ""},
};

static void test_acts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf got;
        buf_init(&got, 0);
        acts_of(rows[i].text, true, &got);
        if (strcmp(buf_cstr(&got), rows[i].acts) != 0)
            fail_msg("%s\n  gives   %s\n  and not %s", rows[i].text, buf_cstr(&got), rows[i].acts);
        buf_free(&got);
    }
}

static void test_escapes_in_old_strings(void **state)
{
    struct buf got;

    (void)state;
    buf_init(&got, 0);
    acts_of("SET a = 'x\\'y'; SET b = 1", false, &got);
    assert_string_equal(buf_cstr(&got), "set a=x'y; set b=1");
    buf_free(&got);
}

/* The name of a setting that is too long to be kept is no name, and cut names have no known value. */
static void test_long_names(void **state)
{
    char text[400];
    struct buf got;

    (void)state;
    snprintf(text, sizeof(text), "SET a.x%060d.x%060d.x%060d = 1", 1, 1, 1);
    buf_init(&got, 0);
    acts_of(text, true, &got);
    assert_string_equal(buf_cstr(&got), "");
    snprintf(text, sizeof(text), "SET \"%070d\" = x%070d", 1, 1);
    acts_of(text, true, &got);
    assert_non_null(strstr(buf_cstr(&got), "=(unknown)"));
    buf_free(&got);
}

static unsigned look(const char *text)
{
    struct sql_lexer l = lexer(text, true);
    const unsigned found = sql_look(l.text, l.len_bytes);
    free((char *)(uintptr_t)l.text);
    return found;
}

/* What the quick look has to say at least. */
static unsigned wanted(const char *acts)
{
    static const char *const transaction[] = {"begin", "commit", "rollback", "savepoint", "release"};
    unsigned want = SQL_LOOK_NOTHING;

    for (const char *a = acts; *a != '\0';) {
        size_t n = strcspn(a, ";|"), is_transaction = 0;
        for (size_t i = 0; i < ARRAY_SIZE(transaction); i++)
            is_transaction |= strncmp(a, transaction[i], strlen(transaction[i])) == 0;
        if (n > 0 && !is_transaction)
            return SQL_LOOK_CLOSELY;
        want = n > 0 ? SQL_LOOK_TRANSACTION : want;
        a += n + strspn(a + n, ";| ");
    }
    return want;
}

/* What has an act is looked at closely, also far behind, and whatever stands ahead of it. */
static void test_look_finds_acts(void **state)
{
    char text[1024];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const unsigned want = wanted(rows[i].acts);
        for (int before = 0; before < 40; before++) {
            snprintf(text, sizeof(text), "%*s%s", before, "", rows[i].text);
            if ((look(text) & want) != want)
                fail_msg("not seen: %s", text);
            snprintf(text, sizeof(text), "SELECT %0*d;\n/* */ %s", before, 1, rows[i].text);
            if ((look(text) & want) != want)
                fail_msg("not seen: %s", text);
        }
    }
}

static void test_look_is_cheap(void **state)
{
    static const char *const nothing[] = {
        "SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
        "SELECT count(*), max(x) FROM t WHERE y IN (1, 2, 3) AND z = 'temporal'",
        "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 1;",
        "INSERT INTO company (info, temperature, attempts) VALUES ('advice', 'confirm', 'temps')",
        "SELECT * FROM t WHERE f(a) & b && c AND U&'d\\0061t' = d AND e & \"f\" = 1",
        "/* app:web */ SELECT 'unconfirmed; double', \"template\" FROM information_schema.tables",
        "SELECT 1; SELECT 2 ; DELETE FROM t",
        "do_it",
        "",
        ";",
        "s",
    };
    static const char *const transaction[] = {"BEGIN", "commit;", " ROLLBACK TO SAVEPOINT x",
                                              "SELECT 1; COMMIT"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
        if ((look(nothing[i]) & ~SQL_LOOK_COMMAND) != SQL_LOOK_NOTHING)
            fail_msg("looked at closely: %s", nothing[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(transaction); i++)
        assert_int_equal(look(transaction[i]) & ~SQL_LOOK_COMMAND, SQL_LOOK_TRANSACTION);
}

static void test_look_is_bounded(void **state)
{
    const uint32_t n = SQL_LOOK_MAX_BYTES;
    char *text = malloc(n + 40);

    (void)state;
    assert_non_null(text);
    memset(text, 'x', n + 40);
    memcpy(text, "SELECT ", 7);
    memcpy(text + n + 1, "set_config(", 11);
    assert_int_equal(sql_look(text, n + 40), SQL_LOOK_NOTHING);
    memcpy(text + n - 12, "set_config(", 11);
    assert_int_equal(sql_look(text, n + 40), SQL_LOOK_CLOSELY);
    memset(text + n - 12, 'x', 52);
    for (uint32_t at = n - 20; at < n + 39; at++) { /* another statement is seen everywhere but at the end */
        text[at] = ';';
        assert_int_equal(sql_look(text, n + 40), SQL_LOOK_COMMAND);
        text[at] = 'x';
    }
    text[n + 39] = ';';
    assert_int_equal(sql_look(text, n + 40), SQL_LOOK_NOTHING);
    free(text);
}

static void test_end_of_transaction(void **state)
{
    static const char *const ends[] = {
        "COMMIT",
        "commit work",
        "End;",
        "ROLLBACK",
        " \t\r\n\f\vrollback to x",
        "ABORT",
        "abort;select 1",
        "PREPARE TRANSACTION 'x'",
        /* not plain to see */
        "",
        " ",
        "; ROLLBACK",
        ";;",
        "/* x */ ROLLBACK",
        "-- x\nEND",
        "(SELECT 1)",
        "EN",
        "e",
        "\xc2\xa0"
        "END",
        "DO $$END$$",
    };
    static const char *const others[] = {
        "SELECT 1; ROLLBACK",
        "BEGIN",
        "begin; commit",
        "START TRANSACTION",
        "INSERT INTO end VALUES (1)",
        "  UPDATE x SET y = 1",
        "SAVEPOINT x",
        "RELEASE x",
        "with x as (select 1) select 2",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        if (!sql_may_end_transaction(ends[i], (uint32_t)strlen(ends[i])))
            fail_msg("goes: %s", ends[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (sql_may_end_transaction(others[i], (uint32_t)strlen(others[i])))
            fail_msg("waits: %s", others[i]);
    }
    assert_true(sql_may_end_transaction("SELECT 1", 2)); /* what is behind is not looked at */
}

static void test_inert(void **state)
{
    static const char *const inert[] = {
        "",
        " ; ;",
        "/* ping */",
        "SELECT 1",
        "select 1;",
        "-- one\nSELECT 1 AS one, 'x', NULL, true AS \"b\"",
        "SELECT $$x$$",
        "SELECT 'SET a = 1; LISTEN x'",
        "BEGIN; SELECT 1; COMMIT",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
        "SAVEPOINT a",
        "RELEASE a",
        "ROLLBACK TO a",
        "SHOW ALL",
        "end",
    };
    static const char *const others[] = {
        "SELECT",
        "SELECT x",
        "SELECT f()",
        "SELECT 1 + 1",
        "SELECT -1",
        "SELECT 1::text",
        "SELECT date '2020-01-01'",
        "SELECT $1",
        "SELECT 1 FROM t",
        "SELECT 1 INTO TEMP x",
        "SELECT 1 x",
        "SELECT 1,",
        "SELECT 1 AS",
        "SELECT 'a\\'",
        "SELECT '\xc3\xa4'",
        "SELECT 'a",
        "BEGIN; SET a = 1",
        "SELECT 1; SELECT f()",
        "SET a = 1",
        "RESET ALL",
        "DISCARD ALL",
        "LISTEN x",
        "INSERT INTO t DEFAULT VALUES",
        "VALUES (1)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DO $$$$",
        "COPY t FROM stdin",
        "TABLE t",
        "SHOWN",
    };
    char text[SQL_INERT_MAX_BYTES + 2];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(inert); i++) {
        if (!sql_is_inert(inert[i], (uint32_t)strlen(inert[i])) ||
            !sql_is_inert(inert[i], (uint32_t)strlen(inert[i]) + 1))
            fail_msg("not inert: %s", inert[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        if (sql_is_inert(others[i], (uint32_t)strlen(others[i])))
            fail_msg("inert: %s", others[i]);
    }
    memset(text, ' ', sizeof(text));
    assert_true(sql_is_inert(text, SQL_INERT_MAX_BYTES));
    assert_false(sql_is_inert(text, SQL_INERT_MAX_BYTES + 1));
}

static void test_booleans(void **state)
{
    static const char *const is[] = {"true", "T", "tr", "yes", "y", "on", "ON", "1", " true "};
    static const char *const is_not[] = {"false", "", "o", "off", "0", "10", "truer", "no"};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(is); i++)
        assert_true(sql_is_true(is[i]));
    for (size_t i = 0; i < ARRAY_SIZE(is_not); i++)
        assert_false(sql_is_true(is_not[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_acts),          cmocka_unit_test(test_escapes_in_old_strings),
        cmocka_unit_test(test_long_names),    cmocka_unit_test(test_look_finds_acts),
        cmocka_unit_test(test_look_is_cheap), cmocka_unit_test(test_look_is_bounded),
        cmocka_unit_test(test_inert),         cmocka_unit_test(test_end_of_transaction),
        cmocka_unit_test(test_booleans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
