/*
 * test_listen_sql.c - LISTEN and UNLISTEN in texts, and what savepoints leave of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/listen_sql.h"

static const char kinds[] = {
    [LISTEN_OTHER] = '?',     [LISTEN_ON] = '+',      [LISTEN_OFF] = '-',         [LISTEN_OFF_ALL] = '*',
    [LISTEN_SAVEPOINT] = 's', [LISTEN_RELEASE] = 'r', [LISTEN_ROLLBACK_TO] = 'b',
};

/* commands: kind, index of the statement, name; with spaces between. */
static const struct {
    const char *text;
    const char *commands;
} texts[] = {
    {"", ""},
    {"LISTEN a", "+0a"},
    {"listen A;", "+0a"},
    {"LISTEN \"A\"\"b\"", "+0A\"b"},
    {"  -- LISTEN x\n /* */ listen a", "+0a"},
    {"SELECT 'LISTEN a'", ""},
    {"SELECT 1; LISTEN a; ; UNLISTEN a; UNLISTEN *", "+1a -2a *3"},
    {"DISCARD ALL", "*0"},
    {"DISCARD PLANS", ""},
    {"BEGIN; SAVEPOINT s; LISTEN a; RELEASE s; ROLLBACK TO SAVEPOINT s; COMMIT", "s1s +2a r3s b4s"},
    {"ROLLBACK", ""},
    {"ROLLBACK WORK TO s", "b0s"},
    {"RELEASE SAVEPOINT s", "r0s"},
    {"DO $$ BEGIN EXECUTE 'LISTEN a'; END $$", ""},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct listen_command *commands;
        uint32_t n;
        char got[256] = "";
        size_t at = 0;
        assert_true(
            listen_read_commands(texts[i].text, (uint32_t)strlen(texts[i].text), true, true, &commands, &n));
        for (uint32_t k = 0; k < n; k++)
            at += (size_t)snprintf(got + at, sizeof(got) - at, "%s%c%u%s", k > 0 ? " " : "",
                                   kinds[commands[k].kind], commands[k].index, commands[k].name);
        free(commands);
        assert_string_equal(got, texts[i].commands);
        if (n > 0 && strpbrk(got, "+-*") != NULL)
            assert_true(listen_may_have_command(texts[i].text, (uint32_t)strlen(texts[i].text), true));
    }
}

static void test_looks(void **state)
{
    (void)state;
    assert_false(listen_may_have_command("SELECT 1", 8, true));
    assert_true(listen_may_have_command("x uNLISTEN", 10, false));
    assert_false(listen_may_have_command("x uNLISTEN", 9, false));
    assert_false(listen_may_have_command("DISCARD ALL", 11, false));
    assert_true(listen_may_have_command("DISCARD ALL", 11, true));
    assert_true(listen_may_notify("SELECT pg_Notify('a', '')", 25));
    assert_false(listen_may_notify("SELECT 'notif'", 14));
}

/* Many commands: the array grows. */
static void test_many(void **state)
{
    (void)state;
    char text[4096] = "";
    struct listen_command *commands;
    uint32_t n;

    for (int i = 0; i < 300; i++)
        strcat(text, "LISTEN a;");
    assert_true(listen_read_commands(text, (uint32_t)strlen(text), true, true, &commands, &n));
    assert_int_equal(n, 300);
    assert_int_equal(commands[299].index, 299);
    free(commands);
}

/* done: kind and name of what is performed; left: what would count at COMMIT. */
static const struct {
    const char *done;
    const char *left;
} transactions[] = {
    {"", ""},
    {"+a -b *", "+a -b *"},
    {"sp +a bp", ""}, /* not in the list when it was set: before everything */
    {"+a sp +b bp", "+a"},
    {"+a sp +b bp +c bp", "+a"},
    {"+a sp +b sp +c bp", "+a +b"},
    {"+a sp +b sp +c rp bp", "+a"},
    {"+a sp +b sq +c rp", "+a +b +c"},
    {"+a sp +b sq +c rp bq", ""}, /* PostgreSQL refuses that: q is no more */
    {"+a rx", "+a"},
    {"+a sp +b rx bp", ""}, /* x was before p, which went with it */
    {"+a bx", ""},
    {"sp", ""},
};

static enum listen_command_kind kind_of(char letter)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i] == letter)
            return (enum listen_command_kind)i;
    fail();
    return LISTEN_OTHER;
}

static void test_transactions(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(transactions); i++) {
        struct list changes;
        char words[256], got[256] = "";
        list_init(&changes);
        snprintf(words, sizeof(words), "%s", transactions[i].done);
        for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
            char name[SQL_NAME_BYTES] = "";
            strcpy(name, word + 1);
            assert_true(listen_changes_add(&changes, kind_of(word[0]), name));
        }
        LIST_FOR_EACH (it, &changes) {
            const struct listen_change *x = list_entry(it, const struct listen_change, node);
            if (x->kind == LISTEN_SAVEPOINT)
                continue;
            size_t at = strlen(got);
            snprintf(got + at, sizeof(got) - at, "%s%c%s", at > 0 ? " " : "", kinds[x->kind], x->name);
        }
        assert_string_equal(got, transactions[i].left);
        listen_changes_clear(&changes);
        assert_true(list_is_empty(&changes));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_looks),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_transactions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
