/*
 * test_config_values.c - the option table, values, times, connection strings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/address.h"
#include "config/connstr.h"
#include "config/options.h"

/* The names of SHOW CONFIG, in the order that tools know. */
static const char *const pgbouncer_order[] = {
    "admin_users",
    "application_name_add_host",
    "auth_dbname",
    "auth_file",
    "auth_hba_file",
    "auth_ident_file",
    "auth_ldap_options",
    "auth_query",
    "auth_type",
    "auth_user",
    "autodb_idle_timeout",
    "cancel_wait_timeout",
    "client_idle_timeout",
    "client_login_timeout",
    "client_tls13_ciphers",
    "client_tls_ca_file",
    "client_tls_cert_file",
    "client_tls_ciphers",
    "client_tls_dheparams",
    "client_tls_ecdhcurve",
    "client_tls_key_file",
    "client_tls_protocols",
    "client_tls_sslmode",
    "conffile",
    "default_pool_size",
    "disable_pqexec",
    "dns_max_ttl",
    "dns_nxdomain_ttl",
    "dns_zone_check_period",
    "idle_transaction_timeout",
    "ignore_startup_parameters",
    "job_name",
    "listen_addr",
    "listen_backlog",
    "listen_port",
    "log_connections",
    "log_disconnections",
    "log_pooler_errors",
    "log_stats",
    "logfile",
    "login_notify_message",
    "max_client_conn",
    "max_db_client_connections",
    "max_db_connections",
    "max_packet_size",
    "max_prepared_statements",
    "max_user_client_connections",
    "max_user_connections",
    "min_pool_size",
    "peer_id",
    "pidfile",
    "pkt_buf",
    "pool_mode",
    "pool_idle_timeout",
    "query_timeout",
    "query_wait_notify",
    "query_wait_timeout",
    "reserve_pool_size",
    "reserve_pool_timeout",
    "resolv_conf",
    "sbuf_loopcnt",
    "scram_iterations",
    "server_check_delay",
    "server_check_query",
    "server_connect_timeout",
    "server_fast_close",
    "server_idle_timeout",
    "server_lifetime",
    "server_login_retry",
    "server_reset_query",
    "server_reset_query_always",
    "server_round_robin",
    "server_tls13_ciphers",
    "server_tls_ca_file",
    "server_tls_cert_file",
    "server_tls_ciphers",
    "server_tls_key_file",
    "server_tls_protocols",
    "server_tls_sslmode",
    "so_reuseport",
    "stats_period",
    "stats_users",
    "suspend_timeout",
    "syslog",
    "syslog_facility",
    "syslog_ident",
    "tcp_defer_accept",
    "tcp_keepalive",
    "tcp_keepcnt",
    "tcp_keepidle",
    "tcp_keepintvl",
    "tcp_socket_buffer",
    "tcp_user_timeout",
    "track_extra_parameters",
    "transaction_timeout",
    "unix_socket_dir",
    "unix_socket_group",
    "unix_socket_mode",
    "user",
    "verbose",
};

static void test_table_has_pgbouncers_settings_first(void **state)
{
    (void)state;
    assert_int_equal(ARRAY_SIZE(pgbouncer_order), 100);
    for (size_t i = 0; i < ARRAY_SIZE(pgbouncer_order); i++)
        assert_string_equal(option_at(i)->name, pgbouncer_order[i]);
    for (size_t i = 100; i < option_count(); i++)
        assert_true(option_at(i)->flags & OPTION_OURS);
    assert_int_equal(option_find("service_name"), (int)option_count());
}

static void test_fixed_settings_are_pgbouncers(void **state)
{
    static const char *const fixed[] = {
        "disable_pqexec",   "job_name",
        "listen_addr",      "listen_backlog",
        "listen_port",      "pidfile",
        "pkt_buf",          "resolv_conf",
        "so_reuseport",     "track_extra_parameters",
        "unix_socket_dir",  "unix_socket_group",
        "unix_socket_mode", "user",
    };
    (void)state;
    size_t n = 0;
    for (size_t i = 0; i < 100; i++)
        n += !(option_at(i)->flags & OPTION_RELOADABLE);
    assert_int_equal(n, ARRAY_SIZE(fixed));
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        assert_false(option_at((size_t)option_find(fixed[i]))->flags & OPTION_RELOADABLE);
}

static void test_rows_are_consistent(void **state)
{
    (void)state;
    struct buf why;
    buf_init(&why, 0);
    for (size_t i = 0; i < option_count_all(); i++) {
        const struct config_option *o = option_at(i);
        struct settings s;
        memset(&s, 0, sizeof s);
        assert_int_equal(option_find(o->name), (int)i);
        assert_true(option_parse(o, o->default_text, &s, &why));
        assert_true(strlen(o->doc) > 10 && o->doc[strlen(o->doc) - 1] == '.');
        assert_int_equal(o->type == OPTION_ENUM, o->names != NULL);
        if (o->type == OPTION_STR)
            free(*(char **)((char *)&s + o->offset));
        for (size_t j = 0; j < i; j++)
            assert_true(option_at(j)->offset != o->offset);
    }
    buf_free(&why);
}

static void test_times(void **state)
{
    static const struct {
        const char *text;
        int64_t us; /* -1: refused */
    } rows[] = {
        {"0", 0},
        {"30", 30000000},
        {"0.5", 500000},
        {".5", 500000},
        {"1.", 1000000},
        {"1.25", 1250000},
        {"0.0000019", 1},
        {"200ms", 200000},
        {"200 ms", 200000},
        {"1.5ms", 1500},
        {"7us", 7},
        {"30s", 30000000},
        {"5min", 300000000},
        {"2h", INT64_C(7200000000)},
        {"1d", INT64_C(86400000000)},
        {"10S", 10000000},
        {"0.5min", 30000000},
        {"", -1},
        {"-1", -1},
        {"s", -1},
        {"ms", -1},
        {".", -1},
        {"1.2.3", -1},
        {"1m", -1},
        {"10 sec", -1},
        {" 1", -1},
        {"1e3", -1},
        {"0x10", -1},
        {"99999999999999999999", -1},
        {"9999999999999999d", -1},
        {"200y", -1},
        {"40000d", -1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int64_t us = -1;
        bool is_time = config_parse_time(rows[i].text, &us);
        if (is_time != (rows[i].us >= 0) || us != rows[i].us)
            fail_msg("%s: %d %lld", rows[i].text, is_time, (long long)us);
    }
}

static void test_times_print_as_seconds(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } rows[] = {{0, "0"},          {120000000, "120"}, {200000, "0.2"},
                {1250000, "1.25"}, {1, "0.000001"},    {1000010, "1.00001"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf out;
        buf_init(&out, 0);
        config_print_time(rows[i].us, &out);
        assert_string_equal(buf_cstr(&out), rows[i].text);
        buf_free(&out);
    }
}

static void test_values(void **state)
{
    static const struct {
        const char *option;
        const char *text;
        const char *printed; /* NULL: refused */
        const char *why;     /* part of the reason */
    } rows[] = {
        {"listen_port", "6432", "6432", NULL},
        {"listen_port", "0x10", "16", NULL},
        {"listen_port", "079", NULL, "not a number"},
        {"listen_port", "65536", NULL, "not between 0 and 65535"},
        {"listen_port", "-1", NULL, "not between"},
        {"listen_port", "", NULL, "not a number"},
        {"listen_port", " 1", NULL, "not a number"},
        {"listen_port", "5432x", NULL, "not a number"},
        {"listen_port", "99999999999999999999999", NULL, "not between"},
        {"unix_socket_mode", "0700", "448", NULL},
        {"unix_socket_mode", "010000", NULL, "not between"},
        {"default_pool_size", "-3", NULL, "less than 0"},
        {"default_pool_size", "3.5", NULL, "not a number"},
        {"max_packet_size", "4294967295", "4294967295", NULL},
        {"max_packet_size", "4294967296", NULL, "not between"},
        {"log_stats", "2", "2", NULL},
        {"log_stats", "yes", NULL, "not a number"},
        {"tcp_defer_accept", "45", "1", NULL},
        {"tcp_defer_accept", "off", "0", NULL},
        {"tcp_defer_accept", "Yes", "1", NULL},
        {"tcp_defer_accept", "maybe", NULL, "not a number"},
        {"query_wait_timeout", "200ms", "0.2", NULL},
        {"query_wait_timeout", "soon", NULL, "not a time"},
        {"pool_mode", "transaction", "transaction", NULL},
        {"pool_mode", "Statement", "statement", NULL},
        {"pool_mode", "trans", NULL, "none of session, transaction, statement"},
        {"auth_type", "scram-sha-256", "scram-sha-256", NULL},
        {"server_tls_sslmode", "verify-full", "verify-full", NULL},
        {"server_reset_query", "", "", NULL},
        {"workers", "auto", "auto", NULL},
        {"workers", "4", "4", NULL},
        {"workers", "0", NULL, "auto"},
        {"workers", "many", NULL, "auto"},
        {"scram_iterations", "0", NULL, "less than 1"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct config_option *o = option_at((size_t)option_find(rows[i].option));
        struct settings s;
        struct buf why, out;
        memset(&s, 0, sizeof s);
        buf_init(&why, 0);
        buf_init(&out, 0);
        bool is_fine = option_parse(o, rows[i].text, &s, &why);
        assert_int_equal(is_fine, rows[i].printed != NULL);
        if (is_fine) {
            option_print(o, &s, &out);
            assert_string_equal(buf_cstr(&out), rows[i].printed);
        } else {
            if (strstr(buf_cstr(&why), rows[i].why) == NULL)
                fail_msg("%s = %s: %s", rows[i].option, rows[i].text, buf_cstr(&why));
        }
        if (is_fine && o->type == OPTION_STR)
            free(*(char **)((char *)&s + o->offset));
        buf_free(&why);
        buf_free(&out);
    }
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(config_auth_type_name(AUTH_TYPE_SCRAM_SHA_256), "scram-sha-256");
    assert_string_equal(config_pool_mode_name(POOL_MODE_STATEMENT), "statement");
    assert_string_equal(config_sslmode_name(SSLMODE_VERIFY_CA), "verify-ca");
    assert_string_equal(config_load_balance_hosts_name(LOAD_BALANCE_ROUND_ROBIN), "round-robin");
    assert_null(config_pool_mode_name(POOL_MODE_INHERIT));
    assert_int_equal(option_find("POOL_MODE"), option_find("pool_mode"));
    assert_int_equal(option_find("pool_modes"), -1);
    assert_string_equal(option_nearest("pool_mod"), "pool_mode");
    assert_string_equal(option_nearest("listen_adress"), "listen_addr");
    assert_null(option_nearest("zzzzqqqq"));
}

/* Pairs are written "key=value|key=value"; an error ends the trace with "!what". */
static void test_connection_strings(void **state)
{
    static const struct {
        const char *text;
        const char *trace;
    } rows[] = {
        {"", ""},
        {"  \t ", ""},
        {"host=a", "host=a|"},
        {"host=a port=5", "host=a|port=5|"},
        {"  host = a   port= 5 ", "host=a|port=5|"},
        {"dbname='x y'", "dbname=x y|"},
        {"q='select ''a'' ; x'", "q=select 'a' ; x|"},
        {"password='ab ;cd' port=1", "password=ab ;cd|port=1|"},
        {"password=ab;cd", "password=ab;cd|"},
        {"password=''", "password=|"},
        {"password=''''", "password='|"},
        {"password=a'b", "password=a'b|"},
        {"password=a\\ b=c", "password=a\\|b=c|"},
        {"host=a,b,c", "host=a,b,c|"},
        {"a=b=c", "a=b=c|"},
        {"a='x", "!the closing quote"},
        {"a='x''", "!the closing quote"},
        {"a='x'b=c", "!a blank is missing"},
        {"a", "!\"=\" is missing"},
        {"a b=c", "!\"=\" is missing"},
        {"a=", "!its value is missing"},
        {"x=1 a= ", "x=1|!its value is missing"},
        {"=x", "!a key is missing"},
        {"x=1 ; comment", "x=1|!\"=\" is missing"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct connstr c;
        struct buf trace;
        enum connstr_result result;
        connstr_init(&c, rows[i].text);
        buf_init(&trace, 0);
        while ((result = connstr_next(&c)) == CONNSTR_PAIR)
            buf_printf(&trace, "%s=%s|", buf_cstr(&c.key), buf_cstr(&c.value));
        if (result == CONNSTR_ERR) {
            buf_printf(&trace, "!%s", buf_cstr(&c.value));
            if (strncmp(buf_cstr(&trace), rows[i].trace, strlen(rows[i].trace)) != 0 ||
                strchr(rows[i].trace, '!') == NULL)
                fail_msg("%s: %s", rows[i].text, buf_cstr(&trace));
        } else if (strcmp(buf_cstr(&trace), rows[i].trace) != 0) {
            fail_msg("%s: %s", rows[i].text, buf_cstr(&trace));
        }
        buf_free(&trace);
        connstr_free(&c);
    }
}

static void test_quoted_names(void **state)
{
    static const struct {
        const char *text;
        const char *name; /* NULL: refused */
    } rows[] = {
        {"db1", "db1"},         {"*", "*"},       {"my:db", "my:db"}, {"\"a b\"", "a b"},
        {"\"a\"\"b\"", "a\"b"}, {"\"*\"", "*"},   {"\"\"", NULL},     {"", NULL},
        {"\"a", NULL},          {"\"a\"b", NULL}, {"a\"b\"", NULL},   {"\"a\"\"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct buf out;
        buf_init(&out, 0);
        assert_int_equal(connstr_unquote_name(rows[i].text, &out), rows[i].name != NULL);
        if (rows[i].name != NULL)
            assert_string_equal(buf_cstr(&out), rows[i].name);
        buf_free(&out);
    }
}

static void test_addresses(void **state)
{
    static const struct {
        const char *list, *read; /* "host port, ..."; ! where it is none */
    } rows[] = {
        {"", ""},
        {" , ,\t", ""},
        {"9632", "127.0.0.1 9632, "},
        {" 1 , 65535 ", "127.0.0.1 1, 127.0.0.1 65535, "},
        {"*:80,localhost:81", "* 80, localhost 81, "},
        {"[::1]:80,[::]:81", "::1 80, :: 81, "},
        {"0", "!"},
        {"65536", "!"},
        {"80,x", "127.0.0.1 80, !"},
        {"host", "!"},
        {"host:", "!"},
        {":80", "!"},
        {"::1:80", "!"},
        {"[::1]", "!"},
        {"[::1]80", "!"},
        {"[]:80", "!"},
        {"a b:80", "!"},
        {"+80", "!"},
        {"1.2.3.4:-1", "!"},
    };
    char long_name[ADDRESS_HOST_BYTES + 8];
    struct address a;
    struct buf read;
    (void)state;
    buf_init(&read, 0);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *at = rows[i].list;
        enum address_result result;
        buf_clear(&read);
        while ((result = address_next(&at, &a)) == ADDRESS_OK)
            buf_printf(&read, "%s %d, ", a.host, a.port);
        if (result == ADDRESS_ERR)
            buf_append_byte(&read, '!');
        assert_string_equal(buf_cstr(&read), rows[i].read);
    }
    buf_free(&read);
    memset(long_name, 'a', sizeof long_name);
    strcpy(long_name + ADDRESS_HOST_BYTES, ":80");
    const char *at = long_name;
    assert_int_equal(address_next(&at, &a), ADDRESS_ERR);
    at = long_name + 1;
    assert_int_equal(address_next(&at, &a), ADDRESS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_table_has_pgbouncers_settings_first),
        cmocka_unit_test(test_fixed_settings_are_pgbouncers),
        cmocka_unit_test(test_rows_are_consistent),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_times_print_as_seconds),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_connection_strings),
        cmocka_unit_test(test_quoted_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
