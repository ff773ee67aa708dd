/*
 * test_console_show.c - what SHOW shows: PgBouncer's columns in its order, and rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "config.h"
#include "ops_harness.h"
#include "show_int.h"
#include "stats/errors.h"

/* PgBouncer's columns, "name type, ...", as its users' tools expect them. */
#define SESSION_COLUMNS                                                                                      \
    "type s, user s, database s, replication s, state s, addr s, port i, local_addr s, local_port i, "       \
    "connect_time T, request_time T, wait i, wait_us i, close_needed i, ptr s, link s, remote_pid i, "       \
    "tls s, application_name s, prepared_statements i, id i"

static const struct {
    const char *relation, *columns;
    bool is_exact; /* no columns of ours behind */
} compat[] = {
    {"CLIENTS", SESSION_COLUMNS, false},
    {"SERVERS", SESSION_COLUMNS, false},
    {"SOCKETS",
     SESSION_COLUMNS
     ", recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i",
     false},
    {"ACTIVE_SOCKETS",
     SESSION_COLUMNS
     ", recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i",
     false},
    {"DNS_HOSTS", "hostname s, ttl q, addrs s", true},
    {"DNS_ZONES", "zonename s, serial q, count i", true},
    {"MEM", "name s, size i, used i, free i, memtotal i", true},
    {"CONFIG", "key s, value s, default s, changeable s", false},
    {"DATABASES",
     "name s, host s, port i, database s, force_user s, pool_size i, min_pool_size i, reserve_pool_size i, "
     "server_lifetime i, pool_mode s, load_balance_hosts s, max_connections i, current_connections i, "
     "max_client_connections i, current_client_connections i, paused i, disabled i",
     false},
    {"LISTS", "list s, items i", true},
    {"PEERS", "peer_id i, host s, port i, pool_size i", true},
    {"PEER_POOLS",
     "peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i", true},
    {"POOLS",
     "database s, user s, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, "
     "sv_active i, sv_active_cancel i, sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, "
     "maxwait i, maxwait_us i, pool_mode s, load_balance_hosts s",
     false},
    {"STATE", "key s, value s", true},
    {"STATS",
     "database s, total_server_assignment_count N, total_xact_count N, total_query_count N, "
     "total_received N, total_sent N, total_xact_time N, total_query_time N, total_wait_time N, "
     "total_client_parse_count N, total_server_parse_count N, total_bind_count N, "
     "total_client_login_count N, avg_server_assignment_count N, avg_xact_count N, avg_query_count N, "
     "avg_recv N, avg_sent N, avg_xact_time N, avg_query_time N, avg_wait_time N, avg_client_parse_count N, "
     "avg_server_parse_count N, avg_bind_count N, avg_client_login_count N",
     false},
    {"STATS_AVERAGES",
     "database s, server_assignment_count N, xact_count N, query_count N, bytes_received N, bytes_sent N, "
     "xact_time N, query_time N, wait_time N, avg_client_parse_count N, avg_server_parse_count N, "
     "avg_bind_count N, avg_client_login_count N",
     true},
    {"STATS_TOTALS",
     "database s, server_assignment_count N, xact_count N, query_count N, bytes_received N, bytes_sent N, "
     "xact_time N, query_time N, wait_time N, client_parse_count N, server_parse_count N, bind_count N, "
     "client_login_count N",
     true},
    {"TOTALS", "name s, value N", true},
    {"USERS",
     "name s, pool_size s, reserve_pool_size s, pool_mode s, max_user_connections i, current_connections i, "
     "max_user_client_connections i, current_client_connections i",
     true},
    {"VERSION", "version s", true},
};

static void test_columns(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(compat); i++) {
        const struct relation *relation = relation_find(compat[i].relation);
        struct buf text;

        assert_non_null(relation);
        buf_init(&text, 0);
        for (uint16_t k = 0; k < relation->n_columns; k++)
            buf_printf(&text, "%s%s %c", k > 0 ? ", " : "", relation->columns[k].name,
                       relation->columns[k].type);
        if (!compat[i].is_exact && text.len > strlen(compat[i].columns)) {
            assert_int_equal(text.data[strlen(compat[i].columns)], ',');
            text.len = (uint32_t)strlen(compat[i].columns);
        }
        assert_string_equal(buf_cstr(&text), compat[i].columns);
        buf_free(&text);
    }
}

/* Every relation that needs no worker gives whole rows, in text and in binary, of any width that fits the
 * bits. */
static void test_all_relations(void **state)
{
    struct harness *h = *state;
    struct buf b;

    buf_init(&b, 0);
    for (size_t i = 0; i < relation_count(); i++) {
        const struct relation *relation = relation_at(i);
        char sql[64], *trace;

        assert_true(relation->n_columns <= CONSOLE_MAX_COLUMNS);
        assert_true(strlen(relation->help) > 0);
        if (relation->fill == NULL)
            continue;
        for (int format = 0; format < 2; format++) {
            snprintf(sql, sizeof(sql), "SHOW %s", relation->name);
            put_parse(&b, "", sql);
            put_bind(&b, "", "", 1, format);
            put_execute(&b, "", 0);
            put_sync(&b);
            harness_send(h, &b);
            trace = harness_trace(h);
            assert_int_equal(strncmp(trace, "1\n2\n", 4), 0);
            assert_non_null(strstr(trace, "C SHOW\nZ I\n"));
            assert_null(strstr(trace, "\nE "));
            free(trace);
        }
    }
    buf_free(&b);
}

/* The rows of a SHOW without header and end; free(). */
static char *rows_of(struct harness *h, const char *sql)
{
    char *trace = harness_ask(h, sql);
    char *start = strchr(trace, '\n') + 1;
    char *end = strstr(trace, "C SHOW\nZ I\n");

    assert_non_null(end);
    memmove(trace, start, (size_t)(end - start));
    trace[end - start] = '\0';
    return trace;
}

static void check_rows(struct harness *h, const char *sql, const char *expected)
{
    char *rows = rows_of(h, sql);

    assert_string_equal(rows, expected);
    free(rows);
}

static void has_row(struct harness *h, const char *sql, const char *row)
{
    char *rows = rows_of(h, sql);

    if (strstr(rows, row) == NULL)
        print_error("%s has no %s but\n%s", sql, row, rows);
    assert_non_null(strstr(rows, row));
    free(rows);
}

static void test_pools(void **state)
{
    struct harness *h = *state;
    struct registry *registry = h->instance.registry;
    struct pool *p = registry_find_pool(registry, "app", "bob");
    struct ticket ticket = {.client = 5};
    struct pool_acts acts = {.n = 0};

    atomic_store(&p->clients, 3);
    pool_checkout(p, &ticket, h->now_us, &acts);
    h->now_us += 2 * USEC_PER_SEC + 7;
    check_rows(h, "SHOW POOLS",
               "D app,alice,0,0,0,0,0,0,0,0,0,0,0,0,0,transaction,round-robin,0,0,3,0.000,0,0,0,0\n"
               "D app,bob,2,1,0,0,0,0,0,0,0,0,1,2,7,transaction,round-robin,0,0,7,0.000,0,0,0,0\n"
               "D other,alice,0,0,0,0,0,0,0,0,0,0,0,0,0,session,~,0,0,4,0.000,0,0,0,0\n"
               "D pgbouncer,pgbouncer,1,0,0,0,0,0,0,0,0,0,0,0,0,statement,~,0,0,0,0.000,0,0,0,0\n");
    registry_retire(registry, registry_find_pool(registry, "other", "alice"));
    check_rows(h, "SHOW UTILIZATION",
               "D app,alice,3,0,0,0,0.000,0.000,0.000,0.000,0.000,0,0.000,0,0\n"
               "D app,bob,7,0,0,1,0.000,0.000,0.000,0.000,0.000,0,0.000,0,0\n");
    has_row(h, "SHOW LISTS", "D databases,3\nD users,2\nD peers,0\nD pools,3\n");
    has_row(h, "SHOW LISTS", "D used_clients,4\nD login_clients,0\nD free_servers,0\nD used_servers,1\n");
    assert_true(pool_cancel(p, &ticket, h->now_us));
}

static void test_databases(void **state)
{
    struct harness *h = *state;
    struct registry *registry = h->instance.registry;
    struct pool_database *app = registry_get_database(registry, "app");

    atomic_store(&app->clients, 4);
    atomic_store(&app->limits.count, 2);
    registry_set_paused(registry, app, true);
    registry_set_disabled(registry, registry_get_database(registry, "other"), true);
    check_rows(h, "SHOW DATABASES",
               "D app,db1,db2,5433,app_prod,~,7,0,0,3600,transaction,round-robin,0,2,0,4,1,0,any,0,0,~\n"
               "D other,~,5432,other,~,11,0,0,3600,~,~,0,0,0,0,0,1,any,0,0,~\n"
               "D pgbouncer,~,7000,pgbouncer,pgbouncer,2,0,0,3600,statement,~,0,0,0,1,0,0,~,0,0,~\n");
    check_rows(h, "SHOW USERS",
               "D alice,        3,,~,9,0,0,0\n"
               "D bob,,,~,0,0,0,0\n");
    atomic_store(&app->limits.count, 0);
}

static void test_fallback(void **state)
{
    static const char ini[] = "[databases]\n* = host=h port=1\n[pgbouncer]\nauth_type=any\nlisten_port=7000\n"
                              "server_tls_sslmode=disable\n";
    struct harness *h = harness_new(ini);

    (void)state;
    harness_open(h, 0, 1, true);
    free(harness_trace(h));
    check_rows(h, "SHOW DATABASES",
               "D app,h,1,app,~,20,0,0,3600,~,~,0,0,0,0,0,0,any,0,0,~\n"
               "D other,h,1,other,~,20,0,0,3600,~,~,0,0,0,0,0,0,any,0,0,~\n"
               "D pgbouncer,~,7000,pgbouncer,pgbouncer,2,0,0,3600,statement,~,0,0,0,1,0,0,~,0,0,~\n");
    registry_retire_database(h->instance.registry, registry_get_database(h->instance.registry, "app"));
    check_rows(h, "SHOW DATABASES",
               "D other,h,1,other,~,20,0,0,3600,~,~,0,0,0,0,0,0,any,0,0,~\n"
               "D pgbouncer,~,7000,pgbouncer,pgbouncer,2,0,0,3600,statement,~,0,0,0,1,0,0,~,0,0,~\n");
    harness_free(h);
}

static void test_config(void **state)
{
    struct harness *h = *state;

    has_row(h, "SHOW CONFIG", "D default_pool_size,11,20,yes,test.ini:9\n");
    has_row(h, "SHOW CONFIG", "D listen_backlog,128,128,no,default\n");
    has_row(h, "SHOW CONFIG", "D auth_file,~,~,yes,default\n");
    has_row(h, "SHOW CONFIG", "D query_wait_timeout,120,120,yes,default\n");
    check_rows(h, "SHOW ENVIRONMENT", "D ~,environment,~,default\n");
}

static void test_environment(void **state)
{
    static const char ini[] = "[databases]\na =\n[pgsluice]\nauth_type = any\nenvironment = sidecar\n"
                              "min_pool_size = 1\n[environment.sidecar]\nmax_client_conn = 77\n";
    struct harness *h = harness_new(ini);

    (void)state;
    harness_open(h, 0, 1, true);
    free(harness_trace(h));
    has_row(h, "SHOW ENVIRONMENT", "D sidecar,default_pool_size,5,environment sidecar\n");
    has_row(h, "SHOW ENVIRONMENT", "D sidecar,max_client_conn,77,[environment.sidecar] test.ini:8\n");
    has_row(h, "SHOW ENVIRONMENT", "D sidecar,environment,sidecar,test.ini:5\n");
    {
        char *rows = rows_of(h, "SHOW ENVIRONMENT");

        assert_null(strstr(rows, "min_pool_size")); /* the section has the last word */
        free(rows);
    }
    harness_free(h);
}

static void add_counts(struct harness *h, const char *database, const char *user, uint64_t n)
{
    struct pool *p = registry_find_pool(h->instance.registry, database, user);
    struct stats_shard *shard = pool_stats_shard(&p->stats, 1);

    assert_non_null(shard);
    counter_add(&shard->counters.server_assignment_count, n);
    counter_add(&shard->counters.xact_count, 2 * n);
    counter_add(&shard->counters.query_count, 4 * n);
    counter_add(&shard->counters.bytes_received, 100 * n);
    counter_add(&shard->counters.bytes_sent, 200 * n);
    counter_add(&shard->counters.xact_time_us, 2 * n * 50);
    counter_add(&shard->counters.query_time_us, 4 * n * 20);
    counter_add(&shard->counters.wait_time_us, 30 * n);
    counter_add(&shard->counters.client_parse_count, 10 * n);
    counter_add(&shard->counters.server_parse_count, 20 * n);
    counter_add(&shard->counters.bind_count, 30 * n);
    counter_add(&shard->counters.client_login_count, 40 * n);
}

#define ZEROS_12 "0,0,0,0,0,0,0,0,0,0,0,0"

static void test_stats(void **state)
{
    struct harness *h = *state;
    struct registry *registry = h->instance.registry;
    struct buf line;
    int64_t start = clock_now_us();

    for (int i = 0; i < registry_count(registry); i++) {
        pool_stats_destroy(&registry_pool(registry, i)->stats);
        pool_stats_init(&registry_pool(registry, i)->stats, start);
    }
    add_counts(h, "app", "alice", 10);
    add_counts(h, "app", "bob", 20);
    for (int i = 0; i < registry_count(registry); i++)
        pool_stats_tick(&registry_pool(registry, i)->stats, start + 10 * USEC_PER_SEC);
    add_counts(h, "app", "bob", 1);

#define APP_TOTALS   "31,62,124,3100,6200,3100,2480,930,310,620,930,1240"
#define APP_AVERAGES "3,6,12,300,600,50,20,90,30,60,90,120"
    check_rows(h, "SHOW STATS",
               "D app," APP_TOTALS "," APP_AVERAGES ",124\nD other," ZEROS_12 "," ZEROS_12 ",0\n"
               "D pgbouncer," ZEROS_12 "," ZEROS_12 ",0\n");
    check_rows(h, "SHOW STATS_TOTALS",
               "D app," APP_TOTALS "\nD other," ZEROS_12 "\nD pgbouncer," ZEROS_12 "\n");
    check_rows(h, "SHOW STATS_AVERAGES",
               "D app," APP_AVERAGES "\nD other," ZEROS_12 "\nD pgbouncer," ZEROS_12 "\n");
    check_rows(
        h, "SHOW TOTALS",
        "D total_server_assignment_count,31\nD total_xact_count,62\nD total_query_count,124\n"
        "D total_client_bytes,3100\nD total_server_bytes,6200\nD total_xact_time,3100\n"
        "D total_query_time,2480\nD total_wait_time,930\nD total_ps_client_parse_count,310\n"
        "D total_ps_server_parse_count,620\nD total_ps_bind_count,930\nD total_client_login_count,1240\n"
        "D avg_server_assignment_count,3\nD avg_xact_count,6\nD avg_query_count,12\n"
        "D avg_client_bytes,300\nD avg_server_bytes,600\nD avg_xact_time,50\nD avg_query_time,20\n"
        "D avg_wait_time,90\nD avg_ps_client_parse_count,30\nD avg_ps_server_parse_count,60\n"
        "D avg_ps_bind_count,90\nD avg_client_login_count,120\n");

    buf_init(&line, 0);
    console_log_stats(registry, &line);
    assert_string_equal(buf_cstr(&line),
                        "stats: 6 xacts/s, 12 queries/s, 30 client parses/s, 60 server parses/s, 90 binds/s, "
                        "120 client logins/s, in 300 B/s, out 600 B/s, xact 50 us, query 20 us, wait 90 us");
    buf_free(&line);
}

static void test_latency(void **state)
{
    struct harness *h = *state;
    struct pool *p = registry_find_pool(h->instance.registry, "app", "bob");
    struct stats_shard *shard = pool_stats_shard(&p->stats, 0);

    for (int i = 0; i < 100; i++)
        stats_shard_record(shard, LATENCY_QUERY, 20);
    has_row(h, "SHOW LATENCY", "D app,bob,query,100,20,20,20,20,20,20,20\n");
    has_row(h, "SHOW LATENCY", "D app,alice,idle_in_transaction,0,0,0,0,0,0,0,0\n");
}

static void test_process(void **state)
{
    struct harness *h = *state;
    struct shard *sh = h->instance.shards[1];

    atomic_store(&sh->n_clients, 5);
    atomic_store(&sh->n_servers, 4);
    atomic_store(&sh->handoffs, 3);
    atomic_store(&sh->steals, 2);
    atomic_store(&sh->adopted, 1);
    atomic_store(&sh->loop.turns, 10);
    atomic_store(&sh->loop.busy_us, 75);
    atomic_store(&sh->loop.max_turn_us, 20);
    atomic_store(&sh->n_listeners, 6);
    atomic_store(&sh->notifications, 7);
    check_rows(h, "SHOW WORKERS", "D 0,0,0,0,0,0,0,0,0,0,0,0\nD 1,5,4,3,2,1,10,75,7,20,6,7\n");

    check_rows(h, "SHOW ERRORS", "");
    stats_errors_count_close(h->instance.errors, 1, CLOSE_QUERY_WAIT_TIMEOUT);
    stats_errors_count_sqlstate(h->instance.errors, 0, "40001");
    stats_errors_count_sqlstate(h->instance.errors, 1, "40P01");
    check_rows(h, "SHOW ERRORS",
               "D close,query_wait_timeout,query_wait_timeout,1\nD sqlstate,40,transaction rollback,2\n");
    check_rows(h, "SHOW VERSION", "D pgsluice " PACKAGE_VERSION "\n");
    assert_string_equal(console_version_text(), "pgsluice " PACKAGE_VERSION);
}

/* A large answer goes in pieces, and only the last says that the input is done. */
static void test_pieces(void **state)
{
    struct harness *h = *state;
    struct buf sql;
    int n = h->n_last;

    buf_init(&sql, 0);
    for (int i = 0; i < 100; i++)
        buf_append_str(&sql, "SHOW CONFIG;");
    harness_query(h, buf_cstr(&sql));
    assert_int_equal(h->n_last, n + 1);
    assert_true(h->out.len > 300000);
    buf_clear(&h->out);

    /* nor can a small question cost any amount of memory */
    buf_clear(&sql);
    for (int i = 0; i < 20000; i++)
        buf_append_str(&sql, "SHOW CONFIG;");
    harness_query(h, buf_cstr(&sql));
    assert_int_equal(h->n_last, n + 2);
    assert_true(h->is_closing);
    assert_true(h->out.len < 80000000);
    buf_free(&sql);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test_setup_teardown(test_all_relations, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pools, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_databases, harness_setup, harness_teardown),
        cmocka_unit_test(test_fallback),
        cmocka_unit_test_setup_teardown(test_config, harness_setup, harness_teardown),
        cmocka_unit_test(test_environment),
        cmocka_unit_test_setup_teardown(test_stats, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_latency, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_process, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pieces, harness_setup, harness_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
