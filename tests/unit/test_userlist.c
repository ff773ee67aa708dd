/*
 * test_userlist.c - auth_file: one row per text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/userlist.h"
#include "base/compiler.h"

#define TEN     "0123456789"
#define NAME_63 TEN TEN TEN TEN TEN TEN "123"
#define MD5     "md58bbf3f45673bf67d02e4214911f3417f"
#define ROW(t)  t, sizeof(t) - 1

static const struct {
    const char *text;
    size_t len;
    const char *result;   /* name=secret:line; in the list's order */
    const char *problems; /* line:text; in the order of the reports */
} rows[] = {
    {ROW(""), "", ""},
    {ROW("\n\n  \n\t\r\n"), "", ""},
    {ROW("\"u\" \"p\""), "u=p:1;", ""},
    {ROW("\"u\" \"p\"\r\n\"v\"\t\"q\"\r\n"), "u=p:1;v=q:2;", ""},
    {ROW("\"z\" \"1\"\n\"a\" \"2\"\n"), "a=2:2;z=1:1;", ""},
    {ROW("; \"u\" \"p\"\n;\n  ;x\n\"u\" \"p\"\n"), "u=p:4;", ""},
    {ROW("  \"u\"   \"p\"  \"more\" x ; y\n"), "u=p:1;", ""},
    {ROW("\"u\"\"p\"\n"), "", "1:password is missing (write \"\" for none);"}, /* one name: u"p */
    {ROW("\"u\": \"p\"\n"), "u=p:1;", ""},
    {ROW("\"a\"\"b\" \"c\"\"\"\"d\"\"\"\n"), "a\"b=c\"\"d\":1;", ""},
    {ROW("\"u\" \"\"\n"), "u=:1;", ""},
    {ROW("\"u\" \"a;b\"\n"), "u=a;b:1;", ""},
    {ROW("\"u\" \"" MD5 "\"\n"), "u=" MD5 ":1;", ""},
    {ROW("\xef\xbb\xbf\"u\" \"p\"\n"), "u=p:1;", ""},
    {ROW("\"\xc3\xa4\" \"p\"\n"), "\xc3\xa4=p:1;", ""},
    {ROW("u p\n\"v\" \"q\"\n"), "v=q:2;", "1:user name must begin with a quote;"},
    {ROW("\"u\n\"v\" \"q\"\n"), "v=q:2;", "1:missing closing quote;"},
    {ROW("\"u\" \"p\n\"v\" \"q\"\n"), "v=q:2;", "1:missing closing quote;"},
    {ROW("\"u\" \"p\"\"\n\"v\" \"q\"\n"), "v=q:2;", "1:missing closing quote;"},
    {ROW("\"u\"\n\"v\" \"q\"\n"), "v=q:2;", "1:password is missing (write \"\" for none);"},
    {ROW("\"u\" p\n"), "", "1:password is missing (write \"\" for none);"},
    {ROW("\""), "", "1:missing closing quote;"},
    {ROW("\"u\" \""), "", "1:missing closing quote;"},
    {ROW("\"\" \"p\"\n"), "", "1:user name is empty;"},
    {ROW("\"u\" \"p\0q\"\n\"v\" \"q\"\n"), "v=q:2;", "1:line holds a NUL byte;"},
    {ROW("\"" NAME_63 "\" \"p\"\n"), NAME_63 "=p:1;", ""},
    {ROW("\"" NAME_63 "4\" \"p\"\n\"v\" \"q\"\n"), "v=q:2;", "1:user name is too long;"},
    {ROW("\"u\" \"1\"\n\"v\" \"2\"\n\"u\" \"3\"\n\"u\" \"4\"\n"), "u=4:4;v=2:2;",
     "1:user stands again further down: this line does not count;"
     "3:user stands again further down: this line does not count;"},
    {ROW("\"U\" \"1\"\n\"u\" \"2\"\n"), "U=1:1;u=2:2;", ""},
    {ROW("x\ny\n"), "", "1:user name must begin with a quote;2:user name must begin with a quote;"},
};

struct text {
    char data[4096];
    size_t len;
};

static void add_problem(void *arg, uint32_t line, const char *text)
{
    struct text *t = arg;
    t->len += (size_t)snprintf(t->data + t->len, sizeof(t->data) - t->len, "%u:%s;", line, text);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct text problems = {"", 0}, result = {"", 0};
        struct userlist *l = userlist_parse(rows[i].text, rows[i].len, add_problem, NULL, &problems);
        for (uint32_t k = 0; k < l->count; k++) {
            const struct userlist_entry *e = &l->entries[k];
            result.len +=
                (size_t)snprintf(result.data + result.len, sizeof(result.data) - result.len, "%s=%s:%u;",
                                 e->name, e->credential.secret ? e->credential.secret : "", e->line);
            assert_ptr_equal(userlist_find(l, e->name), e);
        }
        if (strcmp(result.data, rows[i].result) != 0 || strcmp(problems.data, rows[i].problems) != 0)
            fail_msg("row %zu: %s | %s", i, result.data, problems.data);
        assert_null(userlist_find(l, "nobody"));
        userlist_free(l);
    }
}

static void test_kinds(void **state)
{
    static const char text[] =
        "\"n\" \"\"\n\"p\" \"x\"\n\"m\" \"" MD5 "\"\n"
        "\"s\" \"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuL"
        "mtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\"\n";
    (void)state;
    struct userlist *l = userlist_parse(text, sizeof(text) - 1, NULL, NULL, NULL);
    assert_int_equal(l->count, 4);
    assert_int_equal(userlist_find(l, "n")->credential.kind, CREDENTIAL_NONE);
    assert_int_equal(userlist_find(l, "p")->credential.kind, CREDENTIAL_PLAIN);
    assert_int_equal(userlist_find(l, "m")->credential.kind, CREDENTIAL_MD5);
    assert_int_equal(userlist_find(l, "s")->credential.kind, CREDENTIAL_SCRAM);
    userlist_free(l);
}

static void test_password_length(void **state)
{
    static char text[4096];
    (void)state;
    for (size_t len = USERLIST_SECRET_MAX - 1; len <= USERLIST_SECRET_MAX + 1; len++) {
        struct text problems = {"", 0};
        size_t n = (size_t)snprintf(text, sizeof(text), "\"u\" \"");
        memset(text + n, 'x', len);
        text[n + len] = '"';
        struct userlist *l = userlist_parse(text, n + len + 1, add_problem, NULL, &problems);
        if (len <= USERLIST_SECRET_MAX) {
            assert_int_equal(l->count, 1);
            assert_int_equal(strlen(l->entries[0].credential.secret), len);
            assert_string_equal(problems.data, "");
        } else {
            assert_int_equal(l->count, 0);
            assert_string_equal(problems.data, "1:password is too long;");
        }
        userlist_free(l);
    }
}

/* Many users, found by name; a NULL callback and a NULL list are fine. */
static void test_many(void **state)
{
    static char text[64 * 1024];
    size_t n = 0;
    (void)state;
    for (int i = 0; i < 1000; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "\"user%d\" \"secret%d\"\nbad\n", i * 7919 % 1000,
                              i);
    struct userlist *l = userlist_parse(text, n, NULL, NULL, NULL);
    assert_int_equal(l->count, 1000);
    for (int i = 0; i < 1000; i++) {
        char name[32], secret[32];
        snprintf(name, sizeof(name), "user%d", i * 7919 % 1000);
        snprintf(secret, sizeof(secret), "secret%d", i);
        const struct userlist_entry *e = userlist_find(l, name);
        assert_non_null(e);
        assert_string_equal(e->credential.secret, secret);
        assert_int_equal(e->line, 2 * i + 1);
    }
    userlist_free(l);
    userlist_free(NULL);
}

static bool is_u(void *arg, const char *name)
{
    (void)arg;
    return strcmp(name, "u") == 0;
}

/* All lines of u are asked for: the last one is its secret, the others are older ones. */
static void test_all_lines(void **state)
{
    static const char text[] = "\"u\" \"1\"\n\"v\" \"a\"\n\"u\" \"2\"\n\"v\" \"b\"\n\"u\" \"3\"\n";
    static const char five[] = "\"u\" \"1\"\n\"u\" \"2\"\n\"u\" \"3\"\n\"u\" \"4\"\n\"u\" \"5\"\n";
    struct text problems = {"", 0};
    struct userlist *l = userlist_parse(text, sizeof(text) - 1, add_problem, is_u, &problems);
    const struct userlist_entry *u = userlist_find(l, "u");
    (void)state;

    assert_string_equal(problems.data, "2:user stands again further down: this line does not count;");
    assert_string_equal(u->credential.secret, "3");
    assert_int_equal(u->n_older, 2);
    assert_string_equal(u->older[0].secret, "2");
    assert_string_equal(u->older[1].secret, "1");
    assert_int_equal(userlist_find(l, "v")->n_older, 0);
    userlist_free(l);

    problems = (struct text){"", 0};
    l = userlist_parse(five, sizeof(five) - 1, add_problem, is_u, &problems);
    assert_string_equal(problems.data,
                        "5:user stands here too often: at most four secrets can be right at a time;");
    assert_int_equal(userlist_find(l, "u")->n_older, 0);
    userlist_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_kinds),     cmocka_unit_test(test_password_length),
        cmocka_unit_test(test_many), cmocka_unit_test(test_all_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
