/*
 * test_wire_codec.c - reading and building messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/codec.h"

static void put_error(struct buf *b)
{
    wire_put_error(b, "FATAL", "08P01", "m", NULL, "h");
}
static void put_notice(struct buf *b)
{
    wire_put_notice(b, "LOG", "00000", "m", "d", NULL);
}
static void put_auth(struct buf *b)
{
    wire_put_auth(b, 5, "salt", 4);
}
static void put_auth_ok(struct buf *b)
{
    wire_put_auth(b, 0, NULL, 0);
}
static void put_parameter_status(struct buf *b)
{
    wire_put_parameter_status(b, "a", "bc");
}
static void put_backend_key(struct buf *b)
{
    wire_put_backend_key(b, 0x01020304, "12345678", 8);
}
static void put_ready(struct buf *b)
{
    wire_put_ready(b, 'T');
}
static void put_command_complete(struct buf *b)
{
    wire_put_command_complete(b, "SET");
}
static void put_negotiate(struct buf *b)
{
    static const char *const unknown[] = {"_pq_.x", "_pq_.y"};
    wire_put_negotiate(b, 2, unknown, 2);
}
static void put_rows(struct buf *b)
{
    static const struct wire_column columns[] = {{"n", 23, 4}, {"t", 25, -1}};
    uint32_t row;
    wire_put_row_description(b, columns, 2);
    wire_begin_row(b, 3, &row);
    wire_row_text(b, "10");
    wire_row_text(b, NULL);
    wire_row_text(b, "");
    wire_end_row(b, row);
}
static void put_startup(struct buf *b)
{
    static const char *const names[] = {"user", "database"};
    static const char *const values[] = {"u", "d"};
    wire_put_startup(b, 0x00030002, names, values, 2);
}
static void put_cancel(struct buf *b)
{
    wire_put_cancel_request(b, 7, "abcdefgh", 8);
}
static void put_query(struct buf *b)
{
    wire_put_query(b, "BEGIN");
}
static void put_password(struct buf *b)
{
    wire_put_password(b, "pw");
}
static void put_sasl_initial(struct buf *b)
{
    wire_put_sasl_initial(b, "M", "data", 4);
}
static void put_sasl_initial_empty(struct buf *b)
{
    wire_put_sasl_initial(b, "M", NULL, 0);
}
static void put_sasl_response(struct buf *b)
{
    wire_put_sasl_response(b, "resp", 4);
}

#define BYTES(s) s, sizeof(s) - 1

static const struct {
    const char *name;
    void (*put)(struct buf *b);
    const char *bytes;
    size_t len;
} built[] = {
    {"error", put_error, BYTES("E\0\0\0\x20SFATAL\0VFATAL\0C08P01\0Mm\0Hh\0\0")},
    {"notice", put_notice, BYTES("N\0\0\0\x1cSLOG\0VLOG\0C00000\0Mm\0Dd\0\0")},
    {"auth", put_auth, BYTES("R\0\0\0\x0c\0\0\0\x05salt")},
    {"auth ok", put_auth_ok, BYTES("R\0\0\0\x08\0\0\0\0")},
    {"parameter status", put_parameter_status,
     BYTES("S\0\0\0\x09"
           "a\0bc\0")},
    {"backend key", put_backend_key,
     BYTES("K\0\0\0\x10\x01\x02\x03\x04"
           "12345678")},
    {"ready", put_ready, BYTES("Z\0\0\0\x05T")},
    {"command complete", put_command_complete, BYTES("C\0\0\0\x08SET\0")},
    {"negotiate", put_negotiate, BYTES("v\0\0\0\x1a\0\3\0\2\0\0\0\2_pq_.x\0_pq_.y\0")},
    {"rows", put_rows,
     BYTES("T\0\0\0\x2e\0\2"
           "n\0\0\0\0\0\0\0\0\0\0\x17\0\4\xff\xff\xff\xff\0\0"
           "t\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"
           "D\0\0\0\x14\0\3\0\0\0\2"
           "10\xff\xff\xff\xff\0\0\0\0")},
    {"startup", put_startup, BYTES("\0\0\0\x1b\0\3\0\2user\0u\0database\0d\0\0")},
    {"ssl request", wire_put_ssl_request, BYTES("\0\0\0\x08\x04\xd2\x16\x2f")},
    {"cancel", put_cancel, BYTES("\0\0\0\x14\x04\xd2\x16\x2e\0\0\0\7abcdefgh")},
    {"query", put_query,
     BYTES("Q\0\0\0\x0a"
           "BEGIN\0")},
    {"password", put_password, BYTES("p\0\0\0\x07pw\0")},
    {"sasl initial", put_sasl_initial, BYTES("p\0\0\0\x0eM\0\0\0\0\4data")},
    {"sasl initial, empty", put_sasl_initial_empty, BYTES("p\0\0\0\x0aM\0\xff\xff\xff\xff")},
    {"sasl response", put_sasl_response, BYTES("p\0\0\0\x08resp")},
    {"terminate", wire_put_terminate, BYTES("X\0\0\0\x04")},
};

static void test_built_messages(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(built); i++) {
        struct buf b;
        buf_init(&b, 0);
        buf_append_str(&b, "xyz"); /* messages begin anywhere */
        built[i].put(&b);
        if (b.failed || b.len != built[i].len + 3 || memcmp(b.data + 3, built[i].bytes, built[i].len) != 0)
            fail_msg("%s: %u bytes", built[i].name, b.len - 3);
        buf_free(&b);
    }
}

/* A buffer that is full at any point of the message fails, and stays within its bounds. */
static void test_built_in_full_buffers(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(built); i++) {
        for (uint32_t max = 1; max < built[i].len; max++) {
            struct buf b;
            buf_init(&b, max);
            built[i].put(&b);
            assert_true(b.failed);
            buf_free(&b);
        }
    }
}

static void test_reader(void **unused)
{
    (void)unused;
    static const uint8_t body[] = {7, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 'a', 'b', 0, 1, 2};
    struct wire_reader r;
    wire_reader_init(&r, body, sizeof(body));
    assert_int_equal(wire_read_u8(&r), 7);
    assert_int_equal(wire_read_u16(&r), 0x1234);
    assert_int_equal(wire_read_u32(&r), 0xdeadbeef);
    assert_string_equal(wire_read_cstr(&r), "ab");
    assert_false(wire_reader_done(&r));
    assert_ptr_equal(wire_read_bytes(&r, 2), body + 10);
    assert_true(wire_reader_done(&r));
    assert_non_null(wire_read_bytes(&r, 0));
    assert_int_equal(wire_read_u8(&r), 0);
    assert_true(r.bad);
    assert_false(wire_reader_done(&r));
}

static void test_reader_runs_out(void **unused)
{
    (void)unused;
    static const uint8_t body[] = {1, 'a', 'b'};
    struct wire_reader r;

    wire_reader_init(&r, body, sizeof(body));
    assert_int_equal(wire_read_u32(&r), 0);
    assert_int_equal(wire_read_u8(&r), 0); /* bad for good, though a byte is there */
    assert_string_equal(wire_read_cstr(&r), "");

    wire_reader_init(&r, body, sizeof(body));
    assert_string_equal(wire_read_cstr(&r), ""); /* no NUL */
    assert_true(r.bad);

    wire_reader_init(&r, body, sizeof(body));
    assert_null(wire_read_bytes(&r, SIZE_MAX));
    assert_true(r.bad);

    wire_reader_init(&r, NULL, 0);
    assert_true(wire_reader_done(&r));
    assert_string_equal(wire_read_cstr(&r), "");
    assert_false(wire_reader_done(&r));
}

static const struct {
    const char *name;
    const char *body;
    size_t len;
    bool is_ok;
    struct wire_error want;
} errors[] = {
    {"all fields",
     BYTES("SFEHLER\0VERROR\0C42601\0Mbad\0Dwhy\0Hdo\0P12\0Fx.c\0Rparserx\0\0"),
     true,
     {"ERROR", "42601", "bad", "why", "do", "parserx"}},
    {"V before S", BYTES("VERROR\0SFEHLER\0\0"), true, {"ERROR", "", "", "", "", ""}},
    {"S only", BYTES("SERROR\0Mx\0\0"), true, {"ERROR", "", "x", "", "", ""}},
    {"no field", BYTES("\0"), true, {"", "", "", "", "", ""}},
    {"empty", BYTES(""), false, {"", "", "", "", "", ""}},
    {"no terminator", BYTES("Mx\0"), false, {"", "", "x", "", "", ""}},
    {"string without end", BYTES("Mx"), false, {"", "", "", "", "", ""}},
    {"something behind it", BYTES("Mx\0\0y"), false, {"", "", "x", "", "", ""}},
};

static void test_parse_error(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        struct wire_error e;
        bool is_ok = wire_parse_error((const uint8_t *)errors[i].body, errors[i].len, &e);
        if (is_ok != errors[i].is_ok)
            fail_msg("%s", errors[i].name);
        assert_string_equal(e.severity, errors[i].want.severity);
        assert_string_equal(e.sqlstate, errors[i].want.sqlstate);
        assert_string_equal(e.message, errors[i].want.message);
        assert_string_equal(e.detail, errors[i].want.detail);
        assert_string_equal(e.hint, errors[i].want.hint);
        assert_string_equal(e.routine, errors[i].want.routine);
    }
}

static void test_parse_parameter_status(void **unused)
{
    (void)unused;
    const char *name, *value;
    assert_true(wire_parse_parameter_status((const uint8_t *)"a\0bc", 5, &name, &value));
    assert_string_equal(name, "a");
    assert_string_equal(value, "bc");
    assert_true(wire_parse_parameter_status((const uint8_t *)"a\0", 3, &name, &value));
    assert_string_equal(value, "");
    assert_false(wire_parse_parameter_status((const uint8_t *)"a\0bc", 4, &name, &value));
    assert_false(wire_parse_parameter_status((const uint8_t *)"a\0b\0c", 5, &name, &value));
    assert_false(wire_parse_parameter_status((const uint8_t *)"", 0, &name, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_messages), cmocka_unit_test(test_built_in_full_buffers),
        cmocka_unit_test(test_reader),         cmocka_unit_test(test_reader_runs_out),
        cmocka_unit_test(test_parse_error),    cmocka_unit_test(test_parse_parameter_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
