/*
 * test_http_request.c - heads of HTTP requests: what is taken, what is refused, and with which status.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http_int.h"

/* The text lies at the end of its memory, so that a sanitizer sees a read beyond it. */
static int parse(const char *text, size_t len, struct http_request *rq)
{
    char *copy = malloc(len > 0 ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    int status = http_request_parse(copy, len, rq);
    free(copy);
    return status;
}

#define H " HTTP/1.1\r\nHost: x\r\n\r\n"

static void test_requests(void **state)
{
    static const struct {
        const char *text;
        int status;
        const char *path, *query;
        bool is_head;
    } rows[] = {
        {"GET /livez" H, 200, "/livez", "", false},
        {"HEAD /metrics" H, 200, "/metrics", "", true},
        {"GET /readyz?databases" H, 200, "/readyz", "databases", false},
        {"GET /?" H, 200, "/", "", false},
        {"GET /a?b?c=d&e" H, 200, "/a", "b?c=d&e", false},
        {"GET http://host:80/livez?x" H, 200, "/livez", "x", false},
        {"GET HTTP://host" H, 200, "/", "", false},
        {"\r\n\r\nGET / HTTP/1.1\nhost: x\n\n", 200, "/", "", false},
        {"GET / HTTP/1.0\r\n\r\n", 200, "/", "", false},
        {"GET / HTTP/1.1\r\nA: b\r\nHOST:\r\n\r\nbody", 200, "/", "", false},
        {"GET / HTTP/1.1\r\nHost: x\r\nX: a\tb \r\n\r\n", 200, "/", "", false},
        /* more is needed */
        {"", 0, NULL, NULL, false},
        {"GET / HTTP/1.1", 0, NULL, NULL, false},
        {"GET / HTTP/1.1\r\nHost: x\r\n", 0, NULL, NULL, false},
        {"GET / HTTP/1.1\r\nHost: x\r\n\r", 0, NULL, NULL, false},
        /* refused */
        {"GET / HTTP/1.1\r\n\r\n", 400, NULL, NULL, false}, /* no Host */
        {"GET /\r\n\r\n", 400, NULL, NULL, false},
        {"GET  / HTTP/1.1\r\n", 400, NULL, NULL, false},
        {"GET / x HTTP/1.1\r\n", 400, NULL, NULL, false},
        {" / HTTP/1.1\r\n", 400, NULL, NULL, false},
        {"G\001T / HTTP/1.1\r\n", 400, NULL, NULL, false},
        {"GET /\177 HTTP/1.1\r\n", 400, NULL, NULL, false},
        {"GET livez" H, 400, NULL, NULL, false},
        {"GET * HTTP/1.1\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/1,1\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/1.1 \r\n", 400, NULL, NULL, false},
        {"GET / http/1.1\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/2.0\r\n", 505, NULL, NULL, false},
        {"GET / HTTP/0.9\r\n", 505, NULL, NULL, false},
        {"POST /metrics HTTP/1.1\r\n", 405, NULL, NULL, false},
        {"get / HTTP/1.1\r\n", 405, NULL, NULL, false},
        {"GETT / HTTP/1.1\r\n", 405, NULL, NULL, false},
        {"GET / HTTP/1.1\r\nHost : x\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/1.1\r\nno colon\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/1.1\r\n: x\r\n", 400, NULL, NULL, false},
        {"GET / HTTP/1.1\r\nX: a\rb\r\n", 400, NULL, NULL, false},
        {"\x16\x03\x01\x02\n", 400, NULL, NULL, false}, /* TLS */
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct http_request rq;
        int status = parse(rows[i].text, strlen(rows[i].text), &rq);
        if (status != rows[i].status)
            fail_msg("%d instead of %d for: %s", status, rows[i].status, rows[i].text);
        if (status != 200)
            continue;
        assert_string_equal(rq.path, rows[i].path);
        assert_string_equal(rq.query, rows[i].query);
        assert_int_equal(rq.is_head, rows[i].is_head);
    }
}

static void test_every_prefix_asks_for_more(void **state)
{
    static const char text[] = "\r\nGET /readyz?databases HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    struct http_request rq;
    (void)state;
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        assert_int_equal(parse(text, len, &rq), HTTP_INCOMPLETE);
    assert_int_equal(parse(text, sizeof(text) - 1, &rq), 200);
}

static int parse_long(const char *before, char fill, size_t n, const char *behind)
{
    struct http_request rq;
    struct buf b;
    buf_init(&b, 0);
    buf_append_str(&b, before);
    for (size_t i = 0; i < n; i++)
        buf_append_byte(&b, (uint8_t)fill);
    buf_append_str(&b, behind);
    int status = parse((const char *)b.data, b.len, &rq);
    buf_free(&b);
    return status;
}

static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(parse_long("GET /", 'a', HTTP_PATH_BYTES - 2, H), 200);
    assert_int_equal(parse_long("GET /", 'a', HTTP_PATH_BYTES - 1, H), 414);
    assert_int_equal(parse_long("GET /?", 'a', HTTP_QUERY_BYTES - 1, H), 200);
    assert_int_equal(parse_long("GET /?", 'a', HTTP_QUERY_BYTES, H), 414);
    assert_int_equal(parse_long("GET / HTTP/1.1\r\nX: ", 'a', HTTP_REQUEST_MAX_BYTES - 40, ""),
                     HTTP_INCOMPLETE);
    assert_int_equal(parse_long("GET / HTTP/1.1\r\nX: ", 'a', HTTP_REQUEST_MAX_BYTES, ""), 431);
    assert_int_equal(parse_long("", 'a', HTTP_REQUEST_MAX_BYTES, ""), 431);
    assert_int_equal(parse_long("", '\n', HTTP_REQUEST_MAX_BYTES, ""), 431);
}

static void test_query_words(void **state)
{
    (void)state;
    assert_true(http_query_has("databases", "databases"));
    assert_true(http_query_has("a=b&databases=1", "databases"));
    assert_true(http_query_has("databases&x", "databases"));
    assert_false(http_query_has("", "databases"));
    assert_false(http_query_has("databasesx", "databases"));
    assert_false(http_query_has("xdatabases", "databases"));
    assert_false(http_query_has("x=databases", "databases"));
    assert_false(http_query_has("database", "databases"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_every_prefix_asks_for_more),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_query_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
