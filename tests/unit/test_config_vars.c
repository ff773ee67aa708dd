/*
 * test_config_vars.c - settings by environment variables: families, twins, who wins, what is said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config_fixture.h"

/* ---- settings ---- */

static void test_settings(void **state)
{
    static const struct {
        const char *variables[MAX_VARIABLES];
        const char *name, *value, *source;
        const char *said;
    } rows[] = {
        {{URL}, "listen_addr", "*", "default without a file", ""},
        {{URL}, "listen_port", "6432", "default", ""},
        {{URL}, "http_listen", "127.0.0.1:9632", "default", ""},
        {{URL, "LISTEN_ADDR=127.0.0.1"}, "listen_addr", "127.0.0.1", "variable LISTEN_ADDR", ""},
        /* never weaker than SCRAM without need */
        {{URL, "AUTH_TYPE=md5"},
         "auth_type",
         "scram-sha-256",
         "variable AUTH_TYPE",
         "note: variable AUTH_TYPE: clients log in by scram-sha-256, as all passwords are known; "
         "PGSLUICE_AUTH_TYPE=md5 would make it md5\n"},
        {{URL, "PGBOUNCER_AUTH_TYPE=plain"},
         "auth_type",
         "scram-sha-256",
         "variable PGBOUNCER_AUTH_TYPE",
         "note: variable PGBOUNCER_AUTH_TYPE: clients log in by scram-sha-256, as all passwords are known; "
         "PGSLUICE_AUTH_TYPE=plain would make it plain\n"},
        {{URL, "AUTH_TYPE=scram-sha-256"}, "auth_type", "scram-sha-256", "variable AUTH_TYPE", ""},
        {{URL, "PGSLUICE_AUTH_TYPE=md5"}, "auth_type", "md5", "variable PGSLUICE_AUTH_TYPE", ""},
        {{URL, "PGSLUICE_AUTH_TYPE=trust"}, "auth_type", "trust", "variable PGSLUICE_AUTH_TYPE", ""},
        {{URL, "PGSLUICE_AUTH_TYPE=scram-sha-256", "AUTH_TYPE=trust"},
         "auth_type",
         "scram-sha-256",
         "variable PGSLUICE_AUTH_TYPE",
         "warning: variable PGSLUICE_AUTH_TYPE and variable AUTH_TYPE disagree about auth_type: variable "
         "PGSLUICE_AUTH_TYPE counts\n"},
        {{URL, "AUTH_TYPE=md5", "PGBOUNCER_USERLIST=\"joe\" \"md55f4dcc3b5aa765d61d8327deb882cf99\""},
         "auth_type",
         "md5",
         "variable AUTH_TYPE",
         ""},
        {{URL, "AUTH_TYPE=md5", "AUTH_FILE=tcv-users"}, "auth_type", "md5", "variable AUTH_TYPE", ""},
        {{URL, "AUTH_TYPE=md5", "AUTH_USER=lookup"}, "auth_type", "md5", "variable AUTH_TYPE", ""},
        {{URL, "POOL_MODE=transaction"}, "pool_mode", "transaction", "variable POOL_MODE", ""},
        {{URL, "PGSLUICE_POOL_MODE=statement", "POOL_MODE=statement"},
         "pool_mode",
         "statement",
         "variable PGSLUICE_POOL_MODE",
         ""},
        {{URL, "PGSLUICE_POOL_MODE=statement", "POOL_MODE=session"},
         "pool_mode",
         "statement",
         "variable PGSLUICE_POOL_MODE",
         "warning: variable PGSLUICE_POOL_MODE and variable POOL_MODE disagree about pool_mode: variable "
         "PGSLUICE_POOL_MODE counts\n"},
        {{URL, "POOL_MODE=session", "PGBOUNCER_POOL_MODE=transaction"},
         "pool_mode",
         "transaction",
         "variable PGBOUNCER_POOL_MODE",
         "warning: variable PGBOUNCER_POOL_MODE and variable POOL_MODE disagree about pool_mode: variable "
         "PGBOUNCER_POOL_MODE counts\n"},
        {{URL, "QUERY_WAIT_TIMEOUT=30", "PGBOUNCER_QUERY_WAIT_TIMEOUT=30s"},
         "query_wait_timeout",
         "30",
         "variable PGBOUNCER_QUERY_WAIT_TIMEOUT",
         ""},
        {{URL, "PGBOUNCER_PORT=6000"}, "listen_port", "6000", "variable PGBOUNCER_PORT", ""},
        {{URL, "PGBOUNCER_PORT=tcp://10.0.0.1:6432"}, "listen_port", "6432", "default", ""},
        {{URL, "PGBOUNCER_LISTEN_ADDRESS=127.0.0.1"},
         "listen_addr",
         "127.0.0.1",
         "variable PGBOUNCER_LISTEN_ADDRESS",
         ""},
        {{URL, "CONNECTION_POOLER_MODE=transaction"},
         "pool_mode",
         "transaction",
         "variable CONNECTION_POOLER_MODE",
         ""},
        {{URL, "DB_MAX_CONNECTIONS=33"}, "default_pool_size", "33", "variable DB_MAX_CONNECTIONS", ""},
        {{URL, "DB_CONNECTION_TIMEOUT=7"}, "query_wait_timeout", "7", "variable DB_CONNECTION_TIMEOUT", ""},
        {{URL, "DB_CONNECTION_TIMEOUT=7"},
         "server_connect_timeout",
         "7",
         "variable DB_CONNECTION_TIMEOUT",
         ""},
        {{URL, "METRICS_PORT=9100"}, "http_listen", "9100", "variable METRICS_PORT", ""},
        {{URL, "METRICS_PORT=9100", "ENABLE_METRICS=false"},
         "http_listen",
         "",
         "variable ENABLE_METRICS",
         ""},
        {{URL, "ENABLE_METRICS=true"}, "http_listen", "127.0.0.1:9632", "default", ""},
        {{URL, "PGSLUICE_ENVIRONMENT=sidecar"}, "default_pool_size", "5", "environment sidecar", ""},
        {{URL, "PGSLUICE_ENVIRONMENT=sidecar", "DEFAULT_POOL_SIZE=9"},
         "default_pool_size",
         "9",
         "variable DEFAULT_POOL_SIZE",
         ""},
        {{URL, "ENVIRONMENT=production"}, "default_pool_size", "20", "default", ""},
        {{URL "?ssl_min_protocol_version=TLSv1.3"},
         "server_tls_protocols",
         "tlsv1.3",
         "variable DATABASE_URL",
         ""},
        {{URL "?ssl_max_protocol_version=tlsv1.2"},
         "server_tls_protocols",
         "tlsv1.2",
         "variable DATABASE_URL",
         ""},
        {{URL "?ssl_min_protocol_version=TLSv1"},
         "server_tls_protocols",
         "tlsv1.0,tlsv1.1,tlsv1.2,tlsv1.3",
         "variable DATABASE_URL",
         ""},
        {{"DATABASE_URLS=postgres://u:p@h/d?ssl_min_protocol_version=TLSv1.2,postgres://u:p@h/e?"
          "ssl_max_protocol_version=TLSv1.3"},
         "server_tls_protocols",
         "tlsv1.2,tlsv1.3",
         "variable DATABASE_URLS",
         ""},
        {{URL "?client_encoding=auto"},
         "pool_mode",
         "session",
         "default",
         "note: variable DATABASE_URL: the parameter client_encoding is auto, which is for programs with a "
         "locale, and is ignored\n"},
        {{URL "?connect_timeout=9"}, "server_connect_timeout", "9", "variable DATABASE_URL", ""},
        {{URL "?schema=public"},
         "pool_mode",
         "session",
         "default",
         "warning: variable DATABASE_URL: the parameter schema is not known and is ignored\n"},
        {{URL "?gssencmode=disable"},
         "pool_mode",
         "session",
         "default",
         "note: variable DATABASE_URL: the parameter gssencmode has no meaning here and is ignored\n"},
        {{URL, "PGBOUNCER_NOVELTY=1"},
         "pool_mode",
         "session",
         "default",
         "note: variable PGBOUNCER_NOVELTY is not known and is ignored\n"},
        {{URL, "PGBOUNCER_INIT_SLEEP_TIME=1"},
         "pool_mode",
         "session",
         "default",
         "note: variable PGBOUNCER_INIT_SLEEP_TIME has no meaning here and is ignored\n"},
        {{URL, "PGBOUNCER_SERVICE_HOST=10.0.0.1", "PGBOUNCER_PORT_6432_TCP=tcp://10.0.0.1:6432"},
         "pool_mode",
         "session",
         "default",
         ""},
        /* ours, and what looks like it */
        {{URL, "PGSLUICE_POOL_MOED=x"},
         "pool_mode",
         "session",
         "default",
         "warning: variable PGSLUICE_POOL_MOED names no setting: did you mean PGSLUICE_POOL_MODE?\n"},
        {{URL, "PGSLUICE_PORT=tcp://10.0.0.1:80", "PGSLUICE_SERVICE_HOST=10.0.0.1",
          "PGSLUICE_SERVICE_PORT_PG=5432", "PGSLUICE_PORT_6432_TCP_PROTO=tcp",
          "PGSLUICE_RO_PORT=tcp://10.0.0.2:80", "PGSLUICE_DSN=x"},
         "listen_port",
         "6432",
         "default",
         ""},
        {{URL, "PGSLUICE_LISTEN_PORT=tcp://10.0.0.1:80", "PGSLUICE_LISTEN_SERVICE_HOST=10.0.0.1",
          "PGSLUICE_LISTEN_PORT_80_TCP=tcp://10.0.0.1:80", "PGSLUICE_LISTEN_PORT_53_UDP_ADDR=10.0.0.1"},
         "listen_port",
         "6432",
         "default",
         ""},
        {{URL, "PGSLUICE_LISTEN_PORT=udp://10.0.0.1:80"}, "listen_port", "6432", "default", ""},
        {{URL, "PG_CONFIG_FILE=/no/such"},
         "pool_mode",
         "session",
         "default",
         "note: variable PG_CONFIG_FILE: there is no \"/no/such\", so variables say it all\n"},
        {{URL, "PGSLUICE_PORT=7000"},
         "listen_port",
         "6432",
         "default",
         "warning: variable PGSLUICE_PORT names no setting: did you mean PGSLUICE_LISTEN_PORT?\n"},
    };
    (void)state;
    fixture_write("tcv-users", "");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loaded l = fixture_load_variables(rows[i].variables);
        if (l.config == NULL || strcmp(l.said, rows[i].said) != 0)
            fail_msg("%s %s: said: %s", rows[i].variables[0], rows[i].variables[1], l.said);
        if (strcmp(fixture_value(l.config, rows[i].name), rows[i].value) != 0)
            fail_msg("%s: %s = %s", rows[i].variables[1], rows[i].name,
                     fixture_value(l.config, rows[i].name));
        assert_string_equal(fixture_source(l.config, rows[i].name), rows[i].source);
        fixture_done(&l);
    }
    unlink("tcv-users");
}

/* ---- twins ---- */

static void test_twins(void **state)
{
    const char *variables[] = {"DATABASE_URL_FILE=tcv-url",
                               "DATABASE_URL=postgres://no:no@no/no",
                               "POOL_MODE_FILE=tcv-mode",
                               "PGSLUICE_LISTEN_PORT=1",
                               "PGSLUICE_LISTEN_PORT_FILE=tcv-port",
                               "PGSLUICE_AUTH_FILE=",
                               NULL};
    char line[256];
    (void)state;
    fixture_write("tcv-url", "postgres://u:p@h/d\n");
    fixture_write("tcv-mode", "transaction\r\n");
    fixture_write("tcv-port", "7777");
    struct loaded l = fixture_load_variables(variables);
    assert_non_null(l.config);
    assert_string_equal(l.said, "");
    assert_string_equal(fixture_database_line(l.config, line, sizeof line),
                        "\"d\" = dbname=d host=h user=u password=***");
    assert_string_equal(fixture_source(l.config, "pool_mode"), "variable POOL_MODE_FILE");
    assert_string_equal(fixture_value(l.config, "listen_port"), "7777");
    assert_string_equal(fixture_source(l.config, "listen_port"), "variable PGSLUICE_LISTEN_PORT_FILE");
    fixture_done(&l);
    /* with a file, too: they are ours */
    struct config_args args = {.ini_path = "t.ini",
                               .ini_text = "[databases]\nd=\n[pgsluice]\nauth_type=trust\n",
                               .environ = (char *const *)variables};
    args.ini_text_len = strlen(args.ini_text);
    l = fixture_load_args(&args);
    assert_non_null(l.config);
    assert_string_equal(fixture_value(l.config, "listen_port"), "7777");
    assert_string_equal(fixture_value(l.config, "pool_mode"), "session"); /* the families do not count */
    assert_int_equal(config_database_count(l.config), 1);
    fixture_done(&l);
    unlink("tcv-url");
    unlink("tcv-mode");
    unlink("tcv-port");
}

/* ---- the file, as a variable names it ---- */

static void test_file(void **state)
{
    static const struct {
        const char *variables[MAX_VARIABLES];
        const char *pool_mode; /* NULL: refused */
        const char *conffile, *source;
        const char *said;
    } rows[] = {
        {{"PGSLUICE_CONFFILE=tcv.d/pgbouncer.ini", "POOL_MODE=statement"},
         "transaction",
         "tcv.d/pgbouncer.ini",
         "variable PGSLUICE_CONFFILE",
         ""},
        {{"PGSLUICE_CONFFILE_FILE=tcv.d/path", "PGSLUICE_CONFFILE=/no/such"},
         "transaction",
         "tcv.d/pgbouncer.ini",
         "variable PGSLUICE_CONFFILE_FILE",
         ""},
        {{"PG_CONFIG_FILE=tcv.d/pgbouncer.ini", "POOL_MODE=statement"},
         "transaction",
         "tcv.d/pgbouncer.ini",
         "variable PG_CONFIG_FILE",
         ""},
        {{"PG_CONFIG_DIR=tcv.d", "POOL_MODE=statement"},
         "transaction",
         "tcv.d/pgbouncer.ini",
         "variable PG_CONFIG_DIR",
         ""},
        {{"PGSLUICE_CONFFILE=/no/such"},
         NULL,
         NULL,
         NULL,
         "error: variable PGSLUICE_CONFFILE: cannot read \"/no/such\": No such file or directory; mount the "
         "file "
         "there, or unset the variable\n"},
    };
    (void)state;
    mkdir("tcv.d", 0700);
    fixture_write("tcv.d/pgbouncer.ini",
                  "[databases]\nd=\n[pgbouncer]\nauth_type=trust\npool_mode=transaction\n");
    fixture_write("tcv.d/path", "tcv.d/pgbouncer.ini\n");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct loaded l = fixture_load_variables(rows[i].variables);
        assert_string_equal(l.said, rows[i].said);
        assert_int_equal(l.config != NULL, rows[i].pool_mode != NULL);
        if (l.config != NULL) {
            assert_string_equal(fixture_value(l.config, "pool_mode"), rows[i].pool_mode);
            assert_string_equal(fixture_value(l.config, "conffile"), rows[i].conffile);
            assert_string_equal(fixture_source(l.config, "conffile"), rows[i].source);
            config_unref(l.config);
        }
        free(l.said);
    }
    unlink("tcv.d/pgbouncer.ini");
    unlink("tcv.d/path");
    rmdir("tcv.d");
}

/* ---- printing ---- */

/* What is printed is read back as the same, but for the secrets. */
static void test_print(void **state)
{
    static const char ini[] =
        "[databases]\n\"a \"\"b\" = host=h password='p w' user=u connect_query='a ''b'' c' min_pool_size=3 "
        "query_wait_timeout=2.5 pool_mode=session\n* = port=7\n[pgsluice]\nauth_type=trust\npool_mode = "
        "transaction\n"
        "server_reset_query =\n";
    struct loaded l = fixture_load(ini), again;
    struct buf first, second;
    (void)state;
    assert_non_null(l.config);
    buf_init(&first, 0);
    buf_init(&second, 0);
    config_print(l.config, &first);
    assert_null(strstr(buf_cstr(&first), "p w"));
    assert_non_null(strstr(buf_cstr(&first), "; t.ini:2\n\"a \"\"b\" = "));
    assert_non_null(strstr(buf_cstr(&first), "; t.ini:6\npool_mode = transaction\n"));
    assert_non_null(strstr(buf_cstr(&first), "server_reset_query = \n"));
    again = fixture_load(buf_cstr(&first));
    assert_non_null(again.config);
    const struct database_config *db = config_find_database(again.config, "a \"b");
    assert_string_equal(db->connect_query, "a 'b' c");
    assert_int_equal(db->min_pool_size, 3);
    assert_int_equal(db->query_wait_timeout_us, 2500000);
    assert_int_equal(config_find_database(again.config, "*")->port, 7);
    assert_string_equal(fixture_value(again.config, "server_reset_query"), "");
    buf_free(&first);
    buf_free(&second);
    fixture_done(&l);
    fixture_done(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
