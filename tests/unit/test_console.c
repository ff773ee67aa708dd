/*
 * test_console.c - the console through its mail: simple and extended protocol, commands.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "config.h"
#include "ops_harness.h"
#include "ops_int.h"
#include "wire/codec.h"

#define OUR_VERSION "pgsluice " PACKAGE_VERSION
#define T_RELOAD    "T kind:25 name:25 old:25 new:25 effect:25\n"
#define T_VERSION   "T version:25\nD " OUR_VERSION "\nC SHOW\n"

static void check(struct harness *h, const char *sql, const char *expected)
{
    int n = h->n_last;

    harness_query(h, sql);
    check_trace(h, expected);
    assert_int_equal(h->n_last, n + 1);
}

static void test_welcome(void **state)
{
    struct harness *h = *state;

    harness_open(h, 1, 7, false);
    assert_int_equal(h->worker, 1);
    assert_int_equal(h->client, 7);
    check_trace(h,
                "R 0\nS server_version=" PACKAGE_VERSION "/bouncer\nS client_encoding=UTF8\n"
                "S server_encoding=UTF8\nS DateStyle=ISO\nS TimeZone=GMT\nS standard_conforming_strings=on\n"
                "S is_superuser=on\nS integer_datetimes=on\nK\nZ I\n");
    assert_int_equal(console_session_count(h->console), 2);
    harness_gone(h, 1, 7);
    assert_int_equal(console_session_count(h->console), 1);
}

static void test_simple(void **state)
{
    static const struct {
        const char *sql, *trace;
    } rows[] = {
        {"SHOW VERSION", T_VERSION "Z I\n"},
        {"show version;", T_VERSION "Z I\n"},
        {"select \"version\"", T_VERSION "Z I\n"},
        {"/* a /* b */ ; */ SHOW -- x;\n VERSION ; ; -- end", T_VERSION "Z I\n"},
        {"SHOW VERSION; SHOW VERSION", T_VERSION T_VERSION "Z I\n"},
        {"", "I\nZ I\n"},
        {" ;; -- nothing", "I\nZ I\n"},
        {"SHOW VERSION; NONSENSE 'x'; SHOW VERSION",
         T_VERSION "E ERROR 42601 invalid command 'NONSENSE', use SHOW HELP;\nZ I\n"},
        {"PUASE", "E ERROR 42601 invalid command 'PUASE', use SHOW HELP; HINT Did you mean PAUSE?\nZ I\n"},
        {"SHOW POOL",
         "E ERROR 42601 invalid command 'SHOW POOL', use SHOW HELP; HINT Did you mean SHOW POOLS?\nZ I\n"},
        {"SELECT", "E ERROR 42601 syntax error at end of input\nZ I\n"},
        {"SELECT 1", "T ?column?:23\nD 1\nC SELECT 1\nZ I\n"},
        {"select pg_catalog.pg_is_in_recovery()", "T pg_is_in_recovery:16\nD f\nC SELECT 1\nZ I\n"},
        {"SELECT version ( )", "T version:25\nD " CONSOLE_POSTGRES_VERSION "\nC SELECT 1\nZ I\n"},
        {"SHOW client_encoding", "T client_encoding:25\nD UTF8\nC SHOW\nZ I\n"},
        {"SHOW TRANSACTION ISOLATION LEVEL", "T transaction_isolation:25\nD read committed\nC SHOW\nZ I\n"},
        {"SET client_encoding = 'UTF8'", "N NOTICE 00000 SET ignored\nC SET\nZ I\n"},
        {"SET extra_float_digits = 3; SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
         "N NOTICE 00000 SET ignored\nC SET\nN NOTICE 00000 SET ignored\nC SET\nZ I\n"},
        {"BEGIN READ ONLY; COMMIT; ROLLBACK; DISCARD ALL; RESET ALL; UNLISTEN *; CLOSE ALL",
         "C BEGIN\nC COMMIT\nC ROLLBACK\nC DISCARD ALL\nC RESET\nC UNLISTEN\nC CLOSE\nZ I\n"},
        {"PAUSE 'app'", "E ERROR 42601 syntax error at or near \"app\"\nZ I\n"},
        {"RELOAD now", "E ERROR 42601 syntax error at or near \"now\"\nZ I\n"},
        {"SHOW $1", "E ERROR 42P02 the console takes no parameters: \"$1\"\nZ I\n"},
        {"SHOW 'abc", "E ERROR 42601 syntax error: unterminated quoted string\nZ I\n"},
        {"SHOW /* abc", "E ERROR 42601 syntax error: unterminated comment\nZ I\n"},
        {"SHOW STATE", "T key:25 value:25\nD active,yes\nD paused,no\nD suspended,no\nC SHOW\nZ I\n"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        check(*state, rows[i].sql, rows[i].trace);
}

static void test_help(void **state)
{
    char *help = harness_ask(*state, "SHOW HELP");

    assert_int_equal(strncmp(help, "N NOTICE 00000 Console usage DETAIL ", 36), 0);
    assert_non_null(strstr(help, "\tSHOW UTILIZATION "));
    assert_non_null(strstr(help, "\tPAUSE [database]\n"));
    assert_non_null(strstr(help, "\nC SHOW\nZ I\n"));
    free(help);
}

static void test_set(void **state)
{
    struct harness *h = *state;

    check(h, "SET default_pool_size = 5", "C SET default_pool_size=5\nZ I\n");
    check(h, "set \"default_pool_size\" TO '5 '' 6';", "C SET default_pool_size=5 ' 6\nZ I\n");
    check(h, "SET listen_addr=127.0.0.1", "C SET listen_addr=127.0.0.1\nZ I\n");
    check_calls(h, "default_pool_size 5;default_pool_size 5 ' 6;listen_addr 127.0.0.1;");
    h->set_fails = true;
    check(h, "SET default_pool_size = x", "E ERROR 22023 SET failed DETAIL not a number\nZ I\n");
    buf_clear(&h->calls);
    check(h, "SET default_pol_size = 1",
          "E ERROR 42704 unrecognized configuration parameter \"default_pol_size\" "
          "HINT Did you mean default_pool_size?\nZ I\n");
    check(h, "SET default_pool_size 1",
          "E ERROR 42601 syntax error at or near \"1\" HINT Write SET key = value.\nZ I\n");
    check(h, "SET default_pool_size = a b", "E ERROR 42601 syntax error at or near \"b\"\nZ I\n");
    check_calls(h, "");
}

static void test_reload(void **state)
{
    struct harness *h = *state;

    check(h, "RELOAD", T_RELOAD "C RELOAD\nZ I\n");
    h->reload_changes = true;
    check(h, "RELOAD",
          T_RELOAD "D setting,stats_period,60,5,applied\nD database,app,host=a,~,applied\nC RELOAD\nZ I\n");
    h->reload_fails = true;
    check(h, "RELOAD",
          "E ERROR F0000 RELOAD failed, see logs for additional details DETAIL pgsluice.ini:3: no\nZ I\n");
    check_calls(h, "reload;reload;reload;");
}

/* Whoever has the answer must not meet a worker with the settings of before. */
static void test_settings_are_in_force_with_the_answer(void **state)
{
    struct harness *h = *state;

    h->reload_changes = true;
    h->workers_are_behind = true;
    harness_query(h, "RELOAD; SET stats_period = 5; SHOW VERSION");
    check_trace(h, "");
    console_tick(h->console, h->now_us);
    check_trace(h, "");
    check_calls(h, "reload;");
    h->workers_are_behind = false;
    console_tick(h->console, h->now_us);
    check_trace(h, T_RELOAD "D setting,stats_period,60,5,applied\nD database,app,host=a,~,applied\nC RELOAD\n"
                            "C SET stats_period=5\n" T_VERSION "Z I\n");
    h->workers_are_behind = true;
    harness_query(h, "SET stats_period = 6");
    check_trace(h, "");
    harness_cancel(h, 0, 1); /* it is done already */
    check_trace(h, "");
    h->workers_are_behind = false;
    console_tick(h->console, h->now_us);
    check_trace(h, "C SET stats_period=6\nZ I\n");
}

static void test_pause(void **state)
{
    struct harness *h = *state;

    check(h, "PAUSE app", "C PAUSE\nZ I\n");
    check(h, "RESUME app", "C RESUME\nZ I\n");
    check(h, "RESUME app", "E ERROR 55000 database app is not paused\nZ I\n");
    check(h, "RESUME", "E ERROR 55000 pooler is not paused/suspended\nZ I\n");
    check(h, "PAUSE nowhere", "E ERROR 3D000 no such database: nowhere\nZ I\n");
    check(h, "PAUSE pgbouncer", "E ERROR 42809 cannot do that to the admin database: pgbouncer\nZ I\n");
    check_calls(h, "pause app;resume app;resume app;resume *;");

    h->servers_left = true;
    harness_query(h, "PAUSE; SHOW VERSION");
    check_trace(h, "");
    assert_true(console_is_waiting(h->console));
    console_tick(h->console, h->now_us);
    check_trace(h, "");
    /* others go on */
    harness_open(h, 1, 2, true);
    free(harness_trace(h));
    assert_int_equal(h->client, 2);
    h->servers_left = false;
    console_tick(h->console, h->now_us);
    check_trace(h, "C PAUSE\n" T_VERSION "Z I\n");
    assert_int_equal(h->client, 1);
    assert_false(console_is_waiting(h->console));
    check(h, "PAUSE", "E ERROR 55000 already suspended/paused\nZ I\n");
    check(h, "SHOW STATE", "T key:25 value:25\nD active,no\nD paused,yes\nD suspended,no\nC SHOW\nZ I\n");
}

static void test_disable(void **state)
{
    struct harness *h = *state;
    struct pool_database *other = registry_get_database(h->instance.registry, "other");

    check(h, "DISABLE other", "C DISABLE\nZ I\n");
    assert_true(registry_is_disabled(h->instance.registry, other));
    check(h, "ENABLE other", "C ENABLE\nZ I\n");
    assert_false(registry_is_disabled(h->instance.registry, other));
    check(h, "DISABLE", "E ERROR 42601 a database is required\nZ I\n");
    check(h, "ENABLE;", "E ERROR 42601 a database is required\nZ I\n");
    check(h, "KILL_CLIENT", "E ERROR 42601 syntax error at end of input\nZ I\n");
}

static void test_shutdown(void **state)
{
    struct harness *h = *state;
    int n = h->n_last;

    check(h, "SHUTDOWN WAIT_FOR_CLIENTS", "C SHUTDOWN\nZ I\n");
    assert_int_equal(n, 1); /* the welcome: the answer was sent before the hook was called */
    check_calls(h, "shutdown 2 after 2;");
    check(h, "SHUTDOWN WAIT_FOR_CLIENTS", "E ERROR 57P03 already shutting down\nZ I\n");
    check(h, "SHUTDOWN SOON",
          "E ERROR 42601 syntax error at or near \"SOON\" "
          "HINT SHUTDOWN takes WAIT_FOR_SERVERS, WAIT_FOR_CLIENTS, DRAIN or nothing.\nZ I\n");
    check(h, "SHUTDOWN DRAIN", "C SHUTDOWN\nZ I\n");
    check(h, "shutdown wait_for_servers", "C SHUTDOWN\nZ I\n");
    check(h, "SHUTDOWN", "C SHUTDOWN\nZ I\n");
    check_calls(h, "shutdown 3 after 5;shutdown 4 after 6;shutdown 5 after 7;");
}

static void test_stats_user(void **state)
{
    static const char *const refused[] = {"RELOAD",     "PAUSE",      "RESUME",
                                          "PAUSE app",  "SHUTDOWN",   "SET default_pool_size = 1",
                                          "ENABLE app", "DISABLE app"};
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    harness_open(h, 0, 1, false);
    free(harness_trace(h));
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        check(h, refused[i], "E ERROR 42501 admin access needed\nZ I\n");
    check_calls(h, "");
    check(h, "SHOW VERSION", T_VERSION "Z I\n");
    check(h, "SET datestyle = 'ISO'", "N NOTICE 00000 SET ignored\nC SET\nZ I\n");
    put_parse(&b, "", "RELOAD");
    put_bind(&b, "", "", 0, 0);
    put_execute(&b, "", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\n2\nE ERROR 42501 admin access needed\nZ I\n");
    buf_free(&b);
}

/* ---- extended ---- */

static void test_extended(void **state)
{
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    put_parse(&b, "v", "SHOW VERSION;");
    put_describe(&b, 'S', "v");
    put_bind(&b, "", "v", 1, 1);
    put_describe(&b, 'P', "");
    put_execute(&b, "", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\nt 0\nT version:25\n2\nT version:25b\nD " OUR_VERSION "\nC SHOW\nZ I\n");

    /* the statement stays, the portal has gone with Sync */
    put_execute(&b, "", 0);
    put_describe(&b, 'S', "v");
    put_sync(&b);
    put_parse(&b, "v", "RELOAD");
    put_sync(&b);
    put_close(&b, 'S', "v");
    put_close(&b, 'S', "never");
    put_bind(&b, "", "v", 0, 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "E ERROR 34000 portal \"\" does not exist\nZ I\n"
                   "E ERROR 42P05 prepared statement name is already in use\nZ I\n"
                   "3\n3\nE ERROR 26000 prepared statement \"v\" does not exist\nZ I\n");

    put_parse(&b, "", "");
    put_describe(&b, 'S', "");
    put_bind(&b, "", "", 0, 0);
    put_execute(&b, "", 0);
    put_parse(&b, "", "SHOW VERSION; SHOW VERSION");
    put_parse(&b, "", "RELOAD");
    put_sync(&b);
    put_parse(&b, "", "SHOW HELPP");
    wire_put_query(&b, "SHOW VERSION"); /* skipped as well */
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\nt 0\nn\n2\nI\n"
                   "E ERROR 42601 cannot insert multiple commands into a prepared statement\nZ I\n"
                   "E ERROR 42601 invalid command 'SHOW HELPP', use SHOW HELP; HINT Did you mean SHOW HELP?\n"
                   "Z I\n");
    check_calls(h, "");
    buf_free(&b);
}

static void test_row_limit(void **state)
{
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    put_parse(&b, "", "SHOW STATE");
    put_bind(&b, "p", "", 2, 0);
    put_execute(&b, "p", 2);
    put_execute(&b, "p", 2);
    put_execute(&b, "p", 2);
    put_close(&b, 'P', "p");
    put_execute(&b, "p", 2);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\n2\nD active,yes\nD paused,no\ns\nD suspended,no\nC SHOW\nC SHOW\n3\n"
                   "E ERROR 34000 portal \"p\" does not exist\nZ I\n");

    /* in a block a portal outlives Sync */
    check(h, "BEGIN", "C BEGIN\nZ I\n");
    put_parse(&b, "", "SHOW STATE");
    put_bind(&b, "p", "", 0, 0);
    put_execute(&b, "p", 1);
    put_sync(&b);
    put_execute(&b, "p", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "1\n2\nD active,yes\ns\nZ I\nD paused,no\nD suspended,no\nC SHOW\nZ I\n");
    check(h, "COMMIT", "C COMMIT\nZ I\n");

    put_bind(&b, "p", "", 3, 0);
    put_sync(&b);
    put_bind(&b, "p", "", 1, 2);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "E ERROR 08P01 number of result formats does not match the number of columns\nZ I\n"
                   "E ERROR 22023 unsupported format code\nZ I\n");
    buf_free(&b);
}

static void test_many_statements(void **state)
{
    struct harness *h = *state;
    struct buf b;
    char name[16], *trace;

    buf_init(&b, 0);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        put_parse(&b, name, "SHOW STATE");
        put_sync(&b);
    }
    harness_send(h, &b);
    trace = harness_trace(h);
    assert_non_null(strstr(trace, "E ERROR 54000 too many prepared statements\n"));
    free(trace);
    buf_free(&b);
}

static void test_execute_waits(void **state)
{
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    h->servers_left = true;
    put_parse(&b, "", "PAUSE app");
    put_bind(&b, "", "", 0, 0);
    put_describe(&b, 'P', "");
    put_execute(&b, "", 0);
    put_sync(&b);
    harness_send(h, &b);
    check_trace(h, "");
    h->servers_left = false;
    console_tick(h->console, h->now_us);
    check_trace(h, "1\n2\nn\nC PAUSE\nZ I\n");
    buf_free(&b);
}

/* ---- gathering ---- */

static struct session_row *one_row(bool is_server, uint64_t id, uint64_t link)
{
    struct session_row *row = xcalloc(1, sizeof(*row));

    row->is_server = is_server;
    row->replication = "none";
    row->state = "active";
    strcpy(row->user, "bob");
    strcpy(row->database, "app");
    strcpy(row->addr, "10.0.0.1");
    row->port = 5;
    strcpy(row->local_addr, "10.0.0.2");
    row->local_port = 6432;
    row->wait_us = 2000003;
    row->id = id;
    row->link = link;
    return row;
}

#define CLIENTS_T                                                                                            \
    "T type:25 user:25 database:25 replication:25 state:25 addr:25 port:23 local_addr:25 local_port:23 "     \
    "connect_time:25 request_time:25 wait:23 wait_us:23 close_needed:23 ptr:25 link:25 remote_pid:23 "       \
    "tls:25 application_name:25 prepared_statements:23 id:23 worker:23\n"
#define ROW_TAIL "bob,app,none,active,10.0.0.1,5,10.0.0.2,6432,~,~,2,3,0,"

static void test_gather(void **state)
{
    struct harness *h = *state;

    harness_query(h, "SHOW CLIENTS; SHOW VERSION");
    check_trace(h, "");
    assert_int_equal(h->n_asked, 2);
    assert_int_equal(h->asked[0]->kinds, GATHER_CLIENTS);
    assert_int_equal(h->asked[1]->worker, 1);
    harness_gathered(h, 1, one_row(false, 12, 7), 1);
    check_trace(h, "");
    harness_gathered(h, 0, one_row(false, 11, 0), 1);
    check_trace(h, CLIENTS_T "D C," ROW_TAIL "C-11,,0,,,0,11,0\nD C," ROW_TAIL
                             "C-12,S-7,0,,,0,12,0\nC SHOW\n" T_VERSION "Z I\n");

    /* memory was out at a worker */
    h->n_asked = 0;
    harness_query(h, "SHOW SERVERS");
    assert_int_equal(h->asked[0]->kinds, GATHER_SERVERS);
    harness_gathered(h, 0, NULL, 0);
    harness_gathered(h, 1, NULL, 3);
    check_trace(h, "E ERROR 53200 out of memory\nZ I\n");
}

static void test_gather_gone(void **state)
{
    struct harness *h = *state;

    /* the client goes before the rows come */
    harness_query(h, "SHOW CLIENTS");
    harness_gone(h, 0, 1);
    harness_gathered(h, 0, one_row(false, 1, 0), 1);
    harness_gathered(h, 1, one_row(false, 2, 0), 1);
    assert_false(console_is_waiting(h->console));
    check_trace(h, "");

    /* a worker does not answer in time; its mail comes late */
    harness_open(h, 0, 1, true);
    free(harness_trace(h));
    h->n_asked = 0;
    harness_query(h, "SHOW CLIENTS");
    harness_gathered(h, 0, one_row(false, 1, 0), 1);
    console_tick(h->console, h->now_us + 9 * USEC_PER_SEC);
    check_trace(h, "");
    console_tick(h->console, h->now_us + 11 * USEC_PER_SEC);
    check_trace(h, "E ERROR 57014 a worker does not answer\nZ I\n");
    check(h, "SHOW VERSION", T_VERSION "Z I\n");
    harness_gathered(h, 1, one_row(false, 2, 0), 1);
    check_trace(h, "");
    assert_false(console_is_waiting(h->console));

    /* two sessions at a time, and one that is open at the end */
    h->n_asked = 0;
    harness_open(h, 1, 2, true);
    harness_query(h, "SHOW CLIENTS");
    harness_data(h, 1, 2, "Q\0\0\0\x11SHOW SERVERS\0", 18);
    assert_int_equal(h->n_asked, 4);
    free(harness_trace(h));
    harness_gathered(h, 2, NULL, 0);
    harness_gathered(h, 3, NULL, 0);
    assert_int_equal(h->client, 2);
    check_trace(h, CLIENTS_T "C SHOW\nZ I\n");
}

static void test_violations(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t len;
    } rows[] = {
        {"Q\0\0\0\3x", 6},          /* shorter than its own length word */
        {"Q\0\0\0\x09SHOW", 9},     /* not whole */
        {"Q\0\0\0\x08SHOW", 9},     /* no NUL */
        {"Q\0\0\0\x0aSHOW\0x", 11}, /* something behind it */
        {"p\0\0\0\5\0", 6},         /* no login is going on */
        {"?\0\0\0\4", 5},           {"S\0\0\0\5x", 6},    {"D\0\0\0\6Xa", 7},
        {"E\0\0\0\5\0", 6},         {"B\0\0\0\6\0\0", 7}, {"P\0\0\0\x08\0\0\xff\xff", 9},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct harness *h = harness_new(NULL);

        harness_open(h, 0, 1, true);
        free(harness_trace(h));
        harness_data(h, 0, 1, rows[i].bytes, rows[i].len);
        assert_true(h->is_closing);
        check_trace(h, "E FATAL 08P01 bad packet\n");
        harness_free(h);
    }
    (void)state;
}

static void test_terminate(void **state)
{
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    wire_put_terminate(&b);
    harness_send(h, &b);
    check_trace(h, "");
    assert_true(h->is_closing);
    harness_gone(h, 0, 1);

    /* mail of a client that is not known, or is known no longer */
    harness_query(h, "SHOW VERSION");
    harness_gone(h, 0, 1);
    check_trace(h, "");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_welcome, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_simple, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_help, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_set, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_reload, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_settings_are_in_force_with_the_answer, harness_setup_admin,
                                        harness_teardown),
        cmocka_unit_test_setup_teardown(test_pause, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_disable, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_shutdown, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_stats_user, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_extended, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_row_limit, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_many_statements, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_execute_waits, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_gather, harness_setup_admin, harness_teardown),
        cmocka_unit_test_setup_teardown(test_gather_gone, harness_setup_admin, harness_teardown),
        cmocka_unit_test(test_violations),
        cmocka_unit_test_setup_teardown(test_terminate, harness_setup_admin, harness_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
