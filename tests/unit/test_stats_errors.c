/*
 * test_stats_errors.c - the table of close reasons, SQLSTATE classes, and their counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "stats/errors.h"

/* Every row is whole, and what is sent to a client is a well-formed error. */
static void reasons_are_well_formed(void **state)
{
    (void)state;
    for (int i = 0; i < CLOSE_REASONS; i++) {
        enum close_reason r = (enum close_reason)i;
        const char *name = close_reason_name(r), *sqlstate = close_reason_sqlstate(r);

        assert_true(strlen(close_reason_text(r)) > 0);
        assert_in_range(close_reason_side(r), CLOSE_SIDE_CLIENT, CLOSE_SIDE_BOTH);
        for (const char *p = name; *p != '\0'; p++)
            assert_true(islower((unsigned char)*p) || *p == '_');
        assert_true((sqlstate == NULL) == (close_reason_message(r) == NULL));
        if (sqlstate == NULL) {
            assert_null(close_reason_hint(r));
        } else {
            assert_int_equal(strlen(sqlstate), 5);
            assert_true(sqlstate_class_find(sqlstate) != SQLSTATE_CLASS_OTHER);
            assert_true(strlen(close_reason_message(r)) > 0);
        }
        for (int j = 0; j < i; j++)
            assert_string_not_equal(name, close_reason_name((enum close_reason)j));
    }
}

/* The words that log parsers and retry logic match. */
static void words_are_kept(void **state)
{
    static const struct {
        enum close_reason reason;
        const char *text, *sqlstate, *message;
    } rows[] = {
        {CLOSE_CLIENT_EOF, "client unexpected eof", NULL, NULL},
        {CLOSE_CLIENT_REQUEST, "client close request", NULL, NULL},
        {CLOSE_CONSOLE_REQUEST, "close req", NULL, NULL},
        {CLOSE_MAX_CLIENT_CONN, "no more connections allowed (max_client_conn)", "53300",
         "no more connections allowed (max_client_conn)"},
        {CLOSE_MAX_DB_CLIENTS, "client connections exceeded (max_db_client_connections)", "53300",
         "client connections exceeded (max_db_client_connections)"},
        {CLOSE_MAX_USER_CLIENTS, "client connections exceeded (max_user_client_connections)", "53300",
         "client connections exceeded (max_user_client_connections)"},
        {CLOSE_QUERY_WAIT_TIMEOUT, "query_wait_timeout", "53300", "query_wait_timeout"},
        {CLOSE_QUERY_TIMEOUT, "query timeout", "57014", "query_timeout"},
        {CLOSE_CLIENT_IDLE_TIMEOUT, "client_idle_timeout", "57P05", "client_idle_timeout"},
        {CLOSE_CLIENT_LOGIN_TIMEOUT, "client_login_timeout", "57014", "client_login_timeout"},
        {CLOSE_CLIENT_LOGIN_TIMEOUT_SERVER_DOWN, "client_login_timeout (server down)", "08001",
         "client_login_timeout (server down)"},
        {CLOSE_IDLE_TRANSACTION_TIMEOUT, "idle transaction timeout", "25P03", "idle transaction timeout"},
        {CLOSE_TRANSACTION_TIMEOUT, "transaction timeout", "25P04", "transaction timeout"},
        {CLOSE_CANCEL_WAIT_TIMEOUT, "cancel_wait_timeout", NULL, NULL},
        {CLOSE_CONNECT_TIMEOUT, "connect timeout", "08001", "connect timeout"},
        {CLOSE_NO_SUCH_DATABASE, "no such database", "3D000", "no such database"},
        {CLOSE_SASL_FAILED, "SASL authentication failed", "28P01", "SASL authentication failed"},
        {CLOSE_CERT_FAILED, "certificate authentication failed", "28000",
         "certificate authentication failed"},
        {CLOSE_LOGIN_REJECTED, "login rejected", "28000", "login rejected"},
        {CLOSE_SSL_REQUIRED, "SSL required", "28000", "SSL required"},
        {CLOSE_UNSUPPORTED_PARAMETER, "unsupported startup parameter", "08P01",
         "unsupported startup parameter"},
        {CLOSE_UNSUPPORTED_OPTION, "unsupported startup parameter in options", "08P01",
         "unsupported startup parameter in options"},
        {CLOSE_OLD_PROTOCOL, "old V2 protocol not supported", "0A000", "old V2 protocol not supported"},
        {CLOSE_CONNECT_FAILED, "connect failed", "08001", "connect failed"},
        {CLOSE_SERVER_CRASHED, "server conn crashed?", "08006", "server conn crashed?"},
        {CLOSE_SERVER_LOGIN_FAILED, "server login failed", "08004", "server login failed"},
        {CLOSE_SERVER_LOGIN_CACHED, "server login has been failing", "08001",
         "server login has been failing"},
        {CLOSE_SERVER_LIFETIME, "server lifetime over", NULL, NULL},
        {CLOSE_SERVER_IDLE_TIMEOUT, "server idle timeout", NULL, NULL},
        {CLOSE_CONFIG_CHANGED, "database configuration changed", NULL, NULL},
        {CLOSE_UNCLEAN, "unclean server", NULL, NULL},
        {CLOSE_CLIENT_GONE_BUSY, "client disconnect while server was not ready", NULL, NULL},
        {CLOSE_SHUTDOWN, "pooler is shutting down", "57P01", "pooler is shutting down"},
        {CLOSE_SHUTDOWN_WAIT, "server shutting down", "57P01", "server shutting down"},
        {CLOSE_ADMIN, "admin forced disconnect", "57P01", "admin forced disconnect"},
        {CLOSE_BAD_PACKET, "bad packet", "08P01", "bad packet"},
        {CLOSE_AUTH_QUERY_RESPONSE, "unexpected response from login query", "08P01",
         "unexpected response from login query"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        assert_string_equal(close_reason_text(rows[i].reason), rows[i].text);
        if (rows[i].sqlstate == NULL) {
            assert_null(close_reason_sqlstate(rows[i].reason));
        } else {
            assert_string_equal(close_reason_sqlstate(rows[i].reason), rows[i].sqlstate);
            assert_string_equal(close_reason_message(rows[i].reason), rows[i].message);
        }
    }
}

/* An attacker must not learn which users exist: only the log tells the two apart. */
static void unknown_user_looks_like_wrong_password(void **state)
{
    (void)state;
    assert_string_equal(close_reason_message(CLOSE_NO_SUCH_USER), close_reason_message(CLOSE_AUTH_FAILED));
    assert_string_equal(close_reason_sqlstate(CLOSE_NO_SUCH_USER), close_reason_sqlstate(CLOSE_AUTH_FAILED));
    assert_ptr_equal(close_reason_hint(CLOSE_NO_SUCH_USER), close_reason_hint(CLOSE_AUTH_FAILED));
    assert_string_not_equal(close_reason_text(CLOSE_NO_SUCH_USER), close_reason_text(CLOSE_AUTH_FAILED));
}

static void no_reason_is_none(void **state)
{
    (void)state;
    assert_string_equal(close_reason_name((enum close_reason)CLOSE_REASONS), "none");
    assert_string_equal(close_reason_name((enum close_reason) - 1), "none");
    assert_int_equal(CLOSE_NONE, 0);
}

static void classes_are_found(void **state)
{
    static const struct {
        const char *sqlstate, *code;
    } rows[] = {
        {"40001", "40"}, {"08P01", "08"}, {"0A000", "0A"},    {"XX000", "XX"}, {"P0001", "P0"},
        {"HV00N", "HV"}, {"57P01", "57"}, {"99999", "other"}, {"", "other"},   {"0", "other"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(sqlstate_class_code(sqlstate_class_find(rows[i].sqlstate)), rows[i].code);
    assert_string_equal(sqlstate_class_text(sqlstate_class_find("40P01")), "transaction rollback");
}

static void counts_of_writers_add_up(void **state)
{
    struct stats_errors *e = calloc(1, sizeof(*e));
    struct stats_errors_sum sum;

    (void)state;
    assert_non_null(e);
    stats_errors_count_close(e, 0, CLOSE_CLIENT_EOF);
    stats_errors_count_close(e, 63, CLOSE_CLIENT_EOF);
    stats_errors_count_close(e, STATS_ERRORS_CONTROL, CLOSE_MAX_CLIENT_CONN);
    stats_errors_count_sqlstate(e, 1, "40001");
    stats_errors_count_sqlstate(e, 2, "40P01");
    stats_errors_count_sqlstate(e, 2, "ABCDE");
    stats_errors_sum(e, &sum);
    assert_true(sum.closes[CLOSE_CLIENT_EOF] == 2);
    assert_true(sum.closes[CLOSE_MAX_CLIENT_CONN] == 1);
    assert_true(sum.closes[CLOSE_ADMIN] == 0);
    assert_true(sum.sqlstates[SQLSTATE_CLASS_40] == 2);
    assert_true(sum.sqlstates[SQLSTATE_CLASS_OTHER] == 1);
    free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reasons_are_well_formed),
        cmocka_unit_test(words_are_kept),
        cmocka_unit_test(unknown_user_looks_like_wrong_password),
        cmocka_unit_test(no_reason_is_none),
        cmocka_unit_test(classes_are_found),
        cmocka_unit_test(counts_of_writers_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
