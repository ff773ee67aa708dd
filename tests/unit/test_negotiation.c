/*
 * test_negotiation.c - what is said to the first bytes of a connection, as a table of conversations.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/negotiation.h"

#define SSL     "\0\0\0\x08\x04\xd2\x16\x2f"
#define GSS     "\0\0\0\x08\x04\xd2\x16\x30"
#define CANCEL  "\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02"
#define STARTUP "\0\0\0\x10\0\3\0\0user\0u\0\0"
#define HELLO   "\x16\x03\x01\x00\xc8\x01"
#define V2      "\0\0\0\x08\0\2\0\0"
#define V4      "\0\0\0\x08\0\4\0\0"

enum { MAX_STEPS = 4 };

/* Letters for verdicts. */
static const char letters[] = {
    [NEGOTIATION_MORE] = '.',     [NEGOTIATION_NO] = 'N',          [NEGOTIATION_TLS] = 'S',
    [NEGOTIATION_DIRECT] = 'D',   [NEGOTIATION_STARTUP] = 'u',     [NEGOTIATION_CANCEL] = 'c',
    [NEGOTIATION_INJECTED] = '!', [NEGOTIATION_NO_TLS_HERE] = 'x', [NEGOTIATION_TLS_REQUIRED] = 'r',
    [NEGOTIATION_TWICE] = '2',    [NEGOTIATION_OLD] = 'o',         [NEGOTIATION_UNSUPPORTED] = '?',
    [NEGOTIATION_TOO_LONG] = 'l', [NEGOTIATION_MALFORMED] = 'm',
};

struct packet {
    const char *data;
    size_t len;
};

#define P(s)                                                                                                 \
    {                                                                                                        \
        s, sizeof(s) - 1                                                                                     \
    }

/* The handshake is done whenever the verdict says that there is one. */
static const struct row {
    const char *name;
    struct packet packets[MAX_STEPS];
    const char *without, *may, *must; /* one letter per packet, for each policy */
} rows[] = {
    {"nothing", {P("")}, ".", ".", "."},
    {"start-up", {P(STARTUP)}, "u", "u", "r"},
    {"start-up, incomplete", {P("\0\0\0\x10\0\3\0\0user")}, ".", ".", "."},
    {"SSL, start-up", {P(SSL), P(STARTUP)}, "Nu", "Su", "Su"},
    {"SSL, incomplete", {P("\0\0\0\x08\x04\xd2\x16")}, ".", ".", "."},
    {"GSS, SSL, start-up", {P(GSS), P(SSL), P(STARTUP)}, "NNu", "NSu", "NSu"},
    {"SSL, GSS, start-up", {P(SSL), P(GSS), P(STARTUP)}, "NNu", "S2u", "S2u"},
    {"GSS, start-up", {P(GSS), P(STARTUP)}, "Nu", "Nu", "Nr"},
    {"SSL twice", {P(SSL), P(SSL)}, "N2", "S2", "S2"},
    {"GSS twice", {P(GSS), P(GSS)}, "N2", "N2", "N2"},
    {"SSL with a start-up packet behind", {P(SSL STARTUP)}, "N", "!", "!"},
    {"SSL with a ClientHello behind", {P(SSL HELLO)}, "N", "!", "!"},
    {"SSL with one byte behind", {P(SSL "x")}, "N", "!", "!"},
    {"GSS with a start-up packet behind", {P(GSS STARTUP)}, "N", "N", "N"},
    {"direct", {P(HELLO), P(STARTUP)}, "xu", "Du", "Du"},
    {"direct, one byte", {P("\x16")}, "x", "D", "D"},
    {"direct, then SSL inside", {P(HELLO), P(SSL)}, "xN", "D2", "D2"},
    {"direct, then direct inside", {P(HELLO), P(HELLO)}, "xl", "Dl", "Dl"},
    {"GSS, then direct", {P(GSS), P(HELLO)}, "Nl", "Nl", "Nl"},
    {"SSL, then direct inside", {P(SSL), P(HELLO)}, "Nl", "Sl", "Sl"},
    {"cancel in clear", {P(CANCEL)}, "c", "c", "c"},
    {"cancel inside", {P(SSL), P(CANCEL)}, "Nc", "Sc", "Sc"},
    {"version 2", {P(V2)}, "o", "o", "o"},
    {"version 4", {P(V4)}, "?", "?", "?"},
    {"too long", {P("\0\1\0\0")}, "l", "l", "l"},
    {"too short", {P("\0\0\0\x04")}, "m", "m", "m"},
    {"HTTP", {P("GET / HTTP/1.1\r\n")}, "l", "l", "l"},
};

static void converse(const struct row *row, enum negotiation_policy policy, const char *expected)
{
    struct negotiation n = {0};
    static struct startup_packet p;
    char said[MAX_STEPS + 1] = "";

    for (size_t i = 0; i < MAX_STEPS && expected[i] != '\0'; i++) {
        enum negotiation_verdict v = negotiation_take(&n, policy, (const uint8_t *)row->packets[i].data,
                                                      (uint32_t)row->packets[i].len, &p);
        said[i] = letters[v];
        if (v == NEGOTIATION_TLS || v == NEGOTIATION_DIRECT)
            negotiation_tls_done(&n);
    }
    if (strcmp(said, expected) != 0)
        fail_msg("%s, policy %d: %s instead of %s", row->name, policy, said, expected);
}

static void test_conversations(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        converse(&rows[i], NEGOTIATE_NO_TLS, rows[i].without);
        converse(&rows[i], NEGOTIATE_MAY_TLS, rows[i].may);
        converse(&rows[i], NEGOTIATE_MUST_TLS, rows[i].must);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_conversations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
