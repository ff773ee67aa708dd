/*
 * test_params.c - sets of parameters: identity, bounds, SQL, canonical values, threads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/params.h"

/* The set of "name=value|name=value"; built step by step, each step dropping the one before. */
static struct params *set_of(const char *text)
{
    char copy[512], *save = NULL;
    struct params *p = params_empty();
    assert_true(strlen(text) < sizeof(copy));
    strcpy(copy, text);
    for (char *pair = strtok_r(copy, "|", &save); pair; pair = strtok_r(NULL, "|", &save)) {
        char *value = strchr(pair, '=');
        assert_non_null(value);
        *value++ = '\0';
        struct params *next = params_with(p, pair, value);
        assert_non_null(next);
        params_unref(p);
        p = next;
    }
    return p;
}

static const struct {
    const char *a;
    const char *b;
    bool is_same;
} pairs[] = {
    {"", "", true},
    {"a=1", "a=1", true},
    {"a=1", "a=2", false},
    {"a=1", "b=1", false},
    {"a=1", "a=1|b=2", false},
    {"a=1|b=2", "b=2|a=1", true},
    {"a=1|b=2|c=3", "c=3|a=0|b=2|a=1", true},
    {"a=1|a=2", "a=2", true},
    {"DateStyle=x", "datestyle=x", true},
    {"timezone=x|intervalstyle=y", "INTERVALSTYLE=y|TimeZone=x", true},
    {"abc=1", "abc=1|ABC=1", true},
    {"a=", "", false},
};

static void test_equal_sets_are_one(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        struct params *a = set_of(pairs[i].a), *b = set_of(pairs[i].b);
        if ((a == b) != pairs[i].is_same)
            fail_msg("\"%s\" and \"%s\"", pairs[i].a, pairs[i].b);
        params_unref(a);
        params_unref(b);
    }
}

static void test_reading(void **unused)
{
    (void)unused;
    struct params *p = set_of("server_version=15.1|datestyle=ISO, MDY|Custom.Name=x");
    assert_int_equal(params_count(p), 3);
    assert_string_equal(params_get(p, "DATESTYLE"), "ISO, MDY");
    assert_string_equal(params_get(p, "custom.name"), "x");
    assert_null(params_get(p, "custom"));
    assert_string_equal(params_name(p, 0), "Custom.Name"); /* sorted without case */
    assert_string_equal(params_name(p, 1), "DateStyle");
    assert_string_equal(params_name(p, 2), "server_version");

    /* The spelling stays when the value changes. */
    struct params *q = params_with(p, "CUSTOM.NAME", "y");
    assert_non_null(q);
    assert_string_equal(params_name(q, 0), "Custom.Name");
    assert_string_equal(params_value(q, 0), "y");
    assert_string_equal(params_get(p, "custom.name"), "x"); /* p is as it was */
    params_unref(q);

    q = params_without(p, "CUSTOM.name");
    assert_int_equal(params_count(q), 2);
    assert_null(params_get(q, "Custom.Name"));
    struct params *same = params_without(q, "Custom.Name"); /* not there */
    assert_ptr_equal(same, q);
    params_unref(same);
    params_unref(q);

    struct params *settable = params_settable(p);
    assert_int_equal(params_count(settable), 2);
    assert_null(params_get(settable, "server_version"));
    params_unref(settable);
    params_unref(p);

    p = set_of("server_version=15.1|In_Hot_Standby=off|is_superuser=on");
    settable = params_settable(p);
    assert_ptr_equal(settable, params_empty());
    params_unref(settable);
    params_unref(p);
    params_unref(NULL);
    assert_null(params_ref(NULL));
}

static void test_bounds(void **unused)
{
    (void)unused;
    struct params *p = params_empty();
    for (int i = 0; i < PARAMS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%d", i);
        struct params *next = params_with(p, name, "v");
        assert_non_null(next);
        params_unref(p);
        p = next;
    }
    assert_int_equal(params_count(p), PARAMS_MAX);
    assert_null(params_with(p, "one_more", "v"));
    struct params *changed = params_with(p, "p7", "w");
    assert_non_null(changed);
    assert_int_equal(params_count(changed), PARAMS_MAX);
    params_unref(changed);
    params_unref(p);

    static char value[PARAMS_MAX_VALUE_BYTES + 2], name[PARAMS_MAX_NAME_BYTES + 2];
    memset(value, 'v', PARAMS_MAX_VALUE_BYTES + 1);
    memset(name, 'n', PARAMS_MAX_NAME_BYTES + 1);
    assert_null(params_with(params_empty(), "a", value));
    assert_null(params_with(params_empty(), name, "v"));
    assert_null(params_with(params_empty(), "", "v"));
    value[PARAMS_MAX_VALUE_BYTES] = '\0';
    name[PARAMS_MAX_NAME_BYTES] = '\0';
    p = params_with(params_empty(), name, value);
    assert_non_null(p);
    assert_string_equal(params_get(p, name), value);
    params_unref(p);
}

static const struct {
    const char *have;
    const char *want;
    const char *sql;
} diffs[] = {
    {"a=1", "a=1", ""},
    {"a=1", "a=2", "SET a='2';"},
    {"a=1|b=2", "a=1", "RESET b;"},
    {"a=1", "b=2", "SET b='2';RESET a;"},
    {"server_version=1|app.user=x", "", "RESET \"app\".\"user\";"},
    {"a=1|b=2|c=3", "a=2|b=2|c=4", "SET a='2';SET c='4';"},
    {"server_version=1", "server_version=2|TimeZone=UTC", "SET TimeZone='UTC';"},
    {"", "a=", "SET a='';"},
    {"", "a=it's", "SET a='it''s';"},
    {"", "a=x\\y", "SET a=E'x\\\\y';"},
    {"", "a=\\'; drop", "SET a=E'\\\\''; drop';"},
    {"", "a=\xc3\xa9", "SET a='\xc3\xa9';"},
    {"", "a=\x83\\'x",
     "SELECT pg_catalog.set_config('a',pg_catalog.concat('\x83',pg_catalog.chr(92),'''x'),false);"},
    {"", "search_path=a, b", "SELECT pg_catalog.set_config('search_path','a, b',false);"},
    {"", "search_path=\"$user\", public",
     "SELECT pg_catalog.set_config('search_path','\"$user\", public',false);"},
    {"", "app.user=x", "SET \"app\".\"user\"='x';"},
    {"", "a b=x", "SET \"a b\"='x';"},
    {"", "a\"b=x", "SET \"a\"\"b\"='x';"},
    {"", "1a=x", "SET \"1a\"='x';"},
};

static void test_diff(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(diffs); i++) {
        struct params *have = set_of(diffs[i].have), *want = set_of(diffs[i].want);
        struct buf sql;
        uint32_t n_want = 0;
        for (const char *s = diffs[i].sql; (s = strstr(s, "SET ")) != NULL; s++)
            n_want++; /* RESET too */
        n_want += strstr(diffs[i].sql, "SELECT") != NULL;
        buf_init(&sql, 0);
        uint32_t n = params_diff_sql(have, want, &sql);
        assert_string_equal(buf_cstr(&sql), diffs[i].sql);
        assert_int_equal(n, n_want);
        buf_free(&sql);
        params_unref(have);
        params_unref(want);
    }
}

/* A server of which more is not known than that it may have more. */
static void test_reset(void **unused)
{
    static const struct {
        const char *have, *want, *sql;
        uint32_t n;
    } resets[] = {
        {"", "", "RESET ALL;", 1},
        {"a=1|b=2", "a=1", "RESET ALL;SET a='1';", 2},
        {"my.x=1", "server_version=1|my.y=2", "RESET ALL;SET \"my\".\"y\"='2';", 2},
        {"role=x|a=1", "a=1|role=y", "RESET role;RESET ALL;SET a='1';SET role='y';", 4},
    };

    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(resets); i++) {
        struct params *have = set_of(resets[i].have), *want = set_of(resets[i].want);
        struct buf sql;
        buf_init(&sql, 0);
        assert_int_equal(params_reset_sql(have, want, &sql), resets[i].n);
        assert_string_equal(buf_cstr(&sql), resets[i].sql);
        buf_free(&sql);
        params_unref(have);
        params_unref(want);
    }
}

static void test_dotted_query(void **unused)
{
    struct params *have = set_of("work_mem=1|my.x=\x01|my.y=1"), *want = set_of("a=1|my.y=2|o'clock.x=3");
    struct buf sql;

    (void)unused;
    buf_init(&sql, 0);
    params_put_dotted_query(have, want, &sql);
    assert_string_equal(
        buf_cstr(&sql),
        " UNION ALL SELECT n, v FROM (SELECT 'my.y', pg_catalog.current_setting('my.y', true)) "
        "AS x (n, v) WHERE v IS NOT NULL"
        " UNION ALL SELECT n, v FROM (SELECT 'o''clock.x', "
        "pg_catalog.current_setting('o''clock.x', true)) AS x (n, v) WHERE v IS NOT NULL"
        " UNION ALL SELECT n, v FROM (SELECT 'my.x', pg_catalog.current_setting('my.x', true)) "
        "AS x (n, v) WHERE v IS NOT NULL AND v OPERATOR(pg_catalog.<>) ''");
    buf_free(&sql);
    params_unref(have);
    params_unref(want);
}

static void test_status(void **unused)
{
    (void)unused;
    static const char bytes[] = "S\0\0\0\x08"
                                "a\0"
                                "1\0S\0\0\0\x08"
                                "b\0"
                                "2";
    struct params *p = set_of("b=2|a=1");
    struct buf out;
    buf_init(&out, 0);
    params_put_status(p, &out);
    assert_int_equal(out.len, sizeof(bytes));
    assert_memory_equal(out.data, bytes, sizeof(bytes));
    buf_free(&out);
    params_unref(p);
}

/* ------------------------------------------------------------------ */

#define A62 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define V15 150000
#define V16 160000

/* What PostgreSQL 15 and 16 show after a SET to value; canonical NULL where they refuse it. */
static const struct {
    const char *name, *value, *current;
    int version;
    const char *canonical;
} canonical[] = {
    {"client_encoding", "utf-8", NULL, V15, "UTF8"},
    {"Client_Encoding", "UTF_8", NULL, V15, "UTF8"},
    {"client_encoding", "Unicode", NULL, V15, "UTF8"},
    {"client_encoding", "UNICODE", NULL, V15, "UNICODE"},
    {"client_encoding", "iso-8859-1", NULL, V15, "LATIN1"},
    {"client_encoding", "Latin 1", NULL, V15, "LATIN1"},
    {"client_encoding", "windows-1252", NULL, V15, "WIN1252"},
    {"client_encoding", "Shift_JIS", NULL, V15, "SJIS"},
    {"client_encoding", "SHIFT_JIS_2004", NULL, V15, "SHIFT_JIS_2004"},
    {"client_encoding", "SQL_ASCII", NULL, V15, "SQL_ASCII"},
    {"client_encoding", "bogus", NULL, V15, NULL},
    {"client_encoding", "", NULL, V15, NULL},
    {"client_encoding", A62 A62, NULL, V15, NULL},

    {"standard_conforming_strings", "1", NULL, V15, "on"},
    {"standard_conforming_strings", "T", NULL, V15, "on"},
    {"standard_conforming_strings", "of", NULL, V15, "off"},
    {"default_transaction_read_only", "ON", NULL, V15, "on"},
    {"default_transaction_read_only", "n", NULL, V15, "off"},
    {"default_transaction_read_only", "o", NULL, V15, NULL},
    {"default_transaction_read_only", "offf", NULL, V15, NULL},
    {"default_transaction_read_only", "2", NULL, V15, NULL},
    {"default_transaction_read_only", "", NULL, V15, NULL},

    {"intervalstyle", "POSTGRES", NULL, V15, "postgres"},
    {"IntervalStyle", "iso_8601", NULL, V15, "iso_8601"},
    {"IntervalStyle", "iso", NULL, V15, NULL},

    {"datestyle", "iso", "SQL, DMY", V15, "ISO, DMY"},
    {"datestyle", "iso", NULL, V15, "ISO, MDY"},
    {"datestyle", "iso", "no style", V15, "ISO, MDY"},
    {"DateStyle", "ISO, DMY", "ISO, MDY", V15, "ISO, DMY"},
    {"DateStyle", "dmy", "German, YMD", V15, "German, DMY"},
    {"DateStyle", "german", "ISO, MDY", V15, "German, DMY"},
    {"DateStyle", "german, ymd", "ISO, MDY", V15, "German, YMD"},
    {"DateStyle", "ymd,german", "ISO, MDY", V15, "German, YMD"},
    {"DateStyle", "iso,iso", "ISO, MDY", V15, "ISO, MDY"},
    {"DateStyle", "", "SQL, DMY", V15, "SQL, DMY"},
    {"DateStyle", "  ", "SQL, DMY", V15, "SQL, DMY"},
    {"DateStyle", "postgresql", "ISO, MDY", V15, "Postgres, MDY"},
    {"DateStyle", "European", "ISO, MDY", V15, "ISO, DMY"},
    {"DateStyle", "noneuropean", "ISO, DMY", V15, "ISO, MDY"},
    {"DateStyle", "us", "ISO, DMY", V15, "ISO, MDY"},
    {"DateStyle", "\"iso\" , \"dmy\"", "ISO, MDY", V15, "ISO, DMY"},
    {"DateStyle", "default", "SQL, DMY", V15, "default"},
    {"DateStyle", "iso, sql", "ISO, MDY", V15, NULL},
    {"DateStyle", "dmy,mdy", "ISO, MDY", V15, NULL},
    {"DateStyle", "POSTGRE", "ISO, MDY", V15, NULL},
    {"DateStyle", "usa", "ISO, MDY", V15, NULL},
    {"DateStyle", "iso mdy", "ISO, MDY", V15, NULL},
    {"DateStyle", "iso,", "ISO, MDY", V15, NULL},
    {"DateStyle", ",iso", "ISO, MDY", V15, NULL},
    {"DateStyle", "\"ISO", "ISO, MDY", V15, NULL},
    {"DateStyle", "\"\"", "ISO, MDY", V15, NULL},

    {"application_name", "abc", NULL, V15, "abc"},
    {"application_name", "", NULL, V15, ""},
    {"application_name", "\xc3\xa9", NULL, V15, "??"},
    {"application_name", "\xc3\xa9\t", NULL, V16, "\\xc3\\xa9\\x09"},
    {"application_name", A62 "ab", NULL, V15, A62 "a"},
    {"application_name", A62 "\xc3\xa9", NULL, V15, A62},
    {"application_name", A62 "\xc3\xa9", NULL, V16, A62},

    {"TimeZone", "europe/vienna", NULL, V15, "europe/vienna"},
    {"anything", "1", NULL, V15, "1"},
};

static void test_canonical(void **unused)
{
    (void)unused;
    struct buf out;
    buf_init(&out, 0);
    for (size_t i = 0; i < ARRAY_SIZE(canonical); i++) {
        bool is_ok = params_canonical(canonical[i].name, canonical[i].value, canonical[i].current,
                                      canonical[i].version, &out);
        const char *want = canonical[i].canonical ? canonical[i].canonical : "";
        if (is_ok != (canonical[i].canonical != NULL) || strcmp(buf_cstr(&out), want) != 0)
            fail_msg("%s '%s': '%s'", canonical[i].name, canonical[i].value, buf_cstr(&out));
    }
    buf_free(&out);
}

/* ------------------------------------------------------------------ */

#define N_THREADS 4
#define N_ROUNDS  4000

/* Sets come and go all the time in all threads; few different ones, so that the threads meet. */
static void *churn(void *arg)
{
    uint64_t seed = (uintptr_t)arg + 1;
    uintptr_t n_wrong = 0;
    struct params *kept = params_empty();
    for (int i = 0; i < N_ROUNDS; i++) {
        static const char *const values[] = {"x", "y", "z"};
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const char *v1 = values[(seed >> 33) % 3], *v2 = values[(seed >> 40) % 3];
        struct params *a = params_with(params_empty(), "alpha", v1);
        struct params *ab = a ? params_with(a, "beta", v2) : NULL;
        struct params *b = params_with(params_empty(), "beta", v2);
        struct params *ba = b ? params_with(b, "alpha", v1) : NULL;
        if (!ab || ab != ba || strcmp(params_get(ab, "alpha"), v1) != 0 ||
            strcmp(params_get(ab, "beta"), v2) != 0)
            n_wrong++;
        params_unref(a);
        params_unref(b);
        params_unref(ba);
        params_unref(kept);
        kept = params_ref(ab);
        params_unref(ab);
    }
    params_unref(kept);
    return (void *)n_wrong;
}

static void test_threads(void **unused)
{
    (void)unused;
    pthread_t threads[N_THREADS];
    for (uintptr_t i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < N_THREADS; i++) {
        void *n_wrong;
        assert_int_equal(pthread_join(threads[i], &n_wrong), 0);
        assert_null(n_wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_sets_are_one),
        cmocka_unit_test(test_reading),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_dotted_query),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
