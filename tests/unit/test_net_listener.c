/*
 * test_net_listener.c - TCP and Unix listeners, left-over socket files, running out of descriptors.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "net/listener.h"

#define MAX_ACCEPTED 16

struct accepted {
    struct loop loop;
    int fds[MAX_ACCEPTED];
    bool is_unix[MAX_ACCEPTED];
    int count, expected;
};

static void no_mail(struct loop *loop, struct mail *m)
{
    (void)loop, (void)m;
}

static void on_accept(void *arg, int fd, bool is_unix)
{
    struct accepted *a = arg;
    assert_true(a->count < MAX_ACCEPTED);
    a->is_unix[a->count] = is_unix;
    a->fds[a->count++] = fd;
    if (a->count == a->expected)
        loop_stop(&a->loop);
}

static void accepted_close(struct accepted *a)
{
    for (int i = 0; i < a->count; i++)
        close(a->fds[i]);
    a->count = 0;
}

static int tcp_connect(const char *ip, int port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, ip, &in.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

static int unix_connect(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    memcpy(un.sun_path, path, len + 1);
    if (path[0] == '@')
        un.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (path[0] == '@' ? 0 : 1));
    if (connect(fd, (struct sockaddr *)&un, bytes) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static const struct listener_options tcp_options = {
    .listen_addr = "127.0.0.1",
    .listen_backlog = 16,
    .unix_socket_dir = "",
};

static void test_tcp_accepts(void **state)
{
    (void)state;
    static const char *const lists[] = {"127.0.0.1", "*", "localhost", " 127.0.0.1 , 127.0.0.1,localhost"};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        struct accepted a = {.expected = 2};
        struct listener_options o = tcp_options;
        char err[256] = "";
        o.listen_addr = lists[i];
        assert_true(loop_init(&a.loop, no_mail, NULL));
        struct listeners *l = listeners_open(&a.loop, &o, on_accept, &a, err, sizeof(err));
        assert_string_equal(err, "");
        assert_non_null(l);
        assert_true(listeners_port(l) > 0);
        int c1 = tcp_connect("127.0.0.1", listeners_port(l)),
            c2 = tcp_connect("127.0.0.1", listeners_port(l));
        loop_run(&a.loop);
        int on = 0;
        socklen_t bytes = sizeof(on);
        getsockopt(a.fds[0], IPPROTO_TCP, TCP_NODELAY, &on, &bytes);
        assert_int_equal(on, 1);
        assert_true((fcntl(a.fds[0], F_GETFL) & O_NONBLOCK) != 0);
        assert_true((fcntl(a.fds[0], F_GETFD) & FD_CLOEXEC) != 0);
        assert_false(a.is_unix[0]);
        close(c1), close(c2);
        accepted_close(&a);
        listeners_free(l);
        loop_destroy(&a.loop);
    }
}

static void expect_refusal(struct loop *loop, const struct listener_options *o, const char *needle)
{
    char err[256] = "";
    assert_null(listeners_open(loop, o, on_accept, NULL, err, sizeof(err)));
    if (strstr(err, needle) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", err, needle);
}

static void test_refusals(void **state)
{
    (void)state;
    struct accepted a = {0};
    struct listener_options o = tcp_options;
    char err[256] = "", port_text[64];
    assert_true(loop_init(&a.loop, no_mail, NULL));
    struct listeners *l = listeners_open(&a.loop, &o, on_accept, &a, err, sizeof(err));
    assert_non_null(l);
    o.listen_port = listeners_port(l);
    snprintf(port_text, sizeof(port_text), "\"127.0.0.1\" port %d: Address already in use", o.listen_port);
    expect_refusal(&a.loop, &o, port_text);
    o.listen_addr = "192.0.2.1"; /* not ours */
    expect_refusal(&a.loop, &o, "Cannot assign requested address");
    o.listen_addr = "";
    expect_refusal(&a.loop, &o, "nothing to listen on");
    o.unix_socket_dir = "/nonexistent-directory";
    expect_refusal(&a.loop, &o, "/nonexistent-directory");
    char longer[200];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    o.unix_socket_dir = longer;
    expect_refusal(&a.loop, &o, "too long");
    listeners_free(l);
    loop_destroy(&a.loop);
}

static void test_unix_socket(void **state)
{
    (void)state;
    struct accepted a = {.expected = 1};
    char dir[] = "/tmp/net-test-XXXXXX", path[64], err[256] = "";
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/.s.PGSQL.6543", dir);
    struct listener_options o = {
        .listen_port = 6543, .listen_backlog = 4, .unix_socket_dir = dir, .unix_socket_mode = 0750};
    assert_true(loop_init(&a.loop, no_mail, NULL));
    struct listeners *l = listeners_open(&a.loop, &o, on_accept, &a, err, sizeof(err));
    assert_string_equal(err, "");
    assert_non_null(l);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0750);
    int c = unix_connect(path);
    assert_true(c >= 0);
    loop_run(&a.loop);
    assert_true(a.is_unix[0]);
    close(c);
    accepted_close(&a);

    expect_refusal(&a.loop, &o, "already in use");
    o.unix_socket_group = "no-such-group-here";
    assert_int_equal(stat(path, &st), 0); /* the refused one has not removed it */

    listeners_close(l, true);
    c = unix_connect(path);
    assert_true(c >= 0);
    loop_run(&a.loop);
    close(c);
    accepted_close(&a);
    listeners_close(l, false);
    assert_int_equal(stat(path, &st), -1);
    expect_refusal(&a.loop, &o, "no such group");
    listeners_free(l);

    /* A file that a killed process left behind. */
    o.unix_socket_group = "";
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, path, strlen(path) + 1);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&un, sizeof(un)), 0);
    close(stale);
    l = listeners_open(&a.loop, &o, on_accept, &a, err, sizeof(err));
    assert_non_null(l);

    /* Somebody else has replaced our file: it is not ours to remove. */
    unlink(path);
    int other = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(other, (struct sockaddr *)&un, sizeof(un)), 0);
    listeners_free(l);
    assert_int_equal(stat(path, &st), 0);
    close(other);
    unlink(path);

    /* Something that is not a socket stays. */
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    close(file);
    expect_refusal(&a.loop, &o, "not a socket");
    assert_int_equal(unlink(path), 0);
    rmdir(dir);
    loop_destroy(&a.loop);
}

static void test_abstract_socket(void **state)
{
    (void)state;
    struct accepted a = {.expected = 1};
    char dir[64], path[100], err[256] = "";
    snprintf(dir, sizeof(dir), "@net-test-%d", (int)getpid());
    snprintf(path, sizeof(path), "%s/.s.PGSQL.6543", dir);
    struct listener_options o = {.listen_port = 6543, .listen_backlog = 4, .unix_socket_dir = dir};
    assert_true(loop_init(&a.loop, no_mail, NULL));
    struct listeners *l = listeners_open(&a.loop, &o, on_accept, &a, err, sizeof(err));
    assert_non_null(l);
    int c = unix_connect(path);
    assert_true(c >= 0);
    loop_run(&a.loop);
    close(c);
    accepted_close(&a);
    expect_refusal(&a.loop, &o, "already in use");
    listeners_free(l);
    loop_destroy(&a.loop);
}

struct relief {
    struct rlimit old;
    struct loop *loop;
    uint64_t turns;
};

static void relief_cb(evutil_socket_t fd, short what, void *arg)
{
    struct relief *r = arg;
    (void)fd, (void)what;
    r->turns = atomic_load(&r->loop->turns);
    setrlimit(RLIMIT_NOFILE, &r->old);
}

/* No descriptor is left: the loop does not spin, nothing is lost, and it goes on when there are some again.
 */
static void test_out_of_descriptors(void **state)
{
    (void)state;
    struct accepted a = {.expected = 3};
    char err[256] = "";
    assert_true(loop_init(&a.loop, no_mail, NULL));
    struct listeners *l = listeners_open(&a.loop, &tcp_options, on_accept, &a, err, sizeof(err));
    assert_non_null(l);
    int clients[3];
    for (int i = 0; i < 3; i++)
        clients[i] = tcp_connect("127.0.0.1", listeners_port(l));

    struct relief r = {.loop = &a.loop};
    struct event timer;
    struct timeval later = {0, 350000};
    evtimer_assign(&timer, a.loop.base, relief_cb, &r);
    evtimer_add(&timer, &later);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r.old), 0);
    struct rlimit none = {(rlim_t)clients[2] + 1, r.old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    loop_run(&a.loop);
    setrlimit(RLIMIT_NOFILE, &r.old);
    assert_int_equal(a.count, 3);
    assert_true(r.turns >= 1 && r.turns < 20);
    accepted_close(&a);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    listeners_free(l);
    loop_destroy(&a.loop);
}

struct deafness {
    struct loop *loop;
    int listen_fd, saved_fd;
};

static void hear_again_cb(evutil_socket_t fd, short what, void *arg)
{
    struct deafness *d = arg;
    (void)fd, (void)what;
    assert_int_equal(dup2(d->saved_fd, d->listen_fd), d->listen_fd);
}

static int find_listener(int port)
{
    struct sockaddr_in in;
    for (int fd = 0; fd < 256; fd++) {
        socklen_t bytes = sizeof(in);
        int on = 0;
        socklen_t on_bytes = sizeof(on);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &on_bytes) == 0 && on &&
            getsockname(fd, (struct sockaddr *)&in, &bytes) == 0 && in.sin_port == htons((uint16_t)port))
            return fd;
    }
    return -1;
}

/* Behind the pause the socket cannot be watched at first (here: a file in its place, which epoll refuses). It
 * is tried again until it can. */
static void test_cannot_be_watched(void **state)
{
    (void)state;
    struct accepted a = {.expected = 1};
    char err[256] = "";
    assert_true(loop_init(&a.loop, no_mail, NULL));
    struct listeners *l = listeners_open(&a.loop, &tcp_options, on_accept, &a, err, sizeof(err));
    assert_non_null(l);
    int c = tcp_connect("127.0.0.1", listeners_port(l));
    struct deafness d = {.loop = &a.loop, .listen_fd = find_listener(listeners_port(l))};
    assert_true(d.listen_fd >= 0);
    d.saved_fd = dup(d.listen_fd);
    int file = open("/dev/null", O_RDONLY), full = open("/etc/passwd", O_RDONLY);
    assert_true(file >= 0 && full >= 0);

    struct relief r = {.loop = &a.loop};
    struct event timer;
    struct timeval later = {0, 350000};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r.old), 0);
    struct rlimit none = {(rlim_t)full + 1, r.old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    evtimer_assign(&timer, a.loop.base, hear_again_cb, &d);
    evtimer_add(&timer, &later);
    struct timeval at_once = {0, 10000};
    (void)event_base_loopexit(a.loop.base, &at_once);
    event_base_loop(a.loop.base, 0); /* it pauses: no descriptor is left */
    assert_int_equal(a.count, 0);
    assert_int_equal(dup2(full, d.listen_fd), d.listen_fd);
    setrlimit(RLIMIT_NOFILE, &r.old);
    loop_run(&a.loop);
    assert_int_equal(a.count, 1);
    accepted_close(&a);
    close(c), close(file), close(full), close(d.saved_fd);
    listeners_free(l);
    loop_destroy(&a.loop);
}

/* on_accept may close the listeners while more connections are waiting. */
static struct listeners *closing;
static void on_accept_close(void *arg, int fd, bool is_unix)
{
    struct accepted *a = arg;
    on_accept(a, fd, is_unix);
    listeners_close(closing, false);
}

static void test_close_in_accept(void **state)
{
    (void)state;
    struct accepted a = {.expected = 1};
    char err[256] = "";
    assert_true(loop_init(&a.loop, no_mail, NULL));
    closing = listeners_open(&a.loop, &tcp_options, on_accept_close, &a, err, sizeof(err));
    assert_non_null(closing);
    int c1 = tcp_connect("127.0.0.1", listeners_port(closing));
    int c2 = tcp_connect("127.0.0.1", listeners_port(closing));
    loop_run(&a.loop);
    assert_int_equal(a.count, 1);
    close(c1), close(c2);
    accepted_close(&a);
    listeners_free(closing);
    loop_destroy(&a.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_accepts),        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_unix_socket),        cmocka_unit_test(test_abstract_socket),
        cmocka_unit_test(test_out_of_descriptors), cmocka_unit_test(test_cannot_be_watched),
        cmocka_unit_test(test_close_in_accept),
    };
    signal(SIGPIPE, SIG_IGN);
    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
