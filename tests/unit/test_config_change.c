/*
 * test_config_change.c - SET, reload, differences and the values in effect.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/changes.h"
#include "config_fixture.h"

#define P "[pgsluice]\nauth_type = any\n"

static struct config *load(const char *text)
{
    struct loaded l = fixture_load(text);
    if (l.config == NULL)
        fail_msg("%s\nsaid: %s", text, l.said);
    free(l.said);
    return l.config;
}

static void test_set(void **state)
{
    static const struct {
        const char *key;
        const char *value;
        const char *now;  /* NULL: refused */
        const char *says; /* a part */
    } rows[] = {
        {"pool_mode", "transaction", "transaction", ""},
        {"POOL_MODE", "Statement", "statement", ""},
        {"query_wait_timeout", "200ms", "0.2", ""},
        {"server_reset_query", "select 'x'", "select 'x'", ""},
        {"max_prepared_statements", "0", "0", ""},
        {"pkt_buf", "1", NULL, "cannot be changed without a restart"},
        {"suspend_timeout", "1", "1", "note: setting suspend_timeout has no meaning here"},
        {"listen_port", "1", NULL, "error: setting listen_port cannot be changed without a restart"},
        {"workers", "1", NULL, "error: setting workers cannot be changed without a restart"},
        {"environment", "test", NULL, "error: setting environment cannot be changed by SET"},
        {"foo", "1", NULL, "error: unknown setting foo\n"},
        {"pool_mod", "session", NULL, "error: unknown setting pool_mod: did you mean pool_mode?"},
        {"pool_mode", "x", NULL, "error: pool_mode: \"x\" is none of"},
        {"verbose", "-1", NULL, "error: verbose: -1 is less than 0"},
        {"auth_type", "pam", HAS_PAM ? "pam" : NULL,
         HAS_PAM ? "" : "error: setting auth_type = pam needs libpam"},
        {"auth_ldap_options", "ldapserver=x ldapprefix=y", HAS_LDAP ? "ldapserver=x ldapprefix=y" : NULL,
         HAS_LDAP ? "" : "error: setting auth_ldap_options needs libldap"},
        {"auth_ldap_options", "ldapserver=x ldapbinddn=z ldapbindpasswd=y", HAS_LDAP ? "***" : NULL, ""},
        {"auth_type", "hba", NULL, "error: auth_type = hba needs auth_hba_file"},
        {"auth_type", "cert", NULL, "error: auth_type = cert needs client_tls_sslmode = verify-full"},
    };
    (void)state;
    struct config *old = load(P "[databases]\na = host=x\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config_problems problems;
        config_problems_init(&problems);
        struct config *new = config_with_setting(old, rows[i].key, rows[i].value, &problems);
        char *said = fixture_problems_text(&problems);
        if ((new != NULL) != (rows[i].now != NULL) || strstr(said, rows[i].says) == NULL)
            fail_msg("SET %s = %s said: %s", rows[i].key, rows[i].value, said);
        if (new != NULL) {
            assert_string_equal(fixture_value(new, rows[i].key), rows[i].now);
            assert_string_equal(fixture_source(new, rows[i].key), "SET");
            if (strcmp(rows[i].key, "auth_type") != 0)
                assert_string_equal(fixture_source(new, "auth_type"), "t.ini:2");
            assert_ptr_equal(config_find_database(new, "a"), config_find_database(old, "a"));
        }
        assert_string_equal(fixture_source(old, "pool_mode"), "default");
        config_unref(new);
        free(said);
        config_problems_free(&problems);
    }
    config_unref(old);
}

/* What follows from a setting follows SET, too; and the old snapshot may go first. */
static void test_set_makes_lists_anew(void **state)
{
    (void)state;
    struct config_problems problems;
    config_problems_init(&problems);
    struct config *old = load(P "admin_users = a\n[databases]\na = host=x\n");
    struct config *new = config_with_setting(old, "admin_users", "b", &problems);
    assert_true(config_is_admin(old, "a"));
    config_unref(old);
    assert_false(config_is_admin(new, "a"));
    assert_true(config_is_admin(new, "b"));
    assert_string_equal(config_find_database(new, "a")->host, "x");
    struct config *third = config_ref(new);
    config_unref(new);
    assert_true(config_is_admin(third, "b"));
    config_unref(third);
    config_problems_free(&problems);
}

static void trace_change(const struct config_change *change, void *arg)
{
    static const char *const kinds[] = {
        [CHANGE_SETTING] = "setting",      [CHANGE_DATABASE_ADDED] = "+db", [CHANGE_DATABASE_CHANGED] = "~db",
        [CHANGE_DATABASE_REMOVED] = "-db", [CHANGE_USER_ADDED] = "+user",   [CHANGE_USER_CHANGED] = "~user",
        [CHANGE_USER_REMOVED] = "-user",   [CHANGE_PEER_ADDED] = "+peer",   [CHANGE_PEER_CHANGED] = "~peer",
        [CHANGE_PEER_REMOVED] = "-peer",
    };
    struct buf *trace = arg;
    buf_printf(trace, "%s %s", kinds[change->kind], change->name);
    if (change->kind == CHANGE_SETTING)
        buf_printf(trace, " %s>%s%s", change->old_text, change->new_text,
                   change->needs_restart ? " restart" : "");
    buf_printf(trace, "%s;", change->is_dirty ? " dirty" : "");
}

static void test_reload(void **state)
{
    (void)state;
    struct config_problems problems;
    config_problems_init(&problems);
    fixture_write("tcc.ini", P "listen_port = 1\npool_mode = session\njob_name = a\n");
    struct config_args args = {.ini_path = "tcc.ini"};
    struct config *old = config_load(&args, &problems);
    assert_non_null(old);
    struct config *set = config_with_setting(old, "default_pool_size", "7", &problems);
    assert_int_equal(config_settings(set)->default_pool_size, 7);

    fixture_write("tcc.ini", P "\nlisten_port = 2\npool_mode = transaction\nworkers = 3\n"
                               "job_name = b\n");
    struct config *new = config_reload(set, &args, NULL, &problems);
    assert_non_null(new);
    /* SET lasts until the next reload. */
    assert_string_equal(fixture_value(new, "default_pool_size"), "20");
    assert_string_equal(fixture_source(new, "default_pool_size"), "default");
    assert_string_equal(fixture_value(new, "pool_mode"), "transaction");
    assert_string_equal(fixture_value(new, "listen_port"), "1");
    assert_string_equal(fixture_source(new, "listen_port"), "tcc.ini:3");
    assert_string_equal(fixture_value(new, "workers"), "auto");
    assert_string_equal(fixture_value(new, "job_name"), "a");
    char *said = fixture_problems_text(&problems);
    assert_non_null(strstr(said,
                           "warning: tcc.ini:4: setting listen_port cannot be changed without a restart: it "
                           "stays \"1\""));
    assert_non_null(strstr(said, "setting workers cannot be changed"));
    assert_null(strstr(said, "pool_mode"));
    free(said);
    struct buf trace;
    buf_init(&trace, 0);
    config_diff(set, new, trace_change, &trace);
    assert_string_equal(buf_cstr(&trace), "setting default_pool_size 7>20;setting job_name a>b restart;"
                                          "setting listen_port 1>2 restart;"
                                          "setting pool_mode session>transaction;"
                                          "setting workers auto>3 restart;");
    buf_free(&trace);

    /* A broken file changes nothing. */
    fixture_write("tcc.ini", P "listen_prt = 2\n");
    assert_null(config_reload(new, &args, NULL, &problems));

    /* conffile names the file of the next reload. */
    fixture_write("tcc2.ini", P "pool_mode = statement\n");
    struct config *moved = config_with_setting(new, "conffile", "tcc2.ini", &problems);
    struct config *other = config_reload(moved, &args, NULL, &problems);
    assert_string_equal(fixture_value(other, "pool_mode"), "statement");
    assert_string_equal(fixture_value(other, "conffile"), "tcc2.ini");

    config_unref(old);
    config_unref(set);
    config_unref(new);
    config_unref(moved);
    config_unref(other);
    config_problems_free(&problems);
    unlink("tcc.ini");
    unlink("tcc2.ini");
}

static void test_diff(void **state)
{
    static const struct {
        const char *old;
        const char *new;
        const char *trace;
    } rows[] = {
        {P, P, ""},
        {P "pool_mode=session\n", P "pool_mode=transaction\n", "setting pool_mode session>transaction;"},
        {P "listen_port=1\n", P "listen_port=2\n", "setting listen_port 1>2 restart;"},
        {"[databases]\na=\nb=\n", "[databases]\nb=\nc=\n", "-db a dirty;+db c;"},
        {"[databases]\na=\n", "[databases]\n", "-db a dirty;"},
        {"[databases]\na=host=x\n", "[databases]\n\n\na=  host=x\n", ""},
        {"[databases]\na=host=x\n", "[databases]\na=host=y\n", "~db a dirty;"},
        {"[databases]\na=host=x\n", "[databases]\na=port=1 host=x\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=dbname=a\n", ""},
        {"[databases]\na=\n", "[databases]\na=dbname=b\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=user=b\n", "~db a dirty;"},
        {"[databases]\na=user=b\n", "[databases]\na=\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=connect_query=x\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=load_balance_hosts=disable\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=target_session_attrs=primary\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=options='-c a.b=c'\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=pool_size=3\n", "~db a;"},
        {"[databases]\na=\n", "[databases]\na=pool_mode=session\n", "~db a;"},
        {"[databases]\na=user=u password=p\n", "[databases]\na=user=u password=q\n", "~db a dirty;"},
        {"[databases]\na=\n", "[databases]\na=application_name=q\n", "~db a;"},
        {"[databases]\na=\n", "[databases]\na=query_wait_timeout=0\n", "~db a;"},
        {"[users]\na=\nb=pool_size=1\n", "[users]\nb=pool_size=2\nc=\n", "-user a;~user b;+user c;"},
        {"[users]\na=\n", "[users]\na=query_wait_timeout=3\n", "~user a;"},
        {"[peers]\n1=host=x\n10=host=x\n", "[peers]\n10=host=y\n9=host=x\n", "-peer 1;+peer 9;~peer 10;"},
        {"[peers]\n1=host=x\n", "[peers]\n1=host=x port=6432\n", ""},
        {"[peers]\n1=host=x\n", "[peers]\n1=host=x pool_size=3\n", "~peer 1;"},
        {"[peers]\n1=host=x\n", "[peers]\n1=host=x port=1\n", "~peer 1;"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config *old = load(rows[i].old), *new = load(rows[i].new);
        struct buf trace;
        buf_init(&trace, 0);
        config_diff(old, new, trace_change, &trace);
        if (strcmp(buf_cstr(&trace), rows[i].trace) != 0)
            fail_msg("%s -> %s: %s", rows[i].old, rows[i].new, buf_cstr(&trace));
        buf_free(&trace);
        config_unref(old);
        config_unref(new);
    }
}

/* What a table of changes shows. */
static void trace_text(const struct config_change *change, void *arg)
{
    struct config_changes changes;

    config_changes_init(&changes);
    config_changes_add(&changes, change);
    config_change_row_print(&changes.rows[0], arg);
    buf_append_byte(arg, '\n');
    config_changes_free(&changes);
}

static void test_diff_texts(void **state)
{
    static const struct {
        const char *old;
        const char *new;
        const char *text;
    } rows[] = {
        {P "pool_mode=session\n", P "pool_mode=statement\n",
         "setting pool_mode: session -> statement (applied)\n"},
        {P "server_tls_sslmode=disable\n", P,
         "setting server_tls_sslmode: disable -> prefer (as connections turn over)\n"},
        {P "application_name_add_host=1\nadmin_users=a\nstats_users=b\n",
         P "application_name_add_host=0\nadmin_users=b\nstats_users=a\n",
         "setting admin_users: a -> b (as connections turn over)\n"
         "setting application_name_add_host: 1 -> 0 (as connections turn over)\n"
         "setting stats_users: b -> a (as connections turn over)\n"},
        {P "peer_id=1\nsession_link=query\n", P "peer_id=2\nsession_link=login\n",
         "setting peer_id: 1 -> 2 (as connections turn over)\n"
         "setting session_link: query -> login (as connections turn over)\n"},
        {"[databases]\na=host=x pool_size=3\n", "[databases]\na=host=y\n",
         "database a: host=x pool_size=3 -> host=y pool_size=default (as connections turn over)\n"},
        {"[databases]\na=client_encoding=UTF8\nb=datestyle=ISO\nc=timezone=UTC\nd=application_name=x\n",
         "[databases]\na=\nb=\nc=timezone=GMT\nd=application_name=y\n",
         "database a: client_encoding=UTF8 -> client_encoding=default (as connections turn over)\n"
         "database b: datestyle=ISO -> datestyle=default (as connections turn over)\n"
         "database c: timezone=UTC -> timezone=GMT (as connections turn over)\n"
         "database d: application_name=x -> application_name=y (as connections turn over)\n"},
        {"[databases]\na=pool_mode=session\n", "[databases]\na=query_wait_timeout=1.5\n",
         "database a: query_wait_timeout=default pool_mode=session -> query_wait_timeout=1.5 "
         "pool_mode=default (applied)\n"},
        {"[databases]\na=user=u password=p\n", "[databases]\na=user=u password=q\n",
         "database a: password=*** -> password=*** (as connections turn over)\n"},
        {"[databases]\n", "[databases]\na=host=x port=1 user=u password=p connect_query='select ''x'''\n",
         "database a added: dbname=a host=x port=1 user=u password=*** connect_query='select ''x''' "
         "(applied)\n"},
        {"[databases]\na=reserve_pool=-1\n", "[databases]\n", "database a removed (applied)\n"},
        {"[users]\na=pool_size=1\n", "[users]\na=\nb=pool_mode=session\n",
         "user a: pool_size=1 -> pool_size=default (applied)\n"
         "user b added: pool_mode=session (applied)\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct config *old = load(rows[i].old), *new = load(rows[i].new);
        struct buf text;
        buf_init(&text, 0);
        config_diff(old, new, trace_text, &text);
        assert_string_equal(buf_cstr(&text), rows[i].text);
        buf_free(&text);
        config_unref(old);
        config_unref(new);
    }
}

/* The userlist alone: all else stays as it is, SET included, and databases are shared. */
static void test_userlist_alone(void **state)
{
    (void)state;
    static const char text[] = "[databases]\nd = host=x\n[users]\na = pool_size=3\n"
                               "[pgsluice]\nauth_file = tcc-users.txt\n";
    struct config_problems problems;
    struct buf trace;
    config_problems_init(&problems);
    buf_init(&trace, 0);
    fixture_write("tcc-users.txt", "\"a\" \"1\"\n\"b\" \"1\"\n");
    struct config *first = load(text);
    struct config *set = config_with_setting(first, "default_pool_size", "7", &problems);
    config_unref(first);
    struct config_file_id before = config_userlist_id(set), now = config_userlist_now(set);
    assert_memory_equal(&before, &now, sizeof before);

    fixture_write("tcc-users.txt", "\"a\" \"2\"\n\"c\" \"1\"\n\"d\" \"1\"\n");
    now = config_userlist_now(set);
    assert_memory_not_equal(&before, &now, sizeof before);
    struct config *new = config_with_userlist(set, &problems);
    assert_non_null(new);
    config_diff(set, new, trace_change, &trace);
    assert_string_equal(buf_cstr(&trace), "~user a;-user b;+user c;+user d;");
    assert_ptr_equal(config_find_database(new, "d"), config_find_database(set, "d"));
    config_unref(set);
    assert_string_equal(fixture_value(new, "default_pool_size"), "7");
    assert_int_equal(config_find_user(new, "a")->pool_size, 3);

    fixture_write("tcc-users.txt", "\"a\" \"3\"\n\"c\" \"1");
    assert_null(config_with_userlist(new, &problems));
    char *said = fixture_problems_text(&problems);
    assert_non_null(strstr(said, "tcc-users.txt:2: error: missing closing quote"));
    free(said);
    unlink("tcc-users.txt");
    assert_null(config_with_userlist(new, &problems));
    now = config_userlist_now(new);
    assert_int_equal(now.inode, 0);

    buf_free(&trace);
    config_problems_free(&problems);
    config_unref(new);
}

static void test_diff_of_secrets(void **state)
{
    (void)state;
    static const char text[] = "[pgsluice]\nauth_file = tcc-users.txt\n";
    fixture_write("tcc-users.txt", "\"a\" \"1\"\n\"b\" \"1\"\n");
    struct config *old = load(text);
    fixture_write("tcc-users.txt", "\"b\" \"2\"\n\"c\" \"1\"\n");
    struct config *new = load(text);
    struct buf trace;
    buf_init(&trace, 0);
    config_diff(old, new, trace_change, &trace);
    assert_string_equal(buf_cstr(&trace), "-user a;~user b;+user c;");
    buf_free(&trace);
    config_unref(old);
    config_unref(new);
    unlink("tcc-users.txt");
}

static void test_values_in_effect(void **state)
{
    (void)state;
    struct config *c = load(P "default_pool_size = 10\nmin_pool_size = 2\nmax_db_connections = 30\n"
                              "max_user_connections = 40\nquery_wait_timeout = 50\nserver_lifetime = 60\n"
                              "[databases]\nplain =\n"
                              "own = pool_size=11 min_pool_size=3 max_db_connections=0 query_wait_timeout=0 "
                              "server_lifetime=61 pool_mode=statement\n"
                              "[users]\nplain =\n"
                              "own = pool_size=12 max_user_connections=0 query_wait_timeout=52 "
                              "pool_mode=transaction\n");
    const struct database_config *plain = config_find_database(c, "plain"),
                                 *own = config_find_database(c, "own");
    const struct user_config *someone = config_find_user(c, "plain"), *user = config_find_user(c, "own");

    assert_int_equal(config_pool_size(c, plain, NULL), 10);
    assert_int_equal(config_pool_size(c, own, NULL), 11);
    assert_int_equal(config_pool_size(c, own, someone), 11);
    assert_int_equal(config_pool_size(c, own, user), 12);
    assert_int_equal(config_pool_size(c, plain, user), 12);
    assert_int_equal(config_min_pool_size(c, plain), 2);
    assert_int_equal(config_min_pool_size(c, own), 3);
    assert_int_equal(config_reserve_pool_size(c, plain, NULL), 0);
    assert_int_equal(config_pool_mode(c, plain, NULL), POOL_MODE_SESSION);
    assert_int_equal(config_pool_mode(c, own, someone), POOL_MODE_STATEMENT);
    assert_int_equal(config_pool_mode(c, own, user), POOL_MODE_TRANSACTION);
    assert_int_equal(config_max_db_connections(c, plain), 30);
    assert_int_equal(config_max_db_connections(c, own), 0);
    assert_int_equal(config_max_user_connections(c, NULL), 40);
    assert_int_equal(config_max_user_connections(c, someone), 40);
    assert_int_equal(config_max_user_connections(c, user), 0);
    assert_int_equal(config_server_lifetime_us(c, plain), 60000000);
    assert_int_equal(config_server_lifetime_us(c, own), 61000000);
    config_unref(c);
}

static int64_t wait_us(const struct config *c, const struct database_config *db,
                       const struct user_config *user)
{
    struct config_timeouts t;
    config_timeouts(c, db, user, &t);
    return t.query_wait_us;
}

static void test_timeouts(void **state)
{
    (void)state;
    struct config_timeouts t;
    struct config *c = load(P "query_wait_timeout = 50\nquery_timeout = 60\ntransaction_timeout = 70\n"
                              "[databases]\nplain =\nown = query_wait_timeout=0\n"
                              "[users]\nplain = query_timeout=0 query_wait_timeout=0\n"
                              "own = query_wait_timeout=52 query_timeout=1.5 transaction_timeout=80 "
                              "idle_transaction_timeout=90ms client_idle_timeout=100\n");
    const struct database_config *plain = config_find_database(c, "plain"),
                                 *own = config_find_database(c, "own");
    const struct user_config *someone = config_find_user(c, "plain"), *user = config_find_user(c, "own");

    /* 0 is a value for the wait ... */
    assert_int_equal(wait_us(c, plain, NULL), 50000000);
    assert_int_equal(wait_us(c, own, NULL), 0);
    assert_int_equal(wait_us(c, plain, someone), 0);
    assert_int_equal(wait_us(c, own, user), 52000000);
    /* ... and leaves the others to the global setting, as in PgBouncer */
    config_timeouts(c, plain, someone, &t);
    assert_int_equal(t.query_us, 60000000);
    assert_int_equal(t.transaction_us, 70000000);
    assert_int_equal(t.idle_transaction_us, 0);
    assert_int_equal(t.client_idle_us, 0);
    config_timeouts(c, plain, user, &t);
    assert_int_equal(t.query_us, 1500000);
    assert_int_equal(t.transaction_us, 80000000);
    assert_int_equal(t.idle_transaction_us, 90000);
    assert_int_equal(t.client_idle_us, 100000000);
    config_shortest_timeouts(c, &t);
    assert_int_equal(t.query_wait_us, 50000000);
    assert_int_equal(t.query_us, 1500000);
    assert_int_equal(t.transaction_us, 70000000);
    assert_int_equal(t.idle_transaction_us, 90000);
    assert_int_equal(t.client_idle_us, 100000000);
    config_unref(c);
}

static void test_printing(void **state)
{
    (void)state;
    struct config *c = load(P "user = me\n");
    assert_string_equal(fixture_value(c, "user"), "me");
    assert_string_equal(fixture_value(c, "auth_file"), "NULL");
    assert_string_equal(fixture_value(c, "verbose"), "0");
    assert_string_equal(fixture_value(c, "listen_addr"), "");
    assert_string_equal(fixture_value(c, "unix_socket_mode"), "511");
    assert_string_equal(fixture_value(c, "environment"), "");
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_set_makes_lists_anew),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_diff_texts),
        cmocka_unit_test(test_userlist_alone),
        cmocka_unit_test(test_diff_of_secrets),
        cmocka_unit_test(test_values_in_effect),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_printing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
