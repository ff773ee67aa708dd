/*
 * test_config_load.c - ini files and their traps, precedence, refusals.
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "auth/credential.h"
#include "config/login_rules.h"
#include "config_fixture.h"

#define P "[pgsluice]\n"
#define D "[databases]\n"

/* ---- what is refused, and in which words ---- */

static void test_refusals(void **state)
{
    static const struct {
        const char *text;
        const char *says; /* a part of the problems */
    } rows[] = {
        {P "pool_mod = session\n", "t.ini:2: error: unknown setting pool_mod: did you mean pool_mode?"},
        {P "zzzzqqqq = 1\n", "t.ini:2: error: unknown setting zzzzqqqq\n"},
        {"[pgbuncer]\n", "t.ini:1: error: unknown section [pgbuncer]: did you mean [pgbouncer]?"},
        {"[environment.]\n", "t.ini:1: error: unknown section [environment.]"},
        {"listen_port = 1\n" P, "t.ini:1: error: listen_port stands in front of the first section"},
        {P "\nlogfile\n", "t.ini:3: error: expected NAME = VALUE"},
        {P "= 3\n", "t.ini:2: error: expected NAME = VALUE"},
        {P "listen_port: 3\n", "t.ini:2: error: expected NAME = VALUE"},
        {"[pgsluice\n", "t.ini:1: error: this is no section"},
        {"[pgsluice] x\n", "t.ini:1: error: this is no section"},
        {"[]\n", "t.ini:1: error: this is no section"},
        {"[aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeee]\n", "t.ini:1: error: this is no section"},
        {"[a:b]\n", "t.ini:1: error: the name of a section must not contain \":\""},
        {P "logfile = a\001b\n", "t.ini:2: error: this line contains a control character"},
        {"%inclde x\n", "t.ini:1: error: unknown directive \"%inclde\": did you mean %include?"},
        {"%include\n", "t.ini:1: error: %include needs the name of a file"},
        {"\n%include /nonexistent/x.ini\n",
         "t.ini:2: error: cannot read \"/nonexistent/x.ini\": No such file"},
        {P "listen_port = 5 ; five\n", "t.ini:2: error: listen_port: \"5 ; five\" is not a number"},
        {P "verbose =\n", "t.ini:2: error: verbose: \"\" is not a number"},
        {P "server_lifetime = 3 weeks\n", "error: server_lifetime: \"3 weeks\" is not a time"},
        {P "pool_mode = x\n", "error: pool_mode: \"x\" is none of session, transaction, statement"},
        {P "environment = prod\n",
         "t.ini:2: error: unknown environment \"prod\": known are development, test, "
         "staging, production, sidecar, or write a section [environment.prod]"},
        {"[environment.x]\nenvironment = test\n", "t.ini:2: error: environment cannot be set in the section"},
        {"[environment.x]\npool_size = 3\n", "t.ini:2: error: unknown setting pool_size"},
        {"[environment.x]\nlisten_port = y\n", "t.ini:2: error: listen_port: \"y\" is not a number"},
        /* databases */
        {D "a = hots=b\n", "t.ini:2: error: unknown key hots: did you mean host?"},
        {D "a = host\n", "t.ini:2: error: syntax error in connection string at host: \"=\" is missing"},
        {D "a = port=0\n", "t.ini:2: error: port: 0 is not between 1 and 65535"},
        {D "a = port=x\n", "t.ini:2: error: port: \"x\" is not a number"},
        {D "a = pool_size=-2\n", "error: pool_size: -2 is less than -1"},
        {D "a = pool_mode=x\n", "error: pool_mode: \"x\" is none of"},
        {D "a = load_balance_hosts=random\n", "\"random\" is none of disable, round-robin"},
        {D "a = target_session_attrs=master\n",
         "\"master\" is none of any, read-write, read-only, primary, standby, prefer-standby"},
        {D "a = server_lifetime=x\n", "error: server_lifetime: \"x\" is not a time"},
        {D "pgbouncer = host=x\n", "database name \"pgbouncer\" is reserved"},
        {D "pgsluice = host=x\n", "database name \"pgsluice\" is reserved"},
        {D "\"a = host=x\n", "t.ini:2: error: expected NAME = VALUE"},
        {D "a\"b = host=x\n", "t.ini:2: error: the name of the database is not properly quoted"},
        /* users */
        {"[users]\nu = host=x\n", "t.ini:2: error: unknown key host"},
        {"[users]\nu = pool_siz=3\n", "unknown key pool_siz: did you mean pool_size?"},
        {"[users]\nu = max_user_connections=x\n", "error: max_user_connections: \"x\" is not a number"},
        {"[users]\n\"u\"x = pool_size=3\n", "the name of the user is not properly quoted"},
        /* peers */
        {"[peers]\n0 = host=x\n", "t.ini:2: error: id of a peer: 0 is not between 1 and 65535"},
        {"[peers]\n65536 = host=x\n", "id of a peer: 65536 is not between 1 and 65535"},
        {"[peers]\na = host=x\n", "id of a peer: \"a\" is not a number"},
        {"[peers]\n1 = port=1\n", "t.ini:2: error: host was not provided for peer 1"},
        {"[peers]\n1 = host=''\n", "host was not provided for peer 1"},
        {"[peers]\n1 = host=x port=0\n", "port: 0 is not between 1 and 65535"},
        {"[peers]\n1 = host=x dbname=y\n", "unknown key dbname"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loaded l = fixture_load(rows[i].text);
        if (l.config != NULL || strstr(l.said, rows[i].says) == NULL)
            fail_msg("%s\nsaid: %s", rows[i].text, l.said);
        fixture_done(&l);
    }
}

/* What a library is needed for that is not built in: refused, never passed over. */
static void test_settings_that_need_a_library(void **state)
{
    static const struct {
        const char *text;
        bool is_built_in;
        const char *says;
    } rows[] = {
        {"auth_ldap_options = ldapserver=x ldapprefix=y", HAS_LDAP,
         "t.ini:2: error: setting auth_ldap_options needs libldap, which is not built in\n"},
        {"dns_zone_check_period = 1", HAS_CARES,
         "t.ini:2: error: setting dns_zone_check_period needs c-ares, which is not built in\n"},
        {"auth_type = pam", HAS_PAM,
         "t.ini:2: error: setting auth_type = pam needs libpam, which is not built in\n"},
        {"auth_ldap_options = ldapserver=x ldapprefix=y\nauth_type = LDAP", HAS_LDAP,
         "t.ini:3: error: setting auth_type = ldap needs libldap, which is not built in\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[512];
        snprintf(text, sizeof text, P "%s\n", rows[i].text);
        struct loaded l = fixture_load(text);
        if ((l.config != NULL) != rows[i].is_built_in ||
            (!rows[i].is_built_in && strstr(l.said, rows[i].says) == NULL))
            fail_msg("%s\nsaid: %s", text, l.said);
        fixture_done(&l);

        /* The last of a repeated setting counts. */
        snprintf(text, sizeof text, P "%s\nauth_type = md5\nauth_ldap_options =\ndns_zone_check_period = 0\n",
                 rows[i].text);
        l = fixture_load(text);
        if (l.config == NULL)
            fail_msg("%s\nsaid: %s", text, l.said);
        fixture_done(&l);
    }
}

/* How a user is looked up who is not in auth_file: "database user query", or "" when not at all. */
static void test_lookups(void **state)
{
    static const struct {
        const char *settings; /* of [pgsluice] */
        const char *line;     /* of database d */
        const char *asked;    /* NULL: the console */
        const char *how;
    } rows[] = {
        {"", "", "d", ""},
        {"auth_user = u\nauth_query = q\n", "", "d", "d u q"},
        {"auth_user = u\nauth_query = q\n", "", "e", "e u q"},
        {"auth_user = u\nauth_query = q\n", "", "nodb", ""},
        {"auth_user = u\nauth_query = q\n", "", NULL, ""},
        {"auth_user = u\nauth_query = q\nauth_dbname = e\n", "", NULL, "e u q"},
        {"auth_user = u\nauth_query = q\nauth_dbname = e\n", "", "nodb", "e u q"},
        {"auth_user = u\nauth_query = q\nauth_dbname = e\n", "", "d", "e u q"},
        {"auth_user = u\nauth_query = q\nauth_dbname = e\n", "auth_dbname=d", "d", "d u q"},
        {"auth_query = q\n", "auth_user=o", "d", "d o q"},
        {"auth_query = q\n", "auth_user=o", "e", ""},
        {"auth_user = u\nauth_query =\n", "", "d", ""},
        {"auth_user = u\nauth_query =\n", "auth_query='q 2'", "d", "d u q 2"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[256], how[128] = "";
        struct config_lookup lookup;
        snprintf(text, sizeof text, P "%s" D "d = %s\ne =\n", rows[i].settings, rows[i].line);
        struct loaded l = fixture_load(text);
        assert_non_null(l.config);
        if (config_lookup(l.config, rows[i].asked, &lookup))
            snprintf(how, sizeof how, "%s %s %s", lookup.database, lookup.user, lookup.query);
        if (strcmp(how, rows[i].how) != 0)
            fail_msg("row %zu: %s", i, how);
        fixture_done(&l);
    }
    struct loaded l = fixture_load(P "auth_user = u\nauth_dbname = nodb\n" D "d =\nf = auth_dbname=nof\n");
    assert_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:3: error: auth_dbname = nodb: there is no such database"));
    assert_non_null(strstr(l.said, "t.ini:6: error: auth_dbname = nof: there is no such database"));
    fixture_done(&l);
}

static void test_all_problems_are_reported(void **state)
{
    (void)state;
    struct loaded l =
        fixture_load(P "pool_mod = x\nlisten_port = x\n[bad]\na=b\n" D "a = hots=x prot=1\nb\n");
    assert_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:2: error: unknown setting pool_mod"));
    assert_non_null(strstr(l.said, "t.ini:3: error: listen_port"));
    assert_non_null(strstr(l.said, "t.ini:4: error: unknown section [bad]"));
    assert_null(strstr(l.said, "t.ini:5:"));
    assert_non_null(strstr(l.said, "t.ini:7: error: unknown key hots"));
    assert_non_null(strstr(l.said, "t.ini:7: error: unknown key prot: did you mean port?"));
    assert_non_null(strstr(l.said, "t.ini:8: error: expected NAME = VALUE"));
    fixture_done(&l);
}

/* Nobody knows whose the lines below a broken header are: one problem, not one for each of them. */
static void test_lines_below_a_broken_header(void **state)
{
    (void)state;
    struct loaded l = fixture_load(P "[databases\napp = host=x\n[users]\nbob = pool_size=x\n");
    assert_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:2: error: this is no section"));
    assert_null(strstr(l.said, "t.ini:3:"));
    assert_non_null(strstr(l.said, "t.ini:5: error:"));
    fixture_done(&l);
}

static void test_warnings_and_notes(void **state)
{
    (void)state;
    struct loaded l =
        fixture_load(P "pkt_buf = 8192\nsbuf_loopcnt = 3\nsuspend_timeout = 1\nservice_name = x\n"
                       "unix_socket_dir =\n" D "a = password=secret\n");
    assert_non_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:2: note: setting pkt_buf has no meaning here"));
    assert_non_null(strstr(l.said, "t.ini:3: note: setting sbuf_loopcnt"));
    assert_non_null(strstr(l.said, "t.ini:4: note: setting suspend_timeout"));
    assert_non_null(strstr(l.said, "t.ini:5: note: setting service_name"));
    assert_non_null(strstr(l.said, "t.ini: warning: auth_type = md5 needs auth_file"));
    assert_non_null(strstr(l.said, "t.ini: warning: there is nowhere to listen"));
    assert_non_null(strstr(l.said, "t.ini:8: warning: password has no effect without user"));
    assert_null(strstr(l.said, "secret"));
    fixture_done(&l);
}

/* ---- traps of ini files ---- */

static void test_traps_in_databases(void **state)
{
    static const struct {
        const char *line;
        const char *name;
        const char *key; /* password, dbname or connect_query */
        const char *value;
    } rows[] = {
        {"a = password='ab ;cd' user=u", "a", "password", "ab ;cd"},
        {"a = password=ab;cd user=u", "a", "password", "ab;cd"},
        {"a = password='a # b' user=u", "a", "password", "a # b"},
        {"   a = dbname=x", "a", "dbname", "x"},
        {"\ta=dbname=x", "a", "dbname", "x"},
        {"a = dbname=x  \t\r", "a", "dbname", "x"},
        {"my:db = dbname=x:y", "my:db", "dbname", "x:y"},
        {"my-db.1 = dbname=x", "my-db.1", "dbname", "x"},
        {"my;db = dbname=x", "my;db", "dbname", "x"},
        {"\"my = db\" = dbname=x", "my = db", "dbname", "x"},
        {"\"a;b:c=d\" = dbname='e;f:g=h'", "a;b:c=d", "dbname", "e;f:g=h"},
        {"\"q\"\"q\" = dbname=x", "q\"q", "dbname", "x"},
        {"a =", "a", "dbname", "a"},
        {"a = connect_query='select ''x'' ; select 1'", "a", "connect_query", "select 'x' ; select 1"},
        {"a = dbname=1\n  b = dbname=2", "a", "dbname", "1"},
        {"a = dbname=1\n  b = dbname=2", "b", "dbname", "2"},
        {"a = dbname=1 pool_size=3\na = dbname=2", "a", "dbname", "2"},
        {"a = dbname=1 dbname=2", "a", "dbname", "2"},
        {"; c = host=x\n# d = host=x\n  ; indented\na = dbname=x", "a", "dbname", "x"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[512];
        snprintf(text, sizeof text, D "%s\n", rows[i].line);
        struct loaded l = fixture_load(text);
        if (l.config == NULL)
            fail_msg("%s\nsaid: %s", text, l.said);
        const struct database_config *db = config_find_database_exact(l.config, rows[i].name);
        if (db == NULL)
            fail_msg("%s: not found", text);
        const char *value = strcmp(rows[i].key, "password") == 0 ? db->password
                            : strcmp(rows[i].key, "dbname") == 0 ? db->dbname
                                                                 : db->connect_query;
        assert_string_equal(value, rows[i].value);
        fixture_done(&l);
    }
}

static void test_traps_in_settings(void **state)
{
    (void)state;
    struct loaded l =
        fixture_load("\xef\xbb\xbf[pgbouncer]\r\n  listen_port = 1\r\n\tlisten_port=2\r\n"
                     "server_reset_query = select 1 ; select ':='\r\n[pgsluice]\nLISTEN_BACKLOG = 5");
    assert_non_null(l.config);
    assert_string_equal(fixture_value(l.config, "listen_port"), "2");
    assert_string_equal(fixture_source(l.config, "listen_port"), "t.ini:3");
    assert_string_equal(fixture_value(l.config, "server_reset_query"), "select 1 ; select ':='");
    assert_string_equal(fixture_value(l.config, "listen_backlog"), "5");
    fixture_done(&l);
}

static char *long_line(size_t len)
{
    static const char head[] = P "server_reset_query = ";
    char *text = malloc(sizeof head + len + 1);
    memcpy(text, head, sizeof head - 1);
    memset(text + sizeof head - 1, 'x', len);
    strcpy(text + sizeof head - 1 + len, "\n");
    return text;
}

static void test_long_lines(void **state)
{
    (void)state;
    char *text = long_line(60000);
    struct loaded l = fixture_load(text);
    assert_non_null(l.config);
    assert_int_equal(strlen(config_settings(l.config)->server_reset_query), 60000);
    fixture_done(&l);
    free(text);

    /* Lengths around those of inih's buffer, whatever it is. */
    for (size_t len = 150; len < 260; len++) {
        text = long_line(len);
        l = fixture_load(text);
        assert_non_null(l.config);
        assert_int_equal(strlen(config_settings(l.config)->server_reset_query), len);
        fixture_done(&l);
        free(text);
    }

    text = long_line(70000);
    l = fixture_load(text);
    assert_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:2: error: this line is longer than"));
    fixture_done(&l);
    free(text);

    struct config_args args = {.ini_path = "t.ini", .ini_text = P "logfile=a\0b\n", .ini_text_len = 23};
    l = fixture_load_args(&args);
    assert_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:2: error: this line contains a control character (code 0)"));
    fixture_done(&l);
}

/* A comment is no line to split, however long. */
static void test_long_comment(void **state)
{
    (void)state;
    char *text = malloc(200000);
    memset(text, '-', 200000);
    text[0] = ';';
    strcpy(text + 199000, "\n" P "listen_port = 7\n");
    struct loaded l = fixture_load(text);
    assert_non_null(l.config);
    assert_string_equal(fixture_value(l.config, "listen_port"), "7");
    fixture_done(&l);
    free(text);
}

static void test_includes(void **state)
{
    (void)state;
    /* Relative to the working directory; the section that an include ends in goes on behind it. */
    fixture_write("tci-a.ini", "inside = host=x\n%include tci-b.ini\nu = pool_size=7\n");
    fixture_write("tci-b.ini", P "listen_port = 9\nlisten_prot = 8\n[users]");
    fixture_write("tci-loop.ini", "%include tci-loop.ini\n");
    struct loaded l = fixture_load(D "%include tci-a.ini\nv = pool_size=8\n");
    assert_null(l.config);
    assert_string_equal(l.said,
                        "tci-b.ini:3: error: unknown setting listen_prot: did you mean listen_port?\n"
                        "t.ini: warning: auth_type = md5 needs auth_file: nobody can log in without it\n");
    fixture_done(&l);

    fixture_write("tci-b.ini", P "listen_port = 9\n[users]");
    l = fixture_load(D "%include\ttci-a.ini  \nv = pool_size=8\n");
    assert_non_null(l.config);
    assert_string_equal(fixture_source(l.config, "listen_port"), "tci-b.ini:2");
    assert_non_null(config_find_database_exact(l.config, "inside"));
    assert_int_equal(config_find_user(l.config, "u")->pool_size, 7);
    assert_int_equal(config_find_user(l.config, "v")->pool_size, 8);
    fixture_done(&l);

    l = fixture_load("%include tci-loop.ini\n");
    assert_null(l.config);
    assert_non_null(strstr(l.said, "tci-loop.ini:1: error: too many files include each other"));
    fixture_done(&l);

    struct config_args args = {
        .ini_path = "t.ini", .ini_text = "%include tci-a.ini", .ini_text_len = 18, .no_files = true};
    l = fixture_load_args(&args);
    assert_null(l.config);
    assert_non_null(strstr(l.said, "t.ini:1: error: %include is not allowed here"));
    fixture_done(&l);
    unlink("tci-a.ini");
    unlink("tci-b.ini");
    unlink("tci-loop.ini");
}

static void test_missing_file(void **state)
{
    (void)state;
    struct config_args args = {.ini_path = "/nonexistent/x.ini"};
    struct loaded l = fixture_load_args(&args);
    assert_null(l.config);
    assert_non_null(strstr(l.said, "/nonexistent/x.ini: error: cannot read it: No such file"));
    fixture_done(&l);
    args.ini_path = NULL;
    l = fixture_load_args(&args);
    assert_non_null(l.config);
    assert_string_equal(fixture_value(l.config, "conffile"), "NULL");
    fixture_done(&l);
}

/* ---- databases and users ---- */

static void test_database_keys(void **state)
{
    (void)state;
    struct loaded l =
        fixture_load(D "a = host=h1,h2 port=5433 dbname=d user=u password=p client_encoding=UTF8 "
                       "datestyle=ISO timezone=UTC application_name=app pool_size=1 min_pool_size=2 "
                       "query_wait_timeout=200ms max_db_connections=3 server_lifetime=5min "
                       "load_balance_hosts=disable target_session_attrs=read-write "
                       "POOL_MODE=statement connect_query='select 1' "
                       "reserve_pool=4 max_db_client_connections=5\n"
                       "b = reserve_pool_size=6\n* = host=fallback\n" P
                       "reserve_pool_size=7\nmax_db_client_connections=8\nmax_user_client_connections=9\n"
                       "[users]\nru = reserve_pool_size=10 max_user_client_connections=0\n");
    assert_non_null(l.config);
    const struct database_config *a = config_find_database(l.config, "a");
    assert_string_equal(a->host, "h1,h2");
    assert_int_equal(a->port, 5433);
    assert_string_equal(a->dbname, "d");
    assert_string_equal(a->user, "u");
    assert_string_equal(a->password, "p");
    assert_string_equal(a->client_encoding, "UTF8");
    assert_string_equal(a->datestyle, "ISO");
    assert_string_equal(a->timezone, "UTC");
    assert_string_equal(a->application_name, "app");
    assert_string_equal(a->connect_query, "select 1");
    assert_int_equal(a->pool_size, 1);
    assert_int_equal(a->min_pool_size, 2);
    assert_int_equal(a->max_db_connections, 3);
    assert_int_equal(a->query_wait_timeout_us, 200000);
    assert_int_equal(a->server_lifetime_us, 300000000);
    assert_int_equal(a->load_balance_hosts, LOAD_BALANCE_DISABLE);
    assert_int_equal(a->target_session_attrs, TARGET_READ_WRITE);
    assert_int_equal(a->pool_mode, POOL_MODE_STATEMENT);
    assert_string_equal(a->file, "t.ini");
    assert_int_equal(a->line, 2);
    assert_false(a->is_fallback);

    const struct database_config *b = config_find_database(l.config, "b");
    assert_string_equal(b->host, "");
    assert_int_equal(b->port, 5432);
    assert_string_equal(b->dbname, "b");
    assert_null(b->user);
    assert_null(b->password);
    assert_null(b->connect_query);
    assert_int_equal(b->pool_size, -1);
    assert_int_equal(b->query_wait_timeout_us, -1);
    assert_int_equal(b->pool_mode, POOL_MODE_INHERIT);
    assert_int_equal(b->load_balance_hosts, LOAD_BALANCE_ROUND_ROBIN);
    assert_int_equal(b->target_session_attrs, TARGET_ANY);

    const struct database_config *other = config_find_database(l.config, "other");
    assert_true(other->is_fallback);

    /* the user's wins over the database's, as for pool_size; 0 means none, not unset */
    const struct user_config *user = config_find_user(l.config, "ru");
    assert_int_equal(config_reserve_pool_size(l.config, a, NULL), 4);
    assert_int_equal(config_reserve_pool_size(l.config, b, NULL), 6);
    assert_int_equal(config_reserve_pool_size(l.config, other, NULL), 7);
    assert_int_equal(config_reserve_pool_size(l.config, a, user), 10);
    assert_int_equal(config_max_db_client_connections(l.config, a), 5);
    assert_int_equal(config_max_db_client_connections(l.config, b), 8);
    assert_int_equal(config_max_user_client_connections(l.config, NULL), 9);
    assert_int_equal(config_max_user_client_connections(l.config, user), 0);
    assert_string_equal(other->host, "fallback");
    assert_null(other->dbname);
    assert_null(config_find_database_exact(l.config, "other"));
    assert_int_equal(config_database_count(l.config), 3);
    assert_string_equal(config_database_at(l.config, 0)->name, "*");
    assert_string_equal(config_database_at(l.config, 2)->name, "b");
    fixture_done(&l);

    l = fixture_load(D "a = host=x\n");
    assert_null(config_find_database(l.config, "other"));
    fixture_done(&l);
}

static void test_users_and_userlist(void **state)
{
    (void)state;
    fixture_write("tci-users.txt", "\"alice\" \"plain\"\n\"bob\" \"md5c79e8b4b8b2e5d0e0f9a3c0c6d2f1a55\"\n"
                                   "broken\n\"we \"\"x\"\"\" \"p\"\"q\"\n");
    struct loaded l =
        fixture_load(P "auth_file = tci-users.txt\n[users]\nalice = pool_size=3 pool_mode=statement\n"
                       "carol = max_user_connections=2\n\"d d\" = query_wait_timeout=1\n");
    assert_non_null(l.config);
    const struct user_config *alice = config_find_user(l.config, "alice");
    assert_true(alice->has_section_entry);
    assert_int_equal(alice->pool_size, 3);
    assert_int_equal(alice->pool_mode, POOL_MODE_STATEMENT);
    assert_int_equal(alice->credential->kind, CREDENTIAL_PLAIN);
    assert_string_equal(alice->credential->secret, "plain");
    const struct user_config *bob = config_find_user(l.config, "bob");
    assert_false(bob->has_section_entry);
    assert_int_equal(bob->credential->kind, CREDENTIAL_MD5);
    assert_int_equal(bob->pool_size, -1);
    assert_null(config_find_user(l.config, "carol")->credential);
    assert_int_equal(config_find_user(l.config, "carol")->max_user_connections, 2);
    assert_int_equal(config_find_user(l.config, "d d")->query_wait_timeout_us, 1000000);
    assert_string_equal(config_find_user(l.config, "we \"x\"")->credential->secret, "p\"q");
    assert_null(config_find_user(l.config, "nobody"));
    assert_int_equal(config_user_count(l.config), 5);
    assert_non_null(strstr(l.said, "tci-users.txt:3: warning: "));
    fixture_done(&l);
    unlink("tci-users.txt");

    /* As in PgBouncer: said, and no reason to stop. */
    l = fixture_load(P "auth_file = /nonexistent/users.txt\n");
    assert_non_null(l.config);
    assert_non_null(strstr(l.said, "/nonexistent/users.txt: warning: cannot read auth_file: No such file"));
    fixture_done(&l);
}

static void test_lists(void **state)
{
    (void)state;
    struct loaded l = fixture_load(P "admin_users = a, b ,,c d\nstats_users = s\n"
                                     "ignore_startup_parameters = search_path, Options\n");
    assert_true(config_is_admin(l.config, "a"));
    assert_true(config_is_admin(l.config, "b"));
    assert_true(config_is_admin(l.config, "c d"));
    assert_false(config_is_admin(l.config, "A"));
    assert_false(config_is_admin(l.config, ""));
    assert_false(config_is_admin(l.config, "s"));
    assert_true(config_is_stats(l.config, "s"));
    assert_true(config_ignores_parameter(l.config, "SEARCH_PATH"));
    assert_true(config_ignores_parameter(l.config, "options"));
    assert_false(config_ignores_parameter(l.config, "extra_float_digits"));
    assert_false(config_ignores_parameter(l.config, "geqo"));
    fixture_done(&l);
}

/* ---- precedence ---- */

#define ENVIRONMENTS                                                                                         \
    P "environment = production\nmax_client_conn = 300\nserver_idle_timeout = 20\nquery_wait_timeout = 9\n"  \
      "[environment.production]\nserver_idle_timeout = 21\nquery_wait_timeout = 10\nlisten_port = 1\n"       \
      "[environment.own]\nmin_pool_size = 4\n"

static void test_precedence(void **state)
{
    static const char *const variables[] = {"PGSLUICE_QUERY_WAIT_TIMEOUT=11", "PGSLUICE_LISTEN_PORT=2",
                                            "PGSLUICE_LISTEN_BACKLOG=", "HOME=/x", NULL};
    static const struct config_override overrides[] = {{"listen_port", "3"}};
    static const struct {
        const char *name;
        const char *value;
        const char *source;
    } rows[] = {
        {"log_stats", "1", "default"},
        {"default_pool_size", "50", "environment production"},
        {"max_client_conn", "300", "t.ini:3"},
        {"server_idle_timeout", "21", "[environment.production] t.ini:7"},
        {"query_wait_timeout", "11", "variable PGSLUICE_QUERY_WAIT_TIMEOUT"},
        {"listen_port", "3", "command line"},
        {"listen_backlog", "128", "default"},
        {"environment", "production", "t.ini:2"},
        {"conffile", "t.ini", "command line"},
    };
    (void)state;
    struct config_args args = {
        .ini_path = "t.ini",
        .ini_text = ENVIRONMENTS,
        .ini_text_len = strlen(ENVIRONMENTS),
        .environ = (char *const *)(uintptr_t)variables,
        .overrides = overrides,
        .override_count = 1,
    };
    struct loaded l = fixture_load_args(&args);
    if (l.config == NULL)
        fail_msg("%s", l.said);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_string_equal(fixture_value(l.config, rows[i].name), rows[i].value);
        assert_string_equal(fixture_source(l.config, rows[i].name), rows[i].source);
    }
    fixture_done(&l);
}

static void test_environments(void **state)
{
    static const struct {
        const char *variable;
        const char *values; /* min_pool_size default_pool_size max_client_conn and the three times */
    } rows[] = {
        {"PGSLUICE_ENVIRONMENT=development", "5 10 300 10 9 20"},
        {"PGSLUICE_ENVIRONMENT=test", "2 8 300 10 9 20"},
        {"PGSLUICE_ENVIRONMENT=staging", "10 20 300 30 9 20"},
        {"PGSLUICE_ENVIRONMENT=production", "20 50 300 30 10 21"},
        {"PGSLUICE_ENVIRONMENT=sidecar", "0 5 300 10 9 20"},
        {"PGSLUICE_ENVIRONMENT=own", "4 20 300 15 9 20"},
        {"PGSLUICE_ENVIRONMENT=", "0 20 300 15 9 20"},
        {"ENVIRONMENT=staging", "20 50 300 30 10 21"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const variables[] = {rows[i].variable, NULL};
        struct config_args args = {
            .ini_path = "t.ini",
            .ini_text = ENVIRONMENTS,
            .ini_text_len = strlen(ENVIRONMENTS),
            .environ = (char *const *)(uintptr_t)variables,
        };
        struct loaded l = fixture_load_args(&args);
        assert_non_null(l.config);
        const struct settings *s = config_settings(l.config);
        char values[100];
        snprintf(values, sizeof values, "%d %d %d %lld %lld %lld", s->min_pool_size, s->default_pool_size,
                 s->max_client_conn, (long long)s->server_connect_timeout_us / 1000000,
                 (long long)s->query_wait_timeout_us / 1000000,
                 (long long)s->server_idle_timeout_us / 1000000);
        assert_string_equal(values, rows[i].values);
        fixture_done(&l);
    }
}

static void test_variables(void **state)
{
    static const struct {
        const char *variable;
        const char *says; /* "" = nothing */
        bool is_fine;
    } rows[] = {
        {"PGSLUICE_POOL_MODE=transaction", "", true},
        {"PGSLUICE_POOL_MOD=transaction",
         "warning: variable PGSLUICE_POOL_MOD names no setting: did you mean PGSLUICE_POOL_MODE?\n", true},
        {"PGSLUICE_ZZZZZQQQQQ=1", "warning: variable PGSLUICE_ZZZZZQQQQQ names no setting\n", true},
        {"PGSLUICE_LISTEN_PORT=tcp",
         "error: variable PGSLUICE_LISTEN_PORT: listen_port: \"tcp\" is not a number\n", false},
        {"PGSLUICE_AUTH_TYPE=pam",
         HAS_PAM ? ""
                 : "error: variable PGSLUICE_AUTH_TYPE: setting auth_type = pam needs libpam, which is not "
                   "built in\n",
         HAS_PAM},
        {"PGSLUICE_ENVIRONMENT=prod", "error: variable PGSLUICE_ENVIRONMENT: unknown environment \"prod\"",
         false},
        {"PGSLUICE_DSN=postgres://x", "", true},
        {"PGSLUICE_PORT=tcp://10.0.0.1:6432", "", true},
        {"PGSLUICE_PORT_6432_TCP_ADDR=10.0.0.1", "", true},
        {"PGSLUICE_SERVICE_HOST=10.0.0.1", "", true},
        {"PGSLUICE_SERVICE_PORT_PG=6432", "", true},
        {"AUTH_TYPE=hba", "", true},
        {"PGSLUICE_NOTHING", "", true},
    };
    static const char text[] = P "auth_type = any\n" D "a=\n";
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const variables[] = {rows[i].variable, NULL};
        struct config_args args = {
            .ini_path = "t.ini",
            .ini_text = text,
            .ini_text_len = strlen(text),
            .environ = (char *const *)(uintptr_t)variables,
        };
        struct loaded l = fixture_load_args(&args);
        if ((l.config != NULL) != rows[i].is_fine ||
            strncmp(l.said, rows[i].says, strlen(rows[i].says)) != 0 ||
            (*rows[i].says == '\0' && *l.said != '\0'))
            fail_msg("%s said: %s", rows[i].variable, l.said);
        fixture_done(&l);
    }
}

/* A file with every setting at its default, as packages ship it, must load without a word but the notes. */
static void test_every_setting_at_its_default(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 0);
    buf_append_str(&text, D "a = host=x\n[pgbouncer]\nauth_type = any\n");
    for (size_t i = 0; i < option_count(); i++)
        if (strcmp(option_at(i)->name, "auth_type") != 0 && option_at(i)->default_text[0] != '\0')
            buf_printf(&text, "%s = %s\n", option_at(i)->name, option_at(i)->default_text);
    struct loaded l = fixture_load(buf_cstr(&text));
    if (l.config == NULL || strstr(l.said, "warning") != NULL)
        fail_msg("%s", l.said);
    fixture_done(&l);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_lookups),
        cmocka_unit_test(test_settings_that_need_a_library),
        cmocka_unit_test(test_all_problems_are_reported),
        cmocka_unit_test(test_lines_below_a_broken_header),
        cmocka_unit_test(test_warnings_and_notes),
        cmocka_unit_test(test_traps_in_databases),
        cmocka_unit_test(test_traps_in_settings),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_long_comment),
        cmocka_unit_test(test_includes),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_database_keys),
        cmocka_unit_test(test_users_and_userlist),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_environments),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_every_setting_at_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
