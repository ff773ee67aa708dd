/*
 * test_net_stream.c - the raw stream: backpressure, closing inside callbacks, moving between loops.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/stream.h"

#define GUARD_S 120

/* A stream at one end, a counting reader at the other. Bytes are a running pattern. */
struct end {
    struct stream stream; /* first */
    uint64_t received;
    uint64_t expected;
    bool is_intact;
    bool close_in_read, close_in_drain, free_in_callback;
    int drains, errors, last_errno, eofs;
    bool stop_on_drain, stop_on_eof;
};

static uint8_t pattern(uint64_t i)
{
    return (uint8_t)(i * 7 + (i >> 8));
}

static void fill(uint8_t *p, uint64_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = pattern(from + i);
}

static void end_close(struct end *e)
{
    struct loop *loop = e->stream.loop;
    stream_close(&e->stream);
    if (e->free_in_callback)
        free(e);
    loop_stop(loop);
}

static void on_read(struct stream *s)
{
    struct end *e = container_of(s, struct end, stream);
    if (e->close_in_read) {
        end_close(e);
        return;
    }
    uint8_t *buf = s->loop->read_buffer;
    int n = stream_recv(s, buf, LOOP_READ_BUFFER_BYTES);
    if (n > 0) {
        for (int i = 0; i < n; i++)
            if (buf[i] != pattern(e->received + (uint64_t)i))
                e->is_intact = false;
        e->received += (uint64_t)n;
        if (e->expected != 0 && e->received == e->expected)
            loop_stop(s->loop);
        return;
    }
    if (n == STREAM_AGAIN)
        return;
    if (n == STREAM_EOF)
        e->eofs++;
    stream_read_stop(s);
    if (e->stop_on_eof)
        loop_stop(s->loop);
}

static void on_drain(struct stream *s)
{
    struct end *e = container_of(s, struct end, stream);
    e->drains++;
    assert_true(stream_is_drained(s));
    if (e->close_in_drain)
        end_close(e);
    else if (e->stop_on_drain)
        loop_stop(s->loop);
}

static void on_error(struct stream *s, int err)
{
    struct end *e = container_of(s, struct end, stream);
    e->errors++;
    e->last_errno = err;
    end_close(e);
}

static const struct stream_ops ops = {on_read, on_drain, on_error};

static void no_mail(struct loop *loop, struct mail *m)
{
    (void)loop, (void)m;
}

static void pair_open(struct loop *loop, struct end *a, struct end *b)
{
    int fds[2], small = 4096;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    stream_init(&a->stream, loop, fds[0], &ops);
    stream_init(&b->stream, loop, fds[1], &ops);
    a->is_intact = b->is_intact = true;
}

static void test_direct_send(void **state)
{
    (void)state;
    struct loop loop;
    struct end a = {0}, b = {0};
    uint8_t data[100];
    assert_true(loop_init(&loop, no_mail, NULL));
    pair_open(&loop, &a, &b);
    fill(data, 0, sizeof(data));
    struct iovec iov[] = {{data, 10}, {data + 10, 0}, {data + 10, 90}};
    assert_true(stream_sendv(&a.stream, iov, 3));
    assert_true(stream_send(&a.stream, data, 0));
    assert_true(stream_is_drained(&a.stream));
    assert_true(stream_is_quiet(&a.stream));
    b.expected = 100;
    assert_true(stream_read_start(&b.stream));
    loop_run(&loop);
    assert_true(b.is_intact);
    assert_int_equal(a.drains, 0);
    stream_close(&a.stream);
    assert_false(stream_send(&a.stream, data, 1));
    stream_close(&a.stream); /* harmless */
    stream_close(&b.stream);
    loop_destroy(&loop);
}

/* A million bytes in odd pieces through a tiny buffer: in order, complete, then one drain. */
static void test_backpressure(void **state)
{
    (void)state;
    enum { TOTAL = 1000000 };
    struct loop loop;
    struct end a = {.stop_on_drain = true}, b = {0};
    static uint8_t data[TOTAL];
    assert_true(loop_init(&loop, no_mail, NULL));
    pair_open(&loop, &a, &b);
    fill(data, 0, TOTAL);
    for (uint32_t at = 0, step = 1; at < TOTAL; at += step, step = step * 3 % 9973 + 1) {
        if (step > TOTAL - at)
            step = TOTAL - at;
        struct iovec iov[2] = {{data + at, step / 2}, {data + at + step / 2, step - step / 2}};
        assert_true(stream_sendv(&a.stream, iov, 2));
    }
    assert_false(stream_is_drained(&a.stream));
    assert_true(stream_pending(&a.stream) > TOTAL / 2);
    assert_false(stream_is_quiet(&a.stream));
    assert_int_equal(a.drains, 0);
    stream_shutdown_write(&a.stream); /* after what is pending */
    assert_true(stream_read_start(&b.stream));
    loop_run(&loop);
    assert_int_equal(a.drains, 1);
    assert_int_equal(stream_pending(&a.stream), 0);
    b.stop_on_eof = true;
    loop_run(&loop);
    assert_int_equal(b.received, TOTAL);
    assert_int_equal(b.eofs, 1);
    assert_true(b.is_intact);
    stream_close(&a.stream);
    stream_close(&b.stream);
    loop_destroy(&loop);
}

static void test_pending_is_bounded(void **state)
{
    (void)state;
    struct loop loop;
    struct end a = {0}, b = {0};
    static uint8_t data[1 << 20];
    assert_true(loop_init(&loop, no_mail, NULL));
    pair_open(&loop, &a, &b);
    bool ok = true;
    int sends = 0;
    while (ok && sends++ < 100) {
        errno = 0;
        ok = stream_send(&a.stream, data, sizeof(data));
    }
    assert_false(ok);
    assert_int_equal(errno, ENOBUFS);
    assert_true(stream_pending(&a.stream) <= STREAM_PENDING_MAX_BYTES);
    stream_close(&a.stream); /* with pending output */
    stream_close(&b.stream);
    loop_destroy(&loop);
}

/* Each callback may close the stream and free what holds it (the sanitizer watches). */
static void test_close_in_callbacks(void **state)
{
    (void)state;
    enum { IN_READ, IN_DRAIN, IN_ERROR, N };
    static uint8_t data[200000];
    for (int where = 0; where < N; where++) {
        struct loop loop;
        struct end *a = calloc(1, sizeof(*a)), b = {0};
        assert_true(loop_init(&loop, no_mail, NULL));
        pair_open(&loop, a, &b);
        a->free_in_callback = true;
        assert_true(stream_read_start(&b.stream));
        if (where == IN_READ) {
            a->close_in_read = true;
            assert_true(stream_read_start(&a->stream));
            assert_true(stream_send(&b.stream, data, 10));
        } else {
            a->close_in_drain = true;
            assert_true(stream_send(&a->stream, data, sizeof(data)));
            if (where == IN_ERROR) {
                a->close_in_drain = false;
                stream_close(&b.stream);
            }
        }
        loop_run(&loop);
        stream_close(&b.stream);
        loop_destroy(&loop);
    }
}

static void test_background_error(void **state)
{
    (void)state;
    struct loop loop;
    struct end a = {0}, b = {0};
    static uint8_t data[200000];
    assert_true(loop_init(&loop, no_mail, NULL));
    pair_open(&loop, &a, &b);
    assert_true(stream_send(&a.stream, data, sizeof(data)));
    stream_close(&b.stream);
    loop_run(&loop);
    assert_int_equal(a.errors, 1);
    assert_int_equal(a.drains, 0);
    assert_true(a.last_errno == EPIPE || a.last_errno == ECONNRESET);
    loop_destroy(&loop);
}

static void test_read_stop(void **state)
{
    (void)state;
    struct loop loop;
    struct end a = {0}, b = {0};
    uint8_t data[8];
    assert_true(loop_init(&loop, no_mail, NULL));
    pair_open(&loop, &a, &b);
    fill(data, 0, sizeof(data));
    assert_true(stream_read_start(&b.stream));
    assert_true(stream_send(&a.stream, data, sizeof(data)));
    stream_read_stop(&b.stream);
    stream_read_stop(&b.stream);
    event_base_loop(loop.base, EVLOOP_NONBLOCK);
    assert_int_equal(b.received, 0);
    assert_true(stream_read_start(&b.stream));
    event_base_loop(loop.base, EVLOOP_NONBLOCK);
    assert_int_equal(b.received, 8);
    assert_int_equal(stream_recv(&b.stream, data, sizeof(data)), STREAM_AGAIN);
    stream_close(&a.stream);
    stream_close(&b.stream);
    loop_destroy(&loop);
}

/* --- moving --- */

#define MOVES 2000

struct mover {
    struct loop loop;
    struct mover *other;
    pthread_t thread;
};

enum { MAIL_ADOPT, MAIL_STOP };

/* Travels between two loops; at each stop it receives one byte, which its peer sends at the stop before. */
struct traveller {
    struct mail mail; /* first */
    struct mail stop;
    struct stream stream;
    int peer_fd;
    int moves;
};

static void traveller_on_read(struct stream *s)
{
    struct traveller *t = container_of(s, struct traveller, stream);
    struct mover *here = s->loop->arg;
    uint8_t byte;
    assert_ptr_equal(loop_current(), &here->loop);
    int n = stream_recv(s, &byte, 1);
    if (n == STREAM_AGAIN)
        return;
    assert_int_equal(n, 1);
    assert_int_equal(byte, t->moves & 255);
    if (++t->moves == MOVES) {
        t->stop.type = MAIL_STOP;
        loop_post(&here->other->loop, &t->stop);
        loop_stop(&here->loop);
        return;
    }
    assert_true(stream_is_quiet(s));
    stream_detach(s);
    byte = (uint8_t)t->moves;
    assert_int_equal(write(t->peer_fd, &byte, 1), 1); /* readable before anybody adopts it */
    loop_post(&here->other->loop, &t->mail);
}

static const struct stream_ops traveller_ops = {traveller_on_read, on_drain, on_error};

static void mover_mail(struct loop *loop, struct mail *m)
{
    if (m->type == MAIL_STOP) {
        loop_stop(loop);
        return;
    }
    struct traveller *t = container_of(m, struct traveller, mail);
    assert_true(stream_attach(&t->stream, loop));
}

static void *mover_main(void *arg)
{
    struct mover *m = arg;
    loop_run(&m->loop);
    return NULL;
}

static void test_move_between_loops(void **state)
{
    (void)state;
    struct mover a = {0}, b = {0};
    struct traveller t = {0};
    int fds[2];
    a.other = &b;
    b.other = &a;
    assert_true(loop_init(&a.loop, mover_mail, &a));
    assert_true(loop_init(&b.loop, mover_mail, &b));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    stream_init(&t.stream, &a.loop, fds[0], &traveller_ops);
    t.peer_fd = fds[1];
    uint8_t first = 0;
    assert_int_equal(write(fds[1], &first, 1), 1);
    assert_true(stream_read_start(&t.stream));
    pthread_create(&a.thread, NULL, mover_main, &a);
    pthread_create(&b.thread, NULL, mover_main, &b);
    pthread_join(a.thread, NULL);
    pthread_join(b.thread, NULL);
    assert_int_equal(t.moves, MOVES);
    stream_close(&t.stream);
    close(fds[1]);
    loop_destroy(&a.loop);
    loop_destroy(&b.loop);
}

/* Between detach and attach a stream can be closed: no event base is touched. */
static void test_close_when_detached(void **state)
{
    (void)state;
    struct loop loop;
    struct end a = {0}, b = {0};
    assert_true(loop_init(&loop, no_mail, NULL));
    pair_open(&loop, &a, &b);
    assert_true(stream_read_start(&a.stream));
    stream_detach(&a.stream);
    stream_close(&b.stream);
    loop_destroy(&loop);
    stream_close(&a.stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_direct_send),        cmocka_unit_test(test_backpressure),
        cmocka_unit_test(test_pending_is_bounded), cmocka_unit_test(test_close_in_callbacks),
        cmocka_unit_test(test_background_error),   cmocka_unit_test(test_read_stop),
        cmocka_unit_test(test_move_between_loops), cmocka_unit_test(test_close_when_detached),
    };
    signal(SIGPIPE, SIG_IGN);
    alarm(GUARD_S);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
