/*
 * test_database_url.c - connection URLs: what is taken from them, what is refused, and that nothing secret is
 * said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/database_url.h"

/* "user password host port database name=value ..."; - for what is not there. */
static void print(const struct database_url *u, struct buf *out)
{
    const char *parts[] = {u->user, u->password, u->host};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        buf_printf(out, "%s ", parts[i] != NULL ? parts[i] : "-");
    buf_printf(out, "%d %s", u->port, u->database != NULL ? u->database : "-");
    for (size_t i = 0; i < u->n_parameters; i++)
        buf_printf(out, " %s=%s", u->parameters[i].name, u->parameters[i].value);
}

static void test_parts(void **state)
{
    static const char *const rows[][2] = {
        {"postgres://u:p@h:1/d", "u p h 1 d"},
        {"postgresql://u@h/d", "u - h 0 d"},
        {"POSTGRES://h", "- - h 0 -"},
        {"postgresql+psycopg://u:p@h/d", "u p h 0 d"},
        {"postgis://u:p@h/d", "u p h 0 d"},
        {"postgres://", "- - - 0 -"},
        {"postgres:///d", "- - - 0 d"},
        {"postgres://u:p@h/", "u p h 0 -"},
        {"postgres://u:@h/d", "u - h 0 d"},
        {"postgres://u:p@h:/d", "u p h 5432 d"},
        {"postgres://u%40x:p%3A%2F%25%C3%A9@h/d%20e", "u@x p:/%\xc3\xa9 h 0 d e"},
        {"postgres://u:p@ss@h/d", "u p@ss h 0 d"},
        {"postgres://u:a:b@h/d", "u a:b h 0 d"},
        {"postgres://u:p@[::1]:5/d", "u p ::1 5 d"},
        {"postgres://u:p@[::1]/d", "u p ::1 0 d"},
        {"postgres://u:p@a:5,b:5/d", "u p a,b 5 d"},
        {"postgres://u:p@a,b/d", "u p a,b 5432 d"},
        {"postgres://u:p@a,b:5432/d", "u p a,b 5432 d"},
        {"postgres:///d?host=a,b&port=5433", "- - a,b 5433 d"},
        {"postgres:///d?host=a,b&port=5433,5433", "- - a,b 5433 d"},
        {"postgres://%2Fvar%2Frun/d", "- - /var/run 0 d"},
        {"postgres:///d?host=/var/run&port=7", "- - /var/run 7 d"},
        {"postgres://h/d?user=u&password=p%26q&dbname=e", "u p&q h 0 e"},
        {"postgres://h:1/?port=2", "- - h 2 -"},
        {"postgres://h/d?a=b&c&e=&&x=%3D", "- - h 0 d a=b c= e= x=="},
        {"postgres://h?sslmode=require", "- - h 0 - sslmode=require"},
        {"postgres://h/d/e", "- - h 0 d/e"},
        {"postgres://h/d%40e", "- - h 0 d@e"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct database_url u;
        struct buf why, out;
        buf_init(&why, 0);
        buf_init(&out, 0);
        if (!database_url_parse(rows[i][0], &u, &why))
            fail_msg("%s: %s", rows[i][0], buf_cstr(&why));
        print(&u, &out);
        assert_string_equal(buf_cstr(&out), rows[i][1]);
        database_url_free(&u);
        buf_free(&why);
        buf_free(&out);
    }
}

static void test_refused(void **state)
{
    static const char *const rows[][2] = {
        {"", "does not begin with"},
        {"mysql://u:SECRET@h/d", "does not begin with"},
        {"postgresx://u:SECRET@h/d", "does not begin with"},
        {"postgres:/u:SECRET@h/d", "does not begin with"},
        {"postgres://u:SECRET@h:x/d", "port is not a number"},
        {"postgres://u:SECRET@h:0/d", "port is not a number"},
        {"postgres://u:SECRET@h:65536/d", "port is not a number"},
        {"postgres://u:SECRET@h:99999999999/d", "port is not a number"},
        {"postgres://u:SECRET@a:1,b:2/d", "different ports"},
        {"postgres://u:SECRET@a,b:5433/d", "different ports"},
        {"postgres://u:SECRET@a:5433,b/d", "different ports"},
        {"postgres://u:SECRET@a:5433,b:/d", "different ports"},
        {"postgres:///d?host=a,b&port=5433,", "different ports"},
        {"postgres://u:SECRET@[::1/d", "brackets"},
        {"postgres://u:SECRET@[::1]x/d", "brackets"},
        {"postgres://u:SECRET%@h/d", "in the password"},
        {"postgres://u:SECRET%4@h/d", "in the password"},
        {"postgres://u:SECRET%zz@h/d", "in the password"},
        {"postgres://u:SECRET%00@h/d", "in the password"},
        {"postgres://u%x:SECRET@h/d", "in the user"},
        {"postgres://u:SECRET@h%/d", "in the host"},
        {"postgres://u:SECRET@h/d%", "in the database"},
        {"postgres://u:SECRET@h/d?a=%", "in the value of a parameter"},
        {"postgres://u:SECRET@h/d?%=a", "in the name of a parameter"},
        {"postgres://u:SECRET@h/d?port=x", "port is not a number"},
        /* a password in the wrong place */
        {"postgres://u:p@h/d;postgres://u:SECRET@h2/e", "the name of the database holds an @"},
        {"postgres://u:p@h/d postgres://u:SECRET@h2/e", "the name of the database holds an @"},
        {"postgres://u:p@h/d;postgres://SECRET", "holds an @ or a ://"},
        {"postgres://u:p@h/d%3A//SECRET", "holds an @ or a ://"},
        {"postgres://u:12/SECRET@h/d", "the name of the database holds an @"},
        {"postgres://u:12?SECRET@h/d", "a parameter has a name that"},
        {"postgres://u:12?SECRET%40h", "a parameter has a name that"},
        {"postgres://u:p@h/d?=SECRET", "a parameter has a name that"},
        {"postgres://u:p@h/d?x y=SECRET", "a parameter has a name that"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct database_url u;
        struct buf why;
        buf_init(&why, 0);
        if (database_url_parse(rows[i][0], &u, &why) || strstr(buf_cstr(&why), rows[i][1]) == NULL)
            fail_msg("%s: %s", rows[i][0], buf_cstr(&why));
        assert_null(strstr(buf_cstr(&why), "SECRET"));
        database_url_free(&u);
        buf_free(&why);
    }
}

static void test_too_many_parameters(void **state)
{
    struct database_url u;
    struct buf text, why;
    (void)state;
    buf_init(&text, 0);
    buf_init(&why, 0);
    buf_append_str(&text, "postgres://h/d?");
    for (int i = 0; i < DATABASE_URL_MAX_PARAMETERS; i++)
        buf_printf(&text, "a%d=b&", i);
    assert_true(database_url_parse(buf_cstr(&text), &u, &why));
    database_url_free(&u);
    buf_append_str(&text, "more=x");
    assert_false(database_url_parse(buf_cstr(&text), &u, &why));
    database_url_free(&u);
    buf_free(&text);
    buf_free(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_too_many_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
