/*
 * test_select.c - queries over the relations of SHOW: translation, types, answers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"
#include "ops_harness.h"
#include "select_int.h"
#include "wire/codec.h"

/* ---- pure parts ---- */

static void test_tokens(void **state)
{
    static const struct {
        const char *sql,
            *kinds; /* E end, W word, Q quoted, S string, N number, P parameter, . symbol, B bad */
    } rows[] = {
        {"", "E"},
        {"a1$ \"b\"\"c\" 'd''e'", "WQSE"},
        {"1 1.5 .5 1e10 1e+5 1.e", "NNNNNNWE"},
        {"$1 $12 $x", "PP.WE"},
        {"a::b<=c<>d||e", "W.W.W.W.WE"},
        {"a--b\n/* c /* d */ */e", "WWE"},
        {"'a", "B"},
        {"\"a", "B"},
        {"/* a /* */", "B"},
        {"/*", "B"},
        {"\xc3\xa4", "WE"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *p = rows[i].sql, *end = p + strlen(p);
        char kinds[64] = "";
        struct sql_token t;

        do {
            p = sql_next(p, end, &t);
            snprintf(kinds + strlen(kinds), 2, "%c", "EWQSNP.B"[t.kind]);
        } while (t.kind != SQL_END && t.kind != SQL_BAD);
        assert_string_equal(kinds, rows[i].kinds);
    }
}

static void test_translation(void **state)
{
    static const struct {
        const char *sql, *expected;
    } rows[] = {
        {"SELECT a /* x */ FROM b -- c", " SELECT a FROM b"},
        {"a::int", " CAST( a AS INTEGER)"},
        {"b+a.c::text", " b + CAST( a . c AS TEXT)"},
        {"(a+b)::float8", " CAST( ( a + b ) AS REAL)"},
        {"f(a,g(b))::bigint", " CAST( f ( a , g ( b ) ) AS INTEGER)"},
        {"'5'::text::int", " CAST( CAST( '5' AS TEXT) AS INTEGER)"},
        {"a::double precision, b", " CAST( a AS REAL) , b"},
        {"a::varchar(10)||b", " CAST( a AS TEXT) || b"},
        {"a::pg_catalog.text[]", " CAST( a AS TEXT)"},
        {"$1::int4", " CAST( $1 AS INTEGER)"},
        {"::int", " CAST( AS INTEGER)"},
        {"pg_catalog.version()", " version ( )"},
        {"FROM pg_catalog.pg_type t", " FROM pg_type t"},
        {"FROM information_schema.tables", " FROM \"information_schema.tables\""},
        {"public.pools", " public . pools"},
        {"a NOT ILIKE 'x'", " a NOT MATCH 'x'"},
        {"current_user, x.current_user, current_user(), 1 AS current_user",
         " current_user() , x . current_user , current_user ( ) , 1 AS current_user"},
        {"string_agg(a, ',')", " group_concat ( a , ',' )"},
        {"bool_or(a), bool_and(b), every(c)", " max ( a ) , min ( b ) , min ( c )"},
        {"SELECT user", " SELECT current_user()"},
        {"SELECT user, 1 AS user", " SELECT current_user() , 1 AS user"},
        {"SELECT user FROM pools", " SELECT user FROM pools"},
        {"SELECT \"user\"", " SELECT \"user\""},
        {"LIMIT 3", " LIMIT 3"},
        {"LIMIT 3 OFFSET 4", " LIMIT 3 OFFSET 4"},
        {"OFFSET 4 LIMIT 3", " LIMIT 3 OFFSET 4"},
        {"OFFSET $1::int ROWS", " LIMIT -1 OFFSET CAST( $1 AS INTEGER)"},
        {"LIMIT ALL", " LIMIT -1"},
        {"LIMIT NULL OFFSET (1 + 1)", " LIMIT -1 OFFSET ( 1 + 1 )"},
        {"FETCH FIRST ROW ONLY", " LIMIT 1"},
        {"OFFSET 2 ROWS FETCH NEXT 5 ROWS ONLY", " LIMIT 5 OFFSET 2"},
        {"FETCH FIRST 5 ROWS WITH TIES", " FETCH FIRST 5 ROWS WITH TIES"},
        {"(a OFFSET 1), b LIMIT 2", " ( a LIMIT -1 OFFSET 1 ) , b LIMIT 2"},
        {"LIMIT 1 LIMIT 2", " LIMIT 1 LIMIT 2"},
        {"LIMIT", " LIMIT"},
        {"FETCH", " FETCH"},
        {"OFFSET", " OFFSET"},
        {"a.limit, a.\"offset\"", " a . limit , a . \"offset\""},
        {"a = ANY(ARRAY['x', b::text])", " a IN ( 'x' , CAST( b AS TEXT) )"},
        {"a <> ALL (ARRAY[1]::int4[]) AND b", " a NOT IN ( 1 ) AND b"},
        {"a = ANY(b)", " a = ANY ( b )"},
        {"a = ANY(ARRAY[1", " a = ANY ( ARRAY [ 1"},
        {"a = ANY(ARRAY[1]", " a = ANY ( ARRAY [ 1 ]"},
        {"a = ANY", " a = ANY"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_tokens t;
        struct buf out;

        buf_init(&out, 0);
        assert_true(sql_tokenize(rows[i].sql, strlen(rows[i].sql), &t));
        sql_translate(&t, &out);
        assert_string_equal(buf_cstr(&out), rows[i].expected);
        buf_free(&out);
        free(t.at);
    }
}

/* What does not end, or nests without end, goes through as it is, and soon. */
static void test_translation_is_bounded(void **state)
{
    static const char *const pieces[] = {"limit ( ",         "offset ( ",  "fetch first ( ",
                                         "= any ( array [ ", "limit 1 + ", "::a ( "};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        struct sql_tokens t;
        struct buf sql, out;

        buf_init(&sql, 0);
        buf_init(&out, 0);
        for (int k = 0; k < 2500; k++)
            buf_append_str(&sql, pieces[i]);
        assert_true(sql_tokenize(buf_cstr(&sql), sql.len, &t));
        sql_translate(&t, &out);
        assert_true(out.len > 0);
        buf_free(&out);
        buf_free(&sql);
        free(t.at);
    }
}

/* Columns: i4, i8, num, txt, at (a time). */
static char column_type(const void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "i4") == 0    ? 'i'
           : strcmp(name, "i8") == 0  ? 'q'
           : strcmp(name, "num") == 0 ? 'N'
           : strcmp(name, "txt") == 0 ? 's'
           : strcmp(name, "at") == 0  ? 'T'
                                      : 0;
}

static const struct sql_scope scope = {.column_type = column_type};

static void test_named_relations(void **state)
{
    static const struct {
        const char *sql, *relation;
        bool is_named;
    } rows[] = {
        {"SELECT * FROM pools", "POOLS", true},
        {"SELECT * FROM \"pools\"", "POOLS", true},
        {"SELECT * FROM public.Pools p", "POOLS", true},
        {"SELECT * FROM ((a NATURAL /* x */ JOIN pools))", "POOLS", true},
        {"SELECT * FROM ((pools))", "POOLS", true},
        {"SELECT * FROM a, pools", "POOLS", true},
        {"SELECT * FROM information_schema.tables", "information_schema.tables", true},
        {"SELECT * FROM tables", "information_schema.tables", false},
        {"SELECT 1 FROM a JOIN b USING (pools)", "POOLS", false},
        {"SELECT 1 AS pools", "POOLS", false},
        {"SELECT x pools, 'FROM pools' FROM a -- FROM pools", "POOLS", false},
        {"pools", "POOLS", false},
        {"", "POOLS", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_tokens t;

        assert_true(sql_tokenize(rows[i].sql, strlen(rows[i].sql), &t));
        if (sql_may_name(&t, rows[i].relation) != rows[i].is_named)
            print_error("%s\n", rows[i].sql);
        assert_int_equal(sql_may_name(&t, rows[i].relation), rows[i].is_named);
        free(t.at);
    }
}

static void test_types(void **state)
{
    static const struct {
        const char *sql, *expected; /* name and type of each item */
    } rows[] = {
        {"SELECT 1, 3000000000, 99999999999999999999, 1.5, 1e3, 'a', null, true",
         "?column?:i ?column?:q ?column?:N ?column?:N ?column?:N ?column?:s ?column?:s bool:B"},
        {"SELECT i4, t.num, \"txt\" x, at AS \"At\"", "i4:i num:N x:s At:T"},
        {"SELECT count(*), sum(i4), sum(num), avg(i4), max(txt), min(i8) FROM x",
         "count:q sum:q sum:N avg:N max:s min:q"},
        {"SELECT count(DISTINCT i4) FILTER (WHERE i4 > 0) AS n, row_number() OVER (ORDER BY i4)",
         "n:q row_number:q"},
        {"SELECT i4 + 1, i4 * num, -i4, - (num), i4 / 2.0",
         "?column?:q ?column?:N ?column?:i ?column?:N ?column?:N"},
        {"SELECT i4 > 1, not true, txt LIKE 'a', i4 IN (1,2), EXISTS (SELECT 1), i4 BETWEEN 1 AND 2",
         "?column?:B ?column?:B ?column?:B ?column?:B ?column?:B ?column?:B"},
        {"SELECT txt || i4, coalesce(i4, i8), coalesce(i4, 'none'), coalesce(null, num), iif(i4 > 0, 1, 2)",
         "?column?:s coalesce:q coalesce:s coalesce:N iif:i"},
        {"SELECT i4::text, txt::int, (i4 + 1)::numeric, cast(i4 AS text) c, cast(txt AS bigint)",
         "i4:s txt:i ?column?:N c:s cast:q"},
        {"SELECT CASE WHEN i4 > 0 THEN 1 ELSE 2 END, case when i4 > 0 then 'a' end y, case i4 when 1 then "
         "num else i4 "
         "end",
         "case:i y:s case:N"},
        {"SELECT (SELECT count(*) FROM y), ((i4)), (SELECT max(txt) AS m FROM y LIMIT 1) z",
         "?column?:q ?column?:i z:s"},
        {"SELECT pg_catalog.version(), current_user, lower(txt), length(txt), round(i4)",
         "version:s current_user:s lower:s length:i round:N"},
        {"SELECT nosuch(1), nosuch, $1, t.nosuch", "nosuch:s nosuch:s ?column?:s nosuch:s"},
        {"WITH a AS (SELECT 'x' AS b) SELECT DISTINCT i4 FROM a UNION SELECT 2", "i4:i"},
        {"SELECT t.*, i4", "*: i4:i"},
        {"SELECT", ""},
        {"VALUES (1)", ""},
        {"SELECT ((((((((((((((((((((((((((((((((((((((((i4))))))))))))))))))))))))))))))))))))))))",
         "?column?:s"},
        {"SELECT f(", "f:s"},
        {"SELECT case", "case:s"},
        {"SELECT ::", "?column?:s"},
        {"SELECT , ,", "?column?:s ?column?:s"},
        {"SELECT -, a +", "?column?:q ?column?:q"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_item items[16];
        struct sql_tokens t;
        struct buf text;
        uint32_t n;

        buf_init(&text, 0);
        assert_true(sql_tokenize(rows[i].sql, strlen(rows[i].sql), &t));
        n = sql_select_items(&t, items, 16);
        for (uint32_t k = 0; k < n; k++) {
            buf_append_str(&text, k > 0 ? " " : "");
            if (items[k].is_star)
                buf_append_str(&text, "*:");
            else
                buf_printf(&text, "%s:%c", items[k].name,
                           sql_expression_type(&t, items[k].from, items[k].to, &scope));
        }
        assert_string_equal(buf_cstr(&text), rows[i].expected);
        buf_free(&text);
        free(t.at);
    }
}

static void test_parameter_types(void **state)
{
    static const struct {
        const char *sql;
        uint32_t number;
        char type;
    } rows[] = {
        {"SELECT * FROM x WHERE i4 = $1", 1, 'i'},
        {"SELECT * FROM x WHERE x.i8 >= $2 AND txt = $1", 2, 'q'},
        {"SELECT * FROM x WHERE $1 < num", 1, 'N'},
        {"SELECT * FROM x WHERE i4 IN ($1, $2)", 2, 'i'},
        {"SELECT * FROM x WHERE i4 NOT IN ($1, 5, $2)", 2, 'i'},
        {"SELECT * FROM x LIMIT $1 OFFSET $2", 2, 'q'},
        {"SELECT $1::bool", 1, 'B'},
        {"SELECT i4 + $1", 1, 'i'},
        {"SELECT $1", 1, 's'},
        {"SELECT 1", 1, 's'},
        {"SELECT * FROM x WHERE at > $1", 1, 's'},
        {"$1", 1, 's'},
        {"$1 =", 1, 's'},
        {"($1", 1, 's'},
        {"in ($1", 1, 's'},
        {"$99999999999999999999", 1, 's'},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct sql_tokens t;

        assert_true(sql_tokenize(rows[i].sql, strlen(rows[i].sql), &t));
        if (sql_parameter_type(&t, rows[i].number, &scope) != rows[i].type)
            print_error("%s\n", rows[i].sql);
        assert_int_equal(sql_parameter_type(&t, rows[i].number, &scope), rows[i].type);
        free(t.at);
    }
}

/* ---- the console ---- */

static void check(struct harness *h, const char *sql, const char *expected)
{
    char *trace = harness_ask(h, sql);

    if (strcmp(trace, expected) != 0)
        print_error("%s gives\n%s", sql, trace);
    assert_string_equal(trace, expected);
    free(trace);
}

static void test_simple(void **state)
{
    struct harness *h = *state;

    check(h, "SELECT database, count(*) FROM pools GROUP BY 1 ORDER BY 2 DESC, 1",
          "T database:25 count:20\nD app,2\nD other,1\nD pgbouncer,1\nC SELECT 3\nZ I\n");
    check(h, "SELECT name, pool_size + 1 AS n FROM databases WHERE name = 'app'; SELECT 1 AS one WHERE false",
          "T name:25 n:20\nD app,8\nC SELECT 1\nT one:23\nC SELECT 0\nZ I\n");
    check(h,
          "SELECT p.\"user\", d.host FROM public.pools p JOIN databases AS d ON d.name = p.database "
          "WHERE p.\"limit\" > 3 ORDER BY 1",
          "T user:25 host:25\nD alice,~\nD bob,db1,db2\nC SELECT 2\nZ I\n");
    check(h,
          "SELECT total_xact_count / 4, 7 / 2, 7 / 2.0, 'aB' LIKE 'AB', 'aB' ILIKE 'AB' FROM stats LIMIT 1",
          "T ?column?:1700 ?column?:20 ?column?:1700 ?column?:16 ?column?:16\nD 0,3,3.5,f,t\nC SELECT 1\nZ "
          "I\n");
    check(h, "VALUES (1, 'a'), (2, NULL)", "T column1:25 column2:25\nD 1,a\nD 2,~\nC SELECT 2\nZ I\n");
    check(h,
          "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 9) SELECT sum(n) AS s "
          "FROM x",
          "T s:20\nD 45\nC SELECT 1\nZ I\n");
    check(h, "SELECT current_user, 9223372036854775807 + 0 AS q, 0.1 + 0.2 AS r, 1e16 AS s, 1e-5 AS t",
          "T current_user:25 q:20 r:1700 s:1700 t:1700\n"
          "D alice,9223372036854775807,0.30000000000000004,10000000000000000,0.00001\nC SELECT 1\nZ I\n");
}

/* What object mappers and dashboards write, and SQLite has not. */
static void test_other_spellings(void **state)
{
    struct harness *h = *state;

    check(h, "SELECT user", "T user:25\nD alice\nC SELECT 1\nZ I\n");
    check(h, "SELECT name FROM databases ORDER BY 1 OFFSET 1 ROW FETCH FIRST ROW ONLY",
          "T name:25\nD other\nC SELECT 1\nZ I\n");
    check(h, "SELECT name FROM databases ORDER BY 1 LIMIT ALL OFFSET 1",
          "T name:25\nD other\nD pgbouncer\nC SELECT 2\nZ I\n");
    check(h,
          "SELECT name FROM databases WHERE name = ANY (ARRAY['app', 'x']) OR name <> ALL(ARRAY['app', "
          "'other']) ORDER BY 1",
          "T name:25\nD app\nD pgbouncer\nC SELECT 2\nZ I\n");
    check(h,
          "SELECT greatest(1, NULL, 3, 2), least(1.5, 2), greatest('a', 'b'), least(NULL), bool_or(pool_size "
          "> 5), "
          "bool_and(pool_size > 5) FROM databases",
          "T greatest:23 least:1700 greatest:25 least:25 bool_or:16 bool_and:16\nD 3,1.5,b,~,t,f\nC SELECT "
          "1\nZ I\n");
}

static void test_alias_of_show(void **state)
{
    struct harness *h = *state;

    check(h, "SELECT version", "T version:25\nD pgsluice 0.1.0\nC SHOW\nZ I\n");
    check(h, "SELECT 1", "T ?column?:23\nD 1\nC SELECT 1\nZ I\n");
    check(h, "SELECT versoin",
          "E ERROR 42601 invalid command 'SELECT versoin', use SHOW HELP; HINT Did you mean "
          "SHOW VERSION?\nZ I\n");
}

static void test_errors(void **state)
{
    static const struct {
        const char *sql, *error;
    } rows[] = {
        {"SELECT * FROM poolz", "42P01 relation \"poolz\" does not exist HINT Did you mean pools?"},
        {"SELECT * FROM public.poolz", "42P01 relation \"poolz\" does not exist HINT Did you mean pools?"},
        {"SELECT databas FROM pools", "42703 column \"databas\" does not exist HINT Did you mean database?"},
        {"SELECT p.usr FROM pools p", "42703 column \"p.usr\" does not exist HINT Did you mean user?"},
        {"SELECT \"a string\" FROM pools", "42703 column \"a string\" does not exist"},
        {"SELECT database FROM pools, clients", "42702 column reference \"database\" is ambiguous"},
        {"SELECT cuont(*) FROM pools", "42883 function cuont does not exist HINT Did you mean count?"},
        {"SELECT lower(1, 2)", "42883 function lower() does not take so many arguments"},
        {"SELECT load_extension('x')", "42883 function load_extension does not exist"},
        {"SELECT printf('%1000000d', 1)", "42883 function printf does not exist"},
        {"SELECT randomblob(100000000)", "42883 function randomblob does not exist"},
        {"SELECT * FROM sqlite_master", "42P01 relation \"sqlite_master\" does not exist"},
        {"SELECT * FROM json_each('[1]')", "42P01 relation \"json_each\" does not exist"},
        {"WITH x AS (SELECT 1) DELETE FROM pools", "25006 the console only reads: SELECT"},
        {"WITH x AS (SELECT 1) INSERT INTO pools SELECT * FROM pools",
         "25006 the console only reads: SELECT"},
        {"SELECT * FROM pools WHERE", "42601 syntax error at end of input"},
        {"SELECT FROM FROM pools", "42601 syntax error at or near \"FROM\""},
        {"SELECT * FROM pools LIMIT 'x'", "42804 a number is needed here"},
        {"SELECT 'a", "42601 syntax error: unterminated quoted string or comment"},
        {"SELECT $1 + 1", "42P02 there is no parameter $1"},
        {"SELECT ?", "42601 syntax error at or near \"?\""},
        {"SELECT :a + 1", "42601 syntax error at or near \":\""},
        {"SELECT sum(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)",
         "22003 integer out of range"},
        {"SELECT cast('a' AS blob) AS b",
         "42804 column \"b\" has values of different types: cast it, as in x::text"},
    };
    struct harness *h = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char expected[512];

        snprintf(expected, sizeof(expected), "E ERROR %s\nZ I\n", rows[i].error);
        check(h, rows[i].sql, expected);
    }
    check(h, "SELECT 2 AS x", "T x:23\nD 2\nC SELECT 1\nZ I\n");
}

/* What is too much, in each dimension, is an error and no more. */
static void test_bounds(void **state)
{
    struct harness *h = *state;
    struct buf sql;
    char *trace;

    check(h, "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x",
          "E ERROR 54000 the result has too many rows: use LIMIT\nZ I\n");
    check(h,
          "WITH RECURSIVE x(n, t) AS (SELECT 1, hex('0123456789abcdef') UNION ALL SELECT n + 1, t || hex(t) "
          "FROM x) "
          "SELECT max(length(t)) FROM x",
          "E ERROR 54000 a value is too large for the console\nZ I\n");
    /* on a slow machine the time is up first */
    harness_query(
        h, "WITH RECURSIVE s(n, t) AS (SELECT 1, '0123456789abcdef' UNION ALL SELECT n + 1, t || t FROM s "
           "WHERE n < 15), x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 5000) "
           "SELECT t || x.n FROM s, x WHERE s.n = 15 ORDER BY 1");
    trace = harness_trace(h);
    assert_true(str_has_prefix(trace, "E ERROR 53200 ") || str_has_prefix(trace, "E ERROR 57014 "));
    free(trace);
    buf_init(&sql, 0);
    buf_append_str(&sql, "SELECT 1");
    for (int i = 0; i < 2000; i++)
        buf_append_str(&sql, "+1");
    check(h, buf_cstr(&sql), "E ERROR 54001 the query is too complex\nZ I\n");
    buf_clear(&sql);
    buf_append_str(&sql, "WITH a0 AS (SELECT 1 AS x)");
    for (int i = 1; i < 60; i++)
        buf_printf(&sql, ", a%d AS (SELECT p.x FROM a%d p, a%d q)", i, i - 1, i - 1);
    buf_append_str(&sql, " SELECT count(*) FROM a59");
    harness_query(h, buf_cstr(&sql));
    trace = harness_trace(h);
    assert_true(str_has_prefix(trace, "E ERROR 5"));
    free(trace);
    buf_free(&sql);
}

static void put_types_parse(struct buf *b, const char *sql, uint32_t type)
{
    uint32_t offset = wire_begin(b, 'P');

    wire_put_cstr(b, "");
    wire_put_cstr(b, sql);
    wire_put_u16(b, 1);
    wire_put_u32(b, type);
    wire_end(b, offset);
}

/* One parameter. */
static void put_value_bind(struct buf *b, int format, const void *value, uint32_t len, int result_format)
{
    uint32_t offset = wire_begin(b, 'B');

    wire_put_cstr(b, "");
    wire_put_cstr(b, "");
    wire_put_u16(b, 1);
    wire_put_u16(b, (uint16_t)format);
    wire_put_u16(b, 1);
    wire_put_u32(b, value != NULL ? len : UINT32_MAX);
    buf_append(b, value, value != NULL ? len : 0);
    wire_put_u16(b, 1);
    wire_put_u16(b, (uint16_t)result_format);
    wire_end(b, offset);
}

static void test_extended(void **state)
{
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    put_parse(&b, "", "SELECT database, \"limit\" FROM pools WHERE \"limit\" > $1 ORDER BY 2");
    put_describe(&b, 'S', "");
    put_value_bind(&b, 0, "3", 1, 0);
    put_describe(&b, 'P', "");
    put_execute(&b, "", 1);
    put_execute(&b, "", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\nt 1:23\nT database:25 limit:23\n2\nT database:25 limit:23\nD other,4\ns\nD app,7\nC "
                   "SELECT 2\nZ I\n");

    /* binary both ways, and a type that the client chose */
    put_types_parse(&b, "SELECT $1 + 1 AS n", 21);
    put_value_bind(&b, 1, "\xff\xfe", 2, 1);
    put_execute(&b, "", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\n2\nD \\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\nC SELECT 1\nZ I\n");
    put_types_parse(&b, "SELECT $1 IS NULL AS n", 25);
    put_value_bind(&b, 0, NULL, 0, 0);
    put_execute(&b, "", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\n2\nD t\nC SELECT 1\nZ I\n");

    /* errors make the rest be skipped */
    put_parse(&b, "", "SELECT nosuch FROM pools");
    put_bind(&b, "", "", 0, 0);
    put_sync(&b);
    put_parse(&b, "", "SELECT cl_active FROM pools WHERE cl_active = $1");
    put_value_bind(&b, 0, "x", 1, 0);
    put_execute(&b, "", 0);
    put_sync(&b);
    put_bind(&b, "", "", 0, 0);
    put_sync(&b);
    put_value_bind(&b, 1, "x", 1, 0);
    put_sync(&b);
    put_value_bind(&b, 2, "x", 1, 0);
    put_sync(&b);
    put_types_parse(&b, "SELECT $1", 600);
    put_value_bind(&b, 1, "x", 1, 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "E ERROR 42703 column \"nosuch\" does not exist\nZ I\n"
                   "1\nE ERROR 22P02 invalid input syntax for type bigint: \"x\"\nZ I\n"
                   "E ERROR 08P01 bind message supplies 0 parameters, but the statement requires 1\nZ I\n"
                   "E ERROR 22P03 incorrect binary data format in bind parameter\nZ I\n"
                   "E ERROR 22023 unsupported format code\nZ I\n"
                   "1\nE ERROR 0A000 the console takes no binary parameters of type 600\nZ I\n");
    buf_free(&b);
}

static struct session_row *one_row(bool is_server, uint64_t id, uint64_t link)
{
    struct session_row *row = calloc(1, sizeof(*row));

    row->is_server = is_server;
    row->replication = "none";
    row->state = "active";
    strcpy(row->database, "app");
    row->id = id;
    row->link = link;
    return row;
}

/* Relations that need the workers are gathered once for all. */
static void test_one_gathering(void **state)
{
    struct harness *h = *state;
    struct session_row *rows = calloc(2, sizeof(*rows));
    struct session_row *a = one_row(false, 11, 7), *b = one_row(true, 7, 11);

    harness_query(h,
                  "SELECT c.id, s.id AS server, (SELECT sum(memtotal) FROM mem WHERE name = 'log_ring') AS m "
                  "FROM clients c LEFT JOIN servers s ON s.link = c.ptr ORDER BY 1");
    assert_int_equal(h->n_asked, HARNESS_WORKERS);
    assert_int_equal(h->asked[0]->kinds, GATHER_CLIENTS | GATHER_SERVERS | GATHER_MEMORY);
    rows[0] = *a;
    rows[1] = *b;
    free(a);
    free(b);
    harness_gathered(h, 0, rows, 2);
    check_trace(h, "");
    harness_gathered(h, 1, one_row(false, 12, 0), 1);
    check_trace(h, "T id:23 server:23 m:20\nD 11,7,1048576\nD 12,~,1048576\nC SELECT 2\nZ I\n");
    h->n_asked = 0;
    harness_query(h, "SELECT count(*) FROM clients");
    harness_gathered(h, 0, NULL, 1); /* had no memory */
    harness_gathered(h, 1, NULL, 0);
    check_trace(h, "E ERROR 53200 out of memory\nZ I\n");
    h->n_asked = 0;
    harness_query(h, "SELECT count(*) FROM clients");
    harness_gone(h, 0, 1);
    harness_gathered(h, 0, NULL, 0);
    harness_gathered(h, 1, NULL, 0);
    assert_false(console_is_waiting(h->console));
}

static void cancel(struct harness *h, uint8_t worker, uint64_t client)
{
    struct mail_console_input *m = calloc(1, sizeof(*m));

    m->kind = CONSOLE_CANCEL;
    m->worker = worker;
    m->client = client;
    console_on_input(h->console, m);
}

static void query_of(struct harness *h, uint64_t client, const char *sql)
{
    struct buf b;

    buf_init(&b, 0);
    wire_put_query(&b, sql);
    harness_data(h, 0, client, b.data, b.len);
    buf_free(&b);
}

/* One at a time; who is cancelled or goes while it waits, or while it runs, leaves nothing behind. */
static void test_order(void **state)
{
    struct harness *h = *state;

    h->holds_work = true;
    harness_open(h, 0, 2, false);
    harness_open(h, 0, 3, false);
    harness_open(h, 0, 4, false);
    free(harness_trace(h));
    query_of(h, 1, "SELECT 'a' AS a");
    query_of(h, 2, "SELECT 'b' AS a");
    query_of(h, 3, "SELECT 'c' AS a");
    query_of(h, 4, "SELECT 'd' AS a");
    assert_int_equal(h->n_submitted, 1);
    check_trace(h, "");

    cancel(h, 0, 3); /* waits its turn */
    check_trace(h, "E ERROR 57014 canceling statement due to user request\nZ I\n");
    harness_gone(h, 0, 2);
    cancel(h, 0, 1); /* is with the helpers */
    check_trace(h, "");
    assert_int_equal(h->n_submitted, 1);
    harness_work(h);
    check_trace(h, "E ERROR 57014 canceling statement due to user request\nZ I\n"
                   "T a:25\nD d\nC SELECT 1\nZ I\n");
    assert_false(console_is_waiting(h->console));

    /* one that runs when its session goes, and one when the console goes */
    query_of(h, 1, "SELECT 'a' AS a");
    harness_gone(h, 0, 1);
    query_of(h, 3, "SELECT 'c' AS a");
    harness_work(h);
    check_trace(h, "T a:25\nD c\nC SELECT 1\nZ I\n");
    query_of(h, 3, "SELECT 'c' AS a");
    console_interrupt(h->console);
}

/* Every relation can be read, with its own columns. */
static void test_all_relations(void **state)
{
    struct harness *h = *state;
    const struct relation *relation;

    for (size_t i = 0; (relation = select_relation_at(i)) != NULL; i++) {
        char sql[128], *trace;

        if (relation->columns == NULL)
            continue;
        assert_true(i < SELECT_MAX_RELATIONS);
        h->n_asked = 0;
        snprintf(sql, sizeof(sql), "SELECT * FROM \"%s\"", relation->name);
        harness_query(h, sql);
        for (int w = 0; relation->gather != 0 && w < HARNESS_WORKERS; w++)
            harness_gathered(h, w, NULL, 0);
        trace = harness_trace(h);
        for (uint16_t k = 0; k < relation->n_columns; k++) {
            char column[96];

            snprintf(column, sizeof(column), " %s:%u", relation->columns[k].name,
                     column_type_oid(relation->columns[k].type));
            assert_non_null(strstr(trace, column));
        }
        assert_non_null(strstr(trace, "C SELECT "));
        free(trace);
    }
}

/* The column that two relations share; NULL when there is none. */
static const char *shared_column(const struct relation *a, const struct relation *b)
{
    for (uint16_t i = 0; i < a->n_columns; i++) {
        for (uint16_t k = 0; k < b->n_columns; k++) {
            if (strcmp(a->columns[i].name, b->columns[k].name) == 0)
                return a->columns[i].name;
        }
    }
    return NULL;
}

/* No column of either side is read but the shared one, and that only to compare it. */
static void check_join(struct harness *h, const char *sql)
{
    char *trace;

    h->n_asked = 0;
    harness_query(h, sql);
    for (int w = 0; w < h->n_asked; w++)
        harness_gathered(h, w, NULL, 0);
    trace = harness_trace(h);
    if (strstr(trace, "C SELECT 1") == NULL)
        print_error("%s gives\n%s", sql, trace);
    assert_non_null(strstr(trace, "C SELECT 1"));
    free(trace);
}

static void test_all_joins(void **state)
{
    struct harness *h = *state;
    const struct relation *a, *b;
    const char *column;
    char sql[256];
    int n_pairs = 0;

    for (size_t i = 0; (a = select_relation_at(i)) != NULL; i++) {
        for (size_t k = 0; (b = select_relation_at(k)) != NULL; k++) {
            if (i == k || a->columns == NULL || b->columns == NULL || (column = shared_column(a, b)) == NULL)
                continue;
            n_pairs++;
            snprintf(sql, sizeof(sql), "SELECT count(*) FROM \"%s\" JOIN \"%s\" USING (\"%s\")", a->name,
                     b->name, column);
            check_join(h, sql);
            snprintf(sql, sizeof(sql), "SELECT count(*) FROM \"%s\" NATURAL JOIN \"%s\"", a->name, b->name);
            check_join(h, sql);
        }
    }
    assert_true(n_pairs > 100);
}

int main(void)
{
    const struct CMUnitTest pure[] = {
        cmocka_unit_test(test_tokens),          cmocka_unit_test(test_translation),
        cmocka_unit_test(test_named_relations), cmocka_unit_test(test_translation_is_bounded),
        cmocka_unit_test(test_types),           cmocka_unit_test(test_parameter_types),
    };
    const struct CMUnitTest queries[] = {
        cmocka_unit_test_setup_teardown(test_simple, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_other_spellings, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_alias_of_show, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_errors, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_bounds, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_extended, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_one_gathering, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_order, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_all_relations, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_all_joins, harness_setup, harness_teardown),
    };
    int failed = cmocka_run_group_tests(pure, NULL, NULL);

    return select_is_built() ? failed + cmocka_run_group_tests(queries, NULL, NULL) : failed;
}
