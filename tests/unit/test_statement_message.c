/*
 * test_statement_message.c - which statement a message is about, and the same message about another one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "wire/statement_message.h"

/* The header's length word is made from the body's. */
static uint32_t make(uint8_t *out, char type, const char *body, uint32_t body_bytes)
{
    out[0] = (uint8_t)type;
    wire_set_u32(out + 1, body_bytes + 4);
    memcpy(out + WIRE_HEADER_BYTES, body, body_bytes);
    return WIRE_HEADER_BYTES + body_bytes;
}

#define BODY(text) text, sizeof(text) - 1

static const struct look {
    const char *what;
    char type;
    const char *body;
    uint32_t body_bytes;
    enum statement_look look;
    const char *name;
} looks[] = {
    {"parse", 'P', BODY("s1\0SELECT 1\0\0\0"), STATEMENT_NAMED, "s1"},
    {"unnamed parse", 'P', BODY("\0SELECT 1\0\0\0"), STATEMENT_NONE, NULL},
    {"bind", 'B', BODY("\0s1\0\0\0\0\0\0\0"), STATEMENT_NAMED, "s1"},
    {"bind of a portal", 'B', BODY("portal\0s1\0\0\0\0\0\0\0"), STATEMENT_NAMED, "s1"},
    {"bind of a portal to the unnamed one", 'B', BODY("portal\0\0\0\0\0\0\0\0"), STATEMENT_NONE, NULL},
    {"unnamed bind", 'B', BODY("\0\0\0\0\0\0\0\0"), STATEMENT_NONE, NULL},
    {"describe", 'D', BODY("Ss1\0"), STATEMENT_NAMED, "s1"},
    {"describe of a portal", 'D', BODY("Ps1\0"), STATEMENT_NONE, NULL},
    {"describe of the unnamed one", 'D', BODY("S\0"), STATEMENT_NONE, NULL},
    {"close", 'C', BODY("Ss1\0"), STATEMENT_NAMED, "s1"},
    {"close of a portal", 'C', BODY("Ps1\0"), STATEMENT_NONE, NULL},
    {"empty describe", 'D', BODY(""), STATEMENT_NONE, NULL},
    {"empty bind", 'B', BODY(""), STATEMENT_NONE, NULL},
    {"parse without an end", 'P', BODY("s1"), STATEMENT_NONE, NULL},
    {"bind without a statement", 'B', BODY("p\0s1"), STATEMENT_NONE, NULL},
};

static void test_looks(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(looks); i++) {
        const struct look *l = &looks[i];
        uint8_t message[64];
        uint32_t n = make(message, l->type, l->body, l->body_bytes);
        struct statement_message m;
        enum statement_look got = statement_look(message, n, &m);
        if (got != l->look)
            fail_msg("%s: %d", l->what, (int)got);
        if (got == STATEMENT_NAMED) {
            assert_string_equal(m.name, l->name);
            assert_int_equal(m.name_bytes, strlen(l->name));
            assert_true(statement_is_named(message, n));
        } else if (l->body_bytes > 1 && l->body[0] != 'p' && l->body[0] != 's') {
            assert_false(statement_is_named(message, n));
        }
        /* what has not arrived is waited for, in whatever pieces */
        if (got == STATEMENT_NAMED)
            for (uint32_t here = WIRE_HEADER_BYTES; here < m.head_bytes; here++) {
                struct statement_message part;
                assert_true(statement_is_named(message, here));
                assert_int_equal(statement_look(message, here, &part), STATEMENT_MORE);
            }
    }
}

/* A name is not searched for behind the end of its message. */
static void test_ends_with_the_message(void **state)
{
    uint8_t data[64];
    struct statement_message m;
    (void)state;
    uint32_t n = make(data, 'D', BODY("Sab"));
    memcpy(data + n, "cd\0", 3);
    assert_int_equal(statement_look(data, n + 3, &m), STATEMENT_NONE);
}

static void test_long_names(void **state)
{
    static uint8_t data[STATEMENT_MAX_NAMES_BYTES + 4096];
    struct statement_message m;
    (void)state;
    memset(data, 'x', sizeof(data));
    data[0] = 'P';
    wire_set_u32(data + 1, 1 << 20);
    assert_int_equal(statement_look(data, STATEMENT_MAX_NAMES_BYTES, &m), STATEMENT_MORE);
    assert_int_equal(statement_look(data, STATEMENT_MAX_NAMES_BYTES + 1, &m), STATEMENT_TOO_LONG);
    data[STATEMENT_MAX_NAMES_BYTES] = 0;
    assert_int_equal(statement_look(data, sizeof(data), &m), STATEMENT_TOO_LONG);
    data[STATEMENT_MAX_NAMES_BYTES - 1] = 0;
    assert_int_equal(statement_look(data, sizeof(data), &m), STATEMENT_NAMED);
}

/* As the session sends it: what comes before the portal, the portal, the rest of the head, the rest of the
 * message. */
static void test_heads(void **state)
{
    static const struct {
        char type;
        const char *body;
        uint32_t body_bytes;
        const char *expected;
        uint32_t expected_bytes;
    } rows[] = {
        {'P', BODY("s1\0SELECT 1\0\0\0"), BODY("PGSLUICE_17\0SELECT 1\0\0\0")},
        {'B', BODY("\0s1\0\0\1\2"), BODY("\0PGSLUICE_17\0\0\1\2")},
        {'B', BODY("pp\0s1\0\0\1\2"), BODY("pp\0PGSLUICE_17\0\0\1\2")},
        {'D', BODY("Sa_longer_name_than_ours\0"), BODY("SPGSLUICE_17\0")},
        {'C', BODY("Ss\0"), BODY("SPGSLUICE_17\0")},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t data[64], head[STATEMENT_HEAD_BYTES], expected[64];
        uint32_t n = make(data, rows[i].type, rows[i].body, rows[i].body_bytes), before;
        struct statement_message m;
        struct buf b;
        assert_int_equal(statement_look(data, n, &m), STATEMENT_NAMED);
        uint32_t head_bytes = statement_put_head(&m, "PGSLUICE_17", 11, head, &before);
        buf_init(&b, 0);
        buf_append(&b, head, before);
        assert_int_equal(before<head_bytes, m.portal_bytes> 1);
        if (before < head_bytes)
            buf_append(&b, m.portal, m.portal_bytes);
        buf_append(&b, head + before, head_bytes - before);
        buf_append(&b, data + m.head_bytes, n - m.head_bytes);
        uint32_t expected_bytes = make(expected, rows[i].type, rows[i].expected, rows[i].expected_bytes);
        assert_int_equal(b.len, expected_bytes);
        assert_memory_equal(b.data, expected, expected_bytes);
        buf_free(&b);
    }
}

static void test_own_messages(void **state)
{
    uint8_t out[STATEMENT_HEAD_BYTES], expected[64];
    (void)state;
    struct istr *settings = istr_get("", 0);
    struct statement *s = statement_get((const uint8_t *)"SELECT 1\0\0", 11, settings);
    struct buf b;
    buf_init(&b, 0);
    buf_append_str(&b, s->name);
    buf_append(&b, "\0SELECT 1\0\0\0", 12);
    uint32_t n = make(expected, 'P', (char *)b.data, b.len);
    uint32_t head = statement_put_parse_head(s, out);
    assert_int_equal(head + s->body_bytes, n);
    assert_memory_equal(out, expected, head);
    buf_clear(&b);
    buf_append_byte(&b, 'S');
    buf_append(&b, s->name, s->name_bytes + 1u);
    n = make(expected, 'C', (char *)b.data, b.len);
    assert_int_equal(statement_put_close(s, out), n);
    assert_memory_equal(out, expected, n);
    buf_free(&b);
    statement_unref(s);
    istr_unref(settings);
}

static void test_errors(void **state)
{
    static const struct {
        const char *body;
        uint32_t body_bytes;
        uint64_t number;
        const char *expected;
        uint32_t expected_bytes;
    } rows[] = {
        {BODY("SERROR\0C26000\0Mprepared statement \"PGSLUICE_7\" does not exist\0\0"), 7,
         BODY("SERROR\0C26000\0Mprepared statement \"it\" does not exist\0\0")},
        {BODY("SERROR\0C42P05\0Mprepared statement \"PGSLUICE_71\" already exists\0Hx\0\0"), 71,
         BODY("SERROR\0C42P05\0Mprepared statement \"it\" already exists\0Hx\0\0")},
        {BODY("SERROR\0C26000\0Mkein Statement \302\273PGSLUICE_7\302\253\0\0"), 7,
         BODY("SERROR\0C26000\0Mkein Statement \302\273it\302\253\0\0")},
        {BODY("SERROR\0C42601\0Msyntax error\0DPGSLUICE_7\0\0"), 0, NULL, 0},
        {BODY("SERROR\0C42601\0Msyntax error"), 0, NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const uint8_t *body = (const uint8_t *)rows[i].body;
        uint8_t expected[128];
        struct buf b;
        assert_int_equal(statement_number_in_error(body, rows[i].body_bytes), rows[i].number);
        if (rows[i].number == 0)
            continue;
        buf_init(&b, 0);
        statement_put_error(&b, body, rows[i].body_bytes, rows[i].number, "it", 0);
        uint32_t n = make(expected, 'E', rows[i].expected, rows[i].expected_bytes);
        assert_int_equal(b.len, n);
        assert_memory_equal(b.data, expected, n);
        buf_clear(&b);
        /* another number is not touched */
        statement_put_error(&b, body, rows[i].body_bytes, rows[i].number / 10 == 7 ? 7 : 8, "it", 0);
        n = make(expected, 'E', rows[i].body, rows[i].body_bytes);
        assert_int_equal(b.len, n);
        assert_memory_equal(b.data, expected, n);
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_looks),        cmocka_unit_test(test_ends_with_the_message),
        cmocka_unit_test(test_long_names),   cmocka_unit_test(test_heads),
        cmocka_unit_test(test_own_messages), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
