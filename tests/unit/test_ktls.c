/*
 * test_ktls.c - what the kernel is told of keys; and, where it has TLS, records of its making as the peer
 * reads them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "ktls_int.h"
#include "net/tls.h"
#include "stream_tls_int.h"

static const uint32_t suite_ids[] = {TLS1_3_CK_AES_128_GCM_SHA256, TLS1_3_CK_AES_256_GCM_SHA384,
                                     TLS1_3_CK_CHACHA20_POLY1305_SHA256};

/* ---- numbers ---- */

static uint32_t to_hex(const uint8_t *bytes, uint32_t n, char *out)
{
    for (uint32_t i = 0; i < n; i++)
        sprintf(out + 2 * (size_t)i, "%02x", bytes[i]);
    return n;
}

/* As linux/tls.h lays it out: version and cipher (two bytes each, in the order of this machine), iv, key,
 * salt, number of the next record (in the order of networks). */
static void test_what_the_kernel_is_told(void **state)
{
#define KEY16 "101112131415161718191a1b1c1d1e1f"
#define KEY32 KEY16 "202122232425262728292a2b2c2d2e2f"
    static const struct {
        uint16_t cipher;
        const char *rest;
    } rows[] = {
        {51, "a4a5a6a7a8a9aaab" KEY16 "a0a1a2a3"
             "0000010203040506"},
        {52, "a4a5a6a7a8a9aaab" KEY32 "a0a1a2a3"
             "0000010203040506"},
        {54, "a0a1a2a3a4a5a6a7a8a9aaab" KEY32 "0000010203040506"},
    };
    struct tls13_keys k = {.seq = UINT64_C(0x010203040506)};
    (void)state;

    for (uint8_t i = 0; i < sizeof(k.key); i++)
        k.key[i] = 0x10 + i;
    for (uint8_t i = 0; i < sizeof(k.iv); i++)
        k.iv[i] = 0xa0 + i;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t info[KTLS_INFO_BYTES];
        uint16_t head[2];
        char hex[2 * KTLS_INFO_BYTES + 1];
        uint32_t n = ktls_info(tls13_suite_find(suite_ids[i]), &k, info);
        if (n == 0)
            skip(); /* built without linux/tls.h */
        memcpy(head, info, sizeof(head));
        assert_int_equal(head[0], 0x0304);
        assert_int_equal(head[1], rows[i].cipher);
        to_hex(info + sizeof(head), n - (uint32_t)sizeof(head), hex);
        assert_string_equal(hex, rows[i].rest);
    }
}

/* ---- a stream behind a handshake, and its peer ---- */

static void no_mail(struct loop *loop, struct mail *m)
{
    (void)loop, (void)m;
    abort();
}

struct ours {
    struct loop loop;
    struct stream stream;
    bool is_drained;
    int peer_fd;
    const struct tls13_suite *suite;
    struct tls13_ciphers ciphers;
    struct tls13_keys in, out; /* of the peer */
};

static void on_read(struct stream *s)
{
    (void)s;
}

static void on_drain(struct stream *s)
{
    container_of(s, struct ours, stream)->is_drained = true;
}

static void on_error(struct stream *s, int err)
{
    (void)s;
    fail_msg("sending failed: %s", strerror(err));
}

static const struct stream_ops ops = {on_read, on_drain, on_error};

static void connect_by_tcp(int fds[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int listener = socket(AF_INET, SOCK_STREAM, 0), little = 20000;

    assert_int_equal(bind(listener, (struct sockaddr *)&a, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &little, sizeof(little));
    assert_int_equal(connect(fds[1], (struct sockaddr *)&a, len), 0);
    fds[0] = accept(listener, NULL, NULL);
    assert_true(fds[0] >= 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little));
    close(listener);
}

static void begin(struct ours *o, uint32_t suite_id, int family, uint32_t n_sent)
{
    static const struct tls_secrets secrets = {.of_client = {1}, .of_server = {2}};
    int fds[2];

    memset(o, 0, sizeof(*o));
    o->suite = tls13_suite_find(suite_id);
    if (family == AF_INET)
        connect_by_tcp(fds);
    else
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    o->peer_fd = fds[1];
    assert_true(loop_init(&o->loop, no_mail, NULL));
    stream_init(&o->stream, &o->loop, fds[0], &ops);
    o->stream.tls = calloc(1, sizeof(*o->stream.tls));
    o->stream.tls->wants_kernel = true;
    assert_true(tls13_begin(&o->stream, o->suite, &secrets, n_sent));
    assert_true(tls13_keys_set(&o->in, o->suite, secrets.of_server));
    assert_true(tls13_keys_set(&o->out, o->suite, secrets.of_client));
    o->in.seq = n_sent;
}

static void end(struct ours *o)
{
    if (o->stream.fd >= 0)
        stream_close(&o->stream);
    loop_destroy(&o->loop);
    tls13_ciphers_free(&o->ciphers);
    close(o->peer_fd);
}

/* Runs our side while the peer cannot read n bytes. */
static void wait_for(struct ours *o, uint8_t *buf, size_t n)
{
    for (size_t at = 0; at < n;) {
        struct pollfd p = {o->peer_fd, POLLIN, 0};
        event_base_loop(o->loop.base, EVLOOP_NONBLOCK);
        if (poll(&p, 1, 20) != 1)
            continue;
        ssize_t got = recv(o->peer_fd, buf + at, n - at, 0);
        assert_true(got > 0);
        at += (size_t)got;
    }
}

/* The next record as the peer sees it: its type, content at record + TLS13_HEADER_BYTES. */
static uint8_t next(struct ours *o, uint8_t *record, int *len)
{
    uint8_t type = 0;

    wait_for(o, record, TLS13_HEADER_BYTES);
    uint32_t n = (uint32_t)record[3] << 8 | record[4];
    assert_true(n <= TLS13_SEALED_BYTES);
    wait_for(o, record + TLS13_HEADER_BYTES, n);
    *len = tls13_open(&o->ciphers, o->suite, &o->in, record, TLS13_HEADER_BYTES + n, &type);
    assert_true(*len >= 0);
    return type;
}

static uint8_t record[TLS13_HEADER_BYTES + TLS13_SEALED_BYTES];
static uint8_t sent[1000000];

/* Data of these bytes arrives, whoever makes the records. */
static void expect_data(struct ours *o, const uint8_t *data, size_t n)
{
    for (size_t at = 0; at < n;) {
        int len;
        assert_int_equal(next(o, record, &len), TLS13_DATA);
        assert_true(len > 0 && (size_t)len <= n - at);
        assert_memory_equal(record + TLS13_HEADER_BYTES, data + at, (size_t)len);
        at += (size_t)len;
    }
}

static void expect_close_notify(struct ours *o)
{
    int len;
    assert_int_equal(next(o, record, &len), TLS13_ALERT);
    assert_int_equal(len, 2);
    assert_memory_equal(record + TLS13_HEADER_BYTES, "\1\0", 2);
}

/* Whether a kernel has it is known before there is a connection. It hears nothing of Unix sockets. */
static void test_it_is_used_where_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(suite_ids); i++) {
        struct ours o;
        begin(&o, suite_ids[i], AF_INET, 3);
        assert_int_equal(o.stream.tls->compact->is_in_kernel, tls_kernel_is_there());
        end(&o);
        begin(&o, suite_ids[i], AF_UNIX, 3);
        assert_false(o.stream.tls->compact->is_in_kernel);
        assert_true(stream_send(&o.stream, "hello", 5));
        expect_data(&o, (const uint8_t *)"hello", 5);
        end(&o);
    }
}

/* All sizes, also what does not fit into the socket, and the end behind it: by the kernel, or by us. */
static void test_data_and_the_end(void **state)
{
    static const uint32_t sizes[] = {1, 100, 16383, 16384, 16385, 70000, sizeof(sent), 5};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(suite_ids); i++) {
        struct ours o;
        begin(&o, suite_ids[i], AF_INET, 2);
        for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
            struct iovec iov[2] = {{sent, sizes[k] / 2}, {sent + sizes[k] / 2, sizes[k] - sizes[k] / 2}};
            assert_true(k % 2 == 0 ? stream_send(&o.stream, sent, sizes[k])
                                   : stream_sendv(&o.stream, iov, 2));
            expect_data(&o, sent, sizes[k]);
        }
        assert_true(stream_send(&o.stream, sent, sizeof(sent)));
        assert_int_not_equal(stream_pending(&o.stream), 0);
        o.is_drained = false;
        stream_shutdown_write(&o.stream);
        expect_data(&o, sent, sizeof(sent));
        expect_close_notify(&o);
        while (!o.is_drained)
            event_base_loop(o.loop.base, EVLOOP_ONCE);
        assert_true(stream_is_drained(&o.stream));
        end(&o);
    }
}

/* The socket is full to the brim, and nothing is pending: the end waits for room. */
static void test_the_end_of_a_full_socket(void **state)
{
    struct ours o;
    size_t total = 0;
    (void)state;

    begin(&o, suite_ids[0], AF_INET, 0);
    if (!o.stream.tls->compact->is_in_kernel) {
        end(&o);
        skip();
    }
    ssize_t n;
    while ((n = send(o.stream.fd, sent + total % 1000, 1000, MSG_DONTWAIT)) > 0)
        total += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    stream_shutdown_write(&o.stream);
    assert_false(stream_is_drained(&o.stream));
    assert_int_equal(stream_pending(&o.stream), 0);
    int len;
    for (size_t at = 0; at < total; at += (size_t)len)
        assert_int_equal(next(&o, record, &len), TLS13_DATA);
    expect_close_notify(&o);
    end(&o);
}

static void test_the_end_by_closing(void **state)
{
    struct ours o;
    (void)state;

    begin(&o, suite_ids[1], AF_INET, 7);
    assert_true(stream_send(&o.stream, "good", 4));
    stream_close(&o.stream);
    expect_data(&o, (const uint8_t *)"good", 4);
    expect_close_notify(&o);
    assert_int_equal(recv(o.peer_fd, record, 1, 0), 0);
    end(&o);
}

static void say(struct ours *o, enum tls13_type type, const void *data, uint32_t len)
{
    uint8_t out[100];

    memcpy(out + TLS13_HEADER_BYTES, data, len);
    uint32_t n = tls13_seal(&o->ciphers, o->suite, &o->out, type, out, len);
    assert_int_equal(write(o->peer_fd, out, n), n);
    if (type == TLS13_HANDSHAKE)
        assert_true(tls13_keys_update(&o->out, o->suite));
}

static int hear(struct ours *o, uint8_t *buf, int room)
{
    struct pollfd p = {o->stream.fd, POLLIN, 0};

    assert_int_equal(poll(&p, 1, 60000), 1);
    return stream_recv(&o->stream, buf, room);
}

/* The peer may change its keys. Ours stay what they are: who asks for new ones is told that there are none.
 */
static void test_key_updates(void **state)
{
    static const uint8_t own[] = {24, 0, 0, 1, 0}, both[] = {24, 0, 0, 1, 1};
    uint8_t buf[16];
    struct ours o;
    int len;
    (void)state;

    begin(&o, suite_ids[0], AF_INET, 1);
    if (!o.stream.tls->compact->is_in_kernel) {
        end(&o);
        skip();
    }
    say(&o, TLS13_HANDSHAKE, own, sizeof(own));
    assert_int_equal(hear(&o, buf, sizeof(buf)), STREAM_AGAIN);
    say(&o, TLS13_DATA, "question", 8);
    assert_int_equal(hear(&o, buf, sizeof(buf)), 8);
    assert_true(stream_send(&o.stream, "answer", 6));
    expect_data(&o, (const uint8_t *)"answer", 6);
    say(&o, TLS13_HANDSHAKE, both, sizeof(both));
    assert_int_equal(hear(&o, buf, sizeof(buf)), STREAM_ERROR);
    assert_non_null(strstr(stream_tls_error(), "new keys"));
    assert_int_equal(next(&o, record, &len), TLS13_ALERT);
    assert_memory_equal(record + TLS13_HEADER_BYTES, "\2\120", 2); /* fatal, internal_error */
    assert_false(stream_send(&o.stream, "more", 4));
    end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_the_kernel_is_told), cmocka_unit_test(test_it_is_used_where_it_is),
        cmocka_unit_test(test_data_and_the_end),        cmocka_unit_test(test_the_end_of_a_full_socket),
        cmocka_unit_test(test_the_end_by_closing),      cmocka_unit_test(test_key_updates),
    };

    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 7 + i / 251);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
