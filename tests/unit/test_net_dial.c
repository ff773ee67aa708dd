/*
 * test_net_dial.c - connecting: literals, names, Unix sockets, dead hosts, cancelling at each point.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "hosts_int.h"
#include "net/helper.h"

struct result {
    struct dial dial; /* first */
    int calls, fd;
    int *left; /* loop stops when it falls to 0 */
};

static struct loop loop;

static void on_mail(struct loop *l, struct mail *m)
{
    (void)l;
    assert_int_equal(m->type, MAIL_DIAL_RESOLVED);
    dial_on_mail(m);
}

static void on_done(struct dial *d, int fd)
{
    struct result *r = container_of(d, struct result, dial);
    assert_true((d->state != NULL) == (fd >= 0)); /* connected: it could go on */
    r->calls++;
    r->fd = fd;
    if (--*r->left == 0)
        loop_stop(d->loop);
}

/* A listening socket on a free port of loopback. */
static int listen_tcp(int *port, int backlog)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(in);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    if (backlog >= 0)
        assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &bytes), 0);
    *port = ntohs(in.sin_port);
    return fd;
}

static void dial_and_run(struct result *r, const struct dial_options *o)
{
    int left = 1;
    *r = (struct result){.left = &left};
    assert_true(dial_start(&r->dial, &loop, o, on_done, NULL));
    assert_int_equal(r->calls, 0); /* never from within dial_start() */
    loop_run(&loop);
    assert_int_equal(r->calls, 1);
}

static const struct dial_options defaults = {
    .dns_ttl_us = 15 * USEC_PER_SEC,
    .dns_negative_ttl_us = 15 * USEC_PER_SEC,
    .keepalive = true,
    .keepidle_s = 30,
};

/* A name with an empty label is refused by the resolver itself: no packet leaves the machine.
 * '+' a port that listens, '-' one that is bound and refuses */
static const struct row {
    const char *hosts;
    uint32_t turn;
    char port;
    const char *host; /* reached, or NULL */
    const char *error;
} rows[] = {
    {"127.0.0.1", 0, '+', "127.0.0.1", ""},
    {"localhost", 0, '+', "localhost", ""},
    {"127.0.0.1", 0, '-', NULL, "could not connect to \"127.0.0.1\" port %d: Connection refused"},
    {"127.9.9.9,127.0.0.1", 0, '+', "127.0.0.1", ""},
    {"127.0.0.1,127.9.9.9", 1, '+', "127.0.0.1", ""},
    {"127.9.9.9, 127.0.0.1 ,127.9.9.8", 3, '+', "127.0.0.1", ""},
    {"no..such.name", 0, '+', NULL, "could not resolve host name \"no..such.name\": "},
    {"no..such.name,127.0.0.1", 0, '+', "127.0.0.1", ""},
    {"no..such.name,localhost", 7, '+', "localhost", ""},
    {"/nonexistent", 0, '+', NULL,
     "could not connect to \"/nonexistent/.s.PGSQL.%d\": No such file or directory"},
};

static void test_table(void **state)
{
    (void)state;
    int good_port, bad_port;
    int good = listen_tcp(&good_port, 16), bad = listen_tcp(&bad_port, -1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dial_options o = defaults;
        struct result r;
        char expected[256];
        o.hosts = rows[i].hosts;
        o.turn = rows[i].turn;
        o.port = rows[i].port == '+' ? good_port : bad_port;
        dial_and_run(&r, &o);
        if (rows[i].host != NULL) {
            assert_true(r.fd >= 0);
            assert_string_equal(r.dial.host, rows[i].host);
            assert_true(r.dial.peer_bytes > 0);
            dial_cancel(&r.dial);
            close(r.fd);
        } else {
            assert_int_equal(r.fd, -1);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(expected, sizeof(expected), rows[i].error, o.port);
#pragma GCC diagnostic pop
            if (strncmp(r.dial.error, expected, strlen(expected)) != 0)
                fail_msg("\"%s\" instead of \"%s\"", r.dial.error, expected);
        }
    }
    close(good);
    close(bad);
}

static void test_unix(void **state)
{
    (void)state;
    char dir[] = "/tmp/net-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s/.s.PGSQL.5432", dir);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&un, sizeof(un)), 0);
    assert_int_equal(listen(listener, 0), 0);
    struct dial_options o = defaults;
    o.hosts = dir;
    o.port = 5432;
    struct result r;
    dial_and_run(&r, &o);
    assert_true(r.fd >= 0);
    close(r.fd);
    dial_cancel(&r.dial);

    /* A full backlog refuses with EAGAIN: the dial tries again, until it is cancelled. */
    int left = 1;
    struct timeval tv = {0, 100000};
    struct result full[4] = {0};
    for (int i = 0; i < 4; i++) {
        full[i].left = &left;
        left = 100;
        assert_true(dial_start(&full[i].dial, &loop, &o, on_done, NULL));
    }
    event_base_loopexit(loop.base, &tv);
    event_base_loop(loop.base, 0);
    assert_int_equal(full[3].calls, 0);
    int taken;
    while ((taken = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0 && full[3].calls == 0) {
        close(taken);
        event_base_loopexit(loop.base, &tv);
        event_base_loop(loop.base, 0);
        if (full[3].calls != 0)
            break;
    }
    for (int i = 0; i < 4; i++) {
        dial_cancel(&full[i].dial);
        if (full[i].calls != 0 && full[i].fd >= 0)
            close(full[i].fd);
    }
    assert_int_equal(full[3].calls, 1);
    assert_true(full[3].fd >= 0);
    close(listener);
    unlink(un.sun_path);
    rmdir(dir);
}

/* A listener with a full backlog swallows SYNs: connecting goes on and on. */
static int blackhole(int *port, int *filler, int n_filler)
{
    int fd = listen_tcp(port, 0);
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)*port)};
    for (int i = 0; i < n_filler; i++) {
        filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(filler[i], (struct sockaddr *)&in, sizeof(in));
    }
    return fd;
}

static void never_done(struct dial *d, int fd)
{
    (void)d, (void)fd;
    fail_msg("on_done after dial_cancel()");
}

static void run_for_ms(int ms)
{
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    event_base_loopexit(loop.base, &tv);
    event_base_loop(loop.base, 0);
}

static void test_cancel_and_attempt_timeout(void **state)
{
    (void)state;
    int port, filler[4];
    int hole = blackhole(&port, filler, 4);
    run_for_ms(50);
    struct dial_options o = defaults;
    struct dial d;
    o.hosts = "127.0.0.1";
    o.port = port;
    assert_true(dial_start(&d, &loop, &o, never_done, NULL));
    dial_cancel(&d); /* before the first step */
    dial_cancel(&d);
    assert_true(dial_start(&d, &loop, &o, never_done, NULL));
    run_for_ms(50); /* connecting */
    assert_non_null(d.state);
    dial_cancel(&d);
    run_for_ms(10);

    struct result r;
    char expected[200];
    o.hosts = "127.0.0.1,127.0.0.1"; /* the only one would have all the time */
    o.attempt_timeout_us = 50 * USEC_PER_MSEC;
    dial_and_run(&r, &o);
    assert_int_equal(r.fd, -1);
    snprintf(expected, sizeof(expected),
             "could not connect to \"127.0.0.1\" port %d: Connection timed out; "
             "could not connect to \"127.0.0.1\" port %d: Connection timed out",
             port, port);
    assert_string_equal(r.dial.error, expected);
    for (int i = 0; i < 4; i++)
        close(filler[i]);
    close(hole);
}

/* Many dials of one name: one lookup, all answered; some cancelled while it runs. */
static void test_shared_lookup(void **state)
{
    (void)state;
    enum { N = 20 };
    int port, left = 2 * N; /* no stop yet */
    int listener = listen_tcp(&port, 64);
    dial_cache_destroy(); /* nothing is under way */
    assert_int_equal(dial_cached_names(), 0);
    struct result r[N] = {0};
    struct dial_options o = defaults;
    o.hosts = "localhost";
    o.port = port;
    for (int i = 0; i < N; i++) {
        r[i].left = &left;
        assert_true(dial_start(&r[i].dial, &loop, &o, on_done, NULL));
    }
    event_base_loop(loop.base, EVLOOP_NONBLOCK | EVLOOP_ONCE); /* all first steps, and perhaps the answer */
    int n_left = 0;
    for (int i = 0; i < N; i++) {
        if (i % 2 == 0)
            dial_cancel(&r[i].dial);
        else
            n_left += r[i].calls == 0;
    }
    left = n_left;
    if (left > 0)
        loop_run(&loop);
    run_for_ms(10);
    for (int i = 0; i < N; i++) {
        if (i % 2 == 1)
            assert_int_equal(r[i].calls, 1);
        if (r[i].calls == 1 && r[i].fd >= 0)
            close(r[i].fd);
        dial_cancel(&r[i].dial);
    }
    assert_int_equal(dial_cached_names(), 1);
    assert_int_equal(dial_pending_names(), 0);
    struct dial_name_row row[2];
    assert_int_equal(dial_names_snapshot(row, 2), 1);
    assert_string_equal(row[0].name, "localhost");
    assert_non_null(strstr(row[0].addresses, "127.0.0.1"));
    assert_true(row[0].ttl_us > 0 && row[0].ttl_us <= 15 * USEC_PER_SEC);
    close(listener);
}

/* The owner goes on from a connection that is no use; what failed comes last in the next dial. */
static void test_next_and_avoid(void **state)
{
    (void)state;
    int port;
    int listener = listen_tcp(&port, 16);
    struct dial_options o = defaults;
    struct result r;
    int left = 1;

    o.hosts = "127.0.0.1,localhost,127.9.9.9";
    o.in_order = true;
    o.port = port;
    o.wanted = 3;
    o.avoid_us = 60 * USEC_PER_SEC;
    dial_and_run(&r, &o);
    assert_string_equal(r.dial.host, "127.0.0.1");
    uint64_t first = r.dial.endpoint;
    assert_true(dial_has_choice(&r.dial));
    close(r.fd);
    r.left = &left;

    left = 1;
    dial_again(&r.dial);
    loop_run(&loop);
    assert_string_equal(r.dial.host, "127.0.0.1");
    assert_true(r.dial.endpoint == first);
    close(r.fd);

    left = 1;
    dial_next(&r.dial, "is not what I want", true);
    loop_run(&loop);
    assert_string_equal(r.dial.host, "localhost");
    assert_true(r.dial.endpoint != first);
    close(r.fd);

    /* for all who want the same the first comes last now; for others it does not */
    struct result other;
    dial_and_run(&other, &o);
    assert_string_equal(other.dial.host, "localhost");
    close(other.fd);
    dial_cancel(&other.dial);
    o.wanted = 4;
    dial_and_run(&other, &o);
    assert_string_equal(other.dial.host, "127.0.0.1");
    close(other.fd);
    dial_cancel(&other.dial);

    /* nothing is left in the end, and the error names all */
    left = 1;
    dial_next(&r.dial, "is down", false);
    loop_run(&loop);
    assert_int_equal(r.fd, -1);
    assert_null(r.dial.state);
    assert_non_null(strstr(r.dial.error, "is not what I want"));
    assert_non_null(strstr(r.dial.error, "is down"));
    assert_non_null(strstr(r.dial.error, "127.9.9.9"));

    /* "down" counts for all; praise takes it back */
    o.hosts = "localhost,127.0.0.1";
    dial_and_run(&other, &o);
    assert_string_equal(other.dial.host, "127.0.0.1");
    close(other.fd);
    left = 1;
    other.left = &left;
    dial_next(&other.dial, "is down too", false);
    loop_run(&loop);
    assert_string_equal(other.dial.host, "localhost"); /* avoided, but not left out */
    close(other.fd);
    dial_praise(&other.dial);
    dial_cancel(&other.dial);
    dial_and_run(&other, &o);
    assert_string_equal(other.dial.host, "localhost");
    close(other.fd);
    dial_cancel(&other.dial);
    close(listener);
}

/* Those that are not avoided take turns. */
static void test_turns(void **state)
{
    (void)state;
    static const char *const expected[] = {"a b c d", "b d a c", "d b a c"};
    struct host_list *l = host_list_new(" a, b ,c,d");
    int64_t now_us = clock_now_us();
    uint32_t order[4];

    assert_int_equal(l->count, 4);
    for (uint32_t round = 0; round < 3; round++) {
        char text[20] = "";
        uint32_t n = host_list_order(l, 1, 0, round == 2, now_us, order);
        assert_int_equal(n, round == 0 ? 4 : 2);
        for (int i = 0; i < 4; i++)
            snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? " " : "",
                     l->names[order[i]]);
        assert_string_equal(text, expected[round]);
        avoid_add(host_endpoint("a", 1, NULL), 0, now_us + USEC_PER_SEC);
        avoid_add(host_endpoint("c", 1, NULL), 0, now_us + USEC_PER_SEC);
        assert_int_equal(host_list_order(l, 1, 0, 0, now_us + USEC_PER_SEC, order), 4); /* it is over */
    }
    free(l);

    /* of the first one's family, in turn; then the others; what is avoided last */
    static const char *const texts[] = {"10.0.0.1", "::1", "10.0.0.2", "10.0.0.3"};
    static const int turns[][4] = {{0, 3, 1, 2}, {3, 0, 1, 2}};
    struct address_list *list = address_list_new(4);
    for (int i = 0; i < 4; i++)
        assert_true(host_address(texts[i], 1, &list->items[i]));
    avoid_add(host_endpoint("x", 1, &list->items[2]), 0, now_us + USEC_PER_SEC);
    for (uint32_t turn = 0; turn < 4; turn++) {
        struct address_list *out = address_list_ordered(list, "x", 1, 0, turn, now_us);
        for (int i = 0; i < 4; i++)
            assert_memory_equal(&out->items[i], &list->items[turns[turn % 2][i]], sizeof(out->items[0]));
        address_list_unref(out);
    }
    address_list_unref(list);
}

/* The loop ends while a lookup is under way, and the answer has nobody to go to. */
static void test_shutdown_while_resolving(void **state)
{
    (void)state;
    struct dial d;
    struct dial_options o = defaults;
    o.hosts = "another..name";
    o.port = 1;
    assert_true(dial_start(&d, &loop, &o, never_done, NULL));
    event_base_loop(loop.base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
    usleep(20000); /* the answer may be in the mailbox, or not yet */
    dial_cancel(&d);
}

static int setup(void **state)
{
    char err[200];
    (void)state;
    return loop_init(&loop, on_mail, NULL) && helpers_start(2) && dial_names_start("", err, sizeof(err)) ? 0
                                                                                                         : -1;
}

static int teardown(void **state)
{
    (void)state;
    assert_true(helpers_stop(60 * USEC_PER_SEC));
    assert_true(dial_names_stop(60 * USEC_PER_SEC));
    loop_destroy(&loop);
    dial_cache_destroy();
    return dial_cached_names() == 0 ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_cancel_and_attempt_timeout),
        cmocka_unit_test(test_shared_lookup),
        cmocka_unit_test(test_next_and_avoid),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_shutdown_while_resolving),
    };
    signal(SIGPIPE, SIG_IGN);
    alarm(120);
    return cmocka_run_group_tests(tests, setup, teardown);
}
