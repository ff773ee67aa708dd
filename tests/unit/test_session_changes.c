/*
 * test_session_changes.c - settings in transactions: what is kept, what is taken back, and a model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/session_changes.h"

struct session {
    struct session_changes changes;
    struct session_sets sets;
    struct params *startup, *reported;
};

/* "name=value;..." */
static struct params *set_of(const char *text)
{
    struct params *set = params_empty();
    char copy[512];

    snprintf(copy, sizeof(copy), "%s", text);
    for (char *p = copy, *end; *p != '\0'; p = end) {
        end = p + strcspn(p, ";");
        end += *end == ';' ? (*end = '\0', 1) : 0;
        char *equals = strchr(p, '=');
        assert_non_null(equals);
        *equals = '\0';
        struct params *next = params_with(set, p, equals + 1);
        assert_non_null(next);
        params_unref(set);
        set = next;
    }
    return set;
}

static void begin(struct session *s, const char *startup)
{
    *s = (struct session){.startup = set_of(startup), .reported = set_of("TimeZone=Europe/Rome")};
    s->sets = (struct session_sets){.client = params_ref(s->startup),
                                    .server = params_ref(s->startup),
                                    .startup = s->startup,
                                    .reported = s->reported};
}

static void end(struct session *s)
{
    session_changes_free(&s->changes);
    params_unref(s->sets.client);
    params_unref(s->sets.server);
    params_unref(s->startup);
    params_unref(s->reported);
}

static void apply(struct session *s)
{
    session_changes_commit(&s->changes);
    assert_true(session_changes_apply(&s->changes, &s->sets));
    assert_true(session_changes_is_empty(&s->changes));
}

static const char *tag_of(const struct session_ops *ops)
{
    switch (ops != NULL ? ops->items[0].kind : SQL_SESSION_UNKNOWN) {
    case SQL_SESSION_SET:
    case SQL_SESSION_SET_CONFIG: return ops->items[0].is_call ? "SELECT 1" : "SET";
    case SQL_SESSION_RESET:
    case SQL_SESSION_RESET_ALL: return "RESET";
    case SQL_SESSION_BEGIN: return "BEGIN";
    case SQL_SESSION_COMMIT: return "COMMIT";
    case SQL_SESSION_ROLLBACK:
    case SQL_SESSION_ROLLBACK_TO: return "ROLLBACK";
    case SQL_SESSION_SAVEPOINT: return "SAVEPOINT";
    case SQL_SESSION_RELEASE: return "RELEASE";
    case SQL_SESSION_PREPARE_TRANSACTION: return "PREPARE TRANSACTION";
    case SQL_SESSION_DISCARD_ALL: return "DISCARD ALL";
    default: return "SELECT 1";
    }
}

static struct session_ops *ops_of(const char *text)
{
    struct sql_lexer l = {.text = text, .len_bytes = (uint32_t)strlen(text), .standard_strings = true};
    struct session_ops *ops;

    assert_int_not_equal(session_ops_read(&l, true, false, &ops), SESSION_OPS_NO_MEMORY);
    return ops;
}

/* One statement, performed. */
static void run_as(struct session *s, const char *text, const char *tag)
{
    struct session_ops *ops = ops_of(text);

    assert_true(session_changes_perform(&s->changes, ops, 0, tag != NULL ? tag : tag_of(ops)));
    session_ops_unref(ops);
}

static void show(const struct params *set, char *out, size_t size)
{
    out[0] = '\0';
    for (uint32_t i = 0; i < params_count(set); i++)
        snprintf(out + strlen(out), size - strlen(out), "%s%s=%s", i > 0 ? ";" : "", params_name(set, i),
                 strcmp(params_value(set, i), PARAMS_UNKNOWN) == 0 ? "?" : params_value(set, i));
}

/* Statements with '|' between. At the end, the transaction, if one is left, is committed. */
static const struct {
    const char *startup;
    const char *text;
    const char *client;
    const char *server;
} rows[] = {
    {"", "SET a = 1", "a=1", "a=1"},
    {"", "SET a = 1|RESET a", "", ""},
    {"a=9", "SET a = 1|RESET a", "a=9", ""},
    {"a=9", "SET a TO DEFAULT", "a=9", ""},
    {"a=9", "SET a = 1|SET b = 2|RESET ALL", "a=9", ""},
    {"", "SET LOCAL a = 1", "", ""},
    {"", "SET a = 2|SET LOCAL a = 1", "a=2", "a=2"},
    {"", "SET LOCAL a = 1|SET a = 2", "a=2", "a=2"},
    {"", "SET a = 1|ROLLBACK", "", ""},
    {"", "SET a = 1|COMMIT|SET a = 2|ROLLBACK", "a=1", "a=1"},
    {"", "SET a = 1|COMMIT AND CHAIN|SET b = 2|ROLLBACK AND CHAIN|SET c = 3", "a=1;c=3", "a=1;c=3"},
    {"", "SET a = 1|PREPARE TRANSACTION 'x'|SET b = 1|ROLLBACK", "a=1", "a=1"},
    {"", "SET a = 1|SAVEPOINT s|SET a = 2|ROLLBACK TO s", "a=1", "a=1"},
    {"", "SET a = 1|SAVEPOINT s|SET a = 2|ROLLBACK TO s|SET b = 1|ROLLBACK TO s", "a=1", "a=1"},
    {"", "SET a = 1|SAVEPOINT s|SET a = 2|RELEASE s", "a=2", "a=2"},
    {"", "SAVEPOINT old|SET a = 1|SAVEPOINT s|SET a = 2|ROLLBACK TO old", "", ""},
    {"", "SAVEPOINT old|SET a = 1|SAVEPOINT s|SET a = 2|RELEASE old|ROLLBACK TO older", "", ""},
    {"", "SET a = 1|SAVEPOINT s|SET a = 2|SAVEPOINT s|SET a = 3|ROLLBACK TO s", "a=2", "a=2"},
    {"", "SET a = 1|SAVEPOINT s|SET a = 2|SAVEPOINT s|SET a = 3|RELEASE s|ROLLBACK TO s", "a=1", "a=1"},
    {"", "SET a = 1|SAVEPOINT s|SAVEPOINT t|SET a = 2|RELEASE s", "a=2", "a=2"},
    {"", "SET a = 1|DISCARD ALL", "", ""},
    {"", "SET ROLE x|DISCARD ALL", "", ""},
    {"", "SET ROLE x|RESET ALL", "role=x", "role=x"},
    {"", "SET ROLE x|RESET ROLE", "", ""},
    {"", "SET SESSION AUTHORIZATION x|SET ROLE y", "role=y;session_authorization=x",
     "role=y;session_authorization=x"},
    {"", "SET ROLE y|SET SESSION AUTHORIZATION x", "session_authorization=x", "session_authorization=x"},
    {"", "SET SESSION AUTHORIZATION x|SET ROLE y|RESET SESSION AUTHORIZATION", "", ""},
    {"", "SET transaction_isolation = serializable|SET is_superuser = on|SET server_version = 1", "", ""},
    {"", "SELECT set_config('A', 'x', false), set_config('b', 'y', true)", "a=x", "a=x"},
    {"a=9", "SELECT set_config('a', NULL, false)", "a=9", ""},
    {"", "SELECT length(set_config('a', 'x', false))", "", "a=?"},
    {"", "SELECT set_config('a', now()::text, false)", "", "a=?"},
    {"", "SET a = U&'x'", "", "a=?"},
    /* what servers report is not touched, unless the client's own value is another */
    {"TimeZone=Asia/Tokyo", "SET timezone = 'UTC'", "TimeZone=Asia/Tokyo", "TimeZone=Asia/Tokyo"},
    {"TimeZone=Asia/Tokyo;a=1", "SET a = 2|RESET ALL", "a=1;TimeZone=Asia/Tokyo", "TimeZone=Asia/Tokyo"},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct session s;
        char copy[256], client[256], server[256];

        begin(&s, rows[i].startup);
        snprintf(copy, sizeof(copy), "%s", rows[i].text);
        for (char *next, *p = copy; p != NULL; p = next) {
            next = strchr(p, '|');
            if (next != NULL)
                *next++ = '\0';
            run_as(&s, p, NULL);
        }
        apply(&s);
        show(s.sets.client, client, sizeof(client));
        show(s.sets.server, server, sizeof(server));
        if (strcmp(client, rows[i].client) != 0 || strcmp(server, rows[i].server) != 0)
            fail_msg("%s\n  client %s, not %s\n  server %s, not %s", rows[i].text, client, rows[i].client,
                     server, rows[i].server);
        assert_int_equal(s.sets.is_doubtful, strchr(rows[i].server, '?') != NULL);
        end(&s);
    }
}

/* What tags say that the text does not: COMMIT of a failed transaction, a call without a row. */
static void test_tags(void **state)
{
    struct session s;

    (void)state;
    begin(&s, "");
    run_as(&s, "SET a = 1", NULL);
    run_as(&s, "COMMIT", "ROLLBACK");
    run_as(&s, "SELECT set_config('b', 'x', false) WHERE false", "SELECT 0");
    assert_true(session_changes_is_empty(&s.changes));
    run_as(&s, "SET a = 1", NULL);
    run_as(&s, "SELECT 1", "ROLLBACK"); /* a prepared statement whose text is not known */
    assert_true(session_changes_is_empty(&s.changes));
    run_as(&s, "SET a = 1", NULL);
    run_as(&s, "SELECT 1", "COMMIT");
    assert_true(session_changes_apply(&s.changes, &s.sets));
    assert_string_equal(params_get(s.sets.client, "a"), "1");
    end(&s);
}

/* The server has its own value after a RESET of what it reports; the client's is told. */
static void test_reset_of_reported(void **state)
{
    struct session s;

    (void)state;
    begin(&s, "TimeZone=Asia/Tokyo");
    params_unref(s.sets.client);
    params_unref(s.sets.server);
    s.sets.client = set_of("TimeZone=Europe/Rome"); /* as was reported */
    s.sets.server = set_of("TimeZone=Europe/Rome");
    run_as(&s, "RESET TIME ZONE", NULL);
    assert_true(session_changes_has_reset(&s.changes, s.startup));
    apply(&s);
    assert_string_equal(params_get(s.sets.client, "timezone"), "Asia/Tokyo");
    assert_string_equal(params_get(s.sets.server, "timezone"), "Europe/Rome");
    end(&s);
}

/* ---- parameters of Bind ---- */

static uint32_t put_bind(uint8_t *out, int n_formats, int format, const char *const *values, int n)
{
    uint32_t at = 0;

    out[at++] = 0;
    out[at++] = (uint8_t)n_formats;
    for (int i = 0; i < n_formats; i++, at += 2) {
        out[at] = 0;
        out[at + 1] = (uint8_t)format;
    }
    out[at++] = 0;
    out[at++] = (uint8_t)n;
    for (int i = 0; i < n; i++) {
        const uint32_t len = values[i] != NULL ? (uint32_t)strlen(values[i]) : UINT32_MAX;
        for (int shift = 24; shift >= 0; shift -= 8)
            out[at++] = (uint8_t)(len >> shift);
        if (values[i] != NULL)
            memcpy(out + at, values[i], len), at += len;
    }
    return at;
}

static void test_bind(void **state)
{
    static const struct {
        const char *text;
        const char *values[3];
        int n, n_formats, format;
        const char *client;
    } binds[] = {
        {"SELECT set_config($1, $2, $3)", {"A", "x", "false"}, 3, 0, 0, "a=x"},
        {"SELECT set_config($1, $2, $3)", {"a", "x", "\001"}, 3, 1, 1, ""},
        {"SELECT set_config($1, $2, $3)", {"a", "x", "t"}, 3, 3, 0, ""},
        {"SELECT set_config($2, $1, false)", {"x", "a"}, 2, 2, 1, "a=x"},
        {"SELECT set_config('b', $1::text, false), set_config('c', $1, false)", {"x"}, 1, 0, 0, "b=x;c=x"},
        {"SELECT set_config('o', $1, false)", {NULL}, 1, 0, 0, "o=1"},
        {"SELECT set_config('b', $2, false)", {"x"}, 1, 0, 0, ""},
    };
    uint8_t bind[200];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(binds); i++) {
        struct session s;
        char client[200];
        const uint32_t n = put_bind(bind, binds[i].n_formats, binds[i].format, binds[i].values, binds[i].n);
        struct session_ops *ops = ops_of(binds[i].text);

        begin(&s, strchr(binds[i].client, 'o') != NULL ? "o=1" : "");
        assert_true(ops->has_params);
        for (uint32_t cut = 0; cut < n; cut++) { /* malformed ones do no harm */
            uint8_t *exact = malloc(cut > 0 ? cut : 1);
            assert_non_null(exact);
            memcpy(exact, bind, cut);
            session_ops_unref(session_ops_bind(ops, exact, cut));
            free(exact);
        }
        struct session_ops *bound = session_ops_bind(ops, bind, n);
        session_ops_unref(ops);
        assert_true(session_changes_perform(&s.changes, bound, 0, "SELECT 1"));
        session_ops_unref(bound);
        apply(&s);
        show(s.sets.client, client, sizeof(client));
        assert_string_equal(client, binds[i].client);
        end(&s);
    }
}

/* ---- a text that is cut, and several statements ---- */

static void test_texts(void **state)
{
    struct session_ops *ops;
    struct sql_lexer l = {
        .text = "SET a = 1; SELECT 1; SET b = 2", .len_bytes = 30, .standard_strings = true};

    (void)state;
    assert_int_equal(session_ops_read(&l, true, true, &ops), SESSION_OPS_OK);
    assert_int_equal(ops->n, 1);
    session_ops_unref(ops);
    assert_int_equal(session_ops_read(&l, true, false, &ops), SESSION_OPS_OK);
    assert_int_equal(ops->n, 2);
    assert_int_equal(ops->items[1].index, 2);
    session_ops_unref(ops);
    l.len_bytes = 10;
    l.at = 9;
    assert_int_equal(session_ops_read(&l, true, true, &ops), SESSION_OPS_NONE);
    assert_null(ops);
}

/* ---- names of settings that PostgreSQL does not list ---- */

static const struct {
    const char *text;
    const char *names; /* each with a space ahead of it */
} dotted[] = {
    {"SELECT set_config(n, 'x', false) FROM t", ""},
    {"SELECT set_config(n, 'x', false) FROM (SELECT 'my.a') x", " my.a"},
    {"SELECT set_config('my.a', x, false)", ""}, /* it has its name */
    {"SELECT set_config($1, 'x', false), 'my.a'", ""},
    {"SELECT set_config(n, 'x', true) FROM (SELECT 'my.a') x", ""},
    {"DO $$BEGIN SET my.a = 1; PERFORM pg_catalog.set_config('My.b.c', 'x', t.y); END$$", " my.a My.b.c t.y"},
    {"DO 'BEGIN SET my.1a = 1; SET .b = 1; SET c.=1; SET d..e=1; SET _f.$g=1; SET f2.g2$ = 1; END'",
     " f2.g2$"},
    {"DO 'BEGIN SET a.b=1; SET a.c=1; SET a.d=1; SET a.e=1; SET a.f=1; SET a.g=1; SET a.h=1; SET a.i=1; SET "
     "a.j=1; END'",
     " a.b a.c a.d a.e a.f a.g a.h a.i"},
};

static void test_dotted(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(dotted); i++) {
        struct session_ops *ops = ops_of(dotted[i].text);
        char names[256] = "";
        bool has_nameless = false;
        assert_non_null(ops);
        for (uint32_t n = 0; n < ops->n; n++) {
            const struct session_op *op = &ops->items[n];
            has_nameless = has_nameless || op->name[0] == '\0';
            if (op->is_hidden && op->name[0] != '\0')
                snprintf(names + strlen(names), sizeof(names) - strlen(names), " %s", op->name);
        }
        assert_string_equal(names, dotted[i].names);
        assert_int_equal(has_nameless, i != 2);
        session_ops_unref(ops);
    }
}

/* ---- the model: values at each savepoint, copied whole ---- */

enum { NAMES = 4, DEPTH = 12 };

struct level {
    int session[NAMES]; /* 0: not set */
    int in_force[NAMES];
    int name; /* of the savepoint that it was saved at */
};

struct model {
    struct level now;
    struct level saved[DEPTH]; /* saved[0]: when the transaction began */
    int depth;
};

static void model_reset(struct model *m, int name)
{
    for (int i = 0; i < NAMES; i++)
        if (name < 0 || i == name)
            m->now.session[i] = m->now.in_force[i] = i == 0 ? 100 : 0;
}

static void check_in_force(struct session *s, const struct model *m)
{
    struct session_sets sets = {
        .client = params_ref(s->sets.client), .startup = s->startup, .reported = s->reported};

    assert_true(session_changes_in_force(&s->changes, &sets));
    for (int i = 0; i < NAMES; i++) {
        char name[16], value[16];
        snprintf(name, sizeof(name), "n%d", i);
        snprintf(value, sizeof(value), "%d", m->now.in_force[i]);
        const char *got = params_get(sets.client, name);
        assert_string_equal(got != NULL ? got : "0", value);
    }
    params_unref(sets.client);
}

static void step(struct session *s, struct model *m)
{
    char sql[64];
    const int name = rand() % NAMES, value = 1 + rand() % 3, what = rand() % 16;
    int at;

    if (what < 5) {
        const bool is_local = what >= 3;
        snprintf(sql, sizeof(sql), "SET %s n%d = %d", is_local ? "LOCAL" : "", name, value);
        m->now.in_force[name] = value;
        if (!is_local)
            m->now.session[name] = value;
    } else if (what == 5) {
        snprintf(sql, sizeof(sql), "RESET n%d", name);
        model_reset(m, name);
    } else if (what == 6) {
        snprintf(sql, sizeof(sql), "RESET ALL");
        model_reset(m, -1);
    } else if (what < 10 && m->depth < DEPTH - 1) {
        snprintf(sql, sizeof(sql), "SAVEPOINT s%d", name);
        m->saved[++m->depth] = m->now;
        m->saved[m->depth].name = name;
    } else if (what < 14 && m->depth > 0) {
        const int wanted = m->saved[1 + rand() % m->depth].name;
        for (at = m->depth; m->saved[at].name != wanted; at--)
            ;
        snprintf(sql, sizeof(sql), "%s s%d", what < 12 ? "ROLLBACK TO" : "RELEASE", wanted);
        if (what < 12)
            m->now = m->saved[at];
        m->depth = what < 12 ? at : at - 1;
    } else {
        snprintf(sql, sizeof(sql), "%s", rand() % 2 ? "COMMIT AND CHAIN" : "ROLLBACK AND CHAIN");
        if (sql[0] == 'R')
            m->now = m->saved[0];
        memcpy(m->now.in_force, m->now.session, sizeof(m->now.in_force));
        m->saved[0] = m->now;
        m->depth = 0;
    }
    run_as(s, sql, NULL);
    check_in_force(s, m);
}

static void test_model(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 300; seed++) {
        struct session s;
        struct model m = {0};

        srand(seed);
        begin(&s, "n0=100");
        model_reset(&m, 0);
        m.saved[0] = m.now;
        for (int i = 0; i < 200; i++)
            step(&s, &m);
        end(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),   cmocka_unit_test(test_tags),  cmocka_unit_test(test_reset_of_reported),
        cmocka_unit_test(test_bind),   cmocka_unit_test(test_texts), cmocka_unit_test(test_model),
        cmocka_unit_test(test_dotted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
